//! Disks that fail.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Publisher, code, replproto, run, stderr};
use rusqlite::Connection;

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

/// A follower that ends when it has everything, and says what it does.
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
        "--until-idle",
        "500ms",
        "--deadline",
        "120s",
    ]
}

/// Waits until the follower says something, and does something then. Gives how it ends, and what it said.
fn on_word(mut child: Child, word: &str, act: impl FnOnce(u32)) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut act = Some(act);
    let pid = child.id();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains(word)
            && let Some(act) = act.take()
        {
            act(pid);
        }
        said.push_str(&line);
        said.push('\n');
    }
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
    let output = run(&options(publisher, file));
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    count(file)
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let publisher = Publisher::start(3000, 30);
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
    let (code, said) = on_word(child, "the store failed", |pid| {
        let freed = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), "--fsize=unlimited"])
            .status();
        assert!(freed.expect("prlimit of util-linux").success());
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("r.db cannot be"), "{said}");
    assert_eq!(count(file), undisturbed(&publisher, folder.path()));
}

/// An empty replica of the publisher, locked by somebody else.
fn locked(publisher: &Publisher, file: &str) -> Connection {
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
    let other = Connection::open(file).unwrap();
    let source = publisher.url.trim_start_matches("ws://");
    let rename = "UPDATE _replproto_link SET source = ?1";
    assert_eq!(other.execute(rename, [source]).unwrap(), 1);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[test]
fn a_file_that_somebody_else_has_locked_is_waited_for() {
    let publisher = Publisher::start(3000, 30);
    let folder = tempfile::tempdir().unwrap();
    let expected = undisturbed(&publisher, folder.path());
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    let other = locked(&publisher, file);
    let child = follow(&mut replproto(&options(&publisher, file)));
    let (code, said) = on_word(child, "the link is open", |_| {
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(file), expected);
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_is_begun_anew() {
    let publisher = Publisher::start(3000, 30);
    let folder = tempfile::tempdir().unwrap();
    let expected = undisturbed(&publisher, folder.path());
    let file = folder.path().join("r.db");
    let file = file.to_str().unwrap();
    // Nothing can be stored before the file is gone, and somebody still has it open then.
    let other = locked(&publisher, file);
    let child = follow(&mut replproto(&options(&publisher, file)));
    let (code, said) = on_word(child, "the link is open", |_| {
        std::fs::remove_file(file).unwrap();
        other.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("was removed or replaced"), "{said}");
    assert_eq!(count(file), expected);
}
