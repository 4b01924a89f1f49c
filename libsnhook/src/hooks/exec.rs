//! The exec family: the next program finds the run again.
//!
//! It does by itself as long as the environment is passed on. Where a program passes another one,
//! or has changed its own, the two variables that the next image needs are added to a copy. Each
//! function is passed on to the one of its name if the environment is the given one; else, where it
//! takes none, to the one that it is defined by and that takes one.
//!
//! The caller may be a `vfork` child, on its parent's memory and stack: nothing is allocated.

use super::{announce, export, real};
use crate::environment::{self, complete};
use crate::platform::{exec_list, sys};
use crate::target::{self, Named, Target};
use crate::thread;

/// Executes by `call` with an environment that leads the next image to the run, or keeps it away if
/// it could not bear the hook.
///
/// # Safety
/// Strings are C strings; `environment` is null or an array of them ended by null.
unsafe fn execute(named: Named, environment: usize, call: impl FnOnce(usize) -> usize) -> usize {
    thread::start();
    if !environment::has_run() {
        return call(environment);
    }
    let look = |target: &Target<'_>| {
        let announced = announce::program(sys::process_id(), target.path);
        (target.way, announced)
    };
    // SAFETY: the caller's promise.
    let (way, announced) = unsafe { target::with(named, look) };
    // SAFETY: the caller's promise.
    let result = unsafe { complete::with(environment, way, call) };
    // Only a failure comes back.
    if announced {
        announce::failure();
    }
    result
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
        let start = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [path, arguments, complete, 0, 0]) }
        };
        // SAFETY: the program's own environment.
        unsafe { execute(Named::Path(path), environment, start) }
    }
}

export! {
    /// Interposes `execvpe`.
    fn execvpe(file, arguments, environment) {
        let known = real::known(&real::EXECVPE);
        let start = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [file, arguments, complete, 0, 0]) }
        };
        // SAFETY: the program's own environment.
        unsafe { execute(Named::Name(file), environment, start) }
    }
}

export! {
    /// Interposes `fexecve`.
    fn fexecve(fd, arguments, environment) {
        let known = real::known(&real::FEXECVE);
        let start = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [fd, arguments, complete, 0, 0]) }
        };
        if environment == 0 {
            // glibc refuses null here, and nowhere else: with a copy it would not.
            return start(0);
        }
        // SAFETY: the program's own environment.
        unsafe { execute(Named::Descriptor(fd), environment, start) }
    }
}

export! {
    /// Interposes `execveat`.
    fn execveat(folder, path, arguments, environment, flags) {
        let known = real::known(&real::EXECVEAT);
        let start = |complete| {
            // SAFETY: the program's own call, its environment completed.
            unsafe { call(known, [folder, path, arguments, complete, flags]) }
        };
        // SAFETY: the program's own environment.
        unsafe { execute(Named::At(folder, path), environment, start) }
    }
}

export! {
    /// Interposes `execv`, which passes the current environment on.
    fn execv(path, arguments) {
        let (known, execve) = (real::known(&real::EXECV), real::known(&real::EXECVE));
        let current = real::environment();
        let start = |complete| {
            if complete == current || execve == 0 {
                // SAFETY: the program's own call, passed on.
                return unsafe { call(known, [path, arguments, 0, 0, 0]) };
            }
            // SAFETY: what `execv` is defined as, with the environment completed.
            unsafe { call(execve, [path, arguments, complete, 0, 0]) }
        };
        // SAFETY: the current environment is a C array of C strings.
        unsafe { execute(Named::Path(path), current, start) }
    }
}

export! {
    /// Interposes `execvp`, which passes the current environment on.
    fn execvp(file, arguments) {
        let (known, execvpe) = (real::known(&real::EXECVP), real::known(&real::EXECVPE));
        let current = real::environment();
        let start = |complete| {
            if complete == current || execvpe == 0 {
                // SAFETY: the program's own call, passed on.
                return unsafe { call(known, [file, arguments, 0, 0, 0]) };
            }
            // SAFETY: what `execvp` is defined as, with the environment completed.
            unsafe { call(execvpe, [file, arguments, complete, 0, 0]) }
        };
        // SAFETY: the current environment is a C array of C strings.
        unsafe { execute(Named::Name(file), current, start) }
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
    unsafe { execve(first(words), array(words), real::environment()) }
}

unsafe extern "C" fn list_of_name(words: *const usize) -> usize {
    // SAFETY: the program's own call, by execlp's contract.
    unsafe { execvpe(first(words), array(words), real::environment()) }
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
