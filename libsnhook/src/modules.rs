//! What is mapped where: announced to the launcher before an event points into it.
//!
//! The loader is never asked (its list is guarded by its lock). The kernel's list of mappings is
//! read when an address turns up that nothing is known about; what is new or gone since the last
//! reading goes out as control records. So a module costs one reading, and an address one look
//! into a table of known ones.
//!
//! An address stays known for one *epoch* (see [`crate::hooks::loader`]). Modules of the first
//! reading are never unloaded and count as known in every epoch. For others the table is only
//! trusted if it was read in this epoch while no thread was inside the loader.
//!
//! Everything but the look into the known table happens under one lock with signals blocked, so
//! that a handler can't wait for the thread it interrupts. The lock's word is wiped in a forked
//! child; a table that another thread was changing during the fork is read anew there.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sntrace_format::control::Control;
use sntrace_format::verdict::{self, Verdict};

use crate::callers;
use crate::image::{self, Image};
use crate::maps::{self, Mapping};
use crate::platform::{clock, sys};
use crate::state::EPOCH;
use crate::thread::{self, ThreadState};
use crate::unwind::cache::{Epoch, RuleCache};
use crate::unwind::cfi::{self, EhFrame, Mapped};
use crate::unwind::{Native, Rule, walk};

/// Modules kept at most; beyond it, further ones are not announced and show as `???`.
const MODULES: usize = 4096;
/// Address ranges without a file (JIT code) remembered as such.
const BARREN: usize = 16;
/// Modules whose code may call allocation functions as part of an allocation.
const ALLOCATORS: usize = 8;

/// A mapped file with code.
#[derive(Clone, Copy, Debug, Default)]
struct Module {
    start: usize,
    end: usize,
    bias: usize,
    device: u64,
    inode: u64,
    /// Address of `.eh_frame_hdr`, and the readable segment around it; 0 without one.
    frame_header: usize,
    segment_start: usize,
    segment_end: usize,
    /// The number of the last reading that saw it; 0: gone.
    seen: u32,
    /// Whether the first reading saw it: such a module is never unloaded.
    permanent: bool,
}

struct Table {
    modules: [Module; MODULES],
    count: usize,
    /// Number of the last reading, from 1.
    reading: u32,
    /// Epoch of the last reading that happened while no thread was inside the loader.
    settled_epoch: u32,
    /// Code without a file, with the epoch in which it was seen.
    barren: [(usize, usize, u32); BARREN],
    next_barren: usize,
    buffer: [u8; maps::BUFFER],
    path: [u8; 4096],
}

/// The table and its readers' marks.
struct Shared {
    table: UnsafeCell<*mut Table>,
    /// True while a table is being changed: seen by a child forked in the middle.
    changing: AtomicBool,
}

// SAFETY: the table is only touched under the modules' lock.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    table: UnsafeCell::new(core::ptr::null_mut()),
    changing: AtomicBool::new(false),
};
static RULES: RuleCache<8192> = RuleCache::new();

/// Ranges of allocator modules: start and end in turn. Written under the lock while they are 0,
/// read by every thread, relaxed; a range seen half is empty.
static ALLOCATOR_RANGES: [(AtomicUsize, AtomicUsize); ALLOCATORS] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; ALLOCATORS];

