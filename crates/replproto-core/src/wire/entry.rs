//! Audit entries (`protocol.md` section 5).

use alloc::vec::Vec;
use core::ops::Range;

use super::varint;
use crate::key::KEY_BYTES_MAX;
use crate::wire::WireError;

/// What is read of an entry before its version: the action word, perhaps after the previous version, three numbers, the
/// longest id, and the version.
pub const HEAD_BYTES_MAX: usize = 8 + 4 + 3 * varint::MAX_LENGTH + KEY_BYTES_MAX + 8;

/// The bits of an entry's action word above its type (`protocol.md` section 5.2). Unknown ones are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// A full record follows.
    pub const FULL: Self = Self(0x10);
    /// A partial record follows.
    pub const PARTIAL: Self = Self(0x20);
    /// This write made a new structure.
    pub const STRUCTURE_UPDATE: Self = Self(0x100);
    /// The current residency id is there.
    pub const RESIDENCY: Self = Self(0x200);
    /// The previous residency id is there.
    pub const PREVIOUS_RESIDENCY: Self = Self(0x400);
    /// The originating operation is there.
    pub const OPERATION: Self = Self(0x800);
    /// The expiry date is there.
    pub const EXPIRES: Self = Self(0x1000);
    /// The value holds blobs, inline or by reference.
    pub const BLOBS: Self = Self(0x2000);
    /// Extra audit references are there.
    pub const EXTRA_REFERENCES: Self = Self(0x4000);
    /// Not for other nodes: must not be applied.
    pub const LOCAL_ONLY: Self = Self(0x8000);

    /// Whether any of these bits is set.
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }
}

/// Where a field's bytes are within an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// As a range for slicing the entry.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The action word: what kind of entry it is. Known before the rest of the entry is read, because an entry of an
/// unknown type, or one that is not for us, is skipped unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The type, 0 to 15 (`protocol.md` section 5.1).
    pub kind: u8,
    /// The other bits.
    pub flags: Flags,
    /// Where the next field begins.
    next: usize,
}

impl Action {
    /// Reads the action word of an entry.
    ///
    /// # Errors
    /// The first byte is impossible, or the entry ends inside the word.
    #[inline]
    pub fn parse(entry: &[u8]) -> Result<Self, WireError> {
        const TRUNCATED: WireError = WireError::Truncated("an action word");
        let mut at = 0;
        let mut first = *entry.first().ok_or(TRUNCATED)?;
        if first == super::BATCH_FIRST_BYTE {
            // The previous version, which senders drop; accepted all the same.
            at = 8;
            first = *entry.get(at).ok_or(TRUNCATED)?;
        }
        let (word, length) = match first {
            0x01..=0x3f if first & 0x0f != 0 => (u32::from(first), 1),
            0xc0..=0xfe => varint::decode(&entry[at..]).ok_or(TRUNCATED)?,
            other => return Err(WireError::EntryStart(other)),
        };
        Ok(Self {
            kind: (word & 0x0f) as u8,
            flags: Flags(word & !0x0f),
            next: at + length,
        })
    }
}

/// An entry's header, and where its variable parts are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The type, 0 to 15.
    pub kind: u8,
    /// The other bits of the action word.
    pub flags: Flags,
    /// The sender's id of the origin; 0 is the sender.
    pub node: u32,
    /// The sender's id of the table.
    pub table: u32,
    /// The record id, as key bytes; empty if the sender lost it.
    pub key: Span,
    /// The version, milliseconds since 1970. Not always finite: what to make of that is not for framing to say.
    pub version: f64,
    /// The fields that few entries have.
    pub optional: Optional,
    /// The user name, as key bytes; empty if there is none.
    pub user: Span,
    /// The value; empty if there is none.
    pub value: Span,
}

impl Entry {
    /// Reads an entry's header. `entry` has exactly the bytes that the batch gives to this entry.
    ///
    /// # Errors
    /// A field reaches past the entry.
    #[inline]
    pub fn parse(entry: &[u8]) -> Result<Self, WireError> {
        Self::parse_after(Action::parse(entry)?, entry)
    }

    /// The same, after the action word has been read.
    ///
    /// # Errors
    /// As [`Entry::parse`].
    #[inline(always)]
    pub fn parse_after(action: Action, entry: &[u8]) -> Result<Self, WireError> {
        match Self::parse_plain(action, entry) {
            Some(plain) => Ok(plain),
            None => Self::parse_any(action, entry),
        }
    }

