//! Events with their full stacks: the lane is claimed, its last stack becomes this event's, and the
//! record says how the two differ.
//!
//! The stack is made under the claim, since the last stack belongs to whoever has it, and before
//! the record is entered, since the launcher waits for who is inside a record. Nothing else may
//! write to the lane meanwhile, so what takes records of its own ends the claim and begins again:
//!
//! * an address that was not announced yet: its module's record comes before the event's;
//! * more new frames than an event holds: they go ahead in records of their own, each of which
//!   leaves a last stack that the next attempt finds.
//!
//! Each attempt takes the stack as it is then; so it does not matter what a signal handler does
//! with the lane in between.
//!
//! Phase: hot; slow where nothing is known yet.

use core::sync::atomic::Ordering;

use sntrace_format::control::{Control, DIFFERENCE_BYTES};
use sntrace_format::env::OptionBits;
use sntrace_format::record::{EVENT_WORDS_MAX, Event, FRAMES_MAX, Op, write_event_with};
use sntrace_format::ring::Producer;
use sntrace_format::stack::{STACK_FRAMES_MAX, STACK_WORDS_MAX, StackWord, write_stack};

use crate::callers;
use crate::last_stack::{Difference, LastStack, Obstacle, Unknown};
use crate::platform::{clock, sys};
use crate::record::Site;
use crate::state::{self, EPOCH};
use crate::thread::{self, LaneIndex, ThreadState, Writer};
use crate::transport::pipe;

const SLOT: usize = EVENT_WORDS_MAX as usize;

/// Where an event goes.
enum Ready {
    /// Into this lane, which is claimed; its last stack is the event's, which differs so.
    Lane(LaneIndex, Difference),
    /// Through the pipe.
    Pipe,
    /// It is lost, and has been counted.
    Nowhere,
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
    if state.main.claim() {
        let sampled = state.main.is_sample();
        let since = if sampled { clock::now() } else { 0 };
        let epoch = EPOCH.load(Ordering::Relaxed);
        let made = state.main_stack.update(site, epoch, Unknown::Stop);
        let (lane, stack) = (&mut state.main, &mut state.main_stack);
        // By value: what is given away by reference has to be in memory, and is waited for.
        if let Ok(difference) = made
            && difference.listed() <= FRAMES_MAX
            && !state::has(OptionBits::VERIFY_STACKS)
        {
            lane.enter();
            put(lane, stack, difference, |time| Event {
                op,
                time,
                block: block as u64,
                size: size as u64,
                caller: site.ra as u64,
                operands,
            });
            if sampled {
                lane.count_sample(clock::now().saturating_sub(since));
            }
            return;
        }
        give_back(lane, stack, made.ok());
    }
    note_slowly(state, site, op, block, size, operands);
}

#[cold]
#[inline(never)]
fn note_slowly(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    block: usize,
    size: usize,
    operands: [u64; 3],
) {
    let event = |time| Event {
        op,
        time,
        block: block as u64,
        size: size as u64,
        caller: site.ra as u64,
        operands,
    };
    let Some(state) = thread::attached(state) else {
        return;
    };
    match ready(state, site) {
        Ready::Lane(index, difference) => {
            let (lane, stack) = state.lane(index);
            lane.enter();
            put(lane, stack, difference, event);
        }
        Ready::Pipe => send(state, site, || event(clock::now())),
        Ready::Nowhere => {}
    }
}

/// Records a call that replaces one block by another, `call`ing it in between.
#[inline(never)]
pub fn note_replacing(
    state: &mut ThreadState,
    site: &Site,
    op: Op,
    old: usize,
    size: usize,
    third: u64,
    call: impl FnOnce() -> usize,
) -> usize {
    let Some(state) = thread::attached(state) else {
        return call();
    };
    let event = |block: usize, started, time| Event {
        op,
        time,
        block: block as u64,
        size: size as u64,
        caller: site.ra as u64,
        operands: [old as u64, started, third],
    };
    match ready(state, site) {
        Ready::Lane(index, difference) => {
            let (lane, stack) = state.lane(index);
            lane.enter();
            let started = clock::now();
            let block = call();
            put(lane, stack, difference, |time| event(block, started, time));
            block
        }
        Ready::Pipe => {
            let started = clock::now();
            let block = call();
            send(state, site, || event(block, started, clock::now()));
            block
        }
        Ready::Nowhere => call(),
    }
}

/// Writes an event into a lane that was entered, and publishes it.
#[inline(always)]
fn put(
    lane: &mut Producer,
    stack: &LastStack,
    difference: Difference,
    event: impl FnOnce(u64) -> Event,
) {
    let event = event(clock::now());
    // SAFETY: the lane is claimed with room for an event.
    let slot = unsafe { lane.slot::<SLOT>() };
    let frames = stack.listed(difference.kept);
    let words = write_event_with(slot, &event, difference.word(), frames);
    lane.publish(words);
}

/// Ends a claim; what the last stack has become is not sent.
fn give_back(lane: &mut Producer, stack: &mut LastStack, made: Option<Difference>) {
    if let Some(difference) = made {
        stack.take_back(&difference);
    }
    lane.release_claim();
}

