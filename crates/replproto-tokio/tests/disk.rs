//! A store that fails is tried again, with growing delays, and not for ever.

mod support;

use std::time::Duration;

use replproto_core::{Sequence, Start};
use replproto_tokio::{
    Ended, FileBlobStore, LinkConfig, MemorySink, NoBlobs, RunError, RunOptions, SinkStep, run,
};
use support::{DATABASE, NAME, Publisher, soon};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_is_not_tried_in_a_hot_loop() {
    let mut sink = MemorySink::new();
    let (told, mut moments) = tokio::sync::mpsc::unbounded_channel();
    sink.view().plan(move |step| {
        assert_eq!(step, SinkStep::Load, "nothing is begun");
        told.send(Instant::now()).unwrap();
        (Duration::ZERO, Err("input/output error".to_owned()))
    });
    let link = LinkConfig::new("ws://127.0.0.1:1".parse().unwrap(), "us", "data");
    let options = RunOptions::default();
    let tries = options.storage_tries;
    let error = run(link, &mut sink, NoBlobs, options).await.unwrap_err();
    assert!(
        matches!(error, RunError::Sink { tries: 10, .. }),
        "{error:?}"
    );
    let mut all = Vec::new();
    while let Ok(moment) = moments.try_recv() {
        all.push(moment);
    }
    assert_eq!(all.len(), tries as usize);
    let delays: Vec<u128> = all
        .windows(2)
        .map(|two| (two[1] - two[0]).as_millis())
        .collect();
    assert_eq!(
        delays,
        [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
    );
}

#[tokio::test]
async fn blobs_whose_folder_is_gone_come_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("blobs");
    let blobs = FileBlobStore::open_dir(&root).await.unwrap();
    let path = blobs.path(NAME, DATABASE, "1a");
    std::fs::remove_dir_all(&root).unwrap();
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.timeouts.blob_gap = Duration::from_millis(50);
    let mut sink = MemorySink::new();
    let view = sink.view();
    let mut options = RunOptions::default();
    options.start = Start::At(Sequence(1.0));
    options.first_delay = Duration::from_millis(1);
    options.longest_delay = Duration::from_millis(1);
    let stop = options.stop.clone();
    let task = tokio::spawn(async move { run(config, &mut sink, blobs, options).await });
    for link in 0..5 {
        if link == 4 {
            std::fs::create_dir(&root).unwrap();
        }
        let (mut peer, request) = publisher.link().await;
        // Nothing is confirmed that is not there, and nothing is lost because of it.
        assert_eq!(request.subscriptions[0].start, Sequence(1.0));
        peer.put_blob("a", "1a", 2.0).await;
        peer.chunk("1a", b"bytes", true).await;
        if link == 4 {
            peer.confirmed_up_to(2.0).await;
            assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
            stop.shutdown();
        }
        peer.closed().await;
        assert_eq!(view.rows("Dog").len(), 1);
    }
    assert_eq!(soon(task).await.unwrap().unwrap().how, Ended::Shutdown);
}

/// Somebody puts a backup in the place of a replica that is followed into.
#[cfg(all(unix, feature = "sqlite"))]
#[tokio::test]
async fn a_backup_that_takes_the_place_of_a_replica_is_gone_on_with_from_its_own_cursor() {
    use replproto_tokio::{Replica, Sink, SqliteOptions, SqliteSink};

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replica.db");
    let publisher = Publisher::bind().await;
    let options = SqliteOptions::new(NAME, DATABASE);
    let mut sink = SqliteSink::open(&file, options).await.unwrap();
    let mut options = RunOptions::default();
    options.start = Start::At(Sequence(1.0));
    options.first_delay = Duration::from_millis(1);
    let stop = options.stop.clone();
    let config = publisher.config();
    let task = tokio::spawn(async move {
        let ended = run(config, &mut sink, NoBlobs, options).await;
        sink.close().await;
        ended
    });
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(1.0));
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    let backup = folder.path().join("backup.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
    peer.put(&["b"], 3.0).await;
    peer.confirmed_up_to(3.0).await;
    std::fs::rename(&backup, &file).unwrap();
    peer.put(&["c"], 4.0).await;
    peer.closed().await;
    // What came after the backup comes again.
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(2.0));
    peer.put(&["b"], 3.0).await;
    peer.put(&["c"], 4.0).await;
    peer.confirmed_up_to(4.0).await;
    stop.shutdown();
    peer.closed().await;
    assert_eq!(soon(task).await.unwrap().unwrap().how, Ended::Shutdown);
    let replica = Replica::open(&file).unwrap();
    let links = replica.links().unwrap();
    let tables = replica.tables(&links[0]).unwrap();
    assert_eq!(replica.count(&tables[0]).unwrap(), 3);
}
