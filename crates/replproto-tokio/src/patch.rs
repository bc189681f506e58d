//! Patches, on JSON text: attributes are replaced one level deep, and what is inside them keeps its exact text.
//!
//! A row may be far larger than the patch: it is read from front to back and written on in pieces, and only the attributes
//! of the patch are kept in memory.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// A patch of more attributes is refused, since each takes far more in memory than in JSON.
const CHANGES_MAX: usize = 1 << 16;

/// A patch that cannot be merged.
#[derive(Debug, Error)]
pub(crate) enum MergeError {
    /// Somebody else has written the record.
    #[error(transparent)]
    NotJson(#[from] serde_json::Error),
    /// The patch has too many attributes.
    #[error("the patch has more than {CHANGES_MAX} attributes")]
    TooManyChanges,
}

/// The record after the patch.
///
/// Both are JSON as [`RawValue::write_json`](replproto_core::value::RawValue::write_json) writes it. The attributes of the
/// patch replace those of the record. A patch of something that is no object replaces it, and a patch that is no object
/// leaves an object as it is.
///
/// # Errors
/// One of the texts is not JSON, or the patch is too large.
pub(crate) fn merge(record: &str, patch: &str) -> Result<String, MergeError> {
    let merge = Merge::new(record, patch)?;
    let mut merged = String::with_capacity(record.len() + patch.len());
    merge.write(|piece| merged.push_str(piece))?;
    Ok(merged)
}

/// A merge that has not been written.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    record: &'a str,
    /// `None`: one of the two is the result.
    attributes: Option<Attributes<'a>>,
}

#[derive(Debug)]
struct Attributes<'a> {
    record: Shape<'a>,
    /// The attributes of the patch, in their order.
    changes: Vec<(String, &'a str)>,
    at: HashMap<String, usize>,
    /// The result is a list of pairs.
    as_list: bool,
}

impl<'a> Merge<'a> {
    /// Looks through both.
    pub(crate) fn new(record: &'a str, patch: &'a str) -> Result<Self, MergeError> {
        let (record_shape, patch_shape) = (Shape::of(record)?, Shape::of(patch)?);
        if !record_shape.has_attributes() || !patch_shape.has_attributes() {
            let is_replaced = !record_shape.has_attributes();
            return Ok(Self {
                record: if is_replaced { patch } else { record },
                attributes: None,
            });
        }
        let mut changes = Vec::new();
        let mut at = HashMap::new();
        let mut is_too_long = false;
        patch_shape.each(|name, value| {
            is_too_long |= changes.len() == CHANGES_MAX;
            if !is_too_long {
                at.insert(name.to_owned(), changes.len());
                changes.push((name.to_owned(), value));
            }
        })?;
        if is_too_long {
            return Err(MergeError::TooManyChanges);
        }
        let as_list =
            matches!(record_shape, Shape::List(_)) || matches!(patch_shape, Shape::List(_));
        let mut attributes = Attributes {
            record: record_shape,
            changes,
            at,
            as_list: false,
        };
        if as_list {
            // Only if a name asks for it: the patch may be a list because of a name that it repeats.
            attributes.as_list = attributes.has_special_name()?;
        }
        Ok(Self {
            record,
            attributes: Some(attributes),
        })
    }

    /// The length of the result, in bytes.
    #[cfg(any(test, feature = "sqlite"))]
    pub(crate) fn length(&self) -> Result<u64, MergeError> {
        let mut length = 0;
        self.write(|piece| length += piece.len() as u64)?;
        Ok(length)
    }

