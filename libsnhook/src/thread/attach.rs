//! A thread gets a state and a lane: its own, or what a thread that has ended left. Phase: slow,
//! with signals blocked.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sntrace_format::control::Control;
use sntrace_format::layout::{self, Fence};
use sntrace_format::ring::{LaneHeader, Producer};

use super::room::{fence, unfence};
use super::{ThreadState, control};
use crate::image::{self, Image};
use crate::platform::{clock, set_thread_slot, sys};
use crate::state::{self, Mode};

/// Bytes of a region of states.
const REGION_BYTES: usize = 64 << 10;
/// States in a region.
const REGION_STATES: usize = REGION_BYTES / size_of::<ThreadState>();
/// Regions at most: with the above, more threads than Linux allows in a process by default.
const REGIONS: usize = 512;
/// How many foreign states a new thread asks the kernel about before it takes a fresh one.
const ASKED_MAX: usize = 16;

/// Regions of states. Addresses survive a fork, contents don't. Compare-and-swap from 0, release;
/// read with acquire.
static REGION_LIST: [AtomicUsize; REGIONS] = [const { AtomicUsize::new(0) }; REGIONS];
/// Where the search for a state of an ended thread goes on. Relaxed: only a hint.
static CURSOR: AtomicUsize = AtomicUsize::new(0);
/// Where the search for a free lane goes on. Relaxed: only a hint.
static LANE_HINT: AtomicUsize = AtomicUsize::new(0);

/// In a child made by `fork`: becomes a process of its own at once.
pub fn forked() {
    if state::mode() == Mode::Off || state::mode() == Mode::Asleep {
        return;
    }
    if let Some(image) = image::current()
        && image.is_begun()
    {
        // The kernel did not wipe. The child has one thread, so nobody else looks.
        image.wipe();
        for region in &REGION_LIST {
            let region = region.load(Ordering::Acquire);
            if region != 0 {
                // SAFETY: the region is this size and zeros are valid states.
                unsafe { core::ptr::write_bytes(region as *mut u8, 0, REGION_BYTES) };
            }
        }
    }
    let _ = attach();
}

/// Gives this thread a state with a lane. `None`: events can't be recorded.
#[cold]
#[inline(never)]
pub(super) fn attach() -> Option<&'static mut ThreadState> {
    let mask = sys::block_signals();
    let state = attach_blocked();
    sys::restore_signals(mask);
    state
}

fn attach_blocked() -> Option<&'static mut ThreadState> {
    let image = image::current()?;
    // A launcher that is gone or a process that is not to be followed.
    if matches!(state::mode(), Mode::Off | Mode::Asleep) {
        return None;
    }
    let begins = image::begin(image);
    if begins && !image::claim(image) {
        state::set_mode(Mode::Off);
        set_thread_slot(0);
        image::finish(image);
        return None;
    }
    if begins {
        // A forked child has its parent's.
        unfence();
    } else if image.fence() == Fence::Unjudged {
        // The second thread, or a later one.
        fence();
    }
    let state = take_state();
    if let Some(state) = state {
        set_thread_slot(core::ptr::from_mut(state) as usize);
        state.board = image.board();
        state.hot_board = image.hot_board();
        state.inside = 0;
        state.loader_sp = 0;
        state.attached = true;
        if state::mode() == Mode::Shared && !state.main.has_lane() {
            state.main = claim_lane(image);
        }
        if let Some(lane) = state.main.header() {
            lane.thread.store(sys::thread_id(), Ordering::Release);
        }
        control(
            state,
            clock::now(),
            &Control::Thread {
                tid: sys::thread_id(),
            },
        );
        if begins {
            image::introduce(state, image);
        }
        image::finish(image);
        return Some(state);
    }
    image::finish(image);
    None
}

/// A state that nobody has, or that a thread that has ended left.
fn take_state() -> Option<&'static mut ThreadState> {
    let me = sys::thread_id();
    let mut asked = 0;
    for place in &REGION_LIST {
        let mut region = place.load(Ordering::Acquire);
        if region == 0 {
            region = sys::map_anonymous(REGION_BYTES)?;
            let _ = sys::wipe_on_fork(region, REGION_BYTES);
            if let Err(other) =
                place.compare_exchange(0, region, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: just mapped, and nobody knows of it.
                unsafe { sys::unmap(region, REGION_BYTES) };
                region = other;
            }
        }
        let start = CURSOR.load(Ordering::Relaxed);
        for offset in 0..REGION_STATES {
            let at = (start + offset) % REGION_STATES;
            let state = (region + at * size_of::<ThreadState>()) as *mut ThreadState;
            // SAFETY: inside the region, aligned, zeros or a state.
            let owner = unsafe { &(*state).owner };
            let found = owner.load(Ordering::Acquire);
            // A new thread can have an ended one's id: then the state is left over for sure.
            let free = found == 0 || found == me || {
                asked += 1;
                asked <= ASKED_MAX && sys::thread_is_gone(found)
            };
            if free
                && owner
                    .compare_exchange(found, me, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                CURSOR.store(at + 1, Ordering::Relaxed);
                // SAFETY: owned by this thread now; the former owner has ended.
                let state = unsafe { &mut *state };
                state.resume();
                return Some(state);
            }
        }
    }
    None
}

impl ThreadState {
    /// Takes the lanes over from a thread that has ended, perhaps inside a record.
    fn resume(&mut self) {
        for lane in core::iter::once(&mut self.main).chain(&mut self.nested) {
            lane.abandon_record();
        }
        for stack in core::iter::once(&mut self.main_stack).chain(&mut self.nested_stacks) {
            stack.forget();
        }
    }
}

/// Claims a free lane; a producer without one if there is none.
pub(super) fn claim_lane(image: &Image) -> Producer {
    let (Some(header), segment) = (state::run_header(), state::segment()) else {
        return Producer::none();
    };
    let claimed = header.lanes_claimed.load(Ordering::Acquire) as usize;
    let hint = LANE_HINT.load(Ordering::Relaxed).min(claimed);
    for index in (hint..layout::LANES).chain(0..hint) {
        let lane = (segment + layout::lane_offset(index)) as *const LaneHeader;
        // SAFETY: inside the mapped segment, aligned; zeros are a valid header.
        let owner = unsafe { &(*lane).owner };
        if owner.load(Ordering::Relaxed) == 0
            && owner
                .compare_exchange(0, image.key() as u32, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            header
                .lanes_claimed
                .fetch_max(index as u32 + 1, Ordering::Release);
            LANE_HINT.store(index + 1, Ordering::Relaxed);
            let data = (segment + layout::ring_offset(index)) as *const AtomicU64;
            // SAFETY: a mapped lane that has just become this image's alone.
            return unsafe { Producer::resume(lane, data) };
        }
    }
    Producer::none()
}
