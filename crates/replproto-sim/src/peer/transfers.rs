//! The blobs that a connection is sending.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use replproto_core::wire::Message;
use replproto_core::wire::message::ChunkHeader;

use super::Manner;
use crate::faults::{Fault, Faults};
use crate::rng::Rng;
use crate::source::{Contents, File, Source};

/// A transfer that is under way.
#[derive(Debug)]
struct Transfer {
    file: File,
    id: Option<u64>,
    /// The last of them is missing if it hangs.
    chunks: VecDeque<Bytes>,
    hangs: bool,
    /// It says that the file is gone.
    is_refused: bool,
}

/// The files that were said to be gone, each with the newest version of a record that was told so.
pub(crate) type Refused = BTreeMap<File, f64>;

/// The transfers of one connection.
#[derive(Debug)]
pub(super) struct Transfers {
    manner: Manner,
    contents: Contents,
    transfers: Vec<Transfer>,
    next: u64,
    /// Of all connections so far.
    pub(super) refused: Refused,
}

impl Transfers {
    pub(super) const fn new(manner: Manner, contents: Contents) -> Self {
        Self {
            manner,
            contents,
            transfers: Vec::new(),
            next: 0,
            refused: Refused::new(),
        }
    }

    /// Whether everything was sent that ever will be.
    pub(super) fn are_done(&self) -> bool {
        self.transfers
            .iter()
            .all(|transfer| transfer.chunks.is_empty())
    }

    /// Begins to send the blob of a record of this version, unless it is being sent. Gives the transfer's id if it has one, and adds what went wrong.
    pub(super) fn begin(
        &mut self,
        file: File,
        version: f64,
        in_copy: bool,
        struck: &mut Faults,
        rng: &mut Rng,
    ) -> Option<u64> {
        let id = in_copy.then(|| self.next_id(file, struck));
        let is_same = |transfer: &&Transfer| transfer.id.is_none() && transfer.file == file;
        if id.is_none()
            && let Some(transfer) = self.transfers.iter().find(is_same)
        {
            if transfer.is_refused {
                self.refuse(file, version);
            }
            return None;
        }
        let content = self.contents.of(file);
        let header = ChunkHeader {
            file: file.to_string(),
            transfer: id,
            size: rng.chance(500).then_some(content.len() as u64),
            ..ChunkHeader::default()
        };
        let faults = self.manner.faults;
        let mut chunks = VecDeque::new();
        let mut rest = content;
        while rest.len() > 1 && rng.chance(800) {
            let longest = (rest.len() as u64 - 1).min(2500);
            let head = rest.split_to(rng.range(1, longest) as usize);
            chunks.push_back(chunk(header.clone(), head));
        }
        let finished = ChunkHeader {
            finished: true,
            ..header
        };
        let mut hangs = false;
        let is_gone = faults.has(Fault::Gone) && Source::is_gone(file);
        let is_away = faults.has(Fault::Revived) && rng.chance(300);
        let is_refused = is_gone || is_away;
        if is_gone {
            struck.add(Fault::Gone);
        } else if !is_away && self.refused.contains_key(&file) {
            struck.add(Fault::Revived);
        }
        let last = if is_refused {
            self.refuse(file, version);
            let kind = rng.below(3) as usize;
            chunk(
                ChunkHeader {
                    size: None,
                    error: Some("no such file".into()),
                    error_code: [None, Some("ENOENT".into()), None][kind].clone(),
                    error_status: [Some(404), None, Some(500)][kind],
                    ..finished
                },
                Bytes::new(),
            )
        } else if faults.has(Fault::FailingReads) && rng.below(self.manner.reads_per_failure) == 0 {
            struck.add(Fault::FailingReads);
            chunk(
                ChunkHeader {
                    size: None,
                    error: Some("busy".into()),
                    error_status: [Some(503), None][rng.below(2) as usize],
                    ..finished
                },
                Bytes::new(),
            )
        } else {
            hangs = rng.chance(60) && faults.has(Fault::Hang);
            chunk(finished, rest)
        };
        if hangs {
            struck.add(Fault::Hang);
        } else {
            chunks.push_back(last);
        }
        self.transfers.push(Transfer {
            file,
            id,
            chunks,
            hangs,
            is_refused,
        });
        id
    }

    /// The id of a transfer of a copy. One that is used again may belong to another file, or to one that was sent whole.
    fn next_id(&mut self, file: File, struck: &mut Faults) -> u64 {
        self.next += 1;
        let shared = 1 + self.next % 3;
        let mut transfers = self.transfers.iter();
        let is_taken = transfers.any(|it| it.file == file && it.id == Some(shared));
        if is_taken || !self.manner.faults.has(Fault::SharedTransfers) {
            // None of those that are shared.
            return 3 + self.next;
        }
        struck.add(Fault::SharedTransfers);
        shared
    }

    fn refuse(&mut self, file: File, version: f64) {
        let newest = self.refused.entry(file).or_insert(version);
        *newest = newest.max(version);
    }

    /// A chunk of any transfer; those of one come in order.
    pub(super) fn chunk(&mut self, rng: &mut Rng) -> Option<Bytes> {
        if self.transfers.is_empty() {
            return None;
        }
        let first = rng.below(self.transfers.len() as u64) as usize;
        // The next that does not hang.
        let count = self.transfers.len();
        let mut candidates = (first..count).chain(0..first);
        let at = candidates.find(|at| !self.transfers[*at].chunks.is_empty())?;
        let transfer = &mut self.transfers[at];
        let chunk = transfer.chunks.pop_front();
        if transfer.chunks.is_empty() && !transfer.hangs {
            self.transfers.remove(at);
        }
        chunk
    }
}

fn chunk(header: ChunkHeader, body: Bytes) -> Bytes {
    Message::BlobChunk { header, body }.encode().into()
}
