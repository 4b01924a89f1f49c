//! Every record of a trace file as a line of text, in the order of the file.
//!
//! For whoever works on the format, and for the test that pins its bytes. A line begins with what
//! the record is, in the words of the specification; names and paths are escaped. Numbers of files, sites
//! and stacks are those that events use.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::chunk::{Kind, Unpress};
use super::columns::NAMES;
use super::definitions::{self, Definition};
use super::fields::{Fields, Malformed};
use super::index::Entry;
use super::planes::{EventHead, PLANES, plane_lengths};
use super::reader::new_tables;
use super::symbols::{Symbol, SymbolReader};
use super::{TraceFile, VERSION};
use crate::output::escape::{lossy, shown};
use crate::symbolize::Frame;
use crate::trace::{Event, Exit, Item, Recording as _, TraceError};

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file can't be read any further.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The output takes no more.
    #[error("cannot write the dump: {}", crate::messages::reason(.0))]
    Output(#[from] io::Error),
}

/// Writes every record of `file`, a line each.
///
/// # Errors
/// The file is damaged further on, or the output takes no more.
pub fn dump(file: &TraceFile, out: &mut impl Write) -> Result<(), DumpError> {
    writeln!(out, "trace version {VERSION}")?;
    let mut unpress = Unpress::default();
    let mut tables = new_tables();
    let mut symbols = SymbolReader::default();
    let mut texts = 0_usize;
    let mut decoder = file.decoder();
    let mut payload = Vec::new();
    for entry in &file.entries {
        writeln!(
            out,
            "{} at {}, {} bytes",
            entry.kind.name(),
            entry.offset,
            entry.length
        )?;
        let mut lines = Lines { out, failed: None };
        let result = match entry.kind {
            Kind::Head => {
                head(file, &mut lines);
                Ok(())
            }
            Kind::Definitions => {
                let body = file.body(entry, &mut unpress)?;
                let mut numbers = [tables.files.len(), tables.sites.len(), tables.stacks.len()];
                definitions::read(&body, &mut tables, &mut |definition| {
                    lines.line(&defined(definition, &mut numbers));
                })
            }
            Kind::Events => {
                let head = file.payload(entry, &mut payload)?;
                columns(&payload, &mut lines).and_then(|()| {
                    decoder.chunk(&payload, head.raw, &mut |item| lines.line(&told(item)))
                })
            }
            Kind::Symbols => {
                let body = file.body(entry, &mut unpress)?;
                symbols.read(&body, &mut tables, &mut |symbol| {
                    lines.line(&named(symbol, &mut texts));
                })
            }
            Kind::Certificate => {
                let body = file.body(entry, &mut unpress)?;
                lines.line(&format!("certificate {}", text(&body)));
                Ok(())
            }
            Kind::Index => {
                indexed(&file.entries, &mut lines);
                Ok(())
            }
        };
        // What can't be written any more is more urgent than what can't be read.
        lines.failed.map_or(Ok(()), Err)?;
        result.map_err(|wrong| file.damaged(entry, &wrong))?;
    }
    match (file.cut(), file.entries.last()) {
        (Some(cut), _) => writeln!(
            out,
            "cut: of {} bytes, {} are whole chunks",
            cut.length, cut.read_to
        )?,
        (None, Some(index)) => writeln!(out, "trailer: index at {}", index.offset)?,
        (None, None) => {}
    }
    Ok(())
}

