//! The run on a page: what was run, how much was allocated, the heap over time, and who comes first.

use std::io;

use serde::Serialize;

use super::leaks::{self, LeaksView};
use super::sites::{self, SitesView};
use super::{Source, View, errors};
use crate::output::Summary;
use crate::page::quantity::{count, duration, grouped, share, size};
use crate::page::{Page, Span, Style};

/// The heap over time: what was live, bucket by bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeapOverTime {
    /// Time of a bucket in nanoseconds; the first begins with the run.
    pub bucket_ns: u64,
    /// Most requested bytes live at a time in each bucket.
    pub high_bytes: Vec<u64>,
    /// Allocations in each bucket.
    pub allocations: Vec<u64>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SummaryView {
    /// The totals, as every JSON output has them.
    pub totals: Summary,
    /// How long the run took, in nanoseconds.
    pub duration_ns: u64,
    /// Process images.
    pub processes: u64,
    /// Threads that made an event.
    pub threads: u64,
    /// Calls that break the allocator's rules.
    pub misuse: u64,
    /// What was live over time.
    pub heap: HeapOverTime,
    /// The view `peak`.
    pub peak: SitesView,
    /// The view `leaks`.
    pub leaks: LeaksView,
    /// The view `temporary`.
    pub temporary: SitesView,
    /// For the text form: the heap in so many columns.
    #[serde(skip)]
    columns: Vec<u64>,
    #[serde(skip)]
    misuse_line: Option<String>,
    /// For the text form: what the report shows apart, in full.
    #[serde(skip)]
    apart: Vec<View>,
}

pub(super) fn of(source: Source<'_>) -> SummaryView {
    let analysis = source.analysis;
    let buckets = analysis.timeline.buckets().iter();
    let columns = source.options.width.clamp(40, 100) - 20;
    SummaryView {
        totals: analysis.totals.clone(),
        duration_ns: analysis.duration_ns,
        processes: analysis.processes.len() as u64,
        threads: analysis.threads.len() as u64,
        misuse: analysis.misuse.total(),
        heap: HeapOverTime {
            bucket_ns: analysis.timeline.width_ns(),
            high_bytes: buckets.clone().map(|bucket| bucket.high_bytes).collect(),
            allocations: buckets.map(|bucket| bucket.allocations).collect(),
        },
        peak: sites::peak(source),
        leaks: leaks::of(source),
        temporary: sites::temporary(source),
        columns: analysis.timeline.highs(columns).collect(),
        misuse_line: errors::counted(&analysis.misuse),
        apart: source.options.views.clone(),
    }
}

/// The first lines of every report.
pub(super) fn title(source: Source<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let header = source.recording.header();
    let command = header.command.join(" ");
    page.line(&[
        Span::new(Style::Bold, "sntrace report"),
        Span::new(Style::Plain, "  "),
        Span::new(Style::Plain, command),
    ])?;
    let analysis = source.analysis;
    // A header's time is `2026-11-22T20:38:53.123456Z`: seconds are enough.
    let started = header.started.split('.').next().unwrap_or_default();
    page.line(&[Span::new(
        Style::Dim,
        format!(
            "{} UTC, {} {}, {}, {}, {}",
            started.trim_end_matches('Z').replace('T', " "),
            header.os,
            header.arch,
            count(analysis.processes.len() as u64, "process"),
            count(analysis.threads.len() as u64, "thread"),
            duration(analysis.duration_ns),
        ),
    )])
}

impl SummaryView {
    pub(super) fn text(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading("Totals", "")?;
        for (name, value, note) in self.totals() {
            page.line(&[
                Span::new(Style::Dim, format!("  {name:<12}")),
                Span::new(Style::Bold, value),
                Span::new(Style::Dim, note),
            ])?;
        }
        if self.totals.peak_bytes > 0 {
            self.heap_over_time(page)?;
        }
        let here = |view| !self.apart.contains(&view);
        if here(View::Peak) {
            self.peak.text(page, None)?;
        }
        if here(View::Leaks) {
            self.leaks.text(page, None)?;
        }
        if here(View::Temporary) {
            self.temporary.text(page, None)?;
        }
        if let Some(line) = self.misuse_line.as_ref().filter(|_| here(View::Errors)) {
            page.heading("Errors", "'--view errors' shows them")?;
            page.wrap(Style::Red, line)?;
        }
        Ok(())
    }

    fn totals(&self) -> Vec<(&'static str, String, String)> {
        let totals = &self.totals;
        let mut lines = vec![
            (
                "allocations",
                grouped(totals.allocations),
                format!("  {} in all", size(totals.bytes_allocated)),
            ),
            ("frees", grouped(totals.frees), String::new()),
            (
                "peak",
                size(totals.peak_bytes),
                match totals.peak_bytes {
                    0 => String::new(),
                    bytes => format!(
                        "  {} bytes, after {}",
                        grouped(bytes),
                        duration(totals.peak_time_ns)
                    ),
                },
            ),
            (
                "leaked",
                size(totals.leaked_bytes),
                match totals.leaked_allocations {
                    0 => String::new(),
                    blocks => format!("  in {}", count(blocks, "block")),
                },
            ),
            (
                "temporary",
                grouped(totals.temporary_allocations),
                match share(totals.temporary_allocations, totals.allocations) {
                    share if share.is_empty() => share,
                    share => format!("  {share} of allocations"),
                },
            ),
        ];
        if totals.failed_allocations > 0 {
            lines.push(("failed", grouped(totals.failed_allocations), String::new()));
        }
        if totals.mapping_events > 0 {
            let note = format!(
                "  {} of mmap and its like, not in these sums",
                count(totals.mapping_events, "call")
            );
            lines.push(("mapped", size(totals.mapped_bytes), note));
        }
        lines
    }

    fn heap_over_time(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading("Heap over time", "")?;
        let highest = self.totals.peak_bytes;
        let drawn: String = self
            .columns
            .iter()
            .map(|&high| bar(high, highest))
            .collect();
        page.line(&[
            Span::new(Style::Plain, "  "),
            Span::new(Style::Cyan, drawn),
            Span::new(Style::Dim, format!("  max {}", size(highest))),
        ])?;
        let end = duration(
            self.heap
                .bucket_ns
                .saturating_mul(self.heap.high_bytes.len() as u64)
                .min(self.duration_ns),
        );
        let blanks = self.columns.len().saturating_sub(1 + end.chars().count());
        let axis = format!("  0{}{end}", " ".repeat(blanks));
        page.line(&[Span::new(Style::Dim, axis)])
    }
}

/// A column of the sparkline. What is not nothing shows.
fn bar(value: u64, highest: u64) -> char {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if value == 0 || highest == 0 {
        return BARS[0];
    }
    let level = (u128::from(value) * 8).div_ceil(u128::from(highest));
    BARS[level.clamp(1, 8) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_what_they_show() {
        let all =
            |values: &[u64], highest| values.iter().map(|&v| bar(v, highest)).collect::<String>();
        assert_eq!(all(&[0, 1, 12, 50, 99, 100], 100), " ▁▁▄██");
        assert_eq!(all(&[0, 0], 0), "  ");
        assert_eq!(all(&[u64::MAX], u64::MAX), "█");
    }
}
