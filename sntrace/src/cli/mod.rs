//! The command line: from the words the user typed to a job, and from its result to an exit
//! status.
//!
//! Only this folder knows clap. `arguments` turns words into the plain structs of `options`;
//! `trace` is the main job; `completions` and `man` write what packagers install. The contract
//! (names, grammar, exit statuses) is kept by the tests beside this file: scripts depend on it.

mod arguments;
mod baseline;
mod check;
mod diff;
pub mod exit_status;
mod generate;
mod inputs;
pub mod options;
mod read;
mod record;
#[cfg(target_os = "linux")]
mod run;
mod sheet;
#[cfg(test)]
mod tests;
mod trace;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Job, UsageError};

use crate::messages;

/// The whole of `sntrace`: reads the command line, does the job, tells the exit status.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    match arguments::parse(words) {
        Ok(Job::Trace(options)) => {
            messages::set_quiet(options.run.quiet);
            trace::run_trace(&options)
        }
        Ok(Job::Record(options)) => {
            messages::set_quiet(options.run.quiet);
            record::run_record(&options)
        }
        Ok(Job::Lines(options)) => read::run_lines(&options),
        Ok(Job::Report(options)) => read::run_report(&options),
        Ok(Job::Export(options)) => read::run_export(&options),
        Ok(Job::Diff(options)) => diff::run_diff(&options),
        Ok(Job::Check(options)) => {
            messages::set_quiet(options.run.quiet);
            check::run_check(&options)
        }
        Ok(Job::Dump(options)) => read::run_dump(&options),
        Ok(Job::Completions(shell)) => print(&generate::completions(shell)),
        Ok(Job::Man) => match generate::man_page() {
            Ok(page) => print(&page),
            Err(error) => {
                messages::error("cannot write the man page", error, None);
                exit_status::SNTRACE_FAILED
            }
        },
        Err(UsageError::Clap(error)) => answer(&error),
        Err(error) => {
            let hint = error.hint();
            messages::failure(error, hint.as_deref());
            exit_status::USAGE
        }
    }
}

/// Help and version on stdout; clap's errors on stderr, in the form of all our messages.
fn answer(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;

    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // clap decides about colours and where it goes. A reader that closed the pipe
            // (`sntrace --help | head`) is no failure.
            let _ = error.print();
            exit_status::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            exit_status::USAGE
        }
        _ => {
            let _ = std::io::stderr().lock().write_all(reword(error).as_bytes());
            exit_status::USAGE
        }
    }
}

/// clap's text in the form of our own messages: `sntrace: error: ...` and `  hint: ...`.
fn reword(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("error: ") {
            lines.push(format!("sntrace: error: {}", messages::printable(rest)));
        } else if let Some(rest) = line.strip_prefix("  tip: ") {
            lines.push(format!("  hint: {}", messages::printable(rest)));
        } else if !line.is_empty() {
            lines.push(messages::printable(line).into_owned());
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Data on stdout. A closed pipe ends it silently, a full disk does not.
fn print(data: &[u8]) -> u8 {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Ok(()) => exit_status::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit_status::SUCCESS,
        Err(error) => {
            messages::error("cannot write to stdout", error, None);
            exit_status::SNTRACE_FAILED
        }
    }
}
