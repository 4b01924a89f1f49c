//! When processes begin and end, between the events of a document.
//!
//! Rows of `processes` say so ([`crate::output::json`]): after how many events, and for an end, after how
//! many beginnings. Where a row has no `first_event`, the document is older than that key: then
//! processes begin by the clock, and end where another program takes their place or the document ends. That
//! is right for all but what a child inherits and when most was live.

use std::collections::BTreeSet;

use super::rows::ProcessRow;
use crate::symbolize::hash::AddressMap;
use crate::trace::{ImageId, Item, Module};

/// A beginning or an end of the process in this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin(u32),
    End(u32),
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    /// Before the event with this index; by the clock: at this time.
    due: u64,
    /// Among those at one place.
    order: u64,
    step: Step,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    steps: Vec<Planned>,
    by_clock: bool,
    /// By row.
    processes: Vec<ProcessRow>,
    /// By row, of `processes` too: those that it has mapped.
    modules: Vec<Vec<Module>>,
}

impl Schedule {
    /// Of all rows. `Err`: what is wrong about one.
    pub fn new(
        processes: Vec<ProcessRow>,
        modules: Vec<(u64, Module)>,
    ) -> Result<Schedule, String> {
        let rows = u32::try_from(processes.len())
            .ok()
            // Images count from 1, and those of unknown processes come behind.
            .filter(|rows| *rows < u32::MAX / 2)
            .ok_or("it has more processes than fit into memory")?;
        let mut by_row = vec![Vec::new(); processes.len()];
        for (row, module) in modules {
            let of = usize::try_from(row)
                .ok()
                .and_then(|row| by_row.get_mut(row));
            of.ok_or("a module's process is no row of 'processes'")?
                .push(module);
        }
        let by_clock = processes.iter().any(|row| row.first_event.is_none());
        let mut steps = Vec::with_capacity(processes.len() * 2);
        for (at, row) in (0..rows).zip(&processes) {
            if row.forked_from.is_some_and(|from| from >= u64::from(rows)) {
                return Err("what a process was forked from is no row of 'processes'".into());
            }
            let begin = Planned {
                due: row.first_event.unwrap_or(0),
                // Ends come between the beginnings.
                order: u64::from(at) * 2 + 1,
                step: Step::Begin(at),
            };
            if by_clock {
                steps.push(Planned {
                    due: row.start_ns,
                    ..begin
                });
                continue;
            }
            steps.push(begin);
            let Some(due) = row.end_event else { continue };
            let order = row.end_row.unwrap_or(u64::from(rows)).saturating_mul(2);
            if (due, order) < (begin.due, begin.order) {
                return Err("a process ends before it begins".into());
            }
            steps.push(Planned {
                due,
                order,
                step: Step::End(at),
            });
        }
        steps.sort_by_key(|planned| (planned.due, planned.order));
        Ok(Self {
            steps,
            by_clock,
            processes,
            modules: by_row,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.processes.len()
    }

    fn begin(&self, row: u32, each: &mut dyn FnMut(&Item)) {
        let Some(process) = self.processes.get(row as usize) else {
            return;
        };
        let bytes = |text: &String| text.clone().into_bytes();
        each(&Item::Process {
            image: image_of(row),
            time_ns: process.start_ns,
            pid: process.pid,
            ppid: process.ppid,
            // In range, as was looked at before.
            forked_from: process.forked_from.map(|from| image_of(from as u32)),
            executable: bytes(&process.executable),
            command: process.command.iter().map(bytes).collect(),
        });
        for module in self.modules.get(row as usize).into_iter().flatten() {
            each(&Item::ModuleAdd {
                image: image_of(row),
                module: module.clone(),
            });
        }
    }

    fn end(&self, row: u32, each: &mut dyn FnMut(&Item)) {
        let Some(process) = self.processes.get(row as usize) else {
            return;
        };
        each(&Item::Ended {
            image: image_of(row),
            exit: process.exit(),
            live_blocks: process.live_blocks,
            live_bytes: process.live_bytes,
        });
    }
}

/// The image in a row.
pub(super) fn image_of(row: u32) -> ImageId {
    ImageId(row.saturating_add(1))
}

/// A replay as far as processes are concerned.
#[derive(Debug)]
pub(super) struct Running<'s> {
    schedule: &'s Schedule,
    /// How many steps have been made.
    made: usize,
    /// When the next one is due, by events or by the clock; beyond all where there is none.
    due: u64,
    /// By process id, the rows that run; they stand in the order of their beginnings.
    rows: AddressMap<u32, BTreeSet<u32>>,
    /// By process id, images of processes that have no row.
    unknown: AddressMap<u32, ImageId>,
    /// What was found last.
    last: Option<(u32, ImageId)>,
}

impl<'s> Running<'s> {
    pub fn new(schedule: &'s Schedule) -> Self {
        Self {
            schedule,
            made: 0,
            due: schedule.steps.first().map_or(u64::MAX, |first| first.due),
            rows: AddressMap::default(),
            unknown: AddressMap::default(),
            last: None,
        }
    }

