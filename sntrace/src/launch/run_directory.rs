//! A private folder for one run: the hook as a file, and the named pipe where one is used.
//!
//! The folder has to be a place that programs can be loaded from and that `LD_PRELOAD` can name:
//! loaders split the variable at colons and white space and replace `$`, and a `noexec` mount
//! refuses the mapping. So several places are tried, each with a real mapping.
//!
//! Only the user may look into it. Root's programs often drop their privileges and load the hook
//! after that, at their next exec: for root the folder can be searched by all, but not listed,
//! and its name can't be guessed.
//!
//! The folder vanishes with this value. Where traced processes outlive sntrace,
//! [`RunDirectory::leave_behind`] keeps it: without the hook's file the loader would complain at
//! each later exec.
//!
//! # Safety
//!
//! Two system calls that std does not have: `mkfifo`, with a path that lives through the call,
//! and a mapping that nobody accesses and that is taken away at once.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{hook_library, permissions};
use crate::messages::reason;

/// See the module's description.
#[derive(Debug)]
pub struct RunDirectory {
    folder: TempDir,
    pipe: Option<PathBuf>,
}

/// Why there is no run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirectoryError {
    /// No place that programs can be loaded from.
    #[error("cannot put the hook where programs can load it: {}", list(.0))]
    NoPlace(Vec<(PathBuf, io::Error)>),
    /// Built without a hook.
    #[error("cannot trace: this sntrace was built without its hook")]
    NoHook,
    /// The named pipe.
    #[error("cannot create the named pipe '{}': {}", path.display(), reason(error))]
    Pipe {
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl RunDirectoryError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPlace(_) => {
                Some("set TMPDIR to a writable folder on a file system without noexec")
            }
            Self::NoHook => Some("build it from its source tree: cargo install --path sntrace"),
            Self::Pipe { .. } => None,
        }
    }
}

fn list(failures: &[(PathBuf, io::Error)]) -> String {
    let failures = failures
        .iter()
        .map(|(place, error)| format!("'{}': {}", place.display(), reason(error)));
    failures.collect::<Vec<_>>().join("; ")
}

impl RunDirectory {
    /// Makes the folder with the hook in it, and the pipe if one is wanted.
    pub fn create(with_pipe: bool) -> Result<Self, RunDirectoryError> {
        if hook_library::BYTES.is_empty() {
            return Err(RunDirectoryError::NoHook);
        }
        Self::create_in(places(), hook_library::BYTES, with_pipe)
    }

    fn create_in(
        places: Vec<PathBuf>,
        hook: &[u8],
        with_pipe: bool,
    ) -> Result<Self, RunDirectoryError> {
        let mut failures = Vec::new();
        for place in places {
            match prepare(&place, hook) {
                Ok(folder) => {
                    let pipe = with_pipe.then(|| folder.path().join("events"));
                    if let Some(path) = &pipe {
                        make_pipe(path).map_err(|error| RunDirectoryError::Pipe {
                            path: path.clone(),
                            error,
                        })?;
                    }
                    return Ok(Self { folder, pipe });
                }
                Err(error) => failures.push((place, error)),
            }
        }
        Err(RunDirectoryError::NoPlace(failures))
    }

    /// The hook's file, for `LD_PRELOAD`.
    #[must_use]
    pub fn hook(&self) -> PathBuf {
        self.folder.path().join(hook_library::FILE_NAME)
    }

    /// The named pipe, if there is one.
    #[must_use]
    pub fn pipe(&self) -> Option<&Path> {
        self.pipe.as_deref()
    }

    /// Keeps the folder: traced processes are still alive, and load the hook at their next exec.
    pub fn leave_behind(self) {
        let _ = self.folder.keep();
    }
}

