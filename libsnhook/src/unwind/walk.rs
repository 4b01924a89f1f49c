//! From the innermost frame outwards.
//!
//! A [`Walker`] gives one frame at a time. While rules fit a [`Rule`] and are in the cache, a step
//! stays in [`Walker::next`]; everything else is in cold functions behind it:
//!
//! 1. the full row, for what does not fit a rule: expressions, signal frames, huge frames;
//! 2. the kernel's signal frame recognised by the code that returns from it, where that code has no
//!    call frame information (musl, the vDSO of aarch64);
//! 3. PLT stubs recognised by their code, where they have none either (LLD);
//! 4. the frame pointer, where nothing is known of the code at all (JIT, assembly): only if the
//!    chain of frame records leads back to code that has rules, and counted as *guessed*.
//!
//! A walk ends at the outermost frame ([`Step::End`]) or where none of these helps
//! ([`Step::Truncated`]); the two are never mixed up. It progresses, because the stack pointer grows
//! with every frame and stays within the stack; it may go back only at a signal frame (the handler
//! may run on a stack of its own), of which a walk passes at most [`MAX_SIGNAL_FRAMES`].
//!
//! May be used in every phase.

use core::ops::ControlFlow;

use super::cfi::{self, EhFrame};
use super::expression;
use super::{Cfa, Interrupted, Machine, Registers, Row, Rule, Saved, Stepped};

/// How many signal frames a walk passes before it gives up.
pub const MAX_SIGNAL_FRAMES: u32 = 16;
/// How many frames without rules the frame pointer may lead through.
pub const MAX_GUESSED_FRAMES: u32 = 64;

/// The memory and the modules of the process that is walked.
///
/// All methods are called with the thread's own stack in whatever state the program left it, so
/// they keep the law of the hot phase.
pub trait Target {
    /// The machine that the process runs on.
    type Machine: Machine;

    /// The word at `address`, a multiple of eight within the bounds of the current stack.
    fn read(&self, address: u64) -> Option<u64>;

    /// The rule at which the frame that `return_address` returns into stands. Cached;
    /// [`cfi::find_rule`] of `return_address - 1` where the cache has none. Where signal handlers
    /// return to has none of its own in some systems: that is [`Rule::SLOW`], so that
    /// [`Rule::NO_INFO`] leaves nothing to look for.
    fn rule(&self, return_address: u64) -> Rule;

    /// The call frame information of the module that has `address` in its code.
    fn eh_frame(&self, address: u64) -> Option<EhFrame<'_>>;

    /// Eight bytes of code at `address`, which may be unaligned; `None` if they may be unmapped.
    fn code(&self, address: u64) -> Option<[u8; 8]> {
        let _ = address;
        None
    }

    /// Whether this is the stack pointer with which the process began, or just below it: no frame
    /// is further out.
    fn is_first_frame(&self, sp: u64) -> bool {
        let _ = sp;
        false
    }

    /// The stack that contains `sp`, other than the one that the walk began on.
    fn stack(&self, sp: u64) -> Option<Stack> {
        let _ = sp;
        None
    }
}

/// [`Rule::SLOW`] in the place of [`Rule::NO_INFO`] where a signal handler returns to by the `code` there:
/// for [`Target::rule`].
pub fn unless_signal_return<M: Machine>(
    rule: Rule,
    return_address: u64,
    code: impl Fn(u64) -> Option<[u8; 8]>,
) -> Rule {
    let returns = || {
        let next = code(return_address.checked_add(8)?).unwrap_or_default();
        Some(M::is_signal_return(code(return_address)?, next))
    };
    if rule == Rule::NO_INFO && returns() == Some(true) {
        return Rule::SLOW;
    }
    rule
}

/// The bounds of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The lowest address.
    pub low: u64,
    /// The address behind the highest byte.
    pub high: u64,
}

impl Stack {
    /// Whether the word at `address` is aligned and within the stack.
    #[inline]
    fn contains_word(self, address: u64) -> bool {
        address & 7 == 0 && address >= self.low && address < self.high & !7
    }
}

/// A frame outside of the one that the walk began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the frame continues: a return address, or the interrupted instruction of a signal.
    pub ip: u64,
    /// The address of the word that held `ip`.
    pub return_slot: u64,
    /// The address of the word that held the frame's `fp`; 0 where it was in the register.
    pub fp_slot: u64,
    /// The frame's frame pointer.
    pub fp: u64,
    /// Whether two equal words in these slots prove that an earlier walk is still right. True of
    /// frames that a [`Rule`] led to; others may depend on more memory than the two slots.
    pub by_rule: bool,
}

