//! Who called: the return address, and as many frames as looking past wrappers takes.
//!
//! The launcher knows the names; its verdicts ([`sntrace_format::verdict`]) say which call sites
//! are wrappers. Without a verdict the stack is followed `UNJUDGED_FRAMES` frames, which covers
//! every wrapper chain that was met (a debug build's `Vec::push` takes eleven).
//!
//! It also sees to it that every address it hands out is announced: its module's record is
//! published before the event's. Phase: hot where addresses are known, slow otherwise.

use core::sync::atomic::Ordering;

use sntrace_format::verdict::{self, Verdict};

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
pub const STACK_MAX: usize = 1 << 30;
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
    let sp = site.sp_after_return();
    state.stack_window.cover(site.sp);
    let first = Registers {
        ip: site.ra as u64,
        sp: sp as u64,
        fp: site.fp as u64,
    };
    let stack = Stack {
        low: site.sp as u64,
        high: (site.sp + STACK_MAX) as u64,
    };
    let mut walker = Walker::new(first, stack);
    for _ in 0..UNJUDGED_FRAMES {
        let step = {
            let own = Own::quiet(state);
            walker.next(&own)
        };
        match step {
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

/// This process, as the unwinder sees it.
pub struct Own<'a> {
    state: core::cell::RefCell<&'a mut ThreadState>,
    window: *const StackWindow,
    /// The hook's entry's stack pointer, where addresses are announced that turn up; 0: they are not.
    announces: usize,
}

impl<'a> Own<'a> {
    /// Announces nothing.
    #[inline(always)]
    fn quiet(state: &'a mut ThreadState) -> Self {
        Self::announcing(state, 0)
    }

    /// Announces each address of code before its rule is looked for the first time in an epoch: so
    /// whatever has a rule was announced. `sp` is the hook's entry's stack pointer.
    #[inline(always)]
    pub fn announcing(state: &'a mut ThreadState, sp: usize) -> Self {
        Self {
            window: &raw const state.stack_window,
            state: core::cell::RefCell::new(state),
            announces: sp,
        }
    }
}

impl Target for Own<'_> {
    type Machine = Native;

    #[inline(always)]
    fn read(&self, address: u64) -> Option<u64> {
        // SAFETY: the state's own, which lives as long as `self` borrows it. Its fields are cells.
        unsafe { &*self.window }.read(address as usize)
    }

    #[inline(always)]
    fn rule(&self, return_address: u64) -> Rule {
        match modules::known_rule(return_address) {
            Some(rule) => rule,
            None => self.rule_slowly(return_address),
        }
    }

    fn eh_frame(&self, address: u64) -> Option<EhFrame<'_>> {
        modules::eh_frame(address)
    }

    fn code(&self, address: u64) -> Option<[u8; 8]> {
        let address = address as usize;
        if !sys::is_readable(address) {
            return None;
        }
        // SAFETY: eight readable bytes, as the kernel has just found.
        Some(unsafe { (address as *const [u8; 8]).read_unaligned() })
    }

    fn stack(&self, sp: u64) -> Option<Stack> {
        // Every word is checked when it is read, so the bounds need not be exact.
        Some(Stack {
            low: sp,
            high: sp.checked_add(STACK_MAX as u64)?,
        })
    }
}

impl Own<'_> {
    #[cold]
    #[inline(never)]
    fn rule_slowly(&self, return_address: u64) -> Rule {
        if self.announces != 0
            && let Ok(mut state) = self.state.try_borrow_mut()
        {
            modules::announce(&mut state, return_address as usize, self.announces);
        }
        modules::find_rule(return_address)
    }
}

/// The part of this thread's stack that is known to be readable. All zeros is "none".
///
/// The stack pointer's own page is; further pages are asked for once, one after the other, so
/// that a stack's end is found without knowing it. Leaving the window (another stack: a
/// coroutine, a signal handler's) starts it anew.
#[derive(Debug)]
pub struct StackWindow {
    low: core::cell::Cell<usize>,
    high: core::cell::Cell<usize>,
}

impl StackWindow {
    /// Makes the window contain the page of the stack pointer.
    #[inline(always)]
    pub fn cover(&self, sp: usize) {
        if sp >= self.low.get() && sp < self.high.get() {
            return;
        }
        self.move_to(sp);
    }

    #[cold]
    fn move_to(&self, sp: usize) {
        let page = sp & !(PAGE - 1);
        let low = self.low.get();
        // A deeper call: the pages between belong to the same stack if they can be read.
        if sp < low && low - page <= 64 * PAGE && (page..low).step_by(PAGE).all(sys::is_readable) {
            self.low.set(page);
            return;
        }
        self.low.set(page);
        self.high.set(page + PAGE);
    }

    /// Whether the word at `address` is known to be readable.
    #[inline(always)]
    pub fn contains(&self, address: u64) -> bool {
        address as usize >= self.low.get() && address as usize <= self.high.get().wrapping_sub(8)
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
