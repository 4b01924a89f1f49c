//! Comparisons of traces made by hand. A made trace is a list of sites: how often, how many bytes each time, and the
//! stack, inner to outer, as [`Maker::stack`] takes it.

mod judging;

use proptest::prelude::*;

use super::*;
use crate::analyze::samples::Maker;
use crate::profile::{Figures, Metric, Profile};
use crate::trace::{Certificate, Recording as _};
use crate::verdict::{Matched, SiteState, Verdict};

type Site<'a> = (u64, u64, &'a [&'a str]);

/// Blocks stay live, so each allocation is also a leak-free part of the peak.
fn profile(sites: &[Site<'_>]) -> Profile {
    let mut maker = Maker::default();
    let mut block = 0x1000;
    for (times, size, stack) in sites {
        let stack = maker.stack(stack);
        for _ in 0..*times {
            block += 0x1000;
            maker.malloc(stack, block, *size);
        }
    }
    let made = maker.make();
    let profile = Profile::of(&made).unwrap();
    assert_eq!(made.certificate().events, profile.certificate.events);
    profile
}

fn compare(base: &Profile, head: &Profile, rules: &[&str]) -> Verdict {
    with(base, head, Matching::Similar, rules)
}

fn with(base: &Profile, head: &Profile, matching: Matching, rules: &[&str]) -> Verdict {
    let comparison = Comparison::of(base, head, matching);
    assert_adds_up(&comparison);
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| Rule::parse(rule).unwrap())
        .collect();
    verdict(
        ("base", "head"),
        &comparison,
        &rules,
        JudgeOptions::default(),
    )
    .unwrap()
}

/// Nothing is lost and nothing counted twice, whatever was matched with what.
fn assert_adds_up(comparison: &Comparison<'_>) {
    let sum = |part: fn(&Pair) -> Option<&Part>| {
        let mut sum = Figures::default();
        for part in comparison.pairs.iter().filter_map(part) {
            sum += part.runs[0];
        }
        sum
    };
    let base = comparison.base.unwrap();
    assert_eq!(sum(|pair| pair.base.as_ref()), base.totals[0]);
    assert_eq!(sum(|pair| pair.head.as_ref()), comparison.head.totals[0]);
}

/// Each changed site: caller, allocations on both sides, and how it was matched.
fn changes(verdict: &Verdict) -> Vec<(String, u64, u64, Matched)> {
    let count = |measured: Option<crate::profile::Measured>| {
        measured.map_or(0, |measured| measured.get(Metric::Allocations).median)
    };
    let sites = verdict.sites.iter().map(|site| {
        let (base, head) = (count(site.base), count(Some(site.head)));
        (site.caller().to_owned(), base, head, site.matched.clone())
    });
    sites.collect()
}

#[test]
fn a_rebuild_of_the_same_program_is_no_change() {
    let base = profile(&[
        (
            5,
            10,
            &["work @/home/a/x.c:3", "main @/home/a/x.c:9", "_start"],
        ),
        (
            2,
            10,
            &["work @/home/a/x.c:4", "main @/home/a/x.c:9", "_start"],
        ),
        (
            1,
            8,
            &[
                "xmalloc",
                "load @/home/a/y.c:1",
                "load @/home/a/y.c:2",
                "main",
            ],
        ),
        (1, 8, &["? in /usr/lib/libz.so.1.2.13", "main"]),
    ]);
    let head = profile(&[
        (1, 8, &["? in /opt/lib/libz.so.1.3", "main @/tmp/b/x.c:19"]),
        (
            7,
            10,
            &[
                "work @/tmp/b/x.c:13",
                "main @/tmp/b/x.c:19",
                "__libc_start_main",
            ],
        ),
        (1, 8, &["load @y.c:9", "load @y.c:9", "load @y.c:9", "main"]),
    ]);
    let verdict = compare(&base, &head, &["allocations>0", "site:*:bytes>0"]);
    assert_eq!(changes(&verdict), []);
    assert_eq!(verdict.unchanged_sites, 3);
    assert!(verdict.passed(), "{:#?}", verdict.rules);
    assert_eq!(verdict.notes, [""; 0]);
}

#[test]
fn debug_information_in_one_alone_is_no_change() {
    let base = profile(&[
        (3, 8, &["helper @a.c:1 < work @a.c:2", "main @a.c:9"]),
        (2, 8, &["work @a.c:3", "main @a.c:9"]),
        (
            1,
            8,
            &["leaf @a.c:5", "step @a.c:6 < work @a.c:7", "main @a.c:9"],
        ),
    ]);
    let head = profile(&[(5, 8, &["work", "main"]), (1, 8, &["leaf", "work", "main"])]);
    for (one, other) in [(&base, &head), (&head, &base)] {
        assert_eq!(changes(&compare(one, other, &[])), []);
    }
    let exact = with(&base, &head, Matching::Exact, &[]);
    assert_eq!(changes(&exact).len(), 4);
}

#[test]
fn a_renamed_function_is_found_by_the_rest_of_its_stacks() {
    let base = profile(&[
        (4, 8, &["push", "parse_old", "main"]),
        (2, 8, &["pop", "parse_old", "main"]),
        (9, 1, &["other", "main"]),
    ]);
    let head = profile(&[
        (4, 8, &["push", "read_new", "main"]),
        (3, 8, &["pop", "read_new", "main"]),
        (9, 1, &["other", "main"]),
    ]);
    let verdict = compare(&base, &head, &[]);
    let renamed = Matched::Renamed(vec![("parse_old".into(), "read_new".into())]);
    assert_eq!(changes(&verdict), [("pop".into(), 2, 3, renamed)]);
    assert_eq!(verdict.unchanged_sites, 2);
    assert_eq!(
        verdict.notes,
        ["renamed: 'parse_old' is 'read_new' in the head"]
    );
    let exact = with(&base, &head, Matching::Exact, &[]);
    assert_eq!(exact.sites.len(), 4);
}

#[test]
fn several_renames_at_one_place_are_told_apart_by_names_or_figures() {
    let base = profile(&[
        (4, 8, &["parse_header_v1", "main"]),
        (2, 8, &["emit", "main"]),
        (6, 8, &["zzz", "main"]),
    ]);
    let head = profile(&[
        (5, 8, &["parse_header_v2", "main"]),
        (2, 8, &["write_out", "main"]),
        (7, 8, &["qqq", "main"]),
    ]);
    let mut found = changes(&compare(&base, &head, &[]));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let versions = vec![("parse_header_v1".into(), "parse_header_v2".into())];
    assert_eq!(
        found,
        [
            ("parse_header_v2".into(), 4, 5, Matched::Renamed(versions)),
            // Nothing says that these are one.
            ("qqq".into(), 0, 7, Matched::ByName),
            ("zzz".into(), 6, 0, Matched::ByName),
        ]
    );
}

/// As textwrap 0.15 did with its trait of wrap algorithms, which became an enum.
#[test]
fn a_rename_is_told_from_what_is_new_at_its_place() {
    let base = profile(&[
        (
            20,
            64,
            &[
                "wrap_first_fit",
                "<FirstFit as Algorithm>::wrap",
                "wrap",
                "main",
            ],
        ),
        (
            20,
            56,
            &["<AsciiSpace as Separator>::find_words", "wrap", "main"],
        ),
    ]);
    let head = profile(&[
        (
            20,
            64,
            &["wrap_first_fit", "Algorithm::wrap", "wrap", "main"],
        ),
        (20, 16, &["Algorithm::wrap", "wrap", "main"]),
        (
            20,
            56,
            &[
                "find_words_ascii_space",
                "Separator::find_words",
                "wrap",
                "main",
            ],
        ),
    ]);
    let verdict = compare(&base, &head, &[]);
    let new = ("Algorithm::wrap".into(), 0, 20, Matched::ByName);
    assert_eq!(changes(&verdict), [new]);
    assert_eq!(
        verdict.notes,
        [
            "renamed: '<AsciiSpace as Separator>::find_words' is 'Separator::find_words > find_words_ascii_space' in the head",
            "renamed: '<FirstFit as Algorithm>::wrap' is 'Algorithm::wrap' in the head",
        ]
    );
}

#[test]
fn a_function_that_went_and_another_that_came_are_not_one() {
    let base = profile(&[(4, 8, &["compress", "main"])]);
    let head = profile(&[(9, 80, &["encrypt_it", "main"])]);
    let verdict = compare(&base, &head, &[]);
    let states: Vec<_> = verdict.sites.iter().map(|site| site.state).collect();
    assert_eq!(states, [SiteState::New, SiteState::Gone]);
}

#[test]
fn in_the_same_build_nothing_is_renamed_or_inlined() {
    let mut base = profile(&[
        (4, 8, &["push", "parse_old", "main"]),
        (1, 8, &["leaf", "step", "work", "main"]),
    ]);
    let mut head = profile(&[
        (4, 8, &["push", "parse_new", "main"]),
        (1, 8, &["leaf", "work", "main"]),
    ]);
    assert_eq!(changes(&compare(&base, &head, &[])), []);
    for profile in [&mut base, &mut head] {
        profile.tables.files[0].build_id = vec![1, 2, 3];
    }
    let found = changes(&compare(&base, &head, &[]));
    assert_eq!(found.len(), 4, "{found:#?}");
}

/// Comparing each with each would take hours.
#[test]
fn two_programs_with_many_functions_do_not_take_long() {
    let names = |side: &str| -> Vec<[String; 2]> {
        let all = 0..20_000;
        all.map(|number| [format!("{side}_{number}"), "main".into()])
            .collect()
    };
    let made = |names: &[[String; 2]]| {
        let stacks: Vec<[&str; 2]> = names.iter().map(|[a, b]| [&**a, &**b]).collect();
        let sites: Vec<Site<'_>> = stacks.iter().map(|stack| (1, 8, &stack[..])).collect();
        profile(&sites)
    };
    let (base, head) = (made(&names("old")), made(&names("new")));
    let verdict = compare(&base, &head, &["allocations>0"]);
    assert_eq!(verdict.sites.len(), 40_000);
}

#[test]
fn a_function_that_became_part_of_its_caller_is_found() {
    let base = profile(&[
        (3, 8, &["helper", "work", "main"]),
        (2, 8, &["work", "main"]),
        (1, 8, &["leaf", "step", "work", "main"]),
    ]);
    let head = profile(&[(5, 8, &["work", "main"]), (2, 8, &["leaf", "work", "main"])]);
    for (one, other, counts) in [(&base, &head, (1, 2)), (&head, &base, (2, 1))] {
        let found = changes(&compare(one, other, &[]));
        let inlined = Matched::Inlined(vec!["step".into()]);
        assert_eq!(found, [("leaf".into(), counts.0, counts.1, inlined)]);
    }
}

#[test]
fn an_allocation_in_a_new_function_is_new() {
    let base = profile(&[(3, 8, &["work", "main"]), (1, 1, &["main"])]);
    let head = profile(&[
        (3, 8, &["work", "main"]),
        (5, 8, &["added", "work", "main"]),
        (1, 1, &["main"]),
    ]);
    let verdict = compare(&base, &head, &["site:*:allocations>0", "fn:work:bytes>0"]);
    assert_eq!(changes(&verdict), [("added".into(), 0, 5, Matched::ByName)]);
    assert_eq!(verdict.sites[0].state, SiteState::New);
    assert!(verdict.rules[0].failed() && !verdict.rules[1].failed());
    assert_eq!(
        verdict.rules[0].sentence,
        "allocations of added grew from 0 to 5, by 5, and no growth is allowed"
    );
}

/// Stacks of a few functions, some of which are wrappers, the start, or have no name.
fn made_up() -> impl Strategy<Value = Vec<(u64, u64, Vec<&'static str>)>> {
    let function = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d < e",
        "d @x.c:1 < e @x.c:2",
        "xmalloc",
        "main",
        "_start",
        "?",
        "? in /lib/libc.so.6",
    ]);
    let site = (1u64..4, 0u64..50, prop::collection::vec(function, 0..7));
    prop::collection::vec(site, 0..12)
}

