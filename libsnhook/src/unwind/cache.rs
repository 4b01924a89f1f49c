//! Rules by return address, shared by all threads of the process without locks.
//!
//! A set-associative table: [`RuleCache`] has `SETS` sets of two entries, an entry is two words:
//!
//! ```text
//!        63                      27 26         13 12            0
//!       +--------------------------+-------------+--------------+
//! low   | return address >> 11     | epoch       | rule, low    |
//!       +--------------------------+-------------+--------------+
//! high  | return address >> 11     | epoch       | rule, high   |
//!       +--------------------------+-------------+--------------+
//! ```
//!
//! *Why a torn read is impossible.* Each word names by itself whose half it carries: the upper 37
//! of the address' 48 bits stand in it, and the lower 11 follow from them and the set in which it
//! stands (the set is the low bits of the address, each exclusive-ored with a higher one).
//! For one epoch the rule of an address is always the same, since it is read from the same bytes.
//! So two words that both match make the rule, no matter which threads stored them and when.
//!
//! *Orderings.* Any thread writes, any thread reads, all accesses are relaxed: no word promises
//! anything about other memory. A writer that is overtaken or interrupted (a signal handler, fork)
//! can only lose an entry, which is then worked out again.
//!
//! *Epochs.* The epoch changes after each loading and unloading of a module, which makes all entries
//! stale at once. Only 14 bits of it are kept, so [`RuleCache::clear`] is due whenever those
//! wrap to zero. All-zero memory is an empty cache (no code lies in the lowest 2 KiB).
//!
//! May be used in every phase.

use core::sync::atomic::{AtomicU64, Ordering};

use super::Rule;

/// Addresses have this many bits; others are not cached.
const ADDRESS_BITS: u32 = 48;
/// The low address bits that the set stands for; `SETS` has at least this many bits.
const SET_BITS: u32 = 11;
const EPOCH_BITS: u32 = 14;
const HALF_BITS: u32 = Rule::BITS / 2;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;

const _: () = assert!(ADDRESS_BITS - SET_BITS + EPOCH_BITS + HALF_BITS == u64::BITS);

/// Which generation of loaded modules a rule was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with the given number; its low 14 bits count.
    #[inline]
    pub const fn new(number: u32) -> Epoch {
        Epoch((number as u64 & ((1 << EPOCH_BITS) - 1)) << HALF_BITS)
    }

    /// Whether the kept bits are zero, so that the cache must be cleared on entering the epoch.
    pub const fn needs_clear(self) -> bool {
        self.0 == 0
    }
}

#[repr(C)]
struct Entry {
    /// Address, epoch and low half of the rule. Any thread, relaxed: see the module's page.
    low: AtomicU64,
    /// Address, epoch and high half of the rule. Any thread, relaxed: see the module's page.
    high: AtomicU64,
}

impl Entry {
    #[inline(always)]
    fn find(&self, key: u64) -> Option<Rule> {
        let low = self.low.load(Ordering::Relaxed);
        let high = self.high.load(Ordering::Relaxed);
        if ((low ^ key) | (high ^ key)) > HALF_MASK {
            return None;
        }
        // Masking instead of using the differences keeps the key out of the dependency chain: the
        // processor computes the rule while it still compares.
        let (low, high) = (low & HALF_MASK, high & HALF_MASK);
        Some(Rule::from_bits(low as u32 | (high as u32) << HALF_BITS))
    }

    fn copy_from(&self, other: &Entry) {
        let low = other.low.load(Ordering::Relaxed);
        let high = other.high.load(Ordering::Relaxed);
        self.low.store(low, Ordering::Relaxed);
        self.high.store(high, Ordering::Relaxed);
    }
}

/// A cache of `2 * SETS` rules; `SETS` is a power of two of at least 2048 (64 KiB).
#[repr(C, align(64))]
pub struct RuleCache<const SETS: usize = 2048> {
    sets: [[Entry; 2]; SETS],
}

impl<const SETS: usize> RuleCache<SETS> {
    const SIZE_IS_VALID: () = assert!(SETS.is_power_of_two() && SETS >= 1 << SET_BITS);

    /// An empty cache; the same as zeroed memory.
    pub const fn new() -> Self {
        let () = Self::SIZE_IS_VALID;
        RuleCache {
            sets: [const {
                [const {
                    Entry {
                        low: AtomicU64::new(0),
                        high: AtomicU64::new(0),
                    }
                }; 2]
            }; SETS],
        }
    }

    /// The rule stored for `return_address` in `epoch`.
    #[inline(always)]
    pub fn find(&self, return_address: u64, epoch: Epoch) -> Option<Rule> {
        let () = Self::SIZE_IS_VALID;
        let set = self.set(return_address)?;
        let key = key(return_address, epoch);
        match set[0].find(key) {
            Some(rule) => Some(rule),
            None => set[1].find(key),
        }
    }

