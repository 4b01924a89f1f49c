//! Ticks: the processor's counter where it can be trusted, CLOCK_MONOTONIC elsewhere.
//!
//! The launcher decides (it can look at the kernel's own clock source) and says so in the option
//! bits; both sides then read the same counter. No fence before the read: it would cost as much
//! again, and the launcher's ordering tolerates the few hundred nanoseconds by which a processor
//! may read its counter early (see `docs/architecture.md`, "Order"). A process whose threads make that
//! hard, or of which that is not known yet, reads behind a fence ([`set_fenced`]).

use core::sync::atomic::{AtomicBool, Ordering};

use sntrace_format::record::TimeHalves;

/// Written once while the hook starts, before any event; read by every thread. Relaxed: a thread
/// that records has synchronised with the start through its attachment.
static MONOTONIC: AtomicBool = AtomicBool::new(false);

/// Whether the counter is read behind a fence. Set by any thread that learns what the launcher says of
/// it, read by every thread, relaxed: see `ImageHeader::fenced`.
static FENCED: AtomicBool = AtomicBool::new(false);

/// Whether [`now`] reads the counter when everything before it has been done, and not earlier, from now
/// on.
pub fn set_fenced(fenced: bool) {
    FENCED.store(fenced, Ordering::Relaxed);
}

/// Whether it does.
#[inline(always)]
pub fn is_fenced() -> bool {
    FENCED.load(Ordering::Relaxed)
}

/// Chooses CLOCK_MONOTONIC.
pub fn use_monotonic() {
    MONOTONIC.store(true, Ordering::Relaxed);
}

/// The time in ticks.
#[inline(always)]
#[must_use]
pub fn now() -> u64 {
    if MONOTONIC.load(Ordering::Relaxed) {
        return monotonic();
    }
    if is_fenced() {
        wait_for_older_instructions();
    }
    let TimeHalves { high, low } = counter();
    high << 32 | low
}

/// What the processor has begun is done after this.
#[inline(always)]
fn wait_for_older_instructions() {
    // SAFETY: the instruction has no effect but on time. It counts as touching memory, so that the
    // compiler keeps it where it stands.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("lfence", options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("isb", options(nostack, preserves_flags));
    }
}

/// Out of line: a system call's registers would burden every event.
#[cold]
#[inline(never)]
fn monotonic() -> u64 {
    super::sys::monotonic_ns()
}

/// Whether [`counter`] is the clock.
pub fn is_counter() -> bool {
    !MONOTONIC.load(Ordering::Relaxed)
}

/// The processor's counter, for a caller that knows that [`is_counter`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[must_use]
pub fn counter() -> TimeHalves {
    let (high, low): (u64, u64);
    // SAFETY: every x86-64 processor has the instruction; Linux leaves it usable in user mode
    // unless a process forbids it to itself, which the launcher's choice of clock rules out. It
    // clears the upper halves of both registers. It counts as touching memory, so that the
    // compiler keeps it behind the announcement of the record.
    unsafe {
        core::arch::asm!("rdtsc", out("rdx") high, out("rax") low, options(nostack, preserves_flags))
    };
    TimeHalves { high, low }
}

/// The processor's counter, for a caller that knows that [`is_counter`].
#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[must_use]
pub fn counter() -> TimeHalves {
    let ticks: u64;
    // SAFETY: Linux makes the virtual counter readable in user mode on every aarch64.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags))
    };
    TimeHalves {
        high: ticks >> 32,
        low: ticks & 0xffff_ffff,
    }
}
