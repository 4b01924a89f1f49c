//! The search for an order in which everything fits.
//!
//! Where two sources make the same change to an address within the clocks' error, the merge takes the
//! earlier time first. If that was wrong, sooner or later a head waits for something that stands
//! behind another head that waits in turn. Then the last emissions are taken back, and the events
//! from there on are tried again: by time, but at each such choice with the alternative that the
//! other source goes first, the last choice first (depth first, so the order that is found differs
//! from that of time as late as possible).
//!
//! An order is found when everything up to the time at which the conflict was noticed has been
//! emitted, with no event held back behind others by more than the clocks' error. What nobody causes
//! (a block from before the hook was there) is emitted as it is.
//!
//! A search costs something only where addresses go from thread to thread faster than clocks can
//! tell. What it may cost is bounded ([`Budget`]): in a trace with dropped events causes are missing
//! everywhere.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::parts::Change;
use super::source::{Head, HeadKind};
use super::{Missing, Orderer, Patience};
use crate::collect::ticks::Timeline;
use crate::trace::{Batch, ImageId};

/// Looks at a head or an event that one search takes at most.
const LOOKS_MAX: u64 = 400_000;
/// With less than this left a search is not begun.
const LOOKS_MIN: u64 = 10_000;
/// Looks that each emitted item adds to what searches may take.
const LOOKS_AN_ITEM: u64 = 16;
/// Events that are looked at in a source for what competes with another's head.
const AHEAD_MAX: usize = 64;

/// What searches may still cost, in looks at a head or an event.
#[derive(Debug)]
pub(super) struct Budget {
    looks: u64,
    /// Conflicts up to this time are known to have no solution.
    hopeless_until: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            looks: LOOKS_MAX * 4,
            hopeless_until: 0,
        }
    }
}

impl Budget {
    /// Items were emitted.
    pub(super) fn earn(&mut self, items: usize) {
        let more = self.looks + items as u64 * LOOKS_AN_ITEM;
        self.looks = more.min(LOOKS_MAX * 16);
    }
}

/// A source's head waits until another source has passed a place.
#[derive(Clone, Copy, Debug)]
struct Deferral {
    source: usize,
    other: usize,
    place: u64,
}

/// A choice between a source's head and others that make the same change.
#[derive(Debug)]
struct Choice {
    /// Where the search was.
    state: u64,
    /// The journal's length before it.
    journal: usize,
    deferrals: usize,
    source: usize,
    /// The addresses whose owner the head changes; 0 for none.
    addresses: [u64; 2],
    /// The others, and where they will have made it; the next to be tried last.
    others: Vec<(usize, u64)>,
}

/// What the next step is.
enum Next {
    /// Everything is emitted.
    Solved,
    /// This head.
    Emit(usize),
    /// This head, although something is missing that nobody brings.
    Force(usize),
    /// Nothing fits: what is missing of this address (0: not known) can't come any more.
    DeadEnd(u64),
}

impl Orderer {
    /// Looks for an order in which a blocked head's cause comes before it. True: things have moved
    /// on, or will be the same once more and the head be emitted as it is. False: no search, the
    /// head can be emitted as it is.
    pub(super) fn search(
        &mut self,
        at: usize,
        patience: Patience,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let source = &self.sources[at];
        let (Some(head), Some(missing)) = (source.head(), source.blocked) else {
            return false;
        };
        let (time, image) = (head.time, head.image);
        let goal = time.saturating_add(patience.close.saturating_mul(2));
        if source.is_pipe()
            || time <= self.search.hopeless_until
            || self.search.looks < LOOKS_MIN
            || !self.may_be_caused(at, image, missing, goal)
        {
            return false;
        }
        for at in std::mem::take(&mut self.blocked) {
            self.sources[at as usize].blocked = None;
        }
        let solved = self.find_from_near_to_far(time, goal, patience, timeline, out);
        self.fences.searched(image);
        if solved {
            self.statistics.searched += 1;
        } else {
            self.statistics.unsolved += 1;
            self.search.hopeless_until = goal;
        }
        self.schedule.clear();
        for index in 0..self.active.len() {
            self.plan(self.active[index] as usize);
        }
        true
    }

    /// Sources with something that may have to be emitted before the goal is reached. The others
    /// have nothing to do with it.
    fn near(&self, goal: u64) -> Vec<usize> {
        let active = self.active.iter().map(|&at| at as usize);
        active
            .filter(|&at| {
                let head = self.sources[at].head();
                head.is_some_and(|head| head.earliest <= goal)
            })
            .collect()
    }

    fn addresses_of(&self, at: usize) -> [u64; 2] {
        let details = self.sources[at].details();
        details.map_or([0; 2], |it| [it.parts.given_back, it.parts.obtained])
    }

    fn undo_to(&mut self, length: usize, out: &mut Batch) {
        while self.journal.len() > length && self.undo(out) {}
    }

