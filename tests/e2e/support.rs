//! Running sntrace as a user's shell would, and reading what comes out.
//!
//! Lines go to a file of the test's own (`-o`), so the program's stderr stays apart and can be
//! checked; the environment is a small fixed one, so nothing of the developer's leaks in.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::grammar::{Line, Prefix};

/// How events reach the launcher. What must hold, must hold for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Shared,
    Pipe,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Shared => "shared",
            Transport::Pipe => "pipe",
        }
    }
}

/// Makes two tests of each function, one a transport.
macro_rules! both_transports {
    ($($(#[$meta:meta])* fn $name:ident($transport:ident) $body:block)*) => { $(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn check($transport: Transport) $body
            $(#[$meta])*
            #[test]
            fn shared() { check(Transport::Shared) }
            $(#[$meta])*
            #[test]
            fn pipe() { check(Transport::Pipe) }
        }
    )* };
}
pub(crate) use both_transports;

/// The environment of every traced program, unless a test adds to it.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
    ("HOME", "/nonexistent"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
];

/// A clean environment for `command`.
pub fn clean(command: &mut Command) -> &mut Command {
    command.env_clear().envs(ENVIRONMENT.iter().copied())
}

/// A command's path. Rust starts a name by fork and exec but a path by posix_spawn, which leaves
/// other signal dispositions (glibc's internal signals are ignored): what is compared must be
/// started in the same way.
pub fn absolute(name: &OsStr) -> PathBuf {
    match name.to_str() {
        Some(text) if !text.contains('/') => crate::programs::tool(text),
        _ => PathBuf::from(name),
    }
}

/// What the same command prints without sntrace, in the same environment.
pub fn bare(program: &[&str]) -> String {
    let mut command = Command::new(absolute(OsStr::new(program[0])));
    let output = clean(command.args(&program[1..]))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// One invocation of sntrace, in the making.
pub struct Sntrace {
    options: Vec<OsString>,
    prefix: Prefix,
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    current_dir: Option<PathBuf>,
    /// Put before sntrace's own command line: `setarch -R`, `script`, `env --ignore-signal`.
    through: Vec<OsString>,
    own_output: bool,
}

impl Sntrace {
    pub fn new(transport: Transport) -> Self {
        Self {
            options: vec!["--transport".into(), transport.name().into()],
            prefix: Prefix::default(),
            folder: TempDir::new().unwrap(),
            environment: Vec::new(),
            stdin: Vec::new(),
            current_dir: None,
            through: Vec::new(),
            own_output: true,
        }
    }

    /// A run for which the transport makes no difference: the default one.
    pub fn default_transport() -> Self {
        let mut this = Self::new(Transport::Shared);
        this.options.clear();
        this
    }

    /// Adds options; those that change the form of lines are noted for the parser.
    pub fn options<S: AsRef<OsStr>>(mut self, options: &[S]) -> Self {
        for option in options.iter().map(AsRef::as_ref) {
            match option.to_str() {
                Some("--timestamps") => self.prefix.timestamps = true,
                Some("--pid") => self.prefix.pid = true,
                Some("--tid") => self.prefix.tid = true,
                _ => {}
            }
            self.options.push(option.to_owned());
        }
        self
    }

    /// Leaves the lines on stderr, where they go by default.
    pub fn lines_to_stderr(mut self) -> Self {
        self.own_output = false;
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.current_dir = Some(folder.to_owned());
        self
    }

    pub fn through(mut self, command: &[&str]) -> Self {
        self.through = command.iter().map(|&word| word.into()).collect();
        self
    }

    /// A path in this run's own folder, which lives as long as the run's result.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lines_path(&self) -> PathBuf {
        self.file("lines")
    }

    /// The whole command line, ready to be spawned.
    pub fn command<S: AsRef<OsStr>>(&self, program: &[S]) -> Command {
        let sntrace = OsStr::new(env!("CARGO_BIN_EXE_sntrace"));
        let mut words: Vec<&OsStr> = self.through.iter().map(OsString::as_os_str).collect();
        words.push(sntrace);
        words.extend(self.options.iter().map(OsString::as_os_str));
        let lines = self.lines_path();
        if self.own_output {
            words.extend([OsStr::new("-o"), lines.as_os_str()]);
        }
        words.push(OsStr::new("--"));
        words.extend(program.iter().map(AsRef::as_ref));
        let mut command = Command::new(absolute(words[0]));
        clean(command.args(&words[1..]))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        command
    }

    /// Starts it with all three streams as pipes, for tests that talk to the program.
    pub fn spawn<S: AsRef<OsStr>>(&self, program: &[S]) -> Child {
        let mut command = self.command(program);
        // A process group of its own, so that a run that hangs can be ended as a whole.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(self, program: &[S]) -> Run {
        let mut child = self.spawn(program);
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin.clone();
        let writer = std::thread::spawn(move || {
            // A program that does not read its input is no failure.
            let _ = stdin.write_all(&input);
        });
        let output = unless_it_hangs(child);
        writer.join().unwrap();
        self.finished(output)
    }

    /// What a child from [`Sntrace::spawn`] left.
    pub fn finished(self, output: Output) -> Run {
        Run {
            output,
            prefix: self.prefix,
            folder: self.folder,
        }
    }
}

/// After this time a run counts as hanging. No verdict depends on how fast a run is: the slowest
/// takes seconds, and a hang would otherwise hold up everything without a word.
const HANGING: Duration = Duration::from_secs(600);

/// Waits for the end of a child and of all that writes to its pipes.
fn unless_it_hangs(child: Child) -> Output {
    let group = child.id();
    let (ended, end) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let hangs = end.recv_timeout(HANGING) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let _ = Command::new("kill")
                .args(["-KILL", "--", &format!("-{group}")])
                .status();
        }
        hangs
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    assert!(
        !watch.join().unwrap(),
        "it hangs; stderr: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a run left behind.
pub struct Run {
    pub output: Output,
    prefix: Prefix,
    folder: TempDir,
}

impl Run {
    /// Exit status as a shell shows it; 128 + N if sntrace itself died of a signal.
    pub fn code(&self) -> i32 {
        self.output
            .status
            .code()
            .unwrap_or_else(|| 128 + self.output.status.signal().unwrap())
    }

    /// Fails unless the exit status is this one; says what stderr held.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "exit status; stdout: {}stderr: {}",
            self.stdout(),
            self.stderr()
        );
        self
    }

    /// Fails unless the program and sntrace both ended well.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All lines as text. For big traces, [`Run::each_line`].
    pub fn lines_text(&self) -> String {
        std::fs::read_to_string(self.file("lines")).unwrap_or_else(|e| {
            panic!(
                "lines: {e}; exit status {}; stderr: {}",
                self.code(),
                self.stderr()
            )
        })
    }

    /// All lines, parsed strictly; `text` comes from [`Run::lines_text`].
    #[track_caller]
    pub fn parse<'a>(&self, text: &'a str) -> Vec<Line<'a>> {
        parse_lines(text, self.prefix)
    }

    /// Streams the lines of a big trace; memory stays flat.
    #[track_caller]
    pub fn each_line(&self, mut see: impl FnMut(&Line<'_>)) {
        let file = File::open(self.file("lines"))
            .unwrap_or_else(|e| panic!("lines: {e}; stderr: {}", self.stderr()));
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut text = String::new();
        while reader.read_line(&mut text).unwrap() > 0 {
            let line = text.strip_suffix('\n').expect("the last line is complete");
            see(&Line::parse(line, self.prefix).unwrap_or_else(|e| panic!("{e}")));
            text.clear();
        }
    }
}

