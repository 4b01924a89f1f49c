//! The bytes of a trace file: on disk or in memory.
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

use super::MAGIC;

/// What is no file is read up to here, in bytes: some 300 million events.
const STREAM_BYTES_MAX: u64 = 1 << 30;

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
    /// `-` is standard input.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::from_stream(io::stdin().lock(), STREAM_BYTES_MAX);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Self::from_stream(file, STREAM_BYTES_MAX);
        }
        Ok(Self {
            length: metadata.len(),
            place: Place::Disk(Mutex::new(file)),
        })
    }

    /// What does not begin as a trace does is not read on: it may have no end, as /dev/zero.
    fn from_stream(stream: impl Read, bytes_max: u64) -> io::Result<Self> {
        let mut stream = stream.take(bytes_max + 1);
        let mut bytes = Vec::new();
        (&mut stream)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut bytes)?;
        if bytes == MAGIC {
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

    /// Fills `out` with what is at `offset`. Callers have bounded its length.
    pub(super) fn read(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        match &self.place {
            Place::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let piece = bytes.get(start..start.saturating_add(length));
                out.extend_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::Disk(file) => {
                out.resize(length, 0);
                // A reader that panicked left the position anywhere; it is set anew.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_read_as_far_as_it_may_be_a_trace() {
        let zeros = Source::from_stream(io::repeat(0), u64::MAX - 1).unwrap();
        assert_eq!(zeros.length(), MAGIC.len() as u64);
        let endless = MAGIC.chain(io::repeat(7));
        let error = Source::from_stream(endless, 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let whole = Source::from_stream(MAGIC.chain(&[7; 92][..]), 100).unwrap();
        assert_eq!(whole.length(), 100);
    }
}
