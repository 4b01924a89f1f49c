//! Writes a trace file while its run goes on.
//!
//! A chunk is gathered, compressed and handed on in one piece; nothing is written twice and nothing
//! is sought. So any [`Write`] will do, and whatever is cut off behind a chunk leaves a file that
//! reads up to there.

use std::io::{self, Write};
use std::sync::Arc;

use super::about::About;
use super::chunk::{Kind, Press};
use super::definitions::Definitions;
use super::encode::Encoder;
use super::index::{self, Entry};
use super::symbols::Symbols;
use super::{MAGIC, PROLOGUE_BYTES, VERSION};
use crate::symbolize::Frame;
use crate::trace::{Certificate, FileNumber, Header, Item, Recorded, StackNode, TracedFile};

/// Definitions are written when they take so many bytes, if no event needs them earlier.
const DEFINITION_BYTES: usize = 1 << 16;

/// Writes a trace file. Definitions are numbered by their order: files and sites from 0 (site 0,
/// [`crate::trace::SiteId::TRUNCATED`], and stack 0, [`crate::trace::StackId::EMPTY`], are there
/// without being defined, so the first defined site and stack are 1). Each must be defined before
/// it is used.
///
/// After an error the file is of no more use than up to there: the writer should be let go.
pub struct TraceWriter<W: Write> {
    out: W,
    press: Press,
    definitions: Definitions,
    encoder: Encoder,
    entries: Vec<Entry>,
    written: u64,
    events: u64,
}

impl<W: Write> TraceWriter<W> {
    /// Begins a trace file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, header: &Header, recorded: &Recorded) -> io::Result<Self> {
        let mut prologue = [0; PROLOGUE_BYTES as usize];
        prologue[..8].copy_from_slice(&MAGIC);
        prologue[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out.write_all(&prologue)?;
        let mut writer = Self {
            out,
            press: Press::new()?,
            definitions: Definitions::default(),
            encoder: Encoder::new(),
            entries: Vec::new(),
            written: PROLOGUE_BYTES,
            events: 0,
        };
        let about = serde_json::to_vec(&About::new(header, recorded))?;
        writer.body(Kind::Head, &about)?;
        Ok(writer)
    }

    /// The next file.
    ///
    /// # Errors
    /// Those of the output.
    pub fn define_file(&mut self, file: &TracedFile) -> io::Result<()> {
        self.definitions.file(file);
        self.define_if_many()
    }

    /// The next place in code.
    ///
    /// # Errors
    /// Those of the output.
    pub fn define_site(&mut self, file: Option<FileNumber>, address: u64) -> io::Result<()> {
        self.definitions.site(file, address);
        self.define_if_many()
    }

    /// The next stack.
    ///
    /// # Errors
    /// Those of the output.
    pub fn define_stack(&mut self, node: StackNode) -> io::Result<()> {
        self.definitions.stack(node);
        self.define_if_many()
    }

    /// Says that this item will be next but a few: what it needs is fetched meanwhile.
    #[inline]
    pub fn expect(&self, item: &Item) {
        self.encoder.expect(item);
    }

    /// What happened next. Of an event its caller, frames and what follows from the events before
    /// it (`truncated`, `released`, `temporary`) are not stored.
    ///
    /// # Errors
    /// Those of the output; the item is none that a run has.
    #[inline]
    pub fn item(&mut self, item: &Item) -> io::Result<()> {
        if matches!(item, Item::Stack { .. }) {
            return Ok(());
        }
        self.events += u64::from(matches!(item, Item::Event(_)));
        if self.encoder.item(item)? {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes out what is held back: what came before survives from here on. Costs some bytes each
    /// time, so it is for when nothing more comes for a while.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.define()?;
        if !self.encoder.is_empty() {
            let chunk = self.encoder.close(&mut self.press)?;
            let entry = Entry {
                events: chunk.events,
                items: chunk.items,
                first_ns: chunk.first_ns,
                ..Entry::new(Kind::Events, self.written, chunk.bytes.len() as u64)
            };
            self.chunk(entry, &chunk.bytes)?;
        }
        self.out.flush()
    }

    /// Ends the file: the functions of every site in the order of the sites, site 0 included, and
    /// what the trace vouches for. That is written as it is given, with `complete` set and
    /// `events` as they were counted here. Returns the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self, symbols: &[Arc<[Frame]>], certificate: &Certificate) -> io::Result<W> {
        self.flush()?;
        let mut table = Symbols::default();
        for functions in symbols {
            if table.site(functions) {
                self.body(Kind::Symbols, &table.body)?;
                table.body.clear();
            }
        }
        if !table.body.is_empty() {
            self.body(Kind::Symbols, &table.body)?;
        }
        let certificate = Certificate {
            events: self.events,
            complete: true,
            ..certificate.clone()
        };
        self.body(Kind::Certificate, &serde_json::to_vec(&certificate)?)?;
        let index = self.written;
        self.body(Kind::Index, &index::body(&self.entries))?;
        self.out.write_all(&index::trailer(index))?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// How many events were taken.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    fn define_if_many(&mut self) -> io::Result<()> {
        if self.definitions.body.len() >= DEFINITION_BYTES {
            self.define()?;
        }
        Ok(())
    }

    fn define(&mut self) -> io::Result<()> {
        if self.definitions.body.is_empty() {
            return Ok(());
        }
        let chunk = self
            .press
            .chunk(Kind::Definitions, &self.definitions.body)?;
        self.definitions.clear();
        let entry = Entry::new(Kind::Definitions, self.written, chunk.len() as u64);
        self.chunk(entry, &chunk)
    }

    fn body(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let chunk = self.press.chunk(kind, body)?;
        let entry = Entry::new(kind, self.written, chunk.len() as u64);
        self.chunk(entry, &chunk)
    }

    fn chunk(&mut self, entry: Entry, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += entry.length;
        self.entries.push(entry);
        Ok(())
    }
}
