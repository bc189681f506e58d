//! The program as it is seen from outside: its log, its metrics, its files and its memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use replproto_core::StoredCursor;
use replproto_tokio::Replica;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::publisher::PATIENCE;
use crate::support::{replproto, scrape, stop};
use crate::wire::DATABASE;

/// What the program may take of addresses, in KiB: a case that fails shall not take the machine with it. Threads and the
/// allocator reserve more addresses than they use.
const ADDRESSES_MAX: u32 = 6 << 20;

/// Lines of the log that a case may cause, whatever it sends.
const LOG_LINES_MAX: usize = 60;

/// Bytes of them.
const LOG_BYTES_MAX: usize = 64 << 10;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

const FILE: &str = "r.sqlite";
const LOG: &str = "log";
const OUTPUT: &str = "output";

/// A receiver. It is gone when this is dropped.
pub(crate) struct Program {
    child: Child,
    folder: TempDir,
    /// Where its metrics are.
    metrics: String,
}

impl Program {
    /// Follows a publisher from the beginning of its log.
    pub(crate) fn start(url: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name| File::create(folder.path().join(name)).expect("a file");
        let program = replproto(&["receive", url, "--database", DATABASE, "--into"]);
        let limited = format!("ulimit -v {ADDRESSES_MAX}; exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &limited])
            .arg(program.get_program())
            .args(program.get_args())
            .arg(folder.path().join(FILE))
            .args(["--metrics", "127.0.0.1:0"])
            .args(options)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(file(OUTPUT))
            .stderr(file(LOG))
            .spawn()
            .expect("the program starts");
        let mut program = Self {
            child,
            folder,
            metrics: String::new(),
        };
        program.metrics = program.until(|program| {
            let log = program.log();
            let (_, rest) = log.split_once("metrics are at http://")?;
            Some(rest.split_once("/metrics")?.0.to_owned())
        });
        program
    }

    /// Looks until there is something to see.
    fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            let ended = self.child.try_wait().expect("a child");
            assert_eq!(ended, None, "it has ended: {}", self.log());
            assert!(Instant::now() < deadline, "in vain: {}", self.log());
            sleep(LOOK);
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join(FILE)
    }

    pub(crate) fn log(&self) -> String {
        read(&self.folder().join(LOG))
    }

    /// Waits until a link has ended for this cause, one of those in `docs/metrics.md`, and for no other.
    pub(crate) fn wait_for_cause(&mut self, cause: &str) {
        let label = format!("cause=\"{cause}\"");
        self.until(|program| {
            let page = scrape(&program.metrics);
            let happened = |line: &&str| line.contains("cause=\"") && !line.ends_with(" 0");
            let ends: Vec<&str> = page.lines().filter(happened).collect();
            let is_this = ends.iter().all(|line| line.contains(&label));
            assert!(is_this, "not {cause}: {ends:?} {}", program.log());
            (!ends.is_empty()).then_some(())
        });
    }

    /// The most memory that it has had so far, in bytes, where the system tells it.
    pub(crate) fn peak(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes << 10)
    }

    /// Ends it in order.
    pub(crate) fn end(self) -> End {
        let peak = self.peak();
        stop(self.child.id());
        let end = self.wait(peak);
        assert_eq!(end.code, Some(0), "{}", end.log);
        end
    }

    /// Waits until it ends by itself.
    pub(crate) fn ends(self) -> End {
        let peak = self.peak();
        self.wait(peak)
    }

    fn wait(mut self, peak: Option<u64>) -> End {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it never ends: {}", self.log());
            sleep(LOOK);
        };
        let log = self.log();
        check_log(&log);
        End {
            code: status.code(),
            log,
            peak,
            program: self,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A log is for people, and on a disk: it stays short, and nothing in it moves a terminal's cursor.
fn check_log(log: &str) {
    let (lines, bytes) = (log.lines().count(), log.len());
    let start: String = log.chars().take(4000).collect();
    assert!(
        lines <= LOG_LINES_MAX && bytes <= LOG_BYTES_MAX,
        "{lines} lines, {bytes} bytes: {start}"
    );
    let is_odd = |c: char| c.is_control() && c != '\n';
    assert!(!log.contains(is_odd), "{start:?}");
    assert!(!log.contains("panicked"), "{log}");
}

/// What is left when the program has ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    /// The most memory that it has had, as far as it was seen.
    pub(crate) peak: Option<u64>,
    program: Program,
}

impl End {
    /// The replica, to be looked at.
    pub(crate) fn replica(&self) -> Connection {
        Connection::open(self.program.file()).expect("a replica")
    }

    /// A number that a query gives.
    pub(crate) fn number(&self, query: &str) -> i64 {
        let number = self.replica().query_row(query, [], |row| row.get(0));
        number.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The first column of a query.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        let replica = self.replica();
        let mut statement = replica.prepare(query).expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a text")).collect()
    }

    /// How many records were passed over.
    pub(crate) fn skipped(&self) -> i64 {
        self.number("SELECT skipped FROM _replproto_link")
    }

    /// Up to where all is stored.
    pub(crate) fn cursor(&self) -> Option<f64> {
        let replica = Replica::open(self.program.file()).expect("a replica");
        let links = replica.links().expect("links");
        links.into_iter().find_map(|link| match link.cursor {
            StoredCursor::Found(cursor) => Some(cursor.sequence.0),
            _ => None,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.program.folder()
    }
}
