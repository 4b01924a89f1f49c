//! Rules and steps of x86-64.
//!
//! Every call pushes its return address, so it is always the word below the CFA, and all offsets
//! at call sites are multiples of eight. A [`Rule`]:
//!
//! ```text
//!  25        18 17                       1 0
//! +------------+--------------------------+-+
//! | fp slot    | CFA offset / 8           |b|   b: 0 CFA = rsp + offset, 1 CFA = rbp + offset
//! +------------+--------------------------+-+   fp slot: 0 rbp unchanged, n saved at CFA - 8 n
//! ```
//!
//! so frames up to 1 MiB with `rbp` saved in the topmost 2 KiB step fast; the rest is
//! [`Rule::SLOW`]. Register numbers: System V psABI x86-64, figure 3.36.

use super::{Cfa, Interrupted, Machine, Registers, Row, Rule, Saved, Stepped};

/// The x86-64 architecture.
#[derive(Clone, Copy, Debug)]
pub enum X86_64 {}

const BASE_IS_FP: u32 = 1;
const CFA_BITS: u32 = 17;
const CFA_MASK: u32 = ((1 << CFA_BITS) - 1) << 1;
const FP_SHIFT: u32 = 1 + CFA_BITS;
const FP_LIMIT: u32 = 1 << (Rule::BITS - FP_SHIFT);

/// `mov $15, %rax; syscall`, the restorer of glibc and musl (9 bytes: 8 and 1).
const SIGNAL_RETURN: [u8; 8] = [0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f];
const SIGNAL_RETURN_LAST: u8 = 0x05;

// Offsets into `struct ucontext`, at which the stack pointer stands in the restorer (Linux,
// arch/x86/include/uapi/asm/sigcontext.h: uc_mcontext is at 40, after uc_flags, uc_link, uc_stack).
const UCONTEXT_RBP: u64 = 40 + 10 * 8;
const UCONTEXT_RSP: u64 = 40 + 15 * 8;
const UCONTEXT_RIP: u64 = 40 + 16 * 8;

impl Machine for X86_64 {
    const SP: u16 = 7;
    const FP: u16 = 6;
    const RED_ZONE: u64 = 128;
    const VENDOR: gimli::Vendor = gimli::Vendor::Default;

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
        if cfa <= registers.sp || cfa > stack_end || cfa & 7 != 0 {
            return None;
        }
        // Above `sp` and a multiple of eight, so the word below `cfa` is inside the stack.
        let return_slot = cfa.wrapping_sub(8);
        let ip = read(return_slot)?;
        let words = bits >> FP_SHIFT;
        let (fp, fp_slot) = if words == 0 {
            (registers.fp, 0)
        } else {
            let below = u64::from(words) << 3;
            // What lies below the stack pointer is dead: no frame keeps anything there.
            if below > cfa.wrapping_sub(registers.sp) {
                return None;
            }
            let slot = cfa.wrapping_sub(below);
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
        return_address
    }

    fn is_signal_return(code: [u8; 8], next: [u8; 8]) -> bool {
        code == SIGNAL_RETURN && next.first() == Some(&SIGNAL_RETURN_LAST)
    }

    fn plt_depth(code: [u8; 8], before: [u8; 8]) -> Option<u64> {
        const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
        match (before, code) {
            // The header: push GOT+8; jmp *GOT+16. The stub has pushed its index before.
            ([_, _, 0xff, 0x35, ..], [0xff, 0x25, ..]) => Some(24),
            (_, [0xff, 0x35, _, _, _, _, 0xff, 0x25]) => Some(16),
            // A stub: jmp *GOT+n; push index; jmp header. Older IBT stubs have a `bnd` prefix.
            (_, [0xff, 0x25, ..] | [0xf2, 0xff, 0x25, ..]) => Some(8),
            (_, [0x68, _, _, _, _, 0xe9, ..]) => Some(8),
            ([_, _, _, 0x68, ..], [0xe9, ..]) => Some(16),
            // The very first instruction, of a stub or of any other function.
            (_, [first, second, third, fourth, ..])
                if [first, second, third, fourth] == ENDBR64 =>
            {
                Some(8)
            }
            _ => None,
        }
    }

    fn interrupted(sp: u64, mut read: impl FnMut(u64) -> Option<u64>) -> Option<Interrupted> {
        Some(Interrupted {
            registers: Registers {
                ip: read(sp.checked_add(UCONTEXT_RIP)?)?,
                sp: read(sp.checked_add(UCONTEXT_RSP)?)?,
                fp: read(sp.checked_add(UCONTEXT_RBP)?)?,
            },
            link: 0,
        })
    }
}

