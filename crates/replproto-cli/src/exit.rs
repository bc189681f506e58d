//! How the program ends.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong: exit code 1.
    Runtime(String),
    /// The options make no sense together: exit code 2, as for those that cannot be parsed.
    Usage(String),
    /// The deadline passed: exit code 3.
    Deadline(String),
}

impl Failure {
    /// A failure of `what`.
    pub(crate) fn runtime(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::Runtime(format!("{what}: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Deadline(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(text) | Self::Usage(text) | Self::Deadline(text) => f.write_str(text),
        }
    }
}
