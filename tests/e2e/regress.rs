//! The scripts around the gate: `scripts/regress.sh` on repositories of its users, `scripts/regress.py` on exports.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use crate::programs::tool;
use crate::recipes::{Done, Project, ours};
use crate::record::sntrace;
use crate::support::{clean, write_program};

/// A parser of a repository in which the second commit of two allocates once more a word.
struct History {
    project: Project,
}

const PARSER: &str = r#"#include <stdlib.h>
#include <string.h>

static char *take_word(const char *text)
{
    char *word = malloc(strlen(text) + 1);
    return word ? strcpy(word, text) : NULL;
}

int main(int argc, char **argv)
{
    for (int i = 0; i < 100; i++) {
        free(take_word(argc > 1 ? argv[1] : "nothing"));
    }
    return 0;
}
"#;

impl History {
    fn new() -> Self {
        let project = Project::empty();
        project.git(&["init", "-q", "-b", "main", "."]);
        project.write("Makefile", "parse: parse.c\n\t$(CC) -g -O0 -o $@ $<\n");
        project.write("parse.c", PARSER);
        let history = Self { project };
        history.commit("A parser");
        let once = "        free(take_word(argc";
        let again = "        free(take_word(\"and again\"));\n        free(take_word(argc";
        history.project.replace("parse.c", once, again);
        history.commit("Twice the work");
        history
    }

    fn commit(&self, message: &str) {
        self.project.git(&["add", "."]);
        self.project.git(&["commit", "-q", "-m", message]);
    }

    fn regress(&self, words: &[&str]) -> Done {
        Done::of(self.script().args(words))
    }

    fn script(&self) -> Command {
        self.project.command(&ours("scripts/regress.sh"))
    }

    /// Everything of the user's: files, index, branches, worktrees, and what is in the folder for temporary files.
    fn state(&self) -> String {
        let index = fs::read(self.project.folder().join(".git/index")).unwrap();
        let temporary = fs::read_dir(self.project.temporary.path()).unwrap();
        let temporary: Vec<_> = temporary.map(|entry| entry.unwrap().file_name()).collect();
        format!(
            "{}{}{}{index:?}{temporary:?}",
            self.project.git(&["status", "--porcelain", "--ignored"]),
            self.project.git(&["worktree", "list"]),
            self.project.git(&["branch", "--all", "--verbose"]),
        )
    }
}

#[test]
fn regress_names_the_function_that_a_commit_made_allocate_more() {
    let history = History::new();
    let done = history
        .regress(&[
            "-b",
            "make",
            "--fail-on",
            "allocations>1%",
            "--",
            "./parse",
            "hello",
        ])
        .exits(1);
    let out = &done.stdout;
    assert!(out.starts_with("failed: 1 of 1 rule\n"), "{out}");
    assert!(out.contains("allocations grew from 100 to 200"), "{out}");
    assert!(out.contains("take_word  parse.c:6  parse\n"), "{out}");
}

#[test]
fn regress_passes_where_nothing_changed() {
    let history = History::new();
    let rules = ["--fail-on", "allocations>0", "--fail-on", "bytes>0"];
    for revisions in [["-r", "HEAD"], ["-R", "HEAD~1"], ["-r", "main..."]] {
        // The first commit has none before it.
        let base: &[&str] = match revisions {
            ["-R", _] => &["-r", "HEAD~1"],
            _ => &[],
        };
        let words = [
            &["-b", "make"],
            base,
            &revisions,
            &rules,
            &["--", "./parse"],
        ]
        .concat();
        history.regress(&words).exits(0).says("passed: 2 rules");
    }
}

#[test]
fn regress_compares_with_where_a_branch_began() {
    let history = History::new();
    let project = &history.project;
    project.git(&["checkout", "-q", "-b", "topic", "HEAD~1"]);
    project.write("NOTES", "A change that allocates nothing.\n");
    history.commit("Notes");
    // Main has come to allocate more, which is no merit of the branch.
    let judge = |base| {
        let words = ["-b", "make", "-r", base, "-f", "json", "--", "./parse"];
        let verdict: Value =
            serde_json::from_str(&history.regress(&words).exits(0).stdout).unwrap();
        verdict["totals"][0]["delta"].clone()
    };
    assert_eq!(judge("main"), -100);
    assert_eq!(judge("main..."), 0);
}

