//! What the two jobs that run a program share, `sntrace PROGRAM` and `sntrace record PROGRAM`: from
//! the program's name to a collector that drains its events, and what is told at the end.
//!
//! Everything is opened before the program starts, so that what can't work fails early. Errors are
//! reported where they happen; what is returned then is the exit status.

use std::path::Path;
use std::sync::Arc;

use sntrace_format::env::{OptionBits, RUN_VARIABLE, RunAddress};
use sntrace_format::layout::SEGMENT_BYTES;
use sntrace_format::verdict::Verdict;

use super::exit_status;
use super::options::{RunOptions, Transport};
use crate::collect::pipe::PipeReader;
use crate::collect::segment::Segment;
use crate::collect::ticks::Clock;
use crate::collect::{
    Boards, Collector, Downstream, StackDepth, StackDifference, Statistics, Supervision,
};
use crate::launch::{self, Launch, Program, RunDirectory, Running, Untraced};
use crate::messages;
use crate::present::Judge;
use crate::trace::{Batch, Exit, ImageId, Item};

/// What stands ready before the program starts.
pub(super) struct Run {
    program: Program,
    directory: RunDirectory,
    segment: Option<Arc<Segment>>,
    pipe: Option<PipeReader>,
    clock: Clock,
    options: OptionBits,
}

/// A program that runs, and who collects its events.
pub(super) struct Started {
    pub running: Running,
    pub collector: Collector,
    pub watch: Watch,
    program: Program,
    directory: RunDirectory,
}

impl Run {
    /// Looks at the program: what can't be traced is said here. Nothing was opened yet.
    pub fn find(options: &RunOptions) -> Result<Program, u8> {
        let search_path = std::env::var_os("PATH");
        let program = launch::inspect(&options.command[0], search_path.as_deref());
        let program = program.map_err(|error| {
            messages::failure(&error, error.hint().as_deref());
            error.exit_status()
        })?;
        for warning in &program.warnings {
            messages::warning(&warning.message, warning.hint.as_deref());
        }
        if let Some(sanitizer) =
            launch::environment::preloaded_sanitizer(&launch::environment::unchanged())
        {
            messages::failure(
                format!(
                    "cannot trace '{}': LD_PRELOAD has the library of {}, which bears none before it",
                    options.command[0].to_string_lossy(),
                    sanitizer.name()
                ),
                Some("take it out of LD_PRELOAD"),
            );
            return Err(exit_status::SNTRACE_FAILED);
        }
        Ok(program)
    }

    /// Opens the ways that events take. `hook`: what the hook has to know.
    pub fn prepare(program: Program, options: &RunOptions, hook: OptionBits) -> Result<Self, u8> {
        let directory = RunDirectory::create(true).map_err(|error| {
            messages::failure(&error, error.hint());
            exit_status::SNTRACE_FAILED
        })?;
        let cannot = |what: &str, error: &std::io::Error| {
            messages::error(what, messages::reason(error), None);
            exit_status::SNTRACE_FAILED
        };
        let segment = match (options.transport, Segment::create()) {
            (Transport::Pipe, _) => None,
            (_, Ok(segment)) => Some(Arc::new(segment)),
            (Transport::Shared, Err(error)) => {
                return Err(cannot("cannot make shared memory for the events", &error));
            }
            (Transport::Auto, Err(error)) => {
                messages::note(format!(
                    "no shared memory ({}): events come through a pipe, slower",
                    messages::reason(&error)
                ));
                None
            }
        };
        let pipe = match directory.pipe().map(PipeReader::open) {
            Some(Ok(pipe)) => Some(pipe),
            Some(Err(error)) => return Err(cannot("cannot open the pipe for the events", &error)),
            None => None,
        };
        let clock = Clock::choose();
        let mut bits = hook;
        if clock == Clock::Monotonic {
            bits = bits.with(OptionBits::CLOCK_MONOTONIC);
        }
        Ok(Self {
            program,
            directory,
            segment,
            pipe,
            clock,
            options: bits,
        })
    }

    /// Starts the program. Must be called before there is another thread.
    pub fn start(mut self, options: &RunOptions) -> Result<Started, u8> {
        let environment = launch::environment::with_hook(
            launch::environment::unchanged(),
            &self.directory.hook(),
            &self.address(),
        );
        let launch = Launch {
            program: &self.program,
            command: &options.command,
            environment: &environment,
            follow: options.follow,
        };
        let depth = if self.options.has(OptionBits::FULL_STACKS) {
            StackDepth::Full
        } else {
            StackDepth::Callers
        };
        let collector = Collector::new(self.segment.clone(), self.pipe.take(), self.clock, depth);
        let watch = Watch {
            boards: collector.boards(),
            untraced: Untraced::default(),
        };
        let waker = self.segment.clone();
        let running = launch::start(&launch, move || {
            if let Some(segment) = &waker {
                segment.wake();
            }
        });
        let running = running.map_err(|error| {
            messages::failure(&error, None);
            error.exit_status()
        })?;
        Ok(Started {
            running,
            collector,
            watch,
            program: self.program,
            directory: self.directory,
        })
    }

