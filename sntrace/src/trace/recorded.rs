//! What of a run a trace was told to hold. Without it a figure can't be judged: no mappings is
//! something else than mappings that nobody asked for.

use serde::{Deserialize, Serialize};

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
