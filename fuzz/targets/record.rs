//! Records: a buffer is walked as the collector walks a lane, and what is read must be read the same
//! after it was written again.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use sntrace_format::record::Event;
use sntrace_format::record::{
    EVENT_WORDS_MAX, Record, decode, length, read_event, write_event_with,
};
use sntrace_format::stack::{STACK_FRAMES_MAX, STACK_WORDS_MAX, StackWord, write_stack};

const SLOT: usize = EVENT_WORDS_MAX as usize + STACK_FRAMES_MAX;
const _: () = assert!(SLOT >= STACK_WORDS_MAX as usize);

fuzz_target!(|data: &[u8]| {
    let (words, _) = data.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let mut rest = &words[..];
    while let Ok((record, taken)) = decode(rest) {
        assert!(taken > 0 && taken <= rest.len());
        assert_eq!(length(rest).map(|(_, words)| words), Ok(taken));
        let slot = [const { AtomicU64::new(0) }; SLOT];
        let (written, frames) = match record {
            Record::Event {
                event,
                frames_at,
                frames,
                truncated,
                kept,
            } => {
                assert_eq!(frames_at + frames, taken);
                let mut in_place = Event::NONE;
                let extent = read_event(rest, &mut in_place).unwrap();
                assert_eq!(in_place, event);
                assert_eq!((extent.frames_at, extent.frames), (frames_at, frames));
                assert_eq!((extent.truncated, extent.kept), (truncated, kept));
                let listed = &rest[frames_at..taken];
                let change = kept.map(|kept| StackWord {
                    count: frames as u16,
                    truncated,
                    kept,
                });
                let written = write_event_with(&slot, &event, change, listed.iter().copied());
                (written as usize, listed)
            }
            Record::Stack { time, change } => {
                let listed = &rest[2..taken];
                assert_eq!(listed.len(), usize::from(change.count));
                let written = write_stack(&slot, time, change, listed.iter().copied());
                (written as usize, listed)
            }
            Record::Control { bytes, .. } => {
                assert_eq!(taken, 2 + bytes.div_ceil(8));
                rest = &rest[taken..];
                continue;
            }
            // The collector skips to the ring's end.
            Record::Pad => break,
        };
        let again = slot.map(|word| word.load(Ordering::Relaxed));
        let (record_again, taken_again) = decode(&again[..written]).unwrap();
        assert_eq!(taken_again, written);
        match (&record, &record_again) {
            // A size or a caller may have been written wider than it needed to be.
            (
                Record::Event {
                    event,
                    frames,
                    truncated,
                    kept,
                    ..
                },
                Record::Event {
                    event: event_again,
                    frames: frames_again,
                    truncated: truncated_again,
                    kept: kept_again,
                    ..
                },
            ) => assert_eq!(
                (event, frames, truncated, kept),
                (event_again, frames_again, truncated_again, kept_again)
            ),
            _ => assert_eq!(record, record_again),
        }
        assert_eq!(&again[written - frames.len()..written], frames);
        rest = &rest[taken..];
    }
});
