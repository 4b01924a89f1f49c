//! The formats by name, and what can be chosen about them.

use crate::output::Summary;

use super::tally::Totals;

/// A format to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The JSON trace: one document with every event and its stack.
    Json,
    /// One JSON object an event a line.
    Jsonl,
    /// Stacks with a number, a line each: flame graphs.
    Folded,
    /// A gzipped `profile.proto`.
    Pprof,
    /// A Perfetto trace: heap profiles and live bytes over time.
    Perfetto,
    /// The Firefox Profiler's processed profile.
    Firefox,
    /// speedscope's own JSON.
    Speedscope,
    /// DHAT's JSON, version 2.
    Dhat,
    /// What heaptrack's interpreter writes.
    Heaptrack,
    /// Massif's snapshots.
    Massif,
    /// One row a stack.
    Csv,
}

impl Format {
    /// Every format, as help lists them.
    pub const ALL: [Self; 11] = [
        Self::Json,
        Self::Jsonl,
        Self::Folded,
        Self::Pprof,
        Self::Perfetto,
        Self::Firefox,
        Self::Speedscope,
        Self::Dhat,
        Self::Heaptrack,
        Self::Massif,
        Self::Csv,
    ];

    /// What `--format` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Folded => "folded",
            Self::Pprof => "pprof",
            Self::Perfetto => "perfetto",
            Self::Firefox => "firefox",
            Self::Speedscope => "speedscope",
            Self::Dhat => "dhat",
            Self::Heaptrack => "heaptrack",
            Self::Massif => "massif",
            Self::Csv => "csv",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// How a file of it should end, without the first dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Folded => "folded",
            Self::Pprof => "pb.gz",
            Self::Perfetto => "pftrace",
            Self::Firefox => "firefox.json",
            Self::Speedscope => "speedscope.json",
            Self::Dhat => "dhat.json",
            Self::Heaptrack => "heaptrack",
            Self::Massif => "massif",
            Self::Csv => "csv",
        }
    }

    /// What it is and what opens it, as help says it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Json => "The JSON trace: every event with its stack, one document.",
            Self::Jsonl => "One JSON object an event a line, for jq and scripts.",
            Self::Folded => "Stacks with a number each, for flamegraph.pl and inferno.",
            Self::Pprof => "A profile for go tool pprof and its like.",
            Self::Perfetto => "A trace for ui.perfetto.dev and trace_processor.",
            Self::Firefox => "Every allocation, for profiler.firefox.com.",
            Self::Speedscope => "A profile for speedscope.app.",
            Self::Dhat => "Valgrind's DHAT, for dh_view.html.",
            Self::Heaptrack => "Every allocation, for heaptrack_gui and heaptrack_print.",
            Self::Massif => "The heap over time, for ms_print and massif-visualizer.",
            Self::Csv => "A table of stacks with their figures.",
        }
    }

    /// Whether the format is no text.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Pprof | Self::Perfetto)
    }

    /// Whether [`ExportOptions::metric`] makes a difference. The other formats show all that they have
    /// at once.
    #[must_use]
    pub const fn takes_metric(self) -> bool {
        matches!(self, Self::Folded | Self::Speedscope | Self::Pprof)
    }
}

/// A figure of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Requested bytes live at the peak.
    #[default]
    PeakBytes,
    /// Requested bytes of all allocations.
    AllocatedBytes,
    /// Calls that obtained a block.
    Allocations,
    /// Requested bytes live when their process ended.
    LeakedBytes,
    /// Allocations freed by their thread with no other allocation of that thread in between.
    Temporary,
}

impl Metric {
    /// Every metric, as help lists them.
    pub const ALL: [Self; 5] = [
        Self::PeakBytes,
        Self::AllocatedBytes,
        Self::Allocations,
        Self::LeakedBytes,
        Self::Temporary,
    ];

    /// What `--metric` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeakBytes => "peak",
            Self::AllocatedBytes => "bytes",
            Self::Allocations => "allocations",
            Self::LeakedBytes => "leaked",
            Self::Temporary => "temporary",
        }
    }

    /// The metric of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// What it is, as a heading.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::PeakBytes => "Bytes live at the peak",
            Self::AllocatedBytes => "Allocated bytes",
            Self::Allocations => "Allocations",
            Self::LeakedBytes => "Leaked bytes",
            Self::Temporary => "Temporary allocations",
        }
    }

    /// Whether it counts bytes; else it counts calls.
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        matches!(
            self,
            Self::PeakBytes | Self::AllocatedBytes | Self::LeakedBytes
        )
    }

    /// This figure of a whole run.
    #[must_use]
    pub const fn of_run(self, summary: &Summary) -> u64 {
        match self {
            Self::PeakBytes => summary.peak_bytes,
            Self::AllocatedBytes => summary.bytes_allocated,
            Self::Allocations => summary.allocations,
            Self::LeakedBytes => summary.leaked_bytes,
            Self::Temporary => summary.temporary_allocations,
        }
    }

    /// This figure of a stack.
    pub(super) const fn of_stack(self, totals: &Totals) -> u64 {
        match self {
            Self::PeakBytes => totals.peak_bytes,
            Self::AllocatedBytes => totals.bytes,
            Self::Allocations => totals.allocations,
            Self::LeakedBytes => totals.leaked_bytes,
            Self::Temporary => totals.temporary,
        }
    }
}

/// What can be chosen about an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// What a format with one number a stack shows, and one with several shows first.
    pub metric: Metric,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_help_is_a_sentence() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
            let help = format.description();
            assert!(help.ends_with('.') && help.len() <= 70, "{help}");
            assert!(!format.extension().starts_with('.'));
        }
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
        }
        assert_eq!(Format::from_name("html"), None);
        assert_eq!(Metric::from_name(""), None);
    }
}
