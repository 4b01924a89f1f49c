//! DHAT's JSON, version 2: what Valgrind's `dh_view.html` opens.
//!
//! A heap profile with block lifetimes and without accesses, which only an emulator can count. Each
//! stack is a program point: all blocks (`tb`, `tbk`), its own maximum (`mb`, `mbk`), what was live at
//! the global one (`gb`, `gbk`) and at the end (`eb`, `ebk`: the leaks), and how long its blocks lived
//! in all (`tl`). Times are microseconds. A file is of one process; of several it says the first
//! one's number, and adds their figures up.
//!
//! The certificate has a key of its own, which the viewer passes by, and a place in `cmd`, which it
//! shows.

use std::io::{self, Write};

use crate::output::number::decimal;
use crate::output::{Summary, escape};
use crate::trace::{Recording, StackId};

use super::aggregate::{Aggregate, AggregateExporter};
use super::frames::Frames;
use super::tally::Totals;
use super::{ExportOptions, frames, jsonl, provenance};

/// An exporter of it.
pub fn exporter<'r>(
    recording: &'r dyn Recording,
    options: &ExportOptions,
) -> AggregateExporter<'r> {
    AggregateExporter::new(recording, options, write)
}

/// Blocks that live shorter are shown as short-lived, in microseconds: what dhat-rs takes too.
const SHORT_LIVED_US: u64 = 10;

fn write(aggregate: &Aggregate<'_>, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let recording = aggregate.recording;
    let tables = recording.tables();
    let mut row = Vec::new();
    row.extend_from_slice(
        b"{\"dhatFileVersion\":2\n,\"mode\":\"heap\",\"verb\":\"Allocated\"\n\
          ,\"bklt\":true,\"bkacc\":false\n,\"tu\":\"\xc2\xb5s\",\"Mtu\":\"s\"\n",
    );
    field(&mut row, ",\"tuth\":", SHORT_LIVED_US);
    row.extend_from_slice(b"\n,\"cmd\":");
    let mut command = provenance::command(recording);
    for line in provenance::lines(recording) {
        command.push_str("; ");
        command.push_str(&line);
    }
    escape::json(&mut row, &command);
    field(&mut row, "\n,\"pid\":", aggregate.first_pid.into());
    field(&mut row, "\n,\"te\":", aggregate.end_ns / 1_000);
    field(&mut row, "\n,\"tg\":", summary.peak_time_ns / 1_000);
    row.extend_from_slice(b"\n,\"certificate\":");
    jsonl::certificate(&mut row, recording.certificate());
    row.extend_from_slice(b"\n,\"pps\":\n [");
    out.write_all(&row)?;

    let mut listed = Frames::default();
    // The viewer refuses two stacks that look the same, as those that are cut off may: each of them
    // ends in an entry of its own, and these stand before the frames.
    let is_cut = |&(stack, _): &(StackId, Totals)| frames::is_cut(tables, stack);
    let cut = aggregate.tally.rows().filter(is_cut).count() as u64;
    let mut next_cut = 1;
    for (at, (stack, totals)) in aggregate.tally.rows().enumerate() {
        row.clear();
        row.extend_from_slice(if at == 0 { b"{" } else { b"\n ,{" });
        for (key, value) in [
            ("\"tb\":", totals.bytes),
            (",\"tbk\":", totals.allocations),
            (",\"tl\":", totals.lifetime_ns / 1_000),
            (",\"mb\":", totals.max_bytes),
            (",\"mbk\":", totals.max_blocks),
            (",\"gb\":", totals.peak_bytes),
            (",\"gbk\":", totals.peak_blocks),
            (",\"eb\":", totals.leaked_bytes),
            (",\"ebk\":", totals.leaked_blocks),
        ] {
            field(&mut row, key, value);
        }
        row.extend_from_slice(b",\"fs\":[");
        for (at, frame) in frames::of_stack(tables, stack).enumerate() {
            if at > 0 {
                row.push(b',');
            }
            // 0 is the root.
            decimal(&mut row, cut + u64::from(listed.number(frame)) + 1);
        }
        if frames::is_cut(tables, stack) {
            row.push(b',');
            decimal(&mut row, next_cut);
            next_cut += 1;
        }
        row.extend_from_slice(b"]}");
        out.write_all(&row)?;
    }

    out.write_all(b"\n ]\n,\"ftbl\":\n [\"[root]\"")?;
    for number in 1..=cut {
        write!(out, "\n ,\"0x0: deep stack {number}\"")?;
    }
    for &frame in listed.all() {
        row.clear();
        row.extend_from_slice(b"\n ,");
        let address = frames::address(tables, frame.0).map_or_else(
            || "0x0".to_owned(),
            // Of the call, as DHAT's own are.
            |address| format!("{:#X}", address - 1),
        );
        let described = frames::described(tables, frame);
        escape::json(&mut row, &format!("{address}: {described}"));
        out.write_all(&row)?;
    }
    out.write_all(b"\n ]\n}\n")
}

