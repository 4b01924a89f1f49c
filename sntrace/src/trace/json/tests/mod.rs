//! Documents that are written, changed and read back.

mod damage;
mod forms;
mod round_trip;

use serde_json::Value;

use super::JsonTrace;
use crate::export::samples::exported;
use crate::export::{Format, Metric};
use crate::trace::{Item, Recording, TraceError};

/// The JSON trace of a recording.
fn written(recording: &dyn Recording) -> Vec<u8> {
    exported(Format::Json, recording, Metric::default())
}

fn open(bytes: impl Into<Vec<u8>>) -> Result<JsonTrace, TraceError> {
    JsonTrace::from_bytes("a.json", bytes.into())
}

/// A document that a test has changed.
fn changed(
    recording: &dyn Recording,
    change: impl FnOnce(&mut Value),
) -> Result<JsonTrace, TraceError> {
    let mut document = serde_json::from_slice(&written(recording)).unwrap();
    change(&mut document);
    open(document.to_string())
}

fn items(recording: &dyn Recording) -> Vec<Item> {
    let mut items = Vec::new();
    recording
        .replay(&mut |item| items.push(item.clone()))
        .unwrap();
    items
}
