//! From what can be seen of a run to metrics.

use metrics::{Counter, Gauge, Histogram, Label};
use replproto_core::config::FlowControl;
use replproto_core::error::Watchdog;
use replproto_core::event::BlobFault;
use replproto_core::replica::Doubt;
use replproto_core::{EndCause, PauseReason, Stats};
use tokio::time::Instant;

use super::Labels;
use super::catalogue::{self as all, Metric};
use crate::latency::Latencies;
use crate::progress::{LinkSnapshot, Phase, Snapshot};

/// The metrics of one run. What is told are differences, so that runs of the same labels add up.
pub(super) struct Publisher {
    counts: Vec<Count>,
    times: Vec<Time>,
    levels: Vec<Level>,
    histogram: Histogram,
    latencies: Latencies,
}

/// What is looked at.
struct View<'a> {
    snapshot: &'a Snapshot,
    total: Stats,
    now: Instant,
}

impl<'a> View<'a> {
    fn of(snapshot: &'a Snapshot, now: Instant) -> Self {
        Self {
            snapshot,
            total: snapshot.total_at(now),
            now,
        }
    }

    const fn link(&self) -> &LinkSnapshot {
        &self.snapshot.link
    }
}

type OfStats = fn(&Stats) -> u64;
type OfView = fn(&View<'_>) -> u64;

/// A counter, and how much of it is told.
struct Count {
    counter: Counter,
    value: Box<dyn Fn(&View<'_>) -> u64 + Send>,
    told: u64,
}

/// A time that only rises, and how much of it is told.
struct Time {
    gauge: Gauge,
    seconds: Box<dyn Fn(&View<'_>) -> f64 + Send>,
    told: f64,
}

struct Level {
    gauge: Gauge,
    value: Box<dyn Fn(&View<'_>) -> f64 + Send>,
}

impl Publisher {
    /// Registers everything. What there was `before` the run is not told again.
    pub(super) fn new(labels: &Labels, flow: FlowControl, before: &Snapshot) -> Self {
        let mut publisher = Self {
            counts: Vec::new(),
            times: Vec::new(),
            levels: Vec::new(),
            histogram: all::LATENCY.histogram(labels.to_vec()),
            latencies: before.latencies,
        };
        publisher.register_counts(labels);
        publisher.register_classes(labels);
        publisher.register_pauses(labels);
        publisher.register_levels(labels);
        publisher.register_queues(labels, &flow);
        let view = View::of(before, Instant::now());
        for count in &mut publisher.counts {
            count.told = (count.value)(&view);
        }
        for time in &mut publisher.times {
            time.told = (time.seconds)(&view);
        }
        publisher
    }

    /// Tells what has changed. Gives whether something changes by itself, with time.
    pub(super) fn publish(&mut self, snapshot: &Snapshot, now: Instant) -> bool {
        let view = View::of(snapshot, now);
        for count in &mut self.counts {
            let value = (count.value)(&view);
            if value > count.told {
                count.counter.increment(value - count.told);
                count.told = value;
            }
        }
        for time in &mut self.times {
            // What was told of a pause under way may have been a little too much.
            let seconds = (time.seconds)(&view);
            if seconds > time.told {
                time.gauge.increment(seconds - time.told);
                time.told = seconds;
            }
        }
        for level in &self.levels {
            level.gauge.set((level.value)(&view));
        }
        self.publish_latencies(&snapshot.latencies);
        let link = view.link();
        !link.pauses.is_empty() || link.unsettled_since.is_some()
    }

    /// What came into a bucket counts with its mean: no bucket and no sum is wrong then.
    fn publish_latencies(&mut self, latencies: &Latencies) {
        let bounds = Latencies::BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets = latencies.buckets().zip(self.latencies.buckets());
        for (((count, seconds), (told, told_seconds)), bound) in buckets.zip(bounds) {
            let new = count.saturating_sub(told);
            if new > 0 {
                let mean = (seconds - told_seconds) / new as f64;
                let mean = mean.clamp(0.0, bound);
                self.histogram.record_many(mean, new as usize);
            }
        }
        self.latencies = *latencies;
    }

    fn count(
        &mut self,
        metric: Metric,
        labels: Vec<Label>,
        value: impl Fn(&View<'_>) -> u64 + Send + 'static,
    ) {
        self.counts.push(Count {
            counter: metric.counter(labels),
            value: Box::new(value),
            told: 0,
        });
    }

    fn level(
        &mut self,
        metric: Metric,
        labels: Vec<Label>,
        value: impl Fn(&View<'_>) -> f64 + Send + 'static,
    ) {
        self.levels.push(Level {
            gauge: metric.gauge(labels),
            value: Box::new(value),
        });
    }

    fn register_counts(&mut self, labels: &Labels) {
        let counts: [(Metric, OfStats); 15] = [
            (all::BYTES, |stats| stats.bytes),
            (all::MESSAGES, |stats| stats.messages),
            (all::UNKNOWN_COMMANDS, |stats| stats.unknown_commands),
            (all::RECORDS, |stats| stats.records),
            (all::TRANSACTIONS, |stats| stats.transactions),
            (all::CHECKPOINTS, |stats| stats.checkpoints),
            (all::EVENTS, |stats| stats.events),
            (all::COMMITS, |stats| stats.commits),
            (all::CONFIRMATIONS, |stats| stats.confirmations),
            (all::BLOBS_OPENED, |stats| stats.blobs_opened),
            (all::BLOBS_SAVED, |stats| stats.blobs_saved),
            (all::BLOB_BYTES, |stats| stats.blob_bytes),
            (all::CHUNKS_DROPPED, |stats| stats.chunks_dropped),
            (all::LATE_ACKNOWLEDGEMENTS, |stats| {
                stats.late_acknowledgements
            }),
            (all::PINGS, |stats| stats.pings),
        ];
        for (metric, value) in counts {
            self.count(metric, labels.to_vec(), move |view| value(&view.total));
        }
        for cause in EndCause::ALL {
            let labels = labels.with(all::RECONNECTS, cause.as_str());
            self.count(all::RECONNECTS, labels, move |view| {
                view.snapshot.ends[cause.index()]
            });
        }
        self.count(all::LINKS, labels.to_vec(), |view| view.snapshot.links);
        self.count(all::STORAGE_COMMITS, labels.to_vec(), |view| {
            view.snapshot.storage_commits
        });
    }

    fn register_classes(&mut self, labels: &Labels) {
        let classes: [(Metric, &'static str, OfStats); 9] = [
            (all::SKIPPED, "unknown", |stats| stats.skipped_unknown),
            (all::SKIPPED, "local", |stats| stats.skipped_local),
            (all::SKIPPED, "unwanted", |stats| stats.skipped_unwanted),
            (all::SKIPPED, "undecodable", |stats| {
                stats.skipped_undecodable
            }),
            (all::SKIPPED, "host", |stats| stats.skipped_by_host),
            (all::BLOBS_FAILED, "held", |stats| stats.blobs_held),
            (all::BLOBS_FAILED, "gone", |stats| stats.blobs_gone),
            (all::BLOBS_FAILED, "aborted", |stats| stats.blobs_aborted),
            (all::WATCHDOGS, "blob_idle", |stats| {
                stats.blob_faults[BlobFault::Idle.index()]
            }),
        ];
        for doubt in Doubt::ALL {
            let labels = labels.with(all::AMBIGUOUS, doubt.as_str());
            self.count(all::AMBIGUOUS, labels, move |view| {
                view.snapshot.doubts.of(doubt)
            });
        }
        for (metric, class, value) in classes {
            let labels = labels.with(metric, class);
            self.count(metric, labels, move |view| value(&view.total));
        }
        for (index, name) in BlobFault::NAMES.into_iter().enumerate() {
            let labels = labels.with(all::BLOB_FAULTS, name);
            self.count(all::BLOB_FAULTS, labels, move |view| {
                view.total.blob_faults[index]
            });
        }
        for (index, name) in Watchdog::NAMES.into_iter().enumerate() {
            let labels = labels.with(all::WATCHDOGS, name);
            self.count(all::WATCHDOGS, labels, move |view| {
                view.total.watchdogs[index]
            });
        }
    }

    fn register_pauses(&mut self, labels: &Labels) {
        for reason in PauseReason::ALL {
            let (index, name) = (reason.index(), reason.as_str());
            self.count(all::PAUSES, labels.with(all::PAUSES, name), move |view| {
                view.total.pauses[index]
            });
            self.level(all::PAUSED, labels.with(all::PAUSED, name), move |view| {
                f64::from(view.link().pauses.contains(reason))
            });
            self.times.push(Time {
                gauge: all::PAUSE_SECONDS.gauge(labels.with(all::PAUSE_SECONDS, name)),
                seconds: Box::new(move |view| view.total.paused[index].as_secs_f64()),
                told: 0.0,
            });
        }
    }

    fn register_levels(&mut self, labels: &Labels) {
        self.level(all::UP, labels.to_vec(), |view| {
            f64::from(matches!(
                view.snapshot.phase,
                Phase::Copying | Phase::Following
            ))
        });
        for phase in [
            Phase::Dialing,
            Phase::SettingUp,
            Phase::Copying,
            Phase::Following,
            Phase::Storing,
            Phase::Waiting(Default::default()),
        ] {
            let name = phase.as_str();
            self.level(all::PHASE, labels.with(all::PHASE, name), move |view| {
                f64::from(view.snapshot.phase.as_str() == name)
            });
        }
        self.level(all::LAG, labels.to_vec(), |view| {
            let since = view.link().unsettled_since;
            since.map_or(0.0, |since| {
                view.now.saturating_duration_since(since).as_secs_f64()
            })
        });
        self.level(all::BLOBS_MISSING, labels.to_vec(), |view| {
            view.link().blobs_missing as f64
        });
    }

    fn register_queues(&mut self, labels: &Labels, flow: &FlowControl) {
        let levels: [(Metric, &'static str, OfView); 8] = [
            (all::QUEUE_BYTES, "inbound", |view| {
                view.link().retained_bytes
            }),
            (all::QUEUE_BYTES, "consumer", |view| {
                view.link().event_bytes_out
            }),
            (all::QUEUE_BYTES, "blobs", |view| view.link().blob_bytes_out),
            (all::QUEUE_ITEMS, "consumer", |view| view.link().events_out),
            (all::QUEUE_ITEMS, "commits", |view| view.link().commits_out),
            (all::QUEUE_BYTES_PEAK, "inbound", |view| {
                view.total.peak_retained_bytes
            }),
            (all::QUEUE_BYTES_PEAK, "blobs", |view| {
                view.total.peak_blob_bytes_out
            }),
            (all::QUEUE_ITEMS_PEAK, "consumer", |view| {
                view.total.peak_events_out
            }),
        ];
        for (metric, queue, value) in levels {
            let labels = labels.with(metric, queue);
            self.level(metric, labels, move |view| value(view) as f64);
        }
        for (metric, queue, mark) in [
            (all::QUEUE_BYTES_HIGH, "inbound", flow.inbound.high.bytes),
            (all::QUEUE_BYTES_HIGH, "consumer", flow.consumer.high.bytes),
            (all::QUEUE_BYTES_HIGH, "blobs", flow.blobs.high.bytes),
            (all::QUEUE_ITEMS_HIGH, "consumer", flow.consumer.high.items),
            (all::QUEUE_ITEMS_HIGH, "commits", flow.commits.high.items),
        ] {
            self.level(metric, labels.with(metric, queue), move |_| mark as f64);
        }
    }
}

impl Drop for Publisher {
    /// The run is over, or was dropped: what can fall is zero. Not after a panic, which would be of the recorder.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for level in &self.levels {
                level.gauge.set(0.0);
            }
        }
    }
}
