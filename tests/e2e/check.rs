//! `sntrace check`: budgets, baselines, and what becomes of the program's own doings.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::gate::valid_verdict;
use crate::programs::{Build, tool};
use crate::record::recorded;
use crate::support::clean;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A project's folder, in which checks are run.
struct Project {
    folder: tempfile::TempDir,
    program: String,
}

impl Project {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            program: Build::c("gate.c").path().to_str().unwrap().to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `sntrace check OPTIONS gate ARGUMENTS`, not started yet.
    fn command(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        clean(command.arg("check").args(options))
            .arg(&self.program)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn check(&self, options: &[&str], arguments: &[&str]) -> Output {
        self.command(options, arguments).output().unwrap()
    }

    /// The same, which must end with this status. Returns what it said.
    #[track_caller]
    fn says(&self, options: &[&str], arguments: &[&str], status: i32) -> String {
        let output = self.check(options, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        said
    }

    /// The verdict as JSON.
    #[track_caller]
    fn verdict(&self, options: &[&str], arguments: &[&str], status: i32) -> Value {
        let options = [&["--format", "json", "-o", "verdict.json"], options].concat();
        self.says(&options, arguments, status);
        let document = serde_json::from_str(&self.read("verdict.json")).unwrap();
        valid_verdict(&document);
        document
    }
}

/// The rules that failed, with their sentences.
fn failed(verdict: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let rules = verdict["rules"].as_array().unwrap().iter();
    rules
        .filter(|rule| rule["passed"] == false)
        .map(|rule| (word(&rule["rule"]), word(&rule["sentence"])))
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

#[test]
fn a_budget_is_made_kept_and_broken() {
    let project = Project::new();
    let made = project.says(
        &["--budget", "b.toml", "--update-budget", "--margin", "0"],
        &["10"],
        0,
    );
    assert!(made.contains("made the budget 'b.toml'"), "{made}");
    let budget = project.read("b.toml");
    for line in [
        "allocations = 21",
        "leaked_bytes = 0",
        "temporary_allocations = 10",
    ] {
        assert!(budget.lines().any(|l| l == line), "no {line}: {budget}");
    }
    let held = project.says(&["--budget", "b.toml"], &["10"], 0);
    assert!(held.starts_with("passed: 6 rules"), "{held}");
    let broken = project.verdict(&["--budget", "b.toml"], &["11"], 1);
    assert_eq!(
        failed(&broken)[0],
        (
            "totals.allocations".to_owned(),
            "23 allocations, and the budget allows 21".to_owned()
        )
    );
    // The one to blame comes first, with its line.
    let site = &broken["sites"][0]["stack"][0];
    assert_eq!(site["function"], "parse_line");
    assert!(site["file"].as_str().unwrap().ends_with("gate.c"), "{site}");
    assert_eq!(broken["rules"][0]["written"]["line"], 7);
}

#[test]
fn functions_modules_zones_and_leaks_are_judged() {
    let project = Project::new();
    project.write(
        "b.toml",
        r#"
[totals]
leaked_bytes = 0

[functions]
"main" = { allocations = 20, allocations_per_call = 30 }
"parse_*" = { allocations_per_call = 2 }

[callers]
"parse_line" = { bytes = "1K" }

[modules]
"gate*" = { allocations = 21 }

[[no_alloc]]
under = "audio_callback"
reason = "runs in real time"

[[allowed_leak]]
under = "leak_some"
reason = "kept for the run"
allocations = 2
"#,
    );
    let budget = ["--budget", "b.toml"];
    let fine = project.verdict(&budget, &["8", "--leak", "2"], 0);
    let sentences: Vec<_> = fine["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["sentence"].as_str().unwrap())
        .collect();
    assert_eq!(
        sentences,
        [
            "0 leaked bytes, within 0",
            "19 allocations, within 20",
            "19 allocations in 1 call, within 30 a call",
            "16 allocations in at least 8 calls, within 2 a call",
            "348 allocated bytes, within 1,024",
            "19 allocations, within 21",
            "2 leaked blocks, within 2",
            "nothing allocates there: no stack has such a function",
        ]
    );
    let broken = project.verdict(&budget, &["9", "--callback", "--leak", "3"], 1);
    assert_eq!(
        failed(&broken),
        pairs(&[
            (
                "functions.\"main\".allocations",
                "main: 23 allocations, and the budget allows 20"
            ),
            (
                "modules.\"gate*\".allocations",
                "23 allocations, and the budget allows 21"
            ),
            (
                "allowed_leak.\"leak_some\".allocations",
                "3 leaked blocks, and the budget allows 2"
            ),
            (
                "no_alloc.\"audio_callback\"",
                "1 allocation below audio_callback, where nothing may allocate (runs in real time)"
            ),
        ])
        .into_iter()
        .map(|(rule, sentence)| match rule.starts_with("modules") {
            true => (rule, format!("{}: {sentence}", program_name(&project))),
            false => (rule, sentence),
        })
        .collect::<Vec<_>>()
    );
    // A leak that is gone needs no excuse.
    let gone = project.verdict(&budget, &["8"], 0);
    assert_eq!(
        gone["notes"][0],
        "'allowed_leak.\"leak_some\"' is not needed any more: nothing leaks there"
    );
}

fn program_name(project: &Project) -> String {
    let path = Path::new(&project.program);
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn calls_are_not_guessed() {
    let project = Project::new();
    project.write(
        "b.toml",
        "[functions]\n\"parse_line\" = { allocations_per_call = 1.5 }\n",
    );
    let said = project.says(&["--budget", "b.toml"], &["4"], 2);
    assert!(
        said.contains("b.toml:2:18: 'functions.\"parse_line\".allocations_per_call' can't be judged: 'parse_line' made 8 allocations in at least 4 calls"),
        "{said}"
    );
    // Of what a thread begins with, the calls are known.
    project.write(
        "b.toml",
        "[functions]\nmain = { allocations_per_call = 8.5 }\n",
    );
    let broken = project.verdict(&["--budget", "b.toml"], &["4"], 1);
    assert_eq!(
        failed(&broken)[0].1,
        "main: 9 allocations in 1 call, and the budget allows 8.5 a call"
    );
}

#[test]
fn a_budget_that_is_wrong_is_told_before_the_program_runs() {
    let project = Project::new();
    let touch = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        clean(command.args(["check", "--budget", "b.toml", "touch", name]))
            .current_dir(project.folder.path())
            .output()
            .unwrap()
    };
    for (budget, message) in [
        ("[totals]\nalocations = 3\n", "b.toml:2:1: "),
        ("[totals]\nbytes = \"3X\"\n", "b.toml:2:9: "),
        ("[totals\n", "b.toml:1:"),
        ("", "b.toml:1:1: "),
    ] {
        project.write("b.toml", budget);
        let output = touch("ran");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{budget}: {said}");
        assert!(said.contains(message), "{budget}: {said}");
        assert!(!project.path("ran").exists(), "the program ran: {said}");
    }
    fs::remove_file(project.path("b.toml")).unwrap();
    let missing = touch("ran");
    let said = text(&missing.stderr);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said.contains("--update-budget makes one"), "{said}");
    // What can only be told with a trace, is told after it, with its place.
    project.write("b.toml", "[functions]\n\"pars\" = { bytes = 1 }\n");
    let said = project.says(&["--budget", "b.toml"], &["3"], 2);
    assert!(
        said.contains("b.toml:2:12: 'functions.\"pars\".bytes' can't be judged: no function of the trace has such a name"),
        "{said}"
    );
}

#[test]
fn an_update_changes_numbers_and_nothing_else() {
    let project = Project::new();
    let budget = "# Ours.\n[totals]   # all\nallocations = 1_000 # too many\nbytes = \"1K\"\n\n[functions]\n'parse_*' = { allocations_per_call = 9 }\nnothing_like_it = { bytes = 5 }\n";
    project.write("b.toml", budget);
    let said = project.says(
        &["--budget", "b.toml", "--update-budget", "--margin", "10"],
        &["100"],
        0,
    );
    assert!(
        said.contains("totals.allocations: 1000 is 222 now"),
        "{said}"
    );
    assert!(
        said.contains("warning: functions.\"nothing_like_it\".bytes: left as it is"),
        "{said}"
    );
    let updated = project.read("b.toml");
    // 4000 for the table, 24 for each line's scratch, and 16 + n % 8 for line n: 8342 bytes, and a tenth.
    let expected = budget
        .replace("1_000", "222")
        .replace("\"1K\"", "\"8.97K\"")
        .replace("call = 9", "call = 3");
    assert_eq!(updated, expected);
}

#[test]
fn a_baseline_holds_what_it_is_of() {
    let project = Project::new();
    let git = |words: &[&str]| {
        let output = Command::new(tool("git"))
            .args(["-c", "user.name=n", "-c", "user.email=e@example.org"])
            .args(words)
            .current_dir(project.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    git(&["init", "-q"]);
    project.write("file", "1");
    git(&["add", "file"]);
    git(&["commit", "-q", "-m", "m"]);
    let revision = git(&["rev-parse", "HEAD"]);
    let said = project.says(&["--save-baseline", "main"], &["5"], 0);
    assert!(
        said.contains("saved the baseline 'main' in '.sntrace/main.json'"),
        "{said}"
    );
    let origin = || -> Value {
        let document: Value = serde_json::from_str(&project.read(".sntrace/main.json")).unwrap();
        document["origin"].clone()
    };
    assert_eq!(
        origin()["command"],
        serde_json::json!([project.program, "5"])
    );
    assert_eq!(origin()["revision"], *revision);
    assert!(origin()["started"].as_str().unwrap().ends_with('Z'));

    let rules = ["--baseline", "main", "--fail-on", "allocations>0"];
    project.says(&rules, &["5"], 0);
    let broken = project.verdict(&rules, &["6"], 1);
    assert_eq!(broken["base"]["revision"], *revision);
    assert_eq!(
        failed(&broken)[0].1,
        "allocations grew from 11 to 13, by 2 (+18.2%), and no growth is allowed"
    );
    // What failed is no new baseline; what held is. A changed file shows.
    let kept = [&rules[..], &["--save-baseline", "main"]].concat();
    let said = project.says(&kept, &["6"], 1);
    assert!(said.contains("was not saved, as a rule failed"), "{said}");
    assert_eq!(origin()["command"][1], "5");
    project.write("file", "2");
    project.says(&kept, &["4"], 0);
    assert_eq!(origin()["command"][1], "4");
    assert_eq!(origin()["revision"], format!("{revision}-dirty"));

    // A recorded trace is compared with it, too.
    let trace = recorded(project.folder.path(), &[&project.program, "9"]);
    let diff = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        clean(command.arg("diff").args(options))
            .arg(&trace)
            .current_dir(project.folder.path())
            .output()
            .unwrap()
    };
    let output = diff(&["--baseline", "main", "--fail-on", "allocations>9"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    for (name, message) in [
        ("other", "there is no baseline 'other'"),
        ("../x", "is no name of a baseline"),
    ] {
        let output = diff(&["--baseline", name]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(message), "{said}");
    }
}

/// A program that allocates more each time it is run.
const COUNTING: [&str; 3] = [
    "sh",
    "-c",
    "n=$(cat count); echo $((n + 1)) > count; exec \"$0\" $n --leak 1",
];

fn counting(project: &Project, options: &[&str], from: u32) -> Output {
    project.write("count", &from.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    clean(command.arg("check").args(options))
        .args(COUNTING)
        .arg(&project.program)
        .current_dir(project.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn what_differs_from_run_to_run_cannot_fail_the_gate() {
    let project = Project::new();
    let base = counting(&project, &["--runs", "3", "--save-baseline", "main"], 5);
    assert_eq!(base.status.code(), Some(0), "{}", text(&base.stderr));
    assert_eq!(project.read("count").trim(), "8");
    let gate = |options: &[&str], from: u32| {
        let options = [
            &[
                "--baseline",
                "main",
                "--format",
                "json",
                "-o",
                "verdict.json",
            ],
            options,
        ]
        .concat();
        let output = counting(&project, &options, from);
        let verdict: Value = serde_json::from_str(&project.read("verdict.json")).unwrap();
        valid_verdict(&verdict);
        (output.status.code().unwrap(), verdict)
    };
    // 5 to 7 lines before, 8 to 9 now: two allocations each, and one line more for certain.
    let site = ["--runs", "2", "--fail-on", "site:parse_line:allocations>0"];
    let (status, verdict) = gate(&site, 8);
    assert_eq!(status, 0, "{verdict:#}");
    let sentence = verdict["rules"][0]["sentence"].as_str().unwrap();
    assert!(
        sentence.ends_with("1 site was not judged, as runs of the same build differ there"),
        "{sentence}"
    );
    assert_eq!(verdict["base"]["runs"], 3);
    let (status, _) = gate(&[&site[..], &["--fail-unstable"]].concat(), 8);
    assert_eq!(status, 1);
    let (status, verdict) = gate(
        &["--runs", "2", "--fail-on", "fn:parse_line:allocations>1"],
        8,
    );
    assert_eq!(status, 1);
    assert_eq!(
        failed(&verdict)[0].1,
        "allocations of parse_line grew from 10..14 to 16..18, by at least 2 (+14.3%), and 1 is allowed"
    );
    // Within the span there is no growth, and what doesn't vary is judged as ever.
    let (status, verdict) = gate(
        &[
            "--fail-on",
            "allocations>0",
            "--fail-on",
            "site:leak_some:leaked_bytes>0",
        ],
        7,
    );
    assert_eq!(status, 0, "{verdict:#}");
}

#[test]
fn a_program_that_fails_is_not_judged() {
    let project = Project::new();
    project.write("b.toml", "[totals]\nallocations = 3\n");
    let said = project.says(&["--budget", "b.toml"], &["9", "--status", "7"], 7);
    assert!(said.contains("it ended with status 7"), "{said}");
    let said = project.says(
        &["--budget", "b.toml", "--ignore-status"],
        &["9", "--status", "7"],
        1,
    );
    assert!(said.contains("failed: 1 of 1 rule"), "{said}");
    let mut missing = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    let missing = clean(missing.args(["check", "--save-baseline", "x", "/no/such/program"]))
        .current_dir(project.folder.path())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert!(!project.path(".sntrace").exists());
}

#[test]
fn what_cannot_be_written_is_told_before_the_program_runs() {
    let project = Project::new();
    project.write("b.toml", "[totals]\nallocations = 3\n");
    project.write("file", "");
    for options in [
        &["--budget", "b.toml", "-o", "/no/such/folder/x"][..],
        &["--save-baseline", "x", "--baseline-dir", "file/below"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        let output = clean(command.arg("check").args(options))
            .args(["touch", "ran"])
            .current_dir(project.folder.path())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(!project.path("ran").exists(), "the program ran: {said}");
    }
}

#[test]
fn every_run_reads_the_same_file() {
    let project = Project::new();
    project.write("b.toml", "[totals]\nallocations = 1000\n");
    project.write("input", "some text\n");
    let options = ["--budget", "b.toml", "--runs", "3"];
    let output = project
        .command(&options, &["1", "--echo"])
        .stdin(File::open(project.path("input")).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "some text\n".repeat(3));
    // A pipe is read once: by several runs not at all, which is said.
    let mut child = project
        .command(&options, &["1", "--echo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let keyboard = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains("standard input is no file"), "{said}");
}

#[test]
fn a_trace_is_checked_on_stdout() {
    let project = Project::new();
    project.write(
        "b.toml",
        "[totals]\nallocations = 3\n[[no_alloc]]\nunder = 'leak_*'\n",
    );
    let trace = recorded(project.folder.path(), &[&project.program, "2"]);
    let trace = trace.to_str().unwrap();
    // Options may stand before the file or after it.
    for words in [
        ["--budget", "b.toml", "--top", "3", trace],
        ["--budget", "b.toml", trace, "--top", "3"],
        [trace, "--top", "3", "--budget", "b.toml"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        let output = clean(command.arg("check").args(words))
            .current_dir(project.folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        let shown = text(&output.stdout);
        assert!(shown.starts_with("failed: 1 of 2 rules"), "{shown}");
    }
}

#[test]
fn a_signal_to_the_check_reaches_the_program() {
    let project = Project::new();
    let program = Build::c("waits.c").path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    clean(command.args(["check", "--save-baseline", "x"]))
        .arg(&program)
        .current_dir(project.folder.path())
        .env("TMPDIR", project.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    screen.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(said.contains("it ended with status 143"), "{said}");
    // Nothing is left behind.
    let left: Vec<_> = fs::read_dir(project.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
