//! The command line as clap sees it, and its one way out: into the plain structs of `options`.
//!
//! The first line of each option's help is what `-h` shows: one imperative sentence of at most
//! 70 columns. What else there is to say is a second paragraph, shown by `--help` and the man
//! page. Subcommands count only as the very first word; behind an option or `--` the same word
//! is a PROGRAM.

mod epilogue;
mod errors;
mod gate;
mod read;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

use super::options::{
    CheckOptions, ColorChoice, Destination, DiffOptions, DumpOptions, ExportCommand, LineFields,
    LinesOptions, RecordOptions, ReportCommand, Stacks, TraceOptions,
};
pub use epilogue::{EXAMPLES, EXIT_STATUS};
pub use errors::UsageError;
use gate::{CheckArguments, DiffArguments};
use read::{DumpArguments, ExportArguments, LinesArguments, ReportArguments};
use run::{RecordArguments, RunArguments};

/// What sntrace is, at the top of `--help`.
const ABOUT: &str = "Show every heap allocation of a program, and who made it.";
const LONG_ABOUT: &str = "Show every heap allocation of a program, and who made it.

The program runs as it would without sntrace: its input, output, signals and exit status are \
its own. Nothing has to be rebuilt. Each call of an allocation function becomes a line:

    [SN_ALLOC] malloc(72) = 0x5565282b12a0  [rt_arena_create_sized]";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sntrace",
    about = ABOUT,
    long_about = LONG_ABOUT,
    args_override_self = true,
    version,
    bin_name = "sntrace",
    max_term_width = 100,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true,
    subcommand_value_name = "COMMAND",
    override_usage = "sntrace [OPTIONS] [--] PROGRAM [ARGS]...\n       sntrace COMMAND ..."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub trace: TraceArguments,
}

/// What sntrace does besides tracing.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a program's allocations with their full call stacks.
    ///
    /// The trace file is read by the other commands, on this machine or another one.
    #[command(disable_help_flag = true)]
    Record(RecordArguments),
    /// Print the lines of a recorded trace.
    #[command(disable_help_flag = true)]
    Lines(LinesArguments),
    /// Report what a recorded trace tells: totals, peak, leaks and more.
    #[command(disable_help_flag = true)]
    Report(ReportArguments),
    /// Export a recorded trace to the format of another tool.
    ///
    /// docs/exports.md says what opens each.
    #[command(disable_help_flag = true)]
    Export(ExportArguments),
    /// Compare two traces, and fail where a figure grew more than it may.
    ///
    /// A trace is a recorded one, a JSON trace or a baseline. Sites are found again by the functions of their
    /// stacks, so that other addresses, moved lines and other folders make no difference. docs/diff.md tells more.
    #[command(
        disable_help_flag = true,
        override_usage = "sntrace diff [OPTIONS] BASE HEAD\n       sntrace diff [OPTIONS] --baseline NAME HEAD"
    )]
    Diff(DiffArguments),
    /// Check a program, or its trace, against a budget or a baseline.
    ///
    /// PROGRAM is run as by record; a file that is a trace is taken as it is. What was found goes to stderr, beside
    /// the program's own output, or of a trace to stdout.
    #[command(
        disable_help_flag = true,
        override_usage = "sntrace check [OPTIONS] [--] PROGRAM [ARGS]...\n       sntrace check [OPTIONS] FILE.snt"
    )]
    Check(CheckArguments),
    /// Print every record of a trace file as a line of text.
    ///
    /// For who writes a reader of the format, or looks for damage.
    #[command(disable_help_flag = true)]
    Dump(DumpArguments),
    /// Print the completion script of a shell.
    ///
    /// For bash, for example: sntrace completions bash > ~/.local/share/bash-completion/completions/sntrace
    #[command(disable_help_flag = true)]
    Completions {
        /// Write the script for this shell.
        shell: clap_complete::Shell,
        /// Print this help.
        #[arg(short, long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
    /// Print the man page.
    ///
    /// To read it: sntrace man | man -l -
    #[command(disable_help_flag = true)]
    Man {
        /// Print this help.
        #[arg(short, long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
    #[command(hide = true, disable_help_flag = true)]
    Attach(Reserved),
    #[command(hide = true, disable_help_flag = true)]
    View(Reserved),
}

/// A name kept for a later version: whatever follows it is taken, then refused as a whole.
#[derive(Args, Debug)]
pub struct Reserved {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// The options of the main job.
#[derive(Args, Debug)]
pub struct TraceArguments {
    #[command(flatten)]
    pub run: RunArguments,

    /// Write the lines to FILE instead of stderr.
    ///
    /// `-` is stdout. FILE is created, or overwritten, before the program starts.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Also write the whole trace to FILE as one JSON document.
    ///
    /// `-` is stdout. docs/sntrace.schema.json describes the document.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub json: Option<PathBuf>,

    /// Also write each event to FILE as one line of JSON.
    ///
    /// `-` is stdout. Each line stands by itself; the last one is the summary.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub jsonl: Option<PathBuf>,

    #[command(flatten)]
    pub fields: FieldArguments,

    /// Colour the lines: auto, always or never.
    ///
    /// `auto` colours on a terminal, unless the variable NO_COLOR is set.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Output"
    )]
    pub color: ColorValue,

    /// Show only events that match EXPR.
    ///
    /// EXPR is a list of terms that must all hold, on function (fn), module, operation (op), size,
    /// tid or pid, with =, !=, <, <=, > or >=: 'fn=deflate* size>=4K op!=free'.
    #[arg(long, value_name = "EXPR", help_heading = "Choice of events")]
    pub filter: Option<String>,

    /// Take as much of the stack as this: full, caller or none.
    ///
    /// `caller` names the function that called the allocator. `full` takes every event's whole
    /// stack, of which lines show the caller. `none` is the cheapest: lines end without
    /// `[CALLER]`.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "caller",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Choice of events"
    )]
    pub stacks: StacksValue,

    /// Name the direct caller, even when it is only a wrapper.
    ///
    /// By default operator new, strdup, g_malloc, xmalloc and the like are looked past: CALLER
    /// is the first function that is no such wrapper.
    #[arg(long, help_heading = "Choice of events")]
    pub raw_callers: bool,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,

    /// Print the version.
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
}

