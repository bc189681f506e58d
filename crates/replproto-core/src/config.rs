//! Every limit, with its unit, its default and the reason for it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;

use crate::table::TableDefinition;

/// Who we are, what we follow, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Our own name. Never empty.
    pub node_name: String,
    /// The name that the peer must have; `None` accepts any.
    pub peer_name: Option<String>,
    /// The database to follow. Never empty.
    pub database: String,
    /// Which generation of the protocol to advertise.
    pub mode: Mode,
    /// Which tables to follow.
    pub tables: TableFilter,
    /// Origins whose records the publisher is asked not to send, besides our own.
    pub excluded_origins: Vec<String>,
    /// What to do if the publisher no longer has the log from the requested position on.
    #[cfg_attr(feature = "serde", serde(default))]
    pub on_gap: OnGap,
    /// What is refused.
    pub limits: Limits,
    /// When to pause.
    pub flow: FlowControl,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How far the clock of another writer may be ahead of the publisher's. A publisher tells its position only when it has
    /// sent all that it has; until then the cursor follows the versions of its own entries at this distance
    /// (`protocol.md` section 15, ruling 29). Too little may leave something out after a reconnect, too much repeats more.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::micros", default = "earlier_clock_margin")
    )]
    pub clock_margin: Duration,
}

/// The rule of recordings that are older than this option: no version led the cursor anywhere.
#[cfg(feature = "serde")]
const fn earlier_clock_margin() -> Duration {
    Duration::MAX
}

/// The two generations of the protocol that are in the field (`protocol.md`, preface).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mode {
    /// Version 5.1: no capabilities, no request ids, no resumable copies.
    A,
    /// Version 5.2.
    #[default]
    B,
}

/// What to do if the publisher no longer has the log from the requested position on, and sends a base copy that nobody has asked
/// for. Such a copy leaves out what has not changed since that position, and does not say what was deleted meanwhile
/// (`publisher.md` section 4.6; `protocol.md` section 15, ruling 26).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum OnGap {
    /// The link takes the copy and goes on; records that were deleted meanwhile may stay.
    #[default]
    Keep,
    /// The link ends with [`LinkError::Gap`](crate::LinkError::Gap). One that starts with [`Start::Copy`](crate::Start::Copy)
    /// brings everything, exactly.
    Close,
}

/// Which tables of the database to follow (`protocol.md` section 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum TableFilter {
    /// All of them.
    #[default]
    All,
    /// Only these.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

impl TableFilter {
    /// Whether the table is wanted.
    pub fn wants(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == table),
            Self::Except(names) => names.iter().all(|name| name != table),
        }
    }

    /// The tables that are asked for by name and that the publisher, which has `tables`, has not.
    pub fn missing<'a>(&'a self, tables: &[TableDefinition]) -> impl Iterator<Item = &'a str> {
        let names: &[String] = match self {
            Self::Only(names) => names,
            Self::All | Self::Except(_) => &[],
        };
        let is_missing =
            move |name: &&'a String| tables.iter().all(|table| table.table != name.as_str());
        names.iter().filter(is_missing).map(String::as_str)
    }

    /// The names that it has.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Only(names) | Self::Except(names) => names,
        }
    }
}

/// The cost of a table name against [`Limits::context`] besides its length, for as long as the link lasts, in bytes:
/// a store makes a table for it, which takes far more than the name.
pub const TABLE_COST: usize = 4 << 10;

/// Sizes past which the link ends with a typed error, or a record is passed over. All are above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Largest message in bytes. Nothing is held whole but a record or a command, so this bounds what one transaction may
    /// ask of the store, not memory: the default is what the protocol's receivers take, 10 GiB (`protocol.md` section 1.1).
    pub message: u64,
    /// Largest audit entry in bytes. More than [`RECORD_MAX`] makes no sense. An entry is held whole while it is decoded.
    pub record: usize,
    /// The treatment of a larger one, up to [`RECORD_MAX`].
    #[cfg_attr(feature = "serde", serde(default = "earlier_large_record"))]
    pub large_record: LargeRecord,
    /// Largest command in bytes, without the body of a blob's chunk. A command is held whole while it is decoded.
    pub command: usize,
    /// What the link may keep, in bytes: tables with their dictionaries and definitions, node names, residency lists, and for
    /// every name of a table that was ever announced [`TABLE_COST`] and the name.
    pub context: usize,
    /// Transfers of blobs that have begun and not ended.
    pub open_blobs: usize,
    /// References of records to blobs that are neither saved nor gone.
    pub blob_references: usize,
    /// Keys of finished transfers that are remembered, so that a second record finds a blob that is already saved.
    /// The oldest is forgotten first.
    pub finished_blobs: usize,
    /// On how many links the same blob may fail at the source before it is taken to be gone (`protocol.md` section 15,
    /// ruling 9).
    pub blob_tries: u32,
}

