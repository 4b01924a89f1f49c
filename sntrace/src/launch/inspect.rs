//! Looks at PROGRAM before it runs, so that what can't be traced is said, not shown as an empty
//! trace.
//!
//! The hook comes in by `LD_PRELOAD`, which works where a dynamic loader of our own architecture
//! starts the program and the kernel trusts the environment. Everything else is refused here with
//! the reason and what to do. What can't be told (a header that may not be read) is a warning,
//! and the program runs: the loader has the last word.
//!
//! The search follows `execvp`: a name with a slash is a path; else each folder of `PATH` is
//! tried, folders that can't be searched are passed over, and a file that may not be executed is
//! remembered in case nothing better comes. A file the kernel does not know and that looks like
//! text is run by `/bin/sh`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

pub use super::fault::{Fault, InspectError, Privilege};
use super::header;
use super::permissions;
use crate::messages::reason;

/// Where programs are looked for when PATH is not set, as in glibc.
const DEFAULT_SEARCH_PATH: &str = "/bin:/usr/bin";
/// How much of a script's first line the kernel reads, in bytes (`BINPRM_BUF_SIZE`).
const FIRST_LINE_MAX: usize = 256;
/// How many interpreters may stand before each other: the kernel gives up after five files.
const INTERPRETERS_MAX: usize = 4;
/// The shell that runs text the kernel does not know.
const SHELL: &str = "/bin/sh";

/// A program that may be started.
#[derive(Debug)]
pub struct Program {
    /// The file to execute; where it came from PATH, with its folder.
    pub path: PathBuf,
    /// The kernel won't take the file, and the shell will: `execve` the shell with it.
    pub needs_shell: bool,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// Something that does not keep the program from running.
#[derive(Debug)]
pub struct Warning {
    /// What is the case.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The `EM_*` number of programs that the hook can be loaded into.
fn own_machine_number() -> Option<u16> {
    use object::elf;
    let machine = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "aarch64" => elf::EM_AARCH64,
        "x86" => elf::EM_386,
        "arm" => elf::EM_ARM,
        "riscv64" => elf::EM_RISCV,
        _ => return None,
    };
    Some(machine.0)
}

/// Finds PROGRAM and judges it. `search_path` is the value of PATH, if it is set.
pub fn inspect(program: &OsStr, search_path: Option<&OsStr>) -> Result<Program, InspectError> {
    let mut inspection = Inspection {
        program,
        search_path,
        looks_past_env: true,
        warnings: Vec::new(),
        static_program: None,
    };
    let path = find(program, search_path).map_err(|fault| inspection.error(None, fault))?;
    let needs_shell = inspection.look_at(&path, 0)?;
    Ok(Program {
        path,
        needs_shell,
        warnings: inspection.warnings,
    })
}

/// Looks at a program that runs already, and says why the hook is not in it, if there is a reason.
#[must_use]
pub fn what_keeps_the_hook_out(path: &Path) -> Option<InspectError> {
    let mut inspection = Inspection {
        program: path.as_os_str(),
        search_path: None,
        looks_past_env: false,
        warnings: Vec::new(),
        static_program: None,
    };
    let verdict = inspection.look_at(path, 0);
    let error = verdict.err().or(inspection.static_program)?;
    // An emulator may run it, if not the processor. Whatever else can't run did not.
    let runs = error.fault.can_run() || matches!(error.fault, Fault::OtherMachine(_));
    runs.then_some(error)
}

/// `execvp`'s search.
fn find(program: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, Fault> {
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        check(&path)?;
        return Ok(path);
    }
    let mut refused = Fault::NotFound {
        in_search_path: true,
    };
    let folders = search_path.unwrap_or(OsStr::new(DEFAULT_SEARCH_PATH));
    for folder in folders.as_bytes().split(|&byte| byte == b':') {
        // An empty entry is the working directory; "./" keeps the path a path.
        let folder = if folder.is_empty() {
            Path::new(".")
        } else {
            Path::new(OsStr::from_bytes(folder))
        };
        let path = folder.join(program);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(Fault::NotFound { .. } | Fault::Unreadable(_)) => {}
            Err(fault) => refused = fault,
        }
    }
    Err(refused)
}

