//! aarch64: system calls, the thread slot, and the shape of an interposed function.
//!
//! Two things differ from x86-64 in kind. A call leaves its return address in `x30`, not on the
//! stack, so the stack pointer at a function's entry is the one after its return. And C++
//! operators, whose call must be recognisable by a word on the stack, put the word there
//! themselves ([`new_entry`]).
//!
//! Every entry begins with `hint #34`, which is `bti c` and does nothing on processors without
//! branch target identification. `x30` is never signed here: the hook's frames are not worth the
//! two instructions to whoever could already write into them.

use core::arch::{asm, global_asm};

/// System call numbers: `asm-generic/unistd.h`.
pub mod number {
    #![allow(missing_docs)]
    pub const FCNTL: usize = 25;
    pub const FACCESSAT: usize = 48;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PREAD64: usize = 67;
    pub const READLINKAT: usize = 78;
    pub const FSTAT: usize = 80;
    pub const FUTEX: usize = 98;
    pub const CLOCK_GETTIME: usize = 113;
    pub const SCHED_YIELD: usize = 124;
    pub const KILL: usize = 129;
    pub const TGKILL: usize = 131;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGPENDING: usize = 136;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const GETPID: usize = 172;
    pub const GETPPID: usize = 173;
    pub const GETTID: usize = 178;
    pub const MUNMAP: usize = 215;
    pub const MREMAP: usize = 216;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const MADVISE: usize = 233;
    pub const MEMBARRIER: usize = 283;
}

