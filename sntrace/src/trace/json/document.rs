//! The document as a whole: its keys, in whatever order they come.
//!
//! It is read once, from its first byte to its last, so that a document that was cut is found to be so
//! before anything is made of it.

use serde::de::DeserializeOwned;

use super::rows::{
    FrameRow, ModuleRow, PlatformRow, ProcessRow, RecordedRow, StackRow, SummaryRow,
};
use super::stream::{After, Stream};
use super::tables::TableMaker;
use crate::output::escape;
use crate::output::json::VERSION;
use crate::trace::source::Source;
use crate::trace::{Certificate, Module, TraceError};

/// Where the events are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    /// Offset of the array's bracket.
    pub offset: u64,
    pub count: u64,
}

/// What a document holds beside its events.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub generator: Option<String>,
    pub command: Vec<String>,
    pub platform: Option<PlatformRow>,
    pub started: String,
    pub recorded: Option<RecordedRow>,
    pub processes: Vec<ProcessRow>,
    /// With the row of their process.
    pub modules: Vec<(u64, Module)>,
    pub tables: TableMaker,
    /// Whether any stack has a parent, so that not all are callers alone.
    pub has_parents: bool,
    pub events: Events,
    pub summary: SummaryRow,
    pub certificate: Option<Certificate>,
    /// Offsets of the tables, for what is found to be wrong about them in the end.
    pub processes_at: u64,
    pub stacks_at: u64,
}

/// The keys that every document has, and `version`.
const NEEDED: [&str; 9] = [
    "version",
    "command",
    "platform",
    "started",
    "processes",
    "modules",
    "frames",
    "stacks",
    "events",
];

impl Document {
    /// Reads it. Errors name it `path`, which is escaped.
    pub fn read(source: &Source, path: &str) -> Result<Document, TraceError> {
        let mut reading = Reading {
            stream: Stream::new(source, path, 0),
            path,
            document: Document::default(),
            seen: Vec::new(),
        };
        reading.all()?;
        Ok(reading.document)
    }
}

