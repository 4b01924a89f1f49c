//! What the user asked of a trace, as plain data: everything below the command line reads these,
//! and nothing below it knows clap.

use std::ffi::OsString;
use std::path::PathBuf;

use sntrace_format::env::OptionBits;

use crate::diff::{JudgeOptions, Matching, Rule};
use crate::export::{Format, Metric};
use crate::output::Colour;
use crate::report::View;
use crate::trace::{Recorded, StacksTaken};

/// How a program is run and its events are carried, whatever becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The program as the user named it, then its arguments. Never empty.
    pub command: Vec<OsString>,
    /// How events reach the launcher.
    pub transport: Transport,
    /// No closing summary, no notes.
    pub quiet: bool,
    /// Follow forks and execs.
    pub follow: bool,
    /// What a full lane does.
    pub overflow: Overflow,
    /// Record mmap, munmap, mremap and brk too.
    pub mmap: bool,
}

/// `sntrace record`: trace a program into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The program, and how it is run.
    pub run: RunOptions,
    /// The file; `None`: `sntrace.PROGRAM.PID.snt` in the working folder.
    pub output: Option<PathBuf>,
    /// A trace that is not whole and exact is an error.
    pub strict: bool,
}

/// `sntrace lines`: the lines of a recorded trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesOptions {
    /// The trace.
    pub file: PathBuf,
    /// Where the lines go.
    pub output: Destination,
    /// Filter expression, not yet parsed.
    pub filter: Option<String>,
    /// What a line shows besides the event.
    pub fields: LineFields,
    /// CALLER is the direct caller, also when it is only a wrapper.
    pub raw_callers: bool,
    /// Whether lines are coloured.
    pub color: ColorChoice,
}

/// `sntrace report`: what an analysis of a trace found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCommand {
    /// The trace.
    pub file: PathBuf,
    /// Where the report goes.
    pub output: Destination,
    /// Its parts, each once.
    pub views: Vec<View>,
    /// Entries of each list.
    pub top: usize,
    /// Stacks of each entry.
    pub stacks: usize,
    /// Frames of each stack, as text.
    pub frames: usize,
    /// JSON instead of text.
    pub json: bool,
    /// A file of leaks that are known.
    pub suppressions: Option<PathBuf>,
    /// A trace that is not whole and exact is an error.
    pub strict: bool,
    /// Whether the text is coloured.
    pub color: ColorChoice,
}

/// `sntrace export`: a trace in another tool's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCommand {
    /// The trace.
    pub file: PathBuf,
    /// Where the export goes.
    pub output: Destination,
    /// The format.
    pub format: Format,
    /// The figure that is shown of each stack, where there is one.
    pub metric: Metric,
    /// A trace that is not whole and exact is an error.
    pub strict: bool,
}

/// `sntrace dump`: a trace file's records as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpOptions {
    /// The trace.
    pub file: PathBuf,
    /// Where the text goes.
    pub output: Destination,
}

/// `sntrace diff`: two traces compared.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffOptions {
    /// What to compare with; `None`: a baseline.
    pub base: Option<PathBuf>,
    /// What is compared.
    pub head: PathBuf,
    /// What may not happen.
    pub gate: GateOptions,
    /// Which baseline, and where it is.
    pub baseline: BaselineChoice,
    /// How what was found is shown.
    pub show: ShowChoice,
}

/// `sntrace check`: a program, or its trace, against a budget and a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOptions {
    /// The program to run, and how; or a trace as its only word.
    pub run: RunOptions,
    /// How often it is run.
    pub runs: usize,
    /// It is judged whatever its exit status is.
    pub ignore_status: bool,
    /// The budget.
    pub budget: Option<PathBuf>,
    /// The budget is not kept but rewritten, with figures so many hundredths above what was measured.
    pub update: Option<f64>,
    /// What may not happen in comparison with a baseline.
    pub gate: GateOptions,
    /// Which baseline, and where they are.
    pub baseline: BaselineChoice,
    /// What was measured becomes the baseline of this name.
    pub save_baseline: Option<String>,
    /// How what was found is shown.
    pub show: ShowChoice,
}

/// What may not happen.
#[derive(Clone, Debug, PartialEq)]
pub struct GateOptions {
    /// How much figures may grow.
    pub rules: Vec<Rule>,
    /// How sites are found again.
    pub matching: Matching,
    /// How rules are judged.
    pub judge: JudgeOptions,
}

/// Which baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineChoice {
    /// Its name, if one is to be compared with.
    pub name: Option<String>,
    /// The folder that has them.
    pub folder: PathBuf,
}

/// How a verdict is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowChoice {
    /// The format.
    pub format: crate::verdict::Format,
    /// Where it goes; `None`: where the command says.
    pub output: Option<Destination>,
    /// Sites to list.
    pub top: usize,
    /// Frames of each stack.
    pub frames: usize,
    /// Source files are named relative to this folder; `None`: the working folder.
    pub source_root: Option<PathBuf>,
    /// Whether text is coloured.
    pub color: ColorChoice,
}

