//! A Perfetto trace, for <https://ui.perfetto.dev> and `trace_processor`.
//!
//! What heapprofd writes, without sampling: a heap profile of each process at the peak of the run and
//! at the process's end, where what is left has leaked. Beside them counters of live bytes, one a
//! process and one of all. The certificate stands as events of a track of its own, at the start.
//!
//! Strings, frames and stacks are interned, once a trace, before the profile that needs them first.
//! A counter has at most some thousand points, whatever the trace: of each part of the run its highest
//! value, at its time, and its last, so that the peak is always there. When the run ends and when the
//! peak is takes a first reading of the trace. Memory grows with processes that run at a time and
//! their distinct stacks.
//!
//! The format knows allocations only: what a forked child has from its parent is allocated under
//! `[inherited by fork]`, in its profile.

mod interned;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use prost::Message as _;

use crate::output::{Summary, escape};
use crate::symbolize::hash::AddressMap;
use crate::trace::{Exit, ImageId, Item, Recording, StackId};

use self::interned::Interned;
use self::messages::{
    BOOTTIME, Clock, ClockSnapshot, CounterDescriptor, HeapSample, MONOTONIC, MONOTONIC_COARSE,
    NEEDS_STATE, PACKET_KEY, ProcessDescriptor, ProcessHeapSamples, ProfilePacket, REALTIME,
    STATE_CLEARED, TYPE_COUNTER, TYPE_INSTANT, TracePacket, TrackDescriptor, TrackEvent,
    UNIT_SIZE_BYTES,
};
use super::counter::{Counter, Points};
use super::ledger::{Change, End, Ledger};
use super::survey::Survey;
use super::{ExportError, Exporter, processes, provenance};

/// Parts of the run, each with at most two points of a counter.
const PARTS: u64 = 2_048;

/// Numbers of the two tracks that are of no process; those of processes follow.
const NOTES_TRACK: u64 = 1;
const ALL_TRACK: u64 = 2;

/// An exporter of it.
pub struct Perfetto<'r> {
    survey: Survey,
    ledger: Ledger,
    interned: Interned<'r>,
    images: BTreeMap<ImageId, Track>,
    /// By process: what it did before it ran another program. A reader takes what a profile says as
    /// the sum since the process began.
    before_exec: HashMap<u32, Stacks>,
    all: Counter,
    next_track: u64,
    items: u64,
    profiles: u64,
    changes: Vec<Change>,
}

/// A process image that runs.
struct Track {
    pid: u32,
    heap: Counter,
    /// The number of its track.
    of_heap: u64,
    stacks: Stacks,
}

/// By stack, and whether it inherits.
type Stacks = AddressMap<(StackId, bool), Sample>;

#[derive(Clone, Copy, Default)]
struct Sample {
    allocations: u64,
    allocated: u64,
    frees: u64,
    freed: u64,
}

impl<'r> Perfetto<'r> {
    /// Reads the trace once, and writes clocks and tracks.
    ///
    /// # Errors
    /// Where the trace can't be read or the head can't be written.
    pub fn begin(recording: &'r dyn Recording, out: &mut dyn Write) -> Result<Self, ExportError> {
        let survey = Survey::of(recording)?;
        // All clocks count from the start of the run, but for the one on the wall.
        let clock = |clock_id, timestamp| Clock {
            clock_id: Some(clock_id),
            timestamp: Some(timestamp),
        };
        let mut clocks = vec![
            clock(BOOTTIME, 0),
            clock(MONOTONIC, 0),
            clock(MONOTONIC_COARSE, 0),
        ];
        if let Some(started) = provenance::started_ns(recording) {
            clocks.push(clock(REALTIME, started));
        }
        let snapshot = ClockSnapshot {
            clocks,
            primary_trace_clock: Some(BOOTTIME as i32),
        };
        let first = TracePacket {
            clock_snapshot: Some(snapshot),
            timestamp: Some(0),
            sequence_flags: Some(STATE_CLEARED),
            ..TracePacket::default()
        };
        write_packet(out, first)?;
        let notes = TrackDescriptor {
            uuid: Some(NOTES_TRACK),
            name: Some("sntrace".into()),
            ..TrackDescriptor::default()
        };
        write_track(out, notes)?;
        let command = format!("command: {}", provenance::command(recording));
        for line in std::iter::once(command).chain(provenance::lines(recording)) {
            let note = TrackEvent {
                r#type: Some(TYPE_INSTANT),
                track_uuid: Some(NOTES_TRACK),
                name: Some(line),
                counter_value: None,
            };
            write_event(out, 0, note)?;
        }
        let all = TrackDescriptor {
            uuid: Some(ALL_TRACK),
            name: Some("Live heap bytes of all processes".into()),
            counter: Some(CounterDescriptor {
                unit: Some(UNIT_SIZE_BYTES),
            }),
            ..TrackDescriptor::default()
        };
        write_track(out, all)?;
        Ok(Self {
            survey,
            ledger: Ledger::default(),
            interned: Interned::new(recording.tables()),
            images: BTreeMap::new(),
            before_exec: HashMap::new(),
            all: Counter::new(0),
            next_track: ALL_TRACK + 1,
            items: 0,
            profiles: 0,
            changes: Vec::new(),
        })
    }

