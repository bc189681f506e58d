//! Runs of links: how they fail, begin again and are removed.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::panic::panic_any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replproto_tokio::{Ended, LinkKey, LinkSetup, MemorySink, NoBlobs, SinkStep, Supervisor};

use crate::fleet::{Fleet, all_follow, count, how, key, options, serve};
use crate::support::{Publisher, soon, until};

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
