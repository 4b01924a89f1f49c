//! Full stacks: each that was made from the one before it is what a walk of its own finds, and
//! lines are the same as without them.
//!
//! A second test, `tests/unwound`, has another unwinder as its witness.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::programs::{Build, sources, tool};
use crate::support::{Run, Sntrace, Transport, number};

/// A program whose stacks change in every hard way.
fn stacks(optimisation: &str) -> PathBuf {
    Build::cpp("stacks.cpp")
        .flags(&["-std=c++20", "-pthread", optimisation])
        .path()
}

/// gcc's own compiler for C++, with a source that needs no headers.
fn compiler() -> Vec<OsString> {
    let output = Command::new(tool("g++"))
        .arg("-print-prog-name=cc1plus")
        .output()
        .unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    let source = sources().join("templates.cpp");
    let mut command: Vec<OsString> = [path.trim(), "-quiet", "-O2", "-o", "/dev/null"]
        .map(OsString::from)
        .into();
    command.extend(["-imultiarch".into(), multiarch(), source.into()]);
    command
}

fn multiarch() -> OsString {
    let output = Command::new(tool("g++"))
        .arg("-print-multiarch")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn python() -> Vec<OsString> {
    let program = "import json, re; print(len(json.dumps(list(range(5000)))))";
    ["python3", "-S", "-c", program].map(OsString::from).into()
}

fn sqlite() -> Vec<OsString> {
    let program = "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 \
                   from c where x < 3000) insert into t select x, hex(x) from c; \
                   select count(*) from t where b like '%A%';";
    ["sqlite3", ":memory:", program].map(OsString::from).into()
}

/// Every stack of the run was compared, and none differed.
#[track_caller]
fn verified(command: &[OsString]) -> Run {
    let run = Sntrace::default_transport()
        .options(&["--stacks", "full"])
        .env("SNTRACE_VERIFY_STACKS", "1")
        .run(command)
        .succeeds();
    let text = run.stderr();
    let note = text
        .lines()
        .find_map(|line| line.strip_prefix("sntrace: stacks verified: "))
        .unwrap_or_else(|| panic!("no note: {text}"));
    let (count, differences) = note.split_once(", differences: ").unwrap();
    assert!(count.parse::<u64>().unwrap() > 10, "{note}");
    assert_eq!(differences, "0", "{text}");
    run
}

#[test]
fn stacks_of_hard_programs_are_as_walked() {
    for optimisation in ["-O0", "-O2"] {
        let run = verified(&[stacks(optimisation).into()]);
        assert_eq!(number(&run.stdout(), "ran"), 9);
    }
}

#[test]
fn stacks_of_real_programs_are_as_walked() {
    verified(&python());
    verified(&sqlite());
    verified(&compiler());
    verified(&[Build::rust("boxes.rs").path().into()]);
}

#[test]
fn stacks_are_as_walked_when_libraries_take_each_others_place() {
    let program = Build::c("reload.c").flags(&["-ldl"]).path();
    let plugins = ["plugin_a", "plugin_b"].map(|name| {
        Build::c("plugin.c")
            .flags(&[&format!("-DNAME={name}")])
            .library(&format!("lib{name}.so"))
            .path()
    });
    let [a, b] = plugins;
    let run = verified(&[program.into(), a.into(), b.into()]);
    assert!(number(&run.stdout(), "shared_addresses") > 0);
}

/// What was called by whom, in order.
fn calls(transport: Transport, stacks: &str, command: &[OsString]) -> Vec<(String, String)> {
    let run = Sntrace::new(transport)
        .options(&["--stacks", stacks])
        .env("PYTHONHASHSEED", "0")
        .through(&["setarch", "-R"])
        .run(command)
        .succeeds();
    let text = run.lines_text();
    run.parse(&text)
        .iter()
        .map(|line| {
            let name = line.call.split('(').next().unwrap_or_default();
            (name.to_owned(), line.caller.to_owned())
        })
        .collect()
}

#[test]
fn lines_are_the_same_with_full_stacks() {
    let exceptions = vec![stacks("-O0").into(), "exceptions".into()];
    // Up to where it orders things by their addresses, which are never quite the same.
    let mut parser = compiler();
    parser.insert(1, "-fsyntax-only".into());
    for command in [python(), sqlite(), parser, exceptions] {
        let expected = calls(Transport::Shared, "caller", &command);
        for transport in [Transport::Shared, Transport::Pipe] {
            // The pipe costs system calls an event.
            if transport == Transport::Pipe && expected.len() > 50_000 {
                continue;
            }
            let full = calls(transport, "full", &command);
            let first = expected.iter().zip(&full).position(|(a, b)| a != b);
            assert_eq!(
                (first, full.len()),
                (None, expected.len()),
                "{command:?}, {transport:?}: {:?}",
                first.map(|at| (&expected[at], &full[at]))
            );
        }
    }
}