    fn begin_process(
        &mut self,
        process: &crate::output::Process,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (of_process, of_heap) = (self.next_track, self.next_track + 1);
        self.next_track += 2;
        let cmdline: Vec<_> = process.command.iter().map(|w| escape::shown(w)).collect();
        let name = cmdline
            .first()
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
        let descriptor = TrackDescriptor {
            uuid: Some(of_process),
            process: Some(ProcessDescriptor {
                pid: Some(process.pid.cast_signed()),
                cmdline,
                process_name: name,
            }),
            ..TrackDescriptor::default()
        };
        write_track(out, descriptor)?;
        let heap = TrackDescriptor {
            uuid: Some(of_heap),
            parent_uuid: Some(of_process),
            name: Some("Live heap bytes".into()),
            counter: Some(CounterDescriptor {
                unit: Some(UNIT_SIZE_BYTES),
            }),
            ..TrackDescriptor::default()
        };
        write_track(out, heap)?;
        let track = Track {
            pid: process.pid,
            heap: Counter::new(process.time_ns),
            of_heap,
            stacks: self.before_exec.remove(&process.pid).unwrap_or_default(),
        };
        self.images.insert(process.image, track);
        Ok(())
    }

    fn change(&mut self, change: &Change, out: &mut dyn Write) -> io::Result<()> {
        let (Change::Begin(block) | Change::End { block, .. }) = change;
        if !self.images.contains_key(&block.image) {
            // Never announced: shown all the same, as everywhere.
            let nameless = processes::nameless(block.image, 0);
            self.begin_process(&nameless, out)?;
        }
        let Some(track) = self.images.get_mut(&block.image) else {
            return Ok(());
        };
        let sample = track
            .stacks
            .entry((block.stack, block.inherited))
            .or_default();
        match change {
            Change::Begin(_) => {
                sample.allocations += 1;
                sample.allocated = sample.allocated.saturating_add(block.bytes);
                track.heap.add(block.bytes);
                self.all.add(block.bytes);
            }
            Change::End { end, .. } => {
                // What is left in the profile at the end has leaked.
                if *end != End::Leaked {
                    sample.frees += 1;
                    sample.freed = sample.freed.saturating_add(block.bytes);
                }
                track.heap.subtract(block.bytes);
                self.all.subtract(block.bytes);
            }
        }
        Ok(())
    }

