//! What the publisher, the reader and the killer know together, and the rules that they check.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replproto_core::Cursor;
use replproto_core::wire::message::CopyResume;
use sha2::{Digest, Sha256};

use crate::publisher::{DATABASE, LOOK, NODE};
use crate::random::Random;
use crate::source::{self, Id, Source, TABLES};

/// Something that the publisher sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Happening {
    Accepted,
    Greeted,
    Subscribed,
    Sent,
    Chunk,
    Confirmed,
}

/// How far a follower has come.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Progress {
    Nothing,
    /// The last row of the base copy: its table and its number.
    Copy(usize, u64),
    /// The position in the log.
    Log(f64),
}

impl Progress {
    pub(crate) fn of_cursor(cursor: &Cursor) -> Self {
        match &cursor.copy {
            Some(copy) => Self::Copy(table(&copy.table), source::key_number(&copy.after_key)),
            None if cursor.sequence.0 == 0.0 => Self::Nothing,
            None => Self::Log(cursor.sequence.0),
        }
    }
}

fn table(name: &str) -> usize {
    let place = TABLES.iter().position(|table| *table == name);
    place.expect("one of our tables")
}

/// The row after which a copy is to go on.
pub(crate) fn resumed(resume: &CopyResume) -> (usize, u64) {
    // A short text in MessagePack: one byte, and the text.
    let key = std::str::from_utf8(&resume.after_key[1..]).expect("one of our keys");
    (table(&resume.table), key.parse().expect("one of our keys"))
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) source: Source,
    pub(crate) random: Random,
    /// The last position that was sent.
    pub(crate) sent: f64,
    /// Blobs that were sent to their end.
    pub(crate) sent_blobs: BTreeSet<String>,
    /// The last position that was confirmed.
    pub(crate) confirmed: f64,
    /// How many followers have been started.
    pub(crate) life: u64,
    /// What the follower had stored when it was killed last.
    pub(crate) stored: Progress,
    /// The log grows no further, and no connection is cut.
    pub(crate) is_ending: bool,
    /// After this step the publisher does nothing more.
    pub(crate) stops_at: Option<Happening>,
    /// The records that a base copy came past when they were not there, and how long the log was then.
    absent: BTreeMap<Id, usize>,
    /// How many batches of a base copy are sent in this life, so that the copy takes many of them, and how many may be.
    pub(crate) copied_batches: u64,
    copied_batches_max: u64,
    /// How often each thing has happened in this life.
    happened: [u64; 6],
    last_happened: Option<Instant>,
    /// Rules that were broken.
    broken: Vec<String>,
}

impl World {
    pub(crate) fn breaks(&mut self, what: String) {
        if self.broken.len() < 10 {
            self.broken.push(what);
        }
    }

    /// A base copy comes past these records: it brings those that are there.
    pub(crate) fn copy_passes(&mut self, table: usize, numbers: Range<u64>) {
        let log = self.source.log.len();
        let ids = (table, numbers.start)..(table, numbers.end);
        for (id, history) in self.source.histories.range(ids) {
            match history.last() {
                Some((_, Some(_))) => self.absent.remove(id),
                _ => self.absent.insert(*id, log),
            };
        }
    }

    /// Whether a record that this transaction put may be in the replica without its blob although the cursor has passed it.
    ///
    /// The cursor of a copy covers what the passes brought that have moved it. A record that an earlier life stored, and was
    /// killed before it had saved the blob, is not among them if it was deleted when the next pass came to its place. The log
    /// after the copy deletes it, whatever else happened to it before that.
    pub(crate) fn may_lack_blob(&self, id: Id, put: usize) -> bool {
        self.absent.get(&id).is_some_and(|log| put < *log)
    }

    /// A follower starts.
    pub(crate) fn new_life(&mut self) {
        self.life += 1;
        self.stops_at = None;
        self.happened = [0; 6];
        self.last_happened = None;
        self.copied_batches = 0;
        self.copied_batches_max = 1 + self.random.below(12);
    }

    pub(crate) const fn count(&self, what: Happening) -> u64 {
        self.happened[what as usize]
    }

