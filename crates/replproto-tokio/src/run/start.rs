//! Where a link goes on, and whether what the sink has is good for it.

use replproto_core::{Cursor, Epoch, Selection, Start, StoredCursor};

use super::options::OnWider;
use super::{RunError, Runner};
use crate::blobs::BlobStore;
use crate::journal::line;
use crate::link::{LinkConfig, Opening};
use crate::sink::{Sink, Stored};

impl<S: Sink, B: BlobStore> Runner<'_, S, B> {
    /// The configuration of the next link, and where it goes on.
    pub(super) fn prepare(
        &mut self,
        epoch: Epoch,
        stored: Stored,
    ) -> Result<(LinkConfig, Opening), RunError<S::Error>> {
        let mut config = self.link.clone();
        config.core.on_gap = self.options.on_gap.of_link();
        let start = self.choose_start(&mut config, stored)?;
        self.durable = match &start {
            Start::Resume(cursor) => Some(cursor.clone()),
            _ => None,
        };
        let cursor = self.durable.clone();
        self.tell(|snapshot| snapshot.cursor = cursor);
        let opening = Opening {
            epoch,
            blob_tries: self.blob_tries.clone(),
            ..Opening::from(start)
        };
        Ok((config, opening))
    }

    fn choose_start(
        &self,
        config: &mut LinkConfig,
        stored: Stored,
    ) -> Result<Start, RunError<S::Error>> {
        let configured = self.start.clone();
        if self.ignores_cursor {
            return Ok(configured);
        }
        // A cursor means nothing to a publisher of another name.
        let has_cursor = !matches!(stored.cursor, StoredCursor::Absent);
        match (stored.peer, &config.core.peer_name) {
            (Some(stored), Some(expected)) if has_cursor && stored != *expected => {
                let expected = expected.clone();
                return Err(RunError::OtherPublisher { stored, expected });
            }
            (Some(stored), None) => config.expect_peer(stored),
            _ => {}
        }
        match Start::choose(stored.cursor, configured)? {
            Start::Resume(cursor) => self.if_good_for(cursor, &Selection::of(&config.core)),
            start => Ok(start),
        }
    }

    /// The cursor, if it is good for all that is to be followed (`protocol.md` section 15, ruling 27).
    fn if_good_for(
        &self,
        cursor: Cursor,
        selection: &Selection,
    ) -> Result<Start, RunError<S::Error>> {
        let journal = &self.shared.journal;
        let left = cursor.selection().beyond(selection);
        if !left.is_empty() {
            line!(
                journal,
                "narrower",
                warn,
                %left,
                "less is followed than the stored cursor was made for: the store keeps the rest as it is, and it grows old"
            );
        }
        let added = selection.beyond(cursor.selection());
        if added.is_empty() {
            return Ok(Start::Resume(cursor));
        }
        match self.options.on_wider {
            OnWider::Copy => {
                line!(
                    journal,
                    "wider",
                    warn,
                    %added,
                    "more is followed than the stored cursor was made for: a complete base copy is asked for"
                );
                Ok(Start::Copy)
            }
            OnWider::Ignore => {
                line!(
                    journal,
                    "wider",
                    warn,
                    %added,
                    "more is followed than the stored cursor was made for: what is older than the cursor stays missing; `--on-wider copy` would have brought it"
                );
                Ok(Start::Resume(cursor))
            }
            OnWider::Refuse => Err(RunError::Wider(added)),
        }
    }
}
