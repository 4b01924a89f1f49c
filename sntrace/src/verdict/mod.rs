//! What a gate found, in a form that every format can show: what was compared, which rules held, what
//! failed them and who is to blame.
//!
//! Made by `diff` and `check`, shown by the files beside this one, each of which is one format.
//! Everything is worked out before: a format chooses, rounds, escapes and writes, and decides nothing. Names and
//! paths come from the traced programs and are not escaped here.

mod format;
mod github;
mod gitlab;
mod identity;
mod json;
mod junit;
mod markdown;
mod places;
#[cfg(test)]
mod samples;
mod sarif;
#[cfg(test)]
mod tests;
mod text;
mod wording;

use std::path::PathBuf;

use crate::output::Colour;
use crate::profile::{Measured, Metric, Spread};
use crate::trace::Certificate;

pub use format::{Format, write};

/// See the module.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was asked.
    pub question: Question,
    /// What the head was compared with; `None`: with nothing (a budget alone).
    pub base: Option<Side>,
    /// What was judged.
    pub head: Side,
    /// What a reader must know to trust the figures, a sentence each.
    pub notes: Vec<String>,
    /// The totals, in the order of [`Metric::ALL`].
    pub totals: Vec<Change>,
    /// Every rule in the order in which it was given.
    pub rules: Vec<Judged>,
    /// Sites that differ or that a failure blames: those that a failure blames first, then by how much
    /// they differ. [`Failure::sites`] are places in this list.
    pub sites: Vec<SiteChange>,
    /// How many sites are the same on both sides.
    pub unchanged_sites: u64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `sntrace diff`.
    Diff,
    /// `sntrace check`.
    Check,
}

impl Question {
    /// Its name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Question::Diff => "diff",
            Question::Check => "check",
        }
    }
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// How the user calls it: a file, a baseline, a command.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Operating system, as Rust calls it.
    pub os: String,
    /// Processor, as Rust calls it.
    pub arch: String,
    /// Revision of the traced project, where the side says: what `git rev-parse HEAD` prints,
    /// with `-dirty` where files were changed.
    pub revision: Option<String>,
    /// When its (first) run began, RFC 3339 in UTC.
    pub started: String,
    /// Who recorded it: `sntrace 0.1.0`.
    pub generator: String,
    /// How often the program was run.
    pub runs: usize,
    /// What its trace vouches for; of several runs, the sums.
    pub certificate: Certificate,
}

/// A total on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of this metric.
    pub metric: Metric,
    /// On the base side, if there is one.
    pub base: Option<Spread>,
    /// On the head side.
    pub head: Spread,
}

/// A rule and what came of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// As the user wrote it: `allocations>5%`, or its key in a budget: `functions."parse*".allocations`.
    pub rule: String,
    /// Where the user wrote it, for rules of a budget file.
    pub written: Option<Written>,
    /// What came of it in one sentence, without a full stop at its end: why it failed, or what held.
    pub sentence: String,
    /// What broke it, the worst first; empty: it held.
    pub failures: Vec<Failure>,
}

impl Judged {
    /// Whether the rule failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

/// A place in a budget file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file, as given.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// Something that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it is about.
    pub subject: Subject,
    /// What was measured; `None` where the rule is about no figure (events are missing).
    pub measured: Option<Change>,
    /// One sentence that says why, without a full stop at its end.
    pub sentence: String,
    /// The sites to blame, the worst first: places in [`Verdict::sites`].
    pub sites: Vec<usize>,
}

/// What a failure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The run as a whole.
    Total,
    /// The function that allocated.
    Caller(String),
    /// A function with all that it called.
    Function(String),
    /// A module: its file's name.
    Module(String),
    /// One site: the function that allocated, with its stack.
    Site(String),
}

impl Subject {
    /// A word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Subject::Total => "total",
            Subject::Caller(_) => "caller",
            Subject::Function(_) => "function",
            Subject::Module(_) => "module",
            Subject::Site(_) => "site",
        }
    }

    /// Its name; of the total, none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Subject::Total => None,
            Subject::Caller(name)
            | Subject::Function(name)
            | Subject::Module(name)
            | Subject::Site(name) => Some(name),
        }
    }
}

/// A site on both sides.
#[derive(Clone, Debug)]
pub struct SiteChange {
    /// The same for the same site in every comparison: a hash of its functions, in hexadecimal.
    pub id: String,
    /// Functions from the caller outwards to `main`, as the head has them; where it has none, the base. Never
    /// empty. A recursion is folded.
    pub stack: Vec<StackFrame>,
    /// What became of it.
    pub state: SiteState,
    /// How it was found again on the other side.
    pub matched: Matched,
    /// Its figures on the base side, if there is one.
    pub base: Option<Measured>,
    /// Its figures on the head side.
    pub head: Measured,
    /// Whether runs of the same build differ in it, on either side.
    pub unstable: bool,
}

impl SiteChange {
    /// The function that allocated.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.stack.first().map_or("???", |frame| &frame.function)
    }

    /// The innermost frame whose source line is known: where a person looks first.
    #[must_use]
    pub fn place(&self) -> Option<(&str, u32)> {
        self.stack.iter().find_map(StackFrame::place)
    }
}

/// A function of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackFrame {
    /// Its name, as reports show it.
    pub function: String,
    /// Path of the module that has it.
    pub module: Option<String>,
    /// Source file of the call, as debug information has it.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

impl StackFrame {
    /// Source file and line, if both are known.
    #[must_use]
    pub fn place(&self) -> Option<(&str, u32)> {
        Some((self.file.as_deref()?, self.line?))
    }
}

/// What became of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteState {
    /// The head alone has it.
    New,
    /// The base alone has it.
    Gone,
    /// Both have it.
    Both,
}

/// How a site was found on the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Matched {
    /// By the names of its functions.
    #[default]
    ByName,
    /// Functions were renamed: old and new name.
    Renamed(Vec<(String, String)>),
    /// Functions became a part of their callers, or stopped being one.
    Inlined(Vec<String>),
}

impl Matched {
    /// Takes in how another part of the same site was found. The more telling way stays.
    pub fn also(&mut self, other: Matched) {
        fn union<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
            for one in more {
                if !known.contains(&one) {
                    known.push(one);
                }
            }
        }
        match (&mut *self, other) {
            (_, Matched::ByName) => {}
            (Matched::Renamed(known), Matched::Renamed(more)) => union(known, more),
            (Matched::Inlined(known), Matched::Inlined(more)) => union(known, more),
            (_, other) => *self = other,
        }
    }
}

/// How to show a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowOptions {
    /// Sites to list; what is beyond is counted.
    pub top: usize,
    /// Frames of a stack in forms for people.
    pub frames: usize,
    /// Colours of the text form.
    pub colour: Colour,
    /// Width of the text form in columns.
    pub width: usize,
    /// Source files below this folder are named relative to it, as services that annotate a
    /// repository's files need it. Absolute.
    pub source_root: PathBuf,
}

impl Verdict {
    /// Whether every rule held.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.rules.iter().any(Judged::failed)
    }
}
