//! Call stacks of the traced thread: exact where the program carries `.eh_frame`, honest where not.
//!
//! A stack is walked by *rules*, one per return address: where the caller's stack pointer is
//! (the canonical frame address, CFA), where the return address is stored and where the caller's
//! frame pointer is. Compilers write those rules as small programs into `.eh_frame`; running one
//! takes about a microsecond, so the result is packed into a [`Rule`] of 26 bits and kept in a
//! [`cache::RuleCache`]. A step by a cached rule is a hash, two loads of one cache line, a
//! compare and an add.
//!
//! | file | what |
//! |---|---|
//! | `cfi` | `.eh_frame_hdr` and `.eh_frame` → [`Row`] → [`Rule`] |
//! | `expression` | DWARF expressions inside rows (PLT, signal frames, realigned stacks) |
//! | `cache` | return address → [`Rule`], shared by all threads |
//! | `x86_64`, `aarch64` | the same names inside both: packing, stepping, signal frames |
//! | `walk` | from the innermost frame outwards, slow path, frame pointers as a last resort |
//!
//! Duties of the caller: give the true bounds of the stack, return only what is mapped from
//! [`walk::Target::read`], and hand out `.eh_frame` bytes that stay mapped during the call.
//! In return nothing here allocates, locks, calls out of [`walk::Target`], panics or loops without
//! bound, whatever the bytes are: broken data ends a stack as truncated. Stack use of the slow
//! path is below 3 KiB. May be called in every phase (hot and slow), also in a signal handler.
//!
//! Sources: DWARF 5 §6.4 (call frame information) and §2.5 (expressions), LSB 5.0 core §10.6
//! (`.eh_frame`, `.eh_frame_hdr`), the System V psABI of x86-64 §3.6, and DWARF for the Arm 64-bit
//! architecture (aadwarf64).

pub mod aarch64;
pub mod cache;
pub mod cfi;
mod expression;
pub mod walk;
pub mod x86_64;

#[cfg(test)]
mod tests;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Aarch64 as Native;
#[cfg(target_arch = "x86_64")]
pub use x86_64::X86_64 as Native;

use gimli::UnwindExpression;

/// The registers that a walk carries from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Where the frame continues: a return address, or the interrupted instruction of a signal.
    pub ip: u64,
    /// The stack pointer that the frame sees when it continues at `ip`.
    pub sp: u64,
    /// The frame pointer (`rbp`, `x29`) that the frame sees when it continues at `ip`.
    pub fp: u64,
}

/// How to get from one frame to its caller, packed into 26 bits for the cache.
///
/// Bit 0 is the base of the CFA (0: `sp`, 1: `fp`), the bits above it are the offset of the CFA in
/// words, which is never zero in a rule that can be stepped by; what follows is the architecture's.
/// An offset of zero marks the special rules below. A rule of zero is [`Rule::NO_INFO`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule(u32);

impl Rule {
    /// How many bits a rule has; the cache stores half of them in each of two words.
    pub const BITS: u32 = 26;
    /// No call frame information covers the address.
    pub const NO_INFO: Rule = Rule(0);
    /// The frame is the outermost one: its return address is declared undefined.
    pub const END: Rule = Rule(1 << 18);
    /// The row does not fit a rule (expressions, signal frames, huge frames): evaluate it in full.
    pub const SLOW: Rule = Rule(2 << 18);

    /// The rule whose bits are `bits`; higher bits are dropped.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Rule {
        Rule(bits & ((1 << Self::BITS) - 1))
    }

    /// The bits of the rule, all below [`Rule::BITS`].
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

/// A frame's rules in full, as `.eh_frame` states them for one address.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How the CFA is computed.
    pub cfa: Cfa,
    /// Where the return address is.
    pub return_address: Saved,
    /// Where the caller's frame pointer is.
    pub fp: Saved,
    /// Where the caller's stack pointer is; [`Saved::Unspecified`] means the CFA itself.
    pub sp: Saved,
    /// The frame was pushed by the kernel for a signal handler (augmentation `S`).
    pub signal_frame: bool,
}

/// How a canonical frame address is computed.
#[derive(Clone, Copy, Debug)]
pub enum Cfa {
    /// Register (DWARF number) plus offset.
    Register(u16, i64),
    /// The value of an expression.
    Expression(UnwindExpression<usize>),
}

/// Where a caller's register is found.
#[derive(Clone, Copy, Debug)]
pub enum Saved {
    /// The row says nothing about it.
    Unspecified,
    /// It can't be recovered; for a return address: there is no caller.
    Undefined,
    /// The callee left it alone.
    Same,
    /// In memory at CFA plus offset.
    AtCfa(i64),
    /// It is CFA plus offset.
    IsCfa(i64),
    /// In another register (DWARF number).
    Register(u16),
    /// In memory at the value of an expression.
    AtExpression(UnwindExpression<usize>),
    /// It is the value of an expression.
    IsExpression(UnwindExpression<usize>),
}

/// Where a step by a [`Rule`] arrived, and which memory words it depended on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The caller's registers.
    pub registers: Registers,
    /// The address of the word that held the return address.
    pub return_slot: u64,
    /// The address of the word that held the caller's frame pointer; 0 where it was unchanged.
    pub fp_slot: u64,
}

/// What the kernel saved of an interrupted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The registers at the interrupted instruction.
    pub registers: Registers,
    /// The link register there; 0 on machines without one.
    pub link: u64,
}

/// What differs between architectures.
pub trait Machine {
    /// DWARF number of the stack pointer.
    const SP: u16;
    /// DWARF number of the frame pointer.
    const FP: u16;
    /// How far below its stack pointer an interrupted frame may still use memory, in bytes: signals
    /// spare that much.
    const RED_ZONE: u64;
    /// Which vendor's call frame opcodes apply.
    const VENDOR: gimli::Vendor;

    /// Packs `row` into a rule; [`Rule::SLOW`] where it does not fit.
    fn pack(row: &Row) -> Rule;

    /// Whether [`Machine::step`] can step by `rule` (else it is one of the special rules).
    fn is_steppable(rule: Rule) -> bool;

    /// Steps by `rule` from a frame to its caller on a stack that ends at `stack_end`.
    ///
    /// `None` if that would not progress, leave the stack, be misaligned or hit unreadable memory.
    fn step(
        rule: Rule,
        registers: Registers,
        stack_end: u64,
        read: impl FnMut(u64) -> Option<u64>,
    ) -> Option<Stepped>;

    /// The code address in a saved return address, without its signature.
    fn strip(return_address: u64) -> u64;

    /// Whether the kernel's signal frame begins at the stack pointer when `ip` points at `code`.
    fn is_signal_return(code: [u8; 8], next: [u8; 8]) -> bool;

    /// How far the CFA is above the stack pointer at an instruction of a PLT stub.
    ///
    /// LLD writes no call frame information for its stubs, and a signal may interrupt one. `code`
    /// are the bytes at the instruction, `before` those before it. `Some(0)` means that the
    /// return address is in the link register still; `None`, that this is no PLT stub.
    fn plt_depth(code: [u8; 8], before: [u8; 8]) -> Option<u64>;

    /// The interrupted frame in the kernel's signal frame that begins at `sp`.
    fn interrupted(sp: u64, read: impl FnMut(u64) -> Option<u64>) -> Option<Interrupted>;
}
