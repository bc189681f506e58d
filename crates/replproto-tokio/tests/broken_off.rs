//! A transaction whose end has not come when its connection is over leaves nothing in the store, however that came about.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use replproto_core::config::Mode;
use replproto_core::wire::Message;
use replproto_core::{Sequence, StoredCursor, WallTime};
use replproto_tokio::{
    Ended, LinkConfig, MemorySink, MemoryView, NoBlobs, RunEnd, RunError, RunOptions, Sink,
    SinkStep, Snapshot, run,
};
use support::{Peer, Publisher, TIME, batch, options, soon, until};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// More records than a batch for the sink has, so that some are in the store before the end of their transaction comes.
const RECORDS: usize = 3000;

/// So many of them are sent.
const SENT: usize = 2500;

/// What cuts the transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The connection ends without a word.
    Dropped,
    /// It is broken.
    Reset,
    /// The publisher closes it.
    Closed,
    /// The publisher goes on with bytes that are no record.
    Malformed,
    /// With another message, although this one has not ended.
    NotAWebSocket,
    /// With nothing at all.
    Silent,
    /// We are to end at once,
    Shutdown,
    /// in order,
    Drain,
    /// or by now.
    Deadline,
    /// The store cannot take the next records.
    Storage,
}

impl Cut {
    const ALL: [Self; 10] = [
        Self::Dropped,
        Self::Reset,
        Self::Closed,
        Self::Malformed,
        Self::NotAWebSocket,
        Self::Silent,
        Self::Shutdown,
        Self::Drain,
        Self::Deadline,
        Self::Storage,
    ];

    /// Whether the run goes on with another link.
    const fn leads_to_another(self) -> bool {
        !matches!(self, Self::Shutdown | Self::Drain | Self::Deadline)
    }
}

fn names() -> Vec<String> {
    (0..RECORDS).map(|i| format!("k{i:04}")).collect()
}

/// Every record of a transaction that ends at this position.
fn whole(sequence: f64) -> Vec<u8> {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    batch(&names, sequence)
}

/// Sends the first part of a message as a frame of its own, which more may follow.
async fn send_first_part(peer: &mut Peer, part: &[u8]) {
    assert!(part.len() > 0xffff, "shorter ones have another head");
    let mut frame = vec![0x02, 127];
    frame.extend_from_slice(&(part.len() as u64).to_be_bytes());
    frame.extend_from_slice(part);
    peer.socket.get_mut().write_all(&frame).await.unwrap();
}

/// The first part of a transaction: so many of its records, which are as long as each other.
fn part(whole: &[u8]) -> &[u8] {
    &whole[..whole.len() * SENT / RECORDS]
}

/// A run, and what can be seen of it.
struct Follower<E: std::error::Error + 'static> {
    options: RunOptions,
    progress: watch::Receiver<Snapshot>,
    task: JoinHandle<Result<RunEnd, RunError<E>>>,
}

impl<E: std::error::Error + Send + 'static> Follower<E> {
    fn start<S: Sink<Error = E> + Sync + 'static>(
        config: LinkConfig,
        mut sink: S,
        options: RunOptions,
    ) -> Self {
        let own = options.clone();
        Self {
            progress: options.progress.subscribe(),
            options,
            task: tokio::spawn(async move {
                let end = run(config, &mut sink, NoBlobs, own).await;
                sink.close().await;
                end
            }),
        }
    }

    /// Waits until so many records have come and are in the store, or the link is over before that.
    async fn applied(&self, records: usize) {
        until(|| {
            let seen = self.progress.borrow();
            let (came, out) = (seen.link.stats.records, seen.link.events_out);
            let is_over = seen.ends.iter().any(|count| *count > 0) || self.task.is_finished();
            is_over || (came >= records as u64 && out == 0)
        })
        .await;
    }
}

/// What is in the store, as others see it.
trait Look {
    fn keys(&self) -> BTreeSet<String>;
}

