//! The main job on Linux: everything is opened before the program starts, so that what can't
//! work fails early; then the events are collected and presented, by two threads where there are
//! processors for them, and a third stands beside the program.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use sntrace_format::env::{OptionBits, RUN_VARIABLE, RunAddress};
use sntrace_format::layout::SEGMENT_BYTES;

use super::TraceOptions;
use crate::cli::exit_status;
use crate::cli::options::{ColorChoice, Destination, Overflow, Stacks, Transport};
use crate::collect::pipe::PipeReader;
use crate::collect::segment::Segment;
use crate::collect::ticks::Clock;
use crate::collect::{
    Boards, Collector, Downstream, StackDepth, StackDifference, Statistics, Supervision,
};
use crate::launch::{self, Launch, Program, RunDirectory, Running, Untraced};
use crate::messages;
use crate::output::{
    Colour, Filter, Header, Json, JsonLines, LineOptions, Lines, Outputs, Writer, escape,
};
use crate::present::{Judge, Naming, Presenter};
use crate::symbolize::Locator;
use crate::trace::{Batch, Exit, ImageId, Item};

/// Batches on their way from the collector to the presenter: enough to ride out a slow write.
const BATCHES: usize = 8;
/// With `1`, full stacks are verified.
const VERIFY_VARIABLE: &str = "SNTRACE_VERIFY_STACKS";
/// From so many processors on, collecting and presenting are two threads. With fewer, a second
/// one would only take a processor from the program.
const PROCESSORS_FOR_TWO: usize = 4;

/// Traces the program and returns sntrace's exit status.
pub(in crate::cli) fn run_trace(options: &TraceOptions) -> u8 {
    trace(options).unwrap_or_else(|status| status)
}

/// As [`run_trace`]; errors have been reported and are the exit status.
fn trace(options: &TraceOptions) -> Result<u8, u8> {
    let program = find(options)?;
    let own_environment = launch::environment::unchanged();
    if let Some(sanitizer) = launch::environment::preloaded_sanitizer(&own_environment) {
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
    let outputs = open_outputs(options)?;
    let mut run = Run::prepare(options)?;
    let environment =
        launch::environment::with_hook(own_environment, &run.directory.hook(), &run.address());
    let launch = Launch {
        program: &program,
        command: &options.command,
        environment: &environment,
        follow: options.follow,
    };
    let depth = if options.stacks == Stacks::Full {
        StackDepth::Full
    } else {
        StackDepth::Callers
    };
    let mut collector = Collector::new(run.segment.clone(), run.pipe.take(), run.clock, depth);
    let watch = Watch {
        boards: collector.boards(),
        untraced: Untraced::default(),
    };
    let waker = run.segment.clone();
    let running = launch::start(&launch, move || {
        if let Some(segment) = &waker {
            segment.wake();
        }
    });
    let running = running.map_err(|error| {
        messages::failure(&error, None);
        error.exit_status()
    })?;

    let naming = match (options.stacks, options.raw_callers) {
        (Stacks::None, _) => Naming::None,
        (_, true) => Naming::Raw,
        _ => Naming::PastWrappers,
    };
    let plan = Presentation {
        depth,
        naming,
        watch,
        outputs,
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (statistics, finished) = if processors < PROCESSORS_FOR_TWO {
        let locator = Locator::default();
        let mut presenter = plan.presenter(&locator);
        let statistics = collector.run(&running, &mut presenter);
        (statistics, Some(Finished::of(presenter)))
    } else {
        in_two_threads(&mut collector, &running, plan)
    };
    let mut clean = finished.is_some_and(|finished| finished.report(options, &statistics));
    if verifies_stacks(options) {
        clean &= report_stacks(&statistics, collector.first_difference());
    }
    if !running.all_gone() {
        // Processes that go on untraced still load the hook when they start others.
        run.directory.leave_behind();
    }
    Ok(status(
        options,
        &running,
        &statistics,
        clean,
        !program.warnings.is_empty(),
    ))
}

/// What a presenter is made of, on its way to the thread that has the locator.
struct Presentation {
    depth: StackDepth,
    naming: Naming,
    watch: Watch,
    outputs: Outputs,
}

impl Presentation {
    fn presenter(self, locator: &Locator) -> Presenter<'_, Watch> {
        let presenter = Presenter::new(locator, self.naming, self.watch, self.outputs);
        match self.depth {
            StackDepth::Callers => presenter,
            StackDepth::Full => presenter.with_full_stacks(),
        }
    }
}

/// Collects here and presents in a thread of its own.
fn in_two_threads(
    collector: &mut Collector,
    running: &Running,
    plan: Presentation,
) -> (Statistics, Option<Finished>) {
    let (sender, receiver) = crossbeam_channel::bounded::<Batch>(BATCHES);
    // Batches that were presented come back, so that their memory is used again.
    let (returned, reusable) = crossbeam_channel::bounded::<Batch>(BATCHES);
    std::thread::scope(|scope| {
        let presenting = std::thread::Builder::new().name("present".into());
        let presenter = presenting.spawn_scoped(scope, move || {
            let locator = Locator::default();
            let mut presenter = plan.presenter(&locator);
            for mut batch in &receiver {
                presenter.take(&mut batch);
                let _ = returned.try_send(batch);
                if receiver.is_empty() {
                    presenter.idle();
                }
            }
            Finished::of(presenter)
        });
        let mut across = Across { sender, reusable };
        let statistics = collector.run(running, &mut across);
        drop(across);
        (
            statistics,
            presenter.ok().and_then(|presenter| presenter.join().ok()),
        )
    })
}

/// The way to the presenting thread. One that is gone takes no batches; events are then read and
/// thrown away, so that the program goes on.
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

impl Downstream for Presenter<'_, Watch> {
    fn take(&mut self, batch: &mut Batch) {
        self.batch(batch);
        batch.clear();
        for failure in self.outputs().new_failures() {
            // The count of what is lost comes at the end.
            messages::note(format!("{failure} so far; the program goes on"));
        }
    }
    fn idle(&mut self) {
        self.outputs().flush();
    }
}