/// What a line shows besides the event.
#[derive(Args, Debug)]
pub struct FieldArguments {
    /// Show file and line of each caller.
    ///
    /// Lines end in `[function file.c:123]` where debug information tells.
    #[arg(long, help_heading = "Output")]
    pub locations: bool,

    /// Show seconds since the start in each line.
    #[arg(long, help_heading = "Output")]
    pub timestamps: bool,

    /// Show the process id in each line.
    #[arg(long, help_heading = "Output")]
    pub pid: bool,

    /// Show the thread id in each line.
    #[arg(long, help_heading = "Output")]
    pub tid: bool,
}

impl From<FieldArguments> for LineFields {
    fn from(arguments: FieldArguments) -> Self {
        Self {
            locations: arguments.locations,
            timestamps: arguments.timestamps,
            pid: arguments.pid,
            tid: arguments.tid,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StacksValue {
    Caller,
    None,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorValue {
    Auto,
    Always,
    Never,
}

impl From<ColorValue> for ColorChoice {
    fn from(value: ColorValue) -> Self {
        match value {
            ColorValue::Auto => Self::Auto,
            ColorValue::Always => Self::Always,
            ColorValue::Never => Self::Never,
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Job {
    Trace(TraceOptions),
    Record(RecordOptions),
    Lines(LinesOptions),
    Report(ReportCommand),
    Export(ExportCommand),
    Diff(DiffOptions),
    Check(CheckOptions),
    Dump(DumpOptions),
    Completions(clap_complete::Shell),
    Man,
}

/// The definition that help, man page and completions are made from.
pub fn definition() -> clap::Command {
    Arguments::command()
        .mut_args(|argument| {
            let help = argument.get_help().map(full_stop).unwrap_or_default();
            match argument.get_long_help().map(full_stop) {
                Some(long_help) => argument.help(help).long_help(long_help),
                None => argument.help(help),
            }
        })
        .after_help("See --help for more, with examples.")
        .after_long_help(epilogue())
}

/// clap takes the full stop from a doc comment of one line but not from a longer one; help reads
/// better when all of them are sentences.
fn full_stop(help: &clap::builder::StyledStr) -> String {
    let text = help.to_string();
    if text.ends_with('.') {
        text
    } else {
        text + "."
    }
}

fn epilogue() -> String {
    let width = EXIT_STATUS
        .iter()
        .map(|(status, _)| status.len())
        .max()
        .unwrap_or(0);
    let mut text = format!("EXAMPLES:\n{EXAMPLES}\nEXIT STATUS:\n");
    for (status, meaning) in EXIT_STATUS {
        text.push_str(&format!("  {status:width$}  {meaning}\n"));
    }
    text
}

/// Reads a command line, the first word being sntrace's own name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Job, UsageError> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut arguments = read(&words)?;
    if let Some(Command::Check(check)) = &arguments.command
        && let Some(words) = gate::with_trace_last(&words, &check.run.program)
    {
        arguments = read(&words)?;
    }
    match arguments.command {
        None => TraceOptions::try_from(arguments.trace).map(Job::Trace),
        Some(Command::Completions { shell, .. }) => Ok(Job::Completions(shell)),
        Some(Command::Man { .. }) => Ok(Job::Man),
        Some(Command::Record(arguments)) => arguments.try_into().map(Job::Record),
        Some(Command::Lines(arguments)) => Ok(Job::Lines(arguments.into())),
        Some(Command::Dump(arguments)) => Ok(Job::Dump(arguments.into())),
        Some(Command::Report(arguments)) => Ok(Job::Report(arguments.into())),
        Some(Command::Export(arguments)) => Ok(Job::Export(arguments.into())),
        Some(Command::Diff(arguments)) => arguments.try_into().map(Job::Diff),
        Some(Command::Check(arguments)) => arguments.try_into().map(Job::Check),
        Some(Command::Attach(_)) => Err(UsageError::Reserved("attach")),
        Some(Command::View(_)) => Err(UsageError::Reserved("view")),
    }
}

fn read(words: &[OsString]) -> Result<Arguments, clap::Error> {
    use clap::FromArgMatches as _;

    let matches = definition().try_get_matches_from(words).map_err(explain)?;
    Arguments::from_arg_matches(&matches)
}

/// clap calls the program's name missing in its own words; these are ours.
fn explain(error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};

    let missing = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.join(" "),
        _ => String::new(),
    };
    if error.kind() == ErrorKind::MissingRequiredArgument && missing.starts_with("<PROGRAM>") {
        return definition().error(
            ErrorKind::MissingRequiredArgument,
            "cannot trace: no PROGRAM was given",
        );
    }
    error
}

impl TryFrom<TraceArguments> for TraceOptions {
    type Error = UsageError;

    fn try_from(arguments: TraceArguments) -> Result<Self, UsageError> {
        let stacks = match arguments.stacks {
            StacksValue::Caller => Stacks::Caller,
            StacksValue::None => Stacks::None,
            StacksValue::Full => Stacks::Full,
        };
        let output = arguments.output.map(Destination::from_argument);
        let json = arguments.json.map(Destination::from_argument);
        let jsonl = arguments.jsonl.map(Destination::from_argument);
        refuse_same("--output", &output, "--json", &json)?;
        refuse_same("--output", &output, "--jsonl", &jsonl)?;
        refuse_same("--json", &json, "--jsonl", &jsonl)?;
        Ok(Self {
            run: arguments.run.try_into()?,
            output,
            json,
            jsonl,
            stacks,
            filter: arguments.filter,
            fields: arguments.fields.into(),
            raw_callers: arguments.raw_callers,
            color: arguments.color.into(),
        })
    }
}

/// Devices (`/dev/null`) may be named twice; two documents in one file destroy each other.
fn refuse_same(
    first_name: &'static str,
    first: &Option<Destination>,
    second_name: &'static str,
    second: &Option<Destination>,
) -> Result<(), UsageError> {
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(());
    };
    if first != second {
        return Ok(());
    }
    match first {
        Destination::File(path) if path.starts_with("/dev") => Ok(()),
        Destination::File(path) => Err(UsageError::SameDestination(
            first_name,
            second_name,
            format!("'{}'", path.display()),
        )),
        Destination::Stdout => Err(UsageError::SameDestination(
            first_name,
            second_name,
            "stdout".to_owned(),
        )),
    }
}
