//! Many links on worker threads that die, against one publisher on the loopback.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replproto_core::{Backoff, Cursor, Event, Sequence, Start};
use replproto_tokio::{
    Applied, Ended, LinkKey, LinkResult, LinkSetup, LinkStatus, MemoryBudget, MemorySink,
    MemorySinkError, MemoryView, NoBlobs, Phase, Scope, Sink, SinkStep, Stored, Supervisor,
    SupervisorOptions,
};
use support::{Peer, Publisher, keys, soon, until};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const WORKERS: usize = 4;
/// What the publisher's log ends with.
const LAST: f64 = 9.0;

/// What the links of a test share.
#[derive(Clone)]
struct Fleet {
    config: replproto_tokio::LinkConfig,
    views: Arc<Mutex<BTreeMap<LinkKey, MemoryView>>>,
    live: Arc<Mutex<BTreeSet<LinkKey>>>,
    opened: Arc<AtomicU64>,
    /// Undos that have been called.
    undone: Arc<AtomicU64>,
    overlaps: Arc<AtomicU64>,
    /// Fails the set-up of this link so often, first with an error and then with a panic.
    fails: Arc<Mutex<Option<(LinkKey, u64)>>>,
    /// A set-up that does not come to its end.
    hangs: Arc<AtomicBool>,
}

impl Fleet {
    fn new(publisher: &Publisher) -> Self {
        Self {
            config: publisher.config(),
            views: Arc::default(),
            live: Arc::default(),
            opened: Arc::default(),
            undone: Arc::default(),
            overlaps: Arc::default(),
            fails: Arc::default(),
            hangs: Arc::default(),
        }
    }

    async fn open(self, key: LinkKey, scope: Scope) -> io::Result<LinkSetup<MemorySink, NoBlobs>> {
        let presence = Presence::new(&self, &key);
        let undone = self.undone.clone();
        scope.register(move || {
            undone.fetch_add(1, Ordering::Relaxed);
        });
        // Of what a link has, the tasks are the last to go when its worker dies.
        scope.spawn(async move {
            let _presence = presence;
            pending::<()>().await;
        });
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        let failing = self
            .fails
            .lock()
            .unwrap()
            .as_mut()
            .and_then(|(link, left)| {
                let fails = *link == key && *left > 0;
                *left -= u64::from(fails);
                fails.then_some(*left)
            });
        match failing {
            Some(left) if left % 2 == 0 => panic!("on purpose"),
            Some(_) => return Err(io::Error::other("on purpose")),
            None => {}
        }
        let sink = {
            let mut views = self.views.lock().unwrap();
            match views.get(&key) {
                Some(view) => view.reopen(),
                None => {
                    let sink = MemorySink::new();
                    views.insert(key.clone(), sink.view());
                    sink
                }
            }
        };
        let mut setup = LinkSetup::new(self.config.clone(), sink, NoBlobs);
        setup.options.start = Start::At(Sequence(1.0));
        setup.options.first_delay = Duration::from_millis(1);
        setup.options.longest_delay = Duration::from_millis(10);
        Ok(setup)
    }

