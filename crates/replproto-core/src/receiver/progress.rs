//! Progress without a terminator (`protocol.md` section 15, ruling 29).
//!
//! A publisher tells its position only when it has sent all that it has. Until then the versions of what it wrote itself
//! tell where it is: no entry of its own lies before its version in the log. So a whole batch of such entries leads the
//! cursor to its version, less a margin for publishers that raise the version of a late entry of their own to that of a
//! writer whose clock is ahead. Going on from there repeats some of the log and leaves nothing out.
//!
//! Where several entries share a position, that is their version, and the next batch may have more of them: the cursor
//! moves when a batch with a higher version has begun. Senders put one version into a batch; of several, the last counts.
//! Entries that are passed over say nothing.

use core::ops::Range;
use core::time::Duration;

use crate::records::{Admission, admit};
use crate::sources::Sources;
use crate::time::{Sequence, WallTime};
use crate::wire::entry::Entry;
use crate::wire::varint;

use super::Receiver;
use super::ledger::Advance;

/// The publisher's own number on the wire.
const OWN: u32 = 0;

/// How far the versions of the publisher's own entries have led.
#[derive(Debug)]
pub(super) struct Progress {
    /// In milliseconds.
    margin: f64,
    /// A base copy was asked for and has not begun: until then nothing leads anywhere.
    awaits_copy: bool,
    /// The batch that has begun and not ended.
    open: Option<Batch>,
    /// The version of the last whole batch that was all the publisher's own, for as long as no batch with a higher one has begun.
    whole: Option<WallTime>,
}

/// What is known of the entries of a batch.
#[derive(Clone, Copy, Debug)]
struct Batch {
    is_own: bool,
    version: WallTime,
}

impl Progress {
    /// Of a link that is asked to start at `start`, of which 0 stands for a base copy.
    pub(super) fn new(margin: Duration, start: Sequence) -> Self {
        Self {
            margin: margin.as_secs_f64() * 1000.0,
            awaits_copy: start <= Sequence(0.0),
            open: None,
            whole: None,
        }
    }

    /// A batch goes on, or begins with an entry of this version. Gives the position to which all before it leads.
    fn begin(&mut self, version: WallTime) -> Option<Sequence> {
        if self.open.is_some() {
            return None;
        }
        self.open = Some(Batch {
            is_own: true,
            version,
        });
        let WallTime(reached) = self.whole.take_if(|whole| *whole < version)?;
        Some(Sequence(reached - self.margin))
    }

    /// Entries of the open batch: whether the publisher wrote all of them, and the version of the last.
    const fn go_on(&mut self, is_own: bool, version: WallTime) {
        if let Some(batch) = &mut self.open {
            batch.is_own &= is_own;
            batch.version = version;
        }
    }

    /// The batch ends, outside of a copy, perhaps with a position, which mostly leads further.
    fn end(&mut self, sequence: Option<Sequence>) {
        if let Some(Batch {
            is_own: true,
            version,
        }) = self.open.take()
        {
            let reached = Sequence(version.0 - self.margin);
            let is_news = sequence.is_none_or(|sequence| sequence < reached);
            self.whole = is_news.then_some(version);
        }
    }

    /// A base copy begins: what came so far says nothing about the log.
    pub(super) const fn forget(&mut self) {
        self.awaits_copy = false;
        self.open = None;
        self.whole = None;
    }
}

impl Receiver {
    /// The first `length` bytes of the front are about to be handed out as a run of the open batch. Its last record is there.
    pub(super) fn note_run(&mut self, length: usize, last: Range<usize>) {
        if !self.may_progress() {
            return;
        }
        let run = &self.inbox.front()[..length];
        let sources = self.context.sources();
        let Ok(entry) = Entry::parse(&run[last]) else {
            return;
        };
        let version = WallTime(entry.version);
        // How a batch is cut into runs must not tell: it begins with its first record.
        let first = if self.progress.open.is_some() {
            version
        } else {
            let mut records = items(run).filter_map(|item| match admit(sources, item) {
                Ok(Admission::Record(record)) => Some(record.version()),
                _ => None,
            });
            records.next().unwrap_or(version)
        };
        let is_own = is_own(sources, run);
        self.note_entries(is_own, first, version);
    }

    /// Whether the log is followed, and no base copy.
    const fn may_progress(&self) -> bool {
        self.copying.is_over() && !self.progress.awaits_copy
    }

    /// A record of the open batch that can never be used, which is nobody's own.
    pub(super) fn note_unusable(&mut self, version: Option<WallTime>) {
        if self.may_progress() {
            let version = version.unwrap_or(WallTime(f64::NAN));
            self.note_entries(false, version, version);
        }
    }

    fn note_entries(&mut self, is_own: bool, first: WallTime, last: WallTime) {
        if let Some(sequence) = self.progress.begin(first) {
            self.ledger.mark(Advance {
                inferred: Some(sequence),
                ..Advance::default()
            });
        }
        self.progress.go_on(is_own, last);
    }

    /// The open batch ends.
    pub(super) fn note_end(&mut self, sequence: Option<Sequence>) {
        if self.copying.is_over() {
            self.progress.end(sequence);
        } else {
            self.progress.forget();
        }
    }
}

/// Whether the publisher wrote all records of a run. Mostly nothing else has come since it last said something.
fn is_own(sources: &Sources, run: &[u8]) -> bool {
    sources.has_only_node(OWN)
        || !items(run).any(|item| {
            Entry::parse(item).is_ok_and(|entry| entry.node != OWN)
                && matches!(admit(sources, item), Ok(Admission::Record(_)))
        })
}

/// The entries of a run, among which those that are passed over.
fn items(mut run: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (length, start) = varint::decode(run)?;
        let (item, rest) = run.get(start..)?.split_at_checked(length as usize)?;
        run = rest;
        Some(item)
    })
}
