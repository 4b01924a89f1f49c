//! LeakSanitizer's suppression files, for leaks that are known.
//!
//! ```text
//! # A comment.
//! leak:known_leaky_function
//! leak:libfoo.so
//! leak:^third_party/*.c$
//! ```
//!
//! A line is `leak:PATTERN`. The pattern is looked for anywhere in the function's name, the path of its
//! module and the path of its source file, of every frame of a leak's stack, inlined ones included; one
//! that fits anywhere suppresses the leak. `*` stands for any characters, `^` at the beginning
//! and `$` at the end bind the pattern there. This is how the sanitizers document it
//! (<https://github.com/google/sanitizers/wiki/AddressSanitizerLeakSanitizer#suppressions>).
//!
//! Lines for other sanitizers (`race:`, `thread:`) are errors: who wrote them meant something that
//! will not happen.

use std::collections::HashMap;

use crate::output::escape;
use crate::trace::{FileNumber, SiteId, StackId, Tables};

/// Why a suppression file can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuppressionError {
    /// A line for another tool.
    #[error("line {line} is '{kind}:...', and only 'leak:PATTERN' lines mean something here")]
    OtherKind {
        /// Its number, from 1.
        line: usize,
        /// What stands before the colon, escaped.
        kind: String,
    },
    /// A line that is no suppression.
    #[error("line {line} is '{text}', which is no 'leak:PATTERN'")]
    NoRule {
        /// Its number, from 1.
        line: usize,
        /// The line, escaped.
        text: String,
    },
    /// A pattern that fits everything.
    #[error("line {line} has an empty pattern, which would suppress every leak")]
    Empty {
        /// Its number, from 1.
        line: usize,
    },
}

impl SuppressionError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherKind { .. } => "keep the lines for other sanitizers in a file of their own",
            Self::NoRule { .. } => "comments begin with '#'",
            Self::Empty { .. } => "'leak:*' says so on purpose",
        }
    }
}

/// The rules of one or more files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    rules: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// As written.
    text: String,
    from_start: bool,
    to_end: bool,
    /// What stands between the asterisks.
    parts: Vec<String>,
}

impl Suppressions {
    /// Reads a file's text.
    ///
    /// # Errors
    /// On the first line that is neither empty nor a comment nor `leak:PATTERN`.
    pub fn parse(text: &str) -> Result<Suppressions, SuppressionError> {
        let mut rules = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Some((kind, pattern)) = text.split_once(':') else {
                let text = escape::shown(text);
                return Err(SuppressionError::NoRule { line, text });
            };
            if kind != "leak" {
                let kind = escape::shown(kind);
                return Err(SuppressionError::OtherKind { line, kind });
            }
            if pattern.is_empty() {
                return Err(SuppressionError::Empty { line });
            }
            rules.push(Pattern::new(pattern));
        }
        Ok(Suppressions { rules })
    }

    /// Adds another file's rules.
    pub fn extend(&mut self, other: Suppressions) {
        self.rules.extend(other.rules);
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// A rule's pattern, as written; not escaped.
    #[must_use]
    pub fn pattern(&self, rule: usize) -> &str {
        self.rules.get(rule).map_or("", |rule| &rule.text)
    }

    /// The first rule that fits this text.
    fn fitting(&self, text: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.fits(text))
    }
}

/// Applies rules to stacks. Each place and each file is asked once.
pub(super) struct Suppressor<'a> {
    rules: &'a Suppressions,
    tables: &'a Tables,
    sites: HashMap<SiteId, Option<usize>>,
    files: HashMap<FileNumber, Option<usize>>,
}

