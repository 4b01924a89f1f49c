//! The exit statuses of sntrace, a contract with scripts (see "Exit status" in `sntrace --help`).
//!
//! 125 to 127 are those of `env`, `nohup` and `timeout`: a program rarely uses them itself, so a
//! script can tell whose failure it sees.

use crate::trace::Exit;

/// All went well.
pub const SUCCESS: u8 = 0;
/// A rule of `diff` or `check` failed.
pub const RULE_FAILED: u8 = 1;
/// Wrong usage, or input that can't be read.
pub const USAGE: u8 = 2;
/// sntrace itself failed, before or while tracing.
pub const SNTRACE_FAILED: u8 = 125;
/// PROGRAM was found but can't be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// PROGRAM was not found.
pub const NOT_FOUND: u8 = 127;

/// The program's own status as a shell shows it: its code, or 128 and the signal's number.
#[must_use]
pub fn of_program(exit: Exit) -> u8 {
    match exit {
        // The kernel hands over the low eight bits of a status, so nothing is cut off here.
        Exit::Code(code) => (code & 0xff) as u8,
        Exit::Signal(signal) => 128u8.wrapping_add((signal & 0x7f) as u8),
        Exit::Exec | Exit::Unknown => SNTRACE_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_status_is_what_a_shell_shows() {
        assert_eq!(of_program(Exit::Code(0)), 0);
        assert_eq!(of_program(Exit::Code(255)), 255);
        assert_eq!(of_program(Exit::Signal(2)), 130);
        assert_eq!(of_program(Exit::Signal(64)), 192);
    }
}
