//! The main job: `sntrace PROGRAM`.

use super::options::TraceOptions;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::run_trace;

/// Elsewhere there is no way into a program yet.
#[cfg(not(target_os = "linux"))]
pub(super) fn run_trace(_options: &TraceOptions) -> u8 {
    crate::messages::failure(
        "cannot trace: tracing is not supported on this system yet",
        None,
    );
    super::exit_status::SNTRACE_FAILED
}
