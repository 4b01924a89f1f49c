//! The trace file, `.snt`: a run as bytes, written while it goes on and read on any machine.
//!
//! `sntrace-format/TRACE-FILE.md` specifies the bytes. In short: a prologue, then chunks that are
//! compressed and checked each by itself, an index, a trailer. A file that was cut reads up to its
//! last whole chunk.
//!
//! * [`TraceWriter`] takes definitions and items as they come and holds no more than one chunk of
//!   them; what it remembers beyond is bounded by live blocks and distinct stacks.
//! * [`TraceFile`] opens a file and is a [`super::Recording`].
//! * [`dump()`] shows every record as a line of text.
//!
//! Events are stored in columns, a number each, most of them as how they differ from what was to
//! be expected: writer and reader keep the same expectations (`model.rs`) and so never store what
//! both know. Nothing in a file is trusted: lengths are checked before anything is allocated by
//! them, and what can't be right is an error with the place of its chunk.

mod about;
mod chunk;
mod column;
mod columns;
mod decode;
mod definitions;
mod dump;
mod encode;
mod fields;
pub(super) mod foreign;
mod index;
mod items;
mod manner;
mod model;
mod owned;
mod planes;
mod reader;
mod symbols;
mod writer;

#[cfg(test)]
mod tests;

pub use column::ColumnReader;
pub use decode::decode_events;
pub use dump::{DumpError, dump};
pub use fields::Malformed;
pub use reader::{Cut, TraceFile};
pub use writer::TraceWriter;

/// The version of the format that this code writes, and the only one that it reads.
///
/// * 1: the first.
pub const VERSION: u32 = 1;

/// What every trace file begins with. The byte beyond ASCII and the line ends show what a transfer
/// as text does to it.
pub(crate) const MAGIC: [u8; 8] = *b"\x89SNT\r\n\x1a\n";
/// What every whole trace file ends with.
const END_MAGIC: [u8; 8] = *b"SNT-END\n";
/// Bytes before the first chunk: magic, version, four zeros.
const PROLOGUE_BYTES: u64 = 16;
