//! Whole call stacks, for about the price of a look at them.
//!
//! A lane remembers the stack of its last event: for each frame which words of memory it was read from,
//! and what was in them. The next stack is walked from the inside only until it meets a frame that is
//! in the remembered one, in the same place. Beyond it nothing need be walked: where the walk goes from a
//! frame depends on the frame and on memory alone, so if the words that it would read still hold what
//! they held, it would read the same stack. They are *verified*, word by word, and only what is new is
//! sent.
//!
//! Invariants:
//!
//! 1. **From the inside out.** A word is looked at only when all words inside of it have been found
//!    unchanged. So verification reads nothing that a walk would not read at this moment: the stack that
//!    was remembered may be gone, and other memory, or none, be in its place.
//! 2. **By rule.** That two words prove a frame holds only where a rule of the table led to it. Others
//!    (signal frames, expressions, frame pointers) depend on more. Verification stops before such a
//!    frame, and the walk goes on from there.
//! 3. **One epoch.** Rules are those of one epoch; in another the stack is walked anew.
//! 4. **The lane is claimed** from before the remembered stack is looked at until the record is
//!    published. A signal handler in between uses another lane, with a stack of its own; one that leaves by
//!    a jump leaves the lane claimed, and neither it nor its stack is used again. A lane that is
//!    taken over from an ended thread begins with an empty stack.
//!
//! Phase: hot. The memory for a lane's stack comes from the kernel at its first event (slow).

use core::sync::atomic::Ordering;

use sntrace_format::record::STACK_FRAMES_MAX;

use crate::callers::{Own, STACK_MAX};
use crate::modules;
use crate::platform::sys;
use crate::record::Site;
use crate::state::EPOCH;
use crate::thread::ThreadState;
use crate::unwind::Registers;
use crate::unwind::walk::{Frame, Stack, Step, Walker};

/// Frames of a remembered stack at most.
const FRAMES: usize = STACK_FRAMES_MAX;

/// The words that a frame was read from. The second is that of the frame pointer, or the first once more.
#[derive(Clone, Copy)]
#[repr(C)]
struct Evidence {
    return_slot: u64,
    return_word: u64,
    fp_slot: u64,
    fp_word: u64,
}

/// What a walk needs to go on from a frame.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    registers: Registers,
    /// Whether equal words prove it.
    by_rule: bool,
    /// Whether a walk can go on from it by its registers alone: it was called, not interrupted.
    resumable: bool,
}

/// A lane's remembered stack. Zeros are an empty one.
#[repr(C)]
pub struct LaneStack {
    /// How many frames.
    count: usize,
    /// Whether the stack goes on beyond the outermost.
    truncated: bool,
    /// The epoch of its rules.
    epoch: u32,
    /// How many frames are not by rule.
    irregular: usize,
    /// Where the last walk began.
    first: Registers,
    /// New frames of a walk.
    fresh: usize,
    evidence: [Evidence; FRAMES],
    places: [Place; FRAMES],
    /// Inner to outer.
    fresh_evidence: [Evidence; FRAMES],
    fresh_places: [Place; FRAMES],
}

/// How a stack differs from its lane's last one.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// New frames.
    pub new: usize,
    /// Outermost frames of the last stack that stay.
    pub kept: usize,
    /// Whether the stack goes on beyond its outermost frame.
    pub truncated: bool,
    /// Whether it does not differ at all.
    pub same: bool,
}

/// What ended a walk.
enum Ended {
    /// It met the frame below this place of the remembered stack.
    Met(usize),
    /// There are no more frames.
    Whole,
    /// There may be more.
    Cut,
}

impl LaneStack {
    /// Memory for a lane's stack, empty; null without memory. A forked child does not get it: it
    /// has forgotten where it is.
    #[cold]
    pub fn allocate() -> *mut Self {
        let bytes = size_of::<Self>().next_multiple_of(64 << 10);
        match sys::map_anonymous(bytes) {
            Some(address) => {
                sys::keep_from_children(address, bytes);
                address as *mut Self
            }
            None => core::ptr::null_mut(),
        }
    }

    /// Forgets the stack: what the launcher has of it may be another one.
    pub fn forget(&mut self) {
        self.count = 0;
        self.irregular = 0;
        self.truncated = false;
        self.first = Registers::default();
    }

    /// Walks the stack of a call from `site`; afterwards it is the remembered one. Needs the lane's claim.
    #[inline(always)]
    pub fn walk(&mut self, state: &mut ThreadState, site: &Site) -> Change {
        state.stack_window.cover(site.sp);
        let first = Registers {
            ip: site.ra as u64,
            sp: site.sp_after_return() as u64,
            fp: site.fp as u64,
        };
        let epoch = EPOCH.load(Ordering::Relaxed);
        if self.epoch != epoch {
            return self.begin_epoch(state, first, site, epoch);
        }
        if self.first == first && self.verify(state, self.count) == 0 {
            return self.unchanged();
        }
        self.walk_further(state, first, site)
    }

    #[inline(always)]
    fn unchanged(&mut self) -> Change {
        self.fresh = 0;
        Change {
            new: 0,
            kept: self.count,
            truncated: self.truncated,
            same: true,
        }
    }

