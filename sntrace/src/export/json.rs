//! The JSON trace of a recorded trace: the document of [`crate::output::json`], with whole stacks.
//!
//! Frames and stacks are the trace's own tables. Row N of `frames` is the place in code with number
//! N; row 0 is the one that ends a truncated stack. Row N of `stacks` is stack N + 1 of the trace, as
//! the empty stack has no frame: an event without a stack has `null`. Functions that the compiler
//! inlined are in their frame's `inlined`.
//!
//! Events are written as they are read. What is held are rows of processes and modules, as in a
//! running trace.

use std::io::{self, Write};

use crate::output::json::{open_document, write_module, write_process};
use crate::output::number::decimal;
use crate::output::process_rows::ProcessRows;
use crate::output::sites::SiteTexts;
use crate::output::{ProcessEnd, Summary, escape, event_object};
use crate::symbolize::{Frame, RecordedCallers};
use crate::trace::{Item, Recording, SiteId, StackId};

use super::processes::{Processes, begun};
use super::{Exporter, jsonl};

/// An exporter of it.
pub struct Json<'r> {
    recording: &'r dyn Recording,
    callers: RecordedCallers<'r>,
    running: Processes,
    /// What comes before the next event: a blank, then commas.
    separator: &'static [u8],
    /// By caller: `,"caller":..`.
    texts: SiteTexts,
    processes: ProcessRows,
    /// Events written so far.
    events: u64,
    modules: Vec<u8>,
    line: Vec<u8>,
}

impl<'r> Json<'r> {
    /// Writes the head.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn begin(recording: &'r dyn Recording, out: &mut dyn Write) -> io::Result<Self> {
        let mut line = Vec::new();
        open_document(&mut line, recording.header(), recording.recorded());
        out.write_all(&line)?;
        Ok(Self {
            recording,
            callers: RecordedCallers::new(recording.tables()),
            running: Processes::default(),
            separator: b"",
            texts: SiteTexts::default(),
            processes: ProcessRows::default(),
            events: 0,
            modules: Vec::new(),
            line,
        })
    }

    fn write_frame(&self, row: &mut Vec<u8>, number: usize) {
        let tables = self.recording.tables();
        if number == 0 {
            row.extend_from_slice(b"{\"function\":null,\"address\":\"0x0\",\"truncated\":true}");
            return;
        }
        let place = &tables.sites[number];
        let (real, inlined) = match place.functions.split_last() {
            Some((real, inlined)) => (Some(real), inlined),
            None => (None, &[][..]),
        };
        row.extend_from_slice(b"{\"function\":");
        write_function(row, real);
        if let Some(file) = tables.file_of(SiteId(number as u32)) {
            row.extend_from_slice(b",\"module\":");
            escape::json(row, &file.path);
        }
        write_location(row, real);
        event_object::address(row, b",\"address\":\"", place.address);
        if !inlined.is_empty() {
            row.extend_from_slice(b",\"inlined\":[");
            for (at, frame) in inlined.iter().enumerate() {
                row.extend_from_slice(if at == 0 {
                    b"{\"function\":"
                } else {
                    b",{\"function\":"
                });
                write_function(row, Some(frame));
                write_location(row, Some(frame));
                row.push(b'}');
            }
            row.push(b']');
        }
        row.push(b'}');
    }
}