    fn start(&self, options: SupervisorOptions) -> Supervisor {
        let fleet = self.clone();
        Supervisor::start(options, move |key, scope| fleet.clone().open(key, scope))
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn is_complete(&self, key: &LinkKey) -> bool {
        let views = self.views.lock().unwrap();
        views.get(key).is_some_and(|view| {
            keys(view) == ["a", "b"]
                && view
                    .cursor()
                    .is_some_and(|cursor| cursor.sequence.0 >= LAST)
        })
    }

    /// Nothing is left, and there were never two sessions of a link.
    fn assert_over(&self) {
        assert_eq!(*self.live.lock().unwrap(), BTreeSet::new());
        assert_eq!(self.overlaps.load(Ordering::Relaxed), 0);
        assert_eq!(self.undone.load(Ordering::Relaxed), self.opened());
    }
}

/// A link is there as long as this is.
struct Presence {
    key: LinkKey,
    live: Arc<Mutex<BTreeSet<LinkKey>>>,
}

impl Presence {
    fn new(fleet: &Fleet, key: &LinkKey) -> Self {
        let live = fleet.live.clone();
        if !live.lock().unwrap().insert(key.clone()) {
            fleet.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        let key = key.clone();
        Self { key, live }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.live.lock().unwrap().remove(&self.key);
    }
}

fn options() -> SupervisorOptions {
    let mut options = SupervisorOptions::default();
    options.workers = WORKERS;
    options.reassignment_interval = Duration::from_millis(1);
    options.replacement = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    options.retry = Backoff::new(Duration::from_millis(1), Duration::from_millis(4));
    options
}

fn key(number: usize) -> LinkKey {
    LinkKey::new("data", &format!("node-{number}"))
}

/// Accepts every link, and sends each its log from where it starts. Each link that is accepted is told about.
fn serve(publisher: Publisher) -> (JoinSet<()>, mpsc::UnboundedReceiver<()>) {
    let (accepted, dials) = mpsc::unbounded_channel();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut peers = JoinSet::new();
        loop {
            let stream = publisher.accept_raw_at_leisure().await;
            let accepted = accepted.clone();
            peers.spawn(async move {
                let Some(mut peer) = Peer::try_accept(stream, Duration::from_secs(60)).await else {
                    return;
                };
                let _ = accepted.send(());
                if let Some(request) = peer.greet(None).await {
                    peer.answer(&request).await;
                    let start = request.subscriptions[0].start.0;
                    for (key, at) in [("a", 2.0), ("b", LAST)] {
                        if at > start {
                            peer.put(&[key], at).await;
                        }
                    }
                }
                peer.gone().await;
            });
        }
    });
    (server, dials)
}

/// How a link ended that did not fail.
fn how(end: LinkResult) -> Option<Ended> {
    end.unwrap().map(|end| end.how)
}

fn count(links: &mut mpsc::UnboundedReceiver<()>) -> usize {
    std::iter::from_fn(|| links.try_recv().ok()).count()
}

fn on(links: &[LinkStatus], worker: usize) -> Vec<LinkKey> {
    let on = links.iter().filter(|link| link.worker == Some(worker));
    on.map(|link| link.key.clone()).collect()
}

fn all_follow(supervisor: &Supervisor) -> bool {
    let links = supervisor.links();
    let follows = |link: &LinkStatus| link.progress.borrow().phase == Phase::Following;
    links
        .iter()
        .all(|link| link.worker.is_some() && follows(link))
}

/// 200 links, all of which follow, on 4 workers with 50 each.
async fn two_hundred(
    options: SupervisorOptions,
) -> (Fleet, Supervisor, JoinSet<()>, mpsc::UnboundedReceiver<()>) {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (server, dials) = serve(publisher);
    let supervisor = fleet.start(options);
    for number in 0..200 {
        assert!(supervisor.add(key(number)));
    }
    until(|| all_follow(&supervisor)).await;
    let links = supervisor.links();
    for worker in 0..WORKERS {
        assert_eq!(on(&links, worker).len(), 50);
    }
    until(|| (0..200).all(|number| fleet.is_complete(&key(number)))).await;
    (fleet, supervisor, server, dials)
}

#[tokio::test]
async fn l51_the_links_of_a_worker_that_is_killed_move_to_others_once_each() {
    let budget = MemoryBudget::new(64 << 20);
    let mut options = options();
    options.budget = Some(budget.clone());
    let (fleet, supervisor, _server, mut dials) = two_hundred(options).await;
    assert_eq!(count(&mut dials), 200);
    assert!(budget.leased() > 0, "they share it");
    assert!(supervisor.kill_worker(1));
    until(|| supervisor.counters().reassignments == 50 && all_follow(&supervisor)).await;
    let ends = soon(supervisor.shutdown()).await;
    assert_eq!(ends.len(), 200);
    for (_, end) in ends {
        assert_eq!(how(end), Some(Ended::Shutdown));
    }
    assert_eq!(budget.leased(), 0);
    assert_eq!((count(&mut dials), fleet.opened()), (50, 250));
    fleet.assert_over();
}

