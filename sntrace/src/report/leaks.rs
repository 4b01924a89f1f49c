//! What was live when its process ended, and what suppressions say is known.

use std::io;

use serde::Serialize;

use super::Source;
use super::sites::{self, SitesView, Subject};
use crate::analyze::Counts;
use crate::page::quantity::{count, size};
use crate::page::{Page, Style};

/// A line of a suppression file and what it suppressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleEntry {
    /// Its pattern, as written.
    pub pattern: String,
    /// Blocks and bytes; none: it fits no leak of this run.
    #[serde(flatten)]
    pub counts: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaksView {
    /// Leaks that no rule suppresses.
    #[serde(flatten)]
    pub sites: SitesView,
    /// Leaks that a rule suppresses, in all.
    pub suppressed: Counts,
    /// By rule, in their order.
    pub rules: Vec<RuleEntry>,
    /// Blocks live where the trace stops, in processes whose end it does not have.
    pub unended: Counts,
}

pub(super) fn of(source: Source<'_>) -> LeaksView {
    let leaks = &source.analysis.leaks;
    let rule = |(pattern, counts): &(String, Counts)| RuleEntry {
        pattern: pattern.clone(),
        counts: *counts,
    };
    LeaksView {
        sites: sites::of(source, Subject::Leaks, leaks.stacks.iter().copied()),
        suppressed: leaks.suppressed_total(),
        rules: leaks.suppressed.iter().map(rule).collect(),
        unended: leaks.unended,
    }
}

impl LeaksView {
    /// With `frames`, the stacks and the rules stand there too.
    pub(super) fn text(&self, page: &mut Page<'_>, frames: Option<usize>) -> io::Result<()> {
        self.sites.text(page, frames)?;
        let sum =
            |Counts { blocks, bytes }| format!("{} in {}", size(bytes), count(blocks, "block"));
        if !self.suppressed.is_none() {
            let text = format!("suppressed: {}", sum(self.suppressed));
            page.say(Style::Dim, text)?;
        }
        if frames.is_some() {
            for rule in &self.rules {
                let text = match rule.counts.is_none() {
                    true => format!("  leak:{} suppresses nothing here", rule.pattern),
                    false => format!("  leak:{}: {}", rule.pattern, sum(rule.counts)),
                };
                page.say(Style::Dim, text)?;
            }
        }
        if !self.unended.is_none() {
            let text = format!(
                "{} live where the trace stops: it does not have the end of their processes, so nobody \
                 knows whether they leak",
                sum(self.unended)
            );
            page.wrap(Style::Yellow, &text)?;
        }
        Ok(())
    }
}
