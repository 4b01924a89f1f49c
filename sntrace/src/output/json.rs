//! The JSON trace: one document, streamed.
//!
//! ```text
//! {"format":"sntrace","version":1,"generator":"sntrace 0.1.0","command":[..],"platform":{..},
//! "started":"..","recorded":{..},"events":[
//! {"time_ns":..,..,"caller":"main","stack":0}
//! ,{..}
//! ],
//! "processes":[..],"modules":[..],"frames":[..],"stacks":[..],"summary":{..}}
//! ```
//!
//! `docs/sntrace.schema.json` describes it, and the tests validate what is written here against
//! it. Events go out as they come; the tables, which grow with processes, modules and distinct
//! callers only, follow at the end. An event a line lets line tools work on it, and lets a reader
//! of a document that was cut (the launcher was killed, the disk was full) keep what is there.
//!
//! With the caller alone, every stack is one frame without a parent: stack N is frame N. The
//! `address` of a frame is the return address of its first event; other calls in the same
//! function and line share the frame.

use super::event_object::{self, address};
use super::number::decimal;
use super::process_rows::{ProcessRows, strings};
use super::sites::SiteTexts;
use super::{Call, OutputError, Process, ProcessEnd, Sink, Summary, Writer, escape};
use crate::trace::{Event, Header, Module, Recorded};

/// Version of the JSON trace. It grows when a key changes its meaning or goes away; new keys may
/// come within a version.
pub const VERSION: u64 = 1;

/// The JSON trace of a run.
#[derive(Debug)]
pub struct Json {
    writer: Writer,
    /// What comes before the next event: a blank, then commas.
    separator: &'static [u8],
    /// By site: all from the caller to the newline, with the stack's number.
    tails: SiteTexts,
    /// Frames written so far.
    frame_count: u64,
    /// The frames table's rows.
    frames: Vec<u8>,
    /// The modules table's rows.
    modules: Vec<u8>,
    processes: ProcessRows,
    /// Events written so far.
    events: u64,
}

impl Json {
    /// A trace to `writer`. Writes the header at once: a destination that takes nothing is found
    /// before the program starts.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(
        mut writer: Writer,
        header: &Header,
        recorded: &Recorded,
    ) -> Result<Json, OutputError> {
        open_document(writer.buffer(), header, recorded);
        Ok(Json {
            writer,
            separator: b"",
            tails: SiteTexts::default(),
            frame_count: 0,
            frames: Vec::new(),
            modules: Vec::new(),
            processes: ProcessRows::default(),
            events: 0,
        })
    }
}

impl Sink for Json {
    fn process_begin(&mut self, process: &Process) -> Result<(), OutputError> {
        self.processes.begin(process, self.events);
        Ok(())
    }

    fn module_add(&mut self, process: &Process, module: &Module) -> Result<(), OutputError> {
        // A module of a process that never began would be a bug upstream; it is left out.
        let Some(row) = self.processes.running(process.image) else {
            return Ok(());
        };
        write_module(&mut self.modules, module, row);
        Ok(())
    }

    fn event(
        &mut self,
        event: &Event,
        call: &Call<'_>,
        process: &Process,
    ) -> Result<(), OutputError> {
        let out = self.writer.buffer();
        out.extend_from_slice(self.separator);
        self.separator = b",";
        self.events += 1;
        event_object::open(out, event, call.op, process);
        if let Some(row) = self.processes.needed(process.image) {
            write_process(out, row);
        }
        let (frames, frame_count) = (&mut self.frames, &mut self.frame_count);
        out.extend_from_slice(self.tails.get(call.site, |tail| {
            if call.name.is_empty() {
                tail.extend_from_slice(b",\"caller\":null,\"stack\":null}\n");
                return;
            }
            tail.extend_from_slice(b",\"caller\":");
            escape::json(tail, call.name);
            tail.extend_from_slice(b",\"stack\":");
            decimal(tail, *frame_count);
            tail.extend_from_slice(b"}\n");
            *frame_count += 1;
            write_frame(frames, call);
        }));
        self.writer.end_record()
    }

