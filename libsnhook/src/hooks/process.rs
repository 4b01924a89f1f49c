//! fork and exec: a child gets lanes of its own at once, a new program finds the run again.
//!
//! A child made by a raw `clone` is noticed at its first event (its pages were wiped). `vfork` is
//! left alone: its child runs on the parent's memory, and what it allocates is the parent's. The
//! exec family needs no help as long as the environment is passed on; where a program passes
//! another one, the two variables that the next image needs are added. Not for `execl`, `execlp`
//! and `execle`: their lists of arguments can't be passed on in stable Rust, and an environment
//! that was cleared before them ends the trace there.

use core::sync::atomic::Ordering;

use super::real;
use crate::{environment, thread};

macro_rules! export {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident),*) $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($argument: usize),*) -> usize $body
    };
}

export! {
    /// Interposes `fork`.
    fn fork() {
        let known = real::known(&real::FORK);
        if known == 0 {
            return usize::MAX;
        }
        // SAFETY: the program's own call, passed on once.
        let pid = unsafe { real::call6(known, [0; 6]) };
        // A pid_t: only the lower half of the register counts.
        if pid as u32 == 0 {
            thread::forked();
        }
        pid
    }
}

/// An environment with what the next image needs: the given one where it has it already.
///
/// # Safety
/// `environment` is null or a C array of C strings ended by null, as exec takes it.
unsafe fn with_run(environment: usize) -> usize {
    thread::start();
    // SAFETY: the caller's promise.
    unsafe { environment::complete(environment) }
}

/// The program's current environment array.
fn current_environment() -> usize {
    let variable = real::any("environ\0");
    if variable == 0 {
        return 0;
    }
    // SAFETY: `environ` is a pointer variable (`man 7 environ`).
    unsafe { *(variable as *const usize) }
}

export! {
    /// Interposes `execve`.
    fn execve(path, arguments, environment) {
        let known = real::known(&real::EXECVE);
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [path, arguments, with_run(environment), 0, 0, 0]) }
    }
}

export! {
    /// Interposes `execvpe`.
    fn execvpe(file, arguments, environment) {
        let known = real::known(&real::EXECVPE);
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [file, arguments, with_run(environment), 0, 0, 0]) }
    }
}

export! {
    /// Interposes `fexecve`.
    fn fexecve(fd, arguments, environment) {
        let known = real::known(&real::FEXECVE);
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [fd, arguments, with_run(environment), 0, 0, 0]) }
    }
}

export! {
    /// Interposes `execv`, which passes the current environment on.
    fn execv(path, arguments) {
        let known = real::known(&real::EXECV);
        let current = current_environment();
        // SAFETY: the current environment is a C array of C strings.
        let complete = unsafe { with_run(current) };
        let execve = real::EXECVE.load(Ordering::Relaxed);
        if complete == current || execve == 0 {
            // SAFETY: the program's own call, passed on.
            return unsafe { real::call6(known, [path, arguments, 0, 0, 0, 0]) };
        }
        // SAFETY: what `execv` is defined as, with the environment completed.
        unsafe { real::call6(execve, [path, arguments, complete, 0, 0, 0]) }
    }
}

export! {
    /// Interposes `execvp`, which passes the current environment on.
    fn execvp(file, arguments) {
        let known = real::known(&real::EXECVP);
        let current = current_environment();
        // SAFETY: the current environment is a C array of C strings.
        let complete = unsafe { with_run(current) };
        let execvpe = real::EXECVPE.load(Ordering::Relaxed);
        if complete == current || execvpe == 0 {
            // SAFETY: the program's own call, passed on.
            return unsafe { real::call6(known, [file, arguments, 0, 0, 0, 0]) };
        }
        // SAFETY: what `execvp` is defined as, with the environment completed.
        unsafe { real::call6(execvpe, [file, arguments, complete, 0, 0, 0]) }
    }
}

export! {
    /// Interposes `posix_spawn`.
    fn posix_spawn(pid, path, actions, attributes, arguments, environment) {
        let known = real::known(&real::POSIX_SPAWN);
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [pid, path, actions, attributes, arguments, with_run(environment)]) }
    }
}

export! {
    /// Interposes `posix_spawnp`.
    fn posix_spawnp(pid, file, actions, attributes, arguments, environment) {
        let known = real::known(&real::POSIX_SPAWNP);
        // SAFETY: the program's own call, its environment completed.
        unsafe { real::call6(known, [pid, file, actions, attributes, arguments, with_run(environment)]) }
    }
}
