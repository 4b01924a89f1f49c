//! Rules applied to a comparison.
//!
//! A figure of several runs is a span, and what counts as growth is what is certain: from the highest of the base to
//! the lowest of the head. With one run on each side that is the plain difference.
//!
//! A site whose figure differs between runs of the same build is *unstable*. A rule about single sites passes it
//! over, unless it is asked not to; in sums its span counts like all others.

use super::comparison::Comparison;
use super::rule::{Limit, Rule};
use super::sums::{Scope, Sum};
use crate::exact::Figure;
use crate::output::grouped;
use crate::profile::{Metric, Spread};
use crate::verdict::{Change, Failure, Judged, Subject};

/// How to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JudgeOptions {
    /// Unstable sites can break rules too.
    pub fail_unstable: bool,
    /// Traces that lack events can be judged.
    pub allow_drops: bool,
}

/// A rule that can't be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// Its pattern fits nothing on either side: it would hold whatever happens.
    #[error("the rule '{rule}' is about nothing: no {what} in either trace is called '{pattern}'")]
    FitsNothing {
        /// The rule, escaped.
        rule: String,
        /// What it looks for.
        what: &'static str,
        /// The pattern, escaped.
        pattern: String,
    },
    /// It looks at stacks, and there are none.
    #[error("the rule '{rule}' looks at whole stacks, and one of the traces has only callers")]
    CallersOnly {
        /// The rule, escaped.
        rule: String,
    },
}

impl JudgeError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::FitsNothing { .. } => {
                "names are those that 'sntrace report' shows, * and ? stand for any letters; a function that \
                 was inlined is seen with debug information (-g)"
            }
            Self::CallersOnly { .. } => "'sntrace record' takes whole stacks",
        }
    }
}

/// What came of a rule. Sites to blame are places in [`Comparison::pairs`].
///
/// # Errors
/// The rule can't be judged.
pub fn judge(
    rule: &Rule,
    comparison: &Comparison<'_>,
    options: JudgeOptions,
) -> Result<Judged, JudgeError> {
    let shown = || crate::output::escape::shown(&rule.text);
    if rule.scope == Scope::Function && comparison.callers_only {
        return Err(JudgeError::CallersOnly { rule: shown() });
    }
    let sums = comparison.sums(rule.scope, rule.pattern.as_ref());
    if sums.is_empty() {
        return Err(JudgeError::FitsNothing {
            rule: shown(),
            what: match rule.scope {
                Scope::Module => "module",
                Scope::Caller | Scope::Site => "function that allocates",
                _ => "function",
            },
            pattern: pattern_of(&rule.text),
        });
    }
    let judged = sums.len();
    let mut unstable = 0;
    let mut failures = Vec::new();
    let mut largest: Option<(i128, Change)> = None;
    for sum in sums {
        let change = sum.change(rule.metric);
        let growth = growth(change);
        if largest.is_none_or(|(most, _)| growth > most) {
            largest = Some((growth, change));
        }
        if !exceeds(growth, change, rule.limit) {
            continue;
        }
        let varies = change.head.varies() || change.base.is_some_and(|base| base.varies());
        if rule.scope == Scope::Site && varies && !options.fail_unstable {
            unstable += 1;
            continue;
        }
        failures.push((growth, failure(sum, change, rule, comparison)));
    }
    failures.sort_by_key(|(growth, _)| std::cmp::Reverse(*growth));
    let failures: Vec<_> = failures.into_iter().map(|(_, failure)| failure).collect();
    let sentence = match failures.as_slice() {
        [] => held(rule, judged, largest.map(|(_, change)| change), unstable),
        [only] => only.sentence.clone(),
        [first, ..] => format!(
            "{} grew by more than {}; the most: {}",
            rule.scope.count(failures.len()),
            allowed(rule.limit),
            first.sentence
        ),
    };
    Ok(Judged {
        rule: rule.text.clone(),
        written: None,
        sentence,
        failures,
    })
}

/// The pattern of a rule that has one, escaped.
fn pattern_of(rule: &str) -> String {
    let left = rule.rsplit_once(':').map_or(rule, |(left, _)| left);
    let pattern = left.split_once(':').map_or(left, |(_, pattern)| pattern);
    crate::output::escape::shown(pattern)
}

/// By how much a figure certainly grew.
#[must_use]
pub fn growth(change: Change) -> i128 {
    let base = change.base.unwrap_or_default();
    i128::from(change.head.low) - i128::from(base.high)
}

