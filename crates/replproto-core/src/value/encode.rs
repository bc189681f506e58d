//! Writing values (`value-codec.md` sections 3 and 13).

use alloc::string::String;
use alloc::vec::Vec;

use rmp::encode as mp;

use super::MAX_DEPTH;
use super::bigint::BigInt;
use super::extension;
use super::tree::Value;

/// The two ways in which the peers configure MessagePack (`value-codec.md` section 1). There is no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Commands and the properties of blobs: objects are maps.
    Control,
    /// Record values: objects are records, and maps are something else.
    Table,
}

/// A value that a profile has no bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A bigint beyond 64 bits, for which the control profile has no form.
    #[error("a bigint beyond 64 bits in the control profile")]
    BigIntTooLong,
    /// More elements or bytes than a count can say: 2^32, or 65,536 for the fields of an object in the control profile.
    #[error("too many elements or bytes for a count")]
    TooLong,
    /// More than [`MAX_DEPTH`] containers inside each other; no receiver of this kind would read it.
    #[error("nested too deeply")]
    TooDeep,
}

impl Value {
    /// The bytes that a peer's encoder writes for this value. In the table profile objects are inline records, which
    /// need no dictionary.
    ///
    /// Not all values come back as they were, in the protocol's own way: sets and regular expressions are written as
    /// arrays, and -0 as 0.
    ///
    /// # Errors
    ///
    /// See [`EncodeError`].
    pub fn encode(&self, profile: Profile) -> Result<Vec<u8>, EncodeError> {
        let mut encoder = Encoder {
            out: Vec::new(),
            profile,
            shapes: Vec::new(),
            next_shape: 0,
            depth: 0,
        };
        encoder.value(self)?;
        Ok(encoder.out)
    }
}

/// Record ids `40`..`7f`.
const SHAPES_MAX: usize = 64;

struct Encoder<'v> {
    out: Vec<u8>,
    profile: Profile,
    /// The objects that have defined each record id last.
    shapes: Vec<&'v [(String, Value)]>,
    /// The id to define next.
    next_shape: usize,
    depth: u32,
}

impl<'v> Encoder<'v> {
    fn value(&mut self, value: &'v Value) -> Result<(), EncodeError> {
        match value {
            Value::Null => self.out.push(0xc0),
            Value::Undefined => self.out.extend([0xd4, extension::UNDEFINED, 0]),
            Value::Bool(value) => self.out.push(0xc2 | u8::from(*value)),
            Value::Number(value) => number(&mut self.out, *value, self.profile),
            Value::BigInt(value) => match (small_bigint(&mut self.out, value), self.profile) {
                (true, _) => {}
                (false, Profile::Table) => {
                    self.extension(extension::BIGINT, &value.to_be_bytes())?;
                }
                (false, Profile::Control) => return Err(EncodeError::BigIntTooLong),
            },
            Value::Text(value) => text(&mut self.out, value)?,
            Value::Bytes(value) => bytes(&mut self.out, value)?,
            Value::Date(milliseconds) => self.date(*milliseconds),
            Value::Blob(payload) => self.extension(extension::BLOB, payload)?,
            Value::RegExp { source, flags } => {
                array(&mut self.out, 2)?;
                text(&mut self.out, source)?;
                text(&mut self.out, flags)?;
            }
            Value::Array(members) | Value::Set(members) => {
                array(&mut self.out, members.len())?;
                self.nested(members)?;
            }
            Value::Map(pairs) => {
                let length = count(pairs.len())?;
                infallible(mp::write_map_len(&mut self.out, length));
                self.nested(pairs.iter().flat_map(|(key, value)| [key, value]))?;
            }
            Value::Object(fields) => match self.profile {
                Profile::Control => self.map(fields)?,
                Profile::Table => self.record(fields)?,
            },
        }
        Ok(())
    }