/// What [`Walker::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next frame outwards.
    Frame(Frame),
    /// There is none: the last frame was the outermost.
    End,
    /// There may be more, but the way to them is unknown.
    Truncated,
}

/// A walk in progress.
///
/// Copied to and from the cold functions by value: were its address given away, the hot loop would
/// have to keep it in memory, and every step would wait for the stores of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    registers: Registers,
    stack: Stack,
    /// The link register of an interrupted frame; 0 where it isn't known.
    link: u64,
    /// Whether `registers.ip` is the very instruction, not the one behind a call.
    interrupted: bool,
    signal_frames: u32,
    /// How many steps the frame pointer is known to lead to code with rules.
    guessable: u32,
    guessed: u32,
}

impl Walker {
    /// Begins at the caller of the hook: `first.ip` is the return address into it, `first.sp` the
    /// stack pointer right after the return, `first.fp` its frame pointer.
    #[inline]
    pub fn new(first: Registers, stack: Stack) -> Walker {
        Walker {
            registers: first,
            stack,
            link: 0,
            interrupted: false,
            signal_frames: 0,
            guessable: 0,
            guessed: 0,
        }
    }

    /// The registers of the frame that the walk has reached.
    #[inline]
    pub fn registers(&self) -> Registers {
        self.registers
    }

    /// What a walk's way outwards depends on besides registers and memory, in one number: 0 in
    /// front of a frame that was called and is known by its rules. `None` where it depends on more
    /// than a number holds.
    #[inline(always)]
    pub fn mark(&self) -> Option<u16> {
        if self.link != 0 {
            return None;
        }
        // Below 2^7 and 2^5: MAX_GUESSED_FRAMES and MAX_SIGNAL_FRAMES bound them.
        let (guessable, signals) = (self.guessable as u16, self.signal_frames as u16);
        Some(u16::from(self.interrupted) | guessable << 1 | signals << 8)
    }

    /// How many frames so far rest on frame pointers alone.
    #[inline]
    pub fn guessed(&self) -> u32 {
        self.guessed
    }

    /// Steps to the caller of the current frame.
    #[inline(always)]
    pub fn next<T: Target>(&mut self, target: &T) -> Step {
        if !self.interrupted {
            let rule = target.rule(self.registers.ip);
            if T::Machine::is_steppable(rule) {
                let stepped = T::Machine::step(rule, self.registers, self.stack.high, |address| {
                    target.read(address)
                });
                return match stepped {
                    Some(stepped) => self.arrive(stepped, true),
                    None => Step::Truncated,
                };
            }
            if rule == Rule::END {
                return Step::End;
            }
            if rule == Rule::NO_INFO {
                let (walker, step) = self.into_next_unknown(target);
                *self = walker;
                return step;
            }
        }
        let (walker, step) = self.into_next_slow(target);
        *self = walker;
        step
    }

    #[inline(always)]
    fn arrive(&mut self, stepped: Stepped, by_rule: bool) -> Step {
        self.registers = stepped.registers;
        // A thread's first function returns to zero where its creator knows no better.
        if stepped.registers.ip == 0 {
            return Step::End;
        }
        Step::Frame(Frame {
            ip: stepped.registers.ip,
            return_slot: stepped.return_slot,
            fp_slot: stepped.fp_slot,
            fp: stepped.registers.fp,
            by_rule,
        })
    }

    #[cold]
    #[inline(never)]
    fn into_next_slow<T: Target>(mut self, target: &T) -> (Walker, Step) {
        let step = self.next_slow(target);
        (self, step)
    }

    #[cold]
    #[inline(never)]
    fn into_next_unknown<T: Target>(mut self, target: &T) -> (Walker, Step) {
        let step = self.next_unknown(target);
        (self, step)
    }

    /// Steps out of code of which nothing is known.
    fn next_unknown<T: Target>(&mut self, target: &T) -> Step {
        // The loader's first function is such.
        if target.is_first_frame(self.registers.sp) {
            return Step::End;
        }
        self.next_by_frame_pointer(target)
    }

