//! sntrace as a wrapper: whatever the program would see and do without it, it sees and does.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::programs::{Build, tool};
use crate::support::{Sntrace, Transport, bare, both_transports, clean};

both_transports! {
    fn the_exit_status_is_the_programs(transport) {
        for code in [0, 1, 2, 7, 125, 255] {
            Sntrace::new(transport).run(&["sh", "-c", &format!("exit {code}")]).exits(code);
        }
    }

    fn a_signal_that_ends_the_program_is_shown_as_a_shell_shows_it(transport) {
        for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("ABRT", 6), ("HUP", 1), ("INT", 2), ("PIPE", 13)] {
            // Whoever runs the tests may ignore some of them: a shell does so for what it starts in the background.
            let sntrace = Sntrace::new(transport).through(&["env", "--default-signal"]);
            let run = sntrace.run(&["sh", "-c", &format!("ulimit -c 0; kill -{name} $$; exit 1")]);
            assert_eq!(run.code(), 128 + number, "SIG{name}; stderr: {}", run.stderr());
        }
    }

    fn stdin_is_the_programs(transport) {
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        let run = Sntrace::new(transport).stdin(text.clone()).run(&["cat"]).succeeds();
        assert!(run.stdout() == text);
    }

    fn the_working_directory_is_the_programs(transport) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let run = Sntrace::new(transport).current_dir(&path).run(&["/bin/pwd"]).succeeds();
        assert_eq!(run.stdout().trim_end(), path.to_str().unwrap());
    }

    fn arguments_arrive_byte_by_byte(transport) {
        let program = Build::c("arguments.c").path();
        let odd: Vec<&OsStr> = vec![
            program.as_os_str(),
            OsStr::new(""),
            OsStr::new("-o"),
            OsStr::new("--"),
            OsStr::new("a b\tc\nd"),
            OsStr::from_bytes(b"\xff\xfe\x80"),
            OsStr::new("--json"),
            OsStr::new("\u{1b}[31m"),
        ];
        let run = Sntrace::new(transport).run(&odd).succeeds();
        let expected: String =
            odd[1..].iter().map(|word| word.as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect();
        assert_eq!(run.stdout(), expected);
    }

    fn argv0_is_what_the_user_typed(transport) {
        let run = Sntrace::new(transport).run(&["sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline"]).succeeds();
        assert!(run.stdout().starts_with("sh -c "), "{}", run.stdout());
    }

    fn signal_dispositions_and_mask_are_inherited(transport) {
        let script = ["grep", "^Sig[BIC]", "/proc/self/status"];
        assert_eq!(Sntrace::new(transport).run(&script).succeeds().stdout(), bare(&script));
        // And where the caller had changed them, too.
        for change in [&["--ignore-signal=PIPE"][..], &["--default-signal=PIPE"], &["--ignore-signal=INT,HUP", "--block-signal=USR1,PIPE"]] {
            let through = [&["env"], change].concat();
            let run = Sntrace::new(transport).through(&through).run(&script).succeeds();
            assert_eq!(run.stdout(), bare(&[&through[..], &script].concat()), "{change:?}");
        }
    }

    fn resource_limits_and_the_file_mode_mask_are_inherited(transport) {
        let script = ["sh", "-c", "ulimit -a; umask; nice"];
        assert_eq!(Sntrace::new(transport).run(&script).succeeds().stdout(), bare(&script));
    }

    fn a_broken_pipe_ends_the_program_as_it_would(transport) {
        // `head` goes away; yes gets SIGPIPE, not an error message.
        let script = format!("{} --transport {} -o /dev/null -- yes | head -1; echo \"${{PIPESTATUS[0]}}\"", env!("CARGO_BIN_EXE_sntrace"), transport.name());
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "y\n141\n", "{output:?}");
    }

    fn descriptors_of_the_program_are_its_own(transport) {
        let program = Build::c("descriptors.c").path();
        let program = program.to_str().unwrap();
        let run = Sntrace::new(transport).run(&[program]).succeeds();
        let low = |text: &str| -> Vec<u32> { text.split_whitespace().map(|n| n.parse().unwrap()).filter(|&n| n < 100).collect() };
        assert_eq!(low(&run.stdout()), low(&bare(&[program])), "open descriptors; with sntrace: {}", run.stdout());
        if transport == Transport::Shared {
            assert_eq!(run.stdout(), bare(&[program]), "shared memory needs no descriptor at all");
        }
    }

    fn descriptors_that_the_caller_hands_down_arrive(transport) {
        let run = Sntrace::new(transport)
            .through(&["bash", "-c", "exec 5<<<handed-down; exec \"$@\"", "bash"])
            .run(&["sh", "-c", "cat <&5"])
            .succeeds();
        assert_eq!(run.stdout(), "handed-down\n");
    }

    fn errno_survives_the_allocator(transport) {
        let program = Build::c("errno.c").path();
        let run = Sntrace::new(transport).run(&[&program]).succeeds();
        assert_eq!(run.stdout(), "malloc=7 free=7 failed=12\n");
    }

    fn the_programs_view_of_its_process_is_as_without_sntrace(transport) {
        let program = ["sh", "-c", "echo $PPID-is-my-parent | sed 's/[0-9]*//'; ps -o comm= -p $$; ps -o ppid= -p $$ | wc -l"];
        assert_eq!(Sntrace::new(transport).run(&program).succeeds().stdout(), bare(&program));
    }
}

