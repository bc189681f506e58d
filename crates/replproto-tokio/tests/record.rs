//! A recording replays as it was.

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use replproto_core::{Command, Cursor, Epoch, Event, Input, Instant, Receiver, Sequence, Start};
use replproto_tokio::{DiscardBlobs, Link, Recorder};
use serde_json::Value;
use support::{Publisher, soon};

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_recording_gives_the_same_link_again() {
    let tape = Tape::default();
    let publisher = Publisher::bind().await;
    let mut config = publisher.config();
    config.recorder = Some(Recorder::new(tape.clone()));
    let start = Start::At(Sequence(1.0));
    let connect = Link::connect(&config, start.clone(), DiscardBlobs);
    let (link, (mut peer, _)) = tokio::join!(connect, publisher.link());
    let mut link = link.unwrap();
    peer.put(&["a", "b"], 2.0).await;
    peer.put_blob("c", "1a", 3.0).await;
    peer.chunk("1a", b"bytes", true).await;
    let is_last = |cursor: &Option<Cursor>| *cursor == Some(Cursor::at(Sequence(3.0)));
    loop {
        let delivery = soon(link.next()).await.unwrap();
        delivery.commit();
        match &*delivery {
            Event::EndTransaction(end) if is_last(&end.cursor) => break,
            Event::Checkpoint(checkpoint) if is_last(&Some(checkpoint.cursor.clone())) => break,
            _ => {}
        }
    }
    peer.confirmed_up_to(3.0).await;
    link.shutdown();
    let end = soon(link.end()).await;

    let text = String::from_utf8(tape.0.lock().unwrap().clone()).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!(head["replproto"], 1);
    assert_eq!(head["start"]["at"], 1.0);
    assert_eq!(head["config"]["flow"]["consumer"]["high"]["items"], 4096);
    let core = config.core.clone();
    let mut receiver = Receiver::new(core, start, Epoch(1), Instant::ZERO).unwrap();
    let mut last = None;
    for mut line in lines {
        let at = Instant::from_micros(line["at"].as_u64().unwrap());
        let input: Input = serde_json::from_value(line["input"].take()).unwrap();
        receiver.handle(at, input).unwrap();
        while let Some(command) = receiver.poll_command() {
            if let Command::Close(close) = command {
                last = Some(close);
            }
        }
    }
    assert_eq!(last.map(|close| *close), Some(end.close));
    // A driver may feed several messages before it decodes the first of them.
    let mut stats = *receiver.stats();
    stats.peak_retained_bytes = end.stats.peak_retained_bytes;
    assert_eq!(stats, end.stats);
}