    fn process_end(&mut self, process: &Process, end: ProcessEnd) -> Result<(), OutputError> {
        self.processes.end(process.image, end, self.events);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.writer.flush()
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        // Apart from the events, so that the count of lost ones stays exact.
        self.writer.flush()?;
        let writer = &mut self.writer;
        writer.buffer().extend_from_slice(b"],\n\"processes\":[");
        for at in 0..self.processes.len() {
            let out = writer.buffer();
            out.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
            self.processes.write(out, at);
            writer.relieve()?;
        }
        writer.buffer().extend_from_slice(b"],\n\"modules\":[");
        writer.buffer().extend_from_slice(&self.modules);
        writer.relieve()?;
        writer.buffer().extend_from_slice(b"],\n\"frames\":[");
        writer.buffer().extend_from_slice(&self.frames);
        writer.relieve()?;
        writer.buffer().extend_from_slice(b"],\n\"stacks\":[");
        for frame in 0..self.frame_count {
            let out = writer.buffer();
            out.extend_from_slice(if frame == 0 { b"\n" } else { b",\n" });
            out.extend_from_slice(b"{\"frame\":");
            decimal(out, frame);
            out.extend_from_slice(b",\"parent\":null}");
            writer.relieve()?;
        }
        let out = writer.buffer();
        out.extend_from_slice(b"],\n\"summary\":");
        summary.json(out);
        out.extend_from_slice(b"}\n");
        writer.flush()
    }
}

/// Appends the document up to its events.
pub(crate) fn open_document(out: &mut Vec<u8>, header: &Header, recorded: &Recorded) {
    out.extend_from_slice(b"{\"format\":\"sntrace\",\"version\":");
    decimal(out, VERSION);
    out.extend_from_slice(b",\"generator\":");
    escape::json(out, concat!("sntrace ", env!("CARGO_PKG_VERSION")));
    out.extend_from_slice(b",\"command\":");
    strings(out, &header.command);
    out.extend_from_slice(b",\"platform\":{\"os\":");
    escape::json(out, &header.os);
    out.extend_from_slice(b",\"arch\":");
    escape::json(out, &header.arch);
    out.extend_from_slice(b"},\n\"started\":");
    escape::json(out, &header.started);
    out.extend_from_slice(b",\"recorded\":");
    // Writing plain values to memory does not fail.
    let _ = serde_json::to_writer(&mut *out, recorded);
    out.extend_from_slice(b",\"events\":[\n");
}

/// Appends an event's row of `processes`.
#[cold]
pub(crate) fn write_process(out: &mut Vec<u8>, row: usize) {
    out.extend_from_slice(b",\"process\":");
    decimal(out, row as u64);
}

/// Appends a row of `modules`, of the process in this row of `processes`.
pub(crate) fn write_module(out: &mut Vec<u8>, module: &Module, process: usize) {
    next_row(out);
    out.extend_from_slice(b"{\"path\":");
    escape::json(out, &escape::lossy(&module.path));
    out.extend_from_slice(b",\"build_id\":");
    if module.build_id.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'"');
        for byte in &module.build_id {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.push(b'"');
    }
    address(out, b",\"start\":\"", module.start);
    address(out, b",\"end\":\"", module.end);
    out.extend_from_slice(b",\"process\":");
    decimal(out, process as u64);
    out.push(b'}');
}

#[cold]
fn write_frame(out: &mut Vec<u8>, call: &Call<'_>) {
    next_row(out);
    out.extend_from_slice(b"{\"function\":");
    match call.function {
        Some(function) => escape::json(out, function),
        None => out.extend_from_slice(b"null"),
    }
    event_object::place(out, call);
    address(out, b",\"address\":\"", call.address);
    if call.module.is_some() {
        address(out, b",\"file_address\":\"", call.file_address);
    }
    out.push(b'}');
}

