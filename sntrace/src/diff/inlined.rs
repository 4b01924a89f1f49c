//! Functions that became a part of their callers, or stopped being one, where no debug information tells.
//!
//! A compiler that puts a function into its caller takes a frame out of every stack through it. So a stack that
//! one side alone has is looked for on the other without the functions that it is called through there no
//! more: a function goes if nowhere on the other side it is called by the one before it. What is found that way is
//! believed if that stack has no counterpart of its own; and if it has one, only where the figures of both
//! together fit better, as they do where an allocation moved into the function and not where one was
//! added.

use std::collections::{HashMap, HashSet};

use super::comparison::{Comparison, Pair, Part};
use super::names::NameId;
use crate::verdict::Matched;

/// A call: who calls, and whom. Nobody calls the outermost function.
type Call = (Option<NameId>, NameId);

/// Which side a pair has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Base,
    Head,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Base => Side::Head,
            Side::Head => Side::Base,
        }
    }

    fn of(self, pair: &Pair) -> Option<&Part> {
        match self {
            Side::Base => pair.base.as_ref(),
            Side::Head => pair.head.as_ref(),
        }
    }
}

/// Finds such functions, and joins the pairs that they explain.
pub(super) fn find(comparison: &mut Comparison<'_>) {
    for side in [Side::Base, Side::Head] {
        explain(comparison, side);
        comparison.sweep();
    }
}

/// Looks for the counterparts of what this side alone has.
fn explain(comparison: &mut Comparison<'_>, side: Side) {
    let there = side.other();
    let calls = calls(comparison, there);
    let numbered = comparison.pairs.iter().enumerate();
    let targets: HashMap<_, _> = numbered
        .clone()
        .filter(|(_, pair)| there.of(pair).is_some())
        .map(|(at, pair)| (pair.path, at))
        .collect();
    let alone: Vec<usize> = numbered
        .filter(|(_, pair)| side.of(pair).is_some() && there.of(pair).is_none())
        .map(|(at, _)| at)
        .collect();
    for at in alone {
        let Some(pair) = comparison.pairs.get(at) else {
            continue;
        };
        let functions = comparison.paths.inwards(pair.path);
        let functions = functions.into_iter().map(|name| match side {
            Side::Base => comparison.renames.get(&name).copied().unwrap_or(name),
            Side::Head => name,
        });
        let (kept, gone) = without_calls(functions, &calls, &comparison.changeable);
        // At least one function stays, and a stack doesn't shrink to another one altogether.
        if gone.is_empty() || kept.is_empty() || gone.len() > kept.len() {
            continue;
        }
        let path = comparison.paths.find(kept);
        let Some(&target) = path.and_then(|path| targets.get(&path)) else {
            continue;
        };
        let met = comparison.pairs.get(target);
        let believed = met.is_some_and(|met| match side.of(met) {
            None => true,
            Some(_) => fits_better(pair, met, side),
        });
        if !believed {
            continue;
        }
        let words = gone
            .iter()
            .map(|name| comparison.names.text(*name).to_owned());
        let matched = Matched::Inlined(words.collect());
        comparison.join(at, target, matched);
    }
}

/// The functions that are called on the other side by the one that is left before them, and the others.
fn without_calls(
    functions: impl Iterator<Item = NameId>,
    calls: &HashSet<Call>,
    changeable: &HashSet<NameId>,
) -> (Vec<NameId>, Vec<NameId>) {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for name in functions {
        let stays = calls.contains(&(kept.last().copied(), name)) || !changeable.contains(&name);
        match stays {
            true => kept.push(name),
            false => gone.push(name),
        }
    }
    (kept, gone)
}

/// Every call on the paths of a side.
fn calls(comparison: &Comparison<'_>, side: Side) -> HashSet<Call> {
    let mut calls = HashSet::new();
    for pair in comparison.pairs.iter().filter(|p| side.of(p).is_some()) {
        let mut outer = None;
        for name in comparison.paths.inwards(pair.path) {
            calls.insert((outer, name));
            outer = Some(name);
        }
    }
    calls
}

/// Whether a pair's sides differ less with the lone one added.
fn fits_better(lone: &Pair, met: &Pair, side: Side) -> bool {
    let sum = |part: Option<&Part>| {
        part.map_or((0, 0), |part| {
            let first = part.runs.first().copied().unwrap_or_default();
            (i128::from(first.allocations), i128::from(first.bytes))
        })
    };
    let more = sum(side.of(lone));
    let (own, other) = (sum(side.of(met)), sum(side.other().of(met)));
    let apart = |own: (i128, i128)| ((own.0 - other.0).abs(), (own.1 - other.1).abs());
    let (before, after) = (apart(own), apart((own.0 + more.0, own.1 + more.1)));
    after.0 <= before.0 && after.1 <= before.1 && after != before
}
