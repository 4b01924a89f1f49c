//! By process image.

use std::io;

use serde::Serialize;

use super::Source;
use super::sites::more_line;
use crate::analyze::{Counts, ProcessTotals};
use crate::page::quantity::{duration, grouped, size};
use crate::page::{Page, Side, Span, Style, Table};
use crate::trace::Exit;

/// How a process image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitEntry {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Another program took its place.
    Exec(bool),
}

/// A process image: one program in one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessEntry {
    /// Its number.
    pub image: u32,
    /// Process id; `null` where the trace does not have its beginning.
    pub pid: Option<u32>,
    /// Process id of its parent.
    pub ppid: Option<u32>,
    /// Number of the image that it was forked from, if it was.
    pub forked_from: Option<u32>,
    /// Path of the program.
    pub executable: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it began, in nanoseconds since the run began.
    pub begin_ns: u64,
    /// When it had ended; `null` where the trace does not have that.
    pub end_ns: Option<u64>,
    /// How it ended; `null` where that is not known.
    pub exit: Option<ExitEntry>,
    /// What it allocated.
    pub allocated: Counts,
    /// Calls that gave a block back.
    pub frees: u64,
    /// Its temporary allocations.
    pub temporary: Counts,
    /// Largest sum of its live requested bytes, what it inherited included.
    pub peak_bytes: u64,
    /// What it had from its parent at its beginning.
    pub inherited: Counts,
    /// What it allocated that was live when it ended, but for an exec.
    pub leaked: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessesView {
    /// In the order of their beginning: the first `top` of them.
    pub processes: Vec<ProcessEntry>,
    /// Process images beyond these.
    pub more_processes: u64,
}

pub(super) fn of(source: Source<'_>) -> ProcessesView {
    let (analysis, top) = (source.analysis, source.options.top);
    let entry = |process: &ProcessTotals| ProcessEntry {
        image: process.image.0,
        pid: process.pid,
        ppid: process.ppid,
        forked_from: process.forked_from.map(|image| image.0),
        executable: process.executable.clone(),
        command: process.command.clone(),
        begin_ns: process.begin_ns,
        end_ns: process.end_ns,
        exit: match process.exit {
            Some(Exit::Code(code)) => Some(ExitEntry::Code(code)),
            Some(Exit::Signal(signal)) => Some(ExitEntry::Signal(signal)),
            Some(Exit::Exec) => Some(ExitEntry::Exec(true)),
            Some(Exit::Unknown) | None => None,
        },
        allocated: process.allocated,
        frees: process.frees,
        temporary: process.temporary,
        peak_bytes: process.peak_bytes,
        inherited: process.inherited,
        leaked: process.leaked,
    };
    ProcessesView {
        processes: analysis.processes.iter().take(top).map(entry).collect(),
        more_processes: analysis.processes.len().saturating_sub(top) as u64,
    }
}

impl ProcessEntry {
    fn end_text(&self) -> String {
        match (self.exit, self.end_ns) {
            (Some(ExitEntry::Code(code)), _) => format!("status {code}"),
            (Some(ExitEntry::Signal(signal)), _) => format!("signal {signal}"),
            (Some(ExitEntry::Exec(_)), _) => "exec".into(),
            (None, Some(_)) => "ended".into(),
            (None, None) => "?".into(),
        }
    }
}

impl ProcessesView {
    pub(super) fn text(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading("Processes", "")?;
        let mut table = Table::new(&[
            ("PID", Side::Right),
            ("BYTES", Side::Right),
            ("ALLOCATIONS", Side::Right),
            ("PEAK", Side::Right),
            ("LEAKED", Side::Right),
            ("BEGAN", Side::Right),
            ("END", Side::Left),
            ("COMMAND", Side::Left),
        ]);
        for process in &self.processes {
            let end = process.end_text();
            let failed = matches!(process.exit, Some(ExitEntry::Signal(_)));
            let command = match process.command.is_empty() {
                true => process.executable.clone(),
                false => process.command.join(" "),
            };
            let pid = process.pid.map_or("?".into(), |pid| pid.to_string());
            let end_style = if failed { Style::Red } else { Style::Plain };
            table.row(
                vec![
                    Span::new(Style::Plain, pid),
                    Span::new(Style::Bold, size(process.allocated.bytes)),
                    Span::new(Style::Plain, grouped(process.allocated.blocks)),
                    Span::new(Style::Plain, size(process.peak_bytes)),
                    Span::new(Style::Plain, size(process.leaked.bytes)),
                    Span::new(Style::Plain, duration(process.begin_ns)),
                    Span::new(end_style, end),
                    Span::new(Style::Plain, command),
                ],
                Vec::new(),
            );
        }
        table.write(page)?;
        match more_line(self.more_processes, "process", 2) {
            Some(line) => page.line(&line),
            None => Ok(()),
        }
    }
}
