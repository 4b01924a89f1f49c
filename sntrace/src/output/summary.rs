//! The totals of a run: the last thing that every output says.
//!
//! Kept up with every event, for the price of a few additions. What counts as what:
//!
//! - an *allocation* is a call that obtained a block; a failed one is an event and a
//!   `failed_allocations`, and nothing else;
//! - a *free* is a call that gave a block back, also one that was allocated before tracing began;
//! - a successful `realloc` of a block is one allocation and one free (whether or not the block
//!   moved), of null one allocation, to size 0 (where the C library frees) one free;
//! - *live* bytes are requested bytes, not what the allocator rounds them to. A `realloc` takes
//!   effect at once: old and new block do not count together;
//! - a forked child has its parent's blocks too, so they count twice while both run: the peak is a
//!   sum over processes;
//! - *leaks* are what was live when a process ended, except by exec, which is no end of a program's
//!   own making. How many that is the model says ([`Item::Ended`]);
//! - mmap, munmap, mremap and brk are counted apart: an allocator gets its memory that way, and
//!   adding both would count bytes twice.

use std::collections::HashMap;

use serde::Serialize;

use crate::trace::{Event, Exit, ImageId, Item};

/// The totals, and what it takes to keep them. Serializes as the JSON formats' `summary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All events.
    pub events: u64,
    /// Calls that obtained a block.
    pub allocations: u64,
    /// Calls that gave a block back.
    pub frees: u64,
    /// Requested bytes of all allocations.
    pub bytes_allocated: u64,
    /// Largest sum of live requested bytes over the traced processes.
    pub peak_bytes: u64,
    /// When it was first reached, in nanoseconds since the run began.
    pub peak_time_ns: u64,
    /// Blocks live when their process ended.
    pub leaked_allocations: u64,
    /// Their requested bytes.
    pub leaked_bytes: u64,
    /// Allocations freed by their thread with no other allocation of that thread in between.
    pub temporary_allocations: u64,
    /// Events that the program made and sntrace has not: set by whoever collects them.
    pub dropped_events: u64,
    /// Calls that wanted a block and got none.
    pub failed_allocations: u64,
    /// Calls of mmap, munmap, mremap and brk.
    pub mapping_events: u64,
    /// Bytes asked of mmap and mremap.
    pub mapped_bytes: u64,
    /// With a filter: events that it let through to the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_events: Option<u64>,
    /// Requested bytes live now, over all images.
    #[serde(skip)]
    pub(super) live_bytes: u64,
    /// The image of the last event and what it has live, kept out of the table: nearly all events come in runs.
    #[serde(skip)]
    pub(super) current: Option<(ImageId, u64)>,
    /// By image: requested bytes live now, but for the current one's. Those without any are left out. By
    /// number in a table and not in a row of all numbers: a trace's file may say any number.
    #[serde(skip)]
    pub(super) others: HashMap<ImageId, u64>,
}