    /// Gives the result away in pieces. A value of the record or of the patch is one piece.
    pub(crate) fn write(&self, mut give: impl FnMut(&str)) -> Result<(), MergeError> {
        let Some(attributes) = &self.attributes else {
            give(self.record);
            return Ok(());
        };
        let (open, between, after, close) = if attributes.as_list {
            ("{\"$object\":[", ",", "]", "]}")
        } else {
            ("{", ":", "", "}")
        };
        let before = if attributes.as_list { "[" } else { "" };
        give(open);
        let mut is_first = true;
        let mut error = None;
        attributes.each(|name, value| {
            if !std::mem::take(&mut is_first) {
                give(",");
            }
            match serde_json::to_string(name) {
                Ok(name) => {
                    for piece in [before, &name, between, value, after] {
                        give(piece);
                    }
                }
                Err(failed) => error = Some(failed),
            }
        })?;
        give(close);
        error.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl<'a> Attributes<'a> {
    /// Those of the result: of the record those that the patch does not have, in their places those that it has, and the
    /// rest of the patch.
    fn each(&self, mut take: impl FnMut(&str, &'a str)) -> Result<(), serde_json::Error> {
        let mut is_done = vec![false; self.changes.len()];
        self.record.each(|name, value| match self.at.get(name) {
            None => take(name, value),
            Some(&index) if !is_done[index] => {
                is_done[index] = true;
                take(name, self.changes[index].1);
            }
            // A name that the record repeats.
            Some(_) => {}
        })?;
        for (index, (name, value)) in self.changes.iter().enumerate() {
            // The last one of several of the same name counts.
            if !is_done[index] && self.at.get(name) == Some(&index) {
                take(name, value);
            }
        }
        Ok(())
    }

    fn has_special_name(&self) -> Result<bool, serde_json::Error> {
        let mut found = false;
        self.each(|name, _| found |= is_special(name))?;
        Ok(found)
    }
}

/// An object as a list of pairs, used when a name could be taken for a tag.
const LIST: &str = "$object";

fn is_special(name: &str) -> bool {
    name.starts_with('$') || name == "__proto__"
}

/// The shape of a text, as far as a merge asks.
#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
    /// An object.
    Object(&'a str),
    /// The list of an object's attributes.
    List(&'a str),
    /// Any other value, also one whose JSON form is a tagged object.
    Other,
}

impl<'a> Shape<'a> {
    fn of(text: &'a str) -> Result<Self, serde_json::Error> {
        if !text.trim_start().starts_with('{') {
            return Ok(Self::Other);
        }
        let (mut count, mut is_tagged, mut list) = (0_u64, false, None);
        Self::Object(text).each(|name, value| {
            count += 1;
            is_tagged |= is_special(name);
            if name == LIST {
                list = Some(value);
            }
        })?;
        Ok(match list {
            Some(list) if count == 1 => Self::List(list),
            _ if is_tagged => Self::Other,
            _ => Self::Object(text),
        })
    }

    const fn has_attributes(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Shows each attribute, in order, its value unread.
    fn each(self, take: impl FnMut(&str, &'a str)) -> Result<(), serde_json::Error> {
        let text = match self {
            Self::Object(text) | Self::List(text) => text,
            Self::Other => return Ok(()),
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match self {
            Self::List(_) => deserializer.deserialize_seq(Each(take))?,
            _ => deserializer.deserialize_map(Each(take))?,
        }
        deserializer.end()
    }
}

/// Shows the members of an object, or of a list of pairs, to a function.
struct Each<F>(F);

impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut members: M) -> Result<(), M::Error> {
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            (self.0)(&name, value.get());
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut pairs: S) -> Result<(), S::Error> {
        while let Some(Pair(name, value)) = pairs.next_element()? {
            (self.0)(&name, value.get());
        }
        Ok(())
    }
}

struct Pair<'a>(String, &'a RawValue);

impl<'de> Deserialize<'de> for Pair<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, value) = <(String, &RawValue)>::deserialize(deserializer)?;
        Ok(Self(name, value))
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
    fn the_last_of_several_attributes_of_one_name_counts() {
        assert_eq!(
            merged(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":4,"c":5,"a":6,"c":7}"#),
            r#"{"a":6,"b":2,"c":7}"#
        );
    }

    #[test]
    fn what_is_written_in_pieces_has_the_length_that_was_told() {
        for (record, patch) in [
            (r#"{"a":1,"b":{"c":[1,2]}}"#, r#"{"b":null,"d":"\u00e9"}"#),
            (r#"{"$object":[["$a",1],["b",2]]}"#, r#"{"b":3}"#),
            ("5", r#"{"a":1}"#),
            (r#"{"a":1}"#, "5"),
        ] {
            let merge = super::Merge::new(record, patch).unwrap();
            assert_eq!(merge.length().unwrap(), merged(record, patch).len() as u64);
        }
    }

    #[test]
    fn a_patch_of_very_many_attributes_is_refused() {
        let attributes = |count: usize| {
            let list: Vec<String> = (0..count).map(|at| format!("\"a{at}\":0")).collect();
            format!("{{{}}}", list.join(","))
        };
        let (many, more) = (
            attributes(super::CHANGES_MAX),
            attributes(super::CHANGES_MAX + 1),
        );
        assert_eq!(merged("{}", &many), many);
        assert!(matches!(
            merge("{}", &more),
            Err(super::MergeError::TooManyChanges)
        ));
        assert_eq!(merged(&more, r#"{"a0":0}"#), more);
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        assert!(merge("{", "{}").is_err());
        assert!(merge("{}", r#"{"a":}"#).is_err());
    }
}
