//! A value that has not been read yet.

use alloc::string::String;

use super::blob::{self, BlobReference};
use super::dictionary::Dictionary;
use super::encode::Profile;
use super::error::ValueError;
use super::field::FieldValue;
use super::json::{self, JsonFields, JsonStyle, JsonWriter, Length, Limited, Out, Pieces};
use super::reader::Cursor;
use super::take::Take;
use super::tree::{self, Value};
use super::walk::{Event, Totals, Walk};

/// Dictionary of values that cannot refer to one.
pub(crate) static NO_STRUCTURES: Dictionary = Dictionary::empty();

/// A record value as it came from the peer: its bytes and the dictionary that they refer to. Nothing has been checked.
///
/// ```
/// use replproto_core::value::{Dictionary, JsonStyle, RawValue};
///
/// // Typed structure 0 has two slots: a text at offset 0 called "name", and a byte called "age".
/// let structures = b"\x91\x92\x93\x03\x00\xa4name\x93\x00\x01\xa3age";
/// let dictionary = Dictionary::decode(Some(structures), None)?;
/// let value = RawValue::new(b"\x20\x2aAda", &dictionary);
///
/// let age = value.field("age")?.and_then(|age| age.as_f64());
/// assert_eq!(age, Some(42.0));
///
/// let mut json = String::new();
/// value.write_json(&mut json, JsonStyle::Natural)?;
/// assert_eq!(json, r#"{"name":"Ada","age":42}"#);
/// # Ok::<(), replproto_core::value::ValueError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RawValue<'a> {
    bytes: &'a [u8],
    dictionary: &'a Dictionary,
    profile: Profile,
}

impl<'a> RawValue<'a> {
    /// A value of a table (`value-codec.md` section 1, table profile), to be read with the dictionary that was valid when
    /// it arrived.
    #[must_use]
    pub const fn new(bytes: &'a [u8], dictionary: &'a Dictionary) -> Self {
        Self {
            bytes,
            dictionary,
            profile: Profile::Table,
        }
    }

