//! Hand-made traces whose figures a person can check in the head, and made-up ones against a
//! model that counts the slow way.

use proptest::prelude::*;

use super::samples::{Made, Maker};
use super::*;
use crate::trace::{Event, Exit, Item, Op, StackId};

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
    analysis.stacks[stack.0 as usize]
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

/// What may happen in a made-up trace: of image 1 to 3, thread 1 or 2, on a few addresses.
fn made_up() -> impl Strategy<Value = Made> {
    let step = (
        0u8..12,
        1u32..4,
        1u32..3,
        1u64..9,
        1u64..9,
        0u64..300,
        0usize..5,
    );
    proptest::collection::vec(step, 0..150).prop_map(|steps| {
        let mut made = Maker::default();
        let stacks = [
            made.stack(&["malloc", "a", "main"]),
            made.stack(&["b", "main"]),
            made.stack(&["c", "a", "main"]),
            StackId::EMPTY,
            made.stack(&["d < e", "main"]),
        ];
        made.begin(1, None);
        let mut running = vec![1];
        let mut owned = std::collections::HashSet::new();
        for (what, image, tid, one, other, size, stack) in steps {
            if !running.contains(&image) {
                // Each image begins once.
                if what == 0 && !owned.contains(&(image, 0)) {
                    owned.insert((image, 0));
                    made.begin(image, running.last().copied());
                    running.push(image);
                }
                continue;
            }
            let stack = stacks[stack];
            let (one, other) = (one * 16, other * 16);
            let has = |block| owned.contains(&(image, block));
            let place = |event: &mut Event| (event.image, event.tid) = (ImageId(image), tid);
            match what {
                1..=5 if !has(one) => {
                    owned.insert((image, one));
                    made.call(Op::Malloc, stack, |event| {
                        place(event);
                        (event.block, event.size) = (one, size);
                    });
                }
                // Also of blocks that are not live.
                6..=8 => {
                    owned.remove(&(image, one));
                    made.call(Op::Free, stack, |event| {
                        place(event);
                        event.block = one;
                    });
                }
                9 | 10 if has(one) && (one == other || !has(other)) => {
                    owned.remove(&(image, one));
                    owned.insert((image, other));
                    made.call(Op::Realloc, stack, |event| {
                        place(event);
                        (event.old_block, event.block, event.size) = (one, other, size);
                    });
                }
                11 if size < 20 && image != 1 => {
                    running.retain(|&r| r != image);
                    let exit = if size < 10 { Exit::Exec } else { Exit::Code(0) };
                    made.end(image, exit);
                }
                _ => {}
            }
        }
        made.make()
    })
}

/// The totals by stack at each moment, the slow way.
fn live_at_peak(made: &Made) -> (u64, Vec<Counts>) {
    let stacks = made.tables.stacks.len();
    let mut images = std::collections::HashMap::<ImageId, Vec<Counts>>::new();
    let mut blocks = std::collections::HashMap::<(ImageId, u64), (StackId, u64)>::new();
    let (mut highest, mut at_peak) = (0, vec![Counts::default(); stacks]);
    for item in &made.items {
        match item {
            Item::Process {
                image, forked_from, ..
            } => {
                let parent = forked_from.and_then(|parent| images.get(&parent).cloned());
                images.insert(*image, parent.unwrap_or(vec![Counts::default(); stacks]));
            }
            Item::Event(event) => {
                let live = images.get_mut(&event.image).unwrap();
                let gone = match event.op {
                    Op::Free => event.block,
                    _ => event.old_block,
                };
                if let Some((stack, bytes)) = blocks.remove(&(event.image, gone)) {
                    live[stack.0 as usize].take(counts(1, bytes));
                }
                if event.op != Op::Free {
                    live[event.stack.0 as usize] += counts(1, event.size);
                    blocks.insert((event.image, event.block), (event.stack, event.size));
                }
            }
            Item::Ended { image, .. } => {
                images.remove(image);
                blocks.retain(|(owner, _), _| owner != image);
            }
            _ => {}
        }
        let sums = (0..stacks).map(|s| images.values().map(|live| live[s]).sum());
        let sums: Vec<Counts> = sums.collect();
        let sum = sums.iter().map(|counts| counts.bytes).sum();
        if sum > highest {
            (highest, at_peak) = (sum, sums);
        }
    }
    (highest, at_peak)
}

