//! Rules of `--fail-on`: how much a figure may grow.
//!
//! ```text
//! allocations>5%                the run's allocations grow by more than 5%
//! leaked_bytes>0                anything leaks that did not before
//! fn:deflate*:bytes>1K          what one of these functions allocates itself grows by more than 1024 bytes
//! under:parse_file:allocations>10   what a function allocates with all that it calls
//! module:libz.so*:peak_bytes>1M
//! site:*:allocations>0          any single site, a function with its stack, allocates more often
//! ```
//!
//! The value is a growth of the head over the base: a number, with K, M or G for powers of 1024, or a percentage of
//! the base. Growth from nothing is more than any percentage. Names are patterns with `*` and `?`; a module's is that of its
//! file without the version (`libz.so`). A pattern may hold colons and `>`, so a rule is read from its end.

use super::sums::Scope;
use crate::exact::{self, size};
use crate::output::escape;
use crate::output::filter::Glob;
use crate::profile::Metric;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As the user wrote it.
    pub text: String,
    /// What it is about.
    pub scope: Scope,
    /// The names that it is about; `None`: there is no name.
    pub pattern: Option<Glob>,
    /// What may not grow.
    pub metric: Metric,
    /// By how much it may.
    pub limit: Limit,
}

/// How much a figure may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// By so many bytes or blocks.
    Absolute(u64),
    /// By so many hundredths of the base.
    Percent(exact::Limit),
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot understand the rule '{rule}': {problem}")]
pub struct RuleError {
    /// The rule, escaped.
    pub rule: String,
    /// What is wrong, and what may stand there.
    pub problem: String,
}

