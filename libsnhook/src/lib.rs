//! The hook of sntrace: a freestanding shared library that lives inside the traced process.
//!
//! **Its duties.** Every call of an allocation function is passed on unchanged to the function
//! that would have got it, and recorded in the calling thread's lane. Whatever goes wrong with
//! recording, the call is passed on. It never allocates, never takes a lock in the hot phase,
//! never touches `errno`, never prints, never changes a signal's disposition.
//!
//! **Yours.** Load it with `LD_PRELOAD` and a run's environment variable
//! ([`sntrace_format::env`]); without the variable it only passes calls on.
//!
//! **Why it is fast.** A lane belongs to one thread, so publishing an event is a store; names,
//! order and everything else are worked out in the launcher. See `record` for the hot path.
//!
//! | module | what |
//! |---|---|
//! | [`hooks`] | the hooked functions, and the real ones behind them |
//! | [`ways`] | how calls come to reach the hooks |
//! | [`record`] | the hot path: event into lane |
//! | [`callers`], [`unwind`] | who called, past wrappers |
//! | [`full`], [`last_stack`] | full stacks, each made from the last one |
//! | [`modules`], [`maps`], [`elf`] | what is mapped where |
//! | [`thread`], [`image`], [`state`] | per thread, per process image, per process |
//! | [`environment`], [`bootstrap`] | starting up |
//! | [`transport`] | the pipe |
//! | [`arena`] | arenas, for programs that ask for them |
//! | [`platform`] | the operating system and the processor |
//!
//! `README.md` has the law: what may be done in which phase. It is enforced by construction:
//! `no_std`, no allocator, no `DT_NEEDED`, one undefined symbol (`dlsym`).
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code)]

pub mod arena;
pub mod bootstrap;
pub mod callers;
pub mod elf;
pub mod elf_file;
pub mod environment;
pub mod first_stack;
pub mod full;
pub mod hooks;
pub mod image;
pub mod last_stack;
pub mod maps;
pub mod modules;
pub mod platform;
pub mod record;
pub mod state;
pub mod target;
pub mod thread;
pub mod transport;
#[deny(unsafe_code)]
pub mod unwind;
pub mod ways;

/// Starts the hook before the program's own code, so that a program without allocations is
/// known to the launcher too.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

#[cfg(not(test))]
extern "C" fn constructor() {
    thread::begin_process();
}

/// A panic is a bug of the hook's. There is nobody to tell and nothing to unwind to; the
/// process is stopped rather than corrupted.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        platform::sys::abort();
    }
}
