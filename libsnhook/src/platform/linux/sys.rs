//! The system calls that the hook makes, raw: no `errno`, no cancellation points.
//!
//! Each returns what the kernel returned: a negative number is a negated error code.
//! Numbers and signatures: `man 2 syscalls`, the kernel's `asm/unistd.h`.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{number, syscall};
#[cfg(target_arch = "x86_64")]
use super::x86_64::{number, syscall};
use core::sync::atomic::AtomicU32;

const AT_FDCWD: usize = -100isize as usize;
const PROT_NONE: usize = 0;
const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_FIXED: usize = 0x10;
const MAP_ANONYMOUS: usize = 0x20;
const MAP_NORESERVE: usize = 0x4000;
const MADV_DONTNEED: usize = 4;
const MADV_WIPEONFORK: usize = 18;
const MADV_DONTDUMP: usize = 16;
const FUTEX_WAIT: usize = 0;
const FUTEX_WAKE: usize = 1;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
const SIGPIPE: u64 = 13;
const CLOCK_MONOTONIC: usize = 1;
const EINTR: isize = -4;
const EFAULT: isize = -14;
const ESRCH: isize = -3;

/// `O_RDONLY | O_CLOEXEC`.
pub const READ_ONLY: usize = 0o2_000_000;
/// `O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC`: whatever kind of file it is.
pub const READ_ONLY_NOW: usize = 0o2_004_400;
/// `O_RDWR | O_CLOEXEC`.
pub const READ_WRITE: usize = 0o2_000_002;
/// `O_WRONLY | O_NONBLOCK | O_CLOEXEC`: fails on a pipe that nobody reads.
pub const WRITE_ONLY_NOW: usize = 0o2_004_001;

/// Seconds and nanoseconds, as the kernel reads and writes them.
#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

fn address_or_none(result: isize) -> Option<usize> {
    // The last page of the address space stands for errors.
    if (-4095..0).contains(&result) {
        None
    } else {
        Some(result as usize)
    }
}

/// Fresh zeroed private memory.
#[must_use]
pub fn map_anonymous(bytes: usize) -> Option<usize> {
    // SAFETY: a new mapping at an address that the kernel chooses affects nothing that exists.
    let result = unsafe {
        syscall(
            number::MMAP,
            [
                0,
                bytes,
                PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS,
                usize::MAX,
                0,
            ],
        )
    };
    address_or_none(result)
}

/// Fresh zeroed private memory for a table of which little is touched: it counts against no limit
/// but that of addresses.
#[must_use]
pub fn map_sparse(bytes: usize) -> Option<usize> {
    const FLAGS: usize = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    let arguments = [0, bytes, PROT_READ | PROT_WRITE, FLAGS, usize::MAX, 0];
    // SAFETY: a new mapping at an address that the kernel chooses affects nothing that exists.
    address_or_none(unsafe { syscall(number::MMAP, arguments) })
}

/// A range of addresses without memory; whoever touches one gets a SIGSEGV.
#[must_use]
pub fn reserve(bytes: usize) -> Option<usize> {
    const FLAGS: usize = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    let arguments = [0, bytes, PROT_NONE, FLAGS, usize::MAX, 0];
    // SAFETY: as above.
    address_or_none(unsafe { syscall(number::MMAP, arguments) })
}

/// Takes the memory of a reserved range away again. Where the kernel refuses to split a mapping (there
/// is a limit to their number) the range stays accessible, but reads as zeros.
///
/// # Safety
/// The range lies in one got from [`reserve`], and nothing uses its contents any more.
pub unsafe fn decommit(address: usize, bytes: usize) {
    const FLAGS: usize = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    let arguments = [address, bytes, PROT_NONE, FLAGS, usize::MAX, 0];
    // SAFETY: replaces what the caller gives up.
    if address_or_none(unsafe { syscall(number::MMAP, arguments) }).is_none() {
        // SAFETY: the same range.
        let _ = unsafe { syscall(number::MADVISE, [address, bytes, MADV_DONTNEED, 0, 0, 0]) };
    }
}

/// `mmap` with the program's own arguments; all ones where it fails (without `errno`).
///
/// # Safety
/// As for `mmap`: a fixed address replaces what is mapped there.
pub unsafe fn map_for_program(arguments: [usize; 6]) -> usize {
    // SAFETY: the caller's promise.
    address_or_none(unsafe { syscall(number::MMAP, arguments) }).unwrap_or(usize::MAX)
}

/// `munmap` with the program's own arguments; all ones where it fails (without `errno`).
///
/// # Safety
/// As for `munmap`: nothing uses the range any more.
pub unsafe fn unmap_for_program(address: usize, bytes: usize) -> usize {
    // SAFETY: the caller's promise.
    address_or_none(unsafe { syscall(number::MUNMAP, [address, bytes, 0, 0, 0, 0]) })
        .unwrap_or(usize::MAX)
}

