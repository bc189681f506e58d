//! The moments at which the program is killed.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::deaths::{Death, unfinished};
use crate::random::Random;
use crate::reader::{self, Reader};
use crate::world::{Happening, Progress, Shared};

/// However slow the machine is, a life that comes to nothing ends.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

/// One from which a certain death is wanted goes on for far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The publisher has nothing more to say in this life when it has said nothing for so long.
const QUIET: Duration = Duration::from_millis(30);

/// What is waited for before a kill.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trigger {
    /// Some milliseconds after the start: the program starts, and clears up what the last life has left.
    Start,
    /// A step of the set-up.
    SetUp(Happening),
    /// So many messages are sent.
    Sent(u64),
    /// So many chunks of blobs are sent.
    Chunk(u64),
    /// So many confirmations have come.
    Confirmed(u64),
    /// SQLite writes to its log.
    Writes(u64),
    /// A commit can be seen that is not confirmed.
    Stored,
    /// The end of the base copy is stored.
    Log,
    /// A blob lies there half written.
    Half,
}

impl Trigger {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Start,
            1 => Self::SetUp(
                [
                    Happening::Accepted,
                    Happening::Greeted,
                    Happening::Subscribed,
                ][random.below(3) as usize],
            ),
            2 => Self::Sent(1 + random.below(100)),
            3 | 4 => Self::Chunk(1 + random.below(12)),
            5 => Self::Confirmed(1 + random.below(4)),
            6 => Self::Writes(1 + random.below(6)),
            _ => Self::Stored,
        }
    }

    /// What to wait for to see this death, and at which of its steps the publisher has to stop for it.
    pub(crate) const fn aimed_at(death: Death) -> (Self, Option<Happening>) {
        match death {
            Death::InTheSetUp => (Self::SetUp(Happening::Accepted), Some(Happening::Accepted)),
            Death::InTheCopy => (Self::SetUp(Happening::Subscribed), None),
            Death::InTheLog => (Self::Log, None),
            Death::BetweenCommitAndConfirmation => (Self::Stored, Some(Happening::Confirmed)),
            Death::WithAnUnfinishedBlob => (Self::Half, Some(Happening::Chunk)),
            _ => (Self::Start, None),
        }
    }

    /// Waits for it, or until nothing more can come.
    pub(crate) fn wait(self, shared: &Shared, reader: &Mutex<Reader>, random: &mut Random) {
        let start = Instant::now();
        let is_over = || start.elapsed() >= LONGEST_LIFE || shared.is_quiet_for(QUIET);
        self.wait_unless(&is_over, shared, reader, random);
        // Not always at once.
        if random.one_in(2) {
            sleep(Duration::from_micros(random.below(5000)));
        }
    }

    /// Waits for it however long it takes.
    pub(crate) fn wait_long(self, shared: &Shared, reader: &Mutex<Reader>, random: &mut Random) {
        let start = Instant::now();
        let is_over = || start.elapsed() >= PATIENCE;
        self.wait_unless(&is_over, shared, reader, random);
    }

    fn wait_unless(
        self,
        is_over: &dyn Fn() -> bool,
        shared: &Shared,
        reader: &Mutex<Reader>,
        random: &mut Random,
    ) {
        let wait = |has_come: &dyn Fn() -> bool| {
            while !has_come() && !is_over() {
                sleep(Duration::from_micros(100));
            }
        };
        let happens = |what, times| wait(&|| shared.with(|world| world.count(what) >= times));
        match self {
            Self::Start => sleep(Duration::from_micros(random.below(15_000))),
            Self::SetUp(step) => happens(step, 1),
            Self::Sent(times) => happens(Happening::Sent, times),
            Self::Chunk(times) => happens(Happening::Chunk, times),
            Self::Confirmed(times) => happens(Happening::Confirmed, times),
            Self::Writes(times) => {
                let log = shared.file.with_extension("db-wal");
                for _ in 0..times {
                    let before = modified(&log);
                    wait(&|| modified(&log) != before);
                }
            }
            Self::Stored => {
                happens(Happening::Accepted, 1);
                let before = reader::lock(reader).stored();
                wait(&|| {
                    let confirmed = Progress::Log(shared.with(|world| world.confirmed));
                    let stored = reader::lock(reader).stored();
                    stored != before && (stored > confirmed || matches!(stored, Progress::Copy(..)))
                });
            }
            Self::Log => wait(&|| matches!(reader::lock(reader).stored(), Progress::Log(_))),
            Self::Half => wait(&|| unfinished(shared) > 0),
        }
    }
}

fn modified(file: &Path) -> Option<(u64, SystemTime)> {
    let found = fs::metadata(file).ok()?;
    Some((found.len(), found.modified().ok()?))
}
