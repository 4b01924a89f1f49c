//! The main job: `sntrace PROGRAM`.

use super::options::TraceOptions;

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

#[cfg(target_os = "linux")]
mod linux {
    use super::TraceOptions;
    use crate::cli::exit_status;
    use crate::launch::{self, Launch, Program};
    use crate::messages;

    /// Traces the program and returns sntrace's exit status.
    ///
    /// TO BE FILLED IN BY THE LEAD: so far the program runs untraced. Where things go: outputs
    /// are opened between `find` and `start`; segment, `RunDirectory::create` and
    /// `environment::with_hook` come before `start`; the loop at the end becomes the collector.
    pub(in crate::cli) fn run_trace(options: &TraceOptions) -> u8 {
        let program = match find(options) {
            Ok(program) => program,
            Err(status) => return status,
        };
        let environment = launch::environment::unchanged();
        let launch = Launch {
            program: &program,
            command: &options.command,
            environment: &environment,
            follow: options.follow,
        };
        let main_thread = std::thread::current();
        let running = match launch::start(&launch, move || main_thread.unpark()) {
            Ok(running) => running,
            Err(error) => {
                messages::failure(&error, None);
                return error.exit_status();
            }
        };
        while !running.all_gone() && !running.stop_requested() {
            std::thread::park();
        }
        running
            .program_exit()
            .map_or(exit_status::SNTRACE_FAILED, exit_status::of_program)
    }

    /// PROGRAM, if it can be traced; else says why not and returns the exit status.
    fn find(options: &TraceOptions) -> Result<Program, u8> {
        let search_path = std::env::var_os("PATH");
        let program = launch::inspect(&options.command[0], search_path.as_deref());
        let program = program.map_err(|error| {
            messages::failure(&error, error.hint().as_deref());
            error.exit_status()
        })?;
        for warning in &program.warnings {
            messages::warning(&warning.message, warning.hint.as_deref());
        }
        Ok(program)
    }
}