    fn next_slow<T: Target>(&mut self, target: &T) -> Step {
        let lookup = if self.interrupted {
            Some(self.registers.ip)
        } else {
            self.registers.ip.checked_sub(1)
        };
        let Some(lookup) = lookup else {
            return Step::Truncated;
        };
        let frames = target.eh_frame(lookup);
        let row = frames
            .as_ref()
            .and_then(|frames| cfi::find_row::<T::Machine>(frames, lookup));
        if row.is_none_or(|row| row.signal_frame)
            && let Some(interrupted) = self.signal_frame(target)
        {
            return self.interrupt(interrupted, target);
        }
        let (Some(frames), Some(row)) = (frames, row) else {
            return match self.leave_plt(target) {
                Some(stepped) => self.arrive_slowly(stepped),
                None => self.next_unknown(target),
            };
        };
        if matches!(row.return_address, Saved::Undefined) {
            return Step::End;
        }
        match self.evaluate(&frames, &row, target) {
            None => Step::Truncated,
            Some(stepped) if row.signal_frame => self.interrupt(
                Interrupted {
                    registers: stepped.registers,
                    link: 0,
                },
                target,
            ),
            // A leaf that a signal interrupted may not have moved the stack pointer (aarch64).
            Some(stepped)
                if stepped.registers.sp < self.registers.sp
                    || (stepped.registers.sp == self.registers.sp && !self.interrupted) =>
            {
                Step::Truncated
            }
            Some(stepped) => self.arrive_slowly(stepped),
        }
    }

    /// Arrives at a frame that was called, not interrupted, by a way that is not a cached rule.
    fn arrive_slowly(&mut self, stepped: Stepped) -> Step {
        self.interrupted = false;
        self.link = 0;
        self.arrive(stepped, false)
    }

    /// The caller of a PLT stub without call frame information, if that is what was interrupted.
    fn leave_plt<T: Target>(&self, target: &T) -> Option<Stepped> {
        if !self.interrupted {
            return None;
        }
        let Registers { ip, sp, fp } = self.registers;
        let before = target.code(ip.checked_sub(8)?).unwrap_or_default();
        let depth = T::Machine::plt_depth(target.code(ip)?, before)?;
        let (ip, return_slot) = match depth.checked_sub(8) {
            None => (self.link, 0),
            Some(depth) => {
                let return_slot = sp.checked_add(depth)?;
                (self.read(target, return_slot)?, return_slot)
            }
        };
        let registers = Registers {
            ip: T::Machine::strip(ip),
            sp: sp.checked_add(depth)?,
            fp,
        };
        Some(Stepped {
            registers,
            return_slot,
            fp_slot: 0,
        })
    }

    /// Computes the caller's registers from the full row.
    fn evaluate<T: Target>(&self, frames: &EhFrame<'_>, row: &Row, target: &T) -> Option<Stepped> {
        let known = &self.registers;
        let read = |address| self.read(target, address);
        let evaluated = |expression, initial| {
            let bytes = frames.expression(expression)?;
            expression::evaluate::<T::Machine>(bytes, initial, known, read)
        };
        let cfa = match row.cfa {
            Cfa::Register(number, offset) => {
                expression::register::<T::Machine>(known, number)?.checked_add_signed(offset)?
            }
            Cfa::Expression(expression) => evaluated(expression, None)?,
        };
        // The value, and the address it was read from if there is one.
        let recover = |saved, unspecified: Option<u64>| match saved {
            Saved::Unspecified => Some((unspecified?, 0)),
            Saved::Undefined => None,
            Saved::Same => Some((unspecified?, 0)),
            Saved::AtCfa(offset) => {
                let address = cfa.checked_add_signed(offset)?;
                Some((read(address)?, address))
            }
            Saved::IsCfa(offset) => Some((cfa.checked_add_signed(offset)?, 0)),
            Saved::Register(number) => {
                Some((expression::register::<T::Machine>(known, number)?, 0))
            }
            Saved::AtExpression(expression) => {
                let address = evaluated(expression, Some(cfa))?;
                Some((read(address)?, address))
            }
            Saved::IsExpression(expression) => Some((evaluated(expression, Some(cfa))?, 0)),
        };
        let link = (self.link != 0).then_some(self.link);
        let (ip, return_slot) = recover(row.return_address, link)?;
        let (sp, _) = recover(row.sp, Some(cfa))?;
        // A lost frame pointer spoils only those frames that need it: zero is no frame.
        let (fp, fp_slot) = recover(row.fp, Some(known.fp)).unwrap_or((0, 0));
        let ip = T::Machine::strip(ip);
        Some(Stepped {
            registers: Registers { ip, sp, fp },
            return_slot,
            fp_slot,
        })
    }

    /// The interrupted frame, if the current one is where a signal handler returns to.
    fn signal_frame<T: Target>(&self, target: &T) -> Option<Interrupted> {
        let code = target.code(self.registers.ip)?;
        let next = target
            .code(self.registers.ip.checked_add(8)?)
            .unwrap_or_default();
        if !T::Machine::is_signal_return(code, next) {
            return None;
        }
        T::Machine::interrupted(self.registers.sp, |address| self.read(target, address))
    }

