//! The commands that read a recorded trace.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};

use super::{ColorValue, FieldArguments};
use crate::cli::options::{Destination, DumpOptions, ExportCommand, LinesOptions, ReportCommand};
use crate::export::{Format, Metric};
use crate::report::View;

/// `sntrace lines`.
#[derive(Args, Debug)]
pub struct LinesArguments {
    /// Read this trace.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Write the lines to OUT instead of stdout.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub fields: FieldArguments,

    /// Show only events that match EXPR.
    ///
    /// EXPR is a list of terms that must all hold, on function (fn), module, operation (op), size,
    /// tid or pid, with =, !=, <, <=, > or >=: 'fn=deflate* size>=4K op!=free'.
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,

    /// Name the direct caller, even when it is only a wrapper.
    #[arg(long)]
    pub raw_callers: bool,

    /// Colour the lines: auto, always or never.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: ColorValue,

    /// Print this help.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// `sntrace dump`.
#[derive(Args, Debug)]
pub struct DumpArguments {
    /// Read this trace.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Write the records to OUT instead of stdout.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Print this help.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// Without an argument, stdout.
fn destination(output: Option<PathBuf>) -> Destination {
    output.map_or(Destination::Stdout, Destination::from_argument)
}

impl From<LinesArguments> for LinesOptions {
    fn from(arguments: LinesArguments) -> Self {
        Self {
            file: arguments.file,
            output: destination(arguments.output),
            filter: arguments.filter,
            fields: arguments.fields.into(),
            raw_callers: arguments.raw_callers,
            color: arguments.color.into(),
        }
    }
}

impl From<DumpArguments> for DumpOptions {
    fn from(arguments: DumpArguments) -> Self {
        Self {
            file: arguments.file,
            output: destination(arguments.output),
        }
    }
}

/// `sntrace report`.
#[derive(Args, Debug)]
pub struct ReportArguments {
    /// Read this trace.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Show these views: summary, peak, leaks, temporary, sizes or another, or all.
    ///
    /// The views are summary (the default), peak, leaks, temporary, sizes, lifetimes, threads, modules,
    /// processes, cross-thread, realloc and errors. Several are separated by commas.
    #[arg(
        long,
        value_name = "VIEWS",
        value_delimiter = ',',
        default_value = "summary",
        hide_default_value = true,
        value_parser = views
    )]
    pub view: Vec<Views>,

    /// Show N entries of each list.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Show N stacks of each entry.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub stacks: usize,

    /// Show N frames of each stack.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub frames: usize,

    /// Print JSON instead of text.
    ///
    /// docs/report.md describes it. Numbers are exact, names and stacks whole.
    #[arg(long)]
    pub json: bool,

    /// Write the report to OUT instead of stdout.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Leave out the leaks that FILE names, in LeakSanitizer's format.
    ///
    /// A line is `leak:PATTERN`; PATTERN is looked for in the function, file and module names of a
    /// leak's stack. What is left out is counted.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub suppressions: Option<PathBuf>,

    /// End with status 1 unless the trace is whole and exact.
    #[arg(long)]
    pub strict: bool,

    /// Colour the report: auto, always or never.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: ColorValue,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// The views that a word stands for.
#[derive(Clone, Debug)]
pub struct Views(Vec<View>);

fn views(name: &str) -> Result<Views, String> {
    View::named(name)
        .map(Views)
        .map_err(|error| error.to_string())
}

/// `sntrace export`.
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// Read this trace.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Write this format.
    #[arg(short, long, value_name = "FORMAT", value_parser = formats())]
    pub format: Format,

    /// Write to OUT instead of stdout.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Show this figure of each stack: peak, bytes, allocations, leaked or temporary.
    ///
    /// Formats with one figure a stack (folded, speedscope) show it alone, pprof shows it first.
    #[arg(
        long,
        value_name = "METRIC",
        default_value = "peak",
        hide_possible_values = true,
        hide_default_value = true,
        value_parser = metrics()
    )]
    pub metric: Metric,

    /// End with status 1 unless the trace is whole and exact.
    #[arg(long)]
    pub strict: bool,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    let names = Format::ALL.map(|format| {
        PossibleValue::new(format.name()).help(format.description().trim_end_matches('.'))
    });
    PossibleValuesParser::new(names)
        .try_map(|name| Format::from_name(&name).ok_or("no such format"))
}

fn metrics() -> impl TypedValueParser<Value = Metric> {
    PossibleValuesParser::new(Metric::ALL.map(Metric::name))
        .try_map(|name| Metric::from_name(&name).ok_or("no such metric"))
}

impl From<ReportArguments> for ReportCommand {
    fn from(arguments: ReportArguments) -> Self {
        let mut views: Vec<View> = Vec::new();
        for view in arguments.view.into_iter().flat_map(|views| views.0) {
            if !views.contains(&view) {
                views.push(view);
            }
        }
        Self {
            file: arguments.file,
            output: destination(arguments.output),
            views,
            top: arguments.top,
            stacks: arguments.stacks,
            frames: arguments.frames,
            json: arguments.json,
            suppressions: arguments.suppressions,
            strict: arguments.strict,
            color: arguments.color.into(),
        }
    }
}

impl From<ExportArguments> for ExportCommand {
    fn from(arguments: ExportArguments) -> Self {
        Self {
            file: arguments.file,
            output: destination(arguments.output),
            format: arguments.format,
            metric: arguments.metric,
            strict: arguments.strict,
        }
    }
}
