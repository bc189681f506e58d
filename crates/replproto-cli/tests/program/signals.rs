//! What signals do to a run.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::support::{Publisher, replproto};

/// Far longer than anything takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Receiver {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Receiver {
    /// Follows the publisher into this file, and tells when reading pauses because ten events wait for the store.
    fn start(publisher: &Publisher, file: &Path) -> Self {
        let mut child = replproto(&["receive", &publisher.url, "--database", "demo"])
            .args(["--start", "1", "--consumer-events", "10", "--into"])
            .arg(file)
            .env("RUST_LOG", "replproto_tokio=debug,info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, log }
    }

    /// Reads the log up to a line with this.
    fn says(&mut self, what: &str) {
        let mut lines = self.log.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(what)), "never: {what}");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Waits for the end. Gives the exit code, and what was printed.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        let output = self.child.stdout.as_mut().expect("a pipe");
        output.read_to_string(&mut text).expect("UTF-8");
        (status.code(), text)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_ends_in_order_and_says_what_came_of_it() {
    for name in ["-INT", "-TERM"] {
        let publisher = Publisher::start(500, 0);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("r.sqlite");
        let mut receiver = Receiver::start(&publisher, &file);
        receiver.says("the link is open");
        receiver.signal(name);
        receiver.says("interrupt again");
        let (code, text) = receiver.end();
        assert_eq!(code, Some(0), "{text}");
        for line in [
            "ended: as asked",
            "finished while ending: ",
            "abandoned, to come again: ",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let publisher = Publisher::start(500, 0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("r.sqlite");
    // One run makes the file, so that the next has something to wait for.
    let mut receiver = Receiver::start(&publisher, &file);
    receiver.says("the link is open");
    receiver.signal("-TERM");
    assert_eq!(receiver.end().0, Some(0));
    // As long as another writes, nothing can be stored, so there is always something in hand.
    let other = Connection::open(&file).expect("the replica");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut receiver = Receiver::start(&publisher, &file);
    receiver.says("reason=consumer_queue");
    receiver.signal("-TERM");
    receiver.says("interrupt again");
    receiver.signal("-TERM");
    assert_eq!(receiver.end().0, Some(130));
}
