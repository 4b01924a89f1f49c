//! What an event does to the ownership of addresses, and when it may have done it.

use sntrace_format::record::{Event, Op};

use crate::trace::Ownership;

/// The parts of an event that its op puts into the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Elements.
    pub count: u64,
    /// Alignment, or what the op has in its place.
    pub alignment: u64,
    /// The block that the call was given to replace.
    pub old_block: u64,
    /// The block that the caller did not have before, or 0.
    pub obtained: u64,
    /// The block that the caller no longer has, or 0. The same as the obtained one where a block
    /// was resized in place.
    pub given_back: u64,
}

/// A change of an address's ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The address gets an owner.
    Obtain(u64),
    /// Its owner gives it back.
    GiveBack(u64),
}

impl Change {
    /// What has to come before it.
    pub(super) fn opposite(self) -> Self {
        match self {
            Change::Obtain(address) => Change::GiveBack(address),
            Change::GiveBack(address) => Change::Obtain(address),
        }
    }
}

impl Parts {
    #[inline(always)]
    pub(super) fn of(event: &Event) -> Self {
        let op = event.op;
        let (mut count, mut alignment, mut old_block) = (1, 0, 0);
        match op {
            Op::Malloc | Op::Free => {}
            Op::Calloc => count = event.operands[0],
            Op::Realloc | Op::Mremap => old_block = event.operands[0],
            Op::Reallocarray => (old_block, count) = (event.operands[0], event.operands[2]),
            _ if op.operands() == 1 => alignment = event.operands[0],
            _ => {}
        }
        let Ownership {
            obtained,
            given_back,
        } = Ownership::of(op, event.block, event.size, old_block);
        Self {
            count,
            alignment,
            old_block,
            obtained,
            given_back,
        }
    }

    /// The changes of ownership, in no order: a move does both at once.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        let resized = self.obtained == self.given_back;
        let obtained = (self.obtained != 0 && !resized).then_some(Change::Obtain(self.obtained));
        let given = (self.given_back != 0 && !resized).then_some(Change::GiveBack(self.given_back));
        given.into_iter().chain(obtained)
    }

    /// Whether this does that.
    pub(super) fn does(&self, change: Change) -> bool {
        self.changes().any(|one| one == change)
    }

    /// Whether it can't come after that change: it makes the same, or resizes in place the block
    /// that is given back.
    pub(super) fn rivals(&self, change: Change) -> bool {
        let resized = self.obtained == self.given_back && self.obtained != 0;
        self.does(change) || (resized && change == Change::GiveBack(self.obtained))
    }

    /// The time by which the event is put in order, and the earliest at which it may have
    /// happened. A `realloc` that moves a block is recorded at its end, when it owns the new block
    /// for certain, but another thread may have obtained the old one since its call. One that
    /// resizes in place owns its block all along and counts by its call.
    #[inline(always)]
    pub(super) fn times(&self, event: &Event) -> (u64, u64) {
        if !event.op.replaces() {
            return (event.time, event.time);
        }
        let called = event.operands[1].min(event.time);
        if event.operands[0] == event.block {
            (called, called)
        } else {
            (event.time, called)
        }
    }

    /// Whether the block was given back at some time during a call, not at its recorded time.
    pub(super) fn gives_back_early(&self, event: &Event) -> bool {
        event.op.replaces() && self.given_back != 0 && self.given_back != self.obtained
    }
}
