//! Ticks: the processor's counter where it can be trusted, CLOCK_MONOTONIC elsewhere.
//!
//! The launcher decides (it can look at the kernel's own clock source) and says so in the option
//! bits; both sides then read the same counter. No fence around the read: it would cost as much
//! again, and the launcher's ordering tolerates the few hundred nanoseconds by which a processor
//! may read its counter early (see `docs/architecture.md`, "Order").

use core::sync::atomic::{AtomicBool, Ordering};

/// Written once while the hook starts, before any event; read by every thread. Relaxed: a thread
/// that records has synchronised with the start through its attachment.
static MONOTONIC: AtomicBool = AtomicBool::new(false);

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
    counter()
}

/// Out of line: a system call's registers would burden every event.
#[cold]
#[inline(never)]
fn monotonic() -> u64 {
    super::sys::monotonic_ns()
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; Linux leaves it usable in user mode
    // unless a process forbids it to itself, which the launcher's choice of clock rules out.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: Linux makes the virtual counter readable in user mode on every aarch64.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags))
    };
    ticks
}