    fn address(&self) -> RunAddress<'_> {
        use std::os::unix::ffi::OsStrExt as _;
        RunAddress {
            launcher_pid: std::process::id(),
            segment_fd: self
                .segment
                .as_ref()
                .map_or(0, |segment| segment.descriptor()),
            options: self.options,
            segment_len: if self.segment.is_some() {
                SEGMENT_BYTES as u64
            } else {
                0
            },
            pipe_path: self
                .directory
                .pipe()
                .map_or(&[], |path: &Path| path.as_os_str().as_bytes()),
        }
    }
}

/// A program that was started and whose events have been collected: what is left to decide.
pub(super) struct Ran {
    running: Running,
    program: Program,
    directory: RunDirectory,
}

impl Started {
    /// Takes apart what the run itself uses and what is asked at its end.
    pub fn split(self) -> (Collector, Watch, Ran) {
        (
            self.collector,
            self.watch,
            Ran {
                running: self.running,
                program: self.program,
                directory: self.directory,
            },
        )
    }
}

impl Ran {
    /// The program while it runs.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The exit status. `clean`: everything that was to be written is written.
    pub fn status(self, options: &RunOptions, statistics: &Statistics, clean: bool) -> u8 {
        if !self.running.all_gone() {
            // Processes that go on untraced still load the hook when they start others.
            self.directory.leave_behind();
        }
        if statistics.images == 0 {
            // What kept the hook out has been said already where it was known beforehand.
            let hint = match self.running.program_exit() {
                _ if !self.program.warnings.is_empty() => {
                    "nothing that it started could be traced either"
                }
                _ if std::env::var_os(RUN_VARIABLE).is_some() => {
                    "this sntrace is itself traced by another one, which traces the program too"
                }
                Some(Exit::Signal(_)) => {
                    "it was killed before the hook could start; does it run without sntrace?"
                }
                _ => {
                    "something removed LD_PRELOAD or SNTRACE_RUN from its environment, or its loader ignores them"
                }
            };
            let name = options.command[0].to_string_lossy();
            messages::failure(
                format!(
                    "cannot trace '{name}': the hook never started in it, so nothing was recorded"
                ),
                Some(hint),
            );
            return exit_status::SNTRACE_FAILED;
        }
        if !clean {
            return exit_status::SNTRACE_FAILED;
        }
        self.running
            .program_exit()
            .map_or(exit_status::SNTRACE_FAILED, exit_status::of_program)
    }
}

/// Batches on their way from the collector to whoever takes them: enough to ride out a slow write.
const BATCHES: usize = 8;
/// From so many processors on, collecting and what comes after it are two threads. With fewer, a
/// second one would only take a processor from the program.
const PROCESSORS_FOR_TWO: usize = 4;

/// Where the events come from.
pub(super) trait Feed {
    /// Hands over everything until the run is over, and what there is to know at its end.
    fn feed(&mut self, to: &mut dyn Downstream) -> Statistics;
}

/// Collects until the run is over, while `work` takes what is fed to it: in this thread or in one of its
/// own, where it is made and ends. Its result is missing if that thread could not be started.
pub(super) fn collect<R: Send>(
    collector: &mut Collector,
    running: &Running,
    work: impl FnOnce(&mut dyn Feed) -> R + Send,
) -> Option<R> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors < PROCESSORS_FOR_TWO {
        return Some(work(&mut Here { collector, running }));
    }
    let (sender, receiver) = crossbeam_channel::bounded::<Batch>(BATCHES);
    // Batches that were taken come back, so that their memory is used again.
    let (returned, reusable) = crossbeam_channel::bounded::<Batch>(BATCHES);
    let (ended, at_the_end) = crossbeam_channel::bounded::<Statistics>(1);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("present".into());
        let worker = builder.spawn_scoped(scope, move || {
            work(&mut Received {
                receiver,
                returned,
                at_the_end,
            })
        });
        let mut across = Across { sender, reusable };
        // Nobody takes it where that thread is gone.
        let _ = ended.send(collector.run(running, &mut across));
        drop(across);
        worker.ok().and_then(|worker| worker.join().ok())
    })
}

/// Collecting in the same thread.
struct Here<'a> {
    collector: &'a mut Collector,
    running: &'a Running,
}