/// Enters the kernel.
///
/// # Safety
/// The call's own contract.
#[inline(always)]
pub unsafe fn syscall(number: usize, a: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel's convention: it changes x0 and may touch memory.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

// The thread slot: stable Rust cannot choose a thread-local's model, and any but initial-exec
// would call into the loader, which may allocate at a thread's first use.
global_asm!(
    ".pushsection .tbss,\"awT\",@nobits",
    ".hidden snhook_thread_slot",
    ".globl snhook_thread_slot",
    ".type snhook_thread_slot,@object",
    ".size snhook_thread_slot,8",
    ".p2align 3",
    "snhook_thread_slot:",
    ".zero 8",
    ".popsection",
);

/// This thread's word; 0 until it is set.
#[inline(always)]
#[must_use]
pub fn thread_slot() -> usize {
    let value: usize;
    // SAFETY: reads this thread's own slot, which the loader placed at a fixed distance from the
    // thread pointer and which exists for every thread at all times.
    unsafe {
        asm!("adrp {0}, :gottprel:snhook_thread_slot",
             "ldr {0}, [{0}, :gottprel_lo12:snhook_thread_slot]",
             "mrs {1}, tpidr_el0",
             "ldr {0}, [{1}, {0}]",
             out(reg) value, out(reg) _, options(nostack, readonly, preserves_flags));
    }
    value
}

/// Sets this thread's word.
#[inline(always)]
pub fn set_thread_slot(value: usize) {
    // SAFETY: writes this thread's own slot.
    unsafe {
        asm!("adrp {0}, :gottprel:snhook_thread_slot",
             "ldr {0}, [{0}, :gottprel_lo12:snhook_thread_slot]",
             "mrs {1}, tpidr_el0",
             "str {2}, [{1}, {0}]",
             out(reg) _, out(reg) _, in(reg) value, options(nostack, preserves_flags));
    }
}

// What the compiler calls by itself. Hidden: the program's own functions stay its own. Copies are
// short, and words may be misaligned: ordinary memory allows that. Each has unwind information (a
// leaf's, which the directives alone give), for signal handlers that look at the stack.
global_asm!(
    ".pushsection .text.snhook_mem,\"ax\",@progbits",
    ".p2align 2",
    ".hidden memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".type memmove,@function",
    "memmove:",
    ".cfi_startproc",
    "sub x3, x0, x1",
    "cmp x3, x2",
    // The destination does not begin inside the source: upwards.
    "b.hs memcpy",
    "add x1, x1, x2",
    "add x3, x0, x2",
    "cmp x2, #16",
    "b.lo 3f",
    "2: ldp x4, x5, [x1, #-16]!",
    "stp x4, x5, [x3, #-16]!",
    "sub x2, x2, #16",
    "cmp x2, #16",
    "b.hs 2b",
    "3: cbz x2, 5f",
    "4: ldrb w4, [x1, #-1]!",
    "strb w4, [x3, #-1]!",
    "subs x2, x2, #1",
    "b.ne 4b",
    "5: ret",
    ".cfi_endproc",
    ".size memmove, . - memmove",
    ".type memcpy,@function",
    "memcpy:",
    ".cfi_startproc",
    "mov x3, x0",
    "cmp x2, #16",
    "b.lo 3f",
    "2: ldp x4, x5, [x1], #16",
    "stp x4, x5, [x3], #16",
    "sub x2, x2, #16",
    "cmp x2, #16",
    "b.hs 2b",
    "3: cbz x2, 5f",
    "4: ldrb w4, [x1], #1",
    "strb w4, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 4b",
    "5: ret",
    ".cfi_endproc",
    ".size memcpy, . - memcpy",
    ".type memset,@function",
    "memset:",
    ".cfi_startproc",
    "mov x3, x0",
    "and x1, x1, #0xff",
    "mov x4, #0x0101010101010101",
    "mul x1, x1, x4",
    "cmp x2, #16",
    "b.lo 3f",
    "2: stp x1, x1, [x3], #16",
    "sub x2, x2, #16",
    "cmp x2, #16",
    "b.hs 2b",
    "3: cbz x2, 5f",
    "4: strb w1, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 4b",
    "5: ret",
    ".cfi_endproc",
    ".size memset, . - memset",
    ".type memcmp,@function",
    ".type bcmp,@function",
    "memcmp:",
    "bcmp:",
    ".cfi_startproc",
    "mov x3, x0",
    "mov w0, #0",
    "2: cbz x2, 3f",
    "ldrb w4, [x3], #1",
    "ldrb w5, [x1], #1",
    "sub x2, x2, #1",
    "subs w0, w4, w5",
    "b.eq 2b",
    "3: ret",
    ".cfi_endproc",
    ".size memcmp, . - memcmp",
    ".size bcmp, . - bcmp",
    ".type strlen,@function",
    "strlen:",
    ".cfi_startproc",
    "mov x1, x0",
    "2: ldrb w2, [x1], #1",
    "cbnz w2, 2b",
    "sub x0, x1, x0",
    "sub x0, x0, #1",
    "ret",
    ".cfi_endproc",
    ".size strlen, . - strlen",
    ".popsection",
);

// Also what the compiler calls by itself: an atomic operation is compiled into a call of a helper
// that chooses between the single instructions of ARMv8.1 and a loop of exclusive loads and
// stores. The helpers that come with Rust ask `getauxval` in a constructor, a symbol of the C
// library that the hook must not need. These here always take the loop, which every processor
// has; none is in the hot path. (`-C target-feature=-outline-atomics` would do the same, but only
// for who remembers it.)
//
// Every name of an operation is the same code with acquire and release ordering: more than
// `relax` asks for, and what `SeqCst` is compiled into too. They change nothing but x0 and
// x15 to x17. Each lies in a section of its own, so that the unused ones are left out.
#[cfg(not(test))]
macro_rules! atomic_helper {
    ($name:expr, $($line:expr),+ $(,)?) => {
        global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            ".p2align 2",
            ".irp order, _relax, _acq, _rel, _acq_rel",
            concat!(".hidden ", $name, "\\order"),
            concat!(".globl ", $name, "\\order"),
            concat!(".type ", $name, "\\order,@function"),
            concat!($name, "\\order:"),
            ".endr",
            ".cfi_startproc",
            $($line,)+
            ".cfi_endproc",
            ".popsection",
        );
    };
}

/// The helpers for operands of one size: its bytes, register letter, the letter that ends
/// the instructions of that size, and the one of its extension.
#[cfg(not(test))]
macro_rules! atomic_helpers {
    ($bytes:literal, $r:literal, $letter:literal, $extended:literal) => {
        // x0: expected, x1: desired, x2: where. Returns what was there.
        atomic_helper!(
            concat!("__aarch64_cas", $bytes),
            concat!("mov ", $r, "16, ", $r, "0"),
            concat!("2: ldaxr", $letter, " ", $r, "0, [x2]"),
            // Of a small operand's register, the upper bits may be anything.
            concat!("cmp ", $r, "0, ", $r, "16, uxt", $extended),
            "b.ne 3f",
            concat!("stlxr", $letter, " w17, ", $r, "1, [x2]"),
            "cbnz w17, 2b",
            "3: ret",
        );
        // x0: operand, x1: where. Returns what was there.
        atomic_helper!(
            concat!("__aarch64_swp", $bytes),
            concat!("mov ", $r, "16, ", $r, "0"),
            concat!("2: ldaxr", $letter, " ", $r, "0, [x1]"),
            concat!("stlxr", $letter, " w17, ", $r, "16, [x1]"),
            "cbnz w17, 2b",
            "ret",
        );
        atomic_helpers!(@calculate "ldadd", "add", $bytes, $r, $letter);
        atomic_helpers!(@calculate "ldclr", "bic", $bytes, $r, $letter);
        atomic_helpers!(@calculate "ldeor", "eor", $bytes, $r, $letter);
        atomic_helpers!(@calculate "ldset", "orr", $bytes, $r, $letter);
    };
    (@calculate $operation:literal, $instruction:literal, $bytes:literal, $r:literal, $letter:literal) => {
        // x0: operand, x1: where. Returns what was there.
        atomic_helper!(
            concat!("__aarch64_", $operation, $bytes),
            concat!("mov ", $r, "16, ", $r, "0"),
            concat!("2: ldaxr", $letter, " ", $r, "0, [x1]"),
            concat!($instruction, " ", $r, "17, ", $r, "0, ", $r, "16"),
            concat!("stlxr", $letter, " w15, ", $r, "17, [x1]"),
            "cbnz w15, 2b",
            "ret",
        );
    };
}