#[tokio::test]
async fn l51_links_that_are_removed_while_they_wait_do_not_come_back() {
    let mut options = options();
    options.reassignment_interval = Duration::from_millis(20);
    let (fleet, supervisor, _server, mut dials) = two_hundred(options).await;
    assert_eq!(count(&mut dials), 200);
    let orphans = on(&supervisor.links(), 2);
    assert!(supervisor.kill_worker(2));
    until(|| supervisor.counters().worker_exits == 1).await;
    // The supervisor starts links on this thread. Here it has not begun with the last ten, however slow the machine is: it
    // starts one at a time, with the interval in between, and each time this test looks too.
    let removals: Vec<_> = orphans[40..]
        .iter()
        .map(|orphan| supervisor.remove(orphan))
        .collect();
    for removed in removals {
        assert_eq!(how(soon(removed).await), None);
    }
    until(|| supervisor.counters().reassignments == 40 && all_follow(&supervisor)).await;
    assert_eq!(supervisor.links().len(), 190);
    assert_eq!(soon(supervisor.shutdown()).await.len(), 190);
    assert_eq!((count(&mut dials), fleet.opened()), (40, 240));
    fleet.assert_over();
}

#[tokio::test]
async fn every_worker_in_turn_may_die() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let supervisor = fleet.start(options());
    for number in 0..20 {
        supervisor.add(key(number));
    }
    for round in 0..12 {
        until(|| supervisor.kill_worker(round % WORKERS)).await;
    }
    until(|| supervisor.counters().worker_exits == 12 && all_follow(&supervisor)).await;
    until(|| (0..20).all(|number| fleet.is_complete(&key(number)))).await;
    assert_eq!(soon(supervisor.shutdown()).await.len(), 20);
    fleet.assert_over();
}

#[tokio::test]
async fn a_worker_may_die_while_its_links_are_dialling() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let supervisor = fleet.start(options());
    for number in 0..20 {
        supervisor.add(key(number));
    }
    // Their connections wait in the backlog of a listener that nobody asks.
    until(|| fleet.opened() == 20).await;
    assert!(supervisor.kill_worker(0));
    until(|| supervisor.counters().reassignments == 5).await;
    let (_server, _dials) = serve(publisher);
    until(|| all_follow(&supervisor)).await;
    until(|| (0..20).all(|number| fleet.is_complete(&key(number)))).await;
    drop(supervisor);
    until(|| fleet.live.lock().unwrap().is_empty()).await;
    fleet.assert_over();
}

#[tokio::test]
async fn a_set_up_that_fails_or_panics_is_tried_again_and_touches_no_other() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    *fleet.fails.lock().unwrap() = Some((key(1), 5));
    let (_server, _dials) = serve(publisher);
    let mut options = options();
    options.workers = 1;
    let supervisor = fleet.start(options);
    for number in 0..3 {
        supervisor.add(key(number));
    }
    until(|| all_follow(&supervisor)).await;
    let failures: Vec<u64> = supervisor
        .links()
        .iter()
        .map(|link| link.failures)
        .collect();
    assert_eq!(failures, [0, 5, 0]);
    let last = supervisor.links()[1].last_failure.clone().unwrap();
    assert_eq!(&*last, "panicked: on purpose");
    let counters = supervisor.counters();
    assert_eq!((counters.failures, counters.worker_exits), (5, 0));
    drop(soon(supervisor.drain(Duration::from_secs(60))).await);
    fleet.assert_over();
}

