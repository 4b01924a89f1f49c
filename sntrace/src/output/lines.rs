//! One event, one line.
//!
//! ```text
//! line     = [TIME " "] [PROCESS " "] "[SN_ALLOC] " call ["  [" CALLER "]"]
//! TIME     = seconds since the run began, six decimals          (--timestamps)
//! PROCESS  = PID | TID | PID "/" TID                            (--pid, --tid, both)
//! CALLER   = name | name " " FILE ":" LINE                      (--locations)
//!            without its brackets where it was not asked for    (--stacks none)
//!
//! call     = "malloc(" SIZE ") = " PTR            also valloc, pvalloc, operator new,
//!                                                 operator new[], mmap
//!          | "calloc(" COUNT ", " SIZE ") = " PTR
//!          | "realloc(" PTR ", " SIZE ") = " PTR  also mremap
//!          | "reallocarray(" PTR ", " COUNT ", " SIZE ") = " PTR
//!          | "aligned_alloc(" ALIGNMENT ", " SIZE ") = " PTR
//!                                                 also posix_memalign, memalign
//!          | "operator new(" SIZE ", " ALIGNMENT ") = " PTR
//!                                                 the aligned forms, also operator new[]
//!          | "free(" PTR ")"                      also operator delete, operator delete[]
//!          | "free_sized(" PTR ", " SIZE ")"      also munmap
//!          | "free_aligned_sized(" PTR ", " ALIGNMENT ", " SIZE ")"
//!          | "brk(" GROWTH ") = " PTR             bytes, negative when it shrinks; the old break
//! ```
//!
//! SIZE, COUNT, ALIGNMENT are decimal; PTR is `0x` and lowercase hexadecimal, `(nil)` for null.
//! FILE is the source file's base name. Names are escaped ([`super::escape`]).
//!
//! `operator delete` shows the block alone in all its forms: a compiler chooses between the sized
//! and the plain form by its options, and lines of the same program should not differ by that.
//!
//! This is the hot path of the launcher: a line is copies of texts worked out before, and two to
//! five numbers.

use super::number::{decimal, hexadecimal, seconds, signed};
use super::sites::SiteTexts;
use super::{Call, OutputError, Process, Sink, Summary, Writer, escape};
use crate::trace::{Event, Op};

/// Whether lines carry terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    #[default]
    Plain,
    /// With ANSI sequences.
    Ansi,
}

/// What a line carries beyond the plain form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineOptions {
    /// Seconds since the run began.
    pub timestamps: bool,
    /// Process id.
    pub pid: bool,
    /// Thread id.
    pub tid: bool,
    /// File and line beside the caller.
    pub locations: bool,
    /// Colours.
    pub colour: Colour,
}

/// The lines of a run.
#[derive(Debug)]
pub struct Lines {
    writer: Writer,
    options: LineOptions,
    /// By op: all from the tag to the opening parenthesis.
    heads: Vec<Vec<u8>>,
    /// By site: all from the two blanks to the newline.
    tails: SiteTexts,
}

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";

impl Lines {
    /// Lines to `writer`.
    #[must_use]
    pub fn new(writer: Writer, options: LineOptions) -> Lines {
        let mut heads = vec![Vec::new(); usize::from(u8::MAX) + 1];
        for &op in Op::ALL {
            heads[op as usize] = match options.colour {
                Colour::Plain => format!("[SN_ALLOC] {}(", op.name()),
                Colour::Ansi => {
                    format!("{DIM}[SN_ALLOC]{RESET} {}{}{RESET}(", hue(op), op.name())
                }
            }
            .into_bytes();
        }
        Lines {
            writer,
            options,
            heads,
            tails: SiteTexts::default(),
        }
    }
}

/// What is gained is green, what is given back cyan, what does both yellow; memory from the
/// kernel is magenta. All are readable on a dark and on a light ground.
fn hue(op: Op) -> &'static str {
    match op {
        _ if op.is_mapping() => "\x1b[35m",
        _ if op.replaces() => "\x1b[33m",
        _ if op.only_releases() => "\x1b[36m",
        _ => "\x1b[32m",
    }
}

impl Sink for Lines {
    #[inline]
    fn event(
        &mut self,
        event: &Event,
        call: &Call<'_>,
        process: &Process,
    ) -> Result<(), OutputError> {
        let options = self.options;
        let out = self.writer.buffer();
        if options.timestamps {
            seconds(out, event.time_ns);
            out.push(b' ');
        }
        if options.pid || options.tid {
            if options.pid {
                decimal(out, process.pid.into());
            }
            if options.pid && options.tid {
                out.push(b'/');
            }
            if options.tid {
                decimal(out, event.tid.into());
            }
            out.push(b' ');
        }
        out.extend_from_slice(&self.heads[call.op as usize]);
        arguments(out, call.op, event);
        if call.op.only_releases() {
            out.push(b')');
        } else {
            out.extend_from_slice(b") = ");
            if event.block == 0 && options.colour == Colour::Ansi {
                out.extend_from_slice(RED.as_bytes());
                pointer(out, 0);
                out.extend_from_slice(RESET.as_bytes());
            } else {
                pointer(out, event.block);
            }
        }
        out.extend_from_slice(
            self.tails
                .get(call.site, |tail| write_tail(tail, call, options)),
        );
        self.writer.end_record()
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.writer.flush()
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), OutputError> {
        self.writer.flush()
    }
}

