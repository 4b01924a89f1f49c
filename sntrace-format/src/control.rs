//! The rare records: who the process is, which thread writes, what is mapped where.
//!
//! They travel in the same lanes as the events and in the same time order: a module is announced
//! before the first event that returns into it, so an event is named by what was mapped then.
//!
//! ```text
//! word 0   time << 8 | Op::Control
//! word 1   kind (8) | length of the body in bytes (16) << 8
//! word 2.. the body: fixed fields as little-endian words, then byte strings, each with a 16-bit
//!          length before it; zeros up to a whole word
//! ```

use crate::primitive::{AtomicU64, Ordering};

use crate::record::{Op, Words, first_word};

/// Longest body in bytes; longer strings are cut. A whole message fits the 4,096 bytes that a
/// pipe keeps together.
pub const BODY_MAX: usize = 4000;
/// Words that a control record takes at most.
pub const CONTROL_WORDS_MAX: u64 = 2 + (BODY_MAX as u64).div_ceil(8);
/// Longest build id kept, in bytes (SHA-1 is 20, others up to 32).
pub const BUILD_ID_MAX: usize = 64;

/// A control message. Strings borrow from whoever made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// A process image begins: the first record of its first lane.
    Process {
        /// Process id as the process sees it.
        pid: u32,
        /// Parent's process id at that time.
        ppid: u32,
        /// Key of the image that this one was forked from; 0 for a new program (exec).
        forked_from: u64,
        /// Path of the program's file.
        executable: &'a [u8],
        /// The command line: arguments, each ended by a zero byte; may be cut.
        command: &'a [u8],
    },
    /// From here on this lane carries the events of this thread.
    Thread {
        /// Thread id as the process sees it.
        tid: u32,
    },
    /// A module is mapped, from this time on.
    ModuleAdd {
        /// First address of its mappings.
        start: u64,
        /// First address after them.
        end: u64,
        /// What must be taken from an address to get the file's own (ELF virtual) address.
        bias: u64,
        /// `dev` of the mapped file, so that a replaced file is noticed.
        device: u64,
        /// `ino` of the mapped file.
        inode: u64,
        /// The GNU build id, empty where there is none.
        build_id: &'a [u8],
        /// Path as the kernel gives it, `[vdso]` included.
        path: &'a [u8],
    },
    /// What was mapped there is no longer.
    ModuleRemove {
        /// First address of its mappings.
        start: u64,
    },
    /// A thread calls dlopen, dlmopen or dlclose: from here on, addresses may mean other code.
    Loader {
        /// The image's epoch from now on: see [`crate::verdict`].
        epoch: u32,
    },
    /// A process is about to run another program, or (from the process that started it) runs it.
    Exec {
        /// Process id of that process: the sender's own, a `vfork` child's that speaks for itself
        /// from its parent's memory, or that of a child which posix_spawn has started.
        pid: u32,
        /// Path of the program's file. Empty: what was announced for this process last has failed.
        path: &'a [u8],
    },
    /// A stack by the last one differs from the same stack walked anew: return addresses as
    /// little-endian words, inner to outer, as many as fit. A bug of the hook's.
    StackDifference {
        /// How many frames from the inside are the same.
        same: u32,
        /// What was made with the help of the last stack.
        reused: &'a [u8],
        /// What was walked.
        walked: &'a [u8],
    },
}

/// Bytes of a stack that [`Control::StackDifference`] has room for: this many frames.
pub const DIFFERENCE_BYTES: usize = 240 * 8;

const PROCESS: u8 = 1;
const THREAD: u8 = 2;
const MODULE_ADD: u8 = 3;
const MODULE_REMOVE: u8 = 4;
const LOADER: u8 = 5;
const EXEC: u8 = 6;
const STACK_DIFFERENCE: u8 = 7;

/// Writes `message` at the start of `slot` and returns the words it took.
///
/// # Panics
/// If `slot` is shorter than [`CONTROL_WORDS_MAX`] words and the message needs them.
pub fn write_control(slot: &[AtomicU64], time: u64, message: &Control<'_>) -> u64 {
    let mut body = Body {
        slot,
        bytes: 0,
        word: 0,
    };
    let kind = match *message {
        Control::Process {
            pid,
            ppid,
            forked_from,
            executable,
            command,
        } => {
            body.number(u64::from(pid));
            body.number(u64::from(ppid));
            body.number(forked_from);
            body.string(executable, 1500);
            body.string(command, 2300);
            PROCESS
        }
        Control::Thread { tid } => {
            body.number(u64::from(tid));
            THREAD
        }
        Control::ModuleAdd {
            start,
            end,
            bias,
            device,
            inode,
            build_id,
            path,
        } => {
            for number in [start, end, bias, device, inode] {
                body.number(number);
            }
            body.string(build_id, BUILD_ID_MAX);
            body.string(path, 3800);
            MODULE_ADD
        }
        Control::ModuleRemove { start } => {
            body.number(start);
            MODULE_REMOVE
        }
        Control::Loader { epoch } => {
            body.number(u64::from(epoch));
            LOADER
        }
        Control::Exec { pid, path } => {
            body.number(u64::from(pid));
            body.string(path, 3800);
            EXEC
        }
        Control::StackDifference {
            same,
            reused,
            walked,
        } => {
            body.number(u64::from(same));
            body.string(reused, DIFFERENCE_BYTES);
            body.string(walked, DIFFERENCE_BYTES);
            STACK_DIFFERENCE
        }
    };
    let bytes = body.finish();
    slot[1].store(u64::from(kind) | (bytes as u64) << 8, Ordering::Relaxed);
    slot[0].store(first_word(time, Op::Control), Ordering::Relaxed);
    2 + bytes.div_ceil(8) as u64
}