fn pack_steppable(row: &Row) -> Option<Rule> {
    if row.signal_frame
        || !matches!(row.return_address, Saved::AtCfa(-8))
        || !matches!(row.sp, Saved::Unspecified | Saved::IsCfa(0))
    {
        return None;
    }
    let Cfa::Register(register, offset) = row.cfa else {
        return None;
    };
    let base = match register {
        X86_64::SP => 0,
        X86_64::FP => BASE_IS_FP,
        _ => return None,
    };
    let words = words(offset)?;
    if words >= 1 << CFA_BITS {
        return None;
    }
    let fp = match row.fp {
        Saved::Unspecified | Saved::Same => 0,
        Saved::AtCfa(offset) => words_below(offset).filter(|&words| words < FP_LIMIT)?,
        _ => return None,
    };
    Some(Rule::from_bits(fp << FP_SHIFT | words << 1 | base))
}

/// `offset` in words, if it is a positive multiple of the word size.
pub(super) fn words(offset: i64) -> Option<u32> {
    (offset > 0 && offset % 8 == 0)
        .then_some(offset / 8)
        .and_then(|words| u32::try_from(words).ok())
}

fn words_below(offset: i64) -> Option<u32> {
    words(offset.checked_neg()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0x7000;
    const END: u64 = STACK + 64 * 8;

    /// The word at an address is the address itself plus one.
    fn read(address: u64) -> Option<u64> {
        assert!(address.is_multiple_of(8) && (STACK..END).contains(&address));
        Some(address + 1)
    }

    fn row(cfa: Cfa, fp: Saved) -> Row {
        Row {
            cfa,
            return_address: Saved::AtCfa(-8),
            fp,
            sp: Saved::Unspecified,
            signal_frame: false,
        }
    }

    fn registers(sp: u64, fp: u64) -> Registers {
        Registers { ip: 1, sp, fp }
    }

    #[test]
    fn sp_plus_offset_reads_below_the_cfa() {
        let rule = X86_64::pack(&row(Cfa::Register(7, 48), Saved::AtCfa(-16)));
        let stepped = X86_64::step(rule, registers(STACK, 5), END, read).unwrap();
        // CFA = 0x7000 + 48 = 0x7030, return address at 0x7028, rbp at 0x7020.
        assert_eq!(
            stepped.registers,
            Registers {
                ip: 0x7029,
                sp: 0x7030,
                fp: 0x7021
            }
        );
        assert_eq!((stepped.return_slot, stepped.fp_slot), (0x7028, 0x7020));
    }

    #[test]
    fn fp_plus_offset_ignores_the_stack_pointer() {
        let rule = X86_64::pack(&row(Cfa::Register(6, 16), Saved::Unspecified));
        let stepped = X86_64::step(rule, registers(STACK, STACK + 80), END, read).unwrap();
        // CFA = 0x7050 + 16 = 0x7060, return address at 0x7058, rbp unchanged.
        assert_eq!(
            stepped.registers,
            Registers {
                ip: 0x7059,
                sp: 0x7060,
                fp: 0x7050
            }
        );
    }

    #[test]
    fn a_step_never_goes_back_outside_or_astray() {
        let by_fp = X86_64::pack(&row(Cfa::Register(6, 16), Saved::AtCfa(-16)));
        for fp in [
            0,
            STACK - 16,
            STACK - 8,
            STACK + 81,
            END - 8,
            END,
            u64::MAX,
            u64::MAX - 15,
        ] {
            assert_eq!(
                X86_64::step(by_fp, registers(STACK, fp), END, read),
                None,
                "{fp:#x}"
            );
        }
        let by_sp = X86_64::pack(&row(Cfa::Register(7, 16), Saved::Unspecified));
        assert_eq!(X86_64::step(by_sp, registers(END - 8, 0), END, read), None);
        assert!(X86_64::step(by_sp, registers(END - 16, 0), END, read).is_some());
    }

    #[test]
    fn what_does_not_fit_is_slow() {
        let sp = |offset| Cfa::Register(7, offset);
        for row in [
            row(sp(0), Saved::Unspecified),
            row(sp(-8), Saved::Unspecified),
            row(sp(12), Saved::Unspecified),
            row(sp(1 << 20), Saved::Unspecified),
            row(Cfa::Register(10, 8), Saved::Unspecified),
            row(sp(16), Saved::AtCfa(8)),
            row(sp(16), Saved::AtCfa(-2048)),
            row(sp(16), Saved::Register(3)),
            row(sp(16), Saved::Undefined),
            Row {
                signal_frame: true,
                ..row(sp(16), Saved::Same)
            },
            Row {
                return_address: Saved::AtCfa(-16),
                ..row(sp(16), Saved::Same)
            },
        ] {
            assert_eq!(X86_64::pack(&row), Rule::SLOW, "{row:?}");
        }
        let largest = row(sp((1 << 20) - 8), Saved::AtCfa(-2040));
        assert!(X86_64::is_steppable(X86_64::pack(&largest)));
        let last = Row {
            return_address: Saved::Undefined,
            ..largest
        };
        assert_eq!(X86_64::pack(&last), Rule::END);
        for special in [Rule::NO_INFO, Rule::END, Rule::SLOW] {
            assert!(!X86_64::is_steppable(special));
        }
    }
}