/// Lines from inside a decoder, which knows nothing of outputs: the first error is kept.
struct Lines<'o, W> {
    out: &'o mut W,
    failed: Option<io::Error>,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, line: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    shown(&lossy(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn head(file: &TraceFile, lines: &mut Lines<'_, impl Write>) {
    let header = file.header();
    lines.line(&shown(file.generator()));
    for argument in &header.command {
        lines.line(&format!("argument {}", shown(argument)));
    }
    lines.line(&format!("os {}", shown(&header.os)));
    lines.line(&format!("arch {}", shown(&header.arch)));
    lines.line(&format!("started {}", shown(&header.started)));
    lines.line(&format!("recorded {:?}", file.recorded()));
}

/// `numbers`: the next ones of a file, a site, a stack.
fn defined(definition: &Definition, numbers: &mut [usize; 3]) -> String {
    let mut next = |at: usize| {
        numbers[at] += 1;
        numbers[at] - 1
    };
    match definition {
        Definition::File(file) => format!(
            "file {}: {} build id {}",
            next(0),
            shown(&file.path),
            hex(&file.build_id)
        ),
        Definition::Site { file, address } => match file {
            Some(file) => format!("site {}: file {} address {address:#x}", next(1), file.0),
            None => format!("site {}: no file, address {address:#x}", next(1)),
        },
        Definition::Stack(node) => format!(
            "stack {}: site {} called from stack {}",
            next(2),
            node.site.0,
            node.parent.0
        ),
    }
}

/// What the columns of an event chunk take.
fn columns(payload: &[u8], lines: &mut Lines<'_, impl Write>) -> Result<(), Malformed> {
    let mut fields = Fields(payload);
    let head = EventHead::parse(&mut fields)?;
    lines.line(&format!(
        "events {} items {} first time {}",
        head.events, head.items, head.first_ns
    ));
    let lengths = plane_lengths(&mut fields)?;
    let (pairs, _) = lengths[..PLANES - 1].as_chunks::<2>();
    for (name, [heads, tails]) in NAMES.iter().zip(pairs) {
        if heads.0 > 0 {
            lines.line(&format!(
                "column {name}: heads {} stored in {}, tails {} stored in {}",
                heads.0, heads.1, tails.0, tails.1
            ));
        }
    }
    Ok(())
}

fn told(item: &Item) -> String {
    match item {
        Item::Event(event) => event_told(event),
        // Never in a file, where each event has its stack whole.
        Item::Stack { .. } => String::new(),
        Item::Process {
            image,
            time_ns,
            pid,
            ppid,
            forked_from,
            executable,
            command,
        } => {
            let mut line = format!("process image {image} time {time_ns} pid {pid} ppid {ppid}");
            if let Some(from) = forked_from {
                let _ = write!(line, " forked from image {from}");
            }
            let _ = write!(line, ": {}", text(executable));
            for argument in command {
                let _ = write!(line, " '{}'", text(argument));
            }
            line
        }
        Item::ModuleAdd { image, module } => format!(
            "module image {image} {:#x} to {:#x} bias {:#x} device {} inode {}: {} build id {}",
            module.start,
            module.end,
            module.bias,
            module.device,
            module.inode,
            text(&module.path),
            hex(&module.build_id)
        ),
        Item::ModuleRemove { image, start } => format!("module gone image {image} {start:#x}"),
        Item::LoaderCalled { image, epoch } => format!("loader called image {image} epoch {epoch}"),
        Item::Exec { image, pid, path } if path.is_empty() => {
            format!("exec failed image {image} pid {pid}")
        }
        Item::Exec { image, pid, path } => {
            format!("exec image {image} pid {pid}: {}", text(path))
        }
        Item::Ended {
            image,
            exit,
            live_blocks,
            live_bytes,
        } => {
            let how = match exit {
                Exit::Code(code) => format!("status {code}"),
                Exit::Signal(signal) => format!("signal {signal}"),
                Exit::Exec => "exec".into(),
                Exit::Unknown => "not known how".into(),
            };
            format!("ended image {image}: {how}, live blocks {live_blocks} bytes {live_bytes}")
        }
    }
}

fn event_told(event: &Event) -> String {
    let mut line = format!(
        "event {} image {} thread {} {} block {:#x} size {}",
        event.time_ns,
        event.image,
        event.tid,
        event.op.name(),
        event.block,
        event.size
    );
    if event.count != 1 {
        let _ = write!(line, " count {}", event.count);
    }
    if event.alignment != 0 {
        let _ = write!(line, " alignment {:#x}", event.alignment);
    }
    if event.op.replaces() {
        let _ = write!(line, " old block {:#x}", event.old_block);
    }
    let _ = write!(line, " stack {}", event.stack.0);
    if event.truncated {
        line.push_str(" truncated");
    }
    if let Some(bytes) = event.released {
        let _ = write!(line, " released {bytes}");
    }
    if event.temporary {
        line.push_str(" temporary");
    }
    line
}

fn named(symbol: &Symbol<'_>, texts: &mut usize) -> String {
    match symbol {
        Symbol::Text(text) => {
            *texts += 1;
            format!("text {texts}: {}", shown(text))
        }
        Symbol::Site(site, functions) => {
            let mut line = format!("names of site {site}:");
            for frame in *functions {
                let _ = write!(line, " [{}]", frame_told(frame));
            }
            line
        }
    }
}

fn frame_told(frame: &Frame) -> String {
    let mut told = shown(frame.function.as_deref().unwrap_or("???"));
    if let Some(file) = &frame.file {
        let _ = write!(told, " {}", shown(file));
    }
    if let Some(line) = frame.line {
        let _ = write!(told, ":{line}");
    }
    told
}

fn indexed(entries: &[Entry], lines: &mut Lines<'_, impl Write>) {
    for entry in entries.iter().filter(|entry| entry.kind != Kind::Index) {
        let mut line = format!("chunk {} at {}", entry.kind.name(), entry.offset);
        if entry.kind == Kind::Events {
            let _ = write!(
                line,
                " events {} items {} first time {}",
                entry.events, entry.items, entry.first_ns
            );
        }
        lines.line(&line);
    }
}
