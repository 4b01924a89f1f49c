//! What the user asked of a trace, as plain data: everything below the command line reads these,
//! and nothing below it knows clap.

use std::ffi::OsString;
use std::path::PathBuf;

use sntrace_format::env::OptionBits;

/// The main job: trace a program and print its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// The program as the user named it, then its arguments. Never empty.
    pub command: Vec<OsString>,
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
    /// Whether to colour an output that is, or is not, a terminal. A user who says `always` means
    /// it, whatever `NO_COLOR` says (<https://no-color.org>).
    #[must_use]
    pub fn enabled(self, is_terminal: bool) -> bool {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.enabled_with(is_terminal, no_color)
    }

    fn enabled_with(self, is_terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Auto => is_terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl TraceOptions {
    /// What the hook has to know of all this.
    #[must_use]
    pub fn hook_options(&self) -> OptionBits {
        let wanted = [
            (
                self.raw_callers || self.stacks == Stacks::None,
                OptionBits::RAW_CALLERS,
            ),
            (self.stacks == Stacks::Full, OptionBits::FULL_STACKS),
            (self.mmap, OptionBits::MMAP),
            (self.overflow == Overflow::Drop, OptionBits::OVERFLOW_DROP),
            (!self.follow, OptionBits::NO_FOLLOW),
        ];
        let chosen = wanted.into_iter().filter(|(wanted, _)| *wanted);
        chosen.fold(OptionBits::default(), |bits, (_, bit)| bits.with(bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_only_where_the_user_did_not_choose() {
        assert!(ColorChoice::Auto.enabled_with(true, false));
        assert!(!ColorChoice::Auto.enabled_with(true, true));
        assert!(!ColorChoice::Auto.enabled_with(false, false));
        assert!(ColorChoice::Always.enabled_with(false, true));
        assert!(!ColorChoice::Never.enabled_with(true, false));
    }
}
