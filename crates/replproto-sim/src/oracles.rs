//! What a broken rule is.

use std::fmt;

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub oracle: &'static str,
    /// How it is broken.
    pub what: String,
}

impl Violation {
    /// A broken rule.
    pub fn new(oracle: &'static str, what: impl fmt::Display) -> Self {
        Self {
            oracle,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}

pub(crate) type Result<T = ()> = std::result::Result<T, Violation>;

/// Fails with this rule unless it holds.
#[inline]
pub(crate) fn hold(oracle: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(oracle, what()))
    }
}
