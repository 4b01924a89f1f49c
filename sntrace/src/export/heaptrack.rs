//! heaptrack: what its interpreter writes, for `heaptrack_print` and `heaptrack_gui`.
//!
//! ```text
//! v 10200 2                 written as by version 1.2.0, file format 2
//! X ./program arg           the command
//! I 1000 0                  page size, pages
//! s main                    string 1
//! i 1010 2 1 3 a            place 1: address, module, then function, file, line of each function
//! t 1 0                     trace 1: place 1, called from nowhere
//! a 64 1                    allocation 0: 100 bytes by trace 1
//! + 0                       one such block begins
//! - 0                       one ends
//! c a                       10 ms since the start
//! ```
//!
//! Numbers are hexadecimal; strings, places and traces count from 1, allocations from 0. Blocks have no
//! identity: an end names the size and the trace that began it. Format 2 is read by 1.2 and later; what
//! is new in 3 (strings with their length) is not needed, as no string here has a line break.
//!
//! Every allocation is written as it is read. What is held is what the format lists once: strings,
//! places, traces, and each size at each trace.
//!
//! The format knows allocations only, so blocks that a forked child has from its parent are written
//! as allocations under `[inherited by fork]`: the peak and the leaks are those of a report, and the
//! calls too, without those. heaptrack takes for temporary what ends right after it began, whatever other
//! threads do; a report goes by thread. There is no resident size. The certificate stands in
//! comments.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::output::{Summary, escape};
use crate::symbolize::hash::AddressMap;
use crate::trace::{Item, Recording, SiteId, StackId, Tables};

use super::ledger::{Block, Change, End, Ledger};
use super::{Exporter, frames, provenance};

/// How often the time is written, in milliseconds: as heaptrack itself does.
const TIME_STEP_MS: u64 = 10;

/// An exporter of it.
pub struct Heaptrack<'r> {
    tables: &'r Tables,
    ledger: Ledger,
    changes: Vec<Change>,
    strings: HashMap<Arc<str>, usize>,
    /// By site: its place. Place 0 is none.
    places: AddressMap<SiteId, usize>,
    place_count: usize,
    /// By stack, and whether it inherits.
    traces: AddressMap<(StackId, bool), usize>,
    trace_count: usize,
    /// By size and trace.
    allocations: AddressMap<(u64, usize), usize>,
    /// The place of blocks that were not allocated.
    inherited: Option<usize>,
    written_ms: u64,
}

