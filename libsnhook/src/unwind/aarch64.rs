//! Rules and steps of aarch64.
//!
//! A function that calls saves the link register (`x30`), most often as a *frame record* with
//! `x29` in the word below, anywhere in its frame: GCC keeps it at the bottom, clang at the top.
//! A [`Rule`]:
//!
//! ```text
//!  25         16 15 14 13            1 0
//! +-------------+--+--+---------------+-+   b: 0 CFA = sp + offset, 1 CFA = x29 + offset
//! | ra slot     |f |t | CFA offset / 8|b|   t: 0 ra slot counts words up from the base of the CFA,
//! +-------------+--+--+---------------+-+      1 down from the CFA
//!                                           f: 1 x29 is saved in the word below the return address
//! ```
//!
//! so frames up to 64 KiB with a frame record in the lowest or highest 8 KiB step fast; the rest is
//! [`Rule::SLOW`]. Register numbers: aadwarf64 §4.1.
//!
//! Return addresses may be signed (pointer authentication, `DW_CFA_AARCH64_negate_ra_state`). The
//! signature sits in the bits above the virtual address, so it is removed from every return
//! address by masking, as `xpaci` does, whether or not the row says that it is signed: with
//! 48-bit user addresses (the default of Linux; 52-bit ones are handed out only to who asks mmap
//! for them by a hint) the upper 16 bits of a code address are always zero.

use super::x86_64::words;
use super::{Cfa, Interrupted, Machine, Registers, Row, Rule, Saved, Stepped};

/// The aarch64 architecture.
#[derive(Clone, Copy, Debug)]
pub enum Aarch64 {}

const BASE_IS_FP: u32 = 1;
const CFA_BITS: u32 = 13;
const CFA_MASK: u32 = ((1 << CFA_BITS) - 1) << 1;
const RA_FROM_TOP: u32 = 1 << 14;
const FP_SAVED: u32 = 1 << 15;
const RA_SHIFT: u32 = 16;
const RA_LIMIT: u32 = 1 << (Rule::BITS - RA_SHIFT);

/// The bits of a user-space code address; the others may hold a signature.
const ADDRESS_MASK: u64 = (1 << 48) - 1;

/// `mov x8, #139; svc #0`, the vDSO's and musl's return from a signal handler.
const SIGNAL_RETURN: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

/// The instructions of a PLT stub as (mask, bits): `bti c`, `adrp x16, _`, `ldr x17, [x16, _]`,
/// `add x16, x16, _`, `br x17`. Compilers use x16 and x17 (IP0, IP1) for nothing else in this form,
/// and none of these changes the stack or the link register.
const PLT_INSTRUCTIONS: [(u32, u32); 5] = [
    (0xffff_ffff, 0xd503_245f),
    (0x9f00_001f, 0x9000_0010),
    (0xffc0_03ff, 0xf940_0211),
    (0xffc0_03ff, 0x9100_0210),
    (0xffff_ffff, 0xd61f_0220),
];

// Offsets into `struct rt_sigframe`, at which the stack pointer stands in the trampoline (Linux,
// arch/arm64/kernel/signal.c): siginfo is 128 bytes, uc_mcontext is at 176 in the ucontext after
// it, and begins with fault_address, then regs[31], sp, pc.
const FRAME_REGS: u64 = 128 + 176 + 8;
const FRAME_X29: u64 = FRAME_REGS + 29 * 8;
const FRAME_X30: u64 = FRAME_REGS + 30 * 8;
const FRAME_SP: u64 = FRAME_REGS + 31 * 8;
const FRAME_PC: u64 = FRAME_REGS + 32 * 8;

impl Machine for Aarch64 {
    const SP: u16 = 31;
    const FP: u16 = 29;
    const RED_ZONE: u64 = 0;
    const VENDOR: gimli::Vendor = gimli::Vendor::AArch64;

    fn pack(row: &Row) -> Rule {
        if matches!(row.return_address, Saved::Undefined) {
            return Rule::END;
        }
        pack_steppable(row).unwrap_or(Rule::SLOW)
    }

