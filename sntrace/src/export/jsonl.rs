//! JSON lines of a recorded trace: as [`crate::output::jsonl`] writes them of a running one.
//!
//! Every line stands for itself, so an event has its caller and no stack. The last line has the
//! certificate beside the summary.

use std::io::{self, Write};

use crate::output::sites::SiteTexts;
use crate::output::{Summary, escape, event_object};
use crate::symbolize::RecordedCallers;
use crate::trace::{Certificate, Item, Recording};

use super::Exporter;
use super::processes::Processes;

/// An exporter of it.
pub struct JsonLines<'r> {
    callers: RecordedCallers<'r>,
    processes: Processes,
    /// By caller: all from the caller to the newline.
    tails: SiteTexts,
    certificate: &'r Certificate,
    line: Vec<u8>,
}

impl<'r> JsonLines<'r> {
    /// For this trace.
    pub fn new(recording: &'r dyn Recording) -> Self {
        Self {
            callers: RecordedCallers::new(recording.tables()),
            processes: Processes::default(),
            tails: SiteTexts::default(),
            certificate: recording.certificate(),
            line: Vec::new(),
        }
    }
}

impl Exporter for JsonLines<'_> {
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        let Item::Event(event) = item else {
            self.processes.item(item);
            return Ok(());
        };
        let call = self.callers.of(event.op, event.stack).call();
        let line = &mut self.line;
        line.clear();
        event_object::open(line, event, call.op, self.processes.of(event.image));
        line.extend_from_slice(self.tails.get(call.site, |tail| {
            tail.extend_from_slice(b",\"caller\":");
            escape::json(tail, call.name);
            event_object::place(tail, &call);
            tail.extend_from_slice(b"}\n");
        }));
        out.write_all(line)
    }

    fn finish(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        let mut line = b"{\"summary\":".to_vec();
        summary.json(&mut line);
        line.extend_from_slice(b",\"certificate\":");
        certificate(&mut line, self.certificate);
        line.extend_from_slice(b"}\n");
        out.write_all(&line)
    }
}

/// Appends the certificate's object. Its strings are paths and reasons: they are escaped as names are.
pub fn certificate(out: &mut Vec<u8>, certificate: &Certificate) {
    // Numbers and strings in memory: neither fails.
    let value = serde_json::to_value(certificate).unwrap_or_default();
    value_of(out, &value);
}

/// Appends a JSON value with strings that are safe to show.
fn value_of(out: &mut Vec<u8>, value: &serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => escape::json(out, text),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value_of(out, value);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                escape::json(out, key);
                out.push(b':');
                value_of(out, value);
            }
            out.push(b'}');
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use crate::output::json::tests::{assert_valid, schema_of};
    use serde_json::Value;

    #[test]
    fn every_line_keeps_to_the_schema_and_the_last_has_the_totals() {
        let recording = samples::recording();
        let text = exported(Format::Jsonl, &recording, Metric::default());
        let text = String::from_utf8(text).unwrap();
        let validator = schema_of("#/$defs/jsonl_line");
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            assert_valid(&validator, line);
        }
        let last = lines.pop().unwrap();
        let summary = samples::summary(&recording);
        assert_eq!(last["summary"], serde_json::to_value(&summary).unwrap());
        assert_eq!(last["certificate"]["not_followed"][0]["times"], 1);
        assert_eq!(lines.len() as u64, summary.events);
        // By operator new, past the vector: as a running trace shows it.
        let pushed = &lines[2];
        assert_eq!(
            (&pushed["op"], &pushed["caller"], &pushed["line"]),
            (
                &"operator new".into(),
                &"inner<int>(int)".into(),
                &21.into()
            )
        );
        assert!(
            !text
                .chars()
                .any(|c| c != '\n' && crate::output::escape::is_hidden(c))
        );
    }
}
