//! Rules, notes, several runs, and traces that can't be judged.

use super::*;

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
        "allocations of cache grew from 10..14 to 16, by at least 2 (+14.3%), and 1 is allowed"
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
