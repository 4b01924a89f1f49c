//! Exact counts: what sntrace says equals what two independent witnesses say.
//!
//! * **glibc's mtrace** (`libc_malloc_debug.so.0`) logs every call to a file. It begins in a
//!   constructor, so a preloaded library (`libmark.c`) leaves two blocks of odd sizes, at the
//!   start and at the end, in both traces; what lies between them is compared.
//! * **Valgrind** counts from the loader's first call to the last, so whole traces are compared.
//!   It is told not to free libc's own blocks at the end, which no program asked for.
//!
//! The programs are deterministic and do not depend on their environment (python and perl copy
//! it into blocks, and LD_PRELOAD is in it); stdout is a pipe each time, as the size of stdio's
//! buffer depends on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::grammar::Line;
use crate::programs::{Build, installed, tool};
use crate::support::{Sntrace, Transport, both_transports, clean};

#[derive(Debug, PartialEq, Eq, Default, Clone, Copy)]
struct Counts {
    allocations: u64,
    frees: u64,
    bytes: u64,
}

impl Counts {
    fn of(lines: &[Line<'_>]) -> Self {
        let mut counts = Self::default();
        for line in lines {
            counts.frees += u64::from(line.released().is_some());
            if line.allocated() {
                counts.allocations += 1;
                counts.bytes += line.bytes();
            }
        }
        counts
    }
}

/// The sizes that `libmark.c` asks for.
const START_MARK: u64 = 424_242;
const END_MARK: u64 = 434_343;

struct Subject {
    program: Vec<String>,
    stdin: Vec<u8>,
}

impl Subject {
    fn own() -> Self {
        let program = Build::c("deterministic.c").path();
        Self {
            program: vec![program.to_str().unwrap().into(), "20000".into()],
            stdin: Vec::new(),
        }
    }

    fn sqlite3() -> Self {
        let program = ["-batch", "-init", "/dev/null", ":memory:"].map(str::to_owned);
        let stdin = "create table t(a integer primary key, b text);\n\
            with recursive n(i) as (select 1 union all select i+1 from n where i<500)\n\
            insert into t select i, 'text ' || i from n;\n\
            create index x on t(b); select count(*), max(b) from t where b like '%9%' group by a % 3;\n";
        Self {
            program: std::iter::once(tool("sqlite3").to_str().unwrap().to_owned())
                .chain(program)
                .collect(),
            stdin: stdin.into(),
        }
    }

