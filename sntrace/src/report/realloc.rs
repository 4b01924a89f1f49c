//! Blocks that grew by realloc: what that cost, and what size would have spared it.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::Source;
use super::frames::StackFrames;
use super::sites::{
    CallerEntry, STACK_INDENT, caller, caller_cell, more_line, stack_frames, under,
};
use crate::analyze::{CallerId, Regrowth};
use crate::page::quantity::{count, grouped, size};
use crate::page::{Line, Page, Side, Span, Style, Table};
use crate::trace::StackId;

/// The chains that began at a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackRegrowth {
    /// What they cost.
    #[serde(flatten)]
    pub regrowth: Regrowth,
    /// The stack of the first allocation.
    #[serde(flatten)]
    pub stack: StackFrames,
}

/// The chains that a caller began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerRegrowth {
    /// Who.
    #[serde(flatten)]
    pub caller: CallerEntry,
    /// What they cost.
    #[serde(flatten)]
    pub regrowth: Regrowth,
    /// By stack, the most copied bytes first.
    pub stacks: Vec<StackRegrowth>,
    /// Stacks beyond these.
    pub more_stacks: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReallocView {
    /// All chains.
    pub total: Regrowth,
    /// By caller, the most copied bytes first.
    pub callers: Vec<CallerRegrowth>,
    /// Callers beyond these.
    pub more_callers: u64,
}

pub(super) fn of(source: Source<'_>) -> ReallocView {
    let (analysis, top) = (source.analysis, source.options.top);
    let mut total = Regrowth::default();
    let mut by_caller: HashMap<CallerId, (Regrowth, Vec<(StackId, Regrowth)>)> = HashMap::new();
    for (stack, regrowth) in &analysis.regrowths {
        total.add(regrowth);
        let caller = analysis.callers.caller_of(*stack);
        let (sum, stacks) = by_caller.entry(caller).or_default();
        sum.add(regrowth);
        // The analysis has put those first that copied most.
        stacks.push((*stack, *regrowth));
    }
    let mut groups: Vec<_> = by_caller.into_iter().collect();
    groups.sort_by_key(|(caller, (sum, _))| {
        let name = analysis.callers.get(*caller).function.clone();
        (std::cmp::Reverse(sum.copied()), name, *caller)
    });
    let callers = groups.len();
    let entry = |(id, (regrowth, stacks)): (CallerId, (Regrowth, Vec<(StackId, Regrowth)>))| {
        let most = source.options.stacks;
        let shown = stacks
            .iter()
            .take(most)
            .map(|&(stack, regrowth)| StackRegrowth {
                regrowth,
                stack: stack_frames(source, stack),
            });
        CallerRegrowth {
            caller: caller(source, id),
            regrowth,
            stacks: shown.collect(),
            more_stacks: stacks.len().saturating_sub(most) as u64,
        }
    };
    ReallocView {
        total,
        callers: groups.into_iter().take(top).map(entry).collect(),
        more_callers: callers.saturating_sub(top) as u64,
    }
}

impl ReallocView {
    pub(super) fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        let note = match self.total.chains {
            0 => String::new(),
            _ => format!(
                "{} in {}, {} copied",
                count(self.total.regrowths, "regrowth"),
                count(self.total.chains, "block"),
                size(self.total.copied_bytes)
            ),
        };
        page.heading("Reallocation", &note)?;
        if self.callers.is_empty() {
            return page.say(Style::Dim, "no block was reallocated");
        }
        let mut table = Table::new(&[
            ("COPIED", Side::Right),
            ("REGROWTHS", Side::Right),
            ("BLOCKS", Side::Right),
            ("FIRST SIZE", Side::Right),
            ("WOULD DO", Side::Right),
            ("LARGEST", Side::Right),
            ("CALLER", Side::Left),
        ]);
        for entry in &self.callers {
            let all = &entry.regrowth;
            let stacks = entry.stacks.iter();
            let mut below: Vec<Line> = stacks
                .flat_map(|stack| under(&told(&stack.regrowth), &stack.stack, frames, page.width()))
                .collect();
            below.extend(more_line(entry.more_stacks, "stack", STACK_INDENT));
            table.row(
                vec![
                    Span::new(Style::Bold, size(all.copied_bytes)),
                    Span::new(Style::Plain, grouped(all.regrowths)),
                    Span::new(Style::Plain, grouped(all.chains)),
                    Span::new(Style::Plain, mean(all.first_bytes, all.chains)),
                    Span::new(Style::Plain, mean(all.sufficient_bytes, all.chains)),
                    Span::new(Style::Plain, size(all.largest_bytes)),
                    caller_cell(&entry.caller),
                ],
                below,
            );
        }
        table.write(page)?;
        if let Some(line) = more_line(self.more_callers, "caller", 2) {
            page.line(&line)?;
        }
        page.say(
            Style::Dim,
            "FIRST SIZE and WOULD DO are means: what blocks began with, and the largest size that they reached.",
        )
    }
}

fn told(regrowth: &Regrowth) -> String {
    format!(
        "{} grew {}, from {} to {} on average",
        count(regrowth.chains, "block"),
        count(regrowth.regrowths, "time"),
        mean(regrowth.first_bytes, regrowth.chains),
        mean(regrowth.sufficient_bytes, regrowth.chains),
    )
}

fn mean(bytes: u64, chains: u64) -> String {
    size(bytes.checked_div(chains).unwrap_or(0))
}
