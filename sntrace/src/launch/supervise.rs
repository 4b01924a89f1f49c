//! Standing beside the program: one thread takes signals, hands them on and reaps.
//!
//! All waiting and all sending is done by this thread alone, so a signal can't reach a process
//! that has just got the number of one that was reaped. Others read what it found out from
//! [`Running`], whose waker it calls.
//!
//! Job control: when the program is stopped by the terminal (Ctrl-Z, or reading from the
//! background), sntrace stops after it, so that the shell sees the job stop when it has stopped
//! and not while the program still tidies up its screen. The shell's SIGCONT then goes to both.
//! A program stopped by SIGSTOP is left alone: sntrace would not be continued with it.
//!
//! Once the program has ended and only descendants are left, Ctrl-C or SIGTERM ask to stop
//! waiting; a second one ends sntrace, whatever it is doing.
//!
//! # Safety
//!
//! The one unsafe call is `waitpid`, with a local to write the status to.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::signals::{self, Arrived, Sender};
use crate::trace::Exit;

/// Signals that ask sntrace itself to end when there is no program left to hand them to.
const ENDING: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
/// How far up the tree of processes is looked for sntrace.
const ANCESTORS_MAX: usize = 1000;

/// A program that was started, as far as is known.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    shared: Arc<Shared>,
}

/// Written by the supervising thread only. The flags are released after what they announce is
/// in place, and acquired by those who ask.
#[derive(Debug, Default)]
struct Shared {
    /// Exits nobody has asked for yet, and the program's own.
    exits: Mutex<Exits>,
    /// No child is left.
    all_gone: AtomicBool,
    /// The user wants no more waiting.
    stop_requested: AtomicBool,
}

#[derive(Debug, Default)]
struct Exits {
    unread: VecDeque<(u32, Exit)>,
    program: Option<Exit>,
}

impl Running {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Processes that were reaped since the last call: the program itself and descendants that
    /// had lost their parent. How others ended only their parents know.
    #[must_use]
    pub fn take_exits(&self) -> Vec<(u32, Exit)> {
        self.lock().unread.drain(..).collect()
    }

    /// How the program itself ended, once it has.
    #[must_use]
    pub fn program_exit(&self) -> Option<Exit> {
        self.lock().program
    }

    /// Whether the program and all descendants are gone (without `follow`: the program).
    #[must_use]
    pub fn all_gone(&self) -> bool {
        self.shared.all_gone.load(Ordering::Acquire)
    }

