//! What one process has measured, and what several of them come to.

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) seconds: f64,
    /// Processor time of the receiver's process.
    pub(crate) cpu_seconds: Option<f64>,
    /// Messages seen, by those who see them: without those of the set-up and the one at the end.
    pub(crate) messages: Option<u64>,
    /// Records seen, by those who look for them.
    pub(crate) records: Option<u64>,
    /// Fields read, by those who read them.
    pub(crate) fields: Option<u64>,
    /// Most memory of the receiver's process, less what it had before, in bytes.
    pub(crate) memory_above_idle: Option<u64>,
}

/// Less processor time than this is told too coarsely.
const CPU_SECONDS_MIN: f64 = 0.1;

impl Measurement {
    /// Processor time as a part of the time that went by, where that can be told.
    pub(crate) fn cpu_share(&self) -> Option<f64> {
        let cpu_seconds = self.cpu_seconds.filter(|it| *it >= CPU_SECONDS_MIN);
        Some(cpu_seconds? / self.seconds)
    }
}

/// The middle, and both ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` if there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self {
            median: (low + high) / 2.0,
            min,
            max,
        })
    }
}
