//! The Firefox Profiler's processed profile, for <https://profiler.firefox.com>.
//!
//! Every allocation and release with its stack, address and time: the profiler shows what was
//! retained, allocated or released in any part of the run. A track a process, and its heap over
//! time, with its peak. The profiler keeps a process's allocations in one thread, so there is one here.
//!
//! The format is one table of all events, and so is this exporter, in memory (40 bytes an event), as is
//! the profiler itself. So a trace of more than [`EVENTS_MAX`] is refused, not thinned: totals would be
//! wrong. That is found by a first reading of the trace.
//!
//! The format knows allocations only: what a forked child has from its parent is allocated in
//! `[inherited by fork]`, what an exec swept away is released in `[exec]`. Blocks that leaked are those
//! never released. The certificate stands in the product's name, which is shown on top.

use std::collections::HashMap;
use std::io::{self, Write};

use fxprof_processed_profile::{
    CategoryHandle, CounterHandle, Frame, FrameFlags, FrameInfo, Profile, ReferenceTimestamp,
    SamplingInterval, StackHandle, StringHandle, ThreadHandle, Timestamp,
};

use crate::output::{Summary, escape};
use crate::symbolize::hash::AddressMap;
use crate::trace::{ImageId, Item, Recording, StackId, Tables};

use super::counter::{Counter, Points};
use super::frames::{Frames, INHERITED};
use super::ledger::{Change, End, Ledger};
use super::survey::Survey;
use super::{ExportError, Exporter, Format, frames, provenance};

/// Rows that a profile has at most: 160 MB here, and what the profiler still opens.
pub const EVENTS_MAX: u64 = 4_000_000;

/// Parts of the run, each with at most two points of a heap graph.
const PARTS: u64 = 2_048;

/// What ends a block when another program takes its process's place.
const SWEPT: &str = "[exec]";

/// An exporter of it.
pub struct Firefox<'r> {
    tables: &'r Tables,
    profile: Profile,
    ledger: Ledger,
    images: HashMap<ImageId, Track>,
    frames: Frames,
    /// By number of the frame.
    names: Vec<StringHandle>,
    part_ns: u64,
}

/// A process image.
struct Track {
    thread: ThreadHandle,
    stacks: AddressMap<(StackId, Place), StackHandle>,
    graph: CounterHandle,
    heap: Counter,
    /// At the graph's last point.
    drawn: u64,
    /// Calls since then.
    calls: u32,
}

impl Track {
    /// The graph goes by differences.
    fn draw(&mut self, points: Points, profile: &mut Profile) {
        for point in points.into_iter().flatten() {
            let time = Timestamp::from_nanos_since_reference(point.time_ns);
            let change = number(point.value) - number(self.drawn);
            let calls = std::mem::take(&mut self.calls);
            profile.add_counter_sample(self.graph, time, change as f64, calls);
            self.drawn = point.value;
        }
    }
}

/// What stands inside a stack's own frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Own,
    Inherited,
    Swept,
}

impl<'r> Firefox<'r> {
    /// Reads the trace once.
    ///
    /// # Errors
    /// Where it can't be read, or has too many events.
    pub fn begin(recording: &'r dyn Recording) -> Result<Self, ExportError> {
        let survey = Survey::of(recording)?;
        if survey.changes > EVENTS_MAX {
            return Err(ExportError::TooLong {
                format: Format::Firefox,
                events: survey.changes,
                limit: EVENTS_MAX,
            });
        }
        let mut product = provenance::command(recording);
        for line in provenance::lines(recording) {
            product.push_str("; ");
            product.push_str(&line);
        }
        let started_ms = provenance::started_ns(recording).unwrap_or_default() as f64 / 1e6;
        let mut profile = Profile::new(
            &product,
            ReferenceTimestamp::from_millis_since_unix_epoch(started_ms),
            SamplingInterval::from_millis(1),
        );
        profile.set_os_name(&escape::shown(&recording.header().os));
        // Names are complete: there is nothing to ask a symbol server for.
        profile.set_symbolicated(true);
        Ok(Self {
            tables: recording.tables(),
            profile,
            ledger: Ledger::default(),
            images: HashMap::new(),
            frames: Frames::default(),
            names: Vec::new(),
            part_ns: survey.end_ns / PARTS,
        })
    }

