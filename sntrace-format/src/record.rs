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

use crate::primitive::{AtomicU64, Ordering};
use crate::stack::{STACK_FRAMES_MAX, StackWord};

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

macro_rules! ops {
    ($($(#[doc = $doc:literal])* $name:ident = $tag:literal, $operands:literal, $text:literal;)*) => {
        /// What was called. The numbers are the wire tags.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Op { $($(#[doc = $doc])* $name = $tag,)* }

        impl Op {
            /// Every op, in the order of the tags.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            /// The op with this tag.
            #[inline(always)]
            #[must_use]
            pub const fn from_tag(tag: u8) -> Option<Op> {
                // A look into a table: events ask for it, and what comes next is hard to guess.
                const BY_TAG: &[Option<Op>; 256] = &{
                    let mut by_tag = [None; 256];
                    $(by_tag[$tag] = Some(Op::$name);)*
                    by_tag
                };
                BY_TAG[tag as usize]
            }

            /// How many operand words a record of this op carries.
            #[inline(always)]
            #[must_use]
            pub const fn operands(self) -> usize {
                match self { $(Op::$name => $operands,)* }
            }

            /// The function's name, as lines and JSON show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => $text,)* }
            }
        }
    };
}

ops! {
    /// `malloc(size)`.
    Malloc = 1, 0, "malloc";
    /// `calloc(count, size)`; operand: count.
    Calloc = 2, 1, "calloc";
    /// `realloc(old, size)`; operands: old block, time before the call.
    Realloc = 3, 2, "realloc";
    /// `reallocarray(old, count, size)`; operands: old block, time before the call, count.
    Reallocarray = 4, 3, "reallocarray";
    /// `aligned_alloc(alignment, size)`; operand: alignment.
    AlignedAlloc = 5, 1, "aligned_alloc";
    /// `posix_memalign(&block, alignment, size)`; operand: alignment. Block 0: it failed.
    PosixMemalign = 6, 1, "posix_memalign";
    /// `memalign(alignment, size)`; operand: alignment.
    Memalign = 7, 1, "memalign";
    /// `valloc(size)`.
    Valloc = 8, 0, "valloc";
    /// `pvalloc(size)`.
    Pvalloc = 9, 0, "pvalloc";
    /// `free(block)`.
    Free = 10, 0, "free";
    /// `free_sized(block, size)`.
    FreeSized = 11, 0, "free_sized";
    /// `free_aligned_sized(block, alignment, size)`; operand: alignment.
    FreeAlignedSized = 12, 1, "free_aligned_sized";
    /// `operator new(size)`.
    New = 13, 0, "operator new";
    /// `operator new[](size)`.
    NewArray = 14, 0, "operator new[]";
    /// `operator new(size, align_val_t)`; operand: alignment.
    NewAligned = 15, 1, "operator new";
    /// `operator new[](size, align_val_t)`; operand: alignment.
    NewArrayAligned = 16, 1, "operator new[]";
    /// `operator delete(block)`; a sized form carries its size, the others 0.
    Delete = 17, 0, "operator delete";
    /// `operator delete[](block)`.
    DeleteArray = 18, 0, "operator delete[]";
    /// `operator delete(block, align_val_t)`; operand: alignment.
    DeleteAligned = 19, 1, "operator delete";
    /// `operator delete[](block, align_val_t)`; operand: alignment.
    DeleteArrayAligned = 20, 1, "operator delete[]";
    /// `mmap(address, size, prot, flags, fd, offset)`; operand: `prot | flags << 32`.
    Mmap = 21, 1, "mmap";
    /// `munmap(block, size)`.
    Munmap = 22, 0, "munmap";
    /// `mremap(old, old_size, size, ...)`; operands: old block, time before the call, old size.
    Mremap = 23, 3, "mremap";
    /// `brk(address)` or `sbrk(increment)`: block is the break before, size the signed growth.
    Brk = 24, 0, "brk";
    /// The lane's last stack changes: see [`crate::stack`].
    Stack = 61, 0, "stack";
    /// Nothing up to the end of the ring.
    Pad = 62, 0, "pad";
    /// A control message: see [`crate::control`].
    Control = 63, 0, "control";
}

impl Op {
    /// Whether a successful call gives the caller a block it did not have before.
    #[must_use]
    pub const fn acquires(self) -> bool {
        !self.only_releases() && self.is_call() && !matches!(self, Op::Brk)
    }

    /// Whether this is the call of a function, and its record an event.
    #[must_use]
    pub const fn is_call(self) -> bool {
        !matches!(self, Op::Stack | Op::Pad | Op::Control)
    }

    /// Whether the call gives a block back and nothing else.
    #[must_use]
    pub const fn only_releases(self) -> bool {
        matches!(
            self,
            Op::Free
                | Op::FreeSized
                | Op::FreeAlignedSized
                | Op::Delete
                | Op::DeleteArray
                | Op::DeleteAligned
                | Op::DeleteArrayAligned
                | Op::Munmap
        )
    }

    /// Whether the call can replace one block by another: its first operands are the old block
    /// and the time before the call.
    #[must_use]
    pub const fn replaces(self) -> bool {
        matches!(self, Op::Realloc | Op::Reallocarray | Op::Mremap)
    }

    /// Whether this is memory from the kernel, not from the allocator.
    #[must_use]
    pub const fn is_mapping(self) -> bool {
        matches!(self, Op::Mmap | Op::Munmap | Op::Mremap | Op::Brk)
    }
}

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
/// Anything that [`write_event`] and [`crate::control`] do not write.
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
/// Anything that [`write_event`] and [`crate::control`] do not write.
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

#[cfg(all(test, not(loom)))]
mod tests;
