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
