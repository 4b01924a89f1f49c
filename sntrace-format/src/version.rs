//! The protocol's version: one number, equal on both sides or the hook stays a pass-through.
//!
//! The launcher carries its own hook, so two versions meet only when an old process image is
//! still alive, or when an environment from another sntrace leaks into a new one. There is no
//! negotiation: a segment lives for one run.

/// Version of everything in this crate.
///
/// History:
/// * 1: the first protocol.
/// * 2: the control message `Exec`.
/// * 3: narrow events carry the whole block address and 16 bits of the size; `progress` counts
///   bytes; the verdict board is indexed by the address itself.
/// * 4: full stacks, as differences: the word about frames counts 16 bits and says how many
///   frames are kept, the op `Stack`, the control message `StackDifference`;
///   `ImageHeader::fenced`;
/// * 5: `ImageHeader::fenced` has a third value, and several threads read behind a fence until it is
///   needless.
pub const PROTOCOL_VERSION: u32 = 5;

/// First eight bytes of the segment: `SNTRACE` and a zero, read as little-endian.
pub const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"SNTRACE\0");
