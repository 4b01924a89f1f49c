//! A table by address: what every event asks, and changes, once or twice.
//!
//! Open addressing with linear probing: a look-up is one multiplication and, nearly always, one line of
//! memory, which holds the address and what belongs to it. At most half of the slots are taken:
//! in fuller ones it is hard to guess when a search ends, and each wrong guess costs more than the
//! rest of the look-up. An entry that is taken out leaves no mark behind: those after it move up (Knuth,
//! The Art of Computer Programming, volume 3, 6.4, algorithm R).
//!
//! Who knows beforehand which addresses come asks for their lines ([`AddressTable::prefetch`]): the
//! table of a program with many blocks is larger than any cache.
//!
//! Addresses are spread by one multiplication: nobody chooses them to collide; who does slows
//! down the reading of a trace of his own.

/// Slots of the smallest table, as a power of two.
const BITS_MIN: u32 = 4;
/// The golden ratio as a 64-bit fraction.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A table from addresses, none of which is 0, to small values.
#[derive(Clone, Debug)]
pub struct AddressTable<V> {
    /// As many as a power of two. Address 0: empty.
    slots: Vec<(u64, V)>,
    /// 64 less the power.
    shift: u32,
    length: usize,
}

impl<V: Copy + Default> Default for AddressTable<V> {
    fn default() -> Self {
        Self {
            slots: vec![(0, V::default()); 1 << BITS_MIN],
            shift: 64 - BITS_MIN,
            length: 0,
        }
    }
}

impl<V: Copy + Default> AddressTable<V> {
    /// How many addresses it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline(always)]
    fn home(&self, address: u64) -> usize {
        (address.wrapping_mul(GOLDEN) >> self.shift) as usize
    }

    /// Where an address is, or would be, and what is there: it or 0.
    #[inline(always)]
    fn place(&self, address: u64) -> (usize, u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(address);
        loop {
            let there = self.slots[at].0;
            if there == address || there == 0 {
                return (at, there);
            }
            at = (at + 1) & mask;
        }
    }

    /// Says that this address will be asked for soon.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn prefetch(&self, address: u64) {
        let slot = &raw const self.slots[self.home(address)];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which reads nothing; the address is a slot's besides.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(slot.cast());
        }
        // Elsewhere there is no stable way to say it.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = slot;
    }

    /// What belongs to an address.
    #[inline]
    #[must_use]
    pub fn get(&self, address: u64) -> Option<V> {
        let (at, there) = self.place(address);
        (there != 0).then(|| self.slots[at].1)
    }

    /// Puts in an address, unless it is there already: then it stays what it was. 0 is never put in.
    /// Returns what was there.
    #[inline(always)]
    pub fn begin(&mut self, address: u64, value: V) -> Option<V> {
        if self.length * 2 >= self.slots.len() {
            self.grow();
        }
        let (at, there) = self.place(address);
        let slot = &mut self.slots[at];
        if there != 0 {
            return Some(slot.1);
        }
        *slot = (address, value);
        self.length += usize::from(address != 0);
        None
    }

    /// Takes out an address and returns what belonged to it.
    #[inline(always)]
    pub fn end(&mut self, address: u64) -> Option<V> {
        let (at, there) = self.place(address);
        if there == 0 {
            return None;
        }
        let value = self.slots[at].1;
        self.length -= 1;
        self.close(at);
        Some(value)
    }

    /// Empties a slot: what could not have its home because of it moves up.
    #[inline(always)]
    fn close(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let (address, value) = self.slots[at];
            if address == 0 {
                self.slots[hole].0 = 0;
                return;
            }
            // It may move if its home is not behind the hole.
            let from_home = at.wrapping_sub(self.home(address)) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = (address, value);
                hole = at;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        let before = std::mem::replace(&mut self.slots, vec![(0, V::default()); slots]);
        self.shift = 64 - slots.ilog2();
        for (address, value) in before.into_iter().filter(|&(address, _)| address != 0) {
            let (at, _) = self.place(address);
            self.slots[at] = (address, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_answers_as_any_map_does(
            steps in prop::collection::vec((0_u8..3, 0_u64..200, any::<u32>()), 1..2000),
            spread in prop::sample::select(vec![1_u64, 16, 1 << 20, 1 << 60]),
        ) {
            let (mut table, mut plain) = (AddressTable::default(), HashMap::new());
            for (what, number, value) in steps {
                // Far apart, in a row, and all in the same few homes.
                let address = number.wrapping_mul(spread).max(1);
                match what {
                    0 => prop_assert_eq!(table.end(address), plain.remove(&address)),
                    1 => prop_assert_eq!(table.get(address), plain.get(&address).copied()),
                    _ => {
                        let before = plain.get(&address).copied();
                        plain.entry(address).or_insert(value);
                        prop_assert_eq!(table.begin(address, value), before);
                    }
                }
                prop_assert_eq!(table.len(), plain.len());
            }
            for (address, value) in plain {
                prop_assert_eq!(table.end(address), Some(value));
            }
            prop_assert!(table.is_empty());
        }
    }

    #[test]
    fn address_0_is_never_there() {
        let mut table = AddressTable::default();
        for _ in 0..100 {
            assert_eq!(table.begin(0, 7), None);
        }
        assert_eq!((table.get(0), table.end(0), table.len()), (None, None, 0));
    }
}
