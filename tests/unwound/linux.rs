//! The test itself: builds the program, traces each of its parts, compares.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sntrace::collect::segment::Segment;
use sntrace::collect::ticks::Clock;
use sntrace::collect::{Collector, Downstream, StackDepth, Supervision};
use sntrace::launch::{self, Launch, RunDirectory, Running};
use sntrace::trace::lanes::LaneStacks;
use sntrace::trace::{Batch, Exit, Item, Op};
use sntrace_format::env::{OptionBits, RunAddress};
use sntrace_format::layout::SEGMENT_BYTES;

/// Parts of the program with one thread, whose allocations come in the order of the witness's.
const PARTS: [&str; 8] = [
    "frames",
    "exceptions",
    "coroutines",
    "switches",
    "signals",
    "timers",
    "jumps",
    "depths",
];
/// What the program multiplies the sizes of its blocks by.
const ELEMENTS: u64 = 77;
/// How many addresses the witness takes at most.
const TESTIMONY_MAX: usize = 600;

struct Following(Running);

impl Supervision for Following {
    fn take_exits(&self) -> Vec<(u32, Exit)> {
        self.0.take_exits()
    }
    fn is_over(&self) -> bool {
        self.0.all_gone()
    }
}

/// The stacks of the blocks that the witness speaks of, beyond the caller, inner to outer.
#[derive(Default)]
struct Seen {
    lanes: LaneStacks,
    stacks: Vec<(Vec<u64>, bool)>,
}

impl Downstream for Seen {
    fn take(&mut self, batch: &mut Batch) {
        for item in &batch.items {
            match item {
                Item::Event(event) => {
                    let stack = self.lanes.of_event(batch.frames_of(event));
                    if event.op == Op::Calloc && event.count == ELEMENTS {
                        self.stacks.push((stack.collect(), event.truncated));
                    }
                }
                Item::Stack { lane, kept, frames } => self.lanes.change(*lane, *kept, frames),
                _ => {}
            }
        }
        batch.clear();
    }
    fn idle(&mut self) {}
}

/// Without arguments, the whole test. A process can start one program, so each part is another
/// process's: of this same file, with the program, the part and the witness's file.
pub fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [program, part, file] = &arguments[..] {
        return check(program, part, Path::new(file));
    }
    let folder = tempfile::tempdir().expect("a folder for the test");
    let program = build(folder.path());
    let file = folder.path().join("witness");
    let this = std::env::current_exe().expect("this file");
    for part in PARTS {
        let status = Command::new(&this)
            .args([program.as_os_str(), part.as_ref(), file.as_os_str()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{part}");
    }
}

fn check(program: &OsStr, part: &OsStr, file: &Path) {
    let seen = trace(&[program, part, file.as_os_str()]);
    let part = part.to_string_lossy();
    let testimony = read(file);
    assert_eq!(seen.lanes.wrong(), 0, "{part}: differences that don't fit");
    assert_eq!(seen.stacks.len(), testimony.len(), "{part}: stacks");
    assert!(!testimony.is_empty(), "{part}: no stacks");
    let pairs = seen.stacks.iter().zip(&testimony);
    for (number, ((stack, truncated), expected)) in pairs.enumerate() {
        compare(&part, number, stack, *truncated, expected);
    }
    println!("{part}: {} stacks are those of libunwind", testimony.len());
}

/// The witness's first address is in the caller itself, which the record names apart.
fn compare(part: &str, number: usize, stack: &[u64], truncated: bool, expected: &[u64]) {
    let beyond = expected.get(1..).unwrap_or_default();
    let shown = |frames: &[u64]| {
        let frames = frames.iter().take(60);
        frames.map(|frame| format!(" {frame:#x}")).collect::<String>()
    };
    // One that is full says nothing about what comes after.
    let whole = expected.len() < TESTIMONY_MAX;
    // What makecontext makes returns to the first byte of a function, and the byte before it, which
    // is looked up, is nobody's: whether there is more is not known.
    let end_is_known = part != "switches";
    let same = if whole {
        stack == beyond && !(truncated && end_is_known)
    } else {
        stack.starts_with(beyond)
    };
    let common = stack.iter().zip(beyond).take_while(|(ours, theirs)| ours == theirs);
    let common = common.count();
    assert!(
        same,
        "{part}, stack {number} (truncated: {truncated}), {} frames of sntrace's, {} of libunwind's, from number {common}:\n  sntrace  {}\n  libunwind{}",
        stack.len(),
        beyond.len(),
        shown(&stack[common..]),
        shown(&beyond[common..])
    );
}

fn build(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/stacks.cpp");
    let program = folder.join("stacks");
    let status = Command::new("g++")
        .args(["-std=c++20", "-g", "-O2", "-w", "-pthread", "-DWITNESS"])
        .arg(source)
        .arg("-lunwind")
        .arg("-o")
        .arg(&program)
        .status()
        .expect("g++ (scripts/install-test-tools.sh installs it)");
    assert!(
        status.success(),
        "g++ with libunwind-dev (scripts/install-test-tools.sh installs both)"
    );
    program
}

/// Traces a command with full stacks, as sntrace does.
fn trace(command: &[&OsStr]) -> Seen {
    let command: Vec<OsString> = command.iter().map(|&word| word.to_owned()).collect();
    let program = launch::inspect(&command[0], None).expect("a program that can be traced");
    let directory = RunDirectory::create(false).expect("a folder for the run");
    let segment = Arc::new(Segment::create().expect("shared memory"));
    let clock = Clock::choose();
    let mut options = OptionBits::FULL_STACKS;
    if clock == Clock::Monotonic {
        options = options.with(OptionBits::CLOCK_MONOTONIC);
    }
    let address = RunAddress {
        launcher_pid: std::process::id(),
        segment_fd: segment.descriptor(),
        options,
        segment_len: SEGMENT_BYTES as u64,
        pipe_path: &[],
    };
    let environment = launch::environment::unchanged();
    let environment = launch::environment::with_hook(environment, &directory.hook(), &address);
    let launch = Launch {
        program: &program,
        command: &command,
        environment: &environment,
        follow: true,
    };
    let mut collector = Collector::new(Some(segment.clone()), None, clock, StackDepth::Full);
    let running = launch::start(&launch, move || segment.wake()).expect("a running program");
    let running = Following(running);
    let mut seen = Seen::default();
    let statistics = collector.run(&running, &mut seen);
    assert_eq!(running.0.program_exit(), Some(Exit::Code(0)));
    assert_eq!((statistics.lost_events, statistics.damaged), (0, 0));
    seen
}

/// What the witness wrote.
fn read(file: &Path) -> Vec<Vec<u64>> {
    let bytes = std::fs::read(file).expect("what the witness wrote");
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut stacks = Vec::new();
    while let Some(count) = words.next() {
        stacks.push(words.by_ref().take(count as usize).collect());
    }
    stacks
}
