//! The pipe transport: where no memory can be shared, each record is a message of its own.
//!
//! ```text
//! word 0   0x534e5450 (32) | words of the record (32) << 32
//! word 1   key of the process image
//! word 2   process id (32) | thread id (32) << 32
//! word 3.. the record, as in a lane
//! ```
//!
//! Words are little-endian. A message is written with one `write` of at most 4,096 bytes, which a
//! pipe never mixes with another's (`man 7 pipe`, PIPE_BUF). It is written before a block is
//! given back and after one was obtained, so the order in the pipe is the order of events.

/// Lower half of word 0: `PTNS` as bytes in memory.
pub const MESSAGE_MAGIC: u32 = 0x534e_5450;
/// Words before the record.
pub const HEADER_WORDS: usize = 3;
/// Longest message in words: 4,096 bytes.
pub const MESSAGE_WORDS_MAX: usize = 512;

/// What stands before the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Words of the record.
    pub words: u32,
    /// Key of the process image: a number, or without shared memory something as unique.
    pub image: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

impl MessageHeader {
    /// The header's words.
    #[must_use]
    pub const fn to_words(self) -> [u64; HEADER_WORDS] {
        [
            MESSAGE_MAGIC as u64 | (self.words as u64) << 32,
            self.image,
            self.pid as u64 | (self.tid as u64) << 32,
        ]
    }

    /// Reads a header; `None` if this is none.
    #[must_use]
    pub const fn from_words(words: [u64; HEADER_WORDS]) -> Option<Self> {
        let length = (words[0] >> 32) as u32;
        if words[0] as u32 != MESSAGE_MAGIC
            || length as usize > MESSAGE_WORDS_MAX - HEADER_WORDS
            || length == 0
        {
            return None;
        }
        Some(Self {
            words: length,
            image: words[1],
            pid: words[2] as u32,
            tid: (words[2] >> 32) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_noise_is_not_one() {
        let header = MessageHeader {
            words: 3,
            image: u64::MAX,
            pid: 4711,
            tid: 4712,
        };
        assert_eq!(MessageHeader::from_words(header.to_words()), Some(header));
        assert_eq!(MessageHeader::from_words([0, 1, 2]), None);
        let long = MessageHeader {
            words: MESSAGE_WORDS_MAX as u32,
            ..header
        };
        assert_eq!(MessageHeader::from_words(long.to_words()), None);
    }

    #[test]
    fn the_longest_records_fit_a_message() {
        assert!(crate::control::CONTROL_WORDS_MAX as usize + HEADER_WORDS <= MESSAGE_WORDS_MAX);
        assert!(crate::record::EVENT_WORDS_MAX as usize + HEADER_WORDS <= MESSAGE_WORDS_MAX);
    }
}
