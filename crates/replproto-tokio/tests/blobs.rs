//! Blobs on their way from a publisher to a store.

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use replproto_core::event::BlobFault;
use replproto_core::{Event, Sequence, Start};
use replproto_tokio::{BlobStep, Link, MemoryBlobStore, NoBlobs};
use support::{DATABASE, NAME, Peer, Publisher, soon, until};

async fn open<B: replproto_tokio::BlobStore>(store: B) -> (Link, Peer) {
    let publisher = Publisher::bind().await;
    let config = publisher.config();
    let connect = Link::connect(&config, Start::At(Sequence(1.0)), store);
    let (link, (peer, _)) = tokio::join!(connect, publisher.link());
    (link.unwrap(), peer)
}

async fn next_such(link: &mut Link, is_it: impl Fn(&Event) -> bool) -> Event {
    loop {
        let delivery = soon(link.next()).await.expect("the link is over");
        if is_it(&delivery) {
            return delivery.into_event();
        }
    }
}

/// Fails every one of these steps.
fn fail(store: &MemoryBlobStore, failing: BlobStep) {
    store.plan(move |step, _| {
        let result = if step == failing {
            Err("disk full".to_owned())
        } else {
            Ok(())
        };
        (Duration::ZERO, result)
    });
}

async fn fault_of(store: impl replproto_tokio::BlobStore) -> BlobFault {
    let (mut link, mut peer) = open(store).await;
    peer.put_blob("a", "1a", 2.0).await;
    peer.chunk("1a", b"some", false).await;
    peer.chunk("1a", b"bytes", true).await;
    let held = next_such(&mut link, |event| matches!(event, Event::BlobHeld(_))).await;
    let Event::BlobHeld(failure) = held else {
        panic!("{held:?}");
    };
    assert_eq!(&*failure.file, "1a");
    link.shutdown();
    let end = soon(link.end()).await;
    assert_eq!(end.stats.blobs_held, 1);
    failure.fault
}

#[tokio::test]
async fn a_blob_is_saved_and_its_record_confirmed_after_it() {
    let store = MemoryBlobStore::new();
    let (mut link, mut peer) = open(store.clone()).await;
    peer.chunk("1a", b"some", false).await;
    peer.put_blob("a", "1a", 2.0).await;
    let end = next_such(&mut link, |event| matches!(event, Event::EndTransaction(_))).await;
    let Event::EndTransaction(end) = end else {
        panic!("{end:?}");
    };
    assert_eq!(end.cursor, None);
    link.commit(end.id);
    peer.chunk("1a", b"", false).await;
    peer.chunk("1a", b"bytes", true).await;
    let checkpoint = next_such(&mut link, |event| matches!(event, Event::Checkpoint(_))).await;
    assert_eq!(store.get(NAME, DATABASE, "1a").unwrap(), b"somebytes");
    let Event::Checkpoint(checkpoint) = checkpoint else {
        panic!("{checkpoint:?}");
    };
    link.commit(checkpoint.id);
    assert_eq!(peer.confirmed().await, 2.0);
    assert_eq!(store.counts(), (1, 1, 0));
}

#[tokio::test]
async fn each_step_of_a_store_may_fail() {
    for step in [BlobStep::Open, BlobStep::Write, BlobStep::Save] {
        let store = MemoryBlobStore::new();
        fail(&store, step);
        let fault = fault_of(store.clone()).await;
        assert_eq!(
            fault,
            BlobFault::Local {
                why: "disk full".into()
            },
            "{step:?}"
        );
        assert_eq!(store.open_writers(), 0);
        assert!(store.is_empty());
    }
}

#[tokio::test]
async fn a_link_without_blobs_holds_the_cursor() {
    let fault = fault_of(NoBlobs).await;
    assert!(matches!(fault, BlobFault::Local { .. }), "{fault:?}");
}

#[tokio::test]
async fn a_store_that_panics_fails_the_blob_only() {
    let store = MemoryBlobStore::new();
    store.plan(|step, _| {
        assert_ne!(step, BlobStep::Write, "as the test wants it");
        (Duration::ZERO, Ok(()))
    });
    let fault = fault_of(store).await;
    assert!(matches!(fault, BlobFault::Local { .. }), "{fault:?}");
}

#[tokio::test]
async fn every_writer_is_aborted_before_the_link_is_over() {
    let store = MemoryBlobStore::new();
    let (link, mut peer) = open(store.clone()).await;
    for file in ["1", "2", "3"] {
        peer.chunk(file, b"half", false).await;
    }
    until(|| store.open_writers() == 3).await;
    drop(peer);
    soon(link.end()).await;
    assert_eq!(store.counts(), (3, 0, 3));
}

#[tokio::test]
async fn a_writer_that_hangs_is_aborted_with_its_link() {
    let store = MemoryBlobStore::new();
    store.plan(|step, _| {
        let delay = match step {
            BlobStep::Write => Duration::from_secs(3600),
            _ => Duration::ZERO,
        };
        (delay, Ok(()))
    });
    let (link, mut peer) = open(store.clone()).await;
    peer.chunk("1", b"half", false).await;
    until(|| store.open_writers() == 1).await;
    link.shutdown();
    soon(link.end()).await;
    assert_eq!(store.open_writers(), 0);
}
