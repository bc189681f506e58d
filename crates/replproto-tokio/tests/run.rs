//! A publisher followed into a sink, over one link or many.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use replproto_core::wire::{BatchBuilder, Message};
use replproto_core::{CloseReason, Cursor, EndCause, Sequence, Start, WallTime};
use replproto_tokio::{
    Authorization, AuthorizationProvider, Ended, Interruption, MemoryBlobStore, MemorySink,
    MemorySinkError, MemoryView, NoBlobs, Phase, RunEnd, RunError, RunOptions, SinkStep, run,
};
use support::{
    Peer, Publisher, Said, TABLE, TIME, batch, batch_without_end, keys, options, padded_batch,
    soon, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

type Ending = Result<RunEnd, RunError<MemorySinkError>>;

struct Follower {
    view: MemoryView,
    options: RunOptions,
    task: JoinHandle<Ending>,
}

impl Follower {
    fn start(publisher: &Publisher, options: &RunOptions) -> Self {
        Self::start_with(publisher, MemorySink::new(), options)
    }

    fn start_with(publisher: &Publisher, mut sink: MemorySink, options: &RunOptions) -> Self {
        let view = sink.view();
        let config = publisher.config();
        let run_options = options.clone();
        let task = tokio::spawn(async move { run(config, &mut sink, NoBlobs, run_options).await });
        Self {
            view,
            options: options.clone(),
            task,
        }
    }

    async fn end(self) -> Ending {
        soon(self.task).await.unwrap()
    }

    async fn shut_down(self) {
        self.options.stop.shutdown();
        assert_eq!(self.end().await.unwrap().how, Ended::Shutdown);
    }
}

#[tokio::test]
async fn follows_the_log_and_confirms_what_is_durable() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(1.0));
    for sequence in 2..6 {
        peer.put(&["a", "b"], f64::from(sequence)).await;
        peer.confirmed_up_to(f64::from(sequence)).await;
        let cursor = follower.view.cursor().unwrap();
        assert!(cursor.sequence.0 >= f64::from(sequence));
    }
    assert_eq!(keys(&follower.view), ["a", "b"]);
    follower.shut_down().await;
}

#[tokio::test]
async fn copies_first_when_there_is_no_cursor() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.start = Start::Copy;
    let follower = Follower::start(&publisher, &options);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(0.0));
    let start = TIME + 100.0;
    peer.send(&Message::CopyStart {
        start: WallTime(start),
        order: 1,
    })
    .await;
    peer.put(&["a"], start - 50.0).await;
    peer.put(&["b"], start).await;
    peer.send(&Message::CopyComplete).await;
    peer.put(&["c"], start + 1.0).await;
    peer.confirmed_up_to(start + 1.0).await;
    assert_eq!(keys(&follower.view), ["a", "b", "c"]);
    assert_eq!(
        follower.view.cursor(),
        Some(Cursor::at(Sequence(start + 1.0)))
    );
    follower.shut_down().await;
}

#[tokio::test]
async fn a_transaction_that_breaks_off_is_rolled_back_and_comes_again() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    // More records than a batch for the sink has, and then bytes that are no record.
    let names: Vec<String> = (0..1000).map(|i| format!("k{i:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let whole = batch(&names, 3.0);
    let mut broken = whole.clone();
    let end = broken.len() - 10;
    broken.truncate(end);
    broken.extend_from_slice(&[1, 0xff]);
    peer.send_bytes(broken).await;
    assert_eq!(peer.closed().await.unwrap().0, 1002);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(2.0));
    assert_eq!(keys(&follower.view), ["a"]);
    // After a commit the stored position is confirmed anew.
    peer.confirmed_up_to(2.0).await;
    peer.send_bytes(whole).await;
    peer.confirmed_up_to(3.0).await;
    assert_eq!(follower.view.rows(TABLE).len(), 1001);
    follower.shut_down().await;
}

#[tokio::test]
async fn a_connection_cut_inside_a_message_is_dialled_again() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    // The head of a frame of 1000 bytes, and a few of them.
    let stream = peer.socket.get_mut();
    stream.write_all(&[0x82, 126, 0x03, 0xe8]).await.unwrap();
    stream
        .write_all(&batch_without_end(&["b"], 3.0))
        .await
        .unwrap();
    drop(peer);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(2.0));
    assert_eq!(keys(&follower.view), ["a"]);
    peer.put(&["b"], 3.0).await;
    peer.confirmed_up_to(3.0).await;
    follower.shut_down().await;
}

