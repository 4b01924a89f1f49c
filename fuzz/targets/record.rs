//! Records: a buffer is walked as the collector walks a lane, and every event that is read must
//! be read the same after it was written again.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use sntrace_format::record::{Record, decode, write_event_with};
use sntrace_format::stack::{STACK_WORDS_MAX, StackWord, write_stack};

/// More than any record takes: a head and operands before the frames.
const SLOT_WORDS: usize = STACK_WORDS_MAX as usize + 8;

fuzz_target!(|data: &[u8]| {
    let (words, _) = data.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let mut rest = &words[..];
    while let Ok((record, length)) = decode(rest) {
        assert!(length > 0 && length <= rest.len());
        match record {
            Record::Event {
                event,
                frames_at,
                frames,
                truncated,
                kept,
            } => {
                assert_eq!(frames_at + frames, length);
                let frames = &rest[frames_at..length];
                let slot = [const { AtomicU64::new(0) }; SLOT_WORDS];
                let change = kept.map(|kept| StackWord {
                    count: frames.len() as u16,
                    truncated,
                    kept,
                });
                let listed = frames.iter().copied();
                let written = write_event_with(&slot, &event, change, listed) as usize;
                let again = slot.map(|word| word.load(Ordering::Relaxed));
                let (record_again, length_again) = decode(&again[..written]).unwrap();
                assert_eq!(length_again, written);
                let Record::Event {
                    event: event_again,
                    frames_at,
                    truncated: truncated_again,
                    kept: kept_again,
                    ..
                } = record_again
                else {
                    panic!("an event became {record_again:?}");
                };
                assert_eq!(event_again, event);
                assert_eq!(&again[frames_at..written], frames);
                assert_eq!((truncated_again, kept_again), (truncated, kept));
            }
            Record::Stack { time, change } => {
                let slot = [const { AtomicU64::new(0) }; SLOT_WORDS];
                let frames = rest[2..length].iter().copied();
                assert_eq!(write_stack(&slot, time, change, frames) as usize, length);
                let again = slot.map(|word| word.load(Ordering::Relaxed));
                assert_eq!(decode(&again[..length]), Ok((record, length)));
            }
            Record::Control { bytes, .. } => assert_eq!(length, 2 + bytes.div_ceil(8)),
            // The collector skips to the ring's end.
            Record::Pad => break,
        }
        rest = &rest[length..];
    }
});
