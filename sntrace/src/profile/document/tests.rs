//! What is written is read back, and what is wrong is told.

use super::*;
use crate::analyze::samples::Maker;
use proptest::prelude::*;

fn profile(stacks: &[Vec<&'static str>]) -> Profile {
    let mut maker = Maker::default();
    maker.stack(&["unused", "main"]);
    for (stack, at) in stacks.iter().zip(1..) {
        let stack = maker.stack(stack);
        maker.malloc(stack, at * 0x100, at);
    }
    Profile::of(&maker.make()).unwrap()
}

fn written(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(profile, &mut bytes).unwrap();
    bytes
}

/// Everything that comparisons look at, with numbers replaced by what they stand for.
fn meaning(profile: &Profile) -> impl PartialEq + std::fmt::Debug {
    let tables = &profile.tables;
    let mut sites: Vec<_> = profile
        .stacks
        .iter()
        .map(|figures| {
            let frames: Vec<_> = tables
                .stacks
                .frames(figures.stack)
                .map(|site| {
                    let place = tables.site(site);
                    let file = tables.file_of(site).cloned();
                    (
                        site == SiteId::TRUNCATED,
                        file,
                        place.address,
                        place.functions.clone(),
                    )
                })
                .collect();
            (frames, figures.runs.clone())
        })
        .collect();
    sites.sort_by_key(|(_, runs)| (runs[0].bytes, runs[0].allocations));
    (
        profile.origin.clone(),
        profile.certificate.clone(),
        profile.totals.clone(),
        sites,
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        stacks in prop::collection::vec(prop::collection::vec(
            prop::sample::select(vec!["a", "b @x.c:1 < c", "?", "? in /lib/libz.so.1", "[truncated]"]), 0..5), 0..8)
    ) {
        let profile = profile(&stacks);
        let bytes = written(&profile);
        prop_assert!(is_profile(&bytes));
        let read = read("base", &bytes).unwrap();
        prop_assert_eq!(meaning(&read), meaning(&profile));
        prop_assert_eq!(written(&read), bytes);
    }

    #[test]
    fn whatever_is_in_it_is_an_error_or_a_profile(at in 0usize..2000, byte in any::<u8>()) {
        let mut bytes = written(&profile(&[vec!["a", "main"], vec!["b", "a", "main"]]));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read("changed", &bytes);
        // Behind its last bracket there is only a newline.
        bytes.truncate(at.min(bytes.len() - 2));
        prop_assert!(read("cut", &bytes).is_err());
    }
}

#[test]
fn what_no_site_needs_is_not_written() {
    let text = String::from_utf8(written(&profile(&[vec!["a", "main"]]))).unwrap();
    assert!(!text.contains("unused"), "{text}");
}

#[test]
fn a_name_does_nothing_to_a_terminal() {
    let mut profile = profile(&[vec!["a", "main"]]);
    profile.origin.command = vec!["x\u{9b}31m\u{202e}\x1b[0m".into()];
    let bytes = written(&profile);
    assert!(
        bytes
            .iter()
            .all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\n')
    );
    assert_eq!(read("p", &bytes).unwrap().origin, profile.origin);
}

#[test]
fn what_is_wrong_is_told() {
    let good = String::from_utf8(written(&profile(&[vec!["a", "main"]]))).unwrap();
    for (from, to, message) in [
        (
            "\"version\":1",
            "\"version\":9",
            "'p' has trace format 9, which this sntrace does not know",
        ),
        (
            "sntrace-profile",
            "sntrace",
            "'p' is no sntrace trace: it is another JSON document",
        ),
        ("[0,", "[7,", "stack 0 has a frame that is not there"),
        ("\"stack\":", "\"stick\":", "unknown field `stick`"),
    ] {
        assert!(good.contains(from), "{good}");
        let error = read("p", good.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
