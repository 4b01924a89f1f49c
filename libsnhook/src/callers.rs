//! Who called: the return address, and as many frames as looking past wrappers takes.
//!
//! The launcher knows the names; its verdicts ([`sntrace_format::verdict`]) say which call sites
//! are wrappers. Without a verdict the stack is followed `UNJUDGED_FRAMES` frames, which covers
//! every wrapper chain that was met (a debug build's `Vec::push` takes eleven).
//!
//! It also sees to it that every address it hands out is announced: its module's record is
//! published before the event's. Phase: hot where addresses are known, slow otherwise.

use core::sync::atomic::{AtomicU32, Ordering};

use sntrace_format::stack::LAST_STACK_MAX;
use sntrace_format::verdict::{self, Verdict};

use crate::first_stack;
use crate::modules;
use crate::platform::sys;
use crate::record::{Frames, Site};
use crate::state::EPOCH;
use crate::thread::ThreadState;
use crate::unwind::cfi::EhFrame;
use crate::unwind::walk::{Stack, Step, Target, Walker};
use crate::unwind::{Native, Registers, Rule};

/// How far a stack is followed that the launcher has not judged yet.
const UNJUDGED_FRAMES: usize = 32;
/// No stack is larger than this, in bytes: a bound for what a broken rule can lead to.
const STACK_MAX: usize = 1 << 30;
const PAGE: usize = 4096;

/// What the launcher said about an address in this epoch.
#[inline(always)]
fn verdict_of(state: &ThreadState, address: u64, epoch: u32) -> Option<Verdict> {
    let index = verdict::index(address);
    for at in [index, index ^ 1] {
        // SAFETY: both indexes are on the board. Relaxed: see `sntrace_format::verdict`.
        let word = unsafe { &*state.board.add(at) }.load(Ordering::Relaxed);
        if word == verdict::entry(address, epoch, Verdict::Direct) {
            return Some(Verdict::Direct);
        }
        if word == verdict::entry(address, epoch, Verdict::Wrapper) {
            return Some(Verdict::Wrapper);
        }
    }
    None
}

/// Announces the caller and adds the frames beyond it that its name may take.
#[inline(always)]
pub fn collect(state: &mut ThreadState, site: &Site, frames: &mut Frames) {
    let caller = site.ra as u64;
    modules::announce(state, site.ra, site.sp);
    if crate::record::raw_callers()
        || verdict_of(state, caller, EPOCH.load(Ordering::Relaxed)) == Some(Verdict::Direct)
    {
        return;
    }
    follow(state, site, frames);
}

#[inline(never)]
fn follow(state: &mut ThreadState, site: &Site, frames: &mut Frames) {
    state.stack_window.cover(site.sp);
    let mut walker = Walker::new(first_registers(site), stack_bounds(site));
    for _ in 0..UNJUDGED_FRAMES {
        let window = &state.stack_window;
        match walker.next(&Own { window }) {
            Step::Frame(frame) => {
                modules::announce(state, frame.ip as usize, site.sp);
                let room = frames.push(frame.ip);
                let epoch = EPOCH.load(Ordering::Relaxed);
                if !room || verdict_of(state, frame.ip, epoch) == Some(Verdict::Direct) {
                    return;
                }
            }
            Step::End => return,
            Step::Truncated => {
                frames.truncated = true;
                return;
            }
        }
    }
}

/// Where a walk begins.
#[inline(always)]
pub fn first_registers(site: &Site) -> Registers {
    Registers {
        ip: site.ra as u64,
        sp: site.sp_after_return() as u64,
        fp: site.fp as u64,
    }
}

/// The bounds of the stack that a walk begins on. Every word is checked when it is read, so they
/// need not be exact.
#[inline(always)]
pub fn stack_bounds(site: &Site) -> Stack {
    Stack {
        low: site.sp as u64,
        high: (site.sp as u64).saturating_add(STACK_MAX as u64),
    }
}

/// The bounds of another stack that a walk comes to.
pub fn other_stack(sp: u64) -> Option<Stack> {
    Some(Stack {
        low: sp,
        high: sp.checked_add(STACK_MAX as u64)?,
    })
}

/// Eight bytes of code, if they can be read.
pub fn code(address: u64) -> Option<[u8; 8]> {
    let address = address as usize;
    if !sys::is_readable(address) || !sys::is_readable(address.checked_add(7)?) {
        return None;
    }
    // SAFETY: eight readable bytes, as the kernel has just found.
    Some(unsafe { (address as *const [u8; 8]).read_unaligned() })
}

/// Announces every frame of the stack, so that all its rules are known as well.
#[cold]
#[inline(never)]
pub fn announce_stack(state: &mut ThreadState, site: &Site) {
    let mut frames = 0;
    let _ = each_frame(state, site, |_| {
        frames += 1;
        frames < LAST_STACK_MAX
    });
}

