//! The verdict as GitLab's Code Quality report, which a merge request shows beside the changed lines.
//!
//! An entry a failure. GitLab compares reports of two branches by fingerprints, shows the first entry of each alone,
//! and takes paths of the repository only: relative, without `./`.

use std::io::{self, Write};

use serde::Serialize;

use super::identity::Identities;
use super::places::{self, File, Place};
use super::{Failure, Judged, ShowOptions, Verdict, wording};
use crate::output::{escape, pretty};
use crate::report::base_name;

#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut identities = Identities::default();
    let mut issues = Vec::new();
    for rule in &verdict.rules {
        for failure in &rule.failures {
            issues.push(Issue {
                description: escape::shown(&wording::annotation(verdict, failure)),
                check_name: escape::shown(&format!("sntrace {}", rule.rule)),
                fingerprint: identities.next(verdict, rule, failure),
                severity: "major",
                location: location(verdict, rule, failure, options),
            });
        }
    }
    pretty::write(&issues, out)
}

/// The guilty line if it is of the repository, else where the rule is written, else the program.
fn location(
    verdict: &Verdict,
    rule: &Judged,
    failure: &Failure,
    options: &ShowOptions,
) -> Location {
    let root = options.source_root.as_path();
    let places = [
        places::blamed(verdict, failure, root),
        places::written(rule, root),
        Some(places::program(verdict, root)),
    ];
    let below = |place: &&Place| matches!(place.file, File::Below(_));
    match places.iter().flatten().find(below) {
        Some(place) => Location::of(place.file.path(), place.line),
        // GitLab shows no other file, but the entry in its list.
        None => {
            let program = places::program(verdict, root);
            Location::of(base_name(program.file.path()), 1)
        }
    }
}

impl Location {
    fn of(path: &str, line: usize) -> Location {
        let path = match path.trim_start_matches('/') {
            "" => "unknown",
            path => path,
        };
        Location {
            path: path.to_owned(),
            lines: Lines { begin: line },
        }
    }
}
