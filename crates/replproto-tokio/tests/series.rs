//! The links of a run as a series: what one hands on to the next, and what is counted and waited for over all of them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replproto_core::wire::entry::Flags;
use replproto_core::wire::{BatchBuilder, NewEntry};
use replproto_core::{EndCause, Sequence, WallTime};
use replproto_tokio::{
    Ended, LinkConfig, MemorySink, MemorySinkError, NoBlobs, Phase, RunEnd, RunError, RunOptions,
    SinkStep, run,
};
use support::{Publisher, TIME, options, soon};
use tokio::task::JoinHandle;

type Ending = Result<RunEnd, RunError<MemorySinkError>>;

fn start(config: LinkConfig, mut sink: MemorySink, options: &RunOptions) -> JoinHandle<Ending> {
    let options = options.clone();
    tokio::spawn(async move { run(config, &mut sink, NoBlobs, options).await })
}

#[tokio::test]
async fn a_store_may_fail_now_and_then_if_it_works_in_between() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.storage_tries = 2;
    let sink = MemorySink::new();
    let fails = Arc::new(AtomicBool::new(false));
    let next = fails.clone();
    sink.view().plan(move |step| {
        let result = if step == SinkStep::Commit && next.swap(false, Ordering::Relaxed) {
            Err("disk full".to_owned())
        } else {
            Ok(())
        };
        (Duration::ZERO, result)
    });
    let running = start(publisher.config(), sink, &options);
    let (mut peer, _) = publisher.link().await;
    for sequence in [2.0, 3.0, 4.0, 5.0] {
        fails.store(true, Ordering::Relaxed);
        peer.put(&["a"], sequence).await;
        peer.closed().await;
        peer = publisher.link().await.0;
        peer.put(&["a"], sequence).await;
        peer.confirmed_up_to(sequence).await;
    }
    assert_eq!(options.progress.borrow().ends[EndCause::Storage.index()], 4);
    options.stop.shutdown();
    assert_eq!(soon(running).await.unwrap().unwrap().how, Ended::Shutdown);
}

#[tokio::test]
async fn delays_start_again_after_a_link_that_stored_something() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.longest_delay = Duration::from_millis(64);
    let mut progress = options.progress.subscribe();
    let running = start(publisher.config(), MemorySink::new(), &options);
    let mut delays = Vec::new();
    for stores in [false, false, false, true, false] {
        let (mut peer, _) = publisher.link().await;
        if stores {
            peer.put(&["a"], 2.0).await;
            peer.confirmed_up_to(2.0).await;
        }
        drop(peer);
        let links = delays.len() as u64 + 1;
        let waits = soon(progress.wait_for(|snapshot| {
            snapshot.links == links && matches!(snapshot.phase, Phase::Waiting(_))
        }));
        if let Phase::Waiting(delay) = waits.await.unwrap().phase {
            delays.push(delay.as_millis());
        }
    }
    assert_eq!(delays, [1, 2, 4, 1, 2]);
    options.stop.shutdown();
    soon(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_store_passes_over_is_counted() {
    let publisher = Publisher::bind().await;
    let options = options();
    let sink = MemorySink::new();
    let view = sink.view();
    let running = start(publisher.config(), sink, &options);
    let (mut peer, _) = publisher.link().await;
    let mut batch = BatchBuilder::new(WallTime(TIME));
    for value in [&[0xc1_u8][..], &[0x80], &[0xc1]] {
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL,
            key: b"\xa1a",
            version: TIME,
            value,
            ..NewEntry::default()
        });
    }
    peer.send_bytes(batch.finish(Some(Sequence(2.0)))).await;
    peer.confirmed_up_to(2.0).await;
    options.stop.shutdown();
    let end = soon(running).await.unwrap().unwrap();
    assert_eq!((end.stats.records, end.stats.skipped_by_host), (3, 2));
    assert_eq!(view.skipped(), 2);
}

#[tokio::test]
async fn pings_do_not_put_off_the_end_when_idle() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.timeouts.ping_interval = Duration::from_millis(70);
    let mut options = options();
    options.until_idle = Some(Duration::from_millis(300));
    let running = start(config, MemorySink::new(), &options);
    let (mut peer, _) = publisher.link().await;
    // Each ping is answered while this waits.
    peer.closed().await;
    assert!(peer.pings > 2, "{} pings", peer.pings);
    assert_eq!(soon(running).await.unwrap().unwrap().how, Ended::Idle);
}
