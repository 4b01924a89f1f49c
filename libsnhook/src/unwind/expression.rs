//! DWARF expressions in call frame information (DWARF 5 §2.5, §6.4.2).
//!
//! They occur where a rule of register plus offset can't say it: PLT stubs (the CFA depends on the
//! instruction pointer), the return from a signal handler (registers are words of the kernel's
//! frame), functions that realign their stack (the CFA is a word of the frame).
//! An evaluation has a fixed stack and a fixed number of steps; operations that make no sense in
//! call frame information (objects, calls, pieces, typed values) end it without a result.

use gimli::{Encoding, EndianSlice, Format, LittleEndian, Operation, Reader as _};

use super::{Machine, Registers};

/// The deepest evaluation stack; the deepest expression of glibc or GCC needs three.
const MAX_DEPTH: usize = 16;
/// How many operations are done; a loop (`DW_OP_skip` backwards) ends here.
const MAX_OPERATIONS: usize = 256;

const ENCODING: Encoding = Encoding {
    address_size: 8,
    format: Format::Dwarf32,
    version: 5,
};

/// The DWARF number of the instruction pointer, on machines that have one.
const X86_64_RIP: u16 = 16;

/// The value of a register of the frame that is being unwound, as far as a walk knows it.
pub(super) fn register<M: Machine>(registers: &Registers, number: u16) -> Option<u64> {
    match number {
        _ if number == M::SP => Some(registers.sp),
        _ if number == M::FP => Some(registers.fp),
        X86_64_RIP if M::FP == super::x86_64::X86_64::FP => Some(registers.ip),
        _ => None,
    }
}

/// Evaluates `bytes`, beginning with `initial` on the stack if there is one.
#[cold]
#[inline(never)]
pub(super) fn evaluate<M: Machine>(
    bytes: &[u8],
    initial: Option<u64>,
    registers: &Registers,
    mut read: impl FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    let mut stack = Stack::default();
    if let Some(value) = initial {
        stack.push(value)?;
    }
    let mut rest = EndianSlice::new(bytes, LittleEndian);
    for _ in 0..MAX_OPERATIONS {
        if rest.is_empty() {
            return stack.pop();
        }
        match Operation::parse(&mut rest, ENCODING).ok()? {
            Operation::Skip { target } => rest = jump(bytes, rest, target)?,
            Operation::Bra { target } => {
                if stack.pop()? != 0 {
                    rest = jump(bytes, rest, target)?;
                }
            }
            Operation::Deref {
                size, space: false, ..
            } => {
                let address = stack.pop()?;
                stack.push(read_sized(address, size, &mut read)?)?;
            }
            Operation::RegisterOffset {
                register: number,
                offset,
                ..
            } => {
                let value = register::<M>(registers, number.0)?;
                stack.push(value.wrapping_add_signed(offset))?;
            }
            operation => stack.apply(operation)?,
        }
    }
    None
}

/// Where `target` bytes from the begin of `rest` lead to.
fn jump<'a>(
    bytes: &'a [u8],
    rest: EndianSlice<'a, LittleEndian>,
    target: i16,
) -> Option<EndianSlice<'a, LittleEndian>> {
    let here = bytes.len().checked_sub(rest.len())?;
    let there = here.checked_add_signed(isize::from(target))?;
    Some(EndianSlice::new(bytes.get(there..)?, LittleEndian))
}

/// Reads `size` bytes at `address`, which may cross from one aligned word into the next.
fn read_sized(address: u64, size: u8, read: &mut impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    if size == 0 || size > 8 {
        return None;
    }
    let shift = (address & 7).checked_mul(8)?;
    let aligned = address & !7;
    let low = read(aligned)? >> shift;
    let value = if shift.checked_add(u64::from(size).checked_mul(8)?)? > 64 {
        let high = read(aligned.checked_add(8)?)?;
        low | high << (64 - shift)
    } else {
        low
    };
    let unused_bits = 64 - u32::from(size) * 8;
    Some(value << unused_bits >> unused_bits)
}

#[derive(Default)]
struct Stack {
    values: [u64; MAX_DEPTH],
    depth: usize,
}

impl Stack {
    fn push(&mut self, value: u64) -> Option<()> {
        *self.values.get_mut(self.depth)? = value;
        self.depth = self.depth.checked_add(1)?;
        Some(())
    }

    fn pop(&mut self) -> Option<u64> {
        self.depth = self.depth.checked_sub(1)?;
        self.values.get(self.depth).copied()
    }

    /// The value `index` below the top.
    fn pick(&self, index: u8) -> Option<u64> {
        let from_bottom = self.depth.checked_sub(1)?.checked_sub(usize::from(index))?;
        self.values.get(from_bottom).copied()
    }

    fn unary(&mut self, operation: impl FnOnce(u64) -> u64) -> Option<()> {
        let value = self.pop()?;
        self.push(operation(value))
    }

    /// Replaces the top and the one below it by `operation(below, top)`.
    fn binary(&mut self, operation: impl FnOnce(u64, u64) -> Option<u64>) -> Option<()> {
        let top = self.pop()?;
        let below = self.pop()?;
        self.push(operation(below, top)?)
    }

    /// Comparisons are signed (DWARF 5 §2.5.1.5, item 1, for the generic type: in practice).
    fn compare(&mut self, operation: impl FnOnce(&i64, &i64) -> bool) -> Option<()> {
        self.binary(|below, top| Some(u64::from(operation(&(below as i64), &(top as i64)))))
    }

