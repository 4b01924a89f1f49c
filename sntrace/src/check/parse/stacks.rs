//! The tables about stacks: forbidden zones and leaks that are allowed.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::{Fault, Member, Read, Reader, members, quoted, unknown};
use crate::check::budget::{AllowedLeak, Measure, Zone};
use crate::check::error::Problem;
use crate::output::escape::shown;
use crate::output::filter::Glob;
use crate::profile::Metric;

impl Reader<'_> {
    /// A `no_alloc` that begins there, after these.
    pub fn zone(&self, at: usize, table: &dyn TableLike, others: &[Zone]) -> Read<Zone> {
        const OWNER: &str = "no_alloc";
        let (mut under, mut reason, mut except) = (None, None, Vec::new());
        for member in members(table) {
            let key = format!("{OWNER}.{}", member.name);
            match member.name {
                "under" => under = Some(pattern(&key, &member)?),
                "reason" => reason = Some(member.text(&key)?.to_owned()),
                "except" => except = self.exceptions(&key, &member)?,
                _ => {
                    let known = ["under", "reason", "except"];
                    return Err(unknown(format!("'{OWNER}'"), "key", &member, &known));
                }
            }
        }
        let under = under.ok_or(missing(at, OWNER, "under"))?;
        let key = format!("{OWNER}.{}", quoted(under.pattern()));
        if let Some(first) = others.iter().find(|other| other.under == under) {
            return Err(twice(at, &key, first.place.line));
        }
        Ok(Zone {
            under,
            reason,
            except,
            key,
            place: self.places.at(at),
        })
    }

    fn exceptions(&self, key: &str, member: &Member<'_>) -> Read<Vec<Glob>> {
        const WANTED: &str = "an array of strings";
        let array = member.item.as_array();
        let array = array.ok_or_else(|| member.wrong_type(key, WANTED))?;
        let read = |value: &Value| {
            let at = value.span().map_or(member.at, |span| span.start);
            let text = value.as_str().ok_or_else(|| {
                let problem = Problem::Type {
                    key: shown(key),
                    wanted: WANTED,
                    found: "an array of something else",
                };
                Fault(at, problem)
            })?;
            glob(key, text, at)
        };
        array.iter().map(read).collect()
    }

    /// An `allowed_leak` that begins there, after these.
    pub fn allowed_leak(
        &self,
        at: usize,
        table: &dyn TableLike,
        others: &[AllowedLeak],
    ) -> Read<AllowedLeak> {
        const OWNER: &str = "allowed_leak";
        let (mut under, mut reason, mut limits) = (None, None, Vec::new());
        for member in members(table) {
            let key = format!("{OWNER}.{}", member.name);
            match member.name {
                "under" => under = Some(pattern(&key, &member)?),
                "reason" => {
                    let text = member.text(&key)?;
                    if text.trim().is_empty() {
                        let key = shown(&key);
                        return Err(Fault(member.value_at(), Problem::EmptyReason { key }));
                    }
                    reason = Some(text.to_owned());
                }
                "bytes" => limits.push((Metric::LeakedBytes, member)),
                "allocations" => limits.push((Metric::LeakedAllocations, member)),
                _ => {
                    let known = ["under", "reason", "bytes", "allocations"];
                    return Err(unknown(format!("'{OWNER}'"), "key", &member, &known));
                }
            }
        }
        let under = under.ok_or(missing(at, OWNER, "under"))?;
        let reason = reason.ok_or(missing(at, OWNER, "reason"))?;
        let key = format!("{OWNER}.{}", quoted(under.pattern()));
        if let Some(first) = others.iter().find(|other| other.under == under) {
            return Err(twice(at, &key, first.place.line));
        }
        let bounds = limits.iter();
        let bounds =
            bounds.map(|(metric, member)| self.bound(&key, Measure::Metric(*metric), member));
        Ok(AllowedLeak {
            under,
            reason,
            bounds: bounds.collect::<Read<_>>()?,
            key,
            place: self.places.at(at),
        })
    }
}

/// The tables of `[[name]]`, or of `name = [{ .. }]`, and where each begins.
pub(super) fn tables<'t>(member: &Member<'t>) -> Read<Vec<(usize, &'t dyn TableLike)>> {
    const WANTED: &str = "tables, each after a line with its name in double brackets";
    let begin = |span: Option<Range<usize>>| span.map_or(member.at, |span| span.start);
    match member.item {
        Item::ArrayOfTables(tables) => Ok(tables
            .iter()
            .map(|table| (begin(table.span()), table as &dyn TableLike))
            .collect()),
        Item::Value(Value::Array(array)) => array
            .iter()
            .map(|value| match value.as_inline_table() {
                Some(table) => Ok((begin(table.span()), table as &dyn TableLike)),
                None => {
                    let problem = Problem::Type {
                        key: member.name.into(),
                        wanted: WANTED,
                        found: "an array of something else",
                    };
                    Err(Fault(begin(value.span()), problem))
                }
            })
            .collect(),
        _ => Err(member.wrong_type(member.name, WANTED)),
    }
}

fn pattern(key: &str, member: &Member<'_>) -> Read<Glob> {
    glob(key, member.text(key)?, member.value_at())
}

fn glob(key: &str, text: &str, at: usize) -> Read<Glob> {
    if text.is_empty() {
        let key = key.into();
        return Err(Fault(at, Problem::EmptyPattern { key }));
    }
    Ok(Glob::new(text.into()))
}

fn missing(at: usize, owner: &'static str, key: &'static str) -> Fault {
    Fault(at, Problem::Missing { owner, key })
}

fn twice(at: usize, key: &str, line: usize) -> Fault {
    let key = shown(key);
    Fault(at, Problem::Twice { key, line })
}
