//! What an analysis found, for a person ([`text`]) and for a script ([`json`]).
//!
//! A file a view. Each is a struct of what it says: serialized it is the JSON form, whose fields
//! `docs/report.md` describes and which keeps every number exact; written on a page it is the text, rounded,
//! shortened and in the width of the terminal. So both say the same. Views are made one after the other, and each
//! holds as many entries as were asked for: a report takes no memory to speak of beside the analysis.
//!
//! Errors of the destination (a full disk, a reader that has gone) are the caller's.

mod cross_thread;
mod errors;
mod frames;
mod json;
mod leaks;
mod lifetimes;
mod modules;
mod processes;
mod realloc;
mod sites;
mod sizes;
mod summary;
#[cfg(test)]
mod tests;
mod threads;

use std::io::{self, Write};
use std::str::FromStr;

use crate::analyze::Analysis;
use crate::output::Colour;
use crate::page::{self, Page, Style, quantity};
use crate::trace::{Certificate, Recording};

pub(crate) use frames::base_name;
pub use json::json;

/// A part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// The run on a page.
    Summary,
    /// What was live at the peak.
    Peak,
    /// What was live when its process ended.
    Leaks,
    /// What was freed at once.
    Temporary,
    /// How large blocks are.
    Sizes,
    /// How long blocks live.
    Lifetimes,
    /// By thread.
    Threads,
    /// By module.
    Modules,
    /// By process.
    Processes,
    /// What another thread freed.
    CrossThread,
    /// What grew by realloc.
    Realloc,
    /// Misuse of the allocator.
    Errors,
}

impl View {
    /// Every view, in the order in which a report shows them.
    pub const ALL: [View; 12] = [
        View::Summary,
        View::Peak,
        View::Leaks,
        View::Temporary,
        View::Sizes,
        View::Lifetimes,
        View::Threads,
        View::Modules,
        View::Processes,
        View::CrossThread,
        View::Realloc,
        View::Errors,
    ];

    /// Its name, as the command line and JSON have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            View::Summary => "summary",
            View::Peak => "peak",
            View::Leaks => "leaks",
            View::Temporary => "temporary",
            View::Sizes => "sizes",
            View::Lifetimes => "lifetimes",
            View::Threads => "threads",
            View::Modules => "modules",
            View::Processes => "processes",
            View::CrossThread => "cross-thread",
            View::Realloc => "realloc",
            View::Errors => "errors",
        }
    }

    /// The views that a name stands for: one, or every one for `all`.
    ///
    /// # Errors
    /// A name that no view has.
    pub fn named(name: &str) -> Result<Vec<View>, UnknownView> {
        match name {
            "all" => Ok(View::ALL.to_vec()),
            name => name.parse().map(|view| vec![view]),
        }
    }
}

impl FromStr for View {
    type Err = UnknownView;

    fn from_str(name: &str) -> Result<View, UnknownView> {
        let mut all = View::ALL.into_iter();
        all.find(|view| view.name() == name)
            .ok_or_else(|| UnknownView(crate::output::escape::shown(name)))
    }
}

/// No view has this name (escaped).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no view is called '{0}'; there are {names} and all", names = names())]
pub struct UnknownView(String);

fn names() -> String {
    View::ALL.map(View::name).join(", ")
}

/// What a report is to show, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// The parts, in this order.
    pub views: Vec<View>,
    /// Entries of a list; what is beyond is counted.
    pub top: usize,
    /// Stacks of an entry; what is beyond is counted.
    pub stacks: usize,
    /// Frames of a stack in the text form.
    pub frames: usize,
    /// Colours of the text form.
    pub colour: Colour,
    /// Width of the text form in columns.
    pub width: usize,
}

impl Default for ReportOptions {
    fn default() -> ReportOptions {
        ReportOptions {
            views: vec![View::Summary],
            top: 10,
            stacks: 3,
            frames: 12,
            colour: Colour::Plain,
            width: 100,
        }
    }
}

/// How wide the terminal on standard output is. Where it is none, what `COLUMNS` says; else 100.
#[must_use]
pub fn terminal_width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    terminal.map_or_else(
        || width_of(std::env::var("COLUMNS").ok().as_deref()),
        |(width, _)| usize::from(width.0),
    )
}

fn width_of(columns: Option<&str>) -> usize {
    let columns = columns.and_then(|columns| columns.parse().ok());
    columns.filter(|&columns| columns > 0).unwrap_or(100)
}

/// What every view is made from.
#[derive(Clone, Copy)]
struct Source<'a> {
    recording: &'a dyn Recording,
    analysis: &'a Analysis,
    options: &'a ReportOptions,
}

