//! Files that are moved about while they are open.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use replproto_core::StoredCursor;
use rusqlite::Connection;

use super::Identity;
use crate::sink::Sink;
use crate::sqlite::testing::TempFile;
use crate::sqlite::{SqliteError, SqliteOptions, SqliteSink};
use crate::testing::{at, put, records};

async fn open(path: &Path) -> SqliteSink {
    let options = SqliteOptions::new("node-a", "data");
    SqliteSink::open(path, options).await.unwrap()
}

/// Stores a record, and a cursor with it.
async fn store(sink: &mut SqliteSink, key: &str, position: f64) {
    sink.begin().await.unwrap();
    sink.apply(records(&[put(key, position, &[])]))
        .await
        .unwrap();
    sink.commit(Some(at(position))).await.unwrap();
}

/// Everything that is stored now, as a file of its own.
fn back_up(path: &Path, backup: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
}

/// The ids in a file that is sound.
fn ids(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    let mut statement = connection
        .prepare("SELECT id FROM Dog ORDER BY id")
        .unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.collect::<Result<_, _>>().unwrap()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn sibling(file: &TempFile, name: &str) -> PathBuf {
    file.path().with_file_name(name)
}

fn is_moved<T>(result: Result<T, SqliteError>) -> bool {
    matches!(result, Err(SqliteError::Moved { .. }))
}

async fn cursor(sink: &mut SqliteSink) -> StoredCursor {
    sink.load().await.unwrap().cursor
}

#[derive(Clone, Copy, Debug)]
enum NoticedBy {
    Commit,
    Load,
    Close,
}

const NOTICED_BY: [NoticedBy; 3] = [NoticedBy::Commit, NoticedBy::Load, NoticedBy::Close];

/// Goes on after the file was moved, whoever notices it.
async fn go_on(mut sink: SqliteSink, path: &Path, by: NoticedBy) -> SqliteSink {
    match by {
        NoticedBy::Commit => {
            sink.begin().await.unwrap();
            sink.apply(records(&[put("lost", 9.0, &[])])).await.unwrap();
            assert!(is_moved(sink.commit(Some(at(9.0))).await));
            sink.rollback().await.unwrap();
            sink
        }
        NoticedBy::Load => sink,
        NoticedBy::Close => {
            sink.close().await;
            open(path).await
        }
    }
}

#[tokio::test]
async fn a_backup_in_the_place_of_the_file_is_gone_on_with_as_it_is() {
    for by in NOTICED_BY {
        let file = TempFile::new("backup");
        let backup = sibling(&file, "backup.db");
        let mut sink = open(file.path()).await;
        store(&mut sink, "a", 1.0).await;
        back_up(file.path(), &backup);
        store(&mut sink, "b", 2.0).await;
        fs::rename(&backup, file.path()).unwrap();
        let mut sink = go_on(sink, file.path(), by).await;
        let found = cursor(&mut sink).await;
        assert_eq!(found, StoredCursor::Found(at(1.0)), "{by:?}");
        assert_eq!(ids(file.path()), ["\"a\""], "{by:?}");
        store(&mut sink, "c", 2.0).await;
        sink.close().await;
        assert_eq!(ids(file.path()), ["\"a\"", "\"c\""]);
    }
}

#[tokio::test]
async fn a_file_that_is_moved_away_takes_everything_with_it() {
    for by in NOTICED_BY {
        let file = TempFile::new("away");
        let away = sibling(&file, "away.db");
        let mut sink = open(file.path()).await;
        store(&mut sink, "a", 1.0).await;
        fs::rename(file.path(), &away).unwrap();
        let mut sink = go_on(sink, file.path(), by).await;
        assert_eq!(cursor(&mut sink).await, StoredCursor::Absent, "{by:?}");
        assert_eq!(ids(&away), ["\"a\""], "{by:?}");
        store(&mut sink, "b", 1.0).await;
        assert_eq!(ids(file.path()), ["\"b\""]);
        sink.close().await;
        let mut away_sink = open(&away).await;
        assert_eq!(cursor(&mut away_sink).await, StoredCursor::Found(at(1.0)));
        away_sink.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_removed_is_begun_anew() {
    for by in NOTICED_BY {
        let file = TempFile::new("removed");
        let mut sink = open(file.path()).await;
        store(&mut sink, "a", 1.0).await;
        fs::remove_file(file.path()).unwrap();
        let mut sink = go_on(sink, file.path(), by).await;
        assert_eq!(cursor(&mut sink).await, StoredCursor::Absent, "{by:?}");
        store(&mut sink, "b", 1.0).await;
        sink.close().await;
        assert_eq!(ids(file.path()), ["\"b\""]);
    }
}

#[tokio::test]
async fn what_is_beside_a_file_is_beside_its_real_path() {
    for by in NOTICED_BY {
        let file = TempFile::new("symlink");
        let (link, backup) = (sibling(&file, "link.db"), sibling(&file, "backup.db"));
        symlink(file.path(), &link).unwrap();
        let mut sink = open(&link).await;
        store(&mut sink, "a", 1.0).await;
        back_up(file.path(), &backup);
        store(&mut sink, "b", 2.0).await;
        fs::rename(&backup, file.path()).unwrap();
        let mut sink = go_on(sink, &link, by).await;
        let found = cursor(&mut sink).await;
        assert_eq!(found, StoredCursor::Found(at(1.0)), "{by:?}");
        assert_eq!(ids(file.path()), ["\"a\""], "{by:?}");
        sink.close().await;
    }
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_leaves_its_first_file_alone() {
    for by in NOTICED_BY {
        let file = TempFile::new("retargeted");
        let (link, other) = (sibling(&file, "link.db"), sibling(&file, "other.db"));
        symlink(file.path(), &link).unwrap();
        let mut sink = open(&link).await;
        let options = SqliteOptions::new("node-a", "more");
        let mut neighbour = SqliteSink::open(file.path(), options).await.unwrap();
        store(&mut sink, "a", 1.0).await;
        let log = Identity::at(&beside(file.path(), "-wal")).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        let mut sink = go_on(sink, &link, by).await;
        assert_eq!(cursor(&mut sink).await, StoredCursor::Absent, "{by:?}");
        store(&mut sink, "c", 1.0).await;
        assert_eq!(Identity::at(&beside(file.path(), "-wal")).unwrap(), log);
        assert_eq!(cursor(&mut neighbour).await, StoredCursor::Absent);
        sink.close().await;
        neighbour.close().await;
        assert_eq!(ids(file.path()), ["\"a\""]);
        assert_eq!(ids(&other), ["\"c\""]);
    }
}

#[tokio::test]
async fn the_second_link_of_a_file_leaves_alone_what_is_of_the_new_one() {
    for by in NOTICED_BY {
        let file = TempFile::new("two");
        let backup = sibling(&file, "backup.db");
        let mut first = open(file.path()).await;
        store(&mut first, "a", 1.0).await;
        let options = SqliteOptions::new("node-b", "data");
        let mut second = SqliteSink::open(file.path(), options.clone())
            .await
            .unwrap();
        store(&mut second, "x", 5.0).await;
        back_up(file.path(), &backup);
        store(&mut first, "b", 2.0).await;
        store(&mut second, "y", 6.0).await;
        fs::rename(&backup, file.path()).unwrap();
        // The first one is at work on the new file before the second has seen it.
        assert_eq!(cursor(&mut first).await, StoredCursor::Found(at(1.0)));
        store(&mut first, "c", 3.0).await;
        let log = Identity::at(&beside(file.path(), "-wal")).unwrap();
        assert!(log.is_some());
        match by {
            NoticedBy::Commit => {
                second.begin().await.unwrap();
                assert!(is_moved(second.commit(Some(at(9.0))).await));
                second.rollback().await.unwrap();
            }
            NoticedBy::Load => {}
            NoticedBy::Close => {
                second.close().await;
                second = SqliteSink::open(file.path(), options).await.unwrap();
            }
        }
        assert_eq!(cursor(&mut second).await, StoredCursor::Found(at(5.0)));
        assert_eq!(Identity::at(&beside(file.path(), "-wal")).unwrap(), log);
        store(&mut second, "z", 6.0).await;
        store(&mut first, "d", 4.0).await;
        assert_eq!(ids(file.path()), ["\"a\"", "\"c\"", "\"d\""]);
        first.close().await;
        second.close().await;
        assert_eq!(ids(file.path()), ["\"a\"", "\"c\"", "\"d\""]);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_looked_at_is_not_taken_for_empty() {
    let file = TempFile::new("unseen");
    let folder = sibling(&file, "folder");
    symlink(".", &folder).unwrap();
    let path = folder.join("replica.db");
    let mut sink = open(&path).await;
    store(&mut sink, "a", 1.0).await;
    sink.begin().await.unwrap();
    // Nobody can follow a link to itself.
    fs::remove_file(&folder).unwrap();
    symlink("folder", &folder).unwrap();
    let is_disk = |result| matches!(result, Err(SqliteError::Disk { .. }));
    assert!(is_disk(sink.commit(Some(at(2.0))).await));
    assert!(is_disk(sink.rollback().await));
    assert!(is_disk(sink.load().await.map(drop)));
    assert!(beside(file.path(), "-wal").exists());
    fs::remove_file(&folder).unwrap();
    symlink(".", &folder).unwrap();
    assert_eq!(cursor(&mut sink).await, StoredCursor::Found(at(1.0)));
    sink.close().await;
    assert_eq!(ids(file.path()), ["\"a\""]);
}

#[tokio::test]
async fn a_log_that_is_read_is_not_taken_from_its_file() {
    let file = TempFile::new("read");
    let away = sibling(&file, "away.db");
    let mut sink = open(file.path()).await;
    store(&mut sink, "a", 1.0).await;
    let reader = file.connection();
    reader.execute_batch("BEGIN").unwrap();
    let count = |reader: &Connection| -> i64 {
        reader
            .query_row("SELECT count(*) FROM Dog", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&reader), 1);
    store(&mut sink, "b", 2.0).await;
    fs::rename(file.path(), &away).unwrap();
    let error = sink.load().await.unwrap_err();
    assert!(matches!(error, SqliteError::LeftBehind { .. }), "{error:?}");
    assert!(error.to_string().contains("-wal"), "{error}");
    assert!(beside(file.path(), "-wal").exists());
    assert!(!file.path().exists(), "nothing is put beside that log");
    assert_eq!(count(&reader), 1);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(cursor(&mut sink).await, StoredCursor::Absent);
    drop(reader);
    assert_eq!(ids(&away), ["\"a\"", "\"b\""]);
    sink.close().await;
}

#[tokio::test]
async fn whoever_lost_the_lock_file_stores_nothing_beside_another_follower() {
    let file = TempFile::new("lock");
    let mut first = open(file.path()).await;
    store(&mut first, "a", 1.0).await;
    let lock = beside(file.path(), "-link1.lock");
    fs::remove_file(&lock).unwrap();
    let mut second = open(file.path()).await;
    first.begin().await.unwrap();
    let error = first.commit(Some(at(9.0))).await.unwrap_err();
    assert!(matches!(error, SqliteError::Lock { .. }), "{error:?}");
    first.rollback().await.unwrap();
    let error = first.load().await.unwrap_err();
    assert!(matches!(error, SqliteError::InUse { .. }), "{error:?}");
    store(&mut second, "b", 2.0).await;
    // One that nobody else took is taken again.
    fs::remove_file(&lock).unwrap();
    assert_eq!(cursor(&mut second).await, StoredCursor::Found(at(2.0)));
    store(&mut second, "c", 3.0).await;
    assert!(lock.exists());
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn what_names_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [
        "".into(),
        ":memory:".into(),
        "file:x.db?mode=memory".into(),
        "file:x.db".into(),
        socket,
        PathBuf::from("/dev/null"),
    ] {
        let opened = SqliteSink::open(&path, SqliteOptions::new("a", "data")).await;
        match opened {
            Err(SqliteError::NotAFile { path: named }) => assert_eq!(named, path),
            other => panic!("{path:?}: {other:?}"),
        }
    }
    assert!(!std::path::Path::new("file:x.db").exists());
}
