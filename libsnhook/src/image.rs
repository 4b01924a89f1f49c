//! This process image: its number, its board, what must not be shared with a forked child.
//!
//! All of it lives in pages that read as zeros in a child (`MADV_WIPEONFORK`), so that a child
//! notices by itself, however it was made. Where the kernel can't wipe, the `fork` hook does.
//! Phase: slow; [`current`] is for every phase.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sntrace_format::control::Control;
use sntrace_format::env::OptionBits;
use sntrace_format::layout::{self, Fence, ImageHeader};
use sntrace_format::verdict::BOARD_ENTRIES;

use crate::modules;
use crate::platform::{clock, sys};
use crate::state::{self, Mode};
use crate::thread::{self, ThreadState};

/// The wiped part. Zeros are "not begun".
#[repr(C, align(64))]
pub struct Image {
    /// 0: nobody has begun; else the thread that begins it, and 1 << 31 once it is done.
    /// Compare-and-swap, acquire-release.
    begun: AtomicU32,
    /// The modules' lock: 1 while held. Swap with acquire, store with release.
    pub modules_lock: AtomicU32,
    /// How many threads may be inside the loader. Acquire-release.
    pub in_loader: AtomicU32,
    /// The process's id. Written before [`begin`] is done, relaxed.
    pid: AtomicU32,
    /// Key of the image: its number, or something as unique without shared memory.
    key: AtomicU64,
    /// Address of the verdict board in the segment; 0 without one.
    board: AtomicUsize,
    /// Addresses that have been announced, in the board's format. Any thread, release-acquire.
    pub known: [AtomicU64; BOARD_ENTRIES],
}

const DONE: u32 = 1 << 31;

/// The board of an image without one. Never written.
static NO_VERDICTS: [AtomicU64; BOARD_ENTRIES] = [const { AtomicU64::new(0) }; BOARD_ENTRIES];

/// Address of the [`Image`]; the address survives a fork, the contents don't. Written once in
/// the load phase before the mode is set.
static IMAGE: AtomicUsize = AtomicUsize::new(0);
/// Key of the last image begun here: in a forked child, still the parent's.
static LAST_KEY: AtomicU64 = AtomicU64::new(0);

/// Makes room for the image. Load phase, one thread.
pub fn prepare() -> bool {
    let bytes = size_of::<Image>().next_multiple_of(64 << 10);
    let Some(address) = sys::map_anonymous(bytes) else {
        return false;
    };
    let _ = sys::wipe_on_fork(address, bytes);
    IMAGE.store(address, Ordering::Release);
    true
}

/// The image, once the hook has started.
#[inline(always)]
pub fn current() -> Option<&'static Image> {
    let image = IMAGE.load(Ordering::Relaxed) as *const Image;
    // SAFETY: null, or pages that are never unmapped, for which zeros are valid.
    unsafe { image.as_ref() }
}

impl Image {
    /// Key of the image.
    pub fn key(&self) -> u64 {
        self.key.load(Ordering::Acquire)
    }

    /// Where the hot path looks for callers that are direct: as [`Image::board`], but nothing where
    /// the clock is not the processor's counter, which is the only one that it reads, and where
    /// every event has its stack.
    pub fn hot_board(&self) -> *const AtomicU64 {
        if clock::is_counter() && !state::has(OptionBits::FULL_STACKS) {
            self.board()
        } else {
            NO_VERDICTS.as_ptr()
        }
    }

    /// Where call sites are looked up: the launcher's verdicts; the known addresses where the
    /// return address alone is wanted; nothing where no verdicts can come.
    pub fn board(&self) -> *const AtomicU64 {
        if crate::record::raw_callers() {
            return self.known.as_ptr();
        }
        match self.board.load(Ordering::Acquire) {
            0 => NO_VERDICTS.as_ptr(),
            board => board as *const AtomicU64,
        }
    }

    /// What the launcher says of the fence in front of the clock. Without a slot, as through the pipe, nobody
    /// would ever judge: none, then.
    pub fn fence(&self) -> Fence {
        let Some(header) = self
            .board
            .load(Ordering::Acquire)
            .checked_sub(layout::ALIGNMENT)
        else {
            return Fence::Needless;
        };
        // SAFETY: the board is inside the mapped segment, right behind its slot's header page.
        let header = unsafe { &*(header as *const ImageHeader) };
        Fence::from_word(header.fenced.load(Ordering::Relaxed))
    }

    /// Whether [`begin`] is done.
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire) & DONE != 0
    }

    /// Whether this is a `vfork` child, which has its parent's memory, image and all.
    pub fn is_borrowed(&self) -> bool {
        self.is_begun() && self.pid.load(Ordering::Relaxed) != sys::process_id()
    }

    /// Forgets everything, as wiping does. Only for the one thread of a fresh child.
    pub fn wipe(&self) {
        for word in &self.known {
            word.store(0, Ordering::Relaxed);
        }
        self.modules_lock.store(0, Ordering::Relaxed);
        self.in_loader.store(0, Ordering::Relaxed);
        self.board.store(0, Ordering::Relaxed);
        self.begun.store(0, Ordering::Release);
    }
}

