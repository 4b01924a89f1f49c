//! What a recorded trace says about its program: one pass, one file a question.
//!
//! [`Analysis::of`] reads a [`Recording`] once, event by event. `ledger` tells what an event did to
//! which block, `run` tells that to everyone who counts something. Memory is bounded by live blocks,
//! distinct stacks, threads and processes, never by events, and an event costs one look-up by address and
//! a few additions: a trace of a hundred million events is a matter of seconds.
//!
//! Totals are [`Summary`]'s, and everything here means what it means there: a `realloc` is an allocation
//! and a free, a forked child's inherited blocks count as live in it, mappings are counted apart. So the
//! figures by stack, thread, process and module add up to the totals. Figures by [`StackId`]
//! are kept, not names: whoever shows them groups them by caller ([`Callers`]).
//!
//! The trace is not trusted. Numbers of stacks that its tables don't have mean the empty stack.

mod callers;
mod counts;
mod crossings;
mod leaks;
mod ledger;
mod lifetimes;
mod misuse;
mod modules;
mod pairing;
mod peak;
mod processes;
mod regrowth;
mod run;
#[cfg(test)]
pub(crate) mod samples;
mod sites;
mod sizes;
#[cfg(test)]
pub(crate) mod sums;
mod suppressions;
#[cfg(test)]
mod tests;
mod threads;
mod timeline;

pub use callers::{Caller, CallerId, Callers, Group, Place};
pub use counts::Counts;
pub use crossings::Crossings;
pub use leaks::Leaks;
pub use lifetimes::{LifetimeClass, Lifetimes};
pub use misuse::{CASES_MAX, Call, Misuse, MisuseCase, MisuseKind};
pub use modules::ModuleTotals;
pub use processes::ProcessTotals;
pub use regrowth::Regrowth;
pub use sites::{StackTotals, Stacks};
pub use sizes::{SizeClass, Sizes};
pub use suppressions::{SuppressionError, Suppressions};
pub use threads::ThreadTotals;
pub use timeline::{BUCKETS, Bucket, Timeline};

use crate::output::Summary;
use crate::trace::{ImageId, Recording, StackId, TraceError};

/// What an analysis is to know beside the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnalysisOptions {
    /// Leaks that are known and not to be shown.
    pub suppressions: Suppressions,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The totals.
    pub totals: Summary,
    /// From the beginning of the run to its last event or, where the trace tells it, to the end of
    /// its last process; in nanoseconds.
    pub duration_ns: u64,
    /// Of the stacks that have any figures.
    pub stacks: Stacks,
    /// Who each stack is put down to.
    pub callers: Callers,
    /// The heap over time.
    pub timeline: Timeline,
    /// Blocks that were live when their process ended.
    pub leaks: Leaks,
    /// Allocations by size.
    pub sizes: Sizes,
    /// Freed blocks by the time they lived.
    pub lifetimes: Lifetimes,
    /// Threads, in the order of their first event.
    pub threads: Vec<ThreadTotals>,
    /// Process images, in the order of their beginning.
    pub processes: Vec<ProcessTotals>,
    /// Modules, the most allocated bytes first.
    pub modules: Vec<ModuleTotals>,
    /// Blocks that another thread freed than had allocated them.
    pub crossings: Crossings,
    /// Blocks that grew by realloc, by the stack that allocated them first: the most copied bytes first.
    pub regrowths: Vec<(StackId, Regrowth)>,
    /// Calls that break the allocator's rules.
    pub misuse: Misuse,
}

impl Analysis {
    /// Reads a trace through.
    ///
    /// # Errors
    /// Where the trace can't be read to its end.
    pub fn of(
        recording: &dyn Recording,
        options: &AnalysisOptions,
    ) -> Result<Analysis, TraceError> {
        let mut run = run::Run::new(recording.tables());
        recording.replay(&mut |item| run.item(item))?;
        Ok(run.finish(recording, options))
    }

    /// A figure of every stack.
    pub fn by_stack<'a>(
        &'a self,
        figure: impl Fn(&StackTotals) -> Counts + 'a,
    ) -> impl Iterator<Item = (StackId, Counts)> + 'a {
        self.stacks
            .iter()
            .map(move |(stack, totals)| (stack, figure(totals)))
    }

    /// The image with this number.
    #[must_use]
    pub fn process(&self, image: ImageId) -> Option<&ProcessTotals> {
        self.processes.iter().find(|process| process.image == image)
    }
}
