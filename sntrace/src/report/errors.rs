//! Misuse of the allocator: each distinct mistake with the stack of every call concerned.

use std::io;

use serde::Serialize;

use super::Source;
use super::frames::StackFrames;
use super::sites::{CallerEntry, caller};
use super::sites::{caller_cell, more_line, stack_frames};
use super::threads::{ThreadName, name_of};
use crate::analyze::{Call, Misuse, MisuseCase, MisuseKind};
use crate::page::quantity::{count, duration, size};
use crate::page::{Line, Page, Span, Style};

/// A call that a mistake consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallEntry {
    /// The function.
    pub op: &'static str,
    /// When, in nanoseconds since the run began; `null` where that is not known any more.
    pub time_ns: Option<u64>,
    /// By which thread; `null` where that is not known any more.
    pub thread: Option<ThreadName>,
    /// Where.
    #[serde(flatten)]
    pub stack: StackFrames,
}

/// A mistake, as often as it was made with these stacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorEntry {
    /// `double_free`, `new_free`, `malloc_delete`, `array_mismatch`, `alignment_mismatch` or
    /// `wrong_size`.
    pub kind: MisuseKind,
    /// How often. What follows is of the first time.
    pub times: u64,
    /// The block's address, `0x` and hexadecimal.
    pub ptr: String,
    /// The block's requested bytes.
    pub bytes: Option<u64>,
    /// Its alignment, where one was asked for.
    pub alignment: Option<u64>,
    /// The size that the release was given.
    pub given_bytes: Option<u64>,
    /// The alignment that the release was given.
    pub given_alignment: Option<u64>,
    /// What allocated it; `null` where the trace does not have that.
    pub allocation: Option<CallEntry>,
    /// What freed it first, of a double free.
    pub first_release: Option<CallEntry>,
    /// The call that is wrong.
    pub release: CallEntry,
}

/// How often a kind occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KindEntry {
    /// Which, as in [`ErrorEntry::kind`].
    pub kind: MisuseKind,
    /// How often.
    pub times: u64,
}

/// A caller of frees of unknown blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownEntry {
    /// Who.
    #[serde(flatten)]
    pub caller: CallerEntry,
    /// How often.
    pub times: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorsView {
    /// All occurrences of all kinds.
    pub total: u64,
    /// By kind; those that did not occur are left out.
    pub kinds: Vec<KindEntry>,
    /// Distinct mistakes, in the order of their first occurrence.
    pub errors: Vec<ErrorEntry>,
    /// Distinct mistakes beyond these.
    pub more_errors: u64,
    /// Frees of blocks whose allocation is not in the trace. No errors by themselves.
    pub unknown_frees: u64,
    /// Who made these, the most first.
    pub unknown_free_callers: Vec<UnknownEntry>,
    /// Frees, in a forked child, of blocks that it did not allocate. No errors.
    pub inherited_frees: u64,
    /// Freed blocks that were forgotten to bound memory: a second free of one is among the unknown.
    pub forgotten_blocks: u64,
    /// Whether events are missing from the trace or may stand in a wrong order: then some of these
    /// may be no errors.
    pub doubtful: bool,
}

pub(super) fn of(source: Source<'_>) -> ErrorsView {
    let (misuse, top) = (&source.analysis.misuse, source.options.top);
    let kinds = MisuseKind::ALL.map(|kind| KindEntry {
        kind,
        times: misuse.count(kind),
    });
    let entry = |case: &MisuseCase| ErrorEntry {
        kind: case.kind,
        times: case.times,
        ptr: format!("{:#x}", case.block),
        bytes: case.bytes,
        alignment: case.alignment,
        given_bytes: case.given_bytes,
        given_alignment: case.given_alignment,
        allocation: case.allocation.map(|call| call_entry(source, call)),
        first_release: case.first_release.map(|call| call_entry(source, call)),
        release: call_entry(source, case.release),
    };
    ErrorsView {
        total: misuse.total(),
        kinds: kinds.into_iter().filter(|kind| kind.times > 0).collect(),
        errors: misuse.cases.iter().take(top).map(entry).collect(),
        more_errors: misuse.cases.len().saturating_sub(top) as u64,
        unknown_frees: misuse.unknown_frees,
        unknown_free_callers: unknown(source, top),
        inherited_frees: misuse.inherited_frees,
        forgotten_blocks: misuse.forgotten_blocks,
        doubtful: misuse.doubtful,
    }
}

fn unknown(source: Source<'_>, top: usize) -> Vec<UnknownEntry> {
    let callers = &source.analysis.callers;
    let by_stack = source.analysis.misuse.unknown_frees_by_stack.iter();
    let counts = |&(stack, times): &(_, u64)| {
        let counts = crate::analyze::Counts {
            blocks: times,
            bytes: 0,
        };
        (stack, counts)
    };
    let groups = callers.group(by_stack.map(counts));
    let entry = |group: &crate::analyze::Group| UnknownEntry {
        caller: caller(source, group.caller),
        times: group.counts.blocks,
    };
    groups.iter().take(top).map(entry).collect()
}