/// Gathers bytes into words. Relaxed stores: the ring publishes them afterwards.
struct Body<'a> {
    slot: &'a [AtomicU64],
    bytes: usize,
    word: u64,
}

impl Body<'_> {
    fn byte(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (self.bytes % 8 * 8);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            self.slot[1 + self.bytes / 8].store(self.word, Ordering::Relaxed);
            self.word = 0;
        }
    }

    fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.byte(byte);
        }
    }

    fn string(&mut self, text: &[u8], longest: usize) {
        let kept = if text.len() > longest {
            longest
        } else {
            text.len()
        };
        self.byte(kept as u8);
        self.byte((kept >> 8) as u8);
        for &byte in &text[..kept] {
            self.byte(byte);
        }
    }

    fn finish(self) -> usize {
        if !self.bytes.is_multiple_of(8) {
            self.slot[2 + self.bytes / 8].store(self.word, Ordering::Relaxed);
        }
        self.bytes
    }
}

/// Copies the body of the control record at the start of `words` into `out` and returns it.
/// `bytes` is what [`crate::record::decode`] said.
pub fn body<'o, W: Words + ?Sized>(
    words: &W,
    bytes: usize,
    out: &'o mut [u8; BODY_MAX + 8],
) -> &'o [u8] {
    let bytes = if bytes > BODY_MAX { BODY_MAX } else { bytes };
    for at in 0..bytes.div_ceil(8) {
        out[at * 8..at * 8 + 8].copy_from_slice(&words.word(2 + at).to_le_bytes());
    }
    &out[..bytes]
}

/// Reads a message from its body; `None` for anything that [`write_control`] does not write.
#[must_use]
pub fn parse(kind: u8, body: &[u8]) -> Option<Control<'_>> {
    let mut rest = Reader { rest: body };
    let message = match kind {
        PROCESS => Control::Process {
            pid: rest.small()?,
            ppid: rest.small()?,
            forked_from: rest.number()?,
            executable: rest.string()?,
            command: rest.string()?,
        },
        THREAD => Control::Thread { tid: rest.small()? },
        MODULE_ADD => Control::ModuleAdd {
            start: rest.number()?,
            end: rest.number()?,
            bias: rest.number()?,
            device: rest.number()?,
            inode: rest.number()?,
            build_id: rest.string()?,
            path: rest.string()?,
        },
        MODULE_REMOVE => Control::ModuleRemove {
            start: rest.number()?,
        },
        LOADER => Control::Loader {
            epoch: rest.small()?,
        },
        EXEC => Control::Exec {
            pid: rest.small()?,
            path: rest.string()?,
        },
        STACK_DIFFERENCE => Control::StackDifference {
            same: rest.small()?,
            reused: rest.string()?,
            walked: rest.string()?,
        },
        _ => return None,
    };
    Some(message)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        if count > self.rest.len() {
            return None;
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.take(2)?;
        self.take(usize::from(length[0]) | usize::from(length[1]) << 8)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::record::{Record, decode};
    use proptest::prelude::*;

    fn round_trip(message: Control<'_>) {
        let slot: Vec<AtomicU64> = (0..CONTROL_WORDS_MAX)
            .map(|_| AtomicU64::new(u64::MAX))
            .collect();
        let length = write_control(&slot, 77, &message) as usize;
        let (record, taken) = decode(&slot[..length]).unwrap();
        assert_eq!(taken, length);
        let Record::Control {
            time: 77,
            kind,
            bytes,
        } = record
        else {
            panic!("{record:?}")
        };
        let mut out = [0; BODY_MAX + 8];
        assert_eq!(
            parse(kind, body(&slot[..length], bytes, &mut out)),
            Some(message)
        );
    }

    proptest! {
        #[test]
        fn every_message_is_read_back(
            n in any::<[u64; 5]>(), m in any::<[u32; 2]>(),
            id in proptest::collection::vec(any::<u8>(), 0..BUILD_ID_MAX),
            text in proptest::collection::vec(any::<u8>(), 0..1400),
        ) {
            let [start, end, bias, device, inode] = n;
            round_trip(Control::Process { pid: m[0], ppid: m[1], forked_from: start, executable: &text, command: &text });
            round_trip(Control::Thread { tid: m[0] });
            round_trip(Control::ModuleAdd { start, end, bias, device, inode, build_id: &id, path: &text });
            round_trip(Control::ModuleRemove { start });
            round_trip(Control::Loader { epoch: m[1] });
            round_trip(Control::Exec { pid: m[0], path: &text });
            round_trip(Control::StackDifference { same: m[0], reused: &text, walked: &id });
        }

        #[test]
        fn any_body_parses_or_is_refused(kind in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(kind, &bytes);
        }
    }

    #[test]
    fn strings_too_long_are_cut_to_fit() {
        let long = vec![b'x'; 10_000];
        let slot: Vec<AtomicU64> = (0..CONTROL_WORDS_MAX).map(|_| AtomicU64::new(0)).collect();
        let message = Control::Process {
            pid: 1,
            ppid: 1,
            forked_from: 0,
            executable: &long,
            command: &long,
        };
        assert!(write_control(&slot, 1, &message) <= CONTROL_WORDS_MAX);
    }
}
