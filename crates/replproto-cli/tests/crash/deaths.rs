//! In what state the program died, as far as what it left tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::world::{Happening, Progress, Shared};

/// A kind of death. One may be of several kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    BeforeTheDial,
    InTheSetUp,
    InTheCopy,
    InTheLog,
    BetweenCommitAndConfirmation,
    WithAnUnfinishedBlob,
    WithATornCommit,
    WithoutAReader,
}

impl Death {
    /// Those that a whole test must have seen: it can bring each of them about, however slow the machine is.
    pub(crate) const NEEDED: [Self; 6] = [
        Self::BeforeTheDial,
        Self::InTheSetUp,
        Self::InTheCopy,
        Self::InTheLog,
        Self::BetweenCommitAndConfirmation,
        Self::WithAnUnfinishedBlob,
    ];
}

/// How often each has been seen.
#[derive(Debug, Default)]
pub(crate) struct Deaths(BTreeMap<Death, u32>);

impl Deaths {
    /// Takes note of one.
    pub(crate) fn note(
        &mut self,
        shared: &Shared,
        stored: Progress,
        is_torn: bool,
        is_alone: bool,
    ) {
        let (confirmed, dialled, subscribed) = shared.with(|world| {
            let count = |what| world.count(what) > 0;
            (
                world.confirmed,
                count(Happening::Accepted),
                count(Happening::Subscribed),
            )
        });
        let phase = match stored {
            _ if !dialled => Death::BeforeTheDial,
            _ if !subscribed => Death::InTheSetUp,
            Progress::Log(_) => Death::InTheLog,
            _ => Death::InTheCopy,
        };
        let is_unconfirmed = matches!(stored, Progress::Log(stored) if stored > confirmed);
        for (death, is_so) in [
            (phase, true),
            (Death::BetweenCommitAndConfirmation, is_unconfirmed),
            (Death::WithAnUnfinishedBlob, unfinished(shared) > 0),
            (Death::WithATornCommit, is_torn),
            (Death::WithoutAReader, is_alone),
        ] {
            if is_so {
                *self.0.entry(death).or_default() += 1;
            }
        }
    }

    pub(crate) fn has_seen(&self, death: Death) -> bool {
        self.0.contains_key(&death)
    }
}

/// How many blobs are unfinished.
pub(crate) fn unfinished(shared: &Shared) -> usize {
    let entries = fs::read_dir(shared.blobs.join("%tmp"))
        .into_iter()
        .flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".part")).count()
}

/// Whether SQLite's log ends with pages of a transaction that was not committed: each page comes after 24 bytes, of which
/// the second four are not zero in the last page of a transaction, and the next eight are those of the log's own head.
pub(crate) fn is_torn(file: &Path) -> bool {
    let Ok(log) = fs::read(file.with_extension("db-wal")) else {
        return false;
    };
    if log.len() < 32 {
        return false;
    }
    let page = u32::from_be_bytes([log[8], log[9], log[10], log[11]]) as usize;
    let mut is_open = false;
    for frame in log[32..].chunks_exact(24 + page) {
        if frame[8..16] != log[16..24] {
            break;
        }
        is_open = frame[4..8] == [0; 4];
    }
    is_open
}
