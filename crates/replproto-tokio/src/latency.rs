//! How long changes take.

use std::fmt;
use std::time::Duration;

/// How long transactions took from the clock of their origin to being durable here, counted by length.
///
/// The clocks of two machines are compared, so what they differ by is in it; what would be negative counts as zero.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Latencies {
    counts: [u64; Self::BUCKETS],
    seconds: [f64; Self::BUCKETS],
}

impl Latencies {
    /// The upper bounds in seconds, each included in what is below it. What is longer than all is counted too.
    pub const BOUNDS: [f64; 18] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        300.0, 3600.0, 86_400.0,
    ];

    const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds.iter().sum()
    }

    /// For each bound, and then for what is longer than all: how many there are above the bound before it, and their
    /// seconds together.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, f64)> {
        self.counts.into_iter().zip(self.seconds)
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let bucket = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.seconds[bucket] += seconds;
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} s", self.count(), self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_under_the_first_bound_that_is_not_below_it() {
        let mut latencies = Latencies::default();
        for seconds in [0.0, 0.001, 0.0011, 86_400.0, 1e9] {
            latencies.record(Duration::from_secs_f64(seconds));
        }
        let counts: Vec<u64> = latencies.buckets().map(|(count, _)| count).collect();
        assert_eq!(counts[..2], [2, 1]);
        assert_eq!(counts[17..], [1, 1]);
        assert_eq!(latencies.count(), 5);
        assert_eq!(latencies.seconds(), 0.0021 + 86_400.0 + 1e9);
        assert!(Latencies::BOUNDS.is_sorted());
    }
}