    /// A value in the control profile, in which commands and blob properties are written: maps are objects, and there
    /// are no records.
    #[must_use]
    pub fn control(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            dictionary: &NO_STRUCTURES,
            profile: Profile::Control,
        }
    }

    /// The bytes as they came.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The dictionary that the bytes refer to.
    #[must_use]
    pub const fn dictionary(&self) -> &'a Dictionary {
        self.dictionary
    }

    const fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.bytes, self.dictionary, self.profile)
    }

    /// The whole value as an owned tree.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked.
    pub fn decode(&self) -> Result<Value, ValueError> {
        let mut cursor = self.cursor();
        let item = cursor.document()?;
        let value = tree::build(&mut cursor, item)?;
        cursor.finish()?;
        Ok(value)
    }

    /// One field of an object, without the fields after it; `None` if the value has no such field or is no object. Of
    /// several fields with the same name it is the last, as in a JavaScript object.
    ///
    /// Typed structs are read at the field's place. In records the fields before it are skipped.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] on the way to the field. What follows it is not checked.
    pub fn field(&self, name: &str) -> Result<Option<FieldValue<'a>>, ValueError> {
        FieldValue::of_document(self.cursor(), name)
    }

    /// The whole value as if it were a field: for cheap access to values that are not objects.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] in the first item; the content of a container is not checked.
    pub fn root(&self) -> Result<FieldValue<'a>, ValueError> {
        let mut cursor = self.cursor();
        let item = cursor.document()?;
        Ok(FieldValue::document(cursor, item))
    }

    /// Shows everything in the value to `visit`, in order, without allocating. `visit` can stop the walk with an error
    /// of its own.
    ///
    /// ```
    /// use replproto_core::value::{Dictionary, Event, RawValue, ValueError};
    ///
    /// // The longest text anywhere in [1, "two", ["three"]].
    /// let dictionary = Dictionary::empty();
    /// let mut longest = 0;
    /// RawValue::new(b"\x93\x01\xa3two\x91\xa5three", &dictionary).walk(|event| {
    ///     if let Event::Text(text) = event {
    ///         longest = longest.max(text.as_bytes().len());
    ///     }
    ///     Ok::<(), ValueError>(())
    /// })?;
    /// assert_eq!(longest, 5);
    /// # Ok::<(), ValueError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Any [`ValueError`], or what `visit` returns. Events before it have been shown.
    #[inline]
    pub fn walk<E: From<ValueError>>(
        &self,
        visit: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.take(Walk::<_, true> { visit })
    }

    /// Gives everything to `take`.
    #[inline]
    pub(crate) fn take<T: Take<'a>>(&self, mut take: T) -> Result<(), T::Error> {
        let mut cursor = self.cursor();
        cursor.document_to(&mut take)?;
        Ok(cursor.finish()?)
    }

    /// Reads every field, checks every text for UTF-8 and says how much there was. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked.
    pub fn read_all(&self) -> Result<Totals, ValueError> {
        let mut totals = Totals::default();
        self.walk(|event| {
            totals.add(event);
            Ok::<(), ValueError>(())
        })?;
        Ok(totals)
    }

    /// Appends the value as JSON, straight from its bytes. After an error `out` is as it was.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked.
    pub fn write_json(&self, out: &mut String, style: JsonStyle) -> Result<(), ValueError> {
        let start = out.len();
        let written = self.take(JsonWriter::new(out, style));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Appends the value as JSON as [`write_json`](Self::write_json) does, unless that would make `out` longer than
    /// `length_max`: then it is as it was, and this gives false. It grows for a moment to at most one text, number or name more.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked, as far as it was read.
    pub fn write_json_within(
        &self,
        out: &mut String,
        style: JsonStyle,
        length_max: usize,
    ) -> Result<bool, ValueError> {
        let start = out.len();
        let mut limited = Limited { out, length_max };
        let written = json::has_room(self.json(&mut limited, style));
        if !matches!(written, Ok(true)) {
            out.truncate(start);
        }
        written
    }

    /// How many bytes the value takes as JSON. `None`: more than `limit`; it is not read to its end then. Takes no memory.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked, as far as it was read.
    pub fn json_length(&self, style: JsonStyle, limit: u64) -> Result<Option<u64>, ValueError> {
        let mut length = Length { bytes: 0, limit };
        let is_within = json::has_room(self.json(&mut length, style))?;
        Ok(is_within.then_some(length.bytes))
    }

    /// The value as JSON in pieces, for what is too large for memory. `piece` can end it with an error of its own.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`], or what `piece` returns. Pieces before it have been given.
    pub fn write_json_pieces<E: From<ValueError>>(
        &self,
        style: JsonStyle,
        piece: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pieces = Pieces::new(piece);
        self.json(&mut pieces, style)?;
        pieces.finish()
    }

    /// Gives each field of an object as JSON by itself, in order, and tells whether the value is an object. One field at a time is
    /// in memory.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`]; all of the value is checked. Fields before it have been given.
    pub fn json_fields(
        &self,
        style: JsonStyle,
        give: impl FnMut(&str, String),
    ) -> Result<bool, ValueError> {
        let mut is_object = false;
        self.take(JsonFields {
            style,
            give,
            is_object: &mut is_object,
        })?;
        Ok(is_object)
    }

    fn json<O: Out>(&self, out: &mut O, style: JsonStyle) -> Result<(), O::Error> {
        self.take(JsonWriter::new(out, style))?;
        out.check()
    }

    /// Reports each file that the value refers to, at any depth (`protocol.md` section 6.3). Blobs that are held in the
    /// value itself are not reported.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`], also in the payload of a blob; all of the value is checked. References before it have been
    /// reported.
    pub fn blob_references(&self, report: impl FnMut(BlobReference<'_>)) -> Result<(), ValueError> {
        blob::references(self, report)
    }

    /// Fills a type of your own. Text and bytes can be borrowed from the value.
    ///
    /// Numbers and dates (milliseconds) come as integers where they are whole, else as `f64`; bigints as the smallest
    /// integer type that holds them, beyond 128 bits as decimal text; records, typed structs and maps as maps or structs;
    /// null and undefined as `None` or `()`; bytes and blob payloads as bytes; sets and regular expressions as
    /// sequences.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`], or [`Refused`](super::ValueErrorKind::Refused) with the text of `T`.
    #[cfg(feature = "serde")]
    pub fn deserialize<T: serde::Deserialize<'a>>(&self) -> Result<T, ValueError> {
        let mut cursor = self.cursor();
        let item = cursor.document()?;
        let target = super::de::deserialize(&mut cursor, item)?;
        cursor.finish()?;
        Ok(target)
    }
}
