//! The commands that compare and judge: `diff` and `check`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};

use super::run::RunArguments;
use super::{ColorValue, UsageError};
use crate::cli::inputs::is_trace;
use crate::cli::options::{
    BaselineChoice, CheckOptions, Destination, DiffOptions, GateOptions, ShowChoice,
};
use crate::diff::{JudgeOptions, Matching, Rule};
use crate::verdict::Format;

/// `sntrace diff`.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// Compare with this trace: a recorded one, a JSON trace or a baseline.
    ///
    /// Left out with --baseline.
    #[arg(value_name = "BASE", value_hint = ValueHint::FilePath, required = true, num_args = 1..=2)]
    pub traces: Vec<PathBuf>,

    #[command(flatten)]
    pub gate: GateArguments,

    #[command(flatten)]
    pub baseline: BaselineArguments,

    #[command(flatten)]
    pub show: ShowArguments,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// `sntrace check`.
#[derive(Args, Debug)]
pub struct CheckArguments {
    #[command(flatten)]
    pub run: RunArguments,

    /// Judge by the budget in FILE.
    ///
    /// docs/budget.md describes it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Gate")]
    pub budget: Option<PathBuf>,

    /// Write today's figures into the budget, instead of judging by it.
    ///
    /// Numbers that are in it are replaced; comments and everything else stay. A budget that is not there is
    /// made.
    #[arg(long, requires = "budget", help_heading = "Gate")]
    pub update_budget: bool,

    /// With --update-budget, leave PERCENT above today's figures.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "update_budget",
          value_parser = percent, help_heading = "Gate")]
    pub margin: f64,

    /// Keep what was measured as the baseline of this name.
    ///
    /// With rules, only if they hold.
    #[arg(long, value_name = "NAME", help_heading = "Gate")]
    pub save_baseline: Option<String>,

    /// Run the program N times, to tell noise from change.
    ///
    /// Figures become spans, and only what lies beyond them counts as growth. Its output comes N times; what it
    /// reads from standard input must be a file.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000),
          help_heading = "Gate")]
    pub runs: u16,

    /// Judge a program that ends with a status other than 0, too.
    #[arg(long, help_heading = "Gate")]
    pub ignore_status: bool,

    #[command(flatten)]
    pub gate: GateArguments,

    #[command(flatten)]
    pub baseline: BaselineArguments,

    #[command(flatten)]
    pub show: ShowArguments,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("a margin is a percentage from 0 to 1000".into()),
    }
}

/// What is compared, and what may not happen.
#[derive(Args, Debug)]
pub struct GateArguments {
    /// Fail if RULE is broken: 'allocations>5%', 'fn:parse*:bytes>1K'.
    ///
    /// RULE is [SCOPE:NAME:]METRIC>VALUE. METRIC is allocations, bytes, peak_bytes, leaked_bytes,
    /// leaked_allocations or temporary_allocations. VALUE is how much it may grow: a number (K, M and G are powers
    /// of 1024) or a percentage. SCOPE is fn (what a function allocates itself), under (with all that it
    /// calls), module or site (a function with its stack); NAME may have * and ?. May be given several times.
    #[arg(long, value_name = "RULE", value_parser = rule, help_heading = "Gate")]
    pub fail_on: Vec<Rule>,

    /// Find sites again by similar stacks, or by exact ones: similar or exact.
    ///
    /// `similar` finds a function that was renamed or inlined where the rest of the stack says so.
    #[arg(
        long = "match",
        value_name = "HOW",
        default_value = "similar",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Gate"
    )]
    pub matching: MatchValue,

    /// Judge traces that lack events, too.
    ///
    /// Without it a gate fails where events were dropped or a trace was cut: its figures may be too low.
    #[arg(long, help_heading = "Gate")]
    pub allow_drops: bool,

    /// Let sites fail the gate that differ between runs of the same build.
    #[arg(long, help_heading = "Gate")]
    pub fail_unstable: bool,
}

/// Which baseline, and where it is.
#[derive(Args, Debug)]
pub struct BaselineArguments {
    /// Compare with the baseline of this name.
    #[arg(long, value_name = "NAME", help_heading = "Gate")]
    pub baseline: Option<String>,

    /// Keep baselines in DIR instead of .sntrace.
    #[arg(long, value_name = "DIR", default_value = ".sntrace", hide_default_value = true,
          value_hint = ValueHint::DirPath, help_heading = "Gate")]
    pub baseline_dir: PathBuf,
}

