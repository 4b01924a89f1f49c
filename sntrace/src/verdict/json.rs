//! The verdict for scripts: one document with everything, every number exact, every name whole.
//!
//! `docs/verdict.schema.json` describes it, and the tests validate what is written here by it. Nothing is cut:
//! how many sites a person is shown is no concern of a script.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Change, Matched, Question, SiteState, Subject, Verdict};
use crate::output::pretty;
use crate::profile::{Measured, Metric, Spread};
use crate::trace::Certificate;

/// What `version` says. Keys may come within a version; none changes its meaning or goes away.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    generator: &'static str,
    passed: bool,
    base: Option<Side<'a>>,
    head: Side<'a>,
    notes: &'a [String],
    totals: Vec<Total>,
    rules: Vec<Rule<'a>>,
    sites: Vec<Site<'a>>,
    unchanged_sites: u64,
}

#[derive(Serialize)]
struct Side<'a> {
    name: &'a str,
    command: &'a [String],
    platform: Platform<'a>,
    revision: Option<&'a str>,
    started: &'a str,
    generator: &'a str,
    runs: usize,
    certificate: &'a Certificate,
}

#[derive(Serialize)]
struct Platform<'a> {
    os: &'a str,
    arch: &'a str,
}

#[derive(Serialize)]
struct Total {
    metric: Metric,
    base: Option<Spread>,
    head: Spread,
    delta: Option<i128>,
    delta_percent: Option<f64>,
}

#[derive(Serialize)]
struct Rule<'a> {
    rule: &'a str,
    passed: bool,
    sentence: &'a str,
    written: Option<Written<'a>>,
    failures: Vec<Failure<'a>>,
}

#[derive(Serialize)]
struct Written<'a> {
    file: std::borrow::Cow<'a, str>,
    line: usize,
    column: usize,
}

#[derive(Serialize)]
struct Failure<'a> {
    subject: Named<'a>,
    sentence: &'a str,
    measured: Option<Total>,
    sites: &'a [usize],
}

#[derive(Serialize)]
struct Named<'a> {
    kind: &'static str,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Site<'a> {
    id: &'a str,
    state: &'static str,
    matched: MatchedBy<'a>,
    unstable: bool,
    stack: Vec<Frame<'a>>,
    base: Option<Figures<'a>>,
    head: Figures<'a>,
}

#[derive(Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
enum MatchedBy<'a> {
    Name,
    Renamed { functions: Vec<Renamed<'a>> },
    Inlined { functions: &'a [String] },
}

#[derive(Serialize)]
struct Renamed<'a> {
    base: &'a str,
    head: &'a str,
}

#[derive(Serialize)]
struct Frame<'a> {
    function: &'a str,
    module: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
}

struct Figures<'a>(&'a Measured);

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Metric::ALL.len()))?;
        for metric in Metric::ALL {
            map.serialize_entry(metric.name(), &self.0.get(metric))?;
        }
        map.end()
    }
}

pub(super) fn write(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    pretty::write(&Document::of(verdict), out)
}

impl<'a> Document<'a> {
    fn of(verdict: &'a Verdict) -> Document<'a> {
        Document {
            format: match verdict.question {
                Question::Diff => "sntrace-diff",
                Question::Check => "sntrace-check",
            },
            version: VERSION,
            generator: concat!("sntrace ", env!("CARGO_PKG_VERSION")),
            passed: verdict.passed(),
            base: verdict.base.as_ref().map(Side::of),
            head: Side::of(&verdict.head),
            notes: &verdict.notes,
            totals: verdict.totals.iter().map(Total::of).collect(),
            rules: verdict.rules.iter().map(Rule::of).collect(),
            sites: verdict.sites.iter().map(Site::of).collect(),
            unchanged_sites: verdict.unchanged_sites,
        }
    }
}

impl<'a> Side<'a> {
    fn of(side: &'a super::Side) -> Side<'a> {
        Side {
            name: &side.name,
            command: &side.command,
            platform: Platform {
                os: &side.os,
                arch: &side.arch,
            },
            revision: side.revision.as_deref(),
            started: &side.started,
            generator: &side.generator,
            runs: side.runs,
            certificate: &side.certificate,
        }
    }
}

impl Total {
    fn of(change: &Change) -> Total {
        Total {
            metric: change.metric,
            base: change.base,
            head: change.head,
            delta: change.delta(),
            delta_percent: change.percent(),
        }
    }
}

impl<'a> Rule<'a> {
    fn of(rule: &'a super::Judged) -> Rule<'a> {
        Rule {
            rule: &rule.rule,
            passed: !rule.failed(),
            sentence: &rule.sentence,
            written: rule.written.as_ref().map(|written| Written {
                file: written.file.to_string_lossy(),
                line: written.line,
                column: written.column,
            }),
            failures: rule.failures.iter().map(Failure::of).collect(),
        }
    }
}

impl<'a> Failure<'a> {
    fn of(failure: &'a super::Failure) -> Failure<'a> {
        Failure {
            subject: Named::of(&failure.subject),
            sentence: &failure.sentence,
            measured: failure.measured.as_ref().map(Total::of),
            sites: &failure.sites,
        }
    }
}

impl<'a> Named<'a> {
    fn of(subject: &'a Subject) -> Named<'a> {
        Named {
            kind: subject.kind(),
            name: subject.name(),
        }
    }
}

impl<'a> Site<'a> {
    fn of(site: &'a super::SiteChange) -> Site<'a> {
        Site {
            id: &site.id,
            state: match site.state {
                SiteState::New => "new",
                SiteState::Gone => "gone",
                SiteState::Both => "both",
            },
            matched: MatchedBy::of(&site.matched),
            unstable: site.unstable,
            stack: site.stack.iter().map(Frame::of).collect(),
            base: site.base.as_ref().map(Figures),
            head: Figures(&site.head),
        }
    }
}

impl<'a> MatchedBy<'a> {
    fn of(matched: &'a Matched) -> MatchedBy<'a> {
        match matched {
            Matched::ByName => MatchedBy::Name,
            Matched::Renamed(names) => MatchedBy::Renamed {
                functions: names
                    .iter()
                    .map(|(base, head)| Renamed { base, head })
                    .collect(),
            },
            Matched::Inlined(functions) => MatchedBy::Inlined { functions },
        }
    }
}

impl<'a> Frame<'a> {
    fn of(frame: &'a super::StackFrame) -> Frame<'a> {
        Frame {
            function: &frame.function,
            module: frame.module.as_deref(),
            file: frame.file.as_deref(),
            line: frame.line,
        }
    }
}
