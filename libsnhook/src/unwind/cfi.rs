//! Call frame information: from `.eh_frame_hdr` and `.eh_frame` in memory to a [`Row`] or [`Rule`].
//!
//! gimli reads the encodings (entries, augmentations, pointers, instructions). Searching and
//! running the instructions is done here: the search, because the usual table needs no more than
//! reading two words a probe; the run, because only four columns matter (CFA, return address,
//! frame and stack pointer), which takes a tenth of the stack that gimli's general table takes
//! without an allocator, and this runs on the stacks of signal handlers and coroutines.
//!
//! Everything is bounded ([`MAX_ENTRIES`], [`MAX_INSTRUCTIONS`], [`MAX_REMEMBERED`]), and whatever
//! is malformed or out of these bounds is [`Rule::NO_INFO`]. It belongs to the slow phase by its
//! price (about a microsecond), though nothing in it would be forbidden in the hot one.
//!
//! Sources: LSB 5.0 core §10.6, DWARF 5 §6.4. The table's entries are sorted by address, each
//! is the begin of a function and the address of its frame description entry (FDE).

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, CieOrFde, EndianSlice,
    FrameDescriptionEntry, LittleEndian, Register, UnwindSection as _,
};

use super::{Cfa, Machine, Row, Rule, Saved};

/// How many entries a search without a table looks at.
pub const MAX_ENTRIES: usize = 1 << 16;
/// How many instructions of one entry are run.
pub const MAX_INSTRUCTIONS: usize = 1 << 16;
/// How deep `DW_CFA_remember_state` nests; compilers use one level.
pub const MAX_REMEMBERED: usize = 4;