    fn nested(&mut self, values: impl IntoIterator<Item = &'v Value>) -> Result<(), EncodeError> {
        self.enter()?;
        for value in values {
            self.value(value)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), EncodeError> {
        if self.depth == MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    /// The control profile's objects always have a 16-bit count.
    fn map(&mut self, fields: &'v [(String, Value)]) -> Result<(), EncodeError> {
        let count = u16::try_from(fields.len()).map_err(|_| EncodeError::TooLong)?;
        self.out.push(0xde);
        self.out.extend(count.to_be_bytes());
        self.enter()?;
        for (name, value) in fields {
            text(&mut self.out, name)?;
            self.value(value)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// The table profile's objects are inline records with one-byte ids, the form that every receiver reads.
    fn record(&mut self, fields: &'v [(String, Value)]) -> Result<(), EncodeError> {
        let names = |fields: &'v [(String, Value)]| fields.iter().map(|(name, _)| name);
        let defined = self
            .shapes
            .iter()
            .position(|shape| names(shape).eq(names(fields)));
        if let Some(index) = defined {
            self.out.push(0x40 | index as u8);
        } else {
            let index = self.next_shape;
            self.next_shape = (index + 1) % SHAPES_MAX;
            match self.shapes.get_mut(index) {
                Some(shape) => *shape = fields,
                None => self.shapes.push(fields),
            }
            self.out
                .extend([0xd4, extension::DEFINITION, 0x40 | index as u8]);
            array(&mut self.out, fields.len())?;
            for name in names(fields) {
                text(&mut self.out, name)?;
            }
        }
        self.nested(fields.iter().map(|(_, value)| value))
    }

    fn extension(&mut self, kind: u8, payload: &[u8]) -> Result<(), EncodeError> {
        let length = count(payload.len())?;
        infallible(mp::write_ext_meta(&mut self.out, length, kind as i8));
        self.out.extend(payload);
        Ok(())
    }

    fn date(&mut self, milliseconds: f64) {
        let milliseconds = extension::clip(milliseconds);
        if milliseconds.is_nan() {
            return self.out.extend([0xd4, extension::DATE, 0xff]);
        }
        let seconds = (milliseconds as i64).div_euclid(1000);
        let nanoseconds = (milliseconds as i64).rem_euclid(1000) as u32 * 1_000_000;
        match (u32::try_from(seconds), nanoseconds) {
            (Ok(seconds), 0) => {
                self.out.extend([0xd6, extension::DATE]);
                self.out.extend(seconds.to_be_bytes());
            }
            (Ok(seconds), _) => {
                self.out.extend([0xd7, extension::DATE]);
                let packed = u64::from(nanoseconds) << 34 | u64::from(seconds);
                self.out.extend(packed.to_be_bytes());
            }
            (Err(_), _) => {
                self.out.extend([0xc7, 12, extension::DATE]);
                self.out.extend(nanoseconds.to_be_bytes());
                self.out.extend(seconds.to_be_bytes());
            }
        }
    }
}

/// Appends a number. Whole ones that 32 bits hold are integers, everything else is a double.
pub(crate) fn number(out: &mut Vec<u8>, value: f64, profile: Profile) {
    let whole = value as i64;
    match whole {
        _ if whole as f64 != value => infallible(mp::write_f64(out, value)),
        0..=0x1f => out.push(whole as u8),
        // In the table profile these bytes would be struct headers and record ids.
        0x20..=0x7f if profile == Profile::Control => out.push(whole as u8),
        0x20..=0xff => out.extend([0xcc, whole as u8]),
        0x100..=0xffff_ffff => infallible(mp::write_uint(out, whole as u64)),
        -0x8000_0000..0 => infallible(mp::write_sint(out, whole).map(|_| ())),
        _ => infallible(mp::write_f64(out, value)),
    }
}

/// Appends a bigint of at most 64 bits, always in 9 bytes; false if it is longer.
pub(crate) fn small_bigint(out: &mut Vec<u8>, value: &BigInt) -> bool {
    let Some(value) = value.to_i128() else {
        return false;
    };
    if let Ok(value) = i64::try_from(value) {
        infallible(mp::write_i64(out, value));
    } else if let Ok(value) = u64::try_from(value) {
        infallible(mp::write_u64(out, value));
    } else {
        return false;
    }
    true
}

/// Appends text.
pub(crate) fn text(out: &mut Vec<u8>, value: &str) -> Result<(), EncodeError> {
    infallible(mp::write_str_len(out, count(value.len())?));
    out.extend(value.as_bytes());
    Ok(())
}

/// Appends bytes.
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) -> Result<(), EncodeError> {
    infallible(mp::write_bin_len(out, count(value.len())?));
    out.extend(value);
    Ok(())
}

/// Appends the head of an array.
pub(crate) fn array(out: &mut Vec<u8>, elements: usize) -> Result<(), EncodeError> {
    infallible(mp::write_array_len(out, count(elements)?));
    Ok(())
}

fn count(count: usize) -> Result<u32, EncodeError> {
    u32::try_from(count).map_err(|_| EncodeError::TooLong)
}

/// Writing to a `Vec` cannot fail, though the writers of `rmp` say so for every kind of output.
fn infallible<T, E>(written: Result<T, E>) {
    debug_assert!(written.is_ok());
}
