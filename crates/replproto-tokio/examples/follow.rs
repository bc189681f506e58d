//! Follows one table and prints its changes, one JSON object on each line of standard output.
//!
//! ```text
//! cargo run -p replproto-tokio --example follow -- ws://127.0.0.1:9933 data Dog dog.cursor
//! ```
//!
//! This is a [`Link`] in the hands of the application: it takes the events at its own pace, says itself what is durable,
//! and dials again itself. (With a `Sink`, `run` does all that.) The cursor is kept in a file; without it, all records
//! come first, as a base copy.
//!
//! What is printed is *at least once*: a line that was printed before its cursor was stored is printed again next time. That
//! is so whenever the cursor and the data are kept in different places, since one of them has to be first. Whoever
//! reads the lines keeps, for each id, the one with the highest `version`; then nothing is counted twice. To be rid of the
//! repetition, store both in one step: see `custom_sink.rs`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;
use replproto_tokio::core::config::TableFilter;
use replproto_tokio::core::value::JsonStyle;
use replproto_tokio::core::{
    Backoff, Cursor, CursorError, Event, Record, Start, StoredCursor, key,
};
use replproto_tokio::{DiscardBlobs, Link, LinkConfig, LinkEnd, Opening};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

mod common;

use common::{DRAIN_LIMIT, Failure, explain};

const USAGE: &str = "\
Prints the changes of a table as lines of JSON.

usage: follow ADDRESS DATABASE TABLE CURSOR_FILE

  ADDRESS      of the publisher: ws://HOST[:PORT], or wss://... for TLS
  CURSOR_FILE  where to go on next time; made if it is not there, and then all records come first";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, database, table, cursor_file] = &arguments[..] else {
        return common::misused(USAGE);
    };
    let config = match address.parse() {
        Ok(endpoint) => LinkConfig::new(endpoint, "follow-example", database),
        Err(error) => return common::ended(Err(error.into())),
    };
    let mut follower = Follower {
        config,
        cursor_file: Path::new(cursor_file),
        out: io::stdout(),
    };
    common::ended(follower.follow(table, common::interrupted()).await)
}

/// What the cursor file holds.
#[derive(Serialize, Deserialize)]
struct Place {
    /// The publisher that the cursor belongs to: it means nothing to any other.
    peer: String,
    cursor: Cursor,
}

pub(crate) struct Follower<'a, W> {
    pub(crate) config: LinkConfig,
    pub(crate) cursor_file: &'a Path,
    pub(crate) out: W,
}

