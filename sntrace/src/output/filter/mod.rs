//! Which events are shown: `--filter EXPR`.
//!
//! ```text
//! EXPR   = TERM { blank TERM }                 an event is shown when all terms match
//! TERM   = NAME ("=" | "!=") GLOBS             NAME: fn, module, op
//!        | NUMBER ("=" | "!=") RANGES          NUMBER: size, tid, pid
//!        | NUMBER ("<" | "<=" | ">" | ">=") number
//! GLOBS  = glob { "," glob }                   any of them; "*" any text, "?" any character
//! RANGES = range { "," range }                 any of them
//! range  = number | number ".." number | number ".." | ".." number    both ends included
//! ```
//!
//! `"..."` around a glob or a part of it protects blanks and commas: `fn="operator new"`. A size
//! may end in K, M or G (powers of 1024). Longer words for the keys: `function`, `mod`, `thread`.
//!
//! What is compared: `fn` with the function (CALLER where there is none), `module` with the path's
//! last part, or with the whole path if the glob has a slash, `op` with the name as lines show it,
//! `operator` optional. `size` is the bytes asked for in all (`count * size`), of a release the
//! bytes of the block that it released: so `size>=4096` shows big blocks come and go. A release of
//! a block whose size is not known matches no `size`, nor its negation.
//!
//! A filter looks at one event at a time and only decides what is shown: the summary is about the
//! whole run, whatever the filter (see [`super::Outputs`]).

mod glob;
mod parse;
mod unit;

pub use glob::Glob;
pub use parse::FilterError;
pub(crate) use unit::shift_of;

use std::ops::RangeInclusive;

use super::{Call, Process};
use crate::trace::{Event, Op};

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    expression: String,
    /// Ops that pass, a bit each: tags are below 64.
    ops: u64,
    numbers: Vec<NumberTerm>,
    names: Vec<NameTerm>,
    /// By site: whether `names` match, once that was worked out.
    sites: Vec<Option<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Size,
    Tid,
    Pid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Function,
    Module,
}

/// Whether a term is fulfilled by what its alternatives match or by the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    Is,
    IsNot,
}

impl Sense {
    fn agrees(self, matched: bool) -> bool {
        matched == (self == Sense::Is)
    }
}

#[derive(Clone, Debug)]
struct NumberTerm {
    what: Number,
    sense: Sense,
    ranges: Vec<RangeInclusive<u64>>,
}

#[derive(Clone, Debug)]
struct NameTerm {
    what: Name,
    sense: Sense,
    globs: Vec<Glob>,
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Where it does not keep to the grammar, or cannot match anything.
    pub fn parse(expression: &str) -> Result<Filter, FilterError> {
        parse::parse(expression)
    }

    /// The expression as the user gave it.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether the event is shown.
    #[inline]
    pub fn matches(&mut self, event: &Event, call: &Call<'_>, process: &Process) -> bool {
        self.ops & bit(call.op) != 0
            && self.numbers.iter().all(|term| term.matches(event, process))
            && (self.names.is_empty() || self.site_matches(call))
    }

    fn site_matches(&mut self, call: &Call<'_>) -> bool {
        let at = call.site as usize;
        if let Some(&Some(known)) = self.sites.get(at) {
            return known;
        }
        let matched = self.names.iter().all(|term| term.matches(call));
        if self.sites.len() <= at {
            self.sites.resize(at + 1, None);
        }
        self.sites[at] = Some(matched);
        matched
    }
}

const fn bit(op: Op) -> u64 {
    1 << (op as u64 & 63)
}

impl NumberTerm {
    fn matches(&self, event: &Event, process: &Process) -> bool {
        let value = match self.what {
            Number::Size => size_of(event),
            Number::Tid => Some(event.tid.into()),
            Number::Pid => Some(process.pid.into()),
        };
        value.is_some_and(|value| {
            self.sense
                .agrees(self.ranges.iter().any(|range| range.contains(&value)))
        })
    }
}

/// The size that a filter goes by.
fn size_of(event: &Event) -> Option<u64> {
    if event.op == Op::Brk {
        // Growing or shrinking by so much.
        return Some(event.size.cast_signed().unsigned_abs());
    }
    if !event.op.only_releases() {
        return Some(event.bytes());
    }
    // Where the block is not known, the sized forms of free and delete still tell; 0 is unsized.
    event
        .released
        .or(Some(event.size).filter(|&size| size != 0))
}

