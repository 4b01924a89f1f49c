//! Opens a recorded trace, whichever of its two forms it has.

use std::path::Path;

use super::file::{MAGIC, TraceFile};
use super::json::JsonTrace;
use super::source::Source;
use super::{Recording, TraceError};
use crate::output::escape;

/// Opens a trace file (`.snt`) or a JSON trace. `-` is standard input.
///
/// # Errors
/// It can't be read, is something else, of a later version, or damaged.
pub fn open(path: &Path) -> Result<Box<dyn Recording + Send + Sync>, TraceError> {
    let shown = escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes()));
    let opened = Source::open(path, |start| {
        start.starts_with(&MAGIC) || begins_as_json(start)
    });
    let started = opened.and_then(|source| Ok((source.start()?, source)));
    match started {
        Ok((start, source)) if begins_as_json(&start) => {
            Ok(Box::new(JsonTrace::read(source, shown)?))
        }
        // It says what a file is that is neither.
        Ok((_, source)) => Ok(Box::new(TraceFile::read(source, shown)?)),
        Err(source) => Err(TraceError::Unreadable {
            path: shown,
            source,
        }),
    }
}

/// Whether a document begins that may be a JSON trace.
pub(super) fn begins_as_json(start: &[u8]) -> bool {
    start.trim_ascii_start().first() == Some(&b'{')
}
