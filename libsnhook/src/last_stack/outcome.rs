//! What comes of making a stack: how it differs from the last one, or what kept it from being made.

use sntrace_format::stack::StackWord;

/// How a new stack differs from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many outermost frames of the last one stay.
    pub kept: usize,
    /// How many frames the new one has.
    pub length: usize,
    /// Whether it goes on beyond its outermost frame.
    pub truncated: bool,
    /// Whether it is the same as the last one.
    pub same: bool,
}

/// What keeps a stack from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no memory for it yet.
    NoMemory,
    /// It has an address that was not announced in this epoch.
    Unannounced,
}

/// What came of an attempt to make a stack, in one word: a larger result would go through memory, and be
/// waited for there.
///
/// Bits 0 to 19 are how many frames stay, 20 to 39 how many there are, then `truncated` and `same`; bit 42
/// says that there is a stack.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Outcome(u64);

impl Outcome {
    /// The last stack is of no help, or the new one too deep.
    pub(super) const NO_HELP: Self = Self(0);
    pub(super) const NO_MEMORY: Self = Self(1);
    pub(super) const UNANNOUNCED: Self = Self(2);
    pub(super) const MADE: u64 = 1 << 42;

    #[inline(always)]
    pub(super) fn of(made: Difference) -> Self {
        Self(
            made.kept as u64
                | (made.length as u64) << 20
                | u64::from(made.truncated) << 40
                | u64::from(made.same) << 41
                | Self::MADE,
        )
    }

    #[inline(always)]
    pub(super) fn result(self) -> Result<Difference, Obstacle> {
        if self.0 & Self::MADE == 0 {
            return Err(if self == Self::UNANNOUNCED {
                Obstacle::Unannounced
            } else {
                Obstacle::NoMemory
            });
        }
        Ok(Difference {
            kept: (self.0 & 0xf_ffff) as usize,
            length: (self.0 >> 20 & 0xf_ffff) as usize,
            truncated: self.0 >> 40 & 1 != 0,
            same: self.0 >> 41 & 1 != 0,
        })
    }
}

/// What to do at an address whose rule is not in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Stop: it may not have been announced.
    Stop,
    /// Look it up: everything was announced a moment ago.
    LookUp,
}

impl Difference {
    /// What is said where no stack can be made.
    pub const NOTHING_KNOWN: Self = Self {
        kept: 0,
        length: 0,
        truncated: true,
        same: false,
    };

    /// How many frames have to be listed.
    #[inline(always)]
    pub fn listed(&self) -> usize {
        self.length - self.kept
    }

    /// What an event says of it; nothing if there is none.
    #[inline(always)]
    pub fn word(&self) -> Option<StackWord> {
        (!self.same).then_some(StackWord {
            count: self.listed() as u16,
            truncated: self.truncated,
            kept: self.kept as u32,
        })
    }
}
