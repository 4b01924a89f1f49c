//! From a stack and a return address to the stack that the two make: the step of which an event takes
//! one for its caller and one for each frame that it brings.
//!
//! A step is two numbers, the place in code and the stack, and each has a table of its own
//! ([`Places`], [`StackTable`]). A small one stands in front of both, as the same steps are taken again
//! and again.

use super::places::{Define, Places};
use crate::symbolize::ModuleMap;
use crate::symbolize::hash::slot;
use crate::trace::{ImageId, SiteId, StackId, StackNode, StackTable};

/// Slots of the table in front: 65,536 of 32 bytes hold the steps of a large program. More than a second cache
/// has, but a look into memory costs less than what stands behind.
const RECENT_BITS: u32 = 16;

/// A step that was taken.
#[derive(Clone, Copy)]
struct Step {
    /// Of the modules. 0: empty, as generations count from 1.
    generation: u64,
    address: u64,
    parent: StackId,
    site: SiteId,
    stack: StackId,
}

/// See the module.
pub struct Steps {
    recent: Box<[Step]>,
    places: Places,
    stacks: StackTable,
}

impl Default for Steps {
    fn default() -> Self {
        let empty = Step {
            generation: 0,
            address: 0,
            parent: StackId::EMPTY,
            site: SiteId::TRUNCATED,
            stack: StackId::EMPTY,
        };
        Self {
            recent: vec![empty; 1 << RECENT_BITS].into_boxed_slice(),
            places: Places::default(),
            stacks: StackTable::default(),
        }
    }
}

impl Steps {
    /// The place that a call in `image`, with these modules mapped, returns to, and the stack that it
    /// makes of `parent`. What is new is told to `define` first.
    #[inline(always)]
    pub fn take(
        &mut self,
        (image, modules): (ImageId, &ModuleMap),
        parent: StackId,
        address: u64,
        define: &mut impl Define,
    ) -> (SiteId, StackId) {
        let generation = modules.generation();
        // Stacks are dense numbers, which differ in the low bits: they go where addresses differ less.
        let mixed = address ^ u64::from(parent.0) << 32;
        let at = slot(mixed, generation, RECENT_BITS);
        let recent = self.recent[at];
        if recent.address == address && recent.parent == parent && recent.generation == generation {
            return (recent.site, recent.stack);
        }
        let site = self.places.site(image, modules, address, define);
        let stack = self.under(parent, site, define);
        self.recent[at] = Step {
            generation,
            address,
            parent,
            site,
            stack,
        };
        (site, stack)
    }

    /// The stack that a place makes of `parent`.
    #[cold]
    pub fn under(&mut self, parent: StackId, site: SiteId, define: &mut impl Define) -> StackId {
        let before = self.stacks.len();
        let stack = self.stacks.intern(parent, site);
        if self.stacks.len() > before {
            define.stack(StackNode { parent, site });
        }
        stack
    }

    /// The places.
    pub fn places(&self) -> &Places {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::{Locator, Symbolizer};
    use crate::trace::{FileNumber, Module};

    #[derive(Default)]
    struct Defined {
        sites: u32,
        stacks: StackTable,
    }

    impl Define for Defined {
        fn file(&mut self, _: &Module) {}
        fn site(&mut self, _: Option<FileNumber>, _: u64) {
            self.sites += 1;
        }
        fn stack(&mut self, node: StackNode) {
            self.stacks.intern(node.parent, node.site);
        }
    }

    #[test]
    fn a_step_is_the_same_ever_after_and_what_it_makes_is_defined_once() {
        let locator = Locator::default();
        let map = Symbolizer::new(&locator).new_map();
        let (mut steps, mut defined) = (Steps::default(), Defined::default());
        let mut plain = StackTable::default();
        let mut state = 7_u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let parent = StackId((state >> 8) % plain.len() as u32);
            let address = u64::from(state >> 24) + 0x1000;
            let (site, stack) = steps.take((ImageId(1), &map), parent, address, &mut defined);
            assert_eq!(stack, plain.intern(parent, site));
            assert_eq!(defined.stacks.nodes().len(), plain.nodes().len());
        }
        assert_eq!(defined.sites, 256);
        assert_eq!(defined.stacks.nodes(), plain.nodes());
        // More than the table in front holds.
        assert!(plain.len() > 1 << RECENT_BITS);
    }
}
