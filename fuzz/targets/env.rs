//! The value of the run's environment variable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace_format::env::RunAddress;

fuzz_target!(|data: &[u8]| {
    let Some(address) = RunAddress::parse(data) else {
        return;
    };
    let mut text = Vec::new();
    for number in address.numbers() {
        text.extend_from_slice(number.to_string().as_bytes());
        text.push(b':');
    }
    text.extend_from_slice(address.pipe_path);
    assert_eq!(RunAddress::parse(&text), Some(address));
});