/// Runs a command line on a terminal of its own, through util-linux's `script`. Returns its
/// keyboard and its screen.
fn on_a_terminal(
    words: &[&OsStr],
) -> (
    std::process::Child,
    std::process::ChildStdin,
    BufReader<std::process::ChildStdout>,
) {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let mut command = Command::new(tool("script"));
    // exec: no shell between script and sntrace. Whoever started the tests may ignore what a keyboard sends
    // (a job in the background does).
    let signals = "env --default-signal=INT,QUIT,HUP";
    let words = format!("exec {signals} {}", quoted.join(" "));
    command.args(["-qefc", &words, "/dev/null"]);
    let mut child = clean(&mut command)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (keyboard, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, keyboard, BufReader::new(screen))
}

fn next_line(screen: &mut impl BufRead) -> String {
    let mut text = String::new();
    screen.read_line(&mut text).unwrap();
    text.trim_end().to_owned()
}

#[test]
fn control_c_reaches_the_program_once_each_time() {
    let program = Build::c("count_interrupts.c").path();
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    let words = [
        env!("CARGO_BIN_EXE_sntrace").as_ref(),
        "-o".as_ref(),
        lines.as_os_str(),
        "--quiet".as_ref(),
        program.as_os_str(),
    ];
    let (mut child, mut keyboard, mut screen) = on_a_terminal(&words);
    assert_eq!(next_line(&mut screen), "ready");
    for n in 1..=20 {
        keyboard.write_all(b"\x03").unwrap();
        // The terminal may echo ^C before the answer. A second signal would answer again.
        assert_eq!(
            next_line(&mut screen).trim_start_matches("^C"),
            format!("interrupt {n} from the terminal")
        );
    }
    keyboard.write_all(b"q\n").unwrap();
    let rest = std::io::read_to_string(&mut screen).unwrap();
    assert!(rest.trim_end().ends_with("20 interrupts"), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(
        std::fs::read_to_string(lines).unwrap().contains("[main]"),
        "and the trace is whole"
    );
}

#[test]
fn a_program_that_control_c_ends_leaves_130_and_a_whole_trace() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    let program = Build::c("waits.c").path();
    let words = [
        env!("CARGO_BIN_EXE_sntrace").as_ref(),
        "-o".as_ref(),
        lines.as_os_str(),
        program.as_os_str(),
    ];
    let (mut child, mut keyboard, mut screen) = on_a_terminal(&words);
    assert_eq!(next_line(&mut screen), "ready");
    keyboard.write_all(b"\x03").unwrap();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    let text = std::fs::read_to_string(lines).unwrap();
    let lines = crate::support::parse_lines(&text, Default::default());
    assert!(
        lines
            .iter()
            .any(|line| line.caller == "take" && line.size == Some(4712)),
        "{text}"
    );
}

#[test]
fn the_terminal_is_the_programs() {
    let program = Build::c("terminal.c").path();
    let look = |words: &[&OsStr]| {
        let (mut child, keyboard, mut screen) = on_a_terminal(words);
        let line = next_line(&mut screen);
        drop(keyboard);
        let _ = std::io::read_to_string(&mut screen);
        child.wait().unwrap();
        line
    };
    let bare = look(&[program.as_os_str()]);
    assert_eq!(bare, "terminal 0=1 1=1 2=1 foreground=1 size=1");
    let sntrace = env!("CARGO_BIN_EXE_sntrace").as_ref();
    assert_eq!(
        look(&[
            sntrace,
            "-o".as_ref(),
            "/dev/null".as_ref(),
            program.as_os_str()
        ]),
        bare
    );
}

#[test]
fn a_summary_of_three_lines_is_shown_on_a_terminal_unless_quiet() {
    let program = Build::c("quiet_malloc.c").path();
    let shown = |options: &[&str]| {
        let mut words: Vec<&OsStr> = vec![
            env!("CARGO_BIN_EXE_sntrace").as_ref(),
            "-o".as_ref(),
            "/dev/null".as_ref(),
        ];
        words.extend(options.iter().map(|&option| OsStr::new(option)));
        words.push(program.as_os_str());
        let (mut child, keyboard, mut screen) = on_a_terminal(&words);
        let text = std::io::read_to_string(&mut screen).unwrap();
        drop(keyboard);
        assert!(child.wait().unwrap().success());
        text
    };
    let summary = shown(&[]);
    assert_eq!(summary.trim_end().lines().count(), 3, "{summary:?}");
    for word in ["events", "peak", "leaked"] {
        assert!(summary.to_lowercase().contains(word), "{word}: {summary:?}");
    }
    assert_eq!(shown(&["--quiet"]), "");
}

#[test]
fn sigterm_to_sntrace_reaches_the_program_and_the_trace_is_whole() {
    let sntrace = Sntrace::default_transport();
    let program = Build::c("waits.c").path();
    let mut child = sntrace.spawn(&[&program]);
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(next_line(&mut screen), "ready");
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let run = sntrace.finished(output).exits(143);
    let text = run.lines_text();
    assert!(
        run.parse(&text)
            .iter()
            .any(|line| line.caller == "take" && line.size == Some(4712)),
        "{text}"
    );
}
