//! A budget applied to what was measured.
//!
//! A bound is broken by what is certain: where runs of the same build differ, by the lowest figure, unless unstable
//! figures are to count, too. What leaks where the budget allows it is in no other bound of leaks.

mod words;
mod zones;

use super::budget::{AllowedLeak, Bound, Bounded, Budget, Measure, Place, Scope};
use super::calls::Calls;
use crate::diff::{self, Comparison, JudgeOptions, Pair, Sum};
use crate::exact::{Figure, Limit};
use crate::output::escape;
use crate::profile::{Figures, Measured, Metric, Spread, add_runs};
use crate::verdict::{Change, Failure, Judged, Written};
use words::{amount, counted, limit, of};

/// A rule of a budget that can't be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{place}: '{key}' can't be judged: {why}")]
pub struct UnjudgedError {
    /// The budget, escaped.
    pub file: String,
    /// Where the rule stands.
    pub place: Place,
    /// The rule, escaped.
    pub key: String,
    /// The reason.
    pub why: String,
    /// What the user can do.
    pub hint: &'static str,
}

/// What a budget is applied to.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The run, beside a baseline or alone.
    pub comparison: &'a Comparison<'a>,
    /// The calls of functions, where they were counted.
    pub calls: Option<&'a Calls>,
}

impl Budget {
    /// Patterns of functions whose calls must be counted.
    #[must_use]
    pub fn counted(&self) -> Vec<&crate::output::filter::Glob> {
        let counted = self.entries.iter().filter(|entry| {
            let mut bounds = entry.bounds.iter();
            bounds.any(|bound| bound.measure == Measure::AllocationsPerCall)
        });
        counted.map(|entry| &entry.pattern).collect()
    }

    /// Judges every rule, in the order of [`Budget::bounds`], then the zones. Sites to blame are places in
    /// [`Comparison::pairs`].
    ///
    /// # Errors
    /// The first rule that can't be judged.
    pub fn judge(
        &self,
        evidence: Evidence<'_>,
        options: JudgeOptions,
    ) -> Result<Vec<Judged>, UnjudgedError> {
        let judge = Judge {
            budget: self,
            evidence,
            options,
        };
        let mut judged = Vec::new();
        for (bounded, bound) in self.bounds() {
            judged.push(judge.bound(bounded, bound)?);
        }
        for zone in &self.no_alloc {
            judged.push(judge.zone(zone)?);
        }
        Ok(judged)
    }

    /// The highest figure that a bound is about; `None`: nothing was measured.
    #[must_use]
    pub fn measured(
        &self,
        evidence: Evidence<'_>,
        bounded: Bounded<'_>,
        bound: &Bound,
    ) -> Option<Figure> {
        let judge = Judge {
            budget: self,
            evidence,
            options: JudgeOptions::default(),
        };
        let subjects = judge.subjects(bounded, bound).ok()?;
        let figures = subjects.iter().map(|sum| match bound.measure {
            Measure::Metric(metric) => {
                let high = judge.change(bounded, metric, sum).head.high;
                Some(Figure::of(high))
            }
            Measure::AllocationsPerCall => judge.per_call(sum).map(|(figure, _)| figure),
        });
        let figures = figures.collect::<Option<Vec<_>>>()?;
        figures.into_iter().max_by(|one, other| one.compare(*other))
    }

    /// Allowed leaks that nothing leaks at any more.
    #[must_use]
    pub fn idle_leaks(&self, comparison: &Comparison<'_>) -> Vec<&AllowedLeak> {
        let leaks = |pair: &Pair| pair.head_figures().get(Metric::LeakedAllocations).high > 0;
        let idle = self.allowed_leaks.iter().filter(|leak| {
            let mut pairs = comparison.pairs.iter();
            !pairs.any(|pair| leaks(pair) && is_below(comparison, pair, leak))
        });
        idle.collect()
    }
}

struct Judge<'a> {
    budget: &'a Budget,
    evidence: Evidence<'a>,
    options: JudgeOptions,
}

