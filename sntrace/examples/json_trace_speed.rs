//! How long a JSON trace takes to be opened and replayed.
//!
//! ```text
//! sntrace --json run.json -o /dev/null -- PROGRAM
//! cargo run --release -p sntrace --example json_trace_speed -- run.json
//! ```
//!
//! Without a file, one of ten million made-up events is written to memory and read there.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use sntrace::trace::Recording as _;
use sntrace::trace::json::JsonTrace;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let document = match &path {
        Some(_) => Vec::new(),
        None => made_up(10_000_000),
    };
    let mut bytes = document.len() as u64;
    let begun = Instant::now();
    let trace = match &path {
        Some(path) => {
            bytes = std::fs::metadata(path)?.len();
            JsonTrace::open(Path::new(path))?
        }
        None => JsonTrace::from_bytes("made up", document)?,
    };
    let opened = begun.elapsed();
    let events = trace.certificate().events;
    let begun = Instant::now();
    trace.replay(&mut |item| {
        black_box(item);
    })?;
    let replayed = begun.elapsed();
    println!(
        "{bytes} bytes, {events} events: opened in {opened:.2?} ({:.0} MB/s), replayed in {replayed:.2?} \
         ({:.2} M events/s)",
        bytes as f64 / 1e6 / opened.as_secs_f64(),
        events as f64 / 1e6 / replayed.as_secs_f64(),
    );
    Ok(())
}

fn made_up(events: u64) -> Vec<u8> {
    let mut out = String::from(
        r#"{"format":"sntrace","version":1,"command":[],"platform":{"os":"linux","arch":"x86_64"},
"started":"2026-11-22T20:38:53Z","events":["#,
    );
    for number in 0..events {
        let separator = if number == 0 { "\n" } else { "\n," };
        out += separator;
        let address = 0x5565_2827_0000 + number % 4096 * 48;
        let time = number * 731;
        out += &format!(
            r#"{{"time_ns":{time},"pid":1234,"tid":1235,"op":"malloc","size":{},"ptr":"{address:#x}","caller":"std::vector<int, std::allocator<int> >::push_back(int&&)","stack":0}}"#,
            number % 700
        );
    }
    out += r#"],"processes":[],"modules":[],"frames":[{"function":"main","address":"0x10"}],
"stacks":[{"frame":0,"parent":null}],"summary":{"events":"#;
    out += &format!("{events}}}}}");
    out.into_bytes()
}
