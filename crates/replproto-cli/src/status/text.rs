//! What is shown of a page.

use std::fmt::Display;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::page::{LinkName, Page};
use crate::metrics::{PEAK, RESIDENT};

/// Characters of a bar.
const BAR: usize = 20;

/// A mark from here on is none.
const UNBOUNDED: f64 = 1e18;

/// A page, and the one before it.
pub(super) struct Look<'a> {
    pub(super) page: &'a Page,
    pub(super) before: &'a Page,
    /// Between the two.
    pub(super) elapsed: Duration,
}

/// All of it as lines.
pub(super) fn block(look: &Look<'_>) -> Vec<String> {
    let links = look.page.links();
    let mut lines = Vec::new();
    for link in &links {
        Link { look, link }.write(&mut lines);
    }
    if links.is_empty() {
        lines.push("no link yet".to_owned());
    }
    let memory = [RESIDENT, PEAK].map(|name| look.page.process(name));
    if let [Some(resident), Some(peak)] = memory {
        lines.push(format!("memory {}, peak {}", bytes(resident), bytes(peak)));
    }
    lines
}

struct Link<'a> {
    look: &'a Look<'a>,
    link: &'a LinkName,
}

impl Link<'_> {
    fn write(&self, lines: &mut Vec<String>) {
        let LinkName { database, peer } = self.link;
        lines.push(format!("{database} from {peer}: {}", self.phase()));
        let mut line = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
        line("received", self.received());
        line("paused", self.paused());
        line("inbound", self.queue("bytes", "inbound", bytes));
        line("events", self.queue("items", "consumer", count));
        line("event bytes", self.queue("bytes", "consumer", bytes));
        line("commits", self.queue("items", "commits", count));
        line("blob bytes", self.queue("bytes", "blobs", bytes));
        line("stored", self.stored());
        line("latency", self.latency());
        line("blobs", self.blobs());
        line("links", self.links());
    }

    fn value(&self, name: &str) -> f64 {
        self.look.page.value(self.link, name)
    }

    fn one(&self, name: &str, label: &str, is: &str) -> f64 {
        self.look.page.one(self.link, name, label, is)
    }

    /// How much a counter has risen for each second.
    fn rate(&self, name: &str) -> f64 {
        let rise = self.value(name) - self.look.before.value(self.link, name);
        rise.max(0.0) / self.look.elapsed.as_secs_f64()
    }

    /// Those of a metric that are not zero, as `name text`.
    fn list(&self, name: &str, label: &str, text: impl Fn(&str, f64) -> Option<String>) -> String {
        let values = self.look.page.by(self.link, name, label);
        let texts: Vec<String> = values
            .filter_map(|(is, value)| Some(format!("{is} {}", text(is, value)?)))
            .collect();
        texts.join(", ")
    }

    fn phase(&self) -> String {
        let phases = self.look.page.by(self.link, "replproto_phase", "phase");
        let current = phases.into_iter().find(|(_, is)| *is > 0.0);
        current
            .map_or("ended", |(phase, _)| phase)
            .replace('_', " ")
    }

    fn received(&self) -> String {
        format!(
            "{} records/s, {}/s; in all {} records, {}",
            count(self.rate("replproto_records_total")),
            bytes(self.rate("replproto_received_bytes_total")),
            count(self.value("replproto_records_total")),
            bytes(self.value("replproto_received_bytes_total")),
        )
    }

    fn paused(&self) -> String {
        const SECONDS: &str = "replproto_pause_seconds_total";
        let shares = self.list(SECONDS, "reason", |reason, seconds| {
            let before = self.look.before.one(self.link, SECONDS, "reason", reason);
            let share = (seconds - before) / self.look.elapsed.as_secs_f64();
            (share > 0.0).then(|| format!("{:.0} %", (share * 100.0).clamp(0.0, 100.0)))
        });
        if shares.is_empty() {
            "not".to_owned()
        } else {
            shares
        }
    }

    fn queue(&self, unit: &str, queue: &str, text: fn(f64) -> String) -> String {
        let [level, mark] = ["", "high_"]
            .map(|what| self.one(&format!("replproto_queue_{what}{unit}"), "queue", queue));
        if mark >= UNBOUNDED {
            return format!("{}, no mark", text(level));
        }
        format!("{} {} of {}", bar(level, mark), text(level), text(mark))
    }

    fn stored(&self) -> String {
        format!(
            "{} transactions, {} commits, {} confirmations; lag {}",
            count(self.value("replproto_commits_total")),
            count(self.value("replproto_storage_commits_total")),
            count(self.value("replproto_confirmations_total")),
            seconds(self.value("replproto_confirmation_lag_seconds")),
        )
    }

    fn latency(&self) -> String {
        let recent = self.quantiles(Some(self.look.before));
        let quantiles = recent.or_else(|| self.quantiles(None));
        let [p50, p99] = match quantiles {
            Some(quantiles) => quantiles.map(|bound| match bound {
                bound if bound.is_finite() => format!("≤ {}", seconds(bound)),
                _ => "> 24 h".to_owned(),
            }),
            None => return "nothing measured yet".to_owned(),
        };
        format!("p50 {p50}, p99 {p99}")
    }

    /// The upper bounds of the median and of the 99th percentile, of what came after `before`.
    fn quantiles(&self, before: Option<&Page>) -> Option<[f64; 2]> {
        const BUCKET: &str = "replproto_replication_latency_seconds_bucket";
        let mut buckets: Vec<(f64, f64)> = self
            .look
            .page
            .by(self.link, BUCKET, "le")
            .filter_map(|(bound, below)| {
                let earlier = before.map_or(0.0, |page| page.one(self.link, BUCKET, "le", bound));
                Some((bound.parse().ok()?, below - earlier))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last()?.1;
        let bound = |share: f64| {
            let found = buckets.iter().find(|(_, below)| *below >= all * share);
            found.map(|(bound, _)| *bound)
        };
        if all > 0.0 {
            Some([bound(0.5)?, bound(0.99)?])
        } else {
            None
        }
    }

    fn blobs(&self) -> String {
        let failed = |class| count(self.one("replproto_blobs_failed_total", "class", class));
        format!(
            "{} saved ({}), {} failed, {} gone; {} missing",
            count(self.value("replproto_blobs_saved_total")),
            bytes(self.value("replproto_blob_bytes_total")),
            failed("held"),
            failed("gone"),
            count(self.value("replproto_blobs_missing")),
        )
    }

    fn links(&self) -> String {
        let mut text = format!("{} opened", count(self.value("replproto_links_total")));
        let causes = self.list("replproto_reconnects_total", "cause", |_, times| {
            (times > 0.0).then(|| count(times))
        });
        if !causes.is_empty() {
            text.push_str("; reconnects: ");
            text.push_str(&causes);
        }
        text
    }
}

fn bar(level: f64, mark: f64) -> String {
    let share = if mark > 0.0 { level / mark } else { 0.0 };
    // What is not empty shows, and what is full is full only at its mark.
    let filled = (share.clamp(0.0, 1.0) * BAR as f64).floor() as usize;
    let filled = filled.max(usize::from(level > 0.0));
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn count(value: f64) -> String {
    shown(HumanCount(value as u64))
}

fn bytes(value: f64) -> String {
    shown(HumanBytes(value as u64))
}

fn shown(value: impl Display) -> String {
    value.to_string()
}

fn seconds(value: f64) -> String {
    match value {
        value if value <= 0.0 => "0 s".to_owned(),
        value if value < 1.0 => format!("{} ms", trimmed(value * 1000.0)),
        value if value < 600.0 => format!("{} s", trimmed(value)),
        value if value < 3600.0 => format!("{:.0} min", value / 60.0),
        value => format!("{} h", trimmed(value / 3600.0)),
    }
}

/// With one digit after the point, unless it is a zero.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(records: u64, paused: f64, fast: u64, slow: u64) -> Page {
        let link = "database=\"data\",peer=\"node-a\"";
        let latency = "replproto_replication_latency_seconds_bucket";
        Page::parse(&format!(
            "replproto_phase{{{link},phase=\"following\"}} 1\n\
             replproto_phase{{{link},phase=\"setting_up\"}} 0\n\
             replproto_records_total{{{link}}} {records}\n\
             replproto_received_bytes_total{{{link}}} {}\n\
             replproto_pause_seconds_total{{{link},reason=\"consumer_queue\"}} {paused}\n\
             replproto_pause_seconds_total{{{link},reason=\"not_ready\"}} 3\n\
             replproto_queue_bytes{{{link},queue=\"inbound\"}} 1048576\n\
             replproto_queue_high_bytes{{{link},queue=\"inbound\"}} 2097152\n\
             replproto_queue_items{{{link},queue=\"consumer\"}} 1\n\
             replproto_queue_high_items{{{link},queue=\"consumer\"}} 4096\n\
             replproto_queue_items{{{link},queue=\"commits\"}} 7\n\
             replproto_queue_high_items{{{link},queue=\"commits\"}} 18446744073709551615\n\
             replproto_confirmation_lag_seconds{{{link}}} 0.25\n\
             {latency}{{{link},le=\"0.01\"}} {fast}\n\
             {latency}{{{link},le=\"2.5\"}} {}\n\
             {latency}{{{link},le=\"+Inf\"}} {}\n\
             replproto_links_total{{{link}}} 2\n\
             replproto_reconnects_total{{{link},cause=\"silence\"}} 1\n\
             replproto_reconnects_total{{{link},cause=\"tls\"}} 0\n\
             process_resident_memory_bytes 1048576\n\
             process_resident_memory_peak_bytes 2097152\n",
            records * 1024,
            fast + slow,
            fast + slow,
        ))
        .unwrap()
    }

    fn lines(before: &Page, page: &Page) -> Vec<String> {
        block(&Look {
            page,
            before,
            elapsed: Duration::from_secs(2),
        })
    }

    #[test]
    fn a_link_is_shown() {
        let lines = lines(&page(1000, 1.0, 0, 0), &page(5000, 1.5, 90, 10));
        let expected = "\
data from node-a: following
  received     2,000 records/s, 1.95 MiB/s; in all 5,000 records, 4.88 MiB
  paused       consumer_queue 25 %
  inbound      [##########----------] 1.00 MiB of 2.00 MiB
  events       [#-------------------] 1 of 4,096
  event bytes  [--------------------] 0 B of 0 B
  commits      7, no mark
  blob bytes   [--------------------] 0 B of 0 B
  stored       0 transactions, 0 commits, 0 confirmations; lag 250 ms
  latency      p50 ≤ 10 ms, p99 ≤ 2.5 s
  blobs        0 saved (0 B), 0 failed, 0 gone; 0 missing
  links        2 opened; reconnects: silence 1
memory 1.00 MiB, peak 2.00 MiB";
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn an_idle_interval_shows_the_latencies_of_all_and_no_pause() {
        let page = page(1000, 1.0, 1, 0);
        let lines = lines(&page, &page);
        assert!(lines[1].contains("0 records/s"), "{}", lines[1]);
        assert_eq!(lines[2], "  paused       not");
        assert_eq!(lines[9], "  latency      p50 ≤ 10 ms, p99 ≤ 10 ms");
    }

    #[test]
    fn a_receiver_without_a_link_is_no_error() {
        let page = Page::parse("replproto_build_info{version=\"1\"} 1\n").unwrap();
        assert_eq!(lines(&page, &page), ["no link yet"]);
    }

    #[test]
    fn times_are_short() {
        for (value, text) in [
            (0.0, "0 s"),
            (0.0025, "2.5 ms"),
            (0.5, "500 ms"),
            (2.5, "2.5 s"),
            (300.0, "300 s"),
            (900.0, "15 min"),
            (5400.0, "1.5 h"),
            (86_400.0, "24 h"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }
}
