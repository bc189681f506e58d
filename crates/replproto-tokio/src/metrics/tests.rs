//! The list, the table and what is published are the same.

use std::collections::BTreeSet;

use metrics::{Unit, with_local_recorder};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use replproto_core::config::FlowControl;
use replproto_core::error::Watchdog;
use replproto_core::{EndCause, PauseReason};
use tokio::time::Instant;

use super::*;
use crate::progress::Phase;

const TABLE: &str = include_str!("../../../../docs/metrics.md");

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::TimeTotal => "gauge that only rises",
        Kind::Histogram => "histogram",
    };
    let unit = match metric.unit {
        Unit::Bytes => "bytes",
        Unit::Seconds => "seconds",
        _ => "",
    };
    let label = metric.label.map(|label| format!(", `{label}`"));
    let (name, label) = (metric.name, label.unwrap_or_default());
    let help = metric.help;
    format!("| `{name}` | {kind} | {unit} | `database`, `peer`{label} | {help} |")
}

#[test]
fn the_table_of_the_documentation_is_the_list() {
    let documented: Vec<&str> = TABLE
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("`database`"))
        .collect();
    let listed: Vec<String> = METRICS.iter().map(row).collect();
    assert_eq!(documented.join("\n"), listed.join("\n"));
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "a name twice");
}

#[test]
fn the_documentation_names_every_reason_and_every_cause() {
    let reasons = PauseReason::ALL.map(PauseReason::as_str);
    let causes = EndCause::ALL.map(EndCause::as_str);
    let text = TABLE.replace('\n', " ");
    for name in reasons.iter().chain(&causes).chain(&Watchdog::NAMES) {
        let quoted = format!("`{name}`");
        assert!(
            text.contains(&quoted),
            "{quoted} is missing in docs/metrics.md"
        );
    }
}

fn labels() -> Labels {
    let link = LinkConfig::new("ws://node-a:9933".parse().unwrap(), "us", "data");
    Labels::of(&link)
}

/// Each metric of the recorder with its labels in one text, and its value since the last look: looking sets it to zero.
fn values(snapshotter: &Snapshotter) -> Vec<(String, DebugValue)> {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    snapshot
        .map(|(key, _, _, value)| {
            let (name, labels) = key.key().clone().into_parts();
            let labels: Vec<String> = labels
                .iter()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            (format!("{} {}", name.as_str(), labels.join(" ")), value)
        })
        .collect()
}

fn value(snapshotter: &Snapshotter, name: &str) -> f64 {
    let found = values(snapshotter)
        .into_iter()
        .find(|(known, _)| known == name);
    match found.unwrap_or_else(|| panic!("{name} is not there")).1 {
        DebugValue::Counter(count) => count as f64,
        DebugValue::Gauge(level) => level.0,
        DebugValue::Histogram(_) => panic!("{name} is a histogram"),
    }
}

#[test]
fn all_that_is_listed_is_published_and_described_and_nothing_else() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        describe();
        Publisher::new(&labels(), FlowControl::default(), &Snapshot::default())
            .publish(&Snapshot::default(), Instant::now());
    });
    let mut published = BTreeSet::new();
    for (key, unit, help, _) in snapshotter.snapshot().into_vec() {
        let metric = METRICS
            .iter()
            .find(|metric| metric.name == key.key().name())
            .unwrap_or_else(|| panic!("{key:?} is not listed"));
        assert_eq!(unit, Some(metric.unit));
        assert_eq!(help.as_deref(), Some(metric.help));
        let labels: Vec<&str> = key.key().labels().map(|label| label.key()).collect();
        let expected: Vec<&str> = ["database", "peer"]
            .into_iter()
            .chain(metric.label)
            .collect();
        assert_eq!(labels, expected, "{}", metric.name);
        published.insert(metric.name);
    }
    assert_eq!(published.len(), METRICS.len());
}

/// A snapshot of a link that has been paused since it was made.
fn paused(now: Instant) -> Snapshot {
    let mut snapshot = Snapshot {
        phase: Phase::Following,
        ..Snapshot::default()
    };
    snapshot.link.at = Some(now);
    snapshot.link.unsettled_since = Some(now);
    snapshot.link.pauses = PauseReason::NotReady.into();
    snapshot.link.stats.records = 7;
    snapshot.link.stats.pauses[PauseReason::NotReady.index()] = 1;
    snapshot.link.stats.paused[PauseReason::NotReady.index()] = Duration::from_secs(2);
    snapshot
}