/// How what was found is shown.
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// Write this format: text, json, markdown or another.
    ///
    /// There are text (the default), json, markdown (for a pull request), junit, sarif, github (annotations)
    /// and gitlab (a code quality report).
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true,
        value_parser = formats(),
        help_heading = "Output"
    )]
    pub format: Format,

    /// Write to OUT instead of stdout, or of stderr beside a program.
    ///
    /// OUT is created, or overwritten, before a program runs. `-` is stdout.
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Show N sites.
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Output")]
    pub top: usize,

    /// Show N frames of each stack.
    #[arg(long, value_name = "N", default_value_t = 12, help_heading = "Output")]
    pub frames: usize,

    /// Name source files relative to DIR instead of the working folder.
    ///
    /// Services that annotate source lines need paths as the repository has them.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub source_root: Option<PathBuf>,

    /// Colour the text: auto, always or never.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Output"
    )]
    pub color: ColorValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatchValue {
    Similar,
    Exact,
}

/// A command line of `check` whose PROGRAM is a trace: options may follow a file, which takes none itself. With `--` before it
/// everything is the program's, as ever.
pub fn with_trace_last(words: &[OsString], program: &[OsString]) -> Option<Vec<OsString>> {
    let (file, rest) = program.split_first()?;
    let before = words.get(..words.len().checked_sub(program.len())?)?;
    let explicit = before.last().is_some_and(|word| word == "--");
    if rest.is_empty() || explicit || !is_trace(Path::new(file)) {
        return None;
    }
    let end = [OsString::from("--"), file.clone()];
    Some([before, rest, &end].concat())
}

fn rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text).map_err(|error| error.problem)
}

fn formats() -> impl TypedValueParser<Value = Format> {
    let names = Format::ALL.map(|format| {
        PossibleValue::new(format.name()).help(format.description().trim_end_matches('.'))
    });
    PossibleValuesParser::new(names)
        .try_map(|name| Format::from_name(&name).ok_or("no such format"))
}

impl TryFrom<DiffArguments> for DiffOptions {
    type Error = UsageError;

    fn try_from(arguments: DiffArguments) -> Result<Self, UsageError> {
        let baseline: BaselineChoice = arguments.baseline.into();
        let mut traces = arguments.traces.into_iter();
        let (base, head) = match (traces.next(), traces.next(), &baseline.name) {
            (Some(head), None, Some(_)) => (None, head),
            (Some(base), Some(head), None) => (Some(base), head),
            (_, Some(_), Some(name)) => return Err(UsageError::TwoBases(name.clone())),
            _ => return Err(UsageError::NoHead),
        };
        Ok(Self {
            base,
            head,
            gate: arguments.gate.into(),
            baseline,
            show: arguments.show.into(),
        })
    }
}

impl TryFrom<CheckArguments> for CheckOptions {
    type Error = UsageError;

    fn try_from(arguments: CheckArguments) -> Result<Self, UsageError> {
        let baseline: BaselineChoice = arguments.baseline.into();
        let gate: GateOptions = arguments.gate.into();
        let nothing = arguments.budget.is_none()
            && baseline.name.is_none()
            && arguments.save_baseline.is_none();
        if nothing {
            return Err(UsageError::NothingToCheck);
        }
        if baseline.name.is_none() && !gate.rules.is_empty() {
            return Err(UsageError::RulesWithoutBase);
        }
        Ok(Self {
            run: arguments.run.try_into()?,
            runs: arguments.runs.into(),
            ignore_status: arguments.ignore_status,
            budget: arguments.budget,
            update: arguments.update_budget.then_some(arguments.margin),
            gate,
            baseline,
            save_baseline: arguments.save_baseline,
            show: arguments.show.into(),
        })
    }
}

impl From<GateArguments> for GateOptions {
    fn from(arguments: GateArguments) -> Self {
        Self {
            rules: arguments.fail_on,
            matching: match arguments.matching {
                MatchValue::Similar => Matching::Similar,
                MatchValue::Exact => Matching::Exact,
            },
            judge: JudgeOptions {
                fail_unstable: arguments.fail_unstable,
                allow_drops: arguments.allow_drops,
            },
        }
    }
}

impl From<ShowArguments> for ShowChoice {
    fn from(arguments: ShowArguments) -> Self {
        Self {
            format: arguments.format,
            output: arguments.output.map(Destination::from_argument),
            top: arguments.top,
            frames: arguments.frames,
            source_root: arguments.source_root,
            color: arguments.color.into(),
        }
    }
}

impl From<BaselineArguments> for BaselineChoice {
    fn from(arguments: BaselineArguments) -> Self {
        Self {
            name: arguments.baseline,
            folder: arguments.baseline_dir,
        }
    }
}
