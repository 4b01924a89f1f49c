//! From addresses to names: functions, files, lines, and which function is the caller.
//!
//! Names are worked out here, in the launcher, never in the traced process. The way of an
//! address: [`ModuleMap`] says which file was mapped there at the event's time, [`Symbolizer`]
//! asks that file's DWARF (through `addr2line`), else its symbol table, else its dynamic
//! symbols, and [`CallerFinder`] looks past the functions that merely wrap the allocator
//! ([`wrappers`]). Where nothing is known, the answer says so: `module+0xOFFSET`, then `???`.
//!
//! Files are found and mapped in `locate` alone; everything else works on bytes. All of those
//! bytes are untrusted: a file may be cut, may lie, may loop. Such a file costs its own names and
//! never the run (`meter` says how).
//!
//! Everything that has been learned is kept for as long as the [`Locator`] lives, since the next
//! event most likely comes from the same place: memory is bounded by the distinct files and call
//! sites of a run, not by its events.

mod arena;
mod caller;
mod demangle;
mod dwarf;
mod elf;
pub(crate) mod hash;
mod locate;
mod meter;
mod modules;
mod recorded;
mod rust_path;
mod split;
mod start;
mod symbolizer;
#[cfg(all(test, target_os = "linux"))]
mod testing;
#[cfg(all(test, target_os = "linux"))]
mod tests;
pub mod wrappers;

pub use caller::{Caller, CallerFinder, Notes};
pub use demangle::demangle;
pub use locate::Locator;
pub use modules::{FileId, Located, ModuleMap};
pub(crate) use recorded::caller_in;
pub use recorded::{RecordedCaller, RecordedCallers};
pub use start::is_start;
pub use symbolizer::{Frame, Symbolizer};
