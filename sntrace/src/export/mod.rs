//! A recorded trace in the formats of other tools.
//!
//! One trait, `Exporter`, and a file a format. [`export`] reads the trace once, from its first
//! item to its last, hands each to the exporter and to a [`Summary`], and gives the exporter that
//! summary at the end: what an export says in all is what a report says. A format that must know
//! the end before its beginning (when the run ended, when the peak was) reads the trace once more
//! before.
//!
//! Nothing is held by event. Memory grows with live blocks (`ledger`) and distinct stacks
//! (`tally`), and with what a format itself lists once (heaptrack: each size at each stack); the
//! one format that is a single table of events, Firefox's, has a limit and says so.
//!
//! Names, paths and command lines were chosen by the traced program. Formats that are shown as text
//! get them escaped as lines do ([`crate::output::escape`]); JSON carries them exactly, by escapes of
//! its own. `docs/exports.md` tells users what opens each format and what is in it.

mod aggregate;
mod counter;
mod csv;
mod dhat;
mod error;
mod firefox;
mod folded;
mod format;
mod frames;
mod heaptrack;
mod json;
mod jsonl;
mod ledger;
mod massif;
mod perfetto;
mod pprof;
mod processes;
mod provenance;
mod speedscope;
mod survey;
mod tally;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};

pub use error::ExportError;
pub use format::{ExportOptions, Format, Metric};

use crate::output::Summary;
use crate::trace::{Item, Recording};

/// A format being written. After an error it is not called again.
trait Exporter {
    /// The next item of the trace.
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()>;

    /// The trace has ended; these are its totals.
    fn finish(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()>;
}

/// A write is worth its system call from here on, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes `recording` in `format` to `out`, to its end, and flushes it.
///
/// # Errors
/// Where the trace can't be read, `out` takes no more, or the format can't hold the trace. What was
/// written until then is no whole export.
pub fn export(
    format: Format,
    recording: &dyn Recording,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut exporter: Box<dyn Exporter + '_> = match format {
        Format::Json => Box::new(json::Json::begin(recording, &mut out)?),
        Format::Jsonl => Box::new(jsonl::JsonLines::new(recording)),
        Format::Folded => Box::new(folded::exporter(recording, options)),
        Format::Pprof => Box::new(pprof::exporter(recording, options)),
        Format::Perfetto => Box::new(perfetto::Perfetto::begin(recording, &mut out)?),
        Format::Firefox => Box::new(firefox::Firefox::begin(recording)?),
        Format::Speedscope => Box::new(speedscope::exporter(recording, options)),
        Format::Dhat => Box::new(dhat::exporter(recording, options)),
        Format::Heaptrack => Box::new(heaptrack::Heaptrack::begin(recording, &mut out)?),
        Format::Massif => Box::new(massif::Massif::begin(recording, &mut out)?),
        Format::Csv => Box::new(csv::exporter(recording, options)),
    };
    let mut summary = Summary::default();
    let mut written = Ok(());
    // Reading can't be stopped from here: after a failure the rest goes by.
    recording.replay(&mut |item| {
        if written.is_ok() {
            summary.item(item);
            written = exporter.item(item, &mut out);
        }
    })?;
    written?;
    summary.dropped_events = recording.certificate().dropped_events;
    exporter.finish(&summary, &mut out)?;
    out.flush()?;
    Ok(())
}
