//! The commands that read a recorded trace.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ColorValue, FieldArguments};
use crate::cli::options::{Destination, DumpOptions, LinesOptions};

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
