//! Figures and limits as sentences have them.

use crate::check::budget::{Bound, Measure};
use crate::output::grouped;
use crate::profile::{Metric, Spread};
use crate::verdict::Subject;

/// `12,345 allocations`, or what runs differ by.
pub(super) fn amount(metric: Metric, spread: Spread) -> String {
    let number = match spread.varies() {
        true => format!("{} to {}", grouped(spread.low), grouped(spread.high)),
        false => grouped(spread.low),
    };
    match (spread.high, metric) {
        (1, Metric::Allocations) => "1 allocation".into(),
        (1, Metric::LeakedAllocations) => "1 leaked block".into(),
        _ => format!("{number} {}", metric.noun()),
    }
}

pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `parse: `; nothing for the run.
pub(super) fn of(subject: &Subject) -> String {
    match subject.name() {
        Some(name) => format!("{name}: "),
        None => String::new(),
    }
}

pub(super) fn limit(bound: &Bound) -> String {
    match bound.measure {
        Measure::AllocationsPerCall => format!("{} a call", bound.limit),
        Measure::Metric(_) => grouped(bound.limit.rounded_up()),
    }
}
