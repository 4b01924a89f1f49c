//! Chunks: what a trace file consists of, each compressed and checked by itself.
//!
//! A chunk is a head of 16 bytes and a payload. The head says how long the payload is and carries a
//! checksum of both, so that a chunk is either whole or known not to be.
//!
//! What a payload may become when it is decompressed is bounded by its own length
//! ([`RATIO_MAX`]): a small file can't ask for much memory, whatever it declares. A writer stores
//! what compresses better than that as it is; it is short then.

use std::io;

use super::fields::Malformed;

/// Bytes of a chunk's head.
pub(super) const HEAD_BYTES: usize = 16;
/// A payload is at most so long, in bytes, stored and decompressed.
pub(super) const PAYLOAD_MAX: usize = 32 << 20;
/// A byte of a payload stands for at most so many (in event chunks: events).
pub(super) const RATIO_MAX: usize = 64;
/// zstd's level. Higher ones find little more in columns, for twice the time.
const LEVEL: i32 = 1;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What was run and recorded: the first chunk.
    Head,
    /// Files, sites, stacks that the events of later chunks use.
    Definitions,
    /// What happened.
    Events,
    /// Functions of the sites.
    Symbols,
    /// What the trace vouches for.
    Certificate,
    /// Where the chunks are: the last one.
    Index,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Head,
        Kind::Definitions,
        Kind::Events,
        Kind::Symbols,
        Kind::Certificate,
        Kind::Index,
    ];

    /// Its four letters.
    pub(super) const fn tag(self) -> &'static [u8; 4] {
        match self {
            Kind::Head => b"HEAD",
            Kind::Definitions => b"DEFS",
            Kind::Events => b"EVNT",
            Kind::Symbols => b"SYMB",
            Kind::Certificate => b"CERT",
            Kind::Index => b"INDX",
        }
    }

    pub(super) fn name(self) -> &'static str {
        std::str::from_utf8(self.tag()).unwrap_or_default()
    }

    pub(super) fn from_tag(tag: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }
}

/// A chunk's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkHead {
    pub kind: Kind,
    /// Bytes of the payload in the file.
    pub stored: u32,
    /// Bytes that it is when decompressed: of the payload, in an event chunk of all planes.
    pub raw: u32,
    checksum: u32,
}

impl ChunkHead {
    /// Reads a head. Its checksum is not tried yet.
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Malformed> {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let kind = Kind::from_tag(&bytes[..4])
            .ok_or_else(|| Malformed::new("no chunk of a known kind begins here"))?;
        let head = Self {
            kind,
            stored: word(4),
            raw: word(8),
            checksum: word(12),
        };
        if head.stored as usize > PAYLOAD_MAX || head.raw as usize > PAYLOAD_MAX {
            return Err(Malformed::new("a chunk is longer than any writer makes it"));
        }
        Ok(head)
    }

    /// Whether this is the payload that the head was written for.
    ///
    /// A fuzzer would have to guess the sum: it is not asked for it, so that it gets further.
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), Malformed> {
        if self.sum(payload) == self.checksum || cfg!(fuzzing) {
            return Ok(());
        }
        Err(Malformed::new("its checksum is wrong"))
    }

    fn sum(&self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.first_bytes());
        hasher.update(payload);
        hasher.finalize()
    }

    fn first_bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(self.kind.tag());
        bytes[4..8].copy_from_slice(&self.stored.to_le_bytes());
        bytes[8..].copy_from_slice(&self.raw.to_le_bytes());
        bytes
    }
}

/// Puts a head in front of a payload: `chunk` has [`HEAD_BYTES`] free bytes and the payload.
///
/// # Errors
/// The payload is too long for a chunk.
pub(super) fn close(chunk: &mut [u8], kind: Kind, raw: usize) -> io::Result<()> {
    let Some((head, payload)) = chunk.split_first_chunk_mut::<HEAD_BYTES>() else {
        return Err(too_long());
    };
    if payload.len() > PAYLOAD_MAX || raw > PAYLOAD_MAX {
        return Err(too_long());
    }
    let mut it = ChunkHead {
        kind,
        stored: payload.len() as u32,
        raw: raw as u32,
        checksum: 0,
    };
    it.checksum = it.sum(payload);
    head[..12].copy_from_slice(&it.first_bytes());
    head[12..].copy_from_slice(&it.checksum.to_le_bytes());
    Ok(())
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a record is too long for a trace file",
    )
}

/// Compresses with memory that is kept.
pub(super) struct Press {
    compressor: zstd::bulk::Compressor<'static>,
    room: Vec<u8>,
}

