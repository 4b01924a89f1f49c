//! Where a record goes: a lane with room, the pipe, nowhere; and waiting for the launcher. Phase:
//! slow.

use core::sync::atomic::Ordering;

use sntrace_format::control::{CONTROL_WORDS_MAX, Control, write_control};
use sntrace_format::env::OptionBits;
use sntrace_format::record::EVENT_WORDS_MAX;
use sntrace_format::ring::{self, Producer};

use super::attach::claim_lane;
use super::{NESTED_LANES, ThreadState};
use crate::image;
use crate::platform::{clock, sys};
use crate::state::{self, Mode};
use crate::transport::pipe;

/// How long a full lane's thread sleeps before it looks whether the launcher lives, milliseconds.
const WAIT_MS: i64 = 100;
/// After so many such sleeps without a sign of life the launcher is taken for dead.
const WAITS_MAX: u32 = 10;

/// Where the next record of this thread goes.
pub enum Writer<'a> {
    /// Into this lane, which is claimed and has room.
    Lane(&'a mut Producer),
    /// Through the pipe.
    Pipe,
    /// It is lost, and has been counted.
    Nowhere,
}

/// Finds room for an event of an attached thread, waiting for the launcher if need be.
pub fn writer(state: &mut ThreadState) -> Writer<'_> {
    fence_if_wanted();
    room(state, EVENT_WORDS_MAX)
}

/// Leaves the hot path, which has no fence, once the launcher wants one.
#[inline(always)]
pub fn fence_if_wanted() {
    if !clock::is_fenced() && image::current().is_some_and(image::Image::wants_fence) {
        clock::fence();
        state::leave_the_hot_path();
    }
}

fn room(state: &mut ThreadState, words: u64) -> Writer<'_> {
    match claim_room(state, words) {
        Room::Lane(number) => Writer::Lane(state.lane(number)),
        Room::Pipe => Writer::Pipe,
        Room::Nowhere => Writer::Nowhere,
    }
}

/// Where a record of so many words goes.
pub enum Room {
    /// Into this of the thread's lanes, which is claimed now.
    Lane(usize),
    /// Into the pipe.
    Pipe,
    /// It is not recorded.
    Nowhere,
}

/// Finds room for a record and claims it, waiting if it must.
pub fn claim_room(state: &mut ThreadState, words: u64) -> Room {
    match state::mode() {
        Mode::Pipe => return Room::Pipe,
        Mode::Shared => {}
        Mode::Off | Mode::Asleep => return Room::Nowhere,
    }
    let number = if state.main.is_claimed() {
        nested_lane(&mut state.nested).map(|nested| nested + 1)
    } else {
        Some(0)
    };
    match number.map(|number| (number, state.lane(number))) {
        Some((number, lane)) if lane.has_lane() => {
            if wait_for_room(lane, words) {
                Room::Lane(number)
            } else {
                Room::Nowhere
            }
        }
        // More threads than lanes: the pipe, if there is one.
        _ if pipe::open() => Room::Pipe,
        _ => {
            if let Some(header) = state::run_header() {
                header.lost_events.fetch_add(1, Ordering::Relaxed);
            }
            Room::Nowhere
        }
    }
}

/// A lane that no interrupted record is using.
fn nested_lane(lanes: &mut [Producer; NESTED_LANES]) -> Option<usize> {
    let number = lanes.iter().position(|lane| !lane.is_claimed())?;
    let lane = &mut lanes[number];
    if !lane.has_lane() {
        let mask = sys::block_signals();
        *lane = claim_lane(image::current()?);
        sys::restore_signals(mask);
        if let Some(header) = lane.header() {
            header.thread.store(sys::thread_id(), Ordering::Release);
        }
        if lane.has_lane() && wait_for_room(lane, CONTROL_WORDS_MAX) {
            put_control(
                lane,
                clock::now(),
                &Control::Thread {
                    tid: sys::thread_id(),
                },
            );
        }
    }
    Some(number)
}

/// Makes room in a lane and claims it. False: the event is not to be recorded.
///
/// The claim does not last through a sleep: a handler that comes then may leave by a jump.
fn wait_for_room(lane: &mut Producer, words: u64) -> bool {
    if lane.make_room(words) == ring::Room::Ready {
        ring_doorbell(false);
        return true;
    }
    let mut heartbeat = None;
    let mut waits = 0;
    loop {
        if state::mode() != Mode::Shared {
            return false;
        }
        if state::has(OptionBits::OVERFLOW_DROP) && words <= EVENT_WORDS_MAX {
            lane.count_drop();
            ring_doorbell(true);
            return false;
        }
        lane.announce_wait();
        if lane.make_room(words) == ring::Room::Ready {
            return true;
        }
        ring_doorbell(true);
        let Some(header) = state::run_header() else {
            return false;
        };
        if let Some(lane_header) = lane.header() {
            sys::futex_wait(lane_header.waiting(), 1, WAIT_MS);
        }
        if lane.make_room(words) == ring::Room::Ready {
            return true;
        }
        let beat = header.heartbeat.load(Ordering::Relaxed);
        waits = if heartbeat == Some(beat) {
            waits + 1
        } else {
            0
        };
        heartbeat = Some(beat);
        let closing = header.closing.load(Ordering::Acquire) != 0;
        if closing || (waits >= WAITS_MAX && sys::process_is_gone(state::launcher())) {
            state::set_mode(Mode::Off);
            return false;
        }
    }
}

/// Tells the launcher that there is something to read.
pub fn ring_doorbell(always: bool) {
    let Some(header) = state::run_header() else {
        return;
    };
    header.doorbell.rings.fetch_add(1, Ordering::SeqCst);
    if header.doorbell.sleeping.load(Ordering::SeqCst) != 0 || always {
        sys::futex_wake(&header.doorbell.rings);
    }
}

/// Writes a control record of this thread.
pub fn control(state: &mut ThreadState, time: u64, message: &Control<'_>) {
    match room(state, CONTROL_WORDS_MAX) {
        Writer::Lane(lane) => put_control(lane, time, message),
        Writer::Pipe => pipe::send_control(time, message),
        Writer::Nowhere => {}
    }
}

fn put_control(lane: &mut Producer, time: u64, message: &Control<'_>) {
    lane.enter();
    // SAFETY: there is room for a control record.
    let slot = unsafe { lane.slot::<{ CONTROL_WORDS_MAX as usize }>() };
    let words = write_control(slot, time, message);
    lane.publish(words);
}
