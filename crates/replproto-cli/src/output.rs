//! Lines to standard output and standard error. That nobody reads them any more is no reason to fail.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line of the result.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about what goes on, or what went wrong.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
