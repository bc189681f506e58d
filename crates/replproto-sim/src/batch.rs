//! Worlds of consecutive seeds, over threads; what comes out does not depend on how many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::options::Options;
use crate::world::{Report, World};

/// How often to look whether a world hangs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A million steps take a second or so. A world that takes so long for each million that was begun is in a loop from which
/// no rule can call it back.
pub const HANGS_AFTER: Duration = Duration::from_secs(30);

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

/// What a thread is doing: the world, by its index, since when.
type Running = Mutex<Option<(u64, Instant)>>;

impl Batch {
    /// Runs the worlds, and tells after each, in the order of the seeds, what there is so far.
    ///
    /// # Errors
    /// The first world, in the order of the seeds, that broke a rule; or one that has been running for [`HANGS_AFTER`], whose
    /// thread is left to itself.
    pub fn run(&self, mut progress: impl FnMut(&Summary)) -> Result<Summary, Box<Report>> {
        let batch = *self;
        let next = Arc::new(AtomicU64::new(0));
        let running: Arc<[Running]> = (0..self.jobs.max(1)).map(|_| Running::default()).collect();
        let (sender, reports) = mpsc::channel();
        for job in 0..running.len() {
            let (next, running, sender) = (next.clone(), running.clone(), sender.clone());
            thread::spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= batch.seeds {
                        return;
                    }
                    set(&running[job], Some((index, Instant::now())));
                    let report = World::run(batch.world(index));
                    set(&running[job], None);
                    if sender.send((index, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut summary = Summary::default();
        let mut early = BTreeMap::new();
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() > LOOK_EVERY {
                looked = Instant::now();
                let limit = HANGS_AFTER
                    * (1 + u32::try_from(self.options.steps / 1_000_000).unwrap_or(u32::MAX - 1));
                if let Some(index) = running.iter().find_map(|it| hanging(it, limit)) {
                    return Err(Box::new(Report::hanging(self.world(index))));
                }
            }
            match reports.recv_timeout(LOOK_EVERY) {
                Ok((index, report)) => {
                    early.insert(index, report);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(summary),
            }
            while let Some(report) = early.remove(&summary.worlds) {
                if report.violation.is_some() {
                    // No thread begins another world.
                    next.store(self.seeds, Ordering::Relaxed);
                    return Err(Box::new(report));
                }
                summary.add(&report);
                progress(&summary);
            }
        }
    }

    const fn world(&self, index: u64) -> Options {
        Options {
            seed: self.options.seed.wrapping_add(index),
            ..self.options
        }
    }
}

fn set(running: &Running, what: Option<(u64, Instant)>) {
    *running.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// The world that this thread has been running for too long.
fn hanging(running: &Running, limit: Duration) -> Option<u64> {
    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let (index, since) = (*running)?;
    (since.elapsed() > limit).then_some(index)
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