/// `mremap` with the program's own arguments; all ones where it fails (without `errno`).
///
/// # Safety
/// As for `mremap`: nothing uses the old range any more where it moves.
pub unsafe fn remap_for_program(arguments: [usize; 6]) -> usize {
    // SAFETY: the caller's promise.
    address_or_none(unsafe { syscall(number::MREMAP, arguments) }).unwrap_or(usize::MAX)
}

/// The file behind `fd`, shared, from its start.
#[must_use]
pub fn map_shared(fd: usize, bytes: usize) -> Option<usize> {
    // No reservation: a sparse file of many gigabytes needs none, yet qemu-user would make one
    // (7.2 maps anonymous memory in its place first).
    // SAFETY: as above.
    let result = unsafe {
        syscall(
            number::MMAP,
            [
                0,
                bytes,
                PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_NORESERVE,
                fd,
                0,
            ],
        )
    };
    let address = address_or_none(result)?;
    // A core dump of the program need not hold gigabytes of sparse lanes. Only a hint.
    // SAFETY: the range was mapped just above; the advice changes no contents.
    let _ = unsafe { syscall(number::MADVISE, [address, bytes, MADV_DONTDUMP, 0, 0, 0]) };
    Some(address)
}

/// Takes a mapping away.
///
/// # Safety
/// Nothing uses the range any more.
pub unsafe fn unmap(address: usize, bytes: usize) {
    // SAFETY: the caller's promise.
    let _ = unsafe { syscall(number::MUNMAP, [address, bytes, 0, 0, 0, 0]) };
}

/// Makes the pages read as zeros in a forked child. False where the kernel can't (before 4.14).
pub fn wipe_on_fork(address: usize, bytes: usize) -> bool {
    // SAFETY: changes nothing in this process.
    unsafe { syscall(number::MADVISE, [address, bytes, MADV_WIPEONFORK, 0, 0, 0]) == 0 }
}

/// Makes pages of the hook itself, or of a range that it reserved, writable.
pub fn make_writable(address: usize, bytes: usize) -> bool {
    // SAFETY: more rights on the hook's own pages break nobody's assumption.
    unsafe {
        syscall(
            number::MPROTECT,
            [address, bytes, PROT_READ | PROT_WRITE, 0, 0, 0],
        ) == 0
    }
}

/// Makes pages of the hook itself read-only again.
pub fn make_read_only(address: usize, bytes: usize) {
    // SAFETY: only called on the range that `make_writable` was called on, when done with it.
    let _ = unsafe { syscall(number::MPROTECT, [address, bytes, PROT_READ, 0, 0, 0]) };
}

/// Opens `path` (ended by a zero byte).
#[must_use]
pub fn open(path: &[u8], flags: usize) -> Option<usize> {
    debug_assert_eq!(path.last(), Some(&0));
    loop {
        // SAFETY: the path is readable and ends with a zero.
        let result = unsafe {
            syscall(
                number::OPENAT,
                [AT_FDCWD, path.as_ptr() as usize, flags, 0, 0, 0],
            )
        };
        if result != EINTR {
            return usize::try_from(result).ok();
        }
    }
}