impl<'r> Heaptrack<'r> {
    /// Writes the head.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn begin(recording: &'r dyn Recording, out: &mut dyn Write) -> io::Result<Self> {
        writeln!(out, "v 10200 2")?;
        for line in provenance::lines(recording) {
            writeln!(out, "# {line}")?;
        }
        writeln!(out, "X {}", provenance::command(recording))?;
        writeln!(out, "I 1000 0")?;
        Ok(Self {
            tables: recording.tables(),
            ledger: Ledger::default(),
            changes: Vec::new(),
            strings: HashMap::new(),
            places: AddressMap::default(),
            place_count: 0,
            traces: AddressMap::default(),
            trace_count: 0,
            allocations: AddressMap::default(),
            inherited: None,
            written_ms: 0,
        })
    }

    fn change(&mut self, change: &Change, out: &mut dyn Write) -> io::Result<()> {
        match change {
            Change::Begin(block) => {
                let allocation = self.allocation(block, out)?;
                writeln!(out, "+ {allocation:x}")
            }
            // What is live at the end of the file is what leaked.
            Change::End {
                end: End::Leaked, ..
            } => Ok(()),
            Change::End { block, .. } => {
                let allocation = self.allocation(block, out)?;
                writeln!(out, "- {allocation:x}")
            }
        }
    }

    fn allocation(&mut self, block: &Block, out: &mut dyn Write) -> io::Result<usize> {
        let trace = self.trace(block.stack, block.inherited, out)?;
        let key = (block.bytes, trace);
        if let Some(&known) = self.allocations.get(&key) {
            return Ok(known);
        }
        writeln!(out, "a {:x} {trace:x}", block.bytes)?;
        let number = self.allocations.len();
        self.allocations.insert(key, number);
        Ok(number)
    }

    fn trace(&mut self, stack: StackId, inherited: bool, out: &mut dyn Write) -> io::Result<usize> {
        let key = (stack, inherited);
        if let Some(&known) = self.traces.get(&key) {
            return Ok(known);
        }
        let number = if inherited {
            let parent = self.trace(stack, false, out)?;
            let place = match self.inherited {
                Some(known) => known,
                None => {
                    let name = self.string(frames::INHERITED, out)?;
                    let place = self.place(format_args!("0 0 {name:x} 0 0"), out)?;
                    *self.inherited.insert(place)
                }
            };
            self.node(place, parent, out)?
        } else {
            // From what is known outwards to the stack itself. The empty one is a place without a name.
            let mut missing = vec![];
            let mut parent = 0;
            let mut next = stack;
            while let Some(node) = self.tables.stacks.node(next) {
                if let Some(&known) = self.traces.get(&(next, false)) {
                    parent = known;
                    break;
                }
                missing.push((next, node.site));
                next = node.parent;
            }
            if missing.is_empty() {
                missing.push((stack, SiteId(u32::MAX)));
            }
            for (stack, site) in missing.into_iter().rev() {
                let place = self.site(site, out)?;
                parent = self.node(place, parent, out)?;
                self.traces.insert((stack, false), parent);
            }
            parent
        };
        self.traces.insert(key, number);
        Ok(number)
    }

    fn node(&mut self, place: usize, parent: usize, out: &mut dyn Write) -> io::Result<usize> {
        writeln!(out, "t {place:x} {parent:x}")?;
        self.trace_count += 1;
        Ok(self.trace_count)
    }

    fn site(&mut self, site: SiteId, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(&known) = self.places.get(&site) {
            return Ok(known);
        }
        let module = match self.tables.file_of(site) {
            Some(file) => self.string(&file.path, out)?,
            None => 0,
        };
        let address = self.tables.site(site).address.saturating_sub(1);
        let mut text = format!("{address:x} {module:x}");
        for level in 0..self.tables.depth_of(site) {
            let name = self.string(&self.tables.function_name(site, level), out)?;
            let (file, line) = match self.tables.location(site, level) {
                Some((file, line)) => (self.string(file, out)?, line),
                None => (0, 0),
            };
            text.push_str(&format!(" {name:x} {file:x} {line:x}"));
        }
        let place = self.place(format_args!("{text}"), out)?;
        self.places.insert(site, place);
        Ok(place)
    }

    fn place(&mut self, text: std::fmt::Arguments<'_>, out: &mut dyn Write) -> io::Result<usize> {
        writeln!(out, "i {text}")?;
        self.place_count += 1;
        Ok(self.place_count)
    }

    /// The number of a string, which is escaped: a line of its own in the file.
    fn string(&mut self, text: &str, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(&known) = self.strings.get(text) {
            return Ok(known);
        }
        writeln!(out, "s {}", escape::shown(text))?;
        let number = self.strings.len() + 1;
        self.strings.insert(text.into(), number);
        Ok(number)
    }

    fn time(&mut self, now_ms: u64, out: &mut dyn Write) -> io::Result<()> {
        self.written_ms = now_ms;
        writeln!(out, "c {now_ms:x}")
    }
}

