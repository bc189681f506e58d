//! The application and its disk: what they take, write, and make durable.

use std::collections::{BTreeMap, VecDeque};

use replproto_core::{BlobId, CommitId, Cursor, Input};

use super::{Event, World};
use crate::faults::Fault;
use crate::host::{Blob, Item};
use crate::oracles::{Result, hold};
use crate::source::File;
use crate::store::{Job, Step};

/// A commit that waits for its blobs.
#[derive(Debug)]
struct Gated {
    id: CommitId,
    steps: Vec<Step>,
    cursor: Option<Cursor>,
}

/// What is on its way to being durable.
#[derive(Debug, Default)]
pub(super) struct Disk {
    jobs: BTreeMap<u64, (CommitId, Job)>,
    /// Nothing behind the first of them begins.
    gated: VecDeque<Gated>,
    next_job: u64,
    /// No job becomes durable before.
    durable_after: u64,
    /// When the last of the jobs becomes durable.
    last_durable: u64,
    /// No blob can be saved before.
    pub(super) full_until: u64,
}

impl Disk {
    /// Whether anything is being made durable.
    pub(super) fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// The application of a link that is over commits nothing more.
    pub(super) fn forget_gated(&mut self) {
        self.gated.clear();
    }

    pub(super) fn crash(&mut self) {
        self.jobs.clear();
        self.gated.clear();
        self.durable_after = 0;
        self.last_durable = 0;
    }
}

impl World {
    pub(super) fn open_blob(&mut self, blob: BlobId, file: &str) {
        let saves = self.drawn.saves_per_failure;
        let fails = self.dice.disk.below(saves) == 0 && self.faults.has(Fault::FailingSaves);
        if fails {
            self.coverage.strike(Fault::FailingSaves);
        }
        let is_full = self.faults.has(Fault::FullDisk) && self.now < self.disk.full_until;
        if is_full {
            self.coverage.strike(Fault::FullDisk);
        }
        if let Some(host) = &mut self.host {
            let written = Blob {
                file: File::read(file),
                content: Vec::new(),
                is_failing: fails || is_full,
                is_settling: false,
            };
            host.blobs.insert(blob, written);
        }
    }

    pub(super) fn blob_chunk(&mut self, blob: BlobId, bytes: &[u8], last: bool) {
        let Some(written) = self
            .host
            .as_mut()
            .and_then(|host| host.blobs.get_mut(&blob))
        else {
            return;
        };
        written.content.extend_from_slice(bytes);
        let breaks = written.is_failing && !written.is_settling && self.dice.disk.chance(300);
        let settles = last || breaks;
        written.is_settling |= settles;
        let slowest = self.slowest_write();
        let delay = self.dice.disk.range(1, slowest);
        self.after(delay, Event::Written(blob, bytes.len() as u64));
        if settles {
            let delay = delay + self.dice.disk.range(1, slowest);
            self.after(delay, Event::Settled(blob));
        }
    }

    /// How long the disk takes at most for a piece of work on a blob, in microseconds.
    fn slowest_write(&mut self) -> u64 {
        if !self.faults.has(Fault::SlowDisk) {
            return 10_000;
        }
        self.coverage.strike(Fault::SlowDisk);
        2_000_000
    }

    /// The blob is thrown away, which takes its time. If its failure is on its way already, that is the answer.
    pub(super) fn abort_blob(&mut self, blob: BlobId) {
        let slowest = self.slowest_write();
        let blobs = self.host.as_mut().map(|host| &mut host.blobs);
        let Some(written) = blobs.and_then(|blobs| blobs.get_mut(&blob)) else {
            return;
        };
        if !std::mem::replace(&mut written.is_settling, true) {
            let delay = self.dice.disk.range(1, slowest);
            self.after(delay, Event::Aborted(blob));
        }
    }

    pub(super) fn blob_aborted(&mut self, blob: BlobId) -> Result {
        if let Some(host) = &mut self.host {
            host.blobs.remove(&blob);
        }
        self.acknowledge(blob.epoch, &Input::BlobAborted(blob))
    }

