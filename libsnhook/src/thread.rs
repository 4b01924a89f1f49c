//! A thread's state: its lanes, and whether it is inside the real allocator.
//!
//! The thread slot points at it. It lives in pages that read as zeros in a forked child, where a
//! state of zeros has no lane and so no room: the child's first event leaves the hot path and gets
//! a lane of its own ([`attached`]).
//!
//! A thread's end is not announced by anybody. When a new thread needs a state, it takes one over
//! whose thread the kernel no longer knows, and its lane with it: the record [`Control::Thread`]
//! tells the launcher. So lanes are bounded by the threads that live at a time.
//!
//! *Inside the allocator.* While a real function runs, calls from the allocator's own modules are
//! part of it and not recorded (glibc's `reallocarray` calls `realloc`, musl's `calloc` calls
//! `malloc`). `inside` holds the stack pointer of the hook's entry meanwhile. A signal handler
//! that interrupts the real function calls from other modules and is recorded. A real function
//! that was left by a jump (longjmp, an exception) leaves `inside` behind: it is recognised by a
//! stack that is no longer as deep.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sntrace_format::control::{CONTROL_WORDS_MAX, Control, write_control};
use sntrace_format::env::{OptionBits, RunAddress};
use sntrace_format::layout::{self, RunHeader};
use sntrace_format::record::EVENT_WORDS_MAX;
use sntrace_format::ring::{LaneHeader, Producer, Room};
use sntrace_format::version::{PROTOCOL_VERSION, SEGMENT_MAGIC};

use crate::callers::StackWindow;
use crate::environment;
use crate::hooks::real;
use crate::image::{self, Image};
use crate::modules;
use crate::platform::{clock, set_thread_slot, sys, thread_slot};
use crate::record::Site;
use crate::state::{self, Mode};
use crate::transport::pipe;

/// How deep signal handlers may interrupt each other's records before events are counted as lost.
const NESTED_LANES: usize = 3;
/// Bytes of a region of states.
const REGION_BYTES: usize = 64 << 10;
/// States in a region.
const REGION_STATES: usize = REGION_BYTES / size_of::<ThreadState>();
/// Regions at most: with the above, more threads than Linux allows in a process by default.
const REGIONS: usize = 512;
/// How many foreign states a new thread asks the kernel about before it takes a fresh one.
const ASKED_MAX: usize = 16;
/// How long a full lane's thread sleeps before it looks whether the launcher lives, milliseconds.
const WAIT_MS: i64 = 100;
/// After so many such sleeps without a sign of life the launcher is taken for dead.
const WAITS_MAX: u32 = 10;

/// See the module. All zeros is "not attached".
#[repr(C, align(64))]
pub struct ThreadState {
    /// The lane for events that interrupt no other.
    pub main: Producer,
    /// Where direct callers are looked up on the hot path; null before the thread is attached.
    pub hot_board: *const AtomicU64,
    /// 0, or inside the allocator: the hook entry's stack pointer, with bit 0 set for a C++
    /// operator whose call's return address is at the pointer.
    pub inside: usize,
    /// The return address that an operator's call left there.
    operator_back: usize,
    /// The size that was asked of it. Smaller allocations inside it are not the operator's block:
    /// one that fails allocates the exception that it throws.
    operator_size: usize,
    /// Where call sites are looked up; null before the thread is attached.
    pub board: *const AtomicU64,
    /// The stack's known part.
    pub stack_window: StackWindow,
    /// 0, or the stack pointer of this thread's outermost call into the loader.
    pub loader_sp: usize,
    /// The thread that has this state; 0: none. Compare-and-swap with acquire-release: a new
    /// owner sees what the old one left.
    owner: AtomicU32,
    attached: bool,
    /// Lanes for events of signal handlers that interrupt a record.
    nested: [Producer; NESTED_LANES],
}

/// Regions of states. Addresses survive a fork, contents don't. Compare-and-swap from 0, release;
/// read with acquire.
static REGION_LIST: [AtomicUsize; REGIONS] = [const { AtomicUsize::new(0) }; REGIONS];
/// Where the search for a state of an ended thread goes on. Relaxed: only a hint.
static CURSOR: AtomicUsize = AtomicUsize::new(0);
/// Where the search for a free lane goes on. Relaxed: only a hint.
static LANE_HINT: AtomicUsize = AtomicUsize::new(0);
/// The thread that starts the hook, 0 before. Compare-and-swap, acquire-release.
static STARTER: AtomicU32 = AtomicU32::new(0);

