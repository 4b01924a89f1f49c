//! A recorded trace as what comes after it sees it: tables first, then everything in order.
//!
//! Analysis and exports read through this, so that they need not know the file's format, and their
//! tests need no file.

use std::io;

use super::{Certificate, Header, Item, Recorded, Tables};

/// A trace that was recorded.
pub trait Recording {
    /// What was run, where and when.
    fn header(&self) -> &Header;

    /// Files, places in code, stacks. Complete: they may be asked before any event is read.
    fn tables(&self) -> &Tables;

    /// What the trace vouches for.
    fn certificate(&self) -> &Certificate;

    /// What of its run was recorded.
    fn recorded(&self) -> &Recorded;

    /// What wrote it, as `sntrace 0.1.0`.
    fn generator(&self) -> &str;

    /// Where its recording or its file was cut, in words that read after "it was cut: ". `None`: it is whole.
    fn cut_note(&self) -> Option<String> {
        None
    }

    /// Hands out everything in the order in which it happened. Events have [`super::Event::stack`],
    /// no caller (0: its place is the innermost frame of the stack)
    /// and no frames in a batch; what they released is worked out. May be called again, and begins
    /// anew each time.
    ///
    /// # Errors
    /// Where the trace can't be read any further. What came before it was handed out and is right.
    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError>;
}

/// Why a trace can't be read. Paths are escaped where they are shown.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The system doesn't give it to us.
    #[error("cannot read '{path}': {}", crate::messages::reason(source))]
    Unreadable {
        /// The path as given, escaped.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It is something else.
    #[error("'{path}' is no sntrace trace: {what}")]
    Foreign {
        /// The path as given, escaped.
        path: String,
        /// What it looks like instead.
        what: String,
    },
    /// A later version wrote it.
    #[error("'{path}' has trace format {version}, which this sntrace does not know")]
    Newer {
        /// The path as given, escaped.
        path: String,
        /// Its version.
        version: u32,
    },
    /// It was written with a filter, so that events are missing that others need.
    #[error(
        "'{path}' holds {held} of the {all} events of its run: it was written with --filter, and what its other \
         events do is not known"
    )]
    Filtered {
        /// The path as given, escaped.
        path: String,
        /// Events in it.
        held: u64,
        /// Events of the run.
        all: u64,
    },
    /// Its bytes can't be right.
    #[error("'{path}' is damaged at byte {at}: {what}")]
    Damaged {
        /// The path as given, escaped.
        path: String,
        /// Offset in the file, in bytes.
        at: u64,
        /// What is wrong there.
        what: String,
    },
}

impl TraceError {
    /// What the user can do, as a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("'sntrace record PROGRAM' makes a trace"),
                _ => None,
            },
            Self::Foreign { .. } => Some("'sntrace record PROGRAM' makes a trace"),
            Self::Filtered { .. } => {
                Some("record it without --filter; 'lines' takes a filter later")
            }
            Self::Newer { .. } => Some("read it with the sntrace that recorded it, or a later one"),
            Self::Damaged { .. } => {
                Some("record it again, or copy it again from where it was made")
            }
        }
    }
}