/// Claims a lane and makes its last stack the one that is wanted, whatever it takes.
fn ready(state: &mut ThreadState, site: &Site) -> Ready {
    let (mut unknown, mut words) = (Unknown::Stop, EVENT_WORDS_MAX);
    let mut announced = 0;
    thread::follow_fence();
    loop {
        let index = match thread::writer_of(state, words) {
            Writer::Lane(index) => index,
            Writer::Pipe => return Ready::Pipe,
            Writer::Nowhere => return Ready::Nowhere,
        };
        let (lane, stack) = state.lane(index);
        let epoch = EPOCH.load(Ordering::Acquire);
        if announced != epoch {
            unknown = Unknown::Stop;
        }
        let made = stack.update(site, epoch, unknown);
        match made {
            Ok(difference) if difference.listed() <= FRAMES_MAX => {
                if state::has(OptionBits::VERIFY_STACKS) {
                    verify(state, site, index);
                }
                return Ready::Lane(index, difference);
            }
            Ok(difference) if words == STACK_WORDS_MAX => {
                send_ahead(lane, stack, &difference);
            }
            Ok(_) => {
                give_back(lane, stack, made.ok());
                words = STACK_WORDS_MAX;
            }
            Err(Obstacle::Unannounced) => {
                give_back(lane, stack, made.ok());
                callers::announce_stack(state, site);
                (unknown, announced) = (Unknown::LookUp, epoch);
            }
            Err(Obstacle::NoMemory) => {
                give_back(lane, stack, made.ok());
                let mask = sys::block_signals();
                let got = state.lane(index).1.get_memory();
                sys::restore_signals(mask);
                if !got {
                    return without_memory(state);
                }
            }
        }
    }
}

/// An event without its stack, which is said to go on.
fn without_memory(state: &mut ThreadState) -> Ready {
    match thread::writer(state) {
        Writer::Lane(index) => Ready::Lane(index, Difference::NOTHING_KNOWN),
        Writer::Pipe => Ready::Pipe,
        Writer::Nowhere => Ready::Nowhere,
    }
}

/// Writes the outer part of the new frames as a record of its own.
fn send_ahead(lane: &mut Producer, stack: &mut LastStack, difference: &Difference) {
    // At least one is left to the event, whose record says how the stack ends.
    let count = (difference.listed() - 1).min(STACK_FRAMES_MAX);
    stack.shorten(difference.kept + count);
    let change = StackWord {
        count: count as u16,
        truncated: difference.truncated,
        kept: difference.kept as u32,
    };
    lane.enter();
    let time = clock::now();
    // SAFETY: the lane is claimed with this much room.
    let slot = unsafe { lane.slot::<{ STACK_WORDS_MAX as usize }>() };
    let words = write_stack(slot, time, change, stack.listed(difference.kept));
    lane.publish(words);
}

/// Sends an event through the pipe, with its whole stack.
#[inline(never)]
fn send(state: &mut ThreadState, site: &Site, event: impl FnOnce() -> Event) {
    let (mut frames, mut count) = ([0; STACK_FRAMES_MAX], 0);
    let truncated = callers::each_frame(state, site, |frame| match frames.get_mut(count) {
        Some(place) => {
            *place = frame;
            count += 1;
            true
        }
        None => false,
    });
    pipe::send_whole(&event(), frames.get(..count).unwrap_or(&[]), truncated);
}

/// Compares the last stack with one that is walked without it, and tells the launcher.
#[cold]
#[inline(never)]
fn verify(state: &mut ThreadState, site: &Site, index: LaneIndex) {
    let Some(header) = state::run_header() else {
        return;
    };
    let (_, stack) = state.lane(index);
    header.stacks_verified.fetch_add(1, Ordering::Relaxed);
    let Some(same) = stack.first_difference(site) else {
        return;
    };
    if header.stacks_different.fetch_add(1, Ordering::Relaxed) > 0 {
        return;
    }
    let mut sides = [[0u8; DIFFERENCE_BYTES]; 2];
    let [reused, walked] = &mut sides;
    let put = |side: &mut [u8], at: usize, frame: u64| match side.get_mut(at * 8..at * 8 + 8) {
        Some(place) => {
            place.copy_from_slice(&frame.to_le_bytes());
            true
        }
        None => false,
    };
    let reused_count = stack.listed(0).take(DIFFERENCE_BYTES / 8);
    let reused_count = reused_count
        .enumerate()
        .filter(|&(at, frame)| put(reused, at, frame))
        .count();
    let mut walked_count = 0;
    stack.walk(site, |frame| {
        let fits = put(walked, walked_count, frame);
        walked_count += usize::from(fits);
        fits
    });
    let message = Control::StackDifference {
        same: same as u32,
        reused: sides[0].get(..reused_count * 8).unwrap_or(&[]),
        walked: sides[1].get(..walked_count * 8).unwrap_or(&[]),
    };
    thread::control(state, clock::now(), &message);
}
