//! JSON documents that are safe to look at.
//!
//! Names come from the traced program, and a JSON file is looked at in terminals: characters that are not
//! drawn themselves stand as JSON's escapes ([`escape`]). A reader gets every name exactly.
//!
//! For documents that are made at once. What is written while a program runs ([`super::json`], [`super::jsonl`])
//! has writers of its own that allocate nothing.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::escape;

/// Writes the document with a newline at its end, and flushes it.
///
/// # Errors
/// When the destination takes no more.
pub(crate) fn write(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let formatter = Visible(PrettyFormatter::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, formatter);
    document.serialize(&mut serializer)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a part of a document on one line, without a newline.
///
/// # Errors
/// When the destination takes no more.
pub(crate) fn write_line(part: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, VisibleLine);
    part.serialize(&mut serializer)?;
    Ok(())
}

/// A name, with what is hidden as escapes.
fn write_visible<W: ?Sized + Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    if !fragment.chars().any(escape::is_hidden) {
        return writer.write_all(fragment.as_bytes());
    }
    let mut quoted = Vec::new();
    escape::json(&mut quoted, fragment);
    // The quotes are written already.
    writer.write_all(quoted.get(1..quoted.len() - 1).unwrap_or(&[]))
}

/// On one line, and safe to show.
struct VisibleLine;

impl Formatter for VisibleLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_visible(writer, fragment)
    }
}

/// Pretty, and safe to show.
struct Visible(PrettyFormatter<'static>);

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_visible(writer, fragment)
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