impl Summary {
    /// Takes in an item. Events may be given here or to [`Summary::event`], not to both.
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.event(event),
            Item::Process {
                image,
                forked_from,
                time_ns,
                ..
            } => {
                let inherited = forked_from.map_or(0, |parent| *self.live(parent));
                *self.live(*image) = inherited;
                self.live_bytes = self.live_bytes.saturating_add(inherited);
                self.note_peak(*time_ns);
            }
            Item::Ended {
                image,
                exit,
                live_blocks,
                live_bytes,
            } => {
                let gone = std::mem::take(self.live(*image));
                self.live_bytes = self.live_bytes.saturating_sub(gone);
                if *exit != Exit::Exec {
                    self.leaked_allocations = self.leaked_allocations.saturating_add(*live_blocks);
                    self.leaked_bytes = self.leaked_bytes.saturating_add(*live_bytes);
                }
            }
            // What else happens concerns names, not totals.
            _ => {}
        }
    }

    /// Takes in an event. The hot path.
    #[inline]
    pub fn event(&mut self, event: &Event) {
        self.events += 1;
        if event.op.is_mapping() {
            return self.mapping(event);
        }
        let lost = event.released.unwrap_or(0);
        let gained = if event.allocated() {
            self.allocations += 1;
            // A block that gave way to another.
            let replaced = event.old_block != 0 || event.released.is_some();
            self.frees += u64::from(replaced);
            event.bytes()
        } else {
            let released = event.op.only_releases()
                || event.released.is_some()
                || (event.old_block != 0 && event.bytes() == 0);
            self.frees += u64::from(released);
            self.failed_allocations += u64::from(!released);
            0
        };
        self.temporary_allocations += u64::from(event.temporary);
        self.bytes_allocated = self.bytes_allocated.saturating_add(gained);
        // The model only reports blocks that it saw allocated, so that less is live than was
        // released only where a sum saturated: sizes are what the program asked for, be it absurd.
        let live = self.live(event.image);
        *live = live.saturating_sub(lost).saturating_add(gained);
        self.live_bytes = self.live_bytes.saturating_sub(lost).saturating_add(gained);
        self.note_peak(event.time_ns);
    }

    #[cold]
    fn mapping(&mut self, event: &Event) {
        self.mapping_events += 1;
        if event.allocated() {
            self.mapped_bytes = self.mapped_bytes.saturating_add(event.bytes());
        }
    }

    #[inline]
    fn note_peak(&mut self, time_ns: u64) {
        if self.live_bytes > self.peak_bytes {
            self.peak_bytes = self.live_bytes;
            self.peak_time_ns = time_ns;
        }
    }

    #[inline(always)]
    fn live(&mut self, image: ImageId) -> &mut u64 {
        if self.current.is_none_or(|(current, _)| current != image) {
            self.leave_image();
        }
        let others = &mut self.others;
        let current = &mut self.current;
        &mut current
            .get_or_insert_with(|| (image, others.remove(&image).unwrap_or(0)))
            .1
    }

    #[cold]
    fn leave_image(&mut self) {
        if let Some((image, left)) = self.current.take()
            && left > 0
        {
            self.others.insert(image, left);
        }
    }

    /// Appends the JSON object.
    pub(crate) fn json(&self, out: &mut Vec<u8>) {
        // Writing numbers to memory does not fail.
        let _ = serde_json::to_writer(out, self);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::trace::Op;

    const ONE: ImageId = ImageId(1);
    const TWO: ImageId = ImageId(2);

    fn malloc(image: ImageId, time_ns: u64, size: u64) -> Event {
        Event {
            image,
            time_ns,
            size,
            ..samples::event(Op::Malloc)
        }
    }

    fn free(image: ImageId, time_ns: u64, bytes: u64) -> Event {
        Event {
            image,
            time_ns,
            size: 0,
            released: Some(bytes),
            ..samples::event(Op::Free)
        }
    }

    fn begin(image: ImageId, forked_from: Option<ImageId>) -> Item {
        Item::Process {
            image,
            time_ns: 7,
            pid: 1,
            ppid: 1,
            forked_from,
            executable: Vec::new(),
            command: Vec::new(),
        }
    }

    fn ended(image: ImageId, exit: Exit, live_blocks: u64, live_bytes: u64) -> Item {
        Item::Ended {
            image,
            exit,
            live_blocks,
            live_bytes,
        }
    }

    fn of(events: &[Event]) -> Summary {
        let mut summary = Summary::default();
        for event in events {
            summary.event(event);
        }
        summary
    }

    #[test]
    fn the_peak_is_when_most_was_first_live() {
        let summary = of(&[
            malloc(ONE, 1, 100),
            malloc(ONE, 2, 50),  // 150
            free(ONE, 3, 100),   // 50
            malloc(ONE, 4, 100), // 150 again
            free(ONE, 5, 50),
        ]);
        assert_eq!((summary.peak_bytes, summary.peak_time_ns), (150, 2));
        assert_eq!(
            (summary.events, summary.allocations, summary.frees),
            (5, 3, 2)
        );
        assert_eq!(summary.bytes_allocated, 250);
    }

    #[test]
    fn a_realloc_is_an_allocation_and_a_free() {
        let realloc = samples::event(Op::Realloc);
        let summary = of(&[
            Event {
                old_block: 0,
                size: 10,
                ..realloc
            },
            Event {
                size: 30,
                released: Some(10),
                ..realloc
            },
            // Of a block from before tracing.
            Event {
                size: 5,
                released: None,
                ..realloc
            },
            // realloc(p, 0): freed.
            Event {
                size: 0,
                block: 0,
                released: Some(30),
                ..realloc
            },
            // Failed: the old block stays.
            Event {
                size: 1 << 60,
                block: 0,
                ..realloc
            },
        ]);
        assert_eq!(
            (
                summary.allocations,
                summary.frees,
                summary.failed_allocations
            ),
            (3, 3, 1)
        );
        assert_eq!((summary.bytes_allocated, summary.peak_bytes), (45, 35));
    }

    #[test]
    fn mappings_are_counted_apart() {
        let summary = of(&samples::one_of_each()
            .filter(|e| e.op.is_mapping())
            .collect::<Vec<_>>());
        assert_eq!(
            (summary.events, summary.mapping_events, summary.mapped_bytes),
            (4, 4, 144)
        );
        assert_eq!(
            (summary.allocations, summary.frees, summary.peak_bytes),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_process_takes_its_blocks_with_it() {
        let mut summary = of(&[malloc(ONE, 1, 100)]);
        summary.item(&begin(TWO, Some(ONE))); // both have it: 200
        assert_eq!(summary.peak_bytes, 200);
        summary.event(&free(TWO, 8, 100));
        summary.event(&malloc(TWO, 9, 90)); // 190
        summary.item(&ended(TWO, Exit::Exec, 1, 90)); // 100
        summary.event(&malloc(ONE, 10, 99)); // 199
        assert_eq!(summary.peak_bytes, 200);
        summary.item(&ended(ONE, Exit::Code(0), 2, 199));
        // What an exec swept away is no leak.
        assert_eq!((summary.leaked_allocations, summary.leaked_bytes), (2, 199));
        assert_eq!(summary.live_bytes, 0);
    }

    #[test]
    fn sizes_beyond_all_measure_do_not_overflow() {
        let huge = Event {
            size: u64::MAX,
            count: 3,
            ..malloc(ONE, 1, 0)
        };
        let summary = of(&[
            huge,
            huge,
            free(ONE, 2, u64::MAX),
            free(ONE, 3, u64::MAX),
            free(TWO, 4, 9),
        ]);
        assert_eq!(summary.bytes_allocated, u64::MAX);
        assert_eq!(summary.live_bytes, 0);
    }

    #[test]
    fn nothing_that_a_file_says_of_images_takes_memory_or_overflows() {
        let mut summary = Summary::default();
        for number in (0..100).map(|nth| u32::MAX - nth * 1_000_003) {
            let image = ImageId(number);
            summary.item(&begin(image, Some(ImageId(number / 2))));
            summary.event(&malloc(image, 1, 10));
            summary.item(&ended(image, Exit::Code(0), u64::MAX, u64::MAX));
        }
        assert_eq!(summary.leaked_allocations, u64::MAX);
        assert_eq!((summary.live_bytes, summary.peak_bytes), (0, 10));
        assert!(summary.others.is_empty());
    }
}
