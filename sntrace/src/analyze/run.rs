//! The pass over a trace: each event is worked out once and told to everyone who counts.
//!
//! The order within an event is that of the summary: what it releases goes before what it obtains, and
//! the peak is looked at when both are done. Whether an event counts as an allocation and a free is the
//! summary's decision alone; the ledger says which blocks that concerns.

use super::callers::Callers;
use super::counts::Counts;
use super::crossings::CrossingCounter;
use super::leaks::Leaks;
use super::ledger::{Block, Ledger, Met, Release};
use super::lifetimes::Lifetimes;
use super::misuse::Judge;
use super::modules;
use super::peak::Peak;
use super::processes::ProcessTotals;
use super::regrowth::{Chains, Step};
use super::sites::{Slots, StackTotals, Stacks};
use super::sizes::Sizes;
use super::threads::Threads;
use super::timeline::Timeline;
use super::{Analysis, AnalysisOptions};
use crate::output::Summary;
use crate::trace::{Event, Exit, ImageId, Item, Op, Recording, StackId, Tables};

pub(super) struct Run {
    totals: Summary,
    ledger: Ledger,
    callers: Callers,
    slots: Slots,
    /// By slot.
    stacks: Vec<StackTotals>,
    peak: Peak,
    timeline: Timeline,
    sizes: Sizes,
    lifetimes: Lifetimes,
    threads: Threads,
    /// By the ledger's seat.
    processes: Vec<ProcessTotals>,
    crossings: CrossingCounter,
    chains: Chains,
    judge: Judge,
    last_ns: u64,
}

impl Run {
    pub fn new(tables: &Tables) -> Run {
        let stacks = tables.stacks.len();
        Run {
            totals: Summary::default(),
            ledger: Ledger::default(),
            callers: Callers::of(tables),
            slots: Slots::new(stacks),
            stacks: Vec::new(),
            peak: Peak::new(),
            timeline: Timeline::default(),
            sizes: Sizes::default(),
            lifetimes: Lifetimes::default(),
            threads: Threads::default(),
            processes: Vec::new(),
            crossings: CrossingCounter::default(),
            chains: Chains::default(),
            judge: Judge::default(),
            last_ns: 0,
        }
    }

