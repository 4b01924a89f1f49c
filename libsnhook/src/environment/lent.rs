//! `system` and `popen` start a program with the environment that the C library finds in `environ`,
//! past every hook. Where the program has cleared it, a complete one stands there for the time
//! of the call.
//!
//! Other threads may look at `environ` meanwhile, and the C library reads it without a lock they
//! could be kept out by. So nothing is edited in place: the pointer is exchanged for another
//! array's, which holds the same strings and the two variables, and exchanged back afterwards.
//! Whoever reads finds one array or the other, both whole. For the same reason an array that was
//! once shown is never unmapped; one is kept and used again, so that a program that calls
//! `system` all day does not grow. While it is rewritten, each place of it holds a valid
//! string or null, and the last one always null.
//!
//! If another thread changes a variable during the call (which POSIX leaves undefined beside
//! `system`, and programs do), its change wins: `environ` then stays what that thread has made of it.
//! The same holds for a thread that is cancelled inside `system`. What remains then are two
//! variables that the program had at its start. Phase: exec.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::complete::{self, Change, Way};
use crate::hooks::real;
use crate::platform::sys;

/// 1 while a thread is in [`begin`] or [`end`]. Swap with acquire, store with release.
static LOCK: AtomicU32 = AtomicU32::new(0);
/// Calls going on. Under the lock.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// What `environ` was before the first of them. Under the lock.
static THEIRS: AtomicUsize = AtomicUsize::new(0);
/// The array that is kept, and its length in words; 0: none yet. Under the lock.
static OURS: AtomicUsize = AtomicUsize::new(0);
static OUR_WORDS: AtomicUsize = AtomicUsize::new(0);
/// How many of its words were shown last. Under the lock.
static SHOWN_WORDS: AtomicUsize = AtomicUsize::new(0);

/// How often the lock is tried. It is held for microseconds: after that, its holder was a thread
/// of another process, from which a raw `clone` has made this one.
const TRIES: u32 = 10_000;

/// Puts a complete environment there if the present one is not. True: [`end`] must be called.
pub fn begin() -> bool {
    let Some(environ) = place() else { return false };
    // SAFETY: `environ` is null or an array of C strings: the C library relies on it too.
    if unsafe { complete::change(environ.load(Ordering::Acquire), Way::Traced) }.is_none()
        && !is_lent()
    {
        return false;
    }
    locked(|| {
        let theirs = environ.load(Ordering::Acquire);
        let calls = CALLS.load(Ordering::Relaxed);
        if calls > 0 && theirs == OURS.load(Ordering::Relaxed) {
            CALLS.store(calls + 1, Ordering::Relaxed);
            return true;
        }
        // SAFETY: as above.
        let Some(change) = (unsafe { complete::change(theirs, Way::Traced) }) else {
            return false;
        };
        if !make(&change) {
            return false;
        }
        THEIRS.store(theirs, Ordering::Relaxed);
        CALLS.store(1, Ordering::Relaxed);
        // Release: whoever reads the pointer finds the array written. A thread that has put
        // something else there since is right.
        let ours = OURS.load(Ordering::Relaxed);
        let _ = environ.compare_exchange(theirs, ours, Ordering::AcqRel, Ordering::Relaxed);
        true
    })
    .unwrap_or(false)
}

/// Puts back what was there, if nobody has changed it meanwhile.
pub fn end() {
    let _ = locked(|| {
        let calls = CALLS.load(Ordering::Relaxed);
        CALLS.store(calls.saturating_sub(1), Ordering::Relaxed);
        if calls == 1 {
            put_back();
        }
    });
}

/// In a child made by `fork`, whose parent may have been inside a call on another thread: it has
/// one thread, which is in none.
pub fn forked() {
    LOCK.store(0, Ordering::Relaxed);
    if CALLS.swap(0, Ordering::Relaxed) > 0 {
        put_back();
    }
}

fn is_lent() -> bool {
    CALLS.load(Ordering::Relaxed) > 0
}

