//! What every program starts with, outside of its own first function.
//!
//! Reports leave it out, and comparisons too: it says nothing of the program, and looks different with another C
//! library or with its debug information.

/// Whether this is what the system and the language run before a program's or a thread's own code.
#[must_use]
pub fn is_start(function: &str) -> bool {
    const NAMES: &[&str] = &[
        "_start",
        "__libc_start_main",
        "__libc_start_main_impl",
        "__libc_start_call_main",
        "__libc_start_main@@GLIBC_2.34",
        "libc_start_main_stage2",
        "start_thread",
        "clone",
        "clone3",
        "__clone",
        "__clone3",
        "__clone_internal",
        "thread_start",
        "std::rt::lang_start",
        "std::rt::lang_start_internal",
        "std::sys::backtrace::__rust_begin_short_backtrace",
        "std::sys_common::backtrace::__rust_begin_short_backtrace",
    ];
    // Rust's names may end in generic arguments.
    let plain = function.split("::<").next().unwrap_or(function);
    NAMES.contains(&plain)
}
