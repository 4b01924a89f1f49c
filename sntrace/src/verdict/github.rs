//! The verdict as annotations of a GitHub workflow: lines that the runner takes from a step's output.
//!
//! A failure a line, as GitHub shows ten annotations of a step and no more. The lines and their escapes are
//! those of "Workflow commands for GitHub Actions". What a name could fake a line with is escaped before, as
//! in text.

use std::io::{self, Write};

use super::places::{self, Place};
use super::{ShowOptions, Verdict, wording};
use crate::output::escape;

pub(super) fn write(
    verdict: &Verdict,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let root = options.source_root.as_path();
    let speaker = wording::speaker(verdict);
    for rule in &verdict.rules {
        let title = format!("{speaker}: {}", rule.rule);
        for failure in &rule.failures {
            let place =
                places::blamed(verdict, failure, root).or_else(|| places::written(rule, root));
            let message = wording::annotation(verdict, failure);
            command("error", place.as_ref(), &title, &message, out)?;
        }
    }
    let result = wording::result(verdict);
    if verdict.passed() && !verdict.rules.is_empty() {
        command("notice", None, &speaker, &result, out)?;
    }
    writeln!(out, "{speaker}: {}", escape::shown(&result))
}

fn command(
    level: &str,
    place: Option<&Place>,
    title: &str,
    message: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "::{level} ")?;
    if let Some(place) = place {
        let file = property(place.file.path());
        write!(out, "file={file},line={},", place.line)?;
        if let Some(column) = place.column {
            write!(out, "col={column},")?;
        }
    }
    writeln!(out, "title={}::{}", property(title), data(message))
}

/// What stands after the second `::`.
fn data(text: &str) -> String {
    let text = escape::shown(text);
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// What stands after a `=`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_the_runner_is_escaped() {
        assert_eq!(data("100%, a::b"), "100%25, a::b");
        assert_eq!(property("a::b, 5%"), "a%3A%3Ab%2C 5%25");
        assert_eq!(data("a\n::error::b\r\x1b"), "a\\n::error::b\\r\\x1b");
    }
}
