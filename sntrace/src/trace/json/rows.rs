//! Rows of a document's tables, as they stand there.
//!
//! Keys that this version does not know are passed over: later ones may add some.

use std::borrow::Cow;

use serde::Deserialize;

use super::cursor::hexadecimal;
use crate::trace::{Exit, Recorded, StacksTaken};

/// A row of `processes`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ProcessRow {
    pub pid: u32,
    pub ppid: u32,
    pub start_ns: u64,
    #[serde(default)]
    pub executable: String,
    pub command: Vec<String>,
    pub exit: Option<ExitRow>,
    pub forked_from: Option<u64>,
    pub first_event: Option<u64>,
    pub end_event: Option<u64>,
    pub end_row: Option<u64>,
    #[serde(default)]
    pub live_blocks: u64,
    #[serde(default)]
    pub live_bytes: u64,
}

/// How a process ended: the first of these that is there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ExitRow {
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(default)]
    exec: bool,
}

impl ProcessRow {
    pub fn exit(&self) -> Exit {
        match self.exit {
            Some(ExitRow {
                code: Some(code), ..
            }) => Exit::Code(code),
            Some(ExitRow {
                signal: Some(signal),
                ..
            }) => Exit::Signal(signal),
            Some(ExitRow { exec: true, .. }) => Exit::Exec,
            _ => Exit::Unknown,
        }
    }
}

/// A row of `modules`.
#[derive(Debug, Deserialize)]
pub(super) struct ModuleRow {
    pub path: String,
    pub build_id: Option<String>,
    pub start: Address,
    pub end: Address,
    pub process: u64,
}

impl ModuleRow {
    /// Empty: it has none. `None`: it is no hexadecimal number.
    pub fn build_id(&self) -> Option<Vec<u8>> {
        let digits = self.build_id.as_deref().unwrap_or_default();
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                let two = pair.len() == 2 && !pair.starts_with('+');
                u8::from_str_radix(pair, 16).ok().filter(|_| two)
            })
            .collect()
    }
}

/// A row of `frames`.
#[derive(Debug, Deserialize)]
pub(super) struct FrameRow {
    pub function: Option<String>,
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub address: Address,
    pub file_address: Option<Address>,
    #[serde(default)]
    pub inlined: Vec<FunctionRow>,
    #[serde(default)]
    pub truncated: bool,
}

/// A function that was inlined, and where in its source it called.
#[derive(Debug, Deserialize)]
pub(super) struct FunctionRow {
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// A row of `stacks`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct StackRow {
    pub frame: u64,
    pub parent: Option<u64>,
}

/// `platform`.
#[derive(Debug, Deserialize)]
pub(super) struct PlatformRow {
    pub os: String,
    pub arch: String,
}

/// What of `summary` is of use: the rest is worked out anew by who reads the events.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct SummaryRow {
    pub events: u64,
    #[serde(default)]
    pub dropped_events: u64,
    #[serde(default)]
    pub mapping_events: u64,
    pub shown_events: Option<u64>,
}

/// `recorded`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct RecordedRow {
    pub stacks: StacksTaken,
    pub mappings: bool,
    pub children: bool,
    pub may_drop: bool,
}

impl From<RecordedRow> for Recorded {
    fn from(row: RecordedRow) -> Self {
        Self {
            stacks: row.stacks,
            mappings: row.mappings,
            children: row.children,
            may_drop: row.may_drop,
        }
    }
}

/// An address as a string of `0x` and hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub u64);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        match hexadecimal(text.as_bytes()) {
            Some(value) => Ok(Self(value)),
            None => Err(serde::de::Error::custom("an address is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_pairs_of_digits() {
        let module = |id: &str| {
            let text = format!(
                r#"{{"path":"/a","build_id":{id},"start":"0x1","end":"0x2","process":0,"new":1}}"#
            );
            let row: ModuleRow = serde_json::from_str(&text).unwrap();
            row.build_id()
        };
        assert_eq!(module("\"0aff\""), Some(vec![10, 255]));
        assert_eq!(module("null"), Some(Vec::new()));
        for wrong in ["\"0af\"", "\"xx\"", "\"+1\"", "\"é\""] {
            assert_eq!(module(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_exit_is_one_of_four() {
        for (text, expected) in [
            ("null", Exit::Unknown),
            (r#"{"code":3}"#, Exit::Code(3)),
            (r#"{"signal":9}"#, Exit::Signal(9)),
            (r#"{"exec":true}"#, Exit::Exec),
            (r#"{"later":1}"#, Exit::Unknown),
        ] {
            let text = format!(r#"{{"pid":1,"ppid":0,"start_ns":0,"command":[],"exit":{text}}}"#);
            let row: ProcessRow = serde_json::from_str(&text).unwrap();
            assert_eq!(row.exit(), expected);
        }
    }
}
