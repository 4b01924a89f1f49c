//! Recorded traces: what is in the file is what the main job prints, whatever becomes of the file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::programs::{Build, tool};
use crate::support::{Sntrace, Transport, both_transports, clean};

/// sntrace itself, in a clean environment.
pub fn sntrace<S: AsRef<OsStr>>(words: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    clean(command.args(words)).stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records a program into `folder`/trace.snt, with options, at the same addresses each time.
pub fn record<S: AsRef<OsStr>>(
    folder: &Path,
    options: &[&str],
    program: &[S],
) -> (PathBuf, Output) {
    let file = folder.join("trace.snt");
    let mut command = Command::new(tool("setarch"));
    command.args(["-R", env!("CARGO_BIN_EXE_sntrace"), "record", "-o"]);
    command.arg(&file).args(options).arg("--").args(program);
    // As `Sntrace` does it: to a program a pipe is not what /dev/null is. The seed is the one thing by which
    // python3 differs from run to run.
    clean(&mut command).env("PYTHONHASHSEED", "0");
    // node leaves a file where it runs.
    command.current_dir(folder).stdin(Stdio::piped());
    let output = command.output().unwrap();
    (file, output)
}

/// The same, of a program that ends well.
#[track_caller]
pub fn recorded<S: AsRef<OsStr>>(folder: &Path, program: &[S]) -> PathBuf {
    let (file, output) = record(folder, &[], program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    file
}

#[track_caller]
fn lines_of(file: &Path, options: &[&str]) -> String {
    let mut words = vec!["lines", file.to_str().unwrap()];
    words.extend(options);
    let output = sntrace(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Nothing but what was called, on what, by whom: without addresses, which another run's heap may have elsewhere.
fn shapes(lines: &str) -> Vec<String> {
    lines
        .lines()
        .map(|line| {
            let words = line.split_inclusive([' ', '(', ',']);
            let words = words.map(|word| if word.starts_with("0x") { "0x" } else { word });
            words.collect()
        })
        .collect()
}

both_transports! {
    fn the_lines_of_a_recording_are_those_of_the_main_job(transport) {
        let program = Build::c("deterministic.c").path();
        let program = [program.as_os_str(), OsStr::new("20000")];
        let live = Sntrace::new(transport)
            .through(&["setarch", "-R"])
            .run(&program)
            .succeeds();
        let folder = tempfile::tempdir().unwrap();
        let options = ["--transport", transport.name()];
        let (file, output) = record(folder.path(), &options, &program);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (live, read) = (live.lines_text(), lines_of(&file, &[]));
        assert!(live.lines().count() > 20_000);
        for (at, (live, read)) in live.lines().zip(read.lines()).enumerate() {
            assert_eq!(live, read, "line {at}");
        }
        assert_eq!(live.lines().count(), read.lines().count());
    }
}

#[test]
fn real_programs_read_back_as_they_ran() {
    let script = "import json, zlib; d = [str(i) * 9 for i in range(3000)]; print(len(zlib.compress(json.dumps(d).encode())))";
    let (python3, sqlite3) = (tool("python3"), tool("sqlite3"));
    let sql = "create table t(a, b); with recursive c(x) as (select 1 union all select x+1 from c where x < 2000) insert into t select x, hex(x) from c; select count(*), max(b) from t order by 1;";
    let programs: [&[&str]; 2] = [
        // -P: it does not look into the folder where it runs, which is not the same.
        &[python3.to_str().unwrap(), "-S", "-P", "-c", script],
        &[sqlite3.to_str().unwrap(), ":memory:", sql],
    ];
    for program in programs {
        let live = Sntrace::new(Transport::Shared)
            .env("PYTHONHASHSEED", "0")
            .through(&["setarch", "-R"])
            .run(program)
            .succeeds();
        let folder = tempfile::tempdir().unwrap();
        let file = recorded(folder.path(), program);
        let (live, read) = (shapes(&live.lines_text()), shapes(&lines_of(&file, &[])));
        assert!(live.len() > 1000);
        for (at, (live, read)) in live.iter().zip(&read).enumerate() {
            assert_eq!(live, read, "line {at}");
        }
        assert_eq!(live.len(), read.len());
    }
}

#[test]
fn a_recording_is_named_after_the_program_and_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    clean(
        command
            .args(["record", "sh", "-c", "echo $$"])
            .current_dir(folder.path()),
    );
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let name = format!("sntrace.sh.{}.snt", text(&output.stdout).trim());
    let files = fs::read_dir(folder.path()).unwrap();
    let files: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, std::slice::from_ref(&name));
    assert!(
        text(&output.stderr).contains(&name),
        "the user is told the name"
    );
}

#[test]
fn a_file_that_can_t_be_written_fails_before_the_program_starts() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder.snt");
    let started = folder.path().join("started");
    let words = [
        "record",
        "-o",
        missing.to_str().unwrap(),
        "touch",
        started.to_str().unwrap(),
    ];
    let output = sntrace(&words);
    assert_eq!(output.status.code(), Some(125));
    assert!(!started.exists());
    assert!(text(&output.stderr).contains("no/such/folder.snt"));
    assert!(text(&output.stderr).contains("  hint: "));
}

#[test]
fn a_full_disk_leaves_the_program_alone_and_is_told() {
    let program = Build::c("deterministic.c").path();
    let shell = format!("{} 200000 && echo went on", program.display());
    let output = sntrace(&["record", "-o", "/dev/full", "sh", "-c", &shell]);
    assert_eq!(text(&output.stdout), "went on\n");
    assert_eq!(output.status.code(), Some(125));
    let said = text(&output.stderr);
    assert!(
        said.contains("'/dev/full'") && said.contains("missing"),
        "{said}"
    );
}

#[test]
fn the_exit_status_is_the_program_s() {
    let folder = tempfile::tempdir().unwrap();
    let (_, output) = record(folder.path(), &[], &["sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    let (file, output) = record(folder.path(), &[], &["sh", "-c", "kill -SEGV $$"]);
    assert_eq!(output.status.code(), Some(128 + 11));
    assert!(lines_of(&file, &[]).contains("malloc("));
}

#[test]
fn strict_refuses_what_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("nothing.c").flags(&["-static"]).path();
    let shell = ["sh", "-c", &format!("{}; exit 0", program.display())];
    let (_, output) = record(folder.path(), &["--strict"], &shell);
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("was not traced"));
    let (_, output) = record(folder.path(), &[], &shell);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_cut_trace_reads_up_to_the_cut_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("deterministic.c").path();
    let file = recorded(folder.path(), &[program.as_os_str(), OsStr::new("300000")]);
    let whole = lines_of(&file, &["--raw-callers"]).lines().count();
    let bytes = fs::read(&file).unwrap();
    let cut = folder.path().join("cut.snt");
    fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let output = sntrace(&["lines", cut.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let lines = text(&output.stdout).lines().count();
    assert!(lines > 0 && lines < whole, "{lines} of {whole}");
    assert!(
        text(&output.stderr).contains("cut"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_no_trace_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("text"), "[SN_ALLOC] malloc(1) = 0x1  [f]\n").unwrap();
    let program = Build::c("nothing.c").path();
    let trace = recorded(folder.path(), &[&program]);
    let mut newer = fs::read(&trace).unwrap();
    newer[8] = 99;
    fs::write(path("newer"), newer).unwrap();
    let mut damaged = fs::read(&trace).unwrap();
    let middle = damaged.len() / 3;
    damaged[middle] ^= 0xff;
    fs::write(path("damaged"), damaged).unwrap();
    fs::copy(&program, path("program")).unwrap();
    fs::write(path("locked"), "x").unwrap();
    fs::set_permissions(path("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    for (name, says) in [
        ("empty", "empty"),
        ("text", "is no sntrace trace"),
        ("newer", "format 99"),
        ("damaged", "damaged at byte"),
        ("program", "is no sntrace trace"),
        ("missing", "No such file"),
        (".", "is a directory"),
    ] {
        for command in ["lines", "report", "dump"] {
            let output = sntrace(&[command, &path(name)]);
            let said = text(&output.stderr);
            // A dump shows what comes before the damage.
            assert_eq!(output.status.code(), Some(2), "{command} {name}: {said}");
            assert!(said.contains(says), "{command} {name}: {said}");
            assert!(said.contains(name.trim_end_matches('.')), "{said}");
        }
    }
}

#[test]
fn a_killed_program_s_trace_has_all_that_it_had_published() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("killed.c").flags(&["-pthread"]).path();
    for seed in ["1", "2", "3"] {
        let (file, output) = record(folder.path(), &[], &[program.as_os_str(), OsStr::new(seed)]);
        assert_eq!(output.status.code(), Some(128 + 9));
        let printed = text(&output.stdout);
        let last: usize = printed.lines().last().unwrap().trim().parse().unwrap();
        let lines = lines_of(&file, &["--filter", "fn=take"]);
        assert!(
            lines.lines().count() >= last,
            "{} of {last}",
            lines.lines().count()
        );
    }
}

/// The stacks of a recording, a line each, from the outermost function to the innermost.
#[track_caller]
fn stacks_of(file: &Path) -> String {
    let (file, options) = (file.to_str().unwrap(), ["--metric", "allocations"]);
    let words = ["export", file, "--format", "folded"];
    let output = sntrace(&[&words[..], &options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// node writes a map of the code that it generates, by which its functions are named.
#[test]
fn generated_code_is_named_by_the_map_of_its_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let script = "function fill_many() { for (let i = 0; i < 3000; i++) Buffer.allocUnsafeSlow(10000 + i).fill(1) } \
                  function outer_one() { for (let i = 0; i < 30; i++) fill_many() } outer_one()";
    let node = tool("node");
    let program = [
        node.to_str().unwrap(),
        "--perf-basic-prof",
        // Else all that is not compiled yet is one function, the interpreter.
        "--interpreted-frames-native-stack",
        "-e",
        script,
    ];
    let (file, output) = record(folder.path(), &[], &program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folded = stacks_of(&file);
    let named = folded
        .lines()
        .filter(|line| line.contains("outer_one") && line.contains("fill_many"));
    assert!(named.count() > 0, "no stack through both functions");
}

/// node writes a dump of the code that it generates into the folder where it starts, which need not be sntrace's.
#[test]
fn generated_code_is_named_by_the_dump_of_its_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    // Interpreted at first, then as the compiler has it that takes the most trouble.
    let script = "const {createHash} = require('crypto'), {deflateSync} = require('zlib');
        function hash_it(i) { return createHash('sha256').update(`${i}`).digest() }
        function deflate_it(i) { return deflateSync(Buffer.allocUnsafeSlow(20000 + i).fill(i)) }
        function both_of_them(i) { hash_it(i); deflate_it(i) }
        %PrepareFunctionForOptimization(hash_it);
        %PrepareFunctionForOptimization(deflate_it);
        for (let i = 0; i < 10; i++) both_of_them(i);
        %OptimizeFunctionOnNextCall(hash_it);
        %OptimizeFunctionOnNextCall(deflate_it);
        for (let i = 0; i < 10; i++) both_of_them(i);
        console.log(process.pid)";
    let command = "cd inner && exec \"$@\"";
    let node = tool("node");
    let program = [
        "sh",
        "-c",
        command,
        "sh",
        node.to_str().unwrap(),
        "--perf-prof",
        "--allow-natives-syntax",
        "--interpreted-frames-native-stack",
        "-e",
        script,
    ];
    let (file, output) = record(folder.path(), &[], &program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let dump = inner.join(format!("jit-{}.dump", text(&output.stdout).trim()));
    assert!(dump.is_file(), "{}", dump.display());
    let folded = stacks_of(&file);
    for called in ["~hash_it ", "*hash_it ", "~deflate_it ", "*deflate_it "] {
        let named = folded.lines().any(|line| {
            let outer = line.find("~both_of_them ");
            outer.is_some_and(|outer| line.find(called).is_some_and(|at| outer < at))
        });
        assert!(named, "no stack through {called}");
    }
}
