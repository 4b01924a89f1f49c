//! What users copy: the recipes of `tests/recipes` and the workflows of `docs/guide`.
//!
//! Each is used on a copy in a temporary folder as its users would, with `sntrace` in the PATH: it passes as it
//! is, and fails when the code begins to allocate more.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{installed, tool};
use crate::support::clean;

/// A file of the repository.
pub fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
        .canonicalize()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A project of a user's.
pub struct Project {
    pub temporary: TempDir,
}

impl Project {
    pub fn empty() -> Self {
        let temporary = TempDir::new().unwrap();
        // Names with blanks are the user's right.
        fs::create_dir(temporary.path().join("a project")).unwrap();
        Self { temporary }
    }

    fn recipe(name: &str) -> Self {
        let project = Self::empty();
        copy(&ours("tests/recipes").join(name), &project.folder());
        project
    }

    pub fn folder(&self) -> PathBuf {
        self.temporary.path().join("a project")
    }

    /// A path beside the project.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.folder().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Changes the code.
    #[track_caller]
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "no '{from}' in {name}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// A command in the project's folder, with sntrace and Cargo in the PATH.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        clean(&mut command)
            .env("PATH", path())
            .env("TMPDIR", self.temporary.path())
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, words: &[&str]) -> Done {
        Done::of(self.command(&tool(program)).args(words))
    }

    pub fn git(&self, words: &[&str]) -> String {
        let mut command = self.command(&tool("git"));
        command.args([
            "-c",
            "user.name=A User",
            "-c",
            "user.email=user@example.org",
        ]);
        Done::of(command.args(words)).exits(0).stdout
    }
}

