//! Process images: how they begin, how their end is noticed, what their call sites are.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use sntrace_format::verdict::Verdict;

use super::lane::Lane;
use super::order::Other;
use super::segment::{self, Segment};
use super::{BUFFERED_WORDS_MAX, Collector, Downstream};
use crate::trace::{Exit, ImageId};

/// A process image that speaks.
pub(super) struct Image {
    pub pid: u32,
    /// Its slot in the segment.
    pub slot: Option<usize>,
    /// A handle that tells when the process is gone.
    pub handle: Option<std::os::fd::OwnedFd>,
    pub exit: Option<Exit>,
    /// Its process was gone at the last look.
    pub gone: bool,
}

/// Call sites' verdicts, for whoever names the events. Cheap to clone.
#[derive(Clone, Default)]
pub struct Boards {
    pub(super) segment: Option<Arc<Segment>>,
    pub(super) slots: Arc<Mutex<HashMap<ImageId, usize>>>,
}

impl Boards {
    /// The image's board, as a handle for [`Boards::judge`].
    #[must_use]
    pub fn find(&self, image: ImageId) -> Option<usize> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&image)
            .copied()
    }

    pub(super) fn remember(&self, image: ImageId, slot: Option<usize>) {
        if let Some(slot) = slot {
            self.slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(image, slot);
        }
    }

    /// Tells the image's hook what a call site is.
    pub fn judge(&self, board: usize, address: u64, epoch: u32, what: Verdict) {
        if let Some(segment) = &self.segment {
            segment.judge(board, address, epoch, what);
        }
    }
}

impl Collector {
    pub(super) fn image_began(&mut self, image: ImageId, pid: u32, slot: Option<usize>) {
        self.statistics.images += 1;
        // The same process with another program: the old one is over. Numbers are given out in the order
        // of the programs, and lanes are read in any: the old one's first words may come last.
        let mut programs = self.images.iter().filter(|(_, other)| other.pid == pid);
        let is_last = programs.all(|(&other, _)| other <= image);
        let mut exit = Some(Exit::Exec);
        if is_last {
            // How the process ended may be known already, if it was quick: that is the last program's
            // end.
            exit = self.early_ends.remove(&pid);
            for (&other, old) in &mut self.images {
                if old.pid == pid && other != image && old.exit != Some(Exit::Exec) {
                    exit = exit.or(old.exit);
                    old.exit = Some(Exit::Exec);
                }
            }
        }
        self.images.insert(
            image,
            Image {
                pid,
                slot,
                handle: segment::process_handle(pid),
                exit,
                gone: false,
            },
        );
    }

    pub(super) fn process_ended(&mut self, pid: u32, exit: Exit) {
        let mut known = false;
        for image in self.images.values_mut() {
            if image.pid == pid && image.exit.is_none() {
                image.exit = Some(exit);
                known = true;
            }
        }
        if !known {
            self.early_ends.insert(pid, exit);
        }
    }

    /// Processes that are not sntrace's children: their handles tell that they are gone. At the
    /// second look, as the handles of its children tell that too, and sooner than it is known how
    /// they ended.
    pub(super) fn look_at_processes(&mut self) {
        for image in self.images.values_mut() {
            if image.exit.is_none() && image.handle.as_ref().is_some_and(segment::is_gone) {
                if image.gone {
                    image.exit = Some(Exit::Unknown);
                }
                image.gone = true;
            }
        }
    }

    /// Reads the last of images that ended and gives their lanes and slots back.
    pub(super) fn free_ended_images(&mut self, now: u64, send: &mut dyn Downstream) {
        // Whoever begins later is another process.
        self.early_ends.clear();
        let ended: Vec<ImageId> = self
            .images
            .iter()
            .filter(|(_, image)| image.exit.is_some())
            .map(|(&id, _)| id)
            .collect();
        if !ended.is_empty() {
            // Whatever they wrote is in the pipe by now, which one call empties. It must be heard
            // before the word that they ended.
            self.read_pipe();
            for lane in self.lanes.iter_mut().flatten() {
                lane.ended |= ended.contains(&lane.image);
            }
            self.read_lanes(now, send);
        }
        for id in ended {
            if let Some(segment) = self.segment.clone() {
                self.read_ended(&segment, id, now, send);
            }
            let Some(image) = self.images.remove(&id) else {
                continue;
            };
            if let (Some(segment), Some(slot)) = (&self.segment, image.slot) {
                self.boards
                    .slots
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&id);
                segment.free_slot(slot);
            }
            if let Some(exit) = image.exit {
                // No thread's own: the thread that said the last word may not be the last to have
                // its word heard.
                let now = self.clock.now();
                self.orderer.deliver_other(id, now, Other::Ended(exit));
            }
        }
    }

    /// Reads all that an image that has ended left in its lanes, and gives them back.
    fn read_ended(&mut self, segment: &Segment, id: ImageId, now: u64, send: &mut dyn Downstream) {
        // It may have claimed more since the last look; what is emitted must not overtake them.
        self.know_lanes(segment);
        let its_own = |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| lane.image == id);
        for index in 0..self.lanes.len() {
            let Some(mut lane) = self.lanes[index].take_if(|lane| lane.image == id) else {
                continue;
            };
            lane.ended = true;
            lane.look();
            self.read_lane(segment, &mut lane, u64::MAX);
            let header = lane.consumer.header();
            self.statistics.dropped_events += header.dropped();
            let cost = header.cost();
            self.waited_ticks = self.waited_ticks.saturating_add(cost.waited);
            self.sampled_ticks = self.sampled_ticks.saturating_add(cost.sampled);
            self.statistics.sampled_events += cost.samples;
            lane.clean_until = u64::MAX;
            self.lanes[index] = Some(lane);
            if self.orderer.buffered_words() > BUFFERED_WORDS_MAX / 4 {
                self.emit(now, false, send);
            }
        }
        for index in 0..self.lanes.len() {
            if its_own(&self.lanes[index]) {
                self.lanes[index] = None;
                let header = segment.lane(index);
                header.reset();
                // Release: the next owner finds the lane empty.
                header.owner.store(0, Ordering::Release);
            }
        }
    }
}