#[inline]
fn pointer(out: &mut Vec<u8>, address: u64) {
    if address == 0 {
        out.extend_from_slice(b"(nil)");
    } else {
        hexadecimal(out, address);
    }
}

/// What stands between the parentheses. `op` may differ from the event's own where an operator
/// stands for the `malloc` it made: then the size is all that was asked for.
#[inline]
fn arguments(out: &mut Vec<u8>, op: Op, event: &Event) {
    let comma = |out: &mut Vec<u8>| out.extend_from_slice(b", ");
    match op {
        Op::Malloc | Op::Valloc | Op::Pvalloc | Op::New | Op::NewArray | Op::Mmap => {
            decimal(out, event.bytes());
        }
        Op::Free | Op::Delete | Op::DeleteArray | Op::DeleteAligned | Op::DeleteArrayAligned => {
            pointer(out, event.block);
        }
        Op::Calloc => {
            decimal(out, event.count);
            comma(out);
            decimal(out, event.size);
        }
        Op::Realloc | Op::Mremap => {
            pointer(out, event.old_block);
            comma(out);
            decimal(out, event.size);
        }
        Op::Reallocarray => {
            pointer(out, event.old_block);
            comma(out);
            decimal(out, event.count);
            comma(out);
            decimal(out, event.size);
        }
        Op::AlignedAlloc | Op::PosixMemalign | Op::Memalign => {
            decimal(out, event.alignment);
            comma(out);
            decimal(out, event.size);
        }
        Op::NewAligned | Op::NewArrayAligned => {
            decimal(out, event.bytes());
            comma(out);
            decimal(out, event.alignment);
        }
        Op::FreeSized | Op::Munmap => {
            pointer(out, event.block);
            comma(out);
            decimal(out, event.size);
        }
        Op::FreeAlignedSized => {
            pointer(out, event.block);
            comma(out);
            decimal(out, event.alignment);
            comma(out);
            decimal(out, event.size);
        }
        Op::Brk => signed(out, event.size.cast_signed()),
        // Not calls: no event has them.
        Op::Stack | Op::Pad | Op::Control => {}
    }
}

#[cold]
fn write_tail(tail: &mut Vec<u8>, call: &Call<'_>, options: LineOptions) {
    let paint = |tail: &mut Vec<u8>, sequence: &str| {
        if options.colour == Colour::Ansi {
            tail.extend_from_slice(sequence.as_bytes());
        }
    };
    if call.name.is_empty() {
        tail.push(b'\n');
        return;
    }
    tail.extend_from_slice(b"  [");
    paint(tail, BOLD);
    escape::text(tail, call.name);
    paint(tail, RESET);
    if let (true, Some((file, line))) = (options.locations, call.location) {
        tail.push(b' ');
        paint(tail, DIM);
        escape::text(tail, base_name(file));
        tail.push(b':');
        decimal(tail, line.into());
        paint(tail, RESET);
    }
    tail.extend_from_slice(b"]\n");
}

