//! The index and the trailer: where a whole trace file has what.
//!
//! The index is the last chunk; the trailer behind it has its place. So definitions and symbols are
//! found without reading the events. A file without a trailer was cut, and is walked chunk by
//! chunk.

use super::chunk::{HEAD_BYTES, Kind};
use super::fields::{Fields, Malformed, put_number};
use super::{END_MAGIC, PROLOGUE_BYTES};

/// Bytes of the trailer: the index's offset, and the last magic.
pub(super) const TRAILER_BYTES: usize = 16;

/// A chunk of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: Kind,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// How long it is with its head, in bytes.
    pub length: u64,
    /// Of an event chunk: its events.
    pub events: u64,
    /// Of an event chunk: what else is in it.
    pub items: u64,
    /// Of an event chunk: the time of its first event.
    pub first_ns: u64,
}

impl Entry {
    /// Of a chunk without events.
    pub(super) fn new(kind: Kind, offset: u64, length: u64) -> Self {
        Self {
            kind,
            offset,
            length,
            events: 0,
            items: 0,
            first_ns: 0,
        }
    }

    /// Where the next one begins.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The content of an index chunk: all chunks before it.
pub(super) fn body(entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        body.extend_from_slice(entry.kind.tag());
        put_number(&mut body, entry.length);
        if entry.kind == Kind::Events {
            put_number(&mut body, entry.events);
            put_number(&mut body, entry.items);
            put_number(&mut body, entry.first_ns);
        }
    }
    body
}

/// Reads an index chunk's content. The chunks follow each other up to the index, at `end`.
pub(super) fn parse(body: &[u8], end: u64) -> Result<Vec<Entry>, Malformed> {
    let mut fields = Fields(body);
    let mut entries = Vec::new();
    let mut offset = PROLOGUE_BYTES;
    while !fields.is_empty() {
        let kind = Kind::from_tag(fields.take(4)?)
            .ok_or_else(|| Malformed::new("its index has a chunk of an unknown kind"))?;
        let mut entry = Entry::new(kind, offset, fields.number()?);
        if entry.length < HEAD_BYTES as u64 || entry.end() > end {
            return Err(Malformed::new("its index has a chunk that can't be there"));
        }
        offset = entry.end();
        if kind == Kind::Events {
            entry.events = fields.number()?;
            entry.items = fields.number()?;
            entry.first_ns = fields.number()?;
        }
        entries.push(entry);
    }
    if offset != end {
        return Err(Malformed::new("its index does not have all chunks"));
    }
    Ok(entries)
}

/// The trailer of a file whose index begins at `index`.
pub(super) fn trailer(index: u64) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&index.to_le_bytes());
    trailer[8..].copy_from_slice(&END_MAGIC);
    trailer
}

/// Where the index begins, if this is a trailer.
pub(super) fn parse_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<u64> {
    let (index, magic) = bytes.split_first_chunk::<8>()?;
    (*magic == END_MAGIC).then(|| u64::from_le_bytes(*index))
}
