//! Reads an export as `trace_processor` does: interned data first, then profiles and counters.

use std::collections::HashMap;

use prost::Message as _;

use super::super::samples::{self, exported};
use super::super::{Format, Metric, frames};
use super::messages::{NEEDS_STATE, STATE_CLEARED, TYPE_INSTANT, Trace};
use crate::output::escape;
use crate::trace::Recording;

#[derive(Default)]
struct Reader {
    names: HashMap<u64, String>,
    /// Name and mapping.
    frames: HashMap<u64, (u64, u64)>,
    stacks: HashMap<u64, Vec<u64>>,
    mappings: HashMap<u64, String>,
    counters: HashMap<u64, Vec<(u64, i64)>>,
    tracks: HashMap<u64, String>,
    notes: Vec<String>,
    /// Process, time, samples.
    profiles: Vec<(u64, u64, Vec<Sample>)>,
}

#[derive(Clone, Debug)]
struct Sample {
    names: Vec<String>,
    allocations: u64,
    allocated: u64,
    freed: u64,
}

fn read(recording: &dyn Recording) -> Reader {
    let bytes = exported(Format::Perfetto, recording, Metric::default());
    let trace = Trace::decode(&bytes[..]).unwrap();
    let mut read = Reader::default();
    assert_eq!(trace.packet[0].sequence_flags, Some(STATE_CLEARED));
    for packet in trace.packet {
        assert_eq!(packet.trusted_packet_sequence_id, Some(1));
        if let Some(track) = packet.track_descriptor {
            let name = track.name.unwrap_or_default();
            read.tracks.insert(track.uuid.unwrap(), name);
        }
        if let Some(event) = packet.track_event {
            let track = event.track_uuid.unwrap();
            assert!(read.tracks.contains_key(&track));
            if event.r#type == Some(TYPE_INSTANT) {
                read.notes.push(event.name.unwrap());
            } else {
                let points = read.counters.entry(track).or_default();
                points.push((packet.timestamp.unwrap(), event.counter_value.unwrap()));
            }
        }
        if let Some(data) = packet.interned_data {
            assert_eq!(packet.sequence_flags, Some(NEEDS_STATE));
            let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
            for name in data.function_names {
                read.names.insert(name.iid.unwrap(), text(name.str));
            }
            let paths: HashMap<_, _> = data
                .mapping_paths
                .into_iter()
                .map(|path| (path.iid.unwrap(), text(path.str)))
                .collect();
            for mapping in data.mappings {
                let path = paths[&mapping.path_string_ids[0]].clone();
                read.mappings.insert(mapping.iid.unwrap(), path);
            }
            for frame in data.frames {
                let (name, mapping) = (frame.function_name_id.unwrap(), frame.mapping_id.unwrap());
                assert!(read.names.contains_key(&name) && read.mappings.contains_key(&mapping));
                assert!(
                    read.frames
                        .insert(frame.iid.unwrap(), (name, mapping))
                        .is_none()
                );
            }
            for stack in data.callstacks {
                assert!(
                    stack
                        .frame_ids
                        .iter()
                        .all(|id| read.frames.contains_key(id))
                );
                let known = read.stacks.insert(stack.iid.unwrap(), stack.frame_ids);
                assert!(known.is_none());
            }
        }
        for dump in packet
            .profile_packet
            .into_iter()
            .flat_map(|p| p.process_dumps)
        {
            let samples = dump.samples.iter().map(|sample| Sample {
                names: read.stacks[&sample.callstack_id.unwrap()]
                    .iter()
                    .map(|frame| read.names[&read.frames[frame].0].clone())
                    .collect(),
                allocations: sample.alloc_count.unwrap(),
                allocated: sample.self_allocated.unwrap(),
                freed: sample.self_freed.unwrap(),
            });
            let samples = samples.collect();
            read.profiles
                .push((dump.pid.unwrap(), dump.timestamp.unwrap(), samples));
        }
    }
    read
}

impl Reader {
    /// Sums over samples: allocations and bytes that are not inherited, bytes that are left.
    fn sums<'s>(samples: impl Iterator<Item = &'s Sample>) -> (u64, u64, u64) {
        samples.fold((0, 0, 0), |(calls, bytes, left), sample| {
            let own = sample
                .names
                .last()
                .is_none_or(|name| name != frames::INHERITED);
            (
                calls + if own { sample.allocations } else { 0 },
                bytes + if own { sample.allocated } else { 0 },
                left + sample.allocated - sample.freed,
            )
        })
    }
}

#[test]
fn profiles_and_counters_add_up_to_the_summary() {
    let recording = samples::recording();
    let (read, summary) = (read(&recording), samples::summary(&recording));
    let at_peak: Vec<_> = read
        .profiles
        .iter()
        .filter(|(_, time, _)| *time == summary.peak_time_ns)
        .collect();
    let all = |profiles: &[&(u64, u64, Vec<Sample>)]| {
        Reader::sums(profiles.iter().flat_map(|(_, _, samples)| samples))
    };
    assert_eq!(all(&at_peak).2, summary.peak_bytes);
    assert!(at_peak.len() > 1);
    // A process's last profile is the sum of all that it did, before an exec too.
    let at_end: HashMap<_, _> = read
        .profiles
        .iter()
        .map(|profile| (profile.0, profile))
        .collect();
    let (calls, bytes, left) = all(&at_end.into_values().collect::<Vec<_>>());
    assert_eq!(calls, summary.allocations);
    assert_eq!(bytes, summary.bytes_allocated);
    assert_eq!(left, summary.leaked_bytes);

    let points = &read.counters[&super::ALL_TRACK];
    let highest = points.iter().map(|(_, value)| *value).max().unwrap();
    let first = points.iter().find(|(_, value)| *value == highest).unwrap();
    let expected = (summary.peak_time_ns, summary.peak_bytes as i64);
    assert_eq!(*first, expected);
    assert_eq!(points.last().unwrap().1, 0);
    assert!(points.is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn stacks_go_from_outer_to_inner_and_names_are_safe() {
    let read = read(&samples::recording());
    let stacks: Vec<_> = read.profiles.iter().flat_map(|(_, _, s)| s).collect();
    let load = ["main", "load;two words", "inner<int>(int)"];
    assert!(stacks.iter().any(|sample| sample.names == load));
    assert!(stacks.iter().any(|sample| sample.names == ["???"]));
    assert!(
        read.names
            .values()
            .all(|n| !n.chars().any(escape::is_hidden))
    );
    assert!(read.notes.iter().any(|note| note.contains("truncated")));
    assert!(
        read.mappings
            .values()
            .any(|path| path == "/usr/lib/libstdc++.so.6")
    );
}

#[test]
fn a_run_without_allocations_is_a_trace() {
    let read = read(&samples::empty());
    assert!(
        read.profiles
            .iter()
            .all(|(_, _, samples)| samples.is_empty())
    );
}