/// The largest audit entry that senders send unless they are told otherwise (`protocol.md` section 1.1). A larger one always
/// ends the link.
pub const RECORD_MAX: usize = 100_000_000;

/// The treatment of a record larger than [`Limits::record`] (`protocol.md` section 15, ruling 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LargeRecord {
    /// Its bytes are passed over as they come, and it is told with
    /// [`Event::RecordSkipped`](crate::Event::RecordSkipped). The records behind it arrive.
    #[default]
    Skip,
    /// The link ends with [`LinkError::TooLarge`](crate::LinkError::TooLarge).
    EndLink,
}

/// The rule of recordings that are older than this option.
#[cfg(feature = "serde")]
const fn earlier_large_record() -> LargeRecord {
    LargeRecord::EndLink
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 10 << 30,
            record: 16 << 20,
            large_record: LargeRecord::Skip,
            command: 4 << 20,
            context: 16 << 20,
            open_blobs: 1024,
            blob_references: 16_384,
            finished_blobs: 4096,
            blob_tries: 5,
        }
    }
}

/// A level of something that is counted in items and in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Level {
    /// Items.
    pub items: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Level {
    /// No bound. There is no other way to say it: a zero is a zero.
    pub const UNBOUNDED: u64 = u64::MAX;
}

/// When a reason to pause is raised and when it is lifted.
///
/// It is raised when either count is *above* its high mark, and lifted when both are *at or below* their low marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Marks {
    /// Above this the reason is raised.
    pub high: Level,
    /// At or below this it is lifted.
    pub low: Level,
}

impl Marks {
    /// Marks for items and bytes.
    pub const fn new(high: Level, low: Level) -> Self {
        Self { high, low }
    }

    fn check(self, what: &'static str) -> Result<(), ConfigError> {
        if self.high.items == 0 || self.high.bytes == 0 {
            return Err(ConfigError::Zero(what));
        }
        if self.low.items > self.high.items || self.low.bytes > self.high.bytes {
            return Err(ConfigError::Inverted(what));
        }
        Ok(())
    }
}

/// The marks of the reasons to pause. See [`PauseReason`](crate::PauseReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FlowControl {
    /// Parts of messages that are held.
    pub inbound: Marks,
    /// Events that are out, as [`Event::count`](crate::Event::count) counts them. In the protocol's way the pause begins
    /// above 100 and ends at 0.
    pub consumer: Marks,
    /// Transactions and checkpoints that are out and not durable.
    pub commits: Marks,
    /// Bytes of blobs that are out and not written. Items are chunks, and transfers of which nothing more is to come and that
    /// the store has not answered for: those that are being saved, and those that are being thrown away.
    pub blobs: Marks,
}

impl Default for FlowControl {
    fn default() -> Self {
        const ANY: u64 = Level::UNBOUNDED;
        const fn marks(high: (u64, u64), low: (u64, u64)) -> Marks {
            Marks::new(
                Level {
                    items: high.0,
                    bytes: high.1,
                },
                Level {
                    items: low.0,
                    bytes: low.1,
                },
            )
        }
        Self {
            inbound: marks((ANY, 2 << 20), (ANY, 1 << 20)),
            consumer: marks((100, 4 << 20), (0, 2 << 20)),
            commits: marks((150, ANY), (75, ANY)),
            blobs: marks((1024, 1 << 20), (512, 512 << 10)),
        }
    }
}

/// How long to wait. All are above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timeouts {
    /// Between two pings. Pings also go out while reading is paused.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub ping_interval: Duration,
    /// Silence of the peer, while reading is not paused, after which the link ends.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub ping_timeout: Duration,
    /// The same while a base copy is under way, and the limit for its last step.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub copy_timeout: Duration,
    /// From the open socket to the answered subscription, not counting paused time. A peer may ask for more, up to four
    /// times this. Before the socket is open it bounds the wait for that.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub setup: Duration,
    /// Silence of a blob's transfer, not counting paused time.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub blob: Duration,
    /// How long the cursor may be held by a blob that failed before the link is renewed to get it.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub blob_gap: Duration,
    /// How long reading may be paused without any progress of the application.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub pause_stall: Duration,
    /// How long the application may be not ready.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub not_ready: Duration,
    /// The longest wait for the next byte of a message that has begun, not counting paused time. Pings and pongs are no part
    /// of it. It also bounds how long a link whose peer has stopped may hold more of a [`SharedBudget`](crate::SharedBudget) than
    /// there is; one whose peer goes on, however slowly, holds it until its message is complete.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::micros", default = "default_message")
    )]
    pub message: Duration,
    /// How long a confirmation waits for others to join it.
    #[cfg_attr(feature = "serde", serde(with = "crate::time::micros"))]
    pub confirm_delay: Duration,
    /// The longest that a link may take to finish what came whole before the end of its connection, whatever ended it.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::time::micros", default = "default_settle")
    )]
    pub settle: Duration,
}