    fn begin_process(&mut self, image: ImageId, pid: u32, name: &str, time_ns: u64) {
        let start = Timestamp::from_nanos_since_reference(time_ns);
        let process = self.profile.add_process(name, pid, start);
        let thread = self.profile.add_thread(process, pid, start, true);
        self.profile.set_thread_name(thread, name);
        let graph = self
            .profile
            .add_counter(process, "malloc", "Memory", "Requested bytes live");
        // The profiler does without the first change of a graph: what it was counted from is not in the profile.
        self.profile.add_counter_sample(graph, start, 0.0, 0);
        let track = Track {
            thread,
            stacks: AddressMap::default(),
            graph,
            heap: Counter::new(time_ns),
            drawn: 0,
            calls: 0,
        };
        self.images.insert(image, track);
    }

    fn change(&mut self, change: &Change, now_ns: u64) {
        let (block, stack, place, size, time_ns) = match *change {
            Change::Begin(block) => {
                let place = if block.inherited {
                    Place::Inherited
                } else {
                    Place::Own
                };
                (
                    block,
                    block.stack,
                    place,
                    number(block.bytes),
                    block.begun_ns,
                )
            }
            Change::End {
                block,
                end,
                time_ns,
                ..
            } => {
                let (stack, place) = match end {
                    End::Released(stack) => (stack, Place::Own),
                    End::Swept => (StackId::EMPTY, Place::Swept),
                    // What is never released has leaked.
                    End::Leaked => return,
                };
                (block, stack, place, -number(block.bytes), time_ns)
            }
        };
        if !self.images.contains_key(&block.image) {
            // Never announced: shown all the same, as everywhere.
            self.begin_process(block.image, 0, "???", now_ns);
        }
        let Some(track) = self.images.get_mut(&block.image) else {
            return;
        };
        let thread = track.thread;
        let known = track.stacks.get(&(stack, place)).copied();
        track.calls += 1;
        match change {
            Change::Begin(_) => track.heap.add(block.bytes),
            Change::End { .. } => track.heap.subtract(block.bytes),
        }
        let time = Timestamp::from_nanos_since_reference(time_ns);
        let handle = known.or_else(|| self.stack(block.image, thread, stack, place));
        self.profile
            .add_allocation_sample(thread, time, handle, block.address, size);
    }

    fn stack(
        &mut self,
        image: ImageId,
        thread: ThreadHandle,
        stack: StackId,
        place: Place,
    ) -> Option<StackHandle> {
        let mut labels = match place {
            Place::Swept => Vec::new(),
            Place::Own | Place::Inherited => frames::outer_to_inner(self.tables, stack)
                .into_iter()
                .map(|frame| self.name(frame))
                .collect(),
        };
        match place {
            Place::Own => {}
            Place::Inherited => labels.push(self.profile.intern_string(INHERITED)),
            Place::Swept => labels.push(self.profile.intern_string(SWEPT)),
        }
        let frames = labels.into_iter().map(|label| FrameInfo {
            frame: Frame::Label(label),
            category_pair: CategoryHandle::OTHER.into(),
            flags: FrameFlags::empty(),
        });
        let handle = self.profile.intern_stack_frames(thread, frames)?;
        self.images
            .get_mut(&image)?
            .stacks
            .insert((stack, place), handle);
        Some(handle)
    }

    fn name(&mut self, frame: frames::Frame) -> StringHandle {
        let number = self.frames.number(frame) as usize;
        if let Some(&known) = self.names.get(number) {
            return known;
        }
        let name = self.tables.function_name(frame.0, frame.1);
        let handle = self.profile.intern_string(&escape::shown(&name));
        self.names.push(handle);
        handle
    }
}

impl Exporter for Firefox<'_> {
    fn item(&mut self, item: &Item, _: &mut dyn Write) -> io::Result<()> {
        if let Some(process) = super::processes::begun(item) {
            let words: Vec<_> = process.command.iter().map(|w| escape::shown(w)).collect();
            let name = words.join(" ");
            self.begin_process(process.image, process.pid, &name, process.time_ns);
        }
        // A buffer: what a change does needs all of this.
        let mut changes = Vec::new();
        self.ledger.item(item, &mut |change| changes.push(change));
        let now_ns = self.ledger.last_ns();
        for change in &changes {
            self.change(change, now_ns);
        }
        let mut settled = None;
        for change in &changes {
            let (Change::Begin(block) | Change::End { block, .. }) = change;
            if settled.replace(block.image) != Some(block.image)
                && let Some(track) = self.images.get_mut(&block.image)
            {
                let points = track.heap.settle(now_ns, self.part_ns);
                track.draw(points, &mut self.profile);
            }
        }
        if let Item::Ended { image, .. } = item
            && let Some(mut track) = self.images.remove(image)
        {
            let end = Timestamp::from_nanos_since_reference(now_ns);
            self.profile.set_thread_end_time(track.thread, end);
            let points = track.heap.finish();
            track.draw(points, &mut self.profile);
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
        // Of a trace that was cut: processes whose end it does not have.
        for track in self.images.values_mut() {
            let points = track.heap.finish();
            track.draw(points, &mut self.profile);
        }
        serde_json::to_writer(&mut *out, &self.profile)?;
        out.write_all(b"\n")
    }
}

