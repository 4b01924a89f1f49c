//! From a filter's text to its terms, or to a sentence about what is wrong with it.
//!
//! Read from left to right without going back. Every complaint names the column where reading
//! stopped and what could stand there.

use std::ops::RangeInclusive;

use super::glob::Glob;
use super::unit::shift_of;
use super::{Filter, Name, NameTerm, Number, NumberTerm, Sense, bit};
use crate::output::escape;
use crate::trace::Op;

/// Why an expression is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot understand filter '{expression}': column {column}: {problem}")]
pub struct FilterError {
    /// The expression, escaped.
    pub expression: String,
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong, and what may stand there.
    pub problem: String,
}

/// What is wrong, and at which byte.
struct Problem(usize, String);

const KEYS: &str = "a term begins with fn, module, op, size, tid or pid";
/// What filters can select; the tags of padding and control are no calls.
const NOT_CALLS: [Op; 3] = [Op::Stack, Op::Pad, Op::Control];

pub fn parse(expression: &str) -> Result<Filter, FilterError> {
    let mut filter = Filter {
        expression: expression.into(),
        ops: u64::MAX,
        numbers: Vec::new(),
        names: Vec::new(),
        sites: Vec::new(),
    };
    let mut reader = Reader {
        text: expression,
        at: 0,
    };
    reader
        .terms(&mut filter)
        .map_err(|Problem(at, problem)| FilterError {
            expression: escape::shown(expression),
            column: expression[..at].chars().count() + 1,
            problem,
        })?;
    Ok(filter)
}

struct Reader<'a> {
    text: &'a str,
    /// Byte position, always on a character's boundary.
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes the characters up to the first that `ends` picks.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn terms(&mut self, filter: &mut Filter) -> Result<(), Problem> {
        self.until(|character| !character.is_whitespace());
        if self.rest().is_empty() {
            return Err(Problem(self.at, format!("there is no term; {KEYS}")));
        }
        while !self.rest().is_empty() {
            self.term(filter)?;
            self.until(|character| !character.is_whitespace());
        }
        Ok(())
    }

    fn term(&mut self, filter: &mut Filter) -> Result<(), Problem> {
        let start = self.at;
        let key = self.until(|character| !character.is_alphanumeric() && character != '_');
        match key {
            "fn" | "function" => self.names(filter, key, Name::Function),
            "module" | "mod" => self.names(filter, key, Name::Module),
            "op" => self.ops(filter),
            "size" => self.numbers(filter, key, Number::Size),
            "tid" | "thread" => self.numbers(filter, key, Number::Tid),
            "pid" => self.numbers(filter, key, Number::Pid),
            "" => Err(Problem(start, format!("this begins no term; {KEYS}"))),
            _ => Err(Problem(
                start,
                format!(
                    "there is no key '{key}'; {KEYS}, and a name with blanks stands in \"...\""
                ),
            )),
        }
    }

    fn names(&mut self, filter: &mut Filter, key: &str, what: Name) -> Result<(), Problem> {
        let sense = self.equality(key)?;
        let globs = self
            .alternatives(key)?
            .into_iter()
            .map(|(_, text)| Glob::new(text))
            .collect();
        filter.names.push(NameTerm { what, sense, globs });
        Ok(())
    }

    fn ops(&mut self, filter: &mut Filter) -> Result<(), Problem> {
        let sense = self.equality("op")?;
        let calls = || Op::ALL.iter().filter(|op| !NOT_CALLS.contains(op));
        let mut matched = 0;
        for (at, text) in self.alternatives("op")? {
            let glob = Glob::new(text.clone());
            let is_meant = |op: Op| {
                let name = op.name();
                glob.matches(name)
                    || name
                        .strip_prefix("operator ")
                        .is_some_and(|short| glob.matches(short))
            };
            let found = calls()
                .filter(|op| is_meant(**op))
                .fold(0, |bits, op| bits | bit(*op));
            if found == 0 {
                let mut names: Vec<&str> = calls().map(|op| op.name()).collect();
                names.dedup();
                let text = escape::shown(&text);
                let names = names.join(", ");
                return Err(Problem(
                    at,
                    format!("no function is called '{text}'; there are {names}"),
                ));
            }
            matched |= found;
        }
        filter.ops &= if sense == Sense::Is {
            matched
        } else {
            !matched
        };
        Ok(())
    }

    fn numbers(&mut self, filter: &mut Filter, key: &str, what: Number) -> Result<(), Problem> {
        // The longer ones first: `>=` begins with `>`.
        let operators = ["!=", ">=", "<=", "=", ">", "<"];
        let Some(operator) = operators.into_iter().find(|op| self.rest().starts_with(op)) else {
            let problem = format!("after '{key}' comes =, !=, <, <=, > or >=");
            return Err(Problem(self.at, problem));
        };
        self.at += operator.len();
        let alternatives = self.alternatives(key)?;
        if !matches!(operator, "=" | "!=") && alternatives.len() > 1 {
            let problem = format!("'{operator}' takes one number; lists go with = and !=");
            return Err(Problem(alternatives[1].0, problem));
        }
        let mut ranges = Vec::new();
        for (at, text) in &alternatives {
            let number = |part: &str| {
                number(part, what).ok_or_else(|| {
                    let kind = match what {
                        Number::Size => "a size, such as 4096, 4K, 16..64 or 1M..",
                        Number::Tid | Number::Pid => "an id, such as 1234 or 1000..2000",
                    };
                    Problem(*at, format!("'{}' is not {kind}", escape::shown(text)))
                })
            };
            ranges.push(match (operator, text.split_once("..")) {
                ("=" | "!=", Some((low, high))) if !(low.is_empty() && high.is_empty()) => {
                    let low = if low.is_empty() { 0 } else { number(low)? };
                    let high = if high.is_empty() {
                        u64::MAX
                    } else {
                        number(high)?
                    };
                    if low > high {
                        return Err(Problem(
                            *at,
                            format!("the range '{text}' is empty: {low} is above {high}"),
                        ));
                    }
                    low..=high
                }
                ("=" | "!=", _) => number(text)?..=number(text)?,
                (">=", _) => number(text)?..=u64::MAX,
                ("<=", _) => 0..=number(text)?,
                // `> MAX` and `< 0` match nothing: empty ranges.
                (">", _) => number(text)?
                    .checked_add(1)
                    .map_or(NOTHING, |low| low..=u64::MAX),
                _ => number(text)?
                    .checked_sub(1)
                    .map_or(NOTHING, |high| 0..=high),
            });
        }
        let sense = if operator == "!=" {
            Sense::IsNot
        } else {
            Sense::Is
        };
        filter.numbers.push(NumberTerm {
            what,
            sense,
            ranges,
        });
        Ok(())
    }

    fn equality(&mut self, key: &str) -> Result<Sense, Problem> {
        for (operator, sense) in [("=", Sense::Is), ("!=", Sense::IsNot)] {
            if self.rest().starts_with(operator) {
                self.at += operator.len();
                return Ok(sense);
            }
        }
        Err(Problem(self.at, format!("after '{key}' comes = or !=")))
    }

    /// What stands between commas up to the next blank, without its quotes, and where it began.
    fn alternatives(&mut self, key: &str) -> Result<Vec<(usize, String)>, Problem> {
        let mut all = Vec::new();
        loop {
            let start = self.at;
            let mut text = String::new();
            loop {
                text += self.until(|c| c.is_whitespace() || matches!(c, ',' | '"'));
                if !self.rest().starts_with('"') {
                    break;
                }
                let opened = self.at;
                self.at += 1;
                text += self.until(|character| character == '"');
                if self.rest().is_empty() {
                    return Err(Problem(opened, "this quote is not closed".into()));
                }
                self.at += 1;
            }
            if text.is_empty() {
                return Err(Problem(start, format!("a value for '{key}' is missing")));
            }
            all.push((start, text));
            if !self.rest().starts_with(',') {
                return Ok(all);
            }
            self.at += 1;
        }
    }
}

