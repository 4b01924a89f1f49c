//! From a budget's text to its model, or to the first thing that is wrong.
//!
//! The TOML reader has the whole document before anything is looked at, so what is no TOML is found
//! first; then the version, which decides what the rest means; then everything else table by table.

use std::ops::Range;
use std::path::Path;

use toml_edit::{Document, Item, TableLike, Value};

use super::budget::{
    AllowedLeak, BUDGET_VERSION, Bound, Budget, Entry, Measure, Places, Scope, Written, Zone,
};
use super::error::{BudgetError, Problem};
use super::limit::Limit;
use super::near::nearest;
use super::size;
use crate::output::escape::shown;
use crate::output::filter::Glob;
use crate::profile::Metric;

/// What is wrong, and at which byte.
struct Fault(usize, Problem);

type Read<T> = Result<T, Fault>;

const TABLES: [&str; 7] = [
    "version",
    "totals",
    "functions",
    "callers",
    "modules",
    "no_alloc",
    "allowed_leak",
];
const COUNT: &str = "a whole number";
const SIZE: &str = "a whole number or a size such as \"1.5M\"";
const RATIO: &str = "a number";
const TEXT: &str = "a string";
const TABLE: &str = "a table";

impl Budget {
    /// Reads a budget. `file` is what errors call it.
    ///
    /// # Errors
    /// When it is no TOML, has a key or value that means nothing, or no rule at all.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Budget, BudgetError> {
        let (text, valid) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, true),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                (std::str::from_utf8(before).unwrap_or_default(), false)
            }
        };
        let reader = Reader {
            text,
            places: Places::of(text),
        };
        let read = match valid {
            true => reader.budget(file),
            false => Err(Fault(text.len(), Problem::NotUtf8)),
        };
        read.map_err(|Fault(at, problem)| BudgetError {
            file: file.into(),
            place: reader.places.at(at),
            problem: problem.into(),
        })
    }
}

struct Reader<'a> {
    text: &'a str,
    places: Places<'a>,
}

/// A key with its value, and where it stands.
struct Member<'t> {
    name: &'t str,
    item: &'t Item,
    /// Of the key.
    at: usize,
}

impl Member<'_> {
    fn value_at(&self) -> usize {
        self.item.span().map_or(self.at, |span| span.start)
    }

    fn wrong_type(&self, key: &str, wanted: &'static str) -> Fault {
        let problem = Problem::Type {
            key: shown(key),
            wanted,
            found: found(self.item),
        };
        Fault(self.value_at(), problem)
    }

    fn text(&self, key: &str) -> Read<&str> {
        self.item.as_str().ok_or_else(|| self.wrong_type(key, TEXT))
    }

    fn table(&self, key: &str) -> Read<&dyn TableLike> {
        self.item
            .as_table_like()
            .ok_or_else(|| self.wrong_type(key, TABLE))
    }
}

