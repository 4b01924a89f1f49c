//! Functions that were renamed, as the stacks around them tell.
//!
//! A rename is looked for among names that one side alone has. Two stacks that differ in nothing but such names, one
//! old and one new at the same places, say that the old names became the new ones. They are believed where
//! all stacks say the same, and where more than the place speaks for it: other functions further in that are
//! still the same, several stacks, equal figures, or names that are alike. Otherwise a function that went away
//! and another that came would be taken for one. Each rename that is known makes others clearer, so it is looked
//! again until nothing new comes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::comparison::{Comparison, Pair};
use super::names::NameId;
use crate::profile::Figures;
use crate::verdict::Matched;

/// More rounds find nothing: each needs a rename that the one before has found.
const ROUNDS_MAX: usize = 8;
/// Names as much alike as this are believed to be one without more evidence: the share of common pairs of letters.
const LIKENESS_MIN: f64 = 0.5;

/// Finds renames, and joins the pairs that they explain.
pub(super) fn find(comparison: &mut Comparison<'_>) {
    for _ in 0..ROUNDS_MAX {
        let found = Search::of(comparison).renames();
        let new: Vec<_> = found
            .into_iter()
            .filter(|(old, _)| !comparison.renames.contains_key(old))
            .collect();
        if new.is_empty() {
            return;
        }
        comparison.renames.extend(new);
        apply(comparison);
    }
}

/// Joins each base site whose functions were renamed with the head's site of the new names.
fn apply(comparison: &mut Comparison<'_>) {
    let heads: HashMap<_, _> = numbered(comparison, |pair| pair.head.is_some())
        .map(|(at, pair)| (pair.path, at))
        .collect();
    let gone: Vec<_> = numbered(comparison, |pair| pair.head.is_none())
        .map(|(at, pair)| (at, comparison.paths.inwards(pair.path)))
        .collect();
    for (at, functions) in gone {
        let mut renamed = Vec::new();
        let names = functions.iter().map(|old| {
            let new = comparison.renames.get(old).copied();
            if let Some(new) = new {
                renamed.push((*old, new));
            }
            new.unwrap_or(*old)
        });
        let path = comparison.paths.find(names.collect::<Vec<_>>());
        let Some(&head) = path.and_then(|path| heads.get(&path)) else {
            continue;
        };
        let text = |name| comparison.names.text(name).to_owned();
        let words = renamed.iter().map(|&(old, new)| (text(old), text(new)));
        let matched = Matched::Renamed(words.collect());
        comparison.join(at, head, matched);
    }
    comparison.sweep();
}

fn numbered<'a>(
    comparison: &'a Comparison<'_>,
    wanted: impl Fn(&Pair) -> bool + 'a,
) -> impl Iterator<Item = (usize, &'a Pair)> + 'a {
    let pairs = comparison.pairs.iter().enumerate();
    pairs.filter(move |(_, pair)| wanted(pair))
}

/// A path with holes where one side alone has the name.
type Pattern = Vec<Option<NameId>>;

/// A site that one side has, as a pattern and what is in its holes.
struct Candidate {
    holes: Vec<NameId>,
    figures: Figures,
}

struct Search<'c, 'p> {
    comparison: &'c Comparison<'p>,
    gone: HashSet<NameId>,
    new: HashSet<NameId>,
}

/// What speaks for a rename.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    stacks: u32,
    /// Something that only the same function would do.
    telling: bool,
}

impl<'c, 'p> Search<'c, 'p> {
    fn of(comparison: &'c Comparison<'p>) -> Self {
        let used = |side: fn(&Pair) -> bool| -> HashSet<NameId> {
            let pairs = comparison.pairs.iter().filter(|pair| side(pair));
            pairs
                .flat_map(|pair| comparison.paths.outwards(pair.path))
                .collect()
        };
        // A pair of both sides has its head's path: what was renamed there is known.
        let base = used(|pair| pair.base.is_some() && pair.matched == Matched::ByName);
        let head = used(|pair| pair.head.is_some());
        let known: HashSet<NameId> = comparison.renames.values().copied().collect();
        let new = head.difference(&base).copied();
        Search {
            comparison,
            gone: base.difference(&head).copied().collect(),
            new: new.filter(|name| !known.contains(name)).collect(),
        }
    }

    /// Old names by their new ones, of all that is believed.
    fn renames(&self) -> Vec<(NameId, NameId)> {
        let mut votes: BTreeMap<(NameId, NameId), Evidence> = BTreeMap::new();
        let base = self.candidates(|pair| pair.head.is_none(), &self.gone);
        let head = self.candidates(|pair| pair.base.is_none(), &self.new);
        for (pattern, old) in &base {
            if let Some(new) = head.get(pattern) {
                self.vote(pattern, old, new, &mut votes);
            }
        }
        let supported = |(old, new): (NameId, NameId), evidence: &Evidence| {
            evidence.telling || evidence.stacks > 1 || self.alike(old, new) >= LIKENESS_MIN
        };
        let (mut of_old, mut of_new) = (HashMap::new(), HashMap::new());
        for (old, new) in votes.keys() {
            *of_old.entry(*old).or_insert(0) += 1;
            *of_new.entry(*new).or_insert(0) += 1;
        }
        let found = votes.iter().filter(|&(names, evidence)| {
            of_old[&names.0] == 1 && of_new[&names.1] == 1 && supported(*names, evidence)
        });
        found.map(|(names, _)| *names).collect()
    }

