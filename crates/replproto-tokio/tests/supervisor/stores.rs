//! Stores that never close.

use std::future::pending;
use std::io;
use std::time::Duration;

use replproto_core::{Cursor, Event};
use replproto_tokio::{
    Applied, Ended, LinkSetup, MemorySink, MemorySinkError, NoBlobs, Sink, Stored, Supervisor,
};

use crate::fleet::{Fleet, all_follow, how, key, options, serve};
use crate::support::{Publisher, soon, until};

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
