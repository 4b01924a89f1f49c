//! Why a command line is refused.

/// Why a command line is refused: exit status 2, unless it asks for help.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// clap's own verdict, which includes `--help` and `--version`.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// A subcommand that a later version will have.
    #[error("cannot run 'sntrace {0}': this version does not have it yet")]
    Reserved(&'static str),
    /// Two outputs that would write over each other.
    #[error("cannot write both {0} and {1} to {2}: they would mix")]
    SameDestination(&'static str, &'static str, String),
    /// `record -o -`.
    #[error("cannot record to standard output: it is the program's own")]
    TraceOnStdout,
    /// PROGRAM is the empty string.
    #[error("cannot run '': PROGRAM is empty")]
    EmptyProgram,
    /// `diff` with one trace.
    #[error("cannot compare: two traces are needed, BASE and HEAD")]
    NoHead,
    /// `diff --baseline` with two traces.
    #[error("cannot compare: both BASE and the baseline '{0}' were given")]
    TwoBases(String),
    /// `check` without anything to check by.
    #[error("cannot check: neither a budget nor a baseline was given")]
    NothingToCheck,
    /// `check --fail-on` without a baseline.
    #[error(
        "cannot judge by --fail-on: its rules compare, and there is no baseline to compare with"
    )]
    RulesWithoutBase,
}

impl UsageError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Clap(_) | Self::EmptyProgram => None,
            Self::Reserved(name) => Some(format!(
                "to trace a program of this name: sntrace -- {name}, or sntrace ./{name}"
            )),
            Self::TraceOnStdout => Some("name a file with -o".to_owned()),
            Self::NoHead => {
                Some("with --baseline NAME, the baseline is what HEAD is compared with".to_owned())
            }
            Self::TwoBases(_) => Some("leave one of them out".to_owned()),
            Self::NothingToCheck => Some(
                "--budget FILE, --baseline NAME or --save-baseline NAME; 'sntrace check --budget FILE \
                 --update-budget PROGRAM' makes a budget"
                    .to_owned(),
            ),
            Self::RulesWithoutBase => {
                Some("add --baseline NAME, or write bounds into a budget".to_owned())
            }
            Self::SameDestination(..) => Some("give each a file of its own".to_owned()),
        }
    }
}
