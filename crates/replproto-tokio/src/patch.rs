//! Patches, on JSON text: attributes are replaced one level deep, and what is inside them keeps its exact text.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The record after the patch.
///
/// Both are JSON as [`RawValue::write_json`](replproto_core::value::RawValue::write_json) writes it. The attributes of the
/// patch replace those of the record. A patch of something that is no object replaces it, and a patch that is no object
/// leaves an object as it is.
///
/// # Errors
/// One of the texts is not JSON: somebody else has written it.
pub(crate) fn merge(record: &str, patch: &str) -> Result<String, serde_json::Error> {
    let Some(mut fields) = attributes(record)? else {
        return Ok(patch.to_owned());
    };
    let Some(changes) = attributes(patch)? else {
        return Ok(record.to_owned());
    };
    let at: HashMap<String, usize> = fields
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (name.clone(), index))
        .collect();
    for (name, value) in changes {
        match at.get(&name) {
            Some(&index) => fields[index].1 = value,
            None => fields.push((name, value)),
        }
    }
    write(&fields)
}

/// An object as a list of pairs, used when a name could be taken for a tag.
const LIST: &str = "$object";

fn is_special(name: &str) -> bool {
    name.starts_with('$') || name == "__proto__"
}

/// The attributes of an object; `None` for any other value, also one whose JSON form is a tagged object.
fn attributes(text: &str) -> Result<Option<Vec<(String, &RawValue)>>, serde_json::Error> {
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let Attributes(fields) = serde_json::from_str(text)?;
    match fields.as_slice() {
        [(name, list)] if name == LIST => serde_json::from_str(list.get()).map(Some),
        fields if fields.iter().any(|(name, _)| is_special(name)) => Ok(None),
        _ => Ok(Some(fields)),
    }
}

fn write(fields: &[(String, &RawValue)]) -> Result<String, serde_json::Error> {
    let as_list = fields.iter().any(|(name, _)| is_special(name));
    let (open, between, after, close) = if as_list {
        ("{\"$object\":[", ",", "]", "]}")
    } else {
        ("{", ":", "", "}")
    };
    let mut out = String::from(open);
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if as_list {
            out.push('[');
        }
        out.push_str(&serde_json::to_string(name)?);
        out.push_str(between);
        out.push_str(value.get());
        out.push_str(after);
    }
    out.push_str(close);
    Ok(out)
}

/// The members of a JSON object in their order, values unread.
struct Attributes<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Attributes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Attributes(fields))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    fn merged(record: &str, patch: &str) -> String {
        merge(record, patch).unwrap()
    }

    #[test]
    fn attributes_are_replaced_one_level_deep_in_their_order() {
        assert_eq!(
            merged(
                r#"{"id":1,"a":{"deep":1,"other":2},"b":2}"#,
                r#"{"c":3,"a":{"deep":9}}"#
            ),
            r#"{"id":1,"a":{"deep":9},"b":2,"c":3}"#
        );
        assert_eq!(merged("{}", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(merged(r#"{"a":1}"#, "{}"), r#"{"a":1}"#);
    }

    #[test]
    fn what_is_inside_an_attribute_keeps_its_exact_text() {
        let number = "1.10000000000000000000000000000000001e400";
        let record = format!(r#"{{"n":{number},"t":"\u0041"}}"#);
        assert_eq!(
            merged(&record, r#"{"x":1}"#),
            format!(r#"{{"n":{number},"t":"\u0041","x":1}}"#)
        );
    }

    #[test]
    fn names_that_look_like_tags_are_kept_in_a_list() {
        let list = r#"{"$object":[["$a",1],["b",2]]}"#;
        assert_eq!(
            merged(list, r#"{"b":3}"#),
            r#"{"$object":[["$a",1],["b",3]]}"#
        );
        assert_eq!(
            merged(r#"{"b":2}"#, r#"{"$object":[["$a",1]]}"#),
            r#"{"$object":[["b",2],["$a",1]]}"#
        );
    }

    #[test]
    fn a_value_that_is_no_object_is_replaced_and_replaces_nothing() {
        assert_eq!(merged("[1,2]", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(merged(r#"{"$bigint":"5"}"#, r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(merged(r#"{"a":1}"#, "null"), r#"{"a":1}"#);
        assert_eq!(merged("1", "2"), "2");
    }

    #[test]
    fn deep_nesting_is_no_recursion() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let record = format!(r#"{{"a":{deep}}}"#);
        assert_eq!(
            merged(&record, r#"{"b":1}"#),
            format!(r#"{{"a":{deep},"b":1}}"#)
        );
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        assert!(merge("{", "{}").is_err());
        assert!(merge("{}", r#"{"a":}"#).is_err());
    }
}
