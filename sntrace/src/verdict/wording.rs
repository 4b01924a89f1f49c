//! What several formats say in the same words: the outcome, figures, what became of a site.
//!
//! For people: sizes are rounded, counts are exact. Nothing is escaped here.

use super::{Change, Failure, Judged, Matched, SiteChange, SiteState, Verdict};
use crate::output::grouped;
use crate::page::quantity::{count, size};
use crate::profile::{Metric, Spread};
use crate::trace::Certificate;

/// `failed: 2 of 3 rules`, `passed: 3 rules`; where there is no rule, there is no outcome.
pub(super) fn outcome(verdict: &Verdict) -> Option<String> {
    let rules = count(verdict.rules.len() as u64, "rule");
    match verdict.rules.iter().filter(|rule| rule.failed()).count() {
        _ if verdict.rules.is_empty() => None,
        0 => Some(format!("passed: {rules}")),
        failed => Some(format!("failed: {failed} of {rules}")),
    }
}

/// The outcome, or what was seen where nothing was asked for.
pub(super) fn result(verdict: &Verdict) -> String {
    outcome(verdict).unwrap_or_else(|| match &verdict.base {
        _ if differs(verdict) => match verdict.sites.len() {
            0 => String::from("the totals differ"),
            1 => String::from("1 site differs"),
            sites => format!("{} differ", count(sites as u64, "site")),
        },
        Some(_) => String::from("no difference"),
        None => String::from("no rules"),
    })
}

/// Who speaks: `sntrace diff`.
pub(super) fn speaker(verdict: &Verdict) -> String {
    format!("sntrace {}", verdict.question.name())
}

/// Whether the sides differ in anything.
pub(super) fn differs(verdict: &Verdict) -> bool {
    verdict.base.is_some()
        && (!verdict.sites.is_empty() || verdict.totals.iter().any(|total| total.differs()))
}

impl Change {
    /// By how much the head has more, median to median.
    #[must_use]
    pub fn delta(&self) -> Option<i128> {
        let base = self.base?.median;
        Some(i128::from(self.head.median) - i128::from(base))
    }

    /// The same as a part of the base, in percent; of nothing, there is none.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let base = self.base?.median;
        (base > 0).then_some(self.delta()? as f64 * 100.0 / base as f64)
    }

    /// Whether the sides are known to differ.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.base.is_some_and(|base| base != self.head)
    }
}

impl SiteChange {
    /// One of its figures.
    #[must_use]
    pub fn change(&self, metric: Metric) -> Change {
        Change {
            metric,
            base: self.base.map(|base| base.get(metric)),
            head: self.head.get(metric),
        }
    }
}

impl Verdict {
    /// The sites that a failure blames, with the figure that it is about: where that is none, their
    /// allocations.
    pub(super) fn blamed<'a>(
        &'a self,
        failure: &'a Failure,
    ) -> impl ExactSizeIterator<Item = (&'a SiteChange, Metric)> {
        let metric = failure
            .measured
            .map_or(Metric::Allocations, |change| change.metric);
        let known: Vec<_> = failure
            .sites
            .iter()
            .filter_map(|&at| Some((self.sites.get(at)?, metric)))
            .collect();
        known.into_iter()
    }
}

/// A figure: `1.5 KiB`, `1,234`.
pub(super) fn figure(metric: Metric, value: u64) -> String {
    match metric.is_bytes() {
        true => size(value),
        false => grouped(value),
    }
}

/// A figure of several runs: the median, and how far they lie apart where they do.
pub(super) fn spread(metric: Metric, spread: Spread) -> String {
    match range(metric, spread) {
        None => figure(metric, spread.median),
        // What rounding makes equal is told exactly, all of it.
        Some(range) if is_hidden(metric, spread) => {
            format!("{} B ({range})", grouped(spread.median))
        }
        Some(range) => format!("{} ({range})", figure(metric, spread.median)),
    }
}

/// How far the runs of both sides lie apart, where they do on either.
pub(super) fn ranges(change: &Change) -> Option<String> {
    let side = |spread| range(change.metric, spread);
    let (base, head) = (change.base.and_then(side), side(change.head));
    if base.is_none() && head.is_none() {
        return None;
    }
    let same = || String::from("same");
    Some(match change.base {
        None => head.unwrap_or_else(same),
        Some(_) => format!(
            "{} → {}",
            base.unwrap_or_else(same),
            head.unwrap_or_else(same)
        ),
    })
}

