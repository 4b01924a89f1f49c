//! Walks of this process' own stacks, compared with the platform's unwinder (crate `backtrace`).

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::Instant;

use super::super::cache::{Epoch, RuleCache};
use super::super::cfi::{EhFrame, Mapped, find_rule};
use super::super::walk::{Stack, Step, Target, Walked, Walker, unless_signal_return, walk};
use super::super::{Native, Registers, Rule};

/// A loaded module.
struct Module {
    code: std::ops::Range<u64>,
    frames: Option<EhFrame<'static>>,
}

/// This process.
struct Live {
    modules: Vec<Module>,
    cache: Box<RuleCache>,
    /// All code, also outside of modules: qemu-user returns from signals in a page of its own.
    executable: Vec<std::ops::Range<u64>>,
    /// Whether [`Target::stack`] may answer: with a stack around the pointer.
    alternate: bool,
}

const EPOCH: Epoch = Epoch::new(1);

unsafe extern "C" fn add_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    modules: *mut c_void,
) -> c_int {
    // SAFETY: the loader hands out a valid description; `modules` is what was passed in below.
    let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module>>()) };
    // SAFETY: the loader's program headers stay mapped as long as the module.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let loads = || {
        headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
    };
    let start = |header: &libc::Elf64_Phdr| info.dlpi_addr.wrapping_add(header.p_vaddr);
    let hdr = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME)
        .map(start);
    let frames = hdr.and_then(|hdr| {
        let segment =
            loads().find(|load| (start(load)..start(load) + load.p_filesz).contains(&hdr))?;
        // SAFETY: the segment is mapped for reading, and nothing unloads modules in these tests.
        let bytes = unsafe {
            std::slice::from_raw_parts(start(segment) as *const u8, segment.p_filesz as usize)
        };
        EhFrame::in_segment(
            Mapped {
                address: start(segment),
                bytes,
            },
            hdr,
        )
    });
    for load in loads().filter(|load| load.p_flags & libc::PF_X != 0) {
        modules.push(Module {
            code: start(load)..start(load) + load.p_memsz,
            frames,
        });
    }
    0
}

fn executable_ranges() -> Vec<std::ops::Range<u64>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let parse = |number| u64::from_str_radix(number, 16).ok();
            rest.starts_with("r-x")
                .then_some(parse(start)?..parse(end)?)
        })
        .collect()
}

impl Live {
    fn new() -> Live {
        let mut modules: Vec<Module> = Vec::new();
        // SAFETY: the callback matches the vector that is passed.
        unsafe { libc::dl_iterate_phdr(Some(add_module), (&raw mut modules).cast()) };
        Live {
            modules,
            executable: executable_ranges(),
            cache: Box::new(RuleCache::new()),
            alternate: false,
        }
    }

    /// Out of line, as the hook has it: the hot loop must not share registers with this.
    #[cold]
    #[inline(never)]
    fn new_rule(&self, return_address: u64) -> Rule {
        let rule = return_address
            .checked_sub(1)
            .and_then(|address| self.eh_frame(address).map(|frames| (frames, address)))
            .map_or(Rule::NO_INFO, |(frames, address)| {
                find_rule::<Native>(&frames, address)
            });
        let rule = unless_signal_return::<Native>(rule, return_address, |at| self.code(at));
        self.cache.insert(return_address, EPOCH, rule);
        rule
    }

    fn module(&self, address: u64) -> Option<&Module> {
        self.modules
            .iter()
            .find(|module| module.code.contains(&address))
    }
}

impl Target for Live {
    type Machine = Native;

    #[inline(always)]
    fn read(&self, address: u64) -> Option<u64> {
        // SAFETY: the walker reads words within the bounds of the stack only.
        Some(unsafe { *(address as *const u64) })
    }

    #[inline(always)]
    fn rule(&self, return_address: u64) -> Rule {
        match self.cache.find(return_address, EPOCH) {
            Some(rule) => rule,
            None => self.new_rule(return_address),
        }
    }

    fn eh_frame(&self, address: u64) -> Option<EhFrame<'_>> {
        self.module(address)?.frames
    }

    fn code(&self, address: u64) -> Option<[u8; 8]> {
        let range = self
            .executable
            .iter()
            .find(|range| range.contains(&address))?;
        range.contains(&(address + 7)).then(|| {
            // SAFETY: all eight bytes are in readable code, which these tests don't unmap.
            unsafe { (address as *const [u8; 8]).read_unaligned() }
        })
    }

    fn stack(&self, sp: u64) -> Option<Stack> {
        // The tests' stacks are deep enough that this much above the pointer is mapped.
        self.alternate.then_some(Stack {
            low: sp,
            high: stack_end(),
        })
    }
}

