//! What the writing side of a trace file knows of live blocks: who owns which address, and by which
//! number the reading side knows that block.

use std::hash::BuildHasherDefault;

use hashbrown::hash_map::Entry;

use super::model::{Lane, Numbers};
use crate::trace::live::AddressHasher;

/// A live block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub number: u32,
    /// When its lane obtained it.
    pub when: u32,
    /// Requested bytes, if that many fit.
    pub bytes: u32,
    pub class: u8,
    pub lane: u8,
}

/// The live blocks of an image, by their addresses.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    by_address: hashbrown::HashMap<u64, Owned, BuildHasherDefault<AddressHasher>>,
    numbers: Numbers,
}

impl Blocks {
    /// The block at an address.
    pub(super) fn get(&self, address: u64) -> Option<Owned> {
        self.by_address.get(&address).copied()
    }

    /// A block of a lane begins, unless one is live at its address already: then that one is returned,
    /// and nothing changes.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        address: u64,
        bytes: u64,
        class: u8,
        lane_number: u8,
        lane: &mut Lane,
    ) -> Option<Owned> {
        match self.by_address.entry(address) {
            Entry::Occupied(taken) => Some(*taken.get()),
            Entry::Vacant(vacant) => {
                let number = self.numbers.take();
                vacant.insert(Owned {
                    number,
                    when: lane.obtain(number),
                    bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                    class,
                    lane: lane_number,
                });
                None
            }
        }
    }

    /// The block at an address ends, if there is one.
    #[inline(always)]
    pub(super) fn end(&mut self, address: u64) -> Option<Owned> {
        let owned = self.by_address.remove(&address)?;
        self.numbers.give(owned.number);
        Some(owned)
    }
}
