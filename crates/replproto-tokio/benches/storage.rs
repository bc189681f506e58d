//! How fast the stores are by themselves, each beside what limits it:
//!
//! ```text
//! cargo bench -p replproto-tokio --bench storage -- [FOLDER OF FRAMES] [PART OF A NAME]
//! ```
//!
//! The frames are files of messages (`tests/frames/README.md`); those named `catchup.bin`, `catchup-1k.bin`, `backlog.bin` and
//! `blob.bin` are used if they are there. The cases are run in turns, a few times, and the median is told, with the extremes. What is written goes below the
//! system's folder for temporary files, and is durable. Whole links are measured by the bench `end_to_end`.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replproto_core::{Command, Config, Epoch, Event, Input, Receiver, Sequence, Start};
use replproto_tokio::{
    BlobInfo, BlobStore, BlobWriter, FileBlobStore, Sink, SqliteOptions, SqliteSink,
};

const ROUNDS: usize = 5;

/// The least number of records that takes long enough to be timed.
const RECORDS_MIN: usize = 50_000;

/// Events of one call, and calls of one commit. Most records come together with others as one event.
const BATCH: usize = 8;
const GROUP: usize = 8;

const BLOBS: usize = 64;
const BLOB_BYTES: usize = 8 << 20;
const CHUNK_BYTES: usize = 64 << 10;
const OPEN_BLOBS: usize = 6;

/// What was done, in how long.
struct Done {
    amount: f64,
    unit: &'static str,
    time: Duration,
}

impl Done {
    fn rate(&self) -> f64 {
        self.amount / self.time.as_secs_f64()
    }
}

/// What is measured.
enum Case {
    Sqlite(PathBuf),
    RawFiles,
    Blobs,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/frames");
    // `cargo bench` adds an option.
    let mut arguments = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| own.into()));
    let wanted = arguments.next().unwrap_or_default();
    let mut cases = vec![
        ("raw files".to_owned(), Case::RawFiles),
        ("blobs into files".to_owned(), Case::Blobs),
    ];
    for name in ["catchup", "catchup-1k", "backlog"] {
        let path = folder.join(name).with_extension("bin");
        if path.exists() {
            cases.push((format!("{name} into sqlite"), Case::Sqlite(path)));
        }
    }
    cases.retain(|(name, _)| name.contains(&wanted));
    let mut done: Vec<Vec<Done>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, case), done) in cases.iter().zip(&mut done) {
            done.push(measure(case).await);
        }
    }
    for ((name, _), mut done) in cases.iter().zip(done) {
        done.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let [slowest, .., fastest] = done.as_slice() else {
            continue;
        };
        let median = &done[ROUNDS / 2];
        println!(
            "{name:24} {:10.0} {}/s ({:.0} to {:.0})",
            median.rate(),
            median.unit,
            slowest.rate(),
            fastest.rate()
        );
    }
}