    /// What most entries are, in a fraction of the time: the numbers before the version have one byte each, and there are no
    /// optional fields. `None`: it is another one, or something is wrong with it.
    #[inline(always)]
    pub(crate) fn parse_plain(action: Action, entry: &[u8]) -> Option<Self> {
        if action.flags.contains(Optional::FLAGS) {
            return None;
        }
        let (&[node, table, key], rest) = entry.get(action.next..)?.split_first_chunk()?;
        let (version, rest) = rest.get(usize::from(key)..)?.split_first_chunk()?;
        let (&user, rest) = rest.split_first()?;
        let version = f64::from_be_bytes(*version);
        if (node | table | key | user) & 0x80 != 0
            || rest.len() < usize::from(user)
            || !version.is_finite()
        {
            return None;
        }
        let (rest, end) = (rest.len() as u32, entry.len() as u32);
        let user_start = end - rest;
        let value = user_start + u32::from(user);
        let key_end = user_start - 9;
        let has_value = action.flags.contains(Flags::FULL.with(Flags::PARTIAL));
        let span = |start, end| Span { start, end };
        Some(Self {
            kind: action.kind,
            flags: action.flags,
            node: u32::from(node),
            table: u32::from(table),
            key: span(key_end - u32::from(key), key_end),
            version,
            optional: Optional::default(),
            user: span(user_start, value),
            value: if has_value {
                span(value, end)
            } else {
                Span::default()
            },
        })
    }

    /// Reads what comes first in an entry, up to the version. The rest need not be there. Of an id that is longer
    /// than any can be there is what is in `head`, and the version behind it is NaN.
    ///
    /// # Errors
    /// As [`Entry::parse`], and a field reaches past `head`.
    pub fn parse_head(action: Action, head: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields {
            entry: head,
            at: action.next,
        };
        let node = fields.varint("the node id")?;
        let table = fields.varint("the table id")?;
        let length = fields.varint("the record id")? as usize;
        let (key, version) = if length > KEY_BYTES_MAX {
            let rest = head.len().saturating_sub(fields.at);
            (fields.span(rest.min(length), "the record id")?, f64::NAN)
        } else {
            let key = fields.span(length, "the record id")?;
            (key, fields.double("the version")?)
        };
        Ok(Self {
            kind: action.kind,
            flags: action.flags,
            node,
            table,
            key,
            version,
            optional: Optional::default(),
            user: Span::default(),
            value: Span::default(),
        })
    }

    /// Any entry, whatever it has.
    #[cold]
    #[inline(never)]
    pub(crate) fn parse_any(action: Action, entry: &[u8]) -> Result<Self, WireError> {
        let flags = action.flags;
        let mut fields = Fields {
            entry,
            at: action.next,
        };
        let node = fields.varint("the node id")?;
        let table = fields.varint("the table id")?;
        let key = fields.counted("the record id")?;
        let version = fields.double("the version")?;
        let optional = if flags.contains(Optional::FLAGS) {
            fields.optional(flags)?
        } else {
            Optional::default()
        };
        let user = fields.counted("the user name")?;
        let value = if flags.contains(Flags::FULL.with(Flags::PARTIAL)) {
            fields.span(entry.len() - fields.at, "the value")?
        } else {
            Span::default()
        };
        Ok(Self {
            kind: action.kind,
            flags,
            node,
            table,
            key,
            version,
            optional,
            user,
            value,
        })
    }
}

/// The fields that an entry has only if a flag says so, and few have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Optional {
    /// The residency id.
    pub residency: Option<u32>,
    /// The previous residency id.
    pub previous_residency: Option<u32>,
    /// When the record expires, milliseconds since 1970.
    pub expires_at: Option<f64>,
    /// The originating operation; 0 if it is not there.
    pub operation: u32,
}

impl Optional {
    const FLAGS: Flags = Flags::RESIDENCY
        .with(Flags::PREVIOUS_RESIDENCY)
        .with(Flags::EXPIRES)
        .with(Flags::OPERATION)
        .with(Flags::EXTRA_REFERENCES);
}

