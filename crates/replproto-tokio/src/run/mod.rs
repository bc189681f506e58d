//! Links one after the other, from a publisher into a sink.

mod latency;
mod options;
mod pump;
mod stop;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use replproto_core::config::ConfigError;
use replproto_core::{
    Backoff, BlobTries, CloseReason, Cursor, CursorError, Epoch, Start, Stats, StoredCursor,
};
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::options::{Grouping, RunOptions};
use self::pump::Pump;
pub use self::stop::Stop;
use self::stop::StopRequest;
use crate::blobs::BlobStore;
use crate::connect::ConnectError;
use crate::describe::describe;
use crate::link::{Link, LinkConfig, LinkEnd, Opening, Shared};
use crate::progress::{Interruption, Phase, Progress, Snapshot};
use crate::scope::Scope;
use crate::sink::Sink;

/// Follows a publisher into a sink: dials, keeps what comes, confirms what is durable, and dials again whenever a link ends.
///
/// Before each dial the last link is over, no commit is under way and no writer of a blob is open; then the cursor is read.
/// Small transactions that wait are put into one storage transaction (see [`Grouping`]), and each is confirmed once that
/// is durable. While the sink works on one batch the link goes on, up to its marks.
///
/// ```no_run
/// use std::time::Duration;
/// use replproto_tokio::{FileBlobStore, LinkConfig, MemorySink, RunOptions, run};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let link = LinkConfig::new("ws://127.0.0.1:9933".parse()?, "us", "data");
/// let blobs = FileBlobStore::open_dir("blobs").await?;
/// let mut sink = MemorySink::new();
/// let mut options = RunOptions::default();
/// options.until_idle = Some(Duration::from_secs(2));
/// let end = run(link, &mut sink, blobs, options).await?;
/// println!("{} records", end.stats.records);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Nothing that a later dial may heal. The stored cursor cannot be read, the sink failed too often in a row, the time is
/// over, or the configuration makes no sense.
///
/// # Cancel safety
/// Dropping the future ends the link abruptly and may leave the sink in an open transaction: call [`Sink::rollback`] before
/// it is used again. Nothing that was confirmed is lost. Use [`RunOptions::stop`] to end in order.
pub async fn run<S: Sink, B: BlobStore>(
    link: LinkConfig,
    sink: &mut S,
    blobs: B,
    options: RunOptions,
) -> Result<RunEnd, RunError<S::Error>> {
    run_in(&Scope::new(), link, sink, blobs, options).await
}

/// The same with tasks that belong to this scope: if the run is dropped, or panics, closing it waits for them.
pub(crate) async fn run_in<S: Sink, B: BlobStore>(
    scope: &Scope,
    link: LinkConfig,
    sink: &mut S,
    blobs: B,
    options: RunOptions,
) -> Result<RunEnd, RunError<S::Error>> {
    let progress = Progress::new(options.progress.clone());
    #[cfg(feature = "metrics")]
    let published = crate::metrics::Published::start(&link, progress.subscribe());
    let result = Runner {
        shared: Shared {
            store: Arc::new(blobs),
            progress: progress.clone(),
            until_idle: options.until_idle,
        },
        deadline: options.deadline.map(|limit| Instant::now() + limit),
        backoff: Backoff::new(options.first_delay, options.longest_delay),
        grouping: pump::bounded(options.grouping, link.core.flow.commits.high.items),
        ignores_cursor: options.ignore_cursor,
        durable: None,
        epoch: Epoch(0),
        blob_tries: BlobTries::default(),
        storage_failures: 0,
        link,
        sink,
        scope,
        options,
    }
    .run()
    .await;
    progress.update(|snapshot| snapshot.phase = Phase::Ended);
    #[cfg(feature = "metrics")]
    published.finish().await;
    let how = result?;
    let snapshot = progress.subscribe().borrow().clone();
    Ok(RunEnd {
        how,
        stats: snapshot.total(),
        snapshot,
    })
}

/// How a run came to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunEnd {
    /// Why it ended.
    pub how: Ended,
    /// The counters of all links together.
    pub stats: Stats,
    /// What could be seen last.
    pub snapshot: Snapshot,
}

