//! One side of a comparison: the figures of each path that allocates.
//!
//! Many stacks become one path: lines, addresses, the depth of recursions and wrappers make no difference. The
//! stack that allocates most of them stands for all where a person is shown one.

use std::collections::HashMap;

use super::names::{NameId, Names, Vocabulary, names_of};
use super::paths::{PathId, Paths};
use crate::profile::{Figures, Profile, add_runs};
use crate::symbolize::hash::AddressMap;
use crate::trace::{SiteId, StackId, Tables};

/// How stacks become paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner<'a> {
    /// What each side's trace knows, this one's first: what only one can know makes no difference then.
    pub sides: Option<(&'a Vocabulary, &'a Vocabulary)>,
    /// Only the caller counts: one of the traces has no more.
    pub callers_only: bool,
}

/// A path's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// By run.
    pub runs: Vec<Figures>,
    /// The stack that stands for all.
    pub stack: StackId,
    /// What that stack allocated, in bytes and calls: the most.
    weight: (u64, u64),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    shares: AddressMap<PathId, Share>,
}

impl Sites {
    /// Of a profile.
    pub fn of(
        profile: &Profile,
        manner: Manner<'_>,
        names: &mut Names,
        paths: &mut Paths,
    ) -> Sites {
        let of_stacks = paths_of(&profile.tables, manner, names, paths);
        let mut sites = Sites::default();
        for figures in &profile.stacks {
            let path = of_stacks.get(figures.stack.0 as usize).copied();
            let path = path.unwrap_or_default();
            let path = match (path, manner.callers_only) {
                (PathId::ROOT, _) => paths.join(PathId::ROOT, names.unnamed("???", "")),
                (path, true) => match paths.innermost(path) {
                    Some(caller) => paths.join(PathId::ROOT, caller),
                    None => path,
                },
                (path, false) => path,
            };
            sites.add(path, figures.stack, &figures.runs);
        }
        sites
    }

    fn add(&mut self, path: PathId, stack: StackId, runs: &[Figures]) {
        let weight = runs.iter().map(|run| (run.bytes, run.allocations)).max();
        let weight = weight.unwrap_or_default();
        let share = self.shares.entry(path).or_insert_with(|| Share {
            runs: vec![Figures::default(); runs.len()],
            stack,
            weight,
        });
        add_runs(&mut share.runs, runs);
        // Of equal ones the first: the same in every run of sntrace.
        if weight > share.weight {
            (share.weight, share.stack) = (weight, stack);
        }
    }

    /// The share of a path.
    #[must_use]
    pub fn get(&self, path: PathId) -> Option<&Share> {
        self.shares.get(&path)
    }

    /// All paths that allocate, by number.
    #[must_use]
    pub fn paths(&self) -> Vec<PathId> {
        let mut paths: Vec<_> = self.shares.keys().copied().collect();
        paths.sort_unstable();
        paths
    }
}

/// The path of every stack, by [`StackId`], each to its caller.
fn paths_of(
    tables: &Tables,
    manner: Manner<'_>,
    names: &mut Names,
    paths: &mut Paths,
) -> Vec<PathId> {
    let mut whole = whole_paths(tables, manner, names, paths);
    for path in &mut whole {
        *path = paths.caller(*path, names);
    }
    whole
}

/// The path of every stack, by [`StackId`], each with its wrappers.
pub fn whole_paths(
    tables: &Tables,
    manner: Manner<'_>,
    names: &mut Names,
    paths: &mut Paths,
) -> Vec<PathId> {
    let mut of_sites: HashMap<SiteId, Vec<NameId>> = HashMap::new();
    let nodes = tables.stacks.nodes();
    let mut whole = Vec::with_capacity(nodes.len() + 1);
    whole.push(PathId::ROOT);
    for node in nodes {
        let outer = whole.get(node.parent.0 as usize).copied();
        let functions = of_sites
            .entry(node.site)
            .or_insert_with(|| names_of(tables, node.site, manner.sides, names));
        let path = functions
            .iter()
            .fold(outer.unwrap_or_default(), |outer, &name| {
                paths.step(outer, name, names)
            });
        whole.push(path);
    }
    whole
}
