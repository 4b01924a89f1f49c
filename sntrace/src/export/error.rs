//! Why an export failed.

use std::io::{self, ErrorKind};

use super::Format;
use crate::trace::TraceError;

/// See the module. Texts read after `sntrace: error: `.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trace can't be read to its end.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The destination takes no more. Who opened it knows its name.
    #[error("cannot write the export to its end: {}", crate::messages::reason(.0))]
    Write(#[from] io::Error),
    /// The format is one table in memory, of the viewer too, and this trace is too long for it.
    #[error(
        "cannot export as {}: the trace has {events} allocations and releases, and the format holds at most {limit}",
        format.name()
    )]
    TooLong {
        /// The format.
        format: Format,
        /// Rows that the trace would take.
        events: u64,
        /// Rows that we let it have.
        limit: u64,
    },
}

impl ExportError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Trace(error) => error.hint(),
            Self::Write(source) => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Some("free some space, or name a file on another disk")
                }
                _ => None,
            },
            Self::TooLong { .. } => {
                Some("pprof, perfetto and speedscope add events up: they have no such limit")
            }
        }
    }

    /// Whether a reader went away (`sntrace export ... | head`): nobody wanted the rest.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(source) if source.kind() == ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_cause_and_a_way_out() {
        let full = ExportError::from(io::Error::from(ErrorKind::StorageFull));
        assert!(full.to_string().starts_with("cannot write the export"));
        assert!(full.hint().is_some());
        let long = ExportError::TooLong {
            format: Format::Firefox,
            events: 7,
            limit: 5,
        };
        assert!(long.to_string().contains("as firefox: the trace has 7"));
        assert!(long.hint().is_some());
        let gone = ExportError::from(io::Error::from(ErrorKind::BrokenPipe));
        assert!(gone.is_broken_pipe() && !full.is_broken_pipe());
    }
}