/// Why a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Nothing came any more; see [`RunOptions::until_idle`].
    Idle,
    /// [`Stop::drain`], and everything in hand is durable and confirmed.
    Drained,
    /// [`Stop::drain`], and the time for it was over first.
    DrainTimedOut,
    /// [`Stop::shutdown`].
    Shutdown,
}

/// Why a run cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError<E: std::error::Error + 'static> {
    /// The sink has a cursor and cannot read it. Starting from nothing could lose or repeat data without notice: repair
    /// the store, or set [`RunOptions::ignore_cursor`].
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The sink failed.
    #[error("the store failed {tries} times in a row")]
    Sink {
        /// How often in a row.
        tries: u32,
        /// The last error.
        #[source]
        error: E,
    },
    /// The time is over; see [`RunOptions::deadline`]. What was confirmed is durable.
    #[error("not done after {0:?}")]
    Deadline(Duration),
    /// The configuration of the link makes no sense.
    #[error("the configuration is wrong")]
    Config(#[source] ConfigError),
}

struct Runner<'a, S, B> {
    link: LinkConfig,
    sink: &'a mut S,
    /// The scope of each link is one below it.
    scope: &'a Scope,
    options: RunOptions,
    shared: Shared<B>,
    deadline: Option<Instant>,
    backoff: Backoff,
    grouping: Grouping,
    ignores_cursor: bool,
    /// The cursor that the sink had before the dial, if it is not ignored.
    durable: Option<Cursor>,
    epoch: Epoch,
    blob_tries: BlobTries,
    /// In a row.
    storage_failures: u32,
}

/// Something came in between.
enum Halt {
    Stop(StopRequest),
    Deadline,
}

