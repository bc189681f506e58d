//! The content of a row.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::field::{Field, Request};
use super::{Current, Payload};

/// The content of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<F> {
    /// An object. Nearly all records are.
    Object(Fields<F>),
    /// Anything else.
    Other(F),
}

/// An object without fields.
impl<F> Default for Content<F> {
    fn default() -> Self {
        Self::Object(Fields::default())
    }
}

impl<F> From<Vec<(String, F)>> for Content<F> {
    fn from(fields: Vec<(String, F)>) -> Self {
        Self::Object(fields.into())
    }
}

impl<F: Field> Payload for Content<F> {
    type Field = F;

    fn fields(&self) -> Option<Vec<(String, F)>> {
        match self {
            Self::Object(fields) => Some(fields.fields.clone()),
            Self::Other(_) => None,
        }
    }

    fn may_have_operations(&self) -> bool {
        let Self::Object(fields) = self else {
            return false;
        };
        fields
            .iter()
            .any(|(_, value)| !matches!(value.request(), Request::Value))
    }
}

impl<F: Field> Current<F> for Option<Content<F>> {
    fn is_there(&self) -> bool {
        self.is_some()
    }

    fn fields(&self, names: &[&str]) -> Vec<Option<F>> {
        let get = |name: &&str| match self {
            Some(Content::Object(fields)) => fields.get(name).cloned(),
            _ => None,
        };
        names.iter().map(get).collect()
    }
}

/// Fields in the order in which they came, found by their names in logarithmic time.
#[derive(Clone, Debug)]
pub struct Fields<F> {
    fields: Vec<(String, F)>,
    places: BTreeMap<String, usize>,
}

impl<F> Default for Fields<F> {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            places: BTreeMap::new(),
        }
    }
}

impl<F> Fields<F> {
    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&F> {
        self.places.get(name).map(|place| &self.fields[*place].1)
    }

    /// Sets a field: in its place, or behind the others.
    pub fn set(&mut self, name: &str, value: F) {
        if let Some(place) = self.places.get(name) {
            self.fields[*place].1 = value;
        } else {
            self.places.insert(name.into(), self.fields.len());
            self.fields.push((name.into(), value));
        }
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &F)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The last one of several fields of a name stays, as in JavaScript.
impl<F> From<Vec<(String, F)>> for Fields<F> {
    fn from(fields: Vec<(String, F)>) -> Self {
        let mut all = Self::default();
        for (name, value) in fields {
            all.set(&name, value);
        }
        all
    }
}

/// Whatever their order.
impl<F: PartialEq> PartialEq for Fields<F> {
    fn eq(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}
