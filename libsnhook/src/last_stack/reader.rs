//! This process, as a walk sees it that keeps what it reads.

use core::cell::Cell;

use super::frames::{Word, Words};
use super::outcome::Unknown;
use crate::callers::{self, StackWindow};
use crate::first_stack;
use crate::modules;
use crate::unwind::cache::Epoch;
use crate::unwind::cfi::EhFrame;
use crate::unwind::walk::{Stack, Target};
use crate::unwind::{Native, Rule};

/// This process, as a walk sees it that keeps what it reads.
pub(super) struct Reader<'a> {
    pub(super) window: &'a StackWindow,
    pub(super) words: Words,
    pub(super) epoch: Epoch,
    pub(super) unknown: Unknown,
    /// How many words belong to the last stack.
    pub(super) used: usize,
    /// The place of the last word that was read.
    pub(super) next: Cell<usize>,
    /// Whether a word could not be read, or not be kept.
    pub(super) failed: Cell<bool>,
    /// Whether a rule was not in the cache, and the walk is to end.
    pub(super) stopped: Cell<bool>,
}

impl Reader<'_> {
    #[cold]
    #[inline(never)]
    fn unknown_rule(&self, return_address: u64) -> Rule {
        match self.unknown {
            Unknown::LookUp => modules::rule_slowly(return_address, self.epoch),
            Unknown::Stop => {
                self.stopped.set(true);
                Rule::END
            }
        }
    }
}

impl Target for Reader<'_> {
    type Machine = Native;

    #[inline(always)]
    fn read(&self, address: u64) -> Option<u64> {
        let value = self.window.read(address as usize);
        let next = self.next.get();
        match value {
            Some(value) if next > self.used => {
                self.words.set(next - 1, Word { address, value });
                self.next.set(next - 1);
            }
            _ => self.failed.set(true),
        }
        value
    }

    #[inline(always)]
    fn rule(&self, return_address: u64) -> Rule {
        match modules::known_rule(return_address, self.epoch) {
            Some(rule) => rule,
            None => self.unknown_rule(return_address),
        }
    }

    fn eh_frame(&self, address: u64) -> Option<EhFrame<'_>> {
        modules::eh_frame(address)
    }

    fn code(&self, address: u64) -> Option<[u8; 8]> {
        callers::code(address)
    }

    fn is_first_frame(&self, sp: u64) -> bool {
        first_stack::begins_at(sp)
    }

    fn stack(&self, sp: u64) -> Option<Stack> {
        callers::other_stack(sp)
    }
}
