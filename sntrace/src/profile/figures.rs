//! The figures that are compared: six of every site, and of everything that is a sum of sites.
//!
//! They are those of reports: what an allocation, a leak, a temporary allocation is stands in
//! [`crate::analyze`]. Bytes are what the program asked for.
//!
//! A program that is run several times has a figure a run: a [`Spread`] tells how far they lie apart.
//! What does not vary is one number, three times.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What can be compared, and bounded by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Calls that obtained a block.
    Allocations,
    /// Requested bytes of all allocations.
    Bytes,
    /// Requested bytes live at the peak of the whole run.
    PeakBytes,
    /// Requested bytes live when their process ended.
    LeakedBytes,
    /// Blocks live when their process ended.
    LeakedAllocations,
    /// Allocations freed by their thread with no other allocation of that thread in between.
    TemporaryAllocations,
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Metric; 6] = [
        Metric::Allocations,
        Metric::Bytes,
        Metric::PeakBytes,
        Metric::LeakedBytes,
        Metric::LeakedAllocations,
        Metric::TemporaryAllocations,
    ];

    /// Its name in rules, budgets and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Allocations => "allocations",
            Metric::Bytes => "bytes",
            Metric::PeakBytes => "peak_bytes",
            Metric::LeakedBytes => "leaked_bytes",
            Metric::LeakedAllocations => "leaked_allocations",
            Metric::TemporaryAllocations => "temporary_allocations",
        }
    }

    /// The metric of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether it is counted in bytes; else in blocks.
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        matches!(
            self,
            Metric::Bytes | Metric::PeakBytes | Metric::LeakedBytes
        )
    }

    /// As a sentence has it, in the plural: `allocated bytes`, `leaked blocks`.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Metric::Allocations => "allocations",
            Metric::Bytes => "allocated bytes",
            Metric::PeakBytes => "bytes at the peak",
            Metric::LeakedBytes => "leaked bytes",
            Metric::LeakedAllocations => "leaked blocks",
            Metric::TemporaryAllocations => "temporary allocations",
        }
    }
}

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// See [`Metric::Allocations`].
    pub allocations: u64,
    /// See [`Metric::Bytes`].
    pub bytes: u64,
    /// See [`Metric::PeakBytes`].
    pub peak_bytes: u64,
    /// See [`Metric::LeakedBytes`].
    pub leaked_bytes: u64,
    /// See [`Metric::LeakedAllocations`].
    pub leaked_allocations: u64,
    /// See [`Metric::TemporaryAllocations`].
    pub temporary_allocations: u64,
}

impl Figures {
    /// One of them.
    #[must_use]
    pub const fn get(&self, metric: Metric) -> u64 {
        match metric {
            Metric::Allocations => self.allocations,
            Metric::Bytes => self.bytes,
            Metric::PeakBytes => self.peak_bytes,
            Metric::LeakedBytes => self.leaked_bytes,
            Metric::LeakedAllocations => self.leaked_allocations,
            Metric::TemporaryAllocations => self.temporary_allocations,
        }
    }
}

impl AddAssign for Figures {
    /// Sums saturate: sizes are what a program asked for, be it absurd.
    fn add_assign(&mut self, other: Figures) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.allocations, other.allocations);
        add(&mut self.bytes, other.bytes);
        add(&mut self.peak_bytes, other.peak_bytes);
        add(&mut self.leaked_bytes, other.leaked_bytes);
        add(&mut self.leaked_allocations, other.leaked_allocations);
        add(&mut self.temporary_allocations, other.temporary_allocations);
    }
}

/// Adds figures run by run: to those of so many runs, what another part of the same thing has in each.
pub fn add_runs(to: &mut [Figures], from: &[Figures]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += *from;
    }
}

/// How far a figure's values of several runs lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The lowest.
    pub low: u64,
    /// The median; of an even number of runs the lower one of both in the middle, so that it is a
    /// value that was seen.
    pub median: u64,
    /// The highest.
    pub high: u64,
}

impl Spread {
    /// Of these values; of none, zero.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = u64>) -> Spread {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        match values.as_slice() {
            [] => Spread::default(),
            [low, .., high] => Spread {
                low: *low,
                median: values[(values.len() - 1) / 2],
                high: *high,
            },
            [only] => Spread::exactly(*only),
        }
    }

    /// A figure that does not vary.
    #[must_use]
    pub const fn exactly(value: u64) -> Spread {
        Spread {
            low: value,
            median: value,
            high: value,
        }
    }

    /// Whether runs of the same build differ in it.
    #[must_use]
    pub const fn varies(&self) -> bool {
        self.low != self.high
    }
}

/// Every metric with its spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured([Spread; Metric::ALL.len()]);

impl Measured {
    /// Of the figures of several runs; of no run, zeros.
    #[must_use]
    pub fn of(runs: &[Figures]) -> Measured {
        // The usual case, asked for every site.
        if let [only] = runs {
            return Measured(Metric::ALL.map(|metric| Spread::exactly(only.get(metric))));
        }
        Measured(Metric::ALL.map(|metric| Spread::of(runs.iter().map(|run| run.get(metric)))))
    }

    /// One of them.
    #[must_use]
    pub const fn get(&self, metric: Metric) -> Spread {
        self.0[metric as usize]
    }

    /// Whether any of them varies.
    #[must_use]
    pub fn varies(&self) -> bool {
        self.0.iter().any(Spread::varies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_their_names_and_places() {
        let figures = Figures {
            allocations: 1,
            bytes: 2,
            peak_bytes: 3,
            leaked_bytes: 4,
            leaked_allocations: 5,
            temporary_allocations: 6,
        };
        let measured = Measured::of(&[figures]);
        for (metric, value) in Metric::ALL.into_iter().zip(1..) {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
            assert_eq!(figures.get(metric), value);
            assert_eq!(measured.get(metric), Spread::exactly(value));
            let written = serde_json::to_value(metric).unwrap();
            assert_eq!(written, metric.name());
        }
        assert_eq!(Metric::from_name("allocation"), None);
    }

    #[test]
    fn a_spread_tells_what_was_seen() {
        let spread = Spread::of([7, 3, 5, 4]);
        assert_eq!((spread.low, spread.median, spread.high), (3, 4, 7));
        assert!(spread.varies() && !Spread::of([4, 4]).varies());
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([9]), Spread::exactly(9));
    }
}
