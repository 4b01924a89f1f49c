//! The exec family: the next program finds the run again.
//!
//! It does by itself as long as the environment is passed on. Where a program passes another one,
//! or has changed its own, the two variables that the next image needs are added to a copy. Each
//! function is passed on to the one of its name if the environment is the given one; else, where it
//! takes none, to the one that it is defined by and that takes one.
//!
//! The caller may be a `vfork` child, on its parent's memory and stack: nothing is allocated.

use core::sync::atomic::Ordering;

use super::{export, real};
use crate::environment::complete::{self, Way};
use crate::platform::exec_list;
use crate::thread;

/// Calls `call` with an environment that leads the next image to the run.
///
/// # Safety
/// `environment` is null or a C array of C strings ended by null, as exec takes it.
pub(super) unsafe fn with_run(environment: usize, call: impl FnOnce(usize) -> usize) -> usize {
    thread::start();
    // SAFETY: the caller's promise.
    unsafe { complete::with(environment, Way::Traced, call) }
}

/// The program's current environment array.
fn current_environment() -> usize {
    thread::start();
    let variable = real::ENVIRON.load(Ordering::Relaxed) as *const usize;
    if variable.is_null() {
        return 0;
    }
    // SAFETY: `environ` is a pointer variable (`man 7 environ`).
    unsafe { *variable }
}

/// Calls a real function of the family; fails like one where it is missing.
///
/// # Safety
/// The real function's own contract.
unsafe fn call(function: usize, arguments: [usize; 5]) -> usize {
    if function == 0 {
        return usize::MAX;
    }
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller's promise.
    unsafe { real::call6(function, [a, b, c, d, e, 0]) }
}

export! {
    /// Interposes `execve`.
    fn execve(path, arguments, environment) {
        let known = real::known(&real::EXECVE);
        let execute = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [path, arguments, complete, 0, 0]) }
        };
        // SAFETY: the program's own environment.
        unsafe { with_run(environment, execute) }
    }
}

export! {
    /// Interposes `execvpe`.
    fn execvpe(file, arguments, environment) {
        let known = real::known(&real::EXECVPE);
        let execute = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [file, arguments, complete, 0, 0]) }
        };
        // SAFETY: the program's own environment.
        unsafe { with_run(environment, execute) }
    }
}

export! {
    /// Interposes `fexecve`.
    fn fexecve(fd, arguments, environment) {
        let known = real::known(&real::FEXECVE);
        let execute = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [fd, arguments, complete, 0, 0]) }
        };
        if environment == 0 {
            // glibc refuses null here, and nowhere else: with a copy it would not.
            return execute(0);
        }
        // SAFETY: the program's own environment.
        unsafe { with_run(environment, execute) }
    }
}

export! {
    /// Interposes `execveat`.
    fn execveat(folder, path, arguments, environment, flags) {
        let known = real::known(&real::EXECVEAT);
        let execute = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [folder, path, arguments, complete, flags]) }
        };
        // SAFETY: the program's own environment.
        unsafe { with_run(environment, execute) }
    }
}

export! {
    /// Interposes `execv`, which passes the current environment on.
    fn execv(path, arguments) {
        let (known, execve) = (real::known(&real::EXECV), real::known(&real::EXECVE));
        let current = current_environment();
        let execute = |complete| {
            if complete == current || execve == 0 {
                // SAFETY: the program's own call, passed on.
                return unsafe { call(known, [path, arguments, 0, 0, 0]) };
            }
            // SAFETY: what `execv` is defined as, with the environment completed.
            unsafe { call(execve, [path, arguments, complete, 0, 0]) }
        };
        // SAFETY: the current environment is a C array of C strings.
        unsafe { with_run(current, execute) }
    }
}

export! {
    /// Interposes `execvp`, which passes the current environment on.
    fn execvp(file, arguments) {
        let (known, execvpe) = (real::known(&real::EXECVP), real::known(&real::EXECVPE));
        let current = current_environment();
        let execute = |complete| {
            if complete == current || execvpe == 0 {
                // SAFETY: the program's own call, passed on.
                return unsafe { call(known, [file, arguments, 0, 0, 0]) };
            }
            // SAFETY: what `execvp` is defined as, with the environment completed.
            unsafe { call(execvpe, [file, arguments, complete, 0, 0]) }
        };
        // SAFETY: the current environment is a C array of C strings.
        unsafe { with_run(current, execute) }
    }
}

// Their arguments: the file, then the next program's own, ended by null, then for `execle` the
// environment. The functions that take the same as an array are what they are defined by; a
// list can't be passed on as one.
exec_list!(execl, list_of_path);
exec_list!(execle, list_with_environment);
exec_list!(execlp, list_of_name);

unsafe extern "C" fn list_of_path(words: *const usize) -> usize {
    // SAFETY: the program's own call, by execl's contract.
    unsafe { execve(first(words), array(words), current_environment()) }
}

unsafe extern "C" fn list_of_name(words: *const usize) -> usize {
    // SAFETY: the program's own call, by execlp's contract.
    unsafe { execvpe(first(words), array(words), current_environment()) }
}

unsafe extern "C" fn list_with_environment(words: *const usize) -> usize {
    let mut at = 1;
    // SAFETY: the list ends with null.
    while unsafe { *words.add(at) } != 0 {
        at += 1;
    }
    // SAFETY: the environment stands behind the null.
    let environment = unsafe { *words.add(at + 1) };
    // SAFETY: the program's own call, by execle's contract.
    unsafe { execve(first(words), array(words), environment) }
}

/// # Safety
/// A list of at least one word.
unsafe fn first(words: *const usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { *words }
}

/// The list behind its first word: an array, as exec takes it.
fn array(words: *const usize) -> usize {
    words as usize + size_of::<usize>()
}