    #[inline(always)]
    fn is_steppable(rule: Rule) -> bool {
        rule.bits() & CFA_MASK != 0
    }

    #[inline(always)]
    fn step(
        rule: Rule,
        registers: Registers,
        stack_end: u64,
        mut read: impl FnMut(u64) -> Option<u64>,
    ) -> Option<Stepped> {
        let bits = rule.bits();
        let base = if bits & BASE_IS_FP == 0 {
            registers.sp
        } else {
            registers.fp
        };
        let cfa = base.wrapping_add(u64::from(bits & CFA_MASK) << 2);
        if cfa <= registers.sp || cfa > stack_end || cfa & 15 != 0 {
            return None;
        }
        let words = u64::from(bits >> RA_SHIFT) << 3;
        let return_slot = if bits & RA_FROM_TOP == 0 {
            base.wrapping_add(words)
        } else {
            cfa.wrapping_sub(words)
        };
        // A frame keeps its record between its stack pointer and its CFA.
        let lowest = registers.sp.wrapping_add(u64::from(bits & FP_SAVED) >> 12);
        if return_slot < lowest || return_slot >= cfa {
            return None;
        }
        let ip = Self::strip(read(return_slot)?);
        let (fp, fp_slot) = if bits & FP_SAVED == 0 {
            (registers.fp, 0)
        } else {
            let slot = return_slot.wrapping_sub(8);
            (read(slot)?, slot)
        };
        Some(Stepped {
            registers: Registers { ip, sp: cfa, fp },
            return_slot,
            fp_slot,
        })
    }

    #[inline(always)]
    fn strip(return_address: u64) -> u64 {
        return_address & ADDRESS_MASK
    }

    fn is_signal_return(code: [u8; 8], _next: [u8; 8]) -> bool {
        code == SIGNAL_RETURN
    }

    fn plt_depth(code: [u8; 8], _before: [u8; 8]) -> Option<u64> {
        let (first, _) = code.split_first_chunk::<4>()?;
        let instruction = u32::from_le_bytes(*first);
        PLT_INSTRUCTIONS
            .iter()
            .any(|(mask, bits)| instruction & mask == *bits)
            .then_some(0)
    }