impl Press {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        // The chunk says both already.
        compressor.include_contentsize(false)?;
        compressor.include_checksum(false)?;
        Ok(Self {
            compressor,
            room: Vec::new(),
        })
    }

    /// Appends `raw`, compressed if that is shorter. Returns how many bytes were appended: as many
    /// as `raw` has if it stands as it is.
    pub(super) fn plane(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        if raw.is_empty() {
            return Ok(0);
        }
        let needed = zstd::zstd_safe::compress_bound(raw.len());
        if self.room.len() < needed {
            self.room.resize(needed, 0);
        }
        let length = self
            .compressor
            .compress_to_buffer(raw, self.room.as_mut_slice())?;
        let compressed = self.room.get(..length).filter(|_| length < raw.len());
        let stored = compressed.unwrap_or(raw);
        out.extend_from_slice(stored);
        Ok(stored.len())
    }

    /// As [`Press::plane`], but never a byte for more than [`RATIO_MAX`].
    pub(super) fn bounded(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let before = out.len();
        let stored = self.plane(raw, out)?;
        if raw.len() / RATIO_MAX <= stored {
            return Ok(stored);
        }
        out.truncate(before);
        out.extend_from_slice(raw);
        Ok(raw.len())
    }

    /// A whole chunk of one part.
    pub(super) fn chunk(&mut self, kind: Kind, raw: &[u8]) -> io::Result<Vec<u8>> {
        if raw.len() > PAYLOAD_MAX {
            return Err(too_long());
        }
        let mut chunk = vec![0; HEAD_BYTES];
        self.bounded(raw, &mut chunk)?;
        close(&mut chunk, kind, raw.len())?;
        Ok(chunk)
    }
}

/// Decompresses with memory that is kept.
#[derive(Default)]
pub(super) struct Unpress {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpress {
    /// Fills `out` with what `stored` was when it had `raw` bytes. Callers have bounded `raw`.
    pub(super) fn plane(
        &mut self,
        stored: &[u8],
        raw: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        out.clear();
        if stored.len() == raw {
            out.extend_from_slice(stored);
            return Ok(());
        }
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(
                zstd::bulk::Decompressor::new()
                    .map_err(|error| Malformed(format!("zstd can't begin: {error}")))?,
            ),
        };
        out.resize(raw, 0);
        let length = decompressor
            .decompress_to_buffer(stored, out.as_mut_slice())
            .map_err(|error| Malformed(format!("it can't be decompressed: {error}")))?;
        if length != raw {
            return Err(Malformed::new("it is not as long as it says"));
        }
        Ok(())
    }

    /// The content of a chunk of one part.
    pub(super) fn body(&mut self, head: &ChunkHead, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        let raw = head.raw as usize;
        if raw / RATIO_MAX > payload.len() {
            return Err(Malformed::new(
                "it says to be longer than its bytes can hold",
            ));
        }
        let mut body = Vec::new();
        self.plane(payload, raw, &mut body)?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunk: &[u8]) -> (ChunkHead, &[u8]) {
        let (head, payload) = chunk.split_first_chunk().expect("a head");
        (ChunkHead::parse(head).expect("a sound head"), payload)
    }

    #[test]
    fn a_chunk_reads_as_it_was_written() {
        let mut press = Press::new().unwrap();
        // Empty, too short to compress, compressed, and better compressed than a chunk may be.
        for raw in [
            vec![],
            b"abc".to_vec(),
            b"some text, ".repeat(20),
            vec![7; 1 << 20],
        ] {
            let chunk = press.chunk(Kind::Symbols, &raw).unwrap();
            let (head, payload) = split(&chunk);
            assert_eq!(head.kind, Kind::Symbols);
            head.check(payload).unwrap();
            assert_eq!(Unpress::default().body(&head, payload), Ok(raw));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let chunk = Press::new().unwrap().chunk(Kind::Head, b"content").unwrap();
        for bit in 0..chunk.len() * 8 {
            let mut flipped = chunk.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (head, payload) = flipped.split_first_chunk().unwrap();
            let checked = ChunkHead::parse(head).and_then(|head| head.check(payload));
            assert!(checked.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_declared_length_asks_for_no_memory() {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(b"SYMB");
        head[8..12].copy_from_slice(&(PAYLOAD_MAX as u32).to_le_bytes());
        let parsed = ChunkHead::parse(&head).unwrap();
        assert!(Unpress::default().body(&parsed, b"short").is_err());
        head[8..12].fill(0xff);
        assert!(ChunkHead::parse(&head).is_err());
    }
}
