//! Figures by caller, with the stacks under them: the peak, temporary allocations, and the lists that other
//! views have.

use std::io;

use serde::Serialize;

use super::Source;
use super::cross_thread::CallersOnly;
use super::frames::{StackFrames, base_name};
use crate::analyze::{CallerId, Counts};
use crate::page::quantity::{count, grouped, share, size};
use crate::page::{Line, Page, Side, Span, Style, Table};
use crate::trace::StackId;

/// A function that is a caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerEntry {
    /// Its name, as in [`super::frames::FrameEntry::function`].
    pub function: String,
    /// Path of the module that has it.
    pub module: Option<String>,
}

/// A stack's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackEntry {
    /// Blocks and bytes.
    #[serde(flatten)]
    pub counts: Counts,
    /// The stack.
    #[serde(flatten)]
    pub stack: StackFrames,
}

/// A caller's share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteEntry {
    /// Who.
    #[serde(flatten)]
    pub caller: CallerEntry,
    /// Blocks and bytes in all.
    #[serde(flatten)]
    pub counts: Counts,
    /// The stacks that they come from, the most bytes first.
    pub stacks: Vec<StackEntry>,
    /// Stacks beyond these.
    pub more_stacks: u64,
}

/// What a list of callers is about; the titles of the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Peak,
    Leaks,
    Temporary,
    CrossThread,
}

/// Callers, the most bytes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SitesView {
    #[serde(skip)]
    subject: Subject,
    /// What it is a share of: everything that the callers have.
    pub total: Counts,
    /// The first ones.
    pub callers: Vec<SiteEntry>,
    /// Callers beyond these.
    pub more_callers: u64,
}

pub(super) fn peak(source: Source<'_>) -> SitesView {
    let figures = source.analysis.by_stack(|totals| totals.peak);
    of(source, Subject::Peak, figures)
}

pub(super) fn temporary(source: Source<'_>) -> SitesView {
    let figures = source.analysis.by_stack(|totals| totals.temporary);
    of(source, Subject::Temporary, figures)
}

/// A list of callers from figures by stack.
pub(super) fn of(
    source: Source<'_>,
    subject: Subject,
    by_stack: impl Iterator<Item = (StackId, Counts)>,
) -> SitesView {
    let groups = source.analysis.callers.group(by_stack);
    let (top, stacks) = (source.options.top, source.options.stacks);
    let entry = |group: &crate::analyze::Group| SiteEntry {
        caller: caller(source, group.caller),
        counts: group.counts,
        stacks: group
            .stacks
            .iter()
            .take(stacks)
            .map(|&(stack, counts)| StackEntry {
                counts,
                stack: stack_frames(source, stack),
            })
            .collect(),
        more_stacks: group.stacks.len().saturating_sub(stacks) as u64,
    };
    SitesView {
        subject,
        total: groups.iter().map(|group| group.counts).sum(),
        callers: groups.iter().take(top).map(entry).collect(),
        more_callers: groups.len().saturating_sub(top) as u64,
    }
}

/// A caller in words.
pub(super) fn caller(source: Source<'_>, caller: CallerId) -> CallerEntry {
    let caller = source.analysis.callers.get(caller);
    let files = &source.recording.tables().files;
    let file = caller.file.and_then(|file| files.get(file.0 as usize));
    CallerEntry {
        function: caller.function.clone(),
        module: file.map(|file| file.path.clone()),
    }
}

/// A stack in words.
pub(super) fn stack_frames(source: Source<'_>, stack: StackId) -> StackFrames {
    StackFrames::of(stack, source.recording.tables(), &source.analysis.callers)
}

/// A caller as the last cell of a row: its module behind it, dim, is part of the name's room.
pub(super) fn caller_cell(caller: &CallerEntry) -> Span {
    let module = match &caller.module {
        // `module+0x12` says it already.
        Some(module) if !caller.function.starts_with(base_name(module)) => {
            format!("  ({})", base_name(module))
        }
        _ => String::new(),
    };
    Span::new(Style::Plain, format!("{}{module}", caller.function))
}

impl SitesView {
    /// A list that another view has made part of its own.
    pub(super) fn new(subject: Subject, total: Counts, callers: &CallersOnly) -> SitesView {
        SitesView {
            subject,
            total,
            callers: callers.callers.clone(),
            more_callers: callers.more_callers,
        }
    }

    /// With `frames`, the stacks stand under the callers, of at most so many frames each.
    pub(super) fn text(&self, page: &mut Page<'_>, frames: Option<usize>) -> io::Result<()> {
        let (title, nothing) = match self.subject {
            Subject::Peak => ("Peak", "nothing was ever allocated"),
            Subject::Leaks => ("Leaks", "none"),
            Subject::Temporary => ("Temporary allocations", "none"),
            Subject::CrossThread => ("Callers", "none"),
        };
        let Counts { blocks, bytes } = self.total;
        let note = match self.subject {
            _ if self.total.is_none() => String::new(),
            Subject::Peak => format!("{} in {} live at it", size(bytes), count(blocks, "block")),
            Subject::Leaks => format!(
                "{} in {} live when their process ended",
                size(bytes),
                count(blocks, "block")
            ),
            Subject::Temporary => format!(
                "{}, {} in all, freed before their thread allocated again",
                count(blocks, "block"),
                size(bytes)
            ),
            Subject::CrossThread => String::from("who allocated what another thread freed"),
        };
        page.heading(title, &note)?;
        if self.callers.is_empty() {
            return page.say(Style::Dim, nothing);
        }
        self.table(page, frames)
    }

    fn table(&self, page: &mut Page<'_>, frames: Option<usize>) -> io::Result<()> {
        let mut table = Table::new(&[
            ("BYTES", Side::Right),
            ("SHARE", Side::Right),
            ("BLOCKS", Side::Right),
            ("CALLER", Side::Left),
        ]);
        for entry in &self.callers {
            let below = frames.map_or(Vec::new(), |most| {
                let stacks = entry.stacks.iter();
                let mut lines: Vec<Line> = stacks
                    .flat_map(|stack| stack_lines(stack, most, page.width()))
                    .collect();
                lines.extend(more_line(entry.more_stacks, "stack", STACK_INDENT));
                lines
            });
            table.row(
                vec![
                    Span::new(Style::Bold, size(entry.counts.bytes)),
                    Span::new(Style::Dim, share(entry.counts.bytes, self.total.bytes)),
                    Span::new(Style::Plain, grouped(entry.counts.blocks)),
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

/// Where stacks begin under an entry.
pub(super) const STACK_INDENT: usize = 6;

fn stack_lines(entry: &StackEntry, most: usize, width: usize) -> Vec<Line> {
    let Counts { blocks, bytes } = entry.counts;
    let head = format!("{} in {}", size(bytes), count(blocks, "block"));
    under(&head, &entry.stack, most, width)
}

/// A stack with a line above it that says what it is.
pub(super) fn under(head: &str, stack: &StackFrames, most: usize, width: usize) -> Vec<Line> {
    let indent = Span::new(Style::Plain, " ".repeat(STACK_INDENT));
    let mut lines = vec![vec![indent, Span::new(Style::Cyan, head)]];
    lines.extend(stack.lines(STACK_INDENT + 2, most, width));
    lines
}

/// What is not shown, if anything.
pub(super) fn more_line(more: u64, noun: &str, indent: usize) -> Option<Line> {
    let text = format!("… and {} more", count(more, noun));
    let indent = Span::new(Style::Plain, " ".repeat(indent));
    (more > 0).then(|| vec![indent, Span::new(Style::Dim, text)])
}
