//! Live blocks: who owns which address now.
//!
//! One table a process image. Besides the sizes for the summary it is what the order is checked
//! against: an address has one owner at a time.

use super::addresses::AddressTable;

/// A live block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Requested bytes.
    pub bytes: u64,
    /// Dense number of the thread that allocated it.
    pub thread: u32,
    /// How many allocations that thread had made, this one included (modulo 2^32).
    pub serial: u32,
}

/// The blocks of one image.
#[derive(Clone, Debug, Default)]
pub struct LiveBlocks {
    blocks: AddressTable<Block>,
    bytes: u64,
}

impl LiveBlocks {
    /// A block begins, unless one is live at its address already: then nothing changes.
    /// Returns whether it did.
    #[inline(always)]
    pub fn begin(&mut self, address: u64, block: Block) -> bool {
        let vacant = self.blocks.begin(address, block).is_none();
        if vacant {
            self.bytes = self.bytes.wrapping_add(block.bytes);
        }
        vacant
    }

    /// Whether a block is live at this address.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        self.blocks.get(address).is_some()
    }

    /// The thread that had the block at this address last; `None` if none is live there.
    #[inline]
    #[must_use]
    pub fn thread_of(&self, address: u64) -> Option<u32> {
        self.blocks.get(address).map(|block| block.thread)
    }

    /// Says that this address will be asked for soon.
    #[inline(always)]
    pub fn prefetch(&self, address: u64) {
        self.blocks.prefetch(address);
    }

    /// A block ends; `None` if none was live there.
    #[inline(always)]
    pub fn end(&mut self, address: u64) -> Option<Block> {
        let block = self.blocks.end(address)?;
        self.bytes = self.bytes.wrapping_sub(block.bytes);
        Some(block)
    }

    /// How many blocks are live.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Their requested bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
