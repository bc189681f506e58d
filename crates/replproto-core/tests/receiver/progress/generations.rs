//! Publishers of every generation: what is not durable when a link ends comes again from the cursor.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use replproto_core::{Sequence, Start};

use super::{OTHER, put};
use crate::driver::{Auto, Driver, config};
use crate::wire::{self, Batch, TIME};

/// How a publisher orders what it has, and what it makes of the versions (`protocol.md` section 3.1 of the publisher's side).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Generation {
    /// Positions are its own times, in the order in which it wrote.
    LocalTime,
    /// Positions are versions, and the entries of a transaction share one.
    Version,
    /// The same, but a late entry of its own gets the version of what it was merged below.
    RaisedVersion,
}

#[derive(Clone, Debug)]
struct Publisher {
    generation: Generation,
    /// Entries come in the order in which they arrived there, and not in that of their positions.
    is_live: bool,
    /// In milliseconds, as all times here.
    margin: f64,
    /// How far of the margin the clocks of other writers are ahead; in the order of arrival what is left is how far they are
    /// behind, since an entry below an announced position is beyond any follower's reach.
    ahead: f64,
    writes: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    pause: f64,
    is_own: bool,
    /// From 0 to 1, of what the publisher and the order allow.
    skew: f64,
    entries: usize,
    /// The batch ends after the first entry, although the next has the same version.
    is_split: bool,
    /// The batch has a terminator.
    is_last: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    position: f64,
    version: f64,
    node: u32,
}

/// A batch and the position that it tells.
type Sent = (Vec<Entry>, Option<f64>);

const HOUR: f64 = 3_600_000.0;

impl Publisher {
    fn entry(&self, write: &Write, now: f64) -> Entry {
        let Write { is_own, skew, .. } = *write;
        let node = if is_own { 0 } else { OTHER };
        let behind = if self.is_live {
            self.margin - self.ahead
        } else {
            HOUR
        };
        // Others of which nothing is taken may be ahead as far as they like.
        let theirs = now + skew * (HOUR + behind) - behind;
        let (position, version) = match (self.generation, is_own) {
            // A transaction takes its time.
            (Generation::LocalTime, true) => (now, now - skew * 5000.0),
            (Generation::LocalTime, false) => (now, now + (2.0 * skew - 1.0) * HOUR),
            (Generation::Version, true) => (now, now),
            (Generation::RaisedVersion, true) => (now, now + skew * self.ahead),
            (_, false) => (theirs, theirs),
        };
        Entry {
            position,
            version,
            node,
        }
    }

    /// What it sends: a batch for each version.
    fn batches(&self) -> Vec<Sent> {
        let mut now = TIME;
        let mut transactions: Vec<(Vec<Entry>, &Write)> = Vec::new();
        for write in &self.writes {
            now += write.pause;
            let entries = (0..write.entries).map(|number| {
                let mut entry = self.entry(write, now);
                if self.generation == Generation::LocalTime {
                    entry.position += number as f64 / 1024.0;
                }
                entry
            });
            transactions.push((entries.collect(), write));
        }
        if !self.is_live {
            transactions.sort_by(|(a, _), (b, _)| a[0].position.total_cmp(&b[0].position));
        }
        let mut batches = Vec::new();
        for (mut entries, write) in transactions {
            let end = entries[entries.len() - 1].position;
            if write.is_split && entries.len() > 1 {
                let rest = entries.split_off(1);
                batches.push((entries, None));
                entries = rest;
            }
            // In the order of arrival the position of the last entry says nothing about those to come.
            let is_last = write.is_last && !self.is_live;
            batches.push((entries, is_last.then_some(end)));
        }
        batches
    }
}

fn publisher() -> impl Strategy<Value = Publisher> {
    let generation = prop_oneof![
        Just(Generation::LocalTime),
        Just(Generation::Version),
        Just(Generation::RaisedVersion),
    ];
    let write = (
        prop_oneof![Just(0.25), 1.0..3000.0, 30_000.0..100_000.0],
        any::<bool>(),
        0.0..=1.0,
        1..4_usize,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.1),
    );
    let write = write.prop_map(|(pause, is_own, skew, entries, is_split, is_last)| Write {
        pause,
        is_own,
        skew,
        entries,
        is_split,
        is_last,
    });
    let margin = prop_oneof![Just(0.0), Just(5000.0), Just(60_000.0)];
    let writes = prop::collection::vec(write, 1..40);
    (generation, any::<bool>(), margin, 0.0..=1.0, writes).prop_map(
        |(generation, is_live, margin, ahead, writes)| Publisher {
            generation,
            is_live,
            margin,
            ahead: ahead * margin,
            writes,
        },
    )
}

proptest! {
    /// A link that ends at any moment, with some of it durable, in any order: the next one starts where all the rest comes.
    #[test]
    fn nothing_is_ever_lost(
        publisher in publisher(),
        acts in prop::collection::vec((any::<bool>(), any::<Index>()), 0..120),
        cut in any::<Index>(),
    ) {
        let mut config = config();
        config.clock_margin = Duration::from_secs_f64(publisher.margin / 1000.0);
        let start = TIME - 2.0 * HOUR;
        let mut driver = Driver::connected(config, Start::At(Sequence(start)));
        driver.feed_all(wire::handshake());
        driver.auto = Auto { commit: false, ..Auto::ALL };
        let batches = publisher.batches();
        let mut sent = batches.iter().map(|(entries, end)| {
            let batch = entries.iter().fold(Batch::new(), |batch, entry| put(batch, entry.node, entry.version));
            match end {
                Some(end) => batch.end_at(*end),
                None => batch.end(),
            }
        });
        // Of each batch that has ended: its commit, and whether it is durable.
        for (feeds, index) in acts {
            if feeds && let Some(message) = sent.next() {
                driver.feed(message);
            } else if !driver.uncommitted.is_empty() {
                let ids: Vec<_> = driver.uncommitted.keys().copied().collect();
                driver.commit(ids[index.index(ids.len())]);
                driver.run();
            }
            check(&driver, &batches)?;
        }
        if let Some(message) = sent.next() {
            let part = message.slice(..cut.index(message.len()));
            driver.input(replproto_core::Input::Message { bytes: part, last: false });
        }
        driver.auto = Auto::ALL;
        driver.run();
        check(&driver, &batches)?;
    }
}

/// What is not durable lies behind the cursor.
fn check(driver: &Driver, batches: &[Sent]) -> Result<(), TestCaseError> {
    let cursor = driver.persisted().sequence.0;
    let ids: Vec<_> = driver.ends().map(|end| end.id).collect();
    for (number, (entries, _)) in batches.iter().enumerate() {
        let is_durable = ids
            .get(number)
            .is_some_and(|id| !driver.uncommitted.contains_key(id));
        for entry in entries.iter().filter(|_| !is_durable) {
            prop_assert!(
                entry.position > cursor,
                "{entry:?} of batch {number} is not durable, and the cursor is at {cursor}"
            );
        }
    }
    Ok(())
}
