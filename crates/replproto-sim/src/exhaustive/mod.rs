//! Every sequence of a few inputs, through a small world in which much happens soon.
//!
//! Seeds find what is likely; this finds whatever a few inputs can do. Each sequence is run from its own beginning: a link
//! that is set up (connected, named, subscribed, with its schema, its node map and one table), with marks so low that each
//! reason to pause comes within a few inputs. The eight inputs, each made definite by what happened before:
//!
//! * `message`: the publisher's next transaction, one record that refers to one of two blobs in turn, and its end. Every
//!   third tells no position.
//! * `chunk`, `final-chunk`: of the oldest transfer that is not whole. Transfer `n` brings the blob of transaction `n`,
//!   before or after its record, so that a blob also comes while it is being saved, when it is saved, after it has failed.
//! * `consumed`: in turn, the application takes all events, and the store writes all it has and saves what is whole; or the
//!   application takes one event, and the store writes one chunk.
//! * `committed`: the oldest transaction or checkpoint that is out is durable. If there is none, the last one again, or one
//!   of an earlier link.
//! * `blob-failed`: the oldest blob that is in the store and not saved fails. If there is none, the last one that is over
//!   again, or one of an earlier link.
//! * `tick`: time passes until the next deadline.
//! * `close`: the transport is lost, or at every second place in a sequence the host shuts the link down. What follows is
//!   told to a link that is closed.
//!
//! Messages also come while reading is paused, since a host may have bytes on their way; those that the receiver refuses
//! are given again as soon as it takes them. After each input every command is obeyed and everything is compared: with the
//! reference model of all worlds, and with books that know exactly which transactions are settled and so where each
//! cursor has to be. At the end of each sequence the application and the store do all that they can, and then nothing
//! may be held back.
//!
//! What is not in these sequences: base copies, messages in parts, blobs that fail at the source, sizes that do not fit,
//! draining, and everything before the set-up. Those are for the seeded [worlds](crate::world).

mod books;
mod command;
mod small;
mod step;
mod store;
mod waits;
mod wire;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use replproto_core::Config;

use crate::oracles::Violation;
use small::{Log, Small};
use wire::Wire;

pub use command::Arguments;
pub use step::Step;

/// Sequences that a thread takes at a time.
const BLOCK: u64 = 4096;

/// The longest sequences. What the publisher sends in them is counted in bytes of their content.
pub const MAX_LENGTH: u32 = 16;

/// A sequence that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The sequence.
    pub sequence: Vec<Step>,
    /// How many of its inputs were given; 0 if the set-up fails.
    pub inputs: usize,
    /// The rule.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.sequence.iter().map(|step| step.as_str()).collect();
        write!(
            f,
            "{} breaks at input {}: {}",
            words.join(","),
            self.inputs,
            self.violation
        )
    }
}

/// Runs sequences of at most one length.
#[derive(Debug)]
pub struct Runner {
    config: Config,
    wire: Wire,
    canary: bool,
}

impl Runner {
    /// For sequences of this many inputs, or fewer; at most [`MAX_LENGTH`]. `canary` adds a rule that does not hold (no
    /// blob comes again after it has failed), to prove that a broken rule is noticed.
    pub fn new(length: u32, canary: bool) -> Self {
        Self {
            config: small::config(),
            wire: Wire::new(length as usize),
            canary,
        }
    }

    /// Runs one sequence.
    ///
    /// # Errors
    /// It breaks a rule.
    ///
    /// # Panics
    /// It is longer than was said.
    pub fn run(&self, sequence: &[Step]) -> Result<(), Box<Failure>> {
        self.run_logged(sequence, None)
    }

    /// Runs one sequence, and tells each input and each command that follows from it.
    ///
    /// # Errors
    /// It breaks a rule.
    ///
    /// # Panics
    /// It is longer than was said.
    pub fn trace(
        &self,
        sequence: &[Step],
        log: &mut dyn FnMut(fmt::Arguments<'_>),
    ) -> Result<(), Box<Failure>> {
        self.run_logged(sequence, Some(log))
    }

    fn run_logged<'a>(
        &'a self,
        sequence: &[Step],
        log: Option<Log<'a>>,
    ) -> Result<(), Box<Failure>> {
        assert!(
            sequence.len() <= self.wire.transactions.len(),
            "longer than this runner is for"
        );
        let mut inputs = 0;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut world = Small::new(&self.config, &self.wire, self.canary, log)?;
            for (at, step) in sequence.iter().enumerate() {
                inputs = at + 1;
                world.step(at, *step)?;
            }
            world.finish()
        }));
        let violation = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(violation)) => violation,
            Err(payload) => {
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                Violation::new("no panic", text.unwrap_or("a panic without words"))
            }
        };
        Err(Box::new(Failure {
            sequence: sequence.into(),
            inputs,
            violation,
        }))
    }
}

/// All sequences of a length.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Inputs in each sequence, at most [`MAX_LENGTH`].
    pub length: u32,
    /// Threads that run them; at least 1.
    pub jobs: usize,
    /// See [`Runner::new`].
    pub canary: bool,
}

impl Search {
    /// How many sequences there are.
    pub const fn count(&self) -> u64 {
        step::count(self.length)
    }

    /// Runs all sequences, and tells from time to time how many have held. Gives how many there were.
    ///
    /// # Errors
    /// The first sequence, in the order of [`Step::ALL`] with the first input counting most, that breaks a rule. It does
    /// not depend on the number of threads.
    pub fn run(&self, mut progress: impl FnMut(u64)) -> Result<u64, Box<Failure>> {
        let runner = Runner::new(self.length, self.canary);
        let next = AtomicU64::new(0);
        // The lowest index of a sequence that breaks a rule.
        let lowest = AtomicU64::new(u64::MAX);
        let work = |done: mpsc::Sender<Result<u64, (u64, Box<Failure>)>>| {
            loop {
                let first = next.fetch_add(BLOCK, Ordering::Relaxed);
                if first >= self.count() || first > lowest.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = self.block(&runner, first);
                if let Err((index, _)) = &outcome {
                    lowest.fetch_min(*index, Ordering::Relaxed);
                }
                if done.send(outcome).is_err() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let (sender, outcomes) = mpsc::channel();
            for _ in 0..self.jobs.max(1) {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            let (mut held, mut broken) = (0, None::<(u64, Box<Failure>)>);
            for outcome in outcomes {
                match outcome {
                    Ok(count) => {
                        held += count;
                        progress(held);
                    }
                    // Blocks are taken in order and finished, so all before the lowest failure have been run.
                    Err(failure) if broken.as_ref().is_none_or(|first| failure.0 < first.0) => {
                        broken = Some(failure);
                    }
                    Err(_) => {}
                }
            }
            broken.map_or(Ok(held), |(_, failure)| Err(failure))
        })
    }

    /// Runs the sequences of a block. Gives how many held, or the first that did not with its index.
    fn block(&self, runner: &Runner, first: u64) -> Result<u64, (u64, Box<Failure>)> {
        let end = self.count().min(first + BLOCK);
        let mut sequence = vec![Step::Message; self.length as usize];
        for index in first..end {
            step::write_sequence(index, &mut sequence);
            runner.run(&sequence).map_err(|failure| (index, failure))?;
        }
        Ok(end - first)
    }
}