thread_local! {
    static STACK_END: Cell<u64> = const { Cell::new(0) };
}

/// The end of the current thread's own stack.
fn stack_end() -> u64 {
    if STACK_END.get() == 0 {
        // SAFETY: plain queries of the calling thread; the attributes are destroyed again.
        let end = unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(
                libc::pthread_getattr_np(libc::pthread_self(), &mut attributes),
                0
            );
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            assert_eq!(
                libc::pthread_attr_getstack(&attributes, &mut low, &mut size),
                0
            );
            libc::pthread_attr_destroy(&mut attributes);
            low as u64 + size as u64
        };
        STACK_END.set(end);
    }
    STACK_END.get()
}

/// The registers of the function this is inlined into; `ip` is the instruction behind the capture.
#[inline(always)]
fn capture() -> Registers {
    let mut registers = Registers::default();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: only reads registers.
    unsafe {
        std::arch::asm!(
            "lea {ip}, [rip + 2f]", "mov {sp}, rsp", "mov {fp}, rbp", "2:",
            ip = out(reg) registers.ip,
            sp = out(reg) registers.sp,
            fp = out(reg) registers.fp,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: only reads registers.
    unsafe {
        std::arch::asm!(
            "adr {ip}, 2f", "mov {sp}, sp", "mov {fp}, x29", "2:",
            ip = out(reg) registers.ip,
            sp = out(reg) registers.sp,
            fp = out(reg) registers.fp,
            options(nostack),
        );
    }
    registers
}

fn walk_from(live: &Live, first: Registers, out: &mut [u64]) -> Walked {
    let stack = Stack {
        low: first.sp,
        high: stack_end(),
    };
    walk(live, first, stack, |_| ControlFlow::Continue(()), out)
}

/// Both stacks outside of the calling function, as far as they have to agree.
#[inline(never)]
fn ours_and_theirs(live: &Live) -> (Vec<u64>, Vec<u64>, Walked) {
    let mut out = [0; 512];
    let walked = walk_from(live, capture(), &mut out);
    let ours = out[..walked.frames].to_vec();
    let mut theirs = Vec::new();
    backtrace::trace(|frame| {
        theirs.push(frame.ip() as u64);
        true
    });
    // Theirs begins with this function and the tracing ones.
    let skip = theirs
        .iter()
        .position(|ip| Some(ip) == ours.first())
        .expect("a common frame");
    (ours, theirs.split_off(skip), walked)
}

#[track_caller]
fn assert_equal_stacks(live: &Live, at_least: usize) {
    let (ours, mut theirs, walked) = ours_and_theirs(live);
    // libgcc may report a last frame of address zero.
    theirs.retain(|&ip| ip != 0);
    assert_eq!(ours, theirs);
    assert!(!walked.truncated && walked.guessed == 0, "{walked:?}");
    assert!(ours.len() >= at_least, "{} frames", ours.len());
}

#[inline(never)]
fn recurse(depth: usize, innermost: &mut dyn FnMut()) -> usize {
    // Frames of changing size.
    let mut block = [0_u8; 40];
    black_box(&mut block);
    if depth == 0 {
        innermost();
        return 0;
    }
    1 + if depth.is_multiple_of(3) {
        recurse_large(depth - 1, innermost)
    } else {
        recurse(depth - 1, innermost)
    }
}

#[inline(never)]
fn recurse_large(depth: usize, innermost: &mut dyn FnMut()) -> usize {
    let mut block = [0_u8; 9000];
    black_box(&mut block);
    1 + recurse(depth, innermost)
}

#[test]
fn a_deep_stack_equals_the_platforms() {
    let live = Live::new();
    assert_equal_stacks(&live, 5);
    let depth = recurse(60, &mut || assert_equal_stacks(&live, 60));
    assert!(black_box(depth) > 0);
}

thread_local! {
    static CALLBACK_LIVE: Cell<*const Live> = const { Cell::new(std::ptr::null()) };
}

unsafe extern "C" fn compare_in_callback(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: set by the test around the call of qsort, whose elements are bytes.
    let (live, a, b) = unsafe { (&*CALLBACK_LIVE.get(), *a.cast::<u8>(), *b.cast::<u8>()) };
    assert_equal_stacks(live, 6);
    i32::from(a) - i32::from(b)
}

#[test]
fn a_callback_from_libc_equals_the_platforms() {
    let live = Live::new();
    CALLBACK_LIVE.set(&live);
    let mut bytes = *b"unwinder";
    // SAFETY: eight elements of one byte, and a comparison of such.
    unsafe { libc::qsort(bytes.as_mut_ptr().cast(), 8, 1, Some(compare_in_callback)) };
    assert_eq!(&bytes, b"deinnruw");
}

/// What the signal handlers of the tests look at.
static HANDLER_LIVE: AtomicPtr<Live> = AtomicPtr::new(std::ptr::null_mut());
static HANDLED: AtomicUsize = AtomicUsize::new(0);
static DIFFERENT: AtomicUsize = AtomicUsize::new(0);
static TRUNCATED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn compare_in_handler(_signal: c_int) {
    // SAFETY: the test that installs the handler keeps the pointee alive.
    let live = unsafe { &*HANDLER_LIVE.load(Ordering::Acquire) };
    let first = capture();
    let mut ours = [0; 256];
    // The handler may run on an alternate stack: its bounds are around the stack pointer.
    let here = Stack {
        low: first.sp,
        high: if first.sp < stack_end() && stack_end() - first.sp < 64 << 20 {
            stack_end()
        } else {
            ALTERNATE_END.load(Ordering::Relaxed) as u64
        },
    };
    let walked = walk(live, first, here, |_| ControlFlow::Continue(()), &mut ours);
    let mut theirs = [0; 256];
    let mut count = 0;
    // SAFETY: this thread alone traces, and it was interrupted outside of the loader.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            if count < theirs.len() && !frame.ip().is_null() {
                theirs[count] = frame.ip() as u64;
                count += 1;
            }
            count < theirs.len()
        });
    }
    let ours = &ours[..walked.frames];
    let theirs = &theirs[..count];
    let common = theirs.iter().position(|ip| Some(ip) == ours.first());
    // Theirs stops at code without call frame information, such as LLD's PLT stubs. Ours has to
    // go on in a way that ends where every stack of this thread ends.
    let theirs = common.map_or(theirs, |common| &theirs[common..]);
    let outermost = OUTERMOST.load(Ordering::Relaxed) as u64;
    let differs =
        walked.guessed != 0 || !ours.starts_with(theirs) || ours.last() != Some(&outermost);
    if differs && DIFFERENT.fetch_add(1, Ordering::Relaxed) == 0 {
        eprintln!("{walked:?}\nours {ours:x?}\ntheirs {theirs:x?}");
    }
    TRUNCATED.fetch_add(usize::from(walked.truncated), Ordering::Relaxed);
    HANDLED.fetch_add(1, Ordering::Release);
}

