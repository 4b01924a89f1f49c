//! A JSON trace: opened, replayed and analysed; what is read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::analyze::{Analysis, AnalysisOptions};
use sntrace::export::{ExportOptions, Format, export};
use sntrace::trace::json::JsonTrace;
use sntrace::trace::{Item, Recording as _};

fuzz_target!(|data: &[u8]| {
    let Ok(trace) = JsonTrace::from_bytes("input", data.to_vec()) else {
        return;
    };
    let stacks = trace.tables().stacks.len();
    let mut events = 0;
    let replayed = trace.replay(&mut |item| {
        if let Item::Event(event) = item {
            assert!((event.stack.0 as usize) < stacks);
            events += 1;
        }
    });
    let Ok(analysis) = Analysis::of(&trace, &AnalysisOptions::default()) else {
        assert!(replayed.is_err());
        return;
    };
    assert!(replayed.is_ok());
    assert_eq!(analysis.totals.events, events);
    let mut written = Vec::new();
    export(
        Format::Json,
        &trace,
        &ExportOptions::default(),
        &mut written,
    )
    .unwrap();
    let again = JsonTrace::from_bytes("again", written).unwrap();
    let same = Analysis::of(&again, &AnalysisOptions::default()).unwrap();
    assert_eq!(same.totals.allocations, analysis.totals.allocations);
    assert_eq!(same.totals.bytes_allocated, analysis.totals.bytes_allocated);
});