/// Whether `address` lies in the hook or in a module that provides a real allocation function.
/// Before the first reading everything counts as such.
pub fn is_allocator(address: usize) -> bool {
    let mut known = false;
    for (start, end) in &ALLOCATOR_RANGES {
        let (start, end) = (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
        known |= end != 0;
        if address >= start && address < end {
            return true;
        }
    }
    !known
}

/// Sees to it that what `address` points into has been announced. `sp` is the hook's entry's.
#[inline(always)]
pub fn announce(state: &mut ThreadState, address: usize, sp: usize) {
    let Some(image) = image::current() else {
        return;
    };
    let word = &image.known[verdict::index(address as u64)];
    if word.load(Ordering::Acquire)
        != verdict::entry(
            address as u64,
            EPOCH.load(Ordering::Acquire),
            Verdict::Direct,
        )
    {
        announce_slowly(state, image, address, sp);
    }
}

#[cold]
#[inline(never)]
fn announce_slowly(state: &mut ThreadState, image: &'static Image, address: usize, sp: usize) {
    let mask = sys::block_signals();
    image::settle_loader(state, image, sp);
    let epoch = EPOCH.load(Ordering::Acquire);
    with_table(image, |table| {
        let in_loader = image.in_loader.load(Ordering::Acquire) != 0;
        let settled = table.settled_epoch == epoch && !in_loader;
        let enough = match table.find(address) {
            Some(module) => module.permanent || settled,
            None => settled && table.is_barren(address, epoch),
        };
        if !enough {
            read_maps(state, table, address, epoch);
            if !in_loader {
                table.settled_epoch = epoch;
            }
        }
    });
    // Release: whoever finds the address known has its module's record before its own.
    image.known[verdict::index(address as u64)].store(
        verdict::entry(address as u64, epoch, Verdict::Direct),
        Ordering::Release,
    );
    sys::restore_signals(mask);
}

/// Reads the maps for the first time in a new program.
pub fn announce_all(state: &mut ThreadState, image: &'static Image) {
    let epoch = EPOCH.load(Ordering::Acquire);
    with_table(image, |table| {
        read_maps(state, table, 0, epoch);
        table.settled_epoch = epoch;
        mark_allocators(table);
    });
}

/// After a fork: the launcher knows what the parent had announced. Only a table that was being
/// changed must be read anew.
pub fn forked(state: &mut ThreadState, image: &'static Image) {
    if SHARED.changing.load(Ordering::Acquire) {
        with_table(image, |table| {
            table.count = 0;
            read_maps(state, table, 0, EPOCH.load(Ordering::Acquire));
        });
    }
}

/// The unwind rule at a return address, which has been announced.
#[inline(always)]
pub fn rule(return_address: u64) -> Rule {
    let epoch = Epoch::new(EPOCH.load(Ordering::Relaxed));
    match known_rule(return_address, epoch) {
        Some(rule) => rule,
        None => rule_slowly(return_address, epoch),
    }
}

/// The unwind rule at a return address, if it was looked up in this epoch. Then the address was
/// announced before, too.
#[inline(always)]
pub fn known_rule(return_address: u64, epoch: Epoch) -> Option<Rule> {
    RULES.find(return_address, epoch)
}

/// As [`rule`], where it is not known yet.
#[cold]
#[inline(never)]
pub fn rule_slowly(return_address: u64, epoch: Epoch) -> Rule {
    let address = return_address.wrapping_sub(1);
    let frames = eh_frame(address);
    // Code without a file stays so for an epoch, but only a table of this epoch can tell.
    let lasts = frames.is_some() || is_settled(epoch);
    let rule = match frames {
        Some(frames) => cfi::find_rule::<Native>(&frames, address),
        None => Rule::NO_INFO,
    };
    let rule = walk::unless_signal_return::<Native>(rule, return_address, callers::code);
    if lasts {
        RULES.insert(return_address, epoch, rule);
    }
    rule
}

/// Whether the table was read in this epoch while no thread was inside the loader, and none is.
fn is_settled(epoch: Epoch) -> bool {
    let Some(image) = image::current() else {
        return false;
    };
    let mask = sys::block_signals();
    let settled = with_table(image, |table| Epoch::new(table.settled_epoch) == epoch);
    sys::restore_signals(mask);
    settled == Some(true) && image.in_loader.load(Ordering::Acquire) == 0
}

/// A new epoch begins.
pub fn epoch_changed(epoch: u32) {
    if Epoch::new(epoch).needs_clear() {
        RULES.clear();
    }
}

/// The call frame information for `address`.
///
/// The answer borrows the module's own bytes. They stay mapped while the caller uses them: the
/// address is that of a function on the calling thread's stack.
#[cold]
pub fn eh_frame(address: u64) -> Option<EhFrame<'static>> {
    let image = image::current()?;
    let mask = sys::block_signals();
    let module = with_table(image, |table| table.find(address as usize).copied());
    sys::restore_signals(mask);
    let module = module.flatten()?;
    if module.frame_header == 0 {
        return None;
    }
    let length = module.segment_end - module.segment_start;
    // SAFETY: the segment was found readable, and its module is on this thread's stack.
    let bytes = unsafe { core::slice::from_raw_parts(module.segment_start as *const u8, length) };
    EhFrame::in_segment(
        Mapped {
            address: module.segment_start as u64,
            bytes,
        },
        module.frame_header as u64,
    )
}

