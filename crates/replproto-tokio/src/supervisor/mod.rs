//! Many links on several threads.

mod control;
mod link;
mod session;
mod shared;
mod worker;

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use replproto_core::Backoff;
use tokio::task::JoinHandle;

pub use self::link::{LinkFailure, LinkKey, LinkResult, LinkSetup, LinkStatus};
use self::shared::Shared;
use crate::blobs::BlobStore;
use crate::budget::MemoryBudget;
use crate::run::Stop;
use crate::scope::Scope;
use crate::sink::Sink;

/// Runs many links on a few threads, and keeps them up: each is a [`run`](crate::run) of its own.
///
/// A link is known by its [`LinkKey`], and is wanted from [`add`](Self::add) to [`remove`](Self::remove). How to run it is
/// asked for on its worker before each run: from a function that gives a [`LinkSetup`]. Whatever ends a run of a
/// link that is wanted (the function fails, the sink does, something panics) leads to another one after a delay, and touches no
/// other link.
///
/// When a worker dies, nothing is left of its links before they start again on the others, one after the other
/// ([`Roster`](replproto_core::Roster) says how), and the worker is replaced. No link ever has two sessions.
///
/// ```no_run
/// use std::time::Duration;
/// use replproto_tokio::{
///     FileBlobStore, LinkConfig, LinkKey, LinkSetup, SqliteOptions, SqliteSink, Supervisor, SupervisorOptions,
/// };
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let blobs = FileBlobStore::open_dir("blobs").await?;
/// let supervisor = Supervisor::start(SupervisorOptions::default(), move |link: LinkKey, scope| {
///     let blobs = blobs.clone();
///     async move {
///         // What is registered for this run goes with it.
///         scope.register(|| println!("over"));
///         let config = LinkConfig::new(format!("ws://{}:9933", link.peer).parse()?, "us", &*link.database);
///         let options = SqliteOptions::new(&*link.peer, &*link.database);
///         let sink = SqliteSink::open(format!("{}-{}.db", link.peer, link.database), options).await?;
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(LinkSetup::new(config, sink, blobs))
///     }
/// });
/// for peer in ["node-a", "node-b"] {
///     supervisor.add(LinkKey::new("data", peer));
/// }
/// // Node B was removed from the cluster.
/// supervisor.remove_peer("node-b").await;
/// for link in supervisor.links() {
///     println!("{}: {}", link.key, link.progress.borrow().phase);
/// }
/// supervisor.drain(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping it ends all links abruptly, without waiting.
///
/// # Sinks
///
/// A worker that dies takes its sinks with it, whatever they are doing. What a sink does on threads of its own may then
/// finish late, and must not come after what the next sink of the link does: a sink has to be opened under a lock that the last
/// one holds until it has finished, as `SqliteSink` is.
///
/// A store that never answers is waited for, because nothing else may begin beside it: its link stays on its worker, and
/// [`remove`](Self::remove) stays pending. [`kill_worker`](Self::kill_worker) takes the sink away from it. Only at the
/// end of the supervisor a store is left to itself when the [patience](crate::RunOptions::patience) with it is over.
///
/// What a sink costs is added to each link: an `SqliteSink` has a thread of its own, and a cache of pages that grows to 4 MiB.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    control: JoinHandle<()>,
}

/// How a [`Supervisor`] goes about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisorOptions {
    /// How many worker threads there are, at least one. As many as the machine runs at a time.
    pub workers: usize,
    /// The least time between two links that start because their worker died. 100 ms.
    pub reassignment_interval: Duration,
    /// The delay before a worker that died is replaced.
    pub replacement: Backoff,
    /// The delay before a link is run again whose run has ended. It begins anew after a run of
    /// [`Backoff::HEALTHY_AFTER`].
    pub retry: Backoff,
    /// What all links share that have no budget of their own ([`LinkConfig::budget`](crate::LinkConfig::budget)). None
    /// unless set.
    pub budget: Option<MemoryBudget>,
}

impl Default for SupervisorOptions {
    fn default() -> Self {
        Self {
            workers: available_parallelism().map_or(1, NonZeroUsize::get),
            reassignment_interval: Duration::from_millis(100),
            replacement: Backoff::default(),
            retry: Backoff::default(),
            budget: None,
        }
    }
}

/// What a [`Supervisor`] has come through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupervisorCounters {
    /// Workers that died.
    pub worker_exits: u64,
    /// Links that started again because their worker died.
    pub reassignments: u64,
    /// Runs that ended although their link was wanted, and set-ups that failed.
    pub failures: u64,
}