    /// The operations on the stack alone.
    fn apply(&mut self, operation: Operation<EndianSlice<'_, LittleEndian>>) -> Option<()> {
        let shifted = |value: u64, count: u64, by: fn(u64, u32) -> Option<u64>| {
            Some(
                u32::try_from(count)
                    .ok()
                    .and_then(|count| by(value, count))
                    .unwrap_or(0),
            )
        };
        match operation {
            Operation::Drop => self.pop().map(drop),
            Operation::Pick { index } => self.push(self.pick(index)?),
            Operation::Swap => {
                let (top, below) = (self.pop()?, self.pop()?);
                self.push(top)?;
                self.push(below)
            }
            Operation::Rot => {
                let (first, second, third) = (self.pop()?, self.pop()?, self.pop()?);
                self.push(first)?;
                self.push(third)?;
                self.push(second)
            }
            Operation::Abs => self.unary(|value| (value as i64).unsigned_abs()),
            Operation::Neg => self.unary(u64::wrapping_neg),
            Operation::Not => self.unary(|value| !value),
            Operation::And => self.binary(|below, top| Some(below & top)),
            Operation::Or => self.binary(|below, top| Some(below | top)),
            Operation::Xor => self.binary(|below, top| Some(below ^ top)),
            Operation::Plus => self.binary(|below, top| Some(below.wrapping_add(top))),
            Operation::Minus => self.binary(|below, top| Some(below.wrapping_sub(top))),
            Operation::Mul => self.binary(|below, top| Some(below.wrapping_mul(top))),
            Operation::Div => self.binary(|below, top| {
                (below as i64)
                    .checked_div(top as i64)
                    .map(|value| value as u64)
            }),
            Operation::Mod => self.binary(u64::checked_rem),
            Operation::PlusConstant { value } => self.unary(|top| top.wrapping_add(value)),
            Operation::Shl => self.binary(|below, top| shifted(below, top, u64::checked_shl)),
            Operation::Shr => self.binary(|below, top| shifted(below, top, u64::checked_shr)),
            Operation::Shra => {
                self.binary(|below, top| Some(((below as i64) >> top.min(63)) as u64))
            }
            Operation::Eq => self.compare(i64::eq),
            Operation::Ne => self.compare(i64::ne),
            Operation::Ge => self.compare(i64::ge),
            Operation::Gt => self.compare(i64::gt),
            Operation::Le => self.compare(i64::le),
            Operation::Lt => self.compare(i64::lt),
            Operation::UnsignedConstant { value } | Operation::Address { address: value } => {
                self.push(value)
            }
            Operation::SignedConstant { value } => self.push(value as u64),
            Operation::Nop => Some(()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::x86_64::X86_64;
    use super::*;

    const REGISTERS: Registers = Registers {
        ip: 0x40_102b,
        sp: 0x7fff_0000,
        fp: 0x7fff_0100,
    };

    fn value(bytes: &[u8]) -> Option<u64> {
        evaluate::<X86_64>(bytes, None, &REGISTERS, |address| Some(!address))
    }

    #[test]
    fn a_plt_stubs_cfa_depends_on_the_instruction() {
        // GNU ld: rsp + 8 + ((rip & 15) >= 11) * 8: after the push, at offset 11 of the stub, the
        // CFA is one word further away. DW_OP_breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus.
        let bytes = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(value(&bytes), Some(0x7fff_0000 + 16));
        let before_push = Registers {
            ip: 0x40_1026,
            ..REGISTERS
        };
        let evaluated = evaluate::<X86_64>(&bytes, None, &before_push, |_| None);
        assert_eq!(evaluated, Some(0x7fff_0000 + 8));
    }

    #[test]
    fn a_realigned_stacks_cfa_is_read_from_the_frame() {
        // DW_OP_breg6 (rbp) -8, deref.
        assert_eq!(value(&[0x76, 0x78, 0x06]), Some(!(0x7fff_0100 - 8)));
    }

    #[test]
    fn words_are_read_in_any_size_and_place() {
        let memory = |address: u64| {
            let byte = |offset: u64| (address + offset) & 0xff;
            (address.is_multiple_of(8)).then(|| (0..8).map(|at| byte(at) << (8 * at)).sum())
        };
        // DW_OP_const1u address, DW_OP_deref_size 4: the bytes are 0x36 0x37 | 0x38 0x39.
        let bytes = [0x08, 0x36, 0x94, 4];
        let read = evaluate::<X86_64>(&bytes, None, &REGISTERS, memory);
        assert_eq!(read, Some(0x3938_3736));
    }

    #[test]
    fn broken_expressions_have_no_value() {
        for bytes in [
            &[][..],
            &[0x22],                   // plus of nothing
            &[0x2f, 0xfd, 0xff],       // skip to itself, for ever
            &[0x2f, 0xf0, 0xff],       // skip to before the begin
            &[0x30, 0x30, 0x1b],       // 0 / 0
            &[0x30, 0x30, 0x1d],       // 0 % 0
            &[0x52],                   // the register rdx itself
            &[0x72, 0],                // breg2: not known to a walk
            &[0x06],                   // deref of nothing
            &[0x30, 0x94, 9],          // nine bytes
            &[0x30; 17],               // too deep
            &[0x30, 0x96, 0x9c, 0x13], // call_frame_cfa
        ] {
            assert_eq!(value(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn shifts_beyond_the_word_are_zero_or_sign() {
        // lit1 neg, const1u 64, shl / shr / shra.
        for (operation, expected) in [(0x24, 0), (0x25, 0), (0x26, u64::MAX)] {
            assert_eq!(value(&[0x31, 0x1f, 0x08, 64, operation]), Some(expected));
        }
    }
}
