//! sntrace as a wrapper: what the program sees, and what its user sees of it.
//!
//! A wrapper owns its whole process (signal mask, children, subreaper), so these tests run the
//! real binary: a test target of its own, see `[[test]]` in Cargo.toml.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SNTRACE: &str = env!("CARGO_BIN_EXE_sntrace");
/// What a script says when it has set up its traps.
const READY: &str = "ready";

/// sntrace with its own talk out of the way. Signals are as a terminal has them: tests that run in the background have some
/// ignored, which a shell can't change.
fn wrapped(command: &[&str]) -> Command {
    let mut wrapper = Command::new("env");
    wrapper
        .args(["--default-signal", SNTRACE])
        .args(["--quiet", "-o", "/dev/null", "--"])
        .args(command);
    wrapper
}

fn shell(script: &str) -> Command {
    wrapped(&["/bin/sh", "-c", script])
}

fn status_of(command: &mut Command) -> i32 {
    let output = command.output().expect("runs");
    output.status.code().expect("an exit status, no signal")
}

/// Starts a script and waits until it has said that it is ready.
fn begin(script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = shell(script).stdout(Stdio::piped()).spawn().expect("runs");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while line.trim_end() != READY {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).expect("text"),
            0,
            "ended before it was ready"
        );
    }
    (child, output)
}

fn finish(mut child: Child, mut output: BufReader<std::process::ChildStdout>) -> (i32, String) {
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    (
        child
            .wait()
            .expect("runs")
            .code()
            .expect("an exit status, no signal"),
        text,
    )
}

fn send(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill").success());
}

#[test]
fn the_exit_status_is_the_programs_own() {
    assert_eq!(status_of(&mut shell("exit 0")), 0);
    assert_eq!(status_of(&mut shell("exit 3")), 3);
    assert_eq!(status_of(&mut shell("exit 255")), 255);
    assert_eq!(status_of(&mut shell("kill -KILL $$")), 137);
    assert_eq!(status_of(&mut shell("kill -INT $$")), 130);
}

#[test]
fn what_exec_refuses_is_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("binary");
    std::fs::write(&path, b"MZ\0\x01").expect("a temporary file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("our own file");
    let output = wrapped(&[path.to_str().expect("UTF-8")])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(126));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Exec format error"), "{text}");
}

#[test]
fn the_program_sees_the_signal_state_it_would_have_seen() {
    // A shell can ignore signals for those it starts. SIGPIPE is the one that Rust changes.
    let command = "exec grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    for before in ["", "trap '' PIPE HUP CHLD; "] {
        let bare = Command::new("sh")
            .args(["-c", &format!("{before}{command}")])
            .output();
        let bare = bare.expect("runs").stdout;
        let wrapped = format!(
            "{before}exec '{SNTRACE}' -q -o /dev/null {}",
            &command["exec ".len()..]
        );
        let through = Command::new("sh")
            .args(["-c", &wrapped])
            .output()
            .expect("runs")
            .stdout;
        let bare = String::from_utf8(bare).expect("text");
        let through = String::from_utf8(through).expect("text");
        assert!(bare.contains("SigIgn"), "{bare}");
        assert_eq!(bare, through, "{before}");
    }
}

#[test]
fn descriptors_are_those_of_sntrace() {
    // Compared with what `ls` sees without sntrace, as a test may itself inherit descriptors.
    // Descriptors that were closed stay closed: `ls` then gets number 0 for the folder.
    for redirection in ["", "<&-", "<&- 2>&-", "9</dev/null"] {
        let list = |prefix: &str| {
            let script = format!("exec {prefix} ls /proc/self/fd {redirection}");
            let output = Command::new("sh")
                .args(["-c", &script])
                .output()
                .expect("runs");
            String::from_utf8(output.stdout).expect("text")
        };
        let through = list(&format!("'{SNTRACE}' -q -o /dev/null"));
        assert_eq!(list(""), through, "{redirection}");
    }
}

#[test]
fn signals_sent_to_sntrace_reach_the_program() {
    for signal in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"] {
        let script =
            format!("trap 'echo got; exit 9' {signal}; echo {READY}; while :; do sleep 0.02; done");
        let (child, output) = begin(&script);
        send(child.id(), signal);
        assert_eq!(finish(child, output), (9, "got\n".to_owned()), "{signal}");
    }
}

#[test]
fn a_signal_without_a_handler_ends_the_program_as_usual() {
    let (child, output) = begin(&format!("echo {READY}; exec sleep 20"));
    send(child.id(), "TERM");
    assert_eq!(finish(child, output).0, 143);
}

#[test]
fn a_stopped_program_is_continued() {
    let (child, output) = begin(&format!("echo {READY}; kill -STOP $$; echo on; exit 4"));
    // The stop has no event to wait for; a SIGCONT that comes too early is sent again.
    let started = Instant::now();
    let (status, text) = std::thread::scope(|scope| {
        let pid = child.id();
        let finished = scope.spawn(move || finish(child, output));
        while !finished.is_finished() && started.elapsed() < Duration::from_secs(10) {
            let _ = Command::new("kill")
                .args(["-s", "CONT", &pid.to_string()])
                .output();
            std::thread::sleep(Duration::from_millis(20));
        }
        finished.join().expect("finishes")
    });
    assert_eq!((status, text.as_str()), (4, "on\n"));
}

#[test]
fn a_program_that_signals_its_own_group_gets_the_signal_once() {
    use std::os::unix::process::CommandExt as _;

    let script = "trap 'echo got' USR1; kill -USR1 0; sleep 0.2; exit 4";
    let output = shell(script).process_group(0).output().expect("runs");
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.matches("got").count(), 1, "{text}");
}

#[test]
fn descendants_are_waited_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mark = folder.path().join("mark");
    // The outer subshell ends at once: the inner one is an orphan, and sntrace's child.
    let script = format!("( ( sleep 0.3; echo > '{}' ) & ) & exit 6", mark.display());
    assert_eq!(
        status_of(shell(&script).stdout(Stdio::null()).stderr(Stdio::null())),
        6
    );
    assert!(mark.exists());
}

#[test]
fn without_following_only_the_program_counts() {
    let started = Instant::now();
    let script = "sleep 20 > /dev/null 2>&1 & echo $!; exit 6";
    let mut command = Command::new(SNTRACE);
    command.args(["-q", "-o", "/dev/null", "--no-follow", "sh", "-c", script]);
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(6));
    assert!(started.elapsed() < Duration::from_secs(15));
    let text = String::from_utf8(output.stdout).expect("text");
    send(
        text.lines()
            .last()
            .expect("a process id")
            .parse()
            .expect("a process id"),
        "TERM",
    );
}

#[test]
fn a_signal_ends_the_wait_for_descendants() {
    let script = format!("( sleep 20 > /dev/null 2>&1 & echo $! ); echo {READY}; exit 6");
    let mut child = shell(&script).stdout(Stdio::piped()).spawn().expect("runs");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = Vec::new();
    let mut line = String::new();
    while output.read_line(&mut line).expect("text") > 0 && line.trim_end() != READY {
        lines.push(std::mem::take(&mut line));
    }
    let sleeper = lines
        .last()
        .expect("a process id")
        .trim_end()
        .parse()
        .expect("a process id");
    // The program's end has no event to wait for: it is a zombie no longer when it is reaped.
    std::thread::sleep(Duration::from_millis(300));
    send(child.id(), "INT");
    assert_eq!(child.wait().expect("runs").code(), Some(6));
    send(sleeper, "TERM");
}
