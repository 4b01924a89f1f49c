//! The model of a budget file.
//!
//! It says what the file says: which bounds, of what, and where each stands. Which functions a
//! pattern means and whether a bound holds is for those who have a trace.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::exact::Limit;
use crate::exact::size::Unit;
use crate::output::filter::Glob;
use crate::profile::Metric;

/// The version of the format that this sntrace reads and writes.
///
/// - 1: the first.
pub const BUDGET_VERSION: i64 = 1;

/// A budget file. Made by [`Budget::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The file, as given.
    pub file: PathBuf,
    /// Bounds of the whole run, in the file's order, like all that follows.
    pub totals: Vec<Bound>,
    /// Bounds of functions, callers and modules.
    pub entries: Vec<Entry>,
    /// Where nothing may allocate.
    pub no_alloc: Vec<Zone>,
    /// Leaks that are known.
    pub allowed_leaks: Vec<AllowedLeak>,
    /// What the file holds, to be rewritten.
    pub(super) text: String,
}

/// An upper bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Of what.
    pub measure: Measure,
    /// The highest figure that is allowed.
    pub limit: Limit,
    /// Its key, as messages show it: `functions."parse*".allocations`. Not escaped.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// How the limit is written.
    pub(super) written: Written,
    /// The bytes of the file that hold the limit.
    pub(super) span: Range<usize>,
}

/// What a bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// A figure. Of an allowed leak: leaked bytes or blocks.
    Metric(Metric),
    /// Allocations divided by calls. Only of functions.
    AllocationsPerCall,
}

impl Measure {
    /// The key of [`Measure::AllocationsPerCall`].
    pub const PER_CALL: &str = "allocations_per_call";

    /// Its key in a budget, but in `allowed_leak`, where `bytes` and `allocations` are those that leak.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Metric(metric) => metric.name(),
            Measure::AllocationsPerCall => Measure::PER_CALL,
        }
    }

    /// Whether it is counted in bytes.
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        match self {
            Measure::Metric(metric) => metric.is_bytes(),
            Measure::AllocationsPerCall => false,
        }
    }
}

/// How a limit is written in its file, to be written likewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// A whole number; with an underscore between thousands.
    Whole { grouped: bool },
    /// A number with a point.
    Decimal,
    /// A string.
    Size(Unit),
}

/// What an entry bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Functions with all that they call.
    Functions,
    /// What functions allocate themselves: they are the caller, as lines show it.
    Callers,
    /// Files that have the caller.
    Modules,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Functions, Scope::Callers, Scope::Modules];

    /// Its table in a budget.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Functions => "functions",
            Scope::Callers => "callers",
            Scope::Modules => "modules",
        }
    }
}

/// Bounds of whatever a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the pattern is compared with.
    pub scope: Scope,
    /// Of a module: its path if the pattern has a slash, else its file name. Not empty.
    pub pattern: Glob,
    /// At least one.
    pub bounds: Vec<Bound>,
    /// Its key, as messages show it: `functions."parse*"`. Not escaped.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
}

/// Functions below which nothing may allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The functions. No other zone has the same pattern.
    pub under: Glob,
    /// Why, if the file says so. Not escaped.
    pub reason: Option<String>,
    /// Functions that excuse an allocation when they are on its stack.
    pub except: Vec<Glob>,
    /// Its key, as messages show it: `no_alloc."audio_callback"`. Not escaped.
    pub key: String,
    /// Where it begins.
    pub place: Place,
}

/// Leaks that don't count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedLeak {
    /// A function or a module's file name on the leak's stack. No other allowed leak has the same pattern.
    pub under: Glob,
    /// Why. Not empty, not escaped.
    pub reason: String,
    /// How much may leak there: leaked bytes, leaked allocations, both or neither.
    pub bounds: Vec<Bound>,
    /// Its key, as messages show it: `allowed_leak."setlocale"`. Not escaped.
    pub key: String,
    /// Where it begins.
    pub place: Place,
}

/// Whom a bound is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded<'a> {
    /// The whole run.
    Run,
    /// What an entry matches.
    Entry(&'a Entry),
    /// What leaks where it is allowed.
    Leak(&'a AllowedLeak),
}

impl Budget {
    /// All bounds with whom they are about: totals, entries, allowed leaks.
    pub fn bounds(&self) -> impl Iterator<Item = (Bounded<'_>, &Bound)> {
        let totals = self.totals.iter().map(|bound| (Bounded::Run, bound));
        let entries = self.entries.iter().flat_map(|entry| {
            let bounds = entry.bounds.iter();
            bounds.map(move |bound| (Bounded::Entry(entry), bound))
        });
        let leaks = self.allowed_leaks.iter().flat_map(|leak| {
            let bounds = leak.bounds.iter();
            bounds.map(move |bound| (Bounded::Leak(leak), bound))
        });
        totals.chain(entries).chain(leaks)
    }
}

/// Where something stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the lines of a text begin.
pub(super) struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

/// Some editors begin a file with it; it is no character of the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl<'a> Places<'a> {
    pub fn of(text: &'a str) -> Places<'a> {
        let begins = text.match_indices('\n').map(|(at, _)| at + 1);
        Places {
            text,
            lines: std::iter::once(0).chain(begins).collect(),
        }
    }

    /// The place of a byte; what is beyond the end is the end.
    pub fn at(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.lines.partition_point(|&begin| begin <= offset);
        let begin = self.lines.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let before = &self.text[begin..offset];
        let before = match begin {
            0 => before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before),
            _ => before,
        };
        Place {
            line,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        let text = "\u{feff}aé\n関数x\n";
        let places = Places::of(text);
        let at = |found: &str| places.at(text.find(found).unwrap()).to_string();
        assert_eq!(at("a"), "1:1");
        assert_eq!(at("é"), "1:2");
        assert_eq!(at("\n"), "1:3");
        assert_eq!(at("x"), "2:3");
        // Within a character is at it; beyond the end is at the end.
        assert_eq!(places.at(text.find("関").unwrap() + 1).to_string(), "2:1");
        assert_eq!(places.at(1000).to_string(), "3:1");
        assert_eq!(Places::of("").at(0).to_string(), "1:1");
    }
}
