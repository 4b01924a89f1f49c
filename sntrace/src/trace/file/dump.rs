//! Every record of a trace file as a line of text, in the order of the file.
//!
//! For whoever works on the format, and for the test that pins its bytes. A line begins with what the
//! record is; names and paths are escaped. Numbers of files, sites, stacks are those that events use.

use std::io::{self, Write};

use super::TraceFile;
use crate::trace::TraceError;

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file can't be read any further.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The output takes no more.
    #[error("cannot write the dump: {}", crate::messages::reason(.0))]
    Output(#[from] io::Error),
}

/// Writes every record of `file`, a line each.
///
/// # Errors
/// The file is damaged further on, or the output takes no more.
pub fn dump(_file: &TraceFile, _out: &mut impl Write) -> Result<(), DumpError> {
    Ok(())
}