proptest! {
    #[test]
    fn what_is_live_at_the_peak_is_what_a_slow_count_finds(made in made_up()) {
        let analysis = of(&made);
        let (highest, at_peak) = live_at_peak(&made);
        prop_assert_eq!(analysis.totals.peak_bytes, highest);
        let found: Vec<_> = analysis.stacks.iter().map(|totals| totals.peak).collect();
        prop_assert_eq!(found, at_peak);
        let buckets = analysis.timeline.buckets();
        prop_assert_eq!(buckets.iter().map(|b| b.high_bytes).max(), Some(highest));
    }

    #[test]
    fn every_view_adds_up_to_the_totals(made in made_up()) {
        let analysis = of(&made);
        let totals = &analysis.totals;
        let sum = |figure: fn(&StackTotals) -> Counts| -> Counts {
            analysis.by_stack(figure).map(|(_, counts)| counts).sum()
        };
        let allocated = counts(totals.allocations, totals.bytes_allocated);
        prop_assert_eq!(sum(|stack| stack.allocated), allocated);
        prop_assert_eq!(analysis.sizes.classes().map(|class| class.counts).sum::<Counts>(), allocated);
        prop_assert_eq!(analysis.threads.iter().map(|t| t.allocated).sum::<Counts>(), allocated);
        prop_assert_eq!(analysis.processes.iter().map(|p| p.allocated).sum::<Counts>(), allocated);
        prop_assert_eq!(analysis.modules.iter().map(|m| m.allocated).sum::<Counts>(), allocated);
        let groups = analysis.callers.group(analysis.by_stack(|stack| stack.allocated));
        prop_assert_eq!(groups.iter().map(|group| group.counts).sum::<Counts>(), allocated);
        let by_time = analysis.timeline.buckets().iter().map(|b| b.allocations).sum::<u64>();
        prop_assert_eq!(by_time, totals.allocations);

        let leaked = counts(totals.leaked_allocations, totals.leaked_bytes);
        prop_assert_eq!(sum(|stack| stack.leaked), leaked);
        prop_assert_eq!(analysis.leaks.total(), leaked);
        prop_assert_eq!(analysis.threads.iter().map(|t| t.leaked).sum::<Counts>(), leaked);
        prop_assert_eq!(sum(|stack| stack.temporary).blocks, totals.temporary_allocations);
        prop_assert_eq!(analysis.threads.iter().map(|t| t.temporary.blocks).sum::<u64>(), totals.temporary_allocations);
        prop_assert_eq!(analysis.threads.iter().map(|t| t.frees).sum::<u64>(), totals.frees);
        prop_assert_eq!(analysis.processes.iter().map(|p| p.frees).sum::<u64>(), totals.frees);
        prop_assert_eq!(sum(|stack| stack.crossed), analysis.crossings.total());

        // What was allocated was freed, leaked, swept away by an exec, or is there still.
        let known: u64 = analysis.stacks.iter().map(|stack| stack.freed).sum();
        prop_assert_eq!(analysis.lifetimes.classes().map(|class| class.blocks).sum::<u64>(), known);
        let swept: u64 = made.items.iter().map(|item| match item {
            Item::Ended { exit: Exit::Exec, live_blocks, .. } => *live_blocks,
            _ => 0,
        }).sum();
        prop_assert_eq!(totals.allocations, known + leaked.blocks + swept + analysis.leaks.unended.blocks);

        // What was freed was known, inherited, from before tracing, or freed before.
        let misuse = &analysis.misuse;
        let strange = misuse.unknown_frees + misuse.inherited_frees + misuse.count(MisuseKind::DoubleFree);
        prop_assert_eq!(totals.frees, known + strange);
    }
}