/// A view, made.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Section {
    Summary(Box<summary::SummaryView>),
    Sites(sites::SitesView),
    Leaks(leaks::LeaksView),
    Sizes(sizes::SizesView),
    Lifetimes(lifetimes::LifetimesView),
    Threads(threads::ThreadsView),
    Modules(modules::ModulesView),
    Processes(processes::ProcessesView),
    CrossThread(cross_thread::CrossThreadView),
    Realloc(realloc::ReallocView),
    Errors(errors::ErrorsView),
}

impl Section {
    fn of(view: View, source: Source<'_>) -> Section {
        match view {
            View::Summary => Section::Summary(Box::new(summary::of(source))),
            View::Peak => Section::Sites(sites::peak(source)),
            View::Leaks => Section::Leaks(leaks::of(source)),
            View::Temporary => Section::Sites(sites::temporary(source)),
            View::Sizes => Section::Sizes(sizes::of(source)),
            View::Lifetimes => Section::Lifetimes(lifetimes::of(source)),
            View::Threads => Section::Threads(threads::of(source)),
            View::Modules => Section::Modules(modules::of(source)),
            View::Processes => Section::Processes(processes::of(source)),
            View::CrossThread => Section::CrossThread(cross_thread::of(source)),
            View::Realloc => Section::Realloc(realloc::of(source)),
            View::Errors => Section::Errors(errors::of(source)),
        }
    }

    fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        match self {
            Section::Summary(view) => view.text(page),
            Section::Sites(view) => view.text(page, Some(frames)),
            Section::Leaks(view) => view.text(page, Some(frames)),
            Section::Sizes(view) => view.text(page),
            Section::Lifetimes(view) => view.text(page, frames),
            Section::Threads(view) => view.text(page),
            Section::Modules(view) => view.text(page),
            Section::Processes(view) => view.text(page),
            Section::CrossThread(view) => view.text(page, frames),
            Section::Realloc(view) => view.text(page, frames),
            Section::Errors(view) => view.text(page, frames),
        }
    }
}

/// Writes the report for a person.
///
/// # Errors
/// When the destination takes no more.
pub fn text(
    recording: &dyn Recording,
    analysis: &Analysis,
    options: &ReportOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let source = Source {
        recording,
        analysis,
        options,
    };
    let mut page = Page::new(out, options.width, options.colour);
    summary::title(source, &mut page)?;
    for &view in &options.views {
        Section::of(view, source).text(&mut page, options.frames)?;
    }
    if options.views == [View::Summary] {
        page.line(&[])?;
        page.wrap(Style::Dim, &more_views())?;
    }
    certificate(recording.certificate(), &mut page)?;
    out.flush()
}

/// Who sees the summary for the first time does not know what else there is.
fn more_views() -> String {
    let others = View::ALL.into_iter().filter(|&view| view != View::Summary);
    let others: Vec<_> = others.map(View::name).collect();
    format!(
        "more, with stacks: --view all, or one of {}",
        others.join(", ")
    )
}

/// The last line of every report, or the last lines where the trace is not whole.
fn certificate(certificate: &Certificate, page: &mut Page<'_>) -> io::Result<()> {
    let events = quantity::count(certificate.events, "event");
    let blemishes = certificate.blemishes();
    page.line(&[])?;
    if blemishes.is_empty() {
        let text = format!("certificate: {events}, nothing missing");
        page.line(&[page::Span::new(Style::Dim, text)])?;
        return cost(certificate, page);
    }
    let text = format!("certificate: {events}, but:");
    page.line(&[page::Span::new(Style::Yellow, text)])?;
    for blemish in blemishes {
        page.wrap(Style::Yellow, &blemish)?;
    }
    if certificate.unnamed_sites > 0 && certificate.complete {
        let hint = "(names come from debug information: -g, or packages such as libc6-dbg)";
        page.wrap(Style::Dim, hint)?;
    }
    cost(certificate, page)
}

/// What tracing cost the program, where the trace says.
fn cost(certificate: &Certificate, page: &mut Page<'_>) -> io::Result<()> {
    let cost = &certificate.cost;
    if cost.wall_ns == 0 {
        return Ok(());
    }
    let mut text = format!("cost: {} in all", quantity::duration(cost.wall_ns));
    if cost.hook_cpu_ns > 0 && certificate.events > 0 {
        text += &format!(
            "; the hook took about {} of processor time ({} an event)",
            quantity::duration(cost.hook_cpu_ns),
            quantity::duration(cost.hook_cpu_ns / certificate.events),
        );
    }
    if cost.waited_ns > 0 {
        text += &format!(
            "; threads waited {} for sntrace",
            quantity::duration(cost.waited_ns)
        );
    }
    page.wrap(Style::Dim, &text)
}
