use std::time::Duration;

use replproto_core::event::{BlobFailure, BlobFault};
use replproto_core::replica::RETENTION;
use replproto_core::{Event, StoredCursor};

use super::testing::TempFile;
use super::*;
use crate::testing::{
    Change, PEER, at, copy_completed, copy_started, delete, end, in_copy, patch, put, records,
    schema,
};

mod large;
mod names;
mod selection;
mod tombstones;
mod twins;

fn options() -> SqliteOptions {
    SqliteOptions::new("node-a:9933", "data")
}

async fn open(file: &TempFile) -> SqliteSink {
    SqliteSink::open(file.path(), options()).await.unwrap()
}

async fn commit(sink: &mut SqliteSink, events: Vec<Event>, cursor: Option<Cursor>) {
    sink.begin().await.unwrap();
    sink.apply(events).await.unwrap();
    sink.commit(cursor).await.unwrap();
}

fn link(file: &TempFile) -> (Replica, ReplicaLink) {
    let replica = Replica::open(file.path()).unwrap();
    let link = replica.link("node-a:9933", "data").unwrap().unwrap();
    (replica, link)
}

/// Ids and records of a table.
fn rows(file: &TempFile, table: &str) -> Vec<(String, String)> {
    let (replica, link) = link(file);
    let tables = replica.tables(&link).unwrap();
    let table = tables.iter().find(|other| other.name == table).unwrap();
    let mut rows = Vec::new();
    replica
        .rows(table, |row| {
            rows.push((row.id.to_owned(), row.record.to_owned()));
            Ok::<_, SqliteError>(())
        })
        .unwrap();
    assert_eq!(replica.count(table).unwrap(), rows.len() as u64);
    rows
}

fn row(id: &str, record: &str) -> (String, String) {
    (format!("\"{id}\""), record.to_owned())
}

