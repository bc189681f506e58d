//! What can be seen of a link from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use replproto_core::PauseReasons;
use replproto_core::{CloseReason, Cursor, EndCause, Epoch, Name, Stats};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connect::ConnectError;
use crate::describe::describe;
use crate::latency::Latencies;
use crate::sink::Doubts;

/// What a link, or the series of links of a [`run`](crate::run), is doing. Brought up to date about every 50 ms while
/// something changes, and at every change of [`Phase`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// What is going on.
    pub phase: Phase,
    /// How many links have been opened.
    pub links: u64,
    /// How many dials came to nothing since the last link.
    pub failed_dials: u64,
    /// The link that is open, or the last one.
    pub link: LinkSnapshot,
    /// The counters of all earlier links, without that of `link`.
    pub earlier: Stats,
    /// How often the sink has committed.
    pub storage_commits: u64,
    /// After how many entries a row may not be the publisher's. An entry that comes again after a rollback counts again.
    pub doubts: Doubts,
    /// How long changes took from their origin to the sink, without those of base copies.
    pub latencies: Latencies,
    /// The newest cursor that is durable, as far as known.
    pub cursor: Option<Cursor>,
    /// How often a link, or the attempt at one, came to an end and another followed, by
    /// [`EndCause::index`].
    pub ends: [u64; EndCause::ALL.len()],
    /// Why the last link, or the last attempt at one, ended.
    pub last_interruption: Option<Interruption>,
}

impl Snapshot {
    /// The counters of all links together.
    pub fn total(&self) -> Stats {
        let mut total = self.earlier;
        total.absorb(&self.link.stats);
        total
    }

    /// The same as they are at `now`: a pause that is under way counts up to it, although nothing has changed since.
    pub fn total_at(&self, now: Instant) -> Stats {
        let mut total = self.total();
        if let Some(at) = self.link.at {
            let since = now.saturating_duration_since(at);
            for reason in self.link.pauses.iter() {
                total.paused[reason.index()] += since;
            }
        }
        total
    }
}

/// What is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The connection is being made.
    #[default]
    Dialing,
    /// There is a connection, and the peer has not answered the subscription.
    SettingUp,
    /// A base copy is under way.
    Copying,
    /// The peer's log is followed.
    Following,
    /// There is no link, and the store is waited for: to finish what the last one brought, or to tell where the next goes on.
    Storing,
    /// There is no link; the next dial comes after this delay.
    Waiting(Duration),
    /// It is over.
    Ended,
}

impl Phase {
    /// The name, in the form used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dialing => "dialing",
            Self::SettingUp => "setting_up",
            Self::Copying => "copying",
            Self::Following => "following",
            Self::Storing => "storing",
            Self::Waiting(_) => "waiting",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialing => f.write_str("connecting"),
            Self::SettingUp => f.write_str("setting up"),
            Self::Copying => f.write_str("copying"),
            Self::Following => f.write_str("following"),
            Self::Storing => f.write_str("waiting for the store"),
            Self::Waiting(delay) => write!(f, "waiting {delay:?} before the next dial"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// One link.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LinkSnapshot {
    /// Which link of the series.
    pub epoch: Epoch,
    /// When this was seen; `None` before there is anything to see.
    pub at: Option<Instant>,
    /// The peer's own name, once it has said it.
    pub peer: Option<Name>,
    /// Whether nothing is under way.
    pub is_idle: bool,
    /// Why reading is paused.
    pub pauses: PauseReasons,
    /// Bytes of messages that are held.
    pub retained_bytes: u64,
    /// Events that the application has not taken.
    pub events_out: u64,
    /// Bytes of those, with a fixed overhead for each command.
    pub event_bytes_out: u64,
    /// Since when the oldest transaction is here that is not durable with all its blobs.
    pub unsettled_since: Option<Instant>,
    /// Transactions and checkpoints that are not durable.
    pub commits_out: u64,
    /// Bytes of blobs that are not written.
    pub blob_bytes_out: u64,
    /// Blobs that failed and hold the cursor until they have come again.
    pub blobs_missing: u64,
    /// Counters.
    pub stats: Stats,
}

/// Why there is no link any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Interruption {
    /// The dial came to nothing.
    NotConnected(Arc<ConnectError>),
    /// The link ended.
    Closed(CloseReason),
    /// The sink failed, and the link was ended because of it.
    Storage(Arc<str>),
    /// The peer stopped in the middle of a transaction while others waited for the sink, and the link was renewed.
    HeldUp,
    /// The task of the link panicked.
    Panicked,
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(error) => f.write_str(&describe(&**error)),
            Self::Closed(reason) => reason.fmt(f),
            Self::Storage(why) => write!(f, "the store failed: {why}"),
            Self::HeldUp => {
                f.write_str("the peer stopped in a transaction while others waited for the store")
            }
            Self::Panicked => f.write_str("the task of the link panicked"),
        }
    }
}

/// The side that is looked at. Nobody who looks can hold it up.
#[derive(Clone, Debug)]
pub(crate) struct Progress(watch::Sender<Snapshot>);

impl Progress {
    pub(crate) const fn new(sender: watch::Sender<Snapshot>) -> Self {
        Self(sender)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        self.0.send_modify(change);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.0.subscribe()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(watch::Sender::default())
    }
}
