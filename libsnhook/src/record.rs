//! The hot path: an event into this thread's lane; its cold twin right behind it.
//!
//! Hot means: a known call site, room in the lane, no record interrupted by a signal. Then an
//! event is the clock and a few stores. Everything else (a call site whose wrappers must be looked
//! past, a full chunk, a signal handler on top of a record, a forked child's first event, the
//! pipe, a large size) is found by one of three tests and handled out of line.
//!
//! Invariant: the clock is read between `enter` and `publish` of the lane that gets the record,
//! so that the launcher can tell that an event with an earlier time may still come.

use core::sync::atomic::{AtomicU64, Ordering};

use sntrace_format::env::OptionBits;
use sntrace_format::record::{
    BRIEF_SIZES, BRIEF_WORDS, EVENT_WORDS_MAX, Event, FRAMES_MAX, Op, write_brief, write_event,
};
use sntrace_format::ring::Producer;
use sntrace_format::verdict;

use crate::callers;
use crate::full;
use crate::platform::clock;
use crate::state;
use crate::thread::{self, ThreadState, Writer};
use crate::transport::pipe;

const SLOT: usize = EVENT_WORDS_MAX as usize;

/// Where a hooked function was called from.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Stack pointer at the hook's first instruction.
    pub sp: usize,
    /// Frame pointer register at the hook's first instruction.
    pub fp: usize,
    /// Return address.
    pub ra: usize,
}

impl Site {
    /// The stack pointer as the caller sees it after the return.
    #[inline(always)]
    pub fn sp_after_return(&self) -> usize {
        // The call instruction of x86-64 has pushed the return address; aarch64's has not.
        if cfg!(target_arch = "x86_64") {
            self.sp + 8
        } else {
            self.sp
        }
    }
}

/// Frames beyond the caller. Uninitialised until counted.
pub struct Frames {
    words: [core::mem::MaybeUninit<u64>; FRAMES_MAX],
    count: usize,
    /// Whether the stack could not be followed further.
    pub truncated: bool,
}

impl Frames {
    #[inline(always)]
    fn new() -> Self {
        Self {
            words: [core::mem::MaybeUninit::uninit(); FRAMES_MAX],
            count: 0,
            truncated: false,
        }
    }

    /// Adds a return address; false when there is no room for another.
    #[inline(always)]
    pub fn push(&mut self, address: u64) -> bool {
        if let Some(word) = self.words.get_mut(self.count) {
            word.write(address);
            self.count += 1;
        }
        self.count < FRAMES_MAX
    }

    #[inline(always)]
    fn as_slice(&self) -> &[u64] {
        // SAFETY: the first `count` words were written, and `count` never exceeds the array.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().cast(), self.count) }
    }
}

/// Whether the caller alone names the event: it was announced and is no wrapper. Such an address
/// has at most 48 bits.
#[inline(always)]
fn is_direct(board: *const AtomicU64, ra: usize) -> bool {
    let address = ra as u64;
    // SAFETY: a board has BOARD_ENTRIES words, and the index is below that. Relaxed: see
    // `sntrace_format::verdict`.
    let word = unsafe { &*board.add(verdict::index(address)) }.load(Ordering::Relaxed);
    // A word that an address beyond 48 bits would match belongs to an epoch to come.
    word == address.wrapping_add(state::direct_key())
}

/// Claims the thread's lane if there is nothing special about a call from `ra`.
#[inline(always)]
fn claim_for(state: &mut ThreadState, ra: usize) -> bool {
    // A state that has room is attached, and has a board.
    state.main.may_have_room() && is_direct(state.hot_board, ra) && state.main.claim()
}

/// Records an event without operands whose time is now, if nothing about it is special.
#[inline(always)]
pub fn note_briefly(state: &mut ThreadState, ra: usize, op: Op, block: usize, size: usize) -> bool {
    if size as u64 >= BRIEF_SIZES {
        return false;
    }
    let ThreadState {
        main, hot_board, ..
    } = state;
    // A state that has room is attached, and has a board.
    let allowed = || is_direct(*hot_board, ra);
    let fill = |slot: &[AtomicU64; BRIEF_WORDS as usize]| {
        let time = clock::counter();
        write_brief(slot, op, time, block as u64, size as u64, ra as u64);
    };
    // SAFETY: an event has more room than this.
    unsafe { main.write(BRIEF_WORDS, allowed, fill) }
}

/// Enters a claimed lane, reads the clock, writes, publishes.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // One event's fields; a struct would only rename them.
fn put(
    lane: &mut Producer,
    op: Op,
    block: usize,
    size: usize,
    caller: usize,
    operands: [u64; 3],
    frames: &[u64],
    truncated: bool,
) {
    lane.enter();
    let event = Event {
        op,
        time: clock::now(),
        block: block as u64,
        size: size as u64,
        caller: caller as u64,
        operands,
    };
    // SAFETY: the caller has claimed room for an event.
    let slot = unsafe { lane.slot::<SLOT>() };
    let words = write_event(slot, &event, frames, truncated);
    lane.publish(words);
}

