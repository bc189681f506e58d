//! Disks that fail.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Publisher, code, replproto, run, stderr, stop};
use replproto_core::StoredCursor;
use replproto_tokio::Replica;
use rusqlite::Connection;

/// How much the publisher has.
const RECORDS: u64 = 3000;
const BLOBS: u64 = 30;

/// The position at the end of its log.
const END: f64 = 1_767_225_600_029.75;

/// Follows nobody into these places.
fn receive_into(file: &Path, blobs: &Path) -> std::process::Output {
    let (file, blobs) = (file.to_str().unwrap(), blobs.to_str().unwrap());
    let url = "ws://127.0.0.1:1";
    run(&[
        "receive",
        url,
        "--database",
        "data",
        "--into",
        file,
        "--blobs",
        blobs,
        "--deadline",
        "60s",
    ])
}

#[test]
fn a_place_that_cannot_be_used_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "no folder").unwrap();
    std::fs::write(path("text.db"), "no database, but a text of some length").unwrap();
    std::fs::create_dir(path("folder.db")).unwrap();
    let good = path("good.db");
    // Nobody can create anything in /proc, whoever it is.
    for (file, blobs, bad, advice) in [
        (
            path("file/r.db"),
            path("b"),
            path("file/r.db"),
            "check that the folder exists",
        ),
        (
            "/proc/r.db".into(),
            path("b"),
            "/proc/r.db".into(),
            "check that the folder exists",
        ),
        (
            path("folder.db"),
            path("b"),
            path("folder.db"),
            "check that the folder exists",
        ),
        (
            path("text.db"),
            path("b"),
            path("text.db"),
            "restore it from a backup",
        ),
        (
            good.clone(),
            path("file/b"),
            path("file/b"),
            "check that the folder of blobs",
        ),
        (
            good.clone(),
            path("file"),
            path("file"),
            "check that the folder of blobs",
        ),
        (
            good,
            "/proc/blobs".into(),
            "/proc/blobs".into(),
            "check that the folder of blobs",
        ),
    ] {
        let output = receive_into(&file, &blobs);
        let said = stderr(&output);
        assert_eq!(code(&output), Some(1), "{said}");
        assert!(said.contains(bad.to_str().unwrap()), "{said}");
        assert!(said.contains(advice), "{said}");
    }
}

/// A follower that says what it does.
fn follow(command: &mut Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn options<'a>(publisher: &'a Publisher, file: &'a str) -> Vec<&'a str> {
    vec![
        "receive",
        &publisher.url,
        "--database",
        "demo",
        "--into",
        file,
        "--start",
        "1",
        "--reconnect-delay",
        "50ms",
        "--deadline",
        "120s",
    ]
}

/// Whether the follower has stored all of the log.
fn is_complete(file: &str) -> bool {
    let links = Replica::open(file).and_then(|replica| replica.links());
    links
        .unwrap_or_default()
        .into_iter()
        .any(|link| matches!(link.cursor, StoredCursor::Found(cursor) if cursor.sequence.0 >= END))
}

/// Waits until the follower says something, and does something then. Stops it when it has everything. Gives how it ends, and
/// what it said.
fn on_word(
    mut child: Child,
    file: &str,
    word: &str,
    act: impl FnOnce(u32),
) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut act = Some(act);
    let pid = child.id();
    let log = BufReader::new(child.stderr.take().unwrap());
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_complete(file) {
                if has_ended.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            stop(pid);
        });
        for line in log.lines().map_while(Result::ok) {
            if line.contains(word)
                && let Some(act) = act.take()
            {
                act(pid);
            }
            said.push_str(&line);
            said.push('\n');
        }
        has_ended.store(true, Ordering::Relaxed);
    });
    assert!(act.is_none(), "it never said {word:?}: {said}");
    (child.wait().unwrap().code(), said)
}

fn count(file: &str) -> u64 {
    let connection = Connection::open(file).unwrap();
    let tables = "SELECT (SELECT count(*) FROM Reading) + (SELECT count(*) FROM Device) + (SELECT count(*) FROM Photo)";
    connection.query_row(tables, [], |row| row.get(0)).unwrap()
}

/// How many records a follower has for which nothing went wrong.
fn undisturbed(publisher: &Publisher, folder: &Path) -> u64 {
    let file = folder.join("whole.db");
    let file = file.to_str().unwrap();
    let child = follow(&mut replproto(&options(publisher, file)));
    let (code, said) = on_word(child, file, "the link is open", |_| ());
    assert_eq!(code, Some(0), "{said}");
    count(file)
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let publisher = Publisher::start(RECORDS, BLOBS);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    // No file may grow beyond about 200 KiB: writes fail, as they do on a full disk, and the process is not killed for it.
    let program = replproto(&options(&publisher, file));
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -S -f 400; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args());
    let child = follow(&mut limited);
    let (code, said) = on_word(child, file, "the store failed", |pid| {
        let freed = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), "--fsize=unlimited"])
            .status();
        assert!(freed.expect("prlimit of util-linux").success());
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("r.db cannot be"), "{said}");
    assert_eq!(count(file), undisturbed(&publisher, folder.path()));
}

/// A replica of nobody.
fn empty(file: &str) -> Connection {
    let url = "ws://127.0.0.1:1";
    run(&[
        "receive",
        url,
        "--database",
        "demo",
        "--into",
        file,
        "--deadline",
        "100ms",
    ]);
    Connection::open(file).unwrap()
}

/// An empty replica of the publisher, locked by somebody else.
fn locked(publisher: &Publisher, file: &str) -> Connection {
    let other = empty(file);
    let source = publisher.url.trim_start_matches("ws://");
    let rename = "UPDATE _replproto_link SET source = ?1";
    assert_eq!(other.execute(rename, [source]).unwrap(), 1);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[test]
fn a_file_that_somebody_else_has_locked_is_waited_for() {
    let publisher = Publisher::start(RECORDS, BLOBS);
    let folder = tempfile::tempdir().unwrap();
    let expected = undisturbed(&publisher, folder.path());
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    let other = locked(&publisher, file);
    let child = follow(&mut replproto(&options(&publisher, file)));
    let (code, said) = on_word(child, file, "the link is open", |_| {
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(file), expected);
}

#[test]
fn a_file_that_is_locked_at_the_start_is_spoken_of() {
    let publisher = Publisher::start(RECORDS, BLOBS);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    let other = empty(file);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let child = follow(&mut replproto(&options(&publisher, file)));
    let (code, said) = on_word(child, file, "waiting for another program", |_| {
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(file), undisturbed(&publisher, folder.path()));
}

#[test]
fn a_file_that_is_removed_is_begun_anew() {
    let publisher = Publisher::start(RECORDS, BLOBS);
    let folder = tempfile::tempdir().unwrap();
    let expected = undisturbed(&publisher, folder.path());
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    // Nothing can be stored before the file is gone, and somebody still has it open then.
    let other = locked(&publisher, file);
    let child = follow(&mut replproto(&options(&publisher, file)));
    let (code, said) = on_word(child, file, "the link is open", |_| {
        std::fs::remove_file(file).unwrap();
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("was removed or replaced"), "{said}");
    assert_eq!(count(file), expected);
}
