//! From the records of a link to what the rules work on.

use super::fields::Content;
use super::memory::Stamp;
use super::writes::{ContentHash, Write, Writes};
use super::{Action, Entry, Payload};
use crate::record::{Record, RecordKind};
use crate::value::{JsonStyle, Value, ValueError};

impl Stamp {
    /// That of a record as it came.
    pub fn of(record: &Record<'_>) -> Self {
        Self {
            version: record.version(),
            origin: record.origin().clone(),
        }
    }
}

impl<P: Default> Action<P> {
    /// The action of an entry of this kind. `value`: `None` if there is none or it is null, which is how some publishers send a
    /// deletion.
    pub fn of(kind: RecordKind, value: Option<P>) -> Self {
        match kind {
            RecordKind::Put => Self::Put(value),
            RecordKind::Patch => Self::Patch(value.unwrap_or_default()),
            RecordKind::Delete => Self::Delete,
            RecordKind::Invalidate => Self::Invalidate(value),
            RecordKind::Message => Self::Message,
            RecordKind::Relocate => Self::Relocate,
        }
    }
}

impl Content<Value> {
    /// The value of a record as it came; `None` if there is none or it is null.
    ///
    /// # Errors
    /// The value cannot be decoded.
    pub fn of(record: &Record<'_>) -> Result<Option<Self>, ValueError> {
        let value = record.value().map(|value| value.decode()).transpose()?;
        Ok(value.and_then(Self::new))
    }

    /// The content that this value is; `None` if it is null.
    pub fn new(value: Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Object(fields) => Some(fields.into()),
            other => Some(Self::Other(other)),
        }
    }

    /// The value that this content is.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Object(fields) => {
                let fields = fields.iter();
                Value::Object(
                    fields
                        .map(|(name, value)| (name.into(), value.clone()))
                        .collect(),
                )
            }
            Self::Other(value) => value.clone(),
        }
    }
}

impl Entry<Content<Value>> {
    /// The entry that a record is, decoded. `writes`: those of its transaction before it, which are to be
    /// [ended](Writes::end_transaction) with each [`Event::EndTransaction`](crate::Event::EndTransaction), and with the link.
    ///
    /// ```
    /// use replproto_core::replica::{Entry, Row, Stamp, Content, Writes};
    /// use replproto_core::value::Value;
    /// use replproto_core::{Record, RecordKind};
    ///
    /// type Done = Result<(), Box<dyn std::error::Error>>;
    ///
    /// fn on_record(record: &Record<'_>, is_copy: bool, row: &mut Row<Value>, writes: &mut Writes) -> Done {
    ///     if is_copy && record.kind() == RecordKind::Put {
    ///         row.apply_copied(Content::of(record)?, record.expires_at(), &Stamp::of(record));
    ///     } else {
    ///         row.apply(&Entry::of(record, writes)?)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The value cannot be decoded.
    pub fn of(record: &Record<'_>, writes: &mut Writes) -> Result<Self, ValueError> {
        let content = Content::of(record)?;
        let has_operations = || content.as_ref().is_some_and(Payload::may_have_operations);
        let write = writes.note_record(record, has_operations, || ContentHash::of(record));
        let Stamp { version, origin } = Stamp::of(record);
        Ok(Self {
            version,
            origin,
            expires_at: record.expires_at(),
            digest: write.digest,
            repeats: write.repeats,
            action: Action::of(record.kind(), content),
        })
    }
}

impl Writes {
    /// The next write of the transaction, as [`note`](Self::note). `may_have_operations` is asked of a patch: it, or a message,
    /// is to be told from others like it.
    pub fn note_record(
        &mut self,
        record: &Record<'_>,
        may_have_operations: impl FnOnce() -> bool,
        content: impl FnOnce() -> ContentHash,
    ) -> Write {
        let counts = match record.kind() {
            RecordKind::Patch => may_have_operations(),
            RecordKind::Message => true,
            _ => false,
        };
        let place = (record.table().name().as_str(), record.key_bytes());
        self.note(place, counts, content)
    }
}

impl ContentHash {
    /// That of a record as it came: of its kind, and of its value as JSON in the natural style, which is not made for it.
    pub fn of(record: &Record<'_>) -> Self {
        let mut hash = Self::new(record.kind() as u8);
        if let Some(value) = record.value() {
            let hashed = value.write_json_pieces(JsonStyle::Natural, |piece| {
                hash.push(piece.as_bytes());
                Ok::<_, ValueError>(())
            });
            // One that cannot be read is passed over.
            debug_assert!(hashed.is_ok() || value.read_all().is_err());
        }
        hash
    }
}
