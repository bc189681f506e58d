//! Links one after the other, from a publisher into a sink.

mod end;
mod halt;
mod latency;
mod options;
mod pump;
mod start;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use replproto_core::{
    Backoff, BlobTries, CloseReason, Cursor, EndCause, Epoch, LinkError, PauseReasons, Reconnect,
    Report, Start,
};
use tokio::time::sleep_until;

pub use self::end::{Ended, RunEnd, RunError};
use self::halt::{Halt, Halts};
pub use self::options::{Grouping, OnGap, OnWider, RunOptions};
use self::pump::{Pump, Worked};
pub use self::stop::Stop;
use self::stop::StopRequest;
use crate::blobs::BlobStore;
use crate::connect::ConnectError;
use crate::describe::describe;
use crate::driver::Clock;
use crate::journal::{Journal, line};
use crate::link::{Link, LinkConfig, LinkEnd, Shared};
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
    let published = crate::metrics::Published::start(scope, &link, progress.subscribe());
    let clock = Clock::start();
    let journal = Journal::default();
    let mut backoff = Backoff::new(options.first_delay, options.longest_delay);
    if let Some(seed) = options.jitter {
        backoff = backoff.with_full_jitter(seed);
    }
    let mut runner = Runner {
        shared: Shared {
            store: Arc::new(blobs),
            progress: progress.clone(),
            journal: journal.clone(),
            until_idle: options.until_idle,
            last_phase: Phase::Storing,
        },
        halts: Halts::new(&options),
        reconnect: Reconnect::new(backoff, Epoch(0), clock.now()),
        clock,
        grouping: pump::bounded(options.grouping, link.core.flow.commits.high.items),
        ignores_cursor: options.ignore_cursor,
        start: options.start.clone(),
        durable: None,
        blob_tries: BlobTries::default(),
        storage_failures: 0,
        has_dialled: false,
        has_followed: false,
        report: None,
        link,
        sink,
        scope,
        options,
    };
    let result = runner.run().await;
    let report = runner.report.take();
    journal.close();
    progress.update(|snapshot| snapshot.phase = Phase::Ended);
    #[cfg(feature = "metrics")]
    published.finish().await;
    let how = result?;
    let snapshot = progress.subscribe().borrow().clone();
    Ok(RunEnd {
        how,
        report,
        stats: snapshot.total(),
        snapshot,
    })
}

struct Runner<'a, S, B> {
    link: LinkConfig,
    sink: &'a mut S,
    /// The scope of each link is one below it.
    scope: &'a Scope,
    options: RunOptions,
    shared: Shared<B>,
    halts: Halts,
    clock: Clock,
    reconnect: Reconnect,
    grouping: Grouping,
    /// Where to begin without a cursor.
    start: Start,
    ignores_cursor: bool,
    /// The cursor that the sink had before the dial, if it is not ignored.
    durable: Option<Cursor>,
    blob_tries: BlobTries,
    /// In a row.
    storage_failures: u32,
    /// A dial has come as far as the network.
    has_dialled: bool,
    /// A link has been set up.
    has_followed: bool,
    /// Of the newest link that has ended.
    report: Option<Report>,
}

/// How a session ended.
enum Session {
    /// There is to be another. This one was set up for so long.
    Again(EndCause, Duration),
    /// It was the last one.
    Last(Ended),
}

/// What became of the events of a link.
enum Pumped<E> {
    /// They are in the sink, as far as they came.
    Stored,
    /// The sink failed.
    Failed(E),
    /// The peer stopped in the middle of a transaction while others waited for the store.
    HeldUp,
    /// The sink does not come to an end, and the run has to.
    Stuck(Halt),
}