#[tokio::test]
async fn what_came_before_the_end_of_a_connection_is_stored_with_its_cursor() {
    const COUNT: u32 = 300;
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    for (round, is_closed) in [true, false].into_iter().enumerate() {
        let (mut peer, request) = publisher.link().await;
        let first = 2 + round as u32 * COUNT;
        let start = request.subscriptions[0].start;
        assert!(
            round == 0 || start == Sequence(f64::from(first - 1)),
            "{start:?}"
        );
        for number in first..first + COUNT {
            peer.put(&[&number.to_string()], f64::from(number)).await;
        }
        if is_closed {
            peer.close(1000, "enough").await;
        }
        drop(peer);
    }
    let (_peer, request) = publisher.link().await;
    let last = f64::from(1 + 2 * COUNT);
    assert_eq!(request.subscriptions[0].start, Sequence(last));
    assert_eq!(keys(&follower.view).len(), 2 * COUNT as usize);
    follower.shut_down().await;
}

#[tokio::test]
async fn small_transactions_share_a_commit_and_each_is_confirmed_after_it() {
    const COUNT: u32 = 1000;
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let view = sink.view();
    view.plan(|step| {
        let delay = match step {
            SinkStep::Commit => Duration::from_millis(10),
            _ => Duration::ZERO,
        };
        (delay, Ok(()))
    });
    let follower = Follower::start_with(&publisher, sink, &options());
    let (peer, _) = publisher.link().await;
    let (mut sink, stream) = futures_util::StreamExt::split(peer.socket);
    let writer = tokio::spawn(async move {
        for number in 0..COUNT {
            let bytes = batch(&["a"], f64::from(number + 2));
            let frame = tokio_tungstenite::tungstenite::Message::Binary(bytes.into());
            futures_util::SinkExt::send(&mut sink, frame).await.unwrap();
        }
        sink
    });
    let mut stream = stream;
    let last = f64::from(COUNT + 1);
    loop {
        let frame = soon(futures_util::StreamExt::next(&mut stream)).await;
        let bytes = frame.unwrap().unwrap().into_data();
        if let Ok(Message::CommittedUpdate(sequence)) = Message::decode(&bytes) {
            assert!(view.cursor().unwrap().sequence >= sequence);
            if sequence.0 == last {
                break;
            }
        }
    }
    let commits = view.commits();
    assert!(commits < u64::from(COUNT) / 2, "{commits} commits");
    let progress = follower.options.progress.borrow().clone();
    assert_eq!(progress.cursor, view.cursor());
    drop(writer.await.unwrap());
    drop(stream);
    follower.shut_down().await;
}

#[tokio::test]
async fn a_transaction_larger_than_every_mark_goes_through() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.flow.consumer.high.items = 10;
    config.core.flow.consumer.low.items = 0;
    config.core.flow.commits.high.items = 1;
    config.core.flow.commits.low.items = 0;
    let mut sink = MemorySink::new();
    let view = sink.view();
    let options = options();
    let stop = options.stop.clone();
    let task = tokio::spawn(async move { run(config, &mut sink, NoBlobs, options).await });
    let (mut peer, _) = publisher.link().await;
    let names: Vec<String> = (0..2000).map(|i| format!("k{i:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for sequence in [2.0, 3.0] {
        peer.put(&["small"], sequence - 0.5).await;
        peer.send_bytes(padded_batch(&names, 1000, sequence)).await;
    }
    peer.confirmed_up_to(3.0).await;
    assert_eq!(view.rows(TABLE).len(), 2001);
    stop.shutdown();
    soon(task).await.unwrap().unwrap();
}

#[tokio::test]
async fn ends_when_nothing_comes_any_more() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.until_idle = Some(Duration::from_millis(60));
    let follower = Follower::start(&publisher, &options);
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    assert_eq!(
        peer.closed().await,
        Some((1008, "No longer subscribed".into()))
    );
    assert_eq!(keys(&follower.view), ["a"]);
    let end = follower.end().await.unwrap();
    assert_eq!(end.how, Ended::Idle);
    assert_eq!(end.stats.records, 1);
    assert_eq!(end.snapshot.phase, Phase::Ended);
    assert_eq!(end.snapshot.links, 1);
}

