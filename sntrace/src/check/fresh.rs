//! The first budget of a project.

use super::budget::BUDGET_VERSION;
use crate::exact::size::{self, Unit};
use crate::exact::{Figure, Margin};
use crate::output::escape::shown;
use crate::profile::{Figures, Metric};

/// What the head of a new budget says about the run that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// Who measured it: `sntrace 0.1.0`.
    pub generator: &'a str,
    /// When the run began, RFC 3339 in UTC.
    pub started: &'a str,
    /// Revision of the program's source, if it is known.
    pub revision: Option<&'a str>,
}

/// What else a budget can say, for who doesn't read documentation.
const EXAMPLES: &str = r#"
# More can be bounded. Patterns: * is any text, ? any character.

# A function with all that it calls.
#[functions]
#"parse*" = { allocations_per_call = 3 }

# What a function allocates itself.
#[callers]
#"Table::add*" = { bytes = "1M" }

# What the functions of a file allocate themselves.
#[modules]
#"libz.so*" = { bytes = "300K" }

# Nothing below this function may allocate.
#[[no_alloc]]
#under = "audio_callback"
#except = ["log_*"]

# A leak that is known and does not count as leaked above.
#[[allowed_leak]]
#under = "setlocale"
#reason = "kept for the run"
"#;

/// A new budget's text: the totals with a margin, and an example of everything else as a comment.
#[must_use]
pub fn fresh(totals: &Figures, margin: Margin, facts: &Facts<'_>) -> String {
    // Nothing that could end the comment or that TOML forbids in one is left after escaping.
    let command: Vec<String> = facts.command.iter().map(|part| shown(part)).collect();
    let mut text = format!("# What may be allocated by: {}\n", command.join(" "));
    text += &format!(
        "# Measured by {} on {}",
        shown(facts.generator),
        shown(facts.started)
    );
    if let Some(revision) = facts.revision {
        text += &format!(" at revision {}", shown(revision));
    }
    text += &format!(
        ", plus a margin of {margin} %.\n\
         # `sntrace check --budget FILE` compares; `--update-budget` measures anew.\n\
         version = {BUDGET_VERSION}\n\n[totals]\n"
    );
    for metric in Metric::ALL {
        let limit = Figure::of(totals.get(metric)).with_margin(margin);
        let value = value(metric, limit.rounded_up());
        text += &format!("{} = {value}\n", metric.name());
    }
    text + EXAMPLES
}

/// Bytes from 1 KiB on are a size, which is easier to read than seven digits.
fn value(metric: Metric, limit: u64) -> String {
    let unit = Unit::fitting(limit);
    let size = (metric.is_bytes() && unit.is_named())
        .then(|| size::write(limit, &unit))
        .flatten();
    match size {
        Some(size) => format!("\"{size}\""),
        // TOML's whole numbers are below 2^63, which no count of blocks comes near to.
        None => limit.min(i64::MAX.cast_unsigned()).to_string(),
    }
}