#[cfg(not(test))]
atomic_helpers!("1", "w", "b", "b");
#[cfg(not(test))]
atomic_helpers!("2", "w", "h", "h");
#[cfg(not(test))]
atomic_helpers!("4", "w", "", "w");
#[cfg(not(test))]
atomic_helpers!("8", "x", "", "x");

/// `entry!(name, arguments, body)` defines the interposed symbol `name` of a function with that
/// many integer arguments. It captures what only the first instruction can know and goes on in
/// `body`, whose parameters are the function's own, then stack pointer at entry, frame pointer,
/// return address. A jump, not a call: the body returns straight to the caller.
macro_rules! entry {
    (@define $name:ident, $body:path, $sp:literal, $fp:literal, $ra:literal) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                concat!("mov ", $sp, ", sp"),
                concat!("mov ", $fp, ", x29"),
                concat!("mov ", $ra, ", x30"),
                "b {body}",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
    ($name:ident, 1, $body:path) => { $crate::platform::entry!(@define $name, $body, "x1", "x2", "x3"); };
    ($name:ident, 2, $body:path) => { $crate::platform::entry!(@define $name, $body, "x2", "x3", "x4"); };
    ($name:ident, 3, $body:path) => { $crate::platform::entry!(@define $name, $body, "x3", "x4", "x5"); };
    // Six arguments leave two registers; the ninth parameter is the word at the stack pointer
    // (AAPCS64 §6.8.2, stage C.14), so this one is a call.
    ($name:ident, 6, $body:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                "mov x6, sp",
                "mov x7, x29",
                "sub sp, sp, #32",
                ".cfi_def_cfa_offset 32",
                "stp x29, x30, [sp, #16]",
                ".cfi_offset x29, -16",
                ".cfi_offset x30, -8",
                "add x29, sp, #16",
                "str x30, [sp]",
                "bl {body}",
                "ldp x29, x30, [sp, #16]",
                ".cfi_restore x29",
                ".cfi_restore x30",
                "add sp, sp, #32",
                ".cfi_def_cfa_offset 0",
                "ret",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
}
pub(crate) use entry;

/// `acquire_entry!(name, real, body, note)` defines the interposed symbol `name` of a function that
/// takes a size and returns a block: as [`entry!`]. On x86-64 there is a shorter way that leaves
/// `body` aside and goes on in `note` after the call. Here a call leaves its return address in a
/// register, which somebody has to save in any case.
macro_rules! acquire_entry {
    ($name:ident, $real:path, $body:path, $note:path) => {
        $crate::platform::entry!($name, 1, $body);
        const _: unsafe extern "C" fn(
            usize,
            &mut $crate::thread::ThreadState,
            usize,
            usize,
            usize,
            usize,
        ) -> usize = $note;
    };
}
pub(crate) use acquire_entry;

/// `forward!(name, before, real)` defines the interposed symbol `name`: it calls `before`
/// with the stack pointer at entry and the first argument, and then jumps to the function whose
/// address is in the static `real`, every integer argument as it was and the return address the
/// caller's own. For functions that ask who called them (dlopen) or take a variable number of
/// arguments; none has one in a floating-point register.
macro_rules! forward {
    ($name:ident, $before:path, $real:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                "mov x9, sp",
                "stp x29, x30, [sp, #-96]!",
                ".cfi_def_cfa_offset 96",
                ".cfi_offset x29, -96",
                ".cfi_offset x30, -88",
                "mov x29, sp",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                // Where a large result goes.
                "str x8, [sp, #80]",
                "mov x1, x0",
                "mov x0, x9",
                "bl {before}",
                "ldr x8, [sp, #80]",
                "ldp x6, x7, [sp, #64]",
                "ldp x4, x5, [sp, #48]",
                "ldp x2, x3, [sp, #32]",
                "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #96",
                ".cfi_restore x29",
                ".cfi_restore x30",
                ".cfi_def_cfa_offset 0",
                // Through x16, a jump may land on `bti c` as a call does.
                "adrp x16, {real}",
                "ldr x16, [x16, :lo12:{real}]",
                "br x16",
                ".cfi_endproc",
                before = sym $before,
                real = sym $real,
            )
        }
    };
}
pub(crate) use forward;

