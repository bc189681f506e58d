//! One vector: the entries of a record, and what they come to.

use replproto_core::WallTime;
use replproto_core::replica::{Action, Content, ContentHash, Entry, Fields, Row, Stamp, Writes};
use replproto_core::value::Value;
use replproto_tests::tagged;
use serde_json::Value as Json;

pub(crate) struct Vector {
    pub(crate) name: String,
    kind: String,
    copies: Vec<Copied>,
    entries: Vec<Entry<Content<Value>>>,
    /// The places in `entries` from which the log comes once more.
    replays: Vec<usize>,
    additions: String,
    expected: Option<Value>,
    expected_expiry: Option<Option<f64>>,
    has_record_errors: bool,
}

struct Copied {
    content: Option<Content<Value>>,
    expires_at: Option<WallTime>,
    stamp: Stamp,
}

impl Vector {
    pub(crate) fn read(json: &Json) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
        let starts: Vec<usize> = list("transactions").iter().map(index).collect();
        let all = list("entries");
        let mut writes = Writes::default();
        let entries = all.iter().enumerate().map(|(place, json)| {
            if starts.contains(&place) {
                writes.end_transaction();
            }
            let bytes = tagged::ordered(&json["value"]).to_string();
            let kind = json["type"].as_str().expect("a type");
            let content = || ContentHash::new(kind.as_bytes()[0]).with(bytes.as_bytes());
            let write = writes.note(("t", b"k"), true, content);
            Entry {
                version: version(json),
                origin: origin(json),
                expires_at: expiry(json),
                digest: write.digest,
                repeats: write.repeats,
                action: action(kind, json.get("value")),
            }
        });
        let entries = entries.collect();
        let expect = &json["expect"];
        let is_as_publisher = expect["replica"] == "as publisher";
        let row = if is_as_publisher {
            &expect["publisher"]
        } else {
            &expect["replica"]
        };
        let is_expiry_told = json.get("copy").is_none()
            && expect.get("because").is_none()
            && json["kind"] != "several-in-one-transaction";
        Self {
            name: text("name"),
            kind: text("kind"),
            copies: list("copy").iter().map(Copied::read).collect(),
            entries,
            replays: list("replays").iter().map(index).collect(),
            additions: text("additions"),
            expected: row
                .get("value")
                .map(tagged::value)
                .filter(|value| *value != Value::Null),
            expected_expiry: (is_expiry_told && expect.get("expiresAt").is_some())
                .then(|| expect["expiresAt"].as_f64()),
            has_record_errors: expect["recordErrors"] == true,
        }
    }

    /// Whether it is for the additions of 2026.
    pub(crate) fn applies(&self) -> bool {
        self.additions != "2025" || !matches!(self.kind.as_str(), "odd-values" | "picked")
    }

    pub(crate) fn check_rules(&self) -> Result<(), String> {
        let mut row = Row::default();
        for copied in &self.copies {
            row.apply_copied(copied.content.clone(), copied.expires_at, &copied.stamp);
        }
        let mut errors = 0;
        for start in std::iter::once(0).chain(self.replays.iter().copied()) {
            for entry in &self.entries[start..] {
                errors += usize::from(row.apply(entry).is_err());
            }
        }
        let found = row.content().map(value_of);
        let is_same = match (&found, &self.expected) {
            (Some(found), Some(expected)) => tagged::same(found, expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        if !is_same {
            return Err(format!("{found:?}, not {:?}", self.expected));
        }
        if (errors > 0) != self.has_record_errors {
            return Err(format!("{errors} record errors"));
        }
        let expires_at = row.expires_at().map(|WallTime(time)| time);
        match self.expected_expiry {
            Some(expected) if row.content().is_some() && expected != expires_at => {
                Err(format!("it expires at {expires_at:?}, not {expected:?}"))
            }
            _ => Ok(()),
        }
    }
}

impl Copied {
    fn read(json: &Json) -> Self {
        Self {
            content: content(json.get("value")),
            expires_at: expiry(json),
            stamp: Stamp {
                version: version(json),
                origin: origin(json),
            },
        }
    }
}

fn index(json: &Json) -> usize {
    json.as_u64().expect("an index") as usize
}

fn version(json: &Json) -> WallTime {
    let bits = json["version"]["bits"].as_str().expect("bits");
    WallTime(f64::from_bits(u64::from_str_radix(bits, 16).expect("hex")))
}

fn origin(json: &Json) -> replproto_core::Name {
    json["origin"].as_str().expect("an origin").into()
}

fn expiry(json: &Json) -> Option<WallTime> {
    json["expiresAt"].as_f64().map(WallTime)
}

fn content(json: Option<&Json>) -> Option<Content<Value>> {
    Some(match tagged::value(json?) {
        Value::Null => return None,
        Value::Object(fields) => Content::Object(Fields::from(fields)),
        other => Content::Other(other),
    })
}

fn value_of(content: &Content<Value>) -> Value {
    match content {
        Content::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect(),
        ),
        Content::Other(value) => value.clone(),
    }
}

fn action(kind: &str, value: Option<&Json>) -> Action<Content<Value>> {
    match kind {
        "put" => Action::Put(content(value)),
        "patch" => Action::Patch(content(value).unwrap_or_else(|| Content::from(Vec::new()))),
        "delete" => Action::Delete,
        "invalidate" => Action::Invalidate(content(value)),
        "message" => Action::Message,
        "relocate" => Action::Relocate,
        other => panic!("unknown type {other}"),
    }
}