#[test]
fn regress_leaves_everything_of_the_user_s_alone() {
    let history = History::new();
    let project = &history.project;
    // Hooks are of the user's own working tree, and what is changed in it is the user's work.
    let hook = "#!/bin/sh\necho hooked >\"$TMPDIR/hooked\"\n";
    write_program(
        &project.folder().join(".git/hooks/post-checkout"),
        hook.as_bytes(),
    );
    project.replace("parse.c", "return 0;", "return 1;");
    project.git(&["add", "parse.c"]);
    project.write("untracked", "mine");
    let before = history.state();
    for (build, code) in [
        ("make", 0),
        ("make && rm -r Makefile && mkdir -p x/y", 0),
        ("false", 125),
    ] {
        history
            .regress(&["-b", build, "--", "./parse"])
            .exits(code)
            .says("what is not committed is not judged");
        assert_eq!(history.state(), before, "{build}");
    }
}

#[test]
fn regress_cleans_up_when_it_is_interrupted() {
    let history = History::new();
    let before = history.state();
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        // As a terminal has it: what is ignored from outside (the tests in the background) can't be caught by a shell.
        let mut command = history.project.command(&tool("env"));
        command
            .arg("--default-signal=INT,TERM,HUP")
            .arg(ours("scripts/regress.sh"));
        // To the script and all that it has started, as a terminal's Ctrl-C.
        let build = format!("kill -{signal} 0");
        command
            .process_group(0)
            .args(["-b", &build, "--", "./parse"]);
        Done::of(&mut command).exits(status).says("base: ");
        assert_eq!(history.state(), before, "{signal}");
    }
}

#[test]
fn regress_tells_what_could_not_be_built_or_run() {
    let history = History::new();
    let project = &history.project;
    project.replace("parse.c", "return 0;", "return 0");
    history.commit("In a hurry");
    history
        .regress(&["-b", "make", "--", "./parse"])
        .exits(125)
        .says("head: cannot build")
        .says("'make' ended with status 2")
        // The compiler's own words.
        .says("expected ‘;’");
    project.replace("parse.c", "return 0", "return 3;");
    history.commit("Fails");
    history
        .regress(&["-b", "make", "-r", "HEAD~2", "--", "./parse"])
        .exits(125)
        .says("it ended with status 3")
        .says("head: cannot measure");
    let words = [
        "-b",
        "make",
        "-r",
        "HEAD~2",
        "--ignore-status",
        "--",
        "./parse",
    ];
    history.regress(&words).exits(0);
    history
        .regress(&["-b", ":", "-r", "HEAD~2", "--", "./parse"])
        .exits(125)
        .says("base: cannot measure");
}

#[test]
fn regress_says_what_is_wrong_before_it_builds() {
    let history = History::new();
    let build = "echo built >\"$TMPDIR/built\"";
    for (words, says) in [
        (
            &["--fail-on", "allocs>1"][..],
            "no metric is called 'allocs'",
        ),
        (&["--frobnicate"], "'--frobnicate'"),
        (&["--runs", "0"], "0 is not in 1..=1000"),
        (&["-r", "nowhere"], "there is no revision 'nowhere'"),
        (&["-r", "nowhere..."], "there is no revision 'nowhere'"),
        (&["./parse"], "COMMAND comes after '--'"),
    ] {
        let words = [&["-b", build], words, &["--", "./parse"]].concat();
        history.regress(&words).exits(2).says(says);
    }
    history.regress(&["-b"]).exits(2).says("-b needs a value");
    history.regress(&["-b", build]).exits(2).says("no COMMAND");
    history
        .regress(&["--", "./parse"])
        .exits(2)
        .says("no BUILD");
    let mut outside = history.script();
    outside
        .current_dir("/")
        .args(["-b", build, "--", "./parse"]);
    Done::of(&mut outside).exits(2).says("git repository");
    let mut without = history.script();
    without
        .env("SNTRACE", "/nowhere/sntrace")
        .args(["-b", build, "--", "./parse"]);
    Done::of(&mut without)
        .exits(125)
        .says("'/nowhere/sntrace' is not there");
    assert!(!history.project.beside("built").exists());
}

