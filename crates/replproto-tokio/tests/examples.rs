//! The examples at work, against a publisher on the loopback.
#![allow(clippy::duplicate_mod)] // Each example has the module that they share.

mod support;

#[allow(dead_code)]
#[path = "../examples/blob_store.rs"]
mod blob_store;
#[allow(dead_code)]
#[path = "../examples/custom_sink.rs"]
mod custom_sink;
#[allow(dead_code)]
#[path = "../examples/follow.rs"]
mod follow;
#[allow(dead_code)]
#[path = "../examples/many_links.rs"]
mod many_links;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use replproto_core::key::Key;
use replproto_core::value as codec;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, WallTime};
use replproto_tokio::Replica;
use serde_json::{Value, json};
use support::{DATABASE, NAME, Peer, Publisher, TABLE, TIME, soon, until};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What an example printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Printed {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// An example that runs until it is interrupted.
struct Running {
    interrupt: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start<F>(run: impl FnOnce(Interrupt) -> F) -> Self
    where
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let (interrupt, interrupted) = oneshot::channel();
        let running = run(Box::pin(async move { drop(interrupted.await) }));
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self { interrupt, task }
    }

    /// Ends it as Ctrl-C does.
    async fn end(self) {
        self.interrupt.send(()).unwrap();
        soon(self.task).await.unwrap();
    }
}

type Interrupt = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A base copy of these records, with what follows it.
async fn copy(peer: &mut Peer, keys: &[&str], start: f64) {
    let start = WallTime(start);
    peer.send(&Message::CopyStart { start, order: 1 }).await;
    peer.put(keys, start.0).await;
    peer.send(&Message::CopyComplete).await;
    peer.send(&Message::SequenceUpdate(Sequence(start.0 + 1.0)))
        .await;
    peer.confirmed_up_to(start.0 + 1.0).await;
}

fn follow(publisher: &Publisher, cursor: &Path) -> (Running, Printed) {
    let printed = Printed::default();
    let out = printed.clone();
    let (config, cursor_file) = (publisher.config(), cursor.to_owned());
    let running = Running::start(|interrupt| async move {
        let mut follower = follow::Follower {
            config,
            cursor_file: &cursor_file,
            out,
        };
        follower.follow(TABLE, interrupt).await
    });
    (running, printed)
}

fn ids(printed: &Printed) -> Vec<Value> {
    let lines = printed.lines();
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line));
    parsed.map(|line| line.unwrap()["id"].take()).collect()
}

#[tokio::test]
async fn follow_prints_changes_and_goes_on_where_it_was() {
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let cursor = folder.path().join("dog.cursor");
    let (running, printed) = follow(&publisher, &cursor);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(0.0));
    copy(&mut peer, &["a", "b"], TIME).await;
    // The link breaks, and the publisher goes on from what was confirmed.
    drop(peer);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(TIME + 1.0));
    peer.put(&["c"], TIME + 2.0).await;
    peer.confirmed_up_to(TIME + 2.0).await;
    assert_eq!(ids(&printed), ["a", "b", "c"]);
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "put");
    assert_eq!(last["version"].as_f64(), Some(TIME + TIME + 2.0));
    assert_eq!(last["record"]["n"].as_f64(), Some(TIME + 2.0));
    running.end().await;

    let (running, printed) = follow(&publisher, &cursor);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(TIME + 2.0));
    peer.put(&["d"], TIME + 3.0).await;
    peer.confirmed_up_to(TIME + 3.0).await;
    assert_eq!(ids(&printed), ["d"]);
    running.end().await;
}

#[tokio::test]
async fn follow_does_not_begin_anew_when_its_cursor_is_damaged() {
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let cursor = folder.path().join("dog.cursor");
    fs::write(&cursor, "{").unwrap();
    let mut follower = follow::Follower {
        config: publisher.config(),
        cursor_file: &cursor,
        out: Vec::new(),
    };
    let error = soon(follower.follow(TABLE, std::future::pending())).await;
    let why = error.unwrap_err().to_string();
    assert!(why.contains("cursor cannot be read"), "{why}");
    assert!(publisher.is_quiet());
}

fn custom_sink(publisher: &Publisher, file: &Path) -> Running {
    let (config, file) = (publisher.config(), file.to_owned());
    Running::start(|interrupt| async move { custom_sink::keep(config, &file, interrupt).await })
}

/// The records in the file of the example, by id, with their versions.
fn kept(file: &Path) -> Vec<(String, f64)> {
    let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let rows = state["tables"][TABLE].as_object().unwrap().iter();
    let live = rows.filter(|(_, row)| row.get("record").is_some());
    live.map(|(id, row)| (id.clone(), row["newest"][0].as_f64().unwrap()))
        .collect()
}

