//! One vector: the entries of a record, and what they come to.

use replproto_core::replica::{Action, Content, ContentHash, Entry, Row, Stamp, Writes};
use replproto_core::value::Value;
use replproto_core::{RecordKind, WallTime};
use replproto_tests::tagged;
use serde_json::Value as Json;

pub(crate) struct Vector {
    pub(crate) name: String,
    kind: String,
    pub(crate) copies: Vec<Copied>,
    entries: Vec<Logged>,
    /// The places in `entries` at which transactions begin.
    starts: Vec<usize>,
    /// The places in `entries` from which the log comes once more.
    replays: Vec<usize>,
    additions: String,
    expected: Option<Value>,
    expected_expiry: Option<Option<f64>>,
    pub(crate) has_record_errors: bool,
    row: Row<Value>,
    is_refused: bool,
}

/// A row of a base copy.
pub(crate) struct Copied {
    pub(crate) value: Option<Value>,
    pub(crate) expires_at: Option<WallTime>,
    pub(crate) stamp: Stamp,
}

/// An entry of the log.
pub(crate) struct Logged {
    pub(crate) kind: RecordKind,
    pub(crate) value: Option<Value>,
    pub(crate) entry: Entry<Content<Value>>,
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
            let kind = kind(json["type"].as_str().expect("a type"));
            let value = json.get("value").map(tagged::value);
            let hash = || ContentHash::new(kind as u8).with(bytes.as_bytes());
            let write = writes.note(("t", b"k"), true, hash);
            let entry = Entry {
                version: version(json),
                origin: origin(json),
                expires_at: expiry(json),
                digest: write.digest,
                repeats: write.repeats,
                action: Action::of(kind, value.clone().and_then(Content::new)),
            };
            Logged { kind, value, entry }
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
        let mut vector = Self {
            name: text("name"),
            kind: text("kind"),
            copies: list("copy").iter().map(Copied::read).collect(),
            entries,
            starts,
            replays: list("replays").iter().map(index).collect(),
            additions: text("additions"),
            expected: row
                .get("value")
                .map(tagged::value)
                .filter(|value| *value != Value::Null),
            expected_expiry: (is_expiry_told && expect.get("expiresAt").is_some())
                .then(|| expect["expiresAt"].as_f64()),
            has_record_errors: expect["recordErrors"] == true,
            row: Row::default(),
            is_refused: false,
        };
        vector.play();
        vector
    }

    fn play(&mut self) {
        for copied in &self.copies {
            let content = copied.value.clone().and_then(Content::new);
            self.row
                .apply_copied(content, copied.expires_at, &copied.stamp);
        }
        for start in std::iter::once(0).chain(self.replays.iter().copied()) {
            for logged in &self.entries[start..] {
                self.is_refused |= self.row.apply(&logged.entry).is_err();
            }
        }
    }

    /// Whether it is for the additions of 2026.
    pub(crate) fn applies(&self) -> bool {
        self.additions != "2025" || !matches!(self.kind.as_str(), "odd-values" | "picked")
    }

    pub(crate) const fn transactions(&self) -> usize {
        self.starts.len()
    }

    /// The writes in it.
    pub(crate) fn stamps(&self) -> impl Iterator<Item = Stamp> {
        let copied = self.copies.iter().map(|copied| copied.stamp.clone());
        copied.chain(self.entries.iter().map(|Logged { entry, .. }| Stamp {
            version: entry.version,
            origin: entry.origin.clone(),
        }))
    }

    /// The entries of a transaction.
    pub(crate) fn transaction(&self, number: usize) -> &[Logged] {
        let end = self.starts.get(number + 1).copied();
        &self.entries[self.starts[number]..end.unwrap_or(self.entries.len())]
    }

    /// The row by the rules alone, after the replays that the vector names.
    pub(crate) const fn row(&self) -> &Row<Value> {
        &self.row
    }

    /// Whether the rules refuse an entry.
    pub(crate) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Checks a row against the one that is expected.
    pub(crate) fn check(
        &self,
        found: Option<&Value>,
        expires_at: Option<f64>,
    ) -> Result<(), String> {
        let is_same = match (found, &self.expected) {
            (Some(found), Some(expected)) => {
                let [found, expected] = [found, expected].map(tagged::as_written);
                tagged::same(&found, &expected)
            }
            (found, expected) => found.is_none() && expected.is_none(),
        };
        if !is_same {
            return Err(format!("{found:?}, not {:?}", self.expected));
        }
        match self.expected_expiry {
            Some(expected) if found.is_some() && expected != expires_at => {
                Err(format!("it expires at {expires_at:?}, not {expected:?}"))
            }
            _ => Ok(()),
        }
    }
}

impl Copied {
    fn read(json: &Json) -> Self {
        Self {
            value: json.get("value").map(tagged::value),
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

fn kind(name: &str) -> RecordKind {
    match name {
        "put" => RecordKind::Put,
        "patch" => RecordKind::Patch,
        "delete" => RecordKind::Delete,
        "invalidate" => RecordKind::Invalidate,
        "message" => RecordKind::Message,
        "relocate" => RecordKind::Relocate,
        other => panic!("unknown type {other}"),
    }
}
