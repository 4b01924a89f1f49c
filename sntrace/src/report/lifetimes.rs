//! How long blocks live, as a histogram and by caller.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::Source;
use super::frames::StackFrames;
use super::sites::{
    CallerEntry, STACK_INDENT, caller, caller_cell, more_line, stack_frames, under,
};
use super::sizes::histogram_bar;
use crate::analyze::{CallerId, StackTotals};
use crate::page::quantity::{count, duration, grouped, share};
use crate::page::{Line, Page, Side, Span, Style, Table};
use crate::trace::StackId;

/// Blocks that lived between two powers of ten of nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LifetimeEntry {
    /// At least so long.
    pub from_ns: u64,
    /// Less than so long; `null`: without an end.
    pub below_ns: Option<u64>,
    /// How many.
    pub blocks: u64,
}

/// A stack's freed blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackLifetime {
    /// How many were freed.
    pub freed: u64,
    /// How long they lived on average.
    pub mean_ns: u64,
    /// The stack that allocated them.
    #[serde(flatten)]
    pub stack: StackFrames,
}

/// A caller's freed blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerLifetime {
    /// Who allocated them.
    #[serde(flatten)]
    pub caller: CallerEntry,
    /// How many were freed.
    pub freed: u64,
    /// How long they lived on average.
    pub mean_ns: u64,
    /// By stack, the most freed first.
    pub stacks: Vec<StackLifetime>,
    /// Stacks beyond these.
    pub more_stacks: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LifetimesView {
    /// Blocks of which the trace has allocation and release.
    pub freed: u64,
    /// By the time that they lived, the shortest first.
    pub classes: Vec<LifetimeEntry>,
    /// By caller, the most freed first.
    pub callers: Vec<CallerLifetime>,
    /// Callers beyond these.
    pub more_callers: u64,
}

pub(super) fn of(source: Source<'_>) -> LifetimesView {
    let (analysis, top) = (source.analysis, source.options.top);
    let mut by_caller: HashMap<CallerId, (StackTotals, Vec<StackId>)> = HashMap::new();
    for (stack, totals) in analysis.stacks.iter() {
        if totals.freed > 0 {
            let (sum, stacks) = by_caller
                .entry(analysis.callers.caller_of(stack))
                .or_default();
            sum.freed += totals.freed;
            sum.lifetime_ns += totals.lifetime_ns;
            stacks.push(stack);
        }
    }
    let mut groups: Vec<_> = by_caller.into_iter().collect();
    groups.sort_by_key(|(caller, (sum, _))| {
        let name = analysis.callers.get(*caller).function.clone();
        (std::cmp::Reverse(sum.freed), name, *caller)
    });
    let callers = groups.len();
    let totals_of = |stack: StackId| analysis.stacks.get(stack).copied();
    let entry = |(id, (sum, mut stacks)): (CallerId, (StackTotals, Vec<StackId>))| {
        let freed = |stack: StackId| totals_of(stack).map_or(0, |totals| totals.freed);
        stacks.sort_by_key(|&stack| (std::cmp::Reverse(freed(stack)), stack));
        let most = source.options.stacks;
        let shown = stacks.iter().take(most).map(|&stack| StackLifetime {
            freed: freed(stack),
            mean_ns: totals_of(stack)
                .and_then(|totals| totals.mean_lifetime_ns())
                .unwrap_or(0),
            stack: stack_frames(source, stack),
        });
        CallerLifetime {
            caller: caller(source, id),
            freed: sum.freed,
            mean_ns: sum.mean_lifetime_ns().unwrap_or(0),
            stacks: shown.collect(),
            more_stacks: stacks.len().saturating_sub(most) as u64,
        }
    };
    let classes = analysis.lifetimes.classes().map(|class| LifetimeEntry {
        from_ns: class.from_ns,
        below_ns: class.below_ns,
        blocks: class.blocks,
    });
    let classes: Vec<_> = classes.collect();
    LifetimesView {
        freed: classes.iter().map(|class| class.blocks).sum(),
        classes,
        callers: groups.into_iter().take(top).map(entry).collect(),
        more_callers: callers.saturating_sub(top) as u64,
    }
}

impl LifetimesView {
    pub(super) fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        page.heading("Lifetimes", "of blocks that were freed")?;
        if self.classes.is_empty() {
            return page.say(Style::Dim, "nothing was freed");
        }
        let mut table = Table::new(&[
            ("FROM", Side::Right),
            ("BELOW", Side::Right),
            ("BLOCKS", Side::Right),
            ("SHARE", Side::Right),
            ("", Side::Left),
        ]);
        let most = self.classes.iter().map(|class| class.blocks).max();
        for class in &self.classes {
            table.row(
                vec![
                    Span::new(Style::Plain, duration(class.from_ns)),
                    Span::new(Style::Plain, class.below_ns.map_or(String::new(), duration)),
                    Span::new(Style::Bold, grouped(class.blocks)),
                    Span::new(Style::Dim, share(class.blocks, self.freed)),
                    histogram_bar(class.blocks, most.unwrap_or(0), page.width()),
                ],
                Vec::new(),
            );
        }
        table.write(page)?;
        page.line(&[])?;
        self.callers(page, frames)
    }

    fn callers(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        let mut table = Table::new(&[
            ("FREED", Side::Right),
            ("MEAN", Side::Right),
            ("CALLER", Side::Left),
        ]);
        for entry in &self.callers {
            let stacks = entry.stacks.iter();
            let mut below: Vec<Line> = stacks
                .flat_map(|stack| {
                    let (freed, mean) = (count(stack.freed, "block"), duration(stack.mean_ns));
                    let head = format!("{freed} lived {mean} on average");
                    under(&head, &stack.stack, frames, page.width())
                })
                .collect();
            below.extend(more_line(entry.more_stacks, "stack", STACK_INDENT));
            table.row(
                vec![
                    Span::new(Style::Bold, grouped(entry.freed)),
                    Span::new(Style::Plain, duration(entry.mean_ns)),
                    caller_cell(&entry.caller),
                ],
                below,
            );
        }
        table.write(page)?;
        match more_line(self.more_callers, "caller", 2) {
            Some(line) => page.line(&line),
            None => Ok(()),
        }
    }
}
