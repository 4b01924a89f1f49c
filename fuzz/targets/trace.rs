//! A trace file: opened, replayed and dumped. Checksums are not asked for (`cfg(fuzzing)`), so that
//! what lies behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::trace::file::{TraceFile, dump};
use sntrace::trace::{Item, Recording as _};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = TraceFile::from_bytes("input", data.to_vec()) else {
        return;
    };
    let stacks = file.tables().stacks.len();
    let replayed = file.replay(&mut |item| {
        if let Item::Event(event) = item {
            assert!((event.stack.0 as usize) < stacks);
        }
    });
    let dumped = dump(&file, &mut std::io::sink());
    assert!(replayed.is_ok() || dumped.is_err());
});
