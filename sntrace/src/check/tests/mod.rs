//! Budgets as a whole: what is read from an example, and below, what is wrong with others and what a
//! rewritten one keeps.

mod errors;
mod update;

use std::path::Path;

use super::*;
use crate::profile::Metric;

fn parse(text: &str) -> Result<Budget, BudgetError> {
    Budget::parse(Path::new("budget.toml"), text.as_bytes())
}

const EXAMPLE: &str = include_str!("../example.toml");

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
fn the_page_for_users_shows_the_example_that_is_read() {
    let page = include_str!("../../../../docs/budget.md");
    assert!(page.contains(&format!("```toml\n{EXAMPLE}```\n")));
    for metric in Metric::ALL {
        assert!(page.contains(&format!("`{}`", metric.name())));
    }
    assert!(page.contains(&format!("`{}`", Measure::PER_CALL)));
}
