//! Opens a trace file and hands out what it holds.
//!
//! Opening reads the definitions, the symbols and the certificate, by the index. Where there is no
//! trailer the file was cut: then all chunks are looked through in order, up to the last whole
//! one, and what stood at the end (symbols, certificate) may be missing.
//!
//! Event chunks are read when they are replayed, one at a time.

use std::fmt;
use std::path::Path;

use super::about::About;
use super::chunk::{ChunkHead, HEAD_BYTES, Kind, PAYLOAD_MAX, Unpress};
use super::decode::Decoder;
use super::definitions;
use super::fields::{Fields, Malformed};
use super::foreign::looks_like;
use super::index::{self, Entry, TRAILER_BYTES};
use super::planes::EventHead;
use super::symbols::SymbolReader;
use super::{MAGIC, PROLOGUE_BYTES, VERSION};
use crate::output::escape;
use crate::trace::source::Source;
use crate::trace::{Certificate, Header, Item, Recorded, Recording, Site, Tables, TraceError};

/// A trace file that was opened.
#[derive(Debug)]
pub struct TraceFile {
    source: Source,
    /// Escaped.
    path: String,
    header: Header,
    generator: String,
    recorded: Recorded,
    tables: Tables,
    certificate: Certificate,
    /// By stack, whether it goes on beyond its last frame.
    truncated: Vec<bool>,
    /// All whole chunks, the index too.
    pub(super) entries: Vec<Entry>,
    cut: Option<Cut>,
}

/// That a file ends before its recording did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Up to this offset, in bytes, it was read.
    pub read_to: u64,
    /// So long it is, in bytes.
    pub length: u64,
    /// Whether the names of functions are missing: they stand at the end.
    pub without_names: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            read_to, length, ..
        } = self;
        match read_to == length {
            true => f.write_str("it ends before its recording did")?,
            false => write!(f, "{read_to} of its {length} bytes are whole")?,
        }
        if self.without_names {
            f.write_str(", without the names of functions")?;
        }
        Ok(())
    }
}

impl TraceFile {
    /// Opens a trace file.
    ///
    /// # Errors
    /// It can't be read, is something else, of a later version, or damaged.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let shown = escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes()));
        match Source::open(path, |start| start.starts_with(&MAGIC)) {
            Ok(source) => Self::read(source, shown),
            Err(source) => Err(TraceError::Unreadable {
                path: shown,
                source,
            }),
        }
    }

    /// Opens a trace file that is in memory. Errors name it `name`.
    ///
    /// # Errors
    /// It is something else, of a later version, or damaged.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, TraceError> {
        Self::read(Source::from_bytes(bytes), escape::shown(name))
    }

    /// Where the file was cut; `None`: it is whole.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Reads what was opened. Errors name it `path`, which is escaped.
    pub(in crate::trace) fn read(source: Source, path: String) -> Result<Self, TraceError> {
        let reading = Reading { source, path };
        reading.prologue()?;
        let whole = reading.index()?;
        let (entries, cut_at) = match whole {
            Some(entries) => (entries, None),
            None => reading.walk()?,
        };
        let mut unpress = Unpress::default();
        let Some(first) = entries.first().filter(|first| first.kind == Kind::Head) else {
            let what = match cut_at {
                Some(_) => "it ends inside its header: nothing was recorded yet, or it was cut",
                None => "it does not begin with its header",
            };
            return Err(reading.damaged(PROLOGUE_BYTES, &Malformed::new(what)));
        };
        let body = reading.body(first, &mut unpress)?;
        let about = About::parse(&body).map_err(|wrong| reading.damaged(first.offset, &wrong))?;
        let mut file = Self {
            header: about.header(),
            generator: format!("sntrace {}", about.sntrace),
            recorded: about.recorded,
            tables: Tables::default(),
            certificate: Certificate::default(),
            truncated: Vec::new(),
            entries,
            cut: None,
            source: reading.source,
            path: reading.path,
        };
        file.tables = file.read_tables()?;
        file.truncated = file.tables.stacks.truncated();
        let certificate = file.read_certificate()?;
        let has_certificate = certificate.is_some();
        file.certificate = certificate.unwrap_or_default();
        if let Some(read_to) = cut_at {
            file.cut = Some(Cut {
                read_to,
                length: file.source.length(),
                without_names: !has_certificate,
            });
            file.certify_cut(has_certificate);
        }
        Ok(file)
    }

    /// Reads all definitions and symbols.
    fn read_tables(&self) -> Result<Tables, TraceError> {
        let mut tables = new_tables();
        let mut symbols = SymbolReader::default();
        let mut unpress = Unpress::default();
        for entry in &self.entries {
            let result = match entry.kind {
                Kind::Definitions => {
                    let body = self.body(entry, &mut unpress)?;
                    definitions::read(&body, &mut tables, &mut |_| ())
                }
                Kind::Symbols => {
                    let body = self.body(entry, &mut unpress)?;
                    symbols.read(&body, &mut tables, &mut |_| ())
                }
                _ => Ok(()),
            };
            result.map_err(|wrong| self.damaged(entry, &wrong))?;
        }
        tables.stacks.seal();
        Ok(tables)
    }

    fn read_certificate(&self) -> Result<Option<Certificate>, TraceError> {
        let mut certificates = self.entries.iter();
        let Some(entry) = certificates.find(|entry| entry.kind == Kind::Certificate) else {
            return Ok(None);
        };
        let body = self.body(entry, &mut Unpress::default())?;
        let certificate = serde_json::from_slice(&body).map_err(|error| {
            let what = Malformed(format!("its certificate can't be read: {error}"));
            self.damaged(entry, &what)
        })?;
        Ok(Some(certificate))
    }

    /// What can be vouched for of a file that was cut.
    fn certify_cut(&mut self, has_certificate: bool) {
        self.certificate.complete = false;
        if has_certificate {
            return;
        }
        let events = self.entries.iter().map(|entry| entry.events);
        self.certificate.events = events.sum();
        let unnamed = |site: &&Site| site.functions.is_empty();
        // Without the one that is no place.
        let sites = self.tables.sites.iter().skip(1);
        self.certificate.unnamed_sites = sites.filter(unnamed).count() as u64;
        let mut truncated = 0;
        // What is damaged is for whoever replays it to say.
        let _ = self.replay(&mut |item| {
            if let Item::Event(event) = item {
                truncated += u64::from(event.truncated);
            }
        });
        self.certificate.truncated_stacks = truncated;
    }

    /// A chunk's head and its payload, checked.
    pub(super) fn payload(
        &self,
        entry: &Entry,
        payload: &mut Vec<u8>,
    ) -> Result<ChunkHead, TraceError> {
        read_payload(&self.source, &self.path, entry, payload)
    }

    pub(super) fn body(&self, entry: &Entry, unpress: &mut Unpress) -> Result<Vec<u8>, TraceError> {
        let mut payload = Vec::new();
        let head = self.payload(entry, &mut payload)?;
        unpress
            .body(&head, &payload)
            .map_err(|wrong| self.damaged(entry, &wrong))
    }

    pub(super) fn damaged(&self, entry: &Entry, wrong: &Malformed) -> TraceError {
        damaged(&self.path, entry.offset, wrong)
    }

    /// What decodes the file's events, chunk by chunk.
    pub(super) fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.truncated)
    }
}

