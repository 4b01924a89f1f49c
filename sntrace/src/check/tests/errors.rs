//! What is wrong with a budget, in the words that a person reads.

use crate::exact::{Figure, Margin};
use std::path::Path;

use proptest::prelude::*;

use super::super::*;
use super::{EXAMPLE, parse};
use crate::output::escape;

/// The message and its hint.
fn complaint(text: &str) -> (String, String) {
    let error = parse(text).unwrap_err();
    (error.to_string(), error.hint().unwrap_or_default())
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

/// Pieces of TOML, and what does not belong there.
const DAMAGE: &str = r#"(\[|\]|\{|\}|"|'|"""|'''|=|\.|,|\n|\r|\#| |\t|-|\+|0x|_|e|[0-9]{1,20}|[a-z*]{1,3}|true|nan|1979-05-27|\x00|\[\[|\]\]|bytes = 3|under = ""){0,3}"#;

proptest! {
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

    #[test]
    fn a_damaged_example_is_a_budget_or_a_complaint(
        damages in prop::collection::vec((0..EXAMPLE.len(), 0..12usize, DAMAGE), 1..4),
        amount: u64,
    ) {
        let mut text = EXAMPLE.to_owned();
        for (at, removed, added) in damages {
            // Both are ASCII: every byte is a character.
            let at = at.min(text.len());
            let end = (at + removed).min(text.len());
            text.replace_range(at..end, &added);
        }
        match parse(&text) {
            Ok(budget) => {
                let updated = budget.updated(&|_, _| Some(Figure::of(amount)), Margin::default());
                let again = parse(&updated.text).unwrap();
                let keys = |budget: &Budget| {
                    budget.bounds().map(|(_, bound)| bound.key.clone()).collect::<Vec<_>>()
                };
                prop_assert_eq!(keys(&again), keys(&budget));
            }
            Err(error) => {
                prop_assert!(error.place.line <= text.split('\n').count());
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
