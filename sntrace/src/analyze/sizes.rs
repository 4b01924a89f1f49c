//! How large what was asked for is: by powers of two.

use super::counts::Counts;

/// Classes: 0, 1, 2 to 3, 4 to 7, and so on.
const CLASSES: usize = 65;

/// Allocations by their requested bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    classes: [Counts; CLASSES],
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            classes: [Counts::default(); CLASSES],
        }
    }
}

/// Allocations of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass {
    /// The least size that belongs to it, in bytes.
    pub from_bytes: u64,
    /// The largest.
    pub to_bytes: u64,
    /// How many, and their bytes in all.
    pub counts: Counts,
}

impl Sizes {
    #[inline]
    pub(super) fn note(&mut self, bytes: u64) {
        self.classes[(u64::BITS - bytes.leading_zeros()) as usize] += Counts::one(bytes);
    }

    /// The classes, by size, from the first to the last that has any.
    pub fn classes(&self) -> impl Iterator<Item = SizeClass> + '_ {
        let used = |counts: &Counts| !counts.is_none();
        let first = self.classes.iter().position(used).unwrap_or(0);
        let end = self.classes.iter().rposition(used).map_or(0, |at| at + 1);
        (first..end).map(|class| SizeClass {
            from_bytes: match class {
                0 => 0,
                _ => 1 << (class - 1),
            },
            to_bytes: match class {
                0 => 0,
                _ => u64::MAX >> (64 - class),
            },
            counts: self.classes[class],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_sizes_that_it_says() {
        let mut sizes = Sizes::default();
        for bytes in [3, 4, 7, 8, 20] {
            sizes.note(bytes);
        }
        let found: Vec<_> = sizes
            .classes()
            .map(|c| (c.from_bytes, c.to_bytes, c.counts.blocks, c.counts.bytes))
            .collect();
        let expected = [(2, 3, 1, 3), (4, 7, 2, 11), (8, 15, 1, 8), (16, 31, 1, 20)];
        assert_eq!(found, expected);
        assert_eq!(Sizes::default().classes().count(), 0);
    }

    #[test]
    fn the_edges_have_classes() {
        let mut sizes = Sizes::default();
        for bytes in [0, 1, u64::MAX] {
            sizes.note(bytes);
        }
        let all: Vec<_> = sizes.classes().collect();
        assert_eq!((all[0].from_bytes, all[0].to_bytes), (0, 0));
        assert_eq!((all[1].from_bytes, all[1].to_bytes), (1, 1));
        let last = all.last().unwrap();
        assert_eq!((last.from_bytes, last.to_bytes), (1 << 63, u64::MAX));
    }
}
