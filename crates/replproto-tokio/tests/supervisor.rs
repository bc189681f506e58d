//! Many links on worker threads that die, against one publisher on the loopback.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replproto_core::{Backoff, Sequence, Start};
use replproto_tokio::{
    Ended, LinkKey, LinkSetup, LinkStatus, MemoryBudget, MemorySink, MemoryView, NoBlobs, Phase,
    Scope, SinkStep, Supervisor, SupervisorOptions,
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
            overlaps: Arc::default(),
            fails: Arc::default(),
            hangs: Arc::default(),
        }
    }

    async fn open(self, key: LinkKey, scope: Scope) -> io::Result<LinkSetup<MemorySink, NoBlobs>> {
        if !self.live.lock().unwrap().insert(key.clone()) {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        let live = self.live.clone();
        let gone = key.clone();
        scope.register(move || assert!(live.lock().unwrap().remove(&gone)));
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
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
    let shut_down = |end: &replproto_tokio::RunEnd| end.how == Ended::Shutdown;
    assert!(
        ends.iter()
            .all(|(_, end)| end.as_ref().is_some_and(shut_down))
    );
    assert_eq!(budget.leased(), 0);
    assert_eq!((count(&mut dials), fleet.opened()), (50, 250));
    fleet.assert_over();
}

#[tokio::test]
async fn l51_links_that_are_removed_while_they_wait_do_not_come_back() {
    let mut options = options();
    // Long enough for a slow machine to remove ten of them meanwhile.
    options.reassignment_interval = Duration::from_millis(100);
    let (fleet, supervisor, _server, mut dials) = two_hundred(options).await;
    assert_eq!(count(&mut dials), 200);
    let orphans = on(&supervisor.links(), 2);
    assert!(supervisor.kill_worker(2));
    until(|| supervisor.counters().worker_exits == 1).await;
    for orphan in &orphans[40..] {
        assert!(soon(supervisor.remove(orphan)).await.is_none());
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
    let end = soon(supervisor.remove(&both)).await.unwrap();
    assert_eq!(end.how, Ended::Shutdown);
    assert!(!fleet.live.lock().unwrap().contains(&both));
    assert!(
        soon(supervisor.remove(&both)).await.is_none(),
        "there is none"
    );

    // Again, before the one before has ended.
    assert!(supervisor.add(both.clone()));
    until(|| all_follow(&supervisor)).await;
    let removed = supervisor.remove(&both);
    assert!(supervisor.add(both.clone()));
    soon(removed).await.unwrap();
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
    assert_eq!(ends[0].1.as_ref().unwrap().how, Ended::Drained);
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
    assert!(soon(supervisor.remove(&key(0))).await.is_none());
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

#[cfg(feature = "sqlite")]
mod sqlite {
    use replproto_core::StoredCursor;
    use replproto_core::wire::Message;
    use replproto_tokio::{Sink, SqliteError, SqliteOptions, SqliteSink};

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
