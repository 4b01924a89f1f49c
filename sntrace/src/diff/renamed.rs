//! Functions that were renamed, as the stacks around them tell.
//!
//! A rename is looked for among names that one side alone has. Two stacks that differ in nothing but such names, one
//! old and one new at the same places, say that the old names became the new ones. They are believed where
//! all stacks say the same, and where more than the place speaks for it: other functions further in that are
//! still the same, several stacks, equal figures, or names that are alike. Otherwise a function that went away
//! and another that came would be taken for one. Each rename that is known makes others clearer, so it is looked
//! again until nothing new comes. A function that was split in two, or two that became one, are found likewise.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::comparison::{Comparison, Pair};
use super::names::NameId;
use crate::profile::Figures;
use crate::verdict::Matched;

/// More rounds find nothing: each needs a rename that the one before has found.
const ROUNDS_MAX: usize = 8;
/// Names as much alike as this are believed to be one without more evidence: the share of common pairs of letters.
const LIKENESS_MIN: f64 = 0.6;

/// Pairs of names that are compared in one round, and at one place. Where there are more, names tell little: much of the
/// program is another.
const LIKENESSES_MAX: usize = 200_000;
const LIKENESSES_AT_PLACE_MAX: usize = 4_096;

/// Functions that follow one another and that one side alone has. Mostly it is one; where a function was split, or two were
/// made one, the sides have different numbers of them.
type Run = Vec<NameId>;
/// A path with holes where such runs are.
type Pattern = Vec<Option<NameId>>;
/// Old runs by the new ones that they became.
type Renames = BTreeMap<Run, Run>;

/// Finds renames, and joins the pairs that they explain.
pub(super) fn find(comparison: &mut Comparison<'_>) {
    let search = Search::of(comparison);
    let mut renames = Renames::new();
    for _ in 0..ROUNDS_MAX {
        let found = search.renames(&renames);
        if found.is_empty() {
            break;
        }
        renames.extend(found);
    }
    let joins = search.joins(&renames);
    for (from, to, matched) in joins {
        comparison.join(from, to, matched);
    }
    let single = renames
        .iter()
        .filter_map(|(old, new)| match (&old[..], &new[..]) {
            ([old], [new]) => Some((*old, *new)),
            _ => None,
        });
    comparison.renames.extend(single);
    comparison.sweep();
}

/// A site that one side alone has, and what is in the holes of its pattern.
struct Candidate {
    /// Which of the comparison's pairs it is.
    pair: usize,
    holes: Vec<Run>,
    figures: Figures,
}

/// Both sides' sites of a pattern.
#[derive(Default)]
struct Place {
    old: Vec<Candidate>,
    new: Vec<Candidate>,
}

