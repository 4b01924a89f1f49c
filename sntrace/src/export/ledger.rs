//! Live blocks of all processes, and what each item of a trace changes about them.
//!
//! The model says what an event did; exports need to know which block, allocated where, it gave
//! back. The ledger keeps that and turns items into [`Change`]s: a block begins, a block ends. A
//! `realloc` is an end and a begin. A forked child has its parent's blocks, which begin in it as
//! *inherited*: they count as live, but nobody has allocated them. The end of a process ends its
//! blocks. Mappings (mmap and its like) are no blocks, here as in the summary.
//!
//! What an event can't have done is passed by: a release of a block that is not known changes
//! nothing, and of two blocks at one address the first one stays, as in the model, with the second
//! one ending as it begins. Memory is bounded by the live blocks.

use std::collections::HashMap;

use crate::symbolize::hash::AddressMap;
use crate::trace::{Event, Exit, ImageId, Item, StackId};

/// A block that was obtained and not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Who has it.
    pub image: ImageId,
    /// Where it is.
    pub address: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// The stack that allocated it.
    pub stack: StackId,
    /// When it was allocated, in nanoseconds since the run began. In a child: when it was forked.
    pub begun_ns: u64,
    /// Whether it came with a fork: nobody has allocated this copy.
    pub inherited: bool,
}

/// Why a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was given back, by a call with this stack.
    Released(StackId),
    /// Its process ended: a leak.
    Leaked,
    /// Its process runs another program now.
    Swept,
}

/// What happened to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is live from now on.
    Begin(Block),
    /// It is not any more.
    End {
        /// The block.
        block: Block,
        /// Why.
        end: End,
        /// Whether it was temporary.
        temporary: bool,
        /// When, in nanoseconds since the run began.
        time_ns: u64,
    },
}

#[derive(Clone, Copy)]
struct Entry {
    bytes: u64,
    begun_ns: u64,
    stack: StackId,
    inherited: bool,
}

type Blocks = AddressMap<u64, Entry>;

/// See the module.
#[derive(Default)]
pub struct Ledger {
    images: HashMap<ImageId, Blocks>,
    /// The image of the last event, kept out of the table: nearly all events come in runs.
    current: Option<(ImageId, Blocks)>,
    last_ns: u64,
}

impl Ledger {
    /// The latest time that any item told, in nanoseconds since the run began.
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Takes in an item, and says what it changed.
    pub fn item(&mut self, item: &Item, each: &mut dyn FnMut(Change)) {
        match item {
            Item::Event(event) => self.event(event, each),
            Item::Process {
                image,
                forked_from: Some(parent),
                time_ns,
                ..
            } => {
                self.last_ns = self.last_ns.max(*time_ns);
                let mut blocks = self.blocks(*parent).clone();
                for (address, entry) in in_order(&mut blocks) {
                    entry.inherited = true;
                    entry.begun_ns = *time_ns;
                    each(Change::Begin(entry.block(*image, address)));
                }
                *self.blocks(*image) = blocks;
            }
            Item::Process { time_ns, .. } => self.last_ns = self.last_ns.max(*time_ns),
            Item::Ended { image, exit, .. } => {
                let mut blocks = std::mem::take(self.blocks(*image));
                self.current = None;
                self.images.remove(image);
                let end = match exit {
                    Exit::Exec => End::Swept,
                    _ => End::Leaked,
                };
                for (address, entry) in in_order(&mut blocks) {
                    each(Change::End {
                        block: entry.block(*image, address),
                        end,
                        temporary: false,
                        time_ns: self.last_ns,
                    });
                }
            }
            // What else happens concerns names.
            _ => {}
        }
    }

