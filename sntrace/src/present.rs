//! From ordered items to outputs: keeps each image's modules, names each event's caller, tells
//! the hooks what was found out about their call sites.
//!
//! Works on any finished or running trace: it knows nothing of lanes or operating systems. Where
//! verdicts go is behind [`Judge`].

use std::collections::{HashMap, VecDeque};

use sntrace_format::verdict::Verdict;

use crate::output::{Call, Outputs};
use crate::symbolize::{CallerFinder, Locator, ModuleMap};
use crate::trace::lanes::LaneStacks;
use crate::trace::{Batch, Event, Exit, ImageId, Item};

/// Takes what is found out about call sites.
pub trait Judge {
    /// Where verdicts of this image go, if anywhere.
    fn board(&self, image: ImageId) -> Option<usize>;
    /// The call site is what it is, in this epoch of the image's address space.
    fn judge(&self, board: usize, address: u64, epoch: u32, what: Verdict);
    /// Something that is no event.
    fn notice(&mut self, item: &Item) {
        let _ = item;
    }
    /// Whether another program took an image's place, of which nothing was heard.
    fn has_left(&self, image: ImageId) -> bool {
        let _ = image;
        false
    }
}

/// Nobody to tell: a trace from a file, or a run without shared memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJudge;

impl Judge for NoJudge {
    fn board(&self, _: ImageId) -> Option<usize> {
        None
    }
    fn judge(&self, _: usize, _: u64, _: u32, _: Verdict) {}
}

/// How callers are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The first function that is no wrapper.
    PastWrappers,
    /// The direct caller.
    Raw,
    /// Not at all.
    None,
}

struct Image {
    modules: ModuleMap,
    epoch: u32,
    board: Option<usize>,
}

/// How many ended images' modules are kept, a few kilobytes each, for children that were forked
/// from them and have not spoken yet.
const ENDED_MAX: usize = 1024;

/// See the module.
pub struct Presenter<'f, J> {
    finder: CallerFinder<'f>,
    images: HashMap<ImageId, Image>,
    /// The image of the last event, kept out of the table: nearly all events come in runs.
    current: Option<(ImageId, Image)>,
    /// Images that have ended, whose modules are still kept; the oldest first.
    ended: VecDeque<ImageId>,
    naming: Naming,
    judge: J,
    outputs: Outputs,
    /// Where events have full stacks.
    stacks: Option<LaneStacks>,
    /// The frames of an event, for as long as it is looked at.
    frames: Vec<u64>,
}

/// Frames beyond the caller in which it is looked for, where there are all: as many as the hook
/// sends where it is asked for no more than the caller, so that lines are the same.
const CALLER_FRAMES: usize = 32;

impl<'f, J: Judge> Presenter<'f, J> {
    /// Names by `locator`'s files, writes to `outputs`.
    #[must_use]
    pub fn new(locator: &'f Locator, naming: Naming, judge: J, outputs: Outputs) -> Self {
        Self {
            finder: CallerFinder::new(locator),
            images: HashMap::new(),
            current: None,
            ended: VecDeque::new(),
            naming,
            judge,
            outputs,
            stacks: None,
            frames: Vec::new(),
        }
    }

    /// Events come with their full stacks.
    #[must_use]
    pub fn with_full_stacks(mut self) -> Self {
        self.stacks = Some(LaneStacks::default());
        self
    }

    /// The outputs, to finish them.
    pub fn outputs(&mut self) -> &mut Outputs {
        &mut self.outputs
    }

    /// What the symbolizer has to tell at the end.
    #[must_use]
    pub fn notes(&self) -> crate::symbolize::Notes {
        self.finder.notes()
    }

    /// Presents a batch.
    pub fn batch(&mut self, batch: &Batch) {
        for item in &batch.items {
            match item {
                Item::Event(event) if self.stacks.is_none() => {
                    self.event(event, batch.frames_of(event));
                }
                Item::Event(event) => self.event_of_lane(event, batch.frames_of(event)),
                other => self.other(other),
            }
        }
    }

