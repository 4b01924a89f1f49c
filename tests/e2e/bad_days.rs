//! Bad input and bad days: a clear message, the right exit status, and never a silent empty trace.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::programs::{Build, tool};
use crate::support::{Run, Sntrace, Transport, both_transports, write_program};

/// Runs a program that sntrace must not run, or not trace; returns what it says.
#[track_caller]
fn refused(program: &Path, code: i32) -> String {
    let run = Sntrace::default_transport().run(&[program]).exits(code);
    let stderr = run.stderr();
    assert!(stderr.starts_with("sntrace: error: "), "{stderr:?}");
    assert!(
        stderr.contains(program.to_str().unwrap()),
        "the message names the program: {stderr:?}"
    );
    assert!(
        stderr.ends_with('\n')
            && stderr
                .lines()
                .skip(1)
                .all(|line| line.starts_with("  hint: ")),
        "{stderr:?}"
    );
    stderr
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
}

fn script(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    write_program(&path, text.as_bytes());
    path
}

#[test]
fn a_program_that_is_missing_is_127() {
    refused(Path::new("/nonexistent/program"), 127);
    refused(Path::new("no-such-program-in-the-path"), 127);
}

#[test]
fn a_program_that_may_not_be_executed_is_126() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    has(&refused(&path, 126), &["chmod"]);
    refused(folder.path(), 126);
    refused(Path::new("/dev/null"), 126);
}

#[test]
fn a_script_is_traced_through_its_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Build::c("worker.c").path();
    for first in ["#!/bin/sh\n", "#! /bin/sh -e\n", "#!/usr/bin/env sh\n", ""] {
        let path = script(
            folder.path(),
            "script",
            &format!("{first}{}\nexit 3\n", worker.display()),
        );
        let run = Sntrace::default_transport().run(&[&path]);
        assert!(
            run.code() == 3 || (first.contains("-e") && run.code() == 7),
            "{first:?}: {}",
            run.stderr()
        );
        assert!(run.lines_text().contains("[worked]"), "{first:?}");
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    has(
        &refused(
            &script(folder.path(), "script", "#!/no/such/interpreter\n"),
            126,
        ),
        &["/no/such/interpreter"],
    );
}

#[test]
fn a_static_program_runs_with_a_warning_and_an_empty_trace_is_an_error() {
    // It may start programs that can be traced, so it is run.
    for option in ["-static", "-static-pie"] {
        let program = Build::c("say_hello.c").flags(&[option]).path();
        let run = Sntrace::default_transport().run(&[&program]).exits(125);
        assert_eq!(run.stdout(), "hello\n");
        has(
            &run.stderr(),
            &[
                "sntrace: warning: ",
                program.to_str().unwrap(),
                "static",
                "hint: ",
                "sntrace: error: ",
            ],
        );
    }
}

#[test]
fn what_a_static_program_starts_is_traced() {
    let program = Build::c("processes.c").flags(&["-static"]).path();
    let worker = Build::c("worker.c").path();
    let run = Sntrace::default_transport()
        .run(&[program.to_str().unwrap(), "execv", worker.to_str().unwrap()])
        .exits(7);
    has(&run.stderr(), &["sntrace: warning: ", "static"]);
    assert!(run.lines_text().contains("[worked]"));
}

#[test]
fn a_setuid_program_is_refused_with_a_hint() {
    // Root runs as nobody, anyone else as root: either way the kernel changes the user.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = folder.path().join("setuid");
    write_program(
        &copy,
        &std::fs::read(Build::c("quiet_malloc.c").path()).unwrap(),
    );
    if std::os::unix::fs::chown(&copy, Some(65534), None).is_ok() {
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
        has(&refused(&copy, 125), &["setuid", "hint"]);
    } else {
        has(&refused(&tool("su"), 125), &["setuid", "hint"]);
    }
}

#[test]
fn a_program_of_another_architecture_is_126() {
    let program = Build::c("quiet_malloc.c")
        .compiler("aarch64-linux-gnu-gcc")
        .path();
    has(&refused(&program, 126), &["aarch64", "x86-64"]);
}

#[test]
fn a_32_bit_program_is_refused_with_a_hint() {
    let program = Build::c("quiet_malloc.c").flags(&["-m32"]).path();
    has(&refused(&program, 125), &["x86-64", "hint"]);
}

#[test]
fn a_program_built_with_a_sanitizer_is_refused_with_a_hint() {
    for option in ["-fsanitize=address", "-fsanitize=thread"] {
        let program = Build::c("quiet_malloc.c").flags(&[option]).path();
        has(&refused(&program, 125), &["anitizer", "hint"]);
    }
}

