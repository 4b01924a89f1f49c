use std::sync::atomic::AtomicU64;

use super::super::ticks::{Clock, Timeline};
use smallvec::SmallVec;
use sntrace_format::record::{EVENT_WORDS_MAX, Event, write_event};

use super::*;
use crate::trace::{Batch, Exit, Item, Op};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const IMAGE: ImageId = ImageId(1);
/// Ticks in a nanosecond, for a timeline that has just begun.
const TICKS: u64 = 10;

fn record(op: Op, block: u64, size: u64, operands: [u64; 3]) -> Event {
    Event {
        op,
        time: 0,
        block,
        size,
        caller: 1,
        operands,
    }
}

fn malloc(block: u64) -> Event {
    record(Op::Malloc, block, 10, [0; 3])
}

fn free(block: u64) -> Event {
    record(Op::Free, block, 0, [0; 3])
}

fn realloc(old: u64, started: u64, block: u64) -> Event {
    record(Op::Realloc, block, 20, [old, started, 0])
}

/// The event as a thread's message.
fn by(thread: u32, time: u64, event: Event) -> RawEvent {
    RawEvent {
        event: Event { time, ..event },
        frames: SmallVec::new(),
        truncated: false,
        tid: thread,
        thread,
    }
}

/// Adds events to a lane.
fn write(orderer: &mut Orderer, lane: SourceId, events: &[(u64, Event)]) {
    let slot = [const { AtomicU64::new(0) }; EVENT_WORDS_MAX as usize];
    for &(time, event) in events {
        let words = write_event(&slot, &Event { time, ..event }, &[], false) as usize;
        let queue = orderer.lane(lane);
        queue.end().extend(
            slot[..words]
                .iter()
                .map(|word| word.load(std::sync::atomic::Ordering::Relaxed)),
        );
        queue.scan(false, |_, _| None).unwrap();
    }
    orderer.arrived(lane);
}

fn new_lane(orderer: &mut Orderer, tid: u32) -> SourceId {
    let lane = orderer.add_source();
    orderer.begin_lane(lane, IMAGE, 0);
    let words = orderer.lane(lane);
    words.others.push_back((0, 0, Other::Thread(tid)));
    orderer.arrived(lane);
    lane
}

/// Runs events of several lanes through the orderer; returns (op, block, old block).
fn order(lanes: &[Vec<(u64, Event)>]) -> (Vec<(Op, u64, u64)>, OrderStatistics) {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    for (number, lane) in lanes.iter().enumerate() {
        let source = new_lane(&mut orderer, 1 + number as u32);
        write(&mut orderer, source, lane);
    }
    let mut out = Batch::default();
    while orderer.advance(u64::MAX, true, usize::MAX, &timeline, &mut out) {}
    assert_eq!(orderer.tentative(), 0);
    let seen = out
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Event(event) => Some((event.op, event.block, event.old_block)),
            _ => None,
        })
        .collect();
    (seen, orderer.statistics())
}

/// Fails unless every address has one owner at a time.
fn assert_one_owner(events: &[(Op, u64, u64)]) {
    let mut live = std::collections::HashSet::new();
    for &(op, block, old) in events {
        if op == Op::Free {
            assert!(
                live.remove(&block),
                "{block:#x} freed without an owner in {events:?}"
            );
        } else {
            if old != 0 {
                assert!(
                    live.remove(&old),
                    "{old:#x} replaced without an owner in {events:?}"
                );
            }
            assert!(live.insert(block), "{block:#x} given twice in {events:?}");
        }
    }
}

#[test]
fn lanes_are_merged_by_time() {
    let (seen, _) = order(&[
        vec![(1, malloc(16)), (5, malloc(48))],
        vec![(3, malloc(32))],
    ]);
    assert_eq!(seen.iter().map(|e| e.1).collect::<Vec<_>>(), [16, 32, 48]);
}

#[test]
fn a_free_whose_clock_was_early_comes_after_the_allocation() {
    // Thread B frees what A allocated; B's processor read its counter 5 ticks too early.
    let (seen, statistics) = order(&[vec![(100, malloc(16))], vec![(95, free(16))]]);
    assert_eq!(seen, [(Op::Malloc, 16, 0), (Op::Free, 16, 0)]);
    assert_eq!((statistics.reordered, statistics.searched), (1, 0));
}