/// Whether every stack is compared with one that is walked anew: for who works on the hook.
fn verifies_stacks(options: &TraceOptions) -> bool {
    options.stacks == Stacks::Full
        && std::env::var_os(VERIFY_VARIABLE).is_some_and(|value| value == "1")
}

/// Says what came of comparing the stacks. False if any was wrong.
fn report_stacks(statistics: &Statistics, first: Option<&StackDifference>) -> bool {
    messages::note(format!(
        "stacks verified: {}, differences: {}",
        statistics.stacks_verified, statistics.stacks_different
    ));
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
    statistics.stacks_different == 0
}

fn status(
    options: &TraceOptions,
    running: &Running,
    statistics: &Statistics,
    clean: bool,
    warned: bool,
) -> u8 {
    if statistics.images == 0 {
        // What kept the hook out has been said already where it was known beforehand.
        let hint = match running.program_exit() {
            _ if warned => "nothing that it started could be traced either",
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
            format!("cannot trace '{name}': the hook never started in it, so nothing was recorded"),
            Some(hint),
        );
        return exit_status::SNTRACE_FAILED;
    }
    if !clean {
        return exit_status::SNTRACE_FAILED;
    }
    running
        .program_exit()
        .map_or(exit_status::SNTRACE_FAILED, exit_status::of_program)
}

/// PROGRAM, if it can be traced; else says why not and returns the exit status.
fn find(options: &TraceOptions) -> Result<Program, u8> {
    let search_path = std::env::var_os("PATH");
    let program = launch::inspect(&options.command[0], search_path.as_deref());
    let program = program.map_err(|error| {
        messages::failure(&error, error.hint().as_deref());
        error.exit_status()
    })?;
    for warning in &program.warnings {
        messages::warning(&warning.message, warning.hint.as_deref());
    }
    Ok(program)
}

/// Opens every output. Fails before the program starts.
fn open_outputs(options: &TraceOptions) -> Result<Outputs, u8> {
    let filter = match &options.filter {
        Some(expression) => Some(Filter::parse(expression).map_err(|error| {
            messages::failure(&error, None);
            exit_status::USAGE
        })?),
        None => None,
    };
    let failed = |error: crate::output::OutputError| {
        messages::failure(&error, error.hint());
        exit_status::SNTRACE_FAILED
    };
    let open = |destination: &Destination| match destination {
        Destination::Stdout => Ok(Writer::stdout()),
        Destination::File(path) => Writer::open(path),
    };
    let mut outputs = Outputs::new(filter);
    let (writer, on_terminal) = match &options.output {
        None => (Writer::stderr(), std::io::stderr().is_terminal()),
        Some(Destination::Stdout) => (Writer::stdout(), std::io::stdout().is_terminal()),
        Some(destination) => (open(destination).map_err(failed)?, false),
    };
    let colour = match options.color {
        ColorChoice::Always => Colour::Ansi,
        ColorChoice::Auto if on_terminal => Colour::Ansi,
        ColorChoice::Auto | ColorChoice::Never => Colour::Plain,
    };
    let fields = options.fields;
    outputs.add(Lines::new(
        writer,
        LineOptions {
            timestamps: fields.timestamps,
            pid: fields.pid,
            tid: fields.tid,
            locations: fields.locations,
            colour,
        },
    ));
    if let Some(destination) = &options.json {
        let words = options
            .command
            .iter()
            .map(|word| escape::lossy(word.as_encoded_bytes()).into_owned());
        let header = Header::now(words.collect());
        let sink = open(destination).and_then(|writer| Json::new(writer, &header));
        outputs.add(sink.map_err(failed)?);
    }
    if let Some(destination) = &options.jsonl {
        outputs.add(JsonLines::new(open(destination).map_err(failed)?));
    }
    Ok(outputs)
}

