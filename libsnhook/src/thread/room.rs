//! Where a record goes: a lane with room, the pipe, nowhere; and waiting for the launcher. Phase:
//! slow.

use core::sync::atomic::Ordering;

use sntrace_format::control::{CONTROL_WORDS_MAX, Control, write_control};
use sntrace_format::env::OptionBits;
use sntrace_format::layout::Fence;
use sntrace_format::record::EVENT_WORDS_MAX;
use sntrace_format::ring::{Producer, Room};

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

/// One of a thread's lanes: 0 is the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneIndex(pub(super) usize);

/// Where the next record of this thread goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Into this lane, which is claimed and has room.
    Lane(LaneIndex),
    /// Through the pipe.
    Pipe,
    /// It is lost, and has been counted.
    Nowhere,
}

/// Finds room for an event of an attached thread, waiting for the launcher if need be.
pub fn writer(state: &mut ThreadState) -> Writer {
    follow_fence();
    writer_of(state, EVENT_WORDS_MAX)
}

/// Does what the launcher says of the fence in front of the clock. The hot path has none, so with a fence
/// it is left.
#[inline(always)]
pub fn follow_fence() {
    let Some(image) = image::current() else {
        return;
    };
    match image.fence() {
        Fence::Needed if !clock::is_fenced() || !state::hot_path_is_left() => fence(),
        Fence::Needless if clock::is_fenced() => unfence(),
        _ => {}
    }
}

/// From now on clocks are read behind a fence.
#[cold]
#[inline(never)]
pub fn fence() {
    clock::set_fenced(true);
    state::leave_the_hot_path();
}

/// From now on they are not.
#[cold]
#[inline(never)]
pub fn unfence() {
    clock::set_fenced(false);
    state::take_the_hot_path();
}

/// Finds room for a record of so many words, as [`writer`] does.
pub fn writer_of(state: &mut ThreadState, words: u64) -> Writer {
    match state::mode() {
        Mode::Pipe => return Writer::Pipe,
        Mode::Shared => {}
        Mode::Off | Mode::Asleep => return Writer::Nowhere,
    }
    let index = if state.main.is_claimed() {
        nested_lane(&mut state.nested)
    } else {
        Some(LaneIndex(0))
    };
    if let Some(index) = index {
        let (lane, _) = state.lane(index);
        if lane.has_lane() {
            return if wait_for_room(lane, words) {
                Writer::Lane(index)
            } else {
                Writer::Nowhere
            };
        }
    }
    // More threads than lanes: the pipe, if there is one.
    if pipe::open() {
        return Writer::Pipe;
    }
    if let Some(header) = state::run_header() {
        header.lost_events.fetch_add(1, Ordering::Relaxed);
    }
    Writer::Nowhere
}

/// A lane that no interrupted record is using.
fn nested_lane(lanes: &mut [Producer; NESTED_LANES]) -> Option<LaneIndex> {
    let index = lanes.iter().position(|lane| !lane.is_claimed())?;
    let lane = lanes.get_mut(index)?;
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
    Some(LaneIndex(index + 1))
}

/// Makes room in a lane and claims it. False: the event is not to be recorded.
///
/// The claim does not last through a sleep: a handler that comes then may leave by a jump.
fn wait_for_room(lane: &mut Producer, words: u64) -> bool {
    if lane.make_room(words) == Room::Ready {
        ring_doorbell(false);
        return true;
    }
    let since = clock::now();
    let room = wait_until_room(lane, words);
    if lane.has_lane() {
        lane.count_wait(clock::now().saturating_sub(since));
    }
    room
}

#[cold]
fn wait_until_room(lane: &mut Producer, words: u64) -> bool {
    let mut heartbeat = None;
    let mut waits = 0;
    loop {
        if state::mode() != Mode::Shared {
            return false;
        }
        if state::has(OptionBits::OVERFLOW_DROP) && words < CONTROL_WORDS_MAX {
            lane.count_drop();
            ring_doorbell(true);
            return false;
        }
        lane.announce_wait();
        if lane.make_room(words) == Room::Ready {
            return true;
        }
        ring_doorbell(true);
        let Some(header) = state::run_header() else {
            return false;
        };
        if let Some(lane_header) = lane.header() {
            sys::futex_wait(lane_header.waiting(), 1, WAIT_MS);
        }
        if lane.make_room(words) == Room::Ready {
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
    match writer_of(state, CONTROL_WORDS_MAX) {
        Writer::Lane(index) => put_control(state.lane(index).0, time, message),
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
