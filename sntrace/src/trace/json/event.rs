//! An event of a JSON trace, as [`crate::output::event_object`] writes it.
//!
//! Read key by key and not through a general reader: this is what a replay spends its time on.

use super::cursor::{Cursor, Fault};
use crate::trace::Op;

/// An event with numbers as the document has them: of a row, not of an image; of a stack's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawEvent {
    pub op: Op,
    pub time_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub block: u64,
    pub size: u64,
    pub count: u64,
    pub alignment: u64,
    pub old_block: u64,
    pub released: Option<u64>,
    pub temporary: bool,
    pub stack: Option<u64>,
    pub process: Option<u64>,
}

/// Keys that every event has.
const TIME: u8 = 1;
const PID: u8 = 2;
const TID: u8 = 4;
const OP: u8 = 8;
const BLOCK: u8 = 16;
const ALL: u8 = 31;

/// Reads an event.
pub(super) fn event(cursor: &mut Cursor<'_>) -> Result<RawEvent, Fault> {
    let mut event = RawEvent {
        op: Op::Malloc,
        time_ns: 0,
        pid: 0,
        tid: 0,
        block: 0,
        size: 0,
        count: 1,
        alignment: 0,
        old_block: 0,
        released: None,
        temporary: false,
        stack: None,
        process: None,
    };
    let (mut alignment, mut prot, mut flags) = (None, 0, 0);
    let mut seen = 0;
    cursor.expect(b'{', "an event is no object")?;
    let start = cursor.at();
    let mut first = true;
    while let Some(key) = cursor.key(first)? {
        first = false;
        let decoded;
        let name = match key.escaped {
            false => key.raw,
            true => {
                decoded = key.decoded().unwrap_or_default();
                decoded.as_bytes()
            }
        };
        match name {
            b"time_ns" => {
                event.time_ns = cursor.number()?;
                seen |= TIME;
            }
            b"pid" => {
                event.pid = cursor.id()?;
                seen |= PID;
            }
            b"tid" => {
                event.tid = cursor.id()?;
                seen |= TID;
            }
            b"op" => {
                event.op = op(cursor)?;
                seen |= OP;
            }
            b"ptr" => {
                event.block = cursor.address()?;
                seen |= BLOCK;
            }
            b"size" => event.size = cursor.number()?,
            b"stack" => event.stack = index(cursor)?,
            b"released" => event.released = Some(cursor.number()?),
            b"temporary" => event.temporary = cursor.boolean()?,
            b"count" => event.count = cursor.number()?,
            b"old_ptr" => event.old_block = cursor.address()?,
            b"alignment" => alignment = Some(cursor.number()?),
            b"process" => event.process = index(cursor)?,
            b"growth" => event.size = cursor.signed()?.cast_unsigned(),
            b"prot" => prot = cursor.id()?,
            b"flags" => flags = cursor.id()?,
            // The caller, and what a later version adds.
            _ => cursor.skip_value()?,
        }
    }
    if seen != ALL {
        return Err(Fault::Wrong(start, missing(seen)));
    }
    if alignment.is_some() {
        event.op = aligned(event.op);
    }
    // What a function does not take means nothing, should a document have it.
    let op = event.op;
    event.alignment = match op {
        Op::Mmap => u64::from(prot) | u64::from(flags) << 32,
        _ if takes_alignment(op) => alignment.unwrap_or(0),
        _ => 0,
    };
    if !matches!(op, Op::Calloc | Op::Reallocarray) {
        event.count = 1;
    }
    if !op.replaces() {
        event.old_block = 0;
    }
    Ok(event)
}