/// What a hooked function is to do.
pub enum Entered {
    /// Record the call in this state.
    Recording(&'static mut ThreadState),
    /// Only pass the call on.
    PassThrough,
}

/// What [`ThreadState::inside`] is outside of the allocator.
pub const OUTSIDE: usize = 0;

impl ThreadState {
    /// The real function is about to be called; returns what [`ThreadState::leave_allocator`]
    /// wants back.
    #[inline(always)]
    pub fn enter_allocator(&mut self, sp: usize) -> usize {
        core::mem::replace(&mut self.inside, sp)
    }

    /// The real function has returned.
    #[inline(always)]
    pub fn leave_allocator(&mut self, before: usize) {
        self.inside = before;
    }

    /// A real C++ operator is about to be called for `size` bytes, its return address `back` at
    /// `slot`; returns what [`ThreadState::leave_operator`] wants back.
    #[inline(always)]
    pub fn enter_operator(&mut self, slot: usize, back: usize, size: usize) -> [usize; 2] {
        let before = [self.inside, self.operator_back];
        self.operator_size = size;
        self.operator_back = back;
        self.inside = slot | 1;
        before
    }

    /// The operator has returned.
    #[inline(always)]
    pub fn leave_operator(&mut self, before: [usize; 2]) {
        [self.inside, self.operator_back] = before;
    }
}

fn current() -> Option<&'static mut ThreadState> {
    let state = thread_slot() as *mut ThreadState;
    // SAFETY: null, or this thread's state in a region that is never unmapped. Signal handlers
    // on this thread may hold a reference to the same state: each function of the hook reads and
    // writes fields one at a time, and what a handler changes it restores before it returns.
    unsafe { state.as_mut() }
}

/// This thread's state if it has one already.
#[inline(always)]
pub fn recording() -> Option<&'static mut ThreadState> {
    current()
}

/// This thread's state; a new thread gets one.
#[inline(always)]
pub fn recording_now() -> Option<&'static mut ThreadState> {
    match current() {
        Some(state) => Some(state),
        None => recording_rarely(),
    }
}

#[cold]
#[inline(never)]
fn recording_rarely() -> Option<&'static mut ThreadState> {
    start();
    match state::mode() {
        Mode::Asleep | Mode::Off => None,
        Mode::Shared | Mode::Pipe => attach(),
    }
}

/// This thread's state, if it has one and is not inside the allocator.
#[inline(always)]
pub fn idle() -> Option<&'static mut ThreadState> {
    current().filter(|state| state.inside == OUTSIDE)
}

/// What to do with a call from `site` for `size` bytes (for a release: all ones).
#[inline(always)]
pub fn enter(site: &Site, size: usize) -> Entered {
    match current() {
        Some(state) if state.inside == 0 => Entered::Recording(state),
        _ => enter_rarely(site.sp, site.ra, size),
    }
}

#[cold]
#[inline(never)]
fn enter_rarely(sp: usize, ra: usize, size: usize) -> Entered {
    let Some(state) = current() else {
        start();
        return match state::mode() {
            Mode::Asleep | Mode::Off => Entered::PassThrough,
            Mode::Shared | Mode::Pipe => attach().map_or(Entered::PassThrough, Entered::Recording),
        };
    };
    let holder = state.inside & !1;
    let deeper = sp < holder;
    let active = if state.inside & 1 != 0 {
        // One operator may jump to another, which then finds its return address in the same place.
        let deeper = sp <= holder;
        // SAFETY: the word was on this thread's stack when the operator was called; a stack does
        // not shrink below a deeper frame, which this one is.
        deeper && unsafe { (holder as *const usize).read_volatile() } == state.operator_back
    } else {
        deeper
    };
    let part_of_it = state.inside & 1 == 0 || size >= state.operator_size;
    if modules::is_allocator(ra) && active && part_of_it {
        return Entered::PassThrough;
    }
    if !active && !is_other_stack(sp, holder) {
        // Left by a jump.
        state.inside = 0;
    }
    Entered::Recording(state)
}

/// Whether two stack pointers are so far apart that they belong to different stacks (a signal
/// handler's own).
fn is_other_stack(a: usize, b: usize) -> bool {
    a.abs_diff(b) > 64 << 20
}

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

/// The state to record in: this one, or after a fork a fresh one of the child's.
#[inline(always)]
pub fn attached(state: &mut ThreadState) -> Option<&mut ThreadState> {
    if state.attached {
        Some(state)
    } else {
        attach()
    }
}

/// In a child made by `fork`: becomes a process of its own at once.
pub fn forked() {
    if state::mode() == Mode::Off || state::mode() == Mode::Asleep {
        return;
    }
    if let Some(image) = image::current()
        && image.is_begun()
    {
        // The kernel did not wipe. The child has one thread, so nobody else looks.
        image.wipe();
        for region in &REGION_LIST {
            let region = region.load(Ordering::Acquire);
            if region != 0 {
                // SAFETY: the region is this size and zeros are valid states.
                unsafe { core::ptr::write_bytes(region as *mut u8, 0, REGION_BYTES) };
            }
        }
    }
    let _ = attach();
}

