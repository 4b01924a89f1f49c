//! `sntrace diff`: what is found on real programs, and what is not where nothing changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::programs::{Build, sources, tool};
use crate::record::{record, sntrace};
use crate::support::clean;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records into a file of this name in the folder.
#[track_caller]
fn trace(folder: &Path, name: &str, program: &[&str]) -> String {
    let (file, output) = record(folder, &[], program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = folder.join(name);
    fs::rename(file, &path).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn diff(base: &str, head: &str, options: &[&str]) -> Output {
    let mut words = vec!["diff", base, head];
    words.extend(options);
    sntrace(&words)
}

/// The verdict as JSON; the exit status must be this one.
#[track_caller]
fn verdict(base: &str, head: &str, options: &[&str], status: i32) -> Value {
    let output = diff(base, head, &[&["--format", "json"], options].concat());
    assert_eq!(
        output.status.code(),
        Some(status),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let document = serde_json::from_slice(&output.stdout).unwrap();
    valid_verdict(&document);
    document
}

/// Fails unless a document is valid by docs/verdict.schema.json.
#[track_caller]
pub fn valid_verdict(document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verdict.schema.json");
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Callers of changed sites with their allocations on both sides.
fn changes(verdict: &Value) -> Vec<(String, u64, u64)> {
    let sites = verdict["sites"].as_array().unwrap();
    let sites = sites.iter().map(|site| {
        let count = |side: &str| site[side]["allocations"]["median"].as_u64().unwrap_or(0);
        let caller = site["stack"][0]["function"].as_str().unwrap();
        (caller.to_owned(), count("base"), count("head"))
    });
    sites.filter(|(_, base, head)| base != head).collect()
}

/// Builds a project from tests/fixtures/regressions with one version of its crate.
fn built(project: &str, side: &str) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/regressions")
        .join(project)
        .join(side);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("regressions")
        .join(project)
        .join(side);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(fixture.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    target.join("release/demo")
}

fn both_versions(folder: &Path, project: &str) -> [String; 2] {
    ["base", "head"].map(|side| {
        let program = built(project, side);
        trace(folder, &format!("{side}.snt"), &[program.to_str().unwrap()])
    })
}

/// bytes 1.2.0: every call of `reserve` doubled the buffer.
#[test]
fn a_released_regression_is_found_at_its_site() {
    let folder = tempfile::tempdir().unwrap();
    let [base, head] = both_versions(folder.path(), "bytes");
    let rules = [
        "--fail-on",
        "allocations>5%",
        "--fail-on",
        "fn:bytes::*:bytes>1K",
        "--fail-on",
        "leaked_bytes>0",
    ];
    let found = verdict(&base, &head, &rules, 1);
    let guilty = "bytes::bytes_mut::BytesMut::reserve_inner";
    assert_eq!(changes(&found), [(guilty.to_owned(), 0, 9)]);
    let failed: Vec<_> = found["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| !rule["passed"].as_bool().unwrap())
        .collect();
    assert_eq!(failed, [true, true, false]);
    // A person sees the site first, with its line and who called it.
    let shown = text(&diff(&base, &head, &rules).stdout);
    let before = &shown[..shown.find("held").unwrap()];
    for part in [
        "allocations grew from 12 to 21, by 9 (+75.0%), and 5% is allowed",
        guilty,
        "bytes_mut.rs:705",
        "demo::respond  main.rs:8",
    ] {
        assert!(before.contains(part), "no {part} before what held: {shown}");
    }
    // The other way round it is an improvement.
    verdict(&head, &base, &rules, 0);
}

/// textwrap 0.15: one allocation more a call, while traits became enums.
#[test]
fn a_regression_is_told_from_renames() {
    let folder = tempfile::tempdir().unwrap();
    let [base, head] = both_versions(folder.path(), "textwrap");
    let found = verdict(&base, &head, &["--fail-on", "site:*:allocations>0"], 1);
    let guilty = "textwrap::wrap_algorithms::WrapAlgorithm::wrap";
    assert_eq!(changes(&found), [(guilty.to_owned(), 0, 20)]);
    let notes = found["notes"].to_string();
    assert!(
        notes.contains("<textwrap::wrap_algorithms::FirstFit as textwrap::wrap_algorithms::WrapAlgorithm>::wrap' is"),
        "{notes}"
    );
    // Exactly by name, what was renamed has gone and come.
    let exact = verdict(&base, &head, &["--match", "exact"], 0);
    assert_eq!(changes(&exact).len(), 5);
}

/// A copy of a program's source in another folder, with its lines moved.
fn moved(folder: &Path, source: &str) -> PathBuf {
    let deeper = folder.join("another folder/deeper");
    fs::create_dir_all(&deeper).unwrap();
    let code = fs::read_to_string(sources().join(source)).unwrap();
    let copy = deeper.join(source);
    fs::write(&copy, format!("// Moved.\n\n\n{code}")).unwrap();
    copy
}

fn compile(compiler: &str, flags: &[&str], source: &Path, program: &Path) {
    let output = Command::new(tool(compiler))
        .args(flags)
        .arg("-o")
        .args([program, source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Rules that any change at all breaks.
const NOTHING: [&str; 8] = [
    "--fail-on",
    "site:*:allocations>0",
    "--fail-on",
    "site:*:bytes>0",
    "--fail-on",
    "site:*:leaked_bytes>0",
    "--fail-on",
    "peak_bytes>0",
];

#[test]
fn a_program_built_elsewhere_with_other_debug_information_is_the_same() {
    for (compiler, source, optimizations) in [
        ("g++", "library.cpp", ["-O0", "-O2"]),
        ("rustc", "boxes.rs", ["-Copt-level=0", "-Copt-level=3"]),
        ("rustc", "recursion.rs", ["-Copt-level=0", "-Copt-level=3"]),
    ] {
        for optimization in optimizations {
            let folder = tempfile::tempdir().unwrap();
            let copy = moved(folder.path(), source);
            let own = folder.path().join("program");
            let other = copy.with_file_name("program");
            compile(
                compiler,
                &["-g", optimization],
                &sources().join(source),
                &own,
            );
            compile(compiler, &[optimization], &copy, &other);
            let base = trace(folder.path(), "base.snt", &[own.to_str().unwrap()]);
            let head = trace(folder.path(), "head.snt", &[other.to_str().unwrap()]);
            for (base, head) in [(&base, &head), (&head, &base)] {
                let found = verdict(base, head, &NOTHING, 0);
                assert_eq!(
                    found["sites"],
                    serde_json::json!([]),
                    "{source} {optimization}"
                );
            }
        }
    }
}

#[test]
fn ten_runs_on_the_same_input_raise_no_alarm() {
    let boxes = Build::rust("boxes.rs").path();
    let boxes = boxes.to_str().unwrap();
    let python = "import json, re, collections\n\
        d = {str(i): [i] * 3 for i in range(200)}\n\
        print(len(json.dumps(d)), len(re.findall('1.', json.dumps(d))))";
    let sql = "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n \
        where i < 300) insert into t select i, 'text ' || i from n; \
        select count(*), sum(length(b)) from t where b like '%7%';";
    for program in [
        &["python3", "-c", python][..],
        &["sqlite3", ":memory:", sql],
        &[boxes],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let base = trace(folder.path(), "base.snt", program);
        for run in 0..10 {
            let head = trace(folder.path(), "head.snt", program);
            let found = verdict(&base, &head, &NOTHING, 0);
            assert_eq!(
                found["sites"],
                serde_json::json!([]),
                "{} in run {run}",
                program[0]
            );
        }
    }
}

#[test]
fn every_format_is_valid_on_a_real_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let [base, head] = both_versions(folder.path(), "textwrap");
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/regressions/textwrap/head");
    let written = |format: &str| {
        let output = diff(
            &base,
            &head,
            &[
                "--fail-on",
                "allocations>5%",
                "--fail-on",
                "under:demo::main:bytes>0",
                "--format",
                format,
                "--source-root",
                root.to_str().unwrap(),
            ],
        );
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let schema = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/schemas")
            .join(name)
    };
    let valid = |document: &str, name: &str| {
        let schema: Value = serde_json::from_slice(&fs::read(schema(name)).unwrap()).unwrap();
        let document: Value = serde_json::from_str(document).unwrap();
        assert!(
            jsonschema::is_valid(&schema, &document),
            "not valid by {name}: {document:#}"
        );
        document
    };
    let sarif = valid(&written("sarif"), "sarif-schema-2.1.0.json");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 2);
    valid(&written("gitlab"), "gitlab-code-quality.json");
    let file = folder.path().join("junit.xml");
    fs::write(&file, written("junit")).unwrap();
    let lint = clean(&mut Command::new(tool("xmllint")))
        .args(["--noout", "--nonet", "--schema"])
        .args([&schema("junit-10.xsd"), &file])
        .output()
        .unwrap();
    assert!(lint.status.success(), "{}", text(&lint.stderr));
    let annotations = written("github");
    let errors = annotations
        .lines()
        .filter(|line| line.starts_with("::error "));
    assert_eq!(errors.count(), 2, "{annotations}");
    let comment = written("markdown");
    assert!(
        comment.contains("WrapAlgorithm::wrap") && comment.contains("<details>"),
        "{comment}"
    );
}

#[test]
fn what_cannot_be_judged_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("gate.c").path();
    let program = program.to_str().unwrap();
    let base = trace(folder.path(), "base.snt", &[program, "5"]);
    let empty = trace(
        folder.path(),
        "empty.snt",
        &[Build::c("nothing.c").path().to_str().unwrap()],
    );
    let bytes = fs::read(&base).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let mut flipped = bytes.clone();
    let middle = bytes.len() / 2;
    flipped[middle] ^= 0x40;
    let damaged = write("damaged.snt", &flipped);
    let foreign = write("foreign.snt", b"\x7fELF and so on");
    let gone = folder.path().join("gone.snt");
    let rule = ["--fail-on", "allocations>0"];
    for (head, options, message) in [
        (&*damaged, &rule[..], "damaged"),
        (&foreign, &rule, "it is an ELF file"),
        (gone.to_str().unwrap(), &rule, "no such file"),
        (&empty, &rule, "it holds no events"),
        (
            &base,
            &["--fail-on", "fn:parse_lin:bytes>0"],
            "is about nothing: no function that allocates in either trace is called 'parse_lin'",
        ),
        (&base, &["--baseline", "main"], "both BASE and the baseline"),
    ] {
        let output = diff(&base, head, options);
        let said = text(&output.stderr).to_lowercase();
        assert_eq!(output.status.code(), Some(2), "{head}: {said}");
        assert!(said.contains(&message.to_lowercase()), "{message}: {said}");
        assert_eq!(text(&output.stdout), "");
    }
    // Without a rule an empty trace can be looked at.
    let shown = diff(&base, &empty, &[]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("holds no events"));
}

#[test]
fn a_gate_on_a_trace_that_was_cut_fails_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("gate.c").path();
    let base = trace(
        folder.path(),
        "base.snt",
        &[program.to_str().unwrap(), "200000"],
    );
    let bytes = fs::read(&base).unwrap();
    let cut = folder.path().join("cut.snt");
    // Behind the events, so that some whole chunks of them are left.
    fs::write(&cut, &bytes[..bytes.len() - bytes.len() / 4]).unwrap();
    let cut = cut.to_str().unwrap();
    let rule = ["--fail-on", "allocations>0"];
    let failed = verdict(&base, cut, &rule, 1);
    let sentence = failed["rules"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("was cut before its end"), "{sentence}");
    verdict(
        &base,
        cut,
        &["--fail-on", "allocations>0", "--allow-drops"],
        0,
    );
}

#[test]
fn a_gate_on_a_trace_with_dropped_events_fails_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("gate.c").path();
    let base = trace(folder.path(), "base.snt", &[program.to_str().unwrap(), "5"]);
    let json = folder.path().join("dropped.json");
    let json = json.to_str().unwrap();
    let exported = sntrace(&["export", &base, "--format", "json", "-o", json]);
    assert_eq!(exported.status.code(), Some(0));
    let whole = fs::read_to_string(json).unwrap();
    fs::write(
        json,
        whole.replace("\"dropped_events\":0", "\"dropped_events\":12"),
    )
    .unwrap();
    let failed = verdict(&base, json, &["--fail-on", "allocations>0"], 1);
    let sentence = failed["rules"][0]["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("lacks 12 events, which were dropped"),
        "{sentence}"
    );
    verdict(
        &base,
        json,
        &["--fail-on", "allocations>0", "--allow-drops"],
        0,
    );
    // Without rules there is a note of it, and no failure.
    let shown = verdict(&base, json, &[], 0);
    assert!(
        shown["notes"].to_string().contains("lacks 12 events"),
        "{}",
        shown["notes"]
    );
}

#[test]
fn two_programs_are_compared_with_a_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = trace(
        folder.path(),
        "one.snt",
        &["sqlite3", ":memory:", "select 1"],
    );
    let other = trace(folder.path(), "other.snt", &["python3", "-c", "print(1)"]);
    let found = verdict(&one, &other, &[], 0);
    let notes = found["notes"].to_string();
    assert!(
        notes.contains("two programs are compared: 'sqlite3' and 'python3'"),
        "{notes}"
    );
}

/// A trace and its JSON are the same to a comparison, stacks and all; lines' JSON has callers.
#[test]
fn a_json_trace_is_compared_like_the_trace_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let base = trace(
        folder.path(),
        "base.snt",
        &[
            "sh",
            "-c",
            "ls / >/dev/null; (echo a | sort) >/dev/null; ls /etc >/dev/null",
        ],
    );
    let json = folder.path().join("base.json");
    let json = json.to_str().unwrap();
    let exported = sntrace(&["export", &base, "--format", "json", "-o", json]);
    assert_eq!(
        exported.status.code(),
        Some(0),
        "{}",
        text(&exported.stderr)
    );
    for (one, other) in [(&*base, json), (json, &base), (json, json)] {
        let found = verdict(one, other, &NOTHING, 0);
        assert_eq!(found["sites"], serde_json::json!([]));
        assert_eq!(found["notes"], serde_json::json!([]));
    }
    // The other commands read it, too.
    let report = |file: &str| {
        let output = sntrace(&["report", file, "--view", "all", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["views"].take()
    };
    let (of_trace, of_json) = (report(&base), report(json));
    for view in ["peak", "leaks", "temporary", "sizes", "threads"] {
        assert_eq!(of_trace[view], of_json[view], "{view}");
    }
    let program = Build::c("gate.c").path();
    let live = folder.path().join("live.json");
    let output = sntrace(&[
        "-o",
        "/dev/null",
        "--json",
        live.to_str().unwrap(),
        program.to_str().unwrap(),
        "7",
        "--leak",
        "2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let whole = trace(
        folder.path(),
        "whole.snt",
        &[program.to_str().unwrap(), "8", "--leak", "2"],
    );
    let found = verdict(
        live.to_str().unwrap(),
        &whole,
        &["--fail-on", "fn:parse_line:allocations>1"],
        1,
    );
    assert_eq!(changes(&found), [("parse_line".to_owned(), 14, 16)]);
    let notes = found["notes"].to_string();
    assert!(notes.contains("compared by their callers alone"), "{notes}");
}
