//! What a receiver must say of itself.

use std::time::Duration;

use replproto_core::{PauseReason, Receiver, Stats};

use super::{CHUNK_OVERHEAD, Model, PART_OVERHEAD, Trust};
use crate::oracles::{Result, hold};

/// Parts that wait are joined to pieces of up to this many bytes.
const JOINED: u64 = 4096;

/// The most that one call looks at if it finds nothing to hand out.
const ITEMS_PER_CALL: u64 = 1024;

impl Model {
    /// What holds after every command and every input.
    pub(crate) fn check(&mut self, receiver: &Receiver) -> Result {
        let timeout = receiver.poll_timeout();
        hold(
            "liveness",
            timeout.is_some() != receiver.is_closed(),
            || format!("deadline {timeout:?}"),
        )?;
        if self.is_closed() {
            let left =
                receiver.retained_bytes() + receiver.events_out() + receiver.blob_bytes_out();
            hold("bounds", left == 0, || {
                format!("{left} left after the close")
            })?;
            return self.check_stats(receiver.stats());
        }
        hold("silence after close", !receiver.is_closed(), || {
            "closed without a word".into()
        })?;
        self.note(receiver);
        self.watchdogs.note(receiver, self.is_unready);
        let now = self.watchdogs.now;
        self.pauses.note(receiver.pause_reasons(), now);
        self.pauses.check(receiver.stats(), now)?;
        self.is_paused = receiver.is_paused();
        let flow = &self.config.flow;
        let (events, counted) = (receiver.events_out(), self.consumer.now.items);
        hold("bounds", events == counted, || {
            format!("{events} events out, not {counted}")
        })?;
        hold("bounds", events <= flow.consumer.high.items + 1, || {
            format!("{events} events out")
        })?;
        let (commits, counted) = (receiver.commits_out(), self.commits_out.len() as u64);
        hold("bounds", commits == counted, || {
            format!("{commits} commits out, not {counted}")
        })?;
        hold("bounds", commits <= flow.commits.high.items + 1, || {
            format!("{commits} commits out")
        })?;
        let blobs = receiver.blob_bytes_out();
        let largest_piece = self.largest_part.max(JOINED);
        let most = flow.blobs.high.bytes + largest_piece + CHUNK_OVERHEAD;
        hold("bounds", blobs <= most, || {
            format!("{blobs} bytes of blobs out")
        })?;
        // An item that spans parts is joined while the part in which it ends is still held.
        let most = flow.inbound.high.bytes + 2 * self.largest_message + 2 * PART_OVERHEAD;
        let retained = receiver.retained_bytes();
        hold(
            "bounds",
            retained <= most.saturating_add(self.overrun),
            || format!("{retained} bytes retained"),
        )?;
        self.check_work(receiver.stats())
    }

    /// The counters of a link that is over are those of what was seen of it.
    fn check_stats(&self, stats: &Stats) -> Result {
        let counts = [
            ("blobs_opened", stats.blobs_opened, self.opens),
            ("blobs_saved", stats.blobs_saved, self.saves),
            ("blobs_aborted", stats.blobs_aborted, self.aborts),
            ("events", stats.events, self.seen.events),
            ("records", stats.records, self.seen.records),
            ("transactions", stats.transactions, self.seen.transactions),
            ("checkpoints", stats.checkpoints, self.seen.checkpoints),
            ("commits", stats.commits, self.seen.commits),
            ("blob_bytes", stats.blob_bytes, self.seen.blob_bytes),
            ("bytes", stats.bytes, self.seen.bytes),
            (
                "skipped_by_host",
                stats.skipped_by_host,
                self.seen.skipped_by_host,
            ),
            (
                "skipped_undecodable",
                stats.skipped_undecodable,
                self.seen.skipped_undecodable,
            ),
        ];
        // A confirmation on its way to a peer that is gone is not sent any more.
        let unsent = stats.confirmations.saturating_sub(self.seen.confirmations);
        hold("counters", unsent <= 1, || {
            format!("{unsent} confirmations were not sent")
        })?;
        for (name, count, seen) in counts {
            hold("counters", count == seen, || {
                format!("{name} is {count}, and {seen} were seen")
            })?;
        }
        Ok(())
    }

    /// What was passed over is what was sent to be: this much has come, and this much may have.
    pub(crate) fn check_skipped(stats: &Stats, least: &[u64; 3], most: &[u64; 3]) -> Result {
        let skipped = [
            stats.skipped_unknown,
            stats.skipped_local,
            stats.skipped_unwanted,
        ];
        let mut counts = skipped.iter().zip(least.iter().zip(most));
        let is_right = counts.all(|(count, (least, most))| (least..=most).contains(&count));
        hold("counters", is_right, || {
            format!("{skipped:?} passed over, of {least:?} to {most:?} that were sent")
        })
    }

    /// One call passes over a bounded number of entries.
    fn check_work(&mut self, stats: &Stats) -> Result {
        let skipped = stats.skipped_unknown + stats.skipped_local + stats.skipped_unwanted;
        let at_once = skipped - self.skipped;
        self.skipped = skipped;
        hold("work", at_once <= ITEMS_PER_CALL, || {
            format!("{at_once} entries passed over by one call")
        })
    }

