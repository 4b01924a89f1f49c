//! A thread's state: its lanes, and whether it is inside the real allocator.
//!
//! The thread slot points at it. It lives in pages that read as zeros in a forked child, where a
//! state of zeros has no lane and so no room: the child's first event leaves the hot path and gets
//! a lane of its own ([`attached`]).
//!
//! A thread's end is not announced by anybody. When a new thread needs a state, it takes one over
//! whose thread the kernel no longer knows, and its lane with it: a thread record tells the
//! launcher. So lanes are bounded by the threads that live at a time.
//!
//! *Inside the allocator.* While a real function runs, calls from the allocator's own modules are
//! part of it and not recorded (glibc's `reallocarray` calls `realloc`, musl's `calloc` calls
//! `malloc`). `inside` holds the stack pointer of the hook's entry meanwhile. A signal handler
//! that interrupts the real function calls from other modules and is recorded. A real function
//! that was left by a jump (longjmp, an exception) leaves `inside` behind: it is recognised by a
//! stack that is no longer as deep.

mod attach;
mod room;
mod start;

pub use attach::forked;
pub use room::{LaneIndex, Writer, control, follow_fence, ring_doorbell, writer, writer_of};
pub use start::{begin_process, start};

use core::sync::atomic::{AtomicU32, AtomicU64};

use sntrace_format::ring::Producer;

use self::attach::attach;
use crate::callers::StackWindow;
use crate::last_stack::LastStack;
use crate::modules;
use crate::platform::thread_slot;
use crate::record::Site;
use crate::state::{self, Mode};

/// How deep signal handlers may interrupt each other's records before events are counted as lost.
const NESTED_LANES: usize = 3;

/// See the module. All zeros is "not attached".
#[repr(C, align(64))]
pub struct ThreadState {
    /// The lane for events that interrupt no other.
    pub main: Producer,
    /// Where direct callers are looked up on the hot path; null before the thread is attached.
    pub hot_board: *const AtomicU64,
    /// 0, or inside the allocator: the hook entry's stack pointer, with bit 0 set for a C++
    /// operator whose call's return address is at the pointer.
    pub inside: usize,
    /// The return address that an operator's call left there.
    operator_back: usize,
    /// The size that was asked of it. Smaller allocations inside it are not the operator's block:
    /// one that fails allocates the exception that it throws.
    operator_size: usize,
    /// Where call sites are looked up; null before the thread is attached.
    pub board: *const AtomicU64,
    /// The stack's known part.
    pub stack_window: StackWindow,
    /// 0, or the stack pointer of this thread's outermost call into the loader.
    pub loader_sp: usize,
    /// The thread that has this state; 0: none. Compare-and-swap with acquire-release: a new
    /// owner sees what the old one left.
    owner: AtomicU32,
    attached: bool,
    /// Lanes for events of signal handlers that interrupt a record.
    nested: [Producer; NESTED_LANES],
    /// The main lane's last stack.
    pub main_stack: LastStack,
    /// The nested lanes' last stacks.
    nested_stacks: [LastStack; NESTED_LANES],
}

/// What a hooked function is to do.
pub enum Entered {
    /// Record the call in this state.
    Recording(&'static mut ThreadState),
    /// Only pass the call on.
    PassThrough,
}

/// What [`ThreadState::inside`] is outside of the allocator.
pub const OUTSIDE: usize = 0;

impl ThreadState {
    /// A lane and its last stack, by what [`Writer::Lane`] says.
    pub fn lane(&mut self, index: LaneIndex) -> (&mut Producer, &mut LastStack) {
        let mut nested = self.nested.iter_mut().zip(&mut self.nested_stacks);
        match index.0.checked_sub(1).and_then(|at| nested.nth(at)) {
            Some(lane) => lane,
            None => (&mut self.main, &mut self.main_stack),
        }
    }

    /// The real function is about to be called; returns what [`ThreadState::leave_allocator`]
    /// wants back.
    #[inline(always)]
    pub fn enter_allocator(&mut self, sp: usize) -> usize {
        core::mem::replace(&mut self.inside, sp)
    }

