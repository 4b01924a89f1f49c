//! A JSON trace that was opened.

use std::path::Path;

use super::cursor::Cursor;
use super::document::{Document, Events};
use super::event::{RawEvent, event};
use super::schedule::{Running, Schedule};
use super::stream::{After, Stream, after_element};
use crate::output::escape;
use crate::trace::open::begins_as_json;
use crate::trace::source::Source;
use crate::trace::{
    Certificate, Event, Header, Item, Recorded, Recording, StackId, StacksTaken, Tables, TraceError,
};

/// See the folder.
#[derive(Debug)]
pub struct JsonTrace {
    source: Source,
    /// Escaped.
    path: String,
    header: Header,
    generator: String,
    recorded: Recorded,
    tables: Tables,
    certificate: Certificate,
    schedule: Schedule,
    events: Events,
    /// By row of `stacks`.
    stacks: Vec<StackId>,
    /// By stack, whether it goes on beyond its last frame.
    truncated: Vec<bool>,
}

impl JsonTrace {
    /// Opens a JSON trace. `-` is standard input.
    ///
    /// # Errors
    /// It can't be read, is something else, of a later version, damaged, or holds a part of its events only.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let shown = escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes()));
        match Source::open(path, begins_as_json) {
            Ok(source) => Self::read(source, shown),
            Err(source) => Err(TraceError::Unreadable {
                path: shown,
                source,
            }),
        }
    }

    /// Opens a JSON trace that is in memory. Errors name it `name`.
    ///
    /// # Errors
    /// It is something else, of a later version, damaged, or holds a part of its events only.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, TraceError> {
        Self::read(Source::from_bytes(bytes), escape::shown(name))
    }

    /// Reads what was opened. Errors name it `path`, which is escaped.
    pub(in crate::trace) fn read(source: Source, path: String) -> Result<Self, TraceError> {
        let start = source.start();
        let start = start.map_err(|source| TraceError::Unreadable {
            path: path.clone(),
            source,
        })?;
        if !begins_as_json(&start) {
            return Err(TraceError::Foreign {
                path,
                what: crate::trace::file::foreign::looks_like(&start).into(),
            });
        }
        let document = Document::read(&source, &path)?;
        let damaged = |at, what| TraceError::Damaged {
            path: path.clone(),
            at,
            what,
        };
        let recorded = recorded(&document);
        let (tables, stacks) = document
            .tables
            .finish()
            .map_err(|what| damaged(document.stacks_at, what))?;
        let schedule = Schedule::new(document.processes, document.modules)
            .map_err(|what| damaged(document.processes_at, what))?;
        let summary = document.summary;
        let certificate = document.certificate.unwrap_or_else(|| Certificate {
            events: summary.events,
            dropped_events: summary.dropped_events,
            unnamed_sites: tables
                .sites
                .iter()
                // Without the one that is no place.
                .skip(1)
                .filter(|site| site.functions.is_empty())
                .count() as u64,
            complete: true,
            ..Certificate::default()
        });
        let (os, arch) = match document.platform {
            Some(platform) => (platform.os, platform.arch),
            None => Default::default(),
        };
        Ok(Self {
            header: Header {
                command: document.command,
                os,
                arch,
                started: document.started,
            },
            // The key came with version 1, but is not required.
            generator: document.generator.unwrap_or_else(|| "unknown".to_owned()),
            recorded,
            truncated: tables.stacks.truncated(),
            tables,
            certificate,
            schedule,
            events: document.events,
            stacks,
            source,
            path,
        })
    }

    fn event(&self, raw: &RawEvent, running: &mut Running<'_>) -> Result<Event, &'static str> {
        let stack = match raw.stack {
            None => StackId::EMPTY,
            Some(row) => {
                let row = usize::try_from(row).ok();
                let known = row.and_then(|row| self.stacks.get(row));
                *known.ok_or("an event's stack is no row of 'stacks'")?
            }
        };
        let image = running.image(raw.pid, raw.process);
        Ok(Event {
            op: raw.op,
            time_ns: raw.time_ns,
            image: image.ok_or("an event's process is no row of 'processes'")?,
            tid: raw.tid,
            block: raw.block,
            size: raw.size,
            count: raw.count,
            alignment: raw.alignment,
            old_block: raw.old_block,
            caller: 0,
            frames: (0, 0),
            stack,
            truncated: self
                .truncated
                .get(stack.0 as usize)
                .copied()
                .unwrap_or(false),
            released: raw.released,
            temporary: raw.temporary,
        })
    }
}

/// What of its run was recorded; in a document without the key, as far as it shows.
fn recorded(document: &Document) -> Recorded {
    if let Some(row) = document.recorded {
        return row.into();
    }
    Recorded {
        stacks: match document.has_parents {
            true => StacksTaken::Full,
            false => StacksTaken::Caller,
        },
        mappings: document.summary.mapping_events > 0,
        may_drop: document.summary.dropped_events > 0,
        ..Recorded::default()
    }
}

/// An event, and whether there is another.
#[inline]
fn element(cursor: &mut Cursor<'_>) -> Result<(RawEvent, After), super::cursor::Fault> {
    Ok((event(cursor)?, after_element(cursor)?))
}

impl Recording for JsonTrace {
    fn header(&self) -> &Header {
        &self.header
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    fn generator(&self) -> &str {
        &self.generator
    }

    fn cut_note(&self) -> Option<String> {
        let cut = !self.certificate.complete;
        cut.then(|| "the recording that it was made of ends before its run did".to_owned())
    }

    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        let mut stream = Stream::new(&self.source, &self.path, self.events.offset);
        let mut running = Running::new(&self.schedule);
        let mut count = 0;
        let mut after = stream.begin_array()?;
        while after == After::Another {
            let at = stream.position();
            let raw;
            (raw, after) = stream.parse(element)?;
            running.before(count, raw.time_ns, each);
            match self.event(&raw, &mut running) {
                Ok(event) => each(&Item::Event(event)),
                Err(what) => return Err(stream.damaged(at, what)),
            }
            count += 1;
        }
        running.finish(each);
        Ok(())
    }
}