#[tokio::test]
async fn a_link_that_is_removed_is_wholly_gone_and_can_come_again() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, mut dials) = serve(publisher);
    let supervisor = fleet.start(options());
    for database in ["data", "system"] {
        for peer in ["node-a", "node-b"] {
            assert!(supervisor.add(LinkKey::new(database, peer)));
        }
    }
    let both = LinkKey::new("data", "node-a");
    assert!(!supervisor.add(both.clone()), "it is wanted already");
    until(|| all_follow(&supervisor)).await;
    let end = soon(supervisor.remove(&both)).await;
    assert_eq!(how(end), Some(Ended::Shutdown));
    assert!(!fleet.live.lock().unwrap().contains(&both));
    let end = soon(supervisor.remove(&both)).await;
    assert_eq!(how(end), None, "there is none");

    // Again, before the one before has ended.
    assert!(supervisor.add(both.clone()));
    until(|| all_follow(&supervisor)).await;
    let removed = supervisor.remove(&both);
    assert!(supervisor.add(both.clone()));
    assert_eq!(how(soon(removed).await), Some(Ended::Shutdown));
    until(|| all_follow(&supervisor)).await;
    soon(supervisor.replace(&both)).await;
    until(|| all_follow(&supervisor)).await;
    assert_eq!((count(&mut dials), fleet.opened()), (7, 7));

    soon(supervisor.remove_database("system")).await;
    soon(supervisor.remove_peer("node-b")).await;
    let left: Vec<LinkKey> = supervisor
        .links()
        .into_iter()
        .map(|link| link.key)
        .collect();
    assert_eq!(left, std::slice::from_ref(&both));
    assert_eq!(*fleet.live.lock().unwrap(), BTreeSet::from([both]));
    let ends = soon(supervisor.drain(Duration::from_secs(60))).await;
    assert_eq!(ends.len(), 1);
    for (_, end) in ends {
        assert_eq!(how(end), Some(Ended::Drained));
    }
    fleet.assert_over();
}

#[tokio::test]
async fn a_set_up_that_hangs_can_be_removed() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    fleet.hangs.store(true, Ordering::Relaxed);
    let supervisor = fleet.start(options());
    supervisor.add(key(0));
    until(|| fleet.opened() == 1).await;
    assert_eq!(how(soon(supervisor.remove(&key(0))).await), None);
    supervisor.add(key(1));
    until(|| fleet.opened() == 2).await;
    assert_eq!(soon(supervisor.shutdown()).await.len(), 1);
    fleet.assert_over();
}

#[tokio::test]
async fn a_run_that_panics_is_run_again_with_a_new_sink() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, mut dials) = serve(publisher);
    let sink = MemorySink::new();
    let mut panics = 3;
    sink.view().plan(move |step| {
        if step == SinkStep::Commit && panics > 0 {
            panics -= 1;
            panic!("on purpose");
        }
        (Duration::ZERO, Ok(()))
    });
    fleet.views.lock().unwrap().insert(key(0), sink.view());
    let supervisor = fleet.start(options());
    supervisor.add(key(0));
    until(|| fleet.is_complete(&key(0))).await;
    assert_eq!(supervisor.links()[0].failures, 3);
    soon(supervisor.shutdown()).await;
    assert_eq!((count(&mut dials), fleet.opened()), (4, 4));
    fleet.assert_over();
}

/// Panics once more when it is dropped.
struct Doubly;

impl Drop for Doubly {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_session_that_fails_outside_of_its_runs_ends_and_starts_again() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let opening = fleet.clone();
    let supervisor = Supervisor::start(options(), move |key, scope| {
        let fleet = opening.clone();
        async move {
            let is_first = fleet.opened() == 0;
            let setup = fleet.open(key, scope).await;
            if is_first {
                panic_any(Doubly);
            }
            setup
        }
    });
    supervisor.add(key(0));
    until(|| fleet.opened() == 2 && all_follow(&supervisor)).await;
    let counters = supervisor.counters();
    assert_eq!((counters.failures, counters.worker_exits), (1, 0));
    assert_eq!(soon(supervisor.shutdown()).await.len(), 1);
    fleet.assert_over();
}

/// Uses the runtime that it is dropped in.
struct UsesRuntime(Arc<AtomicU64>);

impl Drop for UsesRuntime {
    fn drop(&mut self) {
        tokio::spawn(async {});
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn what_is_undone_when_a_worker_dies_has_its_runtime_and_may_hold_its_scope() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let undone = Arc::new(AtomicU64::new(0));
    let (opening, noting) = (fleet.clone(), undone.clone());
    let supervisor = Supervisor::start(options(), move |key, scope| {
        let (fleet, undone) = (opening.clone(), noting.clone());
        async move {
            let (own, by_undo) = (scope.clone(), UsesRuntime(undone));
            scope.register(move || {
                let _own = own;
                drop(by_undo);
            });
            fleet.open(key, scope).await
        }
    });
    supervisor.add(key(0));
    until(|| all_follow(&supervisor)).await;
    let worker = supervisor.links()[0].worker.unwrap();
    assert!(supervisor.kill_worker(worker));
    assert!(!supervisor.kill_worker(worker), "it is dying already");
    until(|| supervisor.counters().worker_exits == 1).await;
    assert_eq!(undone.load(Ordering::Relaxed), 1);
    until(|| supervisor.counters().reassignments == 1 && all_follow(&supervisor)).await;
    soon(supervisor.shutdown()).await;
    assert_eq!(undone.load(Ordering::Relaxed), 2);
    fleet.assert_over();
}

/// A sink that never closes.
struct Stuck(MemorySink);

impl Sink for Stuck {
    type Error = MemorySinkError;

