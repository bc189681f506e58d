//! One stay of a link on a worker: runs, one after the other.

use std::any::Any;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::SupervisorOptions;
use super::link::{LinkKey, LinkSetup};
use super::shared::{Shared, Start};
use crate::blobs::BlobStore;
use crate::describe::describe;
use crate::run::{RunEnd, run_in};
use crate::scope::Scope;
use crate::sink::Sink;

/// Runs links in the way that `open` says.
pub(super) struct Runner<F> {
    pub(super) shared: Arc<Shared>,
    pub(super) open: F,
    pub(super) options: SupervisorOptions,
}

/// How one run came to its end.
enum Attempt {
    Ended(Box<RunEnd>),
    Failed(String),
    /// It was stopped before it began.
    Stopped,
}

impl<F, R, S, B, E> Runner<F>
where
    F: Fn(LinkKey, Scope) -> R,
    R: Future<Output = Result<LinkSetup<S, B>, E>>,
    S: Sink,
    B: BlobStore,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    /// Runs a link until it is told to stop. Each run is wholly gone before the next one begins.
    pub(super) async fn session(self: Arc<Self>, start: Start) {
        let mut number = DefaultHasher::new();
        start.link.hash(&mut number);
        let mut backoff = self.options.retry.clone().of_link(number.finish());
        let end = loop {
            let scope = Scope::new();
            let began = Instant::now();
            let attempt = AssertUnwindSafe(self.attempt(&start, &scope)).catch_unwind();
            let attempt = match attempt.await {
                Ok(attempt) => attempt,
                Err(panic) => Attempt::Failed(format!("panicked: {}", message(&*panic))),
            };
            scope.close().await;
            let is_stopped = start.stop.requested().is_some();
            let why = match attempt {
                Attempt::Ended(end) if is_stopped => break Some(end),
                Attempt::Stopped => break None,
                Attempt::Ended(end) => format!("the run ended by itself: {:?}", end.how),
                Attempt::Failed(why) => why,
            };
            backoff.was_healthy_for(began.elapsed());
            let delay = backoff.next_delay();
            tracing::warn!(link = %start.link, why, ?delay, "a link has failed; it is run again");
            let Start { link, session, .. } = &start;
            self.shared.failed(link, *session, why.into());
            tokio::select! {
                biased;
                _ = start.stop.next(None) => break None,
                () = sleep(delay) => {}
            }
        };
        self.shared
            .ended(&start.link, start.session, end.as_deref());
    }

    async fn attempt(&self, start: &Start, scope: &Scope) -> Attempt {
        let link = start.link.clone();
        let setup = tokio::select! {
            biased;
            _ = start.stop.next(None) => return Attempt::Stopped,
            setup = async { (self.open)(link, scope.clone()).await } => setup,
        };
        let LinkSetup {
            mut link,
            mut sink,
            blobs,
            mut options,
        } = match setup {
            Ok(setup) => setup,
            Err(error) => return Attempt::Failed(describe(&*error.into())),
        };
        options.stop = start.stop.clone();
        link.budget = link.budget.or_else(|| self.options.budget.clone());
        let progress = options.progress.subscribe();
        self.shared.runs(&start.link, start.session, progress);
        let ended = run_in(scope, link, &mut sink, blobs, options).await;
        sink.close().await;
        match ended {
            Ok(end) => Attempt::Ended(Box::new(end)),
            Err(error) => Attempt::Failed(describe(&error)),
        }
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("for no reason that is told")
}
