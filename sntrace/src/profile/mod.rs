//! A trace reduced to what comparisons are made of: the figures of each call stack.
//!
//! A profile holds no events. Of one run it is made by [`Profile::of`]; several runs of the same program make one
//! profile with a figure a run ([`Profile::add`]), which tells noise from change. It takes memory by distinct
//! stacks, and little of it on disk ([`write()`]): that is what a baseline is.

mod document;
mod figures;
mod merge;

use serde::{Deserialize, Serialize};

use crate::analyze::{Analysis, AnalysisOptions};
use crate::trace::{Certificate, Recorded, Recording, StackId, Tables, TraceError};

pub use document::{is_profile, read, write};
pub use figures::{Figures, Measured, Metric, Spread, add_runs};

/// See the module.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where it comes from.
    pub origin: Origin,
    /// What the trace vouches for; of several runs, the sums.
    pub certificate: Certificate,
    /// Of the whole, by run. Never empty.
    pub totals: Vec<Figures>,
    /// What the stacks are made of.
    pub tables: Tables,
    /// Stacks that allocated, leaked or had blocks at the peak.
    pub stacks: Vec<StackFigures>,
}

/// The figures of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackFigures {
    /// The whole stack of the calls.
    pub stack: StackId,
    /// By run; as many as the profile has runs.
    pub runs: Vec<Figures>,
}

/// Where a profile comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The program and its arguments, as given to sntrace.
    pub command: Vec<String>,
    /// Operating system, as Rust calls it.
    pub os: String,
    /// Processor, as Rust calls it.
    pub arch: String,
    /// When the (first) run began, RFC 3339 in UTC.
    pub started: String,
    /// Who recorded it: `sntrace 0.1.0`.
    pub generator: String,
    /// Revision of the traced project, where it is known.
    pub revision: Option<String>,
    /// What was recorded of the run.
    pub recorded: Recorded,
}

impl Profile {
    /// Of one run.
    ///
    /// # Errors
    /// Where the trace can't be read to its end.
    pub fn of(recording: &dyn Recording) -> Result<Profile, TraceError> {
        let analysis = Analysis::of(recording, &AnalysisOptions::default())?;
        let totals = &analysis.totals;
        let header = recording.header();
        let stacks = analysis.stacks.iter().map(|(stack, of)| {
            let figures = Figures {
                allocations: of.allocated.blocks,
                bytes: of.allocated.bytes,
                peak_bytes: of.peak.bytes,
                leaked_bytes: of.leaked.bytes,
                leaked_allocations: of.leaked.blocks,
                temporary_allocations: of.temporary.blocks,
            };
            (stack, figures)
        });
        let stacks = stacks.filter(|(_, figures)| *figures != Figures::default());
        Ok(Profile {
            origin: Origin {
                command: header.command.clone(),
                os: header.os.clone(),
                arch: header.arch.clone(),
                started: header.started.clone(),
                generator: recording.generator().to_owned(),
                revision: None,
                recorded: recording.recorded().clone(),
            },
            certificate: recording.certificate().clone(),
            totals: vec![Figures {
                allocations: totals.allocations,
                bytes: totals.bytes_allocated,
                peak_bytes: totals.peak_bytes,
                leaked_bytes: totals.leaked_bytes,
                leaked_allocations: totals.leaked_allocations,
                temporary_allocations: totals.temporary_allocations,
            }],
            tables: recording.tables().clone(),
            stacks: stacks
                .map(|(stack, figures)| StackFigures {
                    stack,
                    runs: vec![figures],
                })
                .collect(),
        })
    }

    /// How often the program was run.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.totals.len()
    }
}
