//! Made-up traces: against a model that counts the slow way, and every view against the totals.

use proptest::prelude::*;

use super::samples::{Made, Maker};
use super::*;
use crate::trace::{Event, Exit, Item, Op};

fn of(made: &Made) -> Analysis {
    Analysis::of(made, &AnalysisOptions::default()).unwrap()
}

fn counts(blocks: u64, bytes: u64) -> Counts {
    Counts { blocks, bytes }
}

/// What may happen in a made-up trace: of image 1 to 3, thread 1 or 2, on a few addresses.
pub fn made_up() -> impl Strategy<Value = Made> {
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
        let peak = |stack| analysis.stacks.get(StackId(stack)).map_or(Counts::default(), |totals| totals.peak);
        let found: Vec<_> = (0..made.tables.stacks.len() as u32).map(peak).collect();
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
        let known: u64 = analysis.stacks.iter().map(|(_, stack)| stack.freed).sum();
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