impl NameTerm {
    fn matches(&self, call: &Call<'_>) -> bool {
        let matched = match self.what {
            Name::Function => {
                let name = call.function.unwrap_or(call.name);
                self.globs.iter().any(|glob| glob.matches(name))
            }
            Name::Module => {
                let path = call.module.unwrap_or_default();
                let base = path.rsplit(['/', '\\']).next().unwrap_or(path);
                self.globs
                    .iter()
                    .any(|glob| glob.matches(if glob.has_slash() { path } else { base }))
            }
        };
        self.sense.agrees(matched)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn shows(expression: &str, event: &Event, call: &Call<'_>) -> bool {
        let mut filter = Filter::parse(expression).unwrap();
        let first = filter.matches(event, call, &samples::process());
        assert_eq!(
            filter.matches(event, call, &samples::process()),
            first,
            "the cache agrees"
        );
        first
    }

    #[test]
    fn terms_match_the_event() {
        // malloc(72) by pid 1234, tid 1235, from rt_arena_create_sized in /usr/lib/libarena.so.1.
        for (expression, expected) in [
            ("fn=rt_arena*", true),
            ("function=rt_arena", false),
            ("fn!=rt_arena*", false),
            ("fn=main,rt_*", true),
            ("fn!=main,other", true),
            ("module=libarena*", true),
            ("module=libarena", false),
            ("mod=/usr/lib/*", true),
            ("module!=libc.*", true),
            ("op=malloc", true),
            ("op=calloc,m*", true),
            ("op!=malloc", false),
            ("size=72", true),
            ("size!=72", false),
            ("size>72", false),
            ("size>=72", true),
            ("size<72", false),
            ("size<=72", true),
            ("size=16..72", true),
            ("size=73..", false),
            ("size=..72", true),
            ("size=1,72", true),
            ("size<1K", true),
            ("tid=1235", true),
            ("thread=1,2", false),
            ("pid=1234", true),
            ("pid!=1234", false),
            ("fn=rt_* size>=64 size<128 op=malloc", true),
            ("fn=rt_* size>=128", false),
            ("  fn=rt_*   ", true),
        ] {
            let shown = shows(
                expression,
                &samples::event(Op::Malloc),
                &samples::call(Op::Malloc),
            );
            assert_eq!(shown, expected, "{expression}");
        }
    }

    #[test]
    fn quotes_protect_blanks_and_commas() {
        let call = Call {
            function: Some("std::map<int, long>::insert"),
            ..samples::call(Op::New)
        };
        let event = samples::event(Op::Malloc);
        assert!(shows(r#"fn="std::map<int, long>::*""#, &event, &call));
        assert!(shows(
            r#"fn=main,std::map<*", long>"::insert op="operator new""#,
            &event,
            &call
        ));
        // The op is the one shown, and its first word may be left out.
        assert!(shows("op=new,new[]", &event, &call));
        assert!(!shows("op=malloc", &event, &call));
    }

    #[test]
    fn a_caller_without_a_function_goes_by_its_name() {
        let call = Call {
            name: "libz.so.1+0x1234",
            function: None,
            ..samples::call(Op::Free)
        };
        assert!(shows("fn=libz*", &samples::event(Op::Free), &call));
        let nowhere = Call {
            name: "???",
            function: None,
            module: None,
            ..samples::call(Op::Free)
        };
        assert!(shows("fn=???", &samples::event(Op::Free), &nowhere));
        assert!(!shows("module=lib*", &samples::event(Op::Free), &nowhere));
        assert!(shows("module!=lib*", &samples::event(Op::Free), &nowhere));
    }

    #[test]
    fn a_release_goes_by_the_size_of_its_block() {
        let call = samples::call(Op::Free);
        let free = Event {
            size: 0,
            ..samples::event(Op::Free)
        };
        let known = Event {
            released: Some(5952),
            ..free
        };
        assert!(shows("size>=4096", &known, &call));
        assert!(!shows("size<4096", &known, &call));
        assert!(!shows("size>=0", &free, &call));
        assert!(!shows("size!=1", &free, &call));
        let sized = Event {
            size: 5952,
            ..samples::event(Op::FreeSized)
        };
        assert!(shows("size=5952", &sized, &samples::call(Op::FreeSized)));
        // calloc(3, 72) asks for 216 bytes.
        assert!(shows(
            "size=216",
            &samples::event(Op::Calloc),
            &samples::call(Op::Calloc)
        ));
        assert!(shows(
            "size=4K",
            &samples::event(Op::Brk),
            &samples::call(Op::Brk)
        ));
    }

    #[test]
    fn sites_do_not_share_a_verdict() {
        let mut filter = Filter::parse("fn=a*").unwrap();
        let mut verdict = |site, name| {
            let call = Call {
                function: Some(name),
                site,
                ..samples::call(Op::Free)
            };
            filter.matches(&samples::event(Op::Free), &call, &samples::process())
        };
        assert!(verdict(3, "abc"));
        assert!(!verdict(1, "bcd"));
        assert!(verdict(0, "a"));
        assert!(verdict(3, "abc"));
    }
}
