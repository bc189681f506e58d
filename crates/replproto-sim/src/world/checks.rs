//! What is compared with the source: the durable prefix at every commit, everything at the end.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::event::{BlobFailure, BlobFault};
use replproto_core::wire::Message;
use replproto_core::{AbortReason, BlobId, Name, Stats};

use super::World;
use crate::faults::{Fault, Faults};
use crate::oracles::{Result, hold};
use crate::source::File;

/// What is remembered for the comparison.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Up to here the log was found in the store.
    checked: usize,
    /// The files that were reported as gone.
    pub(super) gone: BTreeSet<File>,
    /// Those of them that the source did not say to be gone.
    pub(super) given_up: BTreeSet<File>,
    /// The links on which a blob has failed at the source.
    failed_on: BTreeMap<Name, BTreeSet<u64>>,
    /// Links that have counted a failure and ended before the event that says so was handed out.
    untold: BTreeSet<u64>,
    /// Failures that this link has told of.
    pub(super) told: u64,
    /// What was in the log before this position may have come by a copy, without what was gone again by then.
    pub(super) copied: f64,
    /// What was confirmed last, on any link.
    confirmed: f64,
    /// The publisher sends anything: what is stored cannot be compared with what it has.
    pub(super) is_hostile: bool,
    /// The host may not come to hear of a failure before its link ends.
    is_busy: bool,
}

impl Checks {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            is_hostile: faults.has(Fault::Hostile),
            is_busy: faults.has(Fault::Busy),
            ..Self::default()
        }
    }

    /// The store is empty again.
    pub(super) fn forget(&mut self) {
        *self = Self {
            is_hostile: false,
            copied: self.copied,
            is_busy: self.is_busy,
            ..Self::default()
        };
    }
}

impl World {
    /// A blob is gone only if the source says so, or has failed to read it on enough links.
    pub(super) fn check_failure(&mut self, failure: &BlobFailure, is_gone: bool) -> Result {
        self.checks.told += 1;
        let file = failure.file.as_str();
        let was_gone = File::read(file).is_some_and(|file| self.checks.gone.contains(&file));
        let is_local = matches!(failure.fault, BlobFault::Local { .. });
        hold("blobs", !(is_local && is_gone), || {
            format!("blob {file} is gone for our own fault")
        })?;
        if is_local || self.checks.is_hostile {
            return Ok(());
        }
        let is_known = File::read(file).is_some_and(|file| self.source.has_had(file));
        hold("blobs", is_known, || {
            format!("blob {file} was waited for, and no record refers to it")
        })?;
        if let BlobFault::Source { code, status, .. } = &failure.fault
            && (code.is_some() || matches!(status, Some(404 | 500)))
        {
            return hold("blobs", is_gone, || {
                format!("blob {file} is gone at the source, and is tried again")
            });
        }
        let links = self
            .checks
            .failed_on
            .entry(failure.file.clone())
            .or_default();
        links.insert(self.epoch);
        let counted = links.union(&self.checks.untold).count();
        let tries = self.config.limits.blob_tries as usize;
        let comes_no_more = was_gone && failure.fault == BlobFault::Idle;
        hold(
            "blobs",
            !is_gone || self.checks.is_busy || counted >= tries || comes_no_more,
            || format!("blob {} is gone after {counted} links", failure.file),
        )
    }

    /// A link counts a failure when it drops what has come, and may end before it hands out the event that says so.
    pub(super) fn note_abort(&mut self, blob: BlobId, why: AbortReason) {
        let host = self.host.as_ref();
        let file = host.and_then(|host| host.blobs.get(&blob)?.file);
        if let Some(file) = file.filter(|_| why != AbortReason::Close) {
            let file = Name::from(file.to_string().as_str());
            let links = self.checks.failed_on.entry(file).or_default();
            links.insert(self.epoch);
        }
    }

    /// A link is over. What the application did not take before its end it was not told.
    pub(super) fn note_untold(&mut self, stats: &Stats) {
        let told = std::mem::take(&mut self.checks.told);
        if stats.blobs_held + stats.blobs_gone > told {
            self.checks.untold.insert(self.epoch);
        }
    }

    pub(super) fn has_converged(&self) -> bool {
        let Some(host) = &self.host else {
            return false;
        };
        host.receiver.is_idle()
            && self.network.is_empty()
            && self.peer.is_caught_up(&self.source)
            && !self.disk.is_busy()
            && self.store.sequence() >= self.source.head()
    }

