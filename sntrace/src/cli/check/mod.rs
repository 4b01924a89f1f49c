//! `sntrace check`: a program, or its trace, against a budget and a baseline.
//!
//! Exit statuses: 0; 1 where a rule failed; 2 where the budget or a trace can't be read, or a rule not be judged; 125
//! where the verdict can't be written. A program that ends with another status than 0 is not judged, and its
//! status is the command's, unless `--ignore-status` says otherwise.

mod budgets;
mod runs;

use std::path::Path;

use super::baseline;
use super::diff::{GateError, Place, Showing, name_of, refuse_empty};
use super::exit_status;
use super::inputs::{self, Measured};
use super::options::CheckOptions;
use crate::check::{Budget, Evidence};
use crate::diff::{self, Comparison};
use crate::messages;
use crate::output::escape;
use crate::profile::Profile;
use crate::verdict::{Judged, Question};

/// `sntrace check`.
pub(super) fn run_check(options: &CheckOptions) -> u8 {
    let trace = trace_of(options);
    let place = match trace {
        Some(_) => Place::Stdout,
        None => Place::Stderr,
    };
    // What can't work is said before the program runs.
    let prepared = match Prepared::of(options, place) {
        Ok(prepared) => prepared,
        Err(error) => return error.report(),
    };
    let counted = prepared.budget.as_ref().map(Budget::counted);
    let counted = counted.unwrap_or_default();
    let measured = match trace {
        Some(path) => inputs::measure(path, &counted)
            .map(|measured| (name_of(path), measured))
            .map_err(|error| GateError::from(error).report()),
        None => runs::measure(options, &counted),
    };
    let (name, measured) = match measured {
        Ok(measured) => measured,
        Err(status) => return status,
    };
    match prepared.judge(options, &name, measured) {
        Ok(true) => exit_status::SUCCESS,
        Ok(false) => exit_status::RULE_FAILED,
        Err(error) => error.report(),
    }
}

/// The trace that was given in the place of a program.
fn trace_of(options: &CheckOptions) -> Option<&Path> {
    match options.run.command.as_slice() {
        [word] => Some(Path::new(word)).filter(|path| inputs::is_trace(path)),
        _ => None,
    }
}

/// What a profile is judged by, read before the program runs.
struct Prepared<'a> {
    /// Where the verdict goes.
    showing: Showing<'a>,
    /// The baseline and what it is called.
    base: Option<(String, Profile)>,
    /// `None`: there is none, or it is only to be made.
    budget: Option<Budget>,
}

impl<'a> Prepared<'a> {
    fn of(options: &'a CheckOptions, place: Place) -> Result<Self, GateError> {
        let base = match &options.baseline.name {
            None => None,
            Some(name) => {
                let path = baseline::existing(&options.baseline, name)?;
                Some((name.clone(), inputs::profile(&path)?))
            }
        };
        if let Some(name) = &options.save_baseline {
            baseline::prepare(&options.baseline, name)?;
        }
        let budget = match &options.budget {
            None => None,
            Some(path) => budgets::read(path, options.update.is_some())?,
        };
        Ok(Self {
            showing: Showing::open(&options.show, place)?,
            base,
            budget,
        })
    }

    /// Whether all rules held.
    fn judge(
        self,
        options: &CheckOptions,
        name: &str,
        measured: Measured,
    ) -> Result<bool, GateError> {
        let Measured { mut profile, calls } = measured;
        refuse_empty(name, &profile)?;
        let comparison = match &self.base {
            Some((_, base)) => Comparison::of(base, &profile, options.gate.matching),
            None => Comparison::alone(&profile),
        };
        let evidence = Evidence {
            comparison: &comparison,
            calls: calls.as_ref(),
        };
        let names = (self.base.as_ref().map_or("", |(name, _)| name), name);
        if let (Some(path), Some(percent)) = (&options.budget, options.update) {
            budgets::update(path, self.budget.as_ref(), evidence, percent)?;
        }
        let judged = self.rules(options, names, evidence)?;
        let mut passed = true;
        // What only writes a budget or a baseline has nothing to show.
        if !judged.is_empty() || self.base.is_some() {
            let mut verdict = diff::compose(Question::Check, names, &comparison, judged);
            let idle = self.budget.iter();
            let idle = idle.flat_map(|budget| budget.idle_leaks(&comparison));
            verdict.notes.extend(
                idle.map(|leak| {
                    format!("'{}' is not needed any more: nothing leaks there", leak.key)
                }),
            );
            self.showing.show(&verdict)?;
            passed = verdict.passed();
        }
        if let Some(baseline) = &options.save_baseline {
            match passed {
                true => {
                    profile.origin.revision = baseline::revision();
                    let path = baseline::save(&options.baseline, baseline, &profile)?;
                    let shown = escape::shown(&path.to_string_lossy());
                    messages::note(format!("saved the baseline '{baseline}' in '{shown}'"));
                }
                false => messages::warning(
                    format!("the baseline '{baseline}' was not saved, as a rule failed"),
                    None,
                ),
            }
        }
        Ok(passed)
    }

    /// What came of every rule.
    fn rules(
        &self,
        options: &CheckOptions,
        names: (&str, &str),
        evidence: Evidence<'_>,
    ) -> Result<Vec<Judged>, GateError> {
        let mut judged = Vec::new();
        for rule in &options.gate.rules {
            judged.push(diff::judge(rule, evidence.comparison, options.gate.judge)?);
        }
        if let (Some(budget), None) = (&self.budget, options.update) {
            judged.extend(budget.judge(evidence, options.gate.judge)?);
        }
        if !judged.is_empty() {
            let missing = diff::missing_events(names, evidence.comparison, options.gate.judge);
            judged.splice(0..0, missing);
        }
        Ok(judged)
    }
}
