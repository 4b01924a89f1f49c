//! The first chunk of a trace file: what was run, what of it was recorded, and by which sntrace.
//!
//! JSON, as it is read once and may grow.

use serde::{Deserialize, Serialize};

use super::fields::Malformed;
use crate::trace::Header;

/// What a trace holds of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Which part of the call stacks.
    pub stacks: StacksTaken,
    /// Whether memory from the kernel (mmap and its like) is in it.
    pub mappings: bool,
    /// Whether processes that the program started are in it.
    pub children: bool,
    /// Whether events could be dropped instead of making the program wait.
    pub may_drop: bool,
}

/// How much of the call stacks a trace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StacksTaken {
    /// All frames.
    Full,
    /// The innermost one.
    Caller,
    /// None.
    None,
}

impl Default for Recorded {
    /// What is recorded if nobody asks for anything else.
    fn default() -> Self {
        Self {
            stacks: StacksTaken::Full,
            mappings: false,
            children: true,
            may_drop: false,
        }
    }
}

/// The chunk's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// Version of the sntrace that recorded.
    pub sntrace: String,
    pub command: Vec<String>,
    pub os: String,
    pub arch: String,
    pub started: String,
    pub recorded: Recorded,
}

impl About {
    pub(super) fn new(header: &Header, recorded: &Recorded) -> Self {
        Self {
            sntrace: env!("CARGO_PKG_VERSION").into(),
            command: header.command.clone(),
            os: header.os.clone(),
            arch: header.arch.clone(),
            started: header.started.clone(),
            recorded: recorded.clone(),
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body)
            .map_err(|error| Malformed(format!("its header can't be read: {error}")))
    }

    pub(super) fn header(&self) -> Header {
        Header {
            command: self.command.clone(),
            os: self.os.clone(),
            arch: self.arch.clone(),
            started: self.started.clone(),
        }
    }
}