impl<S: Sink, B: BlobStore> Runner<'_, S, B> {
    async fn run(mut self) -> Result<Ended, RunError<S::Error>> {
        loop {
            if let Some(ended) = self.one_link().await? {
                return Ok(ended);
            }
            let delay = self.backoff.next_delay();
            self.tell(|snapshot| snapshot.phase = Phase::Waiting(delay));
            tokio::select! {
                biased;
                halt = self.halt() => return self.halted(halt),
                () = sleep(delay) => {}
            }
        }
    }

    /// From the cursor to the end of a link. `None`: dial again.
    async fn one_link(&mut self) -> Result<Option<Ended>, RunError<S::Error>> {
        let Some((config, opening)) = self.prepare().await? else {
            return Ok(None);
        };
        self.tell(|snapshot| snapshot.phase = Phase::Dialing);
        let dialled = tokio::select! {
            biased;
            halt = self.halt() => return self.halted(halt).map(Some),
            dialled = Link::dial(&config, opening, &self.shared, self.scope.child()) => dialled,
        };
        let link = match dialled {
            Ok(link) => link,
            Err(ConnectError::Config(error)) => return Err(RunError::Config(error)),
            Err(error) => {
                tracing::warn!(
                    peer = %config.endpoint,
                    error = %describe(&error),
                    advice = error.advice(),
                    "cannot connect"
                );
                self.tell(|snapshot| {
                    snapshot.failed_dials += 1;
                    let error = Interruption::NotConnected(Arc::new(error));
                    snapshot.last_interruption = Some(error);
                });
                return Ok(None);
            }
        };
        let pumped = self.pump(&link).await;
        if pumped.is_err() {
            link.shutdown();
        }
        let end = link.end().await;
        self.note_end(&end);
        if let Err(error) = pumped {
            return self.storage_failed(error).map(|()| None);
        }
        self.ended(&end)
    }

    /// Reads where to go on.
    async fn prepare(&mut self) -> Result<Option<(LinkConfig, Opening)>, RunError<S::Error>> {
        let stored = match self.sink.load().await {
            Ok(stored) => stored,
            Err(error) => return self.storage_failed(error).map(|()| None),
        };
        self.durable = match &stored.cursor {
            StoredCursor::Found(cursor) if !self.ignores_cursor => Some(cursor.clone()),
            _ => None,
        };
        let mut config = self.link.clone();
        let configured = self.options.start.clone();
        let start = if self.ignores_cursor {
            configured
        } else {
            // A cursor means nothing to a publisher of another name.
            if config.core.peer_name.is_none()
                && let Some(peer) = stored.peer
            {
                config.expect_peer(peer);
            }
            Start::choose(stored.cursor, configured)?
        };
        let cursor = self.durable.clone();
        self.tell(|snapshot| snapshot.cursor = cursor);
        self.epoch.0 += 1;
        let opening = Opening {
            epoch: self.epoch,
            blob_tries: self.blob_tries.clone(),
            ..Opening::from(start)
        };
        Ok(Some((config, opening)))
    }

    /// Moves what the link brings into the sink. What is not committed is rolled back when this returns.
    async fn pump(&mut self, link: &Link) -> Result<(), S::Error> {
        let cursor = self.durable.clone();
        let watch = forward(&self.options.stop, self.deadline, link);
        let mut pump = Pump::new(
            &mut *self.sink,
            link,
            self.grouping,
            &self.shared.progress,
            cursor,
        );
        let worked = tokio::select! {
            never = watch => match never {},
            worked = pump.work() => worked,
        };
        if worked.is_err()
            && let Err(error) = pump.roll_back().await
        {
            tracing::warn!(error = %describe(&error), "cannot roll back");
        }
        if pump.has_advanced {
            // Any other commit may have worked because it had nothing in it.
            self.storage_failures = 0;
            self.backoff.cursor_advanced();
            self.ignores_cursor = false;
        }
        worked
    }

    fn note_end(&mut self, end: &LinkEnd) {
        self.blob_tries = end.blob_tries.clone();
        if let Some(duration) = end.set_up_for {
            self.backoff.was_healthy_for(duration);
        }
        let reason = end.close.reason.clone();
        self.tell(|snapshot| snapshot.last_interruption = Some(Interruption::Closed(reason)));
    }

    fn ended(&self, end: &LinkEnd) -> Result<Option<Ended>, RunError<S::Error>> {
        match end.close.reason {
            CloseReason::Drained => Ok(Some(Ended::Drained)),
            CloseReason::DrainTimedOut => Ok(Some(Ended::DrainTimedOut)),
            CloseReason::Shutdown if end.is_idle => Ok(Some(Ended::Idle)),
            CloseReason::Shutdown
                if self.options.stop.requested() == Some(StopRequest::Shutdown) =>
            {
                Ok(Some(Ended::Shutdown))
            }
            CloseReason::Shutdown => Err(self.too_late()),
            _ => Ok(None),
        }
    }

    /// The sink may be tried again a few times.
    fn storage_failed(&mut self, error: S::Error) -> Result<(), RunError<S::Error>> {
        self.storage_failures += 1;
        let tries = self.storage_failures;
        if tries >= self.options.storage_tries {
            return Err(RunError::Sink { tries, error });
        }
        let why = describe(&error);
        tracing::warn!(error = %why, tries, "the store failed; trying again");
        self.tell(|snapshot| {
            snapshot.last_interruption = Some(Interruption::Storage(why.into()));
        });
        Ok(())
    }

    /// Waits for what ends the run while there is no link.
    async fn halt(&self) -> Halt {
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = self.options.stop.next(None) => Halt::Stop(request),
            () = deadline => Halt::Deadline,
        }
    }

    fn halted(&self, halt: Halt) -> Result<Ended, RunError<S::Error>> {
        match halt {
            Halt::Stop(StopRequest::Drain { .. }) => Ok(Ended::Drained),
            Halt::Stop(StopRequest::Shutdown) => Ok(Ended::Shutdown),
            Halt::Deadline => Err(self.too_late()),
        }
    }

    fn too_late(&self) -> RunError<S::Error> {
        RunError::Deadline(self.options.deadline.unwrap_or_default())
    }

    fn tell(&self, change: impl FnOnce(&mut Snapshot)) {
        self.shared.progress.update(change);
    }
}

/// Passes on to the link what is asked for from outside.
async fn forward(stop: &Stop, deadline: Option<Instant>, link: &Link) -> Infallible {
    let too_late = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        link.shutdown();
        std::future::pending::<Infallible>().await
    };
    let stopped = async {
        let mut seen = None;
        loop {
            let request = stop.next(seen).await;
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
        never = too_late => never,
        never = stopped => never,
    }
}