struct Reading<'s> {
    stream: Stream<'s>,
    path: &'s str,
    document: Document,
    /// The keys so far that are known.
    seen: Vec<String>,
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), TraceError> {
        self.stream
            .parse(|cursor| cursor.expect(b'{', "it does not begin with a brace"))?;
        let mut first = true;
        loop {
            let key = self.stream.parse(|cursor| {
                let key = cursor.key(first)?;
                Ok(key.map(|key| key.decoded().unwrap_or_default()))
            })?;
            let Some(key) = key else { break };
            first = false;
            self.member(key)?;
        }
        let end = self.stream.position();
        let more = self.stream.peek()?;
        if !self.has("format") {
            return Err(self.foreign(match more {
                Some(b'{') => JSON_LINES,
                _ if self.has("op") || self.has("summary") => JSON_LINES,
                _ => "it is some other JSON, without \"format\": \"sntrace\"",
            }));
        }
        if more.is_some() {
            return Err(self.stream.damaged(end, "something stands behind its end"));
        }
        // What was filtered shows a part of the events only, which no figure can be made of.
        let SummaryRow {
            events: all,
            shown_events,
            ..
        } = self.document.summary;
        if let Some(held) = shown_events
            && held != all
        {
            return Err(TraceError::Filtered {
                path: self.path.to_owned(),
                held,
                all,
            });
        }
        for key in NEEDED.into_iter().chain(["summary"]) {
            if !self.has(key) {
                return Err(self.stream.damaged(end, format!("it has no '{key}'")));
            }
        }
        let Events { offset, count } = self.document.events;
        if count != all {
            let what = format!("it holds {count} events, and its summary says {all}");
            return Err(self.stream.damaged(offset, what));
        }
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        self.seen.iter().any(|seen| seen == key)
    }

    fn member(&mut self, key: String) -> Result<(), TraceError> {
        let at = self.stream.position();
        if self.has(&key) {
            let what = format!("it has '{key}' twice");
            return Err(self.stream.damaged(at, what));
        }
        match key.as_str() {
            "format" => {
                let (_, value) = self.stream.value()?;
                let format = serde_json::from_slice::<String>(value).unwrap_or_default();
                if format != "sntrace" {
                    return Err(self.foreign(&other_format(&format)));
                }
            }
            "version" => {
                let version = self.one::<u64>("version")?;
                if version > VERSION {
                    return Err(TraceError::Newer {
                        path: self.path.to_owned(),
                        version: u32::try_from(version).unwrap_or(u32::MAX),
                    });
                }
                if version < VERSION {
                    let what = "its version is none that a trace has";
                    return Err(self.stream.damaged(at, what));
                }
            }
            "generator" => self.document.generator = Some(self.one("generator")?),
            "command" => self.document.command = self.one("command")?,
            "platform" => self.document.platform = Some(self.one("platform")?),
            "started" => self.document.started = self.one("started")?,
            "recorded" => self.document.recorded = Some(self.one("recorded")?),
            "summary" => self.document.summary = self.one("summary")?,
            "certificate" => self.document.certificate = Some(self.one("certificate")?),
            "events" => {
                self.stream.peek()?;
                let offset = self.stream.position();
                let count = self.stream.skip_array()?;
                self.document.events = Events { offset, count };
            }
            "processes" => {
                self.document.processes_at = at;
                self.rows("processes", |document, row: ProcessRow| {
                    document.processes.push(row);
                    Ok(())
                })?;
            }
            "modules" => {
                self.rows("modules", |document, row: ModuleRow| {
                    let module = document.tables.module(&row)?;
                    document.modules.push((row.process, module));
                    Ok(())
                })?;
            }
            "frames" => self.rows("frames", |document, row: FrameRow| {
                document.tables.frame(&row)
            })?,
            "stacks" => {
                self.document.stacks_at = at;
                self.rows("stacks", |document, row: StackRow| {
                    document.has_parents |= row.parent.is_some();
                    document.tables.stack(row)
                })?;
            }
            // Of what is unknown nothing is kept, but for what tells what else a document is.
            "op" => self.stream.skip()?,
            _ => return self.stream.skip(),
        }
        self.seen.push(key);
        Ok(())
    }

    /// A value as a whole.
    fn one<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, TraceError> {
        let (at, value) = self.stream.value()?;
        let value = serde_json::from_slice(value);
        value.map_err(|error| {
            self.stream
                .damaged(at, unreadable(&format!("'{key}'"), &error))
        })
    }

    /// The rows of a table, one after the other.
    fn rows<T: DeserializeOwned>(
        &mut self,
        table: &str,
        mut each: impl FnMut(&mut Document, T) -> Result<(), String>,
    ) -> Result<(), TraceError> {
        let mut after = self.stream.begin_array()?;
        while after == After::Another {
            let (at, value) = self.stream.value()?;
            let taken = match serde_json::from_slice(value) {
                Ok(row) => each(&mut self.document, row),
                Err(error) => Err(unreadable(&format!("a row of '{table}'"), &error)),
            };
            taken.map_err(|what| self.stream.damaged(at, what))?;
            after = self.stream.after_element()?;
        }
        Ok(())
    }

    fn foreign(&self, what: &str) -> TraceError {
        TraceError::Foreign {
            path: self.path.to_owned(),
            what: what.to_owned(),
        }
    }
}

/// Said of what `--jsonl` writes.
const JSON_LINES: &str = "it looks like JSON lines, which have no stacks; --json and \
                          'export --format json' write what can be read";

fn other_format(format: &str) -> String {
    match format.len() {
        1..=40 => format!("it is JSON of the format '{}'", escape::shown(format)),
        _ => "it is JSON of some other format".to_owned(),
    }
}

/// What the reader of JSON says may quote the document.
fn unreadable(what: &str, error: &serde_json::Error) -> String {
    format!(
        "{what} can't be read: {}",
        escape::shown(&error.to_string())
    )
}
