//! Baselines by name: profiles in a folder of the project's, with the revision that they are of.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::options::BaselineChoice;
use crate::messages;
use crate::output::escape;
use crate::profile::{self, Profile};

/// Why a baseline can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaselineError {
    /// Its name would be a path.
    #[error(
        "'{0}' is no name of a baseline: it may have letters, digits, '.', '_' and '-', and begins with no '.'"
    )]
    Name(String),
    /// There is none.
    #[error("there is no baseline '{name}': '{path}' is not there")]
    Missing {
        /// Its name, escaped.
        name: String,
        /// Where it would be, escaped.
        path: String,
    },
    /// It can't be written.
    #[error("cannot write the baseline '{path}': {}", messages::reason(source))]
    Write {
        /// Where, escaped.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl BaselineError {
    /// What the user can do, as a line of its own.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Name(_) | Self::Write { .. } => None,
            Self::Missing { .. } => Some("'sntrace check --save-baseline NAME PROGRAM' makes one"),
        }
    }
}

/// Where the baseline of a name is, in the folder that was chosen.
pub(super) fn path(choice: &BaselineChoice, name: &str) -> Result<PathBuf, BaselineError> {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(BaselineError::Name(escape::shown(name)));
    }
    Ok(choice.folder.join(format!("{name}.json")))
}

/// The same, of one that must be there.
pub(super) fn existing(choice: &BaselineChoice, name: &str) -> Result<PathBuf, BaselineError> {
    let path = path(choice, name)?;
    match path.exists() {
        true => Ok(path),
        false => Err(BaselineError::Missing {
            name: escape::shown(name),
            path: shown(&path),
        }),
    }
}

/// Says before the program runs whether a baseline of this name could be kept.
pub(super) fn prepare(choice: &BaselineChoice, name: &str) -> Result<(), BaselineError> {
    let path = path(choice, name)?;
    // The folder is made when there is something to keep: it is tried in the innermost one that is there.
    let own = std::path::absolute(&choice.folder).unwrap_or_else(|_| choice.folder.clone());
    let there = own.ancestors().find(|folder| folder.exists());
    let tried = tempfile::tempfile_in(there.unwrap_or(Path::new(".")));
    tried.map_err(|source| BaselineError::Write {
        path: shown(&path),
        source,
    })?;
    Ok(())
}

/// Keeps a profile under a name. An older one is replaced at once or not at all.
pub(super) fn save(
    choice: &BaselineChoice,
    name: &str,
    profile: &Profile,
) -> Result<PathBuf, BaselineError> {
    let path = path(choice, name)?;
    let failed = |source| BaselineError::Write {
        path: shown(&path),
        source,
    };
    fs::create_dir_all(&choice.folder).map_err(failed)?;
    let file = tempfile::Builder::new()
        .prefix(".baseline-")
        .tempfile_in(&choice.folder)
        .map_err(failed)?;
    let mut out = BufWriter::new(file);
    profile::write(profile, &mut out)
        .and_then(|()| out.flush())
        .map_err(failed)?;
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    make_readable(file.as_file()).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(path)
}

/// Makes a file readable as every other in a repository; a temporary one is not.
pub(super) fn make_readable(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}

/// The revision of the project in the working folder, where git tells: with `-dirty` where a file that is
/// under its control was changed.
pub(super) fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--verify", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changed.is_empty() {
        true => revision,
        false => revision + "-dirty",
    })
}

fn shown(path: &Path) -> String {
    escape::shown(&path.to_string_lossy())
}