/// `new_entry!(name, begin, end)` defines a C++ `operator new`. `begin(slot, back, outer)` returns
/// the real operator, `end(block, frame, sp, fp, return address)` records. The frame in between
/// has unwind information and no handler of its own, so that an exception passes through. It
/// holds five words: the three argument registers, and two for `begin` to keep something in.
///
/// The word by which `hooks::operators` sees that the operator is still going on, the address it
/// returns to, is stored in this frame: the call itself leaves it in `x30`. It lies above the
/// stack pointer that the operator begins with, so that a function which the operator jumps to
/// (`operator new[]` to `operator new`) counts as deeper.
macro_rules! new_entry {
    ($name:ident, $begin:path, $end:path) => {
        #[doc = concat!("Interposes the C++ operator `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                "stp x29, x30, [sp, #-80]!",
                ".cfi_def_cfa_offset 80",
                ".cfi_offset x29, -80",
                ".cfi_offset x30, -72",
                "mov x29, sp",
                "add x9, sp, #16",
                "stp x0, x1, [sp, #32]",
                "str x2, [sp, #48]",
                "mov x0, x9",
                "adr x1, 2f",
                "str x1, [x9]",
                "add x2, sp, #56",
                "bl {begin}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #32]",
                "ldr x2, [sp, #48]",
                "blr x16",
                "2:",
                "add x1, sp, #32",
                "add x2, sp, #80",
                "ldp x3, x4, [sp]",
                "bl {end}",
                "ldp x29, x30, [sp], #80",
                ".cfi_restore x29",
                ".cfi_restore x30",
                ".cfi_def_cfa_offset 0",
                "ret",
                ".cfi_endproc",
                begin = sym $begin,
                end = sym $end,
            )
        }
    };
}
pub(crate) use new_entry;

/// `exec_list!(name, body)` defines the interposed symbol `name` of a function whose arguments are
/// a list of any length (execl), and calls `body` with the address of all of them, one word
/// behind the other.
///
/// The first eight come in registers and the rest at the stack pointer (AAPCS64 §6.8.2). Stored
/// below it, they join the rest: nothing is copied, and no list is too long.
macro_rules! exec_list {
    ($name:ident, $body:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                "stp x29, x30, [sp, #-80]!",
                ".cfi_def_cfa_offset 80",
                ".cfi_offset x29, -80",
                ".cfi_offset x30, -72",
                "mov x29, sp",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x0, sp, #16",
                "bl {body}",
                "ldp x29, x30, [sp], #80",
                ".cfi_restore x29",
                ".cfi_restore x30",
                ".cfi_def_cfa_offset 0",
                "ret",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
}
pub(crate) use exec_list;

/// `around!(name, before, after)` defines the interposed symbol `name` of a function with up to two
/// integer arguments: `before(word)` returns the real function, `after(word)` is called when
/// that has returned, with the address of the same word to keep something in. The frame in between
/// has unwind information and no handler of its own: the real function may be left by the
/// cancellation of its thread, which no frame of Rust's could be passed by.
macro_rules! around {
    ($name:ident, $before:path, $after:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// That of the function it stands for.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "hint #34",
                "stp x29, x30, [sp, #-48]!",
                ".cfi_def_cfa_offset 48",
                ".cfi_offset x29, -48",
                ".cfi_offset x30, -40",
                "mov x29, sp",
                "stp x0, x1, [sp, #16]",
                "add x0, sp, #32",
                "bl {before}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]",
                "blr x16",
                "str x0, [sp, #16]",
                "add x0, sp, #32",
                "bl {after}",
                "ldr x0, [sp, #16]",
                "ldp x29, x30, [sp], #48",
                ".cfi_restore x29",
                ".cfi_restore x30",
                ".cfi_def_cfa_offset 0",
                "ret",
                ".cfi_endproc",
                before = sym $before,
                after = sym $after,
            )
        }
    };
}
pub(crate) use around;
