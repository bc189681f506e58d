//! A store that fails is tried again, with growing delays, and not for ever.

use std::time::Duration;

use replproto_tokio::{LinkConfig, MemorySink, NoBlobs, RunError, RunOptions, SinkStep, run};
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
