//! Every event's stack is the one it was called on: whatever a program does to its stacks.
//!
//! Three opinions are compared. The hook's own: with `SNTRACE_VERIFY_STACKS=1` each stack, most of which
//! is taken over from the one before, is compared with a walk of its own. libunwind's: `touch` of
//! `tests/programs/witness.h` takes a block of a size of its own and writes down the stack that
//! libunwind sees, and the trace must have the same return addresses for the block. And the
//! program's, where a test knows what it called.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{Build, installed, tool};
use crate::support::{Transport, clean, number};

/// A recorded run of which every stack was verified, and what its own export says.
struct Recorded {
    _folder: TempDir,
    stdout: String,
    verified: u64,
    document: Value,
    witness: PathBuf,
}

/// Records a program that ends well. Any stack that differs makes the status 125.
#[track_caller]
fn recorded(transport: Transport, program: &[&str]) -> Recorded {
    let folder = TempDir::new().unwrap();
    let [trace, json, witness] =
        ["trace.snt", "trace.json", "witness"].map(|n| folder.path().join(n));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    command.args(["record", "--transport", transport.name(), "-o"]);
    command.arg(&trace).arg("--").args(program);
    clean(&mut command)
        .env("SNTRACE_VERIFY_STACKS", "1")
        .env("WITNESS", &witness);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{program:?}: {said}");
    let verified = match said.split_once("stacks verified: ") {
        Some((_, counts)) => {
            assert!(counts.contains(", differences: 0"), "{said}");
            counts.split(',').next().unwrap().parse().unwrap()
        }
        None => 0,
    };
    let mut export = Command::new(env!("CARGO_BIN_EXE_sntrace"));
    export
        .arg("export")
        .arg(&trace)
        .args(["--format", "json", "-o"])
        .arg(&json);
    let exported = clean(&mut export).output().unwrap();
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    let document: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for bad in ["dropped_events", "damaged_lanes"] {
        assert_eq!(document["certificate"][bad], 0, "{bad}");
    }
    Recorded {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        verified,
        document,
        witness,
        _folder: folder,
    }
}

/// A return address, as a module's number in its file.
type Place<'a> = (&'a str, u64);

impl Recorded {
    /// Fails unless at least so many stacks were verified, all but those of threads' first events.
    #[track_caller]
    fn verified(self, least: u64) -> Self {
        let events = self.certificate("events");
        assert_eq!(self.verified, events, "every event's stack is verified");
        assert!(events >= least, "{events} events");
        self
    }

    /// Fails if any stack is truncated.
    #[track_caller]
    fn whole(self) -> Self {
        assert_eq!(self.certificate("truncated_stacks"), 0);
        self
    }

    fn certificate(&self, key: &str) -> u64 {
        self.document["certificate"][key].as_u64().unwrap()
    }

    fn list(&self, key: &str) -> &Vec<Value> {
        self.document[key].as_array().unwrap()
    }

    /// The stack of an event, inner to outer, and whether it goes on beyond its end.
    fn stack(&self, event: &Value) -> (Vec<Place<'_>>, bool) {
        let (mut places, mut truncated) = (Vec::new(), false);
        let mut next = event["stack"].as_u64();
        while let Some(at) = next {
            let node = &self.list("stacks")[at as usize];
            let frame = &self.list("frames")[node["frame"].as_u64().unwrap() as usize];
            if frame["truncated"] == true {
                truncated = true;
            } else {
                let address = frame["address"].as_str().unwrap().trim_start_matches("0x");
                let address = u64::from_str_radix(address, 16).unwrap();
                places.push((frame["module"].as_str().unwrap_or(""), address));
            }
            next = node["parent"].as_u64();
        }
        (places, truncated)
    }

    /// Functions of the stack of an event, inner to outer.
    fn functions(&self, event: &Value) -> Vec<&str> {
        let mut names = Vec::new();
        let mut next = event["stack"].as_u64();
        while let Some(at) = next {
            let node = &self.list("stacks")[at as usize];
            let frame = &self.list("frames")[node["frame"].as_u64().unwrap() as usize];
            names.push(frame["function"].as_str().unwrap_or("?"));
            next = node["parent"].as_u64();
        }
        names
    }