    /// One from which a certain death is wanted: a base copy goes on to its end.
    pub(crate) fn new_aimed_life(&mut self, stops_at: Option<Happening>) {
        self.new_life();
        self.copied_batches_max = u64::MAX;
        self.stops_at = stops_at;
    }

    pub(crate) const fn may_copy(&self) -> bool {
        self.is_ending || self.copied_batches < self.copied_batches_max
    }

    /// After how many bytes the next connection is cut: one in three soon, the others late.
    pub(crate) fn draw_cut(&mut self) -> usize {
        match self.random.below(3) {
            _ if self.is_ending => usize::MAX,
            0 => 1 + self.random.below(20_000) as usize,
            _ => 1 + self.random.below(2_000_000) as usize,
        }
    }

    /// A subscription never starts before what was confirmed or stored.
    pub(crate) fn on_start(&mut self, start: f64, resume: Option<&CopyResume>) {
        let asked = match resume.map(resumed) {
            Some((table, number)) => Progress::Copy(table, number),
            None if start == 0.0 => Progress::Nothing,
            None => Progress::Log(start),
        };
        let confirmed = Progress::Log(self.confirmed);
        if asked < self.stored || (self.confirmed > 0.0 && asked < confirmed) {
            let stored = self.stored;
            self.breaks(format!(
                "asked for {asked:?}, stored {stored:?}, confirmed {confirmed:?}"
            ));
        }
    }

    /// A follower confirms what it was sent, and does not take it back. What one that is dead now has said may come late.
    pub(crate) fn on_confirmed(&mut self, life: u64, sequence: f64) {
        let (confirmed, sent) = (self.confirmed, self.sent);
        if (sequence < confirmed && life == self.life) || sequence > sent {
            self.breaks(format!(
                "{sequence} confirmed after {confirmed}; {sent} was sent"
            ));
        }
        self.confirmed = confirmed.max(sequence);
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) file: PathBuf,
    pub(crate) blobs: PathBuf,
}

impl Shared {
    pub(crate) fn new(seed: u64, folder: &std::path::Path) -> Self {
        let world = World {
            source: Source::new(seed),
            random: Random::new(!seed),
            sent: 0.0,
            sent_blobs: BTreeSet::new(),
            confirmed: 0.0,
            life: 0,
            stored: Progress::Nothing,
            is_ending: false,
            stops_at: None,
            absent: BTreeMap::new(),
            copied_batches: 0,
            copied_batches_max: 0,
            happened: [0; 6],
            last_happened: None,
            broken: Vec::new(),
        };
        Self {
            world: Mutex::new(world),
            file: folder.join("replica.db"),
            blobs: folder.join("replica.db.blobs"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // Whoever panicked with it has failed the test.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.lock())
    }

    pub(crate) fn happened(&self, what: Happening) {
        let mut world = self.lock();
        world.happened[what as usize] += 1;
        world.last_happened = Some(Instant::now());
    }

    /// The same, and if the publisher is to stop there it goes no further.
    pub(crate) async fn happened_unless_stopped(&self, what: Happening) {
        self.happened(what);
        let life = self.with(|world| world.life);
        self.until(|world| world.stops_at != Some(what) || world.life != life)
            .await;
    }

    /// Whether the publisher has a connection, and nothing has happened for so long.
    pub(crate) fn is_quiet_for(&self, time: Duration) -> bool {
        let world = self.lock();
        world
            .last_happened
            .is_some_and(|last| last.elapsed() > time)
    }

    /// Waits until something is true.
    pub(crate) async fn until(&self, mut is_true: impl FnMut(&mut World) -> bool) {
        while !self.with(&mut is_true) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Fails if a rule was broken.
    pub(crate) fn check(&self) {
        let broken = self.with(|world| world.broken.clone());
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// Where a blob is kept.
    pub(crate) fn blob_path(&self, file: &str) -> PathBuf {
        let spread = format!("{:02x}", Sha256::digest(file)[0]);
        self.blobs.join(NODE).join(DATABASE).join(spread).join(file)
    }
}