impl Exporter for Heaptrack<'_> {
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        self.ledger.item(item, &mut |change| changes.push(change));
        if !changes.is_empty() {
            let now_ms = self.ledger.last_ns() / 1_000_000;
            if now_ms >= self.written_ms + TIME_STEP_MS {
                self.time(now_ms, out)?;
            }
        }
        for change in &changes {
            self.change(change, out)?;
        }
        self.changes = changes;
        Ok(())
    }

    fn finish(&mut self, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
        self.time(self.ledger.last_ns() / 1_000_000, out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use super::*;

    /// Reads it as the format is described above.
    #[derive(Debug, Default)]
    struct Reader {
        strings: Vec<String>,
        places: Vec<Vec<u64>>,
        traces: Vec<(usize, usize)>,
        allocations: Vec<(u64, usize)>,
        calls: u64,
        inherited: u64,
        bytes: u64,
        live: u64,
        peak: u64,
        comments: Vec<String>,
        last_ms: u64,
    }

    impl Reader {
        fn read(text: &str) -> Reader {
            let mut read = Reader::default();
            for line in text.lines() {
                let (kind, rest) = line.split_once(' ').unwrap();
                if kind == "s" {
                    read.strings.push(rest.into());
                    continue;
                }
                if kind == "#" {
                    read.comments.push(rest.into());
                    continue;
                }
                if kind == "X" {
                    continue;
                }
                let numbers: Vec<u64> = rest
                    .split(' ')
                    .map(|number| u64::from_str_radix(number, 16).unwrap())
                    .collect();
                let at = |n: usize| numbers[n] as usize;
                match kind {
                    "i" => {
                        assert_eq!(numbers.len() % 3, 2);
                        assert!(at(1) <= read.strings.len());
                        for function in numbers[2..].chunks(3) {
                            assert!((1..=read.strings.len() as u64).contains(&function[0]));
                            assert!(function[1] <= read.strings.len() as u64);
                        }
                        read.places.push(numbers);
                    }
                    "t" => {
                        assert!((1..=read.places.len()).contains(&at(0)));
                        assert!(at(1) <= read.traces.len());
                        read.traces.push((at(0), at(1)));
                    }
                    "a" => {
                        assert!((1..=read.traces.len()).contains(&at(1)));
                        read.allocations.push((numbers[0], at(1)));
                    }
                    "+" => {
                        let (bytes, trace) = read.allocations[at(0)];
                        let innermost = read.names(trace)[0].clone();
                        if innermost == frames::INHERITED {
                            read.inherited += 1;
                        } else {
                            read.calls += 1;
                            read.bytes += bytes;
                        }
                        read.live += bytes;
                        read.peak = read.peak.max(read.live);
                    }
                    "-" => read.live -= read.allocations[at(0)].0,
                    "c" => {
                        assert!(numbers[0] >= read.last_ms);
                        read.last_ms = numbers[0];
                    }
                    "v" | "I" => {}
                    _ => panic!("{line}"),
                }
            }
            read
        }

        /// Functions of a trace, inner to outer.
        fn names(&self, mut trace: usize) -> Vec<String> {
            let mut names = Vec::new();
            while trace != 0 {
                let (place, parent) = self.traces[trace - 1];
                for function in self.places[place - 1][2..].chunks(3) {
                    names.push(self.strings[function[0] as usize - 1].clone());
                }
                trace = parent;
            }
            names
        }
    }

    fn read(recording: &dyn Recording) -> Reader {
        let text = exported(Format::Heaptrack, recording, Metric::default());
        Reader::read(&String::from_utf8(text).unwrap())
    }

    #[test]
    fn totals_are_the_summary() {
        let recording = samples::recording();
        let (read, summary) = (read(&recording), samples::summary(&recording));
        assert_eq!(read.calls, summary.allocations);
        assert_eq!(read.bytes, summary.bytes_allocated);
        assert_eq!(read.peak, summary.peak_bytes);
        assert_eq!(read.live, summary.leaked_bytes);
        assert!(read.inherited > 0);
        assert!(read.comments.iter().any(|line| line.contains("static")));
        let plain = samples::plain();
        let (read, summary) = (self::read(&plain), samples::summary(&plain));
        assert_eq!((read.inherited, read.peak), (0, summary.peak_bytes));
    }

    #[test]
    fn traces_are_the_stacks() {
        let recording = samples::recording();
        let read = read(&recording);
        let all: Vec<_> = (1..=read.traces.len()).map(|t| read.names(t)).collect();
        let pushed = [
            "operator new(unsigned long)",
            "std::vector<int, std::allocator<int> >::push_back(int&&)",
            "inner<int>(int)",
            "load;two words",
            "main",
        ];
        assert!(all.iter().any(|names| names == &pushed));
        assert!(all.iter().any(|names| names == &["???"]));
        assert!(
            all.iter()
                .any(|names| names.last().unwrap() == "[truncated]")
        );
    }
}