    /// Compares the stacks of `touch`'s blocks with those that libunwind saw; returns how many. A
    /// stack that is truncated must be right as far as it goes.
    #[track_caller]
    fn as_libunwind_saw(&self) -> usize {
        let mut starts: HashMap<&str, HashSet<u64>> = HashMap::new();
        for module in self.list("modules") {
            let start = module["start"].as_str().unwrap().trim_start_matches("0x");
            let path = module["path"].as_str().unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            starts.entry(path).or_default().insert(start);
        }
        // A module may have been at several places. All programs here begin at their address 0.
        let is = |&(module, address): &Place<'_>, seen: u64| match starts.get(module) {
            Some(starts) => starts.contains(&seen.wrapping_sub(address)),
            None => address == seen,
        };
        let seen = stacks_written(&self.witness);
        let mut found = 0;
        for event in self
            .list("events")
            .iter()
            .filter(|event| event["op"] == "malloc")
        {
            let Some(witness) = seen.get(&event["size"].as_u64().unwrap()) else {
                continue;
            };
            let (stack, truncated) = self.stack(event);
            // The innermost is `touch` itself, at two of its instructions.
            let (ours, theirs) = (&stack[1..], &witness[1..]);
            let same = ours
                .iter()
                .zip(theirs)
                .take_while(|(our, their)| is(our, **their))
                .count();
            let ends = if truncated {
                ours.len() <= theirs.len()
            } else {
                ours.len() == theirs.len()
            };
            assert!(
                same == ours.len() && ends,
                "block {}: {same} frames are the same of {} (truncated: {truncated}) and {}\n{:#x?}\n{:#x?}",
                event["size"],
                ours.len(),
                theirs.len(),
                &ours[same..].iter().take(5).collect::<Vec<_>>(),
                &theirs[same.min(theirs.len())..]
                    .iter()
                    .take(5)
                    .collect::<Vec<_>>()
            );
            found += 1;
        }
        assert_eq!(
            found,
            seen.len(),
            "each witnessed block is in the trace once"
        );
        found
    }
}

/// What `touch` wrote: the stack of each block, by the block's size.
fn stacks_written(path: &Path) -> HashMap<u64, Vec<u64>> {
    let bytes = std::fs::read(path).unwrap();
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (mut stacks, mut rest) = (HashMap::new(), &words[..]);
    while let [size, count, more @ ..] = rest {
        let (stack, others) = more.split_at(*count as usize);
        assert!(
            stacks.insert(*size, stack.to_vec()).is_none(),
            "size {size} twice"
        );
        rest = others;
    }
    stacks
}

/// A program that includes `witness.h`.
fn witnessed(build: Build) -> String {
    let library = Command::new(tool("gcc"))
        .arg("-print-file-name=libunwind.so")
        .output()
        .unwrap();
    installed(
        String::from_utf8(library.stdout).unwrap().trim(),
        "libunwind-dev",
    );
    build
        .flags(&["-pthread", "-lunwind"])
        .path()
        .to_str()
        .unwrap()
        .to_owned()
}

fn c(source: &str) -> String {
    witnessed(Build::c(source))
}

fn optimised_c(source: &str) -> String {
    witnessed(Build::c(source).flags(&["-O2", "-fno-optimize-sibling-calls"]))
}

fn shared(program: &[&str]) -> Recorded {
    recorded(Transport::Shared, program)
}

#[test]
fn of_python() {
    let script = "import json, re\n\
                  def f(n): return [str(n)] + (f(n - 1) if n else [])\n\
                  d = [sorted(f(i % 60), key=lambda t: t[::-1]) for i in range(300)]\n\
                  print(len(re.sub('[0-4]', 'xy', json.dumps(json.loads(json.dumps(d))))) > 0)";
    let python = tool("python3");
    let run = shared(&[python.to_str().unwrap(), "-c", script]).verified(20_000);
    assert_eq!(run.stdout, "True\n");
    run.whole();
}

#[test]
fn of_sqlite() {
    let sql = "create table t(a, b); with recursive c(x) as (select 1 union all select x+1 from c where x < 3000) \
               insert into t select x, hex(x) from c; create index i on t(b); \
               select count(*), max(b) from (select * from t order by b desc) group by a % 7;";
    let sqlite = tool("sqlite3");
    shared(&[sqlite.to_str().unwrap(), ":memory:", sql])
        .verified(5_000)
        .whole();
}

/// gcc's own compiler, on a source full of templates.
#[test]
fn of_a_compiler() {
    let output = Command::new(tool("g++"))
        .arg("-print-prog-name=cc1plus")
        .output()
        .unwrap();
    let compiler = String::from_utf8(output.stdout).unwrap();
    let source = crate::programs::sources().join("templates.cpp");
    let program = [
        compiler.trim(),
        "-quiet",
        "-std=c++17",
        source.to_str().unwrap(),
        "-o",
        "/dev/null",
    ];
    shared(&program).verified(100_000).whole();
}

