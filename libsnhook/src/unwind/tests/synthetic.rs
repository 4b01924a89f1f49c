//! Stacks written by hand, for what compilers and this machine's libraries don't produce.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::super::cfi::EhFrame;
use super::super::walk::{Stack, Target, Walked, unless_signal_return, walk};
use super::super::x86_64::X86_64;
use super::super::{Cfa, Machine as _, Registers, Row, Rule, Saved};

/// A process of x86-64 with a stack at 0x7000..0x8000 and one at 0x9000..0xa000.
#[derive(Default)]
struct Process {
    words: HashMap<u64, u64>,
    rules: HashMap<u64, Rule>,
    code: HashMap<u64, [u8; 8]>,
}

const STACK: Stack = Stack {
    low: 0x7000,
    high: 0x8000,
};
const OTHER_STACK: Stack = Stack {
    low: 0x9000,
    high: 0xa000,
};

impl Target for Process {
    type Machine = X86_64;

    fn read(&self, address: u64) -> Option<u64> {
        Some(self.words.get(&address).copied().unwrap_or(0))
    }

    fn rule(&self, return_address: u64) -> Rule {
        let rule = self.rules.get(&return_address);
        let rule = rule.copied().unwrap_or(Rule::NO_INFO);
        unless_signal_return::<Self::Machine>(rule, return_address, |at| self.code(at))
    }

    fn eh_frame(&self, _address: u64) -> Option<EhFrame<'_>> {
        None
    }

    fn code(&self, address: u64) -> Option<[u8; 8]> {
        self.code.get(&address).copied()
    }

    fn stack(&self, sp: u64) -> Option<Stack> {
        [STACK, OTHER_STACK]
            .into_iter()
            .find(|stack| (stack.low..=stack.high).contains(&sp))
    }
}

impl Process {
    fn word(mut self, address: u64, value: u64) -> Process {
        self.words.insert(address, value);
        self
    }

    fn rule_of(mut self, return_address: u64, rule: Rule) -> Process {
        self.rules.insert(return_address, rule);
        self
    }

    fn walk(&self, ip: u64, sp: u64, fp: u64) -> (Vec<u64>, Walked) {
        let mut out = [0; 16];
        let stack = self.stack(sp).unwrap();
        let all = |_| ControlFlow::Continue(());
        let walked = walk(self, Registers { ip, sp, fp }, stack, all, &mut out);
        (out[..walked.frames].to_vec(), walked)
    }
}

/// CFA = rsp + 16, rbp unchanged.
fn two_words() -> Rule {
    X86_64::pack(&Row {
        cfa: Cfa::Register(X86_64::SP, 16),
        return_address: Saved::AtCfa(-8),
        fp: Saved::Unspecified,
        sp: Saved::Unspecified,
        signal_frame: false,
    })
}

const SIGNAL_RETURN: u64 = 0x10_0000;

fn ended(frames: usize, truncated: bool, guessed: u32) -> Walked {
    Walked {
        frames,
        truncated,
        guessed,
    }
}

#[test]
fn frame_pointers_lead_through_code_without_rules() {
    // Frame records at 0x7020 and 0x7080; the second returns to code that is the outermost.
    let process = Process::default()
        .word(0x7020, 0x7080)
        .word(0x7028, 0x1000)
        .word(0x7080, 0)
        .word(0x7088, 0x2000)
        .rule_of(0x2000, Rule::END);
    let (frames, walked) = process.walk(0x500, 0x7000, 0x7020);
    assert_eq!(frames, [0x1000, 0x2000]);
    assert_eq!(walked, ended(2, false, 2));
}

#[test]
fn frame_pointers_that_lead_nowhere_are_not_followed() {
    // As above, but nothing is known of 0x2000, and no record follows.
    let process = Process::default()
        .word(0x7020, 0x7080)
        .word(0x7028, 0x1000)
        .word(0x7080, 0)
        .word(0x7088, 0x2000);
    assert_eq!(process.walk(0x500, 0x7000, 0x7020).1, ended(0, true, 0));
    // Frame pointers outside, misaligned, or below the stack pointer.
    for fp in [0, 0x7021, 0x7ff8, 0x8000, 0x9000, u64::MAX - 7] {
        assert_eq!(process.walk(0x500, 0x7000, fp).1, ended(0, true, 0));
    }
    assert_eq!(process.walk(0x500, 0x7028, 0x7020).1, ended(0, true, 0));
}