const SCOPES: [(&str, Scope); 4] = [
    ("fn", Scope::Caller),
    ("under", Scope::Function),
    ("module", Scope::Module),
    ("site", Scope::Site),
];

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Rule, RuleError> {
        parse(text).map_err(|problem| RuleError {
            rule: escape::shown(text),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<Rule, String> {
    let Some((left, value)) = text.rsplit_once('>') else {
        return Err("a rule is METRIC>VALUE, as in 'allocations>5%'".into());
    };
    let value = value.trim();
    if value.starts_with('=') {
        return Err("only '>' compares: a rule fails above its value".into());
    }
    let (scope, metric) = match left.rsplit_once(':') {
        Some((scope, metric)) => (Some(scope), metric.trim()),
        None => (None, left.trim()),
    };
    let Some(metric) = Metric::from_name(metric) else {
        let names = Metric::ALL.map(Metric::name).join(", ");
        let shown = escape::shown(metric);
        return Err(format!("no metric is called '{shown}'; there are {names}"));
    };
    let (scope, pattern) = match scope {
        None => (Scope::Total, None),
        Some(scope) => {
            let (scope, pattern) = self::scope(scope)?;
            (scope, Some(pattern))
        }
    };
    Ok(Rule {
        text: text.into(),
        scope,
        pattern,
        metric,
        limit: limit(value)?,
    })
}

fn scope(text: &str) -> Result<(Scope, Glob), String> {
    let known = "before the metric stands fn:, under:, module: or site: with a name";
    let Some((name, pattern)) = text.split_once(':') else {
        return Err(format!("{known}, as in 'fn:deflate*:bytes>1K'"));
    };
    let name = name.trim();
    let scope = SCOPES.iter().find(|(word, _)| *word == name);
    let Some((_, scope)) = scope else {
        let shown = escape::shown(name);
        return Err(format!("'{shown}:' is not known; {known}"));
    };
    if pattern.is_empty() {
        return Err(format!("'{name}:' has no name after it; '*' is every one"));
    }
    Ok((*scope, Glob::new(pattern.into())))
}

fn limit(value: &str) -> Result<Limit, String> {
    let shown = || escape::shown(value);
    if let Some(percent) = value.strip_suffix('%') {
        if let Some(percent) = exact::Limit::from_decimal(percent.trim_end()) {
            return Ok(Limit::Percent(percent));
        }
    } else if let Some((amount, unit)) = size::read(value) {
        if !unit.is_named() && value.contains('.') {
            return Err(format!(
                "'{}' has no unit, and blocks and bytes are whole numbers",
                shown()
            ));
        }
        return Ok(Limit::Absolute(amount));
    }
    let number = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = value[number.len()..].trim_start();
    // What stands before the unit is right: it is the unit that is not.
    if !unit.is_empty() && unit != "%" && size::read(number).is_some() {
        return Err(format!(
            "'{}' is no unit; there are %, K, M and G (powers of 1024)",
            escape::shown(unit)
        ));
    }
    Err(format!(
        "'{}' is no value; it is a number, as 100, 1.5K, 2M or 5%",
        shown()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Limit {
        Limit::Percent(exact::Limit::from_decimal(text).unwrap())
    }

    #[test]
    fn rules_are_read_from_their_end() {
        for (text, scope, metric, limit) in [
            (
                "allocations>5%",
                Scope::Total,
                Metric::Allocations,
                percent("5"),
            ),
            (
                " leaked_bytes > 0 ",
                Scope::Total,
                Metric::LeakedBytes,
                Limit::Absolute(0),
            ),
            (
                "fn:deflate*:bytes>1K",
                Scope::Caller,
                Metric::Bytes,
                Limit::Absolute(1024),
            ),
            (
                "module:libz.so:peak_bytes>1.5M",
                Scope::Module,
                Metric::PeakBytes,
                Limit::Absolute(3 << 19),
            ),
            (
                "site:std::vector<a::b>::*:temporary_allocations>0.5 %",
                Scope::Site,
                Metric::TemporaryAllocations,
                percent("0.5"),
            ),
            (
                "under:main:leaked_allocations>18446744073709551615",
                Scope::Function,
                Metric::LeakedAllocations,
                Limit::Absolute(u64::MAX),
            ),
        ] {
            let rule = Rule::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (rule.scope, rule.metric, rule.limit),
                (scope, metric, limit),
                "{text}"
            );
        }
        let rule = Rule::parse("fn:std::vector<a::b>::*:bytes>1").unwrap();
        assert!(rule.pattern.unwrap().matches("std::vector<a::b>::push"));
    }

    #[test]
    fn what_is_no_rule_is_told_why() {
        for (text, problem) in [
            (
                "allocations",
                "a rule is METRIC>VALUE, as in 'allocations>5%'",
            ),
            (
                "allocations>=5",
                "only '>' compares: a rule fails above its value",
            ),
            (
                "allocs>5",
                "no metric is called 'allocs'; there are allocations, bytes, peak_bytes, leaked_bytes, leaked_allocations, temporary_allocations",
            ),
            (
                "deflate:bytes>5",
                "before the metric stands fn:, under:, module: or site: with a name, as in 'fn:deflate*:bytes>1K'",
            ),
            (
                "func:deflate:bytes>5",
                "'func:' is not known; before the metric stands fn:, under:, module: or site: with a name",
            ),
            (
                "fn::bytes>5",
                "'fn:' has no name after it; '*' is every one",
            ),
            (
                "bytes>-5",
                "'-5' is no value; it is a number, as 100, 1.5K, 2M or 5%",
            ),
            (
                "bytes>",
                "'' is no value; it is a number, as 100, 1.5K, 2M or 5%",
            ),
            (
                "bytes>1e5",
                "'1e5' is no value; it is a number, as 100, 1.5K, 2M or 5%",
            ),
            (
                "bytes>5T",
                "'T' is no unit; there are %, K, M and G (powers of 1024)",
            ),
            (
                "bytes>1.5",
                "'1.5' has no unit, and blocks and bytes are whole numbers",
            ),
        ] {
            assert_eq!(Rule::parse(text).unwrap_err().problem, problem, "{text}");
        }
        let shown = Rule::parse("\x1b[31m").unwrap_err().to_string();
        assert!(!shown.contains('\x1b'), "{shown}");
    }
}