impl<'a> Suppressor<'a> {
    pub fn new(rules: &'a Suppressions, tables: &'a Tables) -> Suppressor<'a> {
        Suppressor {
            rules,
            tables,
            sites: HashMap::new(),
            files: HashMap::new(),
        }
    }

    /// The rule that suppresses leaks of this stack: the first that fits its innermost fitting frame.
    pub fn rule_for(&mut self, stack: StackId) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let tables = self.tables;
        let mut frames = tables.stacks.frames(stack);
        frames.find_map(|site| self.rule_for_site(site))
    }

    fn rule_for_site(&mut self, site: SiteId) -> Option<usize> {
        if let Some(&known) = self.sites.get(&site) {
            return known;
        }
        let place = self.tables.site(site);
        let module = place.file.and_then(|file| self.rule_for_file(file));
        let names = place.functions.iter();
        let texts = names.flat_map(|frame| [frame.function.as_deref(), frame.file.as_deref()]);
        let named = texts.flatten().filter_map(|text| self.rules.fitting(text));
        let rule = named.chain(module).min();
        self.sites.insert(site, rule);
        rule
    }

    fn rule_for_file(&mut self, file: FileNumber) -> Option<usize> {
        let (rules, tables) = (self.rules, self.tables);
        *self.files.entry(file).or_insert_with(|| {
            let file = tables.files.get(file.0 as usize)?;
            rules.fitting(&file.path)
        })
    }
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let (from_start, rest) = match text.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (to_end, rest) = match rest.strip_suffix('$') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        Pattern {
            text: text.into(),
            from_start,
            to_end,
            parts: rest.split('*').map(str::to_owned).collect(),
        }
    }

    /// The parts are found one after the other, each as early as possible; the last of a bound
    /// pattern at the end. Linear but for searching: no text makes it slow.
    fn fits(&self, text: &str) -> bool {
        let mut rest = text;
        let last = self.parts.len() - 1;
        for (at, part) in self.parts.iter().enumerate() {
            let bound_here = at == 0 && self.from_start;
            if at == last && self.to_end {
                return match bound_here {
                    true => rest == part,
                    false => rest.ends_with(part.as_str()),
                };
            }
            let found = match bound_here {
                true => rest.starts_with(part.as_str()).then_some(0),
                false => rest.find(part.as_str()),
            };
            match found {
                Some(begin) => rest = &rest[begin + part.len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Maker;
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).fits(text)
    }

    #[test]
    fn patterns_are_those_of_the_sanitizers() {
        // A pattern is looked for anywhere.
        assert!(fits("FooBar", "void ns::FooBar(int)"));
        assert!(!fits("FooBar", "void ns::Foo(int)"));
        // `*` is any characters, none included.
        assert!(fits("Foo*Bar", "FooBar"));
        assert!(fits("Foo*Bar", "xFoo and Bar."));
        assert!(!fits("Foo*Bar", "Bar Foo"));
        assert!(fits("*", ""));
        // `^` and `$` bind.
        assert!(fits("^main$", "main"));
        assert!(!fits("^main$", "main2"));
        assert!(fits("^ma", "main") && !fits("^ai", "main"));
        assert!(fits("in$", "main") && !fits("ma$", "main"));
        assert!(fits("^a*a$", "aa") && !fits("^a*a$", "a"));
        assert!(fits("^/usr/lib/*.so$", "/usr/lib/x/liby.so"));
        assert!(!fits("^/usr/lib/*.so$", "/usr/lib/liby.so.1"));
    }

    #[test]
    fn a_file_has_rules_comments_and_blank_lines() {
        let text = "# This is a known leak.\nleak:FooBar\n\n  leak:^libz  \r\n#leak:no\n";
        let rules = Suppressions::parse(text).unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!((rules.pattern(0), rules.pattern(1)), ("FooBar", "^libz"));
        // A C++ name has colons of its own.
        let rules = Suppressions::parse("leak:ns::Foo").unwrap();
        assert_eq!(rules.pattern(0), "ns::Foo");
    }

    #[test]
    fn other_lines_are_errors_that_name_the_line() {
        let error = |text| Suppressions::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("leak:a\nrace:b\n"),
            "line 2 is 'race:...', and only 'leak:PATTERN' lines mean something here"
        );
        assert_eq!(
            error("\x1b[31m"),
            "line 1 is '\\x1b[31m', which is no 'leak:PATTERN'"
        );
        assert!(error("# c\n\nleak:").starts_with("line 3 has an empty pattern"));
    }

    #[test]
    fn function_module_and_source_file_of_any_frame_count() {
        let mut made = Maker::default();
        let stack = made.stack(&[
            "malloc",
            "inlined < load @/src/load.c:3 in /usr/lib/libload.so.1",
            "main",
        ]);
        let tables = made.tables();
        for (text, suppressed) in [
            ("leak:^main$", true),
            ("leak:inlined", true),
            ("leak:libload.so", true),
            ("leak:src/*.c$", true),
            ("leak:libother", false),
        ] {
            let rules = Suppressions::parse(text).unwrap();
            let found = Suppressor::new(&rules, &tables).rule_for(stack);
            assert_eq!(found, suppressed.then_some(0), "{text}");
        }
    }
}
