//! The first chunk of a trace file: what was run, what of it was recorded, and by which sntrace.
//!
//! JSON, as it is read once and may grow.

use serde::{Deserialize, Serialize};

use super::fields::Malformed;
use crate::trace::{Header, Recorded};

/// The chunk's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// Version of the sntrace that recorded.
    pub sntrace: String,
    pub command: Vec<String>,
    pub os: String,
    pub arch: String,
    pub started: String,
    pub recorded: Recorded,
}

impl About {
    pub(super) fn new(header: &Header, recorded: &Recorded) -> Self {
        Self {
            sntrace: env!("CARGO_PKG_VERSION").into(),
            command: header.command.clone(),
            os: header.os.clone(),
            arch: header.arch.clone(),
            started: header.started.clone(),
            recorded: recorded.clone(),
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body)
            .map_err(|error| Malformed(format!("its header can't be read: {error}")))
    }

    pub(super) fn header(&self) -> Header {
        Header {
            command: self.command.clone(),
            os: self.os.clone(),
            arch: self.arch.clone(),
            started: self.started.clone(),
        }
    }
}
