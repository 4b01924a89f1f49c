//! Which images need a fence in front of their clocks.
//!
//! A processor reads its clock early by what it holds back before it, and where two threads obtain one address
//! within that, times alone don't tell who was first. The journal and the search mend what turns out
//! wrong, but not all of it turns out. A fence ends it, for 10 to 20 ns an event. So an image with
//! several threads begins with a fence, and is watched: where its threads *meet* (events of two of them lie
//! within the clocks' error), do they *pass* addresses on? If they do so seldom it can do without; what is left
//! then is for the search. An image for which an order had to be searched after all gets its fence back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::trace::ImageId;

/// An image is judged after so many meetings,
const MEETINGS: u32 = 1024;
/// or after so long, if its threads hardly meet. Not sooner: while they are being made they don't meet yet.
pub(super) const WATCHED_NS: u64 = 20_000_000;
/// More passes than one in so many meetings are too many. (Where 32 threads swap 3 addresses it is one in 5 to 10;
/// where 2 to 8 threads pass blocks on by way of a table of 10,000, one in 70 to a thousand and more.)
const SELDOM: u32 = 32;
/// From so few meetings nothing follows.
const MEETINGS_MIN: u32 = 16;
/// Slots of the table of addresses that were given back last.
const SLOTS: usize = 1024;

/// An image's judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It needs the fence.
    Needed,
    /// It needs none.
    Needless,
}

/// An address that was given back.
#[derive(Clone, Copy, Debug, Default)]
struct GivenBack {
    address: u64,
    time: u64,
    thread: u32,
}

/// An image with several threads, which are watched.
#[derive(Debug)]
pub(super) struct Watch {
    given_back: Box<[GivenBack]>,
    limits: Limits,
    /// The time of the first event.
    since: Option<u64>,
    /// Time and thread of the last one.
    last: (u64, u32),
    meetings: u32,
    /// How many blocks were obtained where another thread had given one back just before.
    passes: u32,
}

/// In ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The clocks' error.
    pub close: u64,
    /// [`WATCHED_NS`].
    pub watched: u64,
}

#[derive(Debug)]
enum State {
    /// One thread was heard of, once.
    Single,
    Watched(Watch),
    Judged(Judgement),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fences {
    images: HashMap<ImageId, State>,
    /// How many of them are watched.
    watched: u32,
    /// What nobody has been told yet.
    news: Vec<(ImageId, Judgement)>,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        Self {
            given_back: vec![GivenBack::default(); SLOTS].into_boxed_slice(),
            limits,
            since: None,
            last: (0, 0),
            meetings: 0,
            passes: 0,
        }
    }

    /// A thread gave back and obtained these addresses; 0 for none.
    #[inline]
    pub(super) fn event(&mut self, given_back: u64, obtained: u64, time: u64, thread: u32) {
        let (last, last_thread) = std::mem::replace(&mut self.last, (time, thread));
        match self.since {
            None => self.since = Some(time),
            Some(_) => {
                let near = time.saturating_sub(last) <= self.limits.close;
                self.meetings += u32::from(near && thread != last_thread);
            }
        }
        // Addresses of blocks differ from the fifth bit on.
        let slot = |address: u64| (address >> 4) as usize % SLOTS;
        if given_back != 0 {
            self.given_back[slot(given_back)] = GivenBack {
                address: given_back,
                time,
                thread,
            };
        }
        if obtained != 0 {
            let last = self.given_back[slot(obtained)];
            let passed = last.address == obtained
                && last.thread != thread
                && time.saturating_sub(last.time) <= self.limits.close;
            self.passes += u32::from(passed);
        }
    }

    fn judgement(&self) -> Option<Judgement> {
        let watched = self.last.0.saturating_sub(self.since?);
        if self.meetings < MEETINGS && watched < self.limits.watched {
            return None;
        }
        let often = self.meetings >= MEETINGS_MIN && self.passes > self.meetings / SELDOM;
        Some(if often {
            Judgement::Needed
        } else {
            Judgement::Needless
        })
    }
}

impl Fences {
    /// A thread of an image says who it is. Hooks take whoever says so second for a second thread, also one that
    /// got the first one's id, or its other lane.
    pub(super) fn thread(&mut self, image: ImageId, limits: Limits) {
        match self.images.entry(image) {
            Entry::Vacant(place) => {
                place.insert(State::Single);
            }
            Entry::Occupied(mut place) => {
                if let State::Single = place.get() {
                    place.insert(State::Watched(Watch::new(limits)));
                    self.watched += 1;
                }
            }
        }
    }

