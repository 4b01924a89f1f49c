//! Budgets as a whole: what is read from an example, what is wrong with others, and what a rewritten one
//! keeps.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::output::escape;
use crate::profile::{Figures, Metric};

fn parse(text: &str) -> Result<Budget, BudgetError> {
    Budget::parse(Path::new("budget.toml"), text.as_bytes())
}

const EXAMPLE: &str = include_str!("example.toml");

/// The message and its hint.
fn complaint(text: &str) -> (String, String) {
    let error = parse(text).unwrap_err();
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn an_example_is_read_as_it_is_meant() {
    let budget = parse(EXAMPLE).unwrap();
    let bounds: Vec<_> = budget
        .bounds()
        .map(|(_, bound)| format!("{} {} <= {}", bound.place, bound.key, bound.limit))
        .collect();
    assert_eq!(
        bounds,
        [
            "5:1 totals.allocations <= 12000",
            "6:1 totals.bytes <= 3145728",
            "7:1 totals.peak_bytes <= 1048576",
            "8:1 totals.leaked_bytes <= 0",
            "9:1 totals.leaked_allocations <= 0",
            "10:1 totals.temporary_allocations <= 500",
            r#"14:14 functions."parse*".allocations_per_call <= 2.5"#,
            r#"15:14 functions."render".allocations <= 100"#,
            r#"15:33 functions."render".bytes <= 65536"#,
            r#"19:19 callers."Table::add*".bytes <= 1048576"#,
            r#"23:16 modules."libz.so*".bytes <= 307200"#,
            r#"35:1 allowed_leak."setlocale".bytes <= 4096"#,
            r#"36:1 allowed_leak."setlocale".allocations <= 3"#,
        ]
    );
    let [first, ..] = budget.entries.as_slice() else {
        panic!("there are entries");
    };
    assert_eq!((first.scope, first.place.line), (Scope::Functions, 14));
    assert!(first.pattern.matches("parse_file") && !first.pattern.matches("reparse"));
    let [zone] = budget.no_alloc.as_slice() else {
        panic!("there is one zone");
    };
    assert_eq!(zone.key, r#"no_alloc."audio_callback""#);
    assert_eq!(zone.place.to_string(), "26:1");
    assert_eq!(zone.reason.as_deref(), Some("runs in real time"));
    assert!(zone.except[0].matches("log_line"));
    let [leak] = budget.allowed_leaks.as_slice() else {
        panic!("there is one allowed leak");
    };
    assert_eq!(
        (leak.key.as_str(), leak.place.line),
        (r#"allowed_leak."setlocale""#, 32)
    );
    assert_eq!(leak.reason, "kept for the run");
    let measures = leak.bounds.iter().map(|bound| bound.measure);
    assert!(measures.eq([
        Measure::Metric(Metric::LeakedBytes),
        Measure::Metric(Metric::LeakedAllocations),
    ]));
}

#[test]
fn every_form_that_toml_has_for_a_table_is_one() {
    let forms = [
        "[functions]\nrender = { bytes = 3 }\n",
        "[functions.render]\nbytes = 3\n",
        "functions.render.bytes = 3\n",
        "functions = { render = { bytes = 3 } }\n",
        "functions = { render.bytes = 0x3 }\n",
        "\u{feff}[functions]\r\n'render' = {\r\n  bytes = +3, # a comment\r\n}\r\n",
    ];
    for form in forms {
        let budget = parse(form).unwrap_or_else(|error| panic!("{form}: {error}"));
        let bounds: Vec<_> = budget
            .bounds()
            .map(|(_, bound)| bound.key.as_str())
            .collect();
        assert_eq!(bounds, [r#"functions."render".bytes"#], "{form}");
    }
    let inline = parse("no_alloc = [{ under = \"a\" }, { under = \"b\" }]").unwrap();
    assert_eq!(inline.no_alloc[1].place.to_string(), "1:30");
}

#[test]
fn each_thing_that_is_wrong_is_named_with_its_place() {
    const METRICS: &str =
        "allocations, bytes, peak_bytes, leaked_bytes, leaked_allocations, temporary_allocations";
    let known = format!("known here: {METRICS}");
    let known_of_functions = format!("known here: {METRICS}, allocations_per_call");
    let tables = "known here: version, totals, functions, callers, modules, no_alloc, allowed_leak";
    let toml = "a budget is TOML: patterns as keys and texts as values stand in quotes";
    let size = "a size is a number with K, M, G (powers of 1024) or nothing after it: \"1.5M\"";
    let any = "\"*\" matches every name";
    let why = "say in a few words why the leak is kept";
    let mut differing = Vec::new();
    for (text, message, hint) in [
        // Syntax.
        (
            "[totals]\nbytes 3",
            "2:7: key with no value, expected `=`",
            toml,
        ),
        (
            "[totals\nbytes = 3",
            "1:8: unclosed table, expected `]`",
            toml,
        ),
        (
            "[functions]\nparse* = 3",
            "2:6: invalid unquoted key, expected letters, numbers, `-`, `_`",
            toml,
        ),
        (
            "[totals]\nbytes = 3M",
            "2:9: string values must be quoted, expected literal string",
            toml,
        ),
        (
            "[totals]\nbytes = 3\nbytes = 4",
            "3:1: duplicate key 'bytes'",
            toml,
        ),
        (
            "[totals]\nbytes = 3\n[totals]",
            "3:2: duplicate key 'totals'",
            toml,
        ),
        (
            "[totals]\nbytes = 99999999999999999999",
            "2:9: integer number overflowed",
            toml,
        ),
        // The version.
        (
            "version = 2\nnew = 1",
            &format!(
                "1:11: version 2 of budgets is not known: this is sntrace {}, which knows version 1",
                env!("CARGO_PKG_VERSION")
            ),
            "upgrade sntrace",
        ),
        (
            "version = 0",
            &format!(
                "1:11: version 0 of budgets is not known: this is sntrace {}, which knows version 1",
                env!("CARGO_PKG_VERSION")
            ),
            "write version = 1",
        ),
        (
            "version = \"1\"",
            "1:11: 'version' must be a whole number, not a string",
            "",
        ),
        // Keys.
        (
            "[function]\nx = 1",
            "1:2: a budget has no key 'function' (did you mean functions?)",
            tables,
        ),
        ("[speed]\nx = 1", "1:2: a budget has no key 'speed'", tables),
        (
            "[totals]\nbyte = 1",
            "2:1: 'totals' has no metric 'byte' (did you mean bytes?)",
            &known,
        ),
        (
            "[functions]\n\"parse*\" = { alocations = 3 }",
            "2:14: 'functions.\"parse*\"' has no metric 'alocations' (did you mean allocations?)",
            &known_of_functions,
        ),
        (
            "[callers]\n\"größe\" = { \u{1b}x = 3 }",
            "2:13: invalid unquoted key, expected letters, numbers, `-`, `_`",
            toml,
        ),
        (
            "[callers]\n\"a\\u001b\" = { \"\\u202e\" = 3 }",
            "2:15: 'callers.\"a\\x1b\"' has no metric '\\u{202e}'",
            &known,
        ),
        (
            "[modules]\nm = { allocations_per_call = 3 }",
            "2:7: 'modules.\"m\"' has no 'allocations_per_call': calls are counted of functions only",
            "bound it in [functions], or bound 'allocations' here",
        ),
        (
            "[totals]\nallocations_per_call = 3",
            "2:1: 'totals' has no 'allocations_per_call': calls are counted of functions only",
            "bound it in [functions], or bound 'allocations' here",
        ),
        (
            "[[no_alloc]]\nundr = \"a\"",
            "2:1: 'no_alloc' has no key 'undr' (did you mean under?)",
            "known here: under, reason, except",
        ),
        (
            "[[allowed_leak]]\nunder = \"a\"\nleaked_bytes = 3",
            "3:1: 'allowed_leak' has no key 'leaked_bytes'",
            "known here: under, reason, bytes, allocations",
        ),
        // Types.
        (
            "totals = 3",
            "1:10: 'totals' must be a table, not an integer",
            "",
        ),
        (
            "[[totals]]\nbytes = 3",
            "1:1: 'totals' must be a table, not an array of tables",
            "",
        ),
        (
            "[functions]\nbytes = 3",
            "2:9: 'functions.\"bytes\"' must be a table, not an integer",
            "",
        ),
        (
            "[totals]\nallocations = 1.5",
            "2:15: 'totals.allocations' must be a whole number, not a float",
            "",
        ),
        (
            "[totals]\nallocations = \"3K\"",
            "2:15: 'totals.allocations' must be a whole number, not a string",
            "",
        ),
        (
            "[totals]\nbytes = 1.5",
            "2:9: 'totals.bytes' must be a whole number or a size such as \"1.5M\", not a float",
            "",
        ),
        (
            "[totals]\nbytes = { a = 1 }",
            "2:9: 'totals.bytes' must be a whole number or a size such as \"1.5M\", not a table",
            "",
        ),
        (
            "[functions]\nf = { allocations_per_call = \"3\" }",
            "2:30: 'functions.\"f\".allocations_per_call' must be a number, not a string",
            "",
        ),
        (
            "[no_alloc]\nunder = \"a\"",
            "1:1: 'no_alloc' must be tables, each after a line with its name in double brackets, not a table",
            "",
        ),
        (
            "no_alloc = [3]",
            "1:13: 'no_alloc' must be tables, each after a line with its name in double brackets, not an array of something else",
            "",
        ),
        (
            "[[no_alloc]]\nunder = 3",
            "2:9: 'no_alloc.under' must be a string, not an integer",
            "",
        ),
        (
            "[[no_alloc]]\nunder = \"a\"\nexcept = \"log_*\"",
            "3:10: 'no_alloc.except' must be an array of strings, not a string",
            "",
        ),
        (
            "[[no_alloc]]\nunder = \"a\"\nexcept = [\"log_*\", true]",
            "3:20: 'no_alloc.except' must be an array of strings, not an array of something else",
            "",
        ),
        // Numbers.
        (
            "[totals]\nallocations = -1",
            "2:15: 'totals.allocations' is negative, and nothing could keep to it",
            "0 allows none",
        ),
        (
            "[functions]\nf = { allocations_per_call = -2.5 }",
            "2:30: 'functions.\"f\".allocations_per_call' is negative, and nothing could keep to it",
            "0 allows none",
        ),
        (
            "[functions]\nf = { allocations_per_call = 0.0000001 }",
            "2:30: 'functions.\"f\".allocations_per_call' is 0.0000001, and must be a plain number with up to six decimals",
            "such as 3 or 2.5",
        ),
        (
            "[functions]\nf = { allocations_per_call = inf }",
            "2:30: 'functions.\"f\".allocations_per_call' is inf, and must be a plain number with up to six decimals",
            "such as 3 or 2.5",
        ),
        (
            "[totals]\npeak_bytes = \"3X\"",
            "2:14: 'totals.peak_bytes' is '3X', which is no size below 2^64 bytes",
            size,
        ),
        (
            "[totals]\nbytes = \"-3M\"",
            "2:9: 'totals.bytes' is '-3M', which is no size below 2^64 bytes",
            size,
        ),
        (
            "[totals]\nbytes = \"99999999999G\"",
            "2:9: 'totals.bytes' is '99999999999G', which is no size below 2^64 bytes",
            size,
        ),
        (
            "[[allowed_leak]]\nunder = \"a\"\nreason = \"b\"\nbytes = \"4 X\"",
            "4:9: 'allowed_leak.\"a\".bytes' is '4 X', which is no size below 2^64 bytes",
            size,
        ),
        // What is empty or missing.
        (
            "[functions]\n\"\" = { bytes = 3 }",
            "2:1: 'functions' has an empty pattern, which matches no name",
            any,
        ),
        (
            "[[no_alloc]]\nunder = ''",
            "2:9: 'no_alloc.under' has an empty pattern, which matches no name",
            any,
        ),
        (
            "[[no_alloc]]\nunder = 'a'\nexcept = ['b', '']",
            "3:16: 'no_alloc.except' has an empty pattern, which matches no name",
            any,
        ),
        (
            "[[no_alloc]]\nreason = 'a'",
            "1:1: this 'no_alloc' has no 'under'",
            "name the function: under = \"...\"",
        ),
        (
            "[[allowed_leak]]\nunder = 'a'",
            "1:1: this 'allowed_leak' has no 'reason'",
            "say in a few words why the leak is kept: reason = \"...\"",
        ),
        (
            "[[allowed_leak]]\nunder = 'a'\nreason = ' '",
            "3:10: 'allowed_leak.reason' is empty",
            why,
        ),
        (
            "[functions]\nf = {}",
            "2:1: 'functions.\"f\"' has no metric, so it would always hold",
            &known_of_functions,
        ),
        (
            "[[no_alloc]]\nunder = 'a'\n\n[[no_alloc]]\nunder = 'a'",
            "4:1: 'no_alloc.\"a\"' is in line 1 already",
            "make one of both",
        ),
        (
            "[[allowed_leak]]\nunder = 'a'\nreason = 'b'\n[[allowed_leak]]\nunder = \"a\"\nreason = 'c'",
            "4:1: 'allowed_leak.\"a\"' is in line 1 already",
            "make one of both",
        ),
        // Nothing to fail by: an allowed leak without a bound only takes away.
        (
            "",
            "1:1: there is no rule in this budget, so it would always hold",
            "bound something, such as allocations = 12000 in [totals]",
        ),
        (
            "version = 1\n[totals]\n[[allowed_leak]]\nunder = 'a'\nreason = 'b'",
            "1:1: there is no rule in this budget, so it would always hold",
            "bound something, such as allocations = 12000 in [totals]",
        ),
    ] {
        let expected = (format!("budget.toml:{message}"), hint.to_owned());
        let found = complaint(text);
        if found != expected {
            // All at once: words that come from the reader of TOML change together.
            differing.push(format!("{text}\n  {found:?}\n  {expected:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let error = Budget::parse(Path::new("b\n.toml"), b"[totals]\n# caf\xe9\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "b\\n.toml:2:6: what follows is not UTF-8"
    );
    assert_eq!(*error.problem, Problem::NotUtf8);
    assert!(error.hint().is_some());
}

#[test]
fn an_update_touches_nothing_but_numbers() {
    let text = EXAMPLE
        .replace('\n', "\r\n")
        .replace("\"1 MiB\"", "'1 MiB'   # the peak");
    let budget = parse(&text).unwrap();
    let figure = |bounded: Bounded<'_>, bound: &Bound| match (bounded, bound.measure) {
        (Bounded::Run, Measure::Metric(Metric::Allocations)) => Some(Figure::of(1_234_567)),
        (Bounded::Run, Measure::Metric(Metric::Bytes)) => Some(Figure::of(70_000)),
        (Bounded::Run, Measure::Metric(Metric::PeakBytes)) => Some(Figure::of(5 << 20)),
        (Bounded::Run, _) => Some(Figure::of(0)),
        (Bounded::Entry(_), Measure::AllocationsPerCall) => Figure::per_call(7, 3),
        (Bounded::Entry(entry), _) if entry.scope == Scope::Callers => Some(Figure::of(3 << 30)),
        (Bounded::Entry(_), _) => None,
        (Bounded::Leak(_), Measure::Metric(Metric::LeakedBytes)) => Some(Figure::of(100)),
        (Bounded::Leak(_), _) => Some(Figure::of(3)),
    };
    let updated = budget.updated(&figure, Margin::percent(10.0).unwrap());
    let expected = text
        .replace("12_000", "1_358_024")
        // 70,000 * 1.1 is 75.2 K.
        .replace("\"3M\"", "\"75.2K\"")
        .replace("'1 MiB'", "'5.5 MiB'")
        .replace("= 500", "= 0")
        // 7 / 3 * 1.1 is 2.566...
        .replace("2.5 ", "2.57 ")
        .replace("\"1M\"", "\"3380M\"")
        .replace("\"4K\"", "\"0.108K\"")
        .replace("= 3\r", "= 4\r");
    assert_eq!(updated.text, expected);
    assert_eq!(
        updated.left,
        [
            r#"functions."render".allocations"#,
            r#"functions."render".bytes"#,
            r#"modules."libz.so*".bytes"#,
        ]
    );
    let changed: Vec<_> = updated
        .changed
        .iter()
        .map(|(key, from, to)| format!("{key}: {from} to {to}"))
        .collect();
    assert_eq!(changed[0], "totals.allocations: 12000 to 1358024");
    assert_eq!(
        changed[4],
        r#"functions."parse*".allocations_per_call: 2.5 to 2.57"#
    );
}

#[test]
fn an_update_with_the_same_figures_changes_nothing() {
    let budget = parse(EXAMPLE).unwrap();
    let same = |_: Bounded<'_>, bound: &Bound| match bound.measure {
        Measure::Metric(_) => Some(Figure::of(bound.limit.rounded_up())),
        Measure::AllocationsPerCall => Figure::per_call(5, 2),
    };
    let updated = budget.updated(&same, Margin::default());
    assert_eq!(updated.text, EXAMPLE);
    assert!(updated.changed.is_empty() && updated.left.is_empty());
}

#[test]
fn a_fresh_budget_holds_and_explains_itself() {
    let totals = Figures {
        allocations: 12_000,
        bytes: 3 << 20,
        peak_bytes: 700,
        leaked_bytes: 0,
        leaked_allocations: 0,
        temporary_allocations: 7,
    };
    let command = ["./prog".to_owned(), "a\nb\u{202e}".to_owned()];
    let facts = Facts {
        command: &command,
        generator: "sntrace 0.1.0",
        started: "2026-01-02T03:04:05Z",
        revision: Some("abc-dirty"),
    };
    let text = fresh(&totals, Margin::percent(5.0).unwrap(), &facts);
    let head = r#"# What may be allocated by: ./prog a\nb\u{202e}
# Measured by sntrace 0.1.0 on 2026-01-02T03:04:05Z at revision abc-dirty, plus a margin of 5 %.
# `sntrace check --budget FILE` compares; `--update-budget` measures anew.
version = 1

[totals]
allocations = 12600
bytes = "3.16M"
peak_bytes = 735
leaked_bytes = 0
leaked_allocations = 0
temporary_allocations = 8

# More can be bounded."#;
    assert!(text.starts_with(head), "{text}");
    assert_eq!(parse(&text).unwrap().totals.len(), Metric::ALL.len());

    // The examples are no prose: without their comment signs they count.
    let examples = text.replace("\n#[", "\n[").replace("\n#\"", "\n\"");
    let examples = ["under", "reason", "except"]
        .iter()
        .fold(examples, |text, key| {
            text.replace(&format!("\n#{key}"), &format!("\n{key}"))
        });
    let budget = parse(&examples).unwrap();
    assert_eq!(budget.entries.len(), 3);
    assert_eq!((budget.no_alloc.len(), budget.allowed_leaks.len()), (1, 1));
}

#[test]
fn the_page_for_users_shows_the_example_that_is_read() {
    let page = include_str!("../../../docs/budget.md");
    assert!(page.contains(&format!("```toml\n{EXAMPLE}```\n")));
    for metric in Metric::ALL {
        assert!(page.contains(&format!("`{}`", metric.name())));
    }
    assert!(page.contains(&format!("`{}`", Measure::PER_CALL)));
}

proptest! {
    #[test]
    fn an_update_is_never_below_what_was_asked_for_and_hardly_above(
        amount: u64, bits in 0..64u32, calls in 1..100_000u64, margin in 0..1_000_000u32,
    ) {
        let amount = amount >> bits;
        let margin = Margin::percent(f64::from(margin) / 10_000.0).unwrap();
        let budget = parse(&EXAMPLE.replace("500", "500_0").replace("libz", "lib \\\"z\\\" ")).unwrap();
        let figure = |_: Bounded<'_>, bound: &Bound| match bound.measure {
            Measure::Metric(_) => Some(Figure::of(amount)),
            Measure::AllocationsPerCall => Figure::per_call(amount >> 20, calls),
        };
        let updated = budget.updated(&figure, margin);
        let again = parse(&updated.text).unwrap();
        for ((bounded, bound), (_, old)) in again.bounds().zip(budget.bounds()) {
            prop_assert_eq!(&bound.key, &old.key);
            if updated.left.contains(&bound.key) {
                prop_assert!(amount >= 1 << 62, "only what TOML can't hold is left");
                prop_assert_eq!(bound.limit, old.limit);
                continue;
            }
            let figure = figure(bounded, bound).unwrap();
            let wanted = figure.with_margin(margin);
            prop_assert!(!figure.exceeds(bound.limit));
            prop_assert!(bound.limit >= wanted);
            // One hundredth and one more.
            let above = Limit::whole(wanted.rounded_up().saturating_add(wanted.rounded_up() / 100 + 1));
            prop_assert!(bound.limit <= above, "{} for {}", bound.limit, wanted);
        }
        // What is written once stays.
        let twice = again.updated(&figure, margin);
        prop_assert_eq!(twice.text, updated.text);
    }

    #[test]
    fn a_fresh_budget_is_read_back_above_its_figures(
        amounts: [u64; 6], bits in 0..64u32, command: Vec<String>, revision: Option<String>,
    ) {
        let amount = |at: usize| amounts[at] >> bits.max(2);
        let totals = Figures {
            allocations: amount(0),
            bytes: amount(1),
            peak_bytes: amount(2),
            leaked_bytes: amount(3),
            leaked_allocations: amount(4),
            temporary_allocations: amount(5),
        };
        let facts = Facts {
            command: &command,
            generator: "g",
            started: "s",
            revision: revision.as_deref(),
        };
        let budget = parse(&fresh(&totals, Margin::default(), &facts)).unwrap();
        for bound in &budget.totals {
            let Measure::Metric(metric) = bound.measure else { unreachable!("totals have no calls") };
            prop_assert!(!Figure::of(totals.get(metric)).exceeds(bound.limit));
        }
    }

    #[test]
    fn any_text_is_a_budget_or_a_complaint_within_it(
        any: String,
        near in "(\\[{1,2}(totals|functions|callers.a|no_alloc|allowed_leak)\\]{1,2}\n((bytes|under|\"a*\"|allocations|reason|except) ?= ?([0-9.-]{1,4}|\"[0-9KMa ]{0,3}\"|\\{|\\[|\\})?\n){0,3}){0,3}",
    ) {
        for text in [any, near] {
            if let Err(error) = parse(&text) {
                prop_assert!(error.place.line <= text.split('\n').count());
                prop_assert!(!error.to_string().chars().any(escape::is_hidden));
                prop_assert!(!error.hint().unwrap_or_default().chars().any(escape::is_hidden));
            }
        }
    }
}