/// Gives this thread a state with a lane. `None`: events can't be recorded.
#[cold]
#[inline(never)]
fn attach() -> Option<&'static mut ThreadState> {
    let mask = sys::block_signals();
    let state = attach_blocked();
    sys::restore_signals(mask);
    state
}

fn attach_blocked() -> Option<&'static mut ThreadState> {
    let image = image::current()?;
    // A launcher that is gone or a process that is not to be followed.
    if matches!(state::mode(), Mode::Off | Mode::Asleep) {
        return None;
    }
    let begins = image::begin(image);
    if begins && !image::claim(image) {
        state::set_mode(Mode::Off);
        set_thread_slot(0);
        image::finish(image);
        return None;
    }
    let state = take_state();
    if let Some(state) = state {
        set_thread_slot(core::ptr::from_mut(state) as usize);
        state.board = image.board();
        state.hot_board = image.hot_board();
        state.inside = 0;
        state.loader_sp = 0;
        state.attached = true;
        if state::mode() == Mode::Shared && !state.main.has_lane() {
            state.main = claim_lane(image);
        }
        if let Some(lane) = state.main.header() {
            lane.thread.store(sys::thread_id(), Ordering::Release);
        }
        control(
            state,
            clock::now(),
            &Control::Thread {
                tid: sys::thread_id(),
            },
        );
        if begins {
            image::introduce(state, image);
        }
        image::finish(image);
        return Some(state);
    }
    image::finish(image);
    None
}

/// A state that nobody has, or that a thread that has ended left.
fn take_state() -> Option<&'static mut ThreadState> {
    let me = sys::thread_id();
    let mut asked = 0;
    for place in &REGION_LIST {
        let mut region = place.load(Ordering::Acquire);
        if region == 0 {
            region = sys::map_anonymous(REGION_BYTES)?;
            let _ = sys::wipe_on_fork(region, REGION_BYTES);
            if let Err(other) =
                place.compare_exchange(0, region, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: just mapped, and nobody knows of it.
                unsafe { sys::unmap(region, REGION_BYTES) };
                region = other;
            }
        }
        let start = CURSOR.load(Ordering::Relaxed);
        for offset in 0..REGION_STATES {
            let at = (start + offset) % REGION_STATES;
            let state = (region + at * size_of::<ThreadState>()) as *mut ThreadState;
            // SAFETY: inside the region, aligned, zeros or a state.
            let owner = unsafe { &(*state).owner };
            let found = owner.load(Ordering::Acquire);
            // A new thread can have an ended one's id: then the state is left over for sure.
            let free = found == 0 || found == me || {
                asked += 1;
                asked <= ASKED_MAX && sys::thread_is_gone(found)
            };
            if free
                && owner
                    .compare_exchange(found, me, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                CURSOR.store(at + 1, Ordering::Relaxed);
                // SAFETY: owned by this thread now; the former owner has ended.
                let state = unsafe { &mut *state };
                state.resume();
                return Some(state);
            }
        }
    }
    None
}

impl ThreadState {
    /// Takes the lanes over from a thread that has ended, perhaps inside a record.
    fn resume(&mut self) {
        for lane in core::iter::once(&mut self.main).chain(&mut self.nested) {
            lane.abandon_record();
        }
    }
}

/// Claims a free lane; a producer without one if there is none.
fn claim_lane(image: &Image) -> Producer {
    let (Some(header), segment) = (state::run_header(), state::segment()) else {
        return Producer::none();
    };
    let claimed = header.lanes_claimed.load(Ordering::Acquire) as usize;
    let hint = LANE_HINT.load(Ordering::Relaxed).min(claimed);
    for index in (hint..layout::LANES).chain(0..hint) {
        let lane = (segment + layout::lane_offset(index)) as *const LaneHeader;
        // SAFETY: inside the mapped segment, aligned; zeros are a valid header.
        let owner = unsafe { &(*lane).owner };
        if owner.load(Ordering::Relaxed) == 0
            && owner
                .compare_exchange(0, image.key() as u32, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            header
                .lanes_claimed
                .fetch_max(index as u32 + 1, Ordering::Release);
            LANE_HINT.store(index + 1, Ordering::Relaxed);
            let data = (segment + layout::ring_offset(index)) as *const AtomicU64;
            // SAFETY: a mapped lane that has just become this image's alone.
            return unsafe { Producer::resume(lane, data) };
        }
    }
    Producer::none()
}