    fn xz() -> Self {
        let program = vec![
            tool("xz").to_str().unwrap().to_owned(),
            "-0".into(),
            "-c".into(),
        ];
        Self {
            program,
            stdin: (0..20_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect(),
        }
    }

    /// Runs `command` with the subject's input; fails unless it succeeds.
    fn feed(&self, command: &mut Command) {
        let mut child = clean(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin.clone();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
    }

    fn by_valgrind(&self) -> Counts {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new(tool("valgrind"));
        command
            .args([
                "--leak-check=no",
                "--undef-value-errors=no",
                "--run-libc-freeres=no",
                "--run-cxx-freeres=no",
            ])
            .arg(format!("--log-file={}", log.display()))
            .args(&self.program);
        self.feed(&mut command);
        let text = std::fs::read_to_string(log).unwrap();
        let totals = text
            .split("total heap usage: ")
            .nth(1)
            .unwrap_or_else(|| panic!("no totals: {text}"));
        let mut numbers = totals
            .lines()
            .next()
            .unwrap()
            .split(' ')
            .filter_map(|word| word.replace(',', "").parse().ok());
        let mut next = || numbers.next().unwrap();
        Counts {
            allocations: next(),
            frees: next(),
            bytes: next(),
        }
    }

    fn by_mtrace(&self, mark: &Path) -> Counts {
        let debug = installed("/usr/lib/x86_64-linux-gnu/libc_malloc_debug.so.0", "libc6");
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("env");
        // The mark comes first: libc_malloc_debug's destructor frees libc's own blocks, which no
        // program asked for, and the end mark must be written before that.
        command
            .arg(format!("LD_PRELOAD={}:{}", mark.display(), debug.display()))
            .arg(format!("MALLOC_TRACE={}", log.display()))
            .arg("MARK_MTRACE=1")
            .args(&self.program);
        self.feed(&mut command);
        let text = std::fs::read_to_string(log).unwrap();
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
        let (mut counts, mut between, mut ended) = (Counts::default(), false, false);
        for line in text.lines().filter(|line| line.starts_with('@')) {
            // `@ ./program:(function+0x1)[0x401136] + 0x4056a0 0x10`
            let words: Vec<&str> = line.split(' ').collect();
            let at = words
                .iter()
                .position(|word| matches!(*word, "+" | "-" | "<" | ">" | "!"))
                .unwrap();
            let size = words.get(at + 2).map(|word| hex(word));
            match (words[at], size) {
                ("+", Some(START_MARK)) => between = true,
                ("+", Some(END_MARK)) => (between, ended) = (false, true),
                ("+" | ">", Some(size)) if between => {
                    counts.allocations += 1;
                    counts.bytes += size;
                }
                ("-" | "<", None) if between => counts.frees += 1,
                _ => assert!(!between, "an unexpected line of mtrace: {line}"),
            }
        }
        assert!(ended, "mtrace's log has no end mark: {text}");
        counts
    }

    fn by_sntrace(&self, transport: Transport) -> Counts {
        let run = Sntrace::new(transport)
            .stdin(self.stdin.clone())
            .run(&self.program)
            .succeeds();
        Counts::of(&run.parse(&run.lines_text()))
    }

    fn by_sntrace_between_marks(&self, transport: Transport, mark: &Path) -> Counts {
        let run = Sntrace::new(transport)
            .env("LD_PRELOAD", mark)
            .stdin(self.stdin.clone())
            .run(&self.program)
            .succeeds();
        let text = run.lines_text();
        let lines = run.parse(&text);
        let at = |size| {
            lines
                .iter()
                .position(|line| line.size == Some(size))
                .expect("the mark is in the trace")
        };
        Counts::of(&lines[at(START_MARK) + 1..at(END_MARK)])
    }

    fn agrees_with_valgrind(&self, transport: Transport) {
        let (valgrind, sntrace) = (self.by_valgrind(), self.by_sntrace(transport));
        assert!(valgrind.allocations > 100, "{valgrind:?}");
        assert_eq!(
            sntrace, valgrind,
            "sntrace (left) and Valgrind (right) differ"
        );
    }

    fn agrees_with_mtrace(&self, transport: Transport) {
        let mark = mark();
        let (mtrace, sntrace) = (
            self.by_mtrace(&mark),
            self.by_sntrace_between_marks(transport, &mark),
        );
        assert!(mtrace.allocations > 100, "{mtrace:?}");
        assert_eq!(sntrace, mtrace, "sntrace (left) and mtrace (right) differ");
    }
}

fn mark() -> PathBuf {
    Build::c("libmark.c").library("libmark.so").path()
}

both_transports! {
    fn a_program_of_ours_counted_by_valgrind(transport) {
        Subject::own().agrees_with_valgrind(transport);
    }
    fn a_program_of_ours_counted_by_mtrace(transport) {
        Subject::own().agrees_with_mtrace(transport);
    }
    fn sqlite3_counted_by_valgrind(transport) {
        Subject::sqlite3().agrees_with_valgrind(transport);
    }
    fn sqlite3_counted_by_mtrace(transport) {
        Subject::sqlite3().agrees_with_mtrace(transport);
    }
    fn xz_counted_by_valgrind(transport) {
        Subject::xz().agrees_with_valgrind(transport);
    }
    fn xz_counted_by_mtrace(transport) {
        Subject::xz().agrees_with_mtrace(transport);
    }
}
