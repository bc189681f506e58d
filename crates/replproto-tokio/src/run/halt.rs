//! What ends a run from outside: a request, or its deadline.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::options::RunOptions;
use super::stop::{Stop, StopRequest};
use crate::driver::later;
use crate::link::Link;

/// What came in between.
#[derive(Clone, Copy, Debug)]
pub(super) enum Halt {
    Stop(StopRequest),
    Deadline,
}

/// Waits for the end of a run.
pub(super) struct Halts {
    stop: Stop,
    deadline: Option<Instant>,
    patience: Duration,
}

impl Halts {
    /// A run that begins now.
    pub(super) fn new(options: &RunOptions) -> Self {
        Self {
            stop: options.stop.clone(),
            deadline: options.deadline.map(|limit| later(Instant::now(), limit)),
            patience: options.patience,
        }
    }

    /// Anything that ends the run. For when there is no link, and nothing to be finished.
    pub(super) async fn halt(&self) -> Halt {
        tokio::select! {
            biased;
            request = self.stop.next(None) => Halt::Stop(request),
            halt = self.too_late() => halt,
        }
    }

    /// Passes on to the link what is asked for.
    pub(super) async fn forward(&self, link: &Link) -> Infallible {
        let stopped = async {
            let mut seen = None;
            loop {
                let request = self.stop.next(seen).await;
                match request {
                    StopRequest::Drain { deadline } => {
                        link.drain(deadline.saturating_duration_since(Instant::now()));
                    }
                    StopRequest::Shutdown => link.shutdown(),
                }
                seen = Some(request);
            }
        };
        tokio::select! {
            never = stopped => never,
            _ = self.too_late() => {
                link.shutdown();
                pending().await
            }
        }
    }

    /// The time for everything is over, also for a store that does not answer.
    pub(super) async fn out_of_patience(&self) -> Halt {
        let cut_off = async {
            let mut seen = None;
            loop {
                let request = self.stop.next(seen).await;
                if let StopRequest::Drain { deadline } = request {
                    tokio::select! {
                        () = sleep_until(deadline) => {}
                        _ = self.stop.next(Some(request)) => {
                            seen = Some(request);
                            continue;
                        }
                    }
                }
                return Halt::Stop(request);
            }
        };
        let halt = tokio::select! {
            halt = cut_off => halt,
            halt = self.too_late() => halt,
        };
        sleep(self.patience).await;
        halt
    }

    async fn too_late(&self) -> Halt {
        match self.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
        Halt::Deadline
    }
}