/// Writes a file that may be executed. Another process does it: a test of another thread that
/// forks just now would inherit the open file, and the kernel then refuses to execute it
/// ("text file busy").
pub fn write_program(path: &Path, bytes: &[u8]) {
    let mut install = Command::new("install");
    let mut child = install
        .args(["-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success(), "{}", path.display());
}

/// Parses every line of `text`; panics on the first that is off the grammar.
#[track_caller]
pub fn parse_lines(text: &str, prefix: Prefix) -> Vec<Line<'_>> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is cut: {:?}",
        text.lines().last()
    );
    text.lines()
        .map(|line| Line::parse(line, prefix).unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

/// Lines with this caller.
pub fn called_by<'l, 'a>(lines: &'l [Line<'a>], caller: &str) -> Vec<&'l Line<'a>> {
    lines.iter().filter(|line| line.caller == caller).collect()
}

/// The first line that matches, or a failure that shows the lines around what was looked for.
#[track_caller]
pub fn find<'l, 'a>(
    lines: &'l [Line<'a>],
    what: &str,
    matches: impl Fn(&Line<'a>) -> bool,
) -> &'l Line<'a> {
    lines.iter().find(|line| matches(line)).unwrap_or_else(|| {
        let last: Vec<_> = lines
            .iter()
            .rev()
            .take(40)
            .map(|line| format!("{}  [{}]", line.call, line.caller))
            .collect();
        panic!(
            "no line with {what} among {} lines; the last ones, backwards:\n{}",
            lines.len(),
            last.join("\n")
        )
    })
}

/// `key=value` words that a test program printed, by key.
pub fn word<'a>(text: &'a str, key: &str) -> &'a str {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("the program printed no {key}=: {text}"))
}

/// A number that a test program printed as `key=number`, decimal or with `0x`.
pub fn number(text: &str, key: &str) -> u64 {
    let word = word(text, key);
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    }
    .unwrap_or_else(|e| panic!("{key}={word}: {e}"))
}

/// The JSON Schema that docs/ keeps.
fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sntrace.schema.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Fails unless `document` is a valid JSON trace.
#[track_caller]
pub fn valid_by_schema(document: &Value) {
    valid(document, &schema());
}

/// Fails unless `object` is a valid line of a `--jsonl` file.
#[track_caller]
pub fn valid_line_by_schema(object: &Value) {
    let whole = schema();
    valid(
        object,
        &serde_json::json!({ "$ref": "#/$defs/jsonl_line", "$defs": whole["$defs"] }),
    );
}

#[track_caller]
fn valid(document: &Value, schema: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .take(5)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "not valid by docs/sntrace.schema.json:\n{}",
        errors.join("\n")
    );
}