#[tokio::test]
async fn the_custom_sink_keeps_records_and_cursor_together() {
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("settings.json");
    let running = custom_sink(&publisher, &file);
    let (mut peer, _) = publisher.link().await;
    copy(&mut peer, &["a", "b"], 10.0).await;
    let row = |id: &str, sequence: f64| (format!("\"{id}\""), TIME + sequence);
    assert_eq!(kept(&file), [row("a", 10.0), row("b", 10.0)]);
    peer.put(&["b"], 20.0).await;
    peer.confirmed_up_to(20.0).await;
    // Older than what is there.
    let stale = support::batch(&["b"], 15.0);
    peer.send_bytes(stale).await;
    peer.put(&["c"], 21.0).await;
    peer.confirmed_up_to(21.0).await;
    let all = [row("a", 10.0), row("b", 20.0), row("c", 21.0)];
    assert_eq!(kept(&file), all);
    running.end().await;

    // A transaction that breaks off leaves nothing.
    let running = custom_sink(&publisher, &file);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(21.0));
    let mut broken = support::batch(&["d", "e"], 22.0);
    broken.truncate(broken.len() - 10);
    broken.extend_from_slice(&[1, 0xff]);
    peer.send_bytes(broken).await;
    assert_eq!(peer.closed().await.unwrap().0, 1002);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(21.0));
    assert_eq!(kept(&file), all);
    // The publisher no longer has the log from there on: what a copy of everything does not bring is gone.
    let (start, order) = (WallTime(29.0), 1);
    peer.send(&Message::CopyStart { start, order }).await;
    assert_eq!(peer.closed().await.unwrap().0, 1000);
    let (mut peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(0.0));
    copy(&mut peer, &["b", "f"], 30.0).await;
    assert_eq!(kept(&file), [row("b", 30.0), row("f", 30.0)]);
    running.end().await;
}

fn decoded(value: &Value) -> codec::Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            codec::Value::Object(
                fields
                    .map(|(name, value)| (name.clone(), decoded(value)))
                    .collect(),
            )
        }
        Value::String(text) => codec::Value::Text(text.clone()),
        other => codec::Value::Number(other.as_f64().unwrap()),
    }
}

/// A transaction with one entry of this kind.
async fn entry(peer: &mut Peer, kind: u8, key: &str, value: &Value, version: f64, sequence: f64) {
    let bytes = match value {
        Value::Null => Vec::new(),
        _ => decoded(value).encode(codec::Profile::Table).unwrap(),
    };
    let mut batch = BatchBuilder::new(WallTime(TIME));
    batch.entry(&NewEntry {
        kind,
        flags: Flags::FULL,
        key: &Key::Text(key.into()).encode().unwrap(),
        version,
        value: &bytes,
        ..NewEntry::default()
    });
    peer.send_bytes(batch.finish(Some(Sequence(sequence))))
        .await;
    peer.confirmed_up_to(sequence).await;
}

#[tokio::test]
async fn the_custom_sink_patches_and_remembers_what_was_deleted() {
    const PUT: u8 = 1;
    const DELETE: u8 = 2;
    const PATCH: u8 = 5;
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("settings.json");
    let running = custom_sink(&publisher, &file);
    let (mut peer, _) = publisher.link().await;
    copy(&mut peer, &[], 10.0).await;
    entry(
        &mut peer,
        PUT,
        "a",
        &json!({"n": 1, "m": 1}),
        TIME + 20.0,
        20.0,
    )
    .await;
    entry(&mut peer, PATCH, "a", &json!({"m": 2}), TIME + 21.0, 21.0).await;
    let record = || {
        let state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        state["tables"][TABLE]["\"a\""].get("record").cloned()
    };
    assert_eq!(record(), Some(json!({"n": 1, "m": 2})));
    entry(&mut peer, DELETE, "a", &Value::Null, TIME + 23.0, 22.0).await;
    assert_eq!(record(), None);
    // Older than the deletion, and after it in the log.
    entry(&mut peer, PUT, "a", &json!({"n": 3}), TIME + 22.0, 23.0).await;
    assert_eq!(record(), None);
    running.end().await;

    // Remembered by the file too.
    let running = custom_sink(&publisher, &file);
    let (mut peer, _) = publisher.link().await;
    peer.confirmed_up_to(23.0).await;
    entry(&mut peer, PUT, "a", &json!({"n": 3}), TIME + 22.0, 24.0).await;
    assert_eq!(record(), None);
    entry(&mut peer, PUT, "a", &json!({"n": 4}), TIME + 24.0, 25.0).await;
    assert_eq!(record(), Some(json!({"n": 4})));
    running.end().await;
}

