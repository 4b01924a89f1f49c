//! What a trace file takes for the events of a real run: bytes by column, and time.
//!
//!     sntrace --jsonl events.jsonl -o /dev/null -- PROGRAM
//!     cargo run --release -p sntrace --example measure_trace_file events.jsonl
//!
//! JSON lines have the caller only, so an event's stack is its caller and line here, and stacks
//! take less than in a recording.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Instant;

use serde_json::Value;
use sntrace::trace::Recorded;
use sntrace::trace::file::{TraceFile, TraceWriter, dump};
use sntrace::trace::{
    Certificate, Event, Header, ImageId, Item, Op, Recording as _, SiteId, StackId, StackNode,
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which JSON lines?")?;
    let mut stacks = HashMap::new();
    let mut items = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        items.extend(event(&serde_json::from_str(&line?)?, &mut stacks).map(Item::Event));
    }

    let begun = Instant::now();
    let header = Header::now(Vec::new());
    let mut writer = TraceWriter::new(Vec::new(), &header, &Recorded::default())?;
    for number in 1..=stacks.len() as u32 {
        writer.define_site(None, number.into())?;
        let (parent, site) = (StackId::EMPTY, SiteId(number));
        writer.define_stack(StackNode { parent, site })?;
    }
    for item in &items {
        writer.item(item)?;
    }
    let bytes = writer.finish(&[], &Certificate::default())?;
    let (written, length) = (begun.elapsed(), bytes.len());

    let file = TraceFile::from_bytes("measured", bytes)?;
    let begun = Instant::now();
    let mut at = 0;
    let mut differ = 0_usize;
    file.replay(&mut |item| {
        differ += usize::from(!same(item, items.get(at)));
        at += 1;
    })?;
    let read = begun.elapsed();

    let count = items.len().max(1);
    let each = |time: std::time::Duration| time.as_nanos() as f64 / count as f64;
    println!("{count} events, {} stacks, {differ} differ", stacks.len());
    println!("{:.3} bytes an event", length as f64 / count as f64);
    println!(
        "{:.0} ns to write, {:.0} ns to read",
        each(written),
        each(read)
    );
    let mut lines = Vec::new();
    dump(&file, &mut lines)?;
    let lines = String::from_utf8(lines)?;
    lines
        .lines()
        .filter(|line| line.starts_with("column "))
        .for_each(|line| println!("{line}"));
    Ok(())
}

/// The event that a JSON line is, if it is one.
fn event(line: &Value, stacks: &mut HashMap<String, u32>) -> Option<Event> {
    let name = line.get("op")?.as_str()?;
    let number = |field: &str| line.get(field).and_then(Value::as_u64);
    let address = |field: &str| {
        let digits = line.get(field)?.as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    };
    let place = format!("{name} {:?} {:?}", line.get("caller"), line.get("line"));
    let next = stacks.len() as u32 + 1;
    Some(Event {
        op: *Op::ALL.iter().find(|op| op.name() == name)?,
        time_ns: number("time_ns")?,
        image: ImageId(number("pid")? as u32),
        tid: number("tid")? as u32,
        block: address("ptr").unwrap_or(0),
        size: number("size").unwrap_or(0),
        count: number("count").unwrap_or(1),
        alignment: number("alignment").unwrap_or(0),
        old_block: address("old_ptr").unwrap_or(0),
        caller: 0,
        frames: (0, 0),
        stack: StackId(*stacks.entry(place).or_insert(next)),
        truncated: false,
        released: None,
        temporary: false,
    })
}

/// Whether an event was read as it was written, but for what is worked out.
fn same(read: &Item, written: Option<&Item>) -> bool {
    let (Item::Event(read), Some(Item::Event(written))) = (read, written) else {
        return false;
    };
    let worked_out = Event {
        released: read.released,
        temporary: read.temporary,
        ..*written
    };
    *read == worked_out
}
