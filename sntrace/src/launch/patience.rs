//! Outliving the signals that were meant for a child.
//!
//! Who runs a program and has work to do after it must not die of the Ctrl-C that ends the program. While a
//! [`Patience`] lives, what the terminal sends reaches the child by itself, as it is in the same process group, and
//! does nothing here. What another process sends here alone was meant for the child, and is handed on. Signals that
//! are ignored stay so, for the child too; those that have a handler here have none after an exec.
//!
//! Used by who runs sntrace again as a child. Programs are run by [`super::start`], which needs no handlers.
//!
//! # Safety
//!
//! The handler calls `kill` alone, which is async-signal-safe, and restores `errno`. The other unsafe blocks pass
//! pointers to local C structures that live through the calls.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

/// What ends a program that is not told otherwise.
const SIGNALS: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// The child that signals are handed to; 0: none. Written by the thread that starts and awaits it, read by the
/// handler in whatever thread; relaxed, as nothing else depends on it.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// See the module.
pub struct Patience {
    before: Vec<(c_int, libc::sigaction)>,
}

impl Patience {
    /// From now on, until it is dropped.
    #[must_use]
    pub fn begin() -> Patience {
        let mut before = Vec::new();
        for signal in SIGNALS {
            // SAFETY: all-zero is a valid value of the C structure.
            let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: only asks; the structure is local.
            let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
            if asked != 0 || old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            // SAFETY: as above.
            let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = arrived;
            new.sa_sigaction = handler as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            // SAFETY: the structure is local, and the handler keeps to what handlers may do.
            if unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) } == 0 {
                before.push((signal, old));
            }
        }
        Patience { before }
    }

    /// Waits for a child, to whom signals are handed meanwhile.
    ///
    /// # Errors
    /// Those of waiting for it.
    pub fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::Relaxed);
        loop {
            // SAFETY: all-zero is a valid value of the C structure.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let flags = libc::WEXITED | libc::WNOWAIT;
            // SAFETY: the structure is local.
            let waited = unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut info, flags) };
            let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
            if waited == 0 || !interrupted {
                break;
            }
        }
        // Only now may its number become another process's.
        CHILD.store(0, Ordering::Relaxed);
        child.wait()
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        for (signal, action) in &self.before {
            // SAFETY: the structure was filled in by sigaction itself.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
    }
}

extern "C" fn arrived(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a filled-in structure to a handler with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    let child = CHILD.load(Ordering::Relaxed);
    // Above zero it is the kernel's: the terminal has sent it to the whole group.
    if code > 0 || child <= 0 {
        return;
    }
    // SAFETY: gives the address of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: that address is valid and this thread's own.
    let before = unsafe { *errno };
    // SAFETY: sends a signal; the child is not reaped while its number stands there, so it is
    // no other process's.
    unsafe { libc::kill(child, signal) };
    // SAFETY: as above.
    unsafe { *errno = before };
}
