//! Blobs inside values (`value-codec.md` section 4, `protocol.md` section 6.3).

use super::encode::Profile;
use super::error::{ValueError, ValueErrorKind};
use super::extension;
use super::raw::{NO_STRUCTURES, RawValue};
use super::reader::{Cursor, Item};
use super::walk::{Event, Walk};

/// A blob whose content travels apart, in `BLOB_CHUNK` messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobReference<'a> {
    /// The file at the sender, as hexadecimal text. The chunks carry the same.
    pub file_id: &'a str,
    /// Given on the records of a base copy by newer peers; then the chunks are matched by it and not by the file id.
    pub transfer_id: Option<u64>,
    /// Length of the content in bytes, where the record knows it.
    pub size: Option<u64>,
    /// MIME type.
    pub content_type: Option<&'a str>,
}

/// What the payload of a blob extension says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum BlobExtension<'a> {
    /// Nothing: the file was still being written.
    Empty,
    /// The content travels apart.
    Reference(BlobReference<'a>),
    /// The content is here.
    Inline {
        /// `type`, `size` and whatever else the blob was given: an object of the control profile.
        properties: RawValue<'a>,
        /// The content.
        content: &'a [u8],
    },
    /// The content is here as a whole blob file.
    File {
        /// As for [`Inline`](Self::Inline).
        properties: RawValue<'a>,
        /// A header of 8 bytes, then the content.
        file: &'a [u8],
    },
    /// A form that the protocol does not describe, and which is not a reference.
    Opaque,
}

impl<'a> BlobExtension<'a> {
    /// Reads the payload of a blob extension, as [`Value::Blob`](super::Value::Blob) or
    /// [`Event::Blob`](super::Event::Blob) has it.
    ///
    /// # Errors
    ///
    /// When it is not an array, is cut off, or refers to no file; offsets are in the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ValueError> {
        if payload.is_empty() {
            return Ok(Self::Empty);
        }
        let malformed = |at| ValueError::new(ValueErrorKind::BadExtension(extension::BLOB), at);
        let mut cursor = Cursor::new(payload, &NO_STRUCTURES, Profile::Control);
        let Item::Array(mut parts) = cursor.document()? else {
            return Err(malformed(0));
        };
        let start = cursor.reader.position();
        let Some(first) = cursor.next_element(&mut parts)? else {
            return Ok(Self::Opaque);
        };
        cursor.skip(first)?;
        let end = cursor.reader.position();
        let properties = RawValue::control(&payload[start..end]);
        let Some(second) = cursor.next_element(&mut parts)? else {
            let file = &payload[end..];
            return Ok(Self::File { properties, file });
        };
        cursor.skip(second)?;
        let third_at = cursor.reader.position();
        let third = cursor.next_element(&mut parts)?;
        if let Some(third) = third {
            cursor.skip(third)?;
            while let Some(part) = cursor.next_element(&mut parts)? {
                cursor.skip(part)?;
            }
        }
        cursor.finish()?;
        match second {
            Item::Bytes(content) => Ok(Self::Inline {
                properties,
                content,
            }),
            Item::Number(_) | Item::BigInt(_) | Item::Bool(_) | Item::Text(_) | Item::Undefined => {
                let Some(Item::Text(file_id)) = third else {
                    return Err(malformed(third_at));
                };
                let file_id = file_id.as_str().ok_or_else(|| malformed(third_at))?;
                BlobReference::new(file_id, properties)
                    .map(Self::Reference)
                    .map_err(|error| error.shifted(start))
            }
            _ => Ok(Self::Opaque),
        }
    }
}

impl<'a> BlobReference<'a> {
    fn new(file_id: &'a str, properties: RawValue<'a>) -> Result<Self, ValueError> {
        let whole = |name| -> Result<Option<Option<u64>>, ValueError> {
            let Some(field) = properties.field(name)? else {
                return Ok(None);
            };
            if field.is_null() || field.is_undefined() {
                return Ok(None);
            }
            let number = field.as_f64().and_then(to_whole);
            let bigint = field.as_bigint().and_then(|value| value.to_i128());
            Ok(Some(number.or_else(|| u64::try_from(bigint?).ok())))
        };
        let transfer_id = match whole("replicationTransferId")? {
            // Without a usable id its chunks could never be told from others.
            Some(None) => {
                let kind = ValueErrorKind::BadExtension(extension::BLOB);
                return Err(ValueError::new(kind, 0));
            }
            id => id.flatten(),
        };
        let content_type = properties
            .field("type")?
            .and_then(|field| field.as_text())
            .and_then(super::Text::as_str);
        Ok(Self {
            file_id,
            transfer_id,
            size: whole("size")?.flatten(),
            content_type,
        })
    }
}

/// The number as a whole one, if it is one that a double holds exactly.
fn to_whole(value: f64) -> Option<u64> {
    let whole = value as u64;
    (whole < 1 << 53 && whole as f64 == value).then_some(whole)
}

