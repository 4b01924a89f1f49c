//! What the writing side of a trace file knows of live blocks: who owns which address, and by which
//! number the reading side knows that block.

use super::model::{Lane, Numbers};
use crate::trace::addresses::AddressTable;

/// A live block.
#[derive(Clone, Copy, Debug, Default)]
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
    by_address: AddressTable<Owned>,
    numbers: Numbers,
}

impl Blocks {
    /// The block at an address.
    pub(super) fn get(&self, address: u64) -> Option<Owned> {
        self.by_address.get(address)
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
        // What it is if it begins, which both only promise until then.
        let owned = Owned {
            number: self.numbers.next(),
            when: lane.next_time(),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            class,
            lane: lane_number,
        };
        let taken = self.by_address.begin(address, owned);
        if taken.is_none() {
            lane.obtain(self.numbers.take());
        }
        taken
    }

    /// Says that this address will be asked for soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, address: u64) {
        self.by_address.prefetch(address);
    }

    /// The block at an address ends, if there is one.
    #[inline(always)]
    pub(super) fn end(&mut self, address: u64) -> Option<Owned> {
        let owned = self.by_address.end(address)?;
        self.numbers.give(owned.number);
        Some(owned)
    }
}