/// sntrace first, then the system's programs, then what Cargo is made of.
fn path() -> OsString {
    let folder = |program: &str| Path::new(program).parent().unwrap().to_owned();
    let mut folders = vec![folder(env!("CARGO_BIN_EXE_sntrace"))];
    folders.extend(["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Ok(cargo) = std::env::var("CARGO") {
        folders.push(folder(&cargo));
    }
    std::env::join_paths(folders).unwrap()
}

fn copy(from: &Path, to: &Path) {
    // What trying a recipe by hand has left is no part of it.
    let skipped = ["target", "build", "__pycache__", ".pytest_cache", "words"];
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if skipped.iter().any(|name| *name == entry.file_name()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a command did.
pub struct Done {
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(command: &mut Command) -> Self {
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "stdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// Either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert!(
            stdout.contains(text) || stderr.contains(text),
            "nobody said '{text}'; stdout: {stdout}\nstderr: {stderr}"
        );
        self
    }
}

#[test]
fn make_check_fails_where_a_word_costs_more() {
    let project = Project::recipe("make");
    project.run("make", &["check"]).exits(0);
    project.replace(
        "words.c",
        "    struct word **at = &words;\n",
        "    struct word **at = &words;\n    char *copy = strdup(text);\n    text = copy;\n",
    );
    project.run("make", &["check-words"]).exits(0);
    project
        .run("make", &["check"])
        .exits(2)
        .says("failed  callers.\"add_word\"")
        .says("add_word  words.c:");
}

#[test]
fn make_update_budget_keeps_what_still_holds_and_takes_what_changed() {
    let project = Project::recipe("make");
    let before = project.read("sntrace.toml");
    project.run("make", &["update-budget"]).exits(0);
    assert_eq!(project.read("sntrace.toml"), before);
    project.write("words.txt", "a b c d e f g a b a a a");
    project.run("make", &["check"]).exits(2);
    project.run("make", &["update-budget"]).exits(0);
    assert!(
        project
            .read("sntrace.toml")
            .contains("add_word = { allocations = 7")
    );
    project.run("make", &["check"]).exits(0);
}

#[test]
fn ctest_fails_where_the_sound_card_s_thread_allocates() {
    let project = Project::recipe("ctest");
    let cmake = installed("/usr/bin/cmake", "cmake");
    let build = || {
        let mut command = project.command(&cmake);
        Done::of(command.args(["-B", "build", "."])).exits(0);
        let mut command = project.command(&cmake);
        Done::of(command.args(["--build", "build"])).exits(0);
    };
    let test = || project.run("ctest", &["--test-dir", "build", "--output-on-failure"]);
    build();
    test().exits(0).says("queue.allocations");
    project.replace(
        "queue.c",
        "    if (queue->length == queue->capacity)\n        return 0;\n",
        "    if (queue->length == queue->capacity)\n        return 0;\n    \
             queue->samples = realloc(queue->samples, (queue->capacity + 1) * sizeof(float));\n",
    );
    build();
    test()
        .exits(8)
        .says("called by the sound card's thread")
        .says("The following tests FAILED")
        .says("2 - queue.allocations");
}

#[test]
fn cargo_test_fails_where_a_known_word_is_copied() {
    let project = Project::recipe("cargo");
    let cargo = PathBuf::from(std::env::var_os("CARGO").expect("tests are run by Cargo"));
    let test = || {
        let mut command = project.command(&cargo);
        command
            .env("CARGO_HOME", project.beside("cargo-home"))
            .args([
                "--config",
                "allocations.toml",
                "test",
                "--offline",
                "--locked",
            ])
            .args(["--test", "allocations", "--", "--test-threads=1"]);
        Done::of(&mut command)
    };
    test().exits(0).says("passed: 1 rule");
    project.replace(
        "src/lib.rs",
        "match self.counts.get_mut(word)",
        "match self.counts.get_mut(&word.to_owned())",
    );
    test()
        .exits(1)
        .says("test result: ok")
        .says("functions.\"tally::Tally::read\"");
}

#[test]
fn pytest_fails_where_an_invoice_costs_more() {
    let project = Project::recipe("pytest");
    installed("/usr/bin/pytest-3", "python3-pytest");
    let test = || project.run("python3", &["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    test().exits(0).says("2 passed");
    project.replace(
        "invoices.py",
        "    for line in lines:\n",
        "    for line in lines:\n        totals = {name: total + 0 for name, total in totals.items()}\n",
    );
    test().exits(1).says("2 failed").says("totals.allocations");
}

/// Every line of code that the guide shows of a recipe stands in one of its files.
#[test]
fn the_guide_shows_what_the_recipes_do() {
    let guide = fs::read_to_string(ours("docs/guide/ci.md")).unwrap();
    for (title, recipe) in [
        ("make check", "make"),
        ("ctest", "ctest"),
        ("cargo test", "cargo"),
        ("pytest", "pytest"),
    ] {
        let (_, section) = guide.split_once(&format!("\n### {title}\n")).unwrap();
        let section = section.split("\n#").next().unwrap();
        let entries = fs::read_dir(ours("tests/recipes").join(recipe)).unwrap();
        let files: Vec<_> = entries
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
            .collect();
        let mut shown = section
            .lines()
            .filter(|line| line.starts_with("    "))
            .peekable();
        assert!(shown.peek().is_some(), "{title}: no code");
        for line in shown {
            let code = line.trim_start();
            let stands = |file: &String| file.lines().any(|line| line.trim_start() == code);
            assert!(files.iter().any(stands), "{title}: {line}");
        }
    }
}

/// A document in YAML. By Python's reader, as a Rust one would be a dependency for two small files.
fn yaml(path: &str) -> Value {
    installed("/usr/lib/python3/dist-packages/yaml", "python3-yaml");
    // `on` is a truth value for it, which can't be a key in JSON.
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let mut command = Command::new(tool("python3"));
    clean(&mut command).args(["-c", script]).arg(ours(path));
    let done = Done::of(&mut command).exits(0);
    serde_json::from_str(&done.stdout).unwrap()
}

/// The recipe of make with a baseline, as a repository that a workflow checks out.
fn with_a_baseline() -> Project {
    let project = Project::recipe("make");
    project.run("make", &["words"]).exits(0);
    let words = [
        "check",
        "--save-baseline",
        "main",
        "--",
        "./words",
        "words.txt",
    ];
    project.run(env!("CARGO_BIN_EXE_sntrace"), &words).exits(0);
    project
}

/// A change of the code that leaks what it allocates.
fn begin_to_leak(project: &Project) {
    project.replace(
        "words.c",
        "        add_word(text);",
        "        add_word(strdup(text));",
    );
}

/// Runs a line or a block of a job as the services do, by a shell that stops at the first failure.
fn step(project: &Project, script: &str, variables: &Value) -> Done {
    let mut command = project.command(&tool("bash"));
    for (name, value) in variables.as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command
        .env("RUNNER_TEMP", project.beside("runner"))
        .env("GITHUB_STEP_SUMMARY", project.beside("summary.md"));
    Done::of(command.args(["-e", "-o", "pipefail", "-c", script]))
}

#[test]
fn the_workflow_for_github_judges_a_change() {
    let workflow = yaml("docs/guide/sntrace.yml");
    let steps = workflow["jobs"]["allocations"]["steps"].as_array().unwrap();
    let run = |project: &Project, name: &str| {
        let found = steps.iter().find(|step| step["name"] == name).unwrap();
        step(project, found["run"].as_str().unwrap(), &workflow["env"])
    };
    let project = with_a_baseline();
    for name in ["Build", "Measure"] {
        run(&project, name).exits(0);
    }
    run(&project, "Judge")
        .exits(0)
        .says("::notice title=sntrace check::passed");

    begin_to_leak(&project);
    fs::remove_file(project.folder().join("words")).unwrap();
    for name in ["Build", "Measure"] {
        run(&project, name).exits(0);
    }
    run(&project, "Judge")
        .exits(1)
        .says("::error file=words.c,line=");
    let summary = fs::read_to_string(project.beside("summary.md")).unwrap();
    assert!(
        summary.contains("✅") && summary.contains("`leaked_bytes>0`"),
        "{summary}"
    );
    let sarif: Value = serde_json::from_str(&project.read("sntrace.sarif")).unwrap();
    let uri = "/runs/0/results/0/locations/0/physicalLocation/artifactLocation/uri";
    assert_eq!(sarif.pointer(uri).unwrap(), "words.c");
}

#[test]
fn the_job_for_gitlab_judges_a_change() {
    let job = &yaml("docs/guide/sntrace.gitlab-ci.yml")["allocations"];
    let lines = job["script"].as_array().unwrap().iter();
    // One shell has them all.
    let script: Vec<_> = lines.map(|line| line.as_str().unwrap()).collect();
    let run = |project: &Project| step(project, &script.join("\n"), &job["variables"]);
    let project = with_a_baseline();
    run(&project).exits(0).says("passed: ");
    let quality =
        || -> Value { serde_json::from_str(&project.read("sntrace-quality.json")).unwrap() };
    assert_eq!(quality(), Value::Array(Vec::new()));

    begin_to_leak(&project);
    fs::remove_file(project.folder().join("words")).unwrap();
    run(&project).exits(1).says("failed  leaked_bytes>0");
    assert_eq!(quality()[0]["location"]["path"], "words.c");
    assert!(project.read("sntrace-junit.xml").contains("<failure"));
}
