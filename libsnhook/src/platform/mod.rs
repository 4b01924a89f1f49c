//! The contract with the operating system: what the rest of the hook may ask of it.
//!
//! Everything here is a raw system call or a register read. Nothing goes through the C library:
//! its functions may allocate, take locks, touch `errno`, or be interposed themselves. One folder
//! an operating system, one file a processor in it, the same names in each.
//!
//! | function | phase | note |
//! |---|---|---|
//! | [`thread_slot`], [`set_thread_slot`] | all | one thread-local word, initial-exec, zero at first |
//! | [`clock::now`] | hot | ticks of the run's clock |
//! | [`sys`] | load, slow | system calls; none touches `errno` |
//! | `entry!` | - | defines an interposed symbol that passes sp, fp and return address on |
//!
//! Preload hazards that the code above this relies on: the thread slot is usable before the first
//! line of the program runs and after the last destructor of a thread; a signal may arrive
//! between any two instructions; `fork` and raw `clone` copy everything except pages marked with
//! [`sys::wipe_on_fork`].

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;
