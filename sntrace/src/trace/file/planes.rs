//! An event chunk's payload: its counts, and its planes, which are compressed each by itself.
//!
//! Every length is checked against the chunk's before anything is allocated by it.

use super::chunk::{RATIO_MAX, Unpress};
use super::columns::{CHUNK_EVENTS, COLUMNS};
use super::fields::{Fields, Malformed};

/// What an event chunk says before its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventHead {
    pub events: u64,
    pub items: u64,
    pub first_ns: u64,
}

impl EventHead {
    /// Reads it off a chunk's payload.
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let payload = fields.0.len();
        let head = Self {
            events: fields.number()?,
            items: fields.number()?,
            first_ns: fields.number()?,
        };
        if head.events > CHUNK_EVENTS as u64 || head.events as usize / RATIO_MAX > payload {
            return Err(Malformed::new("it says to have more events than it can"));
        }
        Ok(head)
    }
}

/// Planes of a chunk: two a column, and the items.
pub(super) const PLANES: usize = COLUMNS * 2 + 1;

/// How long a chunk's planes are, in bytes: decompressed, and as they are stored.
pub(super) fn plane_lengths(fields: &mut Fields<'_>) -> Result<[(u64, u64); PLANES], Malformed> {
    let mut lengths = [(0, 0); PLANES];
    for (raw, stored) in &mut lengths {
        (*raw, *stored) = (fields.number()?, fields.number()?);
    }
    Ok(lengths)
}

/// The planes of a chunk, decompressed.
#[derive(Default)]
pub(super) struct Planes {
    unpress: Unpress,
    /// Heads and tails of each column.
    pub columns: [(Vec<u8>, Vec<u8>); COLUMNS],
    pub items: Vec<u8>,
}

impl Planes {
    /// Fills them with what a chunk's payload holds.
    pub(super) fn load(&mut self, payload: &[u8], raw: u32) -> Result<EventHead, Malformed> {
        let mut fields = Fields(payload);
        let head = EventHead::parse(&mut fields)?;
        let lengths = plane_lengths(&mut fields)?;
        let mut left = u64::from(raw);
        for (raw, _) in lengths {
            left = left
                .checked_sub(raw)
                .ok_or_else(|| Malformed::new("its columns are longer than it says"))?;
        }
        let Self {
            unpress,
            columns,
            items,
        } = self;
        let columns = columns.iter_mut();
        let planes = columns.flat_map(|(heads, tails)| [heads, tails]);
        for (plane, (raw, stored)) in planes.chain([items]).zip(lengths) {
            // Both are bounded: by the chunk's lengths.
            let stored = fields.take(usize::try_from(stored).unwrap_or(usize::MAX))?;
            unpress.plane(stored, raw as usize, plane)?;
        }
        let (items_raw, items_stored) = lengths[PLANES - 1];
        if items_raw / RATIO_MAX as u64 > items_stored {
            return Err(Malformed::new("its items are more than its bytes can hold"));
        }
        Ok(head)
    }
}
