//! The memory of a row as bytes, for stores that keep them in a column.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::field::Field;
use super::memory::{History, Memory, Stamp, Window};
use crate::id::Name;
use crate::time::WallTime;
use crate::wire::varint;

const FORMAT: u8 = 1;

/// The bytes are not those of a row's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// They end too early, or go on too long, or say what no memory says.
    #[error("the bytes of a row's memory are damaged")]
    Damaged,
    /// They were written by a newer version of this library.
    #[error("the memory of a row has format {0}, which this version cannot read")]
    Format(u8),
}

impl<F> Memory<F> {
    /// The memory of a row after a full write that was not late, before anything else: that which
    /// [`to_bytes`](Self::to_bytes) gives no bytes for. `is_copied`: the write was a row of a base copy.
    pub fn plain(stamp: Stamp, is_copied: bool) -> Self {
        Self {
            head: Some(stamp.clone()),
            base: Some(stamp),
            is_copied,
            ..Self::default()
        }
    }

    /// Whether nothing is remembered besides the last full write. Repeating that changes nothing.
    pub fn is_plain(&self) -> bool {
        self.head.is_some() && self.is_told_by_head()
    }

    /// Whether the head tells all of it, or there is nothing to tell.
    fn is_told_by_head(&self) -> bool {
        self.head == self.base
            && self.fields.is_empty()
            && self.bare.is_none()
            && self.gone.is_none()
            && self.moved.is_none()
            && self.messages.is_empty()
            && self.counted.is_empty()
            && self.forgotten == f64::NEG_INFINITY
    }

    /// Whether the last full write was a row of a base copy.
    pub const fn is_copied(&self) -> bool {
        self.is_copied
    }
}

impl<F: Field> Memory<F> {
    /// The memory as bytes; none if it is [plain](Self::plain) or nothing is known. [`head`](Self::head) and
    /// [`is_copied`](Self::is_copied) are to be kept beside them.
    ///
    /// ```
    /// use replproto_core::replica::{Action, Content, Memory, Row};
    /// use replproto_core::value::Value;
    ///
    /// # let mut row = Row::<Value>::default();
    /// # let entry = replproto_core::replica::Entry {
    /// #     version: replproto_core::WallTime(1.0),
    /// #     origin: "node-a".into(),
    /// #     expires_at: None,
    /// #     digest: 0,
    /// #     repeats: false,
    /// #     action: Action::Put(Some(Content::from(vec![]))),
    /// # };
    /// row.apply(&entry)?;
    /// // What a store keeps besides the content.
    /// let (head, is_copied) = (row.memory().head().cloned(), row.memory().is_copied());
    /// let bytes = row.memory().to_bytes();
    /// // And what it makes of it when it needs the row again.
    /// let memory = Memory::from_bytes(head, is_copied, &bytes)?;
    /// let row = Row::new(row.content().cloned(), true, row.expires_at(), memory);
    /// # assert!(row.memory().is_plain());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_told_by_head() {
            return Vec::new();
        }
        let mut out = Writer {
            bytes: alloc::vec![FORMAT],
            names: Vec::new(),
        };
        out.stamp(self.head.as_ref());
        out.stamp(self.base.as_ref());
        out.bytes.push(u8::from(self.is_copied));
        out.stamp(self.bare.as_ref());
        out.stamp(self.gone.as_ref());
        out.stamp(self.moved.as_ref());
        out.count(self.messages.len());
        for message in &self.messages {
            out.digest(*message);
        }
        out.float(self.forgotten);
        out.count(self.counted.len());
        for (origin, window) in &self.counted {
            out.name(origin);
            out.float(window.floor);
            out.count(window.writes.len());
            for (version, digest) in &window.writes {
                out.float(*version);
                out.digest(*digest);
            }
        }
        out.count(self.fields.len());
        for (name, history) in &self.fields {
            out.text(name.as_bytes());
            out.stamp(history.set.as_ref());
            out.stamp(history.floor.as_ref());
            out.count(history.additions.len());
            for (stamp, value) in &history.additions {
                out.stamp(Some(stamp));
                let mut bytes = Vec::new();
                value.write(&mut bytes);
                out.text(&bytes);
            }
        }
        out.bytes
    }

    /// The reverse of [`Memory::to_bytes`]. `head` and `is_copied` are those of the memory; looked at if it has no bytes.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn from_bytes(
        head: Option<Stamp>,
        is_copied: bool,
        bytes: &[u8],
    ) -> Result<Self, MemoryError> {
        match bytes.first() {
            None => {
                return Ok(head.map_or_else(Self::default, |head| Self::plain(head, is_copied)));
            }
            Some(&FORMAT) => {}
            Some(format) => return Err(MemoryError::Format(*format)),
        }
        let mut reader = Reader {
            rest: &bytes[1..],
            names: Vec::new(),
        };
        let memory = reader.memory().ok_or(MemoryError::Damaged)?;
        if !reader.rest.is_empty() {
            return Err(MemoryError::Damaged);
        }
        Ok(memory)
    }
}

