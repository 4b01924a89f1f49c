//! Each lane's last stack, as nodes of the table of stacks.
//!
//! The hook sends what changed: how many of the outermost frames stay, and the new ones. Here each of
//! a lane's frames, from the outermost on, is remembered with the stack that it is the end of, so that
//! an event costs as many look-ups as it brings frames.
//!
//! What the words say is told in [`crate::trace::lanes`]. A lane is one of our collector's: its number is
//! trusted.

use crate::trace::lanes::{FRAMES_MAX, SAME_STACK};
use crate::trace::{SiteId, StackId};

/// Who makes stacks.
pub trait Grow {
    /// The place of a return address, and the stack that it makes of `parent`.
    fn step(&mut self, parent: StackId, address: u64) -> (SiteId, StackId);
    /// The stack that a place makes of `parent`.
    fn under(&mut self, parent: StackId, site: SiteId) -> StackId;
}

/// Of one lane.
#[derive(Clone, Debug, Default)]
struct Path {
    /// Whether the stack goes on unseen beyond the outermost frame.
    truncated: bool,
    /// What that frame stands on: nothing, or where a stack was cut.
    root: StackId,
    /// By frame, outer to inner: the stack that it is the innermost frame of, and where that is.
    frames: Vec<(SiteId, StackId)>,
    /// Return addresses inside of those, outer to inner, that no event has had yet: nobody has said whose
    /// they are.
    pending: Vec<u64>,
}

impl Path {
    fn innermost(&self) -> StackId {
        self.frames.last().map_or(self.root, |&(_, stack)| stack)
    }

    #[inline]
    fn change(&mut self, kept: u32, new: &[u64]) {
        let kept = kept as usize;
        match kept.checked_sub(self.frames.len()) {
            Some(of_pending) => self.pending.truncate(of_pending),
            None => {
                self.frames.truncate(kept);
                self.pending.clear();
            }
        }
        // What a target says is kept may be anything.
        let room = FRAMES_MAX.saturating_sub(self.frames.len() + self.pending.len());
        self.pending.extend(new.iter().rev().take(room));
    }

    /// Return addresses become frames, as many as there is room for. Returns the stack of all.
    #[inline(always)]
    fn grow<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a u64>,
        grow: &mut impl Grow,
    ) -> StackId {
        let mut parent = self.innermost();
        for &address in addresses {
            // What a target says may be anything.
            if self.frames.len() >= FRAMES_MAX {
                break;
            }
            let (site, stack) = grow.step(parent, address);
            parent = stack;
            self.frames.push((site, stack));
        }
        parent
    }

    /// The same frames, on another root.
    #[cold]
    fn set_root(&mut self, truncated: bool, grow: &mut impl Grow) {
        self.truncated = truncated;
        self.root = if truncated {
            grow.under(StackId::EMPTY, SiteId::TRUNCATED)
        } else {
            StackId::EMPTY
        };
        let mut parent = self.root;
        for (site, stack) in &mut self.frames {
            parent = grow.under(parent, *site);
            *stack = parent;
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    lanes: Vec<Path>,
}

impl Paths {
    #[inline]
    fn lane(&mut self, lane: u32) -> &mut Path {
        let at = lane as usize;
        if at >= self.lanes.len() {
            self.lanes.resize_with(at + 1, Path::default);
        }
        &mut self.lanes[at]
    }

    /// A lane's last stack changes, between its events.
    pub fn change(&mut self, lane: u32, kept: u32, new: &[u64]) {
        self.lane(lane).change(kept, new);
    }

    /// The stack beyond an event's caller, given its frames words and whether it goes on unseen.
    #[inline(always)]
    pub fn beyond(&mut self, words: &[u64], truncated: bool, grow: &mut impl Grow) -> StackId {
        let Some((&first, new)) = words.split_first() else {
            return StackId::EMPTY;
        };
        let (lane, kept) = (first as u32, (first >> 32) as u32);
        let path = self.lane(lane);
        if kept == SAME_STACK && path.pending.is_empty() {
            return path.innermost();
        }
        let as_ever = path.pending.is_empty() && path.truncated == truncated;
        if as_ever && kept as usize <= path.frames.len() {
            path.frames.truncate(kept as usize);
            return path.grow(new.iter().rev(), grow);
        }
        if kept != SAME_STACK {
            path.change(kept, new);
        }
        if path.truncated != truncated {
            path.set_root(truncated, grow);
        }
        let mut pending = std::mem::take(&mut path.pending);
        let stack = path.grow(pending.iter(), grow);
        // Its memory is wanted again.
        pending.clear();
        path.pending = pending;
        stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::StackTable;

    /// A place has its address for a number.
    impl Grow for StackTable {
        fn step(&mut self, parent: StackId, address: u64) -> (SiteId, StackId) {
            let site = SiteId(address as u32);
            (site, self.intern(parent, site))
        }
        fn under(&mut self, parent: StackId, site: SiteId) -> StackId {
            self.intern(parent, site)
        }
    }

    #[test]
    fn a_lane_that_keeps_more_than_there_is_does_not_grow_for_ever() {
        let (mut table, mut paths) = (StackTable::default(), Paths::default());
        let new: Vec<u64> = (0..480).collect();
        for _ in 0..100 {
            paths.change(0, u32::MAX - 1, &new);
        }
        let words = [u64::from(u32::MAX - 1) << 32, 7, 8, 9];
        let stack = paths.beyond(&words, false, &mut table);
        assert_eq!(table.frames(stack).count(), FRAMES_MAX);
    }

    #[test]
    fn what_the_hook_sends_becomes_whole_stacks() {
        let mut table = StackTable::default();
        let mut paths = Paths::default();
        let mut beyond = |lane: u64, kept: u32, new: &[u64], truncated| {
            let mut words = vec![lane | u64::from(kept) << 32];
            words.extend_from_slice(new);
            let stack = paths.beyond(&words, truncated, &mut table);
            table.frames(stack).map(|site| site.0).collect::<Vec<_>>()
        };
        assert_eq!(beyond(0, 0, &[12, 11, 10], false), [12, 11, 10]);
        assert_eq!(beyond(0, SAME_STACK, &[], false), [12, 11, 10]);
        // Another lane has a stack of its own, whose outer end was not found.
        assert_eq!(beyond(3, 0, &[21, 20], true), [21, 20, 0]);
        assert_eq!(beyond(0, 1, &[14, 13], false), [14, 13, 10]);
        assert_eq!(beyond(0, 2, &[], false), [13, 10]);
        assert_eq!(beyond(3, 1, &[22], true), [22, 20, 0]);
        assert!(beyond(3, 0, &[], false).is_empty());
    }

    #[test]
    fn frames_that_come_ahead_are_the_next_event_s() {
        let mut table = StackTable::default();
        let mut paths = Paths::default();
        let mut beyond = |paths: &mut Paths, words: &[u64], truncated| {
            let stack = paths.beyond(words, truncated, &mut table);
            table.frames(stack).map(|site| site.0).collect::<Vec<_>>()
        };
        let kept = |kept: u64| kept << 32;
        assert_eq!(beyond(&mut paths, &[kept(0), 11, 10], false), [11, 10]);
        paths.change(0, 1, &[13, 12]);
        paths.change(0, 2, &[15, 14]);
        assert_eq!(
            beyond(&mut paths, &[kept(3), 16], true),
            [16, 14, 12, 10, 0]
        );
        paths.change(0, 0, &[21, 20]);
        assert_eq!(beyond(&mut paths, &[kept(2)], false), [21, 20]);
    }
}
