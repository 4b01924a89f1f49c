//! Broken bytes end a stack; they don't panic, loop or lead outside.
//!
//! The tests are built with overflow checks, so arithmetic inside gimli is tested too.

use super::super::aarch64::Aarch64;
use super::super::cfi::{EhFrame, Mapped, find_row, find_rule};
use super::super::walk::{Stack, Target, walk};
use super::super::x86_64::X86_64;
use super::super::{Machine, Registers, Rule};
use super::{Random, Sections};

/// A process whose memory is one stack of arbitrary words and whose module is arbitrary bytes.
struct Arbitrary<'a, M> {
    stack: Stack,
    words: &'a [u64],
    frames: EhFrame<'a>,
    machine: std::marker::PhantomData<M>,
}

impl<M: Machine> Target for Arbitrary<'_, M> {
    type Machine = M;

    fn read(&self, address: u64) -> Option<u64> {
        assert_eq!(address % 8, 0, "misaligned read");
        assert!(
            address >= self.stack.low && address < self.stack.high,
            "read outside"
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

fn walk_arbitrary_stacks<M: Machine>(frames: EhFrame<'_>, code: u64, random: &mut Random) {
    let low = 0x7fff_0000;
    let mut words = [0; 64];
    for word in &mut words {
        *word = match random.below(4) {
            0 => random.next(),
            1 => low + random.below(64 * 8 + 16) as u64,
            _ => random.next() % code,
        };
    }
    let target = Arbitrary::<M> {
        stack: Stack {
            low,
            high: low + 64 * 8,
        },
        words: &words,
        frames,
        machine: std::marker::PhantomData,
    };
    for _ in 0..16 {
        let first = Registers {
            ip: random.next() % code,
            sp: low + random.below(64) as u64 * 8,
            fp: low + random.below(64) as u64 * 8,
        };
        let walked = walk(
            &target,
            first,
            target.stack,
            |_| std::ops::ControlFlow::Continue(()),
            &mut [0; 256],
        );
        // Every frame is at least a word, so the stack can't hold more of them.
        assert!(walked.frames <= 64 + 16);
    }
}

fn survive_mutations<M: Machine>(sections: &Sections, rounds: usize) {
    let mut random = Random(0x5eed);
    let (hdr_address, hdr) = &sections.hdr;
    let (frames_address, frames) = &sections.frames;
    // A window of the frames keeps a round cheap and most mutations inside what is looked at.
    let code = *hdr_address;
    for round in 0..rounds {
        let mut hdr = hdr.clone();
        let mut frames = frames.clone();
        if round % 4 == 0 {
            for _ in 0..=random.below(4) {
                let place = random.below(24);
                hdr[place] = random.next() as u8;
            }
        }
        let share = 1 + random.below(32);
        for _ in 0..frames.len() / share / 4 {
            let place = random.below(frames.len());
            frames[place] = match random.below(3) {
                0 => random.next() as u8,
                1 => frames[place] ^ (1 << random.below(8)),
                _ => [0x00, 0x7f, 0x80, 0xff][random.below(4)],
            };
        }
        if round % 8 == 0 {
            frames.truncate(random.below(frames.len()));
        }
        let hdr = Mapped {
            address: *hdr_address,
            bytes: &hdr,
        };
        let frames = Mapped {
            address: *frames_address,
            bytes: &frames,
        };
        let eh_frame = EhFrame::from_sections(hdr, frames);
        for _ in 0..200 {
            let _ = find_row::<M>(&eh_frame, random.next() % code);
        }
        let _ = find_row::<M>(&eh_frame, random.next());
        let _ = find_row::<M>(&EhFrame::without_header(frames), random.next() % code);
        let _ = EhFrame::in_segment(hdr, *hdr_address);
        walk_arbitrary_stacks::<M>(eh_frame, code, &mut random);
    }
}

#[test]
fn mutated_sections_do_not_panic_on_x86_64() {
    if let Some(sections) = Sections::of("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2") {
        survive_mutations::<X86_64>(&sections, 120);
    }
}

#[test]
fn mutated_sections_do_not_panic_on_aarch64() {
    let sections = Sections::of_bytes(include_bytes!("fixtures/aarch64.so"));
    survive_mutations::<Aarch64>(&sections, 2000);
}

#[test]
fn noise_does_not_panic() {
    let mut random = Random(0x0dd);
    for _ in 0..4000 {
        let bytes: Vec<u8> = (0..random.below(400))
            .map(|_| random.next() as u8)
            .collect();
        let noise = Mapped {
            address: random.next(),
            bytes: &bytes,
        };
        for frames in [
            EhFrame::from_sections(noise, noise),
            EhFrame::without_header(noise),
        ] {
            for address in [0, 1, noise.address, random.next(), u64::MAX] {
                let _ = find_row::<X86_64>(&frames, address);
                let _ = find_row::<Aarch64>(&frames, address);
            }
        }
        let _ = EhFrame::in_segment(noise, noise.address);
    }
}
