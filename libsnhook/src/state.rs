//! What the whole process knows: how far the hook has started, and what the user asked for.
//!
//! These words survive a fork on purpose: a child shares its parent's segment and options. What a
//! child must not share lives in wiped pages ([`crate::image`], [`crate::thread`]).
//!
//! Written in the load phase by one thread; read in every phase.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sntrace_format::env::OptionBits;
use sntrace_format::layout::RunHeader;
use sntrace_format::verdict::{self, Verdict};

/// How events leave the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// The hook has not started.
    Asleep = 0,
    /// No events: not traced, or the launcher is gone.
    Off = 1,
    /// Through lanes in shared memory.
    Shared = 2,
    /// Through the pipe, one message an event.
    Pipe = 3,
}

/// Written by [`set_mode`], release, after everything that the mode needs; read with acquire.
static MODE: AtomicU32 = AtomicU32::new(Mode::Asleep as u32);
/// Address of the mapped segment, or 0. Written before the mode, read after it.
static SEGMENT: AtomicUsize = AtomicUsize::new(0);
/// [`OptionBits`]. Written before the mode, read after it.
static OPTIONS: AtomicU32 = AtomicU32::new(0);
/// The launcher's process id. Written before the mode, read after it.
static LAUNCHER: AtomicU32 = AtomicU32::new(0);
/// Counts calls that load or unload modules, from 1. Any thread adds, at least acquire-release: an address
/// that is looked up under a new epoch is looked up in maps read after the call began.
pub static EPOCH: AtomicU32 = AtomicU32::new(1);
/// What the hot path adds to a return address to get the word by which it is known as direct in
/// this epoch. Written by [`advance_epoch`] with compare-and-swap right after the epoch, and by
/// [`leave_the_hot_path`] and [`take_the_hot_path`], sequentially consistent; read relaxed: in between,
/// what was known before the call into the loader still holds.
static DIRECT_KEY: AtomicU64 = AtomicU64::new(verdict::key(1, Verdict::Direct));

/// [`DIRECT_KEY`] of a process that leaves the hot path to nobody: no verdict has both bits of its
/// kind.
const NEVER: u64 = 3 << 62;

/// From now on no call site is known as direct to the hot path.
pub fn leave_the_hot_path() {
    DIRECT_KEY.store(NEVER, Ordering::SeqCst);
}

/// Takes that back.
pub fn take_the_hot_path() {
    let mut before = NEVER;
    loop {
        let key = verdict::key(EPOCH.load(Ordering::SeqCst), Verdict::Direct);
        // Somebody else has begun an epoch, and made its key, or has left the hot path again.
        if key == before
            || DIRECT_KEY
                .compare_exchange(before, key, Ordering::SeqCst, Ordering::SeqCst)
                .is_err()
        {
            return;
        }
        // Who began an epoch meanwhile may still have found the hot path left: once more.
        before = key;
    }
}

/// Whether the hot path is left to nobody.
pub fn hot_path_is_left() -> bool {
    DIRECT_KEY.load(Ordering::Relaxed) == NEVER
}

/// What makes a direct return address into the word by which it is known in this epoch.
#[inline(always)]
pub fn direct_key() -> u64 {
    DIRECT_KEY.load(Ordering::Relaxed)
}

/// Begins a new epoch and returns its number.
pub fn advance_epoch() -> u32 {
    // Sequentially consistent, as the look at the key: see `take_the_hot_path`, which changes the key and then
    // looks at the epoch. One of the two sees the other.
    let epoch = EPOCH.fetch_add(1, Ordering::SeqCst) + 1;
    loop {
        let before = DIRECT_KEY.load(Ordering::SeqCst);
        if before == NEVER {
            return epoch;
        }
        // Loaded after the key: if another thread has begun an epoch since, and made its key, then
        // the exchange fails; so the last epoch's key stays.
        let key = verdict::key(EPOCH.load(Ordering::Acquire), Verdict::Direct);
        if DIRECT_KEY
            .compare_exchange(before, key, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return epoch;
        }
    }
}

/// The mode.
#[inline(always)]
pub fn mode() -> Mode {
    match MODE.load(Ordering::Acquire) {
        1 => Mode::Off,
        2 => Mode::Shared,
        3 => Mode::Pipe,
        _ => Mode::Asleep,
    }
}

/// Changes the mode.
pub fn set_mode(mode: Mode) {
    MODE.store(mode as u32, Ordering::Release);
}

/// Fixes the run's facts, before the mode is set.
pub fn set_run(segment: usize, options: OptionBits, launcher: u32) {
    SEGMENT.store(segment, Ordering::Relaxed);
    OPTIONS.store(options.0, Ordering::Relaxed);
    LAUNCHER.store(launcher, Ordering::Relaxed);
}

/// Whether the user asked for `option`.
#[inline(always)]
pub fn has(option: OptionBits) -> bool {
    OptionBits(OPTIONS.load(Ordering::Relaxed)).has(option)
}

/// Whether the mmap family is recorded.
#[inline(always)]
pub fn records_mappings() -> bool {
    has(OptionBits::MMAP)
}

/// The launcher's process id.
pub fn launcher() -> u32 {
    LAUNCHER.load(Ordering::Relaxed)
}

/// Address of the segment; 0 without one.
pub fn segment() -> usize {
    SEGMENT.load(Ordering::Relaxed)
}

/// The segment's header, where there is one.
pub fn run_header() -> Option<&'static RunHeader> {
    let segment = segment() as *const RunHeader;
    // SAFETY: null, or the mapping of the whole segment, which is never unmapped.
    unsafe { segment.as_ref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other test begins epochs.
    #[test]
    fn whoever_takes_the_hot_path_has_the_key_of_the_last_epoch() {
        let is_last =
            || direct_key() == verdict::key(EPOCH.load(Ordering::SeqCst), Verdict::Direct);
        // How often each side has been there: both begin a round at the same time.
        let (taker, beginner) = (AtomicU32::new(0), AtomicU32::new(0));
        let meet = |mine: &AtomicU32, other: &AtomicU32| {
            let round = mine.fetch_add(1, Ordering::SeqCst) + 1;
            let mut looks = 0_u32;
            while other.load(Ordering::SeqCst) < round {
                looks += 1;
                if looks.is_multiple_of(1000) {
                    std::thread::yield_now();
                }
            }
        };
        const ROUNDS: u32 = 50_000;
        let mut wrong = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    meet(&beginner, &taker);
                    advance_epoch();
                    meet(&beginner, &taker);
                }
            });
            for _ in 0..ROUNDS {
                leave_the_hot_path();
                meet(&taker, &beginner);
                take_the_hot_path();
                meet(&taker, &beginner);
                wrong += u32::from(!is_last());
            }
        });
        assert_eq!(wrong, 0);
        leave_the_hot_path();
        advance_epoch();
        assert!(hot_path_is_left());
        take_the_hot_path();
        assert!(is_last());
        // Once more changes nothing.
        take_the_hot_path();
        assert!(is_last());
    }
}
