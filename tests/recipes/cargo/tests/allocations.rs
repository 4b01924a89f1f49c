//! What `allocations.toml` runs under a budget. An ordinary test, too.

use tally::Tally;

#[test]
fn words_that_are_known_need_nothing() {
    let mut tally = Tally::default();
    for _ in 0..100 {
        tally.read("a rose is a rose is a rose");
    }
    assert_eq!(tally.of("rose"), 300);
}