    /// Hands out what comes before the event with this index and time.
    #[inline]
    pub fn before(&mut self, event: u64, time_ns: u64, each: &mut dyn FnMut(&Item)) {
        let now = match self.schedule.by_clock {
            true => time_ns,
            false => event,
        };
        if self.due <= now {
            self.steps(now, each);
        }
    }

    /// Hands out what comes after the last event.
    pub fn finish(mut self, each: &mut dyn FnMut(&Item)) {
        self.steps(u64::MAX, each);
        if self.schedule.by_clock {
            let mut left: Vec<u32> = self.rows.into_values().flatten().collect();
            left.sort_unstable();
            for row in left {
                let process = self.schedule.processes.get(row as usize);
                if process.is_some_and(|process| process.exit.is_some()) {
                    self.schedule.end(row, each);
                }
            }
        }
    }

    #[cold]
    fn steps(&mut self, now: u64, each: &mut dyn FnMut(&Item)) {
        self.last = None;
        while let Some(planned) = self.schedule.steps.get(self.made)
            && planned.due <= now
        {
            match planned.step {
                Step::Begin(row) => self.begin(row, each),
                Step::End(row) => {
                    let pid = self.schedule.processes[row as usize].pid;
                    if let Some(rows) = self.rows.get_mut(&pid) {
                        rows.remove(&row);
                    }
                    self.schedule.end(row, each);
                }
            }
            self.made += 1;
        }
        let next = self.schedule.steps.get(self.made);
        self.due = next.map_or(u64::MAX, |next| next.due);
    }

    fn begin(&mut self, row: u32, each: &mut dyn FnMut(&Item)) {
        let pid = self.schedule.processes[row as usize].pid;
        let rows = self.rows.entry(pid).or_default();
        if self.schedule.by_clock {
            for before in std::mem::take(rows) {
                self.schedule.end(before, each);
            }
        }
        rows.insert(row);
        self.schedule.begin(row, each);
    }

    /// The image of an event that tells this of its process. `None`: there is no such row.
    #[inline]
    pub fn image(&mut self, pid: u32, process: Option<u64>) -> Option<ImageId> {
        if let Some(row) = process {
            let known = row < self.schedule.rows() as u64;
            return known.then(|| image_of(row as u32));
        }
        match self.last {
            Some((last, image)) if last == pid => Some(image),
            _ => Some(self.find(pid)),
        }
    }

    #[cold]
    fn find(&mut self, pid: u32) -> ImageId {
        let running = self.rows.get(&pid).and_then(|rows| rows.last());
        let image = match running {
            Some(&row) => image_of(row),
            None => {
                let next = self.schedule.rows() + self.unknown.len();
                let next = image_of(u32::try_from(next).unwrap_or(u32::MAX));
                *self.unknown.entry(pid).or_insert(next)
            }
        };
        self.last = Some((pid, image));
        image
    }
}
