//! What can be seen of runs, as metrics of the [`metrics`](https://docs.rs/metrics) facade (feature `metrics`).
//!
//! Each [`run`](crate::run) publishes to the recorder that is installed when it begins; without one nothing happens. It does
//! so from a task of its own, a few times a second, out of the snapshots that anyone may look at: no recorder can hold up or
//! change a link, and one that panics only ends that task.
//!
//! Each metric has the labels `database` and `peer`, the name that the peer is configured to have or else its host and port,
//! and some have one more of a few words. What is in records, ids and headers, and what errors say, never comes into a label.
//!
//! When a run is over its gauges are zero, while its counters stay. [`METRICS`] is the list of all; [`describe`] tells a
//! recorder what they mean.

mod catalogue;
mod publisher;
#[cfg(test)]
mod tests;

use std::time::Duration;

use metrics::Label;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

pub use self::catalogue::{Kind, METRICS, Metric};
use self::publisher::Publisher;
use crate::link::LinkConfig;
use crate::progress::Snapshot;
use crate::scope::Scope;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// Tells the recorder that is installed what each metric means, and its unit.
pub fn describe() {
    for metric in METRICS {
        metric.describe();
    }
}

/// The bounds of the buckets of `replproto_replication_latency_seconds`, for recorders that have to know them: with these
/// every bucket is exact.
pub const LATENCY_BOUNDS: &[f64] = &crate::latency::Latencies::BOUNDS;

/// Which link a metric belongs to.
struct Labels([Label; 2]);

impl Labels {
    fn of(link: &LinkConfig) -> Self {
        let peer = match &link.core.peer_name {
            Some(name) => name.clone(),
            None => link.endpoint.authority(),
        };
        Self([
            Label::new("database", link.core.database.clone()),
            Label::new("peer", peer),
        ])
    }

    fn to_vec(&self) -> Vec<Label> {
        self.0.to_vec()
    }

    /// These, and this value of the label that the metric has besides.
    fn with(&self, metric: Metric, value: &'static str) -> Vec<Label> {
        let mut labels = self.to_vec();
        labels.extend(metric.label.map(|name| Label::new(name, value)));
        labels
    }
}

/// The task that publishes one run. It belongs to the run's scope.
#[derive(Debug)]
pub(crate) struct Published {
    task: JoinHandle<()>,
    /// Closed at the end.
    stop: oneshot::Sender<()>,
}

impl Published {
    pub(crate) fn start(
        scope: &Scope,
        link: &LinkConfig,
        snapshots: watch::Receiver<Snapshot>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (labels, flow) = (Labels::of(link), link.core.flow);
        let before = snapshots.borrow().clone();
        let work = async move {
            let publisher = Publisher::new(&labels, flow, &before);
            publish(publisher, snapshots, stopped).await;
        };
        Self {
            task: scope.spawn(work),
            stop,
        }
    }

    /// Waits until all is published.
    pub(crate) async fn finish(self) {
        drop(self.stop);
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::warn!(%error, "metrics were not published to the end");
        }
    }
}

async fn publish(
    mut publisher: Publisher,
    mut snapshots: watch::Receiver<Snapshot>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        // Copied, so that the link is not held up meanwhile.
        let snapshot = snapshots.borrow_and_update().clone();
        let is_moving = publisher.publish(&snapshot, Instant::now());
        let next = async {
            sleep(INTERVAL).await;
            // Nothing is told any more when the other side is gone; the end is told by `stopped`.
            if !is_moving && snapshots.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = next => {}
        }
    }
    let snapshot = snapshots.borrow().clone();
    publisher.publish(&snapshot, Instant::now());
}