#[test]
fn of_a_rust_program() {
    for level in ["-Copt-level=0", "-Copt-level=3"] {
        let program = Build::rust("recursion.rs").flags(&[level]).path();
        shared(&[program.to_str().unwrap()])
            .verified(10_000)
            .whole();
    }
}

#[test]
fn of_threads_in_cpp() {
    for level in ["-O0", "-O2"] {
        let program = witnessed(Build::cpp("crowd.cpp").flags(&[level]));
        let run = shared(&[&program]).verified(10_000).whole();
        assert!(run.as_libunwind_saw() > 3_000);
    }
}

#[test]
fn while_exceptions_are_thrown() {
    for level in ["-O0", "-O2"] {
        let program = witnessed(Build::cpp("throws.cpp").flags(&[level]));
        let run = shared(&[&program]).verified(3_000).whole();
        assert!(run.as_libunwind_saw() > 1_000);
    }
}

#[test]
fn in_coroutines_of_the_language() {
    for level in ["-O0", "-O2"] {
        let program = witnessed(Build::cpp("generators.cpp").flags(&["-std=c++20", level]));
        let run = shared(&[&program]).verified(2_000).whole();
        assert!(run.as_libunwind_saw() > 1_000);
    }
}

/// The stacks are right, and what lies above them is not read.
#[test]
fn on_stacks_that_are_switched_and_replaced() {
    let run = shared(&[&c("switches.c")]).verified(1_000);
    assert!(run.as_libunwind_saw() > 500);
}

#[test]
fn in_signal_handlers() {
    let run = shared(&[&c("handlers.c"), "400"]).verified(2_000).whole();
    assert!(run.as_libunwind_saw() > 2_000);
    let frames = run.list("events").iter().map(|event| run.functions(event));
    let through = frames.filter(|names| names.contains(&"on_own_stack") && names.contains(&"main"));
    assert!(
        through.count() > 300,
        "stacks lead from the handler to what it interrupted"
    );
}

/// A timer's handler comes at any instruction, also of the hook.
#[test]
fn in_handlers_that_come_at_any_instruction() {
    let safe = Build::c("libsafe.c").library("libsafe.so").path();
    let folder = format!("-Wl,-rpath,{}", safe.parent().unwrap().display());
    let program = Build::c("interrupts.c")
        .flags(&["-pthread", &folder])
        .link(&safe)
        .path();
    for way in ["return", "jump"] {
        let run = shared(&[program.to_str().unwrap(), "3000", way]).whole();
        let blocks = number(&run.stdout, "blocks");
        // Each jump out of a record costs a lane; when all are gone the pipe is left.
        assert!(run.verified > if way == "jump" { 0 } else { 10_000 });
        let taken = run
            .list("events")
            .iter()
            .filter(|event| event["op"] == "malloc");
        let taken = taken
            .filter(|event| event["size"].as_u64() >= Some(50_000))
            .count() as u64;
        // A jump may leave `touch` before it allocates, or the hook before it records that.
        assert!(
            taken <= blocks && (taken == blocks || way == "jump"),
            "{taken} of {blocks}"
        );
    }
}

#[test]
fn after_jumps() {
    for program in [c("jumps.c"), optimised_c("jumps.c")] {
        let run = shared(&[&program]).verified(3_000).whole();
        assert!(run.as_libunwind_saw() > 1_000);
    }
}

#[test]
fn through_frames_of_every_layout() {
    for program in [c("frames.c"), optimised_c("frames.c")] {
        let run = shared(&[&program]).verified(3_000).whole();
        assert!(run.as_libunwind_saw() > 1_500);
    }
}

/// Rules of a library that is gone are not used for the one in its place.
#[test]
fn through_libraries_that_replace_each_other() {
    let libraries = ["1000", "2000"].map(|room| {
        let build = Build::c("libframed.c").flags(&[
            &format!("-DROOM={room}"),
            "-O2",
            "-fomit-frame-pointer",
            "-fno-stack-protector",
        ]);
        let path = build.library(&format!("libframed_{room}.so")).path();
        path.to_str().unwrap().to_owned()
    });
    let program = witnessed(Build::c("reframed.c").flags(&["-ldl"]));
    let run = shared(&[&program, &libraries[0], &libraries[1]])
        .verified(1_000)
        .whole();
    assert!(number(&run.stdout, "same") > 50, "{}", run.stdout);
    assert!(run.as_libunwind_saw() > 300);
}

