//! Call stacks, each distinct one once.
//!
//! A stack is a path in a tree whose root is the empty stack: a node is its innermost frame, its
//! parent the stack of that frame's caller. Stacks that share their outer frames share their nodes,
//! so that a program's stacks take memory by how they differ.
//!
//! Frames are [`SiteId`]s: places in code, the same in every process and run that maps the file, not
//! addresses. What a site is called is in [`super::Tables`].

use crate::symbolize::hash::AddressMap;

/// Number of a distinct stack: dense, from 0, which is the empty one. A parent's is lower than its
/// children's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u32);

impl StackId {
    /// No frames: a stack that was not taken.
    pub const EMPTY: Self = Self(0);
}

/// Number of a distinct place in code: dense, from 0, which is [`SiteId::TRUNCATED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

impl SiteId {
    /// No place: as a stack's outermost frame it says that the stack goes on, but could not be
    /// followed.
    pub const TRUNCATED: Self = Self(0);
}

/// A stack as its innermost frame and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackNode {
    /// The stack of the caller.
    pub parent: StackId,
    /// Where in the innermost function: the place that the call returns to.
    pub site: SiteId,
}

/// All stacks of a trace.
#[derive(Clone, Debug, Default)]
pub struct StackTable {
    /// By number, from 1.
    nodes: Vec<StackNode>,
    /// Nodes by what they are made of. Empty though there are nodes: left out by [`StackTable::seal`].
    children: AddressMap<u64, StackId>,
}

fn key(parent: StackId, site: SiteId) -> u64 {
    u64::from(parent.0) << 32 | u64::from(site.0)
}

impl StackTable {
    /// The stack that `site` makes of `parent`, which it calls from. A parent that is not in the
    /// table is taken for the empty one.
    pub fn intern(&mut self, parent: StackId, site: SiteId) -> StackId {
        let parent = if parent.0 as usize <= self.nodes.len() {
            parent
        } else {
            StackId::EMPTY
        };
        if self.children.is_empty() && !self.nodes.is_empty() {
            self.unseal();
        }
        let nodes = &mut self.nodes;
        *self.children.entry(key(parent, site)).or_insert_with(|| {
            nodes.push(StackNode { parent, site });
            // As many would not fit in memory.
            StackId(u32::try_from(nodes.len()).unwrap_or(u32::MAX))
        })
    }

    /// No more stacks will come, most likely: gives back the memory that finds them, which is most of the table's. One that
    /// comes all the same takes its time.
    pub fn seal(&mut self) {
        self.children = AddressMap::default();
        self.nodes.shrink_to_fit();
    }

    /// Out of line: a recording asks for stacks all the time, and is never sealed.
    #[cold]
    fn unseal(&mut self) {
        let numbered = self.nodes.iter().zip(1..);
        let keyed = numbered.map(|(node, number)| (key(node.parent, node.site), StackId(number)));
        self.children = keyed.collect();
    }

    /// How many there are, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Whether there is none but the empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The innermost frame of a stack and the rest; `None` for the empty stack, and for a number
    /// that is not in the table.
    #[must_use]
    pub fn node(&self, stack: StackId) -> Option<StackNode> {
        let at = (stack.0 as usize).checked_sub(1)?;
        self.nodes.get(at).copied()
    }

    /// The stacks' nodes in the order of their numbers, from 1.
    #[must_use]
    pub fn nodes(&self) -> &[StackNode] {
        &self.nodes
    }

    /// By number, whether the stack goes on beyond its outermost frame.
    #[must_use]
    pub fn truncated(&self) -> Vec<bool> {
        let mut truncated = Vec::with_capacity(self.len());
        truncated.push(false);
        for node in &self.nodes {
            let outermost = node.parent == StackId::EMPTY;
            let parent = truncated.get(node.parent.0 as usize).copied();
            truncated.push(match outermost {
                true => node.site == SiteId::TRUNCATED,
                false => parent.unwrap_or(false),
            });
        }
        truncated
    }

    /// The frames of a stack, inner to outer.
    pub fn frames(&self, stack: StackId) -> impl Iterator<Item = SiteId> + '_ {
        let mut next = stack;
        std::iter::from_fn(move || {
            let node = self.node(next)?;
            next = node.parent;
            Some(node.site)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_share_their_outer_frames() {
        let mut table = StackTable::default();
        let main = table.intern(StackId::EMPTY, SiteId(3));
        let one = table.intern(main, SiteId(1));
        let two = table.intern(main, SiteId(2));
        assert_eq!(table.intern(main, SiteId(1)), one);
        assert_eq!(table.len(), 4);
        let frames = |stack| table.frames(stack).collect::<Vec<_>>();
        assert_eq!(frames(one), [SiteId(1), SiteId(3)]);
        assert_eq!(frames(two), [SiteId(2), SiteId(3)]);
        assert_eq!(frames(StackId::EMPTY), []);
        assert!(table.nodes().iter().zip(1..).all(|(n, id)| n.parent.0 < id));
    }

    #[test]
    fn a_sealed_table_takes_more_all_the_same() {
        let mut table = StackTable::default();
        let main = table.intern(StackId::EMPTY, SiteId(3));
        let one = table.intern(main, SiteId(1));
        table.seal();
        assert_eq!(table.intern(main, SiteId(1)), one);
        assert_eq!(table.intern(one, SiteId(1)), StackId(3));
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn numbers_from_nowhere_do_no_harm() {
        let mut table = StackTable::default();
        let odd = table.intern(StackId(77), SiteId(5));
        assert_eq!(
            table.node(odd).map(|node| node.parent),
            Some(StackId::EMPTY)
        );
        assert_eq!(table.node(StackId(u32::MAX)), None);
        assert_eq!(table.frames(StackId(9)).count(), 0);
    }
}
