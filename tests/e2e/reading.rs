//! Recorded traces as a user meets them who reads them: through pipes, on full disks, at odd widths, and what is
//! no trace at all.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::programs::{Build, tool};
use crate::record::{record, recorded, sntrace};
use crate::support::clean;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn deterministic(folder: &Path) -> String {
    let program = Build::c("deterministic.c").path();
    let file = recorded(folder, &[program.as_os_str(), "20000".as_ref()]);
    file.to_str().unwrap().to_owned()
}

/// sntrace with its output somewhere.
fn into(words: &[&str], stdin: Stdio, stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    let child = clean(command.args(words))
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_full_disk_is_125_and_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let trace = deterministic(folder.path());
    let events = text(&sntrace(&["lines", &trace]).stdout).lines().count();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let lines = into(&["lines", &trace], Stdio::null(), full());
    assert_eq!(lines.status.code(), Some(125));
    let said = text(&lines.stderr);
    assert!(
        said.contains(&format!("{events} events are missing")),
        "{said}"
    );
    for words in [
        &["report", &trace][..],
        &["report", &trace, "--json"],
        &["export", &trace, "--format", "json"],
        &["dump", &trace],
    ] {
        let output = into(words, Stdio::null(), full());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{words:?}: {said}");
        assert!(said.contains("standard output"), "{said}");
        assert!(!said.contains("--filter"), "these have no filter: {said}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let trace = deterministic(folder.path());
    for words in [
        &["lines", &trace][..],
        &["report", &trace, "--view", "all"],
        &["export", &trace, "--format", "jsonl"],
        &["dump", &trace],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        let mut child = clean(command.args(words))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 16]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert_eq!(text(&output.stderr), "", "{words:?}");
    }
}

#[test]
fn a_trace_is_read_from_a_pipe_too() {
    let folder = tempfile::tempdir().unwrap();
    let trace = deterministic(folder.path());
    let of_file = text(&sntrace(&["report", &trace]).stdout);
    let stdin = || Stdio::from(File::open(&trace).unwrap());
    let of_stdin = into(&["report", "-"], stdin(), Stdio::piped());
    assert_eq!(text(&of_stdin.stdout), of_file);
    let shell = format!(
        "cat '{trace}' | {} report /dev/stdin",
        env!("CARGO_BIN_EXE_sntrace")
    );
    let mut command = Command::new(tool("sh"));
    let of_pipe = clean(command.args(["-c", &shell])).output().unwrap();
    assert_eq!(text(&of_pipe.stdout), of_file);
}

#[test]
fn what_has_no_end_is_no_trace() {
    for device in ["/dev/zero", "/dev/urandom", "/dev/null"] {
        let output = sntrace(&["report", device]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{device}: {said}");
        assert!(said.contains("is no sntrace trace"), "{said}");
    }
}

#[test]
fn a_report_is_as_wide_as_its_reader_wants() {
    let folder = tempfile::tempdir().unwrap();
    let trace = deterministic(folder.path());
    for (columns, width) in [("60", 60), ("20", 40), ("1000", 240), ("none", 100)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        clean(command.args(["report", &trace, "--view", "all"])).env("COLUMNS", columns);
        let shown = text(&command.output().unwrap().stdout);
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{columns}: {widest:?}");
    }
    // A terminal's own width counts for more.
    let shell = format!(
        "stty rows 30 cols 50; {} report '{trace}'",
        env!("CARGO_BIN_EXE_sntrace")
    );
    let mut command = Command::new(tool("script"));
    clean(command.args(["-qec", &shell, "/dev/null"])).env("COLUMNS", "200");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains('\x1b'), "a terminal gets colours");
    for line in shown.lines() {
        let plain: String = line
            .split('\x1b')
            .map(|piece| piece.split_once('m').map_or(piece, |(_, rest)| rest))
            .collect();
        assert!(plain.trim_end().chars().count() <= 50, "{plain:?}");
    }
}

#[test]
fn a_program_without_events_is_reported_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("nothing.c").path();
    let trace = recorded(folder.path(), &[&program]);
    let trace = trace.to_str().unwrap();
    let output = sntrace(&["report", trace, "--view", "all"]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    assert!(
        shown.contains("certificate: 0 events, nothing missing"),
        "{shown}"
    );
    assert!(
        !shown.contains("Heap over time"),
        "there is nothing to draw: {shown}"
    );
    for format in sntrace::export::Format::ALL {
        let output = sntrace(&["export", trace, "--format", format.name()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_name_that_a_terminal_would_obey_reaches_it_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("it's \x1b[31mred\n");
    fs::copy(Build::c("deterministic.c").path(), &program).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    clean(command.arg("record").arg(&program)).current_dir(folder.path());
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The name is one that can be typed, and is the file's.
    let (_, typed) = said.split_once("sntrace report '").unwrap();
    let (typed, _) = typed.split_once('\'').unwrap();
    assert!(typed.starts_with("sntrace.it_s _[31mred_."), "{typed}");
    let trace = folder.path().join(typed);
    let report = sntrace(&["report", trace.to_str().unwrap()]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    assert!(!text(&report.stdout).contains('\x1b'));
}

#[test]
fn what_was_written_before_sntrace_was_killed_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.snt");
    let program = Build::c("deterministic.c").path();
    // It lives until its standard input is closed.
    let shell = format!("{} 400000; read line", program.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    command.args(["record", "-o"]).arg(&trace);
    let mut child = clean(command.args(["sh", "-c", &shell]))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let trace = trace.to_str().unwrap();
    let lines = || text(&sntrace(&["lines", trace]).stdout).lines().count();
    // A trace that is still being written reads as one that was cut.
    while lines() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it lives");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = sntrace(&["report", trace]);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("was cut"), "{said}");
    assert!(
        shown.contains("the trace was cut before its end"),
        "{shown}"
    );
    assert!(lines() > 0);
    assert_eq!(
        sntrace(&["report", trace, "--strict"]).status.code(),
        Some(1)
    );
}

#[test]
fn a_trace_does_not_go_where_the_program_s_own_output_goes() {
    let output = sntrace(&["record", "-o", "-", "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("standard output"));
}

#[test]
fn a_trace_of_many_processes_names_each() {
    let folder = tempfile::tempdir().unwrap();
    let shell = "i=0; while [ $i -lt 60 ]; do /bin/echo $i >/dev/null; i=$((i+1)); done";
    let (trace, output) = record(folder.path(), &[], &["sh", "-c", shell]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let words = [
        "report",
        trace.to_str().unwrap(),
        "--view",
        "processes",
        "--top",
        "1000",
    ];
    let shown = text(&sntrace(&words).stdout);
    for nth in 0..60 {
        let line = format!("/bin/echo {nth}");
        let named = shown.lines().filter(|shown| shown.ends_with(&line)).count();
        assert_eq!(named, 1, "{line}:\n{shown}");
    }
    assert!(
        shown.lines().any(|line| line.contains("status 0")),
        "{shown}"
    );
}