    /// A process's heap profile.
    fn profile(&mut self, image: ImageId, out: &mut dyn Write) -> io::Result<()> {
        let Some(track) = self.images.get(&image) else {
            return Ok(());
        };
        // By stack: what is written should not depend on how a table hashes.
        let mut stacks: Vec<_> = track.stacks.iter().collect();
        stacks.sort_unstable_by_key(|(key, _)| **key);
        let samples = stacks
            .into_iter()
            .map(|(&(stack, inherited), sample)| {
                Ok(HeapSample {
                    callstack_id: Some(self.interned.callstack(stack, inherited, out)?),
                    self_allocated: Some(sample.allocated),
                    self_freed: Some(sample.freed),
                    alloc_count: Some(sample.allocations),
                    free_count: Some(sample.frees),
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        self.interned.write(out)?;
        let now_ns = self.ledger.last_ns();
        let dump = ProcessHeapSamples {
            pid: Some(track.pid.into()),
            samples,
            from_startup: Some(true),
            timestamp: Some(now_ns),
            heap_name: Some("malloc".into()),
            sampling_interval_bytes: Some(1),
            orig_sampling_interval_bytes: Some(1),
        };
        let packet = TracePacket {
            timestamp: Some(now_ns),
            sequence_flags: Some(NEEDS_STATE),
            profile_packet: Some(ProfilePacket {
                process_dumps: vec![dump],
                index: Some(self.profiles),
            }),
            ..TracePacket::default()
        };
        self.profiles += 1;
        write_packet(out, packet)
    }
}

impl Exporter for Perfetto<'_> {
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        self.items += 1;
        if let Some(process) = processes::begun(item) {
            self.begin_process(&process, out)?;
        }
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        self.ledger.item(item, &mut |change| changes.push(change));
        for change in &changes {
            self.change(change, out)?;
        }
        self.changes = changes;
        let now_ns = self.ledger.last_ns();
        let part_ns = self.survey.end_ns / PARTS;
        if let Item::Event(event) = item
            && let Some(track) = self.images.get_mut(&event.image)
        {
            write_points(out, track.of_heap, track.heap.settle(now_ns, part_ns))?;
        }
        write_points(out, ALL_TRACK, self.all.settle(now_ns, part_ns))?;
        if self.items == self.survey.peak_item {
            let running: Vec<_> = self.images.keys().copied().collect();
            for image in running {
                self.profile(image, out)?;
            }
        }
        if let Item::Ended { image, exit, .. } = item {
            self.profile(*image, out)?;
            if let Some(mut track) = self.images.remove(image) {
                write_points(out, track.of_heap, track.heap.settle(now_ns, part_ns))?;
                write_points(out, track.of_heap, track.heap.finish())?;
                if *exit == Exit::Exec {
                    self.before_exec.insert(track.pid, track.stacks);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
        // Of a trace that was cut: processes whose end it does not have.
        let running: Vec<_> = self.images.keys().copied().collect();
        for image in running {
            self.profile(image, out)?;
            if let Some(track) = self.images.get_mut(&image) {
                write_points(out, track.of_heap, track.heap.finish())?;
            }
        }
        write_points(out, ALL_TRACK, self.all.finish())
    }
}

fn write_track(out: &mut dyn Write, track: TrackDescriptor) -> io::Result<()> {
    let packet = TracePacket {
        track_descriptor: Some(track),
        ..TracePacket::default()
    };
    write_packet(out, packet)
}

fn write_event(out: &mut dyn Write, time_ns: u64, event: TrackEvent) -> io::Result<()> {
    let packet = TracePacket {
        timestamp: Some(time_ns),
        track_event: Some(event),
        ..TracePacket::default()
    };
    write_packet(out, packet)
}

fn write_points(out: &mut dyn Write, track: u64, points: Points) -> io::Result<()> {
    for point in points.into_iter().flatten() {
        let event = TrackEvent {
            r#type: Some(TYPE_COUNTER),
            track_uuid: Some(track),
            name: None,
            // The format's numbers are signed.
            counter_value: Some(i64::try_from(point.value).unwrap_or(i64::MAX)),
        };
        write_event(out, point.time_ns, event)?;
    }
    Ok(())
}

fn write_packet(out: &mut dyn Write, mut packet: TracePacket) -> io::Result<()> {
    packet.trusted_packet_sequence_id = Some(1);
    let mut bytes = vec![PACKET_KEY];
    // A vector has room for all of it.
    packet
        .encode_length_delimited(&mut bytes)
        .map_err(io::Error::other)?;
    out.write_all(&bytes)
}
