//! A reader of DWARF that runs dry: what bounds time, memory and stack on lying debug info.
//!
//! Debug info can be small and mean endless work: a thousand units that each point at one huge
//! range list, inlined functions nested a hundred thousand deep, declarations with a million
//! attributes of zero bytes. `gimli` and `addr2line` never read out of bounds, but they believe
//! such data, and recurse and allocate along with it. Every byte they look at passes through
//! [`Metered`], so this is the place for limits:
//!
//! - **Fuel**: each read costs a unit; a file gets a fixed multiple of its size. Honest debug
//!   info is read a few times over; what needs more is not honest. As all memory that is built
//!   is paid for by reads, this bounds memory too.
//! - **Stack**: each DIE begins with a LEB128 code. There, the distance to the stack position at
//!   the start of the look-up is checked, as `addr2line` recurses once a nested inlined function.
//! - **Attributes**: a DIE whose attributes take no bytes costs no reads, so their number is
//!   limited where abbreviations are read.
//!
//! A reader that has run dry fails like one at its end; the unit, or the whole file, then goes
//! without DWARF names.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gimli::{EndianSlice, Error, Reader, ReaderOffsetId, Result, RunTimeEndian};

/// Reads granted for each byte of debug info. Asking for every function of a C++ library takes
/// half a read a byte; the test `honest_debug_info_is_far_from_running_dry` keeps it far below.
const READS_PER_BYTE: u64 = 8;
/// Reads granted beside that, so that tiny files need no second thought.
const READS_BASE: u64 = 1 << 20;
/// Bytes of stack that one look-up may take: enough for inlined functions nested some hundred
/// deep, and within the 2 MiB of a thread.
const STACK_BYTES: usize = 512 << 10;
/// Attributes of one abbreviation; compilers write up to about 30.
const ATTRIBUTES_MAX: u16 = 256;
/// Bytes of one string: names and paths.
const STRING_BYTES_MAX: usize = 64 << 10;

/// What is left of a file's allowance.
#[derive(Debug)]
pub(super) struct Meter {
    // Only ever touched by the one thread that uses the module's context; atomics, relaxed, so
    // that the context may be sent to another thread.
    fuel: AtomicU64,
    stack_start: AtomicUsize,
    /// Reads that were refused.
    refused: AtomicU64,
}