#[test]
fn an_allocation_whose_clock_was_early_comes_after_the_free_that_made_it_possible() {
    let (seen, _) = order(&[
        vec![(1, malloc(16)), (100, free(16))],
        vec![(97, malloc(16))],
    ]);
    assert_one_owner(&seen);
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_block_reused_while_its_realloc_still_runs_is_released_first() {
    // A: realloc(16 -> 32) from 10 to 50. B gets 16 at 20. C freed 32 at 5, before A got it.
    let (seen, _) = order(&[
        vec![(1, malloc(16)), (50, realloc(16, 10, 32))],
        vec![(20, malloc(16))],
        vec![(2, malloc(32)), (5, free(32))],
    ]);
    assert_one_owner(&seen);
    assert_eq!(seen.last(), Some(&(Op::Malloc, 16, 0)));
}

#[test]
fn chains_of_reallocs_unwind_from_the_far_end() {
    // Each takes over the block that the next one is still moving away from.
    let (seen, _) = order(&[
        vec![(1, malloc(16)), (60, realloc(16, 10, 160))],
        vec![(2, malloc(32)), (50, realloc(32, 11, 16))],
        vec![(3, malloc(48)), (40, realloc(48, 12, 32))],
    ]);
    assert_one_owner(&seen);
}

#[test]
fn the_wrong_one_of_two_that_obtain_an_address_is_taken_back() {
    // A gives 16 back. Both B and C get it within the clocks' error: C did so first, gave 32 back
    // and then 16. B then obtained 16, and after that 32. By time B comes first, and then each waits
    // for what the other has.
    let (seen, statistics) = order(&[
        vec![(10, malloc(16)), (1000, free(16))],
        vec![(1001, malloc(16)), (1300, malloc(32))],
        vec![
            (11, malloc(32)),
            (1005, malloc(16)),
            (1100, free(32)),
            (1200, free(16)),
        ],
    ]);
    assert_one_owner(&seen);
    assert_eq!(seen.len(), 8);
    assert_eq!((statistics.searched, statistics.unseen), (1, 0));
}

#[test]
fn a_block_that_was_there_before_the_hook_is_given_back_without_a_search() {
    let (seen, statistics) = order(&[
        vec![(100, free(16)), (30 * SKEW_NS * TICKS, malloc(32))],
        vec![(105, malloc(48)), (40 * SKEW_NS * TICKS, free(48))],
    ]);
    assert_eq!(seen.len(), 4);
    assert_eq!((statistics.searched, statistics.unsolved), (0, 0));
}

#[test]
fn nothing_beyond_the_watermark_is_emitted() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let lane = new_lane(&mut orderer, 1);
    let skew = timeline.ticks_in(SKEW_NS);
    write(
        &mut orderer,
        lane,
        &[(1000, malloc(16)), (2000 + skew, malloc(32))],
    );
    let mut out = Batch::default();
    orderer.advance(1500 + skew, false, usize::MAX, &timeline, &mut out);
    assert_eq!((out.items.len(), orderer.buffered_words()), (1, 3));
}

#[test]
fn the_pipe_waits_for_a_release_that_is_on_its_way() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let (one, mover) = (orderer.thread(IMAGE, 1), orderer.thread(IMAGE, 2));
    orderer.deliver_event(IMAGE, by(one, 1, malloc(16)));
    // Somebody moved away from 16, which this one got at once; the mover's message is late.
    orderer.deliver_event(IMAGE, by(one, 3, malloc(16)));
    let mut out = Batch::default();
    let watermark = timeline.ticks_in(1_000_000_000);
    orderer.advance(watermark, false, usize::MAX, &timeline, &mut out);
    assert_eq!(out.items.len(), 1);
    orderer.deliver_event(IMAGE, by(mover, 4, realloc(16, 2, 32)));
    orderer.advance(watermark, false, usize::MAX, &timeline, &mut out);
    assert_eq!((out.items.len(), orderer.is_empty()), (3, true));
    assert_eq!(orderer.statistics().unseen, 0);
}