impl Recording for TraceFile {
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
        self.cut.map(|cut| cut.to_string())
    }

    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        let mut decoder = self.decoder();
        let mut payload = Vec::new();
        let chunks = self.entries.iter();
        for entry in chunks.filter(|entry| entry.kind == Kind::Events) {
            let head = self.payload(entry, &mut payload)?;
            decoder
                .chunk(&payload, head.raw, each)
                .map_err(|wrong| self.damaged(entry, &wrong))?;
        }
        Ok(())
    }
}

/// Tables with what is there without being defined.
pub(super) fn new_tables() -> Tables {
    Tables {
        // The place that is no place.
        sites: vec![Site::default()],
        ..Tables::default()
    }
}

/// A file that is being opened.
struct Reading {
    source: Source,
    path: String,
}

impl Reading {
    fn piece(&self, offset: u64, length: usize) -> Result<Vec<u8>, TraceError> {
        let mut piece = Vec::new();
        match self.source.read(offset, length, &mut piece) {
            Ok(()) => Ok(piece),
            Err(source) => Err(TraceError::Unreadable {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn damaged(&self, at: u64, wrong: &Malformed) -> TraceError {
        damaged(&self.path, at, wrong)
    }

    /// Whether it is a trace of our version.
    fn prologue(&self) -> Result<(), TraceError> {
        let length = self.source.length();
        let start = self.piece(0, length.min(64) as usize)?;
        if !start.starts_with(&MAGIC) {
            if !start.is_empty() && MAGIC.starts_with(&start) {
                let what = Malformed::new("it ends inside its first bytes: it was cut");
                return Err(self.damaged(length, &what));
            }
            return Err(TraceError::Foreign {
                path: self.path.clone(),
                what: looks_like(&start).into(),
            });
        }
        let Some((_, rest)) = start.split_first_chunk::<8>() else {
            return Ok(());
        };
        let (Some((version, rest)), true) =
            (rest.split_first_chunk::<4>(), length >= PROLOGUE_BYTES)
        else {
            let what = Malformed::new("it ends inside its first bytes: it was cut");
            return Err(self.damaged(length, &what));
        };
        let version = u32::from_le_bytes(*version);
        if version > VERSION {
            return Err(TraceError::Newer {
                path: self.path.clone(),
                version,
            });
        }
        if version < VERSION || !rest.starts_with(&[0; 4]) {
            let what = Malformed::new("its first bytes are none that a trace has");
            return Err(self.damaged(8, &what));
        }
        Ok(())
    }

    /// The chunks before the index; `None` if there is no trailer.
    fn index(&self) -> Result<Option<Vec<Entry>>, TraceError> {
        let length = self.source.length();
        let Some(trailer_at) = length.checked_sub(TRAILER_BYTES as u64) else {
            return Ok(None);
        };
        let trailer = self.piece(trailer_at, TRAILER_BYTES)?;
        let trailer = trailer.first_chunk::<TRAILER_BYTES>();
        let Some(index_at) = trailer.and_then(index::parse_trailer) else {
            return Ok(None);
        };
        let index_length = trailer_at.checked_sub(index_at);
        let Some(index_length) = index_length.filter(|_| index_at >= PROLOGUE_BYTES) else {
            let what = Malformed::new("its trailer says that the index is where it can't be");
            return Err(self.damaged(trailer_at, &what));
        };
        let entry = Entry::new(Kind::Index, index_at, index_length);
        let body = self.body(&entry, &mut Unpress::default())?;
        let mut entries =
            index::parse(&body, index_at).map_err(|wrong| self.damaged(index_at, &wrong))?;
        entries.push(entry);
        Ok(Some(entries))
    }

    /// The whole chunks of a file without a trailer, and where they end.
    fn walk(&self) -> Result<(Vec<Entry>, Option<u64>), TraceError> {
        let length = self.source.length();
        let mut entries = Vec::new();
        let mut at = PROLOGUE_BYTES;
        let mut payload = Vec::new();
        let mut finished = false;
        while length - at >= HEAD_BYTES as u64 {
            if finished {
                // Only a trailer stands behind the index, and this is none.
                return Err(self.damaged(at, &Malformed::new("its trailer is wrong")));
            }
            let head = self.piece(at, HEAD_BYTES)?;
            let head = head.first_chunk::<HEAD_BYTES>();
            let Some(head) = head.map(ChunkHead::parse) else {
                break;
            };
            let head = head.map_err(|wrong| self.damaged(at, &wrong))?;
            let mut entry = Entry::new(head.kind, at, HEAD_BYTES as u64 + u64::from(head.stored));
            if entry.end() > length {
                break;
            }
            read_payload(&self.source, &self.path, &entry, &mut payload)?;
            if head.kind == Kind::Events {
                let events = EventHead::parse(&mut Fields(&payload))
                    .map_err(|wrong| self.damaged(at, &wrong))?;
                (entry.events, entry.items) = (events.events, events.items);
                entry.first_ns = events.first_ns;
            }
            finished = head.kind == Kind::Index;
            at = entry.end();
            entries.push(entry);
        }
        Ok((entries, Some(at)))
    }

    fn body(&self, entry: &Entry, unpress: &mut Unpress) -> Result<Vec<u8>, TraceError> {
        let mut payload = Vec::new();
        let head = read_payload(&self.source, &self.path, entry, &mut payload)?;
        unpress
            .body(&head, &payload)
            .map_err(|wrong| self.damaged(entry.offset, &wrong))
    }
}

/// A chunk's head and its payload, checked against each other and the entry.
fn read_payload(
    source: &Source,
    path: &str,
    entry: &Entry,
    payload: &mut Vec<u8>,
) -> Result<ChunkHead, TraceError> {
    let wrong = |what: &str| damaged(path, entry.offset, &Malformed::new(what));
    if entry.length > (HEAD_BYTES + PAYLOAD_MAX) as u64 {
        return Err(wrong("a chunk is longer than any writer makes it"));
    }
    let read = source.read(entry.offset, entry.length as usize, payload);
    read.map_err(|source| TraceError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let Some(head) = payload.first_chunk::<HEAD_BYTES>() else {
        return Err(wrong("a chunk is shorter than its head"));
    };
    let head = ChunkHead::parse(head).map_err(|wrong| damaged(path, entry.offset, &wrong))?;
    payload.drain(..HEAD_BYTES);
    if head.kind != entry.kind || head.stored as usize != payload.len() {
        return Err(wrong("this chunk is not the one that the index says"));
    }
    head.check(payload)
        .map_err(|wrong| damaged(path, entry.offset, &wrong))?;
    Ok(head)
}

fn damaged(path: &str, at: u64, wrong: &Malformed) -> TraceError {
    TraceError::Damaged {
        path: path.to_owned(),
        at,
        what: wrong.0.clone(),
    }
}
