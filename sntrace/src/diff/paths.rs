//! The stacks of both sides as paths of function names in one tree, so that equal ones are one number.
//!
//! A path leads from `main`, or from a thread's first function, inwards. Three things make stacks of
//! two builds comparable: what is outside of `main` is left out; a recursion is folded, so that its depth
//! doesn't count; and a path ends at the caller, the innermost function that does not merely wrap the
//! allocator.
//!
//! A recursion is a piece of a path that repeats at once: `a b a b` is `a b`. Pieces of up to
//! [`PERIOD_MAX`] functions are found. Calls that recur in changing ways (`a b a c a`) stay as they are.
//!
//! Memory is bounded by the stacks of both traces.

use super::names::{NameId, Names, Role};
use crate::symbolize::hash::AddressMap;

/// Number of a path: dense, from 0, which is the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub u32);

impl PathId {
    /// No functions.
    pub const ROOT: PathId = PathId(0);
}

/// Functions that a repeating piece has at most.
pub const PERIOD_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Node {
    outer: PathId,
    name: NameId,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// By number, from 1.
    nodes: Vec<Node>,
    inner: AddressMap<u64, PathId>,
}

impl Paths {
    /// The path with one function more at its inner end, nothing folded.
    pub fn join(&mut self, outer: PathId, name: NameId) -> PathId {
        let nodes = &mut self.nodes;
        *self.inner.entry(key(outer, name)).or_insert_with(|| {
            nodes.push(Node { outer, name });
            // As many would not fit in memory.
            PathId(u32::try_from(nodes.len()).unwrap_or(u32::MAX))
        })
    }

    /// The path that `name` makes of `outer`, which calls it.
    pub fn step(&mut self, outer: PathId, name: NameId, names: &Names) -> PathId {
        match names.role(name) {
            Role::Start => return PathId::ROOT,
            Role::Main => return self.join(PathId::ROOT, name),
            Role::Libc if outer == PathId::ROOT => return PathId::ROOT,
            _ => {}
        }
        match period(name, self.outwards(outer)) {
            // The piece that repeats ends in this function, so without its repetition the path ends there.
            Some(period) => self.out(outer, period - 1),
            None => self.join(outer, name),
        }
    }

    /// The path of an allocation's caller: without the wrappers at its inner end. A path of wrappers alone ends at the
    /// outermost.
    #[must_use]
    pub fn caller(&self, path: PathId, names: &Names) -> PathId {
        let mut at = path;
        while let Some(node) = self.node(at) {
            if names.role(node.name) != Role::Wrapper {
                return at;
            }
            if node.outer == PathId::ROOT {
                return at;
            }
            at = node.outer;
        }
        at
    }

    /// The path of these functions, the outermost first, if it is in the tree.
    #[must_use]
    pub fn find(&self, functions: impl IntoIterator<Item = NameId>) -> Option<PathId> {
        let mut at = PathId::ROOT;
        for name in functions {
            at = *self.inner.get(&key(at, name))?;
        }
        Some(at)
    }

    /// The functions of a path, the innermost first.
    pub fn outwards(&self, path: PathId) -> impl Iterator<Item = NameId> + '_ {
        let mut at = path;
        std::iter::from_fn(move || {
            let node = self.node(at)?;
            at = node.outer;
            Some(node.name)
        })
    }

    /// The functions of a path, the outermost first.
    #[must_use]
    pub fn inwards(&self, path: PathId) -> Vec<NameId> {
        let mut functions: Vec<_> = self.outwards(path).collect();
        functions.reverse();
        functions
    }

    /// The innermost function; of the empty path, none.
    #[must_use]
    pub fn innermost(&self, path: PathId) -> Option<NameId> {
        Some(self.node(path)?.name)
    }

    fn out(&self, path: PathId, functions: usize) -> PathId {
        (0..functions).fold(path, |at, _| {
            self.node(at).map_or(PathId::ROOT, |node| node.outer)
        })
    }

    fn node(&self, path: PathId) -> Option<Node> {
        let at = (path.0 as usize).checked_sub(1)?;
        self.nodes.get(at).copied()
    }
}

fn key(outer: PathId, name: NameId) -> u64 {
    u64::from(outer.0) << 32 | u64::from(name.0)
}

/// How long the piece is that repeats at once when `name` is called from a path, which is given from its inner end
/// outwards; `None`: nothing repeats.
pub fn period<T: PartialEq + Copy>(name: T, outwards: impl Iterator<Item = T>) -> Option<usize> {
    let path: smallvec::SmallVec<[T; 2 * PERIOD_MAX]> = std::iter::once(name)
        .chain(outwards.take(2 * PERIOD_MAX - 1))
        .collect();
    let repeats = |period: &usize| {
        let (inner, outer) = (path.get(..*period), path.get(*period..2 * period));
        inner.is_some() && inner == outer
    };
    (1..=path.len() / 2).find(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> String {
        let (mut names, mut paths) = (Names::default(), Paths::default());
        let mut at = PathId::ROOT;
        for word in text.split_whitespace() {
            let name = match word.split_once('!') {
                Some((module, _)) => names.unnamed(word, module),
                None => names.function(word),
            };
            at = paths.step(at, name, &names);
        }
        let at = paths.caller(at, &names);
        assert_eq!(paths.find(paths.inwards(at)), Some(at));
        let functions = paths.inwards(at);
        let words: Vec<_> = functions.iter().map(|name| names.text(*name)).collect();
        words.join(" ")
    }

    #[test]
    fn what_is_outside_of_main_is_left_out() {
        assert_eq!(path("_start __libc_start_main main work"), "main work");
        assert_eq!(path("libc.so.6!1 libc.so.6!2 main work"), "main work");
        assert_eq!(path("odd main work"), "main work");
        assert_eq!(path("clone3 start_thread worker"), "worker");
        assert_eq!(
            path("libc.so.6!1 worker libc.so.6!1 compare"),
            "worker libc.so.6!1 compare"
        );
    }

    #[test]
    fn a_path_ends_at_the_caller() {
        assert_eq!(path("main work xmalloc"), "main work");
        assert_eq!(path("main work strdup xmalloc"), "main work");
        assert_eq!(path("main strdup work"), "main strdup work");
        assert_eq!(path("xrealloc xmalloc"), "xrealloc");
    }

    #[test]
    fn the_depth_of_a_recursion_does_not_count() {
        assert_eq!(path("main f f f f g"), "main f g");
        assert_eq!(path("main a b a b a b c"), "main a b c");
        assert_eq!(path("main a b a b a"), "main a b a");
        assert_eq!(path("main a b c a b c d"), path("main a b c d"));
        assert_eq!(path("main a b a c a b"), "main a b a c a b");
    }

    proptest! {
        /// However often a piece is repeated, the path is the same.
        #[test]
        fn folding_forgets_how_often(
            head in "[xyz]{0,4}", piece in "[abcd]{1,6}", tail in "[uvw]{0,4}", times in 2usize..6
        ) {
            let text = |times: usize| {
                let word = format!("m{head}{}{tail}", piece.repeat(times));
                word.chars().map(|c| format!("f{c} ")).collect::<String>()
            };
            prop_assert_eq!(path(&text(2)), path(&text(times)));
        }
    }
}