#[test]
fn regress_runs_where_it_was_called_with_the_input_that_it_was_given() {
    let history = History::new();
    let project = &history.project;
    fs::create_dir(project.folder().join("sub folder")).unwrap();
    project.write(
        "sub folder/copy.c",
        "#include <stdio.h>\n#include <stdlib.h>\nint main(void)\n{\n    int c;\n    \
         while ((c = getchar()) != EOF)\n        free(malloc(c));\n    return 0;\n}\n",
    );
    history.commit("Another program");
    project.write("sub folder/copy.txt", "0123456789");
    let folder = project.folder().join("sub folder");
    let mut command = history.script();
    command
        .current_dir(&folder)
        .stdin(fs::File::open(folder.join("copy.txt")).unwrap())
        .args([
            "-b",
            "cc -g -o copy copy.c",
            "-r",
            "HEAD",
            "-n",
            "2",
            "-k",
            "kept",
        ])
        .args(["--format=json", "-othe verdict.json", "--", "./copy"]);
    let done = Done::of(&mut command).exits(0);
    assert_eq!(done.stdout, "");
    let text = project.read("sub folder/the verdict.json");
    let verdict: Value = serde_json::from_str(&text).unwrap();
    // Ten for the text, and the buffer of getchar: each run has read all of it.
    let allocations = &verdict["totals"][0];
    assert_eq!(allocations["base"]["low"], 11, "{allocations}");
    assert_eq!(allocations["head"]["low"], 11, "{allocations}");
    // What is kept can be compared again.
    let kept = |name: &str| folder.join("kept").join(name).to_str().unwrap().to_owned();
    let again = sntrace(&["diff", &kept("base.json"), &kept("head.json")]);
    assert!(again.status.success());
}

/// A program that allocates 10 times in one run and 20 times in the next.
const UNSTEADY: &str = r#"#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int runs = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
    struct stat before;
    if (fstat(runs, &before) != 0 || write(runs, "x", 1) != 1)
        return 1;
    for (int i = 0; i < (before.st_size % 2 ? 20 : 10); i++)
        free(malloc(8));
    return 0;
}
"#;

#[test]
fn regress_tells_noise_from_change() {
    let history = History::new();
    history.project.write("parse.c", UNSTEADY);
    history.commit("Unsteady");
    let judge = |runs| {
        let words = [
            "-b",
            "make",
            "-r",
            "HEAD",
            "-n",
            runs,
            "--fail-on",
            "allocations>0",
        ];
        history.regress(&[&words[..], &["--", "./parse", "../runs"]].concat())
    };
    // One run of each: the base's is a small one, the head's a big one.
    judge("1").exits(1);
    judge("2").exits(0);
}

#[test]
fn regress_names_lines_as_the_repository_has_them() {
    let history = History::new();
    history
        .regress(&[
            "-b",
            "make",
            "--fail-on",
            "bytes>0",
            "-f",
            "github",
            "--",
            "./parse",
        ])
        .exits(1)
        .says("::error file=parse.c,line=6,");
}

/// Two documents of the parser, before and after.
fn documents(history: &History) -> [String; 2] {
    ["HEAD~1", "HEAD"].map(|revision| {
        let project = &history.project;
        project.git(&["checkout", "-q", revision]);
        project.run("make", &["-B"]).exits(0);
        let path = |name: &str| {
            let path = project.beside(&format!("{revision} {name}"));
            path.to_str().unwrap().to_owned()
        };
        let (trace, document) = (path("trace.snt"), path("trace.json"));
        let program = project.folder().join("parse");
        let recorded = sntrace(&["record", "-o", &trace, "--", program.to_str().unwrap()]);
        assert!(recorded.status.success());
        let exported = sntrace(&["export", &trace, "--format", "json", "-o", &document]);
        assert!(exported.status.success());
        project.git(&["checkout", "-q", "main"]);
        document
    })
}

