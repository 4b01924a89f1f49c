//! The rows of a JSON trace's `processes`, gathered while events go out.
//!
//! A row tells between which events its process began and ended, so that a reader can put both back
//! where they were: the order decides what a forked child inherits, and when most was live.
//!
//! ```text
//! {"pid":1235,"ppid":1234,"start_ns":1500,"executable":"..","command":[..],"forked_from":0,
//! "first_event":17,"exit":{"code":0},"end_event":90,"end_row":2,"live_blocks":1,"live_bytes":72}
//! ```
//!
//! Rows stand in the order of the beginnings. Between the same two events there may be beginnings and
//! ends: `end_row` says how many rows had begun before an end.

use std::collections::HashMap;

use super::number::decimal;
use super::{Process, ProcessEnd, escape};
use crate::trace::{Exit, ImageId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ProcessRows {
    rows: Vec<Row>,
    /// By image, whether it still runs or not.
    numbers: HashMap<ImageId, usize>,
    /// By process id, how many images run that have it.
    running: HashMap<u32, u32>,
    /// How many process ids several running images have.
    shared: u32,
}

#[derive(Debug)]
struct Row {
    pid: u32,
    /// The object up to its end, still open.
    head: Vec<u8>,
    end: Option<Ended>,
}

#[derive(Debug)]
struct Ended {
    end: ProcessEnd,
    events: u64,
    rows: usize,
}

impl ProcessRows {
    /// A process begins, before the event with this index.
    pub fn begin(&mut self, process: &Process, event: u64) {
        let mut head = Vec::new();
        number(&mut head, b"{\"pid\":", process.pid.into());
        number(&mut head, b",\"ppid\":", process.ppid.into());
        number(&mut head, b",\"start_ns\":", process.time_ns);
        head.extend_from_slice(b",\"executable\":");
        escape::json(&mut head, &process.executable);
        head.extend_from_slice(b",\"command\":");
        strings(&mut head, &process.command);
        let parent = process.forked_from;
        if let Some(&row) = parent.and_then(|parent| self.numbers.get(&parent)) {
            number(&mut head, b",\"forked_from\":", row as u64);
        }
        number(&mut head, b",\"first_event\":", event);
        // An image that begins twice is one that was lost sight of.
        self.leave(process.image);
        self.numbers.insert(process.image, self.rows.len());
        self.rows.push(Row {
            pid: process.pid,
            head,
            end: None,
        });
        let running = self.running.entry(process.pid).or_default();
        *running += 1;
        self.shared += u32::from(*running == 2);
    }

    /// A process ends, before the event with this index.
    pub fn end(&mut self, image: ImageId, end: ProcessEnd, event: u64) {
        let Some(row) = self.running(image) else {
            return;
        };
        self.leave(image);
        self.rows[row].end = Some(Ended {
            end,
            events: event,
            rows: self.rows.len(),
        });
    }

    /// The row of an image that runs.
    pub fn running(&self, image: ImageId) -> Option<usize> {
        let row = *self.numbers.get(&image)?;
        self.rows.get(row)?.end.is_none().then_some(row)
    }

    /// The row of an image where the process id alone does not tell it.
    #[inline]
    pub fn needed(&self, image: ImageId) -> Option<usize> {
        match self.shared {
            0 => None,
            _ => self.running(image),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Appends a row.
    pub fn write(&self, out: &mut Vec<u8>, at: usize) {
        let Some(row) = self.rows.get(at) else { return };
        out.extend_from_slice(&row.head);
        let Some(Ended { end, events, rows }) = &row.end else {
            out.extend_from_slice(b",\"exit\":null}");
            return;
        };
        let exit = match end.exit {
            Exit::Code(code) => format!(",\"exit\":{{\"code\":{code}}}"),
            Exit::Signal(signal) => format!(",\"exit\":{{\"signal\":{signal}}}"),
            Exit::Exec => ",\"exit\":{\"exec\":true}".into(),
            Exit::Unknown => ",\"exit\":null".into(),
        };
        out.extend_from_slice(exit.as_bytes());
        number(out, b",\"end_event\":", *events);
        number(out, b",\"end_row\":", *rows as u64);
        number(out, b",\"live_blocks\":", end.live_blocks);
        number(out, b",\"live_bytes\":", end.live_bytes);
        out.push(b'}');
    }

    /// An image runs no more, as far as process ids are concerned.
    fn leave(&mut self, image: ImageId) {
        if let Some(row) = self.running(image)
            && let Some(running) = self.running.get_mut(&self.rows[row].pid)
        {
            *running -= 1;
            self.shared -= u32::from(*running == 1);
        }
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    decimal(out, value);
}

/// Appends an array of strings.
pub(crate) fn strings(out: &mut Vec<u8>, strings: &[String]) {
    out.push(b'[');
    for (at, string) in strings.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        escape::json(out, string);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use serde_json::{Value, json};

    fn process(image: u32, pid: u32, forked_from: Option<u32>) -> Process {
        Process {
            image: ImageId(image),
            pid,
            forked_from: forked_from.map(ImageId),
            ..samples::process()
        }
    }

    fn end(exit: Exit) -> ProcessEnd {
        ProcessEnd {
            exit,
            live_blocks: 2,
            live_bytes: 30,
        }
    }

    fn row(rows: &ProcessRows, at: usize) -> Value {
        let mut out = Vec::new();
        rows.write(&mut out, at);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_row_tells_where_its_process_began_and_ended() {
        let mut rows = ProcessRows::default();
        rows.begin(&process(7, 10, None), 0);
        rows.begin(&process(9, 11, Some(7)), 5);
        rows.end(ImageId(7), end(Exit::Signal(9)), 5);
        rows.begin(&process(3, 12, Some(7)), 5);
        // Of nobody.
        rows.end(ImageId(8), end(Exit::Exec), 6);
        rows.begin(&process(4, 13, Some(1000)), 6);
        assert_eq!(rows.len(), 4);
        let first = row(&rows, 0);
        assert_eq!(first["exit"], json!({"signal": 9}));
        let keys = ["first_event", "end_event", "end_row", "live_blocks"];
        assert_eq!(keys.map(|key| first[key].as_u64()), [0, 5, 2, 2].map(Some));
        assert_eq!(first["live_bytes"], 30);
        assert_eq!(row(&rows, 1)["forked_from"], 0);
        assert_eq!(row(&rows, 2)["forked_from"], 0);
        for absent in ["forked_from", "end_event", "end_row", "live_blocks"] {
            assert_eq!(row(&rows, 3).get(absent), None);
        }
    }

    #[test]
    fn a_process_id_that_two_have_is_not_enough() {
        let mut rows = ProcessRows::default();
        rows.begin(&process(1, 10, None), 0);
        rows.begin(&process(2, 11, None), 0);
        assert_eq!(rows.needed(ImageId(2)), None);
        rows.begin(&process(3, 10, None), 0);
        assert_eq!(rows.needed(ImageId(1)), Some(0));
        assert_eq!(rows.needed(ImageId(3)), Some(2));
        rows.end(ImageId(1), end(Exit::Exec), 4);
        assert_eq!(rows.needed(ImageId(3)), None);
        // It begins again without an end.
        rows.begin(&process(3, 10, None), 5);
        assert_eq!(
            (rows.needed(ImageId(3)), rows.running(ImageId(3))),
            (None, Some(3))
        );
    }
}