/// What a run stands on: the hook's folder, the segment, the pipe.
struct Run {
    directory: RunDirectory,
    segment: Option<Arc<Segment>>,
    pipe: Option<PipeReader>,
    clock: Clock,
    options: OptionBits,
}

impl Run {
    fn prepare(options: &TraceOptions) -> Result<Self, u8> {
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
        let mut bits = OptionBits::default();
        for (wanted, bit) in [
            (
                options.raw_callers || options.stacks == Stacks::None,
                OptionBits::RAW_CALLERS,
            ),
            (options.stacks == Stacks::Full, OptionBits::FULL_STACKS),
            (verifies_stacks(options), OptionBits::VERIFY_STACKS),
            (options.mmap, OptionBits::MMAP),
            (
                options.overflow == Overflow::Drop,
                OptionBits::OVERFLOW_DROP,
            ),
            (!options.follow, OptionBits::NO_FOLLOW),
            (clock == Clock::Monotonic, OptionBits::CLOCK_MONOTONIC),
        ] {
            if wanted {
                bits = bits.with(bit);
            }
        }
        Ok(Self {
            directory,
            segment,
            pipe,
            clock,
            options: bits,
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

impl Supervision for Running {
    fn take_exits(&self) -> Vec<(u32, Exit)> {
        Running::take_exits(self)
    }
    fn is_over(&self) -> bool {
        self.all_gone() || self.stop_requested()
    }
}

/// What the presenter tells beside the outputs.
struct Watch {
    /// The hooks, of their call sites.
    boards: Boards,
    /// The user, of what could not be traced.
    untraced: Untraced,
}

impl Judge for Watch {
    fn board(&self, image: ImageId) -> Option<usize> {
        self.boards.find(image)
    }
    fn judge(
        &self,
        board: usize,
        address: u64,
        epoch: u32,
        what: sntrace_format::verdict::Verdict,
    ) {
        self.boards.judge(board, address, epoch, what);
    }
    fn notice(&mut self, item: &Item) {
        self.untraced.notice(item);
    }
    fn has_left(&self, image: ImageId) -> bool {
        self.untraced.has_left(image)
    }
}

/// What the presenting thread leaves.
struct Finished {
    outputs: Outputs,
    replaced: Vec<Arc<str>>,
    untraced: Untraced,
}

impl Finished {
    fn of(presenter: Presenter<'_, Watch>) -> Self {
        let replaced = presenter.notes().replaced_modules;
        let (outputs, watch) = presenter.into_parts();
        Self {
            outputs,
            replaced,
            untraced: watch.untraced,
        }
    }

    /// Finishes the outputs and tells what there is to tell. False if any of it failed.
    fn report(mut self, options: &TraceOptions, statistics: &Statistics) -> bool {
        self.outputs.finish(statistics.dropped_events);
        let mut clean = true;
        for failure in self.outputs.failures() {
            clean = false;
            messages::failure(failure, failure.hint());
        }
        for module in &self.replaced {
            messages::warning(
                format!(
                    "no names for '{}': the file was replaced after the program had loaded it",
                    messages::printable(module)
                ),
                None,
            );
        }
        if !options.quiet {
            for warning in self.untraced.warnings() {
                messages::warning(&warning.message, warning.hint.as_deref());
            }
        }
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
                format!(
                    "{} lanes or messages were damaged by the program and not read further",
                    statistics.damaged
                ),
                None,
            );
        }
        if let Some((message, hint)) = self.outputs.summary().warning() {
            messages::warning(message, Some(hint));
        }
        let events = self.outputs.summary().events;
        if events == 0 && statistics.images > 0 {
            messages::note(
                "no event was seen: the program allocates nothing, or has an allocator of its own linked into it",
            );
        }
        if !options.quiet && statistics.images > 0 && std::io::stderr().is_terminal() {
            eprint!("{}", self.outputs.summary().text());
        }
        clean
    }
}