struct Search<'c, 'p> {
    comparison: &'c Comparison<'p>,
    places: BTreeMap<Pattern, Place>,
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
            let paths = pairs.map(|pair| pair.path);
            paths
                .flat_map(|path| comparison.paths.outwards(path))
                .collect()
        };
        let base = used(|pair| pair.base.is_some());
        let head = used(|pair| pair.head.is_some());
        let mut places: BTreeMap<Pattern, Place> = BTreeMap::new();
        for (at, pair) in comparison.pairs.iter().enumerate() {
            let (part, other) = match (&pair.base, &pair.head) {
                (Some(part), None) => (part, &head),
                (None, Some(part)) => (part, &base),
                _ => continue,
            };
            let functions = comparison.paths.inwards(pair.path);
            let (pattern, holes) = pattern(&functions, |name| {
                !other.contains(&name) && comparison.changeable.contains(&name)
            });
            // Where nothing of a stack is on the other side, nothing speaks for anything.
            if holes.is_empty() || pattern.iter().all(Option::is_none) {
                continue;
            }
            let candidate = Candidate {
                pair: at,
                holes,
                figures: part.runs.first().copied().unwrap_or_default(),
            };
            let place = places.entry(pattern).or_default();
            match pair.head {
                None => place.old.push(candidate),
                Some(_) => place.new.push(candidate),
            }
        }
        places.retain(|_, place| !place.old.is_empty() && !place.new.is_empty());
        Search { comparison, places }
    }

    /// Renames beyond the known ones that are believed.
    fn renames(&self, known: &Renames) -> Vec<(Run, Run)> {
        let taken: HashSet<&Run> = known.values().collect();
        let mut votes: BTreeMap<(&Run, &Run), Evidence> = BTreeMap::new();
        let mut likenesses = LIKENESSES_MAX;
        for (pattern, place) in &self.places {
            // Functions further in that both sides have: the old and the new one call the same.
            let further_in = pattern.last().is_some_and(Option::is_some);
            for (one, other, equal) in self.pairs(place, known, &mut likenesses) {
                for (old, new) in one.holes.iter().zip(&other.holes) {
                    if known.contains_key(old) || taken.contains(new) {
                        continue;
                    }
                    let evidence = votes.entry((old, new)).or_default();
                    evidence.stacks += 1;
                    evidence.telling |= equal || further_in && old.len() == new.len();
                }
            }
        }
        votes.retain(|(old, new), evidence| {
            evidence.telling || evidence.stacks > 1 || self.alike(old, new) >= LIKENESS_MIN
        });
        let (mut of_old, mut of_new) = (HashMap::new(), HashMap::new());
        // What is only likely doesn't count against what only the same function would do.
        let weight = |evidence: &Evidence| (evidence.telling, 1u32);
        for ((old, new), evidence) in &votes {
            for (best, run) in [(&mut of_old, *old), (&mut of_new, *new)] {
                let best = best.entry(run).or_insert((false, 0));
                let (telling, one) = weight(evidence);
                match telling.cmp(&best.0) {
                    std::cmp::Ordering::Greater => *best = (true, one),
                    std::cmp::Ordering::Equal => best.1 += one,
                    std::cmp::Ordering::Less => {}
                }
            }
        }
        let only = |best: &(bool, u32), evidence: &Evidence| *best == (evidence.telling, 1);
        votes
            .iter()
            .filter(|((old, new), evidence)| {
                only(&of_old[old], evidence) && only(&of_new[new], evidence)
            })
            .map(|((old, new), _)| ((*old).clone(), (*new).clone()))
            .collect()
    }

    /// Pairs that known renames make one: the base's, the head's, and what to say of it.
    fn joins(&self, known: &Renames) -> Vec<(usize, usize, Matched)> {
        let mut joins = Vec::new();
        for place in self.places.values() {
            let new = by_holes(&place.new);
            for one in &place.old {
                let Some(other) = renamed(one, &new, known) else {
                    continue;
                };
                let holes = one.holes.iter().zip(&other.holes);
                let mut words: Vec<_> = holes
                    .map(|(old, new)| (self.text(old), self.text(new)))
                    .collect();
                words.dedup();
                joins.push((one.pair, other.pair, Matched::Renamed(words)));
            }
        }
        joins
    }

    /// Candidates at the same place, each with the one that it became: the only one, the one whose names are most alike,
    /// or the one with equal figures. With each whether the figures are equal. Those that known renames explain are left
    /// out. `likenesses` is how many pairs of names may still be compared.
    fn pairs<'s>(
        &self,
        place: &'s Place,
        known: &Renames,
        likenesses: &mut usize,
    ) -> Vec<(&'s Candidate, &'s Candidate, bool)> {
        let new_by_holes = by_holes(&place.new);
        let mut gone: HashSet<usize> = HashSet::new();
        for one in &place.old {
            if let Some(other) = renamed(one, &new_by_holes, known) {
                gone.extend([one.pair, other.pair]);
            }
        }
        let left = |side: &'s [Candidate]| -> Vec<&'s Candidate> {
            let side = side.iter();
            side.filter(|candidate| !gone.contains(&candidate.pair))
                .collect()
        };
        let (old, new) = (left(&place.old), left(&place.new));
        if let ([one], [other]) = (&old[..], &new[..]) {
            return vec![(one, other, equal(one, other))];
        }
        let mut found: Vec<_> = self.by_names(&old, &new, likenesses);
        let mut taken: HashSet<usize> = HashSet::new();
        for (one, other) in &found {
            taken.extend([one.pair, other.pair]);
        }
        let by_figures = by_figures(&old, &new).into_iter();
        found.extend(
            by_figures
                .filter(|(one, other)| !taken.contains(&one.pair) && !taken.contains(&other.pair)),
        );
        let found = found.into_iter();
        found
            .map(|(one, other)| (one, other, equal(one, other)))
            .collect()
    }

    /// Candidates that are each other's most alike.
    fn by_names<'s>(
        &self,
        old: &[&'s Candidate],
        new: &[&'s Candidate],
        likenesses: &mut usize,
    ) -> Vec<(&'s Candidate, &'s Candidate)> {
        let comparisons = old.len() * new.len();
        if comparisons > LIKENESSES_AT_PLACE_MAX || comparisons > *likenesses {
            return Vec::new();
        }
        *likenesses -= comparisons;
        let texts = |side: &[&Candidate]| -> Vec<Vec<String>> {
            let texts = side.iter().map(|candidate| candidate.holes.iter());
            texts
                .map(|holes| holes.map(|run| self.text(run)).collect())
                .collect()
        };
        let (old_texts, new_texts) = (texts(old), texts(new));
        let score = |one: &[String], other: &[String]| {
            let each = one.iter().zip(other);
            let sum: f64 = each.map(|(one, other)| likeness(one, other)).sum();
            sum / one.len().max(1) as f64
        };
        // The best so far: of each old one, and of each new one.
        let mut of_old = vec![(LIKENESS_MIN, None); old.len()];
        let mut of_new = vec![(LIKENESS_MIN, None); new.len()];
        for (at, one) in old_texts.iter().enumerate() {
            for (there, other) in new_texts.iter().enumerate() {
                let score = score(one, other);
                if score >= of_old[at].0 {
                    of_old[at] = (score, Some(there));
                }
                if score >= of_new[there].0 {
                    of_new[there] = (score, Some(at));
                }
            }
        }
        let mutual = of_old.iter().enumerate().filter_map(|(at, (_, there))| {
            let there = (*there)?;
            (of_new[there].1 == Some(at)).then(|| (old[at], new[there]))
        });
        mutual.collect()
    }

    fn alike(&self, old: &Run, new: &Run) -> f64 {
        likeness(&self.text(old), &self.text(new))
    }

    /// A run from its outer end inwards.
    fn text(&self, run: &Run) -> String {
        let names = run.iter().map(|name| self.comparison.names.text(*name));
        names.collect::<Vec<_>>().join(" > ")
    }
}