/// The last part of a path of whatever system the program was built on.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, Shared};
    use super::*;

    fn line(options: LineOptions, event: &Event, call: &Call<'_>) -> String {
        let shared = Shared::default();
        let mut lines = Lines::new(shared.writer(), options);
        lines.event(event, call, &samples::process()).unwrap();
        lines.finish(&Summary::default()).unwrap();
        shared.text()
    }

    #[test]
    fn every_op_has_its_line() {
        let shared = Shared::default();
        let mut lines = Lines::new(shared.writer(), LineOptions::default());
        for event in samples::one_of_each() {
            lines
                .event(&event, &samples::call(event.op), &samples::process())
                .unwrap();
        }
        lines.flush().unwrap();
        assert_eq!(
            shared.text(),
            "\
[SN_ALLOC] malloc(72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] calloc(3, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] realloc(0x5565282b1000, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] reallocarray(0x5565282b1000, 3, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] aligned_alloc(64, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] posix_memalign(64, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] memalign(64, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] valloc(72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] pvalloc(72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] free(0x5565282b12a0)  [rt_arena_create_sized]
[SN_ALLOC] free_sized(0x5565282b12a0, 72)  [rt_arena_create_sized]
[SN_ALLOC] free_aligned_sized(0x5565282b12a0, 64, 72)  [rt_arena_create_sized]
[SN_ALLOC] operator new(72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] operator new[](72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] operator new(72, 64) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] operator new[](72, 64) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] operator delete(0x5565282b12a0)  [rt_arena_create_sized]
[SN_ALLOC] operator delete[](0x5565282b12a0)  [rt_arena_create_sized]
[SN_ALLOC] operator delete(0x5565282b12a0)  [rt_arena_create_sized]
[SN_ALLOC] operator delete[](0x5565282b12a0)  [rt_arena_create_sized]
[SN_ALLOC] mmap(72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] munmap(0x5565282b12a0, 72)  [rt_arena_create_sized]
[SN_ALLOC] mremap(0x5565282b1000, 72) = 0x5565282b12a0  [rt_arena_create_sized]
[SN_ALLOC] brk(-4096) = 0x5565282b12a0  [rt_arena_create_sized]
"
        );
    }

    #[test]
    fn null_is_nil_as_result_and_as_argument() {
        let failed = Event {
            block: 0,
            old_block: 0,
            ..samples::event(Op::Realloc)
        };
        assert_eq!(
            line(LineOptions::default(), &failed, &samples::call(Op::Realloc)),
            "[SN_ALLOC] realloc((nil), 72) = (nil)  [rt_arena_create_sized]\n"
        );
    }

    #[test]
    fn an_operator_stands_for_the_malloc_it_made() {
        assert_eq!(
            line(
                LineOptions::default(),
                &samples::event(Op::Malloc),
                &samples::call(Op::New)
            ),
            "[SN_ALLOC] operator new(72) = 0x5565282b12a0  [rt_arena_create_sized]\n"
        );
    }

    #[test]
    fn prefix_fields_come_before_the_tag() {
        let event = Event {
            time_ns: 12_345_678_999,
            ..samples::event(Op::Free)
        };
        let prefix = |timestamps, pid, tid| {
            let options = LineOptions {
                timestamps,
                pid,
                tid,
                ..LineOptions::default()
            };
            let line = line(options, &event, &samples::call(Op::Free));
            line.split("[SN_ALLOC]").next().unwrap().to_string()
        };
        assert_eq!(prefix(true, true, true), "12.345678 1234/1235 ");
        assert_eq!(prefix(true, false, false), "12.345678 ");
        assert_eq!(prefix(false, true, false), "1234 ");
        assert_eq!(prefix(false, false, true), "1235 ");
    }

    #[test]
    fn locations_stand_beside_the_caller_where_they_are_known() {
        let options = LineOptions {
            locations: true,
            ..LineOptions::default()
        };
        let event = samples::event(Op::Free);
        assert!(
            line(options, &event, &samples::call(Op::Free))
                .ends_with("  [rt_arena_create_sized arena.c:123]\n")
        );
        let unknown = Call {
            location: None,
            ..samples::call(Op::Free)
        };
        assert!(line(options, &event, &unknown).ends_with("  [rt_arena_create_sized]\n"));
        let windows = Call {
            location: Some((r"C:\src\arena.c", 7)),
            ..samples::call(Op::Free)
        };
        assert!(line(options, &event, &windows).ends_with(" arena.c:7]\n"));
    }

    #[test]
    fn without_callers_a_line_ends_with_the_call() {
        let options = LineOptions {
            locations: true,
            colour: Colour::Ansi,
            ..LineOptions::default()
        };
        let call = Call {
            name: "",
            ..samples::call(Op::Free)
        };
        let line = line(options, &samples::event(Op::Free), &call);
        assert_eq!(
            samples::without_colours(&line),
            "[SN_ALLOC] free(0x5565282b12a0)\n"
        );
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let call = Call {
            name: "a]\n[SN_ALLOC] free(0x1)  [\x1b[2J",
            ..samples::call(Op::Free)
        };
        assert_eq!(
            line(LineOptions::default(), &samples::event(Op::Free), &call),
            "[SN_ALLOC] free(0x5565282b12a0)  [a]\\n[SN_ALLOC] free(0x1)  [\\x1b[2J]\n"
        );
    }

    #[test]
    fn colours_only_add_to_the_plain_line() {
        let options = LineOptions {
            locations: true,
            ..LineOptions::default()
        };
        let painted = LineOptions {
            colour: Colour::Ansi,
            ..options
        };
        for mut event in samples::one_of_each() {
            for block in [event.block, 0] {
                event.block = block;
                let call = samples::call(event.op);
                let coloured = line(painted, &event, &call);
                assert!(coloured.contains('\x1b'));
                assert_eq!(
                    samples::without_colours(&coloured),
                    line(options, &event, &call)
                );
            }
        }
    }
}