#[test]
fn differences_are_told_a_pause_under_way_goes_on_and_nothing_ever_falls_that_only_rises() {
    const SECONDS: &str =
        "replproto_pause_seconds_total database=data peer=node-a:9933 reason=not_ready";
    const LAG: &str = "replproto_confirmation_lag_seconds database=data peer=node-a:9933";
    const RECORDS: &str = "replproto_records_total database=data peer=node-a:9933";
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let now = Instant::now();
    let later = now + Duration::from_secs(3);
    let mut snapshot = paused(now);
    let mut publisher = with_local_recorder(&recorder, || {
        Publisher::new(&labels(), FlowControl::default(), &Snapshot::default())
    });
    assert!(publisher.publish(&snapshot, now));
    assert_eq!(value(&seen, SECONDS), 2.0);
    publisher.publish(&snapshot, later);
    let all = values(&seen);
    let find = |name: &str| &all.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(*find(SECONDS), DebugValue::Gauge(3.0.into()));
    assert_eq!(*find(LAG), DebugValue::Gauge(3.0.into()));
    // The pause had ended a little before that look.
    snapshot.link.pauses = Default::default();
    snapshot.link.unsettled_since = None;
    snapshot.link.at = Some(later);
    snapshot.link.stats.paused[PauseReason::NotReady.index()] = Duration::from_millis(4900);
    snapshot.link.stats.records = 9;
    assert!(!publisher.publish(&snapshot, later));
    let all = values(&seen);
    let find = |name: &str| &all.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(*find(SECONDS), DebugValue::Gauge(0.0.into()));
    assert_eq!(*find(LAG), DebugValue::Gauge(0.0.into()));
    assert_eq!(*find(RECORDS), DebugValue::Counter(2));
    drop(publisher);
    for (name, value) in values(&seen) {
        if let DebugValue::Gauge(level) = value {
            assert_eq!(level.0, 0.0, "{name}");
        }
    }
}

#[test]
fn a_link_is_up_once_it_is_answered() {
    const UP: &str = "replproto_up database=data peer=node-a:9933";
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let mut publisher = with_local_recorder(&recorder, || {
        Publisher::new(&labels(), FlowControl::default(), &Snapshot::default())
    });
    for (phase, up) in [
        (Phase::SettingUp, 0.0),
        (Phase::Copying, 1.0),
        (Phase::Following, 1.0),
    ] {
        let snapshot = Snapshot {
            phase,
            ..Snapshot::default()
        };
        publisher.publish(&snapshot, Instant::now());
        assert_eq!(value(&seen, UP), up, "{:?}", snapshot.phase);
    }
}

#[test]
fn latencies_are_told_with_the_mean_of_each_bucket() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let mut snapshot = Snapshot::default();
    let mut publisher = with_local_recorder(&recorder, || {
        Publisher::new(&labels(), FlowControl::default(), &Snapshot::default())
    });
    for millis in [6, 8, 7000] {
        snapshot.latencies.record(Duration::from_millis(millis));
    }
    publisher.publish(&snapshot, Instant::now());
    publisher.publish(&snapshot, Instant::now());
    let told: Vec<f64> = values(&seen)
        .into_iter()
        .find_map(|(_, value)| match value {
            DebugValue::Histogram(values) => Some(values.into_iter().map(|v| v.0).collect()),
            _ => None,
        })
        .unwrap();
    assert_eq!(told, [0.007, 0.007, 7.0]);
}

#[test]
fn what_there_was_before_a_run_is_not_told_again() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let mut snapshot = paused(Instant::now());
    snapshot.latencies.record(Duration::from_secs(1));
    with_local_recorder(&recorder, || {
        Publisher::new(&labels(), FlowControl::default(), &snapshot)
            .publish(&snapshot, Instant::now());
    });
    let records = "replproto_records_total database=data peer=node-a:9933";
    assert_eq!(value(&seen, records), 0.0);
}

#[test]
fn a_peer_is_named_by_its_name_or_else_its_host_and_port() {
    let mut link = LinkConfig::new("ws://[::1]:1/secret".parse().unwrap(), "us", "data");
    let peer = |link: &LinkConfig| Labels::of(link).0[1].value().to_owned();
    assert_eq!(peer(&link), "[::1]:1");
    link.core.peer_name = Some("node-a".into());
    assert_eq!(peer(&link), "node-a");
}
