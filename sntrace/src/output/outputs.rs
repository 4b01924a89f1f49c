//! All outputs of a run as one.
//!
//! The run hands over every item in order; this keeps the processes' names and the [`Summary`],
//! asks the [`Filter`] and feeds the sinks. A sink that fails is let go: its error is reported
//! once, when it happens ([`Outputs::new_failures`]), and the events that it then misses are
//! counted for the end ([`Outputs::failures`]). The program and the other sinks go on.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Call, Filter, OutputError, Process, ProcessEnd, Sink, Summary, escape};
use crate::trace::{Event, ImageId, Item};

/// The sinks of a run, its filter and its totals.
#[derive(Default)]
pub struct Outputs {
    sinks: Vec<Slot>,
    filter: Option<Filter>,
    shown: u64,
    summary: Summary,
    /// Shared with `last`, so that two busy processes taking turns copy no strings.
    running: HashMap<ImageId, Arc<Process>>,
    /// The process of the last event: nearly always that of the next, too.
    last: Option<Arc<Process>>,
}

struct Slot {
    sink: Box<dyn Sink>,
    /// Why it is called no more.
    failure: Option<OutputError>,
    /// Whether that was handed out by [`Outputs::new_failures`].
    told: bool,
}

impl Slot {
    #[inline]
    fn tell(&mut self, what: impl FnOnce(&mut dyn Sink) -> Result<(), OutputError>) {
        if self.failure.is_none()
            && let Err(error) = what(self.sink.as_mut())
        {
            self.failure = Some(error);
        }
    }
}

impl Outputs {
    /// No sinks yet: the summary alone.
    #[must_use]
    pub fn new(filter: Option<Filter>) -> Outputs {
        Outputs {
            filter,
            ..Outputs::default()
        }
    }

    /// One more sink.
    pub fn add(&mut self, sink: impl Sink + 'static) {
        self.sinks.push(Slot {
            sink: Box::new(sink),
            failure: None,
            told: false,
        });
    }

    /// Whether any sink still takes events. Without one there is no need to name callers.
    #[must_use]
    pub fn wants_events(&self) -> bool {
        self.sinks.iter().any(|slot| slot.failure.is_none())
    }

