//! How much processor time the traced processes and sntrace itself have taken.
//!
//! # Safety
//!
//! The one unsafe call is `getrusage`, with a local to write to.
#![allow(unsafe_code)]

use std::ffi::c_int;

/// Processor time in nanoseconds, of all threads, in user and system mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTimes {
    /// Of sntrace.
    pub own_ns: u64,
    /// Of the processes that have ended and been reaped, by sntrace or by each other.
    pub children_ns: u64,
}

/// What it is now.
#[must_use]
pub fn processor_times() -> ProcessorTimes {
    ProcessorTimes {
        own_ns: of(libc::RUSAGE_SELF),
        children_ns: of(libc::RUSAGE_CHILDREN),
    }
}

fn of(whose: c_int) -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for what the call writes; all zeros is a valid value of it, should the
    // call fail.
    let usage = unsafe {
        libc::getrusage(whose, usage.as_mut_ptr());
        usage.assume_init()
    };
    let nanoseconds = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_usec).unwrap_or(0) * 1_000
    };
    nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_took_is_counted_when_it_has_ended() {
        let before = processor_times();
        let status = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        let after = processor_times();
        assert!(after.children_ns > before.children_ns);
        assert!(after.own_ns >= before.own_ns);
    }
}