impl Reader<'_> {
    fn budget(&self, file: &Path) -> Read<Budget> {
        let document = Document::parse(self.text).map_err(|error| self.syntax(&error))?;
        let root = document.as_table();
        self.version(root)?;
        let mut budget = Budget {
            file: file.into(),
            totals: Vec::new(),
            entries: Vec::new(),
            no_alloc: Vec::new(),
            allowed_leaks: Vec::new(),
            text: self.text.into(),
        };
        for member in members(root) {
            match member.name {
                "version" => {}
                "totals" => {
                    let table = member.table(member.name)?;
                    budget.totals = self.metrics(member.name, table, None)?;
                }
                "no_alloc" => {
                    for (at, table) in tables(&member)? {
                        let zone = self.zone(at, table, &budget.no_alloc)?;
                        budget.no_alloc.push(zone);
                    }
                }
                "allowed_leak" => {
                    for (at, table) in tables(&member)? {
                        let leak = self.allowed_leak(at, table, &budget.allowed_leaks)?;
                        budget.allowed_leaks.push(leak);
                    }
                }
                name => match Scope::ALL.into_iter().find(|scope| scope.name() == name) {
                    Some(scope) => self.entries(scope, &member, &mut budget.entries)?,
                    None => return Err(unknown("a budget".into(), "key", &member, &TABLES)),
                },
            }
        }
        if budget.no_alloc.is_empty() && budget.bounds().next().is_none() {
            return Err(Fault(0, Problem::Empty));
        }
        Ok(budget)
    }

    fn syntax(&self, error: &toml_edit::TomlError) -> Fault {
        let span = error.span().unwrap_or_default();
        let mut message = error.message().lines().collect::<Vec<_>>().join("; ");
        if message == "duplicate key" {
            // Which one: quotes and all, as it is written.
            let key = self.text.get(span.clone()).unwrap_or_default();
            message = format!("duplicate key '{key}'");
        }
        Fault(span.start, Problem::Syntax(shown(&message)))
    }

    /// Comes before all else: another version may have other keys.
    fn version(&self, root: &dyn TableLike) -> Read<()> {
        let Some(member) = members(root).find(|member| member.name == "version") else {
            return Ok(());
        };
        match member.item.as_integer() {
            Some(BUDGET_VERSION) => Ok(()),
            Some(found) => Err(Fault(member.value_at(), Problem::Version { found })),
            None => Err(member.wrong_type(member.name, COUNT)),
        }
    }

    fn entries(&self, scope: Scope, member: &Member<'_>, entries: &mut Vec<Entry>) -> Read<()> {
        for entry in members(member.table(member.name)?) {
            let key = format!("{}.{}", member.name, quoted(entry.name));
            if entry.name.is_empty() {
                let key = member.name.into();
                return Err(Fault(entry.at, Problem::EmptyPattern { key }));
            }
            let bounds = self.metrics(&key, entry.table(&key)?, Some(scope))?;
            if bounds.is_empty() {
                let problem = Problem::NoMetric {
                    key: shown(&key),
                    known: measures(Some(scope)).join(", "),
                };
                return Err(Fault(entry.at, problem));
            }
            entries.push(Entry {
                scope,
                pattern: Glob::new(entry.name.into()),
                bounds,
                key,
                place: self.places.at(entry.at),
            });
        }
        Ok(())
    }

    /// The bounds of a table that has nothing else. Without a scope: of the run.
    fn metrics(
        &self,
        owner: &str,
        table: &dyn TableLike,
        scope: Option<Scope>,
    ) -> Read<Vec<Bound>> {
        let bound = |member: Member<'_>| {
            let measure = match Metric::from_name(member.name) {
                Some(metric) => Measure::Metric(metric),
                None if member.name != Measure::PER_CALL => {
                    let owner = format!("'{}'", shown(owner));
                    return Err(unknown(owner, "metric", &member, &measures(scope)));
                }
                None if scope == Some(Scope::Functions) => Measure::AllocationsPerCall,
                None => {
                    let owner = shown(owner);
                    return Err(Fault(member.at, Problem::NotCalled { owner }));
                }
            };
            self.bound(owner, measure, &member)
        };
        members(table).map(bound).collect()
    }

    fn bound(&self, owner: &str, measure: Measure, member: &Member<'_>) -> Read<Bound> {
        let key = format!("{owner}.{}", member.name);
        let span = member.item.span().unwrap_or(member.at..member.at);
        let (limit, written) = match measure {
            Measure::AllocationsPerCall => self.ratio(&key, member, &span)?,
            Measure::Metric(metric) => self.amount(&key, metric, member, &span)?,
        };
        Ok(Bound {
            measure,
            limit,
            key,
            place: self.places.at(member.at),
            written,
            span,
        })
    }

    fn amount(
        &self,
        key: &str,
        metric: Metric,
        member: &Member<'_>,
        span: &Range<usize>,
    ) -> Read<(Limit, Written)> {
        let is_bytes = metric.is_bytes();
        match member.item {
            Item::Value(Value::Integer(number)) => {
                let number = u64::try_from(*number.value()).map_err(|_| negative(key, span))?;
                let grouped = self.raw(span).contains('_');
                Ok((Limit::whole(number), Written::Whole { grouped }))
            }
            Item::Value(Value::String(text)) if is_bytes => {
                let (bytes, unit) = size::read(text.value()).ok_or_else(|| {
                    let problem = Problem::Size {
                        key: shown(key),
                        text: shown(text.value()),
                    };
                    Fault(span.start, problem)
                })?;
                Ok((Limit::whole(bytes), Written::Size(unit)))
            }
            _ => Err(member.wrong_type(key, if is_bytes { SIZE } else { COUNT })),
        }
    }

    /// From its text: the nearest float of what is written is not what is written.
    fn ratio(&self, key: &str, member: &Member<'_>, span: &Range<usize>) -> Read<(Limit, Written)> {
        let raw = self.raw(span);
        let written = match member.item {
            // In decimal, whatever its base.
            Item::Value(Value::Integer(number)) => {
                let grouped = raw.contains('_');
                Some((number.value().to_string(), Written::Whole { grouped }))
            }
            Item::Value(Value::Float(_)) => {
                let plain = raw.trim_start_matches('+').replace('_', "");
                Some((plain, Written::Decimal))
            }
            _ => None,
        };
        let (number, written) = written.ok_or_else(|| member.wrong_type(key, RATIO))?;
        if number.starts_with('-') {
            return Err(negative(key, span));
        }
        let limit = Limit::from_decimal(&number).ok_or_else(|| {
            let problem = Problem::Decimal {
                key: shown(key),
                text: shown(raw),
            };
            Fault(span.start, problem)
        })?;
        Ok((limit, written))
    }

    fn zone(&self, at: usize, table: &dyn TableLike, others: &[Zone]) -> Read<Zone> {
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

    fn allowed_leak(
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

    fn raw(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

fn members(table: &dyn TableLike) -> impl Iterator<Item = Member<'_>> {
    table.iter().map(move |(name, item)| {
        let span = table.key(name).and_then(|key| key.span());
        let span = span.or_else(|| item.span());
        Member {
            name,
            item,
            at: span.map_or(0, |span| span.start),
        }
    })
}

/// The tables of `[[name]]`, or of `name = [{ .. }]`, and where each begins.
fn tables<'t>(member: &Member<'t>) -> Read<Vec<(usize, &'t dyn TableLike)>> {
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

/// The names of all that can be bounded there. Without a scope: of the run.
fn measures(scope: Option<Scope>) -> Vec<&'static str> {
    let mut names: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    if scope == Some(Scope::Functions) {
        names.push(Measure::PER_CALL);
    }
    names
}

/// A pattern as a part of a key.
fn quoted(pattern: &str) -> String {
    format!("\"{}\"", pattern.replace('\\', "\\\\").replace('"', "\\\""))
}

fn found(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(Value::String(_)) => "a string",
        Item::Value(Value::Integer(_)) => "an integer",
        Item::Value(Value::Float(_)) => "a float",
        Item::Value(Value::Boolean(_)) => "a boolean",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::Array(_)) => "an array",
        Item::Value(Value::InlineTable(_)) | Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "an array of tables",
    }
}

fn unknown(
    owner: String,
    kind: &'static str,
    member: &Member<'_>,
    known: &[&'static str],
) -> Fault {
    let problem = Problem::Unknown {
        owner,
        kind,
        key: shown(member.name),
        meant: nearest(member.name, known),
        known: known.join(", "),
    };
    Fault(member.at, problem)
}

fn negative(key: &str, span: &Range<usize>) -> Fault {
    let key = shown(key);
    Fault(span.start, Problem::Negative { key })
}

fn missing(at: usize, owner: &'static str, key: &'static str) -> Fault {
    Fault(at, Problem::Missing { owner, key })
}

fn twice(at: usize, key: &str, line: usize) -> Fault {
    let key = shown(key);
    Fault(at, Problem::Twice { key, line })
}