    /// The image's watch, while it is watched.
    #[inline(always)]
    pub(super) fn watch(&mut self, image: ImageId) -> Option<&mut Watch> {
        if self.watched == 0 {
            return None;
        }
        match self.images.get_mut(&image) {
            Some(State::Watched(watch)) => Some(watch),
            _ => None,
        }
    }

    /// Judges the image, if its watch has seen enough.
    #[inline(always)]
    pub(super) fn judge(&mut self, image: ImageId) {
        if let Some(judgement) = self.watch(image).and_then(|watch| watch.judgement()) {
            self.settle(image, judgement);
        }
    }

    /// An order had to be searched for the image.
    pub(super) fn searched(&mut self, image: ImageId) {
        let before = self.images.get(&image);
        if !matches!(before, Some(State::Judged(Judgement::Needed))) {
            self.settle(image, Judgement::Needed);
        }
    }

    fn settle(&mut self, image: ImageId, judgement: Judgement) {
        let before = self.images.insert(image, State::Judged(judgement));
        self.watched -= u32::from(matches!(before, Some(State::Watched(_))));
        self.news.push((image, judgement));
    }

    /// The image is over.
    pub(super) fn end(&mut self, image: ImageId) {
        let before = self.images.remove(&image);
        self.watched -= u32::from(matches!(before, Some(State::Watched(_))));
    }

    /// What was judged since the last call.
    pub(super) fn take_news(&mut self) -> Vec<(ImageId, Judgement)> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: ImageId = ImageId(7);
    const LIMITS: Limits = Limits {
        close: 1000,
        watched: 1_000_000,
    };

    /// Two threads meet again and again, `distance` ticks apart, until they are judged. In one of `often`
    /// meetings one obtains what the other has just given back. Returns the judgement and when it came.
    fn meet(fences: &mut Fences, distance: u64, often: u64) -> (Judgement, u64) {
        fences.thread(IMAGE, LIMITS);
        assert!(fences.watch(IMAGE).is_none());
        fences.thread(IMAGE, LIMITS);
        let mut at = 0;
        while let Some(watch) = fences.watch(IMAGE) {
            let (thread, address) = (1 + (at & 1) as u32, 0x1000 + (at / 2 % 100) * 16);
            let (given_back, obtained) = match at & 1 {
                0 => (address, 0),
                _ if at / 2 % often == 0 => (0, address),
                _ => (0, address + (1 << 20)),
            };
            watch.event(given_back, obtained, at * distance, thread);
            at += 1;
            fences.judge(IMAGE);
        }
        let news = fences.take_news();
        assert_eq!((news.len(), news[0].0), (1, IMAGE));
        (news[0].1, (at - 1) * distance)
    }

    #[test]
    fn threads_that_pass_addresses_on_quickly_need_a_fence() {
        for often in [1, 10] {
            let mut fences = Fences::default();
            let (judgement, when) = meet(&mut fences, 10, often);
            assert_eq!(judgement, Judgement::Needed);
            assert!(when < LIMITS.watched);
            fences.searched(IMAGE);
            assert!(fences.take_news().is_empty());
        }
    }

    #[test]
    fn others_do_without_until_an_order_had_to_be_searched() {
        // Some meet, but pass nothing on; some pass everything on, but don't meet.
        for (distance, often) in [(10, 1000), (LIMITS.close + 1, 1)] {
            let mut fences = Fences::default();
            let (judgement, when) = meet(&mut fences, distance, often);
            assert_eq!(judgement, Judgement::Needless);
            assert_eq!(when < LIMITS.watched, distance == 10);
            fences.searched(IMAGE);
            assert_eq!(fences.take_news(), [(IMAGE, Judgement::Needed)]);
        }
    }

    #[test]
    fn an_image_that_ended_is_nobody_s() {
        let mut fences = Fences::default();
        fences.thread(IMAGE, LIMITS);
        fences.thread(IMAGE, LIMITS);
        fences.end(IMAGE);
        assert_eq!(fences.watched, 0);
        assert_eq!(meet(&mut fences, 5000, 1).0, Judgement::Needless);
    }
}