    /// Goes on at an interrupted instruction, maybe on another stack.
    fn interrupt<T: Target>(&mut self, interrupted: Interrupted, target: &T) -> Step {
        let sp = interrupted.registers.sp;
        self.signal_frames = self.signal_frames.saturating_add(1);
        if self.signal_frames > MAX_SIGNAL_FRAMES {
            return Step::Truncated;
        }
        // The stack pointer may stand at the very end of a stack, where nothing was pushed yet.
        if sp < self.stack.low || sp > self.stack.high {
            match target.stack(sp) {
                Some(stack) => self.stack = stack,
                // The interrupted instruction is still known; the next step ends here.
                None => self.stack = Stack { low: sp, high: sp },
            }
        }
        // At its last instruction a function has taken its frame away, and may still be said to have
        // the caller's frame pointer there.
        let low = sp.saturating_sub(T::Machine::RED_ZONE);
        self.stack.low = self.stack.low.min(low);
        self.link = interrupted.link;
        self.interrupted = true;
        self.arrive(
            Stepped {
                registers: interrupted.registers,
                return_slot: 0,
                fp_slot: 0,
            },
            false,
        )
    }

    /// Steps by the frame record that the frame pointer points to: `{ caller's fp, return address }`
    /// on both machines.
    fn next_by_frame_pointer<T: Target>(&mut self, target: &T) -> Step {
        if self.guessable == 0 {
            self.guessable = self.guessable_frames(target);
        }
        let Some(guessable) = self.guessable.checked_sub(1) else {
            return Step::Truncated;
        };
        let Some(stepped) = self.frame_record(self.registers, target) else {
            return Step::Truncated;
        };
        self.guessable = guessable;
        self.guessed = self.guessed.saturating_add(1);
        self.arrive_slowly(stepped)
    }

    /// How many frame records lead from here to code with rules; 0 if none do.
    fn guessable_frames<T: Target>(&self, target: &T) -> u32 {
        let mut registers = self.registers;
        for count in 1..=MAX_GUESSED_FRAMES {
            match self.frame_record(registers, target) {
                Some(stepped) if target.rule(stepped.registers.ip) != Rule::NO_INFO => {
                    return count;
                }
                Some(stepped) => registers = stepped.registers,
                None => return 0,
            }
        }
        0
    }

    fn frame_record<T: Target>(&self, registers: Registers, target: &T) -> Option<Stepped> {
        let fp_slot = registers.fp;
        if fp_slot < registers.sp {
            return None;
        }
        let return_slot = fp_slot.checked_add(8)?;
        let fp = self.read(target, fp_slot)?;
        let ip = T::Machine::strip(self.read(target, return_slot)?);
        let sp = return_slot.checked_add(8)?;
        (ip != 0).then_some(Stepped {
            registers: Registers { ip, sp, fp },
            return_slot,
            fp_slot,
        })
    }

    fn read<T: Target>(&self, target: &T, address: u64) -> Option<u64> {
        self.stack
            .contains_word(address)
            .then(|| target.read(address))
            .flatten()
    }
}

/// The outcome of a [`walk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// How many return addresses were written.
    pub frames: usize,
    /// Whether the stack has, or may have, frames beyond those written that were asked for.
    pub truncated: bool,
    /// How many of them rest on frame pointers alone.
    pub guessed: u32,
}

/// Writes the return addresses outside of `first` to `out`, innermost first.
///
/// Each is shown to `keep_going` before the next step; the one that it breaks at is still written.
#[inline]
pub fn walk<T: Target>(
    target: &T,
    first: Registers,
    stack: Stack,
    mut keep_going: impl FnMut(u64) -> ControlFlow<()>,
    out: &mut [u64],
) -> Walked {
    let mut walker = Walker::new(first, stack);
    // What is true if `out` is full before anything else ends the walk.
    let (mut frames, mut truncated) = (out.len(), true);
    for (index, place) in out.iter_mut().enumerate() {
        let (written, missing) = match walker.next(target) {
            Step::Frame(frame) => {
                *place = frame.ip;
                if keep_going(frame.ip).is_continue() {
                    continue;
                }
                (index.saturating_add(1), false)
            }
            Step::End => (index, false),
            Step::Truncated => (index, true),
        };
        (frames, truncated) = (written, missing);
        break;
    }
    Walked {
        frames,
        truncated,
        guessed: walker.guessed(),
    }
}
