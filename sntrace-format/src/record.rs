//! One event, one record: a few 64-bit words.
//!
//! ```text
//!           63                                         8 7     6      5        0
//!          +--------------------------------------------+------+------+----------+
//! word 0   |              time in ticks (56)            |frames| wide |  op (6)  |
//!          +--------------------------------------------+------+------+----------+
//! word 1   |                       block address (64)                            |
//!          +----------------+----------------------------------------------------+
//! word 2   |   size (16)    |                   caller (48)                      |
//!          +----------------+----------------------------------------------------+
//! ```
//!
//! then the op's operands, a word each ([`Op::operands`]), then, with the *frames* bit, a
//! [`StackWord`] and as many return addresses as it says, inner to outer, beyond the caller.
//!
//! Nearly every event fits this narrow form: 24 bytes, put together from a call's arguments with
//! one test. Where a caller does not fit 48 bits or a size not 16, the *wide* bit is set, word 2 is
//! the full caller, and the full size follows as word 3.
//!
//! Time is in ticks of the run's clock ([`crate::env::OptionBits::CLOCK_MONOTONIC`] or the
//! processor's counter), 56 bits of it: at 5 GHz it wraps after 166 days. It is the time at which
//! the block was certainly owned: taken after the allocator returned it, and before it is given
//! back. A `realloc` carries both, the earlier as an operand.
//!
//! Three more kinds of record share word 0's layout: [`Op::Pad`] fills the rest of the ring up to
//! its end, [`Op::Control`] is read by [`crate::control`], [`Op::Stack`] by [`crate::stack`].

mod decode;
mod op;

pub use decode::{
    DecodeError, Extent, Record, Words, brief, decode, event_length, has_frames, length,
    read_event, size_and_caller,
};
pub use op::Op;

use crate::primitive::{AtomicU64, Ordering};
use crate::stack::StackWord;

/// Frames that an event record in a lane carries at most beyond its caller.
pub const FRAMES_MAX: usize = 48;
/// Words that an event record takes at most: header, wide size, operands, frames.
pub const EVENT_WORDS_MAX: u64 = 64;

/// Sizes below this fit the narrow form.
pub const BRIEF_SIZES: u64 = 1 << 16;
/// Words of an event without operands and frames in the narrow form.
pub const BRIEF_WORDS: u64 = 3;

const ADDRESS_MASK: u64 = (1 << 48) - 1;
const WIDE: u64 = 1 << 6;
const FRAMES: u64 = 1 << 7;
const OP_MASK: u64 = 0x3f;

/// What an event record says. `operands` beyond [`Op::operands`] are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The function called.
    pub op: Op,
    /// Time in ticks; the upper eight bits are not carried.
    pub time: u64,
    /// The block's address, given or returned; 0 for a failed allocation.
    pub block: u64,
    /// Size in bytes as the program gave it (of one element, where there is a count).
    pub size: u64,
    /// Return address of the call.
    pub caller: u64,
    /// What the op's documentation says.
    pub operands: [u64; 3],
}

impl Event {
    /// Not an event: a place for one.
    pub const NONE: Self = Self {
        op: Op::Pad,
        time: 0,
        block: 0,
        size: 0,
        caller: 0,
        operands: [0; 3],
    };
}

/// Word 0 of any record.
#[inline(always)]
#[must_use]
pub const fn first_word(time: u64, op: Op) -> u64 {
    time << 8 | op as u64
}

/// Writes one event at the start of `slot` and returns the words it took.
///
/// # Panics
/// Never on a slot of [`EVENT_WORDS_MAX`] words; a shorter one is a bug of the caller. `frames`
/// beyond [`FRAMES_MAX`] are cut and marked so.
#[inline(always)]
pub fn write_event(
    slot: &[AtomicU64; EVENT_WORDS_MAX as usize],
    event: &Event,
    frames: &[u64],
    truncated: bool,
) -> u64 {
    let kept = if frames.len() > FRAMES_MAX {
        FRAMES_MAX
    } else {
        frames.len()
    };
    let change = (!frames.is_empty() || truncated).then_some(StackWord {
        count: kept as u16,
        truncated: truncated || frames.len() > kept,
        kept: 0,
    });
    write_event_with(slot, event, change, frames[..kept].iter().copied())
}

/// Writes one event at the start of `slot`, with what its stack differs by from the last one
/// ([`crate::stack`]), and returns the words it took. `frames` are as many as `change` says, and
/// none without it.
///
/// # Panics
/// If `slot` is shorter than the record's head; frames beyond its end are not written, which is a
/// bug of the caller too.
#[inline(always)]
pub fn write_event_with(
    slot: &[AtomicU64],
    event: &Event,
    change: Option<StackWord>,
    frames: impl Iterator<Item = u64>,
) -> u64 {
    // Relaxed everywhere: the ring publishes the words with one release store afterwards.
    let put = |at: usize, word: u64| slot[at].store(word, Ordering::Relaxed);
    let mut first = first_word(event.time, event.op);
    put(1, event.block);
    let mut at = if event.caller >> 48 == 0 && event.size < BRIEF_SIZES {
        put(2, event.caller | event.size << 48);
        3
    } else {
        first |= WIDE;
        put(2, event.caller);
        put(3, event.size);
        4
    };
    for operand in &event.operands[..event.op.operands()] {
        put(at, *operand);
        at += 1;
    }
    if let Some(change) = change {
        first |= FRAMES;
        put(at, change.to_word());
        at += 1;
        for (place, frame) in slot[at..].iter().zip(frames) {
            place.store(frame, Ordering::Relaxed);
        }
        at += change.count as usize;
    }
    put(0, first);
    at as u64
}

/// Writes an event without operands and frames, of a size below [`BRIEF_SIZES`] and with a caller
/// of at most 48 bits: what [`write_event`] does in [`BRIEF_WORDS`] words, without its questions.
///
/// The time comes in the halves in which x86-64 has it: put together here, it takes an instruction
/// less.
#[inline(always)]
pub fn write_brief(
    slot: &[AtomicU64; BRIEF_WORDS as usize],
    op: Op,
    time: TimeHalves,
    block: u64,
    size: u64,
    caller: u64,
) {
    // Relaxed: as in `write_event`. Sums of what does not overlap: an address calculation can do
    // three of them at once.
    let first = (time.high << 40)
        .wrapping_add(time.low << 8)
        .wrapping_add(op as u64);
    slot[0].store(first, Ordering::Relaxed);
    slot[1].store(block, Ordering::Relaxed);
    slot[2].store(caller.wrapping_add(size << 48), Ordering::Relaxed);
}

/// A time in ticks, in two parts: `high << 32 | low`, `low` below 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeHalves {
    /// The upper 32 bits.
    pub high: u64,
    /// The lower 32 bits.
    pub low: u64,
}

#[cfg(all(test, not(loom)))]
mod tests;
