use super::*;
use crate::stack::{STACK_FRAMES_MAX, write_stack};
use proptest::prelude::*;

fn slot() -> [AtomicU64; EVENT_WORDS_MAX as usize] {
    [const { AtomicU64::new(0) }; EVENT_WORDS_MAX as usize]
}

fn plain(slot: &[AtomicU64]) -> Vec<u64> {
    slot.iter()
        .map(|word| word.load(Ordering::Relaxed))
        .collect()
}

#[test]
fn the_longest_event_fits_its_slot() {
    // Wide head, three operands, the frames' head, all frames.
    assert!(4 + 3 + 1 + FRAMES_MAX as u64 <= EVENT_WORDS_MAX);
}

#[test]
fn a_plain_malloc_takes_three_words() {
    let slot = slot();
    let event = Event {
        op: Op::Malloc,
        time: 0x1234,
        block: 0x5565_282b_12a0,
        size: 72,
        caller: 0x5565_27a0_1139,
        operands: [0; 3],
    };
    assert_eq!(write_event(&slot, &event, &[], false), 3);
    // The worked example of FORMAT.md.
    assert_eq!(
        plain(&slot)[..3],
        [0x0012_3401, 0x5565_282b_12a0, 0x0048_5565_27a0_1139]
    );
}

#[test]
fn a_brief_event_is_written_as_any_event_is() {
    let event = Event {
        op: Op::Free,
        time: 0xab_cdef_0123_4567,
        block: 0xb400_5565_282b_12a0,
        size: BRIEF_SIZES - 1,
        caller: 0xffff_ffff_ffff,
        operands: [0; 3],
    };
    let (any, brief) = (slot(), [const { AtomicU64::new(0) }; BRIEF_WORDS as usize]);
    assert_eq!(write_event(&any, &event, &[], false), BRIEF_WORDS);
    let time = TimeHalves {
        high: event.time >> 32,
        low: event.time & 0xffff_ffff,
    };
    write_brief(
        &brief,
        event.op,
        time,
        event.block,
        event.size,
        event.caller,
    );
    assert_eq!(plain(&any)[..BRIEF_WORDS as usize], plain(&brief));
}

#[test]
fn a_changed_stack_takes_a_word_and_its_new_frames() {
    let slot = slot();
    let event = Event {
        op: Op::Malloc,
        time: 0x1240,
        block: 0x5565_282b_1300,
        size: 72,
        caller: 0x5565_27a0_1139,
        operands: [0; 3],
    };
    let change = StackWord {
        count: 2,
        truncated: false,
        kept: 3,
    };
    let frames = [0x5565_27a0_1178, 0x5565_27a0_11c4];
    assert_eq!(
        write_event_with(&slot, &event, Some(change), frames.into_iter()),
        6
    );
    // The worked example of FORMAT.md, and the one after it.
    assert_eq!(
        plain(&slot)[..6],
        [
            0x0012_4081,
            0x5565_282b_1300,
            0x0048_5565_27a0_1139,
            0x0000_0003_0000_0002,
            0x5565_27a0_1178,
            0x5565_27a0_11c4
        ]
    );
    let change = StackWord {
        count: 2,
        truncated: true,
        kept: 0,
    };
    assert_eq!(write_stack(&slot, 0x1240, change, frames.into_iter()), 4);
    assert_eq!(
        plain(&slot)[..4],
        [
            0x0012_403d,
            0x0000_0000_0001_0002,
            0x5565_27a0_1178,
            0x5565_27a0_11c4
        ]
    );
}