/// Reports every reference inside `value`.
pub(crate) fn references(
    value: &RawValue<'_>,
    mut report: impl FnMut(BlobReference<'_>),
) -> Result<(), ValueError> {
    let visit = |event: Event<'_>| {
        if let Event::Blob(payload) = event {
            let at = payload.as_ptr() as usize - value.bytes().as_ptr() as usize;
            match BlobExtension::parse(payload).map_err(|error| error.shifted(at))? {
                BlobExtension::Reference(reference) => report(reference),
                BlobExtension::Empty
                | BlobExtension::Inline { .. }
                | BlobExtension::File { .. }
                | BlobExtension::Opaque => {}
            }
        }
        Ok(())
    };
    value.take(Walk::<_, false> { visit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Dictionary;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    const REFERENCE: &[u8] =
        b"\x93\xde\x00\x02\xa4type\xaatext/plain\xa4size\xcd\x4e\x20\x00\xa41a2b";

    #[test]
    fn a_reference_carries_what_its_properties_say() {
        let parsed = BlobExtension::parse(REFERENCE).unwrap();
        let BlobExtension::Reference(reference) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!(reference.file_id, "1a2b");
        assert_eq!(reference.size, Some(20000));
        assert_eq!(reference.content_type, Some("text/plain"));
        assert_eq!(reference.transfer_id, None);
    }

    #[test]
    fn the_transfer_id_of_a_base_copy_is_kept_exactly() {
        let with_id =
            b"\x93\x81\xb5replicationTransferId\xcb\x43\x3f\xff\xff\xff\xff\xff\xff\x00\xa1f";
        let parsed = BlobExtension::parse(with_id).unwrap();
        assert!(
            matches!(parsed, BlobExtension::Reference(r) if r.transfer_id == Some((1 << 53) - 1))
        );
        let undefined = b"\x93\x81\xb5replicationTransferId\xd4\x00\x00\x00\xa1f";
        let parsed = BlobExtension::parse(undefined).unwrap();
        assert!(matches!(parsed, BlobExtension::Reference(r) if r.transfer_id.is_none()));
        let fraction = b"\x93\x81\xb5replicationTransferId\xca\x3f\xc0\x00\x00\x00\xa1f";
        let error = BlobExtension::parse(fraction).unwrap_err();
        assert_eq!(error.kind, ValueErrorKind::BadExtension(extension::BLOB));
    }

    #[test]
    fn content_that_is_here_is_no_reference() {
        let inline = b"\x92\x81\xa4size\x03\xc4\x03abc";
        let parsed = BlobExtension::parse(inline).unwrap();
        let BlobExtension::Inline {
            properties,
            content,
        } = parsed
        else {
            panic!("{parsed:?}");
        };
        assert_eq!(content, b"abc");
        let size = properties.field("size").unwrap().unwrap();
        assert_eq!(size.as_f64(), Some(3.0));

        let file = BlobExtension::parse(b"\x91\x80\0\0\0\0\0\0\0\x02hi").unwrap();
        assert!(matches!(file, BlobExtension::File { file, .. } if file.len() == 10));
        let empty = BlobExtension::parse(b"").unwrap();
        assert!(matches!(empty, BlobExtension::Empty));
        for other in [&b"\x90"[..], b"\x92\x80\xc0", b"\x92\x80\x80"] {
            let parsed = BlobExtension::parse(other).unwrap();
            assert!(matches!(parsed, BlobExtension::Opaque), "{parsed:?}");
        }
    }

    #[test]
    fn malformed_payloads_are_errors() {
        for payload in [
            &b"\x05"[..],
            b"\x93",
            b"\x93\x80\x00",
            b"\x93\x80\x00\x05",
            b"\x92\x80\x00",
            b"\x93\x80\x00\xa1\xff",
            b"\x92\x80\xc4\x01a\x00",
        ] {
            assert!(BlobExtension::parse(payload).is_err(), "{payload:x?}");
        }
        for end in 1..REFERENCE.len() {
            assert!(BlobExtension::parse(&REFERENCE[..end]).is_err());
        }
    }

    #[test]
    fn references_are_found_at_every_depth() {
        let mut blob = b"\xc7\x23\x0b".to_vec();
        blob[1] = REFERENCE.len() as u8;
        blob.extend(REFERENCE);
        let mut value = b"\x92\x91\x81\xa1m".to_vec();
        value.extend(&blob);
        value.extend(b"\xd5\x0b\x92\xc4");
        let dictionary = Dictionary::empty();
        let mut found: Vec<String> = Vec::new();
        let broken = RawValue::new(&value, &dictionary)
            .blob_references(|reference| found.push(reference.file_id.to_string()));
        assert_eq!(found, ["1a2b"]);
        // The second payload is cut off; the offset is in the whole value.
        let error = broken.unwrap_err();
        assert_eq!(error.kind, ValueErrorKind::UnexpectedEnd);
        assert!(error.offset >= value.len() - 2, "{error}");
    }
}
