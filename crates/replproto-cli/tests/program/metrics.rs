//! Metrics of a running receiver, and what `status` makes of them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Publisher, code, replproto, run, scrape, stderr, stdout};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

const CANARY: &str = "canary7f3a";

/// A receiver that serves metrics. It is gone when this is dropped.
struct Receiver {
    child: Child,
    /// Where it says that its metrics are.
    url: String,
    _folder: tempfile::TempDir,
}

impl Receiver {
    fn start(publisher: &Publisher) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = replproto(&[
            "receive",
            &publisher.url,
            "--database",
            "demo",
            "--start",
            "1",
            "--metrics",
            "127.0.0.1:0",
            "--authorization",
            CANARY,
            "--into",
        ])
        .arg(folder.path().join("r.sqlite"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the receiver starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let url = log
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("metrics are at ")?.1.trim().to_owned()));
        Self {
            child,
            url: url.expect("an address"),
            _folder: folder,
        }
    }

    fn address(&self) -> &str {
        let rest = self.url.strip_prefix("http://").expect("a URL");
        rest.strip_suffix("/metrics").expect("a page")
    }

    fn scrape(&self) -> String {
        let response = scrape(self.address());
        assert!(response.contains("content-type: text/plain; version=0.0.4"));
        response
    }

    /// The first page on which all of these lines are.
    fn page_with(&self, lines: &[String]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.scrape();
            if lines
                .iter()
                .all(|line| page.lines().any(|found| found == line))
            {
                return page;
            }
            assert!(Instant::now() < deadline, "{lines:#?} never came: {page}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_receiver_serves_its_metrics_and_status_shows_them() {
    let publisher = Publisher::start(2500, 9);
    let receiver = Receiver::start(&publisher);
    let peer = publisher.url.strip_prefix("ws://").expect("a URL");
    let labels = format!("database=\"demo\",peer=\"{peer}\"");
    let page = receiver.page_with(&[
        format!("replproto_records_total{{{labels}}} 2509"),
        format!("replproto_blobs_saved_total{{{labels}}} 9"),
        format!("replproto_links_total{{{labels}}} 1"),
        format!("replproto_up{{{labels}}} 1"),
        format!("replproto_phase{{{labels},phase=\"following\"}} 1"),
        format!("replproto_queue_items{{{labels},queue=\"commits\"}} 0"),
        format!("replproto_queue_high_items{{{labels},queue=\"commits\"}} 2048"),
        format!("replproto_confirmation_lag_seconds{{{labels}}} 0"),
        "# TYPE replproto_records_total counter".to_owned(),
        "# TYPE replproto_replication_latency_seconds histogram".to_owned(),
    ]);
    assert!(page.contains("# HELP replproto_records_total "), "{page}");
    assert!(page.contains("replproto_replication_latency_seconds_bucket{"));
    #[cfg(target_os = "linux")]
    assert!(page.contains("\nprocess_resident_memory_bytes "), "{page}");
    assert!(!page.contains(CANARY));

    let output = run(&["status", &receiver.url, "--once", "--interval", "50ms"]);
    let text = stdout(&output);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    for line in [
        format!("demo from {peer}: following\n"),
        "0 records/s, 0 B/s; in all 2,509 records".to_owned(),
        "  commits      [--------------------] 0 of 2,048\n".to_owned(),
        "  blobs        9 saved (".to_owned(),
        "  links        1 opened\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'), "no terminal is here: {text}");
}

#[test]
fn status_tells_blocks_until_the_receiver_is_gone() {
    let publisher = Publisher::start(10, 0);
    let mut receiver = Receiver::start(&publisher);
    let mut status = replproto(&["status", receiver.address(), "--interval", "50ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("status starts");
    let mut lines = BufReader::new(status.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let blocks = lines
        .by_ref()
        .filter(|line| line.starts_with("memory") || line.is_empty());
    assert!(blocks.take(4).count() == 4);
    receiver.child.kill().expect("it can be killed");
    receiver.child.wait().expect("it ends");
    assert!(lines.count() < 1_000_000);
    let output = status.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(1));
    assert!(!stderr(&output).is_empty());
}

#[test]
fn status_says_what_is_wrong_with_an_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = run(&["status", &free, "--once"]);
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains(&format!("no receiver listens at {free}")),
        "{told}"
    );

    // Something else listens there.
    let publisher = Publisher::start(1, 0);
    let other = publisher.url.strip_prefix("ws://").expect("a URL");
    let output = run(&["status", other, "--once"]);
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(told.contains("is not the metrics of a receiver"), "{told}");

    for options in [
        &["status", "nowhere"][..],
        &["status", ":1", "--interval", "0"],
    ] {
        assert_eq!(code(&run(options)), Some(2), "{options:?}");
    }
}

#[test]
fn a_port_that_is_taken_ends_the_program_before_anything_starts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.sqlite");
    let output = run(&[
        "receive",
        "ws://127.0.0.1:1",
        "--database",
        "demo",
        "--metrics",
        &taken,
        "--into",
        file.to_str().unwrap(),
    ]);
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains(&format!("cannot serve metrics at {taken}")),
        "{told}"
    );
    assert!(!file.exists());
}
