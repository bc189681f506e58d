//! Tagged JSON, the form in which the golden vectors state values (`tests/vectors/README.md` of the generator).

use replproto_core::key::Key;
use replproto_core::value::Value;
use serde_json::Value as Json;

/// The bytes that hexadecimal text stands for.
pub fn bytes_of_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd hex {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// The tag and content of an object with one field (or `$f64` with its bits).
fn tag(json: &Json) -> Option<(&str, &Json)> {
    let (name, content) = json.as_object()?.iter().find(|(n, _)| n.starts_with('$'))?;
    Some((name, content))
}

fn text(json: &Json) -> String {
    json.as_str().expect("text").to_owned()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().expect("array")
}

fn values(json: &Json) -> Vec<Value> {
    list(json).iter().map(value).collect()
}

fn number(json: &Json) -> f64 {
    match json.get("bits") {
        Some(bits) => {
            f64::from_bits(u64::from_str_radix(bits.as_str().expect("text"), 16).expect("bits"))
        }
        None => f64::NAN,
    }
}

/// The value that a tagged form stands for.
pub fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Number(value.as_f64().expect("double")),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) => Value::Array(values(json)),
        Json::Object(fields) => match tag(json) {
            None => Value::Object(fields.iter().map(|(n, v)| (n.clone(), value(v))).collect()),
            Some(("$undefined", _)) => Value::Undefined,
            Some(("$f64", _)) => Value::Number(number(json)),
            Some(("$bigint", decimal)) => {
                Value::BigInt(decimal.as_str().expect("text").parse().expect("bigint"))
            }
            Some(("$date", time)) => Value::Date(time.as_f64().unwrap_or(f64::NAN)),
            Some(("$bytes", hex)) => Value::Bytes(bytes_of_hex(hex.as_str().expect("text"))),
            Some(("$map", pairs)) => Value::Map(
                list(pairs)
                    .iter()
                    .map(|pair| (value(&pair[0]), value(&pair[1])))
                    .collect(),
            ),
            Some(("$object", pairs)) => Value::Object(
                list(pairs)
                    .iter()
                    .map(|pair| (text(&pair[0]), value(&pair[1])))
                    .collect(),
            ),
            Some(("$set", members)) => Value::Set(values(members)),
            Some(("$regexp", parts)) => Value::RegExp {
                source: text(&parts[0]),
                flags: text(&parts[1]),
            },
            // Only as an input, and written as an array.
            Some(("$error", parts)) => Value::Array(values(parts)),
            Some(("$ext", extension)) => {
                assert_eq!(extension["type"], 11);
                Value::Blob(bytes_of_hex(extension["hex"].as_str().expect("text")))
            }
            Some((other, _)) => panic!("unknown tag {other}"),
        },
    }
}

/// The key that a tagged form stands for; `None` for what is no key, such as undefined.
pub fn key(json: &Json) -> Option<Key> {
    Some(match json {
        Json::Null => Key::Null,
        Json::Bool(value) => Key::Bool(*value),
        Json::Number(value) => Key::Number(value.as_f64()?),
        Json::String(text) => Key::Text(text.clone()),
        Json::Array(elements) => Key::Array(elements.iter().map(key).collect::<Option<_>>()?),
        Json::Object(_) => match tag(json)? {
            ("$f64", _) => Key::Number(number(json)),
            ("$bigint", decimal) => Key::BigInt(decimal.as_str()?.parse().ok()?),
            ("$symbol", description) => Key::Symbol(text(description)),
            ("$bytes", hex) => Key::Bytes(bytes_of_hex(hex.as_str()?)),
            _ => return None,
        },
    })
}

/// Whether two values are the same: doubles by their bits (all NaN alike), fields in any order.
pub fn same(a: &Value, b: &Value) -> bool {
    let all =
        |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Value::Number(a), Value::Number(b)) | (Value::Date(a), Value::Date(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) => all(a, b),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (Value::Object(fields), Value::Object(others)) => {
            fields.len() == others.len()
                && fields
                    .iter()
                    .all(|(name, _)| match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => same(a, b),
                        _ => false,
                    })
        }
        _ => a == b,
    }
}

/// What is left of a value that has been written: sets and regular expressions become arrays, and -0 loses its sign.
pub fn as_written(value: &Value) -> Value {
    let all = |values: &[Value]| values.iter().map(as_written).collect();
    match value {
        Value::Number(number) if *number == 0.0 => Value::Number(0.0),
        Value::Array(members) | Value::Set(members) => Value::Array(all(members)),
        Value::RegExp { source, flags } => Value::Array(vec![
            Value::Text(source.clone()),
            Value::Text(flags.clone()),
        ]),
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|(key, value)| (as_written(key), as_written(value)))
                .collect(),
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), as_written(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Tagged JSON with the parts that have no order in a fixed one, to be compared as JSON.
pub fn ordered(json: &Json) -> Json {
    match json {
        Json::Array(elements) => elements.iter().map(ordered).collect(),
        Json::Object(fields) => {
            let mut fields: serde_json::Map<_, _> = fields
                .iter()
                .map(|(n, v)| (n.clone(), ordered(v)))
                .collect();
            if let Some(Json::Array(pairs)) = fields.get_mut("$object") {
                pairs.sort_by_key(|pair| pair[0].to_string());
            }
            Json::Object(fields)
        }
        other => other.clone(),
    }
}

/// Tagged JSON in the natural style: finite doubles as JSON numbers.
pub fn natural(json: &Json) -> Json {
    match json {
        Json::Array(elements) => elements.iter().map(natural).collect(),
        Json::Object(fields) => match tag(json) {
            Some(("$f64", _)) if number(json).is_finite() => Json::from(number(json)),
            _ => Json::Object(
                fields
                    .iter()
                    .map(|(n, v)| (n.clone(), natural(v)))
                    .collect(),
            ),
        },
        other => other.clone(),
    }
}