#[tokio::test]
async fn is_not_idle_while_a_blob_is_missing() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.until_idle = Some(Duration::from_millis(40));
    let mut sink = MemorySink::new();
    let view = sink.view();
    let store = MemoryBlobStore::new();
    let (config, blobs) = (publisher.config(), store.clone());
    let task = tokio::spawn(async move { run(config, &mut sink, blobs, options).await });
    let (mut peer, _) = publisher.link().await;
    peer.put_blob("a", "1a", 2.0).await;
    until(|| !view.rows(TABLE).is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!task.is_finished());
    peer.chunk("1a", b"bytes", true).await;
    peer.confirmed_up_to(2.0).await;
    let end = soon(task).await.unwrap().unwrap();
    assert_eq!(end.how, Ended::Idle);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_store_that_fails_is_tried_again_from_its_cursor() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let view = sink.view();
    for failing in [SinkStep::Begin, SinkStep::Apply, SinkStep::Commit] {
        let mut has_failed = false;
        view.plan(move |step| {
            let fails = step == failing && !std::mem::replace(&mut has_failed, step == failing);
            let result = if fails {
                Err("disk full".to_owned())
            } else {
                Ok(())
            };
            (Duration::ZERO, result)
        });
        let follower = Follower::start_with(&publisher, view.reopen(), &options());
        let (mut peer, _) = publisher.link().await;
        assert_eq!(
            peer.closed().await,
            Some((1008, "No longer subscribed".into())),
            "{failing:?}"
        );
        let (mut peer, _) = publisher.link().await;
        let next = view.cursor().map_or(1.0, |cursor| cursor.sequence.0) + 1.0;
        peer.put(&["a"], next).await;
        peer.confirmed_up_to(next).await;
        follower.shut_down().await;
    }
}

#[tokio::test]
async fn a_store_that_always_fails_ends_the_run() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    sink.view().plan(|step| {
        let result = match step {
            SinkStep::Load => Err("disk broken".to_owned()),
            _ => Ok(()),
        };
        (Duration::ZERO, result)
    });
    let mut options = options();
    options.storage_tries = 3;
    let error = Follower::start_with(&publisher, sink, &options).end().await;
    match error.unwrap_err() {
        RunError::Sink { tries: 3, error } => assert_eq!(error.to_string(), "disk broken"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_never_means_to_start_from_nothing() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    sink.view().make_cursor_unreadable("torn page");
    let follower = Follower::start_with(&publisher, sink, &options());
    assert!(matches!(
        follower.end().await.unwrap_err(),
        RunError::Cursor(_)
    ));
}

#[tokio::test]
async fn a_cursor_belongs_to_the_publisher_that_gave_it() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    let view = follower.view.clone();
    follower.shut_down().await;
    let follower = Follower::start_with(&publisher, view.reopen(), &options());
    let mut peer = publisher.accept().await;
    say_other_name(&mut peer).await;
    // Whoever answers there may be replaced by the right one.
    publisher.link().await;
    follower.shut_down().await;

    // Whoever expects another publisher has taken the wrong store; that one is not even asked.
    let mut config = publisher.config();
    config.core.peer_name = Some("node-b".into());
    let mut sink = view.reopen();
    let error = soon(run(config, &mut sink, NoBlobs, options())).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, RunError::OtherPublisher { stored, expected } if stored == "node-a" && expected == "node-b"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_publisher_that_is_replaced_meanwhile_only_ends_the_link() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    drop(peer);
    let mut peer = publisher.accept().await;
    say_other_name(&mut peer).await;
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(2.0));
    peer.put(&["b"], 3.0).await;
    peer.confirmed_up_to(3.0).await;
    follower.shut_down().await;
}

async fn say_other_name(peer: &mut Peer) {
    let Said::Message(Message::NodeName(_)) = peer.hear().await else {
        panic!("no greeting");
    };
    let other = replproto_core::wire::message::NodeName {
        name: Some("node-b".into()),
        database: support::DATABASE.into(),
        ..Default::default()
    };
    peer.send(&Message::NodeName(other)).await;
    assert!(matches!(
        peer.hear().await,
        Said::Message(Message::Disconnect)
    ));
    assert_eq!(
        peer.closed().await,
        Some((1008, "Node name mismatch".into()))
    );
}

