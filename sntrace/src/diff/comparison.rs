//! Sites of both sides, each beside its counterpart.
//!
//! First what has the same path is one site. What is left is matched by what its path says in other words
//! ([`super::renamed`], [`super::inlined`]), if that is wanted. Nothing is lost on the way: the figures of all pairs add up to
//! those of both profiles.

use std::collections::{HashMap, HashSet};

use super::names::{NameId, Names, Vocabulary, changeable};
use super::paths::{PathId, Paths};
use super::side::{Manner, Sites};
use super::{inlined, renamed};
use crate::profile::{Figures, Measured, Profile, add_runs};
use crate::symbolize::caller_in;
use crate::trace::{StackId, StacksTaken, Tables};
use crate::verdict::Matched;

/// How a site is looked for on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// By its functions; what was renamed or inlined is found where the rest of the stack says so.
    #[default]
    Similar,
    /// By its functions, as both traces name them.
    Exact,
}

/// A site on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its functions: the head's, or where it has none, the base's.
    pub path: PathId,
    /// Its figures on the base side, by run; a run it didn't come up in has zeros.
    pub base: Option<Part>,
    /// Likewise on the head side.
    pub head: Option<Part>,
    /// How they were found to be the same.
    pub matched: Matched,
}

/// A site on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// By run.
    pub runs: Vec<Figures>,
    /// A stack that stands for it, of this side's tables.
    pub stack: StackId,
}

impl Pair {
    /// Its figures on the base side; zeros where it has none.
    #[must_use]
    pub fn base_figures(&self) -> Measured {
        self.base
            .as_ref()
            .map_or(Measured::default(), |part| Measured::of(&part.runs))
    }

    /// Its figures on the head side; zeros where it has none.
    #[must_use]
    pub fn head_figures(&self) -> Measured {
        self.head
            .as_ref()
            .map_or(Measured::default(), |part| Measured::of(&part.runs))
    }
}

/// Two profiles, or one beside nothing, site by site.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// What the head is compared with.
    pub base: Option<&'a Profile>,
    /// What is compared.
    pub head: &'a Profile,
    /// Every site of both.
    pub pairs: Vec<Pair>,
    /// Whether only callers are compared, as one of the profiles has no more.
    pub callers_only: bool,
    /// The names on paths.
    pub names: Names,
    /// The paths of pairs.
    pub paths: Paths,
    /// By name of a base's function: what it is called in the head.
    pub(super) renames: HashMap<NameId, NameId>,
    /// Functions that may be called otherwise on the other side, or be inlined there.
    pub(super) changeable: HashSet<NameId>,
}

impl<'a> Comparison<'a> {
    /// Compares.
    #[must_use]
    pub fn of(base: &'a Profile, head: &'a Profile, matching: Matching) -> Comparison<'a> {
        let whole = |profile: &Profile| profile.origin.recorded.stacks == StacksTaken::Full;
        let callers_only = !(whole(base) && whole(head));
        let (mut names, mut paths) = (Names::default(), Paths::default());
        let words = [base, head].map(|profile| Vocabulary::of(&profile.tables));
        let [of_base, of_head] = &words;
        let manner = |own, other| Manner {
            sides: match matching {
                Matching::Similar => Some((own, other)),
                Matching::Exact => None,
            },
            callers_only,
        };
        let manners = [manner(of_base, of_head), manner(of_head, of_base)];
        let base_sites = Sites::of(base, manners[0], &mut names, &mut paths);
        let head_sites = Sites::of(head, manners[1], &mut names, &mut paths);
        let mut this = Comparison {
            base: Some(base),
            head,
            pairs: by_path(&base_sites, &head_sites),
            callers_only,
            names,
            paths,
            renames: HashMap::new(),
            changeable: HashSet::new(),
        };
        if matching == Matching::Similar {
            for (profile, other) in [(base, of_head), (head, of_base)] {
                let found = changeable(&profile.tables, other, &mut this.names);
                this.changeable.extend(found);
            }
            renamed::find(&mut this);
            inlined::find(&mut this);
        }
        this
    }

    /// A profile beside nothing.
    #[must_use]
    pub fn alone(head: &'a Profile) -> Comparison<'a> {
        let callers_only = head.origin.recorded.stacks != StacksTaken::Full;
        let (mut names, mut paths) = (Names::default(), Paths::default());
        let manner = Manner {
            sides: None,
            callers_only,
        };
        let sites = Sites::of(head, manner, &mut names, &mut paths);
        Comparison {
            base: None,
            head,
            pairs: by_path(&Sites::default(), &sites),
            callers_only,
            names,
            paths,
            renames: HashMap::new(),
            changeable: HashSet::new(),
        }
    }

    /// The function that a pair is put down to.
    #[must_use]
    pub fn caller(&self, pair: &Pair) -> &str {
        let innermost = self.paths.innermost(pair.path);
        innermost.map_or("???", |name| self.names.text(name))
    }

    /// Path of the module that has that function; empty where none is known.
    #[must_use]
    pub fn module_path(&self, pair: &Pair) -> &str {
        let Some((tables, stack)) = self.tables_of(pair) else {
            return "";
        };
        let (site, ..) = caller_in(tables, stack);
        tables.file_of(site).map_or("", |file| &file.path)
    }

    /// File names of all modules on a pair's stack, each once.
    #[must_use]
    pub fn modules(&self, pair: &Pair) -> Vec<&str> {
        let Some((tables, stack)) = self.tables_of(pair) else {
            return Vec::new();
        };
        let files = tables.stacks.frames(stack);
        let files = files.filter_map(|site| tables.file_of(site));
        let mut names: Vec<_> = files.map(|file| file.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The stack that stands for a pair, with its tables: the head's, or where it has none, the base's.
    fn tables_of(&self, pair: &Pair) -> Option<(&'a Tables, StackId)> {
        match (&pair.head, &pair.base, self.base) {
            (Some(part), ..) => Some((&self.head.tables, part.stack)),
            (None, Some(part), Some(base)) => Some((&base.tables, part.stack)),
            _ => None,
        }
    }

    /// Puts one pair's side to another pair, which has the same site by another path. The pair that gave is empty
    /// then, and to be removed by [`Comparison::sweep`].
    pub(super) fn join(&mut self, from: usize, to: usize, matched: Matched) {
        let (base, head) = match self.pairs.get_mut(from) {
            Some(pair) => (pair.base.take(), pair.head.take()),
            None => return,
        };
        let Some(pair) = self.pairs.get_mut(to) else {
            return;
        };
        let add = |to: &mut Option<Part>, from: Option<Part>| match (to.as_mut(), from) {
            (Some(to), Some(from)) => add_runs(&mut to.runs, &from.runs),
            (None, from) => *to = from,
            (Some(_), None) => {}
        };
        add(&mut pair.base, base);
        add(&mut pair.head, head);
        pair.matched.also(matched);
    }

    /// Removes pairs that have given both of their sides away.
    pub(super) fn sweep(&mut self) {
        self.pairs
            .retain(|pair| pair.base.is_some() || pair.head.is_some());
    }
}

fn by_path(base: &Sites, head: &Sites) -> Vec<Pair> {
    let part = |sites: &Sites, path| {
        sites.get(path).map(|share| Part {
            runs: share.runs.clone(),
            stack: share.stack,
        })
    };
    let mut paths = base.paths();
    paths.extend(
        head.paths()
            .into_iter()
            .filter(|path| base.get(*path).is_none()),
    );
    let pairs = paths.into_iter().map(|path| Pair {
        path,
        base: part(base, path),
        head: part(head, path),
        matched: Matched::ByName,
    });
    pairs.collect()
}
