//! The heap over time, in a fixed number of buckets.
//!
//! How long a run takes is not known before its end. A timeline begins with buckets of about a
//! microsecond; when they are used up, every two become one of twice the width. So there are
//! always between half of [`BUCKETS`] and all of them, and their width is a power of two.

/// Buckets at most.
pub const BUCKETS: usize = 4096;

/// Width of the first buckets, as a power of two: 1024 ns.
const FIRST_WIDTH_LOG2: u32 = 10;

/// What happened in a bucket's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Most requested bytes that were live at a time.
    pub high_bytes: u64,
    /// Requested bytes that were live at its end.
    pub end_bytes: u64,
    /// Allocations in it.
    pub allocations: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    buckets: Vec<Bucket>,
    width_log2: u32,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline {
            buckets: vec![Bucket::default()],
            width_log2: FIRST_WIDTH_LOG2,
        }
    }
}

impl Timeline {
    /// At this time so much was live, after so many allocations at once. The hot path.
    #[inline]
    pub(super) fn note(&mut self, time_ns: u64, live_bytes: u64, allocations: u64) {
        let at = (time_ns >> self.width_log2.min(63)) as usize;
        // Time does not run backwards: what says so belongs to the present.
        if at >= self.buckets.len() {
            self.extend(time_ns);
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.high_bytes = bucket.high_bytes.max(live_bytes);
            bucket.end_bytes = live_bytes;
            bucket.allocations += allocations;
        }
    }

    #[cold]
    fn extend(&mut self, time_ns: u64) {
        while time_ns >> self.width_log2.min(63) >= BUCKETS as u64 {
            let halves = self.buckets.chunks(2);
            self.buckets = halves.map(merged).collect();
            self.width_log2 += 1;
        }
        let count = (time_ns >> self.width_log2.min(63)) as usize + 1;
        let still = self.buckets.last().map_or(0, |bucket| bucket.end_bytes);
        let idle = Bucket {
            high_bytes: still,
            end_bytes: still,
            allocations: 0,
        };
        self.buckets.resize(count.max(self.buckets.len()), idle);
    }

    /// The buckets, from the beginning of the run to its last event.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// A bucket's time in nanoseconds.
    #[must_use]
    pub fn width_ns(&self) -> u64 {
        1 << self.width_log2.min(63)
    }

    /// The most that was live in each of so many parts of the time. Parts shorter than a bucket
    /// show the bucket that they are in.
    pub fn highs(&self, parts: usize) -> impl Iterator<Item = u64> + '_ {
        let count = self.buckets.len();
        (0..parts).map(move |part| {
            let begin = part * count / parts;
            let end = ((part + 1) * count / parts).max(begin + 1);
            let covered = self.buckets.get(begin..end).unwrap_or(&[]);
            covered.iter().map(|b| b.high_bytes).max().unwrap_or(0)
        })
    }
}

/// Buckets that follow each other as one.
fn merged(some: &[Bucket]) -> Bucket {
    Bucket {
        high_bytes: some.iter().map(|b| b.high_bytes).max().unwrap_or(0),
        end_bytes: some.last().map_or(0, |b| b.end_bytes),
        allocations: some.iter().map(|b| b.allocations).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn idle_time_keeps_what_was_live() {
        let mut timeline = Timeline::default();
        timeline.note(100, 50, 1);
        timeline.note(200, 20, 0);
        timeline.note(4 * 1024, 30, 1);
        let highs: Vec<_> = timeline.buckets().iter().map(|b| b.high_bytes).collect();
        assert_eq!(highs, [50, 20, 20, 20, 30]);
        assert_eq!(timeline.highs(2).collect::<Vec<_>>(), [50, 30]);
        let wide: Vec<_> = timeline.highs(10).collect();
        assert_eq!(wide, [50, 50, 20, 20, 20, 20, 20, 20, 30, 30]);
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut timeline = Timeline::default();
        timeline.note(5, 1, 1);
        timeline.note(u64::MAX, 9, 1);
        timeline.note(7, 3, 1);
        assert!(timeline.buckets().len() <= BUCKETS);
        let last = timeline.buckets().last().unwrap();
        assert_eq!(
            (last.high_bytes, last.end_bytes, last.allocations),
            (9, 3, 2)
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_halving(steps in proptest::collection::vec((0u64..1 << 30, 0u64..1000), 1..80)) {
            let mut timeline = Timeline::default();
            let mut time = 0;
            for &(step, live) in &steps {
                time += step;
                timeline.note(time, live, 1);
            }
            let buckets = timeline.buckets();
            prop_assert!(buckets.len() <= BUCKETS);
            prop_assert_eq!(buckets.len() as u64, time / timeline.width_ns() + 1);
            prop_assert_eq!(buckets.iter().map(|b| b.allocations).sum::<u64>(), steps.len() as u64);
            let highest = steps.iter().map(|step| step.1).max();
            prop_assert_eq!(buckets.iter().map(|b| b.high_bytes).max(), highest);
            prop_assert_eq!(buckets.last().map(|b| b.end_bytes), steps.last().map(|step| step.1));
        }
    }
}