fn index(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Fault> {
    match cursor.null()? {
        true => Ok(None),
        false => cursor.number().map(Some),
    }
}

fn op(cursor: &mut Cursor<'_>) -> Result<Op, Fault> {
    let before = cursor.at();
    let name = cursor.string()?;
    let known = match name.escaped {
        false => op_of(name.raw),
        true => op_of(name.decoded().unwrap_or_default().as_bytes()),
    };
    let unknown = "an event's op is none that this sntrace knows";
    known.ok_or(Fault::Wrong(before, unknown))
}

/// The op with this name; of the operators' forms, the one without an alignment.
#[inline]
fn op_of(name: &[u8]) -> Option<Op> {
    Some(match name {
        b"malloc" => Op::Malloc,
        b"free" => Op::Free,
        b"operator new" => Op::New,
        b"operator delete" => Op::Delete,
        b"calloc" => Op::Calloc,
        b"realloc" => Op::Realloc,
        b"operator new[]" => Op::NewArray,
        b"operator delete[]" => Op::DeleteArray,
        b"reallocarray" => Op::Reallocarray,
        b"aligned_alloc" => Op::AlignedAlloc,
        b"posix_memalign" => Op::PosixMemalign,
        b"memalign" => Op::Memalign,
        b"valloc" => Op::Valloc,
        b"pvalloc" => Op::Pvalloc,
        b"free_sized" => Op::FreeSized,
        b"free_aligned_sized" => Op::FreeAlignedSized,
        b"mmap" => Op::Mmap,
        b"munmap" => Op::Munmap,
        b"mremap" => Op::Mremap,
        b"brk" => Op::Brk,
        _ => return None,
    })
}

/// The form of an operator that takes an alignment.
fn aligned(op: Op) -> Op {
    match op {
        Op::New => Op::NewAligned,
        Op::NewArray => Op::NewArrayAligned,
        Op::Delete => Op::DeleteAligned,
        Op::DeleteArray => Op::DeleteArrayAligned,
        other => other,
    }
}

fn takes_alignment(op: Op) -> bool {
    matches!(
        op,
        Op::AlignedAlloc
            | Op::PosixMemalign
            | Op::Memalign
            | Op::FreeAlignedSized
            | Op::NewAligned
            | Op::NewArrayAligned
            | Op::DeleteAligned
            | Op::DeleteArrayAligned
    )
}

#[cold]
fn missing(seen: u8) -> &'static str {
    match !seen & ALL {
        absent if absent & TIME != 0 => "an event has no 'time_ns'",
        absent if absent & PID != 0 => "an event has no 'pid'",
        absent if absent & TID != 0 => "an event has no 'tid'",
        absent if absent & OP != 0 => "an event has no 'op'",
        _ => "an event has no 'ptr'",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{event_object, samples};
    use crate::trace::Event;

    fn read(text: &str) -> Result<RawEvent, Fault> {
        event(&mut Cursor::new(text.as_bytes()))
    }

    const PLAIN: &str =
        r#"{"time_ns":1,"pid":2,"tid":3,"op":"malloc","size":4,"ptr":"0x5","stack":6}"#;

    #[test]
    fn keys_come_in_any_order_and_unknown_ones_are_passed_over() {
        let plain = read(PLAIN).unwrap();
        assert_eq!(
            (plain.op, plain.size, plain.stack),
            (Op::Malloc, 4, Some(6))
        );
        let other = r#" { "x":[{"op":"free"}], "stack" : 6, "ptr":"0x5","s\u0069ze":4,
            "tid":3, "op":"mal\u006coc", "pid":2, "caller": null, "time_ns":1 } "#;
        assert_eq!(read(other), Ok(plain));
    }

    #[test]
    fn what_a_function_does_not_take_is_passed_over() {
        let other = PLAIN.replace(
            ":4,",
            ":4,\"count\":3,\"old_ptr\":\"0x9\",\"alignment\":8,\"flags\":1,",
        );
        assert_eq!(read(&other), read(PLAIN));
    }

    #[test]
    fn an_event_without_one_of_its_keys_is_none() {
        for key in ["time_ns", "pid", "tid", "op", "ptr"] {
            let without = PLAIN.replace(&format!("\"{key}\""), "\"other\"");
            let Err(Fault::Wrong(_, what)) = read(&without) else {
                panic!("{without}");
            };
            assert_eq!(what, format!("an event has no '{key}'"));
        }
        for wrong in [
            PLAIN.replace("malloc", "mallocate"),
            PLAIN.replace("\"0x5\"", "5"),
            PLAIN.replace("\"pid\":2", "\"pid\":4294967296"),
            PLAIN.replace(":4,", ":4.5,"),
            PLAIN.replace(":4,", ":4"),
            PLAIN.replace("{", "["),
        ] {
            assert!(matches!(read(&wrong), Err(Fault::Wrong(..))), "{wrong}");
        }
    }

    #[test]
    fn every_op_reads_as_it_is_written() {
        for written in samples::one_of_each() {
            let written = Event {
                // A plain free tells no size.
                size: if written.op == Op::Free {
                    0
                } else {
                    written.size
                },
                released: Some(72),
                temporary: true,
                ..written
            };
            let mut text = Vec::new();
            event_object::open(&mut text, &written, written.op, &samples::process());
            text.push(b'}');
            let text = String::from_utf8(text).unwrap();
            let read = read(&text).unwrap();
            assert_eq!((read.op, read.time_ns, read.tid), (written.op, 1500, 1235));
            assert_eq!((read.released, read.temporary), (Some(72), true));
            let same = (
                read.size,
                read.count,
                read.alignment,
                read.old_block,
                read.block,
            );
            assert_eq!(
                same,
                (
                    written.size,
                    written.count,
                    written.alignment,
                    written.old_block,
                    written.block
                ),
                "{text}"
            );
        }
    }
}
