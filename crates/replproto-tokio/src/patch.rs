//! The attributes of records as JSON text: they are replaced one level deep, and what is inside them keeps its exact text.
//!
//! A row may be far larger than what changes in it: it is read from front to back and written on in pieces, and only the
//! attributes that change are kept in memory.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Json;

/// A patch of more attributes is refused, since each takes far more in memory than in JSON.
pub(crate) const ATTRIBUTES_MAX: usize = 1 << 16;

/// The attributes of an object, each once, in order: of several with one name the last value counts.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    list: Vec<(String, Json)>,
    at: HashMap<String, usize>,
}

impl Attributes {
    pub(crate) fn set(&mut self, name: &str, value: Json) {
        if let Some(&index) = self.at.get(name) {
            self.list[index].1 = value;
        } else {
            self.at.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), value));
        }
    }

    pub(crate) fn into_list(self) -> Vec<(String, Json)> {
        self.list
    }
}

/// The attributes of an object; `None`: it is no object. `text` is JSON as
/// [`RawValue::write_json`](replproto_core::value::RawValue::write_json) writes it.
pub(crate) fn attributes(text: &str) -> Option<Vec<(String, Json)>> {
    let mut attributes = Attributes::default();
    let is_object = each_attribute(text, |name, value| attributes.set(name, Json::new(value)));
    matches!(is_object, Ok(true)).then(|| attributes.into_list())
}

/// Whether an object has more than [`ATTRIBUTES_MAX`] attributes.
pub(crate) fn has_too_many(text: &str) -> bool {
    // Each takes six bytes at least.
    text.len() / 6 > ATTRIBUTES_MAX && {
        let mut count = 0;
        matches!(each_attribute(text, |_, _| count += 1), Ok(true)) && count > ATTRIBUTES_MAX
    }
}

/// Shows each attribute of an object, in order, and tells whether it is one.
///
/// # Errors
/// The text is no JSON.
pub(crate) fn each_attribute<'a>(
    text: &'a str,
    take: impl FnMut(&str, &'a str),
) -> Result<bool, serde_json::Error> {
    let shape = Shape::of(text)?;
    shape.each(take)?;
    Ok(shape.has_attributes())
}

/// The record after some of its attributes have got these values; those that it did not have come last. Of a record that is no
/// object nothing is left.
///
/// # Errors
/// The record is no JSON.
pub(crate) fn merge(record: &str, changes: &[(String, Json)]) -> Result<String, serde_json::Error> {
    Merge::new(record, changes)?.to_text(record.len())
}

/// A merge that has not been written.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    record: Shape<'a>,
    changes: &'a [(String, Json)],
    at: HashMap<&'a str, usize>,
    /// The result is a list of pairs.
    as_list: bool,
}

impl<'a> Merge<'a> {
    /// Looks through the record.
    pub(crate) fn new(
        record: &'a str,
        changes: &'a [(String, Json)],
    ) -> Result<Self, serde_json::Error> {
        let names = changes.iter().map(|(name, _)| name.as_str());
        let mut merge = Self {
            record: Shape::of(record)?,
            changes,
            at: names.zip(0..).collect(),
            as_list: false,
        };
        // Only if a name asks for it: a record may have been a list because of one that it has no more.
        merge.as_list = merge.has_special_name()?;
        Ok(merge)
    }

    /// The length of the result, in bytes.
    #[cfg(any(test, feature = "sqlite"))]
    pub(crate) fn length(&self) -> Result<u64, serde_json::Error> {
        let mut length = 0;
        self.write(|piece| length += piece.len() as u64)?;
        Ok(length)
    }

    /// Gives the result away in pieces. A value of the record or of a change is one piece.
    pub(crate) fn write(&self, mut give: impl FnMut(&str)) -> Result<(), serde_json::Error> {
        let (open, between, after, close) = if self.as_list {
            ("{\"$object\":[", ",", "]", "]}")
        } else {
            ("{", ":", "", "}")
        };
        let before = if self.as_list { "[" } else { "" };
        give(open);
        let mut is_first = true;
        let mut error = None;
        self.each(|name, value| {
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
        error.map_or(Ok(()), Err)
    }

    /// The result. `length`: about so many bytes.
    pub(crate) fn to_text(&self, length: usize) -> Result<String, serde_json::Error> {
        let mut text = String::with_capacity(length);
        self.write(|piece| text.push_str(piece))?;
        Ok(text)
    }

    /// Those of the result: of the record those that do not change, in their places those that do, and the rest of the changes.
    fn each(&self, mut take: impl FnMut(&str, &'a str)) -> Result<(), serde_json::Error> {
        let mut is_done = vec![false; self.changes.len()];
        self.record.each(|name, value| match self.at.get(name) {
            None => take(name, value),
            Some(&index) if !is_done[index] => {
                is_done[index] = true;
                take(name, self.changes[index].1.as_str());
            }
            // A name that the record repeats.
            Some(_) => {}
        })?;
        for ((name, value), is_done) in self.changes.iter().zip(is_done) {
            if !is_done {
                take(name, value.as_str());
            }
        }
        Ok(())
    }

    fn has_special_name(&self) -> Result<bool, serde_json::Error> {
        // A record that is written as an object has none.
        let mut found = self.changes.iter().any(|(name, _)| is_special(name));
        if matches!(self.record, Shape::List(_)) {
            self.each(|name, _| found |= is_special(name))?;
        }
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
    use super::*;

    fn merged(record: &str, changes: &str) -> String {
        merge(record, &attributes(changes).unwrap()).unwrap()
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
    fn a_value_that_is_no_object_is_replaced_and_has_no_attributes() {
        assert_eq!(merged("[1,2]", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(merged(r#"{"$bigint":"5"}"#, r#"{"a":1}"#), r#"{"a":1}"#);
        for value in ["null", "2", "[1]", r#"{"$date":5}"#] {
            assert_eq!(attributes(value), None);
        }
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
        for (record, changes) in [
            (r#"{"a":1,"b":{"c":[1,2]}}"#, r#"{"b":null,"d":"\u00e9"}"#),
            (r#"{"$object":[["$a",1],["b",2]]}"#, r#"{"b":3}"#),
            ("5", r#"{"a":1}"#),
        ] {
            let changes_of = attributes(changes).unwrap();
            let merge = Merge::new(record, &changes_of).unwrap();
            assert_eq!(
                merge.length().unwrap(),
                merged(record, changes).len() as u64
            );
        }
    }

    #[test]
    fn very_many_attributes_are_too_many() {
        let attributes = |count: usize| {
            let list: Vec<String> = (0..count).map(|at| format!("\"a{at}\":0")).collect();
            format!("{{{}}}", list.join(","))
        };
        let (many, more) = (attributes(ATTRIBUTES_MAX), attributes(ATTRIBUTES_MAX + 1));
        assert!(!has_too_many(&many) && has_too_many(&more));
        // A row may have any number.
        assert_eq!(merged(&more, r#"{"a0":0}"#), more);
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        assert!(merge("{", &[]).is_err());
        assert_eq!(attributes(r#"{"a":}"#), None);
    }
}
