//! The commands that read a recorded trace.
//!
//! Exit statuses: 0, also when the reader of their output goes away (`sntrace lines FILE | head`); 2
//! when the trace can't be read, or not to its end; 125 when the output can't be written.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use super::exit_status;
use super::options::{ColorChoice, Destination, DumpOptions, LinesOptions};
use crate::messages;
use crate::output::{
    Colour, Filter, LineOptions, Lines, OutputError, Outputs, Writer, escape, writer,
};
use crate::symbolize::RecordedCallers;
use crate::trace::file::{self, DumpError, TraceFile};
use crate::trace::{Item, Recording as _, TraceError};

/// `sntrace lines`.
pub(super) fn run_lines(options: &LinesOptions) -> u8 {
    status(lines(options))
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
        Err(ReadError::Filter(error)) => {
            messages::failure(&error, None);
            exit_status::USAGE
        }
    }
}

/// Opens a trace, and says if it was cut.
fn open(path: &std::path::Path) -> Result<TraceFile, TraceError> {
    let file = TraceFile::open(path)?;
    if let Some(cut) = file.cut() {
        let shown = escape::shown(&path.to_string_lossy());
        messages::warning(
            format!("'{shown}' was cut: {cut}"),
            Some("what is read here is what comes before that place"),
        );
    }
    Ok(file)
}

fn lines(options: &LinesOptions) -> Result<(), ReadError> {
    let filter = options.filter.as_deref().map(Filter::parse).transpose()?;
    let trace = open(&options.file)?;
    let (writer, on_terminal) = match &options.output {
        Destination::Stdout => (Writer::stdout(), io::stdout().is_terminal()),
        Destination::File(path) => (Writer::open(path)?, false),
    };
    let colour = match options.color {
        ColorChoice::Always => Colour::Ansi,
        ColorChoice::Auto if on_terminal => Colour::Ansi,
        ColorChoice::Auto | ColorChoice::Never => Colour::Plain,
    };
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
            // Nobody reads any more: what is left is passed over quickly.
            if outputs.wants_events() {
                outputs.event(event, &callers.of(event.op, event.stack).call());
            }
        }
        other => outputs.item(other),
    });
    outputs.finish(0);
    outputs.into_failure().map_or(Ok(()), Err)?;
    Ok(replayed?)
}

fn dump(options: &DumpOptions) -> Result<(), ReadError> {
    let trace = open(&options.file)?;
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

/// A page of text that goes to a destination.
struct Sheet {
    writer: BufWriter<Box<dyn Write>>,
    /// How messages call it.
    name: String,
}

impl Sheet {
    fn open(destination: &Destination) -> Result<Self, OutputError> {
        let (inner, name): (Box<dyn Write>, _) = match destination {
            Destination::Stdout => (Box::new(io::stdout()), "standard output".to_owned()),
            Destination::File(path) => (
                Box::new(writer::create(path)?),
                format!("'{}'", escape::shown(&path.to_string_lossy())),
            ),
        };
        Ok(Self {
            writer: BufWriter::new(inner),
            name,
        })
    }

    fn failed(&self, source: io::Error) -> OutputError {
        OutputError::Write {
            destination: self.name.clone(),
            source,
            lost: 0,
        }
    }

    fn finish(mut self) -> Result<(), OutputError> {
        let written = self.writer.flush();
        written.map_err(|source| self.failed(source))
    }
}
