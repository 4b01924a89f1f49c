//! A page for a person in a terminal: the outcome and who is to blame first, what was compared after it, then
//! everything else that changed, and last what is missing from the traces.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::{Change, Failure, Judged, ShowOptions, SiteChange, StackFrame, Verdict, wording};
use crate::page::quantity::count;
use crate::page::{Line, Page, Side, Span, Style, Table, shortened};
use crate::profile::{Metric, Spread};
use crate::report::base_name;

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = Page::new(out, options.width, options.colour);
    let (style, outcome) = match wording::outcome(verdict) {
        None => (Style::Bold, wording::speaker(verdict)),
        Some(outcome) if verdict.passed() => (Style::Green, outcome),
        Some(outcome) => (Style::Red, outcome),
    };
    page.line(&[Span::new(style, outcome)])?;
    let (failed, held): (Vec<&Judged>, Vec<_>) =
        verdict.rules.iter().partition(|rule| rule.failed());
    for rule in failed {
        page.line(&[])?;
        page.line(&[
            Span::new(Style::Red, "failed  "),
            Span::new(Style::Bold, &rule.rule),
        ])?;
        page.wrap(Style::Plain, &rule.sentence)?;
        failures(verdict, rule, options, &mut page)?;
    }
    if !held.is_empty() {
        page.line(&[])?;
    }
    for rule in held {
        page.line(&[
            Span::new(Style::Green, "held    "),
            Span::new(Style::Plain, &rule.rule),
            Span::new(Style::Dim, format!("  {}", rule.sentence)),
        ])?;
    }
    compared(verdict, &mut page)?;
    totals(verdict, &mut page)?;
    changed_sites(verdict, options, &mut page)?;
    certificates(verdict, &mut page)
}

/// What broke a rule, with the sites to blame.
pub(super) fn failures(
    verdict: &Verdict,
    rule: &Judged,
    options: &ShowOptions,
    page: &mut Page<'_>,
) -> io::Result<()> {
    for failure in rule.failures.iter().take(options.top) {
        blamed(verdict, rule, failure, options, page)?;
    }
    more(rule.failures.len(), options.top, "failure", page)
}

fn blamed(
    verdict: &Verdict,
    rule: &Judged,
    failure: &Failure,
    options: &ShowOptions,
    page: &mut Page<'_>,
) -> io::Result<()> {
    if let Some(sentence) = wording::own_sentence(rule, failure) {
        page.line(&[])?;
        page.wrap(Style::Plain, sentence)?;
    }
    let sites = verdict.blamed(failure);
    let all = sites.len();
    for (site, metric) in sites.take(options.top) {
        page.line(&[])?;
        block(verdict, site, &[site.change(metric)], options, page)?;
    }
    more(all, options.top, "site", page)
}

/// Says how many are not shown.
fn more(all: usize, shown: usize, noun: &str, page: &mut Page<'_>) -> io::Result<()> {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        more => page.say(
            Style::Dim,
            format!("… and {} more", count(more as u64, noun)),
        ),
    }
}

/// A site: who allocates, the figures, and through whom.
fn block(
    verdict: &Verdict,
    site: &SiteChange,
    figures: &[Change],
    options: &ShowOptions,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let state = match wording::state(verdict, site) {
        "" => Span::default(),
        state => Span::new(Style::Yellow, format!("{state}  ")),
    };
    let mut frames = site.stack.iter();
    let width = page.width().saturating_sub(state.width());
    let mut head = vec![Span::new(Style::Plain, "  "), state];
    match frames.next() {
        Some(caller) => head.extend(frame(caller, Style::Bold, width, 2)),
        None => head.push(Span::new(Style::Dim, "no stack")),
    }
    page.line(&head)?;
    for line in figure_lines(figures) {
        page.line(&line)?;
    }
    for remark in wording::remarks(site) {
        page.line(&[
            Span::new(Style::Plain, "    "),
            Span::new(Style::Yellow, remark),
        ])?;
    }
    let shown = options.frames.saturating_sub(1);
    for caller in frames.clone().take(shown) {
        let mut line = vec![Span::new(Style::Plain, "    ")];
        line.extend(frame(caller, Style::Plain, page.width(), 4));
        page.line(&line)?;
    }
    match frames.len().saturating_sub(shown) {
        0 => Ok(()),
        more => page.line(&[
            Span::new(Style::Plain, "    "),
            Span::new(
                Style::Dim,
                format!("… and {} more", count(more as u64, "frame")),
            ),
        ]),
    }
}