#[test]
fn children_that_cannot_be_traced_run_as_they_would() {
    for option in ["-static", "-m32"] {
        let child = Build::c("say_hello.c").flags(&[option]).path();
        let script = format!("{}; exit 4", child.display());
        let run = Sntrace::default_transport().run(&["sh", "-c", &script]);
        assert_eq!(run.stdout(), "hello\n", "{option}: {}", run.stderr());
        let theirs: Vec<_> = run
            .stderr()
            .lines()
            .filter(|line| !line.contains("sntrace: "))
            // The loader of another word size says that it ignores the hook; nothing else changes.
            .filter(|line| {
                !line.starts_with("ERROR: ld.so: object") && !line.starts_with("[SN_ALLOC]")
            })
            .map(str::to_owned)
            .collect();
        assert!(
            theirs.is_empty() || theirs.iter().all(|line| line.starts_with("  hint: ")),
            "{option}: {theirs:?}"
        );
        assert_eq!(run.code(), 4, "{option}");
    }
}

/// Whatever can't be written is noticed before the program does anything.
#[test]
fn an_output_that_cannot_be_written_fails_before_the_program_starts() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("started");
    for option in ["-o", "--json", "--jsonl"] {
        for target in ["/nonexistent/folder/file", "/", "/proc/version"] {
            let output = Command::new(env!("CARGO_BIN_EXE_sntrace"))
                .args([option, target, "--", "touch"])
                .arg(&marker)
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(125),
                "{option} {target}: {stderr}"
            );
            assert!(
                stderr.starts_with("sntrace: error: ") && stderr.contains(target),
                "{stderr}"
            );
            assert!(
                !marker.exists(),
                "{option} {target}: the program was started"
            );
        }
    }
}

both_transports! {
    fn a_full_disk_does_not_stop_the_program(transport) {
        for option in ["-o", "--json", "--jsonl"] {
            let folder = tempfile::tempdir().unwrap();
            let marker = folder.path().join("finished");
            let program = format!("import os\nfor n in range(50000): bytearray(n % 4000 + 600)\nopen('{}', 'w')\nprint('finished')", marker.display());
            let output = Command::new(env!("CARGO_BIN_EXE_sntrace"))
                .args(["--transport", transport.name(), "-o", "/dev/null", option, "/dev/full", "--"])
                .arg(tool("python3"))
                .args(["-c", &program])
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{option}: {stderr}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "finished\n", "{option}: {stderr}");
            assert!(marker.exists());
            has(&stderr, &["sntrace: error: ", "/dev/full", "No space left on device"]);
        }
    }

    fn the_program_goes_on_when_the_launcher_is_killed(transport) {
        let program = Build::c("outlives.c").path();
        let sntrace = Sntrace::new(transport);
        let mut child = sntrace.spawn(&[&program]);
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child.kill().unwrap();
        child.wait().unwrap();
        // Only now may it allocate on: far more than a lane holds.
        keyboard.write_all(b"go\n").unwrap();
        let rest = std::io::read_to_string(screen).unwrap();
        assert_eq!(rest, "still here after 2000000 events\n");
    }

    fn the_program_goes_on_when_the_launcher_is_killed_while_it_waits_for_room(transport) {
        // The launcher is stopped first, so that the lane fills and the program sleeps for room.
        let program = Build::c("outlives.c").path();
        let sntrace = Sntrace::new(transport);
        let mut child = sntrace.spawn(&[&program]);
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        let launcher = child.id();
        assert!(Command::new("kill").args(["-STOP", &launcher.to_string()]).status().unwrap().success());
        keyboard.write_all(b"go\n").unwrap();
        wait_until_asleep(sleeping_child_of(launcher));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(std::io::read_to_string(screen).unwrap(), "still here after 2000000 events\n");
    }

    fn a_program_killed_at_any_moment_leaves_everything_it_had_published(transport) {
        let program = Build::c("killed.c").flags(&["-pthread"]).path();
        for seed in 1..=40 {
            let run = Sntrace::new(transport).run(&[program.to_str().unwrap(), &seed.to_string()]).exits(137);
            whole_up_to_the_end(&run, transport);
        }
    }
}

/// `killed.c` prints N after its Nth malloc, of N bytes: what it printed was published.
#[track_caller]
fn whole_up_to_the_end(run: &Run, transport: Transport) {
    let stdout = run.stdout();
    // The last number may be cut: it was killed while writing.
    let printed = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let published: u64 = printed
        .lines()
        .last()
        .map_or(0, |line| line.parse().unwrap());
    let text = run.lines_text();
    let sizes: Vec<u64> = run
        .parse(&text)
        .iter()
        .filter(|line| line.caller == "take")
        .filter_map(|line| line.size)
        .collect();
    assert!(
        sizes.iter().copied().eq(1..=sizes.len() as u64),
        "a gap in the trace: {sizes:?}"
    );
    if transport == Transport::Shared {
        // The pipe carries whole chunks; shared memory keeps every single event.
        assert!(
            sizes.len() as u64 >= published,
            "{} events, but {published} were published",
            sizes.len()
        );
    }
}

/// The traced program: the only child of the launcher.
fn sleeping_child_of(launcher: u32) -> u32 {
    let children =
        std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
    children
        .split_whitespace()
        .next()
        .expect("the program is a child of sntrace")
        .parse()
        .unwrap()
}

