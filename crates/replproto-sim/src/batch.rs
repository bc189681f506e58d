//! Worlds of consecutive seeds, over threads; what comes out does not depend on how many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::coverage::Coverage;
use crate::options::Options;
use crate::world::{Report, World};

/// Which worlds to run.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// What all have in common; the seed is the first one's.
    pub options: Options,
    /// How many.
    pub seeds: u64,
    /// Threads that run them; at least 1.
    pub jobs: usize,
}

/// What worlds of a batch have done.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds that held.
    pub worlds: u64,
    /// Events that happened in them.
    pub steps: u64,
    /// Links that were dialled.
    pub links: u64,
    /// A hash of all their hashes.
    pub hash: u64,
    /// What they have reached.
    pub coverage: Coverage,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.steps += report.steps;
        self.links += report.links;
        self.coverage.absorb(&report.coverage);
        self.hash = self.hash.rotate_left(5) ^ report.hash;
    }
}

impl Batch {
    /// Runs the worlds, and tells after each, in the order of the seeds, what there is so far.
    ///
    /// # Errors
    /// The first world, in the order of the seeds, that broke a rule.
    pub fn run(&self, mut progress: impl FnMut(&Summary)) -> Result<Summary, Box<Report>> {
        let next = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        let work = |done: mpsc::Sender<(u64, Report)>| {
            while !is_over.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.seeds {
                    return;
                }
                let report = World::run(Options {
                    seed: self.options.seed.wrapping_add(index),
                    ..self.options
                });
                if done.send((index, report)).is_err() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let (sender, reports) = mpsc::channel();
            for _ in 0..self.jobs.max(1) {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            let mut summary = Summary::default();
            let mut early = BTreeMap::new();
            for (index, report) in reports {
                early.insert(index, report);
                while let Some(report) = early.remove(&summary.worlds) {
                    if report.violation.is_some() {
                        is_over.store(true, Ordering::Relaxed);
                        return Err(Box::new(report));
                    }
                    summary.add(&report);
                    progress(&summary);
                }
            }
            Ok(summary)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(canary: bool, jobs: usize) -> Result<Summary, Box<Report>> {
        let options = Options {
            seed: 40,
            steps: 300,
            canary,
            ..Options::default()
        };
        Batch {
            options,
            seeds: 12,
            jobs,
        }
        .run(|_| ())
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let one = batch(false, 1).expect("all hold");
        let three = batch(false, 3).expect("all hold");
        assert_eq!(one.worlds, 12);
        assert_eq!((one.hash, one.steps), (three.hash, three.steps));
        let (one, three) = (batch(true, 1), batch(true, 3));
        let one = one.expect_err("the canary");
        let three = three.expect_err("the canary");
        assert_eq!(one.to_string(), three.to_string());
    }
}
