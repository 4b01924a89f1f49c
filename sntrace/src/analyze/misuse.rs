//! Calls that break the allocator's rules, as the events show them.
//!
//! The same mistake usually happens many times: cases are kept by what is wrong and the stacks
//! that are concerned, with a count. The first [`CASES_MAX`] distinct ones are kept, all are counted.
//!
//! A free of a block whose allocation is not in the trace is no misuse: every program frees some that its
//! loader had allocated before tracing began. It is one when the same address is freed again.

use serde::Serialize;

use super::ledger::{Block, Freed, Release};
use super::pairing;
use crate::symbolize::hash::AddressMap;
use crate::symbolize::wrappers::Operator;
use crate::trace::{Event, ImageId, Op, StackId};

/// Distinct cases that are kept.
pub const CASES_MAX: usize = 1000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MisuseKind {
    /// A block was freed that had been freed already.
    DoubleFree,
    /// `operator new` gave it, free or realloc took it.
    NewFree,
    /// malloc or its like gave it, `operator delete` took it.
    MallocDelete,
    /// `operator new` and `operator delete[]`, or the other way round.
    ArrayMismatch,
    /// The release is for another alignment than the block has.
    AlignmentMismatch,
    /// The release was given another size than the allocation.
    WrongSize,
}

impl MisuseKind {
    /// Every kind.
    pub const ALL: [MisuseKind; 6] = [
        Self::DoubleFree,
        Self::NewFree,
        Self::MallocDelete,
        Self::ArrayMismatch,
        Self::AlignmentMismatch,
        Self::WrongSize,
    ];
}

/// A call that a case consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function.
    pub op: Op,
    /// Where.
    pub stack: StackId,
    /// When, in nanoseconds since the run began, where that is still known.
    pub time_ns: Option<u64>,
    /// The thread: an index into [`super::Analysis::threads`], where it is still known.
    pub thread: Option<u32>,
}

/// A mistake, as often as it was made. What is not the same each time is of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MisuseCase {
    /// What is wrong.
    pub kind: MisuseKind,
    /// How often.
    pub times: u64,
    /// In which image.
    pub image: ImageId,
    /// Which block.
    pub block: u64,
    /// Its requested bytes, where its allocation was seen.
    pub bytes: Option<u64>,
    /// Its alignment in bytes, where one was asked for.
    pub alignment: Option<u64>,
    /// The size that the release was given.
    pub given_bytes: Option<u64>,
    /// The alignment that the release was given.
    pub given_alignment: Option<u64>,
    /// What allocated it; `None` where that was not seen.
    pub allocation: Option<Call>,
    /// Of a double free: what freed it first.
    pub first_release: Option<Call>,
    /// The call that is wrong.
    pub release: Call,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misuse {
    /// Distinct cases, in the order of their first occurrence; at most [`CASES_MAX`].
    pub cases: Vec<MisuseCase>,
    /// All occurrences, in the order of [`MisuseKind::ALL`].
    pub counts: [u64; MisuseKind::ALL.len()],
    /// Frees of blocks whose allocation is not in the trace.
    pub unknown_frees: u64,
    /// By stack, the most first.
    pub unknown_frees_by_stack: Vec<(StackId, u64)>,
    /// Frees, in a forked child, of blocks that it did not allocate: its parent's, or from before
    /// tracing.
    pub inherited_frees: u64,
    /// Freed blocks that were forgotten to bound memory: if one of these was freed again, it is
    /// among the unknown.
    pub forgotten_blocks: u64,
    /// Whether events are missing or may stand in a wrong order: then some of this may be none.
    pub doubtful: bool,
}

impl Misuse {
    /// All occurrences of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Occurrences of a kind.
    #[must_use]
    pub fn count(&self, kind: MisuseKind) -> u64 {
        self.counts[kind as usize]
    }
}

/// What makes two occurrences one case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    kind: MisuseKind,
    allocation: Option<StackId>,
    first: Option<StackId>,
    release: StackId,
}

#[derive(Default)]
pub(super) struct Judge {
    found: Misuse,
    numbers: std::collections::HashMap<Key, usize>,
    unknown: AddressMap<u32, u64>,
}

impl Judge {
    /// A live block was released. `operators` tells the operators in the frames of a stack.
    #[inline]
    pub fn released(
        &mut self,
        block: &Block,
        event: &Event,
        by: Release,
        operator_of: impl Fn(StackId) -> Option<Operator>,
    ) {
        let operators = || (operator_of(block.stack), operator_of(by.stack));
        if let Some(kind) = pairing::fault(block, event, operators) {
            let allocation = Call {
                op: block.op,
                stack: block.stack,
                time_ns: Some(block.time_ns),
                thread: Some(block.thread),
            };
            let alignment = (block.alignment_log2 != 0).then(|| 1 << block.alignment_log2);
            self.add(MisuseCase {
                bytes: Some(block.bytes),
                alignment,
                allocation: Some(allocation),
                ..case(kind, event, by)
            });
        }
    }

    /// A block was released that had been released before.
    #[cold]
    pub fn released_again(&mut self, before: &Freed, event: &Event, by: Release) {
        let allocation = before.allocation.map(|(op, stack, _)| Call {
            op,
            stack,
            time_ns: None,
            thread: None,
        });
        self.add(MisuseCase {
            bytes: before.allocation.map(|(_, _, bytes)| bytes),
            allocation,
            first_release: Some(call(before.release)),
            ..case(MisuseKind::DoubleFree, event, by)
        });
    }

    /// A block was released that nobody knows.
    #[cold]
    pub fn released_unknown(&mut self, by: Release) {
        self.found.unknown_frees += 1;
        *self.unknown.entry(by.stack.0).or_default() += 1;
    }

    /// A block was released that a forked child may have inherited.
    pub fn released_inherited(&mut self) {
        self.found.inherited_frees += 1;
    }

    #[cold]
    fn add(&mut self, case: MisuseCase) {
        self.found.counts[case.kind as usize] += 1;
        let key = Key {
            kind: case.kind,
            allocation: case.allocation.map(|call| call.stack),
            first: case.first_release.map(|call| call.stack),
            release: case.release.stack,
        };
        if let Some(&number) = self.numbers.get(&key) {
            self.found.cases[number].times += 1;
        } else if self.found.cases.len() < CASES_MAX {
            self.numbers.insert(key, self.found.cases.len());
            self.found.cases.push(case);
        }
    }

    pub fn finish(self, forgotten_blocks: u64, doubtful: bool) -> Misuse {
        let unknown = self.unknown.into_iter();
        let mut by_stack: Vec<_> = unknown.map(|(stack, n)| (StackId(stack), n)).collect();
        by_stack.sort_by_key(|&(stack, times)| (std::cmp::Reverse(times), stack));
        Misuse {
            unknown_frees_by_stack: by_stack,
            forgotten_blocks,
            doubtful,
            ..self.found
        }
    }
}

fn case(kind: MisuseKind, event: &Event, by: Release) -> MisuseCase {
    let block = match event.op.only_releases() {
        true => event.block,
        false => event.old_block,
    };
    let takes_alignment = event.op.only_releases() && event.alignment != 0;
    MisuseCase {
        kind,
        times: 1,
        image: event.image,
        block,
        bytes: None,
        alignment: None,
        given_bytes: pairing::given_size(event),
        given_alignment: takes_alignment.then_some(event.alignment),
        allocation: None,
        first_release: None,
        release: call(by),
    }
}

fn call(release: Release) -> Call {
    Call {
        op: release.op,
        stack: release.stack,
        time_ns: Some(release.time_ns),
        thread: Some(release.thread),
    }
}