fn regress_py(words: &[&str]) -> Done {
    let mut command = Command::new(tool("python3"));
    Done::of(
        clean(&mut command)
            .arg(ours("scripts/regress.py"))
            .args(words),
    )
}

#[test]
fn the_example_in_python_finds_what_grew() {
    let history = History::new();
    let [base, head] = documents(&history);
    let done = regress_py(&[&base, &head]).exits(0);
    let row = done.stdout.lines().nth(1).unwrap();
    let row: Vec<_> = row.split_whitespace().collect();
    assert_eq!(row, ["allocations", "100", "200", "+100.0%", "take_word"]);
    regress_py(&[&base, &head, "--max-growth", "99%"])
        .exits(1)
        .says("more than 99%");
    regress_py(&[&base, &head, "--max-growth", "200"]).exits(0);
    regress_py(&[&base, &head, "--max-growth", "0", "--metric", "leaked"])
        .exits(0)
        .says("nothing grew");
    regress_py(&[&head, &base, "--max-growth", "0"])
        .exits(0)
        .says("nothing grew");
}

/// By the totals that the document itself has, of a program with every kind of event: fork, exec, realloc, threads.
#[test]
fn the_example_in_python_counts_what_sntrace_counts() {
    let project = Project::empty();
    let script = "import json, sys; sys.path.insert(0, sys.argv[1]); import regress, pathlib\n\
                  figures = regress.read(pathlib.Path(sys.argv[2])).values()\n\
                  print(*(sum(row[metric] for row in figures) for metric in regress.METRICS))";
    let document = project.beside("trace.json");
    let document = document.to_str().unwrap();
    for program in [
        &[
            "sqlite3",
            ":memory:",
            "select hex(randomblob(100000)) is null",
        ][..],
        &["sh", "-c", "exec perl -e 'print 6 * 7'"],
        &["python3", "-c", "print(sorted(range(10000))[5])"],
    ] {
        let traced = sntrace(
            &[
                &["-q", "-o", "/dev/null", "--json", document, "--"],
                program,
            ]
            .concat(),
        );
        assert!(traced.status.success());
        let text = fs::read_to_string(document).unwrap();
        let summary = &serde_json::from_str::<Value>(&text).unwrap()["summary"];
        let keys = ["allocations", "bytes_allocated", "leaked_bytes"];
        let expected = keys.map(|key| summary[key].to_string()).join(" ");
        let mut command = Command::new(tool("python3"));
        clean(&mut command)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-c", script])
            .arg(ours("scripts"))
            .arg(document);
        assert_eq!(
            Done::of(&mut command).exits(0).stdout.trim(),
            expected,
            "{program:?}"
        );
    }
}

#[test]
fn the_example_in_python_refuses_what_is_no_trace() {
    let history = History::new();
    let [base, _] = documents(&history);
    let whole = fs::read_to_string(base).unwrap();
    let project = &history.project;
    for (name, text, says) in [
        ("text", "not JSON", "it is no JSON, or was cut"),
        (
            "cut",
            &whole[..whole.len() / 2],
            "it is no JSON, or was cut",
        ),
        ("list", "[1, 2]", "no JSON trace of sntrace"),
        ("other", "{\"op\": 1}", "no JSON trace of sntrace"),
        (
            "newer",
            "{\"format\": \"sntrace\", \"version\": 2}",
            "version 2",
        ),
    ] {
        project.write(name, text);
        let path = project.folder().join(name);
        let path = path.to_str().unwrap();
        let done = regress_py(&[path, path]).exits(2).says(says).says(name);
        assert!(!done.stderr.contains("Traceback"), "{}", done.stderr);
    }
    regress_py(&["/nowhere", "/nowhere"])
        .exits(2)
        .says("No such file");
    regress_py(&["a", "b", "--max-growth", "much"])
        .exits(2)
        .says("--max-growth");
}