fn range(metric: Metric, spread: Spread) -> Option<String> {
    let shown = |value| match is_hidden(metric, spread) {
        true => format!("{} B", grouped(value)),
        false => figure(metric, value),
    };
    let varies = spread.varies();
    varies.then(|| format!("{}..{}", shown(spread.low), shown(spread.high)))
}

/// Whether rounding hides that a figure varies.
fn is_hidden(metric: Metric, spread: Spread) -> bool {
    spread.varies() && figure(metric, spread.low) == figure(metric, spread.high)
}

/// `+5`, `-1.0 KiB`; where nothing changed, `=`; empty without a base.
pub(super) fn delta(change: &Change) -> String {
    let Some(delta) = change.delta() else {
        return String::new();
    };
    // A difference of two u64 fits into one.
    let size = u64::try_from(delta.unsigned_abs()).unwrap_or(u64::MAX);
    let size = figure(change.metric, size);
    match delta {
        0 => String::from("="),
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

/// `+12.5%`; empty where nothing changed or there is nothing to compare with.
pub(super) fn percent(change: &Change) -> String {
    match change.percent() {
        None => String::new(),
        Some(0.0) => String::new(),
        // What would read as no change is one.
        Some(part) if part.abs() < 0.05 => {
            String::from(if part > 0.0 { "+<0.1%" } else { "-<0.1%" })
        }
        Some(part) if part < 1000.0 => format!("{part:+.1}%"),
        Some(part) => format!("+{}%", grouped(part.round() as u64)),
    }
}

/// `10 → 15`, or `15` without a base.
pub(super) fn both(change: &Change) -> String {
    let head = spread(change.metric, change.head);
    match change.base {
        Some(base) => format!("{} → {head}", spread(change.metric, base)),
        None => head,
    }
}

/// `10 → 15 allocations (+5, +50.0%)`.
fn in_words(change: &Change) -> String {
    let noun = change.metric.noun();
    let parts = [delta(change), percent(change)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => format!("{} {noun}", both(change)),
        false => format!("{} {noun} ({})", both(change), parts.join(", ")),
    }
}

/// A failure for where there is one text and one line of code: why it failed, and what the worst site has to
/// do with it.
pub(super) fn annotation(verdict: &Verdict, failure: &Failure) -> String {
    let mut sites = verdict.blamed(failure);
    let more = sites.len().saturating_sub(1) as u64;
    let Some((site, metric)) = sites.next() else {
        return failure.sentence.clone();
    };
    let more = match more {
        0 => String::new(),
        more => format!(", and {} more", count(more, "site")),
    };
    format!(
        "{}; {}: {}{more}",
        failure.sentence,
        site.caller(),
        in_words(&site.change(metric)),
    )
}

/// What is to say of a site besides its figures, a few words each.
pub(super) fn remarks(site: &SiteChange) -> Vec<String> {
    let mut remarks = Vec::new();
    match &site.matched {
        Matched::ByName => {}
        Matched::Renamed(names) => {
            for (old, new) in names {
                remarks.push(match names.len() == 1 && new == site.caller() {
                    true => format!("was {old}"),
                    false => format!("{new} was {old}"),
                });
            }
        }
        Matched::Inlined(names) => remarks.push(format!(
            "matched although inlined differently: {}",
            names.join(", ")
        )),
    }
    if site.unstable {
        remarks.push(String::from(
            "unstable: runs of the same build differ in it",
        ));
    }
    remarks
}

/// A word for what became of a site; of one that both sides have, none. Without a base every site would be
/// new, which says nothing.
pub(super) fn state(verdict: &Verdict, site: &SiteChange) -> &'static str {
    match site.state {
        _ if verdict.base.is_none() => "",
        SiteState::New => "new",
        SiteState::Gone => "gone",
        SiteState::Both => "",
    }
}

/// The sites that no failed rule blames.
pub(super) fn other_sites(verdict: &Verdict) -> Vec<&SiteChange> {
    let mut blamed = vec![false; verdict.sites.len()];
    for failure in verdict.rules.iter().flat_map(|rule| &rule.failures) {
        for &at in &failure.sites {
            if let Some(blamed) = blamed.get_mut(at) {
                *blamed = true;
            }
        }
    }
    let sites = verdict.sites.iter().zip(blamed);
    sites
        .filter_map(|(site, blamed)| (!blamed).then_some(site))
        .collect()
}

/// What of a failure its rule has not said already.
pub(super) fn own_sentence<'a>(rule: &Judged, failure: &'a Failure) -> Option<&'a str> {
    (failure.sentence != rule.sentence).then_some(failure.sentence.as_str())
}

