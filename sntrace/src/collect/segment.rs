//! The shared-memory segment, on the launcher's side: made here, mapped here, closed at the end.
//!
//! # Safety
//!
//! Everything in the segment is atomics, and zeros are valid for all of them, so references into
//! the mapping are sound whatever the traced processes write. The mapping lives as long as the
//! [`Segment`], which is only handed out behind an `Arc`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sntrace_format::layout::{
    self, Fence, IMAGE_SLOTS, ImageHeader, LANES, RunHeader, SEGMENT_BYTES,
};
use sntrace_format::ring::{Consumer, LaneHeader};
use sntrace_format::verdict::{self, BOARD_ENTRIES, Verdict};
use sntrace_format::version::{PROTOCOL_VERSION, SEGMENT_MAGIC};

/// The mapped segment.
pub struct Segment {
    address: usize,
    file: OwnedFd,
}

impl Segment {
    /// Makes an empty segment. Sparse: it takes memory only where it is used.
    ///
    /// # Errors
    /// Where the system has no anonymous files (before Linux 3.17) or no address space for it.
    pub fn create() -> io::Result<Self> {
        // SAFETY: the name is a C string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"sntrace".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the descriptor is open; the length fits.
        if unsafe { libc::ftruncate(fd, SEGMENT_BYTES as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SEGMENT_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let header = address.cast::<RunHeader>();
        // SAFETY: the mapping is larger than the header and page-aligned; no process has it yet,
        // so plain writes race with nobody.
        unsafe {
            (*header).magic = SEGMENT_MAGIC;
            (*header).protocol = PROTOCOL_VERSION;
            (*header).launcher_pid = std::process::id();
        }
        Ok(Self {
            address: address as usize,
            file,
        })
    }

    /// Descriptor number, by which `/proc/PID/fd` names the segment.
    #[must_use]
    pub fn descriptor(&self) -> u32 {
        self.file.as_raw_fd().unsigned_abs()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &RunHeader {
        // SAFETY: see the module.
        unsafe { &*(self.address as *const RunHeader) }
    }

    /// The header of a lane.
    ///
    /// # Panics
    /// If there is no such lane.
    #[must_use]
    pub fn lane(&self, index: usize) -> &LaneHeader {
        assert!(index < LANES);
        // SAFETY: see the module; the index is within the segment.
        unsafe { &*((self.address + layout::lane_offset(index)) as *const LaneHeader) }
    }

    /// The reading end of a lane.
    ///
    /// # Panics
    /// If there is no such lane.
    #[must_use]
    pub fn consumer(&self, index: usize) -> Consumer {
        assert!(index < LANES);
        let header = (self.address + layout::lane_offset(index)) as *const LaneHeader;
        let data = (self.address + layout::ring_offset(index)) as *const AtomicU64;
        // SAFETY: mapped; the collector makes one consumer a lane, and drops it before the segment.
        unsafe { Consumer::resume(header, data) }
    }

    /// The header of an image slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn image(&self, slot: usize) -> &ImageHeader {
        assert!(slot < IMAGE_SLOTS);
        // SAFETY: see the module; the index is within the segment.
        unsafe { &*((self.address + layout::image_offset(slot)) as *const ImageHeader) }
    }

    fn board(&self, slot: usize) -> &[AtomicU64; BOARD_ENTRIES] {
        assert!(slot < IMAGE_SLOTS);
        // SAFETY: see the module; the index is within the segment.
        unsafe {
            &*((self.address + layout::board_offset(slot)) as *const [AtomicU64; BOARD_ENTRIES])
        }
    }

    /// The slot that an image has claimed, if it has.
    #[must_use]
    pub fn slot_of(&self, image: u32) -> Option<usize> {
        let claimed = self.header().images_claimed.load(Ordering::Acquire) as usize;
        (0..claimed.min(IMAGE_SLOTS))
            .find(|&slot| self.image(slot).owner.load(Ordering::Acquire) == image)
    }

    /// Tells the hook what a call site is.
    pub fn judge(&self, slot: usize, address: u64, epoch: u32, what: Verdict) {
        let word = verdict::entry(address, epoch, what);
        let board = self.board(slot);
        let first = &board[verdict::index(address)];
        // Relaxed: see `sntrace_format::verdict`.
        let found = first.load(Ordering::Relaxed);
        if found == word {
            return;
        }
        let second = &board[verdict::index(address) ^ 1];
        if second.load(Ordering::Relaxed) == word {
            return;
        }
        // The first place is the one the hot path looks at. What is not direct gives way there.
        if found == 0 || (what == Verdict::Direct && found >> 62 != Verdict::Direct as u64) {
            first.store(word, Ordering::Relaxed);
        } else {
            second.store(word, Ordering::Relaxed);
        }
    }

    /// Tells the image's hook to read its clock behind a fence. What was judged is taken back, so that
    /// its threads leave their hot paths and see it.
    pub fn fence(&self, slot: usize) {
        let fenced = &self.image(slot).fenced;
        fenced.store(Fence::Needed as u32, Ordering::Relaxed);
        self.clear_board(slot);
    }

    /// Tells the image's hook that it needs no fence, which it sees as long as it has one.
    pub fn spare_fence(&self, slot: usize) {
        let fenced = &self.image(slot).fenced;
        fenced.store(Fence::Needless as u32, Ordering::Relaxed);
    }

    fn clear_board(&self, slot: usize) {
        for word in self.board(slot) {
            // Only pages that were used are touched.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Takes an ended image's slot back.
    pub fn free_slot(&self, slot: usize) {
        self.clear_board(slot);
        let header = self.image(slot);
        header.pid.store(0, Ordering::Relaxed);
        header
            .fenced
            .store(Fence::Unjudged as u32, Ordering::Relaxed);
        // Release: the next owner finds a clean board.
        header.owner.store(0, Ordering::Release);
    }

    /// Sleeps until a hook rings, at most `limit`, unless `busy` says there is something to do.
    pub fn sleep(&self, limit: Duration, busy: impl FnOnce() -> bool) {
        let bell = &self.header().doorbell;
        let rings = bell.rings.load(Ordering::SeqCst);
        bell.sleeping.store(1, Ordering::SeqCst);
        if !busy() {
            futex_wait(&bell.rings, rings, limit);
        }
        bell.sleeping.store(0, Ordering::SeqCst);
    }

    /// Ends a sleep of the collector's, from any thread.
    pub fn wake(&self) {
        let bell = &self.header().doorbell;
        bell.rings.fetch_add(1, Ordering::SeqCst);
        futex_wake(&bell.rings);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: all references into the mapping borrow from this value, and the consumers are
        // dropped by the collector before it lets go of it.
        unsafe { libc::munmap(self.address as *mut libc::c_void, SEGMENT_BYTES) };
    }
}

fn futex_wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let timeout = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos()),
    };
    // SAFETY: the word and the time outlive the call. A wake-up, a change, the time limit and a
    // signal all mean the same to the caller: look again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
}

/// Wakes the hooks that sleep on `word`.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is mapped.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Makes every store that any hook made before now visible here (`man 2 membarrier`). False where
/// the kernel can't.
#[must_use]
pub fn barrier() -> bool {
    const GLOBAL_EXPEDITED: i32 = 2;
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL_EXPEDITED, 0) == 0 }
}

/// A handle on a process that outlives its number (`man 2 pidfd_open`); `None` where it is gone
/// already, or on a kernel before 5.3.
#[must_use]
pub fn process_handle(pid: u32) -> Option<OwnedFd> {
    // SAFETY: no memory is passed; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a fresh descriptor that nobody else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether the process behind a handle has ended.
#[must_use]
pub fn is_gone(handle: &OwnedFd) -> bool {
    let mut poll = libc::pollfd {
        fd: handle.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, as the count says.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Sleeps until `file` can be read, at most `limit`.
pub fn wait_readable(file: &impl AsRawFd, limit: Duration) {
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, as the count says.
    unsafe {
        libc::poll(
            &raw mut poll,
            1,
            limit.as_millis().try_into().unwrap_or(i32::MAX),
        )
    };
}