    fn event(&mut self, event: &Event, each: &mut dyn FnMut(Change)) {
        self.last_ns = self.last_ns.max(event.time_ns);
        if event.op.is_mapping() {
            return;
        }
        let released = if event.op.only_releases() {
            event.block
        } else {
            event.old_block
        };
        let blocks = self.blocks(event.image);
        let released_by = |block, temporary| Change::End {
            block,
            end: End::Released(event.stack),
            temporary,
            time_ns: event.time_ns,
        };
        // Without `released` the model knows of no block that ended: a failed realloc names one.
        if event.released.is_some()
            && let Some(entry) = blocks.remove(&released)
        {
            each(released_by(
                entry.block(event.image, released),
                event.temporary,
            ));
        }
        if event.allocated() {
            let new = Entry {
                bytes: event.bytes(),
                begun_ns: event.time_ns,
                stack: event.stack,
                inherited: false,
            };
            let block = new.block(event.image, event.block);
            each(Change::Begin(block));
            match blocks.entry(event.block) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(new);
                }
                std::collections::hash_map::Entry::Occupied(_) => each(released_by(block, false)),
            }
        }
    }

    fn blocks(&mut self, image: ImageId) -> &mut Blocks {
        if self.current.as_ref().is_none_or(|(is, _)| *is != image) {
            if let Some((old, blocks)) = self.current.take() {
                self.images.insert(old, blocks);
            }
            self.current = Some((image, self.images.remove(&image).unwrap_or_default()));
        }
        match &mut self.current {
            Some((_, blocks)) => blocks,
            None => unreachable!("set above"),
        }
    }
}

impl Entry {
    fn block(&self, image: ImageId, address: u64) -> Block {
        Block {
            image,
            address,
            bytes: self.bytes,
            stack: self.stack,
            begun_ns: self.begun_ns,
            inherited: self.inherited,
        }
    }
}

/// By address: what is written of a trace should not depend on how a table hashes.
fn in_order(blocks: &mut Blocks) -> Vec<(u64, &mut Entry)> {
    let mut all: Vec<_> = blocks
        .iter_mut()
        .map(|(&address, entry)| (address, entry))
        .collect();
    all.sort_unstable_by_key(|(address, _)| *address);
    all
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::output::Summary;
    use crate::trace::Recording;

    #[test]
    fn what_begins_and_ends_adds_up_to_the_summary() {
        let recording = samples::recording();
        let (mut ledger, mut summary) = (Ledger::default(), Summary::default());
        let (mut allocations, mut live, mut leaked, mut temporary) = (0, 0, 0, 0);
        let mut inherited = 0;
        recording
            .replay(&mut |item| {
                summary.item(item);
                ledger.item(item, &mut |change| match change {
                    Change::Begin(block) => {
                        allocations += u64::from(!block.inherited);
                        inherited += u64::from(block.inherited);
                        live += block.bytes;
                    }
                    Change::End {
                        block,
                        end,
                        temporary: was,
                        ..
                    } => {
                        live -= block.bytes;
                        temporary += u64::from(was);
                        if end == End::Leaked {
                            leaked += block.bytes;
                        }
                    }
                });
            })
            .unwrap();
        assert_eq!(allocations, summary.allocations);
        assert_eq!(leaked, summary.leaked_bytes);
        assert_eq!(temporary, summary.temporary_allocations);
        assert_eq!(live, 0);
        assert!(inherited > 0 && leaked > 0 && temporary > 0);
    }

    #[test]
    fn two_blocks_at_one_address_do_not_confuse_it() {
        let event = |op, released| {
            Item::Event(Event {
                op,
                released,
                ..samples::event(crate::trace::Op::Malloc, 8)
            })
        };
        let mut ledger = Ledger::default();
        let mut live = 0_i64;
        for item in [
            event(crate::trace::Op::Malloc, None),
            event(crate::trace::Op::Malloc, None),
            event(crate::trace::Op::Free, Some(8)),
            event(crate::trace::Op::Free, Some(8)),
        ] {
            ledger.item(&item, &mut |change| match change {
                Change::Begin(_) => live += 1,
                Change::End { .. } => live -= 1,
            });
            assert!((0..=1).contains(&live));
        }
        assert_eq!(live, 0);
    }
}
