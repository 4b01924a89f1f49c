//! A budget file, the error that is shown for a wrong one, and what today's figures make of a right one.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sntrace::check::{Bound, Bounded, Budget};
use sntrace::exact::{Figure, Margin};

fuzz_target!(|data: &[u8]| {
    // The figure comes first, so that a seed is a few bytes and a file.
    let Some((amount, file)) = data.split_first_chunk() else {
        return;
    };
    let amount = u64::from_le_bytes(*amount);
    let path = Path::new("budget.toml");
    let budget = match Budget::parse(path, file) {
        Ok(budget) => budget,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            assert!(error.hint().is_none_or(|hint| !hint.is_empty()));
            return;
        }
    };
    let figure = |_: Bounded<'_>, _: &Bound| Some(Figure::of(amount));
    let updated = budget.updated(&figure, Margin::default());
    let again = Budget::parse(path, updated.text.as_bytes()).expect("what is written is read");
    for (bounded, bound) in again.bounds() {
        let left = updated.left.contains(&bound.key);
        assert!(left || !figure(bounded, bound).unwrap().exceeds(bound.limit));
    }
    assert_eq!(again.bounds().count(), budget.bounds().count());
});
