//! The figures of whatever a rule can be about: the run, a caller, a function with all that it calls, a module, a site.

use std::collections::{BTreeMap, HashSet};

use super::comparison::{Comparison, Pair};
use super::names::module_stem;
use crate::output::filter::Glob;
use crate::output::grouped;
use crate::profile::{Figures, Measured, Metric, add_runs};
use crate::verdict::{Change, Subject};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The run as a whole.
    Total,
    /// Each function by what it allocates itself.
    Caller,
    /// Each function by what it allocates with all that it calls.
    Function,
    /// Each module by what its functions allocate themselves.
    Module,
    /// Each site: a caller with its stack.
    Site,
}

impl Scope {
    /// How many of them, in words.
    #[must_use]
    pub fn count(self, number: usize) -> String {
        let (one, many) = match self {
            Scope::Total => ("run", "runs"),
            Scope::Caller => ("caller", "callers"),
            Scope::Function => ("function", "functions"),
            Scope::Module => ("module", "modules"),
            Scope::Site => ("site", "sites"),
        };
        format!(
            "{} {}",
            grouped(number as u64),
            if number == 1 { one } else { many }
        )
    }
}

/// One of them with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// What it is.
    pub subject: Subject,
    /// On the base side, by run; empty: there is no base.
    pub base: Vec<Figures>,
    /// On the head side, by run.
    pub head: Vec<Figures>,
    /// Its sites, as places in [`Comparison::pairs`].
    pub pairs: Vec<usize>,
}

impl Sum {
    /// A metric on both sides.
    #[must_use]
    pub fn change(&self, metric: Metric) -> Change {
        Change {
            metric,
            base: (!self.base.is_empty()).then(|| Measured::of(&self.base).get(metric)),
            head: Measured::of(&self.head).get(metric),
        }
    }
}

impl Comparison<'_> {
    /// Everything of a scope whose name fits the pattern, by name. A total has no name.
    #[must_use]
    pub fn sums(&self, scope: Scope, pattern: Option<&Glob>) -> Vec<Sum> {
        let fits = |name: &str| pattern.is_none_or(|pattern| pattern.matches(name));
        match scope {
            Scope::Total => vec![Sum {
                subject: Subject::Total,
                base: self.base.map_or(Vec::new(), |base| base.totals.clone()),
                head: self.head.totals.clone(),
                pairs: (0..self.pairs.len()).collect(),
            }],
            Scope::Site => {
                let pairs = self.pairs.iter().enumerate();
                let fitting = pairs.filter(|(_, pair)| fits(self.caller(pair)));
                fitting
                    .map(|(at, pair)| {
                        let name = self.caller(pair).to_owned();
                        let mut sum = self.nothing(Subject::Site(name));
                        self.add(&mut sum, at, pair);
                        sum
                    })
                    .collect()
            }
            Scope::Caller => {
                self.grouped(fits, Subject::Caller, |pair| vec![self.caller(pair).into()])
            }
            // Versions of a module have one name; a pattern may be about that, or about what the file is called.
            Scope::Module => {
                let fitting = |pair: &Pair| {
                    let path = self.module_path(pair);
                    let name = path.rsplit('/').next().unwrap_or(path);
                    fits(module_stem(path))
                        || fits(name)
                        || pattern.is_some_and(|glob| glob.has_slash() && glob.matches(path))
                };
                let stems: HashSet<&str> = self
                    .pairs
                    .iter()
                    .filter(|pair| fitting(pair))
                    .map(|pair| module_stem(self.module_path(pair)))
                    .collect();
                self.grouped(
                    |stem| stems.contains(stem),
                    Subject::Module,
                    |pair| vec![module_stem(self.module_path(pair)).into()],
                )
            }
            Scope::Function => self.grouped(fits, Subject::Function, |pair| {
                let mut names: Vec<String> = self.functions(pair).map(str::to_owned).collect();
                names.sort_unstable();
                names.dedup();
                names
            }),
        }
    }

    /// The functions of a pair's path, the caller first.
    pub fn functions<'s>(&'s self, pair: &Pair) -> impl Iterator<Item = &'s str> {
        let path = self.paths.outwards(pair.path);
        path.map(|name| self.names.text(name))
    }

    fn nothing(&self, subject: Subject) -> Sum {
        let runs = |runs| vec![Figures::default(); runs];
        Sum {
            subject,
            base: runs(self.base.map_or(0, |base| base.runs())),
            head: runs(self.head.runs()),
            pairs: Vec::new(),
        }
    }

    fn add(&self, sum: &mut Sum, at: usize, pair: &Pair) {
        if let Some(part) = &pair.base {
            add_runs(&mut sum.base, &part.runs);
        }
        if let Some(part) = &pair.head {
            add_runs(&mut sum.head, &part.runs);
        }
        sum.pairs.push(at);
    }

    fn grouped(
        &self,
        fits: impl Fn(&str) -> bool,
        subject: fn(String) -> Subject,
        names: impl Fn(&Pair) -> Vec<String>,
    ) -> Vec<Sum> {
        let mut sums: BTreeMap<String, Option<Sum>> = BTreeMap::new();
        for (at, pair) in self.pairs.iter().enumerate() {
            for name in names(pair) {
                let entry = sums.entry(name).or_insert_with_key(|name| {
                    fits(name).then(|| self.nothing(subject(name.clone())))
                });
                if let Some(sum) = entry {
                    self.add(sum, at, pair);
                }
            }
        }
        sums.into_values().flatten().collect()
    }
}
