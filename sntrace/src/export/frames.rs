//! Frames as formats number them: each function of each place in code once.
//!
//! Formats list frames in a table and stacks as numbers into it. Numbers are given as frames are
//! met, so that what no stack of an export has is not listed. Also what all formats say of a frame
//! alike.

use crate::output::escape;
use crate::symbolize::hash::AddressMap;
use crate::trace::{SiteId, StackId, Tables};

/// What stands for blocks that a child has from its parent, in formats that know allocations only.
pub const INHERITED: &str = "[inherited by fork]";

/// A function of a place: the site, and the level as [`Tables::function_name`] takes it.
pub type Frame = (SiteId, usize);

/// Numbers for frames: dense, from 0, in the order in which they were met.
#[derive(Default)]
pub struct Frames {
    numbers: AddressMap<u64, u32>,
    frames: Vec<Frame>,
}

impl Frames {
    /// The number of a frame.
    pub fn number(&mut self, frame: Frame) -> u32 {
        let (site, level) = frame;
        // As many functions in one place would not fit in memory.
        let key = u64::from(site.0) << 32 | u64::from(level as u32);
        let frames = &mut self.frames;
        *self.numbers.entry(key).or_insert_with(|| {
            frames.push(frame);
            frames.len() as u32 - 1
        })
    }

    /// All of them, by number.
    pub fn all(&self) -> &[Frame] {
        &self.frames
    }
}

/// Frames of a stack that formats list, which write each stack down whole. A recursion of a hundred
/// thousand calls that allocates at each would take the square of that; what is further out is cut
/// off, as in a stack that could not be followed.
pub const DEPTH_MAX: usize = 1_000;

/// The frames of a stack, inner to outer. A stack that was not taken is one nameless place; one that
/// is too deep ends as truncated.
pub fn of_stack(tables: &Tables, stack: StackId) -> impl Iterator<Item = Frame> + '_ {
    let nothing = tables.stacks.node(stack).is_none().then_some(NOWHERE);
    cut(tables.functions_of(stack), (SiteId::TRUNCATED, 0)).chain(nothing)
}

/// The places of a stack likewise, with what was inlined as a part of them.
pub fn sites_of(tables: &Tables, stack: StackId) -> impl Iterator<Item = SiteId> + '_ {
    let nothing = tables.stacks.node(stack).is_none().then_some(NOWHERE.0);
    cut(tables.stacks.frames(stack), SiteId::TRUNCATED).chain(nothing)
}

/// Whether [`of_stack`] cuts a stack off: then others may look the same.
pub fn is_cut(tables: &Tables, stack: StackId) -> bool {
    tables.functions_of(stack).nth(DEPTH_MAX).is_some()
}

fn cut<F>(frames: impl Iterator<Item = F>, end: F) -> impl Iterator<Item = F>
where
    F: Copy,
{
    let numbered = frames.take(DEPTH_MAX + 1).enumerate();
    numbered.map(move |(at, frame)| if at == DEPTH_MAX { end } else { frame })
}

/// The same, outer to inner.
pub fn outer_to_inner(tables: &Tables, stack: StackId) -> Vec<Frame> {
    let mut frames: Vec<_> = of_stack(tables, stack).collect();
    frames.reverse();
    frames
}

/// The one frame of a stack that was not taken: a place that no table has.
const NOWHERE: Frame = (SiteId(u32::MAX), 0);

/// The address, for people, or nothing where none is known.
pub fn address(tables: &Tables, site: SiteId) -> Option<u64> {
    Some(tables.site(site).address).filter(|&address| address != 0)
}

/// `name (file:line)`, `name (in module)` or `name`, escaped for text: what Valgrind's tools show.
pub fn described(tables: &Tables, (site, level): Frame) -> String {
    let name = tables.function_name(site, level);
    let name = escape::shown(&name);
    match (tables.location(site, level), tables.file_of(site)) {
        (Some((file, line)), _) => {
            let file = file.rsplit('/').next().unwrap_or(file);
            format!("{name} ({}:{line})", escape::shown(file))
        }
        (None, Some(module)) => format!("{name} (in {})", escape::shown(&module.path)),
        (None, None) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_stack_without_end_is_cut_off() {
        let (mut tables, _) = samples::tables();
        let mut deep = |calls: usize| {
            (0..calls).fold(StackId::EMPTY, |outer, at| {
                tables
                    .stacks
                    .intern(outer, SiteId(if at % 2 == 0 { 1 } else { 8 }))
            })
        };
        let (whole, more) = (deep(DEPTH_MAX), deep(5 * DEPTH_MAX));
        assert!(!is_cut(&tables, whole) && is_cut(&tables, more));
        assert_eq!(of_stack(&tables, whole).count(), DEPTH_MAX);
        let frames = outer_to_inner(&tables, more);
        assert_eq!(frames.len(), DEPTH_MAX + 1);
        assert_eq!(frames[0].0, SiteId::TRUNCATED);
        assert_eq!(frames[DEPTH_MAX].0, SiteId(8));
        assert_eq!(sites_of(&tables, more).last(), Some(SiteId::TRUNCATED));
    }

    #[test]
    fn a_stack_that_was_not_taken_is_one_place() {
        let (tables, _) = samples::tables();
        for nothing in [StackId::EMPTY, StackId(u32::MAX)] {
            let names: Vec<_> = of_stack(&tables, nothing)
                .map(|(site, level)| tables.function_name(site, level))
                .collect();
            assert_eq!(names, ["???"]);
            assert_eq!(sites_of(&tables, nothing).count(), 1);
        }
    }
}