    /// Clocks mostly agree far better than they must: with little disagreement few orders are
    /// possible. And the wrong turn is mostly near; where a call with an uncertain place began long
    /// ago, it may lie as far back, or further.
    fn find_from_near_to_far(
        &mut self,
        time: u64,
        goal: u64,
        patience: Patience,
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let uncertain = self.uncertain_since().min(time);
        let close = patience.close;
        let near = |close: u64| time.saturating_sub(close * 2);
        let steps = [
            (close / 8, true, near(close / 8)),
            (close / 2, true, near(close / 2)),
            (close, true, near(close)),
            (close, false, near(close)),
            (close * 2, true, near(close * 2)),
            (
                close,
                true,
                uncertain.saturating_sub(close * 2).min(near(close * 2)),
            ),
            (close, true, 0),
        ];
        for (close, directed, from) in steps {
            while self.journal.last().is_some_and(|last| last.time >= from) {
                self.undo(out);
            }
            let start = self.journal.len();
            if self.find(start, goal, (close, directed), timeline, out) {
                return true;
            }
            self.undo_to(start, out);
        }
        false
    }

    /// Depth first. With `directed` it goes back to the last choice about the address that could
    /// not be had at the dead end, which is most often the wrong one; without, to the last choice of
    /// all. On failure what was emitted stays, to be taken back.
    fn find(
        &mut self,
        start: usize,
        goal: u64,
        (close, directed): (u64, bool),
        timeline: &Timeline,
        out: &mut Batch,
    ) -> bool {
        let near = self.near(goal);
        let mut choices: Vec<Choice> = Vec::new();
        let mut deferrals: Vec<Deferral> = Vec::new();
        // Many ways lead to the same place: none is gone on from twice.
        let mut dead_ends = HashSet::new();
        let enough = self.search.looks.saturating_sub(LOOKS_MAX);
        loop {
            if self.search.looks <= enough {
                return false;
            }
            let state = self.state(&near, &deferrals);
            let next = match dead_ends.contains(&state) {
                true => Next::DeadEnd(0),
                false => self.next_step(&near, &deferrals, goal, close),
            };
            match next {
                Next::Solved => return true,
                Next::Emit(at) => {
                    let others = self.competitors(&near, at, close);
                    if !others.is_empty() {
                        choices.push(Choice {
                            state,
                            journal: self.journal.len(),
                            deferrals: deferrals.len(),
                            source: at,
                            addresses: self.addresses_of(at),
                            others,
                        });
                    }
                    self.emit_tentatively(at, true, timeline, out);
                }
                Next::Force(at) => self.emit_tentatively(at, false, timeline, out),
                Next::DeadEnd(address) => {
                    dead_ends.insert(state);
                    let directed = directed && address != 0;
                    let (source, (other, place)) = loop {
                        let Some(choice) = choices.last_mut() else {
                            return false;
                        };
                        if directed && !choice.addresses.contains(&address) {
                            choices.pop();
                            continue;
                        }
                        if let Some(next) = choice.others.pop() {
                            debug_assert!(choice.journal >= start);
                            let (journal, kept) = (choice.journal, choice.deferrals);
                            let source = choice.source;
                            self.undo_to(journal, out);
                            deferrals.truncate(kept);
                            break (source, next);
                        }
                        dead_ends.insert(choice.state);
                        choices.pop();
                    };
                    deferrals.push(Deferral {
                        source,
                        other,
                        place,
                    });
                }
            }
        }
    }

    /// Where the search is: how far each source is, which says who owns what, and who waits for
    /// whom.
    fn state(&self, near: &[usize], deferrals: &[Deferral]) -> u64 {
        let mut hash = DefaultHasher::new();
        for &at in near {
            self.sources[at].place().hash(&mut hash);
        }
        for deferral in deferrals {
            if self.waits(deferral) {
                (deferral.source, deferral.other, deferral.place).hash(&mut hash);
            }
        }
        hash.finish()
    }

    fn emit_tentatively(&mut self, at: usize, strict: bool, timeline: &Timeline, out: &mut Batch) {
        if self.sources[at].head().is_some_and(Head::is_event) {
            // It was looked at just now.
            let _ = self.apply(at, strict, true, timeline, out);
        } else {
            self.other(at, true, timeline, out);
        }
    }

