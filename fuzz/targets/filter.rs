//! Filter expressions, and the error that is shown for a wrong one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::output::Filter;

fuzz_target!(|expression: &str| {
    if let Err(error) = Filter::parse(expression) {
        assert!(!error.to_string().is_empty());
    }
});
