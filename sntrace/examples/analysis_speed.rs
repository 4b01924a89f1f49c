//! How long the analysis of a large trace takes, and how much memory: a made-up one, so that
//! nothing but the analysis is measured.
//!
//! ```text
//! cargo run --release -p sntrace --example analysis_speed -- 100000000 100000 20000
//! ```
//!
//! Arguments: events, live blocks, distinct stacks. Four threads allocate and free by turns: half of the
//! blocks are freed at once, the others replace an older one at random. The same events are read once
//! without any analysis, so that the price of making them up can be taken away.

use std::hint::black_box;
use std::time::Instant;

use sntrace::analyze::{Analysis, AnalysisOptions};
use sntrace::trace::{
    Certificate, Event, Exit, Header, ImageId, Item, Op, Recorded, Recording, Site, SiteId,
    StackId, Tables, TraceError,
};

struct MadeUp {
    header: Header,
    tables: Tables,
    certificate: Certificate,
    recorded: Recorded,
    events: u64,
    live: u64,
}

impl Recording for MadeUp {
    fn header(&self) -> &Header {
        &self.header
    }
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }
    fn generator(&self) -> &str {
        "made up"
    }
    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        each(&Item::Process {
            image: ImageId(1),
            time_ns: 0,
            pid: 1,
            ppid: 0,
            forked_from: None,
            executable: b"made-up".to_vec(),
            command: vec![b"made-up".to_vec()],
        });
        let stacks = self.tables.stacks.len() as u64;
        let mut held = vec![0_u64; self.live as usize];
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        // Addresses come back soon, as an allocator's do.
        let mut unused: Vec<u64> = (1..self.live + 64)
            .map(|n| 0x5555_0000_0000 + n * 48)
            .collect();
        let mut event = Event {
            op: Op::Malloc,
            time_ns: 0,
            image: ImageId(1),
            tid: 1,
            block: 0,
            size: 0,
            count: 1,
            alignment: 0,
            old_block: 0,
            caller: 0,
            frames: (0, 0),
            stack: StackId::EMPTY,
            truncated: false,
            released: None,
            temporary: false,
        };
        let mut made = 0;
        while made < self.events {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            event.tid = 1 + (made >> 6 & 3) as u32;
            event.time_ns += 20;
            // Few stacks make most of the events.
            let skewed = ((random >> 40) * (random >> 20 & 0xff_ffff)) >> 24;
            event.stack = StackId(((skewed * stacks) >> 24) as u32);
            (event.op, event.size) = (Op::Malloc, random & 0xff);
            (event.released, event.temporary) = (None, false);
            event.block = unused.pop().unwrap_or(16);
            each(&Item::Event(event));
            made += 1;
            let place = (random >> 8) as usize % held.len();
            let freed = match random & 0x100 {
                0 => event.block,
                _ => std::mem::replace(&mut held[place], event.block),
            };
            if freed != 0 {
                event.time_ns += 20;
                (event.op, event.block, event.released) = (Op::Free, freed, Some(event.size));
                unused.push(freed);
                each(&Item::Event(event));
                made += 1;
            }
        }
        each(&Item::Ended {
            image: ImageId(1),
            exit: Exit::Code(0),
            live_blocks: 0,
            live_bytes: 0,
        });
        Ok(())
    }
}

fn main() -> Result<(), TraceError> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| {
        arguments
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(usual)
    };
    let (events, live, stacks): (u64, u64, u64) =
        (number(100_000_000), number(100_000), number(20_000));
    let mut tables = Tables {
        sites: vec![Site::default(); 1000],
        ..Tables::default()
    };
    for number in 0..stacks {
        let parent = StackId((number / 4) as u32);
        let site = SiteId(1 + (number % 999) as u32);
        tables.stacks.intern(parent, site);
    }
    let made_up = MadeUp {
        header: Header::now(vec!["made-up".into()]),
        tables,
        certificate: Certificate::default(),
        recorded: Recorded::default(),
        events,
        live: live.max(1),
    };
    let begin = Instant::now();
    made_up.replay(&mut |item| {
        black_box(item);
    })?;
    let alone = begin.elapsed();
    let begin = Instant::now();
    let analysis = Analysis::of(&made_up, &AnalysisOptions::default())?;
    let both = begin.elapsed();
    let events = analysis.totals.events;
    println!(
        "{events} events: {:.1} ns each to make up, {:.1} ns more to analyse; peak {} bytes",
        alone.as_nanos() as f64 / events as f64,
        both.saturating_sub(alone).as_nanos() as f64 / events as f64,
        analysis.totals.peak_bytes,
    );
    Ok(())
}
