//! How a program is run: the options that the main job and `record` share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::UsageError;
use crate::cli::options::{Overflow, RecordOptions, RunOptions, Transport};

/// `sntrace record`.
#[derive(Args, Debug)]
pub struct RecordArguments {
    #[command(flatten)]
    pub run: RunArguments,

    /// Record into FILE instead of sntrace.PROGRAM.PID.snt.
    ///
    /// FILE is created, or overwritten, before the program starts.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// End with status 125 unless the trace is whole and exact.
    ///
    /// That is, if an event was dropped, a stack cut short, an address has no name, or a program that it
    /// started could not be traced.
    #[arg(long, help_heading = "Output")]
    pub strict: bool,

    /// Print this help; -h is shorter.
    #[arg(short, long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// How a program is run: what the main job and `record` share.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Trace this program, with its arguments.
    ///
    /// It is looked up in PATH as a shell does. Options of sntrace end here: what follows belongs
    /// to the program.
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        num_args = 1..,
        value_hint = ValueHint::CommandWithArguments
    )]
    pub program: Vec<OsString>,

    /// Leave out the closing summary and notes.
    ///
    /// The summary appears only where stderr is a terminal. Errors and warnings are always shown, but
    /// for the ones that name children which could not be traced.
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Record mmap, munmap, mremap and brk too.
    #[arg(long, help_heading = "Choice of events")]
    pub mmap: bool,

    /// Don't follow children: trace only the program itself.
    ///
    /// By default fork and exec are followed, and sntrace ends when the last descendant has.
    #[arg(long, help_heading = "Choice of events")]
    pub no_follow: bool,

    /// Carry events by shared memory or by a pipe: shared or pipe.
    ///
    /// The default is shared memory, and the pipe where it cannot be had.
    #[arg(
        long,
        value_name = "HOW",
        hide_possible_values = true,
        help_heading = "Transport"
    )]
    pub transport: Option<TransportValue>,

    /// Let a thread that is too fast wait, or drop events: wait or drop.
    ///
    /// `wait` loses nothing. `drop` never holds the program up; what was dropped is counted and
    /// reported.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "wait",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Transport"
    )]
    pub overflow: OverflowValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportValue {
    Shared,
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverflowValue {
    Wait,
    Drop,
}

impl TryFrom<RecordArguments> for RecordOptions {
    type Error = UsageError;

    fn try_from(arguments: RecordArguments) -> Result<Self, UsageError> {
        if arguments
            .output
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-")
        {
            return Err(UsageError::TraceOnStdout);
        }
        Ok(Self {
            run: arguments.run.try_into()?,
            output: arguments.output,
            strict: arguments.strict,
        })
    }
}

impl TryFrom<RunArguments> for RunOptions {
    type Error = UsageError;

    fn try_from(arguments: RunArguments) -> Result<Self, UsageError> {
        let named = arguments.program.first();
        if named.is_none_or(|program| program.is_empty()) {
            return Err(UsageError::EmptyProgram);
        }
        Ok(Self {
            command: arguments.program,
            transport: match arguments.transport {
                None => Transport::Auto,
                Some(TransportValue::Shared) => Transport::Shared,
                Some(TransportValue::Pipe) => Transport::Pipe,
            },
            quiet: arguments.quiet,
            follow: !arguments.no_follow,
            overflow: match arguments.overflow {
                OverflowValue::Wait => Overflow::Wait,
                OverflowValue::Drop => Overflow::Drop,
            },
            mmap: arguments.mmap,
        })
    }
}
