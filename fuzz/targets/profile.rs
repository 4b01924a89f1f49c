//! A profile as a file: what is read is written and read again, and compared with itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sntrace::diff::{Comparison, Matching};
use sntrace::profile;

fuzz_target!(|data: &[u8]| {
    let Ok(first) = profile::read("input", data) else {
        return;
    };
    let mut written = Vec::new();
    profile::write(&first, &mut written).expect("writing to memory works");
    let again = profile::read("again", &written).expect("what is written is read");
    assert_eq!(first.totals, again.totals);
    let comparison = Comparison::of(&first, &again, Matching::Similar);
    for pair in &comparison.pairs {
        assert_eq!(pair.base_figures(), pair.head_figures());
    }
});
