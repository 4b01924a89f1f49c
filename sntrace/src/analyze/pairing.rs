//! Which function may give back what another one gave.
//!
//! The rules are those of C23 and C++17: what malloc and its like gave goes to free or realloc, what
//! `operator new` gave to `operator delete` of the same form (array, aligned), and a size or an alignment
//! that a release is given is the one that was asked for. Where allocators are more patient than
//! the standards, so is this: an aligned block may be given to plain `free`, as the standards say, and to
//! `free_aligned_sized` whichever function aligned it.
//!
//! **Operators that the trace has not.** An `operator new` linked into the program can call `malloc`
//! where the hook sees no operator, while the matching `operator delete` is seen as one, or the
//! other way round. So the frames are asked: a `malloc` made by `operator new` counts as
//! `operator new` where this excuses a pair. It is never what accuses one: `operator delete` often leaves by
//! a jump to `free`, and then has no frame.

use super::ledger::Block;
use super::misuse::MisuseKind;
use crate::symbolize::wrappers::Operator;
use crate::trace::{Event, Op};

/// The families of functions that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    C,
    Single,
    Array,
}

/// What is wrong with a release, if anything is. `made_by` are the operators in the frames of the
/// allocation and of the release.
#[inline]
pub(super) fn fault(
    block: &Block,
    release: &Event,
    made_by: impl FnOnce() -> (Option<Operator>, Option<Operator>),
) -> Option<MisuseKind> {
    // Nearly all: C's functions among themselves, none of which was given a size.
    if release.op == Op::Free && family(block.op) == Family::C {
        return None;
    }
    judge(block, release, made_by)
}

fn judge(
    block: &Block,
    release: &Event,
    made_by: impl FnOnce() -> (Option<Operator>, Option<Operator>),
) -> Option<MisuseKind> {
    let (got, gave) = (family(block.op), family(release.op));
    if got != gave {
        let (new, delete) = made_by();
        let seen_as = |family, operator: Option<Operator>| match (family, operator) {
            (Family::C, Some(operator)) => operator_family(operator),
            (family, _) => family,
        };
        let (got_as, gave_as) = (seen_as(got, new), seen_as(gave, delete));
        // Either as the trace says or as the frames do: what fits in one way is no misuse. What an operator
        // that is not in the trace asked of malloc is its own matter: no size to compare.
        if got_as == gave_as || got == gave_as || got_as == gave {
            return None;
        }
        return Some(match (got, gave) {
            (Family::C, _) => MisuseKind::MallocDelete,
            (_, Family::C) => MisuseKind::NewFree,
            _ => MisuseKind::ArrayMismatch,
        });
    }
    alignment_fault(block, release).or_else(|| {
        let given = given_size(release)?;
        (given != block.bytes).then_some(MisuseKind::WrongSize)
    })
}

fn alignment_fault(block: &Block, release: &Event) -> Option<MisuseKind> {
    let wrong = match release.op {
        Op::Delete | Op::DeleteArray => is_aligned_new(block.op),
        Op::DeleteAligned | Op::DeleteArrayAligned => {
            !is_aligned_new(block.op) || !is_alignment(block, release.alignment)
        }
        Op::FreeSized => block.alignment_log2 != 0,
        Op::FreeAlignedSized => !is_alignment(block, release.alignment),
        _ => false,
    };
    wrong.then_some(MisuseKind::AlignmentMismatch)
}

/// The size that a release was given; `None` where it takes none. A sized `operator delete` of 0
/// bytes can't be told from a plain one, and no object has size 0.
pub(super) fn given_size(release: &Event) -> Option<u64> {
    match release.op {
        Op::FreeSized | Op::FreeAlignedSized => Some(release.size),
        Op::Delete | Op::DeleteArray | Op::DeleteAligned | Op::DeleteArrayAligned => {
            (release.size != 0).then_some(release.size)
        }
        _ => None,
    }
}

fn is_alignment(block: &Block, alignment: u64) -> bool {
    alignment.checked_ilog2() == Some(block.alignment_log2.into())
}

fn is_aligned_new(op: Op) -> bool {
    matches!(op, Op::NewAligned | Op::NewArrayAligned)
}

fn family(op: Op) -> Family {
    match op {
        Op::New | Op::NewAligned | Op::Delete | Op::DeleteAligned => Family::Single,
        Op::NewArray | Op::NewArrayAligned | Op::DeleteArray | Op::DeleteArrayAligned => {
            Family::Array
        }
        _ => Family::C,
    }
}