// Holding nothing is its purpose.
#[expect(clippy::reversed_empty_ranges)]
const NOTHING: RangeInclusive<u64> = 1..=0;

/// A number; a size may have a unit. None where it is none, or beyond 64 bits.
fn number(text: &str, what: Number) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let shift = match what {
        Number::Size => shift_of(unit)?,
        Number::Tid | Number::Pid if unit.is_empty() => 0,
        Number::Tid | Number::Pid => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complaint(expression: &str) -> String {
        let error = parse(expression).unwrap_err();
        format!("{}: {}", error.column, error.problem)
    }

    #[test]
    fn complaints_name_the_place_and_what_may_stand_there() {
        let keys = "a term begins with fn, module, op, size, tid or pid";
        for (expression, expected) in [
            ("", format!("1: there is no term; {keys}")),
            ("   ", format!("4: there is no term; {keys}")),
            ("=3", format!("1: this begins no term; {keys}")),
            (
                "fn=größe sise>3",
                format!(
                    "10: there is no key 'sise'; {keys}, and a name with blanks stands in \"...\""
                ),
            ),
            ("fn>3", "3: after 'fn' comes = or !=".into()),
            ("size", "5: after 'size' comes =, !=, <, <=, > or >=".into()),
            ("size>=", "7: a value for 'size' is missing".into()),
            ("fn=a,,b", "6: a value for 'fn' is missing".into()),
            ("fn=\"a b", "4: this quote is not closed".into()),
            (
                "size>1,2",
                "8: '>' takes one number; lists go with = and !=".into(),
            ),
            (
                "size=64..16",
                "6: the range '64..16' is empty: 64 is above 16".into(),
            ),
            (
                "size=4X",
                "6: '4X' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "size=1,x",
                "8: 'x' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "size=..",
                "6: '..' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "size>1..2",
                "6: '1..2' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "size=99999999999999999999",
                "6: '99999999999999999999' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "size=17179869184G",
                "6: '17179869184G' is not a size, such as 4096, 4K, 16..64 or 1M..".into(),
            ),
            (
                "tid=4K",
                "5: '4K' is not an id, such as 1234 or 1000..2000".into(),
            ),
        ] {
            assert_eq!(complaint(expression), expected, "{expression}");
        }
        assert!(
            complaint("op=mallok")
                .starts_with("4: no function is called 'mallok'; there are malloc, calloc, ")
        );
    }

    #[test]
    fn the_message_reads_after_the_name_of_the_tool() {
        assert_eq!(
            parse("fn>\x1b").unwrap_err().to_string(),
            "cannot understand filter 'fn>\\x1b': column 3: after 'fn' comes = or !="
        );
    }

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!(number("3", Number::Size), Some(3));
        assert_eq!(number("3k", Number::Size), Some(3072));
        assert_eq!(number("1MiB", Number::Size), Some(1_048_576));
        assert_eq!(number("2G", Number::Size), Some(2_147_483_648));
        assert_eq!(number("K", Number::Size), None);
        assert_eq!(number("+3", Number::Size), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_complaint_within_it(
            any: String,
            near in "((fn|op|size|tid|module)(=|!=|<|>=)?[a-z0-9*\", .KM]{0,6} ?){0,3}",
        ) {
            for expression in [any, near] {
                if let Err(error) = parse(&expression) {
                    prop_assert!((1..=expression.chars().count() + 1).contains(&error.column));
                    prop_assert!(!error.to_string().chars().any(escape::is_hidden));
                }
            }
        }
    }
}
