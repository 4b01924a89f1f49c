//! x86-64: system calls, the thread slot, and the shape of an interposed function.

use core::arch::{asm, global_asm};

/// System call numbers.
pub mod number {
    #![allow(missing_docs)]
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const PREAD64: usize = 17;
    pub const SCHED_YIELD: usize = 24;
    pub const MREMAP: usize = 25;
    pub const MADVISE: usize = 28;
    pub const GETPID: usize = 39;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const GETPPID: usize = 110;
    pub const RT_SIGPENDING: usize = 127;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const GETTID: usize = 186;
    pub const FUTEX: usize = 202;
    pub const CLOCK_GETTIME: usize = 228;
    pub const TGKILL: usize = 234;
    pub const OPENAT: usize = 257;
    pub const READLINKAT: usize = 267;
    pub const FACCESSAT: usize = 269;
    pub const MEMBARRIER: usize = 324;
}

/// Enters the kernel.
///
/// # Safety
/// The call's own contract.
#[inline(always)]
pub unsafe fn syscall(number: usize, a: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel's convention: it clobbers rcx and r11 and may touch memory.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

// The thread slot: stable Rust cannot choose a thread-local's model, and any but initial-exec
// would call `__tls_get_addr`, which may allocate at a thread's first use.
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

/// This thread's word.
#[inline(always)]
#[must_use]
pub fn thread_slot() -> usize {
    let value;
    // SAFETY: reads this thread's own slot; fs is its thread pointer at all times.
    unsafe {
        asm!("mov {0}, qword ptr [rip + snhook_thread_slot@GOTTPOFF]", "mov {0}, qword ptr fs:[{0}]",
             out(reg) value, options(nostack, readonly, preserves_flags));
    }
    value
}

/// Sets this thread's word.
#[inline(always)]
pub fn set_thread_slot(value: usize) {
    // SAFETY: writes this thread's own slot.
    unsafe {
        asm!("mov {0}, qword ptr [rip + snhook_thread_slot@GOTTPOFF]", "mov qword ptr fs:[{0}], {1}",
             out(reg) _, in(reg) value, options(nostack, preserves_flags));
    }
}

// What the compiler calls by itself. Hidden: the program's own functions stay its own. Short
// copies only, so the string instructions are good enough.
global_asm!(
    ".pushsection .text.snhook_mem,\"ax\",@progbits",
    ".hidden memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".type memcpy,@function",
    "memcpy:",
    ".cfi_startproc",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".cfi_endproc",
    ".type memmove,@function",
    "memmove:",
    ".cfi_startproc",
    "mov rax, rdi",
    "mov rcx, rdx",
    "cmp rdi, rsi",
    "jbe 2f",
    "lea rdi, [rdi + rcx - 1]",
    "lea rsi, [rsi + rcx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    "2: rep movsb",
    "ret",
    ".cfi_endproc",
    ".type memset,@function",
    "memset:",
    ".cfi_startproc",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".cfi_endproc",
    ".type memcmp,@function",
    ".type bcmp,@function",
    "memcmp:",
    "bcmp:",
    ".cfi_startproc",
    "xor ecx, ecx",
    "3: cmp rcx, rdx",
    "je 4f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 3b",
    "ret",
    "4: xor eax, eax",
    "ret",
    ".cfi_endproc",
    ".type strlen,@function",
    "strlen:",
    ".cfi_startproc",
    "xor eax, eax",
    "5: cmp byte ptr [rdi + rax], 0",
    "je 6f",
    "inc rax",
    "jmp 5b",
    "6: ret",
    ".cfi_endproc",
    ".popsection",
);

/// `entry!(name, arguments, body)` defines the interposed symbol `name` of a function with up to
/// three integer arguments. It captures what only the first instruction can know and goes on in
/// `body`, whose parameters are the function's own, then stack pointer at entry, frame pointer,
/// return address. A jump, not a call: the body returns straight to the caller.
macro_rules! entry {
    (@define $name:ident, $body:path, $sp:literal, $fp:literal, $ra:literal) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $fp, ", rbp"),
                concat!("mov ", $ra, ", [rsp]"),
                "jmp {body}",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
    ($name:ident, 1, $body:path) => { $crate::platform::entry!(@define $name, $body, "rsi", "rdx", "rcx"); };
    ($name:ident, 2, $body:path) => { $crate::platform::entry!(@define $name, $body, "rdx", "rcx", "r8"); };
    ($name:ident, 3, $body:path) => { $crate::platform::entry!(@define $name, $body, "rcx", "r8", "r9"); };
    // More arguments leave no registers: three words on the stack instead.
    ($name:ident, 6, $body:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov rax, rsp",
                "push qword ptr [rsp]",
                ".cfi_adjust_cfa_offset 8",
                "push rbp",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "call {body}",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "ret",
                ".cfi_endproc",
                body = sym $body,
            )
        }
    };
}
pub(crate) use entry;

