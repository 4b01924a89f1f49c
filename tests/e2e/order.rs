//! Lines come in an order that could have happened: an address has one owner at a time.
//!
//! Freed before allocated, or allocated again before freed: neither may ever be read from the
//! lines, whichever threads were involved. Nothing here knows when things happened; the address
//! alone is the witness.

use std::collections::HashMap;

use crate::programs::Build;
use crate::support::{Run, Sntrace, Transport, both_transports, number};

#[track_caller]
fn one_owner_at_a_time(run: &Run) -> u64 {
    let mut live: HashMap<u64, u64> = HashMap::new();
    let mut number = 0;
    let mut last_time = 0;
    run.each_line(|line| {
        number += 1;
        let time = line.time_ns.unwrap();
        assert!(
            time >= last_time,
            "line {number}: time runs backwards: {} after {last_time} ns",
            line.call
        );
        last_time = time;
        if let Some(block) = line.released() {
            assert!(
                live.remove(&block).is_some(),
                "line {number}: not allocated: {}  [{}]",
                line.call,
                line.caller
            );
        }
        if line.allocated() {
            let block = line.returned.unwrap();
            if let Some(since) = live.insert(block, number) {
                panic!(
                    "line {number}: {}  [{}], but the block is live since line {since}",
                    line.call, line.caller
                );
            }
        }
    });
    number
}

both_transports! {
    fn blocks_freed_by_other_threads_have_one_owner_at_a_time(transport) {
        let program = Build::c("races.c").flags(&["-O1", "-pthread"]).path();
        let run = Sntrace::new(transport)
            .options(&["--timestamps", "--tid"])
            .run(&[program.to_str().unwrap(), "free", "8", "400000"])
            .succeeds();
        let lines = one_owner_at_a_time(&run);
        assert!(lines >= number(&run.stdout(), "events"), "{lines} lines; {}", run.stdout());
    }

    fn blocks_resized_by_other_threads_have_one_owner_at_a_time(transport) {
        let program = Build::c("races.c").flags(&["-O1", "-pthread"]).path();
        let run = Sntrace::new(transport)
            .options(&["--timestamps", "--tid"])
            .run(&[program.to_str().unwrap(), "realloc", "8", "400000"])
            .succeeds();
        let lines = one_owner_at_a_time(&run);
        assert!(lines >= number(&run.stdout(), "events"), "{lines} lines; {}", run.stdout());
    }
}

/// All threads want the same three addresses, and messages are written in an order of their own.
#[test]
fn three_addresses_for_all_threads_have_one_owner_at_a_time_in_the_pipe() {
    let program = Build::c("races.c")
        .flags(&["-O1", "-pthread", "-DSLOTS=3", "-DONE_SIZE"])
        .path();
    let run = Sntrace::new(Transport::Pipe)
        .options(&["--timestamps", "--tid"])
        .run(&[program.to_str().unwrap(), "realloc", "32", "60000"])
        .succeeds();
    let lines = one_owner_at_a_time(&run);
    assert!(
        lines >= number(&run.stdout(), "events"),
        "{lines} lines; {}",
        run.stdout()
    );
}

#[test]
fn what_a_parent_does_before_a_fork_comes_before_what_its_child_does() {
    let program = Build::c("processes.c").path();
    let run = Sntrace::default_transport()
        .options(&["--pid"])
        .run(&[program.to_str().unwrap(), "fork"])
        .exits(7);
    let text = run.lines_text();
    let lines = run.parse(&text);
    let at = |caller: &str| {
        lines
            .iter()
            .position(|line| line.caller == caller)
            .unwrap_or_else(|| panic!("{caller}: {text}"))
    };
    // The parent waits for the child in between.
    assert!(at("before") < at("in_child"));
    assert!(at("in_child") < at("after"));
}

#[test]
fn threads_that_start_and_end_at_once_are_all_there() {
    // Most threads have come and gone before the launcher has read the first one's lane.
    let program = Build::c("races.c")
        .flags(&["-O1", "-pthread", "-DSLOTS=3", "-DONE_SIZE"])
        .path();
    let run =
        Sntrace::default_transport().run(&[program.to_str().unwrap(), "realloc", "32", "600000"]);
    let run = run.succeeds();
    let mut lines = 0;
    run.each_line(|_| lines += 1);
    assert!(
        lines >= number(&run.stdout(), "events"),
        "{lines} lines; {}",
        run.stdout()
    );
}
