//! Hand-made traces whose figures a person can check in the head.

use super::samples::{Made, Maker};
use super::*;
use crate::trace::{Event, Exit, Op, StackId};

fn of(made: &Made) -> Analysis {
    Analysis::of(made, &AnalysisOptions::default()).unwrap()
}

fn counts(blocks: u64, bytes: u64) -> Counts {
    Counts { blocks, bytes }
}

/// Two stacks of different callers.
fn two(made: &mut Maker) -> (StackId, StackId) {
    let load = made.stack(&["malloc", "load", "main"]);
    (load, made.stack(&["draw", "main"]))
}

fn totals(analysis: &Analysis, stack: StackId) -> StackTotals {
    analysis.stacks.get(stack).copied().unwrap_or_default()
}

#[test]
fn the_peak_is_told_by_stack() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.malloc(load, 16, 100) // 100
        .malloc(draw, 32, 50) // 150
        .malloc(load, 48, 30) // 180: the peak
        .free(draw, 16) // 80
        .malloc(draw, 64, 99); // 179
    let analysis = of(&made.make());
    assert_eq!(analysis.totals.peak_bytes, 180);
    assert_eq!(totals(&analysis, load).peak, counts(2, 130));
    assert_eq!(totals(&analysis, draw).peak, counts(1, 50));
}

#[test]
fn leaks_are_what_is_live_when_a_process_ends_but_by_exec() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.begin(1, None)
        .malloc(load, 16, 100)
        .end(1, Exit::Exec)
        .begin(2, None);
    for (block, size) in [(16, 7), (32, 8), (48, 9)] {
        made.call(Op::Malloc, draw, |event| {
            event.image = ImageId(2);
            (event.block, event.size) = (block, size);
        });
    }
    made.call(Op::Free, load, |event| {
        event.image = ImageId(2);
        event.block = 32;
    });
    made.end(2, Exit::Code(0));
    let analysis = of(&made.make());
    assert_eq!(totals(&analysis, load).leaked, counts(0, 0));
    assert_eq!(totals(&analysis, draw).leaked, counts(2, 16));
    assert_eq!(analysis.leaks.total(), counts(2, 16));
    assert_eq!(analysis.threads[1].leaked, counts(2, 16));
    let exits: Vec<_> = analysis.processes.iter().map(|p| p.exit).collect();
    assert_eq!(exits, [Some(Exit::Exec), Some(Exit::Code(0))]);
}

#[test]
fn a_trace_without_an_end_has_no_leaks() {
    let mut made = Maker::default();
    let (load, _) = two(&mut made);
    made.malloc(load, 16, 100);
    let leaks = of(&made.make()).leaks;
    assert_eq!(
        (leaks.total(), leaks.unended),
        (counts(0, 0), counts(1, 100))
    );
}

#[test]
fn suppressed_leaks_are_counted_apart() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.malloc(load, 16, 100)
        .malloc(draw, 32, 50)
        .end(1, Exit::Code(0));
    let options = AnalysisOptions {
        suppressions: Suppressions::parse("leak:nothing\nleak:^load$").unwrap(),
    };
    let leaks = Analysis::of(&made.make(), &options).unwrap().leaks;
    assert_eq!(leaks.stacks, [(draw, counts(1, 50))]);
    let expected = [("nothing", counts(0, 0)), ("^load$", counts(1, 100))];
    assert_eq!(leaks.suppressed, expected.map(|(p, n)| (p.to_owned(), n)));
}

#[test]
fn temporary_and_lifetimes_are_put_down_to_who_allocated() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.malloc(load, 16, 100) // at 10
        .free(draw, 16) // at 20: nothing in between
        .malloc(load, 32, 7) // at 30
        .malloc(draw, 48, 8) // at 40
        .wait(1000)
        .free(draw, 32); // at 1050
    let analysis = of(&made.make());
    let load = totals(&analysis, load);
    assert_eq!(load.temporary, counts(1, 100));
    assert_eq!(analysis.totals.temporary_allocations, 1);
    assert_eq!(load.freed, 2);
    assert_eq!(load.mean_lifetime_ns(), Some((10 + 1020) / 2));
    assert_eq!(totals(&analysis, draw).mean_lifetime_ns(), None);
    let classes: Vec<_> = analysis.lifetimes.classes().map(|c| c.blocks).collect();
    // 10 to 99 ns, 100 to 999 ns, 1 to 9.99 µs.
    assert_eq!(classes, [1, 0, 1]);
}

