//! posix_spawn, system and popen: what they start finds the run.
//!
//! To posix_spawn the environment is passed like to exec. The other two start a shell from inside
//! the C library, where no hook sees it, with the environment that stands in `environ`: see
//! [`lent`]. (`wordexp`, which may start one too, is left alone: it also reads variables for its
//! caller, who would see the two.)

use super::{announce, export, real};
use crate::environment::{self, complete, lent};
use crate::platform::around;
use crate::target::{self, Named, Target};
use crate::thread;

export! {
    /// Interposes `posix_spawn`.
    fn posix_spawn(pid, path, actions, attributes, arguments, environment) {
        let rest = [actions, attributes, arguments];
        // SAFETY: the program's own call.
        unsafe { spawn(&real::POSIX_SPAWN, pid, Named::Path(path), rest, environment) }
    }
}

export! {
    /// Interposes `posix_spawnp`.
    fn posix_spawnp(pid, file, actions, attributes, arguments, environment) {
        let rest = [actions, attributes, arguments];
        // SAFETY: the program's own call.
        unsafe { spawn(&real::POSIX_SPAWNP, pid, Named::Name(file), rest, environment) }
    }
}

export! {
    /// Interposes `pidfd_spawn` (glibc 2.39).
    fn pidfd_spawn(fd, path, actions, attributes, arguments, environment) {
        let rest = [actions, attributes, arguments];
        // SAFETY: the program's own call.
        unsafe { start(&real::PIDFD_SPAWN, fd, Named::Path(path), rest, environment, |_| {}) }
    }
}

export! {
    /// Interposes `pidfd_spawnp` (glibc 2.39).
    fn pidfd_spawnp(fd, file, actions, attributes, arguments, environment) {
        let rest = [actions, attributes, arguments];
        // SAFETY: the program's own call.
        unsafe { start(&real::PIDFD_SPAWNP, fd, Named::Name(file), rest, environment, |_| {}) }
    }
}

/// posix_spawn and posix_spawnp, which tell the child's process id (the other two give a handle of
/// it instead).
///
/// # Safety
/// The real function's own contract.
unsafe fn spawn(
    function: &real::Function,
    pid: usize,
    named: Named,
    rest: [usize; 3],
    environment: usize,
) -> usize {
    let mut own = 0u32;
    let place = if pid == 0 {
        (&raw mut own) as usize
    } else {
        pid
    };
    let started = |target: &Target<'_>| {
        // SAFETY: a pid_t that the call has just written.
        let pid = unsafe { *(place as *const u32) };
        announce::program(pid, target.path);
    };
    // SAFETY: the caller's promise; the place is good for a pid_t.
    unsafe { start(function, place, named, rest, environment, started) }
}

/// Starts a program by a function of posix_spawn's kind, and calls `started` when it runs.
///
/// # Safety
/// The real function's own contract.
unsafe fn start(
    function: &real::Function,
    result: usize,
    named: Named,
    rest: [usize; 3],
    environment: usize,
    started: impl FnOnce(&Target<'_>),
) -> usize {
    let known = real::known(function);
    if known == 0 {
        const ENOSYS: usize = 38;
        return ENOSYS;
    }
    let (Named::Path(program) | Named::Name(program)) = named else {
        return call(known, result, 0, rest, environment);
    };
    if !environment::has_run() {
        return call(known, result, program, rest, environment);
    }
    let in_sight_of = |target: &Target<'_>| {
        let start = |complete| call(known, result, program, rest, complete);
        // SAFETY: the program's own environment.
        let error = unsafe { complete::with(environment, target.way, start) };
        // An int: only the lower half of the register counts.
        if error as u32 == 0 {
            started(target);
        }
        error
    };
    // SAFETY: the caller's promise.
    unsafe { target::with(named, in_sight_of) }
}

/// Passes the program's own call on.
fn call(
    known: usize,
    result: usize,
    program: usize,
    rest: [usize; 3],
    environment: usize,
) -> usize {
    let [actions, attributes, words] = rest;
    // SAFETY: the program's own call, its environment completed.
    unsafe {
        real::call6(
            known,
            [result, program, actions, attributes, words, environment],
        )
    }
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