fn field(row: &mut Vec<u8>, key: &str, value: u64) {
    row.extend_from_slice(key.as_bytes());
    decimal(row, value);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use crate::trace::{Item, SiteId, StackId};
    use serde_json::Value;
    use std::collections::HashSet;

    fn document(recording: &dyn crate::trace::Recording) -> Value {
        serde_json::from_slice(&exported(Format::Dhat, recording, Metric::default())).unwrap()
    }

    #[test]
    fn sums_are_the_summary() {
        let recording = samples::recording();
        let document = document(&recording);
        let summary = samples::summary(&recording);
        let points = document["pps"].as_array().unwrap();
        let sum = |key: &str| points.iter().map(|p| p[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("tbk"), summary.allocations);
        assert_eq!(sum("tb"), summary.bytes_allocated);
        assert_eq!(sum("gb"), summary.peak_bytes);
        assert_eq!(sum("eb"), summary.leaked_bytes);
        assert_eq!(sum("ebk"), summary.leaked_allocations);
        for point in points {
            assert!(point["mb"].as_u64() >= point["gb"].as_u64());
        }
    }

    /// What `dh_view.js` demands, and refuses.
    #[test]
    fn the_viewer_finds_all_that_it_asks_for() {
        let document = document(&samples::recording());
        for key in [
            "dhatFileVersion",
            "mode",
            "verb",
            "bklt",
            "bkacc",
            "tu",
            "Mtu",
            "tuth",
            "cmd",
            "pid",
            "te",
            "tg",
            "pps",
            "ftbl",
        ] {
            assert!(!document[key].is_null(), "{key}");
        }
        assert_eq!(document["pid"], 100);
        let names = document["ftbl"].as_array().unwrap();
        assert_eq!(names[0], "[root]");
        let mut seen = HashSet::new();
        for point in document["pps"].as_array().unwrap() {
            let stack = point["fs"].as_array().unwrap();
            assert!(!stack.is_empty());
            for frame in stack {
                let at = frame.as_u64().unwrap() as usize;
                assert!(names[1..].get(at - 1).is_some());
            }
            // A location may come once.
            assert!(seen.insert(point["fs"].to_string()));
        }
        assert!(names.contains(&"0x100F: main (a;b.c:10)".into()));
    }

    #[test]
    fn stacks_too_deep_to_list_are_told_apart() {
        let mut recording = samples::plain();
        let stacks = &mut recording.tables.stacks;
        let mut deep = StackId::EMPTY;
        for _ in 0..2_000 {
            deep = stacks.intern(deep, SiteId(1));
        }
        let deeper = stacks.intern(deep, SiteId(1));
        let mut events = recording.items.iter_mut().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            _ => None,
        });
        events.next().unwrap().stack = deep;
        events.next().unwrap().stack = deeper;
        let document = document(&recording);
        let points = document["pps"].as_array().unwrap();
        let stacks: HashSet<_> = points.iter().map(|p| p["fs"].to_string()).collect();
        assert_eq!(stacks.len(), points.len());
        let last = points[0]["fs"].as_array().unwrap().last().unwrap();
        let at = last.as_u64().unwrap() as usize;
        assert_eq!(document["ftbl"][at], "0x0: deep stack 1");
    }

    #[test]
    fn a_run_without_allocations_is_a_profile() {
        let document = document(&samples::empty());
        assert_eq!(document["pps"], serde_json::json!([]));
        assert_eq!(document["ftbl"], serde_json::json!(["[root]"]));
    }
}