impl Exporter for Json<'_> {
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        self.running.item(item);
        match item {
            Item::Event(event) => {
                let caller = self.callers.of(event.op, event.stack);
                let line = &mut self.line;
                line.clear();
                line.extend_from_slice(self.separator);
                self.separator = b",";
                self.events += 1;
                event_object::open(line, event, caller.op, self.running.of(event.image));
                if let Some(row) = self.processes.needed(event.image) {
                    write_process(line, row);
                }
                line.extend_from_slice(self.texts.get(caller.number, |text| {
                    text.extend_from_slice(b",\"caller\":");
                    escape::json(text, &caller.name);
                }));
                line.extend_from_slice(b",\"stack\":");
                stack_index(line, self.recording, event.stack);
                line.extend_from_slice(b"}\n");
                return out.write_all(line);
            }
            Item::ModuleAdd { image, module } => {
                // A module of a process that never began is left out, as in a running trace.
                if let Some(row) = self.processes.running(*image) {
                    write_module(&mut self.modules, module, row);
                }
            }
            &Item::Ended {
                image,
                exit,
                live_blocks,
                live_bytes,
            } => {
                let end = ProcessEnd {
                    exit,
                    live_blocks,
                    live_bytes,
                };
                self.processes.end(image, end, self.events);
            }
            _ => {
                if let Some(process) = begun(item) {
                    self.processes.begin(&process, self.events);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        let mut row = Vec::new();
        out.write_all(b"],\n\"processes\":[")?;
        for at in 0..self.processes.len() {
            row.clear();
            begin_row(&mut row, at);
            self.processes.write(&mut row, at);
            out.write_all(&row)?;
        }
        out.write_all(b"],\n\"modules\":[")?;
        out.write_all(&self.modules)?;
        out.write_all(b"],\n\"frames\":[")?;
        for number in 0..self.recording.tables().sites.len() {
            row.clear();
            begin_row(&mut row, number);
            self.write_frame(&mut row, number);
            out.write_all(&row)?;
        }
        out.write_all(b"],\n\"stacks\":[")?;
        for (at, node) in self.recording.tables().stacks.nodes().iter().enumerate() {
            row.clear();
            begin_row(&mut row, at);
            row.extend_from_slice(b"{\"frame\":");
            decimal(&mut row, node.site.0.into());
            row.extend_from_slice(b",\"parent\":");
            stack_index(&mut row, self.recording, node.parent);
            row.push(b'}');
            out.write_all(&row)?;
        }
        row.clear();
        row.extend_from_slice(b"],\n\"summary\":");
        summary.json(&mut row);
        row.extend_from_slice(b",\n\"certificate\":");
        jsonl::certificate(&mut row, self.recording.certificate());
        row.extend_from_slice(b"}\n");
        out.write_all(&row)
    }
}

fn begin_row(row: &mut Vec<u8>, at: usize) {
    row.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
}

/// The stack's row, or null.
fn stack_index(out: &mut Vec<u8>, recording: &dyn Recording, stack: StackId) {
    match recording.tables().stacks.node(stack) {
        Some(_) => decimal(out, u64::from(stack.0) - 1),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_function(out: &mut Vec<u8>, frame: Option<&Frame>) {
    match frame.and_then(|frame| frame.function.as_deref()) {
        Some(function) => escape::json(out, function),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_location(out: &mut Vec<u8>, frame: Option<&Frame>) {
    let Some((file, line)) = frame.and_then(|frame| frame.file.as_deref().zip(frame.line)) else {
        return;
    };
    out.extend_from_slice(b",\"file\":");
    escape::json(out, file);
    out.extend_from_slice(b",\"line\":");
    decimal(out, line.into());
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use crate::output::json::tests::{assert_valid, schema_of};
    use serde_json::{Value, json};

    fn document(recording: &dyn crate::trace::Recording) -> Value {
        let bytes = exported(Format::Json, recording, Metric::default());
        let document = serde_json::from_slice(&bytes).unwrap();
        assert_valid(&schema_of("#"), &document);
        document
    }

    /// The functions of an event's stack, inner to outer, as a reader finds them.
    fn names(document: &Value, event: &Value) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = &event["stack"];
        while let Some(at) = next.as_u64() {
            let stack = &document["stacks"][at as usize];
            let frame = &document["frames"][stack["frame"].as_u64().unwrap() as usize];
            let inlined = frame["inlined"].as_array().into_iter().flatten();
            for function in inlined.chain([frame]) {
                names.push(function["function"].as_str().unwrap_or("-").to_owned());
            }
            next = &stack["parent"];
        }
        names
    }

    #[test]
    fn stacks_lead_from_each_event_to_the_names() {
        let recording = samples::recording();
        let document = document(&recording);
        let events = document["events"].as_array().unwrap();
        let summary = samples::summary(&recording);
        assert_eq!(events.len() as u64, summary.events);
        assert_eq!(document["summary"], serde_json::to_value(&summary).unwrap());
        assert_eq!(
            names(&document, &events[2]),
            [
                "operator new(unsigned long)",
                "std::vector<int, std::allocator<int> >::push_back(int&&)",
                "inner<int>(int)",
                "load;two words",
                "main"
            ]
        );
        assert_eq!(events[2]["op"], "operator new");
        assert_eq!(events[2]["caller"], "inner<int>(int)");
        // A release whose stack was not taken.
        assert_eq!(events[5]["stack"], Value::Null);
        assert_eq!(events[5]["temporary"], true);
        let nameless = events.iter().find(|event| event["caller"] == "???");
        assert!(nameless.is_some());
        assert_eq!(document["frames"][0]["truncated"], true);
        assert_eq!(document["frames"][6]["function"], Value::Null);
        assert_eq!(document["frames"][2]["address"], "0x1020");
        assert_eq!(
            document["certificate"]["not_followed"][0]["program"],
            "/bin/\x1bstatic"
        );
    }

    #[test]
    fn processes_have_their_modules_and_ends() {
        let document = document(&samples::recording());
        let exits: Vec<_> = document["processes"].as_array().unwrap().iter().collect();
        assert_eq!(exits[1]["exit"], json!({"exec": true}));
        assert_eq!(exits[3]["exit"], json!({"signal": 9}));
        assert_eq!(
            (&exits[1]["forked_from"], &exits[3]["forked_from"]),
            (&json!(0), &json!(0))
        );
        // The child ends by exec, and the next row is what it runs then.
        assert_eq!(exits[1]["end_event"], exits[2]["first_event"]);
        assert_eq!(exits[1]["end_row"], 2);
        assert_eq!(
            document["recorded"],
            json!({
                "stacks": "full", "mappings": true, "children": true, "may_drop": false
            })
        );
        assert_eq!(document["modules"][2]["process"], 2);
        assert_eq!(document["command"][1], "an \"arg\x1b[1m");
    }

    #[test]
    fn a_run_without_events_is_a_whole_document() {
        let document = document(&samples::empty());
        assert_eq!(document["events"], json!([]));
        assert_eq!(document["stacks"], json!([]));
    }
}
