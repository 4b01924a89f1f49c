//! A table of stacks, a row each, for spreadsheets and data frames.
//!
//! Quoted as RFC 4180 has it, with a row of headings. `function`, `module`, `file` and `line` are the
//! caller's, as lines show it: the first function that is no wrapper. `stack` is all functions from
//! the inner to the outer one, separated by ` < `. Rows come by allocated bytes, most first. The
//! format has no place for a certificate.
//!
//! A name that begins like a formula (`=`, `+`, `-`, `@`) gets an apostrophe in front, by which
//! spreadsheets take it for text: the traced program chose it, and a cell must not run what it says.

use std::io::{self, Write};

use crate::output::{Summary, escape};
use crate::symbolize::RecordedCallers;
use crate::trace::{Op, Recording, StackId};

use super::ExportOptions;
use super::aggregate::{Aggregate, AggregateExporter};
use super::frames;

/// An exporter of it.
pub fn exporter<'r>(
    recording: &'r dyn Recording,
    options: &ExportOptions,
) -> AggregateExporter<'r> {
    AggregateExporter::new(recording, options, write)
}

const HEADINGS: [&str; 14] = [
    "allocations",
    "bytes",
    "peak_blocks",
    "peak_bytes",
    "peak_percent",
    "leaked_allocations",
    "leaked_bytes",
    "temporary_allocations",
    "lifetime_ns",
    "function",
    "module",
    "file",
    "line",
    "stack",
];

fn write(aggregate: &Aggregate<'_>, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let tables = aggregate.recording.tables();
    let mut callers = RecordedCallers::new(tables);
    let mut rows: Vec<_> = aggregate.tally.rows().collect();
    rows.sort_by_key(|(stack, totals)| (std::cmp::Reverse(totals.bytes), *stack));
    let mut table = ::csv::WriterBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .from_writer(out);
    table.write_record(HEADINGS)?;
    for (stack, totals) in rows {
        let share = match summary.peak_bytes {
            0 => 0.0,
            peak => totals.peak_bytes as f64 * 100.0 / peak as f64,
        };
        let caller = callers.of(Op::Malloc, stack);
        let (file, line) = match &caller.location {
            Some((file, line)) => (cell(file), line.to_string()),
            None => Default::default(),
        };
        table.write_record([
            totals.allocations.to_string(),
            totals.bytes.to_string(),
            totals.peak_blocks.to_string(),
            totals.peak_bytes.to_string(),
            format!("{share:.2}"),
            totals.leaked_blocks.to_string(),
            totals.leaked_bytes.to_string(),
            totals.temporary.to_string(),
            totals.lifetime_ns.to_string(),
            cell(&caller.name),
            cell(caller.module.as_deref().unwrap_or_default()),
            file,
            line,
            cell(&names(aggregate.recording, stack)),
        ])?;
    }
    table.flush()
}

fn names(recording: &dyn Recording, stack: StackId) -> String {
    let tables = recording.tables();
    let names: Vec<_> = frames::of_stack(tables, stack)
        .map(|(site, level)| tables.function_name(site, level))
        .collect();
    names.join(" < ")
}

fn cell(text: &str) -> String {
    let shown = escape::shown(text);
    if shown.starts_with(['=', '+', '-', '@']) {
        format!("'{shown}")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use super::*;

    #[test]
    fn the_table_reads_back_and_adds_up() {
        let recording = samples::recording();
        let summary = samples::summary(&recording);
        let bytes = exported(Format::Csv, &recording, Metric::default());
        let mut table = ::csv::Reader::from_reader(&bytes[..]);
        assert_eq!(table.headers().unwrap(), &HEADINGS[..]);
        let rows: Vec<_> = table.records().map(Result::unwrap).collect();
        let sum = |heading: &str| -> u64 {
            let at = HEADINGS.iter().position(|name| *name == heading).unwrap();
            rows.iter().map(|row| row[at].parse::<u64>().unwrap()).sum()
        };
        assert_eq!(sum("allocations"), summary.allocations);
        assert_eq!(sum("bytes"), summary.bytes_allocated);
        assert_eq!(sum("peak_bytes"), summary.peak_bytes);
        assert_eq!(sum("leaked_allocations"), summary.leaked_allocations);
        assert_eq!(sum("leaked_bytes"), summary.leaked_bytes);
        assert_eq!(sum("temporary_allocations"), summary.temporary_allocations);
        // The caller is past the operator and the vector.
        let pushed = rows
            .iter()
            .find(|row| row[13].starts_with("operator new"))
            .unwrap();
        assert_eq!(&pushed[9], "inner<int>(int)");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\"evil\\x1b[31m\"\"quoted\"\"\\n\\u{202e}#1, name"));
    }

    #[test]
    fn no_name_is_a_formula() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(cell("operator="), "operator=");
    }
}