#[tokio::test]
async fn the_custom_sink_counts_an_addition_once_and_merges_what_comes_late() {
    const PUT: u8 = 1;
    const PATCH: u8 = 5;
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("settings.json");
    let running = custom_sink(&publisher, &file);
    let (mut peer, _) = publisher.link().await;
    copy(&mut peer, &[], 10.0).await;
    let record = || {
        let state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        state["tables"][TABLE]["\"a\""]["record"].clone()
    };
    let put = json!({"n": 1});
    let add = json!({"n": {"__op__": "add", "value": 2}});
    entry(&mut peer, PUT, "a", &put, TIME + 20.0, 20.0).await;
    entry(&mut peer, PATCH, "a", &add, TIME + 30.0, 21.0).await;
    assert_eq!(record(), json!({"n": 3}));
    running.end().await;

    // The publisher repeats it, and sends what another node wrote before it.
    let running = custom_sink(&publisher, &file);
    let (mut peer, _) = publisher.link().await;
    peer.confirmed_up_to(21.0).await;
    entry(&mut peer, PATCH, "a", &add, TIME + 30.0, 22.0).await;
    assert_eq!(record(), json!({"n": 3}));
    let late = json!({"n": 10, "m": 1});
    entry(&mut peer, PATCH, "a", &late, TIME + 25.0, 23.0).await;
    assert_eq!(record(), json!({"n": 12, "m": 1}));
    running.end().await;
}

#[tokio::test]
async fn the_blob_store_keeps_each_content_once() {
    let publisher = Publisher::bind().await;
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("blobs");
    let (config, file, blobs) = (publisher.config(), folder.path().join("r.db"), root.clone());
    let running = Running::start(|interrupt| async move {
        blob_store::keep(config, &file, &blobs, interrupt).await
    });
    let (mut peer, _) = publisher.link().await;
    copy(&mut peer, &["a"], 10.0).await;
    peer.put_blob("b", "1a", 20.0).await;
    peer.put_blob("c", "2b", 21.0).await;
    peer.put_blob("d", "3c", 22.0).await;
    // Two with the same bytes, and one that breaks off.
    for (blob, bytes) in [("1a", "same"), ("2b", "same")] {
        let (head, tail) = bytes.as_bytes().split_at(2);
        peer.chunk(blob, head, false).await;
        peer.chunk(blob, tail, true).await;
    }
    peer.confirmed_up_to(21.0).await;
    peer.chunk("3c", b"unfini", false).await;
    drop(peer);
    let (_peer, request) = publisher.link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(21.0));
    running.end().await;

    let store = blob_store::ContentStore::open(&root).unwrap();
    let find = |blob| store.find(NAME, DATABASE, blob).unwrap();
    assert_eq!(find("1a"), find("2b"));
    assert_eq!(fs::read(find("1a")).unwrap(), b"same");
    assert!(store.find(NAME, DATABASE, "3c").is_err());
    for (part, files) in [("content", 1), ("names", 2), ("unfinished", 0)] {
        let found = fs::read_dir(root.join(part)).unwrap().count();
        assert_eq!(found, files, "{part}");
    }
}

#[tokio::test]
async fn many_links_run_until_they_are_removed() {
    let publishers = [Publisher::bind().await, Publisher::bind().await];
    let folder = TempDir::new().unwrap();
    let endpoints = publishers.iter().map(Publisher::endpoint).collect();
    let fleet = many_links::Fleet::new(DATABASE, folder.path(), endpoints);
    let (order, orders) = mpsc::unbounded_channel();
    let printed = Printed::default();
    let out = printed.clone();
    let running = Running::start(|interrupt| fleet.supervise(orders, out, interrupt));
    let mut peers = Vec::new();
    for publisher in &publishers {
        let (mut peer, _) = publisher.link().await;
        copy(&mut peer, &["a", "b"], 10.0).await;
        peers.push(peer);
    }
    let name = |publisher: &Publisher| {
        let endpoint = publisher.endpoint();
        format!("{}:{}", endpoint.host(), endpoint.port())
    };
    let removed = name(&publishers[0]);
    order
        .send(many_links::Order::Remove(removed.clone()))
        .unwrap();
    peers[0].closed().await;
    let says = |what: &str| printed.lines().iter().any(|line| line.contains(what));
    until(|| says(&format!("{removed}: removed, 2 records"))).await;
    // The other one has not noticed.
    peers[1].put(&["c"], 20.0).await;
    peers[1].confirmed_up_to(20.0).await;
    let other = name(&publishers[1]);
    until(|| {
        order.send(many_links::Order::Status).unwrap();
        says(&format!("{other}: 3 records, following"))
    })
    .await;
    assert!(publishers[0].is_quiet());

    order.send(many_links::Order::Add(removed.clone())).unwrap();
    let (_peer, request) = publishers[0].link().await;
    assert_eq!(request.subscriptions[0].start, Sequence(11.0));
    running.end().await;
    assert!(says(&format!("{other}: 3 records, all in hand is stored")));
    for publisher in &publishers {
        let file = folder
            .path()
            .join(name(publisher).replace(':', "_"))
            .join("replica.db");
        Replica::open(&file).unwrap();
    }
}
