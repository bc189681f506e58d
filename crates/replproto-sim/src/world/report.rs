//! How a run went.

use std::fmt;

use crate::coverage::Coverage;
use crate::options::{Options, TraceFile};
use crate::oracles::Violation;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run, with the faults that the seed chose.
    pub options: Options,
    /// The rule that broke, if any.
    pub violation: Option<Violation>,
    /// Events that happened.
    pub steps: u64,
    /// Links that were dialled.
    pub links: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// What it has reached.
    pub coverage: Coverage,
    /// The last steps, in words.
    pub last: Vec<String>,
    /// What the last link of a world that breaks a rule was told, as a recording.
    pub recording: Option<String>,
}

impl Report {
    /// A world that does not come to an end.
    pub(crate) fn hanging(options: Options) -> Self {
        Self {
            options,
            violation: Some(Violation::new("no hang", "it does not come to an end")),
            steps: 0,
            links: 0,
            hash: 0,
            coverage: Coverage::default(),
            last: Vec::new(),
            recording: None,
        }
    }

    /// What repeats this run.
    pub fn trace_file(&self) -> TraceFile {
        let violation = self.violation.as_ref();
        TraceFile {
            options: self.options,
            breaks: violation.map(|violation| violation.oracle.to_owned()),
        }
    }
}

/// All that is needed to repeat and to understand it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violation {
            Some(violation) => writeln!(f, "{violation}")?,
            None => writeln!(f, "every rule held")?,
        }
        writeln!(f, "at step {} on link {}", self.steps, self.links)?;
        for line in self.trace_file().to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        write!(f, "the last steps:")?;
        for line in &self.last {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
