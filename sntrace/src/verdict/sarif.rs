//! The verdict as results of static analysis, so that code scanning shows the guilty line: SARIF 2.1.0.
//!
//! A result a failure, not a site: who reads it shall see how many rules failed. Its place is where the worst
//! site is in the source, else where the rule is written, else the program, as GitHub takes no result without one.
//! Messages are for people and escaped as text is; by the standard (3.11.5) their braces are doubled.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::identity::Identities;
use super::places::{self, File, Place};
use super::{Failure, Judged, ShowOptions, SiteChange, StackFrame, Verdict, wording};
use crate::output::{escape, pretty};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// What relative paths are relative to.
const ROOT: &str = "SRCROOT";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    original_uri_base_ids: BTreeMap<&'static str, UriBase>,
    column_kind: &'static str,
    results: Vec<Report>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: String,
    short_description: Message,
}

#[derive(Serialize)]
struct UriBase {
    uri: String,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacks: Vec<Stack>,
    partial_fingerprints: BTreeMap<&'static str, String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct Stack {
    message: Message,
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    location: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
}

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let root = options.source_root.as_path();
    let mut rules: Vec<Descriptor> = Vec::new();
    let mut results = Vec::new();
    let mut identities = Identities::default();
    for rule in &verdict.rules {
        let known = rules.iter().position(|known| known.id == rule.rule);
        let rule_index = known.unwrap_or_else(|| {
            rules.push(Descriptor {
                id: rule.rule.clone(),
                short_description: Message::of(&format!("sntrace: {}", rule.rule)),
            });
            rules.len() - 1
        });
        for failure in &rule.failures {
            let identity = identities.next(verdict, rule, failure);
            let mut report = report(verdict, rule, failure, options);
            report.rule_index = rule_index;
            report
                .partial_fingerprints
                .insert("sntraceFailure/v1", identity);
            results.push(report);
        }
    }
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "sntrace",
                    version: env!("CARGO_PKG_VERSION"),
                    rules,
                },
            },
            original_uri_base_ids: BTreeMap::from([(
                ROOT,
                UriBase {
                    uri: places::root_uri(root),
                },
            )]),
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    pretty::write(&log, out)
}

fn report(verdict: &Verdict, rule: &Judged, failure: &Failure, options: &ShowOptions) -> Report {
    let root = options.source_root.as_path();
    let place = places::blamed(verdict, failure, root)
        .or_else(|| places::written(rule, root))
        .unwrap_or_else(|| places::program(verdict, root));
    let sites = verdict.blamed(failure);
    let mut partial_fingerprints = BTreeMap::new();
    if let Some((site, _)) = verdict.blamed(failure).next() {
        partial_fingerprints.insert("sntraceSite/v1", site.id.clone());
    }
    Report {
        rule_id: rule.rule.clone(),
        rule_index: 0,
        level: "error",
        message: Message::of(&wording::annotation(verdict, failure)),
        locations: vec![Location {
            physical_location: Some(PhysicalLocation::of(&place)),
            ..Location::default()
        }],
        stacks: sites
            .take(options.top)
            .map(|(site, _)| Stack::of(site, root))
            .collect(),
        partial_fingerprints,
    }
}

impl Message {
    fn of(text: &str) -> Message {
        let text = escape::shown(text);
        Message {
            text: text.replace('{', "{{").replace('}', "}}"),
        }
    }
}

impl PhysicalLocation {
    fn of(place: &Place) -> PhysicalLocation {
        PhysicalLocation {
            artifact_location: ArtifactLocation {
                uri: place.file.uri(),
                uri_base_id: matches!(place.file, File::Below(_)).then_some(ROOT),
            },
            region: Region {
                start_line: place.line,
                start_column: place.column,
            },
        }
    }
}

impl Stack {
    fn of(site: &SiteChange, root: &Path) -> Stack {
        Stack {
            message: Message::of(site.caller()),
            frames: site
                .stack
                .iter()
                .map(|frame| Frame::of(frame, root))
                .collect(),
        }
    }
}

impl Frame {
    fn of(frame: &StackFrame, root: &Path) -> Frame {
        let place = places::of_frame(frame, root);
        Frame {
            location: Location {
                physical_location: place.as_ref().map(PhysicalLocation::of),
                logical_locations: vec![LogicalLocation {
                    fully_qualified_name: frame.function.clone(),
                    kind: "function",
                }],
                message: Some(Message::of(&frame.function)),
            },
            module: frame.module.clone(),
        }
    }
}
