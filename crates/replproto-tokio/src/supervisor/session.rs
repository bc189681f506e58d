//! One stay of a link on a worker: runs, one after the other.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::SupervisorOptions;
use super::link::{LinkFailure, LinkKey, LinkResult, LinkSetup};
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
    /// Runs a link until it is told to stop, and says that it is over. If this is dropped it says nothing: whatever drops
    /// it knows.
    pub(super) async fn session(self: Arc<Self>, start: Start) {
        let result = AssertUnwindSafe(self.runs(&start)).catch_unwind().await;
        let end = match &result {
            Ok(end) => end.clone(),
            Err(panic) => {
                let why: Arc<str> = panicked(&**panic).into();
                tracing::error!(link = %start.link, why = &*why, "a session has failed");
                if start.stop.requested().is_none() {
                    self.shared.failed(&start.link, start.session, why.clone());
                }
                Err(LinkFailure(why))
            }
        };
        // Before what it panicked with is dropped, which may panic too.
        self.shared.ended(&start.link, start.session, &end);
    }

    /// Each run is gone before the next one begins, but for what a blob store still does on another thread in a step that
    /// the run was cut off in.
    async fn runs(&self, start: &Start) -> LinkResult {
        let mut number = DefaultHasher::new();
        start.link.hash(&mut number);
        let mut backoff = self.options.retry.clone().of_link(number.finish());
        loop {
            let scope = Abandoned(Scope::new());
            let set_up = Cell::new(None);
            let attempt = AssertUnwindSafe(self.attempt(start, &scope.0, &set_up)).catch_unwind();
            let attempt = attempt
                .await
                .unwrap_or_else(|panic| Attempt::Failed(panicked(&*panic)));
            scope.0.close().await;
            let is_stopped = start.stop.requested().is_some();
            let why = match attempt {
                Attempt::Stopped => return Ok(None),
                Attempt::Ended(end) if is_stopped => return Ok(Some(*end)),
                Attempt::Failed(why) if is_stopped => {
                    tracing::warn!(link = %start.link, why, "a link has failed that was to end");
                    return Err(LinkFailure(why.into()));
                }
                Attempt::Ended(end) => format!("the run ended by itself: {:?}", end.how),
                Attempt::Failed(why) => why,
            };
            let was_set_up_for = set_up.get().map(|since: Instant| since.elapsed());
            backoff.was_healthy_for(was_set_up_for.unwrap_or_default());
            let delay = backoff.next_delay();
            tracing::warn!(link = %start.link, why, ?delay, "a link has failed; it is run again");
            let Start { link, session, .. } = start;
            self.shared.failed(link, *session, why.into());
            tokio::select! {
                biased;
                _ = start.stop.next(None) => return Ok(None),
                () = sleep(delay) => {}
            }
        }
    }

    /// Tells since when there is a set-up.
    async fn attempt(
        &self,
        start: &Start,
        scope: &Scope,
        set_up: &Cell<Option<Instant>>,
    ) -> Attempt {
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
        set_up.set(Some(Instant::now()));
        options.stop = start.stop.clone();
        link.budget = link.budget.or_else(|| self.options.budget.clone());
        let patience = options.patience;
        let progress = options.progress.subscribe();
        self.shared.runs(&start.link, start.session, progress);
        let ended = run_in(scope, link, &mut sink, blobs, options).await;
        tokio::select! {
            biased;
            () = sink.close() => {}
            () = self.out_of_patience(patience) => {
                tracing::warn!(link = %start.link, "the store does not close, and is left to itself");
            }
        }
        match ended {
            Ok(end) => Attempt::Ended(Box::new(end)),
            Err(error) => Attempt::Failed(describe(&error)),
        }
    }

    /// No session begins any more that a store which is left to itself could be in the way of.
    async fn out_of_patience(&self, patience: Duration) {
        self.shared.ending().await;
        sleep(patience).await;
    }
}

/// A scope that is closed when its session is dropped, whoever has handles of it.
struct Abandoned(Scope);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What a panic says.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("for no reason that is told");
    format!("panicked: {message}")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use replproto_core::Backoff;
    use tokio::sync::mpsc;

    use super::*;
    use crate::memory::MemorySink;
    use crate::no_blobs::NoBlobs;
    use crate::supervisor::shared::Worker;

    type Setup = LinkSetup<MemorySink, NoBlobs>;

    /// A session that is to be started.
    fn start(shared: &Shared) -> Start {
        assert!(shared.add(LinkKey::new("data", "node-a")));
        let (orders, mut inbox) = mpsc::unbounded_channel();
        shared.carry_out(&move |_| {
            let (orders, thread) = (Some(orders.clone()), std::thread::spawn(|| {}));
            Ok(Worker { orders, thread })
        });
        inbox.try_recv().expect("the link starts")
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_up_that_takes_long_is_not_taken_for_a_healthy_run() {
        let options = SupervisorOptions {
            workers: 1,
            retry: Backoff::new(Duration::from_secs(1), Duration::from_secs(1000)),
            ..SupervisorOptions::default()
        };
        let shared = Arc::new(Shared::new(&options));
        let start = start(&shared);
        let stop = start.stop.clone();
        let began = Mutex::new(Vec::new());
        let runner = Arc::new(Runner {
            shared: shared.clone(),
            open: |_, _| {
                let began = &began;
                let stop = &stop;
                async move {
                    let count = {
                        let mut began = began.lock().unwrap();
                        began.push(Instant::now());
                        began.len()
                    };
                    if count == 5 {
                        stop.shutdown();
                    }
                    sleep(Backoff::HEALTHY_AFTER).await;
                    Err::<Setup, _>(io::Error::other("on purpose"))
                }
            },
            options,
        });
        runner.session(start).await;
        let began = began.into_inner().unwrap();
        let delays: Vec<u64> = began
            .windows(2)
            .map(|pair| (pair[1] - pair[0] - Backoff::HEALTHY_AFTER).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 8]);
        assert_eq!(shared.counters().failures, 4);
    }

    #[tokio::test]
    async fn what_a_removed_link_still_does_is_not_seen_of_one_added_in_its_place() {
        let shared = Shared::new(&SupervisorOptions::default());
        let Start { link, session, .. } = start(&shared);
        let failures = || shared.links()[0].failures;
        shared.failed(&link, session, "on purpose".into());
        assert_eq!(failures(), 1);
        drop(shared.remove(|_| true, |stop| stop.shutdown()));
        shared.add(link.clone());
        shared.failed(&link, session, "late".into());
        assert_eq!(failures(), 0);
        assert_eq!(shared.counters().failures, 2);
    }

    #[tokio::test]
    async fn those_who_wait_no_more_are_forgotten() {
        let shared = Shared::new(&SupervisorOptions::default());
        let start = start(&shared);
        for _ in 0..100 {
            let removed = shared.remove(|link| *link == start.link, |stop| stop.shutdown());
            drop(removed);
            shared.add(start.link.clone());
        }
        assert_eq!(shared.waiters(start.session), 1);
    }
}
