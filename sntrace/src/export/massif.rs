//! Massif: snapshots of the heap over time, for `ms_print` and massif-visualizer.
//!
//! Snapshots are spread evenly over the run, with one at the peak, exactly, and one before the last
//! process ended, which has what it leaked. Some have a heap tree: who allocated what is live, from
//! the allocating function outwards. As in Massif, what is below 1 % of the snapshot is summed up,
//! and trees end at a depth.
//!
//! Time is in milliseconds; for a run of less than a second, of which a millisecond tells little, in
//! bytes allocated and released, which Massif has for that case (`--time-unit=B`). Both need to be
//! known before the first snapshot, as is the peak: the trace is read twice. Memory is that of the
//! figures of each stack; a tree is not built, but written as its stacks are parted.
//!
//! `#` begins a comment in this format, wherever it stands, so in names it is written as `\x23`. The
//! certificate stands in `desc` lines.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::output::{Summary, escape};
use crate::trace::{Item, Recording, StackId, Tables};

use super::ledger::{Change, Ledger};
use super::survey::Survey;
use super::tally::Tally;
use super::{Exporter, frames, provenance};

/// How many snapshots a run has beside those at the peak and the end.
const SNAPSHOTS: u64 = 64;
/// Every so many has a tree.
const DETAILED_EVERY: u64 = 8;
/// Below this part of a snapshot nothing has a line of its own: a hundredth.
const THRESHOLD: u64 = 100;
/// Frames of a tree from the allocation outwards, as in Massif's `--depth`.
const DEPTH_MAX: usize = 30;
/// Shorter runs are measured in bytes, in nanoseconds.
const SHORT_NS: u64 = 1_000_000_000;

/// An exporter of it.
pub struct Massif<'r> {
    tables: &'r Tables,
    survey: Survey,
    clock: Clock,
    ledger: Ledger,
    tally: Tally,
    items: u64,
    /// Snapshots at even times so far.
    taken: u64,
    /// Snapshots so far.
    number: u64,
}

/// What a snapshot's time is.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    now_ns: u64,
    traffic: u64,
}

impl Clock {
    fn item(&mut self, item: &Item, ledger: &mut Ledger, mut each: impl FnMut(&Change)) {
        let traffic = &mut self.traffic;
        ledger.item(item, &mut |change| {
            let (Change::Begin(block) | Change::End { block, .. }) = change;
            *traffic = traffic.saturating_add(block.bytes);
            each(&change);
        });
        self.now_ns = ledger.last_ns();
    }

    fn read(self, survey: &Survey) -> u64 {
        if in_bytes(survey) {
            self.traffic
        } else {
            self.now_ns / 1_000_000
        }
    }
}

/// Whether time is counted in bytes.
fn in_bytes(survey: &Survey) -> bool {
    survey.end_ns < SHORT_NS
}

/// When the snapshot with this number is due.
fn due(survey: &Survey, number: u64) -> u64 {
    let end = if in_bytes(survey) {
        survey.traffic
    } else {
        survey.end_ns / 1_000_000
    };
    // 128 bits: the product may not fit in 64.
    let due = u128::from(end) * u128::from(number) / u128::from(SNAPSHOTS);
    u64::try_from(due).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    None,
    Tree,
    Peak,
}

impl<'r> Massif<'r> {
    /// Reads the trace once, and writes the head.
    ///
    /// # Errors
    /// Where the trace can't be read or the head can't be written.
    pub fn begin(
        recording: &'r dyn Recording,
        out: &mut dyn Write,
    ) -> Result<Self, super::ExportError> {
        let survey = Survey::of(recording)?;
        for line in provenance::lines(recording) {
            writeln!(out, "desc: {}", plain(&line))?;
        }
        writeln!(out, "cmd: {}", plain(&provenance::command(recording)))?;
        let unit = if in_bytes(&survey) { "B" } else { "ms" };
        writeln!(out, "time_unit: {unit}")?;
        Ok(Self {
            tables: recording.tables(),
            survey,
            clock: Clock::default(),
            ledger: Ledger::default(),
            tally: Tally::new(recording.tables().stacks.len()),
            items: 0,
            taken: 0,
            number: 0,
        })
    }

    fn is_due(&self) -> bool {
        self.taken < SNAPSHOTS && self.clock.read(&self.survey) >= due(&self.survey, self.taken)
    }