#[test]
fn a_realloc_chain_is_put_down_to_its_first_allocation() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.malloc(load, 16, 10)
        .realloc(draw, 16, 32, 20) // moved: 10 bytes
        .realloc(draw, 32, 32, 40) // in place
        .realloc(draw, 32, 48, 80) // moved: 40 bytes
        .realloc(draw, 48, 0, 1 << 60) // failed: nothing happened
        .free(draw, 48)
        .realloc(draw, 0, 16, 5) // an allocation
        .realloc(load, 16, 0, 0); // a free
    let analysis = of(&made.make());
    let [(stack, chain)] = analysis.regrowths[..] else {
        panic!("{:?}", analysis.regrowths);
    };
    assert_eq!(stack, load);
    assert_eq!((chain.chains, chain.regrowths, chain.moves), (1, 3, 2));
    assert_eq!((chain.copied_bytes, chain.sufficient_bytes), (50, 80));
    assert_eq!((analysis.totals.allocations, analysis.totals.frees), (5, 5));
    assert_eq!(analysis.totals.peak_bytes, 80);
}

#[test]
fn who_frees_what_another_thread_allocated() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.malloc(load, 16, 100).malloc(load, 32, 50);
    for block in [16, 32] {
        made.call(Op::Free, draw, |event| {
            event.tid = 2;
            event.block = block;
        });
    }
    let analysis = of(&made.make());
    assert_eq!(analysis.crossings.pairs, [(0, 1, counts(2, 150))]);
    assert_eq!(totals(&analysis, load).crossed, counts(2, 150));
    let crossed: Vec<_> = analysis.threads.iter().map(|t| t.crossed.blocks).collect();
    assert_eq!(crossed, [0, 2]);
}

#[test]
fn a_double_free_has_three_stacks() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    let again = made.stack(&["again", "main"]);
    made.malloc(load, 16, 100)
        .free(draw, 16)
        .free(again, 16)
        .free(again, 16);
    let misuse = of(&made.make()).misuse;
    assert_eq!(misuse.count(MisuseKind::DoubleFree), 2);
    let first = &misuse.cases[0];
    assert_eq!((first.times, first.block, first.bytes), (1, 16, Some(100)));
    let stack = |call: Option<Call>| call.map(|call| call.stack);
    assert_eq!(stack(first.allocation), Some(load));
    assert_eq!(stack(first.first_release), Some(draw));
    assert_eq!(first.release.stack, again);
    // The third free is told from the second.
    assert_eq!(stack(misuse.cases[1].first_release), Some(again));
}

#[test]
fn the_same_mistake_is_one_case() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    for _ in 0..5 {
        made.call(Op::New, load, |event| (event.block, event.size) = (16, 8));
        made.free(draw, 16);
    }
    let misuse = of(&made.make()).misuse;
    assert_eq!(misuse.cases.len(), 1);
    assert_eq!((misuse.cases[0].times, misuse.total()), (5, 5));
    assert_eq!(misuse.cases[0].kind, MisuseKind::NewFree);
}

#[test]
fn no_number_of_mistakes_takes_unbounded_memory() {
    let mut made = Maker::default();
    for number in 0..CASES_MAX + 5 {
        let stack = made.stack(&[format!("f{number}").as_str()]);
        made.malloc(stack, 16, 1).free(stack, 16).free(stack, 16);
    }
    let misuse = of(&made.make()).misuse;
    assert_eq!(misuse.cases.len(), CASES_MAX);
    assert_eq!(misuse.total(), CASES_MAX as u64 + 5);
}

#[test]
fn a_block_from_before_tracing_may_be_freed_once() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.free(load, 16);
    let misuse = of(&made.make()).misuse;
    assert_eq!((misuse.unknown_frees, misuse.total()), (1, 0));
    assert_eq!(misuse.unknown_frees_by_stack, [(load, 1)]);
    made.free(draw, 16);
    let misuse = of(&made.make()).misuse;
    assert_eq!((misuse.unknown_frees, misuse.total()), (1, 1));
    assert_eq!(misuse.cases[0].allocation, None);
}