    /// Stores the rule of `return_address` as found in `epoch`, in place of the older of two.
    #[cold]
    pub fn insert(&self, return_address: u64, epoch: Epoch, rule: Rule) {
        let Some([first, second]) = self.set(return_address) else {
            return;
        };
        second.copy_from(first);
        let key = key(return_address, epoch);
        let bits = u64::from(rule.bits());
        first.low.store(key | (bits & HALF_MASK), Ordering::Relaxed);
        first
            .high
            .store(key | (bits >> HALF_BITS), Ordering::Relaxed);
    }

    /// Forgets everything.
    #[cold]
    pub fn clear(&self) {
        for entry in self.sets.iter().flatten() {
            entry.low.store(0, Ordering::Relaxed);
            entry.high.store(0, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn set(&self, return_address: u64) -> Option<&[Entry; 2]> {
        if return_address >> ADDRESS_BITS != 0 {
            return None;
        }
        let mixed = return_address ^ (return_address >> SET_BITS);
        self.sets.get(mixed as usize & (SETS - 1))
    }
}

impl<const SETS: usize> Default for RuleCache<SETS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SETS: usize> core::fmt::Debug for RuleCache<SETS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RuleCache").field("sets", &SETS).finish()
    }
}

#[inline(always)]
fn key(return_address: u64, epoch: Epoch) -> u64 {
    (return_address >> SET_BITS) << (EPOCH_BITS + HALF_BITS) | epoch.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch::new(7);

    fn rule(number: u32) -> Rule {
        Rule::from_bits(number.wrapping_mul(0x9e37_79b1) >> 6)
    }

    #[test]
    fn zeroed_memory_is_empty() {
        let cache: Box<RuleCache> = Box::default();
        for address in [0x800, 0x5555_5555_4000, 0x7fff_ffff_ffff] {
            assert_eq!(cache.find(address, Epoch::new(0)), None);
        }
        assert_eq!(size_of::<RuleCache>(), 64 << 10);
    }

    #[test]
    fn what_was_inserted_is_found_for_exactly_its_address_and_epoch() {
        let cache: Box<RuleCache> = Box::default();
        let address = 0x7f12_3456_789a;
        cache.insert(address, EPOCH, rule(1));
        assert_eq!(cache.find(address, EPOCH), Some(rule(1)));
        for bit in 0..48 {
            assert_eq!(cache.find(address ^ (1 << bit), EPOCH), None, "bit {bit}");
        }
        assert_eq!(cache.find(address | 1 << 48, EPOCH), None);
        assert_eq!(cache.find(address, Epoch::new(8)), None);
        // 14 bits of the epoch count: 7 + 2^14 is 7 again.
        assert_eq!(
            cache.find(address, Epoch::new(7 + (1 << 14))),
            Some(rule(1))
        );
        assert!(Epoch::new(1 << 14).needs_clear());
        cache.clear();
        assert_eq!(cache.find(address, EPOCH), None);
    }

    #[test]
    fn every_rule_survives_the_cache() {
        let cache: Box<RuleCache> = Box::default();
        let all = (1 << Rule::BITS) - 1;
        for bits in (0..Rule::BITS).map(|bit| 1 << bit).chain([0, all]) {
            cache.insert(0x1234_5678, EPOCH, Rule::from_bits(bits));
            assert_eq!(cache.find(0x1234_5678, EPOCH).map(Rule::bits), Some(bits));
        }
    }

    #[test]
    fn two_addresses_share_a_set_and_the_third_replaces_the_older() {
        let cache: Box<RuleCache> = Box::default();
        // The set is (a ^ a >> 11) & 2047: adding 1 at bit 11 and flipping bit 0 keeps it.
        let addresses = [0x40_0000, 0x40_0801, 0x40_1002];
        for (number, &address) in addresses.iter().enumerate() {
            cache.insert(address, EPOCH, rule(number as u32));
        }
        assert_eq!(cache.find(addresses[0], EPOCH), None);
        assert_eq!(cache.find(addresses[1], EPOCH), Some(rule(1)));
        assert_eq!(cache.find(addresses[2], EPOCH), Some(rule(2)));
    }

    #[test]
    fn racing_threads_never_make_a_rule_that_nobody_stored() {
        let cache: Box<RuleCache> = Box::default();
        let cache = &*cache;
        // Eight addresses of one set, so that they replace each other all the time.
        let address = |number: u32| 0x40_0000 + u64::from(number) * 0x801;
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || {
                    for round in 0..200_000_u32 {
                        let number = (round.wrapping_mul(seed * 2 + 1) >> 2) % 8;
                        match cache.find(address(number), EPOCH) {
                            Some(found) => assert_eq!(found, rule(number)),
                            None => cache.insert(address(number), EPOCH, rule(number)),
                        }
                    }
                });
            }
        });
    }
}
