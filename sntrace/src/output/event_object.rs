//! An event as a JSON object, up to its caller: what the JSON trace and JSON lines share.
//!
//! ```text
//! {"time_ns":1500,"pid":1234,"tid":1235,"op":"calloc","size":72,"count":3,"ptr":"0x5565282b12a0"
//! ```
//!
//! The keys after `op` depend on the function, as `docs/sntrace.schema.json` says: `size` where
//! it takes one, `count`, `alignment`, `old_ptr` likewise, `growth` (signed) for brk, `prot` and
//! `flags` for mmap. `released` is the size of a known block that the call gave back, `temporary`
//! is there when that block was temporary. Addresses are strings, as a JSON number read into a
//! double holds 53 bits; null is `"0x0"`, so that `ptr` has one type.
//!
//! What follows (the caller, and where it is) is the same for every event of a site, and is
//! written once by the two formats themselves.

use super::number::{decimal, hexadecimal, signed};
use super::{Call, Process, escape};
use crate::trace::{Event, Op};

/// Appends the object, still open, without a comma at its end.
#[inline]
pub fn open(out: &mut Vec<u8>, event: &Event, op: Op, process: &Process) {
    number(out, b"{\"time_ns\":", event.time_ns);
    number(out, b",\"pid\":", process.pid.into());
    number(out, b",\"tid\":", event.tid.into());
    out.extend_from_slice(b",\"op\":\"");
    // No op's name has a character that JSON escapes.
    out.extend_from_slice(op.name().as_bytes());
    out.push(b'"');
    match op {
        Op::Malloc | Op::Valloc | Op::Pvalloc | Op::New | Op::NewArray => size(out, event.bytes()),
        Op::Free => {}
        Op::Calloc | Op::Reallocarray => {
            size(out, event.size);
            number(out, b",\"count\":", event.count);
        }
        Op::AlignedAlloc | Op::PosixMemalign | Op::Memalign | Op::FreeAlignedSized => {
            size(out, event.size);
            alignment(out, event);
        }
        Op::NewAligned | Op::NewArrayAligned => {
            size(out, event.bytes());
            alignment(out, event);
        }
        Op::Delete | Op::DeleteArray | Op::DeleteAligned | Op::DeleteArrayAligned => {
            // The model has 0 for the forms that take no size or no alignment.
            if event.size != 0 {
                size(out, event.size);
            }
            if event.alignment != 0 {
                alignment(out, event);
            }
        }
        Op::Realloc | Op::Mremap | Op::FreeSized | Op::Munmap => size(out, event.size),
        Op::Mmap => {
            size(out, event.size);
            number(out, b",\"prot\":", event.alignment & 0xffff_ffff);
            number(out, b",\"flags\":", event.alignment >> 32);
        }
        Op::Brk => {
            out.extend_from_slice(b",\"growth\":");
            signed(out, event.size.cast_signed());
        }
        // Not calls: no event has them.
        Op::Stack | Op::Pad | Op::Control => {}
    }
    if op.replaces() {
        address(out, b",\"old_ptr\":\"", event.old_block);
    }
    address(out, b",\"ptr\":\"", event.block);
    if let Some(bytes) = event.released {
        number(out, b",\"released\":", bytes);
    }
    if event.temporary {
        out.extend_from_slice(b",\"temporary\":true");
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    decimal(out, value);
}

#[inline]
fn size(out: &mut Vec<u8>, bytes: u64) {
    number(out, b",\"size\":", bytes);
}

#[inline]
fn alignment(out: &mut Vec<u8>, event: &Event) {
    number(out, b",\"alignment\":", event.alignment);
}

/// `key` ends in the opening quote.
#[inline]
pub fn address(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    hexadecimal(out, value);
    out.push(b'"');
}

/// Appends `,"module":..,"file":..,"line":..` as far as they are known.
pub fn place(out: &mut Vec<u8>, call: &Call<'_>) {
    if let Some(module) = call.module {
        out.extend_from_slice(b",\"module\":");
        escape::json(out, module);
    }
    if let Some((file, line)) = call.location {
        out.extend_from_slice(b",\"file\":");
        escape::json(out, file);
        number(out, b",\"line\":", line.into());
    }
}
