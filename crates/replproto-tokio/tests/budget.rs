//! Links that share their memory.

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use replproto_core::error::Watchdog;
use replproto_core::{CloseReason, Event, LinkError, PauseReason, Sequence, Start};
use replproto_tokio::{Delivery, Link, LinkConfig, MemoryBudget, NoBlobs};
use support::{Publisher, TIME, padded_batch, soon, until};
use tokio::io::AsyncWriteExt;

const KIB: u64 = 1 << 10;
const PART: u64 = 64 * KIB;

/// A link that shares the budget, and what its publisher sends after the set-up: transactions of one record each.
async fn link(budget: &MemoryBudget, records: Vec<usize>) -> Link {
    let publisher = Publisher::bind().await;
    let mut config: LinkConfig = publisher.config();
    config.budget = Some(budget.clone());
    tokio::spawn(async move {
        let (mut peer, _) = publisher.link().await;
        for (number, size) in records.into_iter().enumerate() {
            let sequence = TIME + 1.0 + number as f64;
            peer.send_bytes(padded_batch(&["a"], size, sequence)).await;
        }
        // Keeps the connection until the other side is done.
        peer.gone().await;
    });
    let start = Start::At(Sequence(1.0));
    Link::connect(&config, start, NoBlobs).await.unwrap()
}

/// Takes what comes until so many transactions are complete.
async fn take(link: &mut Link, transactions: usize) {
    let mut ended = 0;
    while ended < transactions {
        let delivery = soon(link.next()).await.expect("the link is open");
        if let Event::EndTransaction(_) = &*delivery {
            delivery.commit();
            ended += 1;
        }
    }
}

/// Takes what comes, and keeps all of it.
async fn hoard(link: &mut Link, records: usize) -> Vec<Delivery> {
    let mut kept = Vec::new();
    while kept
        .iter()
        .filter(|it: &&Delivery| matches!(***it, Event::Records(_)))
        .count()
        < records
    {
        kept.push(soon(link.next()).await.expect("the link is open"));
    }
    kept
}

#[tokio::test]
async fn a_stalled_link_keeps_what_it_has_and_the_others_go_on() {
    let budget = MemoryBudget::new(512 * KIB);
    let mut stalled = link(&budget, vec![50 << 10; 100]).await;
    // As much as it gets.
    let kept = hoard(&mut stalled, 3).await;
    let progress = stalled.progress();
    until(|| {
        let pauses = progress.borrow().link.pauses;
        pauses.contains(PauseReason::SharedBudget)
    })
    .await;
    assert!(progress.borrow().link.retained_bytes <= 512 * KIB + PART);
    // Records larger than what is left, and as many small ones.
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(link(&budget, [vec![300 << 10; 10], vec![100; 1000]].concat()).await);
    }
    let taken = others
        .iter_mut()
        .map(|link| take(link, 1010))
        .collect::<Vec<_>>();
    futures_util::future::join_all(taken).await;
    assert!(!stalled.progress().borrow().link.pauses.is_empty());
    drop(others);
    drop(kept);
    take(&mut stalled, 90).await;
    drop(stalled);
    until(|| budget.leased() == 0 && budget.waiting() == 0).await;
}

#[tokio::test]
async fn records_larger_than_the_whole_budget_come_one_link_after_the_other() {
    let budget = MemoryBudget::new(200 * KIB);
    let mut links = Vec::new();
    for _ in 0..6 {
        links.push(link(&budget, vec![1 << 20; 3]).await);
    }
    // The largest that is ever leased is looked at all the time.
    let watched = budget.clone();
    let most = tokio::spawn(async move {
        let mut most = 0;
        while watched.leased() > 0 {
            most = most.max(watched.leased());
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        most
    });
    let taken = links
        .iter_mut()
        .map(|link| take(link, 3))
        .collect::<Vec<_>>();
    futures_util::future::join_all(taken).await;
    drop(links);
    until(|| budget.leased() == 0).await;
    let most = most.await.unwrap();
    // One part for each, one record, and what its parts cost.
    let bound = 6 * PART + (1 << 20) + 6 * PART;
    assert!(most <= bound, "{most} of {bound}");
}

#[tokio::test]
async fn a_link_with_room_is_never_paused_for_the_budget() {
    let budget = MemoryBudget::new(1 << 30);
    let mut link = link(&budget, [vec![100; 100], vec![200 << 10; 10]].concat()).await;
    take(&mut link, 110).await;
    link.shutdown();
    let end = link.end().await;
    assert_eq!(end.stats.pauses[PauseReason::SharedBudget.index()], 0);
}

/// A link whose peer sends half of a large record, and then nothing but pongs.
async fn half(budget: &MemoryBudget, limit: Duration) -> Link {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.budget = Some(budget.clone());
    config.core.timeouts.message = limit;
    tokio::spawn(async move {
        let (mut peer, _) = publisher.link().await;
        let record = padded_batch(&["a"], 1 << 20, TIME + 1.0);
        let mut frame = vec![0x82, 127];
        frame.extend_from_slice(&(record.len() as u64).to_be_bytes());
        frame.extend_from_slice(&record[..record.len() / 2]);
        let _ = peer.socket.get_mut().write_all(&frame).await;
        peer.gone().await;
    });
    let start = Start::At(Sequence(1.0));
    let link = Link::connect(&config, start, NoBlobs).await.unwrap();
    let progress = link.progress();
    until(|| progress.borrow().link.stats.bytes > 500 << 10).await;
    link
}

#[tokio::test]
async fn a_peer_that_stops_in_a_record_holds_the_others_up_for_a_while_only() {
    let budget = MemoryBudget::new(200 * KIB);
    let mut stopped = half(&budget, Duration::from_millis(50)).await;
    let mut other = link(&budget, vec![1 << 20; 2]).await;
    take(&mut other, 2).await;
    while soon(stopped.next()).await.is_some() {}
    let reason = stopped.end().await.close.reason;
    let CloseReason::Error(LinkError::TimedOut { watchdog, .. }) = reason else {
        panic!("{reason:?}");
    };
    assert_eq!(watchdog, Watchdog::Message);
}

#[tokio::test]
async fn a_link_that_does_not_read_has_no_turn() {
    let budget = MemoryBudget::new(200 * KIB);
    let first = half(&budget, Duration::from_secs(3600)).await;
    let second = link(&budget, vec![1 << 20; 2]).await;
    until(|| budget.waiting() == 1).await;
    // Now it is the one that would have the next turn, and cannot use it.
    second.set_ready(false);
    let mut third = link(&budget, vec![1 << 20; 2]).await;
    drop(first);
    take(&mut third, 2).await;
    drop(second);
}