/// The format's numbers are signed.
fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Metric;
    use super::super::samples::{self, exported};
    use super::*;
    use serde_json::Value;

    /// Sums over all processes, as the profiler's call trees have them.
    #[derive(Debug, Default, PartialEq)]
    struct Sums {
        allocated: i64,
        calls: u64,
        inherited: i64,
        retained: i64,
        heap: f64,
    }

    fn sums(document: &Value) -> Sums {
        let mut sums = Sums::default();
        let strings = document["shared"]["stringArray"].as_array();
        for thread in document["threads"].as_array().unwrap() {
            let strings = strings.unwrap_or_else(|| thread["stringArray"].as_array().unwrap());
            let at = |table: &str, column: &str, row: usize| {
                let value = &thread[table][column][row];
                value.as_u64().map(|value| value as usize)
            };
            let table = &thread["nativeAllocations"];
            for row in 0..table["length"].as_u64().unwrap_or(0) as usize {
                let weight = table["weight"][row].as_i64().unwrap();
                sums.retained += weight;
                let stack = table["stack"][row].as_u64().unwrap() as usize;
                let frame = at("stackTable", "frame", stack).unwrap();
                let func = at("frameTable", "func", frame).unwrap();
                let name = at("funcTable", "name", func).unwrap();
                if strings[name] == INHERITED {
                    sums.inherited += weight;
                } else if weight > 0 || strings[name] == "main::{lambda(int)#1}" {
                    sums.allocated += weight;
                    sums.calls += 1;
                }
            }
        }
        for counter in document["counters"].as_array().unwrap() {
            let counts = counter["samples"]["count"].as_array().unwrap();
            sums.heap += counts.iter().map(|c| c.as_f64().unwrap()).sum::<f64>();
        }
        sums
    }

    fn document(recording: &dyn Recording) -> Value {
        serde_json::from_slice(&exported(Format::Firefox, recording, Metric::default())).unwrap()
    }

    #[test]
    fn sums_are_the_summary() {
        let recording = samples::recording();
        let document = document(&recording);
        let (sums, summary) = (sums(&document), samples::summary(&recording));
        assert_eq!(sums.allocated as u64, summary.bytes_allocated);
        // Of no bytes is only the one that the sum knows by its name.
        assert_eq!(sums.calls, summary.allocations);
        assert_eq!(sums.retained as u64, summary.leaked_bytes);
        assert_eq!(sums.heap as u64, summary.leaked_bytes);
        assert!(sums.inherited > 0);
        let product = document["meta"]["product"].as_str().unwrap();
        assert!(product.contains("truncated"), "{product}");
        assert_eq!(document["meta"]["startTime"], 1_795_379_933_000.001);
    }

    /// As the profiler adds it up, which takes the first value for 0.
    #[test]
    fn the_graph_has_the_peak() {
        let recording = samples::plain();
        let document = document(&recording);
        let counts = document["counters"][0]["samples"]["count"].as_array();
        let mut heap = 0.0;
        let after_first = counts.unwrap().iter().skip(1);
        let heights = after_first.map(|count| {
            heap += count.as_f64().unwrap();
            heap
        });
        let highest = heights.fold(0.0, f64::max);
        assert_eq!(highest as u64, samples::summary(&recording).peak_bytes);
    }

    #[test]
    fn no_name_moves_the_cursor() {
        let recording = samples::recording();
        let bytes = exported(Format::Firefox, &recording, Metric::default());
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.trim_end().chars().any(escape::is_hidden));
        assert!(text.contains("evil\\\\x1b[31m"));
    }

    #[test]
    fn a_run_without_allocations_is_a_profile() {
        let document = document(&samples::empty());
        assert_eq!(document["threads"].as_array().unwrap().len(), 1);
        assert_eq!(sums(&document), Sums::default());
    }
}