/// Reads into `buffer`; how many bytes, 0 at the end or on an error.
#[must_use]
pub fn read(fd: usize, buffer: &mut [u8]) -> usize {
    loop {
        // SAFETY: the buffer is writable for its length.
        let result = unsafe {
            syscall(
                number::READ,
                [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
            )
        };
        if result != EINTR {
            return usize::try_from(result).unwrap_or(0);
        }
    }
}

/// Reads into `buffer` from an offset on, which leaves the file's own position alone; how many
/// bytes, 0 at the end or on an error.
#[must_use]
pub fn read_at(fd: usize, buffer: &mut [u8], offset: u64) -> usize {
    loop {
        // SAFETY: the buffer is writable for its length.
        let result = unsafe {
            syscall(
                number::PREAD64,
                [
                    fd,
                    buffer.as_mut_ptr() as usize,
                    buffer.len(),
                    offset as usize,
                    0,
                    0,
                ],
            )
        };
        if result != EINTR {
            return usize::try_from(result).unwrap_or(0);
        }
    }
}

/// Whether there is something at `path` (ended by a zero) that may be executed, or searched if it
/// is a folder. For the real user: the hook is never in a program where the effective one differs
/// from the start.
#[must_use]
pub fn may_execute(path: &[u8]) -> bool {
    const X_OK: usize = 1;
    debug_assert_eq!(path.last(), Some(&0));
    // SAFETY: the path is readable and ends with a zero.
    unsafe {
        syscall(
            number::FACCESSAT,
            [AT_FDCWD, path.as_ptr() as usize, X_OK, 0, 0, 0],
        ) == 0
    }
}

/// Whether `path` (ended by a zero) is a folder.
#[must_use]
pub fn is_folder(path: &[u8]) -> bool {
    /// `O_DIRECTORY`, which the architectures number differently, with `O_PATH | O_CLOEXEC`.
    const FOLDER: usize = if cfg!(target_arch = "aarch64") {
        0o12_040_000
    } else {
        0o12_200_000
    };
    let fd = open(path, FOLDER);
    fd.inspect(|&fd| close(fd));
    fd.is_some()
}

/// Writes all of `bytes`, at most 4,096 of them: on a pipe they stay together. False on an error.
pub fn write(fd: usize, bytes: &[u8]) -> bool {
    loop {
        // SAFETY: the bytes are readable.
        let result = unsafe {
            syscall(
                number::WRITE,
                [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
            )
        };
        if result != EINTR {
            return result == bytes.len() as isize;
        }
    }
}

/// Reads a symbolic link; how many bytes, 0 on an error.
#[must_use]
pub fn read_link(path: &[u8], buffer: &mut [u8]) -> usize {
    debug_assert_eq!(path.last(), Some(&0));
    // SAFETY: the path ends with a zero, the buffer is writable for its length.
    let result = unsafe {
        syscall(
            number::READLINKAT,
            [
                AT_FDCWD,
                path.as_ptr() as usize,
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                0,
                0,
            ],
        )
    };
    usize::try_from(result).unwrap_or(0)
}

/// Closes a descriptor of the hook's own.
pub fn close(fd: usize) {
    // SAFETY: the descriptor is the hook's: callers check or have just opened it.
    let _ = unsafe { syscall(number::CLOSE, [fd, 0, 0, 0, 0, 0]) };
}

/// Moves a descriptor out of the program's way, to 500 or above if it may, close-on-exec.
#[must_use]
pub fn move_high(fd: usize) -> usize {
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: duplicates a descriptor of the hook's own.
    let result = unsafe { syscall(number::FCNTL, [fd, F_DUPFD_CLOEXEC, 500, 0, 0, 0]) };
    match usize::try_from(result) {
        Ok(high) => {
            close(fd);
            high
        }
        Err(_) => fd,
    }
}

/// Makes writes to a descriptor of the hook's own wait for room.
pub fn make_blocking(fd: usize) {
    const F_SETFL: usize = 4;
    // SAFETY: a descriptor of the hook's own; the only flags that F_SETFL changes are cleared.
    let _ = unsafe { syscall(number::FCNTL, [fd, F_SETFL, 0, 0, 0, 0]) };
}

/// Device and inode behind a descriptor.
#[must_use]
pub fn identity(fd: usize) -> Option<(u64, u64)> {
    // `struct stat` begins with st_dev and st_ino, 8 bytes each, on both architectures; 144 bytes
    // is its size on x86-64, 128 on aarch64.
    let mut stat = [0u64; 18];
    // SAFETY: the buffer holds the kernel's structure.
    let result = unsafe { syscall(number::FSTAT, [fd, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    (result == 0).then_some((stat[0], stat[1]))
}

/// Sleeps while `word` is `expected`, at most `milliseconds`. The word is shared among processes.
pub fn futex_wait(word: &AtomicU32, expected: u32, milliseconds: i64) {
    let timeout = TimeSpec {
        seconds: milliseconds / 1000,
        nanoseconds: milliseconds % 1000 * 1_000_000,
    };
    // SAFETY: the word and the time are readable during the call.
    let _ = unsafe {
        syscall(
            number::FUTEX,
            [
                word.as_ptr() as usize,
                FUTEX_WAIT,
                expected as usize,
                (&raw const timeout) as usize,
                0,
                0,
            ],
        )
    };
}

/// Wakes whoever sleeps on `word`.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is mapped.
    let _ = unsafe {
        syscall(
            number::FUTEX,
            [
                word.as_ptr() as usize,
                FUTEX_WAKE,
                i32::MAX as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Process id.
#[must_use]
pub fn process_id() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { syscall(number::GETPID, [0; 6]) as u32 }
}

/// Parent's process id.
#[must_use]
pub fn parent_id() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { syscall(number::GETPPID, [0; 6]) as u32 }
}

/// Thread id.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: no arguments, no effects.
    unsafe { syscall(number::GETTID, [0; 6]) as u32 }
}

/// Whether this process has no such thread (any more).
#[must_use]
pub fn thread_is_gone(tid: u32) -> bool {
    // SAFETY: signal 0 is only a question.
    unsafe {
        syscall(
            number::TGKILL,
            [process_id() as usize, tid as usize, 0, 0, 0, 0],
        ) == ESRCH
    }
}

/// Whether no such process is there (any more).
#[must_use]
pub fn process_is_gone(pid: u32) -> bool {
    // SAFETY: signal 0 is only a question.
    unsafe { syscall(number::KILL, [pid as usize, 0, 0, 0, 0, 0]) == ESRCH }
}

/// Lets another thread run.
pub fn yield_now() {
    // SAFETY: no arguments.
    let _ = unsafe { syscall(number::SCHED_YIELD, [0; 6]) };
}

/// Nanoseconds of CLOCK_MONOTONIC.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = TimeSpec {
        seconds: 0,
        nanoseconds: 0,
    };
    // SAFETY: the structure is writable.
    let _ = unsafe {
        syscall(
            number::CLOCK_GETTIME,
            [CLOCK_MONOTONIC, (&raw mut time) as usize, 0, 0, 0, 0],
        )
    };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

/// A thread's signal mask.
#[derive(Clone, Copy)]
pub struct SignalMask(u64);

/// Blocks every signal on this thread and returns the mask before.
#[must_use]
pub fn block_signals() -> SignalMask {
    set_mask(SIG_BLOCK, u64::MAX)
}

/// Restores a mask.
pub fn restore_signals(mask: SignalMask) {
    let _ = set_mask(SIG_SETMASK, mask.0);
}

fn set_mask(how: usize, mask: u64) -> SignalMask {
    let mut old = 0u64;
    // SAFETY: both words are as large as the kernel's signal set, 8 bytes.
    let _ = unsafe {
        syscall(
            number::RT_SIGPROCMASK,
            [
                how,
                (&raw const mask) as usize,
                (&raw mut old) as usize,
                8,
                0,
                0,
            ],
        )
    };
    SignalMask(old)
}

/// Takes a SIGPIPE back that a write of the hook's own raised on this thread. Signals must be
/// blocked; `before` says whether one was pending already, which is then the program's.
pub fn discard_sigpipe() {
    let set = 1u64 << (SIGPIPE - 1);
    let now = TimeSpec {
        seconds: 0,
        nanoseconds: 0,
    };
    // SAFETY: the set and the time are readable; no information is asked for.
    let _ = unsafe {
        syscall(
            number::RT_SIGTIMEDWAIT,
            [
                (&raw const set) as usize,
                0,
                (&raw const now) as usize,
                8,
                0,
                0,
            ],
        )
    };
}

/// Whether a SIGPIPE waits on this thread.
#[must_use]
pub fn sigpipe_pending() -> bool {
    let mut set = 0u64;
    // SAFETY: the word is writable and as large as the kernel's signal set.
    let _ = unsafe {
        syscall(
            number::RT_SIGPENDING,
            [(&raw mut set) as usize, 8, 0, 0, 0, 0],
        )
    };
    set & 1 << (SIGPIPE - 1) != 0
}

/// Whether the eight bytes at `address` can be read.
///
/// The kernel copies the new signal mask in before it looks at what to do with it: an address
/// that can't be read gives EFAULT, one that can gives EINVAL for the nonsense in `how`.
#[must_use]
pub fn is_readable(address: usize) -> bool {
    // SAFETY: `how` is invalid, so the mask is not changed whatever the address holds.
    unsafe {
        syscall(
            number::RT_SIGPROCMASK,
            [usize::MAX >> 33, address, 0, 8, 0, 0],
        ) != EFAULT
    }
}

/// Tells the kernel that the launcher's global membarrier concerns this process too
/// (`man 2 membarrier`, since Linux 4.16). False where it can't.
pub fn join_membarrier() -> bool {
    const REGISTER_GLOBAL_EXPEDITED: usize = 4;
    // SAFETY: no memory is involved.
    unsafe {
        syscall(
            number::MEMBARRIER,
            [REGISTER_GLOBAL_EXPEDITED, 0, 0, 0, 0, 0],
        ) == 0
    }
}

/// Ends the process the hard way.
pub fn abort() {
    const SIGABRT: usize = 6;
    // SAFETY: this is the end.
    let _ = unsafe {
        syscall(
            number::TGKILL,
            [
                process_id() as usize,
                thread_id() as usize,
                SIGABRT,
                0,
                0,
                0,
            ],
        )
    };
    // SAFETY: as above, with a signal that can't be handled.
    let _ = unsafe { syscall(number::KILL, [process_id() as usize, 9, 0, 0, 0, 0]) };
}
