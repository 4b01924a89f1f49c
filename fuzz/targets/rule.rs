//! A rule of --fail-on, and the error that is shown for a text that is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::diff::Rule;

fuzz_target!(|text: &str| {
    match Rule::parse(text) {
        Ok(rule) => assert_eq!(Rule::parse(&rule.text), Ok(rule)),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
});