/// Records an event whose time is now.
#[inline(always)]
pub fn note(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    block: usize,
    size: usize,
    operands: [u64; 3],
) {
    if op.operands() == 0 {
        if note_briefly(state, site.ra, op, block, size) {
            return;
        }
        note_further(state, site.sp, site.fp, site.ra, op, block, size, 0, 0, 0);
    } else if claim_for(state, site.ra) {
        put(
            &mut state.main,
            op,
            block,
            size,
            site.ra,
            operands,
            &[],
            false,
        );
    } else {
        // Word by word: an aggregate would have to be put together before it is known to be needed.
        let [first, second, third] = operands;
        note_further(
            state, site.sp, site.fp, site.ra, op, block, size, first, second, third,
        );
    }
}

/// The rest of [`note`]: callers that need looking past, and everything rare.
#[inline(never)]
#[allow(clippy::too_many_arguments)] // See the call.
pub fn note_further(
    state: &mut ThreadState,
    sp: usize,
    fp: usize,
    ra: usize,
    op: Op,
    block: usize,
    size: usize,
    first: u64,
    second: u64,
    third: u64,
) {
    let (site, operands) = (&Site { sp, fp, ra }, [first, second, third]);
    if state::has(OptionBits::FULL_STACKS) {
        return full::note(state, site, op, block, size, operands);
    }
    let mut frames = Frames::new();
    thread::follow_fence();
    if state.main.may_have_room() {
        callers::collect(state, site, &mut frames);
        if state.main.claim() {
            return put(
                &mut state.main,
                op,
                block,
                size,
                site.ra,
                operands,
                frames.as_slice(),
                frames.truncated,
            );
        }
    }
    note_rarely(state, site, op, block, size, operands, &mut frames);
}

#[cold]
#[inline(never)]
fn note_rarely(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    block: usize,
    size: usize,
    operands: [u64; 3],
    frames: &mut Frames,
) {
    let Some(state) = thread::attached(state) else {
        return;
    };
    if frames.count == 0 && !frames.truncated {
        callers::collect(state, site, frames);
    }
    match thread::writer(state) {
        Writer::Lane(index) => put(
            state.lane(index).0,
            op,
            block,
            size,
            site.ra,
            operands,
            frames.as_slice(),
            frames.truncated,
        ),
        Writer::Pipe => {
            let event = Event {
                op,
                time: clock::now(),
                block: block as u64,
                size: size as u64,
                caller: site.ra as u64,
                operands,
            };
            pipe::send_event(state, &event, frames.as_slice(), frames.truncated);
        }
        Writer::Nowhere => {}
    }
}

/// Records a call that replaces one block by another, `call`ing it in between: the record
/// carries the time before it, when the old block was still owned, and the time after it.
#[inline(always)]
pub fn note_replacing(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    call: impl FnOnce() -> usize,
) -> usize {
    if claim_for(state, site.ra) {
        return replace_in(
            &mut state.main,
            site,
            op,
            old,
            size,
            third,
            &[],
            false,
            call,
        );
    }
    replace_further(state, site, op, old, size, third, call)
}

/// The rest of [`note_replacing`].
#[inline(never)]
fn replace_further(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    call: impl FnOnce() -> usize,
) -> usize {
    if state::has(OptionBits::FULL_STACKS) {
        return full::note_replacing(state, site, op, old, size, third, call);
    }
    let mut frames = Frames::new();
    let Some(state) = thread::attached(state) else {
        return call();
    };
    callers::collect(state, site, &mut frames);
    // Whatever room there was, it is the right lane that counts from here on.
    match thread::writer(state) {
        Writer::Lane(index) => replace_in(
            state.lane(index).0,
            site,
            op,
            old,
            size,
            third,
            frames.as_slice(),
            frames.truncated,
            call,
        ),
        Writer::Pipe => {
            let started = clock::now();
            let block = call();
            let operands = [old as u64, started, third];
            let event = Event {
                op,
                time: clock::now(),
                block: block as u64,
                size: size as u64,
                caller: site.ra as u64,
                operands,
            };
            pipe::send_event(state, &event, frames.as_slice(), frames.truncated);
            block
        }
        Writer::Nowhere => call(),
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // One event's fields; a struct would only rename them.
fn replace_in(
    lane: &mut Producer,
    site: &Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    frames: &[u64],
    truncated: bool,
    call: impl FnOnce() -> usize,
) -> usize {
    lane.enter();
    let started = clock::now();
    let block = call();
    let operands = [old as u64, started, third];
    let event = Event {
        op,
        time: clock::now(),
        block: block as u64,
        size: size as u64,
        caller: site.ra as u64,
        operands,
    };
    // SAFETY: claimed with room for an event.
    let slot = unsafe { lane.slot::<SLOT>() };
    let words = write_event(slot, &event, frames, truncated);
    lane.publish(words);
    block
}

/// Whether only return addresses are wanted.
pub fn raw_callers() -> bool {
    state::has(OptionBits::RAW_CALLERS)
}
