//! Full stacks out of what events say of them: each how it differs from the last one of its lane.
//!
//! In a [`Batch`](super::Batch) of a run with full stacks, the frames of an event are a word
//! `lane | kept << 32` and the new return addresses, inner to outer. The event's stack beyond its
//! caller is those and then the `kept` outermost frames of the lane's last stack; it becomes the
//! lane's last stack. [`SAME_STACK`] as `kept` means that nothing changed. [`Item::Stack`](super::Item)
//! changes the last stack in the same way, between events.
//!
//! Lanes number the sources of a run and are dense. Within a lane everything comes in its order,
//! whatever stands between. Who looks at some events only has to follow the others' stacks too.
//!
//! Nothing here is trusted: a stack that would keep more than there is keeps what there is, and is
//! counted.

/// In the place of how many frames are kept: the stack is the last one.
pub const SAME_STACK: u32 = u32::MAX;
/// More lanes than a run can have.
const LANES_MAX: usize = 1 << 20;
/// Frames of a stack at most: what the hook keeps, and a record more.
pub const FRAMES_MAX: usize = 16 << 10;

/// The last stack of each lane.
#[derive(Clone, Debug, Default)]
pub struct LaneStacks {
    /// By lane, outer to inner.
    stacks: Vec<Vec<u64>>,
    wrong: u64,
}

impl LaneStacks {
    /// The lane's last stack keeps this many of its outermost frames, and gets these before them,
    /// inner to outer.
    pub fn change(&mut self, lane: u32, kept: u32, frames: &[u64]) {
        let at = lane as usize;
        if at >= LANES_MAX {
            self.wrong += 1;
            return;
        }
        if self.stacks.len() <= at {
            self.stacks.resize_with(at + 1, Vec::new);
        }
        let stack = &mut self.stacks[at];
        let kept = kept as usize;
        let room = FRAMES_MAX.saturating_sub(kept);
        if kept > stack.len() || frames.len() > room {
            self.wrong += 1;
        }
        stack.truncate(kept);
        let fits = frames.len().min(room);
        stack.extend(frames[..fits].iter().rev());
    }

    /// The frames of an event beyond its caller, inner to outer, by what the batch has for them.
    /// Every event must be shown, in order.
    pub fn of_event(&mut self, words: &[u64]) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let (lane, kept, frames) = match words {
            [] => (u32::MAX, SAME_STACK, words),
            [first, frames @ ..] => (*first as u32, (*first >> 32) as u32, frames),
        };
        if kept != SAME_STACK {
            self.change(lane, kept, frames);
        }
        self.of_lane(lane)
    }

    /// The last stack of a lane, inner to outer.
    pub fn of_lane(&self, lane: u32) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let stack = self
            .stacks
            .get(lane as usize)
            .map_or(&[][..], Vec::as_slice);
        stack.iter().rev().copied()
    }

    /// How many changes did not fit.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What of the old stack the new one can keep, at most, both outer to inner.
    fn common(old: &[u64], new: &[u64]) -> usize {
        old.iter().zip(new).take_while(|(a, b)| a == b).count()
    }

    proptest! {
        #[test]
        fn what_was_said_as_differences_is_read_as_stacks(
            steps in proptest::collection::vec((0u32..3, 0usize..12, proptest::collection::vec(0u64..4, 0..9)), 0..60),
        ) {
            let mut stacks = LaneStacks::default();
            let mut expected: [Option<Vec<u64>>; 3] = [None, None, None];
            for (lane, pops, pushes) in steps {
                let last = expected[lane as usize].clone();
                let mut stack = last.clone().unwrap_or_default();
                stack.truncate(stack.len().saturating_sub(pops));
                stack.extend(pushes);
                let words = if last.as_ref() == Some(&stack) {
                    vec![u64::from(lane) | u64::from(SAME_STACK) << 32]
                } else {
                    let kept = common(&last.unwrap_or_default(), &stack);
                    let new = stack[kept..].iter().rev().copied();
                    std::iter::once(u64::from(lane) | (kept as u64) << 32).chain(new).collect()
                };
                let read: Vec<u64> = stacks.of_event(&words).rev().collect();
                prop_assert_eq!(&read, &stack);
                expected[lane as usize] = Some(stack);
            }
            prop_assert_eq!(stacks.wrong(), 0);
        }
    }

    #[test]
    fn a_difference_to_frames_that_are_not_there_is_counted() {
        let mut stacks = LaneStacks::default();
        stacks.change(0, 5, &[1, 2]);
        assert_eq!(stacks.of_lane(0).collect::<Vec<_>>(), [1, 2]);
        stacks.change(u32::MAX - 1, 0, &[1]);
        assert_eq!(stacks.wrong(), 2);
        assert_eq!(stacks.of_event(&[]).count(), 0);
    }
}
