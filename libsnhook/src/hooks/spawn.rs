//! posix_spawn, system and popen: what they start finds the run.
//!
//! To posix_spawn the environment is passed like to exec. The other two start a shell from inside
//! the C library, where no hook sees it, with the environment that stands in `environ`: see
//! [`lent`]. (`wordexp`, which may start one too, is left alone: it also reads variables for its
//! caller, who would see the two.)

use super::exec::with_run;
use super::{export, real};
use crate::environment::lent;
use crate::platform::around;
use crate::thread;

export! {
    /// Interposes `posix_spawn`.
    fn posix_spawn(pid, path, actions, attributes, arguments, environment) {
        // SAFETY: the program's own call.
        unsafe { spawn(&real::POSIX_SPAWN, [pid, path, actions, attributes, arguments, environment]) }
    }
}

export! {
    /// Interposes `posix_spawnp`.
    fn posix_spawnp(pid, file, actions, attributes, arguments, environment) {
        // SAFETY: the program's own call.
        unsafe { spawn(&real::POSIX_SPAWNP, [pid, file, actions, attributes, arguments, environment]) }
    }
}

export! {
    /// Interposes `pidfd_spawn` (glibc 2.39).
    fn pidfd_spawn(fd, path, actions, attributes, arguments, environment) {
        // SAFETY: the program's own call.
        unsafe { spawn(&real::PIDFD_SPAWN, [fd, path, actions, attributes, arguments, environment]) }
    }
}

export! {
    /// Interposes `pidfd_spawnp` (glibc 2.39).
    fn pidfd_spawnp(fd, file, actions, attributes, arguments, environment) {
        // SAFETY: the program's own call.
        unsafe { spawn(&real::PIDFD_SPAWNP, [fd, file, actions, attributes, arguments, environment]) }
    }
}

/// Calls a function of posix_spawn's kind.
///
/// # Safety
/// The real function's own contract.
unsafe fn spawn(function: &real::Function, arguments: [usize; 6]) -> usize {
    let known = real::known(function);
    if known == 0 {
        const ENOSYS: usize = 38;
        return ENOSYS;
    }
    let [pid, program, actions, attributes, words, environment] = arguments;
    let start = |complete| {
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [pid, program, actions, attributes, words, complete]) }
    };
    // SAFETY: the program's own environment.
    unsafe { with_run(environment, start) }
}

around!(system, before_system, after);
around!(popen, before_popen, after);

unsafe extern "C" fn before_system(lent: *mut usize) -> usize {
    // SAFETY: the entry's own word.
    unsafe { before(&real::SYSTEM, lent) }
}

unsafe extern "C" fn before_popen(lent: *mut usize) -> usize {
    // SAFETY: the entry's own word.
    unsafe { before(&real::POPEN, lent) }
}

/// # Safety
/// `lent` is writable.
unsafe fn before(function: &real::Function, lent: *mut usize) -> usize {
    thread::start();
    let is_lent = lent::begin();
    // SAFETY: the caller's promise.
    unsafe { *lent = usize::from(is_lent) };
    real::known(function)
}

unsafe extern "C" fn after(lent: *const usize) {
    // SAFETY: the entry's own word, written by `before`.
    if unsafe { *lent } != 0 {
        lent::end();
    }
}