#[test]
fn more_frames_than_a_record_can_list_are_damage() {
    let many = STACK_FRAMES_MAX as u64 + 1;
    let mut words = vec![0; 1000];
    for (op, at) in [(Op::Free, 3), (Op::Realloc, 5), (Op::Stack, 1)] {
        words.fill(0);
        words[0] = first_word(7, op) | if op == Op::Stack { 0 } else { FRAMES };
        words[at] = many - 1;
        assert_eq!(length(&words[..]), Ok((op, at + many as usize)));
        words[at] = many;
        let error = Err(DecodeError::TooManyFrames(many));
        assert_eq!(length(&words[..]).map(|_| ()), error);
        assert_eq!(decode(&words[..]).map(|_| ()), error);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let ops: Vec<Op> = Op::ALL.iter().copied().filter(|op| op.is_call()).collect();
    let address = prop_oneof![any::<u64>(), (0u64..1 << 48)];
    let size = prop_oneof![any::<u64>(), (0u64..1 << 32), (0u64..4096)];
    (
        proptest::sample::select(ops),
        0u64..1 << 56,
        address.clone(),
        size,
        address,
        any::<[u64; 3]>(),
    )
        .prop_map(|(op, time, block, size, caller, mut operands)| {
            operands[op.operands()..].fill(0);
            Event {
                op,
                time,
                block,
                size,
                caller,
                operands,
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        event in any_event(),
        frames in proptest::collection::vec(any::<u64>(), 0..FRAMES_MAX + 4),
        truncated in any::<bool>(),
    ) {
        let slot = slot();
        let length = write_event(&slot, &event, &frames, truncated) as usize;
        let words = plain(&slot);
        let (record, taken) = decode(&words[..length]).unwrap();
        prop_assert_eq!(taken, length);
        prop_assert_eq!(super::length(&words[..length]), Ok((event.op, length)));
        let Record::Event { event: read, frames_at, frames: count, truncated: cut, kept } = record else {
            panic!("not an event: {record:?}");
        };
        prop_assert_eq!(read, event);
        prop_assert_eq!(count, frames.len().min(FRAMES_MAX));
        prop_assert_eq!(&words[frames_at..frames_at + count], &frames[..count]);
        prop_assert_eq!(kept, (count > 0 || cut).then_some(0));
        prop_assert_eq!(cut, truncated || frames.len() > FRAMES_MAX);
        // One word fewer is never a record.
        prop_assert_eq!(decode(&words[..length - 1]), Err(DecodeError::Short));
    }

    #[test]
    fn the_quick_questions_agree_with_the_slow_one(
        words in proptest::collection::vec(any::<u64>(), 0..12),
        op in any::<u8>(),
    ) {
        // Any words, and any that begin like a record.
        let mut like_one = words.clone();
        if let Some(first) = like_one.first_mut() {
            *first = *first << 8 | u64::from(op);
        }
        for words in [&words, &like_one] {
            let quick = event_length(words);
            match length(&words[..]) {
                Ok((op, taken)) => prop_assert_eq!(quick, op.is_call().then_some(taken)),
                // It does not look whether all of the record is there.
                Err(DecodeError::Short) => {
                    prop_assert!(quick.is_none_or(|taken| taken > words.len()));
                }
                Err(_) => prop_assert_eq!(quick, None),
            }
        }
    }

    #[test]
    fn a_change_of_any_length_is_read_back(
        event in any_event(),
        frames in proptest::collection::vec(any::<u64>(), 0..=STACK_FRAMES_MAX),
        word in proptest::option::of((any::<bool>(), any::<u32>())),
    ) {
        let slot = [const { AtomicU64::new(0) }; EVENT_WORDS_MAX as usize + STACK_FRAMES_MAX];
        // Without the word no frames are listed.
        let frames = if word.is_some() { &frames[..] } else { &[] };
        let change = word.map(|(truncated, kept)| StackWord { count: frames.len() as u16, truncated, kept });
        let written = write_event_with(&slot, &event, change, frames.iter().copied()) as usize;
        let words = plain(&slot[..written]);
        prop_assert_eq!(length(&words[..]), Ok((event.op, written)));
        prop_assert_eq!(event_length(&words), Some(written));
        prop_assert_eq!(has_frames(words[0]), word.is_some());
        if let Some(op) = brief(words[0]) {
            prop_assert_eq!((op, size_and_caller(words[2])), (event.op, (event.size, event.caller)));
        }
        let mut read = Event::NONE;
        let extent = read_event(&words[..], &mut read).unwrap();
        prop_assert_eq!(read, event);
        prop_assert_eq!(&words[extent.frames_at..], frames);
        prop_assert_eq!(extent.frames, frames.len());
        prop_assert_eq!((extent.truncated, extent.kept), (word.is_some_and(|word| word.0), word.map(|word| word.1)));
        let (record, taken) = decode(&words[..]).unwrap();
        prop_assert_eq!(taken, written);
        prop_assert_eq!(
            record,
            Record::Event { event, frames_at: extent.frames_at, frames: extent.frames, truncated: extent.truncated, kept: extent.kept }
        );
        prop_assert_eq!(read_event(&words[..written - 1], &mut read), Err(DecodeError::Short));
    }

    /// As the hook sends stacks, and as the launcher puts them together again.
    #[test]
    fn stacks_that_follow_each_other_are_whole_again(
        steps in proptest::collection::vec((0usize..700, proptest::collection::vec(any::<u64>(), 0..700), 0usize..4), 1..20),
    ) {
        let (mut sent, mut got): (Vec<u64>, Vec<u64>) = Default::default();
        let mut words = Vec::new();
        let mut wanted = Vec::new();
        for (pops, pushes, fewer) in steps {
            // Outer to inner. Less may be kept than could be.
            let mut stack = sent[..sent.len().saturating_sub(pops)].to_vec();
            let mut kept = stack.len().saturating_sub(fewer);
            stack.extend(pushes);
            let slot = [const { AtomicU64::new(0) }; 1024];
            while stack.len() - kept > FRAMES_MAX {
                let count = (stack.len() - kept - 1).min(STACK_FRAMES_MAX);
                let change = StackWord { count: count as u16, truncated: false, kept: kept as u32 };
                let part = stack[kept..kept + count].iter().rev().copied();
                let written = write_stack(&slot, 5, change, part) as usize;
                words.extend(plain(&slot[..written]));
                kept += count;
            }
            let change = (stack != sent || kept < stack.len())
                .then_some(StackWord { count: (stack.len() - kept) as u16, truncated: false, kept: kept as u32 });
            let event = Event { op: Op::Free, time: 5, ..Event::NONE };
            let listed = change.map_or(0, |change| usize::from(change.count));
            let part = stack[stack.len() - listed..].iter().rev().copied();
            let written = write_event_with(&slot, &event, change, part) as usize;
            words.extend(plain(&slot[..written]));
            wanted.push(stack.clone());
            sent = stack;
        }
        let (mut rest, mut wanted) = (&words[..], wanted.into_iter());
        while !rest.is_empty() {
            let (record, taken) = decode(rest).unwrap();
            let (kept, frames, is_event) = match record {
                Record::Event { frames_at, frames, kept, .. } => (kept, &rest[frames_at..frames_at + frames], true),
                Record::Stack { change, .. } => (Some(change.kept), &rest[2..taken], false),
                other => panic!("{other:?}"),
            };
            if let Some(kept) = kept {
                got.truncate(kept as usize);
                got.extend(frames.iter().rev());
            }
            if is_event {
                prop_assert_eq!(Some(got.clone()), wanted.next());
            }
            rest = &rest[taken..];
        }
        prop_assert_eq!(wanted.next(), None);
    }

    #[test]
    fn any_words_decode_or_fail_within_bounds(words in proptest::collection::vec(any::<u64>(), 0..80)) {
        let length = length(&words[..]).map(|(_, length)| length);
        prop_assert_eq!(decode(&words[..]).map(|(_, taken)| taken), length);
        if let Ok((record, taken)) = decode(&words[..]) {
            prop_assert!(taken <= words.len());
            if let Record::Event { frames_at, frames, .. } = record {
                prop_assert!(frames_at + frames <= taken);
            }
        }
    }
}
