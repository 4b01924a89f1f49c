//! Everything at once, counted exactly: see `tests/programs/torture.cpp` for what it does.
//!
//! The program counts its own calls, per process and function; the trace must hold exactly as
//! many, with as many bytes. `SNTRACE_TORTURE_EVENTS` sets the size of the biggest run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::programs::Build;
use crate::support::{Run, Sntrace, Transport, both_transports, number, word};

/// Calls and bytes by process, calling function and op.
type Totals = BTreeMap<(u32, String, String), (u64, u64)>;

/// What the processes printed. One process prints again after each exec; its totals add up.
fn printed(run: &Run) -> Totals {
    let mut totals = Totals::new();
    let text = run.stdout();
    for line in text.lines().filter(|line| line.starts_with("totals ")) {
        let op = word(line, "op").replace('_', " ");
        let op = if op == "posix memalign" {
            "posix_memalign".to_owned()
        } else {
            op
        };
        let pid = u32::try_from(number(line, "pid")).unwrap();
        let total = totals
            .entry((pid, word(line, "caller").to_owned(), op))
            .or_default();
        total.0 += number(line, "calls");
        total.1 += number(line, "bytes");
    }
    totals
}

fn traced(run: &Run) -> Totals {
    let mut totals = Totals::new();
    run.each_line(|line| {
        let ours = line.caller.starts_with("take_")
            || line.caller.starts_with("give_")
            || line.caller.starts_with("plugin_")
            || line.caller == "resize_block";
        if ours {
            // No allocation for a key that is there already: ten million lines.
            let pid = line.pid.unwrap();
            let range =
                (pid, String::new(), String::new())..(pid + 1, String::new(), String::new());
            let found = totals
                .range_mut(range)
                .find(|(key, _)| key.1 == line.caller && key.2 == line.function);
            let total = match found {
                Some((_, total)) => total,
                None => totals
                    .entry((pid, line.caller.to_owned(), line.function.to_owned()))
                    .or_default(),
            };
            total.0 += 1;
            total.1 += line.bytes();
        }
    });
    totals
}

#[track_caller]
fn no_difference(run: &Run, at_least: u64) {
    assert!(run.stdout().ends_with(" done\n"), "{}", run.stdout());
    let (printed, traced) = (printed(run), traced(run));
    let all: u64 = printed.values().map(|total| total.0).sum();
    assert!(all >= at_least, "only {all} events");
    let differences: Vec<String> = printed
        .keys()
        .chain(traced.keys())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|key| printed.get(key) != traced.get(key))
        .map(|key| {
            format!(
                "{key:?}: program {:?}, trace {:?}",
                printed.get(key),
                traced.get(key)
            )
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {} totals (calls, bytes) differ:\n{}",
        differences.len(),
        printed.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}

fn plugins() -> [PathBuf; 2] {
    ["plugin_a", "plugin_b"].map(|name| {
        Build::c("plugin.c")
            .flags(&[&format!("-DNAME={name}")])
            .library(&format!("lib{name}.so"))
            .path()
    })
}

fn torture() -> PathBuf {
    Build::cpp("torture.cpp")
        .flags(&["-O1", "-fno-optimize-sibling-calls", "-pthread"])
        .path()
}

fn run(sntrace: Sntrace, events: u64, mode: &str) -> Run {
    let [a, b] = plugins().map(|path| path.to_str().unwrap().to_owned());
    let program = torture();
    sntrace
        .options(&["--pid"])
        .run(&[program.to_str().unwrap(), &events.to_string(), &a, &b, mode])
        .succeeds()
}

fn biggest() -> u64 {
    std::env::var("SNTRACE_TORTURE_EVENTS").map_or(10_000_000, |text| text.parse().unwrap())
}

#[test]
fn ten_million_events_without_a_difference() {
    let events = biggest();
    no_difference(&run(Sntrace::new(Transport::Shared), events, "-"), events);
}

#[test]
fn events_through_the_pipe_without_a_difference() {
    let events = biggest() / 10;
    no_difference(&run(Sntrace::new(Transport::Pipe), events, "-"), events);
}

both_transports! {
    fn raw_callers_lose_nothing_either(transport) {
        let sntrace = Sntrace::new(transport).options(&["--raw-callers"]);
        let run = run(sntrace, 200_000, "-");
        // Called by libstdc++'s operator new directly, these have another caller here.
        let not_objects = |totals: Totals| -> Totals {
            totals.into_iter().filter(|(key, _)| !key.1.ends_with("_object")).collect()
        };
        assert_eq!(not_objects(printed(&run)), not_objects(traced(&run)));
    }

    fn handlers_that_allocate_at_any_instruction_are_recorded(transport) {
        let safe = Build::c("libsafe.c").flags(&["-O2"]).library("libsafe.so").path();
        let run = run(Sntrace::new(transport).env("LD_PRELOAD", safe), 500_000, "any-time");
        no_difference(&run, 500_000);
    }

    fn handlers_that_map_memory_at_any_instruction_are_recorded(transport) {
        let program = Build::c("map_in_handler.c").path();
        let run = Sntrace::new(transport).options(&["--mmap"]).run(&[&program]).succeeds();
        let printed = run.stdout();
        let text = run.lines_text();
        let lines = run.parse(&text);
        let count = |caller: &str, function: &str| {
            lines.iter().filter(|line| line.caller == caller && line.function == function).count() as u64
        };
        assert!(number(&printed, "maps") > 100, "{printed}");
        assert_eq!(count("map_in_handler", "mmap"), number(&printed, "maps"));
        assert_eq!(count("map_in_handler", "munmap"), number(&printed, "maps"));
        assert_eq!(count("take", "malloc"), number(&printed, "mallocs"));
        assert_eq!(count("take", "free"), number(&printed, "mallocs"));
    }

    fn threads_by_the_thousand_lose_nothing(transport) {
        let program = Build::c("many_threads.c").flags(&["-pthread"]).path();
        let run = Sntrace::new(transport).options(&["--tid"]).run(&[&program]).succeeds();
        let printed = run.stdout();
        let (mut taken, mut given) = (BTreeMap::<u64, u32>::new(), 0);
        run.each_line(|line| match line.caller {
            "take_number" => *taken.entry(line.size.unwrap()).or_default() += 1,
            "give_number" => given += 1,
            _ => {}
        });
        // Thread N takes one block of N bytes.
        let threads = number(&printed, "threads");
        assert_eq!(taken, (1..=threads).map(|n| (n, 1)).collect());
        assert_eq!(given, threads);
    }
}
