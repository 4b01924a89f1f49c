//! The columns of an event chunk, without the file around them: all of the input is its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::trace::Item;
use sntrace::trace::file::decode_events;

/// Stacks that events may have.
const STACKS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut events = 0_u64;
    let _ = decode_events(data, STACKS, &mut |item| {
        if let Item::Event(event) = item {
            assert!((event.stack.0 as usize) < STACKS);
            assert!(event.released.is_none() || !event.op.is_mapping());
            events += 1;
        }
    });
    // As many as a chunk has, whatever it says.
    assert!(events <= 1 << 16);
});