    /// The real function has returned.
    #[inline(always)]
    pub fn leave_allocator(&mut self, before: usize) {
        self.inside = before;
    }

    /// A real C++ operator is about to be called for `size` bytes, its return address `back` at
    /// `slot`; returns what [`ThreadState::leave_operator`] wants back.
    #[inline(always)]
    pub fn enter_operator(&mut self, slot: usize, back: usize, size: usize) -> [usize; 2] {
        let before = [self.inside, self.operator_back];
        self.operator_size = size;
        self.operator_back = back;
        self.inside = slot | 1;
        before
    }

    /// The operator has returned.
    #[inline(always)]
    pub fn leave_operator(&mut self, before: [usize; 2]) {
        [self.inside, self.operator_back] = before;
    }
}

fn current() -> Option<&'static mut ThreadState> {
    let state = thread_slot() as *mut ThreadState;
    // SAFETY: null, or this thread's state in a region that is never unmapped. Signal handlers
    // on this thread may hold a reference to the same state: each function of the hook reads and
    // writes fields one at a time, and what a handler changes it restores before it returns.
    unsafe { state.as_mut() }
}

/// This thread's state if it has one already.
#[inline(always)]
pub fn recording() -> Option<&'static mut ThreadState> {
    current()
}

/// This thread's state; a new thread gets one.
#[inline(always)]
pub fn recording_now() -> Option<&'static mut ThreadState> {
    match current() {
        Some(state) => Some(state),
        None => recording_rarely(),
    }
}

#[cold]
#[inline(never)]
fn recording_rarely() -> Option<&'static mut ThreadState> {
    start();
    match state::mode() {
        Mode::Asleep | Mode::Off => None,
        Mode::Shared | Mode::Pipe => attach(),
    }
}

/// This thread's state, if it has one and is not inside the allocator.
#[inline(always)]
pub fn idle() -> Option<&'static mut ThreadState> {
    current().filter(|state| state.inside == OUTSIDE)
}

/// What to do with a call from `site` for `size` bytes (for a release: all ones).
#[inline(always)]
pub fn enter(site: &Site, size: usize) -> Entered {
    match current() {
        Some(state) if state.inside == 0 => Entered::Recording(state),
        _ => enter_rarely(site.sp, site.ra, size),
    }
}

#[cold]
#[inline(never)]
fn enter_rarely(sp: usize, ra: usize, size: usize) -> Entered {
    let Some(state) = current() else {
        start();
        return match state::mode() {
            Mode::Asleep | Mode::Off => Entered::PassThrough,
            Mode::Shared | Mode::Pipe => attach().map_or(Entered::PassThrough, Entered::Recording),
        };
    };
    let holder = state.inside & !1;
    let deeper = sp < holder;
    let active = if state.inside & 1 != 0 {
        // One operator may jump to another, which then finds its return address in the same place.
        let deeper = sp <= holder;
        // SAFETY: the word was on this thread's stack when the operator was called; a stack does
        // not shrink below a deeper frame, which this one is.
        deeper && unsafe { (holder as *const usize).read_volatile() } == state.operator_back
    } else {
        deeper
    };
    let part_of_it = state.inside & 1 == 0 || size >= state.operator_size;
    if modules::is_allocator(ra) && active && part_of_it {
        return Entered::PassThrough;
    }
    if !active && !is_other_stack(sp, holder) {
        // Left by a jump.
        state.inside = 0;
    }
    Entered::Recording(state)
}

/// Whether two stack pointers are so far apart that they belong to different stacks (a signal
/// handler's own).
fn is_other_stack(a: usize, b: usize) -> bool {
    a.abs_diff(b) > 64 << 20
}

/// The state to record in: this one, or after a fork a fresh one of the child's.
#[inline(always)]
pub fn attached(state: &mut ThreadState) -> Option<&mut ThreadState> {
    if state.attached {
        Some(state)
    } else {
        attach()
    }
}
