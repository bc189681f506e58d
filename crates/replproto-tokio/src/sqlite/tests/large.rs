//! Rows that are too large to be made in memory.

use replproto_core::event::SkippedRecord;
use replproto_core::value::{Profile, Value};
use replproto_core::{RecordError, RecordKind};

use super::*;

const LIMIT: u64 = 4 << 20;

async fn open_limited(file: &TempFile, max_row: u64) -> SqliteSink {
    let options = SqliteOptions {
        max_row,
        event_log: true,
        ..options()
    };
    SqliteSink::open(file.path(), options).await.unwrap()
}

fn value(fields: Vec<(&str, Value)>) -> Vec<u8> {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect())
        .encode(Profile::Table)
        .unwrap()
}

/// A record with a name and a text of this length.
fn with_text(key: &str, version: f64, name: &str, length: usize) -> Change {
    let text = Value::Text("\u{1}".repeat(length));
    let name = Value::Text(name.into());
    put(key, version, &[]).with(1, value(vec![("name", name), ("text", text)]))
}

fn patch_of(key: &str, version: f64, fields: Vec<(&str, Value)>) -> Change {
    put(key, version, &[]).with(5, value(fields))
}

fn text(length: usize) -> Value {
    Value::Text("y".repeat(length))
}

/// Stores the changes, and tells how many of them were passed over.
async fn store(file: &TempFile, changes: &[Change]) -> u64 {
    store_within(file, LIMIT, changes).await
}

async fn store_within(file: &TempFile, max_row: u64, changes: &[Change]) -> u64 {
    let mut sink = open_limited(file, max_row).await;
    sink.load().await.unwrap();
    sink.begin().await.unwrap();
    let applied = sink.apply(records(changes)).await.unwrap();
    sink.commit(None).await.unwrap();
    sink.close().await;
    applied.skipped
}

fn skipped_errors(file: &TempFile) -> Vec<String> {
    let (replica, link) = link(file);
    let skipped = replica.skipped(&link).unwrap();
    skipped.into_iter().map(|row| row.error).collect()
}

