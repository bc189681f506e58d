//! Live progress: a line that changes on a terminal, a line now and then in a pipe. All of it on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use replproto_tokio::Snapshot;
use tokio::sync::watch;

use crate::memory::Memory;
use crate::output::tell;

/// All bars of the program, so that log lines can make room for themselves.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How often snapshots are looked at.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// How often the rate is computed anew.
const RATE_INTERVAL: Duration = Duration::from_millis(500);

/// Shows snapshots.
pub(crate) struct Progress {
    output: Output,
    rate: Rate,
}

enum Output {
    Bar(ProgressBar),
    Lines { interval: Duration, next: Instant },
}

impl Progress {
    /// In a pipe there is a line every `interval`. With `records`, the number that is expected, a terminal has a bar.
    pub(crate) fn start(interval: Duration, records: Option<u64>) -> Self {
        let output = if io::stderr().is_terminal() {
            Output::Bar(BARS.add(bar(records)))
        } else {
            Output::Lines {
                interval,
                next: Instant::now() + interval,
            }
        };
        Self {
            output,
            rate: Rate::new(Instant::now()),
        }
    }

    /// Waits for `work`, showing what goes on until it is done, with a note of the caller's.
    pub(crate) async fn during<T>(
        mut self,
        work: impl Future<Output = T>,
        snapshots: &watch::Receiver<Snapshot>,
        note: impl Fn(&Snapshot) -> &'static str,
    ) -> T {
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval(SHOW_INTERVAL);
        loop {
            tokio::select! {
                biased;
                result = &mut work => {
                    self.finish();
                    return result;
                }
                _ = ticks.tick() => {
                    // Copied, so that the link is not held up while a terminal is slow.
                    let snapshot = snapshots.borrow().clone();
                    self.show(&snapshot, note(&snapshot));
                }
            }
        }
    }

    fn show(&mut self, snapshot: &Snapshot, note: &str) {
        let now = Instant::now();
        let records = snapshot.total().records;
        let rate = self.rate.at(now, records);
        match &mut self.output {
            Output::Bar(bar) => {
                // That of this link: a new one begins where the cursor was held.
                bar.set_position(snapshot.link.stats.records);
                bar.set_message(line(snapshot, rate, note));
            }
            Output::Lines { interval, next } => {
                if now >= *next {
                    *next = now + *interval;
                    tell(line(snapshot, rate, note));
                }
            }
        }
    }

    fn finish(self) {
        if let Output::Bar(bar) = self.output {
            bar.finish_and_clear();
            BARS.remove(&bar);
        }
    }
}

fn bar(records: Option<u64>) -> ProgressBar {
    let (bar, template) = match records {
        Some(records) => (ProgressBar::new(records), "{bar:24.cyan/dim} {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn line(snapshot: &Snapshot, rate: f64, note: &str) -> String {
    let total = snapshot.total();
    let mut line = format!(
        "{}: {} records, {}/s, {} blobs",
        snapshot.phase,
        HumanCount(total.records),
        HumanCount(rate as u64),
        HumanCount(total.blobs_saved),
    );
    let pauses = snapshot.link.pauses;
    if !pauses.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(line, ", paused: {pauses}");
    }
    if let Some(memory) = Memory::read() {
        let _ = write!(line, ", memory {}", HumanBytes(memory.resident));
    }
    if !note.is_empty() {
        let _ = write!(line, " ({note})");
    }
    line
}

/// Records per second over the last interval.
struct Rate {
    since: Instant,
    records: u64,
    rate: f64,
}

impl Rate {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            records: 0,
            rate: 0.0,
        }
    }

    fn at(&mut self, now: Instant, records: u64) -> f64 {
        let elapsed = now.duration_since(self.since);
        if elapsed >= RATE_INTERVAL {
            let new = records.saturating_sub(self.records);
            self.rate = new as f64 / elapsed.as_secs_f64();
            self.since = now;
            self.records = records;
        }
        self.rate
    }
}

/// Standard error for log lines, above the bars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    /// Never fails: that nobody reads the log any more must not end what it is about.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = BARS.suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rate = Rate::new(start);
        assert_eq!(rate.at(at(100), 50), 0.0);
        assert_eq!(rate.at(at(1000), 500), 500.0);
        assert_eq!(rate.at(at(1100), 900), 500.0);
        assert_eq!(rate.at(at(2000), 2500), 2000.0);
        assert_eq!(rate.at(at(3000), 0), 0.0);
    }

    #[test]
    fn a_line_tells_what_goes_on() {
        let line = line(&Snapshot::default(), 1234.5, "stalled");
        assert!(
            line.starts_with("connecting: 0 records, 1,234/s, 0 blobs"),
            "{line}"
        );
        assert!(line.ends_with("(stalled)"), "{line}");
    }
}