impl<S: Sink, B: BlobStore> Runner<'_, S, B> {
    async fn run(&mut self) -> Result<Ended, RunError<S::Error>> {
        loop {
            if let Some(epoch) = self.reconnect.poll_dial(self.clock.now()) {
                let (cause, set_up_for) = match self.session(epoch).await? {
                    Session::Last(ended) => return Ok(ended),
                    Session::Again(cause, set_up_for) => (cause, set_up_for),
                };
                let now = self.clock.now();
                let delay = self.reconnect.ended(now, epoch, set_up_for);
                self.tell(|snapshot| {
                    snapshot.ends[cause.index()] += 1;
                    snapshot.phase = Phase::Waiting(delay.unwrap_or_default());
                });
                // What was asked for while there was a link is not what ended it.
                match self.options.stop.requested() {
                    Some(StopRequest::Drain { .. }) => return Ok(Ended::DrainInterrupted),
                    Some(StopRequest::Shutdown) => return Ok(Ended::Shutdown),
                    None => {}
                }
            }
            let next = async {
                match self.reconnect.deadline() {
                    Some(at) => sleep_until(self.clock.moment(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                halt = self.halts.halt() => return self.halted(halt),
                () = next => {}
            }
        }
    }

    /// From the cursor to the end of a link. Nothing of it is left when this returns, unless it was the last one.
    async fn session(&mut self, epoch: Epoch) -> Result<Session, RunError<S::Error>> {
        self.report = None;
        self.tell(|snapshot| snapshot.phase = Phase::Storing);
        let stored = tokio::select! {
            biased;
            halt = self.halts.halt() => return self.halted(halt).map(Session::Last),
            stored = self.sink.load() => stored,
        };
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => return self.storage_failed(error, None),
        };
        let (config, opening) = self.prepare(epoch, stored)?;
        self.tell(|snapshot| snapshot.phase = Phase::Dialing);
        let dialled = tokio::select! {
            biased;
            halt = self.halts.halt() => return self.halted(halt).map(Session::Last),
            dialled = Link::dial(&config, opening, &self.shared, self.scope.child()) => dialled,
        };
        let link = match dialled {
            Ok(link) => link,
            Err(error) => return self.not_connected(&config, error),
        };
        self.has_dialled = true;
        let pumped = self.pump(&link, epoch).await;
        if let Pumped::Stuck(halt) = pumped {
            tracing::warn!("the store has not finished in time, and is left to itself");
            return self.cut_off(halt).map(Session::Last);
        }
        if let Pumped::Failed(_) | Pumped::HeldUp = pumped {
            link.shutdown();
        }
        let outcome = tokio::select! {
            outcome = link.outcome() => outcome,
            halt = self.halts.out_of_patience() => {
                tracing::warn!("blobs have not been closed in time, and are left to themselves");
                return self.cut_off(halt).map(Session::Last);
            }
        };
        let end = match outcome {
            Ok(end) => {
                self.note_end(&end);
                Some(end)
            }
            Err(_) => {
                tracing::error!("the task of the link panicked");
                self.tell(|snapshot| {
                    snapshot.link.pauses = PauseReasons::NONE;
                    snapshot.last_interruption = Some(Interruption::Panicked);
                });
                None
            }
        };
        match (pumped, end) {
            (Pumped::Failed(error), end) => {
                self.storage_failed(error, end.and_then(|end| end.set_up_for))
            }
            (Pumped::HeldUp, _) => Ok(self.held_up()),
            (_, Some(end)) => self.ended(&end),
            (_, None) => Ok(Session::Again(EndCause::Panic, Duration::ZERO)),
        }
    }

    fn not_connected(
        &mut self,
        config: &LinkConfig,
        error: ConnectError,
    ) -> Result<Session, RunError<S::Error>> {
        match error {
            ConnectError::Config(error) => return Err(RunError::Config(error)),
            // Files that were good at the first dial may be about to be replaced.
            error if error.is_final() && !self.has_dialled => {
                return Err(RunError::NotConnected(error));
            }
            _ => self.has_dialled = true,
        }
        let cause = error.cause();
        line!(
            self.shared.journal,
            cause.as_str(),
            warn,
            peer = %config.endpoint,
            error = %describe(&error),
            cause = cause.as_str(),
            advice = error.advice(),
            "cannot connect"
        );
        self.tell(|snapshot| {
            snapshot.failed_dials += 1;
            let error = Interruption::NotConnected(Arc::new(error));
            snapshot.last_interruption = Some(error);
        });
        Ok(Session::Again(cause, Duration::ZERO))
    }

    /// Moves what the link brings into the sink. What is not committed is rolled back when this returns, unless the sink is
    /// stuck.
    async fn pump(&mut self, link: &Link, epoch: Epoch) -> Pumped<S::Error> {
        let (halts, journal) = (&self.halts, &self.shared.journal);
        let cursor = self.durable.clone();
        let mut pump = Pump::new(
            &mut *self.sink,
            link,
            self.grouping,
            self.options.transaction_wait,
            &self.shared.progress,
            cursor,
        );
        let work = async {
            let worked = pump.work().await;
            if worked.is_err()
                && let Err(error) = pump.roll_back().await
            {
                line!(journal, "rollback", warn, error = %describe(&error), "cannot roll back");
            }
            worked
        };
        let pumped = tokio::select! {
            never = halts.forward(link) => match never {},
            worked = work => match worked {
                Ok(Worked::Over) => Pumped::Stored,
                Ok(Worked::HeldUp) => Pumped::HeldUp,
                Err(error) => Pumped::Failed(error),
            },
            halt = halts.out_of_patience() => Pumped::Stuck(halt),
        };
        if pump.has_advanced {
            // Any other commit may have worked because it had nothing in it.
            self.storage_failures = 0;
            self.reconnect.cursor_advanced(epoch);
            self.ignores_cursor = false;
        }
        pumped
    }

    fn note_end(&mut self, end: &LinkEnd) {
        self.has_followed |= end.set_up_for.is_some();
        self.blob_tries = end.blob_tries.clone();
        self.report = Some(end.close.report.clone());
        let reason = end.close.reason.clone();
        self.tell(|snapshot| snapshot.last_interruption = Some(Interruption::Closed(reason)));
    }

    fn ended(&mut self, end: &LinkEnd) -> Result<Session, RunError<S::Error>> {
        let set_up_for = end.set_up_for.unwrap_or_default();
        let ended = match &end.close.reason {
            CloseReason::Drained => Ended::Drained,
            CloseReason::DrainTimedOut => Ended::DrainTimedOut,
            CloseReason::Shutdown if end.is_idle => Ended::Idle,
            CloseReason::Shutdown
                if self.options.stop.requested() == Some(StopRequest::Shutdown) =>
            {
                Ended::Shutdown
            }
            CloseReason::Shutdown => return Err(self.too_late()),
            CloseReason::Error(error @ LinkError::WrongDatabase { .. }) if !self.has_followed => {
                return Err(RunError::WrongDatabase(error.clone()));
            }
            CloseReason::Error(error @ LinkError::Gap { .. }) => {
                if self.options.on_gap == OnGap::Stop {
                    return Err(RunError::Gap(error.clone()));
                }
                // The stored cursor is of no use until the copy has one.
                self.start = Start::Copy;
                self.ignores_cursor = true;
                return Ok(Session::Again(end.cause(), set_up_for));
            }
            _ => return Ok(Session::Again(end.cause(), set_up_for)),
        };
        Ok(Session::Last(ended))
    }

    /// The sink may be tried again a few times.
    fn storage_failed(
        &mut self,
        error: S::Error,
        set_up_for: Option<Duration>,
    ) -> Result<Session, RunError<S::Error>> {
        self.storage_failures += 1;
        let tries = self.storage_failures;
        let is_last = self.options.stop.requested().is_some();
        if tries >= self.options.storage_tries || is_last {
            return Err(RunError::Sink { tries, error });
        }
        let why = describe(&error);
        line!(
            self.shared.journal,
            "storage",
            warn,
            error = %why,
            tries,
            "the store failed; trying again"
        );
        self.tell(|snapshot| {
            snapshot.last_interruption = Some(Interruption::Storage(why.into()));
        });
        Ok(Session::Again(
            EndCause::Storage,
            set_up_for.unwrap_or_default(),
        ))
    }

    /// The link is to be renewed: what came of the transaction is rolled back. However long the link was up, it was no use to
    /// anyone, so that one which does it again and again comes back later and later.
    fn held_up(&self) -> Session {
        line!(
            self.shared.journal,
            "held_up",
            warn,
            waited = ?self.options.transaction_wait,
            advice = "If the publisher's transactions are large and the line is slow, give each link a file of its own.",
            "a transaction stopped in the middle while another link waited for the same file; it is rolled back and comes again"
        );
        self.tell(|snapshot| snapshot.last_interruption = Some(Interruption::HeldUp));
        Session::Again(EndCause::Message, Duration::ZERO)
    }

    /// The run was halted while there was no link.
    fn halted(&self, halt: Halt) -> Result<Ended, RunError<S::Error>> {
        match halt {
            Halt::Stop(StopRequest::Drain { .. }) => Ok(Ended::Drained),
            Halt::Stop(StopRequest::Shutdown) => Ok(Ended::Shutdown),
            Halt::Deadline => Err(self.too_late()),
        }
    }

    /// The run was halted, and nothing is waited for any longer.
    fn cut_off(&self, halt: Halt) -> Result<Ended, RunError<S::Error>> {
        match halt {
            Halt::Stop(StopRequest::Drain { .. }) => Ok(Ended::DrainTimedOut),
            halt => self.halted(halt),
        }
    }

    fn too_late(&self) -> RunError<S::Error> {
        RunError::Deadline(self.options.deadline.unwrap_or_default())
    }

    fn tell(&self, change: impl FnOnce(&mut Snapshot)) {
        self.shared.progress.update(change);
    }
}