fn exceeds(growth: i128, change: Change, limit: Limit) -> bool {
    match limit {
        Limit::Absolute(limit) => growth > i128::from(limit),
        Limit::Percent(limit) => {
            let base = change.base.unwrap_or_default().high;
            let hundredfold = u64::try_from(growth.saturating_mul(100)).unwrap_or(u64::MAX);
            // Hundredths of the base are what a hundredfold growth has for each of its units. From nothing there are none.
            let part = Figure::per_call(hundredfold, base);
            growth > 0 && part.is_none_or(|part| part.exceeds(limit))
        }
    }
}

fn failure(sum: Sum, change: Change, rule: &Rule, comparison: &Comparison<'_>) -> Failure {
    let sentence = format!(
        "{}, and {}",
        grew(&sum.subject, change),
        match rule.limit {
            Limit::Absolute(0) => "no growth is allowed".to_owned(),
            limit => format!("{} is allowed", allowed(limit)),
        }
    );
    Failure {
        sites: blamed(&sum.pairs, rule.metric, comparison),
        subject: sum.subject,
        measured: Some(change),
        sentence,
    }
}

/// Sites whose figure grew, the most first.
#[must_use]
pub fn blamed(pairs: &[usize], metric: Metric, comparison: &Comparison<'_>) -> Vec<usize> {
    let mut grown: Vec<(i128, usize)> = pairs
        .iter()
        .filter_map(|&at| {
            let pair = comparison.pairs.get(at)?;
            let head = pair.head_figures().get(metric);
            let base = pair.base_figures().get(metric);
            let growth = i128::from(head.median) - i128::from(base.median);
            (growth > 0).then_some((growth, at))
        })
        .collect();
    grown.sort_by_key(|(growth, at)| (std::cmp::Reverse(*growth), *at));
    grown.into_iter().map(|(_, at)| at).collect()
}

/// `allocations of parse grew from 5 to 8, by 3 (+60.0%)`.
fn grew(subject: &Subject, change: Change) -> String {
    let base = change.base.unwrap_or_default();
    let of = match subject {
        Subject::Total => String::new(),
        Subject::Caller(name) | Subject::Site(name) => format!(" of {name}"),
        Subject::Function(name) => format!(" below {name}"),
        Subject::Module(name) => format!(" of {name}"),
    };
    let by = growth(change);
    let percent = match base.high {
        0 => String::new(),
        base => format!(" ({:+.1}%)", by as f64 * 100.0 / base as f64),
    };
    let certain = match base.varies() || change.head.varies() {
        true => "at least ",
        false => "",
    };
    format!(
        "{}{of} grew from {} to {}, by {certain}{}{percent}",
        change.metric.noun(),
        span(base),
        span(change.head),
        signless(by),
    )
}

/// A number, or two where runs differ.
fn span(spread: Spread) -> String {
    match spread.varies() {
        true => format!("{}..{}", grouped(spread.low), grouped(spread.high)),
        false => grouped(spread.low),
    }
}

fn signless(by: i128) -> String {
    grouped(u64::try_from(by.unsigned_abs()).unwrap_or(u64::MAX))
}

fn allowed(limit: Limit) -> String {
    match limit {
        Limit::Absolute(limit) => grouped(limit),
        Limit::Percent(percent) => format!("{percent}%"),
    }
}

/// What a rule that holds has to say.
fn held(rule: &Rule, judged: usize, largest: Option<Change>, unstable: usize) -> String {
    let noun = rule.metric.noun();
    let mut text = match (rule.scope, largest) {
        (Scope::Total, Some(change)) => {
            let base = change.base.unwrap_or_default();
            match (base == change.head, growth(change)) {
                (true, _) => format!("{noun} are the same: {}", span(base)),
                (false, 1..) => grew(&Subject::Total, change),
                (false, _) => format!("{noun} went from {} to {}", span(base), span(change.head)),
            }
        }
        (scope, Some(change)) if growth(change) > 0 => {
            let by = signless(growth(change));
            format!("{noun} of {} grew by {by} at most", scope.count(judged))
        }
        (scope, _) => format!("{noun} of {} did not grow", scope.count(judged)),
    };
    if unstable > 0 {
        text += &format!(
            "; {} not judged, as runs of the same build differ there",
            match unstable {
                1 => "1 site was".to_owned(),
                many => format!("{many} sites were"),
            }
        );
    }
    text
}
