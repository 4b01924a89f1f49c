//! The bytes of a trace file: on disk or in memory.
//!
//! A file is read piece by piece and not mapped: if somebody cuts it meanwhile that is an error to
//! report, where touching a mapping would be a signal.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            // A pipe has no end to begin with.
            let mut bytes = Vec::new();
            (&file).read_to_end(&mut bytes)?;
            return Ok(Self::from_bytes(bytes));
        }
        Ok(Self {
            length: metadata.len(),
            place: Place::Disk(Mutex::new(file)),
        })
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
