//! How the hook starts, and where it finds the run. Phase: load.

use core::sync::atomic::{AtomicU32, Ordering};

use sntrace_format::env::{OptionBits, RunAddress};
use sntrace_format::layout::{self, RunHeader};
use sntrace_format::version::{PROTOCOL_VERSION, SEGMENT_MAGIC};

use super::attach::attach;
use super::current;
use crate::hooks::real;
use crate::platform::{clock, sys};
use crate::state::{self, Mode};
use crate::transport::pipe;
use crate::{environment, image};

/// The thread that starts the hook, 0 before. Compare-and-swap, acquire-release.
static STARTER: AtomicU32 = AtomicU32::new(0);

/// Starts the hook: once in a process, in the load phase.
#[cold]
pub fn start() {
    if state::mode() != Mode::Asleep {
        return;
    }
    let me = sys::thread_id();
    match STARTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // `dlsym` called an allocation function: the stand-ins serve it.
        Err(starter) if starter == me => return,
        Err(_) => {
            while state::mode() == Mode::Asleep {
                sys::yield_now();
            }
            return;
        }
    }
    let mask = sys::block_signals();
    real::resolve();
    environment::read();
    state::set_mode(find_run());
    sys::restore_signals(mask);
}

/// Starts the hook and makes the process known, before its first event.
pub fn begin_process() {
    start();
    if matches!(state::mode(), Mode::Shared | Mode::Pipe) && current().is_none() {
        let _ = attach();
    }
}

/// Finds the run that the environment tells of and how its events leave this process.
fn find_run() -> Mode {
    let Some(address) = RunAddress::parse(environment::run()) else {
        return Mode::Off;
    };
    if address.options.has(OptionBits::CLOCK_MONOTONIC) {
        clock::use_monotonic();
    }
    if !image::prepare() {
        return Mode::Off;
    }
    let segment = if address.segment_len == 0 {
        None
    } else {
        map_segment(&address)
    };
    state::set_run(segment.unwrap_or(0), address.options, address.launcher_pid);
    if segment.is_some() {
        // Where it fails the launcher falls back to waiting longer for late events.
        let _ = sys::join_membarrier();
        return Mode::Shared;
    }
    if !address.pipe_path.is_empty() && pipe::open() {
        Mode::Pipe
    } else {
        Mode::Off
    }
}

fn map_segment(address: &RunAddress<'_>) -> Option<usize> {
    let mut path = [0u8; 48];
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for &byte in bytes {
            if let Some(place) = path.get_mut(length) {
                *place = byte;
                length += 1;
            }
        }
    };
    let mut digits = [0u8; 10];
    put(b"/proc/");
    put(decimal(address.launcher_pid, &mut digits));
    put(b"/fd/");
    put(decimal(address.segment_fd, &mut digits));
    put(b"\0");
    let fd = sys::open(path.get(..length)?, sys::READ_WRITE)?;
    let bytes = usize::try_from(address.segment_len)
        .ok()
        .filter(|&bytes| bytes == layout::SEGMENT_BYTES);
    let segment = bytes.and_then(|bytes| sys::map_shared(fd, bytes));
    sys::close(fd);
    let segment = segment?;
    // SAFETY: the mapping is as long as the segment; a file that is shorter than it says would
    // fault, and only the launcher, which made it, could have made it so.
    let header = unsafe { &*(segment as *const RunHeader) };
    if header.magic != SEGMENT_MAGIC || header.protocol != PROTOCOL_VERSION {
        // SAFETY: just mapped, and nobody knows of it.
        unsafe { sys::unmap(segment, layout::SEGMENT_BYTES) };
        return None;
    }
    Some(segment)
}

fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &digits[at..];
        }
    }
}
