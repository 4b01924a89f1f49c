//! What sources deliver.

use smallvec::SmallVec;

use crate::trace::{Exit, ImageId, Module};

/// An event as it came out of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// The record.
    pub event: sntrace_format::record::Event,
    /// Return addresses beyond the caller.
    pub frames: SmallVec<[u64; 2]>,
    /// Whether the stack goes on.
    pub truncated: bool,
    /// Thread id in its process's numbering.
    pub tid: u32,
    /// Dense number of the thread, by [`super::Orderer::thread`].
    pub thread: u32,
}

/// What a source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(RawEvent),
    /// An image begins.
    Process {
        /// Process id.
        pid: u32,
        /// Parent's process id.
        ppid: u32,
        /// The image it was forked from.
        forked_from: Option<ImageId>,
        /// Path of the program.
        executable: Vec<u8>,
        /// Arguments.
        command: Vec<Vec<u8>>,
    },
    /// A module is mapped.
    ModuleAdd(Box<Module>),
    /// A module is gone.
    ModuleRemove(u64),
    /// The loader was called.
    LoaderCalled(u32),
    /// A process is about to run the program at this path; empty: the last such exec has failed.
    Exec(u32, Vec<u8>),
    /// The image ended. Everything else of it is emitted before.
    Ended(Exit),
}
