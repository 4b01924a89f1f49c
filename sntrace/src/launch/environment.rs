//! The program's environment: ours, word for word, with two variables of our own.
//!
//! Taken from the process's raw block, because std leaves out entries without `=` and a program
//! may count on those too. `LD_PRELOAD` gets the hook in front of what was there, so that
//! another preloaded allocator stays the one that serves the program; `SNTRACE_RUN` tells the
//! hook where its run is. Entries keep their order.
//!
//! # Safety
//!
//! The block is read through libc's `environ`, while nobody changes it: sntrace never sets a
//! variable of its own.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sntrace_format::env::{RUN_VARIABLE, RunAddress};

use super::header::Sanitizer;
use super::hook_library;

const PRELOAD_VARIABLE: &[u8] = b"LD_PRELOAD";

/// The block for the program, unchanged.
#[must_use]
pub fn unchanged() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: libc sets the pointer before main, and nobody changes the environment.
    let mut entry = unsafe { environ };
    if entry.is_null() {
        return entries;
    }
    loop {
        // SAFETY: `entry` points into the array, which ends with a null pointer.
        let text = unsafe { *entry };
        if text.is_null() {
            return entries;
        }
        // SAFETY: each entry is a C string that lives as long as the process.
        entries.push(unsafe { CStr::from_ptr(text) }.to_owned());
        // SAFETY: the last one was not null, so there is another pointer behind it.
        entry = unsafe { entry.add(1) };
    }
}

/// A sanitizer's run-time library that a block has preloaded. It must be the first of all: with
/// the hook before it, the program would not start.
#[must_use]
pub fn preloaded_sanitizer(entries: &[CString]) -> Option<Sanitizer> {
    let preloads = entries
        .iter()
        .filter_map(|entry| value_of(entry, PRELOAD_VARIABLE));
    preloads.flat_map(libraries).find_map(|library| {
        let name = library.rsplit(|&byte| byte == b'/').next();
        Sanitizer::of_library(name.unwrap_or(library))
    })
}

/// The libraries of an LD_PRELOAD.
fn libraries(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let libraries = value.split(|byte| matches!(byte, b':' | b' '));
    libraries.filter(|library| !library.is_empty())
}

/// The block for a traced program.
#[must_use]
pub fn with_hook(entries: Vec<CString>, hook: &Path, run: &RunAddress<'_>) -> Vec<CString> {
    let run_variable = RUN_VARIABLE.as_bytes();
    // A run around this one: its hook must not load too, or both would follow the inner run.
    let nested = entries
        .iter()
        .any(|entry| value_of(entry, run_variable).is_some());
    let mut preload = hook.as_os_str().as_bytes().to_vec();
    let mut kept = Vec::with_capacity(entries.len() + 2);
    for entry in entries {
        if let Some(value) = value_of(&entry, PRELOAD_VARIABLE) {
            for library in libraries(value) {
                if !(nested && is_hook(library)) {
                    preload.push(b':');
                    preload.extend_from_slice(library);
                }
            }
        } else if value_of(&entry, run_variable).is_none() {
            kept.push(entry);
        }
    }
    let mut address = run
        .numbers()
        .map(|number| number.to_string())
        .join(":")
        .into_bytes();
    address.push(b':');
    address.extend_from_slice(run.pipe_path);
    kept.extend(variable(PRELOAD_VARIABLE, &preload));
    kept.extend(variable(run_variable, &address));
    kept
}

fn value_of<'a>(entry: &'a CStr, name: &[u8]) -> Option<&'a [u8]> {
    entry.to_bytes().strip_prefix(name)?.strip_prefix(b"=")
}

fn is_hook(library: &[u8]) -> bool {
    library.rsplit(|&byte| byte == b'/').next() == Some(hook_library::FILE_NAME.as_bytes())
}

/// `None` only for a value with a NUL in it, which no path has.
fn variable(name: &[u8], value: &[u8]) -> Option<CString> {
    CString::new([name, b"=", value].concat()).ok()
}

#[cfg(test)]
mod tests {
    use sntrace_format::env::OptionBits;

    use super::*;

    const RUN: RunAddress<'static> = RunAddress {
        launcher_pid: 7,
        segment_fd: 3,
        options: OptionBits::MMAP,
        segment_len: 4096,
        pipe_path: b"/tmp/x/events",
    };

    fn block(entries: &[&str]) -> Vec<CString> {
        entries
            .iter()
            .map(|entry| CString::new(*entry).unwrap())
            .collect()
    }

    fn traced(entries: &[&str]) -> Vec<String> {
        with_hook(block(entries), Path::new("/tmp/x/libsnhook.so"), &RUN)
            .into_iter()
            .map(|entry| entry.into_string().unwrap())
            .collect()
    }

    fn run_entry() -> String {
        let numbers = RUN.numbers().map(|number| number.to_string()).join(":");
        format!("SNTRACE_RUN={numbers}:/tmp/x/events")
    }

    #[test]
    fn the_block_keeps_order_duplicates_and_odd_entries() {
        assert_eq!(
            traced(&["A=1", "odd", "A=2", "LD_PRELOAD_X=3"]),
            [
                "A=1",
                "odd",
                "A=2",
                "LD_PRELOAD_X=3",
                "LD_PRELOAD=/tmp/x/libsnhook.so",
                &run_entry()
            ]
        );
    }

    #[test]
    fn other_preloaded_libraries_stay_behind_the_hook() {
        assert_eq!(
            traced(&["LD_PRELOAD=/a.so b.so:", "B=1"]),
            [
                "B=1",
                "LD_PRELOAD=/tmp/x/libsnhook.so:/a.so:b.so",
                &run_entry()
            ]
        );
    }

    #[test]
    fn the_hook_of_a_run_around_this_one_goes() {
        assert_eq!(
            traced(&[
                "SNTRACE_RUN=1:1:1:1:1:",
                "LD_PRELOAD=/tmp/o/libsnhook.so:/a.so"
            ]),
            ["LD_PRELOAD=/tmp/x/libsnhook.so:/a.so", &run_entry()]
        );
    }

    #[test]
    fn a_preloaded_sanitizer_is_seen() {
        let preloaded = |value: &str| preloaded_sanitizer(&block(&["A=libasan.so", value]));
        assert_eq!(
            preloaded("LD_PRELOAD=/j.so:/usr/lib/libasan.so.8"),
            Some(Sanitizer::Address)
        );
        assert_eq!(
            preloaded("LD_PRELOAD=libtsan.so.2 /j.so"),
            Some(Sanitizer::Thread)
        );
        assert_eq!(preloaded("LD_PRELOAD=/libasan.so/j.so"), None);
    }

    #[test]
    fn our_own_block_is_read() {
        let path = std::env::var("PATH").unwrap();
        assert!(unchanged().contains(&CString::new(format!("PATH={path}")).unwrap()));
    }
}
