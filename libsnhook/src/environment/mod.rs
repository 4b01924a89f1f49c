//! The environment: what the launcher said, and how to say it to the next program.
//!
//! Read once from the kernel's copy (`/proc/self/environ`), which shows the environment as it was
//! at exec: the C library's own may not be set up yet when the first `malloc` comes.
//! [`complete`] makes the environment of a next program from the one that the program gives it,
//! [`lent`] does so where the C library takes its own. Phase: load, and exec.

pub mod complete;
pub mod lent;

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

use sntrace_format::env::{RUN_VALUE_MAX, RUN_VARIABLE};

use crate::platform::sys;

/// How the variable that loads the hook begins.
const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// A variable's text as the launcher set it, `NAME=value`, ended by a zero.
struct Text<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    /// Length without the zero; 0: not set. Written after the bytes, release; read with acquire.
    length: AtomicUsize,
}

// SAFETY: written once, in the load phase, before `length` is published.
unsafe impl<const N: usize> Sync for Text<N> {}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; N]),
            length: AtomicUsize::new(0),
        }
    }

    fn get(&self) -> &[u8] {
        let length = self.length.load(Ordering::Acquire);
        // SAFETY: the first `length` bytes are written and never change again; `length < N`.
        unsafe { core::slice::from_raw_parts(self.bytes.get().cast::<u8>(), length) }
    }

    /// Address of the text with its zero.
    fn address(&self) -> usize {
        self.bytes.get() as usize
    }
}

static RUN: Text<{ RUN_VALUE_MAX + 16 }> = Text::new();
static HOOK: Text<8192> = Text::new();

/// The value of the run's variable; empty if the process is not traced.
pub fn run() -> &'static [u8] {
    RUN.get().get(RUN_VARIABLE.len() + 1..).unwrap_or(&[])
}

/// Whether the environment at the start told of a run and its hook: without one, nothing of it may
/// be changed for others.
pub fn has_run() -> bool {
    RUN.length.load(Ordering::Acquire) != 0 && !hook_path().is_empty()
}

/// The value of a variable of an environment; `name` ends with `=`.
///
/// # Safety
/// `environment` is null or a C array of C strings ended by null, which stays.
pub unsafe fn variable(environment: usize, name: &[u8]) -> Option<&'static [u8]> {
    let mut entry = environment as *const *const c_char;
    if entry.is_null() {
        return None;
    }
    loop {
        // SAFETY: within the array, which ends with null.
        let text = unsafe { *entry };
        if text.is_null() {
            return None;
        }
        // SAFETY: a C string.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        if let Some(value) = text.strip_prefix(name) {
            return Some(value);
        }
        // SAFETY: the last one was not null, so there is another behind it.
        entry = unsafe { entry.add(1) };
    }
}

/// Path of the run's pipe with a zero behind it; empty without one.
pub fn pipe_path() -> &'static [u8] {
    let text = RUN.get();
    let mut colons = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte == b':' {
            colons += 1;
            if colons == 5 {
                if at + 1 == text.len() {
                    return &[];
                }
                // SAFETY: the array is longer than the text and zero behind it.
                return unsafe {
                    core::slice::from_raw_parts(
                        (RUN.address() + at + 1) as *const u8,
                        text.len() - at,
                    )
                };
            }
        }
    }
    &[]
}

/// Reads the two variables. Load phase, one thread.
pub fn read() {
    if let Some(fd) = sys::open(b"/proc/self/environ\0", sys::READ_ONLY) {
        let mut reader = Scanner::new();
        let mut buffer = [0u8; 1024];
        loop {
            let count = sys::read(fd, &mut buffer);
            if count == 0 {
                break;
            }
            for &byte in &buffer[..count] {
                reader.byte(byte);
            }
        }
        reader.byte(0);
        sys::close(fd);
    }
}

/// Picks the two variables out of a stream of zero-ended texts.
struct Scanner {
    /// Bytes of the current text so far.
    at: usize,
    is_run: bool,
    is_hook: bool,
}

impl Scanner {
    fn new() -> Self {
        Self {
            at: 0,
            is_run: true,
            is_hook: true,
        }
    }

    fn byte(&mut self, byte: u8) {
        if byte == 0 {
            if self.is_run && self.at > RUN_VARIABLE.len() {
                RUN.length.store(self.at, Ordering::Release);
            }
            if self.is_hook && self.at >= PRELOAD.len() {
                HOOK.length.store(self.at, Ordering::Release);
            }
            *self = Self::new();
            return;
        }
        self.is_run = self.is_run && keeps(&RUN, self.at, byte, RUN_VARIABLE.as_bytes());
        self.is_hook = self.is_hook && keeps(&HOOK, self.at, byte, &PRELOAD[..PRELOAD.len() - 1]);
        self.at += 1;
    }
}

/// Whether `byte` at `at` goes on with a variable called `name`; if so it is kept in `text`.
fn keeps<const N: usize>(text: &Text<N>, at: usize, byte: u8, name: &[u8]) -> bool {
    let expected = match name.get(at) {
        Some(&expected) => Some(expected),
        None if at == name.len() => Some(b'='),
        None => None,
    };
    if expected.is_some_and(|expected| expected != byte) || at + 1 >= N {
        return false;
    }
    // SAFETY: below N; the load phase is one thread, and nothing reads before `length` is set.
    unsafe { *text.bytes.get().cast::<u8>().add(at) = byte };
    true
}

/// The first path of the launcher's LD_PRELOAD: the hook's own.
fn hook_path() -> &'static [u8] {
    let value = HOOK.get().get(PRELOAD.len()..).unwrap_or(&[]);
    let end = value
        .iter()
        .position(|&byte| byte == b':' || byte == b' ')
        .unwrap_or(value.len());
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    // The statics are the process's own: one test, in the order of a process's life.
    #[test]
    fn the_variables_are_found_and_passed_on() {
        let mut scanner = Scanner::new();
        let block = b"A=1\0LD_PRELOADED=x\0SNTRACE_RUNNER=y\0SNTRACE_RUN=1:2:3:4:5:/p/e\0LD_PRELOAD=/h.so:/o.so\0Z=\0";
        for &byte in block {
            scanner.byte(byte);
        }
        assert_eq!(run(), b"1:2:3:4:5:/p/e");
        assert_eq!(pipe_path(), b"/p/e\0");
        assert_eq!(hook_path(), b"/h.so");
    }
}
