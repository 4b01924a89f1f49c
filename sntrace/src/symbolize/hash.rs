//! A hash for addresses and small ids.
//!
//! The tables of this folder, and those of traces, reports and exports, are asked once or more an event, with keys that are addresses in
//! the traced program: the default hasher's protection against chosen keys costs more than the
//! rest of the look-up and protects nothing here, as the worst a program can do with colliding
//! addresses is to slow down its own trace.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by addresses and small numbers.
pub(crate) type AddressMap<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// The golden ratio as a 64-bit fraction: spreads keys that differ in few bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies and folds a word at a time.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl AddressHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(GOLDEN);
        // The table takes the bucket from the low bits and a tag from the high ones: the high half of the
        // product is the well-mixed one, and serves for both.
        self.0 = mixed ^ mixed >> 32;
    }
}

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }
    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }
    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The place of `address` among `1 << bits` direct-mapped slots.
pub(crate) fn slot(address: u64, salt: u64, bits: u32) -> usize {
    ((address ^ salt.rotate_left(40)).wrapping_mul(GOLDEN) >> (64 - bits)) as usize
}
