//! What a rewritten budget keeps and what it changes; the first budget.

use crate::exact::{Figure, Limit, Margin};
use proptest::prelude::*;

use super::super::*;
use super::{EXAMPLE, parse};
use crate::profile::{Figures, Metric};

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
}
