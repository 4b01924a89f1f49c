//! A report for scripts: one document, every number exact, every name whole.
//!
//! Names come from the traced program, and a JSON file is looked at in terminals: characters that
//! are not drawn themselves stand as JSON's escapes, as in all JSON that sntrace writes ([`escape`]).

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::{Formatter, PrettyFormatter};

use super::{ReportOptions, Section, Source};
use crate::analyze::Analysis;
use crate::output::escape;
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
    let formatter = Visible(PrettyFormatter::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, formatter);
    document.serialize(&mut serializer)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Pretty, and safe to show.
struct Visible(PrettyFormatter<'static>);

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !fragment.chars().any(escape::is_hidden) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut quoted = Vec::new();
        escape::json(&mut quoted, fragment);
        // The quotes are written already.
        writer.write_all(quoted.get(1..quoted.len() - 1).unwrap_or(&[]))
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