impl<W: Write> Follower<'_, W> {
    /// Prints until `end`, over as many links as it takes.
    pub(crate) async fn follow(
        &mut self,
        table: &str,
        end: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        self.config.core.tables = TableFilter::Only(vec![table.to_owned()]);
        self.config.check().await?;
        let mut end = pin!(end);
        let mut backoff = Backoff::default();
        let mut last: Option<LinkEnd> = None;
        loop {
            // Read anew for each link: only what is in the file is durable.
            let place = self.load()?;
            let stored = match &place {
                Some(place) => StoredCursor::Found(place.cursor.clone()),
                None => StoredCursor::Absent,
            };
            let start = Start::choose(stored, Start::Copy)?;
            let opening = match &last {
                Some(last) => Opening::after(last, start),
                None => start.into(),
            };
            let dialled = tokio::select! {
                // Only records are wanted here, so what blobs there are may go.
                dialled = Link::connect(&self.config, opening, DiscardBlobs) => dialled,
                () = &mut end => return Ok(()),
            };
            match dialled {
                Ok(mut link) => {
                    let is_ending = self.print(&mut link, place, &mut end, &mut backoff).await?;
                    let ended = link.end().await;
                    eprintln!("the link is over: {}", ended.close.reason);
                    if is_ending {
                        return Ok(());
                    }
                    // An open link is no progress: the delay starts again after half a minute of health.
                    backoff.was_healthy_for(ended.set_up_for.unwrap_or_default());
                    last = Some(ended);
                }
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => eprintln!("{}", explain(&error)),
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = &mut end => return Ok(()),
            }
        }
    }

    /// Prints what a link brings, until it is over. Tells whether it was ended from here.
    async fn print(
        &mut self,
        link: &mut Link,
        place: Option<Place>,
        end: &mut (impl Future<Output = ()> + Unpin),
        backoff: &mut Backoff,
    ) -> Result<bool, Failure> {
        let mut peer = place.map(|place| place.peer);
        let mut is_ending = false;
        loop {
            // A delivery keeps its place in the link's queue until it is dropped. When the queue is full, the socket is not
            // read: a terminal that is stopped holds up the publisher, and memory does not grow.
            let delivery = tokio::select! {
                delivery = link.next() => delivery,
                () = &mut *end, if !is_ending => {
                    is_ending = true;
                    link.drain(DRAIN_LIMIT);
                    continue;
                }
            };
            let Some(delivery) = delivery else {
                return Ok(is_ending);
            };
            let cursor = match &*delivery {
                // Comes first, and again when a definition changes.
                Event::Schema(schema) => {
                    let name = schema.peer.to_string();
                    if let Some(expected) = peer.replace(name.clone())
                        && expected != name
                    {
                        let why = format!("the cursor is of {expected}, and this is {name}");
                        return Err(why.into());
                    }
                    continue;
                }
                Event::Records(records) => {
                    for record in records {
                        match json(&record) {
                            Ok(line) => writeln!(self.out, "{line}")?,
                            Err(why) => {
                                eprintln!("a record is passed over: {why}");
                                link.skipped(1);
                            }
                        }
                    }
                    // At least once: the link may break here, and what was printed of this transaction comes again.
                    continue;
                }
                Event::EndTransaction(end) => end.cursor.as_ref(),
                Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                    Some(&checkpoint.cursor)
                }
                Event::CopyStarted(copy) if !copy.resumed => {
                    eprintln!("all records come now; what does not come is gone");
                    continue;
                }
                _ => continue,
            };
            // First the lines, then the cursor, then the confirmation. At least once: after a crash between the first two,
            // the lines come again. In the other order they could be lost.
            self.out.flush()?;
            if let (Some(cursor), Some(peer)) = (cursor, &peer) {
                self.store(&Place {
                    peer: peer.clone(),
                    cursor: cursor.clone(),
                })?;
                backoff.cursor_advanced();
            }
            delivery.commit();
        }
    }

    /// Without a file there is no cursor. With one that cannot be read this ends: to begin anew is not for a program to decide.
    fn load(&self) -> Result<Option<Place>, Failure> {
        let text = match fs::read(self.cursor_file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let read = serde_json::from_slice(&text);
        Ok(Some(read.map_err(|error| {
            CursorError::Unreadable(error.to_string())
        })?))
    }

    /// Whole or not at all: a new file takes the place of the old one once it is on the disk.
    fn store(&self, place: &Place) -> Result<(), Failure> {
        let temporary = self.cursor_file.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(place)?)?;
        file.sync_all()?;
        // If this name is lost in a crash, the old cursor is there, and some lines come again.
        fs::rename(&temporary, self.cursor_file)?;
        Ok(())
    }
}

/// A change as a line of JSON.
fn json(record: &Record<'_>) -> Result<String, Failure> {
    let mut line = format!(
        r#"{{"kind":"{}","version":{},"id":"#,
        record.kind(),
        record.version().0
    );
    key::write_json(record.key_bytes(), &mut line, JsonStyle::Natural)?;
    line.push_str(r#","record":"#);
    match record.value() {
        Some(value) => value.write_json(&mut line, JsonStyle::Natural)?,
        None => line.push_str("null"),
    }
    line.push('}');
    Ok(line)
}
