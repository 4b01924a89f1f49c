//! The formats by name.

use std::io::{self, Write};

use super::{ShowOptions, Verdict, github, gitlab, json, junit, markdown, sarif, text};

/// A format to show a verdict in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A page for a terminal.
    Text,
    /// One document with everything.
    Json,
    /// A comment of a pull request.
    Markdown,
    /// A test report.
    Junit,
    /// Results of static analysis.
    Sarif,
    /// GitHub's workflow commands.
    Github,
    /// GitLab's Code Quality report.
    Gitlab,
}

impl Format {
    /// Every format, as help lists them.
    pub const ALL: [Self; 7] = [
        Self::Text,
        Self::Json,
        Self::Markdown,
        Self::Junit,
        Self::Sarif,
        Self::Github,
        Self::Gitlab,
    ];

    /// What `--format` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What it is and who reads it, as help says it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Text => "A page for a person in a terminal.",
            Self::Json => "Everything, exact, for scripts.",
            Self::Markdown => "A comment for a pull request, the long part folded.",
            Self::Junit => "A test report: a test case a rule.",
            Self::Sarif => "SARIF 2.1.0: the guilty lines, for code scanning.",
            Self::Github => "Annotations of a GitHub workflow.",
            Self::Gitlab => "A Code Quality report for GitLab.",
        }
    }
}

/// Writes the verdict in a format to `out`, and flushes it.
///
/// # Errors
/// When the destination takes no more.
pub fn write(
    verdict: &Verdict,
    format: Format,
    options: &ShowOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(verdict, options, out)?,
        Format::Json => json::write(verdict, out)?,
        Format::Markdown => markdown::write(verdict, options, out)?,
        Format::Junit => junit::write(verdict, options, out)?,
        Format::Sarif => sarif::write(verdict, options, out)?,
        Format::Github => github::write(verdict, options, out)?,
        Format::Gitlab => gitlab::write(verdict, options, out)?,
    }
    out.flush()
}