impl Look for MemoryView {
    fn keys(&self) -> BTreeSet<String> {
        support::keys(self).into_iter().collect()
    }
}

/// One record is stored, then a transaction of many is cut like this. `arm` is called in between.
async fn cut_off<S: Sink + Sync + 'static>(cut: Cut, sink: S, look: &impl Look, arm: impl Fn()) {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    let mut options = options();
    match cut {
        Cut::Silent => {
            config.core.timeouts.ping_interval = Duration::from_millis(500);
            config.core.timeouts.ping_timeout = Duration::from_secs(2);
        }
        Cut::Deadline => options.deadline = Some(Duration::from_secs(5)),
        _ => {}
    }
    let follower = Follower::start(config, sink, options);
    let (mut peer, _) = publisher.link().await;
    peer.put(&["first"], 2.0).await;
    peer.confirmed_up_to(2.0).await;
    arm();
    let bytes = whole(3.0);
    send_first_part(&mut peer, part(&bytes)).await;
    follower.applied(SENT - 10).await;
    assert_eq!(look.keys().len(), 1, "{cut:?}: nobody sees half of it");
    // Whoever is not heard any more still has to be there.
    let mut silent = None;
    match cut {
        Cut::Dropped => drop(peer),
        Cut::Reset => {
            peer.socket.get_mut().set_zero_linger().unwrap();
            drop(peer);
        }
        Cut::Closed => peer.close(1011, "restarting").await,
        Cut::Malformed => {
            let stream = peer.socket.get_mut();
            stream.write_all(&[0x80, 2, 1, 0xff]).await.unwrap();
            peer.closed().await;
        }
        Cut::NotAWebSocket => {
            let stream = peer.socket.get_mut();
            stream.write_all(&[0x82, 1, 0xc0]).await.unwrap();
            peer.closed().await;
        }
        Cut::Silent => silent = Some(peer),
        Cut::Shutdown => {
            follower.options.stop.shutdown();
            silent = Some(peer);
        }
        Cut::Drain => {
            follower.options.stop.drain(Duration::from_millis(50));
            silent = Some(peer);
        }
        Cut::Deadline | Cut::Storage => silent = Some(peer),
    }
    if cut.leads_to_another() {
        let (mut peer, request) = publisher.link().await;
        assert_eq!(request.subscriptions[0].start, Sequence(2.0), "{cut:?}");
        assert_eq!(look.keys(), BTreeSet::from(["first".to_owned()]), "{cut:?}");
        peer.confirmed_up_to(2.0).await;
        peer.send_bytes(bytes).await;
        peer.confirmed_up_to(3.0).await;
        assert_eq!(look.keys().len(), 1 + RECORDS, "{cut:?}");
        follower.options.stop.shutdown();
    }
    let end = soon(follower.task).await.unwrap();
    drop(silent);
    match cut {
        Cut::Deadline => assert!(matches!(end, Err(RunError::Deadline(_))), "{end:?}"),
        Cut::Drain => assert!(matches!(
            end.unwrap().how,
            Ended::Drained | Ended::DrainTimedOut
        )),
        _ => assert_eq!(end.unwrap().how, Ended::Shutdown, "{cut:?}"),
    }
    let expected = if cut.leads_to_another() { RECORDS } else { 0 };
    assert_eq!(look.keys().len(), 1 + expected, "{cut:?}");
}