/// Names of origins are written where they come first, and then by their number.
struct Writer<'a> {
    bytes: Vec<u8>,
    names: Vec<&'a Name>,
}

impl<'a> Writer<'a> {
    fn count(&mut self, count: usize) {
        // Every list is bounded by far less.
        varint::encode(u32::try_from(count).unwrap_or(u32::MAX), &mut self.bytes);
    }

    fn text(&mut self, text: &[u8]) {
        self.count(text.len());
        self.bytes.extend_from_slice(text);
    }

    fn float(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn digest(&mut self, digest: u64) {
        self.bytes.extend_from_slice(&digest.to_be_bytes());
    }

    fn name(&mut self, name: &'a Name) {
        if let Some(place) = self.names.iter().position(|known| *known == name) {
            self.count(place + 1);
        } else {
            self.count(self.names.len() + 1);
            self.text(name.as_bytes());
            self.names.push(name);
        }
    }

    fn stamp(&mut self, stamp: Option<&'a Stamp>) {
        match stamp {
            None => self.count(0),
            Some(stamp) => {
                self.name(&stamp.origin);
                self.float(stamp.version.0);
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    names: Vec<Name>,
}

impl<'a> Reader<'a> {
    fn memory<F: Field>(&mut self) -> Option<Memory<F>> {
        let (head, base) = (self.stamp()?, self.stamp()?);
        let is_copied = self.take::<1>()? == [1];
        let (bare, gone, moved) = (self.stamp()?, self.stamp()?, self.stamp()?);
        let mut messages = Vec::new();
        for _ in 0..self.count()? {
            messages.push(self.digest()?);
        }
        let forgotten = self.float()?;
        let mut counted = BTreeMap::new();
        for _ in 0..self.count()? {
            let origin = self.name()??;
            let mut window = Window {
                floor: self.float()?,
                writes: Vec::new(),
            };
            for _ in 0..self.count()? {
                window.writes.push((self.float()?, self.digest()?));
            }
            counted.insert(origin, window);
        }
        let mut fields = BTreeMap::new();
        for _ in 0..self.count()? {
            let name = String::from(core::str::from_utf8(self.text()?).ok()?);
            let (set, floor) = (self.stamp()?, self.stamp()?);
            let mut additions = Vec::new();
            for _ in 0..self.count()? {
                additions.push((self.stamp()??, F::read(self.text()?)?));
            }
            let history = History {
                set,
                additions,
                floor,
            };
            fields.insert(name, history);
        }
        Some(Memory {
            head,
            base,
            is_copied,
            fields,
            bare,
            gone,
            moved,
            messages,
            counted,
            forgotten,
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn count(&mut self) -> Option<usize> {
        let (count, length) = varint::decode(self.rest)?;
        self.rest = &self.rest[length..];
        Some(count as usize)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }

    fn float(&mut self) -> Option<f64> {
        Some(f64::from_be_bytes(self.take()?))
    }

    fn digest(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take()?))
    }

    /// Inside, `None`: there is no name.
    fn name(&mut self) -> Option<Option<Name>> {
        let Some(place) = self.count()?.checked_sub(1) else {
            return Some(None);
        };
        if place == self.names.len() {
            let name = core::str::from_utf8(self.text()?).ok()?;
            self.names.push(name.into());
        }
        Some(Some(self.names.get(place)?.clone()))
    }

    fn stamp(&mut self) -> Option<Option<Stamp>> {
        let Some(origin) = self.name()? else {
            return Some(None);
        };
        Some(Some(Stamp {
            version: WallTime(self.float()?),
            origin,
        }))
    }
}
