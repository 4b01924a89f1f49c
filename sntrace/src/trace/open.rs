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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{ExportOptions, Format, export, samples};
    use crate::trace::file::TraceWriter;
    use crate::trace::{Certificate, Item};

    fn told(bytes: &[u8]) -> Result<Box<dyn Recording + Send + Sync>, TraceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        std::fs::write(&path, bytes).unwrap();
        open(&path)
    }

    #[test]
    fn either_form_is_known_by_its_start() {
        let recording = samples::plain();
        let mut json = b" \r\n\t".to_vec();
        export(
            Format::Json,
            &recording,
            &ExportOptions::default(),
            &mut json,
        )
        .unwrap();
        let writer = TraceWriter::new(Vec::new(), &recording.header, &recording.recorded).unwrap();
        let file = writer.finish(&[], &Certificate::default()).unwrap();
        for (bytes, least) in [(json, 10), (file, 0)] {
            let trace = told(&bytes).unwrap();
            let mut items = 0;
            trace.replay(&mut |_: &Item| items += 1).unwrap();
            assert!(items >= least);
            assert_eq!(trace.header(), &recording.header);
            assert_eq!(
                trace.generator(),
                concat!("sntrace ", env!("CARGO_PKG_VERSION"))
            );
        }
    }

    #[test]
    fn what_is_neither_is_told_by_what_it_looks_like() {
        for (bytes, expected) in [
            (&b"#!/bin/sh\n"[..], "it is a script"),
            (b"[1]", "it looks like JSON"),
            (b"{}", "some other JSON"),
            (b"", "it is empty"),
        ] {
            let error = told(bytes).err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let nowhere = open(Path::new("/nowhere/a\x1b.snt")).err().unwrap();
        assert!(
            nowhere.to_string().contains(r"'/nowhere/a\x1b.snt'"),
            "{nowhere}"
        );
    }
}
