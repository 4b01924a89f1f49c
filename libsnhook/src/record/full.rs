//! Events with their whole stacks: what [`super`] does, where the lane's last stack is compared.
//!
//! The lane is claimed before its last stack is looked at, and until the record is published: see
//! [`crate::stacks`]. So a signal handler in between writes elsewhere, modules that the walk meets
//! are announced elsewhere too (by time, before the event), and what is remembered is what the
//! launcher has read.

use core::sync::atomic::{AtomicU64, Ordering};

use sntrace_format::env::OptionBits;
use sntrace_format::record::{EVENT_WORDS_MAX, Event, FRAMES_MAX, Op, write_change, write_event};

use super::{SLOT, Site};
use crate::platform::clock;
use crate::stacks::{self, Change, LaneStack};
use crate::state;
use crate::thread::{self, Room, ThreadState};
use crate::transport::pipe;

/// A claimed lane, and how the stack differs from its last one.
struct Taken {
    lane: usize,
    /// `None` without memory for stacks: the event has its caller alone.
    stack: Option<&'static mut LaneStack>,
    change: Change,
}

/// Where an event goes.
enum Way {
    Lane(Taken),
    Pipe,
    Nowhere,
}

/// Records an event whose time is now.
#[inline(always)]
pub(super) fn note(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    block: usize,
    size: usize,
    operands: [u64; 3],
) {
    let Some(state) = thread::attached(state) else {
        return;
    };
    let event = Event {
        op,
        time: 0,
        block: block as u64,
        size: size as u64,
        caller: site.ra as u64,
        operands,
    };
    match take(state, site) {
        Way::Lane(taken) => {
            state.lane(taken.lane).enter();
            write(state, &taken, event);
        }
        Way::Pipe => send(state, site, event),
        Way::Nowhere => {}
    }
}

/// Records a call that replaces one block by another, `call`ing it in between.
#[inline(always)]
pub(super) fn note_replacing(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    call: impl FnOnce() -> usize,
) -> usize {
    let way = take(state, site);
    if let Way::Lane(taken) = &way {
        state.lane(taken.lane).enter();
    }
    let started = clock::now();
    let block = call();
    let event = Event {
        op,
        time: 0,
        block: block as u64,
        size: size as u64,
        caller: site.ra as u64,
        operands: [old as u64, started, third],
    };
    match way {
        Way::Lane(taken) => write(state, &taken, event),
        Way::Pipe => send(state, site, event),
        Way::Nowhere => {}
    }
    block
}

/// Claims a lane with room for an event and its stack.
#[inline(always)]
fn take(state: &mut ThreadState, site: &Site) -> Way {
    let lane = if state.main.claim() {
        0
    } else {
        match thread::claim_room(state, EVENT_WORDS_MAX) {
            Room::Lane(lane) => lane,
            Room::Pipe => return Way::Pipe,
            Room::Nowhere => return Way::Nowhere,
        }
    };
    let taken = walk(state, site, lane);
    if taken.change.new <= FRAMES_MAX {
        return Way::Lane(taken);
    }
    take_larger(state, site, taken)
}

#[inline(always)]
fn walk(state: &mut ThreadState, site: &Site, lane: usize) -> Taken {
    match state.stack(lane) {
        Some(stack) => {
            let change = stack.walk(state, site);
            if state::has(OptionBits::VERIFY_STACKS) {
                verify(state, site, stack);
            }
            Taken {
                lane,
                stack: Some(stack),
                change,
            }
        }
        None => Taken {
            lane,
            stack: None,
            change: Change {
                new: 0,
                kept: 0,
                truncated: true,
                same: false,
            },
        },
    }
}

/// Makes room for a record of many frames. What the walk found is thrown away meanwhile, as a handler
/// may come while the lane is not claimed.
#[cold]
#[inline(never)]
fn take_larger(state: &mut ThreadState, site: &Site, mut taken: Taken) -> Way {
    loop {
        let words = EVENT_WORDS_MAX + taken.change.new as u64;
        if let Some(stack) = taken.stack.take() {
            stack.forget();
        }
        state.lane(taken.lane).release();
        let lane = match thread::claim_room(state, words) {
            Room::Lane(lane) => lane,
            Room::Pipe => return Way::Pipe,
            Room::Nowhere => return Way::Nowhere,
        };
        taken = walk(state, site, lane);
        if EVENT_WORDS_MAX + taken.change.new as u64 <= words {
            return Way::Lane(taken);
        }
    }
}

/// Reads the clock, writes and publishes. The lane has been entered.
#[inline(always)]
fn write(state: &mut ThreadState, taken: &Taken, mut event: Event) {
    let lane = state.lane(taken.lane);
    event.time = clock::now();
    let change = taken.change;
    let words = if change.same {
        // SAFETY: room for an event was claimed.
        write_event(unsafe { lane.slot::<SLOT>() }, &event, &[], false)
    } else {
        let words = EVENT_WORDS_MAX as usize + change.new.saturating_sub(FRAMES_MAX);
        // SAFETY: room for an event with that many more frames was claimed.
        let slot = unsafe { lane.words(words) };
        let kept = u32::try_from(change.kept).unwrap_or(0);
        match &taken.stack {
            Some(stack) => write_change(slot, &event, stack.new_frames(), change.truncated, kept),
            None => write_change(slot, &event, core::iter::empty(), true, 0),
        }
    };
    lane.publish(words);
}

/// Through the pipe a stack goes as a whole, as far as a message holds it.
#[cold]
#[inline(never)]
fn send(state: &mut ThreadState, site: &Site, mut event: Event) {
    let mut frames = [0; pipe::FRAMES];
    let (count, truncated) = stacks::walk_plainly(state, site, &mut frames);
    event.time = clock::now();
    pipe::send_stack(&event, frames.get(..count).unwrap_or(&[]), truncated);
}

/// Compares the remembered stack with one that is walked anew.
#[cold]
#[inline(never)]
fn verify(state: &mut ThreadState, site: &Site, stack: &LaneStack) {
    const MOST: usize = 1024;
    let mut plain = [0; MOST];
    let (count, _) = stacks::walk_plainly(state, site, &mut plain);
    let plain = plain.get(..count).unwrap_or(&[]);
    let mut remembered = stack.frames();
    let mut same = plain.iter().all(|&frame| remembered.next() == Some(frame));
    same &= count == MOST || remembered.next().is_none();
    if let Some(header) = state::run_header() {
        let counter: &AtomicU64 = if same {
            &header.stacks_verified
        } else {
            &header.stacks_differing
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
