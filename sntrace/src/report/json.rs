//! A report for scripts: one document, every number exact, every name whole.
//!
//! Names come from the traced program, and a JSON file is looked at in terminals: characters that
//! are not drawn themselves stand as JSON's escapes, as in all JSON that sntrace writes ([`pretty`]).

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{ReportOptions, Section, Source};
use crate::analyze::Analysis;
use crate::output::pretty;
use crate::trace::{Certificate, Recording};

/// What `format` says.
const FORMAT: &str = "sntrace-report";
/// What `version` says. Keys may come within a version; none changes its meaning or goes away.
const VERSION: u32 = 1;

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    trace: Trace<'a>,
    certificate: &'a Certificate,
    views: Views<'a>,
}

/// What was recorded.
#[derive(Serialize)]
struct Trace<'a> {
    /// The program and its arguments.
    command: &'a [String],
    /// Operating system.
    os: &'a str,
    /// Processor.
    arch: &'a str,
    /// When the run began, as in RFC 3339.
    started: &'a str,
    /// How long it took, in nanoseconds.
    duration_ns: u64,
}

/// The views, made one after the other while they are written.
struct Views<'a>(Source<'a>);

impl Serialize for Views<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let views = &self.0.options.views;
        let mut map = serializer.serialize_map(Some(views.len()))?;
        for &view in views {
            map.serialize_entry(view.name(), &Section::of(view, self.0))?;
        }
        map.end()
    }
}

/// Writes the report for a script: `docs/report.md` describes it. Width, colours and the number of
/// frames are the text form's alone.
///
/// # Errors
/// When the destination takes no more.
pub fn json(
    recording: &dyn Recording,
    analysis: &Analysis,
    options: &ReportOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let header = recording.header();
    let document = Document {
        format: FORMAT,
        version: VERSION,
        trace: Trace {
            command: &header.command,
            os: &header.os,
            arch: &header.arch,
            started: &header.started,
            duration_ns: analysis.duration_ns,
        },
        certificate: recording.certificate(),
        views: Views(Source {
            recording,
            analysis,
            options,
        }),
    };
    pretty::write(&document, out)
}
