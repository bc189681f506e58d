//! Workers that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replproto_tokio::{Ended, MemoryBudget, Supervisor, SupervisorOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fleet::{Fleet, WORKERS, all_follow, count, how, key, on, options, serve};
use crate::support::{Publisher, soon, until};

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
