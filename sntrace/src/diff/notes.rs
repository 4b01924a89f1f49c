//! What a reader must know to trust a comparison.

use std::collections::BTreeSet;

use super::comparison::Comparison;
use super::gate::Named;
use crate::output::grouped;
use crate::page::shortened;
use crate::trace::StacksTaken;
use crate::verdict::Matched;

/// Notes on two sides, or on one.
pub(super) fn of(
    base: Option<Named<'_>>,
    head: Named<'_>,
    comparison: &Comparison<'_>,
) -> Vec<String> {
    let mut notes = Vec::new();
    for side in base.into_iter().chain([head]) {
        own(side, &mut notes);
    }
    if let Some(base) = base {
        between(base, head, comparison, &mut notes);
        matched(comparison, &mut notes);
    }
    notes
}

/// A name in a note is shortened to so many columns: C++ has some that fill pages. Sites have them whole.
const NAME_COLUMNS: usize = 160;

/// Functions that are listed; what is beyond is counted.
const LISTED_MAX: usize = 8;

/// What was found again by another name, also where its figures are the same.
fn matched(comparison: &Comparison<'_>, notes: &mut Vec<String>) {
    let (mut renamed, mut inlined) = (BTreeSet::new(), BTreeSet::new());
    for pair in &comparison.pairs {
        match &pair.matched {
            Matched::ByName => {}
            Matched::Renamed(names) => renamed.extend(names),
            Matched::Inlined(names) => inlined.extend(names),
        }
    }
    let mut say = |what: Vec<String>, how: &str| {
        let more = what.len().saturating_sub(LISTED_MAX);
        for text in what.into_iter().take(LISTED_MAX) {
            notes.push(text);
        }
        match more {
            0 => {}
            1 => notes.push(format!("1 more function was {how}")),
            more => notes.push(format!("{more} more functions were {how}")),
        }
    };
    let renamed = renamed.into_iter();
    let short = |name: &str| shortened(name, NAME_COLUMNS);
    let renamed = renamed
        .map(|(old, new)| format!("renamed: '{}' is '{}' in the head", short(old), short(new)));
    say(renamed.collect(), "renamed");
    let inlined = inlined.into_iter();
    let inlined = inlined.map(|name| {
        let name = short(name);
        format!("on one side alone inlined, or left by a tail call: '{name}'")
    });
    say(inlined.collect(), "inlined on one side alone");
}

fn own(side: Named<'_>, notes: &mut Vec<String>) {
    let Named { name, profile } = side;
    let certificate = &profile.certificate;
    if certificate.events == 0 {
        notes.push(format!("'{name}' holds no events"));
    }
    match certificate.dropped_events {
        0 => {}
        1 => notes.push(format!("'{name}' lacks 1 event, which was dropped")),
        dropped => notes.push(format!(
            "'{name}' lacks {} events, which were dropped",
            grouped(dropped)
        )),
    }
    if !certificate.complete {
        notes.push(format!("'{name}' was cut before its end"));
    }
    if profile.origin.recorded.stacks == StacksTaken::None {
        notes.push(format!(
            "'{name}' was made with --stacks none: it has no sites to compare"
        ));
    }
}

fn between(base: Named<'_>, head: Named<'_>, comparison: &Comparison<'_>, notes: &mut Vec<String>) {
    let (a, b) = (&base.profile.origin, &head.profile.origin);
    let program = |command: &[String]| {
        let path = command.first().map_or("", |word| word.as_str());
        path.rsplit('/').next().unwrap_or(path).to_owned()
    };
    let programs = (program(&a.command), program(&b.command));
    if programs.0 != programs.1 {
        notes.push(format!(
            "two programs are compared: '{}' and '{}'",
            programs.0, programs.1
        ));
    } else if a.command.get(1..) != b.command.get(1..) {
        notes.push("the program was given other arguments".into());
    }
    if (&a.os, &a.arch) != (&b.os, &b.arch) {
        notes.push(format!(
            "recorded on different systems: {} {} and {} {}",
            a.os, a.arch, b.os, b.arch
        ));
    }
    if a.generator != b.generator {
        notes.push(format!(
            "recorded by {} and {}: what they count and name may differ",
            a.generator, b.generator
        ));
    }
    let (one, other) = (&a.recorded, &b.recorded);
    if one.children != other.children {
        notes.push("one was recorded with --no-follow: the other has child processes too".into());
    }
    if comparison.callers_only && one.stacks != other.stacks {
        notes.push("one has no whole stacks: sites are compared by their callers alone".into());
    }
    let unnamed = (
        base.profile.certificate.unnamed_sites,
        head.profile.certificate.unnamed_sites,
    );
    let none_alike = !comparison.pairs.is_empty()
        && comparison
            .pairs
            .iter()
            .all(|pair| pair.base.is_none() || pair.head.is_none());
    if none_alike {
        notes.push(
            "no site is in both: these may be different programs, or one of them has no names"
                .into(),
        );
    }
    // A few addresses without a name are in every program.
    let many = |few: u64, more: u64| more > 20 && more > few.saturating_mul(2);
    if many(unnamed.0, unnamed.1) || many(unnamed.1, unnamed.0) {
        notes.push(format!(
            "names are missing in one: {} addresses have none in the base, {} in the head; \
             build both with the same symbols",
            grouped(unnamed.0),
            grouped(unnamed.1)
        ));
    }
}