#[tokio::test]
async fn half_of_a_transaction_is_never_kept_in_memory() {
    join_all(Cut::ALL.map(|cut| async move {
        let sink = MemorySink::new();
        let view = sink.view();
        let is_failing = Arc::new(AtomicBool::new(false));
        let arm = {
            let is_failing = is_failing.clone();
            move || is_failing.store(cut == Cut::Storage, Ordering::Relaxed)
        };
        // The second batch of the transaction, and only on the first link.
        let mut batches = 0;
        view.plan(move |step| {
            let counts = step == SinkStep::Apply && is_failing.load(Ordering::Relaxed);
            batches += u32::from(counts);
            let result = if counts && batches == 2 {
                Err("disk full".into())
            } else {
                Ok(())
            };
            (Duration::ZERO, result)
        });
        cut_off(cut, sink, &view, arm).await;
    }))
    .await;
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use replproto_core::key::Key;
    use replproto_tokio::{SqliteOptions, SqliteSink};
    use rusqlite::{Connection, OpenFlags};
    use std::path::PathBuf;

    struct File(PathBuf);

    impl Look for File {
        fn keys(&self) -> BTreeSet<String> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let file = Connection::open_with_flags(&self.0, flags).unwrap();
            let mut rows = file.prepare("SELECT key FROM Dog").unwrap();
            let keys = rows.query_map((), |row| row.get::<_, Vec<u8>>(0)).unwrap();
            keys.map(|key| match Key::decode(&key.unwrap()).unwrap() {
                Key::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
        }
    }

    #[tokio::test]
    async fn half_of_a_transaction_is_never_kept_in_a_file() {
        let cuts = Cut::ALL.into_iter().filter(|cut| *cut != Cut::Storage);
        join_all(cuts.map(|cut| async move {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("replica.db");
            let options = SqliteOptions::new("node-a", support::DATABASE);
            let sink = SqliteSink::open(&file, options).await.unwrap();
            cut_off(cut, sink, &File(file), || ()).await;
        }))
        .await;
    }
}

/// The cursor after a link that ended behind several transactions, the last of them cut, is at the end of one.
#[tokio::test]
async fn what_is_kept_ends_with_a_whole_transaction() {
    let publisher = Publisher::bind().await;
    let sink = MemorySink::new();
    let view = sink.view();
    let follower = Follower::start(publisher.config(), sink, options());
    let (mut peer, _) = publisher.link().await;
    for sequence in [2.0, 3.0, 4.0] {
        peer.put(&[&format!("whole{sequence}")], sequence).await;
    }
    let bytes = whole(5.0);
    send_first_part(&mut peer, part(&bytes)).await;
    until(|| follower.progress.borrow().link.stats.records > 1000).await;
    drop(peer);
    let (mut peer, request) = publisher.link().await;
    let start = request.subscriptions[0].start;
    assert_eq!(view.cursor().unwrap().sequence, start);
    // What was applied up to there is there, and nothing of what comes after.
    assert!(view.keys().iter().all(|key| key.starts_with("whole")));
    assert!((2.0..=4.0).contains(&start.0), "{start:?}");
    peer.confirmed_up_to(start.0).await;
    follower.options.stop.shutdown();
    soon(follower.task).await.unwrap().unwrap();
}

/// Half of a batch of a base copy is not kept either, and the copy goes on after the last whole one.
#[tokio::test]
async fn half_of_a_batch_of_a_base_copy_is_not_kept() {
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.core.mode = Mode::B;
    let mut options = options();
    options.start = replproto_core::Start::Copy;
    let sink = MemorySink::new();
    let view = sink.view();
    let follower = Follower::start(config, sink, options);
    let (mut peer, _) = publisher.link().await;
    let copy_start = Message::CopyStart {
        start: WallTime(TIME),
        order: 1,
    };
    peer.send(&copy_start).await;
    peer.put(&["a"], 2.0).await;
    let bytes = whole(3.0);
    send_first_part(&mut peer, part(&bytes)).await;
    until(|| view.keys().len() == 1).await;
    until(|| follower.progress.borrow().link.stats.records > 1000).await;
    drop(peer);
    let (_peer, request) = publisher.link().await;
    let resume = request.subscriptions[0].copy_resume.clone();
    let after = resume.expect("it goes on").after_key;
    assert_eq!(after, b"\xa1a");
    assert_eq!(view.keys(), BTreeSet::from(["a".to_owned()]));
    follower.options.stop.shutdown();
    soon(follower.task).await.unwrap().unwrap();
    let stored = view.reopen().load().await.unwrap().cursor;
    assert!(matches!(stored, StoredCursor::Found(cursor) if cursor.copy.is_some()));
}