#[test]
fn the_pipe_finds_a_release_behind_what_a_quick_thread_wrote_meanwhile() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let (quick, mover) = (orderer.thread(IMAGE, 1), orderer.thread(IMAGE, 2));
    orderer.deliver_event(IMAGE, by(mover, 1, malloc(16)));
    orderer.deliver_event(IMAGE, by(quick, 3, malloc(16)));
    for pair in 0..25_000 {
        orderer.deliver_event(IMAGE, by(quick, 4 + pair, malloc(64)));
        orderer.deliver_event(IMAGE, by(quick, 4 + pair, free(64)));
    }
    // Paused after it had moved, before it could say so.
    orderer.deliver_event(IMAGE, by(mover, 4, realloc(16, 2, 32)));
    let mut out = Batch::default();
    let watermark = timeline.ticks_in(1_000_000_000);
    while orderer.advance(watermark, false, usize::MAX, &timeline, &mut out) {}
    assert_eq!((out.items.len(), orderer.is_empty()), (50_003, true));
    assert_eq!(orderer.statistics().unseen, 0);
}

#[test]
fn the_pipe_does_not_take_a_later_owners_move_for_the_one_that_is_missing() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let threads = [1, 2, 3, 4].map(|tid| orderer.thread(IMAGE, tid));
    orderer.deliver_event(IMAGE, by(threads[0], 1, malloc(16)));
    orderer.deliver_event(IMAGE, by(threads[1], 1000, malloc(64)));
    // Paused between its clock and its message, so that it stands behind a later time.
    orderer.deliver_event(IMAGE, by(threads[2], 5, malloc(16)));
    orderer.deliver_event(IMAGE, by(threads[3], 700, realloc(16, 600, 32)));
    orderer.deliver_event(IMAGE, by(threads[0], 4, realloc(16, 2, 48)));
    let mut out = Batch::default();
    while orderer.advance(0, true, usize::MAX, &timeline, &mut out) {}
    let blocks: Vec<u64> = out
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Event(event) => Some(event.block),
            _ => None,
        })
        .collect();
    assert_eq!(blocks, [16, 64, 48, 16, 32]);
}

#[test]
fn what_is_heard_of_an_image_after_its_end_stops_nothing() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let thread = orderer.thread(IMAGE, 1);
    orderer.deliver_event(IMAGE, by(thread, 1, malloc(16)));
    orderer.deliver_other(IMAGE, 2, Other::Ended(Exit::Unknown));
    orderer.deliver_event(IMAGE, by(thread, 3, malloc(32)));
    let mut out = Batch::default();
    while orderer.advance(0, true, usize::MAX, &timeline, &mut out) {}
    assert_eq!(out.items.len(), 3);
}

#[test]
fn temporary_means_no_other_allocation_of_the_thread_in_between() {
    let mut orderer = Orderer::new();
    let timeline = Timeline::begin(Clock::Monotonic);
    let lane = new_lane(&mut orderer, 1);
    let steps = [
        malloc(16),
        free(16),
        malloc(32),
        malloc(48),
        free(32),
        free(48),
    ];
    for (time, event) in steps.into_iter().enumerate() {
        write(&mut orderer, lane, &[(time as u64, event)]);
    }
    let mut out = Batch::default();
    orderer.advance(0, true, usize::MAX, &timeline, &mut out);
    let temporary: Vec<bool> = out
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Event(event) if event.op == Op::Free => Some(event.temporary),
            _ => None,
        })
        .collect();
    assert_eq!(temporary, [true, false, true]);
}

/// A made-up allocator: `threads` allocate, free and move a few addresses in a true order, a step
/// every `hop` nanoseconds; clocks are then read up to `early` nanoseconds too early. A realloc goes
/// on for a while after the blocks have changed hands; its record comes at its end.
fn simulated(
    choices: &[(u8, u8, u8, u8)],
    (threads, addresses): (usize, u64),
    hop: u64,
    early: u64,
) -> Vec<Vec<(u64, Event)>> {
    let mut lanes = vec![Vec::new(); threads];
    // Until when a lane's thread is inside a realloc.
    let mut busy = vec![0u64; threads];
    let mut clocks = vec![0u64; threads];
    // Blocks, and since when somebody else can know of them.
    let mut live: Vec<(u64, u64)> = Vec::new();
    let mut free_list: Vec<u64> = (1..=addresses).map(|n| n * 16).collect();
    for (step, &(lane, action, pick, skew)) in choices.iter().enumerate() {
        let now = 1_000_000 + step as u64 * hop * TICKS;
        let lane = lane as usize % threads;
        if busy[lane] >= now {
            continue;
        }
        // A lane's own clock never goes back.
        let read = |time: u64| time - u64::from(skew) * TICKS * early / 255;
        let time = clocks[lane].max(read(now));
        let known: Vec<usize> = (0..live.len()).filter(|&at| live[at].1 < now).collect();
        let mut give = |live: &mut Vec<(u64, u64)>, since: u64| {
            let block = free_list.remove(pick as usize % free_list.len());
            live.push((block, since));
            block
        };
        match action % 3 {
            0 if live.len() < addresses as usize => {
                let block = give(&mut live, now);
                lanes[lane].push((time, malloc(block)));
            }
            1 if !known.is_empty() => {
                let (block, _) = live.remove(known[pick as usize % known.len()]);
                free_list.push(block);
                lanes[lane].push((time, free(block)));
            }
            2 if !known.is_empty() && live.len() < addresses as usize => {
                let (old, _) = live.remove(known[pick as usize % known.len()]);
                let end = now
                    + u64::from(pick) * hop / 25 * TICKS
                    + if pick > 235 { 150 * hop * TICKS } else { 0 };
                let block = give(&mut live, end);
                free_list.push(old);
                busy[lane] = end;
                let started = time.saturating_sub(50).max(clocks[lane]);
                lanes[lane].push((read(end).max(time), realloc(old, started, block)));
            }
            _ => continue,
        }
        clocks[lane] = lanes[lane].last().map_or(0, |&(time, _)| time);
    }
    lanes
}