fn operator_family(operator: Operator) -> Family {
    match operator {
        Operator::New | Operator::Delete => Family::Single,
        Operator::NewArray | Operator::DeleteArray => Family::Array,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{ImageId, StackId};

    fn block(op: Op, alignment: u64) -> Block {
        Block {
            bytes: 24,
            time_ns: 0,
            stack: StackId::EMPTY,
            thread: 0,
            chain: 0,
            op,
            alignment_log2: alignment.checked_ilog2().unwrap_or(0) as u8,
        }
    }

    fn release(op: Op, size: u64, alignment: u64) -> Event {
        Event {
            op,
            time_ns: 0,
            image: ImageId(1),
            tid: 1,
            block: 16,
            size,
            count: 1,
            alignment,
            old_block: 0,
            caller: 0,
            frames: (0, 0),
            stack: StackId::EMPTY,
            truncated: false,
            released: None,
            temporary: false,
        }
    }

    fn of(got: (Op, u64), gave: (Op, u64, u64)) -> Option<MisuseKind> {
        let release = release(gave.0, gave.1, gave.2);
        fault(&block(got.0, got.1), &release, || (None, None))
    }

    #[test]
    fn what_belongs_together_is_no_misuse() {
        for (got, gave) in [
            ((Op::Malloc, 0), (Op::Free, 0, 0)),
            ((Op::Calloc, 0), (Op::Realloc, 99, 0)),
            ((Op::AlignedAlloc, 64), (Op::Free, 0, 0)),
            ((Op::AlignedAlloc, 64), (Op::FreeAlignedSized, 24, 64)),
            ((Op::Malloc, 0), (Op::FreeSized, 24, 0)),
            ((Op::New, 0), (Op::Delete, 0, 0)),
            ((Op::New, 0), (Op::Delete, 24, 0)),
            ((Op::NewArray, 0), (Op::DeleteArray, 24, 0)),
            ((Op::NewAligned, 64), (Op::DeleteAligned, 24, 64)),
        ] {
            assert_eq!(of(got, gave), None, "{got:?} then {gave:?}");
        }
    }

    #[test]
    fn what_does_not_is_named() {
        for (got, gave, expected) in [
            ((Op::New, 0), (Op::Free, 0, 0), MisuseKind::NewFree),
            ((Op::NewArray, 0), (Op::Realloc, 9, 0), MisuseKind::NewFree),
            (
                (Op::Malloc, 0),
                (Op::Delete, 24, 0),
                MisuseKind::MallocDelete,
            ),
            (
                (Op::New, 0),
                (Op::DeleteArray, 0, 0),
                MisuseKind::ArrayMismatch,
            ),
            (
                (Op::NewArray, 0),
                (Op::Delete, 24, 0),
                MisuseKind::ArrayMismatch,
            ),
            ((Op::New, 0), (Op::Delete, 25, 0), MisuseKind::WrongSize),
            (
                (Op::Malloc, 0),
                (Op::FreeSized, 0, 0),
                MisuseKind::WrongSize,
            ),
            (
                (Op::NewAligned, 64),
                (Op::Delete, 24, 0),
                MisuseKind::AlignmentMismatch,
            ),
            (
                (Op::New, 0),
                (Op::DeleteAligned, 24, 64),
                MisuseKind::AlignmentMismatch,
            ),
            (
                (Op::NewAligned, 64),
                (Op::DeleteAligned, 24, 32),
                MisuseKind::AlignmentMismatch,
            ),
            (
                (Op::AlignedAlloc, 64),
                (Op::FreeSized, 24, 0),
                MisuseKind::AlignmentMismatch,
            ),
            (
                (Op::AlignedAlloc, 64),
                (Op::FreeAlignedSized, 24, 32),
                MisuseKind::AlignmentMismatch,
            ),
        ] {
            assert_eq!(of(got, gave), Some(expected), "{got:?} then {gave:?}");
        }
    }

    #[test]
    fn an_operator_in_the_frames_excuses_and_never_accuses() {
        let judged =
            |got, gave, operators| fault(&block(got, 0), &release(gave, 0, 0), || operators);
        let (new, delete) = (Some(Operator::New), Some(Operator::Delete));
        assert_eq!(judged(Op::Malloc, Op::Delete, (new, None)), None);
        assert_eq!(judged(Op::New, Op::Free, (None, delete)), None);
        assert_eq!(judged(Op::Malloc, Op::Free, (new, None)), None);
        assert_eq!(
            judged(Op::Malloc, Op::DeleteArray, (new, None)),
            Some(MisuseKind::MallocDelete)
        );
    }
}