/// Figures below each other, in columns.
fn figure_lines(changes: &[Change]) -> Vec<Line> {
    let rows: Vec<[String; 4]> = changes
        .iter()
        .map(|change| {
            [
                change.metric.name().to_owned(),
                wording::both(change),
                wording::delta(change),
                wording::percent(change),
            ]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let styles = [Style::Dim, Style::Plain, Style::Bold, Style::Plain];
    rows.iter()
        .map(|row| {
            let mut line = vec![Span::new(Style::Plain, "  ")];
            for ((cell, style), width) in row.iter().zip(styles).zip(widths) {
                let blanks = width.saturating_sub(cell.width());
                line.push(Span::new(Style::Plain, "  "));
                line.push(Span::new(style, cell));
                line.push(Span::new(Style::Plain, " ".repeat(blanks)));
            }
            line
        })
        .collect()
}

/// A function, with where it is.
fn frame(frame: &StackFrame, style: Style, width: usize, indent: usize) -> [Span; 2] {
    let mut place = String::new();
    if let Some((file, line)) = frame.place() {
        place = format!("  {}:{line}", base_name(file));
    }
    if let Some(module) = &frame.module {
        place += &format!("  {}", base_name(module));
    }
    let place = Span::new(Style::Dim, place);
    // A name always has half of the line.
    let room = width.saturating_sub(indent + place.width());
    let room = room.max(width.saturating_sub(indent) / 2);
    let mut name = Span::new(style, &frame.function);
    name.text = shortened(&name.text, room);
    [name, place]
}

/// The sides, and what a reader must know of them.
fn compared(verdict: &Verdict, page: &mut Page<'_>) -> io::Result<()> {
    page.line(&[])?;
    for (name, side) in wording::sides(verdict) {
        let (what, how) = wording::side(side);
        page.line(&[
            Span::new(Style::Dim, format!("{name}    ")),
            Span::new(Style::Plain, what),
        ])?;
        page.line(&[
            Span::new(Style::Plain, "        "),
            Span::new(Style::Dim, how),
        ])?;
    }
    for note in &verdict.notes {
        page.wrap(Style::Yellow, &format!("note: {note}"))?;
    }
    Ok(())
}

fn totals(verdict: &Verdict, page: &mut Page<'_>) -> io::Result<()> {
    if verdict.totals.is_empty() {
        return Ok(());
    }
    page.heading("Totals", "")?;
    let plain = |text: String| Span::new(Style::Plain, text);
    let head = |change: &Change| plain(wording::spread(change.metric, change.head));
    if verdict.base.is_none() {
        let mut table = Table::new(&[("METRIC", Side::Left), ("HEAD", Side::Left)]);
        for change in &verdict.totals {
            table.row(
                vec![plain(change.metric.name().into()), head(change)],
                vec![],
            );
        }
        return table.write(page);
    }
    // Medians line up; how far runs lie apart stands behind them, where it may be cut on a narrow page.
    let mut columns = vec![
        ("METRIC", Side::Left),
        ("BASE", Side::Right),
        ("HEAD", Side::Right),
        ("DELTA", Side::Right),
        ("DELTA %", Side::Right),
    ];
    let mut changes = verdict.totals.iter();
    if changes.any(|change| wording::ranges(change).is_some()) {
        columns.push(("RUNS", Side::Left));
    }
    let mut table = Table::new(&columns);
    for change in &verdict.totals {
        let median = |spread: Spread| plain(wording::figure(change.metric, spread.median));
        let style = match change.differs() {
            true => Style::Bold,
            false => Style::Dim,
        };
        table.row(
            vec![
                plain(change.metric.name().into()),
                median(change.base.unwrap_or_default()),
                median(change.head),
                Span::new(style, wording::delta(change)),
                plain(wording::percent(change)),
                Span::new(Style::Dim, wording::ranges(change).unwrap_or_default()),
            ],
            vec![],
        );
    }
    table.write(page)
}

/// The sites that differ and were not shown with a failed rule.
fn changed_sites(verdict: &Verdict, options: &ShowOptions, page: &mut Page<'_>) -> io::Result<()> {
    if verdict.base.is_none() {
        return Ok(());
    }
    let same = match verdict.unchanged_sites {
        0 => String::new(),
        1 => String::from("1 site is the same"),
        same => format!("{} are the same", count(same, "site")),
    };
    if !wording::differs(verdict) {
        page.heading("No difference", &same)?;
        return Ok(());
    }
    let others = wording::other_sites(verdict);
    let title = match others.len() == verdict.sites.len() {
        true => "Changed sites",
        false => "Other changed sites",
    };
    page.heading(title, &same)?;
    if others.is_empty() {
        return page.say(Style::Dim, "none");
    }
    for (at, site) in others.iter().take(options.top).enumerate() {
        if at > 0 {
            page.line(&[])?;
        }
        let changes = Metric::ALL.map(|metric| site.change(metric));
        let changes: Vec<_> = changes.into_iter().filter(Change::differs).collect();
        block(verdict, site, &changes, options, page)?;
    }
    more(others.len(), options.top, "site", page)
}

/// What each side's trace vouches for: the last lines.
fn certificates(verdict: &Verdict, page: &mut Page<'_>) -> io::Result<()> {
    page.line(&[])?;
    for (name, side) in wording::sides(verdict) {
        let events = count(side.certificate.events, "event");
        let blemishes = wording::blemishes(side);
        if !wording::has_certificate(side) {
            for blemish in blemishes {
                let text = format!("certificate of {name}: {blemish}");
                page.line(&[Span::new(Style::Yellow, text)])?;
            }
            continue;
        }
        if blemishes.is_empty() {
            let text = format!("certificate of {name}: {events}, nothing missing");
            page.line(&[Span::new(Style::Dim, text)])?;
            continue;
        }
        let text = format!("certificate of {name}: {events}, but:");
        page.line(&[Span::new(Style::Yellow, text)])?;
        for blemish in blemishes {
            page.wrap(Style::Yellow, &blemish)?;
        }
    }
    Ok(())
}
