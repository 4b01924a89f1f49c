//! A program run and recorded, once or several times.
//!
//! Each run is a `sntrace record` of its own: a process that has its program's terminal, signals and exit status in
//! hand, and nothing of the run before. Its trace lives in a temporary folder until its profile is made.
//!
//! What a program reads from standard input can be read once. For several runs a file is wound back each time; a
//! terminal or a pipe can't be, and the program gets nothing instead, which is said.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _};
use std::process::{Command, Stdio};

use crate::cli::diff::GateError;
use crate::cli::exit_status;
use crate::cli::inputs::{self, Measured};
use crate::cli::options::{CheckOptions, Overflow, Transport};
use crate::messages;
use crate::output::escape;
use crate::output::filter::Glob;
use crate::trace::Exit;

/// What the program is called, and what was measured over all runs. What went wrong has been told, and is the exit
/// status.
pub(super) fn measure(options: &CheckOptions, counted: &[&Glob]) -> Result<(String, Measured), u8> {
    let name = options.run.command[0].to_string_lossy().into_owned();
    let failed = |what: &str, error: &io::Error| {
        messages::error(what, messages::reason(error), None);
        exit_status::SNTRACE_FAILED
    };
    let folder = tempfile::Builder::new()
        .prefix("sntrace-check-")
        .tempdir()
        .map_err(|error| failed("cannot make a folder for the traces", &error))?;
    let sntrace = std::env::current_exe()
        .map_err(|error| failed("cannot find sntrace itself to run it again", &error))?;
    let mut input = Input::of(options.runs);
    let mut whole: Option<Measured> = None;
    for run in 1..=options.runs {
        let trace = folder.path().join("run.snt");
        let mut command = Command::new(&sntrace);
        command.args(words(options)).arg("-o").arg(&trace).arg("--");
        command.args(&options.run.command).stdin(input.next());
        let ended = patient(&mut command)
            .map_err(|error| failed("cannot run sntrace itself again", &error))?;
        judge_status(options, &name, run, exit_of(ended))?;
        let measured = inputs::measure(&trace, counted);
        let measured = measured.map_err(|error| GateError::from(error).report())?;
        match &mut whole {
            None => whole = Some(measured),
            Some(whole) => whole.add(&measured),
        }
    }
    match whole {
        Some(measured) => Ok((name, measured)),
        // There is at least one run.
        None => Err(exit_status::SNTRACE_FAILED),
    }
}

/// Runs to the end, and outlives what ends the child.
fn patient(command: &mut Command) -> io::Result<std::process::ExitStatus> {
    #[cfg(target_os = "linux")]
    {
        let patience = crate::launch::Patience::begin();
        let mut child = command.spawn()?;
        patience.wait(&mut child)
    }
    #[cfg(not(target_os = "linux"))]
    command.status()
}

/// The options of the recording, as they were given to the check.
fn words(options: &CheckOptions) -> Vec<OsString> {
    let run = &options.run;
    // The check has its own last words.
    let mut words: Vec<OsString> = vec!["record".into(), "--quiet".into()];
    if run.mmap {
        words.push("--mmap".into());
    }
    if !run.follow {
        words.push("--no-follow".into());
    }
    if run.overflow == Overflow::Drop {
        words.extend(["--overflow".into(), "drop".into()]);
    }
    let transport = match run.transport {
        Transport::Auto => None,
        Transport::Shared => Some("shared"),
        Transport::Pipe => Some("pipe"),
    };
    if let Some(transport) = transport {
        words.extend(["--transport".into(), transport.into()]);
    }
    words
}

fn exit_of(status: std::process::ExitStatus) -> Exit {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            return Exit::Signal(signal);
        }
    }
    status.code().map_or(Exit::Unknown, Exit::Code)
}

/// A program that failed did not do what is to be judged.
fn judge_status(options: &CheckOptions, name: &str, run: usize, exit: Exit) -> Result<(), u8> {
    let status = exit_status::of_program(exit);
    let shown = escape::shown(name);
    let times = match options.runs {
        1 => String::new(),
        runs => format!(" in run {run} of {runs}"),
    };
    match status {
        exit_status::SUCCESS => Ok(()),
        // sntrace has said why.
        exit_status::SNTRACE_FAILED..=exit_status::NOT_FOUND => Err(status),
        status if options.ignore_status => {
            messages::note(format!("'{shown}' ended with status {status}{times}"));
            Ok(())
        }
        status => {
            messages::error(
                format!("cannot judge '{shown}'"),
                format!("it ended with status {status}{times}"),
                Some("--ignore-status judges it all the same"),
            );
            Err(status)
        }
    }
}

/// What the runs read.
enum Input {
    /// What there is, for a single run.
    Own,
    /// A file, from where it stood.
    File(File, u64),
    /// Nothing.
    Nothing,
}

impl Input {
    fn of(runs: usize) -> Input {
        if runs == 1 {
            return Input::Own;
        }
        if let Some((file, at)) = file_on_stdin() {
            return Input::File(file, at);
        }
        use std::io::IsTerminal as _;
        if !io::stdin().is_terminal() && !is_null() {
            messages::note(format!(
                "standard input is no file, which {runs} runs could read each: they get nothing from it"
            ));
        }
        Input::Nothing
    }

    fn next(&mut self) -> Stdio {
        match self {
            Input::Own => Stdio::inherit(),
            Input::Nothing => Stdio::null(),
            Input::File(file, at) => {
                // Both have one position: the next run begins where the first did.
                let again = file.seek(io::SeekFrom::Start(*at));
                match again.and_then(|_| file.try_clone()) {
                    Ok(file) => file.into(),
                    Err(_) => Stdio::null(),
                }
            }
        }
    }
}

/// The file on standard input, and where it stands.
#[cfg(unix)]
fn file_on_stdin() -> Option<(File, u64)> {
    use std::os::fd::AsFd as _;
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let at = file.stream_position().ok()?;
    Some((file, at))
}

#[cfg(not(unix))]
fn file_on_stdin() -> Option<(File, u64)> {
    None
}

/// Whether standard input is the device that has nothing to read.
#[cfg(unix)]
fn is_null() -> bool {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let device = |file: File| file.metadata().map(|metadata| metadata.rdev()).ok();
    let own = io::stdin().as_fd().try_clone_to_owned().ok();
    let own = own.map(File::from).and_then(device);
    let null = File::open("/dev/null").ok().and_then(device);
    own.is_some() && own == null
}

#[cfg(not(unix))]
fn is_null() -> bool {
    false
}
