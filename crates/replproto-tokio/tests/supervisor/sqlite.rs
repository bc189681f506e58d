//! Links that store into files of SQLite.

use std::time::Duration;

use replproto_core::wire::Message;
use replproto_core::{Sequence, Start, StoredCursor};
use replproto_tokio::{
    LinkKey, LinkSetup, LinkStatus, NoBlobs, Sink, SqliteError, SqliteOptions, SqliteSink,
    Supervisor,
};
use tokio::task::JoinSet;

use crate::fleet::{key, options};
use crate::support::{Peer, Publisher, Said, soon, until};

#[tokio::test]
async fn workers_may_die_while_files_are_written() {
    const LINKS: usize = 8;
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    // Each message is a transaction of its own, and each is committed.
    config.core.flow.commits.high.items = 2;
    config.core.flow.commits.low.items = 1;
    let writing = tokio::spawn(write_for_ever(publisher));
    let folder = tempfile::tempdir().unwrap();
    let file = {
        let folder = folder.path().to_owned();
        move |key: &LinkKey| folder.join(&*key.peer)
    };
    let mut options = options();
    options.workers = 2;
    let supervisor = {
        let file = file.clone();
        Supervisor::start(options, move |key, _| {
            let (config, file) = (config.clone(), file(&key));
            async move {
                let options = SqliteOptions::new(&*key.peer, &*key.database);
                let sink = SqliteSink::open(file, options).await?;
                let mut setup = LinkSetup::new(config, sink, NoBlobs);
                setup.options.start = Start::At(Sequence(1.0));
                Ok::<_, SqliteError>(setup)
            }
        })
    };
    for number in 0..LINKS {
        supervisor.add(key(number));
    }
    let cursors = || -> Vec<f64> {
        let links = supervisor.links();
        let cursor = |link: &LinkStatus| {
            let cursor = link.progress.borrow().cursor.clone();
            cursor.map_or(0.0, |cursor| cursor.sequence.0)
        };
        links.iter().map(cursor).collect()
    };
    let mut floor = vec![0.0; LINKS];
    for round in 0..10 {
        // All have gone on, from where they were at least.
        until(|| cursors().iter().zip(&floor).all(|(now, floor)| now > floor)).await;
        floor = cursors();
        until(|| supervisor.kill_worker(round % 2)).await;
        until(|| supervisor.counters().worker_exits == round as u64 + 1).await;
    }
    until(|| cursors().iter().zip(&floor).all(|(now, floor)| now > floor)).await;
    soon(supervisor.shutdown()).await;
    writing.abort();
    for (number, floor) in floor.into_iter().enumerate() {
        let options = SqliteOptions::new(&*key(number).peer, "data");
        let mut sink = SqliteSink::open(file(&key(number)), options).await.unwrap();
        let StoredCursor::Found(cursor) = sink.load().await.unwrap().cursor else {
            panic!("there is a cursor");
        };
        assert!(cursor.sequence.0 >= floor);
        sink.close().await;
    }
}

/// Serves everyone a log without an end, a transaction for each confirmation.
async fn write_for_ever(publisher: Publisher) {
    let mut peers = JoinSet::new();
    loop {
        let stream = publisher.accept_raw_at_leisure().await;
        peers.spawn(async move {
            let Some(mut peer) = Peer::try_accept(stream, Duration::from_secs(60)).await else {
                return;
            };
            let Some(request) = peer.greet(None).await else {
                return;
            };
            peer.answer(&request).await;
            let mut at = request.subscriptions[0].start.0;
            loop {
                at += 1.0;
                peer.put(&["a", "b"], at).await;
                loop {
                    match peer.hear().await {
                        Said::Message(Message::CommittedUpdate(sequence)) if sequence.0 < at => {}
                        Said::Message(_) => break,
                        Said::Closed(_) | Said::Gone => return,
                    }
                }
            }
        });
    }
}
