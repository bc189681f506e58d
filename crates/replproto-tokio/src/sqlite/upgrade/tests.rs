use replproto_core::{Event, StoredCursor};
use rusqlite::ErrorCode;

use super::*;
use crate::Sink;
use crate::sqlite::testing::TempFile;
use crate::sqlite::{Replica, ReplicaRow, SqliteError, SqliteOptions, SqliteSink};
use crate::testing::{at, copy_completed, copy_started, delete, put, records, schema};

/// A file as format 1 had it, with a copy under way.
const FORMAT_1_FILE: &str = r#"
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE _replproto_format (version INTEGER NOT NULL);
CREATE TABLE _replproto_link (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, database TEXT NOT NULL, peer TEXT, cursor BLOB,
    skipped INTEGER NOT NULL DEFAULT 0, copy_state INTEGER NOT NULL DEFAULT 0, copy_mark INTEGER NOT NULL DEFAULT 0,
    copy_start REAL, UNIQUE (source, database)
);
CREATE TABLE _replproto_table (
    id INTEGER PRIMARY KEY, link INTEGER NOT NULL REFERENCES _replproto_link (id), name TEXT NOT NULL,
    sql_name TEXT NOT NULL UNIQUE COLLATE NOCASE, UNIQUE (link, name)
);
CREATE TABLE _replproto_tombstone (
    link INTEGER NOT NULL, table_id INTEGER NOT NULL, key BLOB NOT NULL, version REAL NOT NULL, sequence REAL,
    PRIMARY KEY (table_id, key)
) WITHOUT ROWID;
CREATE INDEX _replproto_tombstone_sequence ON _replproto_tombstone (link, sequence);
CREATE TABLE _replproto_skipped (
    link INTEGER NOT NULL, number INTEGER NOT NULL, table_name TEXT NOT NULL, key BLOB NOT NULL, version REAL NOT NULL,
    kind TEXT NOT NULL, error TEXT NOT NULL, PRIMARY KEY (link, number)
) WITHOUT ROWID;
CREATE TABLE _replproto_blob_gone (
    link INTEGER NOT NULL, file TEXT NOT NULL, table_name TEXT, key BLOB, fault TEXT NOT NULL, PRIMARY KEY (link, file)
) WITHOUT ROWID;
CREATE TABLE _replproto_event (
    number INTEGER PRIMARY KEY, link INTEGER NOT NULL, line TEXT NOT NULL, UNIQUE (link, line)
);
CREATE TABLE _replproto_stage (id INTEGER PRIMARY KEY, json BLOB NOT NULL);
CREATE TABLE "Dog" (
    key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL, version REAL NOT NULL, origin TEXT NOT NULL, user TEXT,
    expires_at REAL, copy INTEGER NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE "data.dog" (
    key BLOB PRIMARY KEY NOT NULL, id TEXT NOT NULL, version REAL NOT NULL, origin TEXT NOT NULL, user TEXT,
    expires_at REAL, copy INTEGER NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO _replproto_format VALUES (1);
INSERT INTO _replproto_link VALUES (1, 'node-a:9933', 'data', 'node-b', NULL, 1, 1, 7, 5);
INSERT INTO _replproto_table VALUES (1, 1, 'Dog', 'Dog'), (2, 1, 'dog', 'data.dog');
INSERT INTO _replproto_tombstone VALUES (1, 1, x'67', 9, NULL);
INSERT INTO _replproto_skipped VALUES (1, 1, 'Dog', x'62', 2, 'put', 'too large');
INSERT INTO "Dog" VALUES (x'61', '"a"', 5.5, 'node-b', 'rex', 1e12, 7, '{"n":1}');
INSERT INTO "Dog" VALUES (x'62', '"b"', 5, 'node-b', NULL, NULL, 6, '{"name":"b","n":2}');
INSERT INTO "Dog" VALUES (x'63', '"c"', 5, 'node-b', NULL, NULL, 6, '{"n":3}');
INSERT INTO "data.dog" VALUES (x'61', '"a"', 5, 'node-b', NULL, NULL, 7, '{"n":4}');
COMMIT;
"#;

fn old_file(name: &str) -> TempFile {
    let file = TempFile::new(name);
    let connection = file.connection();
    connection.execute_batch(FORMAT_1_FILE).unwrap();
    connection
        .execute(
            "UPDATE _replproto_link SET cursor = ?1",
            [at(3.0).to_bytes()],
        )
        .unwrap();
    file
}

/// All that a reader sees.
fn seen(file: &TempFile) -> Vec<String> {
    let replica = Replica::open(file.path()).unwrap();
    let link = replica.links().unwrap().remove(0);
    let mut seen = vec![
        format!("{link:?}"),
        format!("{:?}", replica.skipped(&link).unwrap()),
    ];
    for table in replica.tables(&link).unwrap() {
        let each = |row: ReplicaRow<'_>| {
            seen.push(format!("{table:?} {row:?}"));
            Ok::<_, SqliteError>(())
        };
        replica.rows(&table, each).unwrap();
    }
    seen
}

async fn open(file: &TempFile) -> SqliteSink {
    let options = SqliteOptions::new("node-a:9933", "data");
    SqliteSink::open(file.path(), options).await.unwrap()
}

/// The SQL of everything in the file, without its white space.
fn schema_of(file: &TempFile) -> String {
    let sql: String = file.query(
        "SELECT group_concat(type || name || coalesce(sql, ''))
         FROM (SELECT * FROM sqlite_schema ORDER BY type, name)",
    );
    sql.split_whitespace().collect()
}

#[tokio::test]
async fn an_old_file_is_gone_on_with() {
    let file = old_file("upgrade");
    let before = seen(&file);
    let mut sink = open(&file).await;
    assert_eq!(
        file.query::<i64>("SELECT version FROM _replproto_format"),
        3
    );
    assert_eq!(seen(&file), before);
    assert_eq!(
        file.query::<i64>(
            "SELECT count(*) FROM pragma_table_list WHERE name IN ('Dog', 'data.dog') AND NOT wr"
        ),
        2
    );
    // The whole layout is that of a new file.
    let new = TempFile::new("upgrade_new");
    let mut new_sink = open(&new).await;
    new_sink.begin().await.unwrap();
    for (key, table) in [("a", "Dog"), ("b", "dog")] {
        let change = put(key, 1.0, &[]).of(table);
        new_sink.apply(records(&[change])).await.unwrap();
    }
    new_sink.commit(None).await.unwrap();
    new_sink.close().await;
    assert_eq!(schema_of(&file), schema_of(&new));

    assert_eq!(
        sink.load().await.unwrap().cursor,
        StoredCursor::Found(at(3.0))
    );
    sink.begin().await.unwrap();
    let mut events = vec![schema("node-b"), copy_started(Some(5.0), true)];
    let changes = [
        // Older than its tombstone, older than its row, newer than its row.
        put("g", 8.0, &[]),
        put("b", 4.0, &[]),
        put("d", 6.0, &[("n", 6.0)]),
        delete("a", 5.0),
    ];
    events.extend(records(&changes));
    events.push(copy_completed());
    sink.apply(events).await.unwrap();
    sink.commit(None).await.unwrap();
    sink.close().await;
    // What the copy brought before and after, and not the rest.
    let ids = "SELECT group_concat(id, '') FROM (SELECT id FROM Dog ORDER BY key)";
    assert_eq!(file.query::<String>(ids), r#""a""b""d""#);
    assert_eq!(file.query::<i64>(r#"SELECT count(*) FROM "data.dog""#), 1);
    assert_eq!(file.query::<String>("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn what_others_have_added_to_an_old_file_stays() {
    let file = old_file("upgrade_added");
    file.connection()
        .execute_batch(
            r#"CREATE INDEX names ON Dog (record ->> 'name');
               CREATE VIEW dogs AS SELECT id, record ->> 'n' AS n FROM Dog;
               CREATE TABLE log (n);
               CREATE TRIGGER watch AFTER INSERT ON Dog BEGIN INSERT INTO log VALUES (new.record ->> 'n'); END;
               CREATE TRIGGER count AFTER INSERT ON log BEGIN UPDATE log SET n = (SELECT count(*) FROM Dog); END;
               CREATE TABLE note (dog BLOB REFERENCES Dog (key) ON DELETE CASCADE);
               INSERT INTO note VALUES (x'61');
               ALTER TABLE "data.dog" ADD COLUMN own;
               UPDATE "data.dog" SET own = 5;"#,
        )
        .unwrap();
    let before = seen(&file);
    open(&file).await.close().await;
    assert_eq!(seen(&file), before);
    let found = "SELECT id FROM Dog INDEXED BY names WHERE record ->> 'name' = 'b'";
    assert_eq!(file.query::<String>(found), "\"b\"");
    assert_eq!(file.query::<i64>("SELECT sum(n) FROM dogs"), 6);
    assert_eq!(file.query::<i64>("SELECT count(*) FROM note"), 1);
    // Rows are written anew, and nobody is told of it.
    assert_eq!(file.query::<i64>("SELECT count(*) FROM log"), 0);
    assert_eq!(file.query::<i64>(r#"SELECT own FROM "data.dog""#), 5);

    // The table with a column of its own takes large rows too.
    let mut sink = open(&file).await;
    sink.load().await.unwrap();
    sink.begin().await.unwrap();
    let name = "x".repeat(300_000);
    let large = put("z", 6.0, &[(&name, 1.0)]);
    let events: Vec<Event> = [large.clone().of("dog"), large]
        .into_iter()
        .flat_map(|change| records(&[change]))
        .collect();
    assert_eq!(sink.apply(events).await.unwrap().skipped, 0);
    sink.commit(None).await.unwrap();
    sink.close().await;
    let lengths = r#"SELECT sum(octet_length(record)) FROM (SELECT record FROM Dog WHERE key = x'7a'
        UNION ALL SELECT record FROM "data.dog" WHERE key = x'7a')"#;
    assert_eq!(file.query::<i64>(lengths), 2 * 300_006);
    assert_eq!(file.query::<i64>("SELECT n FROM log"), 4);
    assert_eq!(file.query::<String>("PRAGMA integrity_check"), "ok");
}

#[test]
fn an_upgrade_that_comes_to_nothing_leaves_the_file_as_it_was() {
    let file = old_file("upgrade_full");
    let before = (seen(&file), schema_of(&file));
    let mut connection = file.connection();
    let pages: i64 = file.query("PRAGMA page_count");
    connection
        .execute_batch(&format!("PRAGMA max_page_count = {}", pages + 1))
        .unwrap();
    let error = from_format_1(&mut connection).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
    assert_eq!((seen(&file), schema_of(&file)), before);
    assert_eq!(
        file.query::<i64>("SELECT version FROM _replproto_format"),
        1
    );

    connection
        .execute_batch("PRAGMA max_page_count = 100000")
        .unwrap();
    from_format_1(&mut connection).unwrap();
    assert_eq!(seen(&file), before.0);
    // Again, as a second follower would: nothing happens.
    from_format_1(&mut connection).unwrap();
}

#[test]
fn a_file_of_format_2_learns_which_tables_are_followed() {
    let file = TempFile::new("upgrade_2");
    let options = SqliteOptions::new("node-a:9933", "data");
    drop(schema::open(file.path(), &options).unwrap());
    let now = schema_of(&file);
    let mut connection = file.connection();
    connection
        .execute_batch(
            "ALTER TABLE _replproto_table DROP COLUMN followed;
             INSERT INTO _replproto_table (id, link, name, sql_name) VALUES (1, 1, 'Dog', 'Dog');
             UPDATE _replproto_format SET version = 2;",
        )
        .unwrap();
    for _ in 0..2 {
        from_format_2(&mut connection).unwrap();
        assert_eq!(
            file.query::<i64>("SELECT version FROM _replproto_format"),
            3
        );
        assert_eq!(
            file.query::<i64>("SELECT followed FROM _replproto_table"),
            1
        );
    }
    assert_eq!(
        schema_of(&file).contains("followed"),
        now.contains("followed")
    );
}
