//! Records read: the whole of one, or the few things that whoever goes through millions a second asks first.

use super::{ADDRESS_MASK, BRIEF_WORDS, Event, FRAMES, OP_MASK, Op, WIDE};
use crate::primitive::{AtomicU64, Ordering};
use crate::stack::{STACK_FRAMES_MAX, StackWord};

/// Words to decode from: a ring's or a plain buffer's.
pub trait Words {
    /// How many words there are.
    fn count(&self) -> usize;
    /// Word `at`, below [`Words::count`].
    fn word(&self, at: usize) -> u64;
}

impl Words for [u64] {
    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        self[at]
    }
}

impl Words for [AtomicU64] {
    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        // Relaxed: whoever made this slice acquired the position behind these words.
        self[at].load(Ordering::Relaxed)
    }
}

/// Why words are not a record. A target can scribble over its lanes: nothing here is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The record says it is longer than what was published.
    Short,
    /// No op has this tag.
    UnknownOp(u8),
    /// More frames than a record can carry.
    TooManyFrames(u64),
}

/// What [`decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event; its frames are the words `frames_at..frames_at + frames`.
    Event {
        /// The event without its frames.
        event: Event,
        /// Index of the first frame's word.
        frames_at: usize,
        /// How many frames.
        frames: usize,
        /// Whether the stack goes on beyond the last frame.
        truncated: bool,
        /// How many of the outermost frames of the lane's last stack stay, with
        /// [`crate::env::OptionBits::FULL_STACKS`]; `None` where there is no word about frames, and
        /// the stack beyond the caller is that last one.
        kept: Option<u32>,
    },
    /// The lane's last stack changes; its new frames are the words from word 2 on.
    Stack {
        /// Time in ticks.
        time: u64,
        /// What the change is.
        change: StackWord,
    },
    /// A control message of `bytes` bytes, from word 2 on.
    Control {
        /// Time in ticks.
        time: u64,
        /// Wire tag of the message.
        kind: u8,
        /// Length of its body in bytes.
        bytes: usize,
    },
    /// Nothing until the end of the ring.
    Pad,
}

/// The op of an event record in the narrow form, by the low byte of its first word; `None` for all
/// other records.
#[inline(always)]
#[must_use]
pub const fn brief(first: u64) -> Option<Op> {
    match Op::from_tag((first & OP_MASK) as u8) {
        Some(op) if op.is_call() && first & WIDE == 0 => Some(op),
        _ => None,
    }
}

/// Whether an event record with this first word has a [`StackWord`] and frames.
#[inline(always)]
#[must_use]
pub const fn has_frames(first: u64) -> bool {
    first & FRAMES != 0
}

/// Size and caller, out of word 2 of the narrow form.
#[inline(always)]
#[must_use]
pub const fn size_and_caller(word: u64) -> (u64, u64) {
    (word >> 48, word & ADDRESS_MASK)
}

/// Words of the event record at the start of `words`; `None` if there is another kind of record, or none
/// that is right as far as one can see. What [`length`] says, for who goes through millions a second:
/// the record may be longer than `words`.
#[inline(always)]
#[must_use]
pub fn event_length(words: &[u64]) -> Option<usize> {
    let &first = words.first()?;
    let plain = PLAIN_LENGTHS[(first & (OP_MASK | WIDE)) as usize] as usize;
    if plain == 0 {
        return None;
    }
    if first & FRAMES == 0 {
        return Some(plain);
    }
    let listed = listed(*words.get(plain)?).ok()?;
    Some(plain + 1 + listed.count as usize)
}

/// By op and [`WIDE`]: words of an event record without frames, 0 for what is no event.
const PLAIN_LENGTHS: &[u8; 128] = &{
    let mut lengths = [0; 128];
    let mut at = 0;
    while at < Op::ALL.len() {
        let op = Op::ALL[at];
        if op.is_call() {
            let words = BRIEF_WORDS as u8 + op.operands() as u8;
            lengths[op as usize] = words;
            lengths[op as usize | WIDE as usize] = words + 1;
        }
        at += 1;
    }
    lengths
};

