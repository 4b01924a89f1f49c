//! From a stack and a return address to the stack that the two make: the step of which an event takes
//! one for its caller and one for each frame that it brings.
//!
//! A step is two numbers, the place in code and the stack, and each has a table of its own
//! ([`Places`], [`StackTable`]). A smaller one stands in front of both, as the same steps are taken again
//! and again. It grows with the stacks, up to a bound: steps of modules that were unloaded stay in it
//! until others take their slots.

use super::places::{Define, Places};
use crate::symbolize::ModuleMap;
use crate::symbolize::hash::slot;
use crate::trace::{ImageId, SiteId, StackId, StackNode, StackTable};

/// Pairs of slots in the table in front, as powers of two: 256 KiB at the beginning, 8 MiB at most.
const BITS: std::ops::RangeInclusive<u32> = 12..=17;

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

impl Step {
    const NONE: Self = Self {
        generation: 0,
        address: 0,
        parent: StackId::EMPTY,
        site: SiteId::TRUNCATED,
        stack: StackId::EMPTY,
    };

    #[inline(always)]
    fn is_from(&self, generation: u64, parent: StackId, address: u64) -> bool {
        (self.address, self.parent, self.generation) == (address, parent, generation)
    }

    /// Where it is among `1 << bits` pairs.
    #[inline(always)]
    fn pair(generation: u64, parent: StackId, address: u64, bits: u32) -> usize {
        // Stacks are dense numbers, which differ in the low bits: they go where addresses differ less.
        slot(address ^ u64::from(parent.0) << 32, generation, bits)
    }
}

/// Two slots, which share a line of a processor's cache; the one that was filled last first.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Pair([Step; 2]);

/// See the module.
pub struct Steps {
    recent: Vec<Pair>,
    bits: u32,
    places: Places,
    stacks: StackTable,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            recent: vec![Pair([Step::NONE; 2]); 1 << BITS.start()],
            bits: *BITS.start(),
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
        within: (ImageId, &ModuleMap),
        parent: StackId,
        address: u64,
        define: &mut impl Define,
    ) -> (SiteId, StackId) {
        let generation = within.1.generation();
        let at = Step::pair(generation, parent, address, self.bits);
        let Pair([first, second]) = &self.recent[at];
        if first.is_from(generation, parent, address) {
            return (first.site, first.stack);
        }
        if second.is_from(generation, parent, address) {
            return (second.site, second.stack);
        }
        self.take_slowly(within, parent, address, define)
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(
        &mut self,
        (image, modules): (ImageId, &ModuleMap),
        parent: StackId,
        address: u64,
        define: &mut impl Define,
    ) -> (SiteId, StackId) {
        let site = self.places.site(image, modules, address, define);
        let stack = self.under(parent, site, define);
        if self.stacks.len() >> (self.bits + 1) > 0 && self.bits < *BITS.end() {
            self.grow();
        }
        self.put(Step {
            generation: modules.generation(),
            address,
            parent,
            site,
            stack,
        });
        (site, stack)
    }

    #[inline]
    fn put(&mut self, step: Step) {
        let at = Step::pair(step.generation, step.parent, step.address, self.bits);
        let Pair(pair) = &mut self.recent[at];
        *pair = [step, pair[0]];
    }

    fn grow(&mut self) {
        self.bits += 1;
        let empty = vec![Pair([Step::NONE; 2]); 1 << self.bits];
        for Pair([first, second]) in std::mem::replace(&mut self.recent, empty) {
            for step in [second, first] {
                if step.generation != 0 {
                    self.put(step);
                }
            }
        }
    }

    /// The stack that a place makes of `parent`.
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
        // The table in front has grown, more than once.
        assert!(steps.bits > BITS.start() + 2);
    }
}
