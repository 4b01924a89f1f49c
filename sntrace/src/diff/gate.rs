//! From a comparison and its rules to a verdict that can be shown.
//!
//! Here is decided what a gate refuses to judge: traces that lack events, or hold none. A gate that passes because
//! it saw nothing is worse than none.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::comparison::{Comparison, Pair};
use super::judge::{JudgeError, JudgeOptions, judge};
use super::rule::Rule;
use super::stacks;
use crate::output::grouped;
use crate::profile::{Measured, Metric, Profile};
use crate::verdict::{
    Change, Failure, Judged, Question, Side, SiteChange, SiteState, Subject, Verdict,
};

/// A profile with what the user calls it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// A file, a baseline, a command.
    pub name: &'a str,
    /// The profile.
    pub profile: &'a Profile,
}

/// Compares, judges, and puts together what there is to say.
///
/// # Errors
/// A rule that can't be judged.
pub fn verdict(
    names: (&str, &str),
    comparison: &Comparison<'_>,
    rules: &[Rule],
    options: JudgeOptions,
) -> Result<Verdict, JudgeError> {
    let mut judged = Vec::new();
    if !rules.is_empty() {
        judged.extend(missing_events(names, comparison, options));
    }
    for rule in rules {
        judged.push(judge(rule, comparison, options)?);
    }
    Ok(compose(Question::Diff, names, comparison, judged))
}

/// A verdict of rules that were judged: their failures name places in [`Comparison::pairs`]. Without a base, its
/// name is not used.
#[must_use]
pub fn compose(
    question: Question,
    names: (&str, &str),
    comparison: &Comparison<'_>,
    mut rules: Vec<Judged>,
) -> Verdict {
    let mut listed: Vec<usize> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for failure in rules.iter_mut().flat_map(|rule| &mut rule.failures) {
        for site in &mut failure.sites {
            *site = *places.entry(*site).or_insert_with(|| {
                listed.push(*site);
                listed.len() - 1
            });
        }
    }
    let mut changed: Vec<usize> = Vec::new();
    let mut unchanged_sites = 0;
    if comparison.base.is_some() {
        for (at, pair) in comparison.pairs.iter().enumerate() {
            match differs(pair) {
                true if places.contains_key(&at) => {}
                true => changed.push(at),
                false => unchanged_sites += 1,
            }
        }
    }
    let by = |at: &usize| {
        let pair = &comparison.pairs[*at];
        let (base, head) = (pair.base_figures(), pair.head_figures());
        let apart = |metric| base.get(metric).median.abs_diff(head.get(metric).median);
        let bytes = [Metric::Bytes, Metric::PeakBytes, Metric::LeakedBytes];
        let blocks = [Metric::Allocations, Metric::TemporaryAllocations];
        (
            bytes.into_iter().map(apart).max(),
            blocks.into_iter().map(apart).max(),
        )
    };
    changed.sort_by_cached_key(|at| (Reverse(by(at)), *at));
    listed.extend(changed);
    let base = comparison.base.map(|profile| Named {
        name: names.0,
        profile,
    });
    let head = Named {
        name: names.1,
        profile: comparison.head,
    };
    Verdict {
        question,
        base: base.map(side),
        head: side(head),
        notes: super::notes::of(base, head, comparison),
        totals: totals(comparison),
        rules,
        sites: listed.iter().map(|at| site(comparison, *at)).collect(),
        unchanged_sites,
    }
}

/// The rule that every gate has: judging needs all events.
#[must_use]
pub fn missing_events(
    names: (&str, &str),
    comparison: &Comparison<'_>,
    options: JudgeOptions,
) -> Option<Judged> {
    let sides = [
        comparison.base.map(|base| (names.0, base)),
        Some((names.1, comparison.head)),
    ];
    let lacking = sides.into_iter().flatten().filter_map(|(name, profile)| {
        let certificate = &profile.certificate;
        let what = match (certificate.dropped_events, certificate.complete) {
            (0, true) => return None,
            (0, false) => "was cut before its end".to_owned(),
            (1, _) => "lacks 1 event, which was dropped".to_owned(),
            (dropped, _) => format!("lacks {} events, which were dropped", grouped(dropped)),
        };
        Some(format!("'{name}' {what}"))
    });
    let lacking: Vec<_> = lacking.collect();
    if lacking.is_empty() || options.allow_drops {
        return None;
    }
    let sentence = format!(
        "{}: its figures may be too low (--allow-drops judges them all the same)",
        lacking.join(", and ")
    );
    Some(Judged {
        rule: "no events are missing".into(),
        written: None,
        sentence: sentence.clone(),
        failures: vec![Failure {
            subject: Subject::Total,
            measured: None,
            sentence,
            sites: Vec::new(),
        }],
    })
}

fn side(named: Named<'_>) -> Side {
    let Named { name, profile } = named;
    let origin = &profile.origin;
    Side {
        name: name.to_owned(),
        command: origin.command.clone(),
        os: origin.os.clone(),
        arch: origin.arch.clone(),
        revision: origin.revision.clone(),
        started: origin.started.clone(),
        generator: origin.generator.clone(),
        runs: profile.runs(),
        certificate: profile.certificate.clone(),
    }
}

fn totals(comparison: &Comparison<'_>) -> Vec<Change> {
    let head = Measured::of(&comparison.head.totals);
    let base = comparison.base.map(|base| Measured::of(&base.totals));
    let change = |metric| Change {
        metric,
        base: base.map(|base| base.get(metric)),
        head: head.get(metric),
    };
    Metric::ALL.map(change).to_vec()
}

/// Whether any figure of a pair is certainly another on the other side.
fn differs(pair: &Pair) -> bool {
    let (base, head) = (pair.base_figures(), pair.head_figures());
    Metric::ALL.into_iter().any(|metric| {
        let (base, head) = (base.get(metric), head.get(metric));
        base.high < head.low || head.high < base.low
    })
}

fn site(comparison: &Comparison<'_>, at: usize) -> SiteChange {
    let pair = &comparison.pairs[at];
    let of = |profile: Option<&Profile>, part: Option<&super::comparison::Part>| {
        profile
            .zip(part)
            .map(|(profile, part)| stacks::shown(&profile.tables, part.stack))
    };
    let head = of(Some(comparison.head), pair.head.as_ref());
    let stack = head.or_else(|| of(comparison.base, pair.base.as_ref()));
    let (base, head) = (pair.base_figures(), pair.head_figures());
    SiteChange {
        id: id(comparison, pair),
        stack: stack.unwrap_or_default(),
        state: match (&pair.base, &pair.head, comparison.base) {
            (None, _, Some(_)) => SiteState::New,
            (Some(_), None, _) => SiteState::Gone,
            _ => SiteState::Both,
        },
        matched: pair.matched.clone(),
        base: comparison.base.map(|_| base),
        head,
        unstable: base.varies() || head.varies(),
    }
}

/// A hash of a site's functions: FNV-1a, whose values are the same in every version of everything
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn id(comparison: &Comparison<'_>, pair: &Pair) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for name in comparison.functions(pair) {
        for byte in name.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
