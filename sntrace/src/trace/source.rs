//! The bytes of a trace: on disk or in memory.
//!
//! A file is read piece by piece and not mapped: if somebody cuts it meanwhile that is an error to
//! report, where touching a mapping would be a signal.
//!
//! What is no file (a pipe, standard input, a device) has no end to begin with, and is held in memory:
//! as far as it begins like a trace, and up to a limit.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What is no file is read up to here, in bytes: some 300 million events.
const STREAM_BYTES_MAX: u64 = 1 << 30;

/// So many bytes, the first ones, tell whether a trace begins.
pub(super) const START_BYTES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    length: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// Locked, as a position belongs to the file and not to who reads.
    Disk(Mutex<File>),
}

impl Source {
    /// `-` is standard input. What is no file is read on where `wanted` says so of its start.
    pub(super) fn open(path: &Path, wanted: fn(&[u8]) -> bool) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::from_stream(io::stdin().lock(), STREAM_BYTES_MAX, wanted);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Self::from_stream(file, STREAM_BYTES_MAX, wanted);
        }
        Ok(Self {
            length: metadata.len(),
            place: Place::Disk(Mutex::new(file)),
        })
    }

    /// What does not begin as a trace does is not read on: it may have no end, as /dev/zero.
    fn from_stream(
        stream: impl Read,
        bytes_max: u64,
        wanted: fn(&[u8]) -> bool,
    ) -> io::Result<Self> {
        let mut stream = stream.take(bytes_max + 1);
        let mut bytes = Vec::new();
        (&mut stream)
            .take(START_BYTES as u64)
            .read_to_end(&mut bytes)?;
        if wanted(&bytes) {
            stream.read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is too long to be read from a pipe: write it to a file first",
            ));
        }
        Ok(Self::from_bytes(bytes))
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len() as u64,
            place: Place::Memory(bytes),
        }
    }

    /// In bytes, as it was when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Its first bytes: [`START_BYTES`] of them, or all.
    pub(super) fn start(&self) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        let length = self.length.min(START_BYTES as u64) as usize;
        self.append(0, length, &mut start)?;
        Ok(start)
    }

    /// Fills `out` with what is at `offset`. Callers have bounded its length.
    pub(super) fn read(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        self.append(offset, length, out)
    }

    /// Adds to `out` what is at `offset`. Callers have bounded its length.
    pub(super) fn append(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match &self.place {
            Place::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let piece = bytes.get(start..start.saturating_add(length));
                out.extend_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::Disk(file) => {
                let held = out.len();
                out.resize(held + length, 0);
                // A reader that panicked left the position anywhere; it is set anew.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut out[held..])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = crate::trace::file::MAGIC;

    fn is_trace(start: &[u8]) -> bool {
        start.starts_with(&MAGIC)
    }

    #[test]
    fn what_has_no_end_is_read_as_far_as_it_may_be_a_trace() {
        let zeros = Source::from_stream(io::repeat(0), u64::MAX - 1, is_trace).unwrap();
        assert_eq!(zeros.length(), START_BYTES as u64);
        let endless = MAGIC.chain(io::repeat(7));
        let error = Source::from_stream(endless, 1000, is_trace).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let whole = Source::from_stream(MAGIC.chain(&[7; 92][..]), 100, is_trace).unwrap();
        assert_eq!(whole.length(), 100);
    }
}