impl Supervisor {
    /// Starts the workers, without any link. `open` is called on the worker of a link before each of its runs; the
    /// [`Scope`] that it gets is closed when that run is over, or when there is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime. The supervisor needs it until it is gone.
    pub fn start<F, R, S, B, E>(options: SupervisorOptions, open: F) -> Self
    where
        F: Fn(LinkKey, Scope) -> R + Send + Sync + 'static,
        R: Future<Output = Result<LinkSetup<S, B>, E>> + 'static,
        S: Sink + 'static,
        B: BlobStore,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let shared = Arc::new(Shared::new(&options));
        let spawn = worker::spawner(shared.clone(), open, options);
        let control = tokio::spawn(control::run(shared.clone(), spawn));
        Self { shared, control }
    }

    /// A link is wanted from now on. `false`: it is already, or no link starts any more, because the runtime that the
    /// supervisor was started in is gone.
    pub fn add(&self, link: LinkKey) -> bool {
        self.shared.add(link)
    }

    /// A link is not wanted any more. The future waits until its run and its sink are gone, and tells how the run ended, if
    /// there was one. Nothing but this, and the end of the supervisor, ends a link for good.
    ///
    /// It waits for as long as the sink takes to close: for ever if the store never answers, unless the worker is
    /// [killed](Self::kill_worker) or the supervisor ends. What a blob store still does on a thread beside the
    /// worker, in a step that the run did not wait for, may finish a little later.
    ///
    /// # Cancel safety
    /// The link is removed when this is called. The future only waits.
    pub fn remove(&self, link: &LinkKey) -> impl Future<Output = LinkResult> + use<> {
        let removed = self.shared.remove(|key| key == link, Stop::shutdown);
        async move {
            match removed.into_iter().next() {
                Some(removed) => removed.over().await,
                None => Ok(None),
            }
        }
    }

    /// The same for all links of a database, as when it is dropped.
    ///
    /// # Cancel safety
    /// As for [`remove`](Self::remove).
    pub fn remove_database(&self, database: &str) -> impl Future<Output = ()> + use<> {
        let removed = self
            .shared
            .remove(|key| &*key.database == database, Stop::shutdown);
        all_over(removed)
    }

    /// The same for all links to a peer, as when its node is removed.
    ///
    /// # Cancel safety
    /// As for [`remove`](Self::remove).
    pub fn remove_peer(&self, peer: &str) -> impl Future<Output = ()> + use<> {
        let removed = self.shared.remove(|key| &*key.peer == peer, Stop::shutdown);
        all_over(removed)
    }

    /// Runs a link anew, with a setup that is asked for anew, as when its node has another address now. It starts when
    /// nothing of the session before is left; the future waits for that. A link that is not wanted yet is added.
    ///
    /// # Cancel safety
    /// As for [`remove`](Self::remove).
    pub fn replace(&self, link: &LinkKey) -> impl Future<Output = ()> + use<> {
        let removed = self.shared.remove(|key| key == link, Stop::shutdown);
        self.shared.add(link.clone());
        all_over(removed)
    }

    /// All links that are wanted.
    pub fn links(&self) -> Vec<LinkStatus> {
        self.shared.links()
    }

    /// What it has come through.
    pub fn counters(&self) -> SupervisorCounters {
        self.shared.counters()
    }

    /// Makes a worker die with all that it is doing, and leave its links to the others. `false`: there is no worker of this
    /// number (from 0 on) at the moment, or it is dying already.
    ///
    /// It dies between two steps of its links, and what has begun on the blocking threads of its runtime, such as an operation
    /// on a file or the look-up of a name, ends first. Until then it keeps its place and its links: while code blocks the
    /// worker's thread, or a slow resolver answers, they run nowhere else.
    pub fn kill_worker(&self, index: usize) -> bool {
        self.shared.kill_worker(index)
    }

    /// Ends all links and all workers, and waits until nothing is left of them. Tells how the run of each link ended, if
    /// there was one.
    ///
    /// A sink that does not close within the [patience](crate::RunOptions::patience) of its run is dropped: its store is left to
    /// itself, and may still be at work. What blocks the thread of a worker, or a blocking thread of its runtime, is waited
    /// for; dropping the future, as with a time limit, is the way out.
    ///
    /// # Cancel safety
    /// Dropping the future drops the supervisor: what does not answer is left to itself then.
    pub async fn shutdown(self) -> Vec<(LinkKey, LinkResult)> {
        self.end(Stop::shutdown).await
    }

    /// The same in order: each link reads no more, finishes and confirms what it has in hand, and ends. After `limit` it ends
    /// with what is done then, and a store that does not answer is left to itself as by [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// As for [`shutdown`](Self::shutdown).
    pub async fn drain(self, limit: Duration) -> Vec<(LinkKey, LinkResult)> {
        self.end(|stop| stop.drain(limit)).await
    }

    async fn end(mut self, halt: impl Fn(&Stop)) -> Vec<(LinkKey, LinkResult)> {
        self.shared.end();
        let mut ends = Vec::new();
        // All of them end meanwhile; this only collects how.
        for removed in self.shared.remove(|_| true, halt) {
            ends.push((removed.link.clone(), removed.over().await));
        }
        self.shared.close();
        if let Err(error) = (&mut self.control).await {
            tracing::error!(%error, "the supervisor did not end in order");
        }
        ends
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.close();
    }
}

async fn all_over(removed: Vec<shared::Removed>) {
    for removed in removed {
        // How it went is in the log, if it did not go well.
        let _ = removed.over().await;
    }
}
