//! What each process image did, from its beginning to its end.

use std::rc::Rc;

use super::counts::Counts;
use crate::output::escape;
use crate::trace::{Exit, ImageId, Item, StackId};

/// A process image: one program in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTotals {
    /// Its number.
    pub image: ImageId,
    /// Process id; `None` where the trace has events of it and not its beginning.
    pub pid: Option<u32>,
    /// Process id of its parent.
    pub ppid: Option<u32>,
    /// The image that it was forked from, if it was.
    pub forked_from: Option<ImageId>,
    /// Path of the program; bytes that are not UTF-8 stand as `\xff`. Not escaped.
    pub executable: String,
    /// The command line, likewise.
    pub command: Vec<String>,
    /// When it began, in nanoseconds since the run began.
    pub begin_ns: u64,
    /// When it had ended; `None` where the trace does not have that.
    pub end_ns: Option<u64>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// What it allocated.
    pub allocated: Counts,
    /// Calls that gave a block back.
    pub frees: u64,
    /// Its temporary allocations.
    pub temporary: Counts,
    /// Largest sum of its live requested bytes, what it inherited included.
    pub peak_bytes: u64,
    /// What it had from its parent at its beginning.
    pub inherited: Counts,
    /// What it allocated that was live when it ended; nothing where it ended by an exec.
    pub leaked: Counts,
    pub(super) live_bytes: u64,
}

impl ProcessTotals {
    /// Of an image of which nothing is known yet.
    pub(super) fn unknown(image: ImageId, time_ns: u64) -> ProcessTotals {
        ProcessTotals {
            image,
            pid: None,
            ppid: None,
            forked_from: None,
            executable: String::new(),
            command: Vec::new(),
            begin_ns: time_ns,
            end_ns: None,
            exit: None,
            allocated: Counts::default(),
            frees: 0,
            temporary: Counts::default(),
            peak_bytes: 0,
            inherited: Counts::default(),
            leaked: Counts::default(),
            live_bytes: 0,
        }
    }

    /// Takes over what its beginning says.
    pub(super) fn begin(&mut self, item: &Item, inherits: &Rc<[(StackId, Counts)]>) {
        let Item::Process {
            time_ns,
            pid,
            ppid,
            forked_from,
            executable,
            command,
            ..
        } = item
        else {
            return;
        };
        let inherited: Counts = inherits.iter().map(|&(_, counts)| counts).sum();
        let words = command.iter().map(|word| escape::lossy(word).into_owned());
        *self = ProcessTotals {
            pid: Some(*pid),
            ppid: Some(*ppid),
            forked_from: *forked_from,
            executable: escape::lossy(executable).into_owned(),
            command: words.collect(),
            inherited,
            live_bytes: inherited.bytes,
            peak_bytes: inherited.bytes,
            ..ProcessTotals::unknown(self.image, *time_ns)
        };
    }

    /// Its live bytes change.
    #[inline]
    pub(super) fn live(&mut self, gained: u64, lost: u64) {
        self.live_bytes = self.live_bytes.saturating_sub(lost).saturating_add(gained);
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
    }

    /// The process that this image is in: its id, else its number.
    #[must_use]
    pub fn shown_pid(&self) -> u32 {
        self.pid.unwrap_or(self.image.0)
    }
}
