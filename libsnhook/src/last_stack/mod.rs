//! A lane's last stack, and the next one made from it: walk a little, verify the rest.
//!
//! Most of a stack is what it was at the last event. So a walk goes from the inside only until it
//! stands in a state (address, stack pointer, frame pointer) in which the last one stood too. From
//! there outwards both would do the same, as long as they read the same: rules are a function of the
//! return address (within an *epoch*, see [`crate::modules`]) and of the words they make the walk
//! read. Those words are kept, in the order in which they were read. If each still has its value,
//! the rest of the stack is what it was; at the first that differs the walk goes on from the frame
//! in front of it, and may meet the last stack again further out.
//!
//! Why no word is read that may be unmapped: words are verified from the inside outwards, and the
//! first that differs ends it. So each one is a word that the walk itself would have read next. No
//! other knowledge about the stack is needed: it may be a signal handler's, a coroutine's, one that
//! was freed and is another thread's now.
//!
//! Frames that can't be verified (the walk tried to read what was not readable, or looked below its
//! stack pointer) are marked (`LOOSE`): a walk goes through them each time.
//!
//! Deeper stacks than [`LAST_STACK_MAX`] are cut at the outer end, to half of that, so that the
//! next events, deeper or not, find a stack again that they can build on. Where functions return
//! until less than a quarter is left, the stack is walked anew.
//!
//! Whoever uses a last stack has the claim of its lane: a signal handler finds the lane claimed and
//! goes to another one, with a last stack of its own. A handler that leaves by a jump leaves the
//! lane claimed, so that a stack that was half changed is never looked at again; a new owner of the
//! lane begins with an empty one. Zeros are an empty one: a forked child's pages read so.
//!
//! Phase: hot.

mod frames;
mod outcome;
mod reader;

use core::cell::Cell;
use core::ops::Range;

use sntrace_format::stack::LAST_STACK_MAX;

pub use self::outcome::{Difference, Obstacle, Unknown};

use self::frames::{
    Entry, FRAMES, LOOSE, Memory, NO_MARK, TANGLED, WORDS, Words, first_that_differs, words_within,
};
use self::outcome::Outcome;
use self::reader::Reader;
use crate::callers::{self, Own, StackWindow};
use crate::platform::sys;
use crate::record::Site;
use crate::unwind::cache::Epoch;
use crate::unwind::walk::{Step, Walker};

/// How deep a stack that is too deep is left.
const CUT: usize = LAST_STACK_MAX / 2;
/// With fewer frames than this left, one that was cut off is walked anew.
const SHORTEST_CUT: usize = CUT / 2;
/// How far above its stack pointer a frame's own words may be, in bytes.
const NEAR: u64 = 1 << 20;

/// See the module. All zeros is an empty one.
#[repr(C)]
pub struct LastStack {
    memory: *mut Memory,
    /// How many frames.
    length: u32,
    /// How many words were read after arriving at the outermost frame.
    end_words: u32,
    epoch: u32,
    /// Whether there is a last stack at all; if not, nothing is kept.
    known: bool,
    /// Whether it goes on beyond its outermost frame.
    truncated: bool,
    /// Whether the words don't prove that it still ends there.
    end_loose: bool,
    /// Whether the end was cut off.
    cut: bool,
    /// Whether what was sent last has more frames than this.
    unsent: bool,
    /// All words end below this address, if nothing is tangled.
    top: u64,
    window: StackWindow,
}

/// How far the words agree.
#[derive(Clone, Copy)]
enum Verified {
    /// All of them.
    All,
    /// All on the way to the frame with this index, not those from it on.
    Frame(usize),
}

/// A walk in progress: where the places of its frames and words begin.
struct Walk {
    frame: usize,
    word: usize,
}

/// How a walk came to its end.
struct End {
    /// How many words it read there.
    words: usize,
    truncated: bool,
    loose: bool,
    /// Whether it was given up for its length.
    cut: bool,
    /// The stack pointer there.
    sp: u64,
}

impl LastStack {
    /// Forgets everything but the memory.
    pub fn forget(&mut self) {
        self.known = false;
        self.length = 0;
    }

