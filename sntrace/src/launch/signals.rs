//! Signals: which the launcher takes, which it hands on, and to whom they belonged already.
//!
//! The program runs in sntrace's own process group, as it would without sntrace. So what the
//! terminal sends (Ctrl-C, Ctrl-\, Ctrl-Z, a changed window) reaches the program by itself, and
//! sntrace only has to survive it. What another process sends to sntrace alone (`kill`,
//! `timeout`, a service manager) was meant for the program, and is handed on.
//!
//! The kernel tells which it was: `si_code` is SI_KERNEL for the terminal's signals and SI_USER,
//! SI_TKILL or SI_QUEUE for those of a process. Two things it does not tell:
//!
//! - A process of the traced tree that signals its own group (`kill 0`) means itself, not us:
//!   nothing is handed on from descendants.
//! - A signal to the whole group from outside (a shell's `kill %1`) reaches the program twice,
//!   directly and through us. Programs bear that; not handing on would make `kill PID` deaf.
//!
//! All of these are blocked, in every thread, and one thread takes them with `sigwaitinfo`:
//! no handler, nothing interrupted. Blocking leaves dispositions alone, so the child inherits
//! those unchanged (`nohup` works); only the mask is put back. Two more are blocked and never
//! taken: SIGTTOU, so that lines may be written from the background, and SIGXFSZ, so that a file
//! too large is a write error and no death. Faults, SIGABRT and SIGPIPE keep their meaning.
//!
//! # Safety
//!
//! The unsafe blocks pass pointers to local C structures that live through the calls.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;

/// Signals that are taken from `sigwaitinfo`. Real-time signals come on top.
const TAKEN: [c_int; 19] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGURG,
    libc::SIGXCPU,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGWINCH,
    libc::SIGIO,
    libc::SIGPWR,
];

/// Signals that are only blocked.
const SILENCED: [c_int; 2] = [libc::SIGTTOU, libc::SIGXFSZ];

/// What the signal state was before sntrace changed it.
pub(super) struct Original {
    mask: libc::sigset_t,
    child_action: libc::sigaction,
}

impl Original {
    /// Puts it back. Async-signal-safe: also called between fork and exec.
    pub(super) fn restore(&self) {
        // SAFETY: the structure was filled in by sigaction itself.
        unsafe {
            libc::sigaction(
                libc::SIGCHLD,
                &raw const self.child_action,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: the set was filled in by sigprocmask itself.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.mask,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Blocks the signals and makes children wait to be reaped; returns what was before.
pub(super) fn take_over() -> io::Result<Original> {
    // SAFETY: all-zero is a valid value of both C structures.
    let mut original: Original = unsafe { std::mem::zeroed() };
    let mut blocked = taken_set();
    for signal in SILENCED {
        add(&mut blocked, signal);
    }
    // SAFETY: both sets are local.
    let error = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut original.mask)
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // An inherited SIG_IGN would let children vanish unseen.
    // SAFETY: all-zero is a valid value: the default action, no flags, an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both structures are local; no handler is installed.
    unsafe {
        libc::sigaction(
            libc::SIGCHLD,
            &raw const default,
            &raw mut original.child_action,
        )
    };
    Ok(original)
}

/// The signals that [`wait`] takes.
pub(super) fn taken_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set empty, which fills it in.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled in by the call above, which cannot fail on a valid pointer.
    let mut set = unsafe { set.assume_init() };
    for signal in TAKEN {
        add(&mut set, signal);
    }
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        add(&mut set, signal);
    }
    set
}

fn add(set: &mut libc::sigset_t, signal: c_int) {
    // SAFETY: the set is filled in; a number out of range is only an error code.
    unsafe { libc::sigaddset(set, signal) };
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    /// Its number.
    pub(super) signal: c_int,
    /// Who sent it.
    pub(super) sender: Sender,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    /// The kernel: the terminal, a child's end.
    Kernel,
    /// A process (0: outside of our process namespace), perhaps with a value along.
    Process {
        pid: libc::pid_t,
        value: Option<usize>,
    },
}

/// Waits for the next of the signals.
pub(super) fn wait(set: &libc::sigset_t) -> Arrived {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: `set` is filled in and `info` has room for the answer.
        let signal = unsafe { libc::sigwaitinfo(set, info.as_mut_ptr()) };
        if signal < 0 {
            // EINTR: stopped and continued. There is no other error with a valid set.
            continue;
        }
        // SAFETY: the call succeeded, so the structure is filled in.
        let info = unsafe { info.assume_init() };
        let sender = match info.si_code {
            libc::SI_USER | libc::SI_TKILL | libc::SI_QUEUE => {
                // SAFETY: with these codes the sender's id is in the structure.
                let pid = unsafe { info.si_pid() };
                // SAFETY: with SI_QUEUE the value is too.
                let value = (info.si_code == libc::SI_QUEUE)
                    .then(|| unsafe { info.si_value() }.sival_ptr.addr());
                Sender::Process { pid, value }
            }
            _ => Sender::Kernel,
        };
        return Arrived { signal, sender };
    }
}

/// Sends a signal on to a process that is not yet reaped.
pub(super) fn send(pid: libc::pid_t, signal: c_int, value: Option<usize>) {
    match value {
        // SAFETY: sends a signal; the value is a number that only the receiver interprets.
        Some(value) => unsafe {
            let value = libc::sigval {
                sival_ptr: std::ptr::without_provenance_mut(value),
            };
            libc::sigqueue(pid, signal, value);
        },
        // SAFETY: sends a signal; that the process is gone is only an error code.
        None => unsafe {
            libc::kill(pid, signal);
        },
    }
}

/// Whether sntrace was started with this signal ignored, and so should go on ignoring it.
pub(super) fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all-zero is a valid value of this C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; `action` has room for the answer.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Does to sntrace itself what the signal does by default: ends or stops it. Returns when it was
/// stopped and goes on.
pub(super) fn take_default_action(signal: c_int) {
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set empty, which fills it in.
    unsafe { libc::sigemptyset(only.as_mut_ptr()) };
    // SAFETY: filled in by the call above.
    let mut only = unsafe { only.assume_init() };
    add(&mut only, signal);
    // SAFETY: `raise` sends to this thread, where the signal stays pending until it is unblocked.
    unsafe { libc::raise(signal) };
    // SAFETY: both sets are local or null.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, std::ptr::null_mut()) };
}