    #[inline]
    pub fn item(&mut self, item: &Item) {
        self.peak.tick();
        match item {
            Item::Event(event) => self.event(event),
            Item::Process {
                image,
                time_ns,
                forked_from,
                ..
            } => self.begin(item, *image, *time_ns, *forked_from),
            Item::Ended { image, exit, .. } => self.end(*image, *exit),
            // Names are in the tables already.
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) {
        self.last_ns = self.last_ns.max(event.time_ns);
        let seat = self.seat(event.image, event.time_ns);
        let (frees, peak) = (self.totals.frees, self.totals.peak_bytes);
        self.count(event, seat);
        if event.op.is_mapping() {
            return;
        }
        let stack = match self.slots.has(event.stack) {
            true => event.stack,
            false => StackId::EMPTY,
        };
        let thread = self.threads.number(event.image, event.tid, event.time_ns);
        let frees = self.totals.frees - frees;
        if let Some(totals) = self.threads.all.get_mut(thread as usize) {
            totals.last_ns = totals.last_ns.max(event.time_ns);
            totals.frees += frees;
        }
        if let Some(process) = self.processes.get_mut(seat as usize) {
            process.frees += frees;
        }
        let by = Release {
            op: event.op,
            time_ns: event.time_ns,
            stack,
            thread,
        };
        let given_back = given_back(event);
        let ended = match given_back {
            0 => None,
            address => self.release(seat, address, event, by),
        };
        let lost = ended.map_or(0, |block| block.bytes);
        let mut gained = 0;
        if event.allocated() {
            gained = event.bytes();
            self.obtain(seat, event, by, ended);
        } else if let Some(block) = ended {
            self.chains.end(block.chain);
        }
        if let Some(process) = self.processes.get_mut(seat as usize) {
            process.live(gained, lost);
        }
        self.timeline.note(
            event.time_ns,
            self.peak.live_bytes(),
            u64::from(event.allocated()),
        );
        if self.totals.peak_bytes != peak {
            self.peak.mark();
        }
    }

    /// The totals know images by dense numbers from 1. A trace may number them otherwise, be it by
    /// damage.
    #[inline]
    fn count(&mut self, event: &Event, seat: u32) {
        if event.image.0 == seat + 1 {
            self.totals.event(event);
        } else {
            self.totals.event(&Event {
                image: ImageId(seat + 1),
                ..*event
            });
        }
    }

    #[inline]
    fn seat(&mut self, image: ImageId, time_ns: u64) -> u32 {
        let seat = self.ledger.seat(image);
        if seat as usize == self.processes.len() {
            self.processes.push(ProcessTotals::unknown(image, time_ns));
        }
        seat
    }

    #[inline]
    fn release(&mut self, seat: u32, address: u64, event: &Event, by: Release) -> Option<Block> {
        let block = match self.ledger.release(seat, address, by) {
            Met::Live(block) => block,
            Met::Freed(before) => {
                self.judge.released_again(&before, event, by);
                return None;
            }
            Met::Inherited => {
                self.judge.released_inherited();
                return None;
            }
            Met::Unknown => {
                self.judge.released_unknown(by);
                return None;
            }
        };
        let callers = &self.callers;
        self.judge
            .released(&block, event, by, |stack| callers.operator_of(stack));
        let counts = Counts::one(block.bytes);
        let lifetime_ns = by.time_ns.saturating_sub(block.time_ns);
        let slot = self.slots.of(block.stack);
        self.peak.lose(slot, counts);
        self.lifetimes.note(lifetime_ns);
        if let Some(totals) = self.stacks.get_mut(slot) {
            totals.freed += 1;
            totals.lifetime_ns += u128::from(lifetime_ns);
            if event.temporary {
                totals.temporary += counts;
            }
            if block.thread != by.thread {
                totals.crossed += counts;
            }
        }
        if event.temporary {
            if let Some(thread) = self.threads.all.get_mut(block.thread as usize) {
                thread.temporary += counts;
            }
            if let Some(process) = self.processes.get_mut(seat as usize) {
                process.temporary += counts;
            }
        }
        if block.thread != by.thread {
            self.crossings.note(block.thread, by.thread, block.bytes);
            if let Some(thread) = self.threads.all.get_mut(by.thread as usize) {
                thread.crossed += counts;
            }
        }
        Some(block)
    }

    #[inline]
    fn obtain(&mut self, seat: u32, event: &Event, by: Release, replaced: Option<Block>) {
        let bytes = event.bytes();
        let chain = match &replaced {
            Some(block) => self.chains.step(
                block.chain,
                Step {
                    origin: block.stack,
                    old_bytes: block.bytes,
                    new_bytes: bytes,
                    moved: event.block != event.old_block,
                },
            ),
            None => 0,
        };
        let block = Block {
            bytes,
            time_ns: event.time_ns,
            stack: by.stack,
            thread: by.thread,
            chain,
            op: event.op,
            // At most 63.
            alignment_log2: event.alignment.checked_ilog2().unwrap_or(0) as u8,
        };
        if let Some(displaced) = self.ledger.obtain(seat, event.block, block) {
            self.chains.end(displaced.chain);
        }
        let counts = Counts::one(bytes);
        let slot = self.slots.of(by.stack);
        self.peak.gain(slot, counts);
        self.sizes.note(bytes);
        if slot >= self.stacks.len() {
            self.stacks.resize(slot + 1, StackTotals::default());
        }
        self.stacks[slot].allocated += counts;
        if let Some(thread) = self.threads.all.get_mut(by.thread as usize) {
            thread.allocated += counts;
        }
        if let Some(process) = self.processes.get_mut(seat as usize) {
            process.allocated += counts;
        }
    }

    fn begin(&mut self, item: &Item, image: ImageId, time_ns: u64, forked_from: Option<ImageId>) {
        self.last_ns = self.last_ns.max(time_ns);
        let parent = forked_from.map(|parent| self.seat(parent, time_ns));
        let seat = self.seat(image, time_ns);
        let peak = self.totals.peak_bytes;
        let inherits = match parent {
            Some(parent) if parent != seat => self.ledger.fork(parent, seat),
            _ => Default::default(),
        };
        if let Some(process) = self.processes.get_mut(seat as usize) {
            process.begin(item, &inherits);
        }
        let mut item = item.clone();
        if let Item::Process {
            image, forked_from, ..
        } = &mut item
        {
            *image = ImageId(seat + 1);
            *forked_from = parent
                .filter(|&parent| parent != seat)
                .map(|parent| ImageId(parent + 1));
        }
        self.totals.item(&item);
        for &(stack, counts) in &*inherits {
            self.peak.gain(self.slots.of(stack), counts);
        }
        self.timeline.note(time_ns, self.peak.live_bytes(), 0);
        if self.totals.peak_bytes != peak {
            self.peak.mark();
        }
    }

    /// What was live is what the events say, as in all other figures: the item says the same, or is
    /// not to be trusted.
    fn end(&mut self, image: ImageId, exit: Exit) {
        let seat = self.seat(image, self.last_ns);
        let estate = self.ledger.end(seat);
        for &(stack, counts) in estate.inherited.iter().chain(&estate.displaced) {
            self.peak.lose(self.slots.of(stack), counts);
        }
        let mut leaked = Counts::default();
        for block in estate.live {
            let counts = Counts::one(block.bytes);
            let slot = self.slots.of(block.stack);
            self.peak.lose(slot, counts);
            self.chains.end(block.chain);
            if exit == Exit::Exec {
                continue;
            }
            leaked += counts;
            if let Some(totals) = self.stacks.get_mut(slot) {
                totals.leaked += counts;
            }
            if let Some(thread) = self.threads.all.get_mut(block.thread as usize) {
                thread.leaked += counts;
            }
        }
        self.totals.item(&Item::Ended {
            image: ImageId(seat + 1),
            exit,
            live_blocks: leaked.blocks,
            live_bytes: leaked.bytes,
        });
        if let Some(process) = self.processes.get_mut(seat as usize) {
            process.leaked += leaked;
            process.end_ns = Some(self.last_ns);
            process.exit = Some(exit);
            process.live_bytes = 0;
        }
        self.timeline.note(self.last_ns, self.peak.live_bytes(), 0);
    }

    pub fn finish(mut self, recording: &dyn Recording, options: &AnalysisOptions) -> Analysis {
        let certificate = recording.certificate();
        self.totals.dropped_events = certificate.dropped_events;
        let mut unended = Counts::default();
        for block in self.ledger.live() {
            unended += Counts::one(block.bytes);
            self.chains.end(block.chain);
        }
        // What a child inherited may be live at the peak without having been allocated by a stack of ours.
        self.stacks
            .resize(self.slots.stacks().len(), StackTotals::default());
        for (totals, peak) in self.stacks.iter_mut().zip(self.peak.finish()) {
            totals.peak = peak;
        }
        let stacks = Stacks::of(&self.slots, self.stacks);
        let doubtful = certificate.dropped_events > 0
            || certificate.unordered_events > 0
            || certificate.damaged_lanes > 0;
        Analysis {
            duration_ns: self.last_ns.max(certificate.cost.wall_ns),
            modules: modules::of(&stacks, &self.callers),
            leaks: Leaks::of(&stacks, recording.tables(), &options.suppressions, unended),
            misuse: self.judge.finish(self.ledger.forgotten(), doubtful),
            totals: self.totals,
            stacks,
            callers: self.callers,
            timeline: self.timeline,
            sizes: self.sizes,
            lifetimes: self.lifetimes,
            threads: self.threads.all,
            processes: self.processes,
            crossings: self.crossings.finish(),
            regrowths: self.chains.finish(),
        }
    }
}

/// The block that an event gives back, or 0. glibc's `realloc(block, 0)` frees and returns null; any
/// other null of a realloc left the block alone.
#[inline]
fn given_back(event: &Event) -> u64 {
    if event.op.only_releases() {
        return event.block;
    }
    let freed_by_zero = event.op == Op::Realloc && event.block == 0 && event.size == 0;
    match event.op.replaces() && (event.block != 0 || freed_by_zero) {
        true => event.old_block,
        false => 0,
    }
}
