//! A trace file: analysed, reported in every view and exported to one format, which the first byte chooses.
//! Checksums are not asked for (`cfg(fuzzing)`), so that what lies behind them is reached.
#![no_main]

use std::io::sink;

use libfuzzer_sys::fuzz_target;
use sntrace::analyze::{Analysis, AnalysisOptions};
use sntrace::export::{self, ExportOptions, Format, Metric};
use sntrace::report::{self, ReportOptions, View};
use sntrace::trace::file::TraceFile;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let Ok(trace) = TraceFile::from_bytes("input", data.to_vec()) else {
        return;
    };
    let choice = usize::from(choice);
    let (format, metric) = (choice % Format::ALL.len(), choice / Format::ALL.len());
    let options = ExportOptions {
        metric: Metric::ALL[metric % Metric::ALL.len()],
    };
    let exported = export::export(Format::ALL[format], &trace, &options, &mut sink());
    let Ok(analysis) = Analysis::of(&trace, &AnalysisOptions::default()) else {
        // What can't be read to its end can't be exported.
        assert!(exported.is_err());
        return;
    };
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        width: choice,
        ..ReportOptions::default()
    };
    // Nothing is written that could fail.
    report::text(&trace, &analysis, &options, &mut sink()).unwrap();
    report::json(&trace, &analysis, &options, &mut sink()).unwrap();
});
