//! From ordered events to a trace file.
//!
//! A [`Recorder`] stands where the main job has its presenter. It turns each event's return addresses
//! into a stack of places, writes down what is new of them, and the event. It names nothing until the
//! program is over ([`Recorder::finish`]): the program may have to wait for it.
//!
//! A file that takes no more (a full disk) is let go: what was written stays readable, what is
//! missing is counted, the program goes on.
//!
//! Nothing here depends on the operating system.

mod generated;
mod names;
mod paths;
mod places;
mod steps;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;

use crate::output::Summary;
use crate::output::escape;
use crate::present::Judge;
use crate::symbolize::{Frame, Locator, ModuleMap, Symbolizer};
use crate::trace::file::TraceWriter;
use crate::trace::{
    Batch, Certificate, Event, Exit, FileNumber, Header, ImageId, Item, Module, SiteId, StackId,
    StackNode, TracedFile,
};
use names::Names;
use paths::{Grow, Paths};
use places::Define;
use steps::Steps;

/// How many ended images' modules are kept, for children that were forked from them and have not
/// spoken yet.
const ENDED_MAX: usize = 1024;

/// How far ahead items are announced to the writer: as many as are worked through while memory answers.
const LEAD: usize = 6;

struct Image {
    modules: ModuleMap,
    pid: u32,
}

/// See the module.
pub struct Recorder<'f, W: Write, J> {
    output: Output<W>,
    paths: Paths,
    steps: Steps,
    symbolizer: Symbolizer<'f>,
    images: HashMap<ImageId, Image>,
    /// The image of the last event, kept out of the table: nearly all events come in runs.
    current: Option<(ImageId, Image)>,
    /// Images that have ended, whose modules are still kept; the oldest first.
    ended: VecDeque<ImageId>,
    names: Names,
    summary: Summary,
    truncated: u64,
    judge: J,
}

/// The file while it takes what it is given.
struct Output<W: Write> {
    writer: TraceWriter<W>,
    failure: Option<io::Error>,
    /// Events that were not written.
    lost: u64,
}

impl<W: Write> Output<W> {
    #[inline]
    fn write(&mut self, what: impl FnOnce(&mut TraceWriter<W>) -> io::Result<()>) {
        if self.failure.is_none()
            && let Err(error) = what(&mut self.writer)
        {
            self.failure = Some(error);
        }
    }
}

impl<W: Write> Define for Output<W> {
    fn file(&mut self, module: &Module) {
        let file = TracedFile {
            path: escape::lossy(&module.path).into_owned(),
            build_id: module.build_id.clone(),
        };
        self.write(|writer| writer.define_file(&file));
    }
    fn site(&mut self, file: Option<FileNumber>, address: u64) {
        self.write(|writer| writer.define_site(file, address));
    }
    #[cold]
    fn stack(&mut self, node: StackNode) {
        self.write(|writer| writer.define_stack(node));
    }
}

/// The stacks of an image's events, while they grow.
struct Growing<'a, W: Write> {
    image: ImageId,
    modules: &'a ModuleMap,
    steps: &'a mut Steps,
    output: &'a mut Output<W>,
}

impl<W: Write> Grow for Growing<'_, W> {
    #[inline(always)]
    fn step(&mut self, parent: StackId, address: u64) -> (SiteId, StackId) {
        let within = (self.image, self.modules);
        self.steps.take(within, parent, address, self.output)
    }
    fn under(&mut self, parent: StackId, site: SiteId) -> StackId {
        self.steps.under(parent, site, self.output)
    }
}

/// What a recording leaves.
pub struct Recorded {
    /// The totals.
    pub summary: Summary,
    /// What the trace vouches for, as it stands in the file.
    pub certificate: Certificate,
    /// Why the file is not whole, and how many events are missing in it.
    pub failure: Option<(io::Error, u64)>,
    /// Paths of modules whose file was replaced while they were mapped: without names.
    pub replaced: Vec<Arc<str>>,
}

impl<'f, W: Write, J: Judge> Recorder<'f, W, J> {
    /// Writes to `output`; names, at the end, by `locator`'s files.
    ///
    /// # Errors
    /// When not even the head can be written.
    pub fn new(
        output: W,
        header: &Header,
        recorded: &crate::trace::Recorded,
        locator: &'f Locator,
        judge: J,
    ) -> io::Result<Self> {
        Ok(Self {
            output: Output {
                writer: TraceWriter::new(output, header, recorded)?,
                failure: None,
                lost: 0,
            },
            paths: Paths::default(),
            steps: Steps::default(),
            symbolizer: Symbolizer::new(locator),
            images: HashMap::new(),
            current: None,
            ended: VecDeque::new(),
            names: Names::default(),
            summary: Summary::default(),
            truncated: 0,
            judge,
        })
    }