/// Where nothing is known of the code, stacks end, and say so, or pass by the frame pointer.
#[test]
fn through_code_without_unwind_information() {
    let program = Build::c("no_cfi.c").flags(&["-DALONE"]).path();
    let run = shared(&[program.to_str().unwrap()]).verified(1_000);
    let blocks = number(&run.stdout, "blocks");
    let events = run.list("events").iter();
    let touched: Vec<_> = events
        .filter(|event| event["size"].as_u64() >= Some(50_000))
        .collect();
    assert_eq!(touched.len() as u64, blocks);
    let mut passed = HashMap::new();
    for event in touched {
        let (names, (_, truncated)) = (run.functions(event), run.stack(event));
        let callers = [names.contains(&"one"), names.contains(&"other")];
        assert_eq!(truncated, !names.contains(&"main"), "{names:?}");
        assert!(!(callers[0] && callers[1]), "{names:?}");
        *passed.entry((callers, truncated)).or_insert(0) += 1;
    }
    // With a frame pointer, whoever called is found, though all within is the same.
    assert!(passed[&([true, false], false)] > 50, "{passed:?}");
    assert!(passed[&([false, true], false)] > 50, "{passed:?}");
    assert!(passed[&([false, false], true)] > 50, "{passed:?}");
}

#[test]
fn of_functions_at_the_end_of_a_module() {
    let library = Build::c("libleaves.c")
        .flags(&["-nostartfiles"])
        .library("libleaves.so")
        .path();
    let folder = format!("-Wl,-rpath,{}", library.parent().unwrap().display());
    let program = witnessed(Build::c("leaves.c").flags(&[&folder]).link(&library));
    let run = shared(&[&program]).verified(300).whole();
    assert!(run.as_libunwind_saw() >= 200);
    let frames = run.list("events").iter().map(|event| run.functions(event));
    assert!(
        frames
            .filter(|names| names.contains(&"last_of_module"))
            .count()
            >= 200
    );
}

#[test]
fn of_recursion() {
    let run = shared(&[&c("deep.c"), "5000", "10"])
        .verified(2_000)
        .whole();
    assert!(run.as_libunwind_saw() >= 1_000);
    let run = recorded(Transport::Shared, &[&optimised_c("deep.c"), "600", "1"]);
    assert!(run.whole().as_libunwind_saw() >= 1_200);
}

/// Deeper than what is kept: the inner end is right, and the rest is said to be missing; on the way
/// back stacks are whole again.
#[test]
fn of_recursion_without_a_limit() {
    let run = shared(&[&c("deep.c"), "20000", "100"]).verified(800);
    assert!(run.as_libunwind_saw() >= 400);
    let depths = run.list("events").iter().map(|event| run.stack(event));
    let (cut, whole): (Vec<_>, Vec<_>) = depths.partition(|(_, truncated)| *truncated);
    assert!(cut.iter().all(|(stack, _)| stack.len() >= 2_048));
    let deepest = whole.iter().map(|(stack, _)| stack.len()).max().unwrap();
    assert!((7_000..9_000).contains(&deepest), "{deepest}");
    assert!(whole.len() > 200);
    assert_eq!(run.certificate("truncated_stacks"), cut.len() as u64);
}

#[test]
fn of_threads_by_the_thousand() {
    let program = Build::c("many_threads.c").flags(&["-pthread"]).path();
    let run = shared(&[program.to_str().unwrap()]).verified(6_000).whole();
    let events = run.list("events").iter();
    let ours = events.filter(|event| event["caller"] == "take_number");
    let stacks: HashSet<_> = ours.map(|event| run.functions(event)).collect();
    assert_eq!(stacks.len(), 1, "{stacks:?}");
}

#[test]
fn of_forked_children() {
    let program = Build::c("forks.c").flags(&["-DALONE", "-pthread"]).path();
    let run = shared(&[program.to_str().unwrap()]).verified(1_000).whole();
    let frames = run.list("events").iter().map(|event| run.functions(event));
    let children =
        frames.filter(|names| names.iter().filter(|name| **name == "descend").count() > 8);
    assert!(children.count() > 30);
}

/// Through the pipe each event has a stack of its own.
#[test]
fn through_the_pipe() {
    for (program, least) in [
        (
            vec![witnessed(Build::cpp("crowd.cpp").flags(&["-O2"]))],
            3_000,
        ),
        (
            vec![witnessed(Build::cpp("throws.cpp").flags(&["-O0"]))],
            1_000,
        ),
        (vec![c("switches.c")], 500),
        (vec![c("handlers.c"), "100".to_owned()], 500),
        (vec![c("jumps.c")], 1_000),
        (vec![c("deep.c"), "2000".to_owned(), "20".to_owned()], 200),
    ] {
        let words: Vec<&str> = program.iter().map(String::as_str).collect();
        let run = recorded(Transport::Pipe, &words);
        assert!(run.as_libunwind_saw() >= least, "{words:?}");
    }
}