impl Feed for Here<'_> {
    fn feed(&mut self, to: &mut dyn Downstream) -> Statistics {
        self.collector.run(self.running, to)
    }
}

/// What another thread collects.
struct Received {
    receiver: crossbeam_channel::Receiver<Batch>,
    returned: crossbeam_channel::Sender<Batch>,
    at_the_end: crossbeam_channel::Receiver<Statistics>,
}

impl Feed for Received {
    fn feed(&mut self, to: &mut dyn Downstream) -> Statistics {
        for mut batch in &self.receiver {
            to.take(&mut batch);
            let _ = self.returned.try_send(batch);
            if self.receiver.is_empty() {
                to.idle();
            }
        }
        // Sent before the last batch's way was closed; missing only if the collector panicked.
        self.at_the_end.try_recv().unwrap_or_default()
    }
}

/// The way to the other thread. One that is gone takes no batches; events are then read and thrown
/// away, so that the program goes on.
struct Across {
    sender: crossbeam_channel::Sender<Batch>,
    reusable: crossbeam_channel::Receiver<Batch>,
}

impl Downstream for Across {
    fn take(&mut self, batch: &mut Batch) {
        let empty = self.reusable.try_recv().unwrap_or_default();
        let _ = self.sender.send(std::mem::replace(batch, empty));
    }
    fn idle(&mut self) {}
}

impl Supervision for Running {
    fn take_exits(&self) -> Vec<(u32, Exit)> {
        Running::take_exits(self)
    }
    fn is_over(&self) -> bool {
        self.all_gone() || self.stop_requested()
    }
}

/// Who is told beside the outputs.
pub(super) struct Watch {
    /// The hooks, of their call sites.
    boards: Boards,
    /// The user, of what could not be traced.
    pub untraced: Untraced,
}

impl Judge for Watch {
    fn board(&self, image: ImageId) -> Option<usize> {
        self.boards.find(image)
    }
    fn judge(&self, board: usize, address: u64, epoch: u32, what: Verdict) {
        self.boards.judge(board, address, epoch, what);
    }
    fn notice(&mut self, item: &Item) {
        self.untraced.notice(item);
    }
    fn has_left(&self, image: ImageId) -> bool {
        self.untraced.has_left(image)
    }
}

/// Says what came of comparing stacks, where that was asked for. False if any was wrong.
pub(super) fn tell_stacks(statistics: &Statistics, first: Option<&StackDifference>) -> bool {
    let (verified, different) = (statistics.stacks_verified, statistics.stacks_different);
    if verified + different > 0 {
        messages::note(format!(
            "stacks verified: {verified}, differences: {different}"
        ));
    }
    let list = |frames: &[u64]| {
        let frames: Vec<String> = frames.iter().map(|frame| format!("{frame:#x}")).collect();
        frames.join(" ")
    };
    if let Some(first) = first {
        messages::error(
            format_args!("a stack of image {} is wrong", first.image),
            format_args!(
                "{} frames are as walked; reused: {}; walked: {}",
                first.same,
                list(&first.reused),
                list(&first.walked)
            ),
            Some("this is a fault of sntrace's; please report it"),
        );
    }
    different == 0
}

/// Tells what was not as it should be while events were collected.
pub(super) fn tell(statistics: &Statistics) {
    if statistics.lost_events > 0 {
        messages::warning(
            format!(
                "{} events were lost: their threads found neither a lane nor the pipe",
                statistics.lost_events
            ),
            None,
        );
    }
    if statistics.order.unseen > 0 {
        messages::note(format!(
            "{} blocks were given out again although their release was not seen",
            statistics.order.unseen
        ));
    }
    if statistics.impatient > 0 {
        messages::note(
            "a thread was stopped inside an event for long: its event may come late in the order",
        );
    }
    if statistics.damaged > 0 {
        messages::warning(
            match statistics.damaged {
                1 => "a lane or message was damaged by the program and not read further".to_owned(),
                many => {
                    format!(
                        "{many} lanes or messages were damaged by the program and not read further"
                    )
                }
            },
            None,
        );
    }
}

/// Tells which modules have no names because their file is another one now.
pub(super) fn tell_replaced<'a>(modules: impl Iterator<Item = &'a str>) {
    for module in modules {
        messages::warning(
            format!(
                "no names for '{}': the file was replaced after the program had loaded it",
                messages::printable(module)
            ),
            None,
        );
    }
}

/// Tells that nothing was seen where something was expected.
pub(super) fn tell_if_nothing(events: u64, statistics: &Statistics) {
    if events == 0 && statistics.images > 0 {
        messages::note(
            "no event was seen: the program allocates nothing, or has an allocator of its own linked into it",
        );
    }
}