/// Runs `work` on the table under the lock. Signals must be blocked. `None` without memory.
fn with_table<R>(image: &Image, work: impl FnOnce(&mut Table) -> R) -> Option<R> {
    while image.modules_lock.swap(1, Ordering::Acquire) != 0 {
        sys::yield_now();
    }
    // SAFETY: the lock is held.
    let place = unsafe { &mut *SHARED.table.get() };
    if place.is_null()
        && let Some(memory) = sys::map_anonymous(size_of::<Table>())
    {
        // Zeros are a valid table.
        *place = memory as *mut Table;
    }
    // SAFETY: null or a table that only the holder of the lock uses.
    let result = unsafe { place.as_mut() }.map(work);
    image.modules_lock.store(0, Ordering::Release);
    result
}

impl Table {
    fn find(&self, address: usize) -> Option<&Module> {
        self.modules[..self.count]
            .iter()
            .find(|module| module.seen != 0 && address >= module.start && address < module.end)
    }

    fn is_barren(&self, address: usize, epoch: u32) -> bool {
        self.barren
            .iter()
            .any(|&(start, end, seen)| seen == epoch && address >= start && address < end)
    }
}

/// The mappings of one file, gathered while they come.
#[derive(Clone, Copy, Default)]
struct Group {
    start: usize,
    end: usize,
    device: u64,
    inode: u64,
    executable: bool,
    path_length: usize,
}

/// Reads the kernel's list and announces what changed. `wanted` is the address it is for.
fn read_maps(state: &mut ThreadState, table: &mut Table, wanted: usize, epoch: u32) {
    SHARED.changing.store(true, Ordering::Release);
    table.reading += 1;
    let time = clock::now();
    // The buffer leaves the table while lines borrow from it: it is scratch of the lock's holder.
    let buffer: *mut [u8; maps::BUFFER] = &raw mut table.buffer;
    let mut group = Group::default();
    // SAFETY: nobody else touches the scratch buffer while the lock is held, and `note_mapping`
    // does not.
    let complete = maps::read(unsafe { &mut *buffer }, |mapping| {
        note_mapping(state, table, &mut group, mapping, wanted, epoch, time);
    });
    finish_group(state, table, &mut group, time);
    let reading = table.reading;
    if complete {
        for at in 0..table.count {
            let module = table.modules[at];
            if module.seen != 0 && module.seen != reading {
                table.modules[at].seen = 0;
                thread::control(
                    state,
                    time,
                    &Control::ModuleRemove {
                        start: module.start as u64,
                    },
                );
            }
        }
    }
    SHARED.changing.store(false, Ordering::Release);
}

