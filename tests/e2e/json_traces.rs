//! JSON traces of real programs, read back: what they say is what the recording says, or the run's own summary.

use std::path::Path;

use sntrace::analyze::{Analysis, AnalysisOptions};
use sntrace::trace::{Recording, StacksTaken};

use crate::programs::tool;
use crate::record::{recorded, sntrace};

/// A program that forks, has its children run others, and is followed into all of them.
const SCRIPT: &str = "ls /; (ls -l / | sort | wc -l) & wait; exec ls /usr";

fn opened(path: &Path) -> (Box<dyn Recording + Send + Sync>, Analysis) {
    let trace = sntrace::trace::open(path).unwrap();
    let analysis = Analysis::of(&*trace, &AnalysisOptions::default()).unwrap();
    (trace, analysis)
}

#[test]
fn an_exported_recording_is_analysed_as_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let shell = tool("sh");
    let file = recorded(folder.path(), &[shell.to_str().unwrap(), "-c", SCRIPT]);
    let json = folder.path().join("trace.json");
    let (file_path, json_path) = (file.to_str().unwrap(), json.to_str().unwrap());
    let words = ["export", file_path, "--format", "json", "-o", json_path];
    assert!(sntrace(&words).status.success());

    let (recording, expected) = opened(&file);
    let (document, read) = opened(&json);
    assert!(
        expected.processes.len() > 5,
        "{:?}",
        expected.processes.len()
    );
    assert!(
        expected
            .processes
            .iter()
            .any(|process| process.forked_from.is_some())
    );
    // What is told of them: among ends between the same two events, which came last is of no interest.
    let totals = |analysis: &Analysis| serde_json::to_value(&analysis.totals).unwrap();
    assert_eq!(totals(&read), totals(&expected));
    assert_eq!(read.stacks, expected.stacks);
    assert_eq!(read.leaks, expected.leaks);
    assert_eq!(read.timeline, expected.timeline);
    assert_eq!(read.lifetimes, expected.lifetimes);
    // Numbers of images are the document's own.
    let named = |analysis: &Analysis| -> Vec<_> {
        let named = analysis.processes.iter().map(|process| {
            let figures = (
                process.allocated,
                process.leaked,
                process.inherited,
                process.peak_bytes,
            );
            (
                process.pid,
                process.command.clone(),
                process.exit,
                process.end_ns,
                figures,
            )
        });
        named.collect()
    };
    assert_eq!(named(&read), named(&expected));
    assert_eq!(document.certificate(), recording.certificate());
    assert_eq!(document.recorded(), recording.recorded());
    assert_eq!(document.header(), recording.header());
}

#[test]
fn a_running_trace_has_the_totals_of_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("run.json");
    let (json_path, shell) = (json.to_str().unwrap(), tool("sh"));
    let run = |more: &[&str]| {
        let mut words = vec!["--quiet", "-o", "/dev/null", "--json", json_path];
        words.extend(more);
        words.extend(["--", shell.to_str().unwrap(), "-c", SCRIPT]);
        assert!(sntrace(&words).status.success());
    };
    run(&[]);
    let (trace, read) = opened(&json);
    let document: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(
        serde_json::to_value(&read.totals).unwrap(),
        document["summary"]
    );
    assert_eq!(trace.recorded().stacks, StacksTaken::Caller);

    run(&["--filter", "op=malloc"]);
    let error = sntrace::trace::open(&json).err().unwrap();
    assert!(error.to_string().contains("--filter"), "{error}");
}
