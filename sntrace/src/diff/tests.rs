//! Comparisons of traces made by hand. A made trace is a list of sites: how often, how many bytes each time, and the
//! stack, inner to outer, as [`Maker::stack`] takes it.

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

#[test]
fn rules_judge_what_they_are_about() {
    let base = profile(&[
        (100, 10, &["deflate in /lib/libz.so.1.2", "pack", "main"]),
        (10, 10, &["load", "main"]),
    ]);
    let head = profile(&[
        (104, 10, &["deflate in /lib/libz.so.1.3", "pack", "main"]),
        (10, 10, &["load", "main"]),
    ]);
    let failed = |rule: &str| !compare(&base, &head, &[rule]).passed();
    for (rule, fails) in [
        ("allocations>3%", true),
        ("allocations>4%", false),
        ("allocations>3", true),
        ("allocations>4", false),
        ("bytes>39", true),
        ("bytes>40", false),
        ("fn:defl*:bytes>39", true),
        ("fn:load:bytes>0", false),
        ("under:pack:allocations>0", true),
        ("under:main:allocations>4%", false),
        ("module:libz.so:allocations>3.9%", true),
        ("module:libz.so:allocations>4%", false),
        ("module:app:allocations>0", false),
        ("leaked_bytes>0", false),
    ] {
        assert_eq!(failed(rule), fails, "{rule}");
    }
    let verdict = compare(&base, &head, &["fn:load:bytes>0", "allocations>3%"]);
    assert_eq!(
        verdict.rules[0].sentence,
        "allocated bytes of 1 caller did not grow"
    );
    assert_eq!(
        verdict.rules[1].sentence,
        "allocations grew from 110 to 114, by 4 (+3.6%), and 3% is allowed"
    );
    // The site to blame comes first.
    assert_eq!(verdict.sites[0].caller(), "deflate");
    assert_eq!(verdict.rules[1].failures[0].sites, [0]);
}