    #[cold]
    fn begin_epoch(
        &mut self,
        state: &mut ThreadState,
        first: Registers,
        site: &Site,
        epoch: u32,
    ) -> Change {
        let change = self.walk_whole(state, first, site);
        // If another has begun meanwhile, the next stack is walked anew as well.
        self.epoch = epoch;
        change
    }

    /// How many of the outermost `count` frames are not proven to be as they were: the frame of that
    /// number is the outermost that is proven. 0: all are as they were.
    #[inline(always)]
    fn verify(&self, state: &ThreadState, count: usize) -> usize {
        let mut left = count;
        let window = &state.stack_window;
        if self.irregular == 0 {
            // By rule, slots grow outwards on one stack: with the outermost all are in the window.
            let Some(outermost) = self.evidence.first().filter(|_| left > 0) else {
                return left;
            };
            if window.contains(outermost.return_slot) && window.contains(outermost.fp_slot) {
                while let Some(at) = left.checked_sub(1) {
                    let Some(seen) = self.evidence.get(at) else {
                        break;
                    };
                    // SAFETY: a frame's slots lie above the stack pointer, which the window contains, and at
                    // or below the outermost frame's return slot, which it contains too. Volatile:
                    // the words belong to other functions' frames.
                    let (return_word, fp_word) = unsafe {
                        (
                            (seen.return_slot as *const u64).read_volatile(),
                            (seen.fp_slot as *const u64).read_volatile(),
                        )
                    };
                    if (return_word ^ seen.return_word) | (fp_word ^ seen.fp_word) != 0 {
                        break;
                    }
                    left = at;
                }
                return left;
            }
        }
        while let Some(at) = left.checked_sub(1) {
            let (Some(seen), Some(place)) = (self.evidence.get(at), self.places.get(at)) else {
                break;
            };
            let same = place.by_rule
                && window.read(seen.return_slot as usize) == Some(seen.return_word)
                && window.read(seen.fp_slot as usize) == Some(seen.fp_word);
            if !same {
                break;
            }
            left = at;
        }
        left
    }

    /// Walks inwards from the call until something known is met.
    #[inline(never)]
    fn walk_further(&mut self, state: &mut ThreadState, first: Registers, site: &Site) -> Change {
        let mut walker = Walker::new(first, bounds(first));
        self.fresh = 0;
        let met = match self.walk_until_known(state, &mut walker, self.count, site) {
            Ended::Met(met) => met,
            Ended::Whole => return self.replace(first, false),
            Ended::Cut => return self.replace(first, true),
        };
        // What lies beyond the frame that was met: verified as far as that goes, walked where it does not.
        let mut unproven = self.verify(state, met - 1);
        while unproven > 0 {
            let Some(place) = self.places.get(unproven).filter(|place| place.resumable) else {
                return self.walk_whole(state, first, site);
            };
            let mut further = Walker::new(place.registers, bounds(place.registers));
            let step = {
                let own = Own::announcing(state, site.sp);
                further.next(&own)
            };
            let known = unproven - 1;
            match step {
                // It is as it was, by a way that its two words do not prove.
                Step::Frame(frame) if self.is(known, &frame, &further) => {
                    unproven = self.verify(state, known);
                }
                _ => return self.walk_whole(state, first, site),
            }
        }
        self.append(first, met)
    }

    /// Walks to the outermost frame, whatever is remembered.
    #[cold]
    #[inline(never)]
    fn walk_whole(&mut self, state: &mut ThreadState, first: Registers, site: &Site) -> Change {
        let mut walker = Walker::new(first, bounds(first));
        self.fresh = 0;
        let cut = match self.walk_until_known(state, &mut walker, 0, site) {
            Ended::Whole => false,
            Ended::Cut | Ended::Met(_) => true,
        };
        self.replace(first, cut)
    }

    /// Takes frames until the walk ends, or meets one of the outermost `count` that are remembered.
    #[inline(always)]
    fn walk_until_known(
        &mut self,
        state: &mut ThreadState,
        walker: &mut Walker,
        count: usize,
        site: &Site,
    ) -> Ended {
        let mut next = count;
        loop {
            let step = {
                let own = Own::announcing(state, site.sp);
                walker.next(&own)
            };
            let frame = match step {
                Step::Frame(frame) => frame,
                Step::End => return Ended::Whole,
                Step::Truncated => return Ended::Cut,
            };
            // What was further inside than this frame is gone.
            while next > 0
                && self
                    .evidence
                    .get(next - 1)
                    .is_some_and(|seen| seen.return_slot < frame.return_slot)
            {
                next -= 1;
            }
            if next > 0 && frame.by_rule && self.is(next - 1, &frame, walker) {
                return Ended::Met(next);
            }
            let at = self.fresh;
            let (Some(evidence), Some(place)) = (
                self.fresh_evidence.get_mut(at),
                self.fresh_places.get_mut(at),
            ) else {
                return Ended::Cut;
            };
            let own = Own::announcing(state, site.sp);
            *evidence = Evidence::of(&own, &frame);
            *place = Place {
                registers: walker.registers(),
                by_rule: frame.by_rule && evidence.return_slot != 0,
                resumable: evidence.return_slot != 0,
            };
            self.fresh = at + 1;
        }
    }