fn call_entry(source: Source<'_>, call: Call) -> CallEntry {
    let thread = |number: u32| source.analysis.threads.get(number as usize);
    CallEntry {
        op: call.op.name(),
        time_ns: call.time_ns,
        thread: call.thread.and_then(thread).map(|t| name_of(source, t)),
        stack: stack_frames(source, call.stack),
    }
}

/// What was found, in one sentence; `None`: nothing.
pub(super) fn counted(misuse: &Misuse) -> Option<String> {
    let kinds = MisuseKind::ALL.into_iter();
    let told: Vec<_> = kinds
        .filter(|&kind| misuse.count(kind) > 0)
        .map(|kind| count(misuse.count(kind), title(kind)))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn title(kind: MisuseKind) -> &'static str {
    match kind {
        MisuseKind::DoubleFree => "double free",
        MisuseKind::NewFree => "new/free mismatch",
        MisuseKind::MallocDelete => "malloc/delete mismatch",
        MisuseKind::ArrayMismatch => "new/delete[] mismatch",
        MisuseKind::AlignmentMismatch => "alignment mismatch",
        MisuseKind::WrongSize => "wrong size",
    }
}

impl ErrorsView {
    pub(super) fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        let note = match self.total {
            0 => String::new(),
            total => count(total, "call"),
        };
        page.heading("Errors", &note)?;
        if self.errors.is_empty() {
            page.say(Style::Dim, "none found")?;
        } else if self.doubtful {
            page.wrap(
                Style::Yellow,
                "Events are missing from the trace or may stand in a wrong order (see the certificate): some of \
                 these may be no errors.",
            )?;
        }
        for error in &self.errors {
            error.text(page, frames)?;
        }
        if let Some(line) = more_line(self.more_errors, "mistake", 2) {
            page.line(&line)?;
        }
        self.notes(page)
    }

    fn notes(&self, page: &mut Page<'_>) -> io::Result<()> {
        if self.unknown_frees > 0 {
            page.line(&[])?;
            let text = format!(
                "{} of blocks whose allocation is not in the trace, most likely from before tracing began:",
                count(self.unknown_frees, "free")
            );
            page.wrap(Style::Dim, &text)?;
            for entry in &self.unknown_free_callers {
                let times = Span::new(Style::Dim, format!("    {} by ", entry.times));
                page.line(&[times, caller_cell(&entry.caller)])?;
            }
        }
        if self.inherited_frees > 0 {
            let text = format!(
                "{} in forked children of blocks that they did not allocate: their parents', most likely",
                count(self.inherited_frees, "free")
            );
            page.wrap(Style::Dim, &text)?;
        }
        if self.forgotten_blocks > 0 {
            let text = format!(
                "{} freed long before were forgotten to bound memory: if one was freed again, it is among the \
                 unknown",
                count(self.forgotten_blocks, "block")
            );
            page.wrap(Style::Dim, &text)?;
        }
        Ok(())
    }
}

impl ErrorEntry {
    fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        page.line(&[])?;
        let times = match self.times {
            1 => String::new(),
            times => format!("  ({})", count(times, "time")),
        };
        page.line(&[
            Span::new(Style::Plain, "  "),
            Span::new(Style::Red, title(self.kind)),
            Span::new(Style::Plain, format!(" of {}{}", self.ptr, self.what())),
            Span::new(Style::Dim, times),
        ])?;
        match &self.allocation {
            Some(call) => call.text("allocated", page, frames)?,
            None => page.say(Style::Dim, "  allocated: not in the trace")?,
        }
        if let Some(call) = &self.first_release {
            call.text("freed first", page, frames)?;
        }
        let verb = match self.kind {
            MisuseKind::DoubleFree => "freed again",
            _ => "freed",
        };
        self.release.text(verb, page, frames)
    }

    /// The block's size and alignment, and what the release was told instead.
    fn what(&self) -> String {
        let mut text = String::new();
        if let Some(bytes) = self.bytes {
            text += &match bytes {
                0..1024 => format!(", {}", count(bytes, "byte")),
                _ => format!(", {} ({})", count(bytes, "byte"), size(bytes)),
            };
        }
        if let Some(alignment) = self.alignment {
            text += &format!(", aligned to {alignment}");
        }
        if self.kind == MisuseKind::WrongSize
            && let Some(given) = self.given_bytes
        {
            text += &format!(", freed as {}", count(given, "byte"));
        }
        if self.kind == MisuseKind::AlignmentMismatch {
            text += &match self.given_alignment {
                Some(given) => format!(", freed as aligned to {given}"),
                None => String::from(", freed as not aligned"),
            };
        }
        text
    }
}

impl CallEntry {
    fn text(&self, verb: &str, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        let mut head = format!("    {verb} by {}", self.op);
        if let Some(time) = self.time_ns {
            head += &format!(" after {}", duration(time));
        }
        if let Some(thread) = self.thread {
            head += &format!(" in {}", thread.text());
        }
        page.line(&[Span::new(Style::Cyan, head)])?;
        let lines: Vec<Line> = self.stack.lines(6, frames, page.width());
        lines.iter().try_for_each(|line| page.line(line))
    }
}