#[test]
fn a_rule_about_nothing_is_an_error() {
    let base = profile(&[(1, 1, &["main"])]);
    let comparison = Comparison::of(&base, &base, Matching::Similar);
    for (rule, message) in [
        (
            "fn:deflat:bytes>1",
            "the rule 'fn:deflat:bytes>1' is about nothing: no function that allocates in either trace is called 'deflat'",
        ),
        (
            "under:a::b:bytes>1",
            "the rule 'under:a::b:bytes>1' is about nothing: no function in either trace is called 'a::b'",
        ),
        (
            "module:libq*:bytes>1",
            "the rule 'module:libq*:bytes>1' is about nothing: no module in either trace is called 'libq*'",
        ),
    ] {
        let rules = [Rule::parse(rule).unwrap()];
        let error = verdict(("a", "b"), &comparison, &rules, JudgeOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn growth_from_nothing_is_more_than_any_percentage() {
    let base = profile(&[(1, 1, &["main"])]);
    let head = profile(&[(1, 1, &["main"]), (1, 1, &["new", "main"])]);
    assert!(!compare(&base, &head, &["fn:new:allocations>900%"]).passed());
    assert!(compare(&base, &head, &["allocations>100%"]).passed());
}

#[test]
fn runs_that_differ_make_a_site_unstable() {
    let mut base = profile(&[(10, 8, &["cache", "main"]), (5, 8, &["work", "main"])]);
    base.add(&profile(&[
        (14, 8, &["cache", "main"]),
        (5, 8, &["work", "main"]),
    ]));
    base.add(&profile(&[
        (12, 8, &["cache", "main"]),
        (5, 8, &["work", "main"]),
    ]));
    assert_eq!((base.runs(), base.stacks.len()), (3, 2));
    let head = profile(&[(16, 8, &["cache", "main"]), (5, 8, &["work", "main"])]);
    let comparison = Comparison::of(&base, &head, Matching::Similar);
    let judge = |rule: &str, fail_unstable| {
        let options = JudgeOptions {
            fail_unstable,
            allow_drops: false,
        };
        let rules = [Rule::parse(rule).unwrap()];
        verdict(("base", "head"), &comparison, &rules, options).unwrap()
    };
    let lenient = judge("site:*:allocations>0", false);
    assert!(lenient.passed());
    assert!(
        lenient.rules[0]
            .sentence
            .ends_with("; 1 site was not judged, as runs of the same build differ there")
    );
    assert!(lenient.sites[0].unstable);
    assert!(!judge("site:*:allocations>0", true).passed());
    // 14 to 16 is what certainly grew.
    assert!(judge("fn:cache:allocations>2", false).passed());
    let strict = judge("fn:cache:allocations>1", false);
    assert_eq!(
        strict.rules[0].sentence,
        "allocations of cache grew from 10 to 14 to 16, by at least 2 (+14.3%), and 1 is allowed"
    );
    // The run in which a site does not come up has none of it.
    let mut sparse = profile(&[(1, 1, &["a", "main"])]);
    sparse.add(&profile(&[(1, 1, &["b", "main"])]));
    let none = Figures::default();
    assert_eq!(sparse.stacks[0].runs[1], none);
    assert_eq!(sparse.stacks[1].runs[0], none);
}

#[test]
fn a_gate_on_a_trace_that_lacks_events_fails() {
    let base = profile(&[(1, 1, &["main"])]);
    let mut head = base.clone();
    head.certificate = Certificate {
        dropped_events: 3,
        ..head.certificate
    };
    let comparison = Comparison::of(&base, &head, Matching::Similar);
    let judge = |allow_drops| {
        let options = JudgeOptions {
            fail_unstable: false,
            allow_drops,
        };
        let rules = [Rule::parse("allocations>0").unwrap()];
        verdict(("base", "head"), &comparison, &rules, options).unwrap()
    };
    let strict = judge(false);
    assert!(!strict.passed());
    assert_eq!(
        strict.rules[0].sentence,
        "'head' lacks 3 events, which were dropped: its figures may be too low (--allow-drops judges them all the same)"
    );
    assert!(judge(true).passed());
    assert_eq!(
        judge(true).notes,
        ["'head' lacks 3 events, which were dropped"]
    );
}

#[test]
fn what_can_mislead_is_noted() {
    let mut base = profile(&[(1, 1, &["main"])]);
    base.origin.generator = "sntrace 0.1.0".into();
    let mut head = profile(&[(1, 1, &["start_of_another", "run"])]);
    head.origin.command = vec!["/bin/other".into()];
    head.origin.generator = "sntrace 0.2.0".into();
    head.origin.arch = "aarch64".into();
    head.certificate.unnamed_sites = 50;
    head.certificate.complete = false;
    let notes = compare(&base, &head, &[]).notes;
    assert_eq!(
        notes,
        [
            "'head' was cut before its end",
            "two programs are compared: 'app' and 'other'",
            "recorded on different systems: linux x86_64 and linux aarch64",
            "recorded by sntrace 0.1.0 and sntrace 0.2.0: what they count and name may differ",
            "no site is in both: these may be different programs, or one of them has no names",
            "names are missing in one: 0 addresses have none in the base, 50 in the head; build both with the same symbols",
        ]
    );
}

#[test]
fn a_trace_with_callers_alone_is_compared_by_them() {
    let base = profile(&[
        (3, 8, &["work", "a", "main"]),
        (2, 8, &["work", "b", "main"]),
    ]);
    let mut head = profile(&[(5, 8, &["work"])]);
    head.origin.recorded.stacks = crate::trace::StacksTaken::Caller;
    let verdict = compare(&base, &head, &[]);
    assert_eq!(changes(&verdict), []);
    assert_eq!(
        verdict.notes,
        ["one has no whole stacks: sites are compared by their callers alone"]
    );
    let comparison = Comparison::of(&base, &head, Matching::Similar);
    let rules = [Rule::parse("under:a:bytes>1").unwrap()];
    let options = JudgeOptions::default();
    assert!(super::verdict(("a", "b"), &comparison, &rules, options).is_err());
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