/// Who begins the image: this thread (then it must call [`introduce`] and [`finish`]), or nobody
/// needs to any more. Signals must be blocked.
pub fn begin(image: &Image) -> bool {
    loop {
        let begun = image.begun.load(Ordering::Acquire);
        if begun & DONE != 0 {
            return false;
        }
        if begun == 0
            && image
                .begun
                .compare_exchange(0, sys::thread_id(), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        {
            return true;
        }
        sys::yield_now();
    }
}

/// Gives the image its number and board. False if it must not be traced.
pub fn claim(image: &Image) -> bool {
    image.pid.store(sys::process_id(), Ordering::Relaxed);
    let parent = LAST_KEY.load(Ordering::Relaxed);
    let first = parent == 0 && sys::parent_id() == state::launcher();
    if state::has(OptionBits::NO_FOLLOW) && !first {
        return false;
    }
    match (state::mode(), state::run_header()) {
        (Mode::Shared, Some(header)) => {
            let number = header.last_image.fetch_add(1, Ordering::Relaxed) + 1;
            image.key.store(u64::from(number), Ordering::Release);
            claim_slot(image, number);
        }
        _ => {
            // Unique without a common counter: who, and when.
            let key = u64::from(sys::process_id()) << 40 ^ sys::monotonic_ns() | 1 << 63;
            image.key.store(key, Ordering::Release);
        }
    }
    true
}

/// Takes a free image slot, if there is one; without one the image has no board.
fn claim_slot(image: &Image, number: u32) {
    let (Some(header), segment) = (state::run_header(), state::segment()) else {
        return;
    };
    for index in 0..layout::IMAGE_SLOTS {
        // SAFETY: inside the mapped segment, aligned; zeros are a valid header.
        let slot = unsafe { &*((segment + layout::image_offset(index)) as *const ImageHeader) };
        if slot.owner.load(Ordering::Relaxed) == 0
            && slot
                .owner
                .compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            header
                .images_claimed
                .fetch_max(index as u32 + 1, Ordering::Release);
            slot.pid.store(sys::process_id(), Ordering::Release);
            image
                .board
                .store(segment + layout::board_offset(index), Ordering::Release);
            return;
        }
    }
}

/// Writes the image's first records: who it is and what is mapped.
pub fn introduce(state: &mut ThreadState, image: &'static Image) {
    let parent = LAST_KEY.load(Ordering::Relaxed);
    let time = clock::now();
    let mut buffers = [0u8; 2300];
    let mut link = [0u8; 1024];
    let executable = sys::read_link(b"/proc/self/exe\0", &mut link);
    let mut length = 0;
    if let Some(fd) = sys::open(b"/proc/self/cmdline\0", sys::READ_ONLY) {
        loop {
            let count = sys::read(fd, buffers.get_mut(length..).unwrap_or(&mut []));
            if count == 0 {
                break;
            }
            length += count;
        }
        sys::close(fd);
    }
    let message = Control::Process {
        pid: sys::process_id(),
        ppid: sys::parent_id(),
        forked_from: parent,
        executable: link.get(..executable).unwrap_or(&[]),
        command: buffers.get(..length).unwrap_or(&[]),
    };
    thread::control(state, time, &message);
    LAST_KEY.store(image.key(), Ordering::Relaxed);
    if parent == 0 {
        modules::announce_all(state, image);
    } else {
        modules::forked(state, image);
    }
}

/// The image is ready for other threads.
pub fn finish(image: &Image) {
    image.begun.store(DONE, Ordering::Release);
}

/// A thread enters dlopen, dlmopen or dlclose at this stack pointer.
pub fn loader_called(state: &mut ThreadState, sp: usize) {
    let Some(image) = current() else { return };
    let mask = sys::block_signals();
    if state.loader_sp == 0 {
        image.in_loader.fetch_add(1, Ordering::AcqRel);
    }
    // A constructor may call dlopen again: the outermost call is the last to return.
    state.loader_sp = state.loader_sp.max(sp);
    let epoch = state::advance_epoch();
    modules::epoch_changed(epoch);
    thread::control(state, clock::now(), &Control::Loader { epoch });
    sys::restore_signals(mask);
}

/// Notices that this thread has left the loader: its stack is back where the call began.
pub fn settle_loader(state: &mut ThreadState, image: &Image, sp: usize) {
    if state.loader_sp != 0 && sp >= state.loader_sp {
        state.loader_sp = 0;
        image.in_loader.fetch_sub(1, Ordering::AcqRel);
    }
}
