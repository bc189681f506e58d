//! Which faults a world has. A seed first turns most of them off, so that a run has few kinds at strong rates.

use std::fmt;
use std::str::FromStr;

use crate::rng::Rng;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Messages arrive in parts.
    Split,
    /// The link is cut, between messages or inside one.
    Cut,
    /// The receiving process dies, and with it all that is not durable.
    Crash,
    /// The consumer stalls now and then.
    Stall,
    /// The consumer takes one event at a time.
    Slow,
    /// The application says that it is not ready.
    NotReady,
    /// Transactions become durable, and are acknowledged, out of order.
    Reorder,
    /// The blob store fails one save of a few.
    FailingSaves,
    /// The source cannot read one blob of a few.
    FailingReads,
    /// The publisher forgets the beginning of its log.
    Purge,
    /// The publisher begins its copy again on the same link.
    Recopy,
    /// The link is drained and closed by its host.
    Drain,
    /// The connection is dead and nobody says so: nothing arrives any more, on either side.
    HalfOpen,
    /// The publisher is gone without a word; what it has sent still arrives.
    UnreportedClose,
    /// The publisher closes the link, with any code.
    PeerClose,
    /// The host replaces the link by a new one at once; acknowledgements of the old one come late.
    Supersede,
    /// The publisher sends what is passed over: unknown commands and entries, its own, and those that are broken.
    Strange,
    /// The publisher stops in the middle of a blob, or before it, and never goes on.
    Hang,
    /// The publisher does not answer the subscription, and says other things instead.
    Mute,
    /// The publisher forgets to announce a table.
    LostTable,
    /// Some blobs are gone at the source for ever.
    Gone,
    /// A blob is said to be gone, and comes after all for a later record.
    Revived,
    /// The publisher uses the id of a transfer again for another file.
    SharedTransfers,
    /// The application commits nothing before its blobs are saved.
    Gate,
    /// A commit fails, and with it all that are under way.
    FailingCommits,
    /// The cursor cannot be read now and then.
    UnreadableCursor,
    /// The disk of the blobs is full for a while.
    FullDisk,
    /// The disk of the blobs is slow.
    SlowDisk,
    /// Nothing arrives for a while.
    Lag,
    /// Parts still arrive while reading is paused.
    Overrun,
    /// The host says things that are of no use, or too late.
    Stray,
    /// The host is busy: it comes late for commands and for deadlines.
    Busy,
    /// Other links have much of the memory that all share.
    Scarce,
    /// The publisher sends anything: damaged, repeated and invented messages.
    Hostile,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 34] = [
        Self::Split,
        Self::Cut,
        Self::Crash,
        Self::Stall,
        Self::Slow,
        Self::NotReady,
        Self::Reorder,
        Self::FailingSaves,
        Self::FailingReads,
        Self::Purge,
        Self::Recopy,
        Self::Drain,
        Self::HalfOpen,
        Self::UnreportedClose,
        Self::PeerClose,
        Self::Supersede,
        Self::Strange,
        Self::Hang,
        Self::Mute,
        Self::LostTable,
        Self::Gone,
        Self::Revived,
        Self::SharedTransfers,
        Self::Gate,
        Self::FailingCommits,
        Self::UnreadableCursor,
        Self::FullDisk,
        Self::SlowDisk,
        Self::Lag,
        Self::Overrun,
        Self::Stray,
        Self::Busy,
        Self::Scarce,
        Self::Hostile,
    ];

    /// The name, as in a trace file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Cut => "cut",
            Self::Crash => "crash",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::NotReady => "not_ready",
            Self::Reorder => "reorder",
            Self::FailingSaves => "failing_saves",
            Self::FailingReads => "failing_reads",
            Self::Purge => "purge",
            Self::Recopy => "recopy",
            Self::Drain => "drain",
            Self::HalfOpen => "half_open",
            Self::UnreportedClose => "unreported_close",
            Self::PeerClose => "peer_close",
            Self::Supersede => "supersede",
            Self::Strange => "strange",
            Self::Hang => "hang",
            Self::Mute => "mute",
            Self::LostTable => "lost_table",
            Self::Gone => "gone",
            Self::Revived => "revived",
            Self::SharedTransfers => "shared_transfers",
            Self::Gate => "gate",
            Self::FailingCommits => "failing_commits",
            Self::UnreadableCursor => "unreadable_cursor",
            Self::FullDisk => "full_disk",
            Self::SlowDisk => "slow_disk",
            Self::Lag => "lag",
            Self::Overrun => "overrun",
            Self::Stray => "stray",
            Self::Busy => "busy",
            Self::Scarce => "scarce",
            Self::Hostile => "hostile",
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// A set of kinds of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u64);

impl Faults {
    /// No faults.
    pub const NONE: Self = Self(0);

    /// The faults of a seed. Each kind is drawn by its name, so that a new kind leaves the others as they were.
    pub fn draw(seed: u64) -> Self {
        let density = [100, 250, 500][Rng::named(seed, "density").below(3) as usize];
        let is_drawn = |fault: &Fault| {
            // With a hostile publisher much less can be compared.
            let chance = if *fault == Fault::Hostile {
                100
            } else {
                density
            };
            Rng::named(seed, fault.as_str()).chance(chance)
        };
        Fault::ALL.into_iter().filter(is_drawn).collect()
    }

    /// Whether this kind is in the set.
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    /// The set without this kind.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !fault.bit())
    }

    pub(crate) const fn add(&mut self, fault: Fault) {
        self.0 |= fault.bit();
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().fold(0, |set, fault| set | fault.bit()))
    }
}

/// The names, separated by spaces; `none` for no faults.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, fault) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}", fault.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        text.split_whitespace()
            .map(|name| {
                let known = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
                known.ok_or_else(|| format!("there is no fault {name:?}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn_and_few_by_each_seed() {
        let drawn: Vec<Faults> = (0..1000).map(Faults::draw).collect();
        for fault in Fault::ALL {
            let on = drawn.iter().filter(|faults| faults.has(fault)).count();
            assert!((60..400).contains(&on), "{fault:?} in {on} of 1000");
        }
        let few = drawn.iter().filter(|faults| faults.iter().count() <= 5);
        assert!(few.count() > 250);
    }

    #[test]
    fn a_set_is_read_as_it_is_written() {
        for seed in 0..100 {
            let faults = Faults::draw(seed);
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        assert_eq!("none".parse(), Ok(Faults::NONE));
        assert!("split, cut".parse::<Faults>().is_err());
    }
}