async fn measure(case: &Case) -> Done {
    let folder = std::env::temp_dir().join(format!("replproto-bench-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let done = match case {
        Case::Sqlite(path) => sqlite(path, &folder).await,
        Case::RawFiles => raw_files(&folder),
        Case::Blobs => blobs(&folder).await,
    };
    fs::remove_dir_all(&folder).expect("our own folder");
    done
}

/// Records that came over a link, into SQLite.
async fn sqlite(path: &Path, folder: &Path) -> Done {
    let events = events(&messages(path));
    let records = records(&events);
    let times = RECORDS_MIN.div_ceil(records);
    let options = SqliteOptions::new("bench", "data");
    let sink = SqliteSink::open(folder.join("replica.db"), options).await;
    let mut sink = sink.expect("a file");
    let start = Instant::now();
    for _ in 0..times {
        for group in events.chunks(BATCH * GROUP) {
            sink.begin().await.expect("a transaction");
            for batch in group.chunks(BATCH) {
                sink.apply(batch.to_vec()).await.expect("a batch");
            }
            sink.commit(None).await.expect("a commit");
        }
    }
    let time = start.elapsed();
    sink.close().await;
    Done {
        amount: (records * times) as f64,
        unit: "records",
        time,
    }
}

/// What the disk gives: as many bytes, written and flushed by a loop that does nothing else.
fn raw_files(folder: &Path) -> Done {
    let chunk = vec![7; CHUNK_BYTES];
    let start = Instant::now();
    for number in 0..BLOBS {
        let mut file = File::create(folder.join(number.to_string())).expect("a file");
        for _ in 0..BLOB_BYTES / CHUNK_BYTES {
            file.write_all(&chunk).expect("room");
        }
        file.sync_all().expect("a disk");
    }
    all_blobs(start)
}

/// The store of files, with a few blobs at a time.
async fn blobs(folder: &Path) -> Done {
    let store = FileBlobStore::open_dir(folder).await.expect("a folder");
    let chunk = Bytes::from(vec![7; CHUNK_BYTES]);
    let start = Instant::now();
    let task = |first: usize| {
        let (store, chunk) = (store.clone(), chunk.clone());
        async move {
            for number in (first..BLOBS).step_by(OPEN_BLOBS) {
                let blob = BlobInfo {
                    peer: "node-a".into(),
                    database: "data".into(),
                    file: number.to_string().as_str().into(),
                    size: None,
                };
                let mut writer = store.open(blob).await.expect("a file");
                for _ in 0..BLOB_BYTES / CHUNK_BYTES {
                    writer.write(chunk.clone()).await.expect("room");
                }
                writer.save().await.expect("a disk");
            }
        }
    };
    let tasks: Vec<_> = (0..OPEN_BLOBS)
        .map(|first| tokio::spawn(task(first)))
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    all_blobs(start)
}

fn all_blobs(start: Instant) -> Done {
    Done {
        amount: (BLOBS * BLOB_BYTES) as f64 / 1e6,
        unit: "MB",
        time: start.elapsed(),
    }
}

/// The messages of a file: for each a 32-bit little-endian length and the bytes.
fn messages(path: &Path) -> Vec<Bytes> {
    let mut rest = Bytes::from(fs::read(path).expect("the file of messages"));
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = rest.split_to(4);
        let length = u32::from_le_bytes(length[..].try_into().expect("four bytes"));
        messages.push(rest.split_to(length as usize));
    }
    messages
}

/// The events of messages, as a link hands them out.
fn events(messages: &[Bytes]) -> Vec<Event> {
    let now = replproto_core::Instant::ZERO;
    let config = Config::new("us", "data");
    let start = Start::At(Sequence(1.0));
    let mut receiver = Receiver::new(config, start, Epoch(1), now).expect("a valid configuration");
    let mut all = Vec::new();
    let messages = messages.iter().map(|bytes| Input::Message {
        bytes: bytes.clone(),
        last: true,
    });
    for input in [Input::Connected].into_iter().chain(messages) {
        let is_first = input == Input::Connected;
        receiver.handle(now, input).expect("a valid input");
        if is_first {
            // The file has no conversation at its start.
            receiver.assume_set_up("node-a");
        }
        while let Some(command) = receiver.poll_command() {
            match command {
                Command::Event(event) => {
                    let events = event.count();
                    let consumed = Input::Consumed { events };
                    receiver.handle(now, consumed).expect("it was handed out");
                    if let Event::EndTransaction(end) = &event {
                        let committed = Input::Committed(end.id);
                        receiver.handle(now, committed).expect("it was handed out");
                    }
                    all.push(event);
                }
                Command::Close(close) => panic!("{}", close.reason),
                _ => {}
            }
        }
    }
    all
}

fn records(events: &[Event]) -> usize {
    let records = events.iter().map(|event| match event {
        Event::Records(records) => records.len(),
        _ => 0,
    });
    records.sum()
}
