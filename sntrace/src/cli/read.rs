//! The commands that read a recorded trace.
//!
//! Exit statuses: 0, also when the reader of their output goes away (`sntrace lines FILE | head`); 1
//! with `--strict` when the trace is not whole and exact; 2 when it can't be read, or not to its end; 125 when
//! the output can't be written.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::exit_status;
use super::options::{Destination, DumpOptions, ExportCommand, LinesOptions, ReportCommand};
use super::sheet::Sheet;
use crate::analyze::{Analysis, AnalysisOptions, Suppressions};
use crate::export::{self, ExportError, ExportOptions};
use crate::messages;
use crate::output::{Filter, LineOptions, Lines, OutputError, Outputs, Writer, escape};
use crate::report::{self, ReportOptions};
use crate::symbolize::RecordedCallers;
use crate::trace::file::{self, DumpError, TraceFile};
use crate::trace::{self, Item, Recording, TraceError};

/// `sntrace lines`.
pub(super) fn run_lines(options: &LinesOptions) -> u8 {
    status(lines(options))
}

/// `sntrace report`.
pub(super) fn run_report(options: &ReportCommand) -> u8 {
    status(report(options))
}

/// `sntrace export`.
pub(super) fn run_export(options: &ExportCommand) -> u8 {
    status(export(options))
}

/// `sntrace dump`.
pub(super) fn run_dump(options: &DumpOptions) -> u8 {
    status(dump(options))
}

/// Why a command did not do all of its work.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Filter(#[from] crate::output::FilterError),
    #[error(transparent)]
    Export(ExportError),
    #[error("cannot read the suppressions in '{0}': {1}")]
    Suppressions(String, String),
    #[error("the trace is not whole and exact: {0}")]
    Stained(String),
}

fn status(result: Result<(), ReadError>) -> u8 {
    match result {
        Ok(()) => exit_status::SUCCESS,
        Err(ReadError::Output(error)) if error.is_broken_pipe() => exit_status::SUCCESS,
        Err(ReadError::Output(error)) => {
            messages::failure(&error, error.hint());
            exit_status::SNTRACE_FAILED
        }
        Err(ReadError::Trace(error)) => {
            messages::failure(&error, error.hint());
            exit_status::USAGE
        }
        Err(ReadError::Export(error)) => {
            messages::failure(&error, error.hint());
            exit_status::SNTRACE_FAILED
        }
        Err(error @ ReadError::Stained(_)) => {
            messages::failure(&error, None);
            exit_status::RULE_FAILED
        }
        Err(error @ (ReadError::Filter(_) | ReadError::Suppressions(..))) => {
            messages::failure(&error, None);
            exit_status::USAGE
        }
    }
}

/// Opens a trace, a recorded one or a JSON one, and says if it was cut.
fn open(path: &Path) -> Result<Box<dyn Recording + Send + Sync>, TraceError> {
    let trace = trace::open(path)?;
    warn_of_cut(path, trace.cut_note());
    Ok(trace)
}

fn warn_of_cut(path: &Path, cut: Option<String>) {
    if let Some(cut) = cut {
        let shown = escape::shown(&path.to_string_lossy());
        messages::warning(
            format!("'{shown}' was cut: {cut}"),
            Some("what is read here is what comes before that place"),
        );
    }
}

fn lines(options: &LinesOptions) -> Result<(), ReadError> {
    let filter = options.filter.as_deref().map(Filter::parse).transpose()?;
    let trace = open(&options.file)?;
    let (writer, on_terminal) = match &options.output {
        Destination::Stdout => (Writer::stdout(), io::stdout().is_terminal()),
        Destination::File(path) => (Writer::open(path)?, false),
    };
    let colour = options.color.colour(on_terminal);
    let mut outputs = Outputs::new(filter);
    outputs.add(Lines::new(
        writer,
        LineOptions {
            timestamps: options.fields.timestamps,
            pid: options.fields.pid,
            tid: options.fields.tid,
            locations: options.fields.locations,
            colour,
        },
    ));
    let mut callers = if options.raw_callers {
        RecordedCallers::raw(trace.tables())
    } else {
        RecordedCallers::new(trace.tables())
    };
    let replayed = trace.replay(&mut |item| match item {
        Item::Event(event) => {
            // What is left is passed over quickly.
            if !outputs.is_deserted() {
                outputs.event(event, &callers.of(event.op, event.stack).call());
            }
        }
        other => outputs.item(other),
    });
    outputs.finish(0);
    outputs.into_failure().map_or(Ok(()), Err)?;
    Ok(replayed?)
}

fn report(options: &ReportCommand) -> Result<(), ReadError> {
    let suppressions = match &options.suppressions {
        Some(path) => {
            let wrong =
                |why: String| ReadError::Suppressions(escape::shown(&path.to_string_lossy()), why);
            let text = fs::read_to_string(path).map_err(|error| wrong(messages::reason(&error)))?;
            Suppressions::parse(&text).map_err(|error| wrong(error.to_string()))?
        }
        None => Suppressions::default(),
    };
    let trace = open(&options.file)?;
    let analysis = Analysis::of(&*trace, &AnalysisOptions { suppressions })?;
    let mut out = Sheet::open(&options.output)?;
    let on_terminal = options.output == Destination::Stdout && io::stdout().is_terminal();
    let shown = ReportOptions {
        views: options.views.clone(),
        top: options.top,
        stacks: options.stacks,
        frames: options.frames,
        colour: options.color.colour(on_terminal),
        width: report::terminal_width(),
    };
    let written = if options.json {
        report::json(&*trace, &analysis, &shown, &mut out.writer)
    } else {
        report::text(&*trace, &analysis, &shown, &mut out.writer)
    };
    written.map_err(|source| out.failed(source))?;
    out.finish()?;
    refuse_stained(&*trace, options.strict)
}

fn export(options: &ExportCommand) -> Result<(), ReadError> {
    let trace = open(&options.file)?;
    if options.output == Destination::Stdout
        && options.format.is_binary()
        && io::stdout().is_terminal()
    {
        messages::note("this format is no text: better write it to a file with -o");
    }
    let mut out = Sheet::open(&options.output)?;
    let chosen = ExportOptions {
        metric: options.metric,
    };
    match export::export(options.format, &*trace, &chosen, &mut out.writer) {
        Ok(()) => {}
        Err(ExportError::Trace(error)) => return Err(error.into()),
        Err(ExportError::Write(source)) => return Err(out.failed(source).into()),
        Err(error) => return Err(ReadError::Export(error)),
    }
    out.finish()?;
    refuse_stained(&*trace, options.strict)
}

/// With `--strict`: an error if the trace does not vouch for all of itself.
fn refuse_stained(trace: &dyn Recording, strict: bool) -> Result<(), ReadError> {
    let blemishes = trace.certificate().blemishes();
    if strict && !blemishes.is_empty() {
        return Err(ReadError::Stained(blemishes.join("; ")));
    }
    Ok(())
}

fn dump(options: &DumpOptions) -> Result<(), ReadError> {
    let trace = TraceFile::open(&options.file)?;
    warn_of_cut(&options.file, trace.cut_note());
    let mut out = Sheet::open(&options.output)?;
    match file::dump(&trace, &mut out.writer) {
        Err(DumpError::Output(source)) => Err(out.failed(source).into()),
        // Damage is what a dump is for: it shows what is right before it.
        Err(DumpError::Trace(error)) => {
            out.finish().map_err(ReadError::from).and(Err(error.into()))
        }
        Ok(()) => Ok(out.finish()?),
    }
}
