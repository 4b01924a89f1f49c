//! The table of stacks with a small one in front of it, for the ones that come again and again.

use crate::trace::{SiteId, StackId, StackTable};

/// Places of the table in front: 4,096 of 12 bytes stay in a processor's second cache.
const RECENT: usize = 4096;

/// See the module.
pub struct Stacks {
    table: StackTable,
    /// Parent, site and their stack, which is never the empty one.
    recent: Box<[(StackId, SiteId, StackId)]>,
}

impl Default for Stacks {
    fn default() -> Self {
        let empty = (StackId::EMPTY, SiteId::TRUNCATED, StackId::EMPTY);
        Self {
            table: StackTable::default(),
            recent: vec![empty; RECENT].into_boxed_slice(),
        }
    }
}

impl Stacks {
    /// As [`StackTable::intern`]; also whether the stack is new.
    #[inline]
    pub fn intern(&mut self, parent: StackId, site: SiteId) -> (StackId, bool) {
        // Both are dense: a few bits of each spread what is used together.
        let at = (parent.0.wrapping_mul(0x9e37_79b1) >> 12 ^ site.0) as usize % RECENT;
        let (known_parent, known_site, stack) = self.recent[at];
        if (known_parent, known_site) == (parent, site) && stack != StackId::EMPTY {
            return (stack, false);
        }
        let before = self.table.len();
        let stack = self.table.intern(parent, site);
        self.recent[at] = (parent, site, stack);
        (stack, self.table.len() > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_new_once_and_the_same_ever_after() {
        let (mut stacks, mut plain) = (Stacks::default(), StackTable::default());
        let mut state = 7_u32;
        for _ in 0..50_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let parent = StackId((state >> 8) % plain.len() as u32);
            let site = SiteId(state >> 24);
            let before = plain.len();
            let expected = plain.intern(parent, site);
            assert_eq!(
                stacks.intern(parent, site),
                (expected, plain.len() > before)
            );
        }
        assert!(plain.len() > 2 * RECENT);
    }
}
