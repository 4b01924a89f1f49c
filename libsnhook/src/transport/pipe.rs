//! The pipe: every record is written before the hooked call goes on.
//!
//! No buffer, on purpose: what is in a process's own memory is lost when it is killed, and there
//! is no other way out of it. A message costs some system calls; it is the price of the fallback.
//!
//! The program may close the hook's descriptor, or get its number for a file of its own. So the
//! descriptor's identity is checked before every write, and the pipe opened anew by its path.
//! A launcher that is gone would send SIGPIPE: signals are blocked around the write, and the
//! hook's own SIGPIPE is taken back. Phase: slow.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sntrace_format::control::{CONTROL_WORDS_MAX, Control, write_control};
use sntrace_format::pipe::{HEADER_WORDS, MESSAGE_WORDS_MAX, MessageHeader};
use sntrace_format::record::{EVENT_WORDS_MAX, Event, write_event, write_event_with};
use sntrace_format::stack::{STACK_FRAMES_MAX, StackWord};

use crate::platform::sys;
use crate::state::{self, Mode};
use crate::thread::{self, ThreadState};
use crate::{environment, image};

/// The descriptor plus one; 0: not open. Any thread, relaxed: its identity is checked before use.
static DESCRIPTOR: AtomicUsize = AtomicUsize::new(0);
/// Device and inode of the pipe, once known. Written before the descriptor; relaxed, as all
/// writers write the same.
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);

/// Opens the pipe if it is not open. False where there is none or nobody reads it.
pub fn open() -> bool {
    descriptor().is_some()
}

fn descriptor() -> Option<usize> {
    let known = (
        DEVICE.load(Ordering::Relaxed),
        INODE.load(Ordering::Relaxed),
    );
    let open = DESCRIPTOR.load(Ordering::Relaxed);
    if open != 0 && sys::identity(open - 1) == Some(known) {
        return Some(open - 1);
    }
    let path = environment::pipe_path();
    if path.is_empty() {
        return None;
    }
    // Without waiting first: that fails where nobody reads, and so finds a launcher that is gone.
    let fd = sys::move_high(sys::open(path, sys::WRITE_ONLY_NOW)?);
    sys::make_blocking(fd);
    let Some((device, inode)) = sys::identity(fd) else {
        sys::close(fd);
        return None;
    };
    DEVICE.store(device, Ordering::Relaxed);
    INODE.store(inode, Ordering::Relaxed);
    DESCRIPTOR.store(fd + 1, Ordering::Relaxed);
    Some(fd)
}

/// Sends an event.
pub fn send_event(_state: &mut ThreadState, event: &Event, frames: &[u64], truncated: bool) {
    const WORDS: usize = HEADER_WORDS + EVENT_WORDS_MAX as usize;
    let message = [const { AtomicU64::new(0) }; WORDS];
    let Some(slot) = message[HEADER_WORDS..].first_chunk() else {
        return;
    };
    let words = write_event(slot, event, frames, truncated);
    send(&message, words);
}

/// Sends an event with all of its stack that a message can hold.
pub fn send_whole(event: &Event, frames: &[u64], truncated: bool) {
    let message = [const { AtomicU64::new(0) }; MESSAGE_WORDS_MAX];
    let change = StackWord {
        count: frames.len().min(STACK_FRAMES_MAX) as u16,
        truncated: truncated || frames.len() > STACK_FRAMES_MAX,
        kept: 0,
    };
    let listed = frames.iter().copied().take(STACK_FRAMES_MAX);
    let words = write_event_with(&message[HEADER_WORDS..], event, Some(change), listed);
    send(&message, words);
}

/// Sends a control message.
pub fn send_control(time: u64, control: &Control<'_>) {
    const WORDS: usize = HEADER_WORDS + CONTROL_WORDS_MAX as usize;
    let message = [const { AtomicU64::new(0) }; WORDS];
    let words = write_control(&message[HEADER_WORDS..], time, control);
    send(&message, words);
}

fn send(message: &[AtomicU64], words: u64) {
    let Some(image) = image::current() else {
        return;
    };
    let header = MessageHeader {
        words: words as u32,
        image: image.key(),
        pid: sys::process_id(),
        tid: sys::thread_id(),
    };
    for (place, word) in message.iter().zip(header.to_words()) {
        place.store(word, Ordering::Relaxed);
    }
    let length = (HEADER_WORDS + words as usize) * 8;
    // SAFETY: the message's own words, at least `length` bytes of them; no other thread has them.
    let bytes = unsafe { core::slice::from_raw_parts(message.as_ptr().cast::<u8>(), length) };
    let mask = sys::block_signals();
    let pending = sys::sigpipe_pending();
    let sent = descriptor().is_some_and(|fd| sys::write(fd, bytes));
    if sent {
        // With lanes the launcher sleeps on their doorbell, and a full pipe would wait for the
        // end of that sleep.
        thread::ring_doorbell(false);
    } else {
        if !pending {
            sys::discard_sigpipe();
        }
        // With lanes the pipe is only a way out for some threads; without, the launcher is gone.
        if state::mode() == Mode::Pipe {
            state::set_mode(Mode::Off);
        } else if let Some(header) = state::run_header() {
            header.lost_events.fetch_add(1, Ordering::Relaxed);
        }
    }
    sys::restore_signals(mask);
}
