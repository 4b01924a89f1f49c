//! Which images need a fence in front of their clocks.
//!
//! A processor reads its clock early by what it holds back before it, and where two threads obtain one address
//! within that, times alone don't tell who was first. The journal and the search mend what turns out
//! wrong, but not all of it turns out. A fence ends it, for some 9 ns an event. So an image with
//! several threads begins with a fence, and is watched: if its threads pass on addresses within
//! the clocks' error now and then only, or never, it can do without; what is left then is for the
//! search. An image for which an order had to be searched after all gets its fence back.

use std::collections::HashMap;

use crate::trace::ImageId;

/// An image is watched for so many events at least,
const EVENTS: u32 = 8192;
/// and for so long: threads that are just being made don't meet yet.
pub(super) const WATCHED_NS: u64 = 20_000_000;
/// One pass among fewer events than this is too many. (Three addresses that 32 threads swap: one among 50 to
/// 260. 64 such addresses, and blocks that go from thread to thread by way of a table: one among 700 to
/// 1,000,000, and the search mends what little is wrong.)
const RARE: u32 = 512;
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
    events: u32,
    /// The time of its first event, and that of its last.
    times: Option<(u64, u64)>,
    limits: Limits,
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
    /// It has this thread.
    Single(u32),
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
            events: 0,
            times: None,
            limits,
            passes: 0,
        }
    }

    /// A thread gave back and obtained these addresses; 0 for none.
    #[inline]
    pub(super) fn event(&mut self, given_back: u64, obtained: u64, time: u64, thread: u32) {
        self.events = self.events.saturating_add(1);
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
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
        let (first, last) = self.times?;
        if self.events < EVENTS || last.saturating_sub(first) < self.limits.watched {
            return None;
        }
        if self.passes > self.events / RARE {
            Some(Judgement::Needed)
        } else {
            Some(Judgement::Needless)
        }
    }
}

impl Fences {
    /// A thread of an image is known.
    pub(super) fn thread(&mut self, image: ImageId, thread: u32, limits: Limits) {
        let state = self.images.entry(image).or_insert(State::Single(thread));
        if let State::Single(first) = *state
            && first != thread
        {
            *state = State::Watched(Watch::new(limits));
            self.watched += 1;
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

    /// Two threads swap blocks, each `distance` ticks after the other, until that is judged.
    fn swap(fences: &mut Fences, distance: u64) -> Vec<(ImageId, Judgement)> {
        fences.thread(IMAGE, 1, LIMITS);
        assert!(fences.watch(IMAGE).is_none());
        fences.thread(IMAGE, 2, LIMITS);
        let mut at = 0;
        while let Some(watch) = fences.watch(IMAGE) {
            // What one gives back the other obtains.
            let address = 0x1000 + (at / 2 % 100) * 16;
            match at & 1 {
                0 => watch.event(address, 0, at * distance, 1),
                _ => watch.event(0, address, at * distance, 2),
            }
            at += 1;
            fences.judge(IMAGE);
        }
        assert!(at >= u64::from(EVENTS) && (at - 1) * distance >= LIMITS.watched);
        fences.take_news()
    }

    #[test]
    fn threads_that_pass_addresses_on_quickly_need_a_fence() {
        let mut fences = Fences::default();
        assert_eq!(swap(&mut fences, 10), [(IMAGE, Judgement::Needed)]);
        fences.searched(IMAGE);
        assert!(fences.take_news().is_empty());
    }

    #[test]
    fn others_do_without_until_an_order_had_to_be_searched() {
        let mut fences = Fences::default();
        assert_eq!(swap(&mut fences, 5000), [(IMAGE, Judgement::Needless)]);
        assert!(fences.watch(IMAGE).is_none());
        fences.searched(IMAGE);
        assert_eq!(fences.take_news(), [(IMAGE, Judgement::Needed)]);
    }

    #[test]
    fn an_image_that_ended_is_nobody_s() {
        let mut fences = Fences::default();
        fences.thread(IMAGE, 1, LIMITS);
        fences.thread(IMAGE, 2, LIMITS);
        fences.end(IMAGE);
        assert_eq!(fences.watched, 0);
        assert_eq!(swap(&mut fences, 5000).len(), 1);
    }
}
