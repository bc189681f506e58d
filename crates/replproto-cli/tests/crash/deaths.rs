//! In what state the program died, as far as what it left tells.

use std::fs;
use std::path::Path;

use crate::world::{Happening, Progress, Shared};

/// How often each has been seen.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    pub(crate) before_the_dial: u32,
    pub(crate) in_the_set_up: u32,
    pub(crate) in_the_copy: u32,
    pub(crate) in_the_log: u32,
    pub(crate) between_commit_and_confirmation: u32,
    pub(crate) with_an_unfinished_blob: u32,
    pub(crate) with_a_torn_commit: u32,
    pub(crate) without_a_reader: u32,
}

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
            _ if !dialled => &mut self.before_the_dial,
            _ if !subscribed => &mut self.in_the_set_up,
            Progress::Log(_) => &mut self.in_the_log,
            _ => &mut self.in_the_copy,
        };
        *phase += 1;
        let is_unconfirmed = matches!(stored, Progress::Log(stored) if stored > confirmed);
        self.between_commit_and_confirmation += u32::from(is_unconfirmed);
        self.with_an_unfinished_blob += u32::from(unfinished(shared) > 0);
        self.with_a_torn_commit += u32::from(is_torn);
        self.without_a_reader += u32::from(is_alone);
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