/// What the record at the start of `words` is and how many words it takes (for [`Op::Pad`] 1: the
/// caller skips to the ring's end). Less work than [`decode`], which fails where this does.
///
/// # Errors
/// Anything that [`super::write_event`] and [`crate::control`] do not write.
#[inline]
pub fn length<W: Words + ?Sized>(words: &W) -> Result<(Op, usize), DecodeError> {
    let count = words.count();
    if count == 0 {
        return Err(DecodeError::Short);
    }
    let first = words.word(0);
    let tag = (first & OP_MASK) as u8;
    let op = Op::from_tag(tag).ok_or(DecodeError::UnknownOp(tag))?;
    let head = if first & WIDE != 0 { 4 } else { 3 };
    let mut length = head + op.operands();
    match op {
        Op::Pad => return Ok((op, 1)),
        Op::Control => {
            if count < 2 {
                return Err(DecodeError::Short);
            }
            length = 2 + ((words.word(1) >> 8 & 0xffff) as usize).div_ceil(8);
        }
        Op::Stack => {
            if count < 2 {
                return Err(DecodeError::Short);
            }
            length = 2 + listed(words.word(1))?.count as usize;
        }
        _ if first & FRAMES != 0 => {
            if count <= length {
                return Err(DecodeError::Short);
            }
            length += 1 + listed(words.word(length))?.count as usize;
        }
        _ => {}
    }
    if length > count {
        return Err(DecodeError::Short);
    }
    Ok((op, length))
}

/// The word that says which frames follow it, if they can be as many.
#[inline(always)]
fn listed(word: u64) -> Result<StackWord, DecodeError> {
    let change = StackWord::from_word(word);
    if change.count as usize > STACK_FRAMES_MAX {
        return Err(DecodeError::TooManyFrames(change.count as u64));
    }
    Ok(change)
}

/// Reads the record at the start of `words`, and says how many words it took (for
/// [`Record::Pad`] 1: the caller skips to the ring's end).
///
/// # Errors
/// Anything that [`super::write_event`] and [`crate::control`] do not write.
#[inline]
pub fn decode<W: Words + ?Sized>(words: &W) -> Result<(Record, usize), DecodeError> {
    let (op, taken) = length(words)?;
    let record = match op {
        Op::Pad => Record::Pad,
        Op::Control => {
            let head = words.word(1);
            Record::Control {
                time: words.word(0) >> 8,
                kind: head as u8,
                bytes: (head >> 8 & 0xffff) as usize,
            }
        }
        Op::Stack => Record::Stack {
            time: words.word(0) >> 8,
            change: listed(words.word(1))?,
        },
        _ => {
            let mut event = Event::NONE;
            let extent = read_event(words, &mut event)?;
            Record::Event {
                event,
                frames_at: extent.frames_at,
                frames: extent.frames,
                truncated: extent.truncated,
                kept: extent.kept,
            }
        }
    };
    Ok((record, taken))
}

/// Where the frames of an event record are, which are its last words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the first frame's word.
    pub frames_at: usize,
    /// How many frames.
    pub frames: usize,
    /// Whether the stack goes on beyond the last frame.
    pub truncated: bool,
    /// As in [`Record::Event`].
    pub kept: Option<u32>,
}

/// Reads the event record at the start of `words` into `event`: what [`decode`] does, in place, for
/// who reads millions a second.
///
/// # Errors
/// As [`decode`]; also where the record is no event. Then `event` may have been changed in part.
#[inline(always)]
pub fn read_event<W: Words + ?Sized>(words: &W, event: &mut Event) -> Result<Extent, DecodeError> {
    let count = words.count();
    if count < BRIEF_WORDS as usize {
        return Err(DecodeError::Short);
    }
    let first = words.word(0);
    let tag = (first & OP_MASK) as u8;
    let op = match Op::from_tag(tag) {
        Some(op) if op.is_call() => op,
        _ => return Err(DecodeError::UnknownOp(tag)),
    };
    event.op = op;
    event.time = first >> 8;
    event.block = words.word(1);
    let two = words.word(2);
    let mut at = 3;
    if first & WIDE == 0 {
        (event.size, event.caller) = size_and_caller(two);
    } else {
        if count < 4 {
            return Err(DecodeError::Short);
        }
        event.caller = two;
        event.size = words.word(3);
        at = 4;
    }
    event.operands = [0; 3];
    let operand_count = op.operands();
    if count < at + operand_count {
        return Err(DecodeError::Short);
    }
    for operand in &mut event.operands[..operand_count] {
        *operand = words.word(at);
        at += 1;
    }
    let mut extent = Extent {
        frames_at: at,
        frames: 0,
        truncated: false,
        kept: None,
    };
    if first & FRAMES != 0 {
        if count <= at {
            return Err(DecodeError::Short);
        }
        let change = listed(words.word(at))?;
        extent.frames_at = at + 1;
        extent.frames = change.count as usize;
        extent.truncated = change.truncated;
        extent.kept = Some(change.kept);
        if count < extent.frames_at + extent.frames {
            return Err(DecodeError::Short);
        }
    }
    Ok(extent)
}