    /// Whether nobody reads what is written: every sink's reader went away. Else an event that no sink
    /// takes is still to be given here, to be counted.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        let gone = |slot: &Slot| {
            slot.failure
                .as_ref()
                .is_some_and(OutputError::is_broken_pipe)
        };
        self.sinks.iter().all(gone)
    }

    /// An item that is no event. An event given here counts in the summary, but is not shown: it
    /// has no name.
    pub fn item(&mut self, item: &Item) {
        self.summary.item(item);
        match item {
            Item::Process {
                image,
                time_ns,
                pid,
                ppid,
                forked_from,
                executable,
                command,
            } => {
                let process = Process {
                    image: *image,
                    time_ns: *time_ns,
                    pid: *pid,
                    ppid: *ppid,
                    forked_from: *forked_from,
                    executable: escape::lossy(executable).into_owned(),
                    command: command
                        .iter()
                        .map(|word| escape::lossy(word).into_owned())
                        .collect(),
                };
                self.each(|sink| sink.process_begin(&process));
                self.running.insert(*image, Arc::new(process));
                self.last = None;
            }
            Item::ModuleAdd { image, module } => {
                if let Some(process) = self.running.get(image) {
                    for slot in &mut self.sinks {
                        slot.tell(|sink| sink.module_add(process, module));
                    }
                }
            }
            &Item::Ended {
                image,
                exit,
                live_blocks,
                live_bytes,
            } => {
                self.last = None;
                if let Some(process) = self.running.remove(&image) {
                    let end = ProcessEnd {
                        exit,
                        live_blocks,
                        live_bytes,
                    };
                    self.each(|sink| sink.process_end(&process, end));
                }
            }
            // No output speaks of the rest.
            _ => {}
        }
    }

    /// An event and who made it. The hot path.
    #[inline]
    pub fn event(&mut self, event: &Event, call: &Call<'_>) {
        self.summary.event(event);
        if self
            .last
            .as_ref()
            .is_none_or(|process| process.image != event.image)
        {
            self.last = Some(self.process_of(event));
        }
        let Some(process) = &self.last else { return };
        if let Some(filter) = &mut self.filter
            && !filter.matches(event, call, process)
        {
            return;
        }
        self.shown += 1;
        for slot in &mut self.sinks {
            match &mut slot.failure {
                None => slot.tell(|sink| sink.event(event, call, process)),
                Some(failure) => failure.lose(),
            }
        }
    }

    #[cold]
    fn process_of(&self, event: &Event) -> Arc<Process> {
        // An event of a process that was never announced is shown all the same, as one of pid 0.
        self.running.get(&event.image).cloned().unwrap_or_else(|| {
            Arc::new(Process {
                image: event.image,
                time_ns: event.time_ns,
                pid: 0,
                ppid: 0,
                forked_from: None,
                executable: String::new(),
                command: Vec::new(),
            })
        })
    }

    /// Lets everyone see what there is so far. Call it after each batch.
    pub fn flush(&mut self) {
        self.each(|sink| sink.flush());
    }

    /// The run is over; `dropped_events` as the collector counted them.
    pub fn finish(&mut self, dropped_events: u64) -> &Summary {
        self.summary.dropped_events = dropped_events;
        self.summary.shown_events = self.filter.is_some().then_some(self.shown);
        let Outputs { sinks, summary, .. } = self;
        for slot in sinks {
            slot.tell(|sink| sink.finish(summary));
        }
        summary
    }

    /// The totals so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Failures since the last call, to be told at once.
    pub fn new_failures(&mut self) -> impl Iterator<Item = &OutputError> {
        self.sinks.iter_mut().filter_map(|slot| {
            let told = std::mem::replace(&mut slot.told, slot.failure.is_some());
            if told { None } else { slot.failure.as_ref() }
        })
    }

    /// All failures, with everything that was lost by them.
    pub fn failures(&self) -> impl Iterator<Item = &OutputError> {
        self.sinks.iter().filter_map(|slot| slot.failure.as_ref())
    }

    /// The first failure, if there was any.
    #[must_use]
    pub fn into_failure(self) -> Option<OutputError> {
        self.sinks.into_iter().find_map(|slot| slot.failure)
    }

    fn each(&mut self, what: impl Fn(&mut dyn Sink) -> Result<(), OutputError>) {
        for slot in &mut self.sinks {
            slot.tell(&what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, Shared};
    use super::super::{LineOptions, Lines, Writer};
    use super::*;
    use crate::trace::{Exit, Op};
    use std::io::{self, Write};

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn begin(image: u32, pid: u32) -> Item {
        Item::Process {
            image: ImageId(image),
            time_ns: 0,
            pid,
            ppid: 1,
            forked_from: None,
            executable: b"/bin/p".to_vec(),
            command: vec![b"p".to_vec()],
        }
    }

    fn pids() -> LineOptions {
        LineOptions {
            pid: true,
            ..LineOptions::default()
        }
    }

    #[test]
    fn a_full_disk_stops_one_output_and_no_other() {
        let shared = Shared::default();
        let mut outputs = Outputs::new(None);
        outputs.add(Lines::new(Writer::new("'full'".into(), Full), pids()));
        outputs.add(Lines::new(shared.writer(), pids()));
        outputs.item(&begin(1, 10));
        let mut told = Vec::new();
        for _ in 0..3 {
            outputs.event(&samples::event(Op::Malloc), &samples::call(Op::Malloc));
            outputs.event(&samples::event(Op::Free), &samples::call(Op::Free));
            outputs.flush();
            told.push(
                outputs
                    .new_failures()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
        assert!(
            told[0][0].ends_with("; 2 events are missing there"),
            "{told:?}"
        );
        outputs.finish(0);
        let failures: Vec<String> = outputs.failures().map(ToString::to_string).collect();
        assert!(
            failures[0].ends_with("; 6 events are missing there"),
            "{failures:?}"
        );
        assert_eq!(failures.len(), 1);
        assert!(outputs.wants_events());
        assert_eq!(shared.text().lines().count(), 6);
    }

    #[test]
    fn each_event_goes_with_its_own_process() {
        let shared = Shared::default();
        let mut outputs = Outputs::new(None);
        outputs.add(Lines::new(shared.writer(), pids()));
        outputs.item(&begin(1, 10));
        outputs.item(&begin(2, 20));
        for image in [1, 2, 2, 1, 3] {
            let event = Event {
                image: ImageId(image),
                ..samples::event(Op::Free)
            };
            outputs.event(&event, &samples::call(Op::Free));
        }
        outputs.finish(0);
        let text = shared.text();
        let shown: Vec<&str> = text
            .lines()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(shown, ["10", "20", "20", "10", "0"]);
    }

    #[test]
    fn the_summary_is_of_the_whole_run_whatever_the_filter() {
        let shared = Shared::default();
        let mut outputs = Outputs::new(Some(Filter::parse("op=malloc").unwrap()));
        outputs.add(Lines::new(shared.writer(), LineOptions::default()));
        outputs.item(&begin(1, 10));
        for event in samples::one_of_each() {
            outputs.event(&event, &samples::call(event.op));
        }
        let ended = Item::Ended {
            image: ImageId(1),
            exit: Exit::Code(0),
            live_blocks: 4,
            live_bytes: 5,
        };
        outputs.item(&ended);
        let summary = outputs.finish(3).clone();
        assert_eq!(shared.text().lines().count(), 1);
        assert_eq!(summary.events, samples::one_of_each().count() as u64);
        assert_eq!((summary.shown_events, summary.dropped_events), (Some(1), 3));
        assert_eq!((summary.leaked_allocations, summary.leaked_bytes), (4, 5));
    }
}