/// Shows every return address beyond the caller, announced, to `each`, until it says false. Returns
/// whether the stack goes on where the walk ended.
pub fn each_frame(state: &mut ThreadState, site: &Site, mut each: impl FnMut(u64) -> bool) -> bool {
    modules::announce(state, site.ra, site.sp);
    state.stack_window.cover(site.sp);
    let mut walker = Walker::new(first_registers(site), stack_bounds(site));
    loop {
        let window = &state.stack_window;
        match walker.next(&Own { window }) {
            Step::Frame(frame) => {
                modules::announce(state, frame.ip as usize, site.sp);
                if !each(frame.ip) {
                    return true;
                }
            }
            Step::End => return false,
            Step::Truncated => return true,
        }
    }
}

/// This process, as the unwinder sees it.
pub struct Own<'a> {
    /// What can be read of the stack.
    pub window: &'a StackWindow,
}

impl Target for Own<'_> {
    type Machine = Native;

    #[inline(always)]
    fn read(&self, address: u64) -> Option<u64> {
        self.window.read(address as usize)
    }

    #[inline(always)]
    fn rule(&self, return_address: u64) -> Rule {
        modules::rule(return_address)
    }

    fn eh_frame(&self, address: u64) -> Option<EhFrame<'_>> {
        modules::eh_frame(address)
    }

    fn code(&self, address: u64) -> Option<[u8; 8]> {
        code(address)
    }

    fn is_first_frame(&self, sp: u64) -> bool {
        first_stack::begins_at(sp)
    }

    fn stack(&self, sp: u64) -> Option<Stack> {
        other_stack(sp)
    }
}

/// The part of this thread's stack that is known to be readable. All zeros is "none".
///
/// The stack pointer's own page is; further pages are asked for once, one after the other, so
/// that a stack's end is found without knowing it. Leaving the window (another stack: a
/// coroutine, a signal handler's) starts it anew, and so does memory that the program has unmapped
/// ([`memory_unmapped`]): a coroutine's stack may be gone, and a smaller one be in its place.
#[derive(Debug)]
pub struct StackWindow {
    low: core::cell::Cell<usize>,
    high: core::cell::Cell<usize>,
    /// [`UNMAPPED`] when it was started.
    since: core::cell::Cell<u32>,
}

/// How often the program has unmapped memory, or mapped other memory in its place. Any thread adds,
/// after the call; every thread reads, relaxed: one that runs on a stack that is there instead has
/// synchronised with who mapped it.
static UNMAPPED: AtomicU32 = AtomicU32::new(0);

/// From now on, what was readable may not be. (What the C library unmaps by itself is not seen: stacks
/// of threads that have ended, and large blocks, which are given back by an event on another stack.)
pub fn memory_unmapped() {
    UNMAPPED.fetch_add(1, Ordering::Relaxed);
}

impl StackWindow {
    /// Makes the window contain the page of the stack pointer.
    #[inline(always)]
    pub fn cover(&self, sp: usize) {
        let now = UNMAPPED.load(Ordering::Relaxed);
        if sp >= self.low.get() && sp < self.high.get() && self.since.get() == now {
            return;
        }
        self.move_to(sp, now);
    }

    /// Whether everything from `low` up to `high` is known to be readable.
    #[inline(always)]
    pub fn contains(&self, low: u64, high: u64) -> bool {
        low as usize >= self.low.get() && high as usize <= self.high.get()
    }

    #[cold]
    fn move_to(&self, sp: usize, now: u32) {
        let page = sp & !(PAGE - 1);
        let low = self.low.get();
        // A deeper call: the pages between belong to the same stack if they can be read.
        if self.since.get() == now
            && sp < low
            && low - page <= 64 * PAGE
            && (page..low).step_by(PAGE).all(sys::is_readable)
        {
            self.low.set(page);
            return;
        }
        self.low.set(page);
        self.high.set(page + PAGE);
        self.since.set(now);
    }

    /// The word at `address`, if it can be read.
    #[inline(always)]
    pub fn read(&self, address: usize) -> Option<u64> {
        if address < self.low.get() || address > self.high.get().wrapping_sub(8) {
            self.extend(address)?;
        }
        // SAFETY: inside the window, all of whose pages can be read, or just found readable.
        // Volatile: the word belongs to frames of other functions, which may change it.
        Some(unsafe { (address as *const u64).read_volatile() })
    }

    #[cold]
    fn extend(&self, address: usize) -> Option<()> {
        if !address.is_multiple_of(8) || !sys::is_readable(address) {
            return None;
        }
        let high = self.high.get();
        let page = address & !(PAGE - 1);
        if page >= high
            && page - high <= 256 * PAGE
            && (high..page).step_by(PAGE).all(sys::is_readable)
        {
            self.high.set(page + PAGE);
        }
        Some(())
    }
}
