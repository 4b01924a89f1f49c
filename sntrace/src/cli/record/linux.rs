//! Recording on Linux: the file is open before the program starts, and gets its name when the
//! program's process id is known.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::RecordOptions;
use crate::cli::exit_status;
use crate::cli::run::{self, Feed, Run, Watch};
use crate::collect::{Downstream, Statistics};
use crate::launch::inspect::Warning;
use crate::launch::processor_times;
use crate::messages;
use crate::output::{OutputError, escape};
use crate::record::{Recorded, Recorder};
use crate::symbolize::Locator;
use crate::trace::{Batch, Certificate, Cost, Header};

/// What is gathered before it is written: definitions. Chunks of events are larger and go to the file at once, so
/// that they are there also when sntrace is killed.
const BUFFER_BYTES: usize = 4 << 10;

/// Records the program and returns sntrace's exit status.
pub(in crate::cli) fn run_record(options: &RecordOptions) -> u8 {
    record(options).unwrap_or_else(|status| status)
}

/// As [`run_record`]; errors have been reported and are the exit status.
fn record(options: &RecordOptions) -> Result<u8, u8> {
    let program = Run::find(&options.run)?;
    let target = Target::open(options).map_err(|error| {
        messages::failure(&error, error.hint());
        exit_status::SNTRACE_FAILED
    })?;
    let begun = Instant::now();
    let started = Run::prepare(program, &options.run, options.hook_options())
        .and_then(|run| run.start(&options.run));
    let (mut collector, watch, ran) = match started {
        Ok(started) => started.split(),
        Err(status) => {
            target.discard();
            return Err(status);
        }
    };
    let (file, path) = target.named_after(ran.running().pid());
    let finished = run::collect(&mut collector, ran.running(), |feed| {
        Finished::of(feed, options, file, &path, watch, begun)
    });
    let (statistics, mut clean) = match finished {
        Some(finished) => (finished.statistics, finished.report(options, &path)),
        None => (Statistics::default(), false),
    };
    clean &= run::tell_stacks(&statistics, collector.first_difference());
    Ok(ran.status(&options.run, &statistics, clean))
}

/// The file to record into.
struct Target {
    file: File,
    path: PathBuf,
    /// The program's name, where the file is to be named by it.
    program: Option<String>,
}

impl Target {
    /// Opens the file that the user named, or one in the working folder that has no name yet.
    fn open(options: &RecordOptions) -> Result<Self, OutputError> {
        let (path, program) = match &options.output {
            Some(path) => (path.clone(), None),
            None => {
                let command = Path::new(&options.run.command[0]);
                let name = command.file_name().unwrap_or(command.as_os_str());
                let name = in_a_file_name(&escape::lossy(name.as_encoded_bytes()));
                let path = PathBuf::from(format!(".sntrace.{name}.{}.part", std::process::id()));
                (path, Some(name))
            }
        };
        let file =
            crate::output::writer::create(&path).map_err(|error| match (error, &program) {
                // The user has not heard of that file.
                (OutputError::Open { source, .. }, Some(name)) => OutputError::Open {
                    destination: format!("sntrace.{name}.PID.snt"),
                    source,
                },
                (error, _) => error,
            })?;
        Ok(Self {
            file,
            path,
            program,
        })
    }