/// `acquire_entry!(name, real, body, note)` defines the interposed symbol `name` of a function that
/// takes a size and returns a block. What every call does is here: the real function is called
/// with the thread marked as inside the allocator, and `note(block, state, sp, ra, size, fp)`
/// records and returns the block. A thread that has no state or is inside the allocator goes to
/// `body`, as of [`entry!`].
///
/// Why in assembly: what the record needs after the call (return address, stack and frame pointer)
/// is where it was before the call, which no compiler knows; it would save and restore six
/// registers. Not for functions that throw: nothing here takes the mark back.
macro_rules! acquire_entry {
    ($name:ident, $real:path, $body:path, $note:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov rax, [rip + snhook_thread_slot@GOTTPOFF]",
                "mov rax, fs:[rax]",
                "test rax, rax",
                "je 2f",
                "cmp qword ptr [rax + {inside}], 0",
                "jne 2f",
                "mov [rax + {inside}], rsp",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "call [rip + {real}]",
                "mov rdi, rax",
                "pop rax",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop r8",
                ".cfi_adjust_cfa_offset -8",
                "mov qword ptr [rsi + {inside}], 0",
                "mov rdx, rsp",
                "mov rcx, [rsp]",
                "mov r9, rbp",
                "jmp {note}",
                "2:",
                "mov rsi, rsp",
                "mov rdx, rbp",
                "mov rcx, [rsp]",
                "jmp {body}",
                ".cfi_endproc",
                inside = const core::mem::offset_of!($crate::thread::ThreadState, inside),
                real = sym $real,
                note = sym $note,
                body = sym $body,
            )
        }
    };
}
pub(crate) use acquire_entry;

/// `forward!(name, before, real)` defines the interposed symbol `name`: it calls `before`
/// with the stack pointer at entry and the first argument, and then jumps to the function whose address is in the static
/// `real`, every register argument as it was and the return address the caller's own. For
/// functions that ask who called them (dlopen) or take a variable number of arguments.
macro_rules! forward {
    ($name:ident, $before:path, $real:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov r10, rsp",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "push r8",
                ".cfi_adjust_cfa_offset 8",
                "push r9",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "mov rsi, rdi",
                "mov rdi, r10",
                "call {before}",
                "pop rax",
                ".cfi_adjust_cfa_offset -8",
                "pop r9",
                ".cfi_adjust_cfa_offset -8",
                "pop r8",
                ".cfi_adjust_cfa_offset -8",
                "pop rcx",
                ".cfi_adjust_cfa_offset -8",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "mov r11, [rip + {real}]",
                "jmp r11",
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
macro_rules! new_entry {
    ($name:ident, $begin:path, $end:path) => {
        #[doc = concat!("Interposes the C++ operator `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "sub rsp, 40",
                ".cfi_adjust_cfa_offset 40",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                // Where the coming call leaves its return address: see `hooks::operators`.
                "lea rdi, [rsp - 8]",
                "lea rsi, [rip + 2f]",
                "lea rdx, [rsp + 24]",
                "call {begin}",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "mov rdx, [rsp + 16]",
                "call rax",
                "2:",
                "mov rdi, rax",
                "mov rsi, rsp",
                "lea rdx, [rsp + 40]",
                "mov rcx, rbp",
                "mov r8, [rsp + 40]",
                "call {end}",
                "add rsp, 40",
                ".cfi_adjust_cfa_offset -40",
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
/// The first six come in registers and the rest on the stack, above the return address. Stored in
/// the place of that and below it, they join the rest: nothing is copied, and no list is too
/// long. The return address moves down meanwhile.
macro_rules! exec_list {
    ($name:ident, $body:path) => {
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "pop rax",
                ".cfi_def_cfa_offset 0",
                // The return address (16) is in rax (0).
                ".cfi_register 16, 0",
                "push r9",
                ".cfi_adjust_cfa_offset 8",
                "push r8",
                ".cfi_adjust_cfa_offset 8",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "mov rdi, rsp",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_offset 16, -56",
                // The stack is aligned at a call.
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "call {body}",
                "mov rcx, [rsp + 8]",
                // In rcx (2).
                ".cfi_register 16, 2",
                "add rsp, 56",
                ".cfi_def_cfa_offset 8",
                "mov [rsp], rcx",
                ".cfi_offset 16, -8",
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
        /// Called by the program, by the C function's own contract.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "sub rsp, 24",
                ".cfi_adjust_cfa_offset 24",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "lea rdi, [rsp + 16]",
                "call {before}",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "call rax",
                "mov [rsp], rax",
                "lea rdi, [rsp + 16]",
                "call {after}",
                "mov rax, [rsp]",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "ret",
                ".cfi_endproc",
                before = sym $before,
                after = sym $after,
            )
        }
    };
}
pub(crate) use around;
