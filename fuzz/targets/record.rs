//! Records: a buffer is walked as the collector walks a lane, and every event that is read must
//! be read the same after it was written again.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use sntrace_format::record::{EVENT_WORDS_MAX, Record, decode, write_event};

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
            } => {
                assert_eq!(frames_at + frames, length);
                let frames = &rest[frames_at..length];
                let slot = [const { AtomicU64::new(0) }; EVENT_WORDS_MAX as usize];
                let written = write_event(&slot, &event, frames, truncated) as usize;
                let again = slot.map(|word| word.load(Ordering::Relaxed));
                let (record_again, length_again) = decode(&again[..written]).unwrap();
                assert_eq!(length_again, written);
                let Record::Event {
                    event: event_again,
                    frames_at,
                    truncated: truncated_again,
                    ..
                } = record_again
                else {
                    panic!("an event became {record_again:?}");
                };
                assert_eq!(event_again, event);
                assert_eq!(&again[frames_at..written], frames);
                assert_eq!(truncated_again, truncated);
            }
            Record::Control { bytes, .. } => assert_eq!(length, 2 + bytes.div_ceil(8)),
            // The collector skips to the ring's end.
            Record::Pad => break,
        }
        rest = &rest[length..];
    }
});
