//! Consecutive changes of one transaction, which are handed out together.

use alloc::sync::Arc;
use core::fmt;
use core::iter::FusedIterator;

use bytes::Bytes;

use crate::record::{Record, RecordKind};
use crate::sources::{Missing, Sources};
use crate::wire::entry::{Action, Entry, Flags};
use crate::wire::{WireError, varint};

/// Consecutive changes of one transaction, in order: audit entries, not yet decoded beyond their headers (`protocol.md`
/// section 5). Never empty.
///
/// It holds one slice of the message and a share of what the peer has said of its tables, so cloning it is cheap, and the
/// records can be decoded later and on another thread, also when the peer has described its tables anew. Holding it holds
/// the bytes of (a part of) the message, and the tables and names as they were.
///
/// How many records come together depends on how the message was cut into parts and on how much the application may be
/// given, and means nothing.
#[derive(Clone)]
pub struct Records {
    /// Items of a batch, each of which was checked when it was taken. Some may be of no interest: reading passes over them.
    pub(crate) items: Bytes,
    pub(crate) sources: Arc<Sources>,
    pub(crate) count: u32,
    /// See [`Records::cost`].
    pub(crate) cost: u64,
}

impl Records {
    /// How many records there are.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// The size of [`bytes`](Self::bytes).
    pub const fn size(&self) -> usize {
        self.items.len()
    }

    /// What it costs, in bytes: its size, and for the first run after the peer has said something new that of the names that it
    /// shares with those after it.
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// The items of the batch as they came, each a length and an entry (`protocol.md` section 4). Some may be entries that
    /// are passed over.
    pub const fn bytes(&self) -> &Bytes {
        &self.items
    }

    /// The records, in the order of the peer's log.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            rest: &self.items,
            sources: &self.sources,
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    #[inline]
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Records {
    /// Never shows the records' content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The records of a [`Records`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
    sources: &'a Sources,
    left: u32,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Record<'a>> {
        while self.left > 0 {
            let item = varint::decode(self.rest).and_then(|(length, start)| {
                let rest = self.rest.get(start..)?;
                rest.split_at_checked(length as usize)
            });
            let Some((entry, rest)) = item else {
                debug_assert!(false, "{} records are missing", self.left);
                return None;
            };
            self.rest = rest;
            if let Ok(Admission::Record(record)) = admit(self.sources, entry) {
                self.left -= 1;
                return Some(record);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// What an entry is to us.
pub(crate) enum Admission<'a> {
    Record(Record<'a>),
    Skip(Skip),
    /// It refers to something that is not among the sources.
    Missing(Missing),
}

/// What an entry is to a run. No more of it need be known there.
pub(crate) enum Place {
    /// One of the run's records.
    Within,
    /// A record that has to be looked at by itself, see [`Record::stands_apart`].
    Apart,
    Skip(Skip),
    Missing(Missing),
}

impl Admission<'_> {
    #[inline(always)]
    fn place(self) -> Place {
        match self {
            Self::Record(record) if record.stands_apart() => Place::Apart,
            Self::Record(_) => Place::Within,
            Self::Skip(skip) => Place::Skip(skip),
            Self::Missing(missing) => Place::Missing(missing),
        }
    }
}

/// Why an entry is passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Skip {
    /// Its type is unknown.
    Unknown,
    /// It is only for the sender itself.
    Local,
    /// Its table is not wanted.
    Unwanted,
}

/// Finds an entry's place.
// Plain entries and others meet only where a place is all that is left of them. If they met earlier, each of them would bring
// every field of a record there.
#[inline(always)]
pub(crate) fn place(sources: &Sources, bytes: &[u8]) -> Result<Place, WireError> {
    let action = Action::parse(bytes)?;
    if let Ok(kind) = kind(action)
        && let Some(plain) = Entry::parse_plain(action, bytes)
    {
        return Ok(resolve(sources, bytes, kind, plain).place());
    }
    place_other(sources, action, bytes)
}

#[cold]
#[inline(never)]
fn place_other(sources: &Sources, action: Action, bytes: &[u8]) -> Result<Place, WireError> {
    admit_after(sources, action, bytes, Entry::parse_any).map(Admission::place)
}

/// Reads an entry's header, and finds what it refers to.
// Who only reads some of a record must not pay for making all of it.
#[inline(always)]
pub(crate) fn admit<'a>(sources: &'a Sources, bytes: &'a [u8]) -> Result<Admission<'a>, WireError> {
    admit_after(sources, Action::parse(bytes)?, bytes, Entry::parse_after)
}

/// The same for an entry of which only the first bytes are here, which is too large to be used.
pub(crate) fn admit_head<'a>(
    sources: &'a Sources,
    head: &'a [u8],
) -> Result<Admission<'a>, WireError> {
    admit_after(sources, Action::parse(head)?, head, Entry::parse_head)
}

/// The rest of it, after the action word has been read: the rest of the header is for `parse`.
#[inline(always)]
fn admit_after<'a>(
    sources: &'a Sources,
    action: Action,
    bytes: &'a [u8],
    parse: impl Fn(Action, &[u8]) -> Result<Entry, WireError>,
) -> Result<Admission<'a>, WireError> {
    match kind(action) {
        Ok(kind) => Ok(resolve(sources, bytes, kind, parse(action, bytes)?)),
        Err(skip) => Ok(Admission::Skip(skip)),
    }
}

/// The kind of record, if the entry is for us.
#[inline(always)]
fn kind(action: Action) -> Result<RecordKind, Skip> {
    let Some(kind) = RecordKind::from_action(action.kind) else {
        return Err(Skip::Unknown);
    };
    if action.flags.contains(Flags::LOCAL_ONLY) {
        return Err(Skip::Local);
    }
    Ok(kind)
}

#[inline(always)]
fn resolve<'a>(
    sources: &'a Sources,
    bytes: &'a [u8],
    kind: RecordKind,
    entry: Entry,
) -> Admission<'a> {
    let Some(table) = sources.table(entry.table) else {
        return Admission::Missing(Missing::Table(entry.table));
    };
    let Some(origin) = sources.node(entry.node) else {
        return Admission::Missing(Missing::Node(entry.node));
    };
    let Some(table) = table else {
        return Admission::Skip(Skip::Unwanted);
    };
    if let Some(id) = sources.missing_list(&entry.optional) {
        return Admission::Missing(Missing::Residency(id));
    }
    Admission::Record(Record {
        bytes,
        entry,
        kind,
        table,
        origin,
        sources,
    })
}
