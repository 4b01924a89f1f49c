//! The environment: what the launcher said, and how to say it to the next program.
//!
//! Read once from the kernel's copy (`/proc/self/environ`), which shows the environment as it was
//! at exec: the C library's own may not be set up yet when the first `malloc` comes.
//! Phase: load, and exec.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use sntrace_format::env::{RUN_VALUE_MAX, RUN_VARIABLE};

use crate::platform::sys;

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

/// Returns `environment` if it leads a new program to this run, or a copy that does.
///
/// The copy lives in fresh pages: a `vfork` child runs on its parent's memory, and nothing here
/// may allocate. If exec fails, they are lost; that is a few kilobytes for a failed call.
///
/// # Safety
/// `environment` is null or a C array of C strings ended by null.
pub unsafe fn complete(environment: usize) -> usize {
    let (run, hook) = (RUN.get(), hook_path());
    if run.is_empty() || hook.is_empty() || crate::state::mode() == crate::state::Mode::Off {
        return environment;
    }
    let entries = environment as *const *const u8;
    let (mut count, mut has_run, mut preload) = (0usize, false, None);
    if !entries.is_null() {
        loop {
            // SAFETY: within the array, which ends with null.
            let entry = unsafe { *entries.add(count) };
            if entry.is_null() {
                break;
            }
            // SAFETY: a C string.
            let text = unsafe { core::ffi::CStr::from_ptr(entry.cast()) }.to_bytes();
            has_run |= text == run;
            if text.starts_with(PRELOAD) && preload.is_none() {
                preload = Some((count, text));
            }
            count += 1;
        }
    }
    let has_hook =
        preload.is_some_and(|(_, text)| text.windows(hook.len()).any(|window| window == hook));
    if has_run && has_hook {
        return environment;
    }
    let theirs = preload.map_or(&[][..], |(_, text)| &text[PRELOAD.len()..]);
    let pointers = (count + 3) * size_of::<usize>();
    let text_bytes = PRELOAD.len() + hook.len() + 1 + theirs.len() + 1;
    let Some(pages) = sys::map_anonymous(pointers + text_bytes) else {
        return environment;
    };
    let text = (pages + pointers) as *mut u8;
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for &byte in bytes {
            // SAFETY: the parts add up to less than `text_bytes`; the rest stays zero.
            unsafe { *text.add(length) = byte };
            length += 1;
        }
    };
    put(PRELOAD);
    put(hook);
    if !theirs.is_empty() {
        put(b":");
        put(theirs);
    }
    let copy = pages as *mut *const u8;
    let mut used = 0;
    let mut add = |entry: *const u8| {
        // SAFETY: at most `count + 2` entries are added; the last place stays null.
        unsafe { *copy.add(used) = entry };
        used += 1;
    };
    for at in 0..count {
        // SAFETY: below the count just made.
        let entry = unsafe { *entries.add(at) };
        // SAFETY: a C string.
        let text = unsafe { core::ffi::CStr::from_ptr(entry.cast()) }.to_bytes();
        let is_old_run = text.starts_with(RUN_VARIABLE.as_bytes())
            && text.get(RUN_VARIABLE.len()) == Some(&b'=');
        if !is_old_run && preload.is_none_or(|(place, _)| place != at) {
            add(entry);
        }
    }
    add(text);
    add(RUN.address() as *const u8);
    pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CStr, CString};

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

        let list = |address: usize| {
            let mut texts = Vec::new();
            for at in 0.. {
                // SAFETY: an array ended by null.
                let entry = unsafe { *(address as *const *const i8).add(at) };
                if entry.is_null() {
                    return texts;
                }
                // SAFETY: a C string.
                texts.push(
                    unsafe { CStr::from_ptr(entry) }
                        .to_str()
                        .unwrap()
                        .to_string(),
                );
            }
            unreachable!()
        };
        let strings = |texts: &[&str]| {
            texts
                .iter()
                .map(|t| CString::new(*t).unwrap())
                .collect::<Vec<_>>()
        };
        let array = |owned: &[CString]| {
            let mut pointers: Vec<usize> = owned.iter().map(|s| s.as_ptr() as usize).collect();
            pointers.push(0);
            pointers
        };
        // Nothing at all, and null.
        for environment in [0, array(&[]).as_ptr() as usize] {
            // SAFETY: null or an empty array (its vector lives long enough: it is read at once).
            let complete = unsafe { complete(environment) };
            assert_eq!(
                list(complete),
                ["LD_PRELOAD=/h.so", "SNTRACE_RUN=1:2:3:4:5:/p/e"]
            );
        }
        // Another preload and a stale run are replaced, the rest stays.
        let owned = strings(&["B=2", "LD_PRELOAD=/jemalloc.so", "SNTRACE_RUN=old", "C=3"]);
        let pointers = array(&owned);
        // SAFETY: an array of C strings ended by null.
        let completed = unsafe { complete(pointers.as_ptr() as usize) };
        assert_eq!(
            list(completed),
            [
                "B=2",
                "C=3",
                "LD_PRELOAD=/h.so:/jemalloc.so",
                "SNTRACE_RUN=1:2:3:4:5:/p/e"
            ]
        );
        // Complete already: the very same array.
        let owned = strings(&["LD_PRELOAD=/x.so:/h.so", "SNTRACE_RUN=1:2:3:4:5:/p/e"]);
        let pointers = array(&owned);
        // SAFETY: as above.
        let completed = unsafe { complete(pointers.as_ptr() as usize) };
        assert_eq!(completed, pointers.as_ptr() as usize);
    }
}
