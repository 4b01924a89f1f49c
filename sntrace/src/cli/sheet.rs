//! Where a command writes a text that it has made: a file, stdout or stderr, with the name that errors call it.

use std::io::{self, BufWriter, Write};

use super::options::Destination;
use crate::output::{OutputError, escape, writer};

/// A page of text that goes to a destination.
pub(super) struct Sheet {
    pub writer: BufWriter<Box<dyn Write>>,
    /// How messages call it.
    name: String,
}

impl Sheet {
    pub fn open(destination: &Destination) -> Result<Self, OutputError> {
        let (inner, name): (Box<dyn Write>, _) = match destination {
            Destination::Stdout => (Box::new(io::stdout()), "standard output".to_owned()),
            Destination::File(path) => (
                Box::new(writer::create(path)?),
                format!("'{}'", escape::shown(&path.to_string_lossy())),
            ),
        };
        Ok(Self {
            writer: BufWriter::new(inner),
            name,
        })
    }

    /// On stderr, where the program's own output has stdout.
    pub fn stderr() -> Self {
        Self {
            writer: BufWriter::new(Box::new(io::stderr())),
            name: "standard error".to_owned(),
        }
    }

    pub fn failed(&self, source: io::Error) -> OutputError {
        OutputError::Write {
            destination: self.name.clone(),
            source,
            lost: 0,
        }
    }

    pub fn finish(mut self) -> Result<(), OutputError> {
        let written = self.writer.flush();
        written.map_err(|source| self.failed(source))
    }
}