    fn image(&mut self, id: ImageId) -> &mut Image {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != id)
        {
            if let Some((old, image)) = self.current.take() {
                self.images.insert(old, image);
            }
            let image = self.images.remove(&id).unwrap_or_else(|| Image {
                modules: self.finder.new_map(),
                epoch: 1,
                board: self.judge.board(id),
            });
            return &mut self.current.insert((id, image)).1;
        }
        match &mut self.current {
            Some((_, image)) => image,
            None => unreachable!("set above"),
        }
    }

    fn other(&mut self, item: &Item) {
        match item {
            Item::Process {
                image, forked_from, ..
            } => {
                let board = self.judge.board(*image);
                if let Some(parent) = forked_from {
                    // A child maps what its parent mapped, and counts its loader calls on.
                    let (modules, epoch) = {
                        let parent = self.image(*parent);
                        (parent.modules.clone(), parent.epoch)
                    };
                    let child = self.image(*image);
                    *child = Image {
                        modules,
                        epoch,
                        board,
                    };
                } else {
                    self.image(*image).board = board;
                }
            }
            Item::ModuleAdd { image, module } => self.image(*image).modules.add(module.clone()),
            Item::ModuleRemove { image, start } => self.image(*image).modules.remove(*start),
            Item::LoaderCalled { image, epoch } => self.image(*image).epoch = *epoch,
            Item::Ended { image, .. } => {
                // Its forked children may speak for the first time after its end.
                self.ended.push_back(*image);
                if self.ended.len() > ENDED_MAX
                    && let Some(oldest) = self.ended.pop_front()
                {
                    self.image(oldest);
                    self.current = None;
                }
            }
            Item::Stack { lane, kept, frames } => {
                if let Some(stacks) = &mut self.stacks {
                    stacks.change(*lane, *kept, frames);
                }
                return;
            }
            Item::Event(_) | Item::Exec { .. } => {}
        }
        match item {
            // Its status is the other program's, and its blocks are gone with it.
            Item::Ended { image, .. } if self.judge.has_left(*image) => {
                let mut left = item.clone();
                if let Item::Ended { exit, .. } = &mut left {
                    *exit = Exit::Exec;
                }
                self.outputs.item(&left);
            }
            _ => self.outputs.item(item),
        }
        self.judge.notice(item);
    }

    /// An event with its full stack, of which the caller needs only the inner end.
    fn event_of_lane(&mut self, event: &Event, words: &[u64]) {
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        if let Some(stacks) = &mut self.stacks {
            frames.extend(stacks.of_event(words).take(CALLER_FRAMES));
        }
        self.event(event, &frames);
        self.frames = frames;
    }

    fn event(&mut self, event: &Event, frames: &[u64]) {
        self.image(event.image);
        let Some((_, image)) = &self.current else {
            return;
        };
        if self.naming == Naming::None || !self.outputs.wants_events() {
            let call = Call {
                name: "",
                function: None,
                module: None,
                location: None,
                address: event.caller,
                file_address: 0,
                op: event.op,
                site: 0,
            };
            return self.outputs.event(event, &call);
        }
        let raw = self.naming == Naming::Raw;
        let number = self
            .finder
            .find(&image.modules, event.op, event.caller, frames, raw);
        // Frames mean that the hook has no verdict yet, or that there are wrappers to look past.
        if let Some(board) = image
            .board
            .filter(|_| self.stacks.is_none() && !raw && (!frames.is_empty() || event.truncated))
        {
            let mut verdict = self.finder.caller(number).verdict;
            self.judge.judge(board, event.caller, image.epoch, verdict);
            for &address in frames {
                if verdict == Verdict::Direct {
                    break;
                }
                verdict = self.finder.verdict(&image.modules, address);
                self.judge.judge(board, address, image.epoch, verdict);
            }
        }
        let caller = self.finder.caller(number);
        let depth = usize::from(caller.depth);
        let address = depth
            .checked_sub(1)
            .and_then(|at| frames.get(at))
            .copied()
            .unwrap_or(event.caller);
        let call = Call {
            name: &caller.name,
            function: caller.function.as_deref(),
            module: caller.module.as_deref(),
            location: caller
                .location
                .as_ref()
                .map(|(file, line)| (&**file, *line)),
            address,
            file_address: caller.file_address,
            op: caller.operator.unwrap_or(event.op),
            site: caller.id,
        };
        self.outputs.event(event, &call);
    }
}

impl<J> Presenter<'_, J> {
    /// The outputs and the judge, when there is nothing more to come.
    #[must_use]
    pub fn into_parts(self) -> (Outputs, J) {
        (self.outputs, self.judge)
    }
}
