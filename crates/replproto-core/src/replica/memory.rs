//! The memory of a row besides its value: bounded, whatever the peer sends.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::field::Field;
use crate::checksum::checksum;
use crate::id::Name;
use crate::time::WallTime;

/// Additions that are kept one by one for a field. A late plain value older than those that were dropped is left out.
pub(super) const ADDITIONS: usize = 32;

/// Counted writes that are known one by one for an origin. Older ones count as known.
pub(super) const WINDOW: usize = 16;

/// Origins whose counted writes are known one by one. Those of others that are not newer than the newest one forgotten
/// count as known.
pub(super) const ORIGINS: usize = 16;

/// Fields with a history of their own, and the bytes of their names. A row with more is taken for a copied one: late entries are
/// dropped then.
pub(super) const FIELDS: usize = 1024;
pub(super) const FIELD_NAMES: usize = 64 << 10;

/// Messages that are known for a version of the row. Others with this version have no effect.
pub(super) const MESSAGES: usize = 16;

/// An amount of more bytes is not kept, as if it were one too many.
pub(super) const AMOUNT: usize = 256;

/// Tells when a write was made and by whom: writes are ordered by version, and then by the origin's name as JavaScript compares
/// texts (`conflicts.md` section 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Finite.
    pub version: WallTime,
    /// The node that wrote it.
    pub origin: Name,
}

impl Eq for Stamp {}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        let (WallTime(version), WallTime(others)) = (self.version, other.version);
        let by_version = version.partial_cmp(&others).unwrap_or(Ordering::Equal);
        by_version.then_with(|| {
            let (name, others) = (self.origin.encode_utf16(), other.origin.encode_utf16());
            name.cmp(others)
        })
    }
}

/// The memory of a row (`conflicts.md` section 5). That of a row that only ever had puts in order is one stamp.
#[derive(Clone, Debug)]
pub struct Memory<F> {
    /// The newest write that was applied.
    pub(super) head: Option<Stamp>,
    /// The last full write: a put, a deletion or a copied row.
    pub(super) base: Option<Stamp>,
    /// The last full write was a copied row.
    pub(super) is_copied: bool,
    /// Of the fields that were written after the last full write.
    pub(super) fields: BTreeMap<String, History<F>>,
    /// The newest patch without fields.
    pub(super) bare: Option<Stamp>,
    /// The last invalidation.
    pub(super) gone: Option<Stamp>,
    /// The last relocation, also one that met no row.
    pub(super) moved: Option<Stamp>,
    /// The messages that came with the version of the newest write.
    pub(super) messages: Vec<u64>,
    /// Writes that are known one by one, by origin: those with operations, and those that came second or later for this record in
    /// their transaction.
    pub(super) counted: BTreeMap<Name, Window>,
    /// The newest version in a window that was forgotten.
    pub(super) forgotten: f64,
}

impl<F> Default for Memory<F> {
    fn default() -> Self {
        Self {
            head: None,
            base: None,
            is_copied: false,
            fields: BTreeMap::new(),
            bare: None,
            gone: None,
            moved: None,
            messages: Vec::new(),
            counted: BTreeMap::new(),
            forgotten: f64::NEG_INFINITY,
        }
    }
}

impl<F> Memory<F> {
    /// The newest write that was applied, if any was: the row's version and origin.
    pub const fn head(&self) -> Option<&Stamp> {
        self.head.as_ref()
    }

    /// Whether this entry was counted before. What is older than all that are known counts as known: an addition may be lost, and
    /// is never counted twice.
    pub(super) fn has_counted(&self, stamp: &Stamp, digest: u64) -> bool {
        let WallTime(version) = stamp.version;
        self.counted.get(&stamp.origin).map_or_else(
            || version <= self.forgotten,
            |window| window.has(version, digest),
        )
    }

    pub(super) fn count(&mut self, stamp: &Stamp, digest: u64) {
        let window = self
            .counted
            .entry(stamp.origin.clone())
            .or_insert_with(|| Window {
                // It may have been forgotten itself.
                floor: self.forgotten,
                writes: Vec::new(),
            });
        window.add(stamp.version.0, digest);
        if self.counted.len() > ORIGINS {
            let oldest = self
                .counted
                .iter()
                .map(|(origin, window)| (window.newest(), origin))
                .min_by(|(a, _), (b, _)| a.total_cmp(b))
                .map(|(newest, origin)| (newest, origin.clone()));
            if let Some((newest, origin)) = oldest {
                self.counted.remove(&origin);
                self.forgotten = self.forgotten.max(newest);
            }
        }
    }

    /// Raises the newest write that was applied.
    pub(super) fn raise(&mut self, stamp: &Stamp) {
        let head = self.head.as_ref();
        if head.is_some_and(|head| head.version < stamp.version) {
            self.messages.clear();
        }
        if head.is_none_or(|head| head < stamp) {
            self.head = Some(stamp.clone());
        }
    }