/// The path with holes, and what is in them.
fn pattern(functions: &[NameId], alone: impl Fn(NameId) -> bool) -> (Pattern, Vec<Run>) {
    let (mut pattern, mut holes): (Pattern, Vec<Run>) = (Vec::new(), Vec::new());
    for &name in functions {
        match (alone(name), pattern.last(), holes.last_mut()) {
            (false, ..) => pattern.push(Some(name)),
            (true, Some(None), Some(hole)) => hole.push(name),
            (true, ..) => {
                pattern.push(None);
                holes.push(vec![name]);
            }
        }
    }
    (pattern, holes)
}

/// Candidates of one place by what is in their holes, which tells them apart.
fn by_holes(candidates: &[Candidate]) -> HashMap<&[Run], &Candidate> {
    let candidates = candidates.iter();
    candidates
        .map(|candidate| (&candidate.holes[..], candidate))
        .collect()
}

/// The one among these that known renames make of a candidate.
fn renamed<'s>(
    of: &Candidate,
    among: &HashMap<&'s [Run], &'s Candidate>,
    known: &Renames,
) -> Option<&'s Candidate> {
    let holes = of.holes.iter().map(|old| known.get(old).cloned());
    let holes = holes.collect::<Option<Vec<Run>>>()?;
    among.get(&holes[..]).copied()
}

fn equal(one: &Candidate, other: &Candidate) -> bool {
    telling_figures(one) == telling_figures(other)
}

fn telling_figures(of: &Candidate) -> (u64, u64) {
    (of.figures.allocations, of.figures.bytes)
}

/// Candidates whose figures no other one of their own side has, and one of the other side.
fn by_figures<'s>(
    old: &[&'s Candidate],
    new: &[&'s Candidate],
) -> Vec<(&'s Candidate, &'s Candidate)> {
    let unique = |side: &[&'s Candidate]| {
        let mut found: BTreeMap<(u64, u64), Option<&'s Candidate>> = BTreeMap::new();
        for &candidate in side {
            let entry = found.entry(telling_figures(candidate));
            entry
                .and_modify(|only| *only = None)
                .or_insert(Some(candidate));
        }
        found
    };
    let new = unique(new);
    let pairs = unique(old).into_iter().filter_map(|(figures, one)| {
        let other = new.get(&figures).copied().flatten()?;
        Some((one?, other))
    });
    pairs.collect()
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