    /// Gets memory, which reads as zeros in a forked child. Signals must be blocked.
    pub fn get_memory(&mut self) -> bool {
        if self.memory.is_null()
            && let Some(memory) = sys::map_anonymous(size_of::<Memory>())
        {
            let _ = sys::wipe_on_fork(memory, size_of::<Memory>());
            self.memory = memory as *mut Memory;
            self.forget();
        }
        !self.memory.is_null()
    }

    /// How many frames it has.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The return addresses, inner to outer, without the `kept` outermost ones.
    #[inline(always)]
    pub fn listed(&self, kept: usize) -> impl Iterator<Item = u64> + '_ {
        // SAFETY: null, or this stack's own memory, which is never unmapped, for which zeros are
        // valid, and which the owner of the lane alone uses.
        let frames = unsafe { self.memory.as_ref() }.map(|memory| &memory.frames);
        let frames = frames.and_then(|frames| frames.get(kept..self.length as usize));
        frames.unwrap_or(&[]).iter().rev().map(|frame| frame.ip)
    }

    /// Takes the innermost frames away, so that `length` are left: that is what was sent.
    pub fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length as u32);
    }

    /// The last difference is not sent.
    pub fn take_back(&mut self, difference: &Difference) {
        self.shorten(difference.kept);
        self.unsent = true;
    }

    /// Shows the return addresses beyond the caller to `each`, inner to outer, until it says false,
    /// without looking at the last stack. Returns whether the stack goes on where that ended.
    pub fn walk(&self, site: &Site, mut each: impl FnMut(u64) -> bool) -> bool {
        let own = Own {
            window: &self.window,
        };
        let stack = callers::stack_bounds(site);
        let mut walker = Walker::new(callers::first_registers(site), stack);
        loop {
            match walker.next(&own) {
                Step::Frame(frame) if each(frame.ip) => {}
                Step::Frame(_) | Step::Truncated => return true,
                Step::End => return false,
            }
        }
    }

    /// How many frames from the inside are those of a walk that does not look at the last stack, if
    /// the two are not the same in all.
    pub fn first_difference(&self, site: &Site) -> Option<usize> {
        let (mut frames, mut same) = (self.listed(0), 0);
        let mut differs = false;
        let truncated = self.walk(site, |ip| {
            let expected = frames.next();
            // Where the end was cut off, the walk goes on.
            if expected.is_none() && self.cut && self.length() >= SHORTEST_CUT {
                return false;
            }
            differs = expected != Some(ip);
            same += usize::from(!differs);
            !differs
        });
        let ended = frames.next().is_none() && truncated == self.truncated;
        (differs || !ended).then_some(same)
    }

    /// Makes the stack beyond the caller the last stack, and says how it differs.
    ///
    /// # Errors
    /// Then the last stack is what it was, or empty after a call of the loader.
    #[inline(always)]
    pub fn update(
        &mut self,
        site: &Site,
        epoch: u32,
        unknown: Unknown,
    ) -> Result<Difference, Obstacle> {
        if self.epoch != epoch {
            self.forget();
            self.epoch = epoch;
        }
        let mut made = self.attempt(site, unknown, self.length as usize, LAST_STACK_MAX);
        if made == Outcome::NO_HELP {
            made = self.walk_anew(site, unknown);
        }
        made.result()
    }

    /// Where the last stack is of no help, or the new one is too deep.
    #[cold]
    #[inline(never)]
    fn walk_anew(&mut self, site: &Site, unknown: Unknown) -> Outcome {
        let made = self.attempt(site, unknown, 0, LAST_STACK_MAX);
        if made != Outcome::NO_HELP {
            return made;
        }
        self.forget();
        // Cut off, a walk has always a result.
        self.attempt(site, unknown, 0, CUT)
    }

    /// As [`LastStack::update`], by the `old` outermost frames of the last stack.
    /// [`Outcome::NO_HELP`] if the last stack is of no help, or the new one has more than
    /// [`LAST_STACK_MAX`] frames. One that has `limit` is cut, if that is less.
    #[inline(always)]
    fn attempt(&mut self, site: &Site, unknown: Unknown, mut old: usize, limit: usize) -> Outcome {
        if self.memory.is_null() {
            return Outcome::NO_MEMORY;
        }
        // SAFETY: the memory is this stack's own and never unmapped, zeros are valid, the owner of
        // the lane alone uses it; the words beside the frames are reached through `Words` only.
        let (frames, words) = unsafe {
            let words = Words((&raw mut (*self.memory).words).cast());
            (&mut (*self.memory).frames, words)
        };
        self.window.cover(site.sp);
        let stack = callers::stack_bounds(site);
        let used = match (self.length as usize).checked_sub(1) {
            Some(last) if self.known => frames[last].words(),
            _ => 0,
        };
        let reader = Reader {
            window: &self.window,
            words,
            epoch: Epoch::new(self.epoch),
            unknown,
            used: used as usize,
            next: Cell::new(WORDS),
            failed: Cell::new(false),
            stopped: Cell::new(false),
        };
        let mut walker = Walker::new(callers::first_registers(site), stack);
        let mut walk = Walk {
            frame: FRAMES,
            word: WORDS,
        };
        let (kept, end) = loop {
            let sp = walker.registers().sp;
            let step = walker.next(&reader);
            let next = reader.next.get();
            let read = walk.word - next;
            walk.word = next;
            let Step::Frame(frame) = step else {
                if reader.stopped.get() {
                    return Outcome::UNANNOUNCED;
                }
                let far = !words_within(words, next, read, sp, sp.saturating_add(NEAR));
                let end = End {
                    words: read,
                    truncated: step == Step::Truncated,
                    loose: reader.failed.get() || far,
                    cut: false,
                    sp,
                };
                break (0, Some(end));
            };
            let registers = walker.registers();
            let (mut loose, mut tangled) = (false, false);
            if !frame.by_rule {
                if reader.stopped.get() {
                    return Outcome::UNANNOUNCED;
                }
                let failed = reader.failed.replace(false);
                loose = failed || !words_within(words, next, read, sp, sp.saturating_add(NEAR));
                tangled = loose || !words_within(words, next, read, sp, registers.sp);
            }
            let entry = Entry {
                sp: registers.sp,
                ip: frame.ip,
                fp: frame.fp,
                way: read as u64
                    | u64::from(walker.mark().unwrap_or(NO_MARK)) << 32
                    | if loose { LOOSE } else { 0 }
                    | if tangled { TANGLED } else { 0 },
            };
            walk.frame -= 1;
            frames[walk.frame].store(entry);
            while old > 0 && frames[old - 1].sp < entry.sp {
                old -= 1;
            }
            if old > 0 && frames[old - 1].is_state(&entry) {
                let met = old - 1;
                let from = match self.verify(frames, words, met, entry.sp) {
                    // The frame itself is kept as it was reached now.
                    Verified::All => break (met, None),
                    Verified::Frame(from) => from,
                };
                if from < met {
                    let taken =
                        (frames[met - 1].words() - self.words_before(frames, from)) as usize;
                    let too_many = met - from + FRAMES - walk.frame > limit
                        || walk.word <= reader.used + 2 + taken;
                    if too_many || frames[from].mark() != 0 {
                        return Outcome::NO_HELP;
                    }
                    self.take_over(frames, words, &mut walk, from..met);
                    reader.next.set(walk.word);
                    walker = Walker::new(frames[from].registers(), stack);
                }
                old = from;
            }
            // A step by a rule reads two words at most, and must find place for them.
            if FRAMES - walk.frame >= limit || walk.word <= reader.used + 2 {
                if limit == LAST_STACK_MAX {
                    return Outcome::NO_HELP;
                }
                let end = End {
                    words: 0,
                    truncated: true,
                    loose: false,
                    cut: true,
                    sp: entry.sp,
                };
                break (0, Some(end));
            }
        };
        let length = kept + (FRAMES - walk.frame);
        let too_short = end.is_none() && self.cut && length < SHORTEST_CUT;
        if length > LAST_STACK_MAX || too_short {
            return Outcome::NO_HELP;
        }
        Outcome::of(self.commit(frames, words, &walk, kept, end))
    }

    /// Compares the words on the way outwards from the frame with the index `met`, which stands at
    /// `sp`. [`Verified::Frame`] says from which frame on the walk has to be done again.
    #[inline(always)]
    fn verify(&self, frames: &[Entry; FRAMES], words: Words, met: usize, sp: u64) -> Verified {
        let (count, tangled) = match met.checked_sub(1) {
            Some(outer) => (frames[outer].words(), frames[outer].is_tangled()),
            None => (self.end_words, false),
        };
        if tangled || self.end_loose || !self.window.contains(sp, self.top) {
            return self.verify_slowly(frames, words, met);
        }
        match first_that_differs(words, count as usize) {
            None => Verified::All,
            Some(at) => Verified::Frame(self.first_verified(frames, met, at as u32)),
        }
    }

    /// Which frame on the way outwards to the word with the index `at` was reached without it.
    #[inline]
    fn first_verified(&self, frames: &[Entry; FRAMES], met: usize, at: u32) -> usize {
        (1..=met)
            .rev()
            .find(|&from| at >= self.words_before(frames, from - 1))
            .unwrap_or(0)
    }

    /// The index of the first word that was read on the way to a frame.
    #[inline(always)]
    fn words_before(&self, frames: &[Entry; FRAMES], frame: usize) -> u32 {
        match frame.checked_sub(1) {
            Some(outer) => frames[outer].words(),
            None => self.end_words,
        }
    }

    #[cold]
    #[inline(never)]
    fn verify_slowly(&self, frames: &[Entry; FRAMES], words: Words, met: usize) -> Verified {
        let holds = |from: u32, to: u32| {
            let mut range = (from..to).rev().map(|at| words.get(at as usize));
            range.all(|word| self.window.read(word.address as usize) == Some(word.value))
        };
        for outer in (0..met).rev() {
            let begin = self.words_before(frames, outer);
            if frames[outer].is_loose() || !holds(begin, frames[outer].words()) {
                return Verified::Frame(outer + 1);
            }
        }
        if self.end_loose || !holds(0, self.end_words) {
            return Verified::Frame(0);
        }
        Verified::All
    }

    /// Copies frames of the last stack to the front of a walk, with their words.
    #[cold]
    #[inline(never)]
    fn take_over(
        &self,
        frames: &mut [Entry; FRAMES],
        words: Words,
        walk: &mut Walk,
        range: Range<usize>,
    ) {
        for at in range.rev() {
            let (begin, mut entry) = (self.words_before(frames, at), frames[at].load());
            for word in (begin..entry.words()).rev() {
                walk.word -= 1;
                words.set(walk.word, words.get(word as usize));
            }
            entry.way -= u64::from(begin);
            walk.frame -= 1;
            frames[walk.frame].store(entry);
        }
    }

    /// Puts what was walked in the place of what is not kept.
    #[inline(always)]
    fn commit(
        &mut self,
        frames: &mut [Entry; FRAMES],
        words: Words,
        walk: &Walk,
        kept: usize,
        end: Option<End>,
    ) -> Difference {
        let (old_length, old_truncated) = (self.length as usize, self.truncated);
        let (known, unsent) = (self.known, core::mem::take(&mut self.unsent));
        let outer = kept.checked_sub(1).map(|at| &frames[at]);
        let mut place = outer.map_or(self.end_words, Entry::words);
        let mut tangled = outer.is_some_and(Entry::is_tangled);
        let mut to = place as usize;
        if let Some(end) = &end {
            (place, to) = (end.words as u32, 0);
            self.end_words = place;
            (self.truncated, self.end_loose, self.cut) = (end.truncated, end.loose, end.cut);
            let ends = (walk.word..walk.word + end.words).map(|at| words.get(at).address + 8);
            self.top = ends.max().unwrap_or(0).max(end.sp);
        }
        for from in walk.word..WORDS {
            words.set(to, words.get(from));
            to += 1;
        }
        let (mut at, mut same) = (kept, true);
        let mut stay = kept;
        for from in walk.frame..FRAMES {
            let mut entry = frames[from].load();
            entry.way += u64::from(place);
            place = entry.words();
            tangled |= entry.is_tangled();
            entry.way |= if tangled { TANGLED } else { 0 };
            same &= at < old_length && frames[at].ip == entry.ip;
            stay += usize::from(same);
            frames[at].store(entry);
            at += 1;
        }
        self.length = at as u32;
        self.known = true;
        if !known {
            stay = 0;
        }
        Difference {
            kept: stay,
            length: at,
            truncated: self.truncated,
            same: known
                && !unsent
                && stay == at
                && at == old_length
                && self.truncated == old_truncated,
        }
    }
}
