//! What can be wrong with a program, in words: what the user is told, and what can be done.
//!
//! [`inspect`](mod@super::inspect) finds it; this is the vocabulary. A fault is a predicate that follows
//! "it", so that the same words serve for PROGRAM, for a script's interpreter and for a child.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::header::Sanitizer;
use super::inspect::is_program;
use crate::messages::reason;

/// Why a program is not started.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} '{}': {}{fault}", if fault.can_run() { "trace" } else { "run" }, program.display(), who(interpreter.as_deref()))]
pub struct InspectError {
    /// As the user named it.
    pub program: PathBuf,
    /// Of which file of a chain of scripts this is true; `None`: of the program itself.
    pub interpreter: Option<PathBuf>,
    /// What is wrong with it, as what follows "it ".
    pub fault: Fault,
}

fn who(interpreter: Option<&Path>) -> String {
    match interpreter {
        None => "it ".to_owned(),
        Some(path) => format!("its interpreter '{}' ", path.display()),
    }
}

/// What is wrong with a program: a predicate that follows "it".
#[derive(Debug)]
pub enum Fault {
    /// Nothing of this name.
    NotFound {
        /// It was looked up in PATH.
        in_search_path: bool,
    },
    /// The system's own answer while looking it up or reading it.
    Unreadable(io::Error),
    /// A folder.
    Folder,
    /// A device, socket or pipe.
    NotAFile,
    /// No execute permission, or a mount that forbids it.
    NotExecutable,
    /// An ELF file that is no program: an object file, a core dump.
    NotAProgram,
    /// Another processor than ours.
    OtherMachine(String),
    /// It asks for a dynamic loader that is not there.
    LoaderMissing(PathBuf),
    /// More interpreters than the kernel follows.
    TooManyInterpreters,
    /// Runs here, but with smaller words than the hook's.
    OtherWordSize(String),
    /// No dynamic loader will run.
    Static,
    /// The kernel will raise its privileges, so the loader ignores `LD_PRELOAD`.
    Privileged(Privilege),
    /// Its allocator is a sanitizer's.
    Sanitized(Sanitizer),
}

/// How a file raises privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The setuid bit: runs as this user.
    User(u32),
    /// The setgid bit: runs as this group.
    Group(u32),
    /// File capabilities.
    Capabilities,
}

impl Fault {
    /// Whether the program would run without sntrace.
    #[must_use]
    pub fn can_run(&self) -> bool {
        matches!(
            self,
            Self::OtherWordSize(_) | Self::Static | Self::Privileged(_) | Self::Sanitized(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound {
                in_search_path: true,
            } => f.write_str("was not found in PATH"),
            Self::NotFound {
                in_search_path: false,
            } => f.write_str("does not exist"),
            Self::Unreadable(error) => write!(f, "cannot be looked at: {}", reason(error)),
            Self::Folder => f.write_str("is a folder"),
            Self::NotAFile => f.write_str("is no regular file"),
            Self::NotExecutable => f.write_str("may not be executed (permission denied)"),
            Self::NotAProgram => f.write_str("is an object file or a core dump, not a program"),
            Self::OtherMachine(name) => {
                write!(
                    f,
                    "is built for {name}; this sntrace traces {}",
                    own_machine()
                )
            }
            Self::LoaderMissing(path) => {
                write!(
                    f,
                    "needs the dynamic loader '{}', which does not exist",
                    path.display()
                )
            }
            Self::TooManyInterpreters => {
                f.write_str("is the last of more interpreters than the kernel follows")
            }
            Self::OtherWordSize(name) => {
                write!(
                    f,
                    "is a program for {name}; this sntrace traces {} only",
                    own_machine()
                )
            }
            Self::Static => f.write_str("is statically linked: no hook can be loaded into it"),
            Self::Privileged(Privilege::User(user)) => {
                write!(
                    f,
                    "runs as user {user} (setuid), where the loader ignores LD_PRELOAD"
                )
            }
            Self::Privileged(Privilege::Group(group)) => {
                write!(
                    f,
                    "runs as group {group} (setgid), where the loader ignores LD_PRELOAD"
                )
            }
            Self::Privileged(Privilege::Capabilities) => {
                f.write_str("has file capabilities, with which the loader ignores LD_PRELOAD")
            }
            Self::Sanitized(sanitizer) => {
                write!(
                    f,
                    "is built with {}, whose allocator bears no hook",
                    sanitizer.name()
                )
            }
        }
    }
}

impl InspectError {
    /// 127: not found. 126: found, but can't be executed. 125: could run, but not be traced.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.fault {
            Fault::NotFound { .. } if self.interpreter.is_none() => 127,
            _ if self.fault.can_run() => 125,
            _ => 126,
        }
    }

    /// What is wrong, without the program's name: "it is ...".
    #[must_use]
    pub fn predicate(&self) -> String {
        format!("{}{}", who(self.interpreter.as_deref()), self.fault)
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let name = self.program.display();
        let file = self
            .interpreter
            .as_deref()
            .unwrap_or(&self.program)
            .display();
        match &self.fault {
            Fault::NotFound { .. } if self.interpreter.is_some() => {
                Some(if file.to_string().ends_with('\r') {
                    "its first line ends in a carriage return: convert it to Unix line ends"
                        .to_owned()
                } else {
                    "correct the script's first line, or install the interpreter".to_owned()
                })
            }
            Fault::NotFound { in_search_path } => {
                let text = self.program.as_os_str().as_bytes();
                if *in_search_path && is_program(Path::new(".").join(&self.program).as_path()) {
                    Some(format!("there is one in this folder: ./{name}"))
                } else if text.contains(&b' ') {
                    Some("pass the program and its arguments as separate words".to_owned())
                } else if *in_search_path {
                    Some("check the spelling, or give the program's path".to_owned())
                } else {
                    None
                }
            }
            Fault::NotExecutable => {
                let bits = std::fs::metadata(self.interpreter.as_deref().unwrap_or(&self.program))
                    .map(|facts| facts.permissions().mode() & 0o111);
                match bits {
                    Ok(0) => Some(format!("if it is a program: chmod +x {file}")),
                    Ok(_) => Some("another user's, or on a noexec mount?".to_owned()),
                    Err(_) => None,
                }
            }
            Fault::Folder | Fault::NotAFile | Fault::NotAProgram | Fault::Unreadable(_) => None,
            Fault::TooManyInterpreters => None,
            Fault::LoaderMissing(_) => {
                Some("install the C library that it was built for".to_owned())
            }
            Fault::OtherMachine(_) | Fault::OtherWordSize(_) => {
                Some(format!("build it for {}", own_machine()))
            }
            Fault::Static => Some("link it dynamically (without -static)".to_owned()),
            Fault::Privileged(Privilege::User(user)) => Some(format!(
                "run sntrace as that user (sudo -u '#{user}' sntrace ...), or trace a copy without the setuid bit"
            )),
            Fault::Privileged(Privilege::Group(_)) => Some(
                "run sntrace with that group as its own (sg), or trace a copy without the setgid bit"
                    .to_owned(),
            ),
            Fault::Privileged(Privilege::Capabilities) => {
                Some("run sntrace as root, or trace a copy (which has no capabilities)".to_owned())
            }
            Fault::Sanitized(sanitizer) => {
                Some(format!("trace a build without -fsanitize={}", sanitizer.option()))
            }
        }
    }
}

/// The processor this sntrace is built for, in the words of messages.
fn own_machine() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "x86-64"
    } else {
        // The others' names are the same in Rust and in everyday use.
        std::env::consts::ARCH
    }
}
