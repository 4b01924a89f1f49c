//! What sntrace says to the user, on stderr, each in one write.
//!
//! ```text
//! sntrace: error: cannot run 'prog': no such file
//!   hint: did you mean ./prog?
//! ```
//!
//! The traced program shares stderr, so a message is built first and written at once: its lines
//! stay together. Messages carry names that others chose (paths, functions); control characters
//! never reach the terminal raw. A stderr that is gone is no reason to fail: errors while writing
//! are ignored.
//!
//! Any thread may call this. `--quiet` silences notes; warnings and errors are always shown.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether notes are silenced. Written once, while the command line is read; relaxed, because
/// nothing else depends on it.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether [`note`] keeps silent from now on.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Something failed: `what` was tried and `why` it did not work, then what the user can do.
pub fn error(what: impl fmt::Display, why: impl fmt::Display, hint: Option<&str>) {
    failure(format_args!("{what}: {why}"), hint);
}

/// The same for an error value, whose text already says both what failed and why.
pub fn failure(message: impl fmt::Display, hint: Option<&str>) {
    write("error: ", &message.to_string(), hint);
}

/// Something will not be as the user may expect, but work goes on.
pub fn warning(message: impl fmt::Display, hint: Option<&str>) {
    write("warning: ", &message.to_string(), hint);
}

/// Something worth knowing; silent with `--quiet`.
pub fn note(message: impl fmt::Display) {
    if !QUIET.load(Ordering::Relaxed) {
        write("", &message.to_string(), None);
    }
}

fn write(kind: &str, message: &str, hint: Option<&str>) {
    let text = compose(kind, message, hint);
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The text of a message, complete with prefix, hint and line ends.
pub(crate) fn compose(kind: &str, message: &str, hint: Option<&str>) -> String {
    let mut text = format!("sntrace: {kind}{}\n", printable(message));
    if let Some(hint) = hint {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  hint: {}", printable(hint));
    }
    text
}

/// What the system says of an error, without std's ` (os error 2)`: the words are enough.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The text with control characters written as escapes (`\n`, `\u{1b}`), so that no name can
/// move the cursor or colour the terminal.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_tool_and_its_hint_stands_below() {
        assert_eq!(
            compose("error: ", "cannot run 'x': not found", Some("say ./x")),
            "sntrace: error: cannot run 'x': not found\n  hint: say ./x\n"
        );
        assert_eq!(compose("", "3 events", None), "sntrace: 3 events\n");
    }

    #[test]
    fn a_reason_has_no_error_number() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(reason(&error), "entity not found");
        let system = std::io::Error::from_raw_os_error(1);
        assert!(!reason(&system).contains("os error"));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(
            printable("a\x1b[31mb\nc\u{9b}d"),
            "a\\u{1b}[31mb\\nc\\u{9b}d"
        );
        assert!(matches!(printable("plain é"), Cow::Borrowed(_)));
    }
}
