//! Starting the program with the hook, and standing beside it until it ends.
//!
//! In order of use: [`inspect()`] finds PROGRAM and says what can't be traced; [`RunDirectory`]
//! puts the hook and the pipe where programs can load and open them; [`environment`] makes the
//! program's environment; [`start`] forks and executes; the [`Running`] program is then followed
//! by a thread of its own that takes signals and reaps, and tells the collector through a waker.
//!
//! sntrace is a wrapper that should not be noticed: the program has sntrace's own process group,
//! session, terminal, working folder, descriptors, signal mask and dispositions, and gets each
//! signal once. `signals` says how.
//!
//! [`start`] must be called before any other thread exists: signals are blocked in the calling
//! thread, and only threads made afterwards inherit that.

pub mod environment;
pub mod fault;
pub mod header;
pub mod hook_library;
pub mod inspect;
mod patience;
pub mod permissions;
pub mod run_directory;
mod signals;
mod spawn;
mod supervise;
mod times;
mod untraced;

use std::ffi::{CString, OsString};
use std::io;

use crate::messages::reason;

pub use inspect::{InspectError, Program, inspect};
pub use patience::Patience;
pub use run_directory::{RunDirectory, RunDirectoryError};
pub use supervise::Running;
pub use times::{ProcessorTimes, processor_times};
pub use untraced::Untraced;

/// Everything there is to know to start a program.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The file, as [`inspect()`] found it.
    pub program: &'a Program,
    /// The program's name as the user gave it, then its arguments.
    pub command: &'a [OsString],
    /// Its environment, from [`environment`].
    pub environment: &'a [CString],
    /// Descendants that lose their parent become children of sntrace, so that it knows when the
    /// last one is gone.
    pub follow: bool,
}

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// `execve` refused.
    #[error("cannot run '{}': {}", program.to_string_lossy(), reason(error))]
    Execute {
        /// As the user named it.
        program: OsString,
        /// The system's answer.
        error: io::Error,
    },
    /// A word with a NUL byte, which no system call can take.
    #[error("cannot run '{}': a NUL byte in the command", .0.to_string_lossy())]
    NulByte(OsString),
    /// Anything before that: no process, no pipe, no thread.
    #[error("cannot start a process: {}", reason(.0))]
    System(#[from] io::Error),
}

impl LaunchError {
    /// 127: gone since it was looked up. 126: can't be executed. 125: not the program's fault.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Execute { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            Self::Execute { .. } | Self::NulByte(_) => 126,
            Self::System(_) => 125,
        }
    }
}

/// Starts the program and the thread that stands beside it. `wake` is called, from that thread,
/// whenever [`Running`] has something new to tell: keep it short and free of locks that the
/// caller holds while asking.
pub fn start(
    launch: &Launch<'_>,
    wake: impl Fn() + Send + 'static,
) -> Result<Running, LaunchError> {
    let original = signals::take_over()?;
    let pid = match spawn::spawn(launch, &original) {
        Ok(pid) => pid,
        Err(error) => {
            original.restore();
            return Err(error);
        }
    };
    Ok(supervise::begin(pid, launch.follow, Box::new(wake))?)
}