    fn candidates(
        &self,
        side: impl Fn(&Pair) -> bool,
        alone: &HashSet<NameId>,
    ) -> BTreeMap<Pattern, Vec<Candidate>> {
        let mut found: BTreeMap<Pattern, Vec<Candidate>> = BTreeMap::new();
        for pair in self.comparison.pairs.iter().filter(|pair| side(pair)) {
            let mut holes = Vec::new();
            let functions = self.comparison.paths.inwards(pair.path);
            let renames = &self.comparison.renames;
            let pattern = functions.into_iter().map(|name| {
                // What is known to be renamed is looked at by its new name.
                let name = match pair.head.is_none() {
                    true => renames.get(&name).copied().unwrap_or(name),
                    false => name,
                };
                let hole = alone.contains(&name);
                if hole {
                    holes.push(name);
                }
                (!hole).then_some(name)
            });
            let pattern: Pattern = pattern.collect();
            if holes.is_empty() {
                continue;
            }
            let part = pair.head.as_ref().or(pair.base.as_ref());
            let figures = part.and_then(|part| part.runs.first().copied());
            found.entry(pattern).or_default().push(Candidate {
                holes,
                figures: figures.unwrap_or_default(),
            });
        }
        found
    }

    fn vote(
        &self,
        pattern: &Pattern,
        old: &[Candidate],
        new: &[Candidate],
        votes: &mut BTreeMap<(NameId, NameId), Evidence>,
    ) {
        // Functions further in that both sides have: the old and the new one call the same.
        let further_in = pattern.last().is_some_and(Option::is_some);
        for (one, other, equal) in pairs(old, new, |one, other| self.likeness(one, other)) {
            for (&old, &new) in one.holes.iter().zip(&other.holes) {
                let evidence = votes.entry((old, new)).or_default();
                evidence.stacks += 1;
                evidence.telling |= further_in || equal;
            }
        }
    }

    fn likeness(&self, one: &Candidate, other: &Candidate) -> f64 {
        let each = one.holes.iter().zip(&other.holes);
        let sum: f64 = each.map(|(&old, &new)| self.alike(old, new)).sum();
        sum / one.holes.len().max(1) as f64
    }

    fn alike(&self, old: NameId, new: NameId) -> f64 {
        let names = &self.comparison.names;
        likeness(names.text(old), names.text(new))
    }
}

/// Candidates at the same place, each with the one on the other side that it became: the only one, the one with equal
/// figures, or the one whose names are most alike. With each whether the figures are equal.
fn pairs<'a>(
    old: &'a [Candidate],
    new: &'a [Candidate],
    likeness: impl Fn(&Candidate, &Candidate) -> f64,
) -> Vec<(&'a Candidate, &'a Candidate, bool)> {
    let equal = |one: &Candidate, other: &Candidate| {
        let of = |figures: &Figures| (figures.allocations, figures.bytes);
        of(&one.figures) == of(&other.figures)
    };
    if let ([one], [other]) = (old, new) {
        return vec![(one, other, equal(one, other))];
    }
    let single = |found: Vec<usize>| match found.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let best = |of: &Candidate, among: &[Candidate]| {
        let scored = among.iter().map(|other| likeness(of, other)).enumerate();
        let scored = scored.filter(|(_, score)| *score >= LIKENESS_MIN);
        let best = scored.max_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(at, _)| at)
    };
    let same = |of: &Candidate, among: &[Candidate]| {
        let found = among.iter().enumerate();
        single(
            found
                .filter(|(_, other)| equal(of, other))
                .map(|(at, _)| at)
                .collect(),
        )
    };
    let mut found = Vec::new();
    for (at, one) in old.iter().enumerate() {
        let by_figures = same(one, new).filter(|&there| same(&new[there], old) == Some(at));
        let by_names = best(one, new).filter(|&there| best(&new[there], old) == Some(at));
        if let Some(there) = by_names.or(by_figures) {
            let other = &new[there];
            found.push((one, other, equal(one, other)));
        }
    }
    found
}

/// How much two names are alike, from 0 to 1: twice the pairs of neighbouring letters that both have, of all
/// that they have (Dice's coefficient).
fn likeness(one: &str, other: &str) -> f64 {
    let pairs = |text: &str| {
        let mut count: HashMap<(u8, u8), u32> = HashMap::new();
        for pair in text.as_bytes().windows(2) {
            *count.entry((pair[0], pair[1])).or_default() += 1;
        }
        count
    };
    let (one, other) = (pairs(one), pairs(other));
    let common: u32 = one
        .iter()
        .map(|(pair, count)| (*count).min(other.get(pair).copied().unwrap_or(0)))
        .sum();
    let all: u32 = one.values().chain(other.values()).sum();
    match all {
        0 => 0.0,
        all => 2.0 * f64::from(common) / f64::from(all),
    }
}