/// A side in a line: `main.snt: ./app --x`, and what is known of when and how.
pub(super) fn side(side: &super::Side) -> (String, String) {
    let command = side.command.join(" ");
    let what = match command == side.name {
        true => side.name.clone(),
        false => format!("{}: {command}", side.name),
    };
    // A time is `2026-11-22T20:38:53.123456Z`: seconds are enough.
    let started = side.started.split('.').next().unwrap_or_default();
    let mut how = vec![format!(
        "{} UTC",
        started.trim_end_matches('Z').replace('T', " ")
    )];
    if let Some(revision) = &side.revision {
        how.push(format!("revision {revision}"));
    }
    if side.runs > 1 {
        how.push(format!("{} runs", side.runs));
    }
    how.push(format!("{} {}", side.os, side.arch));
    how.push(side.generator.clone());
    (what, how.join(", "))
}

/// What keeps the figures of a side from being whole and exact, a sentence each.
pub(super) fn blemishes(side: &super::Side) -> Vec<String> {
    match has_certificate(side) {
        true => side.certificate.blemishes(),
        false => vec![String::from(
            "its trace has no certificate: nothing says that it is whole",
        )],
    }
}

/// Whether anything vouches for a side: a JSON trace of a run has no certificate.
pub(super) fn has_certificate(side: &super::Side) -> bool {
    side.certificate != Certificate::default()
}

/// The sides with their names, the base first.
pub(super) fn sides(verdict: &Verdict) -> impl Iterator<Item = (&'static str, &super::Side)> {
    let base = verdict.base.iter().map(|side| ("base", side));
    base.chain([("head", &verdict.head)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(metric: Metric, base: u64, head: u64) -> Change {
        Change {
            metric,
            base: Some(Spread::exactly(base)),
            head: Spread::exactly(head),
        }
    }

    #[test]
    fn changes_read_well_at_their_edges() {
        let of = |base, head| {
            let change = change(Metric::Allocations, base, head);
            (delta(&change), percent(&change))
        };
        let expected = |delta: &str, percent: &str| (delta.to_owned(), percent.to_owned());
        assert_eq!(of(40, 45), expected("+5", "+12.5%"));
        assert_eq!(of(45, 40), expected("-5", "-11.1%"));
        assert_eq!(of(7, 7), expected("=", ""));
        assert_eq!(of(0, 5), expected("+5", ""));
        assert_eq!(of(5, 0), expected("-5", "-100.0%"));
        assert_eq!(of(10_000, 10_001), expected("+1", "+<0.1%"));
        assert_eq!(of(10_000, 9_999), expected("-1", "-<0.1%"));
        assert_eq!(of(1, 1_001), expected("+1,000", "+100,000%"));
        let all = change(Metric::Bytes, u64::MAX, 0);
        assert_eq!(delta(&all), "-16.0 EiB");
        assert_eq!(all.delta(), Some(-i128::from(u64::MAX)));
    }

    #[test]
    fn a_span_that_rounding_hides_is_exact() {
        let span = |low, high| {
            spread(
                Metric::Bytes,
                Spread {
                    low,
                    median: low,
                    high,
                },
            )
        };
        assert_eq!(span(2048, 4096), "2.0 KiB (2.0 KiB..4.0 KiB)");
        assert_eq!(span(2048, 2049), "2,048 B (2,048 B..2,049 B)");
        assert_eq!(span(2048, 2048), "2.0 KiB");
        let varying = Change {
            base: Some(Spread {
                low: 1,
                median: 2,
                high: 3,
            }),
            ..change(Metric::Allocations, 0, 5)
        };
        assert_eq!(ranges(&varying).as_deref(), Some("1..3 → same"));
        assert_eq!(ranges(&change(Metric::Allocations, 4, 5)), None);
    }

    #[test]
    fn a_change_without_a_base_is_a_figure() {
        let alone = Change {
            metric: Metric::LeakedBytes,
            base: None,
            head: Spread::of([1024, 2048, 4096]),
        };
        assert_eq!(in_words(&alone), "2.0 KiB (1.0 KiB..4.0 KiB) leaked bytes");
        assert_eq!((delta(&alone), percent(&alone)), Default::default());
        assert!(!alone.differs());
    }
}