    fn interrupted(sp: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Option<Interrupted> {
        Some(Interrupted {
            registers: Registers {
                ip: read(sp.checked_add(FRAME_PC)?)?,
                sp: read(sp.checked_add(FRAME_SP)?)?,
                fp: read(sp.checked_add(FRAME_X29)?)?,
            },
            link: read(sp.checked_add(FRAME_X30)?)?,
        })
    }
}

fn pack_steppable(row: &Row) -> Option<Rule> {
    if row.signal_frame || !matches!(row.sp, Saved::Unspecified | Saved::IsCfa(0)) {
        return None;
    }
    let (Cfa::Register(register, cfa), Saved::AtCfa(return_address)) =
        (row.cfa, row.return_address)
    else {
        return None;
    };
    let base = match register {
        Aarch64::SP => 0,
        Aarch64::FP => BASE_IS_FP,
        _ => return None,
    };
    let cfa_words = words(cfa)?;
    if cfa_words >= 1 << CFA_BITS {
        return None;
    }
    let from_top = words(return_address.checked_neg()?)?;
    // From the base: at or above it, so counted without a sign. Zero words are fine there.
    let from_base = cfa_words.checked_sub(from_top);
    let (anchor, return_words) = match from_base {
        Some(words) if words < RA_LIMIT => (0, words),
        _ if from_top < RA_LIMIT => (RA_FROM_TOP, from_top),
        _ => return None,
    };
    let fp_saved = match row.fp {
        Saved::Unspecified | Saved::Same => 0,
        Saved::AtCfa(offset) if offset.checked_add(8) == Some(return_address) => FP_SAVED,
        _ => return None,
    };
    Some(Rule::from_bits(
        return_words << RA_SHIFT | fp_saved | anchor | cfa_words << 1 | base,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0x7000;
    const END: u64 = STACK + (64 << 10) + 256;

    /// The word at an address is the address itself plus one.
    fn read(address: u64) -> Option<u64> {
        assert!(address.is_multiple_of(8) && (STACK..END).contains(&address));
        Some(address + 1)
    }

    fn row(cfa: Cfa, return_address: i64, fp: Saved) -> Row {
        Row {
            cfa,
            return_address: Saved::AtCfa(return_address),
            fp,
            sp: Saved::Unspecified,
            signal_frame: false,
        }
    }

    fn step(row: Row, sp: u64, fp: u64) -> Option<Stepped> {
        Aarch64::step(Aarch64::pack(&row), Registers { ip: 1, sp, fp }, END, read)
    }

    #[test]
    fn a_record_at_the_bottom_of_the_frame_is_counted_from_sp() {
        // stp x29, x30, [sp, -6016]!: CFA = sp + 6016, x29 at CFA - 6016, x30 at CFA - 6008.
        let stepped = step(
            row(Cfa::Register(31, 6016), -6008, Saved::AtCfa(-6016)),
            STACK,
            3,
        )
        .unwrap();
        assert_eq!(
            stepped.registers,
            Registers {
                ip: 0x7009,
                sp: 0x7000 + 6016,
                fp: 0x7001
            }
        );
        assert_eq!((stepped.return_slot, stepped.fp_slot), (0x7008, 0x7000));
    }

    #[test]
    fn a_record_at_the_top_of_a_large_frame_is_counted_from_the_cfa() {
        // CFA = sp + 0xe000 = 0x15000, x30 at CFA - 8, x29 at CFA - 16.
        let stepped = step(
            row(Cfa::Register(31, 0xe000), -8, Saved::AtCfa(-16)),
            STACK,
            3,
        )
        .unwrap();
        assert_eq!(
            stepped.registers,
            Registers {
                ip: 0x14ff9,
                sp: 0x15000,
                fp: 0x14ff1
            }
        );
    }

    #[test]
    fn the_link_register_alone_leaves_the_frame_pointer() {
        // str x30, [sp, -16]!
        let stepped = step(
            row(Cfa::Register(31, 16), -16, Saved::Unspecified),
            STACK,
            3,
        )
        .unwrap();
        assert_eq!(
            stepped.registers,
            Registers {
                ip: 0x7001,
                sp: 0x7010,
                fp: 3
            }
        );
    }

    #[test]
    fn signatures_of_return_addresses_are_removed() {
        let rule = Aarch64::pack(&row(Cfa::Register(29, 16), -8, Saved::AtCfa(-16)));
        let first = Registers {
            ip: 1,
            sp: STACK,
            fp: STACK + 32,
        };
        let signed = |_| Some(0x002d_ffff_8123_4568);
        let stepped = Aarch64::step(rule, first, END, signed).unwrap();
        assert_eq!(stepped.registers.ip, 0xffff_8123_4568);
    }

    #[test]
    fn a_step_never_goes_back_outside_or_astray() {
        let by_fp = row(Cfa::Register(29, 16), -8, Saved::AtCfa(-16));
        for fp in [
            0,
            STACK - 16,
            STACK - 8,
            STACK + 8,
            STACK + 1,
            END,
            u64::MAX - 15,
        ] {
            assert_eq!(step(by_fp, STACK, fp), None, "{fp:#x}");
        }
        // The record would begin below the stack pointer.
        let below = row(Cfa::Register(31, 16), -16, Saved::AtCfa(-24));
        assert_eq!(step(below, STACK, 0), None);
    }

    #[test]
    fn what_does_not_fit_is_slow() {
        let sp = |offset| Cfa::Register(31, offset);
        for row in [
            row(sp(0), -8, Saved::Unspecified),
            row(sp(64 << 10), -8, Saved::Unspecified),
            // In the middle: 8 KiB from both ends.
            row(sp(48 << 10), -(24 << 10), Saved::Unspecified),
            row(sp(32), -8, Saved::AtCfa(-24)),
            row(Cfa::Register(19, 32), -8, Saved::Unspecified),
            Row {
                return_address: Saved::Unspecified,
                ..row(sp(32), -8, Saved::Same)
            },
        ] {
            assert_eq!(Aarch64::pack(&row), Rule::SLOW, "{row:?}");
        }
    }
}