    async fn load(&mut self) -> Result<Stored, MemorySinkError> {
        self.0.load().await
    }

    async fn begin(&mut self) -> Result<(), MemorySinkError> {
        self.0.begin().await
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, MemorySinkError> {
        self.0.apply(events).await
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), MemorySinkError> {
        self.0.commit(cursor).await
    }

    async fn rollback(&mut self) -> Result<(), MemorySinkError> {
        self.0.rollback().await
    }

    async fn close(self) {
        pending().await
    }
}

/// Links to a publisher whose stores never close.
fn stuck(fleet: &Fleet, patience: Duration) -> Supervisor {
    let opening = fleet.clone();
    Supervisor::start(options(), move |key, scope| {
        let fleet = opening.clone();
        async move {
            let setup = fleet.open(key, scope).await?;
            let mut stuck = LinkSetup::new(setup.link, Stuck(setup.sink), NoBlobs);
            stuck.options = setup.options;
            stuck.options.patience = patience;
            Ok::<_, io::Error>(stuck)
        }
    })
}

#[tokio::test]
async fn a_store_that_never_closes_does_not_hold_up_the_end() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let supervisor = stuck(&fleet, Duration::from_millis(1));
    supervisor.add(key(0));
    supervisor.add(key(1));
    until(|| all_follow(&supervisor)).await;
    let removed = supervisor.remove(&key(0));
    let ends = soon(supervisor.drain(Duration::MAX)).await;
    assert_eq!(how(soon(removed).await), Some(Ended::Shutdown));
    let ends: Vec<_> = ends.into_iter().map(|(_, end)| how(end)).collect();
    assert_eq!(ends, [Some(Ended::Shutdown), Some(Ended::Drained)]);
    fleet.assert_over();
}

#[tokio::test]
async fn a_worker_that_dies_lets_go_of_a_store_that_never_closes() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let supervisor = stuck(&fleet, Duration::ZERO);
    supervisor.add(key(0));
    until(|| all_follow(&supervisor)).await;
    let removed = supervisor.replace(&key(0));
    let worker = supervisor.links()[0].worker.unwrap();
    assert!(supervisor.kill_worker(worker));
    soon(removed).await;
    until(|| fleet.opened() == 2 && all_follow(&supervisor)).await;
    soon(supervisor.shutdown()).await;
    fleet.assert_over();
}

#[tokio::test]
async fn a_run_that_fails_while_it_ends_tells_why_and_is_no_failure() {
    let publisher = Publisher::bind().await;
    let fleet = Fleet::new(&publisher);
    let (_server, _dials) = serve(publisher);
    let sink = MemorySink::new();
    fleet.views.lock().unwrap().insert(key(0), sink.view());
    let supervisor = Arc::new(fleet.start(options()));
    let removed = Arc::new(Mutex::new(None));
    {
        let (supervisor, removed) = (Arc::downgrade(&supervisor), removed.clone());
        sink.view().plan(move |step| {
            if step == SinkStep::Commit {
                // It is asked to end, and fails before it has.
                let supervisor = supervisor.upgrade().unwrap();
                *removed.lock().unwrap() = Some(supervisor.remove(&key(0)));
                panic!("on purpose");
            }
            (Duration::ZERO, Ok(()))
        });
    }
    supervisor.add(key(0));
    until(|| removed.lock().unwrap().is_some()).await;
    let removed = removed.lock().unwrap().take().unwrap();
    let failure = soon(removed).await.unwrap_err();
    assert_eq!(failure.to_string(), "panicked: on purpose");
    assert_eq!(supervisor.counters().failures, 0);
    soon(Arc::into_inner(supervisor).unwrap().shutdown()).await;
    fleet.assert_over();
}