/// Recordings of earlier versions do not have it.
const fn default_message() -> Duration {
    Duration::from_secs(60)
}

/// Recordings of earlier versions do not have it.
const fn default_settle() -> Duration {
    Duration::from_secs(10)
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(60),
            copy_timeout: Duration::from_secs(300),
            setup: Duration::from_secs(150),
            blob: Duration::from_secs(900),
            blob_gap: Duration::from_secs(900),
            pause_stall: Duration::from_secs(1800),
            not_ready: Duration::from_secs(60),
            message: default_message(),
            confirm_delay: Duration::from_millis(2),
            settle: default_settle(),
        }
    }
}

impl Config {
    /// A configuration with every default.
    pub fn new(node_name: impl Into<String>, database: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            peer_name: None,
            database: database.into(),
            mode: Mode::default(),
            tables: TableFilter::default(),
            excluded_origins: Vec::new(),
            on_gap: OnGap::default(),
            limits: Limits::default(),
            flow: FlowControl::default(),
            timeouts: Timeouts::default(),
            clock_margin: Duration::from_secs(60),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The first value that makes no sense, by name. No value means "off" by accident.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, text) in [("node_name", &self.node_name), ("database", &self.database)] {
            if text.is_empty() {
                return Err(ConfigError::Empty(name));
            }
        }
        let Limits {
            message: message_bytes,
            record,
            large_record: _,
            command,
            context,
            open_blobs,
            blob_references,
            finished_blobs,
            blob_tries,
        } = self.limits;
        for (name, is_zero) in [
            ("limits.message", message_bytes == 0),
            ("limits.record", record == 0),
            ("limits.command", command == 0),
            ("limits.context", context == 0),
            ("limits.open_blobs", open_blobs == 0),
            ("limits.blob_references", blob_references == 0),
            ("limits.finished_blobs", finished_blobs == 0),
            ("limits.blob_tries", blob_tries == 0),
        ] {
            if is_zero {
                return Err(ConfigError::Zero(name));
            }
        }
        self.flow.inbound.check("flow.inbound")?;
        self.flow.consumer.check("flow.consumer")?;
        self.flow.commits.check("flow.commits")?;
        self.flow.blobs.check("flow.blobs")?;
        let Timeouts {
            ping_interval,
            ping_timeout,
            copy_timeout,
            setup,
            blob,
            blob_gap,
            pause_stall,
            not_ready,
            message,
            confirm_delay,
            settle,
        } = self.timeouts;
        for (name, duration) in [
            ("timeouts.ping_interval", ping_interval),
            ("timeouts.ping_timeout", ping_timeout),
            ("timeouts.copy_timeout", copy_timeout),
            ("timeouts.setup", setup),
            ("timeouts.blob", blob),
            ("timeouts.blob_gap", blob_gap),
            ("timeouts.pause_stall", pause_stall),
            ("timeouts.not_ready", not_ready),
            ("timeouts.message", message),
            ("timeouts.confirm_delay", confirm_delay),
            ("timeouts.settle", settle),
        ] {
            if duration.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        Ok(())
    }
}

/// A configuration that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A limit or a time is zero, which would stop everything at once.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// A low mark lies above its high mark.
    #[error("{0}: the low mark lies above the high mark")]
    Inverted(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::new("us", "data").check(), Ok(()));
    }

    #[test]
    fn nothing_is_off_by_accident() {
        let mut config = Config::new("us", "data");
        config.flow.consumer.high.items = 0;
        assert_eq!(config.check(), Err(ConfigError::Zero("flow.consumer")));
        let mut config = Config::new("us", "data");
        config.flow.blobs.low.bytes = config.flow.blobs.high.bytes + 1;
        assert_eq!(config.check(), Err(ConfigError::Inverted("flow.blobs")));
        let mut config = Config::new("us", "data");
        config.timeouts.setup = Duration::ZERO;
        assert_eq!(config.check(), Err(ConfigError::Zero("timeouts.setup")));
        assert_eq!(
            Config::new("", "data").check(),
            Err(ConfigError::Empty("node_name"))
        );
    }
}