    /// Whether this message, which has the version of the newest write, is new.
    pub(super) fn is_new_message(&mut self, stamp: &Stamp, what: [u64; 2]) -> bool {
        let what = what.iter().flat_map(|part| part.to_be_bytes());
        let message = checksum(stamp.origin.bytes().chain([0xff]).chain(what));
        let is_new = self.messages.len() < MESSAGES && !self.messages.contains(&message);
        if is_new {
            self.messages.push(message);
        }
        is_new
    }

    /// A full write: nothing older can change the row any more.
    pub(super) fn rebase(&mut self, stamp: &Stamp, is_copied: bool) {
        self.base = Some(stamp.clone());
        self.is_copied = is_copied;
        self.fields.clear();
        self.bare = None;
    }

    /// The order of this write and the last full one.
    pub(super) fn against_base(&self, stamp: &Stamp) -> Ordering {
        self.base
            .as_ref()
            .map_or(Ordering::Greater, |base| stamp.cmp(base))
    }

    pub(super) fn is_below_head(&self, stamp: &Stamp) -> bool {
        self.head.as_ref().is_some_and(|head| stamp < head)
    }

    /// Keeps the histories within their bound.
    pub(super) fn prune(&mut self) {
        let is_long = self.fields.len() > FIELDS
            || self.fields.keys().map(String::len).sum::<usize>() > FIELD_NAMES;
        if let Some(head) = self.head.clone().filter(|_| is_long) {
            self.rebase(&head, true);
        }
    }
}

/// The newest counted writes of one origin.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The newest version that was dropped.
    pub(super) floor: f64,
    /// Versions and digests, oldest first.
    pub(super) writes: Vec<(f64, u64)>,
}

impl Window {
    fn has(&self, version: f64, digest: u64) -> bool {
        version <= self.floor || self.writes.contains(&(version, digest))
    }

    fn add(&mut self, version: f64, digest: u64) {
        let place = self.writes.partition_point(|(other, _)| *other <= version);
        self.writes.insert(place, (version, digest));
        if self.writes.len() > WINDOW {
            (self.floor, _) = self.writes.remove(0);
        }
    }

    fn newest(&self) -> f64 {
        self.writes
            .last()
            .map_or(self.floor, |(version, _)| *version)
    }
}

/// The writes to a field since the last full write.
#[derive(Clone, Debug)]
pub(super) struct History<F> {
    /// The newest plain value.
    pub(super) set: Option<Stamp>,
    /// Additions newer than that, oldest first.
    pub(super) additions: Vec<(Stamp, F)>,
    /// The newest addition that is not kept any more.
    pub(super) floor: Option<Stamp>,
}

impl<F> Default for History<F> {
    fn default() -> Self {
        Self {
            set: None,
            additions: Vec::new(),
            floor: None,
        }
    }
}

impl<F> History<F> {
    /// Whether anything in it is newer than this write.
    pub(super) fn is_newer_than(&self, stamp: &Stamp) -> bool {
        self.is_set_after(stamp) || !self.after(stamp).is_empty()
    }

    /// Whether a plain value was set by a newer write than this.
    pub(super) fn is_set_after(&self, stamp: &Stamp) -> bool {
        self.set.as_ref().is_some_and(|set| set > stamp)
    }

    /// Whether an addition is lost that is newer than this write.
    pub(super) fn is_cut_after(&self, stamp: &Stamp) -> bool {
        self.floor.as_ref().is_some_and(|floor| floor > stamp)
    }

    /// A plain value that no newer one overrides.
    pub(super) fn set(&mut self, stamp: &Stamp) {
        let place = self.additions.partition_point(|(other, _)| other <= stamp);
        self.additions.drain(..place);
        self.set = Some(stamp.clone());
        self.floor = None;
    }

    /// The additions that are newer than this write.
    pub(super) fn after(&self, stamp: &Stamp) -> &[(Stamp, F)] {
        let place = self.additions.partition_point(|(other, _)| other <= stamp);
        &self.additions[place..]
    }

    /// An addition, in the order of the writes.
    pub(super) fn add(&mut self, stamp: &Stamp, amount: F)
    where
        F: Field,
    {
        let dropped = if amount.size() > AMOUNT {
            stamp.clone()
        } else {
            let place = self.additions.partition_point(|(other, _)| other <= stamp);
            self.additions.insert(place, (stamp.clone(), amount));
            if self.additions.len() <= ADDITIONS {
                return;
            }
            self.additions.remove(0).0
        };
        if self.floor.as_ref().is_none_or(|floor| *floor < dropped) {
            self.floor = Some(dropped);
        }
    }

    /// A full write: what is not newer does not matter any more. Gives whether anything is left.
    pub(super) fn forget(&mut self, stamp: &Stamp) -> bool {
        self.set.take_if(|set| *set <= *stamp);
        self.floor.take_if(|floor| *floor <= *stamp);
        let place = self.additions.partition_point(|(other, _)| other <= stamp);
        self.additions.drain(..place);
        self.set.is_some() || !self.additions.is_empty() || self.floor.is_some()
    }
}