    fn snapshot(&mut self, detail: Detail, out: &mut dyn Write) -> io::Result<()> {
        const LINE: &str = "#-----------";
        let time = self.clock.read(&self.survey);
        let live = self.tally.live_bytes();
        writeln!(out, "{LINE}\nsnapshot={}\n{LINE}", self.number)?;
        writeln!(
            out,
            "time={time}\nmem_heap_B={live}\nmem_heap_extra_B=0\nmem_stacks_B=0"
        )?;
        self.number += 1;
        let name = match detail {
            Detail::None => return writeln!(out, "heap_tree=empty"),
            Detail::Tree => "detailed",
            Detail::Peak => "peak",
        };
        writeln!(out, "heap_tree={name}")?;
        let cursors = self
            .tally
            .rows()
            .filter(|(_, totals)| totals.live_bytes > 0)
            .map(|(stack, totals)| Cursor::new(self.tables, stack, totals.live_bytes))
            .collect();
        let branch = Branch {
            bytes: live,
            title: "(heap allocation functions) malloc/new/new[], --alloc-fns, etc.".into(),
            cursors,
        };
        write_branch(self.tables, branch, 0, live / THRESHOLD, out)
    }
}

impl Exporter for Massif<'_> {
    fn item(&mut self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        self.items += 1;
        // As it is before the item.
        if self.is_due() {
            let detail = if self.taken % DETAILED_EVERY == DETAILED_EVERY - 1 {
                Detail::Tree
            } else {
                Detail::None
            };
            self.snapshot(detail, out)?;
            while self.is_due() {
                self.taken += 1;
            }
        }
        if self.items == self.survey.last_end {
            self.snapshot(Detail::Tree, out)?;
        }
        let tally = &mut self.tally;
        self.clock
            .item(item, &mut self.ledger, |change| tally.change(change));
        tally.settle();
        if self.items == self.survey.peak_item {
            self.snapshot(Detail::Peak, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary, out: &mut dyn Write) -> io::Result<()> {
        // A reader wants one at least. A trace that was cut has not ended its processes: its last state.
        if self.survey.last_end == 0 {
            self.snapshot(Detail::Tree, out)?;
        }
        Ok(())
    }
}

/// A stack and how far outwards it was followed.
struct Cursor {
    /// The next frames: the innermost one's site is this stack's.
    stack: StackId,
    level: usize,
    bytes: u64,
    /// Whether the stack was not taken, and its one nameless frame is still to come.
    unknown: bool,
}

impl Cursor {
    fn new(tables: &Tables, stack: StackId, bytes: u64) -> Self {
        Self {
            stack,
            level: 0,
            bytes,
            unknown: tables.stacks.node(stack).is_none(),
        }
    }

    /// The next frame outwards.
    fn next(&mut self, tables: &Tables) -> Option<frames::Frame> {
        if std::mem::take(&mut self.unknown) {
            return frames::of_stack(tables, StackId::EMPTY).next();
        }
        let node = tables.stacks.node(self.stack)?;
        let frame = (node.site, self.level);
        self.level += 1;
        if self.level >= tables.depth_of(node.site) {
            (self.stack, self.level) = (node.parent, 0);
        }
        Some(frame)
    }
}

/// A node of a heap tree, with the stacks that go through it.
struct Branch {
    bytes: u64,
    title: String,
    cursors: Vec<Cursor>,
}

/// Writes a node and what is beyond it. Recursive: [`DEPTH_MAX`] bounds it.
fn write_branch(
    tables: &Tables,
    branch: Branch,
    depth: usize,
    threshold: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut by_frame: BTreeMap<frames::Frame, Vec<Cursor>> = BTreeMap::new();
    if depth < DEPTH_MAX {
        for mut cursor in branch.cursors {
            if let Some(frame) = cursor.next(tables) {
                by_frame.entry(frame).or_default().push(cursor);
            }
        }
    }
    let mut kept = Vec::new();
    let (mut places, mut rest) = (0_u64, 0_u64);
    for (frame, cursors) in by_frame {
        let sum = |sum: u64, cursor: &Cursor| sum.saturating_add(cursor.bytes);
        let bytes = cursors.iter().fold(0, sum);
        if bytes < threshold {
            places += 1;
            rest = rest.saturating_add(bytes);
            continue;
        }
        let address = frames::address(tables, frame.0).map_or(0, |address| address - 1);
        let described = frames::described(tables, frame);
        kept.push(Branch {
            bytes,
            title: plain(&format!("{address:#X}: {described}")),
            cursors,
        });
    }
    kept.sort_by_key(|branch| std::cmp::Reverse(branch.bytes));
    let children = kept.len() + usize::from(places > 0);
    let (indent, bytes, title) = (" ".repeat(depth), branch.bytes, &branch.title);
    writeln!(out, "{indent}n{children}: {bytes} {title}")?;
    for child in kept {
        write_branch(tables, child, depth + 1, threshold, out)?;
    }
    match places {
        0 => Ok(()),
        1 => writeln!(
            out,
            "{indent} n0: {rest} in 1 place, below massif's threshold (1.00%)"
        ),
        _ => writeln!(
            out,
            "{indent} n0: {rest} in {places} places, all below massif's threshold (1.00%)"
        ),
    }
}

/// Text without what begins a comment.
fn plain(text: &str) -> String {
    escape::shown(text).replace('#', "\\x23")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, exported};
    use super::super::{Format, Metric};
    use super::*;

    struct Snapshot {
        time: u64,
        bytes: u64,
        kind: String,
        tree: Vec<String>,
    }

    fn read(recording: &dyn Recording) -> (String, Vec<Snapshot>) {
        let text = exported(Format::Massif, recording, Metric::default());
        let text = String::from_utf8(text).unwrap();
        let (head, _) = text.split_once("#-").unwrap();
        let snapshots = text
            .split("snapshot=")
            .skip(1)
            .map(|part| {
                let value = |key: &str| {
                    let line = part.lines().find_map(|line| line.strip_prefix(key));
                    line.unwrap().to_owned()
                };
                Snapshot {
                    time: value("time=").parse().unwrap(),
                    bytes: value("mem_heap_B=").parse().unwrap(),
                    kind: value("heap_tree="),
                    tree: part
                        .lines()
                        .filter(|line| line.trim_start().starts_with('n'))
                        .map(Into::into)
                        .collect(),
                }
            })
            .collect();
        (head.into(), snapshots)
    }

    /// Reads a tree as `ms_print` does: a node says how many follow one level deeper.
    fn check_tree(lines: &mut std::slice::Iter<'_, String>, depth: usize) -> u64 {
        let line = lines.next().unwrap();
        assert!(!line.contains('#'));
        let (indent, rest) = line.split_at(depth);
        assert_eq!(indent.trim(), "");
        let (children, rest) = rest[1..].split_once(": ").unwrap();
        let bytes: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        let children: u64 = children.parse().unwrap();
        let below: u64 = (0..children).map(|_| check_tree(lines, depth + 1)).sum();
        assert!(below <= bytes, "{line}");
        if depth == 0 {
            assert_eq!(below, bytes, "{line}");
        }
        bytes
    }

    #[test]
    fn one_snapshot_is_the_peak_and_trees_add_up() {
        for recording in [samples::recording(), samples::plain()] {
            let (head, snapshots) = read(&recording);
            let summary = samples::summary(&recording);
            assert!(head.contains("\ncmd: ./program"), "{head}");
            assert!(head.starts_with("desc: recorded by sntrace"));
            let peaks: Vec<_> = snapshots.iter().filter(|s| s.kind == "peak").collect();
            assert_eq!(peaks.len(), 1);
            assert_eq!(peaks[0].bytes, summary.peak_bytes);
            assert!(snapshots.iter().all(|s| s.bytes <= summary.peak_bytes));
            assert!(snapshots.is_sorted_by_key(|s| s.time));
            for snapshot in snapshots.iter().filter(|s| s.kind != "empty") {
                let mut lines = snapshot.tree.iter();
                assert_eq!(check_tree(&mut lines, 0), snapshot.bytes);
                assert!(lines.next().is_none());
            }
        }
    }

    #[test]
    fn the_last_snapshot_has_what_leaked() {
        let recording = samples::plain();
        let (_, snapshots) = read(&recording);
        let last = snapshots.last().unwrap();
        assert_eq!(last.bytes, samples::summary(&recording).leaked_bytes);
        assert_eq!(last.kind, "detailed");
    }

    #[test]
    fn a_run_without_allocations_has_a_snapshot() {
        let (_, snapshots) = read(&samples::empty());
        assert!(!snapshots.is_empty());
        assert!(snapshots.iter().all(|s| s.bytes == 0));
    }
}