#[tokio::test]
async fn a_stored_cursor_wins_unless_it_is_to_be_ignored() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 5.0).await;
    peer.confirmed_up_to(5.0).await;
    let view = follower.view.clone();
    follower.shut_down().await;
    for (ignore, first) in [(false, 5.0), (true, 1.0)] {
        let mut options = options();
        options.ignore_cursor = ignore;
        let follower = Follower::start_with(&publisher, view.reopen(), &options);
        let (mut peer, request) = publisher.link().await;
        assert_eq!(request.subscriptions[0].start, Sequence(first));
        peer.put(&["a"], 7.0).await;
        peer.confirmed_up_to(7.0).await;
        // Only the first link ignores it.
        drop(peer);
        let (_, request) = publisher.link().await;
        assert_eq!(request.subscriptions[0].start, Sequence(7.0));
        follower.shut_down().await;
    }
}

#[tokio::test]
async fn every_failed_dial_is_followed_by_one_other() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let progress = follower.options.progress.subscribe();
    for failures in 1..4 {
        let mut stream = publisher.accept_raw().await;
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        until(|| progress.borrow().failed_dials == failures).await;
    }
    let told = progress.borrow().last_interruption.clone();
    assert!(
        matches!(told, Some(Interruption::NotConnected(_))),
        "{told:?}"
    );
    let (mut peer, _) = publisher.link().await;
    assert_eq!(progress.borrow().failed_dials, 0);
    peer.put(&["a"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    follower.shut_down().await;
}

#[tokio::test]
async fn a_drain_confirms_what_is_in_hand() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    peer.put(&["a"], 2.0).await;
    until(|| follower.view.cursor().is_some()).await;
    follower.options.stop.drain(Duration::from_secs(30));
    peer.confirmed_up_to(2.0).await;
    assert_eq!(peer.closed().await.unwrap().0, 1008);
    let end = follower.end().await.unwrap();
    assert_eq!(end.how, Ended::Drained);
    match end.snapshot.last_interruption {
        Some(Interruption::Closed(reason)) => assert_eq!(reason, CloseReason::Drained),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stop_holds_between_two_dials_too() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.first_delay = Duration::from_secs(3600);
    options.longest_delay = Duration::from_secs(3600);
    let follower = Follower::start(&publisher, &options);
    drop(publisher.accept_raw().await);
    let progress = options.progress.subscribe();
    until(|| matches!(progress.borrow().phase, Phase::Waiting(_))).await;
    follower.shut_down().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_an_error() {
    let publisher = Publisher::bind().await;
    let mut options = options();
    options.deadline = Some(Duration::from_millis(50));
    let follower = Follower::start(&publisher, &options);
    let mut peer = publisher.accept().await;
    peer.set_up().await;
    assert_eq!(peer.closed().await.unwrap().0, 1008);
    let error = follower.end().await.unwrap_err();
    assert!(matches!(error, RunError::Deadline(_)), "{error:?}");
}

#[tokio::test]
async fn a_batch_with_nothing_but_its_end_moves_the_cursor() {
    let publisher = Publisher::bind().await;
    let follower = Follower::start(&publisher, &options());
    let (mut peer, _) = publisher.link().await;
    let empty = BatchBuilder::new(WallTime(TIME)).finish(Some(Sequence(9.0)));
    peer.send_bytes(empty).await;
    peer.confirmed_up_to(9.0).await;
    peer.send(&Message::SequenceUpdate(Sequence(12.0))).await;
    peer.confirmed_up_to(12.0).await;
    assert_eq!(follower.view.cursor(), Some(Cursor::at(Sequence(12.0))));
    follower.shut_down().await;
}

#[tokio::test]
async fn a_run_goes_on_past_an_authorization_that_cannot_be_had() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    let dials = AtomicU32::new(0);
    config.authorization = Some(AuthorizationProvider::new(move || {
        let dial = dials.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(dial != 0, "the first one panics");
            match dial {
                1 => Err("no token for the second"),
                _ => Ok(Authorization::new(format!("Bearer {dial}")).unwrap()),
            }
        }
    }));
    let options = options();
    let (stop, progress) = (options.stop.clone(), options.progress.subscribe());
    let mut sink = MemorySink::new();
    let running = run(config, &mut sink, NoBlobs, options);
    let (end, ()) = tokio::join!(soon(running), async {
        for dial in 2..4 {
            let (peer, _) = publisher.link().await;
            assert_eq!(peer.authorization, Some(format!("Bearer {dial}")));
        }
        stop.shutdown();
    });
    assert_eq!(end.unwrap().how, Ended::Shutdown);
    let ends = progress.borrow().ends[EndCause::Authorization.index()];
    assert_eq!(ends, 2);
}