    /// Whether the user asked, after the program's end, to wait no longer for descendants.
    #[must_use]
    pub fn stop_requested(&self) -> bool {
        self.shared.stop_requested.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Exits> {
        self.shared
            .exits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to supervise a child. Signals are blocked since before it was forked, so its end can't
/// be missed.
pub(super) fn begin(
    pid: libc::pid_t,
    follow: bool,
    wake: Box<dyn Fn() + Send>,
) -> io::Result<Running> {
    let shared = Arc::new(Shared::default());
    let mut supervisor = Supervisor {
        program: Some(pid),
        own_pid: std::process::id().cast_signed(),
        program_pid: pid,
        follow,
        shared: Arc::clone(&shared),
        wake,
    };
    // It lives as long as sntrace, to answer Ctrl-C also while output is being finished.
    std::thread::Builder::new()
        .name("sntrace-signals".to_owned())
        .spawn(move || supervisor.run())?;
    Ok(Running {
        pid: pid.cast_unsigned(),
        shared,
    })
}

struct Supervisor {
    /// The program, until it is reaped.
    program: Option<libc::pid_t>,
    program_pid: libc::pid_t,
    own_pid: libc::pid_t,
    follow: bool,
    shared: Arc<Shared>,
    wake: Box<dyn Fn() + Send>,
}

impl Supervisor {
    fn run(&mut self) {
        let set = signals::taken_set();
        loop {
            let arrived = signals::wait(&set);
            if arrived.signal == libc::SIGCHLD {
                self.reap();
            } else if let Some(pid) = self.program {
                self.hand_on(pid, arrived);
            } else if ENDING.contains(&arrived.signal) {
                self.request_stop(arrived);
            }
        }
    }

    /// The program lives: it gets what was meant for it.
    fn hand_on(&self, pid: libc::pid_t, arrived: Arrived) {
        let Sender::Process { pid: sender, value } = arrived.sender else {
            return;
        };
        if self.is_descendant(sender) {
            return;
        }
        // A shell's `fg` continues the whole group: then the program runs already.
        if arrived.signal == libc::SIGCONT && !is_stopped(pid) {
            return;
        }
        signals::send(pid, arrived.signal, value);
    }

    /// Only descendants are left, or nobody.
    fn request_stop(&self, arrived: Arrived) {
        if signals::is_ignored(arrived.signal) {
            return;
        }
        if let Sender::Process { pid, .. } = arrived.sender
            && self.is_descendant(pid)
        {
            return;
        }
        if self.shared.stop_requested.swap(true, Ordering::AcqRel) {
            signals::take_default_action(arrived.signal);
        }
        (self.wake)();
    }

    /// Takes all news of children. One SIGCHLD may stand for many.
    fn reap(&mut self) {
        let mut news = false;
        loop {
            // Without `follow` only the program counts, and only it can become our child.
            let mut status = 0;
            // SAFETY: writes the status to a local.
            let pid = unsafe {
                libc::waitpid(
                    -1,
                    &raw mut status,
                    libc::WNOHANG | libc::WUNTRACED | libc::__WALL,
                )
            };
            match pid {
                0 => break,
                -1 => {
                    match io::Error::last_os_error().raw_os_error() {
                        Some(libc::EINTR) => continue,
                        _ => self.shared.all_gone.store(true, Ordering::Release),
                    }
                    news = true;
                    break;
                }
                _ if libc::WIFSTOPPED(status) => {
                    self.stop_with_the_program(pid, libc::WSTOPSIG(status));
                }
                _ => {
                    self.note_exit(pid, exit_of(status));
                    news = true;
                }
            }
        }
        if news {
            (self.wake)();
        }
    }

    fn note_exit(&mut self, pid: libc::pid_t, exit: Exit) {
        let mut exits = self
            .shared
            .exits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        exits.unread.push_back((pid.cast_unsigned(), exit));
        if self.program == Some(pid) {
            exits.program = Some(exit);
            self.program = None;
            if !self.follow {
                self.shared.all_gone.store(true, Ordering::Release);
            }
        }
    }

    fn stop_with_the_program(&self, pid: libc::pid_t, signal: c_int) {
        let by_terminal = matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
        if pid == self.program_pid && by_terminal && !signals::is_ignored(signal) {
            signals::take_default_action(signal);
        }
    }

    /// Whether a process is of the traced tree. One that is gone counts as a stranger: `kill`
    /// from a shell ends at once, and its signal was meant for the program.
    fn is_descendant(&self, pid: libc::pid_t) -> bool {
        let mut pid = pid;
        for _ in 0..ANCESTORS_MAX {
            match parent_of(pid) {
                Some(parent) if parent == self.own_pid => return true,
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }
}

fn exit_of(status: c_int) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Unknown
    }
}

/// A process's parent, from `/proc/PID/stat`.
fn parent_of(pid: libc::pid_t) -> Option<libc::pid_t> {
    stat_fields(pid)?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Whether a process is stopped by a signal.
fn is_stopped(pid: libc::pid_t) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.starts_with('T'))
}

/// What follows the program's name in `/proc/PID/stat`: state, parent, ... The name is in
/// parentheses and may itself hold parentheses and blanks.
fn stat_fields(pid: libc::pid_t) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let (_, fields) = line.rsplit_once(')')?;
    Some(fields.trim_start().to_owned())
}