    /// Nothing will be recorded.
    fn discard(self) {
        if self.program.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Gives the file its name.
    fn named_after(self, pid: u32) -> (File, PathBuf) {
        let Some(program) = self.program else {
            return (self.file, self.path);
        };
        let path = PathBuf::from(format!("sntrace.{program}.{pid}.snt"));
        match fs::rename(&self.path, &path) {
            Ok(()) => (self.file, path),
            // It is a trace all the same; the user is told its name at the end.
            Err(_) => (self.file, self.path),
        }
    }
}

/// A program's name as a part of a file's, which the user is to type again: without what a terminal obeys, and
/// without what ends a quoted word.
fn in_a_file_name(name: &str) -> String {
    let typed = |letter: char| match letter {
        '\'' | '"' | '\\' => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    };
    name.chars().map(typed).collect()
}

/// A recorder that takes what is collected.
struct Writing<'f, 'p> {
    recorder: Recorder<'f, BufWriter<File>, Watch>,
    path: &'p Path,
    /// Whether the user knows that the file takes no more.
    told: bool,
}

impl Downstream for Writing<'_, '_> {
    fn take(&mut self, batch: &mut Batch) {
        self.recorder.batch(batch);
        batch.clear();
        if !self.told
            && let Some(error) = self.recorder.failure()
        {
            self.told = true;
            let name = messages::printable(&self.path.to_string_lossy()).into_owned();
            let reason = messages::reason(error);
            messages::note(format!(
                "cannot write to '{name}' any more: {reason}; the program goes on"
            ));
        }
    }
    fn idle(&mut self) {}
}

/// Takes what nobody wants.
struct Nobody;

impl Downstream for Nobody {
    fn take(&mut self, batch: &mut Batch) {
        batch.clear();
    }
    fn idle(&mut self) {}
}

/// So many events have to be measured: among fewer, one that met new code counts for too much.
const SAMPLES_MIN: u64 = 2000;

/// What the hook took for all events, by what it took for some; 0 if those are too few to tell.
fn hook_time(statistics: &Statistics, events: u64) -> u64 {
    if statistics.sampled_events < SAMPLES_MIN {
        return 0;
    }
    let measured = u128::from(statistics.sampled_events);
    let all = u128::from(statistics.sampled_ns) * u128::from(events);
    let all = all.checked_div(measured).unwrap_or(0);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// What a recording leaves.
struct Finished {
    statistics: Statistics,
    recorded: io::Result<Recorded>,
    findings: Vec<Warning>,
}

impl Finished {
    /// Records what is fed.
    fn of(
        feed: &mut dyn Feed,
        options: &RecordOptions,
        file: File,
        path: &Path,
        watch: Watch,
        begun: Instant,
    ) -> Self {
        let words = options.run.command.iter();
        let words = words.map(|word| escape::lossy(word.as_encoded_bytes()).into_owned());
        let header = Header::now(words.collect());
        let locator = Locator::default();
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let recorder = match Recorder::new(file, &header, &options.recorded(), &locator, watch) {
            Ok(recorder) => recorder,
            Err(error) => {
                // The program runs already, and goes on.
                return Self {
                    statistics: feed.feed(&mut Nobody),
                    recorded: Err(error),
                    findings: Vec::new(),
                };
            }
        };
        let mut writing = Writing {
            recorder,
            path,
            told: false,
        };
        let statistics = feed.feed(&mut writing);
        let mut recorder = writing.recorder;
        let times = processor_times();
        let findings = recorder.judge().untraced.findings();
        let (findings, not_followed) = findings.into_iter().unzip();
        let known = Certificate {
            unordered_events: statistics.order.unseen,
            damaged_lanes: statistics.damaged,
            not_followed,
            cost: Cost {
                wall_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
                target_cpu_ns: times.children_ns,
                launcher_cpu_ns: times.own_ns,
                hook_cpu_ns: hook_time(&statistics, recorder.events()),
                waited_ns: statistics.waited_ns,
            },
            ..Certificate::default()
        };
        let missing = statistics.dropped_events + statistics.lost_events;
        Self {
            statistics,
            recorded: Ok(recorder.finish(known, missing)),
            findings,
        }
    }

    /// Tells what there is to tell. False if the trace is not what was asked for.
    fn report(self, options: &RecordOptions, path: &Path) -> bool {
        let statistics = &self.statistics;
        let shown = messages::printable(&path.to_string_lossy()).into_owned();
        let (recorded, mut clean) = match self.recorded {
            Ok(recorded) => (recorded, true),
            Err(error) => {
                let reason = messages::reason(&error);
                messages::error(format!("cannot write to '{shown}'"), reason, None);
                return false;
            }
        };
        if let Some((source, lost)) = recorded.failure {
            clean = false;
            let error = OutputError::Write {
                destination: format!("'{shown}'"),
                source,
                lost,
            };
            messages::failure(&error, error.hint());
        }
        run::tell_replaced(recorded.replaced.iter().map(|module| &**module));
        if !options.run.quiet {
            for warning in &self.findings {
                messages::warning(&warning.message, warning.hint.as_deref());
            }
        }
        run::tell(statistics);
        if let Some((message, hint)) = recorded.summary.warning() {
            messages::warning(message, Some(hint));
        }
        run::tell_if_nothing(recorded.summary.events, statistics);
        if statistics.images == 0 {
            return clean;
        }
        if !options.run.quiet && io::stderr().is_terminal() {
            let _ = io::stderr().write_all(recorded.summary.text().as_bytes());
        }
        // What went into a pipe can't be read from there again.
        let again = match path.is_file() {
            true => format!("; read it with: sntrace report '{shown}'"),
            false => String::new(),
        };
        messages::note(format!("recorded in '{shown}'{again}"));
        if options.strict {
            let blemishes = recorded.certificate.blemishes();
            for blemish in &blemishes {
                messages::error("the trace is not whole and exact", blemish, None);
            }
            clean &= blemishes.is_empty();
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_can_be_typed_again() {
        assert_eq!(in_a_file_name("g++ 12"), "g++ 12");
        assert_eq!(in_a_file_name("it's\n\x1b[31m\\"), "it_s__[31m_");
    }
}