fn put_back() {
    let Some(environ) = place() else { return };
    let (theirs, ours) = (THEIRS.load(Ordering::Relaxed), OURS.load(Ordering::Relaxed));
    if environ.load(Ordering::Acquire) != ours {
        return;
    }
    // SAFETY: what the program had there, which nobody has replaced since.
    if unsafe { is_unchanged(theirs) } {
        let _ = environ.compare_exchange(ours, theirs, Ordering::AcqRel, Ordering::Relaxed);
    } else {
        // It is the program's from now on.
        OURS.store(0, Ordering::Relaxed);
        OUR_WORDS.store(0, Ordering::Relaxed);
    }
}

/// Whether the array that is shown is still the one that [`make`] would make.
///
/// # Safety
/// `theirs` is null or a C array of C strings ended by null.
unsafe fn is_unchanged(theirs: usize) -> bool {
    // SAFETY: the caller's promise.
    let Some(change) = (unsafe { complete::change(theirs, Way::Traced) }) else {
        return false;
    };
    let shown = SHOWN_WORDS.load(Ordering::Relaxed);
    let is = |at: usize, entry: usize| at <= shown && word(at).load(Ordering::Relaxed) == entry;
    let mut at = 0;
    let mut same = true;
    change.each(|entry| {
        same &= is(at, entry);
        at += 1;
    });
    same && at + 2 == shown
        && is(at, TEXT.load(Ordering::Relaxed))
        && is(at + 1, change.run())
        && is(shown, 0)
}

/// A word of the array that is kept.
fn word(at: usize) -> &'static AtomicUsize {
    debug_assert!(at < OUR_WORDS.load(Ordering::Relaxed));
    let address = OURS.load(Ordering::Relaxed) + at * size_of::<usize>();
    // SAFETY: callers stay below the array's length; it is never unmapped.
    unsafe { &*(address as *const AtomicUsize) }
}

/// Writes the complete array into the one that is kept. False if there is no memory for it.
fn make(change: &Change) -> bool {
    let Some(text) = text_of(change) else {
        return false;
    };
    let words = change.pointer_bytes() / size_of::<usize>();
    if words > OUR_WORDS.load(Ordering::Relaxed) {
        // With room to grow: the former one is lost, a few pages for each doubling.
        let bytes = (2 * words * size_of::<usize>()).next_multiple_of(4096);
        let Some(pages) = sys::map_anonymous(bytes) else {
            return false;
        };
        OURS.store(pages, Ordering::Relaxed);
        OUR_WORDS.store(bytes / size_of::<usize>(), Ordering::Relaxed);
    }
    let mut at = 0;
    let mut put = |entry: usize| {
        word(at).store(entry, Ordering::Relaxed);
        at += 1;
    };
    change.each(&mut put);
    put(text);
    put(change.run());
    SHOWN_WORDS.store(at, Ordering::Relaxed);
    for rest in at..OUR_WORDS.load(Ordering::Relaxed) {
        if word(rest).swap(0, Ordering::Relaxed) == 0 {
            break;
        }
    }
    true
}

/// The last text made, which never changes: a thread may have got hold of it. Under the lock.
static TEXT: AtomicUsize = AtomicUsize::new(0);

/// The new LD_PRELOAD, in pages of its own.
fn text_of(change: &Change) -> Option<usize> {
    let last = TEXT.load(Ordering::Relaxed);
    // SAFETY: 0, or the text made last, which ends with a zero.
    if last != 0 && unsafe { change.is_text(last) } {
        return Some(last);
    }
    let text = sys::map_anonymous(change.text_bytes())?;
    // SAFETY: fresh pages of that length.
    unsafe { change.write_text(text) };
    TEXT.store(text, Ordering::Relaxed);
    Some(text)
}

/// Runs `call` under the lock with signals blocked; `None` if the lock can't be had.
fn locked<R>(call: impl FnOnce() -> R) -> Option<R> {
    let mask = sys::block_signals();
    let mut result = None;
    for _ in 0..TRIES {
        if LOCK.swap(1, Ordering::Acquire) == 0 {
            result = Some(call());
            LOCK.store(0, Ordering::Release);
            break;
        }
        sys::yield_now();
    }
    sys::restore_signals(mask);
    result
}

/// The C library's variable.
fn place() -> Option<&'static AtomicUsize> {
    let address = real::ENVIRON.load(Ordering::Relaxed);
    // SAFETY: 0, or a pointer variable (`man 7 environ`) that is there as long as the C library.
    unsafe { (address as *const AtomicUsize).as_ref() }
}
