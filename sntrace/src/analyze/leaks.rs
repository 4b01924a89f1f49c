//! Blocks that were live when their process ended, by stack, and those that a suppression excuses.
//!
//! What an exec swept away is no leak: the program did not end by its own making. What is live where a
//! trace was cut is none either, as nobody knows what would have become of it.

use super::counts::Counts;
use super::sites::Stacks;
use super::suppressions::{Suppressions, Suppressor};
use crate::trace::{StackId, Tables};

/// Leaks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Those that no rule suppresses, by stack.
    pub stacks: Vec<(StackId, Counts)>,
    /// Those that a rule suppresses: the rule's pattern as written (not escaped), and what it suppressed. In
    /// the order of the rules; a rule that suppressed nothing has no blocks.
    pub suppressed: Vec<(String, Counts)>,
    /// Blocks that were live where the trace ends, in processes of which it does not have the end.
    pub unended: Counts,
}

impl Leaks {
    pub(super) fn of(
        totals: &Stacks,
        tables: &Tables,
        rules: &Suppressions,
        unended: Counts,
    ) -> Leaks {
        let mut suppressor = Suppressor::new(rules, tables);
        let pattern = |rule| (rules.pattern(rule).to_owned(), Counts::default());
        let mut suppressed: Vec<_> = (0..rules.len()).map(pattern).collect();
        let mut stacks = Vec::new();
        for (stack, totals) in totals.iter() {
            if totals.leaked.is_none() {
                continue;
            }
            let rule = suppressor.rule_for(stack);
            match rule.and_then(|rule| suppressed.get_mut(rule)) {
                Some((_, counts)) => *counts += totals.leaked,
                None => stacks.push((stack, totals.leaked)),
            }
        }
        Leaks {
            stacks,
            suppressed,
            unended,
        }
    }

    /// Those that no rule suppresses, in all.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.stacks.iter().map(|&(_, counts)| counts).sum()
    }

    /// Those that a rule suppresses, in all.
    #[must_use]
    pub fn suppressed_total(&self) -> Counts {
        self.suppressed.iter().map(|&(_, counts)| counts).sum()
    }
}
