//! The model: what happened, in order, whatever transport or file it came from.
//!
//! The collector (or, later, a trace file's reader) produces [`Batch`]es of [`Item`]s in time
//! order; everything after it only reads them. Addresses are those of the traced process;
//! sizes are bytes; times are nanoseconds since the run began.

pub mod addresses;
mod certificate;
pub mod file;
pub mod header;
pub mod json;
pub mod lanes;
pub mod live;
mod open;
mod ownership;
mod recorded;
mod recording;
mod source;
mod stacks;
mod tables;

use std::fmt;

pub use certificate::{Certificate, Cost, NotFollowed};
pub use header::Header;
pub use open::open;
pub use ownership::Ownership;
pub use recorded::{Recorded, StacksTaken};
pub use recording::{Recording, TraceError};
pub use sntrace_format::record::Op;
pub use stacks::{SiteId, StackId, StackNode, StackTable};
pub use tables::{FileNumber, Site, Tables, TracedFile};

/// Number of a process image: one program in one process. `exec` starts a new image in the same
/// process, `fork` one in a new process. Unique in a run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u32);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One call of an allocation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The function called.
    pub op: Op,
    /// Nanoseconds since the run began.
    pub time_ns: u64,
    /// The process image that called.
    pub image: ImageId,
    /// Thread id in its process's own numbering.
    pub tid: u32,
    /// The block's address: returned by an allocation (0: it failed), given to a release.
    pub block: u64,
    /// Size in bytes as the program gave it (of one element, where there is a count).
    pub size: u64,
    /// `count`: elements for calloc and reallocarray, else 1.
    pub count: u64,
    /// Alignment in bytes where the op has one, else 0. For mmap: `prot | flags << 32`.
    pub alignment: u64,
    /// The block that realloc, reallocarray or mremap was given, else 0.
    pub old_block: u64,
    /// Return address of the call.
    pub caller: u64,
    /// Where in [`Batch::frames`] the return addresses beyond the caller are, inner to outer.
    pub frames: (u32, u32),
    /// In a recorded trace: the whole stack, from the caller outwards.
    pub stack: StackId,
    /// Whether the stack goes on beyond the last frame.
    pub truncated: bool,
    /// What this event gave back: the requested bytes of the block that it released, if that
    /// block was known to be live.
    pub released: Option<u64>,
    /// Whether the released block was temporary: allocated by the same thread, with no other
    /// allocation of that thread in between.
    pub temporary: bool,
}

impl Event {
    /// Requested bytes in all: `count * size`, saturating.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.size)
    }

    /// Whether a block was obtained.
    #[must_use]
    pub fn allocated(&self) -> bool {
        self.op.acquires() && self.block != 0
    }
}

/// A module (executable or shared library) mapped into a process image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// First address of its mappings.
    pub start: u64,
    /// First address after them.
    pub end: u64,
    /// Taken from an address it gives the file's own (ELF virtual) address.
    pub bias: u64,
    /// Device of the mapped file.
    pub device: u64,
    /// Inode of the mapped file.
    pub inode: u64,
    /// GNU build id; empty where there is none.
    pub build_id: Vec<u8>,
    /// Path in the traced process's view; raw bytes (a path need not be UTF-8).
    pub path: Vec<u8>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Another program took its place.
    Exec,
    /// It is gone; how is not known (its parent alone was told).
    Unknown,
}

/// What a run consists of, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// An image begins.
    Process {
        /// Its number.
        image: ImageId,
        /// When, in nanoseconds since the run began.
        time_ns: u64,
        /// Process id.
        pid: u32,
        /// Process id of its parent.
        ppid: u32,
        /// The image it was forked from, if it was.
        forked_from: Option<ImageId>,
        /// Path of the program.
        executable: Vec<u8>,
        /// The command line, argument by argument.
        command: Vec<Vec<u8>>,
    },
    /// A module is mapped from here on.
    ModuleAdd {
        /// In this image.
        image: ImageId,
        /// This module.
        module: Module,
    },
    /// A module is gone from here on.
    ModuleRemove {
        /// From this image.
        image: ImageId,
        /// The one that started at this address.
        start: u64,
    },
    /// The image's loader was called: what was known about its addresses may be stale.
    LoaderCalled {
        /// In this image.
        image: ImageId,
        /// Number of the call, from 2; the hook counts them.
        epoch: u32,
    },
    /// A process runs another program from here on, traced or not: one of this image's, or a
    /// child that it has started.
    Exec {
        /// Who says so.
        image: ImageId,
        /// The process.
        pid: u32,
        /// Path of the program's file. Empty: it does not, what was announced for it last has failed.
        path: Vec<u8>,
    },
    /// With full stacks: a lane's last stack changes, between its events ([`lanes`]).
    Stack {
        /// The lane.
        lane: u32,
        /// How many of the outermost frames stay.
        kept: u32,
        /// The frames that come before them, inner to outer.
        frames: Vec<u64>,
    },
    /// An image ended. Its blocks that are still live are leaks (after an exec: they are gone
    /// with the old program, and no leaks).
    Ended {
        /// Its number.
        image: ImageId,
        /// How.
        exit: Exit,
        /// Blocks that were live.
        live_blocks: u64,
        /// Requested bytes that were live.
        live_bytes: u64,
    },
}

/// Some items with the frames that their events refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In time order, and after everything in earlier batches.
    pub items: Vec<Item>,
    /// Return addresses beyond the callers.
    pub frames: Vec<u64>,
}

impl Batch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.items.clear();
        self.frames.clear();
    }

    /// Adds an event to the items.
    ///
    /// Written where it will be, field by field. `Vec::push` has its value made elsewhere, for the case
    /// that it must grow, and then copied, which waits for every field that was just written.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn push(&mut self, event: Event) {
        self.items.reserve(1);
        if let Some(place) = self.items.spare_capacity_mut().first_mut() {
            place.write(Item::Event(event));
            let length = self.items.len() + 1;
            // SAFETY: the place behind the last item is within the capacity, as it was there to be
            // written, and was written.
            unsafe { self.items.set_len(length) };
        }
    }

    /// Moves the items from `at` on, with their frames, to the end of another batch.
    pub fn move_from(&mut self, at: usize, other: &mut Batch) {
        let tail = self.items.get(at..).unwrap_or(&[]);
        let first_frame = tail.iter().find_map(|item| match item {
            Item::Event(event) => Some(event.frames.0),
            _ => None,
        });
        let old_start = first_frame.unwrap_or(self.frames.len() as u32);
        let new_start = other.frames.len() as u32;
        other.frames.extend(self.frames.drain(old_start as usize..));
        other.items.extend(self.items.drain(at..).map(|mut item| {
            if let Item::Event(event) = &mut item {
                let (start, end) = event.frames;
                event.frames = (start - old_start + new_start, end - old_start + new_start);
            }
            item
        }));
    }

    /// The return addresses of an event of this batch beyond its caller, inner to outer.
    #[must_use]
    pub fn frames_of(&self, event: &Event) -> &[u64] {
        let (start, end) = event.frames;
        self.frames.get(start as usize..end as usize).unwrap_or(&[])
    }
}