impl Judge<'_> {
    fn bound(&self, bounded: Bounded<'_>, bound: &Bound) -> Result<Judged, UnjudgedError> {
        let subjects = self.subjects(bounded, bound)?;
        let mut failures = Vec::new();
        let mut highest: Option<(Figure, String)> = None;
        for sum in &subjects {
            let (figure, told, change) = match bound.measure {
                Measure::Metric(metric) => {
                    let change = self.change(bounded, metric, sum);
                    let figure = Figure::of(self.certain(change.head));
                    (figure, amount(metric, change.head), change)
                }
                Measure::AllocationsPerCall => self.calls(bound, sum)?,
            };
            if figure.exceeds(bound.limit) {
                let sites = self.blamed(bounded, sum, change.metric);
                failures.push((
                    figure,
                    Failure {
                        subject: sum.subject.clone(),
                        measured: Some(change),
                        sentence: format!(
                            "{}{told}, and the budget allows {}",
                            of(&sum.subject),
                            limit(bound)
                        ),
                        sites,
                    },
                ));
            }
            if highest
                .as_ref()
                .is_none_or(|(most, _)| figure.compare(*most).is_gt())
            {
                highest = Some((figure, told));
            }
        }
        failures.sort_by(|one, other| other.0.compare(one.0));
        let failures: Vec<_> = failures.into_iter().map(|(_, failure)| failure).collect();
        let sentence = match failures.as_slice() {
            [] => {
                let told = highest.map_or_else(|| "nothing".to_owned(), |(_, told)| told);
                let most = if subjects.len() > 1 { "at most " } else { "" };
                format!("{most}{told}, within {}", limit(bound))
            }
            [only] => only.sentence.clone(),
            [first, ..] => format!(
                "{} of {} are above the budget; the most: {}",
                failures.len(),
                subjects.len(),
                first.sentence
            ),
        };
        Ok(Judged {
            rule: bound.key.clone(),
            written: Some(self.written(bound.place)),
            sentence,
            failures,
        })
    }

    /// What a bound is about, each with its figures. Not empty, but for allowed leaks.
    fn subjects(&self, bounded: Bounded<'_>, bound: &Bound) -> Result<Vec<Sum>, UnjudgedError> {
        let comparison = self.evidence.comparison;
        let entry = match bounded {
            Bounded::Run => return Ok(comparison.sums(diff::Scope::Total, None)),
            Bounded::Leak(leak) => {
                let mut sums = comparison.sums(diff::Scope::Total, None);
                for sum in &mut sums {
                    sum.pairs
                        .retain(|at| is_below(comparison, &comparison.pairs[*at], leak));
                }
                return Ok(sums);
            }
            Bounded::Entry(entry) => entry,
        };
        let (scope, what) = match entry.scope {
            Scope::Functions => (diff::Scope::Function, "function"),
            Scope::Callers => (diff::Scope::Caller, "function that allocates"),
            Scope::Modules => (diff::Scope::Module, "module that allocates"),
        };
        if scope == diff::Scope::Function && comparison.callers_only {
            return Err(self.no_stacks(&bound.key, bound.place));
        }
        let sums = comparison.sums(scope, Some(&entry.pattern));
        // A base's functions are not what a budget is about.
        let there = |sum: &Sum| {
            let mut pairs = sum.pairs.iter();
            pairs.any(|at| comparison.pairs[*at].head.is_some())
        };
        let sums: Vec<_> = sums.into_iter().filter(there).collect();
        if sums.is_empty() {
            return Err(self.unjudged(
                &bound.key,
                bound.place,
                format!("no {what} of the trace has such a name"),
                "names are those that 'sntrace report' shows; what must not allocate at all is a [[no_alloc]]",
            ));
        }
        Ok(sums)
    }

    /// A metric of a subject, without leaks that are allowed elsewhere.
    fn change(&self, bounded: Bounded<'_>, metric: Metric, sum: &Sum) -> Change {
        let leaks = matches!(metric, Metric::LeakedBytes | Metric::LeakedAllocations);
        let comparison = self.evidence.comparison;
        let by_site = match bounded {
            Bounded::Leak(_) => true,
            _ => leaks && !self.budget.allowed_leaks.is_empty(),
        };
        if !by_site {
            return Change {
                base: None,
                ..sum.change(metric)
            };
        }
        let mut runs = vec![Figures::default(); comparison.head.runs()];
        for pair in sum.pairs.iter().map(|at| &comparison.pairs[*at]) {
            let Some(part) = &pair.head else { continue };
            if !matches!(bounded, Bounded::Leak(_)) && self.is_allowed(pair) {
                continue;
            }
            add_runs(&mut runs, &part.runs);
        }
        Change {
            metric,
            base: None,
            head: Measured::of(&runs).get(metric),
        }
    }

    fn is_allowed(&self, pair: &Pair) -> bool {
        let mut leaks = self.budget.allowed_leaks.iter();
        leaks.any(|leak| is_below(self.evidence.comparison, pair, leak))
    }

    /// The sites to blame for a subject's figure, the largest first.
    fn blamed(&self, bounded: Bounded<'_>, sum: &Sum, metric: Metric) -> Vec<usize> {
        let comparison = self.evidence.comparison;
        let leaks = matches!(metric, Metric::LeakedBytes | Metric::LeakedAllocations);
        let pairs = sum.pairs.iter().map(|at| (*at, &comparison.pairs[*at]));
        let counted = pairs.filter(|(_, pair)| {
            !leaks || matches!(bounded, Bounded::Leak(_)) || !self.is_allowed(pair)
        });
        largest(counted, metric)
    }

    /// Allocations a call, with what to say of it.
    fn calls(&self, bound: &Bound, sum: &Sum) -> Result<(Figure, String, Change), UnjudgedError> {
        let name = sum.subject.name().unwrap_or("");
        let Some((figure, count)) = self.per_call(sum) else {
            return Err(self.unjudged(
                &bound.key,
                bound.place,
                "a baseline has no events, so calls can't be counted in it".into(),
                "check the program, or a trace of it",
            ));
        };
        let change = Change {
            base: None,
            ..sum.change(Metric::Allocations)
        };
        let allocations = all_runs(sum);
        let told = format!(
            "{} in {}{}",
            counted(allocations, "allocation"),
            if count.all { "" } else { "at least " },
            counted(count.calls, "call"),
        );
        // More calls than were seen make fewer allocations a call, but none at all makes no difference.
        let certain = count.all || bound.limit == Limit::whole(0);
        if figure.exceeds(bound.limit) && !certain {
            return Err(self.unjudged(
                &bound.key,
                bound.place,
                format!(
                    "'{}' made {told}, and calls that follow each other from one place look like one in a trace",
                    escape::shown(name)
                ),
                "bound its 'allocations' instead; calls are known of functions that a thread begins with",
            ));
        }
        Ok((figure, told, change))
    }

    fn per_call(&self, sum: &Sum) -> Option<(Figure, super::calls::Count)> {
        let count = self.evidence.calls?.get(sum.subject.name()?)?;
        Some((Figure::per_call(all_runs(sum), count.calls)?, count))
    }

    /// What is judged of a figure that varies.
    fn certain(&self, spread: Spread) -> u64 {
        match self.options.fail_unstable {
            true => spread.high,
            false => spread.low,
        }
    }

    fn written(&self, place: Place) -> Written {
        Written {
            file: self.budget.file.clone(),
            line: place.line,
            column: place.column,
        }
    }

    fn no_stacks(&self, key: &str, place: Place) -> UnjudgedError {
        self.unjudged(
            key,
            place,
            "it looks at whole stacks, and the trace has only callers".into(),
            "'sntrace record' takes whole stacks",
        )
    }

    fn unjudged(&self, key: &str, place: Place, why: String, hint: &'static str) -> UnjudgedError {
        UnjudgedError {
            file: escape::shown(&self.budget.file.to_string_lossy()),
            place,
            key: escape::shown(key),
            why,
            hint,
        }
    }
}

/// Whether a site's stack has what an allowed leak is about: a function, or the file of a module.
fn is_below(comparison: &Comparison<'_>, pair: &Pair, leak: &AllowedLeak) -> bool {
    let mut functions = comparison.functions(pair);
    functions.any(|name| leak.under.matches(name))
        || comparison
            .modules(pair)
            .iter()
            .any(|module| leak.under.matches(module))
}

fn largest<'p>(pairs: impl Iterator<Item = (usize, &'p Pair)>, metric: Metric) -> Vec<usize> {
    let sized = pairs.map(|(at, pair)| (pair.head_figures().get(metric).median, at));
    let mut sized: Vec<_> = sized.filter(|(size, _)| *size > 0).collect();
    sized.sort_by_key(|(size, at)| (std::cmp::Reverse(*size), *at));
    sized.into_iter().map(|(_, at)| at).collect()
}

/// The allocations of all runs together: calls are counted over all, too.
fn all_runs(sum: &Sum) -> u64 {
    let runs = sum.head.iter().map(|run| run.allocations);
    runs.fold(0, u64::saturating_add)
}