#[test]
fn a_supervisor_without_its_runtime_takes_no_links() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = || {
        Supervisor::start(options(), |_, _| {
            pending::<io::Result<LinkSetup<MemorySink, NoBlobs>>>()
        })
    };
    let supervisor = runtime.block_on(async { start() });
    assert!(supervisor.add(key(0)));
    drop(runtime);
    assert!(!supervisor.add(key(1)));
    assert_eq!(supervisor.links().len(), 1);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use replproto_core::StoredCursor;
    use replproto_core::wire::Message;
    use replproto_tokio::{SqliteError, SqliteOptions, SqliteSink};

    use super::*;
    use crate::support::Said;

    #[tokio::test]
    async fn workers_may_die_while_files_are_written() {
        const LINKS: usize = 8;
        let publisher = Publisher::bind().await;
        let mut config = publisher.config();
        // Each message is a transaction of its own, and each is committed.
        config.core.flow.commits.high.items = 2;
        config.core.flow.commits.low.items = 1;
        let writing = tokio::spawn(write_for_ever(publisher));
        let folder = tempfile::tempdir().unwrap();
        let file = {
            let folder = folder.path().to_owned();
            move |key: &LinkKey| folder.join(&*key.peer)
        };
        let mut options = options();
        options.workers = 2;
        let supervisor = {
            let file = file.clone();
            Supervisor::start(options, move |key, _| {
                let (config, file) = (config.clone(), file(&key));
                async move {
                    let options = SqliteOptions::new(&*key.peer, &*key.database);
                    let sink = SqliteSink::open(file, options).await?;
                    let mut setup = LinkSetup::new(config, sink, NoBlobs);
                    setup.options.start = Start::At(Sequence(1.0));
                    Ok::<_, SqliteError>(setup)
                }
            })
        };
        for number in 0..LINKS {
            supervisor.add(key(number));
        }
        let cursors = || -> Vec<f64> {
            let links = supervisor.links();
            let cursor = |link: &LinkStatus| {
                let cursor = link.progress.borrow().cursor.clone();
                cursor.map_or(0.0, |cursor| cursor.sequence.0)
            };
            links.iter().map(cursor).collect()
        };
        let mut floor = vec![0.0; LINKS];
        for round in 0..10 {
            // All have gone on, from where they were at least.
            until(|| cursors().iter().zip(&floor).all(|(now, floor)| now > floor)).await;
            floor = cursors();
            until(|| supervisor.kill_worker(round % 2)).await;
            until(|| supervisor.counters().worker_exits == round as u64 + 1).await;
        }
        until(|| cursors().iter().zip(&floor).all(|(now, floor)| now > floor)).await;
        soon(supervisor.shutdown()).await;
        writing.abort();
        for (number, floor) in floor.into_iter().enumerate() {
            let options = SqliteOptions::new(&*key(number).peer, "data");
            let mut sink = SqliteSink::open(file(&key(number)), options).await.unwrap();
            let StoredCursor::Found(cursor) = sink.load().await.unwrap().cursor else {
                panic!("there is a cursor");
            };
            assert!(cursor.sequence.0 >= floor);
            sink.close().await;
        }
    }

    /// Serves everyone a log without an end, a transaction for each confirmation.
    async fn write_for_ever(publisher: Publisher) {
        let mut peers = JoinSet::new();
        loop {
            let stream = publisher.accept_raw_at_leisure().await;
            peers.spawn(async move {
                let Some(mut peer) = Peer::try_accept(stream, Duration::from_secs(60)).await else {
                    return;
                };
                let Some(request) = peer.greet(None).await else {
                    return;
                };
                peer.answer(&request).await;
                let mut at = request.subscriptions[0].start.0;
                loop {
                    at += 1.0;
                    peer.put(&["a", "b"], at).await;
                    loop {
                        match peer.hear().await {
                            Said::Message(Message::CommittedUpdate(sequence))
                                if sequence.0 < at => {}
                            Said::Message(_) => break,
                            Said::Closed(_) | Said::Gone => return,
                        }
                    }
                }
            });
        }
    }
}