    /// What holds when the receiver has nothing more to do.
    pub(crate) fn check_at_rest(&mut self, receiver: &Receiver) -> Result {
        if self.is_closed() {
            return Ok(());
        }
        let reasons = receiver.pause_reasons();
        self.check_end(receiver, reasons)?;
        let is_announced = reasons.iter().count() == self.announced.len()
            && reasons
                .iter()
                .all(|reason| self.announced.contains(&reason));
        let is_paused = receiver.is_paused();
        // For a close frame behind a DISCONNECT.
        let may_listen = self.has_ended() && !self.ending.is_gone;
        let is_right = may_listen || is_paused == (!reasons.is_empty() || self.is_draining());
        hold("pauses", is_right && is_announced, || {
            format!(
                "paused {is_paused} for {reasons}, announced {:?}",
                self.announced
            )
        })?;
        self.check_reasons(receiver)?;
        let (blobs, counted) = (receiver.blob_bytes_out(), self.blobs.now.bytes);
        hold("bounds", blobs == counted, || {
            format!("{blobs} bytes of blobs out, not {counted}")
        })?;
        let (retained, pinned) = (receiver.retained_bytes(), self.pins.bytes);
        hold("bounds", retained >= pinned, || {
            format!("{retained} bytes retained, and {pinned} are pinned")
        })?;
        // Then all that has come is decoded, and nothing was joined.
        let counted = pinned + self.pins.count * PART_OVERHEAD;
        let is_exact = self.is_whole && reasons.is_empty() && !self.is_draining();
        hold("bounds", !is_exact || retained == counted, || {
            format!("{retained} bytes retained, and {counted} are pinned")
        })?;
        self.check_confirmed()?;
        self.watchdogs.check_none_is_late(receiver)?;
        self.check_idle_transfers(reasons.is_empty())?;
        if reasons.is_empty() {
            self.overrun = 0;
            self.pins.forget_decoded();
        }
        Ok(())
    }

    /// What is durable is confirmed, soon after.
    fn check_confirmed(&self) -> Result {
        let most = self.config.timeouts.confirm_delay + self.watchdogs.slack;
        let waited = self
            .unconfirmed
            .map_or(Duration::ZERO, |since| self.watchdogs.now.since(since));
        hold("durability", waited <= most, || {
            let (durable, confirmed) = (self.sent, self.confirmed);
            format!("{durable} is durable for {waited:?}, and {confirmed} is confirmed")
        })
    }

    /// The reasons to pause are those that follow from the counts, and something that is out can lift each of them.
    fn check_reasons(&self, receiver: &Receiver) -> Result {
        let reasons = receiver.pause_reasons();
        let retained = receiver.retained_bytes();
        let inbound = &self.config.flow.inbound;
        let is_held = self.pins.bytes > 0;
        let counts = [&self.consumer, &self.commits, &self.blobs];
        let held = receiver.held_bytes();
        let is_scarce = held > self.allowance;
        let most = retained + self.consumer.now.bytes + self.blobs.now.bytes;
        let is_right = held >= retained && held <= most;
        hold("bounds", is_right, || {
            format!("{held} bytes held, {retained} retained")
        })?;
        let is_any = counts.iter().any(|gauge| gauge.is_raised) || self.is_unready || is_scarce;
        if reasons.is_empty() && !is_any && retained <= inbound.high.bytes {
            return Ok(());
        }
        let is_queued = reasons.contains(PauseReason::InboundQueue);
        let is_consuming = !self.events.is_empty();
        let is_writing = self.blobs.now.items > 0;
        let is_unready = self.is_unready && receiver.is_set_up();
        // For each: whether it must be raised, whether it may be, and whether anything can lift it without the peer.
        let rules = [
            (
                PauseReason::InboundQueue,
                // What is held for an item that is not here whole can only grow.
                is_held && retained > inbound.high.bytes,
                is_queued && retained > inbound.low.bytes,
                is_consuming || is_writing || reasons.iter().count() > 1,
            ),
            (
                PauseReason::ConsumerQueue,
                self.consumer.is_raised,
                self.consumer.is_raised,
                is_consuming,
            ),
            (
                PauseReason::CommitBacklog,
                self.commits.is_raised,
                self.commits.is_raised,
                !self.commits_out.is_empty(),
            ),
            (
                PauseReason::BlobStream,
                self.blobs.is_raised,
                self.blobs.is_raised,
                is_writing,
            ),
            (PauseReason::NotReady, is_unready, is_unready, is_unready),
            (
                PauseReason::SharedBudget,
                is_scarce,
                is_scarce,
                // Else it asks for more, and gets it in its turn, or needs none because it is being drained.
                is_consuming
                    || is_writing
                    || reasons.iter().count() > 1
                    || self.is_draining()
                    || receiver.is_starved(),
            ),
        ];
        for (reason, must, may, can_end) in rules {
            let is_raised = reasons.contains(reason);
            let is_right = if is_raised { may } else { !must };
            hold("pauses", is_right, || {
                format!("{reason} is {is_raised}, and the reasons are {reasons}")
            })?;
            hold("liveness", !is_raised || can_end, || {
                format!("nothing lifts {reason}")
            })?;
        }
        Ok(())
    }

    /// A transfer of which nothing comes any more has failed, soon after its time.
    fn check_idle_transfers(&mut self, is_reading: bool) -> Result {
        let now = self.watchdogs.link_now();
        if !is_reading
            || self.has_ended()
            || self.trust == Trust::Unknown
            || now < self.none_is_idle_before
        {
            return Ok(());
        }
        // The receiver looks for them at most 128 times within the limit.
        let blob = self.config.timeouts.blob;
        let most = blob + blob / 100 + self.watchdogs.slack;
        self.none_is_idle_before = now + most;
        for (blob, transfer) in self.transfers.iter().filter(|(_, it)| !it.has_ended) {
            let latest = transfer.heard + most;
            hold("watchdogs", now <= latest, || {
                format!("{blob} is silent since {:?}, now {now:?}", transfer.heard)
            })?;
            self.none_is_idle_before = self.none_is_idle_before.min(latest);
        }
        Ok(())
    }
}
