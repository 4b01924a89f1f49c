//! The main job on Linux: everything is opened before the program starts, so that what can't
//! work fails early; then the events are collected and presented.

use std::io::IsTerminal as _;
use std::sync::Arc;

use super::TraceOptions;
use crate::cli::exit_status;
use crate::cli::options::{Destination, Stacks};
use crate::cli::run::{self, Run, Watch};
use crate::collect::{Downstream, Statistics};
use crate::launch::Untraced;
use crate::messages;
use crate::output::{Filter, Json, JsonLines, LineOptions, Lines, Outputs, Writer, escape};
use crate::present::{Naming, Presenter};
use crate::symbolize::Locator;
use crate::trace::{Batch, Header};

/// Traces the program and returns sntrace's exit status.
pub(in crate::cli) fn run_trace(options: &TraceOptions) -> u8 {
    trace(options).unwrap_or_else(|status| status)
}

/// As [`run_trace`]; errors have been reported and are the exit status.
fn trace(options: &TraceOptions) -> Result<u8, u8> {
    let program = Run::find(&options.run)?;
    let outputs = open_outputs(options)?;
    let run = Run::prepare(program, &options.run, options.hook_options())?;
    let started = run.start(&options.run)?;
    let (mut collector, watch, ran) = started.split();

    let naming = match (options.stacks, options.raw_callers) {
        (Stacks::None, _) => Naming::None,
        (_, true) => Naming::Raw,
        _ => Naming::PastWrappers,
    };
    let finished = run::collect(&mut collector, ran.running(), |feed| {
        let locator = Locator::default();
        let mut presenter = Presenter::new(&locator, naming, watch, outputs);
        if options.stacks == Stacks::Full {
            presenter = presenter.with_full_stacks();
        }
        let statistics = feed.feed(&mut presenter);
        (statistics, Finished::of(presenter))
    });
    let (statistics, mut clean) = match finished {
        Some((statistics, finished)) => (statistics, finished.report(options, &statistics)),
        None => (Statistics::default(), false),
    };
    clean &= run::tell_stacks(&statistics, collector.first_difference());
    Ok(ran.status(&options.run, &statistics, clean))
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
    let colour = options.color.colour(on_terminal);
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
            .run
            .command
            .iter()
            .map(|word| escape::lossy(word.as_encoded_bytes()).into_owned());
        let header = Header::now(words.collect());
        let sink =
            open(destination).and_then(|writer| Json::new(writer, &header, &options.recorded()));
        outputs.add(sink.map_err(failed)?);
    }
    if let Some(destination) = &options.jsonl {
        outputs.add(JsonLines::new(open(destination).map_err(failed)?));
    }
    Ok(outputs)
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
        run::tell_replaced(self.replaced.iter().map(|module| &**module));
        if !options.run.quiet {
            for (warning, _) in self.untraced.findings() {
                messages::warning(&warning.message, warning.hint.as_deref());
            }
        }
        run::tell(statistics);
        if let Some((message, hint)) = self.outputs.summary().warning() {
            messages::warning(message, Some(hint));
        }
        run::tell_if_nothing(self.outputs.summary().events, statistics);
        if !options.run.quiet && statistics.images > 0 && std::io::stderr().is_terminal() {
            eprint!("{}", self.outputs.summary().text());
        }
        clean
    }
}
