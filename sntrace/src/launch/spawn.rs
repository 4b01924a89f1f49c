//! fork and execve, by hand.
//!
//! std's `Command` resets the signal mask and SIGPIPE, and Rust's runtime has changed SIGPIPE and
//! closed descriptors before `main`; a wrapper has to hand on what it was given. So the state at
//! start is captured by a constructor, which runs before Rust's runtime, and the child puts it
//! back before it executes the program.
//!
//! Between fork and exec the child calls only async-signal-safe functions and allocates nothing:
//! all strings and arrays are made before. Whether exec worked comes back through a pipe that
//! exec closes: end of file is success, four bytes are errno.
//!
//! # Safety
//!
//! Raw system calls on descriptors that this module made itself, and C arrays that outlive the
//! calls. The child shares nothing with the parent but copies.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::signals::Original;
use super::{Launch, LaunchError};

/// Whether SIGPIPE was ignored when the process began. Written by the constructor, before any
/// thread exists; relaxed.
static PIPE_SIGNAL_IGNORED: AtomicBool = AtomicBool::new(false);
/// Which of the descriptors 0 to 2 were closed when the process began, a bit each (Rust's runtime
/// opens /dev/null in their place). Written and read as above.
static CLOSED_DESCRIPTORS: AtomicU8 = AtomicU8::new(0);

/// Runs before Rust's runtime: libc calls the functions of this section before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static CAPTURE: extern "C" fn() = capture_state_at_start;

extern "C" fn capture_state_at_start() {
    // SAFETY: all-zero is a valid value of this C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; `action` has room for the answer.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action) };
    let ignored = asked == 0 && action.sa_sigaction == libc::SIG_IGN;
    PIPE_SIGNAL_IGNORED.store(ignored, Ordering::Relaxed);
    let mut closed = 0;
    for descriptor in 0..3 {
        // SAFETY: asks for flags of a descriptor, open or not.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            closed |= 1 << descriptor;
        }
    }
    CLOSED_DESCRIPTORS.store(closed, Ordering::Relaxed);
}

/// Starts the program and returns its process id.
pub(super) fn spawn(launch: &Launch<'_>, original: &Original) -> Result<libc::pid_t, LaunchError> {
    let c_string = |word: &OsString| {
        CString::new(word.as_bytes()).map_err(|_| LaunchError::NulByte(word.clone()))
    };
    let path = c_string(&launch.program.path.clone().into_os_string())?;
    let mut words = Vec::with_capacity(launch.command.len() + 1);
    let file = if launch.program.needs_shell {
        // What execvp does with a file that the kernel does not know.
        words.push(c"/bin/sh".to_owned());
        words.push(path);
        c"/bin/sh".to_owned()
    } else {
        words.push(c_string(&launch.command[0])?);
        path
    };
    for word in &launch.command[1..] {
        words.push(c_string(word)?);
    }
    let arguments = pointers(&words);
    let environment = pointers(launch.environment);
    let (reader, writer) = pipe()?;

    if launch.follow {
        // SAFETY: sets a flag of this process; orphaned descendants become our children.
        // A kernel that can't (before 3.4) leaves us with the program's own end.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    }
    // SAFETY: the child runs `execute` only, which is async-signal-safe.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the forked child; the arrays end with null and outlive the call.
        unsafe {
            execute(
                &file,
                &arguments,
                &environment,
                original,
                writer.as_raw_fd(),
            )
        };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error().into());
    }
    drop(writer);
    let mut errno = [0; 4];
    match File::from(reader).read_exact(&mut errno) {
        // End of file: exec closed the pipe (or the child died before, which its status tells).
        Err(_) => Ok(pid),
        Ok(()) => {
            // SAFETY: `pid` is our child, which is about to end; its status is of no interest.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            Err(LaunchError::Execute {
                program: launch.command[0].clone(),
                error,
            })
        }
    }
}

/// The child's part: puts back what was at start and becomes the program.
///
/// # Safety
///
/// Only in a freshly forked child. Both arrays end with a null pointer.
unsafe fn execute(
    file: &CString,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    original: &Original,
    report: RawFd,
) -> ! {
    let pipe_action = if PIPE_SIGNAL_IGNORED.load(Ordering::Relaxed) {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: sets a disposition, no handler.
    unsafe { libc::signal(libc::SIGPIPE, pipe_action) };
    let closed = CLOSED_DESCRIPTORS.load(Ordering::Relaxed);
    for descriptor in 0..3 {
        if closed & (1 << descriptor) != 0 {
            // SAFETY: in this process only std's own /dev/null is behind it.
            unsafe { libc::close(descriptor) };
        }
    }
    // Last, so that a pending signal finds everything in place.
    original.restore();
    // SAFETY: the caller vouches for the arrays; `file` is a C string.
    unsafe { libc::execve(file.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    let errno = io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(0)
        .to_ne_bytes();
    // SAFETY: four bytes from an array of four, to the pipe; if that fails there is nobody to tell.
    unsafe { libc::write(report, errno.as_ptr().cast(), errno.len()) };
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Pointers to the strings, and a null pointer at the end.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// A pipe that exec closes; the descriptors are above 2, also where those were closed at start
/// (std has filled them).
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [c_int; 2] = [-1; 2];
    // SAFETY: the kernel writes two descriptors into an array of two.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else owns it.
    let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((reader, writer))
}
