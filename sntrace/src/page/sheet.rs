//! What a report is written on: lines of a width, in colours or without.
//!
//! Every text that reaches a page is escaped here, whatever it was before: names come from the traced
//! program. A line is cut at the page's width and never wrapped by the terminal, so columns stay columns.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::{Colour, escape};

/// How a text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// What is looked for first.
    Bold,
    /// What is there for completeness.
    Dim,
    /// What is wrong.
    Red,
    /// What is as it should be.
    Green,
    /// What one should know.
    Yellow,
    /// Drawings.
    Cyan,
}

impl Style {
    fn sequence(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "\x1b[1m",
            Style::Dim => "\x1b[2m",
            Style::Red => "\x1b[31m",
            Style::Green => "\x1b[32m",
            Style::Yellow => "\x1b[33m",
            Style::Cyan => "\x1b[36m",
        }
    }
}

/// A text and how it looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub style: Style,
    pub text: String,
}

impl Span {
    /// The text is escaped.
    pub fn new(style: Style, text: impl AsRef<str>) -> Span {
        Span {
            style,
            text: escape::shown(text.as_ref()),
        }
    }

    pub fn width(&self) -> usize {
        self.text.width()
    }
}

/// A line, span by span.
pub(crate) type Line = Vec<Span>;

/// See the module.
pub(crate) struct Page<'a> {
    out: &'a mut dyn Write,
    width: usize,
    colour: Colour,
}

/// No narrower: a table would have no room for names.
const WIDTH_MIN: usize = 40;
/// No wider: nobody reads a name across a desk.
const WIDTH_MAX: usize = 240;

impl<'a> Page<'a> {
    pub fn new(out: &'a mut dyn Write, width: usize, colour: Colour) -> Page<'a> {
        Page {
            out,
            width: width.clamp(WIDTH_MIN, WIDTH_MAX),
            colour,
        }
    }

    /// In columns of the terminal.
    pub fn width(&self) -> usize {
        self.width
    }

    /// A heading with an empty line before it.
    pub fn heading(&mut self, title: &str, note: &str) -> io::Result<()> {
        self.line(&[])?;
        let note = match note {
            "" => String::new(),
            note => format!("  {note}"),
        };
        self.line(&[Span::new(Style::Bold, title), Span::new(Style::Dim, note)])
    }

    /// A sentence on its own, indented.
    pub fn say(&mut self, style: Style, text: impl AsRef<str>) -> io::Result<()> {
        self.line(&[Span::new(Style::Plain, "  "), Span::new(style, text)])
    }

    /// A sentence on as many lines as it takes, indented.
    pub fn wrap(&mut self, style: Style, text: &str) -> io::Result<()> {
        let room = self.width - 2;
        let mut line = String::new();
        for word in escape::shown(text).split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                self.say(style, &line)?;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.say(style, &line)
    }

    /// A line, cut at the page's width.
    pub fn line(&mut self, spans: &[Span]) -> io::Result<()> {
        let total: usize = spans.iter().map(Span::width).sum();
        let mut room = match total > self.width {
            // One column is for the mark.
            true => self.width - 1,
            false => self.width,
        };
        let last = spans
            .iter()
            .rposition(|span| !span.text.trim_end().is_empty());
        for (at, span) in spans.iter().enumerate().take(last.map_or(0, |at| at + 1)) {
            let text = match Some(at) == last {
                true => span.text.trim_end(),
                false => &span.text,
            };
            let shown = head(text, room);
            room -= shown.width();
            self.span(span.style, shown)?;
            if shown.len() < text.len() {
                self.span(span.style, "…")?;
                break;
            }
        }
        self.out.write_all(b"\n")
    }

    fn span(&mut self, style: Style, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let coloured = self.colour == Colour::Ansi && style != Style::Plain;
        if !coloured {
            return self.out.write_all(text.as_bytes());
        }
        write!(self.out, "{}{text}\x1b[0m", style.sequence())
    }
}

/// As much of the text's beginning as fits.
fn head(text: &str, room: usize) -> &str {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > room {
            return &text[..at];
        }
    }
    text
}

/// As much of the text's end as fits.
fn tail(text: &str, room: usize) -> &str {
    let mut used = 0;
    for (at, character) in text.char_indices().rev() {
        used += character.width().unwrap_or(0);
        if used > room {
            return &text[at + character.len_utf8()..];
        }
    }
    text
}

/// A name in at most so many columns: what is too long loses its middle, as both ends of a C++ name
/// tell more than what is between.
pub(crate) fn shortened(name: &str, room: usize) -> String {
    if name.width() <= room {
        return name.to_owned();
    }
    let for_ends = room.saturating_sub(1);
    let end = for_ends / 2;
    format!("{}…{}", head(name, for_ends - end), tail(name, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, colour: Colour, write: impl FnOnce(&mut Page<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Page::new(&mut out, width, colour));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_never_exceeds_the_page() {
        let text = page(40, Colour::Plain, |page| {
            let spans = [
                Span::new(Style::Bold, "関数".repeat(9)),
                Span::new(Style::Dim, "xyz"),
            ];
            page.line(&spans).unwrap();
            page.say(Style::Plain, "y".repeat(38)).unwrap();
            page.say(Style::Plain, "y".repeat(39)).unwrap();
        });
        let widths: Vec<_> = text.lines().map(UnicodeWidthStr::width).collect();
        assert_eq!(widths, [39, 40, 40]);
        assert!(text.lines().last().unwrap().ends_with('…'));
    }

    #[test]
    fn colours_end_where_they_should_and_names_bring_none() {
        let text = page(80, Colour::Ansi, |page| {
            page.line(&[
                Span::new(Style::Red, "bad\x1b[2J"),
                Span::new(Style::Plain, " x "),
            ])
            .unwrap();
        });
        assert_eq!(text, "\x1b[31mbad\\x1b[2J\x1b[0m x\n");
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("std::vector<int>::push_back", 11), "std::…_back");
        assert_eq!(shortened("関数関数", 5), "関…数");
        assert_eq!(shortened("abc", 0), "…");
    }
}
