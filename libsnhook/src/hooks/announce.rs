//! Tells the launcher which program comes next, so that it can say why one is not in the trace.
//!
//! A program that can't carry the hook runs and says nothing. The only one who knows of it is the one
//! who started it: before an exec, and after a posix_spawn. That an exec failed is said afterwards,
//! by whoever is still there to say it. Phase: exec.

use sntrace_format::control::Control;
use sntrace_format::env::OptionBits;

use crate::platform::{clock, sys};
use crate::state::{self, Mode};
use crate::{image, thread};

/// The process `pid` is about to run, or runs, the program at `path`. False if that can't be told.
pub fn program(pid: u32, path: &[u8]) -> bool {
    !path.is_empty() && send(pid, path)
}

/// This process does not: the exec that was announced last failed.
pub fn failure() {
    send(sys::process_id(), &[]);
}

fn send(pid: u32, path: &[u8]) -> bool {
    if !matches!(state::mode(), Mode::Shared | Mode::Pipe) || state::has(OptionBits::NO_FOLLOW) {
        return false;
    }
    let Some(image) = image::current() else {
        return false;
    };
    let state = if image.is_borrowed() {
        // A thread without a state gets none here: it would belong to the child, and stay behind
        // in the parent's thread when the child is gone.
        thread::recording()
    } else {
        thread::recording_now()
    };
    let Some(state) = state.and_then(thread::attached) else {
        return false;
    };
    thread::control(state, clock::now(), &Control::Exec { pid, path });
    true
}