fn next_row(out: &mut Vec<u8>) {
    out.extend_from_slice(if out.is_empty() { b"\n" } else { b",\n" });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::samples::{self, Shared};
    use super::*;
    use crate::trace::{Exit, Op};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const SCHEMA: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/sntrace.schema.json"
    ));

    /// The schema as a whole (`#`) or one of its definitions.
    pub fn schema_of(reference: &str) -> jsonschema::Validator {
        let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
        if reference != "#" {
            schema = json!({
                "$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": reference
            });
        }
        jsonschema::validator_for(&schema).unwrap()
    }

    pub fn assert_valid(validator: &jsonschema::Validator, document: &Value) {
        let errors: Vec<String> = validator
            .iter_errors(document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?} in {document:#}");
    }

    fn trace(write: impl FnOnce(&mut Json, &Process)) -> Value {
        let shared = Shared::default();
        let mut sink =
            Json::new(shared.writer(), &samples::header(), &Recorded::default()).unwrap();
        let process = samples::process();
        sink.process_begin(&process).unwrap();
        write(&mut sink, &process);
        sink.finish(&Summary::default()).unwrap();
        let document = serde_json::from_str(&shared.text()).unwrap();
        assert_valid(&schema_of("#"), &document);
        document
    }

    fn ended(exit: Exit) -> ProcessEnd {
        ProcessEnd {
            exit,
            live_blocks: 0,
            live_bytes: 0,
        }
    }

    #[test]
    fn a_trace_of_every_op_keeps_to_the_schema() {
        let document = trace(|sink, process| {
            sink.module_add(process, &samples::module()).unwrap();
            for event in samples::one_of_each() {
                sink.event(&event, &samples::call(event.op), process)
                    .unwrap();
                let told = Event {
                    released: Some(72),
                    temporary: true,
                    ..event
                };
                let unknown = Call {
                    name: "???",
                    function: None,
                    module: None,
                    location: None,
                    address: 0,
                    file_address: 0,
                    site: 5,
                    op: event.op,
                };
                sink.event(&told, &unknown, process).unwrap();
            }
            sink.process_end(process, ended(Exit::Code(3))).unwrap();
        });
        assert_eq!(document["processes"][0]["exit"], json!({"code": 3}));
        assert_eq!(document["processes"][0]["command"][1], "an \"arg\"");
        assert_eq!(document["modules"][0]["path"], "/usr/bin/pro\\xffgram");
        assert_eq!(document["modules"][0]["build_id"], "0aff");
        // Two callers, numbered as they came, whatever the symbolizer's numbers.
        assert_eq!(document["events"][0]["stack"], 0);
        assert_eq!(document["events"][1]["stack"], 1);
        assert_eq!(
            document["frames"],
            json!([
                {"function": "rt_arena_create_sized", "module": "/usr/lib/libarena.so.1",
                 "file": "/build/src/arena.c", "line": 123, "address": "0x556528279139",
                 "file_address": "0x9139"},
                {"function": null, "address": "0x0"},
            ])
        );
        assert_eq!(document["stacks"][1], json!({"frame": 1, "parent": null}));
    }

    #[test]
    fn without_callers_there_are_no_frames() {
        let document = trace(|sink, process| {
            let call = Call {
                name: "",
                ..samples::call(Op::Free)
            };
            sink.event(&samples::event(Op::Free), &call, process)
                .unwrap();
        });
        assert_eq!(document["events"][0]["caller"], Value::Null);
        assert_eq!(
            (&document["frames"], &document["stacks"]),
            (&json!([]), &json!([]))
        );
    }

    #[test]
    fn the_schema_refuses_what_is_not_a_trace() {
        let whole = trace(|sink, process| {
            sink.event(
                &samples::event(Op::Calloc),
                &samples::call(Op::Calloc),
                process,
            )
            .unwrap();
        });
        let validator = schema_of("#");
        for (at, value) in [
            ("/version", json!(2)),
            ("/summary/events", json!(-1)),
            ("/events/0/ptr", json!(1)),
            ("/events/0/ptr", json!("0xABC")),
            ("/events/0/op", json!("realloc")),
            ("/events/0/stack", json!("0")),
            ("/processes/0/exit", json!({"code": 0, "signal": 9})),
            ("/events/0", json!({})),
        ] {
            let mut broken = whole.clone();
            *broken.pointer_mut(at).unwrap() = value;
            assert!(!validator.is_valid(&broken), "{at}");
        }
        let mut unheard_of = whole;
        unheard_of["events"][0]["colour"] = json!("red");
        assert!(!validator.is_valid(&unheard_of));
    }

    #[test]
    fn a_run_without_events_is_a_whole_document() {
        let document = trace(|_, _| {});
        assert_eq!(document["events"], json!([]));
        assert_eq!(document["processes"][0]["exit"], Value::Null);
    }

    #[test]
    fn processes_of_one_id_are_told_apart_by_their_row() {
        let document = trace(|sink, process| {
            let twin = Process {
                image: crate::trace::ImageId(2),
                ..process.clone()
            };
            let event = |sink: &mut Json, process| {
                let event = samples::event(Op::Malloc);
                sink.event(&event, &samples::call(Op::Malloc), process)
                    .unwrap();
            };
            event(sink, process);
            sink.process_begin(&twin).unwrap();
            event(sink, process);
            event(sink, &twin);
            sink.process_end(process, ended(Exit::Exec)).unwrap();
            event(sink, &twin);
        });
        let rows = [0, 1, 2, 3].map(|at: usize| document["events"][at]["process"].as_u64());
        assert_eq!(rows, [None, Some(0), Some(1), None]);
        assert_eq!(document["processes"][1]["first_event"], 1);
        assert_eq!(document["processes"][0]["end_event"], 3);
        assert_eq!(document["recorded"]["stacks"], "full");
    }

    #[test]
    fn every_way_to_end_has_its_form() {
        for (exit, expected) in [
            (Exit::Signal(9), json!({"signal": 9})),
            (Exit::Exec, json!({"exec": true})),
            (Exit::Unknown, Value::Null),
        ] {
            let document = trace(|sink, process| sink.process_end(process, ended(exit)).unwrap());
            assert_eq!(document["processes"][0]["exit"], expected);
        }
    }

    #[test]
    fn an_event_has_the_fields_of_its_function() {
        let keys = |event: Event| -> Vec<String> {
            let document = trace(|sink, process| {
                sink.event(&event, &samples::call(event.op), process)
                    .unwrap();
            });
            let event = document["events"][0].as_object().unwrap();
            let common = ["time_ns", "pid", "tid", "op", "ptr", "caller", "stack"];
            event
                .keys()
                .filter(|key| !common.contains(&key.as_str()))
                .cloned()
                .collect()
        };
        assert_eq!(keys(samples::event(Op::Malloc)), ["size"]);
        assert_eq!(keys(samples::event(Op::Calloc)), ["count", "size"]);
        assert_eq!(keys(samples::event(Op::Realloc)), ["old_ptr", "size"]);
        assert_eq!(
            keys(samples::event(Op::Reallocarray)),
            ["count", "old_ptr", "size"]
        );
        assert_eq!(keys(samples::event(Op::Memalign)), ["alignment", "size"]);
        assert_eq!(keys(samples::event(Op::Free)), [""; 0]);
        assert_eq!(
            keys(Event {
                size: 0,
                ..samples::event(Op::Delete)
            }),
            [""; 0]
        );
        assert_eq!(keys(samples::event(Op::Brk)), ["growth"]);
        assert_eq!(keys(samples::event(Op::Mmap)), ["flags", "prot", "size"]);
    }

    proptest! {
        #[test]
        fn any_names_read_back(name: String, file: String, argument: String, path: Vec<u8>, size: u64) {
            // No name means that callers were not asked for.
            prop_assume!(!name.is_empty());
            let shared = Shared::default();
            let header = Header { command: vec![argument.clone()], ..samples::header() };
            let mut sink = Json::new(shared.writer(), &header, &Recorded::default()).unwrap();
            let process = samples::process();
            sink.process_begin(&process).unwrap();
            sink.module_add(&process, &Module { path, ..samples::module() }).unwrap();
            let event = Event { size, ..samples::event(Op::Malloc) };
            let call = Call { name: &name, location: Some((&file, 1)), ..samples::call(Op::Malloc) };
            sink.event(&event, &call, &process).unwrap();
            sink.finish(&Summary::default()).unwrap();
            let document: Value = serde_json::from_str(&shared.text()).unwrap();
            prop_assert_eq!(&document["events"][0]["caller"], &json!(name));
            prop_assert_eq!(&document["events"][0]["size"], &json!(size));
            prop_assert_eq!(&document["frames"][0]["file"], &json!(file));
            prop_assert_eq!(&document["command"][0], &json!(argument));
        }
    }
}