#[tokio::test]
async fn a_large_row_is_as_any_other() {
    let file = TempFile::new("large");
    // A byte of text is six of JSON.
    let changes = [
        with_text("a", 1.0, "first", 300_000),
        with_text("a", 2.0, "second", 400_000),
        with_text("a", 1.5, "late", 500_000),
        with_text("b", 1.0, "small", 5),
        with_text("b", 2.0, "grown", 600_000),
        with_text("c", 1.0, "large", 600_000),
        put("c", 2.0, &[("n", 1.0)]),
        delete("d", 5.0),
        with_text("d", 4.0, "gone", 300_000),
        delete("e", 5.0),
        with_text("e", 6.0, "back", 300_000),
        delete("e", 7.0),
    ];
    assert_eq!(store(&file, &changes).await, 0);
    let names =
        "SELECT group_concat(id || (record ->> 'name')) FROM Dog WHERE typeof(record) = 'blob'";
    assert_eq!(file.query::<String>(names), r#""a"second,"b"grown"#);
    assert_eq!(
        file.query::<i64>("SELECT length(record ->> 'text') FROM Dog WHERE id = '\"a\"'"),
        400_000
    );
    assert_eq!(file.query::<i64>("SELECT count(*) FROM Dog"), 3);
    assert_eq!(
        file.query::<i64>("SELECT count(*) FROM _replproto_event"),
        changes.len() as i64
    );
    // SQLite's functions take the blob as the JSON that it holds, and so do readers of ours.
    let functions = "SELECT json_valid(record, 1) && record -> 'name' = '\"second\"'
        && (SELECT count(*) FROM json_each(record)) = 2
        && json_extract(CAST(record AS TEXT), '$.name') = 'second'
        && json_patch(record, '{\"text\":null}') = '{\"name\":\"second\"}'
        && octet_length(record) = 2400027
        FROM Dog WHERE id = '\"a\"'";
    assert!(file.query::<bool>(&functions.replace("&&", "AND")));
    let rows = rows(&file, "Dog");
    assert!(
        rows[0]
            .1
            .starts_with(r#"{"name":"second","text":"\u0001\u0001"#)
    );
    assert_eq!(rows[0].1.len(), 400_000 * 6 + 27);
    assert_eq!(rows[2], row("c", r#"{"n":1}"#));
}

#[tokio::test]
async fn an_index_or_a_trigger_of_a_reader_sees_large_rows_whole() {
    let file = TempFile::new("large_index");
    assert_eq!(store(&file, &[with_text("a", 1.0, "small", 1)]).await, 0);
    file.connection()
        .execute_batch(
            "CREATE INDEX names ON Dog (record ->> 'name');
             CREATE TABLE seen (name TEXT);
             CREATE TRIGGER watch AFTER INSERT ON Dog BEGIN
                 INSERT INTO seen VALUES (new.record ->> 'name');
             END;",
        )
        .unwrap();
    let changes = [
        with_text("a", 2.0, "large", 300_000),
        with_text("b", 1.0, "new", 300_000),
        patch_of("b", 2.0, vec![("name", Value::Text("patched".into()))]),
    ];
    assert_eq!(store(&file, &changes).await, 0);
    let find = |name: &str| {
        file.query::<String>(&format!(
            "SELECT id FROM Dog INDEXED BY names WHERE record ->> 'name' = '{name}'"
        ))
    };
    assert_eq!(find("large"), "\"a\"");
    assert_eq!(find("patched"), "\"b\"");
    assert_eq!(
        file.query::<String>("SELECT group_concat(name) FROM seen"),
        "new"
    );
    assert_eq!(file.query::<String>("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn a_copy_keeps_large_rows_that_it_brings_in_an_older_version() {
    let file = TempFile::new("large_seen");
    let changes = [
        with_text("a", 5.0, "a", 300_000),
        with_text("b", 5.0, "b", 300_000),
    ];
    assert_eq!(store(&file, &changes).await, 0);
    for seen in [&["a", "b"][..], &["a"]] {
        let mut sink = open_limited(&file, LIMIT).await;
        sink.load().await.unwrap();
        let mut events = vec![schema(PEER), copy_started(Some(seen.len() as f64), false)];
        let brought: Vec<_> = seen
            .iter()
            .map(|key| with_text(key, 1.0, "older", 400_000))
            .collect();
        events.extend(records(&brought));
        events.push(copy_completed());
        commit(&mut sink, events, None).await;
        sink.close().await;
        let rows = rows(&file, "Dog");
        assert_eq!(rows.len(), seen.len());
        assert!(rows[0].1.starts_with("{\"name\":\"a\""));
    }
    assert_eq!(file.query::<i64>("SELECT count(*) FROM _replproto_seen"), 0);
}

#[tokio::test]
async fn what_is_short_and_unfolds_is_large_too() {
    let file = TempFile::new("unfolds");
    let members = vec![Value::Undefined; 80_000];
    let change = put("a", 1.0, &[]).with(1, value(vec![("list", Value::Array(members))]));
    assert!(change.value.len() < 256 << 10);
    assert_eq!(store(&file, &[change]).await, 0);
    assert_eq!(
        file.query::<i64>("SELECT json_array_length(record, '$.list') FROM Dog"),
        80_000
    );
}

#[tokio::test]
async fn patches_of_large_rows_are_merged_as_those_of_small_ones() {
    let file = TempFile::new("large_patches");
    let n = Value::Number;
    let changes = [
        // Large row, small patch.
        with_text("a", 1.0, "a", 400_000),
        patch_of("a", 2.0, vec![("n", n(5.0)), ("name", Value::Null)]),
        patch_of("a", 1.5, vec![("n", n(6.0))]),
        // Small row, large patch.
        put("b", 1.0, &[("n", 1.0)]),
        patch_of("b", 2.0, vec![("text", text(500_000))]),
        // Both are large, and the result is small.
        with_text("c", 1.0, "c", 300_000),
        patch_of("c", 2.0, vec![("text", text(400_000))]),
        patch_of("c", 3.0, vec![("text", Value::Null)]),
        // There is none.
        patch_of("d", 1.0, vec![("text", text(600_000))]),
    ];
    assert_eq!(store(&file, &changes).await, 0);
    let about = |id: &str| {
        file.query::<String>(&format!(
            "SELECT version || json_remove(record, '$.text') || coalesce(length(record ->> 'text'), '-')
             FROM Dog WHERE id = '\"{id}\"'"
        ))
    };
    assert_eq!(about("a"), r#"2.0{"name":null,"n":5}400000"#);
    assert_eq!(about("b"), r#"2.0{"n":1}500000"#);
    assert_eq!(about("c"), r#"3.0{"name":"c"}-"#);
    assert_eq!(about("d"), "1.0{}600000");
}

#[tokio::test]
async fn a_record_that_makes_too_large_a_row_is_passed_over() {
    let file = TempFile::new("too_large");
    let limit = LIMIT as usize;
    let changes = [
        with_text("a", 1.0, "kept", 10),
        with_text("a", 2.0, "too large", limit / 6 + 1),
        // Patches that add up.
        patch_of("b", 1.0, vec![("x", text(limit / 2))]),
        patch_of("b", 2.0, vec![("y", text(limit / 2))]),
        patch_of("b", 3.0, vec![("z", Value::Null)]),
        patch_of("b", 4.0, vec![("x", text(limit - 100))]),
        patch_of("b", 5.0, vec![("z", text(200))]),
        put("c", 1.0, &[("n", 1.0)]),
    ];
    assert_eq!(store(&file, &changes).await, 3);
    let errors = skipped_errors(&file);
    assert_eq!(errors.len(), 3);
    for error in errors {
        assert!(error.contains("4194304 bytes of a row"), "{error}");
    }
    let rows = rows(&file, "Dog");
    assert!(rows[0].1.starts_with(r#"{"name":"kept""#));
    let version = "SELECT version FROM Dog WHERE id = '\"b\"'";
    assert_eq!(file.query::<f64>(version), 4.0);
    assert_eq!(rows[1].1.len(), limit - 100 + r#"{"x":"","z":null}"#.len());
    assert_eq!(rows[2], row("c", r#"{"n":1}"#));

    // A row that is larger than the limit already, since that was higher.
    let grow = "UPDATE Dog SET record = json_set(record, '$.x', printf('%.*c', 5000000, 'x')) WHERE id = '\"b\"'";
    file.connection().execute_batch(grow).unwrap();
    let changes = [patch_of("b", 6.0, vec![("z", Value::Null)])];
    assert_eq!(store(&file, &changes).await, 1);
    assert_eq!(file.query::<f64>(version), 4.0);
}

#[tokio::test]
async fn a_large_record_that_cannot_be_read_is_passed_over() {
    let file = TempFile::new("large_broken");
    let mut broken = with_text("a", 1.0, "a", 400_000);
    broken.value.push(0xc1);
    let mut lost_key = with_text("b", 1.0, "b", 400_000);
    lost_key.key = Vec::new();
    let mut message = with_text("c", 1.0, "c", 400_000);
    message.action = 3;
    let changes = [broken, lost_key, message, with_text("d", 1.0, "d", 1)];
    assert_eq!(store(&file, &changes).await, 2);
    assert_eq!(skipped_errors(&file).len(), 2);
    assert_eq!(rows(&file, "Dog").len(), 1);
}

#[tokio::test]
async fn a_record_that_the_link_passed_over_is_listed_also_without_a_version() {
    let file = TempFile::new("no_version");
    let changes = [
        put("a", f64::NAN, &[]),
        put("b", f64::INFINITY, &[]),
        put("c", 1.0, &[("n", 1.0)]),
    ];
    let events = records(&changes);
    assert!(matches!(
        &events[0],
        Event::RecordSkipped(skipped) if matches!(
            **skipped,
            SkippedRecord { kind: RecordKind::Put, error: RecordError::Version, version: None, .. }
        )
    ));
    assert_eq!(store(&file, &changes).await, 0);
    assert_eq!(
        skipped_errors(&file),
        ["the version is not a finite number"; 2]
    );
    let (replica, link) = link(&file);
    let skipped = replica.skipped(&link).unwrap();
    assert_eq!((skipped[0].version, &*skipped[0].key), (0.0, &b"a"[..]));
    assert_eq!(rows(&file, "Dog"), [row("c", r#"{"n":1}"#)]);
}

#[tokio::test]
async fn a_limit_below_what_is_decoded_at_once_holds_too() {
    let file = TempFile::new("low-limit");
    let changes = [
        patch_of("a", 1.0, vec![("x", text(900))]),
        patch_of("a", 2.0, vec![("y", text(900))]),
        patch_of("b", 1.0, vec![("x", text(1100))]),
        put("c", 1.0, &[]).with(1, value(vec![("x", text(1100))])),
        put("d", 1.0, &[]).with(1, value(vec![("x", text(900))])),
    ];
    assert_eq!(store_within(&file, 1000, &changes).await, 3);
    assert_eq!(skipped_errors(&file).len(), 3);
    let ids: Vec<String> = rows(&file, "Dog").into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [r#""a""#, r#""d""#]);
}
