//! Operations in the values of fields, and the arithmetic of additions.

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use crate::value::{BigInt, Dictionary, Profile, RawValue, Value};

/// The value of a field, in whatever form a store keeps it.
pub trait Field: Clone {
    /// The request of the value when it stands in a patch (`conflicts.md` section 3).
    fn request(&self) -> Request<Self>;

    /// The bytes that it takes, roughly: only small amounts are kept.
    fn size(&self) -> usize;

    /// The field after an addition; `None`: there was no such field. As in the publishers of 2026 (`conflicts.md`
    /// section 3, the table's last column).
    ///
    /// # Errors
    /// Publishers cannot carry it out either.
    fn plus(previous: Option<&Self>, amount: &Self) -> Result<Self, CannotAdd>;

    /// Appends an amount as bytes, for [`Memory::to_bytes`](super::Memory::to_bytes).
    fn write(&self, out: &mut Vec<u8>);

    /// The reverse of [`write`](Self::write); `None`: the bytes are damaged.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// The request in a field's value: `{"__op__": "add", "value": 5}` is an order, anything else a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Request<F> {
    /// The field gets this value.
    Value,
    /// This is added to the field.
    Add(F),
    /// An operation that nobody knows: its name.
    Unknown(String),
}

/// An addition that cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CannotAdd {
    /// A fraction, or what is no number, to a bigint.
    #[error("a bigint takes whole numbers only")]
    NotWhole,
    /// The amount is no number.
    #[error("the amount is not a number")]
    NotANumber,
}

impl Field for Value {
    fn request(&self) -> Request<Self> {
        let operation = match self.get("__op__") {
            Some(Self::Text(name)) if !name.is_empty() => name.as_str(),
            None | Some(Self::Null | Self::Undefined | Self::Bool(false) | Self::Text(_)) => {
                return Request::Value;
            }
            Some(Self::Number(number)) if *number == 0.0 || number.is_nan() => {
                return Request::Value;
            }
            Some(Self::BigInt(number)) if number.bits() == 0 => return Request::Value,
            Some(_) => "of another type than text",
        };
        if operation == "add" {
            Request::Add(self.get("value").cloned().unwrap_or(Self::Undefined))
        } else {
            Request::Unknown(operation.into())
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::BigInt(number) => number.bits() / 8,
            Self::Undefined | Self::Null | Self::Bool(_) | Self::Number(_) | Self::Date(_) => 8,
            // Nobody adds such things. A publisher takes them for the field's new value.
            _ => usize::MAX,
        }
    }

    fn plus(previous: Option<&Self>, amount: &Self) -> Result<Self, CannotAdd> {
        let previous = match previous {
            None | Some(Self::Undefined | Self::Null) => return Ok(amount.clone()),
            Some(Self::BigInt(previous)) => {
                let amount = whole(amount).ok_or(CannotAdd::NotWhole)?;
                return Ok(Self::BigInt(previous.plus(&amount)));
            }
            Some(previous) => number(previous),
        };
        if previous.is_nan() {
            return Ok(amount.clone());
        }
        let amount = match amount {
            Self::Undefined => f64::NAN,
            Self::Null => 0.0,
            Self::Number(amount) => *amount,
            Self::Bool(amount) => f64::from(u8::from(*amount)),
            Self::BigInt(amount) => amount.to_f64(),
            _ => return Err(CannotAdd::NotANumber),
        };
        Ok(Self::Number(previous + amount))
    }

    fn write(&self, out: &mut Vec<u8>) {
        // All that is small enough to be kept can be encoded.
        out.extend(self.encode(Profile::Table).unwrap_or_default());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let structures = Dictionary::default();
        RawValue::new(bytes, &structures).decode().ok()
    }
}

/// JavaScript's `BigInt(value)`.
fn whole(value: &Value) -> Option<BigInt> {
    match value {
        Value::BigInt(value) => Some(value.clone()),
        Value::Number(value) => BigInt::from_f64(*value),
        Value::Bool(value) => Some(BigInt::from(u64::from(*value))),
        Value::Text(text) => match text.trim() {
            "" => Some(BigInt::default()),
            text => text.strip_prefix('+').unwrap_or(text).parse().ok(),
        },
        _ => None,
    }
}

/// JavaScript's `Number(value)`.
fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(value) | Value::Date(value) => *value,
        Value::BigInt(value) => value.to_f64(),
        Value::Text(text) => number_of_text(text),
        Value::Array(elements) => match elements.as_slice() {
            [] => 0.0,
            // The text of a list of one is that of its element, and that of null is empty.
            [Value::Null | Value::Undefined] => 0.0,
            [
                element @ (Value::Number(_) | Value::BigInt(_) | Value::Text(_) | Value::Array(_)),
            ] => number(element),
            _ => f64::NAN,
        },
        _ => f64::NAN,
    }
}

/// JavaScript's `Number(text)`: what is no number is NaN.
fn number_of_text(text: &str) -> f64 {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let radix = |digits: &str, radix: u32| {
        let digits_only = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        digits_only.then(|| {
            digits
                .chars()
                .filter_map(|digit| digit.to_digit(radix))
                .fold(0.0, |sum, digit| sum * f64::from(radix) + f64::from(digit))
        })
    };
    let parsed = match text.get(..2) {
        Some("0x" | "0X") => radix(&text[2..], 16),
        Some("0o" | "0O") => radix(&text[2..], 8),
        Some("0b" | "0B") => radix(&text[2..], 2),
        _ => match text {
            "" => Some(0.0),
            "Infinity" | "+Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            // Rust knows names for these that JavaScript does not.
            text if text.contains(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')) => None,
            text => text.parse().ok(),
        },
    };
    parsed.unwrap_or(f64::NAN)
}
