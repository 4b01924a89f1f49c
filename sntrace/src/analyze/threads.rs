//! What each thread allocated and freed.
//!
//! A thread is a thread id in an image: after an exec it is another one. An id that the system gave
//! out again within a process is not told apart from its first owner.

use super::counts::Counts;
use crate::symbolize::hash::AddressMap;
use crate::trace::ImageId;

/// A thread's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTotals {
    /// Its image.
    pub image: ImageId,
    /// Its thread id.
    pub tid: u32,
    /// Its first event, in nanoseconds since the run began.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
    /// What it allocated.
    pub allocated: Counts,
    /// Calls that gave a block back, whoever had allocated it.
    pub frees: u64,
    /// Its temporary allocations.
    pub temporary: Counts,
    /// What it freed that another thread had allocated.
    pub crossed: Counts,
    /// What it allocated that was live when the process ended.
    pub leaked: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Threads {
    pub all: Vec<ThreadTotals>,
    numbers: AddressMap<u64, u32>,
    /// The one that was asked for last.
    last: Option<(u64, u32)>,
}

impl Threads {
    /// The thread's index in [`Threads::all`].
    #[inline]
    pub fn number(&mut self, image: ImageId, tid: u32, time_ns: u64) -> u32 {
        let key = u64::from(image.0) << 32 | u64::from(tid);
        match self.last {
            Some((known, number)) if known == key => number,
            _ => self.find(key, image, tid, time_ns),
        }
    }

    fn find(&mut self, key: u64, image: ImageId, tid: u32, time_ns: u64) -> u32 {
        let next = self.all.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.all.push(ThreadTotals {
                image,
                tid,
                first_ns: time_ns,
                last_ns: time_ns,
                allocated: Counts::default(),
                frees: 0,
                temporary: Counts::default(),
                crossed: Counts::default(),
                leaked: Counts::default(),
            });
        }
        self.last = Some((key, number));
        number
    }
}
