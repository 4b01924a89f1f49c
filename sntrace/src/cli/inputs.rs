//! What can be compared, from whatever file holds it: recorded traces, JSON traces, baselines.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use crate::check::Calls;
use crate::output::escape;
use crate::output::filter::Glob;
use crate::profile::{self, Profile};
use crate::trace::file::MAGIC;
use crate::trace::{self, TraceError};

/// What of a file tells what it is, in bytes.
const START_BYTES: u64 = 256;
/// A baseline is read up to here, in bytes: a gigabyte is millions of sites.
const PROFILE_BYTES_MAX: u64 = 1 << 30;

/// The profile of a trace, or the one that a baseline is.
///
/// # Errors
/// It can't be read, is something else, of a later version, or damaged.
pub(super) fn profile(path: &Path) -> Result<Profile, TraceError> {
    measure(path, &[]).map(|measured| measured.profile)
}

/// What a budget is about.
pub(super) struct Measured {
    pub profile: Profile,
    /// The calls of the functions that were asked for; `None`: a baseline, which has no events.
    pub calls: Option<Calls>,
}

impl Measured {
    /// Adds another run of the same program.
    pub fn add(&mut self, other: &Measured) {
        self.profile.add(&other.profile);
        if let (Some(calls), Some(more)) = (&mut self.calls, &other.calls) {
            calls.add(more);
        }
    }
}

/// The same, with the calls of functions whose names fit these patterns.
///
/// # Errors
/// As [`profile`].
pub(super) fn measure(path: &Path, counted: &[&Glob]) -> Result<Measured, TraceError> {
    if profile::is_profile(&start(path)) {
        return Ok(Measured {
            profile: baseline(path)?,
            calls: None,
        });
    }
    let trace = trace::open(path)?;
    Ok(Measured {
        profile: Profile::of(&*trace)?,
        calls: Some(Calls::of(&*trace, counted)?),
    })
}

/// Whether a file that is given where a program may stand is a trace.
pub(super) fn is_trace(path: &Path) -> bool {
    let start = start(path);
    start.starts_with(&MAGIC) || start.trim_ascii_start().first() == Some(&b'{')
}

/// The first bytes of a regular file; nothing where it can't be read, or is none: then they would be lost to who reads
/// it next.
fn start(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        // What can't be read is told by who reads it.
        let _ = file.take(START_BYTES).read_to_end(&mut start);
    }
    start
}

fn baseline(path: &Path) -> Result<Profile, TraceError> {
    let shown = escape::shown(&escape::lossy(path.as_os_str().as_encoded_bytes()));
    let unreadable = |source| TraceError::Unreadable {
        path: shown.clone(),
        source,
    };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > PROFILE_BYTES_MAX {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    profile::read(&shown, &bytes)
}