    /// What is still missing.
    pub(super) fn pending(&self) -> String {
        let Some(host) = &self.host else {
            return "a link".into();
        };
        format!(
            "cursor {:?} of {}, busy disk: {}, network empty: {}, peer caught up: {}, paused for {}, {} events and {} commits out",
            self.store.cursor(),
            self.source.head(),
            self.disk.is_busy(),
            self.network.is_empty(),
            self.peer.is_caught_up(&self.source),
            host.receiver.pause_reasons(),
            host.receiver.events_out(),
            host.receiver.commits_out(),
        )
    }

    /// What is confirmed is durable, and never less than on an earlier link.
    pub(super) fn check_confirmation(&mut self, message: &[u8]) -> Result {
        let Ok(Message::CommittedUpdate(sequence)) = Message::decode(message) else {
            return Ok(());
        };
        let (confirmed, before, durable) =
            (sequence.0, self.checks.confirmed, self.store.sequence());
        self.checks.confirmed = confirmed;
        let is_right = (before..=durable).contains(&confirmed) || self.checks.is_hostile;
        hold("durability", is_right, || {
            format!("{confirmed} is confirmed after {before}, and {durable} is durable")
        })
    }

    /// The store holds what the source holds.
    pub(super) fn check_equal(&self) -> Result {
        let (ours, theirs) = (self.store.sequence(), self.source.head());
        hold("completeness", ours == theirs, || {
            format!("the cursor is at {ours}, and the log ends at {theirs}")
        })?;
        let (ours, theirs) = (
            self.store.rows().collect::<Vec<_>>(),
            self.source.rows.iter().collect::<Vec<_>>(),
        );
        for (ours, theirs) in ours.iter().zip(&theirs) {
            hold("completeness", ours == theirs, || {
                format!("{ours:?} instead of {theirs:?}")
            })?;
        }
        let (ours, theirs) = (ours.len(), theirs.len());
        hold("completeness", ours == theirs, || {
            format!("{ours} rows instead of {theirs}")
        })?;
        if let Some(host) = &self.host {
            let held = host.receiver.retained_bytes();
            hold("bounds", held == 0, || {
                format!("{held} bytes are held for nothing")
            })?;
        }
        let files = self.source.rows.values().filter_map(|row| row.file);
        for file in files.filter(|file| !self.checks.gone.contains(file)) {
            hold("completeness", self.store.has_blob(file), || {
                format!("blob {file} is missing")
            })?;
        }
        Ok(())
    }

    /// Whether the blob was gone for a record of this version. For a later one it may come after all.
    fn is_gone_for(&self, file: File, version: f64) -> bool {
        let refused = self.peer.refused(file);
        self.checks.given_up.contains(&file)
            || (self.checks.gone.contains(&file) && refused.is_some_and(|newest| version <= newest))
    }

    /// Everything up to the durable cursor is durable, with its blobs.
    pub(super) fn check_prefix(&mut self) -> Result {
        if self.checks.is_hostile {
            return Ok(());
        }
        let end = self.source.after(self.store.sequence());
        for transaction in &self.source.log[self.checks.checked.min(end)..end] {
            for change in &transaction.changes {
                let version = self.store.version(&change.place);
                let newest = self.source.rows.get(&change.place);
                let is_superseded = newest.is_none_or(|row| row.version > transaction.sequence);
                let is_there = version.is_some_and(|version| version >= transaction.sequence);
                // What was gone before a copy began never comes.
                let is_passing = is_superseded && transaction.sequence <= self.checks.copied;
                hold("durability", is_there || is_passing, || {
                    format!(
                        "{:?} of {} is not durable",
                        change.place, transaction.sequence
                    )
                })?;
                let file = change.row.and_then(|row| row.file);
                if let Some(file) = file
                    && version == Some(transaction.sequence)
                {
                    let is_there = self.store.has_blob(file)
                        || self.is_gone_for(file, transaction.sequence)
                        || is_passing;
                    hold("durability", is_there, || {
                        format!("blob {file} is passed and not saved")
                    })?;
                }
            }
        }
        self.checks.checked = self.checks.checked.max(end);
        Ok(())
    }
}