    pub(super) fn blob_settled(&mut self, blob: BlobId) -> Result {
        let Some(host) = &mut self.host else {
            return self.acknowledge(blob.epoch, &Input::BlobSaved(blob));
        };
        let Some(settled) = host.blobs.remove(&blob) else {
            // Of an earlier link: the late answer must do no harm.
            return self.acknowledge(blob.epoch, &Input::BlobSaved(blob));
        };
        if settled.is_failing {
            return self.input(Input::BlobFailed {
                blob,
                why: "disk full".into(),
            });
        }
        let is_tainted = host.is_tainted;
        let content = settled.file.map(|file| self.contents.of(file));
        let is_right = content.is_some_and(|content| content == settled.content);
        hold("blobs", is_right || is_tainted, || {
            format!("blob {:?} has other bytes than its source", settled.file)
        })?;
        if let Some(file) = settled.file {
            self.store.save_blob(file);
        }
        self.open_gate();
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
            self.dice.disk.range(1, 200)
        };
        let events = most.min(host.queue.len() as u64);
        let items: Vec<Item> = host.queue.drain(..events as usize).collect();
        host.release(events);
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
        let gated = match item {
            Item::Change(step) => return host.staged.push(step),
            Item::Commit { id, cursor } => Gated {
                id,
                steps: std::mem::take(&mut host.staged),
                cursor,
            },
            Item::CopyCompleted { id, cursor, pass } => Gated {
                id,
                steps: vec![Step::Sweep { pass }],
                cursor: Some(cursor),
            },
            Item::Other => return,
        };
        self.disk.gated.push_back(gated);
        self.open_gate();
    }

    /// Begins the jobs that wait for nothing.
    pub(super) fn open_gate(&mut self) {
        let is_gated = self.faults.has(Fault::Gate);
        while let Some(Gated { id, steps, cursor }) = self.disk.gated.pop_front() {
            let is_missing =
                |file: File| !self.store.has_blob(file) && !self.checks.gone.contains(&file);
            if is_gated && steps.iter().filter_map(Step::file).any(is_missing) {
                self.coverage.strike(Fault::Gate);
                self.disk.gated.push_front(Gated { id, steps, cursor });
                return;
            }
            self.begin_job(id, steps, cursor);
        }
    }

    /// Something begins to become durable. Nothing overtakes what touches more than its own rows, and it overtakes nothing.
    fn begin_job(&mut self, id: CommitId, steps: Vec<Step>, cursor: Option<Cursor>) {
        self.disk.next_job += 1;
        let order = self.disk.next_job;
        let is_barrier = steps.iter().any(|step| !matches!(step, Step::Apply { .. }));
        let took = self.dice.disk.range(1, self.options.disk_micros);
        let mut at = (self.now + took).max(self.disk.durable_after);
        if is_barrier || !self.faults.has(Fault::Reorder) {
            at = at.max(self.disk.last_durable);
            self.disk.durable_after = at;
        } else if at < self.disk.last_durable {
            self.coverage.strike(Fault::Reorder);
        }
        self.disk.last_durable = at.max(self.disk.last_durable);
        let job = Job {
            steps,
            cursor,
            order,
        };
        self.disk.jobs.insert(order, (id, job));
        self.after(at - self.now, Event::Durable(order));
    }

    pub(super) fn durable(&mut self, order: u64) -> Result {
        // A crash may have taken it, or the failure of another.
        let Some((id, job)) = self.disk.jobs.remove(&order) else {
            return Ok(());
        };
        let commits = self.drawn.commits_per_failure;
        if self.dice.disk.below(commits) == 0 && self.faults.has(Fault::FailingCommits) {
            self.coverage.strike(Fault::FailingCommits);
            self.disk.crash();
            return self.input(Input::Shutdown);
        }
        let before = self.store.sequence();
        self.store.commit(job);
        if self.store.sequence() > before {
            self.reconnect.cursor_advanced(id.epoch);
        }
        self.check_prefix()?;
        let is_late = self.faults.has(Fault::Reorder);
        let delay = self.dice.disk.range(0, if is_late { 50_000 } else { 100 });
        self.after(delay, Event::Committed(id));
        Ok(())
    }
}