    /// Whether the walk has just reached the remembered frame `at`, in the same place.
    #[inline(always)]
    fn is(&self, at: usize, frame: &Frame, walker: &Walker) -> bool {
        let (Some(seen), Some(place)) = (self.evidence.get(at), self.places.get(at)) else {
            return false;
        };
        seen.return_slot == frame.return_slot && place.registers == walker.registers()
    }

    /// The new frames stand on the `kept` outermost remembered ones.
    #[inline(always)]
    fn append(&mut self, first: Registers, kept: usize) -> Change {
        if self.irregular != 0 {
            let gone = self.places.get(kept..self.count).unwrap_or(&[]);
            self.irregular -= gone.iter().filter(|place| !place.by_rule).count();
        }
        let before = self.count;
        self.count = kept;
        self.first = first;
        let room = FRAMES - kept;
        let new = self.fresh;
        // Too deep: the outermost frames are dropped, which nothing can be kept of then.
        if new > room {
            return self.replace(first, true);
        }
        for at in (0..new).rev() {
            self.push(at);
        }
        Change {
            new,
            kept,
            truncated: self.truncated,
            same: new == 0 && kept == before,
        }
    }

    /// The new frames are the whole stack. What it has in common with the last one is kept all the same.
    #[cold]
    fn replace(&mut self, first: Registers, truncated: bool) -> Change {
        let mut kept = 0;
        if truncated == self.truncated {
            while kept < self.count && kept < self.fresh {
                let old = self.places.get(kept).map(|place| place.registers.ip);
                let new = self.fresh_places.get(self.fresh - 1 - kept);
                if old != new.map(|place| place.registers.ip) {
                    break;
                }
                kept += 1;
            }
        }
        self.count = 0;
        self.irregular = 0;
        self.truncated = truncated;
        self.first = first;
        for at in (0..self.fresh).rev() {
            self.push(at);
        }
        self.fresh -= kept;
        Change {
            new: self.fresh,
            kept,
            truncated,
            same: false,
        }
    }

    /// A new frame becomes the innermost remembered one.
    #[inline(always)]
    fn push(&mut self, at: usize) {
        let count = self.count;
        if let (Some(evidence), Some(place), Some(to), Some(there)) = (
            self.fresh_evidence.get(at),
            self.fresh_places.get(at),
            self.evidence.get_mut(count),
            self.places.get_mut(count),
        ) {
            *to = *evidence;
            *there = *place;
            self.irregular += usize::from(!place.by_rule);
            self.count = count + 1;
        }
    }

    /// The new frames' return addresses, inner to outer.
    #[inline(always)]
    pub fn new_frames(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let fresh = self.fresh_places.get(..self.fresh).unwrap_or(&[]);
        fresh.iter().map(|place| place.registers.ip)
    }

    /// All frames' return addresses, inner to outer.
    pub fn frames(&self) -> impl Iterator<Item = u64> + '_ {
        let all = self.places.get(..self.count).unwrap_or(&[]);
        all.iter().rev().map(|place| place.registers.ip)
    }
}

impl Evidence {
    #[inline(always)]
    fn of(own: &Own<'_>, frame: &Frame) -> Self {
        use crate::unwind::walk::Target as _;
        // As it is in memory: a return address may be signed there.
        let return_word = if frame.return_slot == 0 {
            0
        } else {
            own.read(frame.return_slot).unwrap_or(0)
        };
        let (fp_slot, fp_word) = if frame.fp_slot == 0 {
            (frame.return_slot, return_word)
        } else {
            (frame.fp_slot, frame.fp)
        };
        Self {
            return_slot: frame.return_slot,
            return_word,
            fp_slot,
            fp_word,
        }
    }
}

/// Every word is checked when it is read, so the bounds need not be exact.
#[inline(always)]
fn bounds(first: Registers) -> Stack {
    Stack {
        low: first.sp.saturating_sub(8),
        high: first.sp.saturating_add(STACK_MAX as u64),
    }
}

/// Writes the return addresses of a stack to `out`, inner to outer; returns how many, and whether the
/// stack goes on beyond them.
#[cold]
#[inline(never)]
pub fn walk_plainly(state: &mut ThreadState, site: &Site, out: &mut [u64]) -> (usize, bool) {
    state.stack_window.cover(site.sp);
    let first = Registers {
        ip: site.ra as u64,
        sp: site.sp_after_return() as u64,
        fp: site.fp as u64,
    };
    modules::announce(state, site.ra, site.sp);
    let mut walker = Walker::new(first, bounds(first));
    for (at, place) in out.iter_mut().enumerate() {
        let step = {
            let own = Own::announcing(state, site.sp);
            walker.next(&own)
        };
        match step {
            Step::Frame(frame) => *place = frame.ip,
            Step::End => return (at, false),
            Step::Truncated => return (at, true),
        }
    }
    (out.len(), true)
}
