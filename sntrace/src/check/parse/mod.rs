//! From a budget's text to its model, or to the first thing that is wrong.
//!
//! The TOML reader has the whole document before anything is looked at, so what is no TOML is found
//! first; then the version, which decides what the rest means; then everything else table by table.

mod limits;
mod stacks;

use std::path::Path;

use toml_edit::{Document, Item, TableLike, Value};

use self::stacks::tables;
use super::budget::{BUDGET_VERSION, Bound, Budget, Entry, Measure, Places, Scope};
use super::error::{BudgetError, Problem};
use super::near::nearest;
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