#[test]
fn records_that_point_at_themselves_end_the_walk() {
    let process = Process::default().word(0x7020, 0x7020).word(0x7028, 0x1000);
    assert_eq!(process.walk(0x500, 0x7000, 0x7020).1, ended(0, true, 0));
}

#[test]
fn a_return_address_of_zero_is_the_end() {
    let process = Process::default()
        .word(0x7008, 0x1000)
        .rule_of(0x500, two_words())
        .rule_of(0x1000, two_words());
    let (frames, walked) = process.walk(0x500, 0x7000, 0);
    assert_eq!(frames, [0x1000]);
    assert_eq!(walked, ended(1, false, 0));
}

#[test]
fn a_corrupt_frame_is_the_last() {
    // CFA = 0x7ff8 + 16 = 0x8008 is outside.
    let process = Process::default().rule_of(0x500, two_words());
    assert_eq!(process.walk(0x500, 0x7ff8, 0).1, ended(0, true, 0));
}

/// A handler on the other stack that returns into musl's restorer, which has no rules; the kernel's
/// `ucontext` begins at 0x9010 and says that 0x3000 was interrupted with its stack pointer at 0x7100.
fn interrupted() -> Process {
    let mut process = Process::default()
        .word(0x9008, SIGNAL_RETURN)
        .rule_of(0x500, two_words())
        .word(0x9010 + 120, 0x7200)
        .word(0x9010 + 160, 0x7100)
        .word(0x9010 + 168, 0x3000);
    let restorer = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f];
    process.code.insert(SIGNAL_RETURN, restorer);
    let rest = [0x05, 0, 0, 0, 0, 0, 0, 0];
    process.code.insert(SIGNAL_RETURN + 8, rest);
    process
}

#[test]
fn a_signal_return_without_rules_is_known_by_its_code() {
    // The interrupted code has a frame record at 0x7200 that leads to the outermost function.
    let process = interrupted()
        .word(0x7208, 0x2000)
        .rule_of(0x2000, Rule::END);
    let (frames, walked) = process.walk(0x500, 0x9000, 0);
    assert_eq!(frames, [SIGNAL_RETURN, 0x3000, 0x2000]);
    assert_eq!(walked, ended(3, false, 1));
}

#[test]
fn an_interrupted_plt_stub_is_left_exactly() {
    // `push index; jmp header` of a stub: at the jump, the return address is one word further up.
    for (code, before, slot) in [
        ([0xff, 0x25, 1, 2, 3, 4, 0x68, 0], [0; 8], 0x7100),
        ([0x68, 0, 0, 0, 0, 0xe9, 1, 2], [0; 8], 0x7100),
        (
            [0xe9, 1, 2, 3, 4, 0, 0, 0],
            [0, 0, 0, 0x68, 0, 0, 0, 0],
            0x7108,
        ),
        ([0xff, 0x35, 1, 2, 3, 4, 0xff, 0x25], [0; 8], 0x7108),
        (
            [0xff, 0x25, 1, 2, 3, 4, 0, 0],
            [0, 0, 0xff, 0x35, 1, 2, 3, 4],
            0x7110,
        ),
    ] {
        let mut process = interrupted().word(slot, 0x2000).rule_of(0x2000, Rule::END);
        process.code.insert(0x3000, code);
        process.code.insert(0x3000 - 8, before);
        let (frames, walked) = process.walk(0x500, 0x9000, 0);
        assert_eq!(frames, [SIGNAL_RETURN, 0x3000, 0x2000], "{code:x?}");
        assert_eq!(walked, ended(3, false, 0));
    }
}

#[test]
fn nested_signals_end() {
    // The interrupted code is the restorer itself, with its stack pointer where it was.
    let process = interrupted()
        .word(0x9010 + 160, 0x9010)
        .word(0x9010 + 168, SIGNAL_RETURN);
    let (frames, walked) = process.walk(0x500, 0x9000, 0);
    assert!(frames.iter().all(|&ip| ip == SIGNAL_RETURN));
    assert!(walked.truncated);
}
