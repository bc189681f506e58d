//! How the program ends.

use std::error::Error;
use std::fmt;
use std::path::Path;
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
    /// An error with its causes.
    pub(crate) fn of(error: impl Error) -> Self {
        Self::Runtime(chain(&error))
    }

    /// An error with its causes, and the file that it is about.
    pub(crate) fn at(file: &Path, error: impl Error) -> Self {
        Self::Runtime(format!("{}: {}", file.display(), chain(&error)))
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

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
