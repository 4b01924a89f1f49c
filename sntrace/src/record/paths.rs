//! Each lane's last stack, as nodes of the table of stacks.
//!
//! The hook sends what changed: how many of the outermost frames stay, and the new ones. Here each of
//! a lane's frames, from the outermost on, is remembered with the stack that it is the end of, so that
//! an event costs as many look-ups as it brings frames.
//!
//! The words before an event's new frames are the collector's: `lane | kept << 32`, where a `kept` of
//! all ones says that the stack beyond the caller is the lane's last one.

use crate::trace::{SiteId, StackId, StackTable};

/// `kept` of an event that brings no frames.
const SAME: u32 = u32::MAX;

/// Of one lane.
#[derive(Clone, Debug, Default)]
struct Path {
    /// What the outermost frame stands on: nothing, or that the stack goes on unseen.
    root: StackId,
    /// By frame, outer to inner.
    nodes: Vec<StackId>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    lanes: Vec<Path>,
}

impl Paths {
    /// The stack beyond an event's caller, given its frames words. `site` numbers a return address, `intern`
    /// a stack.
    pub fn beyond(
        &mut self,
        words: &[u64],
        truncated: bool,
        mut site: impl FnMut(u64) -> SiteId,
        mut intern: impl FnMut(StackId, SiteId) -> StackId,
    ) -> StackId {
        let Some((&first, new)) = words.split_first() else {
            return StackId::EMPTY;
        };
        let (lane, kept) = (first as u32 as usize, (first >> 32) as u32);
        if lane >= self.lanes.len() {
            self.lanes.resize_with(lane + 1, Path::default);
        }
        let path = &mut self.lanes[lane];
        if kept != SAME {
            path.nodes.truncate(kept as usize);
            if path.nodes.is_empty() {
                path.root = if truncated {
                    intern(StackId::EMPTY, SiteId::TRUNCATED)
                } else {
                    StackId::EMPTY
                };
            }
            for &address in new.iter().rev() {
                let parent = path.nodes.last().copied().unwrap_or(path.root);
                path.nodes.push(intern(parent, site(address)));
            }
        }
        path.nodes.last().copied().unwrap_or(path.root)
    }
}

/// Interns a stack and says whether it is new.
pub fn intern_new(table: &mut StackTable, parent: StackId, site: SiteId) -> (StackId, bool) {
    let before = table.len();
    let stack = table.intern(parent, site);
    (stack, table.len() > before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hook_sends_becomes_whole_stacks() {
        let mut table = StackTable::default();
        let mut paths = Paths::default();
        let mut beyond = |lane: u64, kept: u32, new: &[u64], truncated| {
            let mut words = vec![lane | u64::from(kept) << 32];
            words.extend_from_slice(new);
            let stack = paths.beyond(
                &words,
                truncated,
                |address| SiteId(address as u32),
                |parent, site| table.intern(parent, site),
            );
            table.frames(stack).map(|site| site.0).collect::<Vec<_>>()
        };
        assert_eq!(beyond(0, 0, &[12, 11, 10], false), [12, 11, 10]);
        assert_eq!(beyond(0, SAME, &[], false), [12, 11, 10]);
        // Another lane has a stack of its own, whose outer end was not found.
        assert_eq!(beyond(3, 0, &[21, 20], true), [21, 20, 0]);
        assert_eq!(beyond(0, 1, &[14, 13], false), [14, 13, 10]);
        assert_eq!(beyond(0, 2, &[], false), [13, 10]);
        assert_eq!(beyond(3, 1, &[22], true), [22, 20, 0]);
        assert!(beyond(3, 0, &[], false).is_empty());
    }
}