/// The main job: trace a program and print its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// The program, and how it is run.
    pub run: RunOptions,
    /// Where the lines go; `None`: stderr.
    pub output: Option<Destination>,
    /// Where the JSON document goes, if one is wanted.
    pub json: Option<Destination>,
    /// Where the JSON lines go, if they are wanted.
    pub jsonl: Option<Destination>,
    /// How much of the stack is taken.
    pub stacks: Stacks,
    /// Filter expression, not yet parsed.
    pub filter: Option<String>,
    /// What a line shows besides the event.
    pub fields: LineFields,
    /// CALLER is the direct caller, also when it is only a wrapper.
    pub raw_callers: bool,
    /// Whether lines are coloured.
    pub color: ColorChoice,
}

/// What a line shows besides the event itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFields {
    /// File and line after the function.
    pub locations: bool,
    /// Seconds since the start.
    pub timestamps: bool,
    /// Process id.
    pub pid: bool,
    /// Thread id.
    pub tid: bool,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `-`: standard output, shared with the program.
    Stdout,
    /// A file, created or overwritten.
    File(PathBuf),
}

impl Destination {
    /// `-` is stdout, anything else a path.
    #[must_use]
    pub fn from_argument(argument: PathBuf) -> Self {
        if argument.as_os_str() == "-" {
            Self::Stdout
        } else {
            Self::File(argument)
        }
    }
}

/// How much of the stack is taken with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacks {
    /// The function that called, looking past wrappers.
    Caller,
    /// All of it, with every event.
    Full,
    /// Nothing: lines show no CALLER.
    None,
}

/// How events reach the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Not chosen: shared memory, or the pipe where it cannot be had.
    Auto,
    /// Shared memory; an error where it cannot be had.
    Shared,
    /// The pipe.
    Pipe,
}

/// What a thread does when its lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Wait for the launcher: nothing is lost.
    Wait,
    /// Go on: events are dropped, and counted.
    Drop,
}

/// Whether output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// How to write to an output that is, or is not, a terminal. A user who says `always` means
    /// it, whatever `NO_COLOR` says (<https://no-color.org>).
    #[must_use]
    pub fn colour(self, is_terminal: bool) -> Colour {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.colour_with(is_terminal, no_color)
    }

    fn colour_with(self, is_terminal: bool, no_color: bool) -> Colour {
        match self {
            Self::Always => Colour::Ansi,
            Self::Auto if is_terminal && !no_color => Colour::Ansi,
            Self::Auto | Self::Never => Colour::Plain,
        }
    }
}

impl RunOptions {
    /// What a trace of the run will hold.
    fn recorded(&self, stacks: StacksTaken) -> Recorded {
        Recorded {
            stacks,
            mappings: self.mmap,
            children: self.follow,
            may_drop: self.overflow == Overflow::Drop,
        }
    }

    /// What the hook has to know of all this.
    fn hook_options(&self) -> OptionBits {
        let wanted = [
            (self.mmap, OptionBits::MMAP),
            (self.overflow == Overflow::Drop, OptionBits::OVERFLOW_DROP),
            (!self.follow, OptionBits::NO_FOLLOW),
        ];
        let chosen = wanted.into_iter().filter(|(wanted, _)| *wanted);
        chosen.fold(OptionBits::default(), |bits, (_, bit)| bits.with(bit))
    }
}

impl RecordOptions {
    /// What the trace will hold.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.run.recorded(StacksTaken::Full)
    }

    /// What the hook has to know of all this.
    #[must_use]
    pub fn hook_options(&self) -> OptionBits {
        full_stacks(self.run.hook_options())
    }
}

/// With whole stacks, and with their verification where that is asked for: for tests, and for who works on
/// the unwinder. It is slow, and says what it found.
fn full_stacks(bits: OptionBits) -> OptionBits {
    let bits = bits.with(OptionBits::FULL_STACKS);
    if std::env::var_os("SNTRACE_VERIFY_STACKS").is_some_and(|value| value == "1") {
        bits.with(OptionBits::VERIFY_STACKS)
    } else {
        bits
    }
}

impl TraceOptions {
    /// What a JSON trace will hold: of the stacks, whatever is taken, the caller alone.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.run.recorded(match self.stacks {
            Stacks::None => StacksTaken::None,
            Stacks::Full | Stacks::Caller => StacksTaken::Caller,
        })
    }

    /// What the hook has to know of all this.
    #[must_use]
    pub fn hook_options(&self) -> OptionBits {
        let mut bits = self.run.hook_options();
        if self.raw_callers || self.stacks == Stacks::None {
            bits = bits.with(OptionBits::RAW_CALLERS);
        }
        if self.stacks == Stacks::Full {
            bits = full_stacks(bits);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_only_where_the_user_did_not_choose() {
        assert_eq!(ColorChoice::Auto.colour_with(true, false), Colour::Ansi);
        assert_eq!(ColorChoice::Auto.colour_with(true, true), Colour::Plain);
        assert_eq!(ColorChoice::Auto.colour_with(false, false), Colour::Plain);
        assert_eq!(ColorChoice::Always.colour_with(false, true), Colour::Ansi);
        assert_eq!(ColorChoice::Never.colour_with(true, false), Colour::Plain);
    }
}
