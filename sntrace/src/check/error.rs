//! What is wrong with a budget, where, and what may stand there.
//!
//! Whatever comes from the file is escaped in here already: keys and patterns are anybody's text.

use std::path::PathBuf;

use super::budget::{BUDGET_VERSION, Place};
use crate::output::escape;

/// Why a budget can't be used: the first thing that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{place}: {problem}", escape::shown(&.file.to_string_lossy()))]
pub struct BudgetError {
    /// The file, as given.
    pub file: PathBuf,
    /// Where it is wrong.
    pub place: Place,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl BudgetError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

/// What is wrong. Texts from the file are escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are no text.
    #[error("what follows is not UTF-8")]
    NotUtf8,
    /// No TOML.
    #[error("{0}")]
    Syntax(
        /// In the words of who reads TOML, in one line.
        String,
    ),
    /// A version of the format that this sntrace does not know.
    #[error(
        "version {found} of budgets is not known: this is sntrace {}, which knows version {BUDGET_VERSION}",
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// What the file says.
        found: i64,
    },
    /// A key that means nothing there.
    #[error("{owner} has no {kind} '{key}'{}", did_you_mean(*.meant))]
    Unknown {
        /// Who has it, with its quotes.
        owner: String,
        /// What it is called there: key, metric.
        kind: &'static str,
        /// As written.
        key: String,
        /// What it may have meant.
        meant: Option<&'static str>,
        /// All that may stand there.
        known: String,
    },
    /// Allocations per call of something that is not called.
    #[error("'{owner}' has no 'allocations_per_call': calls are counted of functions only")]
    NotCalled {
        /// Who has it.
        owner: String,
    },
    /// A value of another type than the key takes.
    #[error("'{key}' must be {wanted}, not {found}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        wanted: &'static str,
        /// What it has.
        found: &'static str,
    },
    /// A bound below nothing.
    #[error("'{key}' is negative, and nothing could keep to it")]
    Negative {
        /// The key.
        key: String,
    },
    /// A string that is no size.
    #[error("'{key}' is '{text}', which is no size below 2^64 bytes")]
    Size {
        /// The key.
        key: String,
        /// As written.
        text: String,
    },
    /// A number that is no ratio.
    #[error("'{key}' is {text}, and must be a plain number with up to six decimals")]
    Decimal {
        /// The key.
        key: String,
        /// As written.
        text: String,
    },
    /// A pattern that matches nothing.
    #[error("'{key}' has an empty pattern, which matches no name")]
    EmptyPattern {
        /// Who has it.
        key: String,
    },
    /// A reason that says nothing.
    #[error("'{key}' is empty")]
    EmptyReason {
        /// The key.
        key: String,
    },
    /// A key that must be there.
    #[error("this '{owner}' has no '{key}'")]
    Missing {
        /// Who should have it.
        owner: &'static str,
        /// The key.
        key: &'static str,
    },
    /// An entry that bounds nothing.
    #[error("'{key}' has no metric, so it would always hold")]
    NoMetric {
        /// The entry.
        key: String,
        /// All that may stand there.
        known: String,
    },
    /// Two zones, or two allowed leaks, with the same pattern.
    #[error("'{key}' is in line {line} already")]
    Twice {
        /// The key.
        key: String,
        /// Of the first.
        line: usize,
    },
    /// A budget without a bound or a zone.
    #[error("there is no rule in this budget, so it would always hold")]
    Empty,
}

fn did_you_mean(word: Option<&str>) -> String {
    word.map_or(String::new(), |word| format!(" (did you mean {word}?)"))
}

impl Problem {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Problem::NotUtf8 => "save the file in the encoding UTF-8",
            Problem::Syntax(_) => {
                "a budget is TOML: patterns as keys and texts as values stand in quotes"
            }
            Problem::Version { found } if *found > BUDGET_VERSION => "upgrade sntrace",
            Problem::Version { .. } => return Some(format!("write version = {BUDGET_VERSION}")),
            Problem::Unknown { known, .. } | Problem::NoMetric { known, .. } => {
                return Some(format!("known here: {known}"));
            }
            Problem::NotCalled { .. } => "bound it in [functions], or bound 'allocations' here",
            Problem::Size { .. } => {
                "a size is a number with K, M, G (powers of 1024) or nothing after it: \"1.5M\""
            }
            Problem::Negative { .. } => "0 allows none",
            Problem::Decimal { .. } => "such as 3 or 2.5",
            Problem::EmptyPattern { .. } => "\"*\" matches every name",
            Problem::EmptyReason { .. } => "say in a few words why the leak is kept",
            Problem::Missing { key: "reason", .. } => {
                "say in a few words why the leak is kept: reason = \"...\""
            }
            Problem::Missing { .. } => "name the function: under = \"...\"",
            Problem::Twice { .. } => "make one of both",
            Problem::Empty => "bound something, such as allocations = 12000 in [totals]",
            Problem::Type { .. } => return None,
        };
        Some(hint.into())
    }
}