    /// The earliest head that may be emitted now.
    fn next_step(&mut self, near: &[usize], deferrals: &[Deferral], goal: u64, close: u64) -> Next {
        let mut oldest = (u64::MAX, 0);
        let mut wanted = Vec::new();
        let mut movers = Vec::new();
        let mut fitting = Vec::new();
        self.search.looks = self.search.looks.saturating_sub(near.len() as u64);
        for &at in near {
            let Some(head) = self.sources[at].head() else {
                continue;
            };
            let (time, earliest, image) = (head.time, head.earliest, head.image);
            let moves_away = head.moves_away;
            match head.kind {
                HeadKind::Plain | HeadKind::Event => {}
                HeadKind::Other => {
                    oldest = oldest.min((time, at));
                    fitting.push((time, earliest, at));
                    continue;
                }
                HeadKind::Nothing | HeadKind::Ended => continue,
            }
            let Some(parts) = self.sources[at].details().map(|it| it.parts) else {
                continue;
            };
            oldest = oldest.min((time, at));
            if self.is_deferred(at, deferrals) {
                continue;
            }
            match self.missing(image, &parts) {
                Some(Missing::Release(address)) => wanted.push((image, address, time)),
                Some(Missing::Owner(_)) => {}
                None => {
                    if moves_away {
                        movers.push((image, parts.given_back, earliest, at));
                    }
                    fitting.push((time, earliest, at));
                }
            }
        }
        let (oldest_time, oldest_at) = oldest;
        if oldest_time > goal {
            return Next::Solved;
        }
        // A move counts by the time of its call for who waits for it.
        for (image, address, earliest, at) in movers {
            if wanted.iter().any(|&(in_image, wants, since)| {
                in_image == image && wants == address && earliest <= since.saturating_add(close)
            }) {
                fitting.push((earliest, earliest, at));
            }
        }
        // Nothing may overtake the oldest by more than the clocks' error. The others go by time.
        let latest = oldest_time.saturating_add(close);
        fitting.retain(|&(_, earliest, _)| earliest <= latest);
        match fitting.into_iter().min() {
            Some((_, _, at)) => Next::Emit(at),
            None => self.overdue(oldest_at, deferrals, goal),
        }
    }

    /// The oldest head can't be emitted, and nothing else may overtake it any further.
    fn overdue(&mut self, at: usize, deferrals: &[Deferral], goal: u64) -> Next {
        let source = &self.sources[at];
        let (Some(head), Some(details)) = (source.head(), source.details()) else {
            return Next::DeadEnd(0);
        };
        let (image, parts) = (head.image, details.parts);
        if self.is_deferred(at, deferrals) {
            return Next::DeadEnd(0);
        }
        match self.missing(image, &parts) {
            Some(missing) if !self.may_be_caused(at, image, missing, goal) => Next::Force(at),
            Some(Missing::Release(address) | Missing::Owner(address)) => Next::DeadEnd(address),
            None => Next::DeadEnd(0),
        }
    }

    fn is_deferred(&self, at: usize, deferrals: &[Deferral]) -> bool {
        let mut its = deferrals.iter().filter(|deferral| deferral.source == at);
        its.any(|deferral| self.waits(deferral))
    }

    fn waits(&self, deferral: &Deferral) -> bool {
        self.sources[deferral.other].place() < deferral.place
    }

    /// Other sources with an event close to the head that may have to come before it, as it would
    /// not be possible after it, and where they will have emitted that; the earliest last.
    fn competitors(&mut self, near: &[usize], at: usize, close: u64) -> Vec<(usize, u64)> {
        let source = &self.sources[at];
        let (Some(head), Some(details)) = (source.head(), source.details()) else {
            return Vec::new();
        };
        let (until, image) = (head.time.saturating_add(close), head.image);
        let parts = details.parts;
        let mut found: Vec<(u64, usize, u64)> = Vec::new();
        let mut looks = 0;
        for change in parts.changes() {
            for &other in near {
                let source = &self.sources[other];
                if other == at || source.head().is_none_or(|head| head.image != image) {
                    continue;
                }
                let mut ahead = 0;
                source.events_until(until, |event, parts, end| {
                    ahead += 1;
                    if parts.rivals(change) {
                        found.push((event.time, other, end));
                        return false;
                    }
                    !parts.does(change.opposite()) && ahead < AHEAD_MAX
                });
                looks += ahead as u64;
            }
        }
        self.search.looks = self.search.looks.saturating_sub(looks);
        found.sort_unstable();
        found
            .into_iter()
            .rev()
            .map(|(_, other, end)| (other, end))
            .collect()
    }

    /// Whether anything else in sight could be or bring what is missing: an event that waits, or one
    /// that was emitted and may have come too early.
    fn may_be_caused(&mut self, at: usize, image: ImageId, missing: Missing, until: u64) -> bool {
        let (wanted, undone) = match missing {
            Missing::Release(address) => (Change::GiveBack(address), Change::Obtain(address)),
            Missing::Owner(address) => (Change::Obtain(address), Change::GiveBack(address)),
        };
        let does = |change: Change, obtained: u64, given_back: u64| match change {
            Change::Obtain(address) => obtained == address && given_back != address,
            Change::GiveBack(address) => given_back == address && obtained != address,
        };
        let emitted = self.journal.iter().rev().any(|entry| match &entry.what {
            super::journal::Emitted::Event {
                image: its,
                obtained,
                given_back,
                ..
            } => {
                entry.source as usize != at && *its == image && does(undone, *obtained, *given_back)
            }
            super::journal::Emitted::Other(..) => false,
        });
        if emitted {
            return true;
        }
        let mut looks = 0;
        let mut waits = false;
        for &other in &self.active {
            let other = other as usize;
            let source = &self.sources[other];
            if other == at || source.head().is_none_or(|head| head.image != image) {
                continue;
            }
            source.events_until(until, |_, parts, _| {
                looks += 1;
                waits = parts.does(wanted);
                !waits
            });
            if waits {
                break;
            }
        }
        self.search.looks = self.search.looks.saturating_sub(looks);
        waits
    }
}
