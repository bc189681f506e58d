//! The application and its disk: what they take, write, and make durable.

use replproto_core::{BlobId, CommitId, Cursor, Epoch, Input};

use super::{Event, World};
use crate::faults::Fault;
use crate::host::Item;
use crate::oracles::{Result, hold};
use crate::source::Source;
use crate::store::{Job, Step};

impl World {
    pub(super) fn blob_chunk(&mut self, blob: BlobId, bytes: &[u8], last: bool) {
        let Some(host) = &mut self.host else {
            return;
        };
        let Some(written) = host.blobs.get_mut(&blob) else {
            return;
        };
        written.content.extend_from_slice(bytes);
        let is_failing = written.is_failing;
        let delay = self.rng.range(1, 10_000);
        self.after(delay, Event::Written(blob, bytes.len() as u64));
        if last || (is_failing && self.rng.chance(300)) {
            let delay = delay + self.rng.range(1, 10_000);
            self.after(delay, Event::Settled(blob));
        }
    }

    pub(super) fn blob_settled(&mut self, blob: BlobId) -> Result {
        let Some(settled) = self.host.as_mut().and_then(|host| host.blobs.remove(&blob)) else {
            // Aborted meanwhile, or of an earlier link: the late answer must do no harm.
            return if blob.epoch < Epoch(self.epoch) {
                self.input(Input::BlobSaved(blob))
            } else {
                Ok(())
            };
        };
        if settled.is_failing {
            return self.input(Input::BlobFailed {
                blob,
                why: "disk full".into(),
            });
        }
        let is_right = settled.content == Source::content(&settled.file, self.options.blob_bytes);
        hold("blobs", is_right, || {
            format!("blob {} has other bytes than its source", settled.file)
        })?;
        self.store.save_blob(settled.file, settled.content);
        self.input(Input::BlobSaved(blob))
    }

    pub(super) fn consume(&mut self) -> Result {
        self.is_consuming = false;
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let most = if self.faults.has(Fault::Slow) {
            self.coverage.strike(Fault::Slow);
            1
        } else {
            self.rng.range(1, 200)
        };
        let events = most.min(host.queue.len() as u64);
        let items: Vec<Item> = host.queue.drain(..events as usize).collect();
        self.input(Input::Consumed { events })?;
        for item in items {
            self.apply(item);
        }
        Ok(())
    }

    fn apply(&mut self, item: Item) {
        let Some(host) = &mut self.host else {
            return;
        };
        match item {
            Item::Change(step) => host.staged.push(step),
            Item::Commit { id, cursor } => {
                let steps = std::mem::take(&mut host.staged);
                let forgets = steps.iter().any(|step| matches!(step, Step::Forget));
                self.begin_job(id, steps, cursor, forgets);
            }
            Item::CopyCompleted { id, cursor, pass } => {
                self.begin_job(id, vec![Step::Sweep { pass }], Some(cursor), true);
            }
            Item::Other => {}
        }
    }

    /// Something begins to become durable. Nothing overtakes a `barrier`, and it overtakes nothing.
    fn begin_job(&mut self, id: CommitId, steps: Vec<Step>, cursor: Option<Cursor>, barrier: bool) {
        self.next_job += 1;
        let order = self.next_job;
        let mut at =
            (self.now + self.rng.range(1, self.options.disk_micros)).max(self.durable_after);
        if barrier || !self.faults.has(Fault::Reorder) {
            at = at.max(self.last_durable);
            self.durable_after = at;
        } else if at < self.last_durable {
            self.coverage.strike(Fault::Reorder);
        }
        self.last_durable = at.max(self.last_durable);
        self.jobs.insert(
            order,
            (
                id,
                Job {
                    steps,
                    cursor,
                    order,
                },
            ),
        );
        self.after(at - self.now, Event::Durable(order));
    }

    pub(super) fn durable(&mut self, order: u64) -> Result {
        // A crash may have taken it.
        let Some((id, job)) = self.jobs.remove(&order) else {
            return Ok(());
        };
        let before = self.store.sequence();
        self.store.commit(job);
        if self.store.sequence() > before {
            self.backoff.cursor_advanced();
        }
        self.check_prefix()?;
        let delay = self.rng.range(
            0,
            if self.faults.has(Fault::Reorder) {
                50_000
            } else {
                100
            },
        );
        self.after(delay, Event::Committed(id));
        Ok(())
    }
}
