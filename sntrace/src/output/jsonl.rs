//! JSON lines: one event an object a line, then the summary.
//!
//! ```text
//! {"time_ns":1500,"pid":7,"tid":7,"op":"malloc","size":72,"ptr":"0x55..","caller":"main","module":"/bin/p","file":"p.c","line":3}
//! {"summary":{"events":1,...}}
//! ```
//!
//! Every line stands for itself: no tables, so `grep`, `head` and `split` keep it valid. The last
//! line tells a complete file from one that was cut. `$defs/jsonl_line` of
//! `docs/sntrace.schema.json` describes a line.

use super::sites::SiteTexts;
use super::{Call, OutputError, Process, Sink, Summary, Writer, escape, event_object};
use crate::trace::Event;

/// The JSON lines of a run.
#[derive(Debug)]
pub struct JsonLines {
    writer: Writer,
    /// By site: all from the caller to the newline.
    tails: SiteTexts,
}

impl JsonLines {
    /// JSON lines to `writer`.
    #[must_use]
    pub fn new(writer: Writer) -> JsonLines {
        JsonLines {
            writer,
            tails: SiteTexts::default(),
        }
    }
}

impl Sink for JsonLines {
    fn event(
        &mut self,
        event: &Event,
        call: &Call<'_>,
        process: &Process,
    ) -> Result<(), OutputError> {
        let out = self.writer.buffer();
        event_object::open(out, event, call.op, process);
        out.extend_from_slice(self.tails.get(call.site, |tail| {
            tail.extend_from_slice(b",\"caller\":");
            if call.name.is_empty() {
                tail.extend_from_slice(b"null");
            } else {
                escape::json(tail, call.name);
                event_object::place(tail, call);
            }
            tail.extend_from_slice(b"}\n");
        }));
        self.writer.end_record()
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.writer.flush()
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        self.writer.flush()?;
        let out = self.writer.buffer();
        out.extend_from_slice(b"{\"summary\":");
        summary.json(out);
        out.extend_from_slice(b"}\n");
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::tests::{assert_valid, schema_of};
    use super::super::samples::{self, Shared};
    use super::*;
    use crate::trace::Op;

    #[test]
    fn every_line_is_an_object_and_the_last_the_summary() {
        let shared = Shared::default();
        let mut sink = JsonLines::new(shared.writer());
        let mut summary = Summary::default();
        for event in samples::one_of_each() {
            summary.event(&event);
            sink.event(&event, &samples::call(event.op), &samples::process())
                .unwrap();
        }
        let event = samples::event(Op::Free);
        let nameless = Call {
            name: "",
            site: 1,
            ..samples::call(Op::Free)
        };
        summary.event(&event);
        sink.event(&event, &nameless, &samples::process()).unwrap();
        sink.finish(&summary).unwrap();
        let validator = schema_of("#/$defs/jsonl_line");
        let text = shared.text();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for line in &lines {
            assert_valid(&validator, line);
        }
        assert_eq!(lines.len(), samples::one_of_each().count() + 2);
        assert_eq!(
            text.lines().next().unwrap(),
            "{\"time_ns\":1500,\"pid\":1234,\"tid\":1235,\"op\":\"malloc\",\"size\":72,\
             \"ptr\":\"0x5565282b12a0\",\"caller\":\"rt_arena_create_sized\",\
             \"module\":\"/usr/lib/libarena.so.1\",\"file\":\"/build/src/arena.c\",\"line\":123}"
        );
        assert_eq!(lines.last().unwrap()["summary"]["events"], lines.len() - 1);
    }
}