/// Whether a path is a file that may be executed.
fn check(path: &Path) -> Result<(), Fault> {
    let facts = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::NotFound {
            in_search_path: false,
        },
        _ => Fault::Unreadable(error),
    })?;
    let kind = facts.file_type();
    if kind.is_dir() {
        return Err(Fault::Folder);
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Err(Fault::NotAFile);
    }
    if permissions::may_execute(path) {
        Ok(())
    } else {
        Err(Fault::NotExecutable)
    }
}

pub(super) fn is_program(path: &Path) -> bool {
    check(path).is_ok()
}

struct Inspection<'a> {
    program: &'a OsStr,
    search_path: Option<&'a OsStr>,
    /// Whether the program that `env` will run is judged with it.
    looks_past_env: bool,
    warnings: Vec<Warning>,
    /// What is statically linked: only a warning, as it may start others.
    static_program: Option<InspectError>,
}

impl Inspection<'_> {
    fn error(&self, interpreter: Option<&Path>, fault: Fault) -> InspectError {
        InspectError {
            program: PathBuf::from(self.program),
            interpreter: interpreter.map(Path::to_path_buf),
            fault,
        }
    }

    fn warn(&mut self, message: String, hint: Option<&str>) {
        self.warnings.push(Warning {
            message,
            hint: hint.map(str::to_owned),
        });
    }

    /// Judges a file that exists and may be executed; `depth` interpreters stand before it.
    /// Returns whether only the shell can run it.
    fn look_at(&mut self, path: &Path, depth: usize) -> Result<bool, InspectError> {
        let interpreter = (depth > 0).then_some(path);
        let mut start = Vec::with_capacity(FIRST_LINE_MAX);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => {
                // A program that raises privileges often can't be read.
                if let Some(privilege) = privilege_of(path) {
                    return Err(self.error(interpreter, Fault::Privileged(privilege)));
                }
                self.warn(
                    format!(
                        "cannot read '{}': {}; it is run without a check",
                        path.display(),
                        reason(&error)
                    ),
                    None,
                );
                return Ok(false);
            }
        };
        let read = file
            .by_ref()
            .take(FIRST_LINE_MAX as u64)
            .read_to_end(&mut start);
        read.map_err(|error| self.error(interpreter, Fault::Unreadable(error)))?;

        if start.starts_with(b"\x7fELF") {
            self.judge_elf(path, file, interpreter)?;
            return Ok(false);
        }
        if let Some(line) = start.strip_prefix(b"#!") {
            self.follow_script(line, depth)?;
            return Ok(false);
        }
        if start.contains(&0) {
            self.warn(
                format!(
                    "'{}' is neither an ELF program nor a script",
                    path.display()
                ),
                Some("if the system runs it through an emulator, its events may be missing"),
            );
            return Ok(false);
        }
        if start.is_empty() {
            self.warn(
                format!(
                    "'{}' is empty: {SHELL} runs it and does nothing",
                    path.display()
                ),
                None,
            );
        }
        self.look_at_interpreter(Path::new(SHELL), depth)?;
        Ok(true)
    }

    fn judge_elf(
        &mut self,
        path: &Path,
        file: File,
        interpreter: Option<&Path>,
    ) -> Result<(), InspectError> {
        let facts = match header::read(file) {
            Ok(facts) => facts,
            Err(error) => {
                self.warn(
                    format!("'{}' is no sound ELF file: {error}", path.display()),
                    Some("if it runs at all, its events may be missing"),
                );
                return Ok(());
            }
        };
        match fault_of(&facts).or_else(|| privilege_of(path).map(Fault::Privileged)) {
            // It may be a launcher of dynamic programs (busybox, a runner): those are traced. If
            // nothing is, the run ends with an error.
            Some(fault @ Fault::Static) => {
                let error = self.error(interpreter, fault);
                self.warn(
                    format!(
                        "'{}' {}; only programs that it starts are traced",
                        path.display(),
                        error.fault
                    ),
                    error.hint().as_deref(),
                );
                self.static_program = Some(error);
                Ok(())
            }
            Some(fault) => Err(self.error(interpreter, fault)),
            None => Ok(()),
        }
    }

    /// `line` is what follows `#!`, cut off where the kernel stops reading.
    fn follow_script(&mut self, line: &[u8], depth: usize) -> Result<(), InspectError> {
        let line = line
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default()
            .trim_ascii_start();
        let end = line
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t' | 0))
            .unwrap_or(line.len());
        let (name, argument) = line.split_at(end);
        let path = PathBuf::from(OsString::from_vec(name.to_vec()));
        if name.is_empty() {
            return Err(self.error(None, Fault::NotAProgram));
        }
        self.look_at_interpreter(&path, depth)?;
        // `env` only looks the real interpreter up; where that is plain to see, it is judged too.
        // What env would not find is env's own message.
        if self.looks_past_env && path.file_name() == Some(OsStr::new("env")) {
            let mut words = argument.split(|byte| byte.is_ascii_whitespace());
            let word = words
                .find(|word| !word.is_empty() && *word != b"-S")
                .unwrap_or_default();
            let is_name = !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'=');
            if is_name && let Ok(found) = find(OsStr::from_bytes(word), self.search_path) {
                self.look_at_interpreter(&found, depth)?;
            }
        }
        Ok(())
    }

    fn look_at_interpreter(&mut self, path: &Path, depth: usize) -> Result<(), InspectError> {
        if depth == INTERPRETERS_MAX {
            return Err(self.error(Some(path), Fault::TooManyInterpreters));
        }
        check(path).map_err(|fault| self.error(Some(path), fault))?;
        self.look_at(path, depth + 1)?;
        Ok(())
    }
}

