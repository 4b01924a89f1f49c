use super::*;
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