#[tokio::test]
async fn records_can_be_queried_with_plain_sql() {
    let file = TempFile::new("query");
    let mut sink = open(&file).await;
    let changes = [
        put("rex", 5.5, &[("age", 3.0), ("weight", 12.5)]),
        put("bo", 6.0, &[("age", 9.0)]),
        put("gone", 6.0, &[("age", 9.0)]),
        delete("gone", 7.0),
    ];
    commit(&mut sink, records(&changes), None).await;
    assert_eq!(
        file.query::<f64>(r#"SELECT record->>'weight' FROM "Dog" WHERE record->>'age' = 3"#),
        12.5
    );
    assert_eq!(
        file.query::<i64>(r#"SELECT sum(record->>'age') FROM "Dog""#),
        12
    );
    assert_eq!(
        file.query::<String>("SELECT id || version || origin FROM Dog WHERE key = x'726578'"),
        "\"rex\"5.5node-a"
    );
    assert!(
        file.query::<Option<String>>("SELECT user FROM Dog")
            .is_none()
    );
    sink.close().await;
}

#[tokio::test]
async fn what_is_committed_survives_and_nothing_else() {
    let file = TempFile::new("durable");
    let mut sink = open(&file).await;
    let stored = sink.load().await.unwrap();
    assert_eq!((stored.cursor, stored.peer), (StoredCursor::Absent, None));
    let mut events = vec![schema(PEER)];
    events.extend(records(&[put("a", 1.0, &[])]));
    commit(&mut sink, events, Some(at(7.5))).await;
    sink.begin().await.unwrap();
    let changes = [put("b", 2.0, &[]), put("c", 2.0, &[]).of("New")];
    sink.apply(records(&changes)).await.unwrap();

    // What another process would find if this one died now.
    let crashed = TempFile::new("crashed");
    for suffix in ["", "-wal"] {
        let name = |file: &TempFile| format!("{}{suffix}", file.path().display());
        std::fs::copy(name(&file), name(&crashed)).unwrap();
    }
    let mut after_crash = open(&crashed).await;
    let stored = after_crash.load().await.unwrap();
    assert_eq!(stored.cursor, StoredCursor::Found(at(7.5)));
    assert_eq!(stored.peer.as_deref(), Some(PEER));
    assert_eq!(rows(&crashed, "Dog"), [row("a", "{}")]);

    sink.rollback().await.unwrap();
    commit(&mut sink, records(&[put("c", 3.0, &[]).of("New")]), None).await;
    assert_eq!(sink.load().await.unwrap(), stored);
    assert_eq!(rows(&file, "Dog"), [row("a", "{}")]);
    assert_eq!(rows(&file, "New"), [row("c", "{}")]);
    sink.close().await;
    after_crash.close().await;
}

#[tokio::test]
async fn entries_do_what_their_kind_says() {
    let file = TempFile::new("kinds");
    let mut sink = open(&file).await;
    let null = || vec![0xc0];
    let changes: Vec<Change> = vec![
        put("patched", 1.0, &[("a", 1.0), ("b", 1.0)]),
        patch("patched", 2.0, &[("b", 2.0), ("c", 2.0)]),
        patch("patched", 1.5, &[("a", 9.0)]),
        patch("absent", 1.0, &[("a", 1.0)]),
        put("same", 1.0, &[("a", 1.0)]),
        put("same", 1.0, &[("a", 2.0)]),
        put("older", 2.0, &[]),
        put("older", 1.0, &[("a", 1.0)]),
        delete("older", 1.0),
        put("invalid", 1.0, &[]),
        delete("invalid", 2.0).with(4, null()),
        put("quiet", 1.0, &[]),
        delete("quiet", 2.0).with(3, null()),
        delete("quiet", 3.0).with(6, Vec::new()),
        put("null", 1.0, &[]).with(1, null()),
        put("nothing", 1.0, &[]).with(1, Vec::new()),
        put("back", 1.0, &[]),
        delete("back", 2.0),
        put("back", 3.0, &[("a", 3.0)]),
        delete("early", 2.0),
        put("early", 1.0, &[]),
    ];
    commit(&mut sink, records(&changes), None).await;
    assert_eq!(
        rows(&file, "Dog"),
        [
            row("absent", r#"{"a":1}"#),
            row("back", r#"{"a":3}"#),
            row("older", "{}"),
            row("patched", r#"{"a":9,"b":2,"c":2}"#),
            row("quiet", "{}"),
            row("same", r#"{"a":2}"#),
        ]
    );
    assert_eq!(
        file.query::<i64>("SELECT count(*) FROM _replproto_tombstone"),
        4
    );
    sink.close().await;
}

/// For so long a deletion is remembered.
const KEPT: f64 = RETENTION.as_millis() as f64;

#[tokio::test]
async fn tombstones_go_when_the_cursor_passes_their_position() {
    let file = TempFile::new("tombstones");
    let mut sink = open(&file).await;
    let count = || file.query::<i64>("SELECT count(*) FROM _replproto_tombstone");
    let mut events = records(&[delete("a", 1.0)]);
    events.push(end(Some(10.0)));
    events.extend(records(&[delete("b", 2.0)]));
    // Something late may still come.
    commit(&mut sink, events, Some(at(KEPT + 0.9))).await;
    assert_eq!(count(), 2);
    commit(&mut sink, Vec::new(), Some(at(KEPT + 2.0))).await;
    assert_eq!(count(), 1, "the position of b is not known yet");
    let position = KEPT + 11.0;
    commit(
        &mut sink,
        vec![end(Some(position))],
        Some(at(position - 1.0)),
    )
    .await;
    assert_eq!(count(), 1);
    commit(&mut sink, Vec::new(), Some(at(position))).await;
    assert_eq!(count(), 0);
    sink.close().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_passed_over_counted_and_listed() {
    let file = TempFile::new("skipped");
    let mut sink = open(&file).await;
    let broken = |key: &str| put(key, 3.0, &[]).with(1, vec![0xc1]);
    let mut changes = vec![put("a", 1.0, &[]), broken("a"), put("b", 4.0, &[])];
    changes.push(Change {
        key: vec![0x1a],
        ..put("", 5.0, &[])
    });
    changes.push(Change {
        key: Vec::new(),
        ..put("", 6.0, &[])
    });
    sink.begin().await.unwrap();
    let applied = sink.apply(records(&changes)).await.unwrap();
    assert_eq!(applied.skipped, 3);
    let events = records(&vec![broken("x"); 1100]);
    assert_eq!(sink.apply(events).await.unwrap().skipped, 1100);
    sink.commit(None).await.unwrap();
    assert_eq!(rows(&file, "Dog"), [row("a", "{}"), row("b", "{}")]);
    let (replica, link) = link(&file);
    assert_eq!(link.skipped, 1103);
    let skipped = replica.skipped(&link).unwrap();
    assert_eq!(skipped.len(), 1000);
    let last = skipped.last().unwrap();
    assert_eq!(
        (last.number, last.table.as_str(), last.kind.as_str()),
        (1103, "Dog", "put")
    );
    assert_eq!((last.key.as_slice(), last.version), (b"x".as_slice(), 3.0));
    assert!(last.error.contains("0xc1"), "{}", last.error);
    sink.close().await;
}

#[tokio::test]
async fn a_copy_removes_what_it_did_not_bring() {
    let file = TempFile::new("copy");
    let mut sink = open(&file).await;
    let old = [
        put("kept", 1.0, &[]),
        put("newer", 9.0, &[]),
        put("broken", 1.0, &[]),
        put("gone", 1.0, &[]),
        put("a", 1.0, &[]).of("Dropped"),
    ];
    commit(&mut sink, records(&old), Some(at(5.0))).await;

    // The first copy breaks off and is begun again: what only the first one brought is gone.
    let mut events = vec![copy_started(None, false)];
    events.extend(records(&[put("first", 1.0, &[])]));
    commit(&mut sink, events, None).await;
    let mut events = vec![copy_started(None, false)];
    events.extend(records(&[put("kept", 1.0, &[])]));
    commit(&mut sink, events, None).await;
    sink.close().await;

    // The second one is resumed and goes on with its marks.
    let mut sink = open(&file).await;
    sink.load().await.unwrap();
    let mut events = vec![copy_started(None, true)];
    events.extend(records(&[
        put("newer", 2.0, &[("old", 1.0)]),
        put("broken", 2.0, &[]).with(1, vec![0xc1]),
        put("new", 1.0, &[]),
    ]));
    commit(&mut sink, events, None).await;
    assert_eq!(rows(&file, "Dog").len(), 6);
    commit(&mut sink, vec![copy_completed()], Some(at(6.0))).await;
    assert_eq!(
        rows(&file, "Dog"),
        ["broken", "kept", "new", "newer"].map(|id| row(id, "{}"))
    );
    assert_eq!(rows(&file, "Dropped"), []);
}

#[tokio::test]
async fn a_copy_that_begins_anew_forgets_how_far_an_earlier_one_had_come() {
    let file = TempFile::new("anew");
    let mut sink = open(&file).await;
    let mut events = vec![copy_started(Some(7.0), false)];
    events.extend(records(&[put("a", 1.0, &[])]));
    commit(&mut sink, events, Some(in_copy(3.0, 7.0))).await;
    // It is forgotten together with the marks: what is rolled back leaves both.
    sink.begin().await.unwrap();
    let again = || vec![copy_started(Some(8.0), false)];
    sink.apply(again()).await.unwrap();
    sink.rollback().await.unwrap();
    let cursor = sink.load().await.unwrap().cursor;
    assert_eq!(cursor, StoredCursor::Found(in_copy(3.0, 7.0)));
    commit(&mut sink, again(), None).await;
    let cursor = sink.load().await.unwrap().cursor;
    assert_eq!(cursor, StoredCursor::Found(at(3.0)));
    sink.close().await;
}

#[tokio::test]
async fn the_rest_of_an_unknown_copy_removes_nothing() {
    let file = TempFile::new("rest");
    let mut sink = open(&file).await;
    commit(&mut sink, records(&[put("a", 1.0, &[])]), None).await;
    let events = vec![copy_started(Some(7.0), true), copy_completed()];
    commit(&mut sink, events, None).await;
    assert_eq!(rows(&file, "Dog").len(), 1);
    sink.close().await;
}

#[tokio::test]
async fn any_table_name_finds_a_table() {
    let file = TempFile::new("names");
    file.connection()
        .execute_batch("CREATE TABLE mine (x); CREATE VIEW seen AS SELECT 1")
        .unwrap();
    let mut sink = open(&file).await;
    let names = [
        "Dog",
        "dog",
        "DOG",
        "sqlite_x",
        "_replproto_link",
        "Mine",
        "seen",
        "a\"b",
        "",
        "x;--",
        "é",
        "select",
        "a b\n",
        "json_each",
    ];
    let changes = names.map(|name| put(name, 1.0, &[]).of(name));
    commit(&mut sink, records(&changes), None).await;
    sink.close().await;
    let mut sink = open(&file).await;
    let changes = names.map(|name| patch(name, 2.0, &[("n", 2.0)]).of(name));
    commit(&mut sink, records(&changes), None).await;
    for name in names {
        assert_eq!(
            rows(&file, name),
            [row(
                name.replace('\n', "\\n").replace('"', "\\\"").as_str(),
                r#"{"n":2}"#
            )]
        );
    }
    let (replica, link) = link(&file);
    let sql_name = |name: &str| {
        let tables = replica.tables(&link).unwrap();
        let mut tables = tables.into_iter();
        tables.find(|table| table.name == name).unwrap().sql_name
    };
    assert_eq!(sql_name("Dog"), "Dog");
    assert_eq!(sql_name("dog"), "data.dog");
    assert_eq!(sql_name("DOG"), "t2.DOG");
    assert_eq!(sql_name("sqlite_x"), "data.sqlite_x");
    assert_eq!(sql_name("Mine"), "data.Mine");
}

#[tokio::test]
async fn links_in_one_file_keep_apart_and_take_turns() {
    let file = TempFile::new("links");
    let mut first = open(&file).await;
    let other = SqliteOptions::new("node-b:9933", "data");
    let mut second = SqliteSink::open(file.path(), other).await.unwrap();
    first.begin().await.unwrap();
    first
        .apply(records(&[put("a", 1.0, &[]), delete("x", 1.0)]))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        commit(&mut second, records(&[put("b", 1.0, &[])]), Some(at(2.0))).await;
        second
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    first.commit(Some(at(1.0))).await.unwrap();
    let mut second = waiting.await.unwrap();
    assert_eq!(
        second.load().await.unwrap().cursor,
        StoredCursor::Found(at(2.0))
    );
    assert_eq!(
        first.load().await.unwrap().cursor,
        StoredCursor::Found(at(1.0))
    );
    assert_eq!(rows(&file, "Dog"), [row("a", "{}")]);
    let replica = Replica::open(file.path()).unwrap();
    let links = replica.links().unwrap();
    assert_eq!(replica.tables(&links[1]).unwrap()[0].sql_name, "data.Dog");
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn a_link_is_followed_once_at_a_time() {
    let file = TempFile::new("guard");
    let sink = open(&file).await;
    let error = SqliteSink::open(file.path(), options()).await.unwrap_err();
    assert!(matches!(error, SqliteError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("already being followed"));
    sink.close().await;
    open(&file).await;
}

#[tokio::test]
async fn a_damaged_cursor_is_unreadable_and_not_absent() {
    let file = TempFile::new("cursor");
    let mut sink = open(&file).await;
    commit(&mut sink, Vec::new(), Some(at(5.0))).await;
    for sql in [
        "cursor = substr(cursor, 2)",
        "cursor = x''",
        "cursor = 'text'",
    ] {
        let sql = format!("UPDATE _replproto_link SET {sql}");
        file.connection().execute_batch(&sql).unwrap();
        let stored = sink.load().await.unwrap();
        assert!(
            matches!(stored.cursor, StoredCursor::Unreadable { .. }),
            "{sql}"
        );
    }
    let sql = "UPDATE _replproto_link SET cursor = NULL";
    file.connection().execute_batch(sql).unwrap();
    assert_eq!(sink.load().await.unwrap().cursor, StoredCursor::Absent);
    sink.close().await;
}

#[tokio::test]
async fn a_cursor_is_worth_nothing_to_another_publisher() {
    let file = TempFile::new("peer");
    let mut sink = open(&file).await;
    commit(&mut sink, vec![schema("node-a")], Some(at(5.0))).await;
    commit(&mut sink, vec![schema("node-a")], None).await;
    assert_eq!(
        sink.load().await.unwrap().cursor,
        StoredCursor::Found(at(5.0))
    );
    commit(&mut sink, vec![schema("node-b")], None).await;
    let stored = sink.load().await.unwrap();
    assert_eq!(stored.cursor, StoredCursor::Absent);
    assert_eq!(stored.peer.as_deref(), Some("node-b"));
    sink.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_says_what_to_do() {
    let file = TempFile::new("damaged");
    std::fs::write(file.path(), vec![b'x'; 5000]).unwrap();
    let error = SqliteSink::open(file.path(), options()).await.unwrap_err();
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error:?}");
    let missing = file.path().join("no/such/folder.db");
    let error = SqliteSink::open(&missing, options()).await.unwrap_err();
    assert!(matches!(error, SqliteError::Open { .. }), "{error:?}");
    let error = Replica::open(&missing).unwrap_err();
    assert!(matches!(error, SqliteError::Open { .. }), "{error:?}");

    let empty = TempFile::new("empty");
    empty
        .connection()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let error = Replica::open(empty.path()).unwrap_err();
    assert!(
        matches!(error, SqliteError::NotAReplica { .. }),
        "{error:?}"
    );
    open(&empty).await.close().await;
    let sql = "UPDATE _replproto_format SET version = 99";
    empty.connection().execute_batch(sql).unwrap();
    let error = SqliteSink::open(empty.path(), options()).await.unwrap_err();
    assert!(
        matches!(error, SqliteError::Format { format: 99, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_blob_is_gone_once() {
    let file = TempFile::new("gone");
    let mut sink = open(&file).await;
    let gone = |file: &str| {
        Event::BlobGone(Box::new(BlobFailure {
            blob: None,
            file: file.into(),
            record: None,
            fault: BlobFault::Idle,
        }))
    };
    commit(&mut sink, vec![gone("2b"), gone("1a"), gone("2b")], None).await;
    let (replica, link) = link(&file);
    assert_eq!(replica.blobs_gone(&link).unwrap(), ["1a", "2b"]);
    sink.close().await;
}

#[tokio::test]
async fn the_event_log_has_each_line_once_in_the_order_of_arrival() {
    let file = TempFile::new("events");
    let options = SqliteOptions {
        event_log: true,
        ..options()
    };
    let mut sink = SqliteSink::open(file.path(), options).await.unwrap();
    let changes = [
        put("k1", 1_747_252_560_000.0, &[]),
        put("k0", 1.0, &[]).with(1, vec![0xc1]),
        delete("k1", 2.0),
        put("k1", 1_747_252_560_000.0, &[]),
        delete("k2", 3.0).with(6, Vec::new()),
    ];
    commit(&mut sink, records(&changes), None).await;
    sink.begin().await.unwrap();
    sink.apply(records(&[delete("k3", 4.0)])).await.unwrap();
    sink.rollback().await.unwrap();
    let (replica, link) = link(&file);
    let mut lines = Vec::new();
    replica
        .event_lines(&link, |line| {
            lines.push(line.to_owned());
            Ok::<_, SqliteError>(())
        })
        .unwrap();
    assert_eq!(
        lines,
        [
            "Dog\t6b31\tput\t42796d05e4080000\tnode-a",
            "Dog\t6b31\tdelete\t4000000000000000\tnode-a",
            "Dog\t6b32\trelocate\t4008000000000000\tnode-a",
        ]
    );
    sink.close().await;
}

#[tokio::test]
async fn after_an_error_only_a_rollback_helps() {
    let file = TempFile::new("order");
    let mut sink = open(&file).await;
    let is_refused =
        |result: Result<(), SqliteError>| matches!(result, Err(SqliteError::OutOfOrder(_)));
    assert!(is_refused(sink.commit(None).await));
    sink.rollback().await.unwrap();
    commit(&mut sink, records(&[put("a", 1.0, &[])]), None).await;
    let sql = "UPDATE Dog SET record = '{' WHERE id = '\"a\"'";
    file.connection().execute_batch(sql).unwrap();
    sink.begin().await.unwrap();
    let events = records(&[put("b", 2.0, &[]), patch("a", 2.0, &[("n", 1.0)])]);
    let error = sink.apply(events).await.unwrap_err();
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error:?}");
    assert!(is_refused(sink.commit(None).await));
    assert!(is_refused(sink.load().await.map(drop)));
    sink.rollback().await.unwrap();
    assert_eq!(rows(&file, "Dog"), [row("a", "{")]);
    commit(&mut sink, records(&[put("a", 2.0, &[])]), None).await;
    assert_eq!(rows(&file, "Dog"), [row("a", "{}")]);
    sink.close().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_can_be_rolled_back() {
    let file = TempFile::new("cancelled");
    let mut sink = open(&file).await;
    let events = records(&vec![put("a", 1.0, &[("n", 1.0)]); 5000]);
    loop {
        sink.begin().await.unwrap();
        let given_up = tokio::time::timeout(Duration::ZERO, sink.apply(events.clone())).await;
        sink.rollback().await.unwrap();
        // The sink's thread may be faster than this one.
        if given_up.is_err() {
            break;
        }
    }
    assert_eq!(sink.load().await.unwrap().cursor, StoredCursor::Absent);
    commit(&mut sink, records(&[put("b", 1.0, &[])]), None).await;
    assert_eq!(rows(&file, "Dog"), [row("b", "{}")]);
    sink.close().await;
}
