//! Links that follow one publisher, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replproto_core::{Backoff, Sequence, Start};
use replproto_tokio::{
    Ended, LinkKey, LinkResult, LinkSetup, LinkStatus, MemorySink, MemoryView, NoBlobs, Phase,
    Scope, Supervisor, SupervisorOptions,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{Peer, Publisher, keys};

pub(crate) const WORKERS: usize = 4;
/// What the publisher's log ends with.
pub(crate) const LAST: f64 = 9.0;

/// What the links of a test share.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) config: replproto_tokio::LinkConfig,
    pub(crate) views: Arc<Mutex<BTreeMap<LinkKey, MemoryView>>>,
    pub(crate) live: Arc<Mutex<BTreeSet<LinkKey>>>,
    pub(crate) opened: Arc<AtomicU64>,
    /// Undos that have been called.
    pub(crate) undone: Arc<AtomicU64>,
    pub(crate) overlaps: Arc<AtomicU64>,
    /// Fails the set-up of this link so often, first with an error and then with a panic.
    pub(crate) fails: Arc<Mutex<Option<(LinkKey, u64)>>>,
    /// A set-up that does not come to its end.
    pub(crate) hangs: Arc<AtomicBool>,
}

impl Fleet {
    pub(crate) fn new(publisher: &Publisher) -> Self {
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

    pub(crate) async fn open(
        self,
        key: LinkKey,
        scope: Scope,
    ) -> io::Result<LinkSetup<MemorySink, NoBlobs>> {
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

    pub(crate) fn start(&self, options: SupervisorOptions) -> Supervisor {
        let fleet = self.clone();
        Supervisor::start(options, move |key, scope| fleet.clone().open(key, scope))
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn is_complete(&self, key: &LinkKey) -> bool {
        let views = self.views.lock().unwrap();
        views.get(key).is_some_and(|view| {
            keys(view) == ["a", "b"]
                && view
                    .cursor()
                    .is_some_and(|cursor| cursor.sequence.0 >= LAST)
        })
    }

    /// Nothing is left, and there were never two sessions of a link.
    pub(crate) fn assert_over(&self) {
        assert_eq!(*self.live.lock().unwrap(), BTreeSet::new());
        assert_eq!(self.overlaps.load(Ordering::Relaxed), 0);
        assert_eq!(self.undone.load(Ordering::Relaxed), self.opened());
    }
}

/// A link is there as long as this is.
pub(crate) struct Presence {
    pub(crate) key: LinkKey,
    pub(crate) live: Arc<Mutex<BTreeSet<LinkKey>>>,
}

impl Presence {
    pub(crate) fn new(fleet: &Fleet, key: &LinkKey) -> Self {
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

pub(crate) fn options() -> SupervisorOptions {
    let mut options = SupervisorOptions::default();
    options.workers = WORKERS;
    options.reassignment_interval = Duration::from_millis(1);
    options.replacement = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    options.retry = Backoff::new(Duration::from_millis(1), Duration::from_millis(4));
    options
}

pub(crate) fn key(number: usize) -> LinkKey {
    LinkKey::new("data", &format!("node-{number}"))
}

/// Accepts every link, and sends each its log from where it starts. Each link that is accepted is told about.
pub(crate) fn serve(publisher: Publisher) -> (JoinSet<()>, mpsc::UnboundedReceiver<()>) {
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
pub(crate) fn how(end: LinkResult) -> Option<Ended> {
    end.unwrap().map(|end| end.how)
}

pub(crate) fn count(links: &mut mpsc::UnboundedReceiver<()>) -> usize {
    std::iter::from_fn(|| links.try_recv().ok()).count()
}

pub(crate) fn on(links: &[LinkStatus], worker: usize) -> Vec<LinkKey> {
    let on = links.iter().filter(|link| link.worker == Some(worker));
    on.map(|link| link.key.clone()).collect()
}

pub(crate) fn all_follow(supervisor: &Supervisor) -> bool {
    let links = supervisor.links();
    let follows = |link: &LinkStatus| link.progress.borrow().phase == Phase::Following;
    links
        .iter()
        .all(|link| link.worker.is_some() && follows(link))
}
