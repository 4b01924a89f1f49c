//! How long blocks lived: by powers of ten of nanoseconds.
//!
//! Of every block whose allocation and release are both in the trace. A `realloc` ends one block
//! and begins another, as everywhere in the totals.

/// Classes: below 10 ns, below 100 ns, and so on. `u64::MAX` has 20 digits.
const CLASSES: usize = 20;

/// Released blocks by the time they lived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    classes: [u64; CLASSES],
}

/// Blocks of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifetimeClass {
    /// They lived at least so long, in nanoseconds.
    pub from_ns: u64,
    /// And less than so long; `None`: the class has no end.
    pub below_ns: Option<u64>,
    /// How many.
    pub blocks: u64,
}

impl Lifetimes {
    #[inline]
    pub(super) fn note(&mut self, lifetime_ns: u64) {
        self.classes[lifetime_ns.checked_ilog10().unwrap_or(0) as usize] += 1;
    }

    /// The classes, the shortest first, from the first to the last that has any.
    pub fn classes(&self) -> impl Iterator<Item = LifetimeClass> + '_ {
        let used = |&blocks: &u64| blocks > 0;
        let first = self.classes.iter().position(used).unwrap_or(0);
        let end = self.classes.iter().rposition(used).map_or(0, |at| at + 1);
        (first..end).map(|class| LifetimeClass {
            from_ns: match class {
                0 => 0,
                _ => 10_u64.saturating_pow(class as u32),
            },
            below_ns: 10_u64.checked_pow(class as u32 + 1),
            blocks: self.classes[class],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_times_that_it_says() {
        let mut lifetimes = Lifetimes::default();
        for time in [10, 99, 100, 5_000] {
            lifetimes.note(time);
        }
        let found: Vec<_> = lifetimes
            .classes()
            .map(|c| (c.from_ns, c.below_ns, c.blocks))
            .collect();
        let expected = [
            (10, Some(100), 2),
            (100, Some(1000), 1),
            (1000, Some(10_000), 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_edges_have_classes() {
        let mut lifetimes = Lifetimes::default();
        lifetimes.note(0);
        lifetimes.note(u64::MAX);
        let all: Vec<_> = lifetimes.classes().collect();
        assert_eq!(
            (all[0].from_ns, all[0].below_ns, all[0].blocks),
            (0, Some(10), 1)
        );
        assert_eq!((all[19].below_ns, all[19].blocks), (None, 1));
    }
}