#[test]
fn a_forked_child_may_free_what_its_parent_allocated() {
    let mut made = Maker::default();
    let (load, draw) = two(&mut made);
    made.begin(1, None)
        .malloc(load, 16, 100)
        .begin(2, Some(1))
        // The parent's own copy is its own affair.
        .free(draw, 16);
    let child_frees = |event: &mut Event| {
        event.image = ImageId(2);
        event.block = 16;
    };
    made.call(Op::Free, draw, child_frees);
    let analysis = of(&made.make());
    assert_eq!(analysis.misuse.total(), 0);
    assert_eq!(analysis.misuse.inherited_frees, 1);
    assert_eq!(analysis.totals.peak_bytes, 200);
    assert_eq!(totals(&analysis, load).peak, counts(2, 200));
    assert_eq!(analysis.processes[1].inherited, counts(1, 100));
    // Twice is too often for a child as well.
    made.call(Op::Free, draw, child_frees);
    assert_eq!(of(&made.make()).misuse.count(MisuseKind::DoubleFree), 1);
}

#[test]
fn missing_events_make_misuse_doubtful() {
    let mut made = Maker::default();
    let (load, _) = two(&mut made);
    made.malloc(load, 16, 1);
    let mut trace = made.make();
    assert!(!of(&trace).misuse.doubtful);
    trace.certificate.dropped_events = 1;
    assert!(of(&trace).misuse.doubtful);
}

#[test]
fn modules_are_those_of_the_callers() {
    let mut made = Maker::default();
    let zlib = made.stack(&[
        "xmalloc in /usr/bin/app",
        "deflate in /lib/libz.so.1",
        "main",
    ]);
    let main = made.stack(&["main"]);
    made.malloc(zlib, 16, 100).malloc(main, 32, 7);
    let trace = made.make();
    let analysis = of(&trace);
    let modules: Vec<_> = analysis
        .modules
        .iter()
        .map(|module| {
            let file = module
                .file
                .map(|file| trace.tables.files[file.0 as usize].name());
            (file, module.allocated)
        })
        .collect();
    assert_eq!(
        modules,
        [
            (Some("libz.so.1"), counts(1, 100)),
            (Some("app"), counts(1, 7))
        ]
    );
}

#[test]
fn numbers_from_nowhere_do_no_harm() {
    let mut made = Maker::default();
    let (load, _) = two(&mut made);
    made.call(Op::Malloc, StackId(u32::MAX), |event| {
        event.image = ImageId(u32::MAX);
        (event.block, event.size, event.count) = (16, u64::MAX, 3);
        event.time_ns = u64::MAX;
    });
    made.call(Op::FreeAlignedSized, load, |event| {
        event.image = ImageId(u32::MAX);
        (event.block, event.alignment) = (16, u64::MAX);
    });
    made.begin(7, Some(u32::MAX - 1)).begin(7, Some(7));
    made.end(u32::MAX, Exit::Unknown).end(9, Exit::Code(1));
    let analysis = of(&made.make());
    assert_eq!(totals(&analysis, StackId::EMPTY).allocated.blocks, 1);
    assert_eq!(analysis.totals.peak_bytes, u64::MAX);
}

#[test]
fn what_cannot_be_read_is_no_analysis() {
    struct Broken(Made);
    impl Recording for Broken {
        fn header(&self) -> &crate::trace::Header {
            &self.0.header
        }
        fn tables(&self) -> &crate::trace::Tables {
            &self.0.tables
        }
        fn certificate(&self) -> &crate::trace::Certificate {
            &self.0.certificate
        }
        fn recorded(&self) -> &crate::trace::Recorded {
            &self.0.recorded
        }
        fn generator(&self) -> &str {
            self.0.generator()
        }
        fn replay(&self, each: &mut dyn FnMut(&crate::trace::Item)) -> Result<(), TraceError> {
            self.0.replay(each)?;
            Err(TraceError::Damaged {
                path: "a.snt".into(),
                at: 7,
                what: "it ends here".into(),
            })
        }
    }
    let broken = Broken(Maker::default().make());
    let error = Analysis::of(&broken, &AnalysisOptions::default()).unwrap_err();
    assert!(error.to_string().contains("byte 7"));
}
