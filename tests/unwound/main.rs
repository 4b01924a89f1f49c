//! Full stacks against an independent witness: libunwind, called by the traced program itself.
//!
//! The program (`tests/programs/stacks.cpp`, built with WITNESS) takes its stack by `unw_backtrace`
//! before each of its allocations and writes it to a file. This test traces it and compares each
//! with what the hook says of the allocation, through the lanes, the order and the differences.
//!
//! No test harness: the launcher must be started before any other thread exists.

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
