//! The hook's unwinder: call frame information and the walk over a stack by it.
//!
//! The hook itself is no library of Rust's, so its module is included as source. The input is
//! `.eh_frame_hdr` and what follows it in its segment, then [`WORDS`] words: the stack's contents,
//! which also are the addresses asked for.
#![no_main]

use std::marker::PhantomData;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;

use unwind::aarch64::Aarch64;
use unwind::cfi::{EhFrame, Mapped, find_row, find_rule};
use unwind::walk::{Stack, Target, walk};
use unwind::x86_64::X86_64;
use unwind::{Machine, Registers, Rule};

#[path = "../../libsnhook/src/unwind/mod.rs"]
#[allow(dead_code, unused_imports)] // The hook uses all of it.
mod unwind;

/// Where the segment stands.
const SEGMENT: u64 = 0x10000;
/// Where the stack stands.
const STACK: u64 = 0x7fff_0000;
/// How many words the stack has.
const WORDS: usize = 32;
/// How many entries of the search table are asked for.
const ENTRIES: usize = 8;

struct Process<'a, M> {
    words: &'a [u64; WORDS],
    stack: Stack,
    frames: EhFrame<'a>,
    machine: PhantomData<M>,
}

impl<M: Machine> Target for Process<'_, M> {
    type Machine = M;

    fn read(&self, address: u64) -> Option<u64> {
        assert_eq!(address % 8, 0, "misaligned read");
        assert!(
            (self.stack.low..self.stack.high).contains(&address),
            "read outside the stack"
        );
        Some(self.words[((address - self.stack.low) / 8) as usize])
    }

    fn rule(&self, return_address: u64) -> Rule {
        match return_address.checked_sub(1) {
            Some(address) => find_rule::<M>(&self.frames, address),
            None => Rule::NO_INFO,
        }
    }

    fn eh_frame(&self, _address: u64) -> Option<EhFrame<'_>> {
        Some(self.frames)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((segment, stack)) = data.split_last_chunk::<{ WORDS * 8 }>() else {
        return;
    };
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(stack.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mut asked = words.to_vec();
    // The first functions of a table of the usual form.
    let (pairs, _) = segment.get(12..).unwrap_or_default().as_chunks::<4>();
    for value in pairs.iter().step_by(2).take(ENTRIES) {
        let function = SEGMENT.wrapping_add_signed(i64::from(i32::from_le_bytes(*value)));
        asked.extend([function, function.wrapping_add(4)]);
    }

    let segment = Mapped {
        address: SEGMENT,
        bytes: segment,
    };
    let frames = EhFrame::without_header(segment);
    all::<X86_64>(frames, &words, &asked[..2]);
    if let Some(frames) = EhFrame::in_segment(segment, SEGMENT) {
        all::<X86_64>(frames, &words, &asked);
        all::<Aarch64>(frames, &words, &asked);
    }
});

fn all<M: Machine>(frames: EhFrame<'_>, words: &[u64; WORDS], asked: &[u64]) {
    let stack = Stack {
        low: STACK,
        high: STACK + WORDS as u64 * 8,
    };
    let process = Process::<M> {
        words,
        stack,
        frames,
        machine: PhantomData,
    };
    for &address in asked {
        let _ = find_row::<M>(&frames, address);
        let first = Registers {
            ip: address,
            sp: STACK,
            fp: STACK + words[0] % (WORDS as u64 * 8) / 8 * 8,
        };
        let mut out = [0; 64];
        let walked = walk(
            &process,
            first,
            stack,
            |_| ControlFlow::Continue(()),
            &mut out,
        );
        assert!(walked.frames <= out.len());
    }
}
