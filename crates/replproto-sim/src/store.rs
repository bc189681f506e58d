//! What is durable at the receiver: rows, tombstones, blobs and the cursor. It outlives every crash.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::Cursor;

use crate::source::{File, Place, Row};

/// What a transaction does to the store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A change of a row: its version, and what it holds then. In a base copy also the copy's pass.
    Apply {
        place: Place,
        version: f64,
        row: Option<Row>,
        pass: Option<u64>,
    },
    /// A copy begins from nothing: the stored cursor must not lead back into an earlier one.
    Forget,
    /// The copy of this pass is complete: what it has not brought is gone at the source.
    Sweep { pass: u64 },
}

impl Step {
    /// The blob that this refers to.
    pub(crate) const fn file(&self) -> Option<File> {
        match self {
            Self::Apply { row: Some(row), .. } => row.file,
            _ => None,
        }
    }
}

/// Steps that become durable together, with the cursor.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) steps: Vec<Step>,
    pub(crate) cursor: Option<Cursor>,
    /// The order in which jobs were made, over all links: an older cursor never replaces a newer one.
    pub(crate) order: u64,
}

#[derive(Debug)]
struct Kept {
    version: f64,
    /// `None`: a tombstone.
    row: Option<Row>,
    /// The copy that has brought it last.
    pass: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: BTreeMap<Place, Kept>,
    blobs: BTreeSet<File>,
    cursor: Option<Cursor>,
    cursor_order: u64,
}

impl Store {
    pub(crate) const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Everything up to here is durable; 0 without a cursor.
    pub(crate) fn sequence(&self) -> f64 {
        self.cursor.as_ref().map_or(0.0, |cursor| cursor.sequence.0)
    }

    /// A job becomes durable.
    pub(crate) fn commit(&mut self, job: Job) {
        for step in job.steps {
            match step {
                Step::Apply {
                    place,
                    version,
                    row,
                    pass,
                } => self.apply(place, version, row, pass),
                Step::Forget => {
                    if job.order > self.cursor_order
                        && let Some(cursor) = &mut self.cursor
                    {
                        cursor.copy = None;
                        self.cursor_order = job.order;
                    }
                }
                Step::Sweep { pass } => self
                    .kept
                    .retain(|_, kept| kept.row.is_none() || kept.pass == Some(pass)),
            }
        }
        if let Some(cursor) = job.cursor
            && job.order >= self.cursor_order
        {
            self.cursor = Some(cursor);
            self.cursor_order = job.order;
        }
    }

    fn apply(&mut self, place: Place, version: f64, row: Option<Row>, pass: Option<u64>) {
        let kept = self.kept.entry(place).or_insert(Kept {
            version,
            row: None,
            pass: None,
        });
        kept.pass = pass.or(kept.pass);
        if version >= kept.version {
            kept.version = version;
            kept.row = row;
        }
    }

    pub(crate) fn save_blob(&mut self, file: File) {
        self.blobs.insert(file);
    }

    pub(crate) fn has_blob(&self, file: File) -> bool {
        self.blobs.contains(&file)
    }

    /// The rows, without the tombstones.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Place, &Row)> {
        self.kept
            .iter()
            .filter_map(|(place, kept)| Some((place, kept.row.as_ref()?)))
    }

    /// The newest version that is known of a place, deleted or not.
    pub(crate) fn version(&self, place: &Place) -> Option<f64> {
        self.kept.get(place).map(|kept| kept.version)
    }
}