/// Waits for the state, not for a time: returns once the process sleeps on a futex or a pipe.
fn wait_until_asleep(pid: u32) {
    let mut asleep_in_a_row = 0;
    while asleep_in_a_row < 3 {
        let stat =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the program is alive");
        let state = stat.rsplit_once(") ").unwrap().1.as_bytes()[0];
        asleep_in_a_row = if state == b'S' {
            asleep_in_a_row + 1
        } else {
            0
        };
        std::thread::yield_now();
    }
}

#[test]
fn names_with_terminal_escapes_are_shown_escaped() {
    let program = Build::c("escape.c").path();
    let sntrace = Sntrace::default_transport();
    let (json, jsonl) = (sntrace.file("trace.json"), sntrace.file("trace.jsonl"));
    let run = sntrace
        .options(&[
            "--json".as_ref(),
            json.as_os_str(),
            "--jsonl".as_ref(),
            jsonl.as_os_str(),
        ])
        .run(&[&program])
        .succeeds();
    // The strict parser refuses control characters; both names are there all the same.
    let text = run.lines_text();
    let lines = run.parse(&text);
    assert!(
        lines
            .iter()
            .any(|line| line.size == Some(4713) && line.caller.contains("[31mred")),
        "{text}"
    );
    for file in ["trace.json", "trace.jsonl"] {
        let text = std::fs::read(run.file(file)).unwrap();
        assert!(
            text.iter().all(|&byte| byte >= b' ' || byte == b'\n'),
            "{file}"
        );
    }
}

#[test]
fn a_module_path_with_escapes_is_shown_escaped_too() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("pro\u{1b}[31mgram\nsecond");
    let program = Build::c("quiet_malloc.c")
        .then(&["strip", "--strip-all", "{}"])
        .path();
    write_program(&odd, &std::fs::read(program).unwrap());
    let run = Sntrace::default_transport().run(&[&odd]).succeeds();
    let text = run.lines_text();
    let lines = run.parse(&text);
    let line = crate::support::find(&lines, "size 4711", |line| line.size == Some(4711));
    assert!(line.caller.contains("+0x"), "{}", line.caller);
    // And so do messages.
    let run = Sntrace::default_transport()
        .run(&["no\u{1b}[31msuch\nprogram"])
        .exits(127);
    assert!(!run.stderr().contains('\u{1b}'), "{:?}", run.stderr());
}

#[test]
fn the_environment_of_another_run_is_no_danger() {
    // SNTRACE_RUN of a launcher that is long gone, of another version, and nonsense.
    for value in [
        "2:99999999:3:0:4096:/nonexistent",
        "999:1:1:1:1:/x",
        "",
        "nonsense",
        "2:1:1:1:1:",
    ] {
        let run = Sntrace::default_transport()
            .env("SNTRACE_RUN", value)
            .run(&["sh", "-c", "exit 5"])
            .exits(5);
        assert!(!run.lines_text().is_empty(), "{value:?}");
    }
}

#[test]
fn the_hook_without_a_launcher_is_a_pass_through() {
    // The hook's own file, loaded by hand with nobody to report to.
    let folder = tempfile::tempdir().unwrap();
    let hook = crate::hook_file::copy_of_the_hook(folder.path());
    let program = Build::c("every_function.c").path();
    for value in [
        None,
        Some("2:99999999:3:0:4096:/nonexistent"),
        Some("nonsense"),
    ] {
        let mut command = Command::new(&program);
        command
            .env("LD_PRELOAD", &hook)
            .env_remove("SNTRACE_RUN")
            .stdin(Stdio::null());
        if let Some(value) = value {
            command.env("SNTRACE_RUN", value);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success() && output.stdout.ends_with(b"done\n"),
            "{value:?}: {output:?}"
        );
    }
}

#[test]
fn an_overflowing_lane_that_drops_counts_exactly() {
    let program = Build::c("outlives.c").path();
    let sntrace = Sntrace::default_transport();
    let path = sntrace.file("trace.jsonl");
    let run = sntrace
        .options(&[
            "--overflow".as_ref(),
            "drop".as_ref(),
            "--jsonl".as_ref(),
            path.as_os_str(),
        ])
        .stdin("go\n")
        .run(&[&program])
        .succeeds();
    let text = std::fs::read_to_string(run.file("trace.jsonl")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let dropped = summary["summary"]["dropped_events"].as_u64().unwrap();
    let mut seen = 0;
    run.each_line(|line| seen += u64::from(line.caller == "take_and_give"));
    let others = run.lines_text().lines().count() as u64 - seen;
    assert!(others < 100, "{others} events of others");
    assert_eq!(
        seen + dropped,
        2_000_000,
        "{seen} in the trace, {dropped} dropped"
    );
    if dropped > 0 {
        has(&run.stderr(), &["dropped"]);
    }
}
