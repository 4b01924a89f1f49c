//! `sntrace record`: trace a program into a file.

use super::options::RecordOptions;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::run_record;

/// Elsewhere there is no way into a program yet.
#[cfg(not(target_os = "linux"))]
pub(super) fn run_record(_options: &RecordOptions) -> u8 {
    crate::messages::failure(
        "cannot trace: tracing is not supported on this system yet",
        None,
    );
    super::exit_status::SNTRACE_FAILED
}