impl Meter {
    /// An allowance for debug info of `bytes` bytes.
    pub(super) fn new(bytes: u64) -> Meter {
        Meter {
            fuel: AtomicU64::new(Self::allowance(bytes)),
            stack_start: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn allowance(bytes: u64) -> u64 {
        bytes
            .saturating_mul(READS_PER_BYTE)
            .saturating_add(READS_BASE)
    }

    /// Adds the allowance of another file (a `.dwo`) that is read along with the first.
    pub(super) fn refuel(&self, bytes: u64) {
        let fuel = self.fuel.load(Ordering::Relaxed);
        self.fuel.store(
            fuel.saturating_add(bytes.saturating_mul(READS_PER_BYTE)),
            Ordering::Relaxed,
        );
    }

    /// A look-up begins at this depth of the stack.
    pub(super) fn start(&self) {
        let here = 0u8;
        self.stack_start
            .store(std::ptr::from_ref(&here).addr(), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    #[inline]
    fn charge(&self, reads: u64) -> Result<()> {
        match self.fuel.load(Ordering::Relaxed).checked_sub(reads) {
            Some(left) => {
                self.fuel.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => Err(self.refuse()),
        }
    }

    /// Honest debug info is never refused.
    #[cold]
    fn refuse(&self) -> Error {
        let refused = self.refused.load(Ordering::Relaxed);
        self.refused
            .store(refused.saturating_add(1), Ordering::Relaxed);
        Error::Io
    }

    /// How many reads were refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    #[inline]
    fn check_stack(&self) -> Result<()> {
        let here = 0u8;
        let depth = std::ptr::from_ref(&here)
            .addr()
            .abs_diff(self.stack_start.load(Ordering::Relaxed));
        if depth > STACK_BYTES {
            Err(self.refuse())
        } else {
            Ok(())
        }
    }
}

/// A section that is read on a [`Meter`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Metered<'f> {
    slice: EndianSlice<'f, RunTimeEndian>,
    meter: &'f Meter,
    /// Halves of attribute specifications read since the last single byte. An abbreviation is
    /// code, tag, one byte, then pairs of 16-bit LEB128 numbers: so this counts its attributes.
    attribute_words: u16,
}

impl<'f> Metered<'f> {
    pub(super) fn new(bytes: &'f [u8], endian: RunTimeEndian, meter: &'f Meter) -> Self {
        Metered {
            slice: EndianSlice::new(bytes, endian),
            meter,
            attribute_words: 0,
        }
    }

    /// What is left to read.
    pub(super) fn bytes(&self) -> &'f [u8] {
        self.slice.slice()
    }

    fn string(&self) -> Result<&'f [u8]> {
        let bytes = self.bytes();
        self.meter.charge(1 + bytes.len() as u64 / 16)?;
        if bytes.len() > STRING_BYTES_MAX {
            Err(Error::Io)
        } else {
            Ok(bytes)
        }
    }
}

impl Reader for Metered<'_> {
    type Endian = RunTimeEndian;
    type Offset = usize;

    #[inline]
    fn endian(&self) -> RunTimeEndian {
        self.slice.endian()
    }
    #[inline]
    fn len(&self) -> usize {
        self.slice.slice().len()
    }
    #[inline]
    fn empty(&mut self) {
        self.slice.empty();
    }
    #[inline]
    fn truncate(&mut self, len: usize) -> Result<()> {
        self.slice.truncate(len)
    }
    #[inline]
    fn offset_from(&self, base: &Self) -> usize {
        self.slice.offset_from(base.slice)
    }
    #[inline]
    fn offset_id(&self) -> ReaderOffsetId {
        self.slice.offset_id()
    }
    #[inline]
    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        self.slice.lookup_offset_id(id)
    }
    #[inline]
    fn find(&self, byte: u8) -> Result<usize> {
        let at = Reader::find(&self.slice, byte)?;
        self.meter.charge(1 + at as u64 / 16)?;
        Ok(at)
    }
    #[inline]
    fn skip(&mut self, len: usize) -> Result<()> {
        self.meter.charge(1)?;
        self.slice.skip(len)
    }
    #[inline]
    fn split(&mut self, len: usize) -> Result<Self> {
        self.meter.charge(1)?;
        Ok(Metered {
            slice: self.slice.split(len)?,
            ..*self
        })
    }
    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        self.string().map(Cow::Borrowed)
    }
    fn to_string(&self) -> Result<Cow<'_, str>> {
        std::str::from_utf8(self.string()?)
            .map(Cow::Borrowed)
            .map_err(|_| Error::BadUtf8)
    }
    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        self.string().map(String::from_utf8_lossy)
    }
    #[inline]
    fn read_slice(&mut self, into: &mut [u8]) -> Result<()> {
        self.meter.charge(1)?;
        Reader::read_slice(&mut self.slice, into)
    }
    #[inline]
    fn read_u8(&mut self) -> Result<u8> {
        self.meter.charge(1)?;
        self.attribute_words = 0;
        self.slice.read_u8()
    }
    #[inline]
    fn skip_leb128(&mut self) -> Result<()> {
        self.meter.charge(1)?;
        self.slice.skip_leb128()
    }
    #[inline]
    fn read_uleb128(&mut self) -> Result<u64> {
        self.meter.charge(1)?;
        self.meter.check_stack()?;
        self.slice.read_uleb128()
    }
    #[inline]
    fn read_uleb128_u32(&mut self) -> Result<u32> {
        self.meter.charge(1)?;
        self.slice.read_uleb128_u32()
    }
    #[inline]
    fn read_uleb128_u16(&mut self) -> Result<u16> {
        self.meter.charge(1)?;
        self.attribute_words = self.attribute_words.saturating_add(1);
        if self.attribute_words > 2 * ATTRIBUTES_MAX {
            return Err(Error::Io);
        }
        self.slice.read_uleb128_u16()
    }
    #[inline]
    fn read_sleb128(&mut self) -> Result<i64> {
        self.meter.charge(1)?;
        self.slice.read_sleb128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_runs_dry() {
        let meter = Meter::new(0);
        meter.start();
        let bytes = [1u8; 16];
        let whole = Metered::new(&bytes, RunTimeEndian::Little, &meter);
        let reads = (0..2 * READS_BASE)
            .take_while(|_| whole.clone().read_u8().is_ok())
            .count();
        assert_eq!(reads as u64, READS_BASE);
    }

    #[test]
    fn an_abbreviation_has_a_last_attribute() {
        let meter = Meter::new(1 << 20);
        meter.start();
        // Code 1, tag 0x2e, no children, then attribute after attribute: name 3 (DW_AT_name),
        // form 0x19 (flag_present).
        let mut bytes = vec![1, 0x2e, 0];
        bytes.extend([3, 0x19].repeat(300));
        bytes.extend([0, 0, 0]);
        let abbreviations = |bytes: &[u8]| {
            let section = Metered::new(bytes, RunTimeEndian::Little, &meter);
            gimli::DebugAbbrev::from(section)
                .abbreviations(gimli::DebugAbbrevOffset(0))
                .map(|_| ())
        };
        assert_eq!(abbreviations(&bytes), Err(Error::Io));
        bytes.drain(3..3 + 2 * 100);
        assert_eq!(abbreviations(&bytes), Ok(()));
    }

    #[test]
    fn recursion_ends_before_the_stack() {
        fn recurse(reader: &mut Metered<'_>, depth: u32) -> u32 {
            let ballast = std::hint::black_box([depth; 64]);
            match reader.clone().read_uleb128() {
                Ok(_) => recurse(reader, depth + 1).max(ballast[0]),
                Err(_) => depth,
            }
        }
        let meter = Meter::new(1 << 30);
        meter.start();
        let depth = recurse(&mut Metered::new(&[1], RunTimeEndian::Little, &meter), 0);
        assert!((10..100_000).contains(&depth), "{depth}");
    }
}
