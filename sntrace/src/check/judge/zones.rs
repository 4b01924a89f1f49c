//! Zones in which nothing may allocate.

use super::words::amount;
use super::{Judge, UnjudgedError, largest};
use crate::check::budget::Zone;
use crate::diff;
use crate::profile::{Figures, Measured, Metric, add_runs};
use crate::verdict::{Change, Failure, Judged};

impl Judge<'_> {
    pub(super) fn zone(&self, zone: &Zone) -> Result<Judged, UnjudgedError> {
        let comparison = self.evidence.comparison;
        if comparison.callers_only {
            return Err(self.no_stacks(&zone.key, zone.place));
        }
        let mut failures = Vec::new();
        let mut excused = 0;
        let functions = comparison.sums(diff::Scope::Function, Some(&zone.under));
        let seen = !functions.is_empty();
        for sum in functions {
            let pairs = sum.pairs.iter().map(|at| (*at, &comparison.pairs[*at]));
            let (free, guilty): (Vec<_>, Vec<_>) = pairs
                .filter(|(_, pair)| {
                    let head = pair.head_figures().get(Metric::Allocations);
                    self.certain(head) > 0
                })
                .partition(|(_, pair)| {
                    let mut functions = comparison.functions(pair);
                    functions.any(|name| zone.except.iter().any(|glob| glob.matches(name)))
                });
            excused += free.len();
            if guilty.is_empty() {
                continue;
            }
            let mut runs = vec![Figures::default(); comparison.head.runs()];
            for part in guilty.iter().filter_map(|(_, pair)| pair.head.as_ref()) {
                add_runs(&mut runs, &part.runs);
            }
            let head = Measured::of(&runs).get(Metric::Allocations);
            let because = match &zone.reason {
                Some(reason) => format!(" ({reason})"),
                None => String::new(),
            };
            failures.push(Failure {
                sentence: format!(
                    "{} below {}, where nothing may allocate{because}",
                    amount(Metric::Allocations, head),
                    sum.subject.name().unwrap_or(""),
                ),
                subject: sum.subject,
                measured: Some(Change {
                    metric: Metric::Allocations,
                    base: None,
                    head,
                }),
                sites: largest(guilty.into_iter(), Metric::Allocations),
            });
        }
        failures.sort_by_key(|failure| {
            let head = failure.measured.map(|change| change.head.median);
            std::cmp::Reverse(head)
        });
        let sentence = match (failures.as_slice(), excused) {
            ([], 0) if seen => "nothing allocates there".to_owned(),
            // It may be well, or another name than the function's.
            ([], 0) => "nothing allocates there: no stack has such a function".to_owned(),
            ([], 1) => "nothing allocates there but 1 site that is excused".to_owned(),
            ([], many) => format!("nothing allocates there but {many} sites that are excused"),
            ([only], _) => only.sentence.clone(),
            ([first, ..], _) => format!(
                "{} functions allocate there; the most: {}",
                failures.len(),
                first.sentence
            ),
        };
        Ok(Judged {
            rule: zone.key.clone(),
            written: Some(self.written(zone.place)),
            sentence,
            failures,
        })
    }
}
