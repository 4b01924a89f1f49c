//! `sntrace diff`: two traces compared, and rules judged.
//!
//! Exit statuses: 0; 1 where a rule failed; 2 where a trace can't be read, or a rule not be judged; 125 where the
//! verdict can't be written.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::baseline::{self, BaselineError};
use super::exit_status;
use super::inputs;
use super::options::{Destination, DiffOptions, ShowChoice};
use super::sheet::Sheet;
use crate::check::{BudgetError, UnjudgedError};
use crate::diff::{self, Comparison, JudgeError};
use crate::messages;
use crate::output::OutputError;
use crate::profile::Profile;
use crate::report::terminal_width;
use crate::trace::TraceError;
use crate::verdict::{self, ShowOptions, Verdict};

/// Why two traces could not be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    #[error(transparent)]
    Judge(#[from] JudgeError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Unjudged(#[from] UnjudgedError),
    /// The budget can't be read or written.
    #[error("cannot {verb} the budget '{path}': {}", messages::reason(source))]
    BudgetFile {
        /// `read` or `write`.
        verb: &'static str,
        /// Where, escaped.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Both traces come by the same way.
    #[error("cannot compare: both traces are standard input")]
    OneStdin,
    /// A trace without events would pass every gate.
    #[error("cannot judge '{0}': it holds no events")]
    Empty(String),
}

impl GateError {
    /// Says what it is, and the exit status.
    pub fn report(&self) -> u8 {
        match self {
            Self::Output(error) if error.is_broken_pipe() => return exit_status::SUCCESS,
            Self::Output(error) => {
                messages::failure(error, error.hint());
                return exit_status::SNTRACE_FAILED;
            }
            Self::Trace(error) => messages::failure(error, error.hint()),
            Self::Baseline(error @ BaselineError::Write { .. }) => {
                messages::failure(error, error.hint());
                return exit_status::SNTRACE_FAILED;
            }
            Self::Baseline(error) => messages::failure(error, error.hint()),
            Self::Judge(error) => messages::failure(error, Some(error.hint())),
            Self::Budget(error) => messages::failure(error, error.hint().as_deref()),
            Self::Unjudged(error) => messages::failure(error, Some(error.hint)),
            Self::BudgetFile { verb, source, .. } => {
                let missing = source.kind() == io::ErrorKind::NotFound;
                let hint = "--update-budget makes one";
                messages::failure(self, (*verb == "read" && missing).then_some(hint));
                if *verb == "write" {
                    return exit_status::SNTRACE_FAILED;
                }
            }
            Self::OneStdin => messages::failure(self, Some("write one of them to a file first")),
            Self::Empty(_) => messages::failure(
                self,
                Some("a gate that saw nothing would pass whatever happens"),
            ),
        }
        exit_status::USAGE
    }
}

/// `sntrace diff`.
pub(super) fn run_diff(options: &DiffOptions) -> u8 {
    match compare(options) {
        Ok(true) => exit_status::SUCCESS,
        Ok(false) => exit_status::RULE_FAILED,
        Err(error) => error.report(),
    }
}

/// Whether all rules held.
fn compare(options: &DiffOptions) -> Result<bool, GateError> {
    let stdin = |path: &PathBuf| path.as_os_str() == "-";
    if options.base.as_ref().is_some_and(stdin) && stdin(&options.head) {
        return Err(GateError::OneStdin);
    }
    let base = match (&options.base, &options.baseline.name) {
        (Some(base), _) => base.clone(),
        (None, name) => baseline::existing(&options.baseline, name.as_deref().unwrap_or(""))?,
    };
    let (base_profile, head_profile) = both(&base, &options.head)?;
    let names = (name_of(&base), name_of(&options.head));
    if !options.gate.rules.is_empty() {
        refuse_empty(&names.0, &base_profile)?;
        refuse_empty(&names.1, &head_profile)?;
    }
    let comparison = Comparison::of(&base_profile, &head_profile, options.gate.matching);
    let verdict = diff::verdict(
        (&names.0, &names.1),
        &comparison,
        &options.gate.rules,
        options.gate.judge,
    )?;
    let showing = Showing::open(&options.show, Place::Stdout)?;
    showing.show(&verdict)?;
    Ok(verdict.passed())
}

/// Reads both at once: reading is what takes time.
fn both(base: &Path, head: &Path) -> Result<(Profile, Profile), TraceError> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().spawn_scoped(scope, || inputs::profile(base));
        let head = inputs::profile(head);
        let base = match worker {
            Ok(worker) => worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Without a second thread, one after the other.
            Err(_) => inputs::profile(base),
        };
        // The base comes first, also where both are wrong.
        Ok((base?, head?))
    })
}

/// What a path is called in texts.
pub(super) fn name_of(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => path.to_string_lossy().into_owned(),
    }
}

/// A gate has something to judge, or is none.
pub(super) fn refuse_empty(name: &str, profile: &Profile) -> Result<(), GateError> {
    match profile.certificate.events {
        0 => Err(GateError::Empty(crate::output::escape::shown(name))),
        _ => Ok(()),
    }
}

/// Where a verdict goes, opened before anything is measured: a place that can't be written is no surprise at the end.
pub(super) struct Showing<'a> {
    choice: &'a ShowChoice,
    sheet: Sheet,
    on_terminal: bool,
}

impl<'a> Showing<'a> {
    /// Opens the place that was chosen, else `usual`.
    pub fn open(choice: &'a ShowChoice, usual: Place) -> Result<Self, OutputError> {
        let (sheet, on_terminal) = match (&choice.output, usual) {
            (Some(Destination::Stdout), _) | (None, Place::Stdout) => (
                Sheet::open(&Destination::Stdout)?,
                io::stdout().is_terminal(),
            ),
            (Some(file), _) => (Sheet::open(file)?, false),
            (None, Place::Stderr) => (Sheet::stderr(), io::stderr().is_terminal()),
        };
        Ok(Self {
            choice,
            sheet,
            on_terminal,
        })
    }

    /// Writes a verdict.
    pub fn show(self, verdict: &Verdict) -> Result<(), OutputError> {
        let Self {
            choice,
            mut sheet,
            on_terminal,
        } = self;
        let options = ShowOptions {
            top: choice.top,
            frames: choice.frames,
            colour: choice.color.colour(on_terminal),
            width: terminal_width(),
            source_root: source_root(choice),
        };
        let written = verdict::write(verdict, choice.format, &options, &mut sheet.writer);
        written.map_err(|source| sheet.failed(source))?;
        sheet.finish()
    }
}

/// Where a verdict goes that nobody chose a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the command's output.
    Stdout,
    /// Beside the output of a program that was run.
    Stderr,
}

/// Absolute, as paths in debug information are.
fn source_root(choice: &ShowChoice) -> PathBuf {
    let chosen = choice.source_root.clone().unwrap_or_else(|| ".".into());
    std::path::absolute(&chosen).unwrap_or(chosen)
}