/// Where to try, the user's own choice first.
fn places() -> Vec<PathBuf> {
    let chosen = std::env::var_os("TMPDIR")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = ["/tmp", "/var/tmp"].map(PathBuf::from);
    let mut places = Vec::new();
    for place in chosen
        .into_iter()
        .chain(usual)
        .chain(session)
        .chain([PathBuf::from("/dev/shm")])
    {
        // Processes change their working folder: the path has to hold everywhere.
        let Ok(place) = std::path::absolute(place) else {
            continue;
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn prepare(place: &Path, hook: &[u8]) -> io::Result<TempDir> {
    let splits = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b':' | b'$');
    if place.as_os_str().as_bytes().iter().any(splits) {
        return Err(io::Error::other(
            "LD_PRELOAD cannot name a path with blanks, ':' or '$'",
        ));
    }
    let folder = tempfile::Builder::new()
        .prefix("sntrace-")
        .rand_bytes(10)
        .tempdir_in(place)?;
    // Set afterwards, as the umask may have taken bits away.
    let (folder_mode, hook_mode) = if permissions::is_root() {
        (0o711, 0o755)
    } else {
        (0o700, 0o700)
    };
    std::fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode))?;
    let path = folder.path().join(hook_library::FILE_NAME);
    std::fs::write(&path, hook)?;
    std::fs::set_permissions(&path, Permissions::from_mode(hook_mode))?;
    map_as_code(&File::open(&path)?)?;
    Ok(folder)
}

/// Maps a page of the file the way a loader does; the error is what the loader would get.
fn map_as_code(file: &File) -> io::Result<()> {
    const LENGTH: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new private mapping at an address of the kernel's choice; nothing else is there.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            protection,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping was just made, and no reference into it exists.
    unsafe { libc::munmap(address, LENGTH) };
    Ok(())
}

fn make_pipe(path: &Path) -> io::Result<()> {
    let mode = if permissions::is_root() { 0o666 } else { 0o600 };
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `name` is a C string that lives through the call.
    if unsafe { libc::mkfifo(name.as_ptr(), mode) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

    use super::*;

    #[test]
    fn a_run_directory_holds_hook_and_pipe_and_vanishes() {
        let place = tempfile::tempdir().unwrap();
        let places = vec![place.path().to_path_buf()];
        let run = RunDirectory::create_in(places, b"hook", true).unwrap();
        assert_eq!(std::fs::read(run.hook()).unwrap(), b"hook");
        let pipe = run.pipe().unwrap().to_path_buf();
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
        let folder_mode = std::fs::metadata(pipe.parent().unwrap())
            .unwrap()
            .mode_bits();
        assert_eq!(
            folder_mode,
            if permissions::is_root() { 0o711 } else { 0o700 }
        );
        drop(run);
        assert!(!pipe.parent().unwrap().exists());
    }

    #[test]
    fn a_place_that_ld_preload_cannot_name_is_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let odd = place.path().join("my folder");
        std::fs::create_dir(&odd).unwrap();
        let places = vec![
            PathBuf::from("/nowhere"),
            odd.clone(),
            place.path().to_path_buf(),
        ];
        let run = RunDirectory::create_in(places, b"hook", false).unwrap();
        assert!(run.hook().starts_with(place.path()) && !run.hook().starts_with(&odd));
        assert!(run.pipe().is_none());

        let error = RunDirectory::create_in(vec![odd], b"hook", false).unwrap_err();
        assert!(
            error.to_string().contains("cannot name a path with blanks"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("TMPDIR"));
    }

    #[test]
    fn a_place_from_which_nothing_can_be_executed_is_passed_over() {
        // /proc cannot hold files at all: the simplest unusable place on every system.
        let place = tempfile::tempdir().unwrap();
        let places = vec![PathBuf::from("/proc"), place.path().to_path_buf()];
        let run = RunDirectory::create_in(places, b"hook", false).unwrap();
        assert!(run.hook().starts_with(place.path()));
    }

    trait ModeBits {
        fn mode_bits(&self) -> u32;
    }

    impl ModeBits for std::fs::Metadata {
        fn mode_bits(&self) -> u32 {
            self.permissions().mode() & 0o7777
        }
    }
}
