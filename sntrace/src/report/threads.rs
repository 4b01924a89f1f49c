//! By thread.

use std::io;

use serde::Serialize;

use super::Source;
use super::sites::more_line;
use crate::analyze::{Counts, ThreadTotals};
use crate::page::quantity::{duration, grouped, size};
use crate::page::{Page, Side, Span, Style, Table};

/// Which thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ThreadName {
    /// Process id; `null` where the trace does not have its process's beginning.
    pub pid: Option<u32>,
    /// Thread id.
    pub tid: u32,
    /// Number of its process image, which an exec changes.
    pub image: u32,
}

/// A thread's calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadEntry {
    /// Which.
    #[serde(flatten)]
    pub name: ThreadName,
    /// Its first event, in nanoseconds since the run began.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
    /// What it allocated.
    pub allocated: Counts,
    /// Calls that gave a block back.
    pub frees: u64,
    /// Its temporary allocations.
    pub temporary: Counts,
    /// What it freed that another thread had allocated.
    pub cross_thread_frees: Counts,
    /// What it allocated that was live when its process ended.
    pub leaked: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadsView {
    /// The ones that allocated the most bytes first.
    pub threads: Vec<ThreadEntry>,
    /// Threads beyond these.
    pub more_threads: u64,
}

pub(super) fn of(source: Source<'_>) -> ThreadsView {
    let (analysis, top) = (source.analysis, source.options.top);
    let mut threads: Vec<_> = analysis.threads.iter().collect();
    threads.sort_by_key(|thread| std::cmp::Reverse(thread.allocated.bytes));
    let entry = |thread: &&ThreadTotals| ThreadEntry {
        name: name_of(source, thread),
        first_ns: thread.first_ns,
        last_ns: thread.last_ns,
        allocated: thread.allocated,
        frees: thread.frees,
        temporary: thread.temporary,
        cross_thread_frees: thread.crossed,
        leaked: thread.leaked,
    };
    ThreadsView {
        threads: threads.iter().take(top).map(entry).collect(),
        more_threads: threads.len().saturating_sub(top) as u64,
    }
}

/// A thread as this report calls it.
pub(super) fn name_of(source: Source<'_>, thread: &ThreadTotals) -> ThreadName {
    ThreadName {
        pid: source.analysis.process(thread.image).and_then(|p| p.pid),
        tid: thread.tid,
        image: thread.image.0,
    }
}

impl ThreadName {
    /// `PID/TID`, as lines have it.
    pub(super) fn text(&self) -> String {
        match self.pid {
            Some(pid) => format!("{pid}/{}", self.tid),
            None => format!("?/{}", self.tid),
        }
    }
}

impl ThreadsView {
    pub(super) fn text(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading(
            "Threads",
            "OTHERS': freed blocks that another thread had allocated",
        )?;
        if self.threads.is_empty() {
            return page.say(Style::Dim, "none made an event");
        }
        let mut table = Table::new(&[
            ("PID/TID", Side::Right),
            ("BYTES", Side::Right),
            ("ALLOCATIONS", Side::Right),
            ("FREES", Side::Right),
            ("TEMPORARY", Side::Right),
            ("OTHERS'", Side::Right),
            ("LEAKED", Side::Right),
            ("ACTIVE", Side::Left),
        ]);
        for thread in &self.threads {
            let active = match thread.first_ns {
                first if first == thread.last_ns => format!("at {}", duration(first)),
                first => format!("{} to {}", duration(first), duration(thread.last_ns)),
            };
            table.row(
                vec![
                    Span::new(Style::Plain, thread.name.text()),
                    Span::new(Style::Bold, size(thread.allocated.bytes)),
                    Span::new(Style::Plain, grouped(thread.allocated.blocks)),
                    Span::new(Style::Plain, grouped(thread.frees)),
                    Span::new(Style::Plain, grouped(thread.temporary.blocks)),
                    Span::new(Style::Plain, grouped(thread.cross_thread_frees.blocks)),
                    Span::new(Style::Plain, size(thread.leaked.bytes)),
                    Span::new(Style::Dim, active),
                ],
                Vec::new(),
            );
        }
        table.write(page)?;
        match more_line(self.more_threads, "thread", 2) {
            Some(line) => page.line(&line),
            None => Ok(()),
        }
    }
}