fn note_mapping(
    state: &mut ThreadState,
    table: &mut Table,
    group: &mut Group,
    mapping: &Mapping<'_>,
    wanted: usize,
    epoch: u32,
    time: u64,
) {
    let is_vdso = mapping.path == b"[vdso]";
    let continues = mapping.inode != 0
        && mapping.inode == group.inode
        && mapping.device == group.device
        && mapping.offset != 0
        && group.path_length != 0;
    if continues {
        group.end = mapping.end;
        group.executable |= mapping.executable;
        return;
    }
    let anonymous = mapping.inode == 0 && !is_vdso;
    if anonymous {
        if wanted >= mapping.start && wanted < mapping.end {
            let place = table.next_barren % BARREN;
            table.barren[place] = (mapping.start, mapping.end, epoch);
            table.next_barren += 1;
        }
        // A gap or a .bss between two mappings of a file does not end its group.
        return;
    }
    finish_group(state, table, group, time);
    if mapping.offset != 0 && !is_vdso {
        return;
    }
    let length = mapping.path.len().min(table.path.len());
    table.path[..length].copy_from_slice(&mapping.path[..length]);
    *group = Group {
        start: mapping.start,
        end: mapping.end,
        device: mapping.device,
        inode: mapping.inode,
        executable: mapping.executable,
        path_length: length,
    };
}

fn finish_group(state: &mut ThreadState, table: &mut Table, group: &mut Group, time: u64) {
    let done = core::mem::take(group);
    if done.path_length == 0 || !done.executable {
        return;
    }
    let reading = table.reading;
    let mut free = None;
    for at in 0..table.count {
        let module = &mut table.modules[at];
        if module.seen == 0 {
            free = free.or(Some(at));
            continue;
        }
        if module.start == done.start && module.device == done.device && module.inode == done.inode
        {
            module.seen = reading;
            return;
        }
    }
    let at = match free {
        Some(at) => at,
        None if table.count < MODULES => {
            table.count += 1;
            table.count - 1
        }
        None => return,
    };
    // An old module at the same place must be gone before the new one is there.
    for other in 0..table.count {
        let old = table.modules[other];
        if old.seen != 0 && old.start < done.end && done.start < old.end {
            table.modules[other].seen = 0;
            thread::control(
                state,
                time,
                &Control::ModuleRemove {
                    start: old.start as u64,
                },
            );
        }
    }
    let mut module = Module {
        start: done.start,
        end: done.end,
        bias: done.start,
        device: done.device,
        inode: done.inode,
        seen: reading,
        permanent: reading == 1,
        ..Module::default()
    };
    let build_id = crate::elf::read_headers(done.start, done.end);
    if let Some(headers) = &build_id {
        module.bias = headers.bias;
        module.frame_header = headers.frame_header;
        module.segment_start = headers.segment_start;
        module.segment_end = headers.segment_end;
    }
    table.modules[at] = module;
    let id = build_id
        .as_ref()
        .map_or(&[][..], |headers| headers.build_id());
    thread::control(
        state,
        time,
        &Control::ModuleAdd {
            start: module.start as u64,
            end: module.end as u64,
            bias: module.bias as u64,
            device: module.device,
            inode: module.inode,
            build_id: id,
            path: &table.path[..done.path_length],
        },
    );
}

/// Remembers the modules of the real functions, and the hook's own.
fn mark_allocators(table: &Table) {
    use crate::hooks::real;
    let own = mark_allocators as *const () as usize;
    let functions = [
        &real::MALLOC,
        &real::CALLOC,
        &real::REALLOC,
        &real::FREE,
        &real::POSIX_MEMALIGN,
        &real::NEW,
        &real::DELETE,
    ];
    let addresses = core::iter::once(own).chain(
        functions
            .iter()
            .map(|function| function.load(Ordering::Relaxed)),
    );
    let mut used = 0;
    for address in addresses {
        let Some(module) = table.find(address) else {
            continue;
        };
        let seen = ALLOCATOR_RANGES
            .iter()
            .any(|(start, _)| start.load(Ordering::Relaxed) == module.start);
        if let Some((start, end)) = ALLOCATOR_RANGES.get(used).filter(|_| !seen) {
            start.store(module.start, Ordering::Relaxed);
            end.store(module.end, Ordering::Relaxed);
            used += 1;
        }
    }
}