proptest! {
    // Always the same cases: of such as these the search leaves some in a hundred thousand unsolved.
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]
    /// Also where an address goes to another thread and back many times before the clocks could
    /// tell.
    #[test]
    fn no_address_ever_has_two_owners(
        choices in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 0..600),
        size in (4usize..9, 4u64..10),
        hop in 40u64..100,
        early in 0u64..900,
    ) {
        let lanes = simulated(&choices, size, hop, early);
        let total: usize = lanes.iter().map(Vec::len).sum();
        let (seen, statistics) = order(&lanes);
        prop_assert_eq!(seen.len(), total);
        prop_assert_eq!(statistics.unseen, 0, "{:?} {:?}", statistics, lanes);
        assert_one_owner(&seen);
    }
}

#[test]
fn a_lane_says_how_its_stacks_differ_and_whether_they_go_on() {
    use sntrace_format::record::write_event_with;
    use sntrace_format::stack::{StackWord, write_stack};
    let mut orderer = Orderer::of(StackDepth::Full);
    let lane = new_lane(&mut orderer, 7);
    let slot = [const { AtomicU64::new(0) }; EVENT_WORDS_MAX as usize];
    let add = |orderer: &mut Orderer, words: u64| {
        let queue = orderer.lane(lane);
        let words = slot[..words as usize].iter();
        let words = words.map(|word| word.load(std::sync::atomic::Ordering::Relaxed));
        queue.end().extend(words);
        queue.scan(false, |_, _| None).unwrap();
    };
    let event = |time, block| Event {
        time,
        ..malloc(block)
    };
    let change = |count, truncated, kept| StackWord {
        count,
        truncated,
        kept,
    };
    let words = write_stack(&slot, 10, change(2, true, 0), [8, 9].into_iter());
    add(&mut orderer, words);
    let one = Some(change(1, true, 2));
    let words = write_event_with(&slot, &event(20, 1), one, [7].into_iter());
    add(&mut orderer, words);
    let words = write_event_with(&slot, &event(30, 2), None, [].into_iter());
    add(&mut orderer, words);
    let other = Some(change(1, false, 0));
    let words = write_event_with(&slot, &event(40, 3), other, [5].into_iter());
    add(&mut orderer, words);
    orderer.arrived(lane);
    let mut out = Batch::default();
    while orderer.advance(
        u64::MAX,
        true,
        usize::MAX,
        &Timeline::begin(Clock::Monotonic),
        &mut out,
    ) {}
    let mut lanes = crate::trace::lanes::LaneStacks::default();
    let mut stacks = Vec::new();
    for item in &out.items {
        match item {
            Item::Stack { lane, kept, frames } => lanes.change(*lane, *kept, frames),
            Item::Event(event) => {
                let stack: Vec<u64> = lanes.of_event(out.frames_of(event)).collect();
                stacks.push((stack, event.truncated));
            }
            _ => {}
        }
    }
    assert_eq!(
        stacks,
        [
            (vec![7, 8, 9], true),
            (vec![7, 8, 9], true),
            (vec![5], false)
        ]
    );
    assert_eq!(lanes.wrong(), 0);
}