struct Fields<'a> {
    entry: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn optional(&mut self, flags: Flags) -> Result<Optional, WireError> {
        let residency = self.when(flags, Flags::RESIDENCY, "the residency id")?;
        let previous_residency = self.when(
            flags,
            Flags::PREVIOUS_RESIDENCY,
            "the previous residency id",
        )?;
        let expires_at = if flags.contains(Flags::EXPIRES) {
            // One that is no time is as good as none (`protocol.md` section 15, ruling 31).
            Some(self.double("the expiry date")?).filter(|date| date.is_finite())
        } else {
            None
        };
        let operation = self
            .when(flags, Flags::OPERATION, "the originating operation")?
            .unwrap_or(0);
        if flags.contains(Flags::EXTRA_REFERENCES) {
            self.skip_extra_references()?;
        }
        Ok(Optional {
            residency,
            previous_residency,
            expires_at,
            operation,
        })
    }

    #[inline]
    fn varint(&mut self, what: &'static str) -> Result<u32, WireError> {
        let rest = self.entry.get(self.at..).unwrap_or_default();
        let (value, length) = varint::decode(rest).ok_or(WireError::Truncated(what))?;
        self.at += length;
        Ok(value)
    }

    fn when(
        &mut self,
        flags: Flags,
        flag: Flags,
        what: &'static str,
    ) -> Result<Option<u32>, WireError> {
        flags.contains(flag).then(|| self.varint(what)).transpose()
    }

    #[inline]
    fn double(&mut self, what: &'static str) -> Result<f64, WireError> {
        let rest = self.entry.get(self.at..).unwrap_or_default();
        let bytes = rest.first_chunk().ok_or(WireError::Truncated(what))?;
        self.at += 8;
        Ok(f64::from_be_bytes(*bytes))
    }

    #[inline]
    fn span(&mut self, length: usize, what: &'static str) -> Result<Span, WireError> {
        let start = self.at;
        if length > self.entry.len() - start {
            return Err(WireError::Overrun(what));
        }
        self.at += length;
        // An entry's length came as 32 bits.
        Ok(Span {
            start: start as u32,
            end: self.at as u32,
        })
    }

    #[inline]
    fn counted(&mut self, what: &'static str) -> Result<Span, WireError> {
        let length = self.varint(what)?;
        self.span(length as usize, what)
    }

    fn skip_extra_references(&mut self) -> Result<(), WireError> {
        const WHAT: &str = "the extra audit references";
        let count = *self.entry.get(self.at).ok_or(WireError::Truncated(WHAT))?;
        self.at += 1;
        for _ in 0..count {
            self.span(8, WHAT)?;
            self.varint(WHAT)?;
        }
        Ok(())
    }
}

/// An entry to be written: for publishers, tests and simulations.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewEntry<'a> {
    /// The type, 1 to 15.
    pub kind: u8,
    /// Flags that add no field of their own here, such as [`Flags::FULL`] and [`Flags::BLOBS`]. Those of the optional
    /// fields below are set by themselves.
    pub flags: Flags,
    /// The sender's id of the origin.
    pub node: u32,
    /// The sender's id of the table.
    pub table: u32,
    /// The record id, as key bytes.
    pub key: &'a [u8],
    /// The version, milliseconds since 1970.
    pub version: f64,
    /// The residency id.
    pub residency: Option<u32>,
    /// The previous residency id.
    pub previous_residency: Option<u32>,
    /// When the record expires, milliseconds since 1970.
    pub expires_at: Option<f64>,
    /// The originating operation.
    pub operation: Option<u32>,
    /// The user name, as key bytes; empty: none.
    pub user: &'a [u8],
    /// The value's bytes; empty: none.
    pub value: &'a [u8],
}

impl NewEntry<'_> {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = self.flags;
        for (flag, is_there) in [
            (Flags::RESIDENCY, self.residency.is_some()),
            (Flags::PREVIOUS_RESIDENCY, self.previous_residency.is_some()),
            (Flags::EXPIRES, self.expires_at.is_some()),
            (Flags::OPERATION, self.operation.is_some()),
        ] {
            if is_there {
                flags = flags.with(flag);
            }
        }
        let word = u32::from(self.kind & 0x0f) | flags.0;
        if word <= 0x3f {
            out.push(word as u8);
        } else {
            // A word with more flags always has the four-byte form, whatever its value.
            out.extend_from_slice(&(word | 0xc000_0000).to_be_bytes());
        }
        varint::encode(self.node, out);
        varint::encode(self.table, out);
        counted(self.key, out);
        out.extend_from_slice(&self.version.to_be_bytes());
        for id in [self.residency, self.previous_residency]
            .into_iter()
            .flatten()
        {
            varint::encode(id, out);
        }
        if let Some(date) = self.expires_at {
            out.extend_from_slice(&date.to_be_bytes());
        }
        if let Some(operation) = self.operation {
            varint::encode(operation, out);
        }
        if flags.contains(Flags::EXTRA_REFERENCES) {
            out.push(0);
        }
        counted(self.user, out);
        out.extend_from_slice(self.value);
    }
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    // A longer id cannot be sent; the protocol then sends none (`protocol.md` section 5, field 5).
    let bytes = if bytes.len() > 0x3fff { &[] } else { bytes };
    varint::encode(bytes.len() as u32, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
