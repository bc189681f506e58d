//! Events on their way to the sink's thread, with what can be done before they get there.

use replproto_core::{Event, Record};

use crate::decode::{self, Undecodable};

/// A batch is sent off when it has so many bytes of decoded records: enough to make up for waking the other thread, and
/// little enough that both threads are at work soon.
const BYTES: usize = 64 << 10;

/// The same in events, most of which may have nothing to decode.
const EVENTS: usize = 256;

/// Some events, with their records decoded. To write to SQLite takes one thread all its time when a link catches up, and
/// decoding would take as much of it as a third; so it is done where the events come from, while the thread is busy with
/// the batch before.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) decoded: Texts,
}

/// Decoded records in order.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The id and the value of each.
    text: String,
    records: Vec<Result<Ends, Undecodable>>,
}

/// Where the texts of a record end in the text of all.
#[derive(Clone, Copy, Debug)]
struct Ends {
    id: usize,
    value: usize,
}

/// The decoded form of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// The id as tagged JSON.
    pub(super) id: &'a str,
    /// The value as JSON; empty if there is none.
    value: &'a str,
}

impl<'a> Text<'a> {
    /// The value, or what stands for a value that is not there.
    pub(super) const fn value_or(&self, absent: &'static str) -> &'a str {
        if self.value.is_empty() {
            absent
        } else {
            self.value
        }
    }
}

impl Batch {
    /// The next batch of these events; `None` if none is left.
    pub(super) fn of(events: &mut impl Iterator<Item = Event>) -> Option<Self> {
        let mut batch = Self::default();
        while batch.events.len() < EVENTS && batch.decoded.text.len() < BYTES {
            let Some(event) = events.next() else {
                break;
            };
            if let Event::Records(records) = &event {
                for record in records {
                    batch.decoded.push(&record);
                }
            }
            batch.events.push(event);
        }
        (!batch.events.is_empty()).then_some(batch)
    }
}

impl Texts {
    fn push(&mut self, record: &Record<'_>) {
        let before = self.text.len();
        let decoded = decode::append(record, &mut self.text);
        self.records.push(decoded.map(|length| Ends {
            id: before + length,
            value: self.text.len(),
        }));
    }

    /// One for each record, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Text<'_>, &Undecodable>> {
        let mut end = 0;
        self.records.iter().map(move |ends| {
            let Ends { id, value } = *ends.as_ref()?;
            let before = std::mem::replace(&mut end, value);
            Ok(Text {
                id: &self.text[before..id],
                value: &self.text[id..value],
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{end, put, records};

    fn texts(batch: &Batch) -> Vec<Option<(&str, &str)>> {
        let texts = batch.decoded.iter();
        texts
            .map(|text| text.ok().map(|text| (text.id, text.value_or("absent"))))
            .collect()
    }

    #[test]
    fn each_record_has_its_texts_and_one_that_cannot_be_read_leaves_nothing() {
        let mut events = records(&[
            put("a", 1.0, &[("n", 1.0)]),
            put("b", 1.0, &[]).with(1, vec![0x91, 0xc1]),
            put("c", 1.0, &[]).with(1, Vec::new()),
        ]);
        events.insert(1, end(None));
        events.extend(records(&[put("d", 1.0, &[("n", 4.0)])]));
        let batch = Batch::of(&mut events.into_iter()).unwrap();
        assert_eq!(batch.events.len(), 5);
        assert_eq!(
            texts(&batch),
            [
                Some(("\"a\"", r#"{"n":1}"#)),
                None,
                Some(("\"c\"", "absent")),
                Some(("\"d\"", r#"{"n":4}"#)),
            ]
        );
    }

    #[test]
    fn a_batch_is_bounded_in_events_and_in_bytes() {
        let small = vec![end(None); EVENTS + 1];
        let mut events = small.into_iter();
        let mut sizes = std::iter::from_fn(|| Batch::of(&mut events));
        assert_eq!(sizes.next().unwrap().events.len(), EVENTS);
        assert_eq!(sizes.next().unwrap().events.len(), 1);
        assert!(sizes.next().is_none());

        let name = "x".repeat(BYTES / 2);
        let large = records(&vec![put("a", 1.0, &[(&name, 1.0)]); 5]);
        let mut events = large.into_iter();
        let sizes = std::iter::from_fn(|| Batch::of(&mut events));
        let sizes: Vec<usize> = sizes.map(|batch| batch.events.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