fn made(sites: &[(u64, u64, Vec<&'static str>)]) -> Profile {
    let sites: Vec<Site<'_>> = sites
        .iter()
        .map(|(times, size, stack)| (*times, *size, stack.as_slice()))
        .collect();
    profile(&sites)
}

proptest! {
    #[test]
    fn whatever_is_matched_figures_add_up(base in made_up(), head in made_up()) {
        let (base, head) = (made(&base), made(&head));
        for matching in [Matching::Similar, Matching::Exact] {
            assert_adds_up(&Comparison::of(&base, &head, matching));
        }
    }

    #[test]
    fn a_trace_is_equal_to_itself(sites in made_up()) {
        let profile = made(&sites);
        let verdict = compare(&profile, &profile, &["allocations>0", "site:*:peak_bytes>0"][..1]);
        prop_assert_eq!(changes(&verdict), []);
        prop_assert!(verdict.passed());
    }

    #[test]
    fn runs_are_added_without_loss(one in made_up(), other in made_up()) {
        let (mut sum, added) = (made(&one), made(&other));
        sum.add(&added);
        for (run, whole) in [(0, &made(&one)), (1, &added)] {
            let mut total = Figures::default();
            sum.stacks.iter().for_each(|stack| total += stack.runs[run]);
            prop_assert_eq!(total, whole.totals[0]);
        }
        // The same stacks stay the same: each run alone is equal to its own profile.
        let verdict = compare(&sum, &sum.clone(), &[]);
        prop_assert_eq!(changes(&verdict), []);
    }
}