    /// Records a batch. Its events get their stacks on the way.
    pub fn batch(&mut self, batch: &mut Batch) {
        let Batch { items, frames } = batch;
        for at in 0..items.len() {
            if let Some(next) = items.get(at + LEAD) {
                self.output.writer.expect(next);
            }
            let item = &mut items[at];
            match &mut *item {
                Item::Event(event) => {
                    let (start, end) = event.frames;
                    let words = frames.get(start as usize..end as usize).unwrap_or(&[]);
                    event.stack = self.stack_of(event, words);
                    self.truncated += u64::from(event.truncated);
                    self.summary.event(event);
                    if self.output.failure.is_some() {
                        self.output.lost += 1;
                        continue;
                    }
                }
                other => self.other(other),
            }
            self.output.write(|writer| writer.item(item));
        }
    }

    /// Why the file takes no more, if it doesn't.
    #[must_use]
    pub fn failure(&self) -> Option<&io::Error> {
        self.output.failure.as_ref()
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.summary.events
    }

    /// Who is told beside the file.
    pub fn judge(&mut self) -> &mut J {
        &mut self.judge
    }

    #[inline(always)]
    fn stack_of(&mut self, event: &Event, words: &[u64]) -> StackId {
        self.image(event.image);
        let Some((image, Image { modules, .. })) = &self.current else {
            return StackId::EMPTY;
        };
        let mut growing = Growing {
            image: *image,
            modules,
            steps: &mut self.steps,
            output: &mut self.output,
        };
        let beyond = self.paths.beyond(words, event.truncated, &mut growing);
        growing.step(beyond, event.caller).1
    }

    #[inline]
    fn image(&mut self, id: ImageId) -> &mut Image {
        let known = self
            .current
            .as_ref()
            .is_some_and(|(current, _)| *current == id);
        if !known {
            self.change_image(id);
        }
        match &mut self.current {
            Some((_, image)) => image,
            None => unreachable!("set above"),
        }
    }

    #[cold]
    fn change_image(&mut self, id: ImageId) {
        if let Some((old, image)) = self.current.take() {
            self.images.insert(old, image);
        }
        let image = self.images.remove(&id).unwrap_or_else(|| Image {
            modules: self.symbolizer.new_map(),
            pid: 0,
        });
        self.current = Some((id, image));
    }

    fn other(&mut self, item: &mut Item) {
        match item {
            Item::Process {
                image,
                pid,
                forked_from,
                ..
            } => {
                // A child maps what its parent mapped.
                let inherited = forked_from.map(|parent| self.image(parent).modules.clone());
                let own = self.image(*image);
                own.pid = *pid;
                if let Some(modules) = inherited {
                    own.modules = modules;
                }
                self.names.process(*image, *pid);
            }
            Item::Stack { lane, kept, frames } => {
                self.paths.change(*lane, *kept, frames);
            }
            Item::ModuleAdd { image, module } => self.image(*image).modules.add(module.clone()),
            Item::ModuleRemove { image, start } => self.image(*image).modules.remove(*start),
            Item::Ended { image, exit, .. } => {
                // Its status is the other program's, and its blocks are gone with it.
                if self.judge.has_left(*image) {
                    *exit = Exit::Exec;
                }
                self.ended.push_back(*image);
                if self.ended.len() > ENDED_MAX
                    && let Some(oldest) = self.ended.pop_front()
                {
                    self.image(oldest);
                    self.current = None;
                }
            }
            _ => {}
        }
        self.summary.item(item);
        self.judge.notice(item);
    }

    /// The run is over: names every place, and ends the file. `certificate`: what is known of the run besides what
    /// was recorded.
    #[must_use]
    pub fn finish(mut self, certificate: Certificate, dropped_events: u64) -> Recorded {
        // The first site is where a stack was cut, which has no name.
        let mut names: Vec<Arc<[Frame]>> = vec![Arc::default()];
        names.extend(
            self.names
                .all(self.steps.places().all(), &mut self.symbolizer),
        );
        self.summary.dropped_events = dropped_events;
        let replaced = self.symbolizer.replaced().to_vec();
        let certificate = Certificate {
            events: self.summary.events - self.output.lost,
            dropped_events: dropped_events + self.output.lost,
            truncated_stacks: self.truncated,
            broken_debug_info: self.symbolizer.given_up(),
            unnamed_sites: names
                .iter()
                .skip(1)
                .filter(|frames| frames.is_empty())
                .count() as u64,
            replaced_modules: replaced.iter().map(|path| path.to_string()).collect(),
            complete: self.output.failure.is_none(),
            ..certificate
        };
        let Output {
            writer,
            mut failure,
            lost,
        } = self.output;
        if failure.is_none()
            && let Err(error) = writer.finish(&names, &certificate)
        {
            failure = Some(error);
        }
        Recorded {
            summary: self.summary,
            certificate,
            failure: failure.map(|error| (error, lost)),
            replaced,
        }
    }
}