/// Where the next record of this thread goes.
pub enum Writer<'a> {
    /// Into this lane, which is claimed and has room.
    Lane(&'a mut Producer),
    /// Through the pipe.
    Pipe,
    /// It is lost, and has been counted.
    Nowhere,
}

/// Finds room for an event of an attached thread, waiting for the launcher if need be.
pub fn writer(state: &mut ThreadState) -> Writer<'_> {
    room(state, EVENT_WORDS_MAX)
}

fn room(state: &mut ThreadState, words: u64) -> Writer<'_> {
    match state::mode() {
        Mode::Pipe => return Writer::Pipe,
        Mode::Shared => {}
        Mode::Off | Mode::Asleep => return Writer::Nowhere,
    }
    let lane = if state.main.is_claimed() {
        nested_lane(&mut state.nested)
    } else {
        Some(&mut state.main)
    };
    match lane {
        Some(lane) if lane.has_lane() => {
            if wait_for_room(lane, words) {
                Writer::Lane(lane)
            } else {
                Writer::Nowhere
            }
        }
        // More threads than lanes: the pipe, if there is one.
        _ if pipe::open() => Writer::Pipe,
        _ => {
            if let Some(header) = state::run_header() {
                header.lost_events.fetch_add(1, Ordering::Relaxed);
            }
            Writer::Nowhere
        }
    }
}

/// A lane that no interrupted record is using.
fn nested_lane(lanes: &mut [Producer; NESTED_LANES]) -> Option<&mut Producer> {
    let lane = lanes.iter_mut().find(|lane| !lane.is_claimed())?;
    if !lane.has_lane() {
        let mask = sys::block_signals();
        *lane = claim_lane(image::current()?);
        sys::restore_signals(mask);
        if let Some(header) = lane.header() {
            header.thread.store(sys::thread_id(), Ordering::Release);
        }
        if lane.has_lane() && wait_for_room(lane, CONTROL_WORDS_MAX) {
            put_control(
                lane,
                clock::now(),
                &Control::Thread {
                    tid: sys::thread_id(),
                },
            );
        }
    }
    Some(lane)
}

/// Makes room in a lane and claims it. False: the event is not to be recorded.
///
/// The claim does not last through a sleep: a handler that comes then may leave by a jump.
fn wait_for_room(lane: &mut Producer, words: u64) -> bool {
    if lane.make_room(words) == Room::Ready {
        ring_doorbell(false);
        return true;
    }
    let mut heartbeat = None;
    let mut waits = 0;
    loop {
        if state::mode() != Mode::Shared {
            return false;
        }
        if state::has(OptionBits::OVERFLOW_DROP) && words <= EVENT_WORDS_MAX {
            lane.count_drop();
            ring_doorbell(true);
            return false;
        }
        lane.announce_wait();
        if lane.make_room(words) == Room::Ready {
            return true;
        }
        ring_doorbell(true);
        let Some(header) = state::run_header() else {
            return false;
        };
        if let Some(lane_header) = lane.header() {
            sys::futex_wait(lane_header.waiting(), 1, WAIT_MS);
        }
        if lane.make_room(words) == Room::Ready {
            return true;
        }
        let beat = header.heartbeat.load(Ordering::Relaxed);
        waits = if heartbeat == Some(beat) {
            waits + 1
        } else {
            0
        };
        heartbeat = Some(beat);
        let closing = header.closing.load(Ordering::Acquire) != 0;
        if closing || (waits >= WAITS_MAX && sys::process_is_gone(state::launcher())) {
            state::set_mode(Mode::Off);
            return false;
        }
    }
}

/// Tells the launcher that there is something to read.
pub fn ring_doorbell(always: bool) {
    let Some(header) = state::run_header() else {
        return;
    };
    header.doorbell.rings.fetch_add(1, Ordering::SeqCst);
    if header.doorbell.sleeping.load(Ordering::SeqCst) != 0 || always {
        sys::futex_wake(&header.doorbell.rings);
    }
}

/// Writes a control record of this thread.
pub fn control(state: &mut ThreadState, time: u64, message: &Control<'_>) {
    match room(state, CONTROL_WORDS_MAX) {
        Writer::Lane(lane) => put_control(lane, time, message),
        Writer::Pipe => pipe::send_control(time, message),
        Writer::Nowhere => {}
    }
}

fn put_control(lane: &mut Producer, time: u64, message: &Control<'_>) {
    lane.enter();
    // SAFETY: there is room for a control record.
    let slot = unsafe { lane.slot::<{ CONTROL_WORDS_MAX as usize }>() };
    let words = write_control(slot, time, message);
    lane.publish(words);
}
