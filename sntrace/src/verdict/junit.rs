//! The verdict as a test report, a test case a rule, for what shows test results.
//!
//! XML 1.0 has no way to write most control characters: names are escaped as in text before. What is written
//! validates by the schema that Jenkins' xUnit plugin checks reports by.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Judged, ShowOptions, Verdict, text, wording};
use crate::output::{Colour, escape};
use crate::page::Page;

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = wording::speaker(verdict);
    let mut suite = TestSuite::new(&name);
    let started = xml(&verdict.head.started);
    suite.extra.insert("timestamp".into(), started.into());
    for (name, value) in properties(verdict) {
        suite.add_property((name.as_str(), xml(&value).as_str()));
    }
    for rule in &verdict.rules {
        suite.add_test_case(case(verdict, rule, options)?);
    }
    let remarks = remarks(verdict);
    if !remarks.is_empty() {
        suite.set_system_out(remarks);
    }
    let mut report = Report::new(name);
    report.add_test_suite(suite);
    let document = report.to_string().map_err(io::Error::other)?;
    out.write_all(without_skipped(&document).as_bytes())
}

fn case(verdict: &Verdict, rule: &Judged, options: &ShowOptions) -> io::Result<TestCase> {
    let mut status = TestCaseStatus::success();
    if rule.failed() {
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(xml(&rule.sentence));
        status.set_type("rule");
        status.set_description(description(verdict, rule, options)?);
    }
    let mut case = TestCase::new(xml(&rule.rule), status);
    case.set_classname(format!("sntrace.{}", verdict.question.name()));
    Ok(case)
}

/// Why a rule failed, as the text form says it.
fn description(verdict: &Verdict, rule: &Judged, options: &ShowOptions) -> io::Result<String> {
    let mut text = Vec::new();
    let mut page = Page::new(&mut text, usize::MAX, Colour::Plain);
    page.wrap(Default::default(), &rule.sentence)?;
    text::failures(verdict, rule, options, &mut page)?;
    // A page escapes all but its own newlines.
    let lines = String::from_utf8_lossy(&text);
    Ok(lines.lines().map(|line| xml(line) + "\n").collect())
}

fn properties(verdict: &Verdict) -> Vec<(String, String)> {
    let mut properties = Vec::new();
    for (name, side) in wording::sides(verdict) {
        let mut add = |key: &str, value: String| properties.push((format!("{name}.{key}"), value));
        add("name", side.name.clone());
        add("command", side.command.join(" "));
        add("platform", format!("{} {}", side.os, side.arch));
        if let Some(revision) = &side.revision {
            add("revision", revision.clone());
        }
        add("started", side.started.clone());
        add("runs", side.runs.to_string());
        add("generator", side.generator.clone());
    }
    properties
}

/// What a reader must know to trust the figures.
fn remarks(verdict: &Verdict) -> String {
    let mut lines: Vec<String> = verdict
        .notes
        .iter()
        .map(|note| format!("note: {note}"))
        .collect();
    for (name, side) in wording::sides(verdict) {
        let blemishes = wording::blemishes(side).into_iter();
        lines.extend(blemishes.map(|blemish| format!("{name}: {blemish}")));
    }
    lines.iter().map(|line| xml(line) + "\n").collect()
}

/// Without what XML 1.0 has no character for, and without what is not drawn itself.
fn xml(text: &str) -> String {
    let shown = escape::shown(text);
    shown
        .replace('\u{fffe}', "\\u{fffe}")
        .replace('\u{ffff}', "\\u{ffff}")
}

/// The schema knows no `skipped` of the outermost element, which the serializer always writes (quick-junit 0.8).
/// No rule is ever skipped.
fn without_skipped(document: &str) -> String {
    document.replacen(" skipped=\"0\"", "", 1)
}
