//! What a run looks like from outside: lines, JSON, the summary.
//!
//! One trait, [`Sink`], and a file a format. A sink is told what happened in time order and
//! writes it down at once; none holds events, so the launcher's memory does not grow with their
//! number. [`Outputs`] is the one a run talks to: it filters, feeds every sink, keeps the
//! [`Summary`], and lets one sink fail (a full disk) without the others or the program noticing.
//!
//! Names arrive as views ([`Call`]), so that this folder knows nothing of debug information. A
//! name comes from the traced program and is not to be trusted: every format escapes it
//! ([`escape`]) before a terminal can see it. What is worked out once a site is kept by
//! [`Call::site`]: on the hot path a line is a few copies and two numbers.
//!
//! Nothing here depends on the operating system.

mod closing;
pub(crate) mod event_object;
pub(crate) mod number;
pub(crate) mod pretty;
pub(crate) mod process_rows;
pub(crate) mod sites;

pub mod escape;
pub mod filter;
pub mod json;
pub mod jsonl;
pub mod lines;
pub mod outputs;
pub mod summary;
pub mod writer;

#[cfg(test)]
pub(crate) mod samples;

pub(crate) use closing::grouped;
pub use filter::{Filter, FilterError};
pub use json::Json;
pub use jsonl::JsonLines;
pub use lines::{Colour, LineOptions, Lines};
pub use outputs::Outputs;
pub use summary::Summary;
pub use writer::{OutputError, Writer};

use crate::trace::{Event, Exit, ImageId, Module, Op};

/// Who made a call, in words. Borrowed from the symbolizer for the time of one event.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// CALLER as lines show it, not yet escaped: a function, `module+0xOFFSET`, or `???`. Empty
    /// where callers were not asked for: then no output has one.
    pub name: &'a str,
    /// The calling function, where a symbol covers the address.
    pub function: Option<&'a str>,
    /// Path of the module that the call came from, where one covers the address.
    pub module: Option<&'a str>,
    /// Source file and line of the call, where debug information tells.
    pub location: Option<(&'a str, u32)>,
    /// Return address in that function; it may be one of several of this site.
    pub address: u64,
    /// The return address in its module's own numbering; 0 where no module covers it.
    pub file_address: u64,
    /// The function to show as called: the event's own, or the operator whose frame was passed
    /// over (a `malloc` made by `operator new`).
    pub op: Op,
    /// Number of this caller: dense, from 0. The same number always comes with the same strings.
    pub site: u32,
}

/// A process image, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub image: ImageId,
    /// When it began, in nanoseconds since the run began.
    pub time_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Process id of its parent.
    pub ppid: u32,
    /// The image that it was forked from, if it was.
    pub forked_from: Option<ImageId>,
    /// Path of the program; bytes that are not UTF-8 stand as `\xff`.
    pub executable: String,
    /// The command line, likewise.
    pub command: Vec<String>,
}

/// The end of a process image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How it ended.
    pub exit: Exit,
    /// Blocks that were live.
    pub live_blocks: u64,
    /// Requested bytes that were live.
    pub live_bytes: u64,
}

/// One format being written to one destination.
///
/// After the first error a sink is not called again: its output ends there. Whoever calls it
/// (see [`Outputs`]) says so to the user and goes on without it. Sinks may work in a thread of
/// their own.
pub trait Sink: Send {
    /// A process image begins. Comes before its events.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn process_begin(&mut self, process: &Process) -> Result<(), OutputError> {
        let _ = process;
        Ok(())
    }

    /// A module is mapped into a process.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn module_add(&mut self, process: &Process, module: &Module) -> Result<(), OutputError> {
        let _ = (process, module);
        Ok(())
    }

    /// An event. The hot path.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn event(
        &mut self,
        event: &Event,
        call: &Call<'_>,
        process: &Process,
    ) -> Result<(), OutputError>;

    /// A process image ended. Comes after its events.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn process_end(&mut self, process: &Process, end: ProcessEnd) -> Result<(), OutputError> {
        let _ = (process, end);
        Ok(())
    }

    /// Hands on what is buffered, so that a reader sees it now. Called after each batch.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn flush(&mut self) -> Result<(), OutputError>;

    /// The run is over: writes what stands at the end, and flushes.
    ///
    /// # Errors
    /// When the destination takes no more.
    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError>;
}