/// What speaks against running or tracing an ELF file.
fn fault_of(facts: &header::Header) -> Option<Fault> {
    let name = || header::machine_name(facts.machine, facts.is_64_bit, facts.is_little_endian);
    if !facts.is_executable {
        return Some(Fault::NotAProgram);
    }
    if facts.is_64_bit != cfg!(target_pointer_width = "64") && runs_beside_us(facts.machine) {
        return Some(Fault::OtherWordSize(name()));
    }
    if own_machine_number().is_some_and(|machine| machine != facts.machine)
        || facts.is_little_endian != cfg!(target_endian = "little")
    {
        return Some(Fault::OtherMachine(name()));
    }
    match &facts.loader {
        // A dynamic loader run as a program (ld.so ./prog) has a library's name and obeys
        // LD_PRELOAD itself; a static program has neither loader nor name.
        None if !facts.has_library_name => return Some(Fault::Static),
        None => {}
        Some(loader) => {
            let loader = Path::new(OsStr::from_bytes(loader));
            if !loader.exists() {
                return Some(Fault::LoaderMissing(loader.to_path_buf()));
            }
        }
    }
    facts.sanitizer.map(Fault::Sanitized)
}

/// Whether the kernel runs this machine's programs next to ours: i386 and x32 on x86-64.
fn runs_beside_us(machine: u16) -> bool {
    use object::elf;
    let machine = elf::Machine(machine);
    match std::env::consts::ARCH {
        "x86_64" | "x86" => machine == elf::EM_386 || machine == elf::EM_X86_64,
        _ => false,
    }
}

/// How executing the file would raise privileges, if it would: the condition under which the
/// kernel sets AT_SECURE (`cap_bprm_creds_from_file` in Linux's security/commoncap.c).
fn privilege_of(path: &Path) -> Option<Privilege> {
    let facts = std::fs::metadata(path).ok()?;
    let (user, group) = permissions::real_identity();
    let raised =
        privilege_in(facts.mode(), facts.uid(), facts.gid(), user, group).or_else(|| {
            (user != 0 && permissions::has_capabilities(path)).then_some(Privilege::Capabilities)
        })?;
    permissions::may_raise_privileges(path).then_some(raised)
}

fn privilege_in(
    mode: u32,
    owner: u32,
    owner_group: u32,
    user: u32,
    group: u32,
) -> Option<Privilege> {
    const SETUID: u32 = 0o4000;
    const SETGID_AND_GROUP_EXECUTE: u32 = 0o2010;
    if mode & SETUID != 0 && owner != user {
        return Some(Privilege::User(owner));
    }
    // Without the execute bit of the group, setgid means something else (mandatory locking).
    if mode & SETGID_AND_GROUP_EXECUTE == SETGID_AND_GROUP_EXECUTE && owner_group != group {
        return Some(Privilege::Group(owner_group));
    }
    None
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