static ALTERNATE_END: AtomicUsize = AtomicUsize::new(0);
static OUTERMOST: AtomicUsize = AtomicUsize::new(0);

/// Work whose interrupted instructions are in prologues, leaves and libc alike.
#[inline(never)]
fn work(rounds: usize, buffer: &mut [u8]) -> u64 {
    let mut sum = 0_u64;
    for round in 0..rounds {
        sum = sum
            .wrapping_add(small(round as u64))
            .wrapping_add(small_with_frame(round as u64));
        // SAFETY: both calls stay within the buffer.
        unsafe {
            libc::memset(buffer.as_mut_ptr().cast(), round as c_int, buffer.len());
            sum ^= libc::memcmp(
                buffer.as_ptr().cast(),
                buffer[buffer.len() / 2..].as_ptr().cast(),
                buffer.len() / 2,
            ) as u64;
        }
        sum ^= recurse(3, &mut || {}) as u64;
    }
    sum
}

#[inline(never)]
fn small(value: u64) -> u64 {
    black_box(value).rotate_left(7) ^ 0x9e37
}

#[inline(never)]
fn small_with_frame(value: u64) -> u64 {
    let mut block = [value; 16];
    black_box(&mut block);
    small(block[3]) ^ small(block[7])
}

#[test]
fn stacks_through_signal_handlers_equal_the_platforms() {
    const SIGNALS: usize = 500;
    let mut live = Live::new();
    live.alternate = true;
    let live = Box::new(live);
    HANDLER_LIVE.store((&raw const *live).cast_mut(), Ordering::Release);
    let done = AtomicBool::new(false);
    for on_alternate_stack in [false, true] {
        HANDLED.store(0, Ordering::Relaxed);
        done.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let (done, live) = (&done, &live);
            scope.spawn(move || {
                let (_, theirs, _) = ours_and_theirs(live);
                let outermost = theirs.iter().rfind(|&&ip| ip != 0).unwrap();
                OUTERMOST.store(*outermost as usize, Ordering::Relaxed);
                let mut alternate = vec![0_u8; 256 << 10];
                // SAFETY: installs a handler, and a stack that outlives its use.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = compare_in_handler as *const () as usize;
                    action.sa_flags = libc::SA_RESTART;
                    if on_alternate_stack {
                        action.sa_flags |= libc::SA_ONSTACK;
                        let stack = libc::stack_t {
                            ss_sp: alternate.as_mut_ptr().cast(),
                            ss_flags: 0,
                            ss_size: alternate.len(),
                        };
                        ALTERNATE_END.store(
                            alternate.as_ptr() as usize + alternate.len(),
                            Ordering::Relaxed,
                        );
                        assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
                    }
                    assert_eq!(
                        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()),
                        0
                    );
                    sender.send(libc::pthread_self()).unwrap();
                }
                let mut buffer = vec![0; 256];
                while !done.load(Ordering::Relaxed) {
                    black_box(work(100, &mut buffer));
                }
                if on_alternate_stack {
                    let disable = libc::stack_t {
                        ss_sp: std::ptr::null_mut(),
                        ss_flags: libc::SS_DISABLE,
                        ss_size: 0,
                    };
                    // SAFETY: the handler isn't running now; nobody sends signals any more.
                    unsafe { libc::sigaltstack(&disable, std::ptr::null_mut()) };
                }
            });
            let worker = receiver.recv().unwrap();
            for sent in 0..SIGNALS {
                // SAFETY: the worker runs until `done`.
                unsafe { libc::pthread_kill(worker, libc::SIGUSR2) };
                while HANDLED.load(Ordering::Acquire) <= sent {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
    assert_eq!(DIFFERENT.load(Ordering::Relaxed), 0);
    assert_eq!(TRUNCATED.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_buffer_and_a_stop_are_told_apart() {
    let live = Live::new();
    recurse(10, &mut || {
        let first = capture();
        let walked = walk_from(&live, first, &mut [0; 4]);
        assert_eq!((walked.frames, walked.truncated), (4, true));
        let stack = Stack {
            low: first.sp,
            high: stack_end(),
        };
        let mut seen = 0;
        let stop_at_third = |_| {
            seen += 1;
            if seen == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let walked = walk(&live, first, stack, stop_at_third, &mut [0; 64]);
        assert_eq!((walked.frames, walked.truncated), (3, false));
    });
}

#[test]
fn equal_slots_hold_the_words_that_frames_were_made_of() {
    let live = Live::new();
    recurse(20, &mut || {
        let first = capture();
        let stack = Stack {
            low: first.sp,
            high: stack_end(),
        };
        let mut walker = Walker::new(first, stack);
        let mut fp = first.fp;
        while let Step::Frame(frame) = walker.next(&live) {
            assert_eq!(live.read(frame.return_slot), Some(frame.ip));
            if frame.fp_slot == 0 {
                assert_eq!(frame.fp, fp);
            } else {
                assert_eq!(live.read(frame.fp_slot), Some(frame.fp));
            }
            fp = frame.fp;
        }
    });
}

/// Not a test of speed (machines differ): prints it. Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "prints a measurement"]
fn nanoseconds_per_cached_frame() {
    let live = Live::new();
    recurse(60, &mut || {
        let first = capture();
        let mut out = [0; 256];
        let frames = walk_from(&live, first, &mut out).frames;
        // The least of many short measurements: others use the machine too.
        const ROUNDS: u32 = 500;
        let mut least = f64::INFINITY;
        for _ in 0..1000 {
            let begin = Instant::now();
            for _ in 0..ROUNDS {
                black_box(walk_from(black_box(&live), black_box(first), &mut out));
            }
            least = least.min(begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        }
        eprintln!(
            "{frames} frames: {least:.0} ns, {:.2} ns a frame",
            least / frames as f64
        );
        let mut rules = 0;
        let begin = Instant::now();
        for _ in 0..2000 {
            for &ip in &out[..frames] {
                if let Some(frames) = live.eh_frame(ip - 1) {
                    black_box(find_rule::<Native>(&frames, black_box(ip - 1)));
                    rules += 1;
                }
            }
        }
        eprintln!(
            "{:.0} ns a rule",
            begin.elapsed().as_nanos() as f64 / f64::from(rules)
        );
    });
}
