//! The rules of a replica on JSON text: what the values of records and their fields are in a store that keeps text.

use replproto_core::replica::{CannotAdd, Current, Field, Payload, Request};
use replproto_core::value::{JsonStyle, Profile, RawValue, Value};
use serde_json::Value as Parsed;

use crate::patch;

/// The name of the field that makes an object an operation (`conflicts.md` section 3).
const OPERATION: &str = "__op__";

/// A longer text than this is no number that anybody adds to, and is not parsed.
const NUMBER_MAX: usize = 4096;

/// The value of a field as JSON text, in the natural style.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Json(Box<str>);

impl Json {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Field for Json {
    fn request(&self) -> Request<Self> {
        if !self.0.starts_with('{') || !self.0.contains(OPERATION) {
            return Request::Value;
        }
        let (mut operation, mut amount) = (None, None);
        let Ok(true) = patch::each_attribute(&self.0, |name, value| match name {
            OPERATION => operation = Some(to_value(value)),
            "value" => amount = Some(Self::new(value)),
            _ => {}
        }) else {
            return Request::Value;
        };
        // What counts as an operation is for the core to say.
        let fields = operation.map(|operation| (OPERATION.into(), operation));
        match Value::Object(fields.into_iter().collect()).request() {
            Request::Value => Request::Value,
            Request::Unknown(operation) => Request::Unknown(operation),
            Request::Add(_) => {
                Request::Add(amount.unwrap_or_else(|| Self::new(r#"{"$undefined":true}"#)))
            }
        }
    }

    fn size(&self) -> usize {
        self.0.len()
    }

    fn plus(previous: Option<&Self>, amount: &Self) -> Result<Self, CannotAdd> {
        let previous = previous.map(|Self(text)| to_value(text));
        Ok(
            match Value::plus(previous.as_ref(), &to_value(&amount.0))? {
                sum @ (Value::Number(_) | Value::BigInt(_)) => {
                    to_json(&sum).map_or_else(|| amount.clone(), |text| Self(text.into()))
                }
                // The amount itself, whatever it is.
                _ => amount.clone(),
            },
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        str::from_utf8(bytes).ok().map(Self::new)
    }
}

/// The value of an entry as JSON text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonValue<'a>(pub(crate) &'a str);

impl JsonValue<'_> {
    /// Whether there is none. Some publishers send a deletion as a put of null.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.0, "" | "null")
    }
}

impl Payload for JsonValue<'_> {
    type Field = Json;

    fn fields(&self) -> Option<Vec<(String, Json)>> {
        patch::attributes(self.0)
    }

    fn may_have_operations(&self) -> bool {
        self.0.contains(OPERATION)
    }
}

/// The content of a row as JSON text, if it has any.
impl Current<Json> for Option<&str> {
    fn is_there(&self) -> bool {
        self.is_some()
    }

    fn fields(&self, names: &[&str]) -> Vec<Option<Json>> {
        let mut found = vec![None; names.len()];
        if let Some(text) = self {
            // Text that is no JSON is noticed when the row is written.
            let _ = patch::each_attribute(text, |name, value| {
                for (wanted, found) in names.iter().zip(&mut found) {
                    if *wanted == name {
                        *found = Some(Json::new(value));
                    }
                }
            });
        }
        found
    }
}

/// The value, as far as additions ask: of one that is never a number, something that is none either.
fn to_value(json: &str) -> Value {
    if json.len() > NUMBER_MAX {
        return Value::Object(Vec::new());
    }
    serde_json::from_str(json).map_or_else(|_| Value::Object(Vec::new()), from_parsed)
}

fn from_parsed(parsed: Parsed) -> Value {
    match parsed {
        Parsed::Null => Value::Null,
        Parsed::Bool(value) => Value::Bool(value),
        Parsed::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Parsed::String(text) => Value::Text(text),
        Parsed::Array(elements) => Value::Array(elements.into_iter().map(from_parsed).collect()),
        Parsed::Object(members) => {
            let tagged = |tag: &str| members.get(tag);
            if tagged("$undefined").is_some() {
                Value::Undefined
            } else if let Some(digits) = tagged("$bigint").and_then(Parsed::as_str) {
                digits
                    .parse()
                    .map_or_else(|_| Value::Object(Vec::new()), Value::BigInt)
            } else if let Some(date) = tagged("$date") {
                Value::Date(date.as_f64().unwrap_or(f64::NAN))
            } else if let Some(name) = tagged("$f64").and_then(Parsed::as_str) {
                Value::Number(match name {
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => f64::NAN,
                })
            } else {
                Value::Object(Vec::new())
            }
        }
    }
}

/// A sum as JSON, in the style of records.
fn to_json(value: &Value) -> Option<String> {
    if let Value::BigInt(number) = value {
        return Some(format!(r#"{{"$bigint":"{number}"}}"#));
    }
    let bytes = value.encode(Profile::Control).ok()?;
    let mut text = String::new();
    RawValue::control(&bytes)
        .write_json(&mut text, JsonStyle::Natural)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(previous: &str, amount: &str) -> String {
        let sum = Json::plus(Some(&Json::new(previous)), &Json::new(amount));
        sum.unwrap().as_str().to_owned()
    }

    #[test]
    fn an_operation_is_found_in_text_and_nothing_else_is_one() {
        let request = |text: &str| Json::new(text).request();
        assert_eq!(
            request(r#"{"__op__":"add","value":{"$bigint":"5"}}"#),
            Request::Add(Json::new(r#"{"$bigint":"5"}"#))
        );
        assert_eq!(
            request(r#"{"$object":[["__op__","add"],["$x",1],["value",2]]}"#),
            Request::Add(Json::new("2"))
        );
        assert_eq!(
            request(r#"{"__op__":"multiply","value":2}"#),
            Request::Unknown("multiply".into())
        );
        for value in [
            r#"{"__op__":"","value":2}"#,
            r#"{"__op__":null}"#,
            r#"{"__op__":{"$undefined":true}}"#,
            r#"{"a":{"__op__":"add"}}"#,
            r#"["__op__"]"#,
            r#""__op__""#,
            r#"{"$bigint":"5"}"#,
        ] {
            assert_eq!(request(value), Request::Value, "{value}");
        }
    }

    #[test]
    fn sums_are_those_of_the_core() {
        for (previous, amount, result) in [
            ("5", "2.5", "7.5"),
            (r#""5""#, "1", "6"),
            (r#""dog""#, "1", "1"),
            (r#"{"$date":1000}"#, "1", "1001"),
            (
                r#"{"$bigint":"18446744073709551615"}"#,
                "1",
                r#"{"$bigint":"18446744073709551616"}"#,
            ),
            ("null", r#"{"$bigint":"1"}"#, r#"{"$bigint":"1"}"#),
            ("[]", "1", "1"),
            ("[[7]]", "1", "8"),
            (r#"{"a":1}"#, r#""text""#, r#""text""#),
            (
                r#"{"$f64":"Infinity","bits":"7ff0000000000000"}"#,
                "1",
                r#"{"$f64":"Infinity","bits":"7ff0000000000000"}"#,
            ),
        ] {
            assert_eq!(sum(previous, amount), result, "{previous} + {amount}");
        }
        let bigint = Json::new(r#"{"$bigint":"1"}"#);
        assert!(Json::plus(Some(&bigint), &Json::new("0.5")).is_err());
    }
}