/// `DW_EH_PE_udata4`: what linkers encode the number of table entries with.
const ENCODED_UDATA4: u8 = 0x03;
/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`: what linkers encode the table with.
const ENCODED_DATAREL_SDATA4: u8 = 0x3b;
/// `DW_EH_PE_omit`.
const ENCODED_OMIT: u8 = 0xff;

pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Bytes of the process and the address at which they stand.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    /// The address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Mapped<'a> {
    /// The part from `address` to the end; `None` if that is outside.
    fn starting_at(self, address: u64) -> Option<Mapped<'a>> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let bytes = self.bytes.get(offset..)?;
        (!bytes.is_empty()).then_some(Mapped { address, bytes })
    }
}

/// The call frame information of one module.
///
/// Cheap to make and to copy: it refers to the bytes and has looked at only a dozen of them.
#[derive(Clone, Copy, Debug)]
pub struct EhFrame<'a> {
    /// `.eh_frame`, possibly followed by other bytes: it ends itself with a zero word.
    frames: Mapped<'a>,
    table: Option<Table<'a>>,
}

/// The binary search table in `.eh_frame_hdr`.
#[derive(Clone, Copy, Debug)]
struct Table<'a> {
    /// The address of `.eh_frame_hdr`, to which the table's values are relative.
    base: u64,
    /// Pairs of 4-byte values, as many as the header counts.
    pairs: &'a [[u8; 8]],
}

impl<'a> EhFrame<'a> {
    /// Finds both sections from the address of `.eh_frame_hdr` (the segment `PT_GNU_EH_FRAME`).
    ///
    /// `segment` is the loaded segment (`PT_LOAD`) that contains it, up to the end of its file
    /// contents. `None` if the header is broken or points out of the segment.
    pub fn in_segment(segment: Mapped<'a>, hdr_address: u64) -> Option<EhFrame<'a>> {
        let hdr = segment.starting_at(hdr_address)?;
        let frames = segment.starting_at(eh_frame_address(hdr)?)?;
        Some(Self::from_sections(hdr, frames))
    }

    /// Uses the two sections; each may be followed by other bytes.
    pub fn from_sections(hdr: Mapped<'a>, frames: Mapped<'a>) -> EhFrame<'a> {
        EhFrame {
            frames,
            table: table(hdr),
        }
    }

    /// Uses `.eh_frame` alone; every search is linear then.
    pub fn without_header(frames: Mapped<'a>) -> EhFrame<'a> {
        EhFrame {
            frames,
            table: None,
        }
    }

    /// The bytes of an expression of a row that this `EhFrame` gave.
    pub(super) fn expression(
        &self,
        expression: gimli::UnwindExpression<usize>,
    ) -> Option<&'a [u8]> {
        let end = expression.offset.checked_add(expression.length)?;
        self.frames.bytes.get(expression.offset..end)
    }

    fn section<M: Machine>(&self) -> (gimli::EhFrame<Bytes<'a>>, BaseAddresses) {
        let mut section = gimli::EhFrame::new(self.frames.bytes, LittleEndian);
        section.set_address_size(8);
        section.set_vendor(M::VENDOR);
        let bases = BaseAddresses::default().set_eh_frame(self.frames.address);
        (section, bases)
    }
}

/// The rule of the frame that executes the instruction at `address`.
///
/// For a return address pass the address minus one: the call may be the last instruction of a
/// function or of a row.
#[cold]
#[inline(never)]
pub fn find_rule<M: Machine>(frames: &EhFrame<'_>, address: u64) -> Rule {
    match find_row::<M>(frames, address) {
        Some(row) => M::pack(&row),
        None => Rule::NO_INFO,
    }
}

/// The full row of the frame that executes the instruction at `address`, like [`find_rule`].
#[cold]
#[inline(never)]
pub fn find_row<M: Machine>(frames: &EhFrame<'_>, address: u64) -> Option<Row> {
    let (section, bases) = frames.section::<M>();
    // Entries are run where they were read: copies this large would be calls of `memcpy`.
    let Some(table) = frames.table else {
        return scan::<M>(&section, &bases, address);
    };
    let offset = table
        .entry_before(address)?
        .checked_sub(frames.frames.address)?;
    let offset = usize::try_from(offset).ok()?;
    match section.fde_from_offset(&bases, offset.into(), gimli::EhFrame::cie_from_offset) {
        Ok(ref fde) if covers(fde, address) => run::<M>(&section, &bases, fde, address),
        _ => None,
    }
}

/// Reads the first field of `.eh_frame_hdr`, which may have any pointer encoding.
fn eh_frame_address(hdr: Mapped<'_>) -> Option<u64> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(hdr.address);
    // The field is within the first 12 bytes; what follows needn't even be looked at.
    let mut start = [0; 12];
    start.copy_from_slice(hdr.bytes.get(..12)?);
    let (_, encodings) = start.split_at_mut(2);
    // Without a count gimli doesn't read on behind the pointer.
    encodings.get_mut(..2)?.fill(ENCODED_OMIT);
    gimli::EhFrameHdr::new(&start, LittleEndian)
        .parse(&bases, 8)
        .ok()?
        .eh_frame_ptr()
        .direct()
        .ok()
}

/// The search table, if it has the one form that linkers write.
fn table(hdr: Mapped<'_>) -> Option<Table<'_>> {
    let &[
        1,
        frame_pointer,
        ENCODED_UDATA4,
        ENCODED_DATAREL_SDATA4,
        ref rest @ ..,
    ] = hdr.bytes
    else {
        return None;
    };
    // Formats 3 and 11 (`udata4`, `sdata4`) are four bytes long, 0, 4 and 12 eight.
    let pointer_length = match frame_pointer & 0x0f {
        0x03 | 0x0b => 4,
        0x00 | 0x04 | 0x0c => 8,
        _ => return None,
    };
    let (count, pairs) = rest.get(pointer_length..)?.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (pairs, _) = pairs.as_chunks::<8>();
    Some(Table {
        base: hdr.address,
        pairs: pairs.get(..count)?,
    })
}

impl Table<'_> {
    /// The address of the FDE with the greatest begin that is not behind `address`.
    fn entry_before(&self, address: u64) -> Option<u64> {
        let begins_before = |pair: &[u8; 8]| {
            self.resolve(pair.first_chunk())
                .is_some_and(|begin| begin <= address)
        };
        let index = self.pairs.partition_point(begins_before).checked_sub(1)?;
        self.resolve(self.pairs.get(index)?.last_chunk())
    }

    fn resolve(&self, value: Option<&[u8; 4]>) -> Option<u64> {
        let relative = i32::from_le_bytes(*value?);
        Some(self.base.wrapping_add_signed(i64::from(relative)))
    }
}

fn covers(fde: &FrameDescriptionEntry<Bytes<'_>>, address: u64) -> bool {
    address
        .checked_sub(fde.initial_address())
        .is_some_and(|offset| offset < fde.len())
}

/// Looks at the entries one after another, for modules whose header has no table.
fn scan<M: Machine>(
    section: &gimli::EhFrame<Bytes<'_>>,
    bases: &BaseAddresses,
    address: u64,
) -> Option<Row> {
    let mut entries = section.entries(bases);
    for _ in 0..MAX_ENTRIES {
        if let CieOrFde::Fde(partial) = entries.next().ok()?? {
            // An entry that can't be read doesn't hide those behind it: its length is known.
            match partial.parse(gimli::EhFrame::cie_from_offset) {
                Ok(ref fde) if covers(fde, address) => {
                    return run::<M>(section, bases, fde, address);
                }
                _ => {}
            }
        }
    }
    None
}

/// The columns that a walk needs.
#[derive(Clone, Copy)]
struct Columns {
    cfa: Option<Cfa>,
    return_address: Saved,
    fp: Saved,
    sp: Saved,
}

impl Columns {
    const EMPTY: Columns = Columns {
        cfa: None,
        return_address: Saved::Unspecified,
        fp: Saved::Unspecified,
        sp: Saved::Unspecified,
    };

    fn column<M: Machine>(
        &mut self,
        register: Register,
        return_column: Register,
    ) -> Option<&mut Saved> {
        match register {
            _ if register == return_column => Some(&mut self.return_address),
            Register(number) if number == M::FP => Some(&mut self.fp),
            Register(number) if number == M::SP => Some(&mut self.sp),
            _ => None,
        }
    }
}

/// A run of the instructions of a common information entry and of one FDE that belongs to it.
struct Run<'r, M> {
    columns: Columns,
    /// What the common entry left behind, for `DW_CFA_restore`.
    initial: Columns,
    /// Borrowed, so that setting up a run copies nothing as large.
    remembered: &'r mut [Columns; MAX_REMEMBERED],
    remembered_count: usize,
    /// Where the row begins that the next instructions change.
    location: u64,
    /// The row that is asked for is the last one that begins at or before this address.
    address: u64,
    return_column: Register,
    code_factor: u64,
    data_factor: i64,
    machine: core::marker::PhantomData<M>,
}

fn run<M: Machine>(
    section: &gimli::EhFrame<Bytes<'_>>,
    bases: &BaseAddresses,
    fde: &FrameDescriptionEntry<Bytes<'_>>,
    address: u64,
) -> Option<Row> {
    let cie = fde.cie();
    let mut remembered = [Columns::EMPTY; MAX_REMEMBERED];
    let mut run = Run::<M> {
        columns: Columns::EMPTY,
        initial: Columns::EMPTY,
        remembered: &mut remembered,
        remembered_count: 0,
        location: fde.initial_address(),
        address,
        return_column: cie.return_address_register(),
        code_factor: cie.code_alignment_factor(),
        data_factor: cie.data_alignment_factor(),
        machine: core::marker::PhantomData,
    };
    run.all(cie.instructions(section, bases))?;
    run.initial = run.columns;
    run.all(fde.instructions(section, bases))?;
    Some(Row {
        cfa: run.columns.cfa?,
        return_address: run.columns.return_address,
        fp: run.columns.fp,
        sp: run.columns.sp,
        signal_frame: fde.is_signal_trampoline(),
    })
}

impl<M: Machine> Run<'_, M> {
    /// Runs until the instructions end or the next row begins behind the address.
    fn all(&mut self, mut instructions: CallFrameInstructionIter<'_, Bytes<'_>>) -> Option<()> {
        for _ in 0..MAX_INSTRUCTIONS {
            let Some(instruction) = instructions.next().ok()? else {
                return Some(());
            };
            self.one(instruction)?;
            if self.location > self.address {
                return Some(());
            }
        }
        None
    }

    /// Runs one instruction (DWARF 5 §6.4.2); `None` if it can't be.
    fn one(&mut self, instruction: CallFrameInstruction<usize>) -> Option<()> {
        use CallFrameInstruction as Instruction;
        let return_column = self.return_column;
        match instruction {
            Instruction::SetLoc { address } => self.location = address,
            Instruction::AdvanceLoc { delta } => {
                let delta = u64::from(delta).checked_mul(self.code_factor)?;
                self.location = self.location.checked_add(delta)?;
            }

            Instruction::DefCfa { register, offset } => {
                self.columns.cfa = Some(Cfa::Register(register.0, i64::try_from(offset).ok()?));
            }
            Instruction::DefCfaSf {
                register,
                factored_offset,
            } => {
                let offset = factored_offset.checked_mul(self.data_factor)?;
                self.columns.cfa = Some(Cfa::Register(register.0, offset));
            }
            Instruction::DefCfaRegister { register } => {
                let Some(Cfa::Register(_, offset)) = self.columns.cfa else {
                    return None;
                };
                self.columns.cfa = Some(Cfa::Register(register.0, offset));
            }
            Instruction::DefCfaOffset { offset } => {
                self.set_cfa_offset(i64::try_from(offset).ok()?)?;
            }
            Instruction::DefCfaOffsetSf { factored_offset } => {
                self.set_cfa_offset(factored_offset.checked_mul(self.data_factor)?)?;
            }
            Instruction::DefCfaExpression { expression } => {
                self.columns.cfa = Some(Cfa::Expression(expression));
            }

            Instruction::Undefined { register } => self.set(register, Saved::Undefined),
            Instruction::SameValue { register } => self.set(register, Saved::Same),
            Instruction::Offset {
                register,
                factored_offset,
            } => {
                let offset = self.factored(i64::try_from(factored_offset).ok()?)?;
                self.set(register, Saved::AtCfa(offset));
            }
            Instruction::OffsetExtendedSf {
                register,
                factored_offset,
            } => {
                let offset = self.factored(factored_offset)?;
                self.set(register, Saved::AtCfa(offset));
            }
            Instruction::ValOffset {
                register,
                factored_offset,
            } => {
                let offset = self.factored(i64::try_from(factored_offset).ok()?)?;
                self.set(register, Saved::IsCfa(offset));
            }
            Instruction::ValOffsetSf {
                register,
                factored_offset,
            } => {
                let offset = self.factored(factored_offset)?;
                self.set(register, Saved::IsCfa(offset));
            }
            Instruction::Register {
                dest_register,
                src_register,
            } => self.set(dest_register, Saved::Register(src_register.0)),
            Instruction::Expression {
                register,
                expression,
            } => self.set(register, Saved::AtExpression(expression)),
            Instruction::ValExpression {
                register,
                expression,
            } => self.set(register, Saved::IsExpression(expression)),
            Instruction::Restore { register } => {
                let mut initial = self.initial;
                if let (Some(column), Some(initial)) = (
                    self.column(register),
                    initial.column::<M>(register, return_column),
                ) {
                    *column = *initial;
                }
            }

            Instruction::RememberState => {
                *self.remembered.get_mut(self.remembered_count)? = self.columns;
                self.remembered_count = self.remembered_count.checked_add(1)?;
            }
            Instruction::RestoreState => {
                self.remembered_count = self.remembered_count.checked_sub(1)?;
                self.columns = *self.remembered.get(self.remembered_count)?;
            }

            // The size of pushed arguments matters to landing pads only. The signature of a
            // return address is removed by masking, whatever the state is (see `aarch64`).
            Instruction::ArgsSize { .. } | Instruction::NegateRaState | Instruction::Nop => {}
        }
        Some(())
    }

    fn set_cfa_offset(&mut self, offset: i64) -> Option<()> {
        let Some(Cfa::Register(register, _)) = self.columns.cfa else {
            return None;
        };
        self.columns.cfa = Some(Cfa::Register(register, offset));
        Some(())
    }

    fn factored(&self, offset: i64) -> Option<i64> {
        offset.checked_mul(self.data_factor)
    }

    fn set(&mut self, register: Register, saved: Saved) {
        if let Some(column) = self.column(register) {
            *column = saved;
        }
    }

    fn column(&mut self, register: Register) -> Option<&mut Saved> {
        self.columns.column::<M>(register, self.return_column)
    }
}
