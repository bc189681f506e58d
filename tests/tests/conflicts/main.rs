//! The rules of a replica, alone and in each sink, against recorded histories: `tests/conflicts`, or the folder that `REPLPROTO_CONFLICTS` names.

mod history;
mod log;
mod sinks;

use std::fs;

use history::Vector;
use replproto_core::WallTime;
use replproto_core::replica::Content;
use replproto_tests::golden_folder;
use replproto_tokio::MemorySink;
use serde_json::Value as Json;

fn vectors() -> Vec<Vector> {
    let folder = golden_folder("conflicts", "REPLPROTO_CONFLICTS");
    let mut vectors = Vec::new();
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).expect("a readable file");
        let json: Json = serde_json::from_slice(&text).expect("JSON");
        let all = json["vectors"].as_array().expect("vectors");
        vectors.extend(all.iter().map(Vector::read));
    }
    assert!(!vectors.is_empty(), "{} has no vectors", folder.display());
    vectors.retain(Vector::applies);
    vectors
}

fn none_is_wrong(who: &str, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{who}: {} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn run(future: impl Future<Output = Vec<String>>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn the_rules_give_the_row_of_each_history() {
    let mut wrong = Vec::new();
    for vector in &vectors() {
        let row = vector.row();
        let value = row.content().map(Content::to_value);
        let expires_at = row.expires_at().map(|WallTime(time)| time);
        if let Err(why) = vector.check(value.as_ref(), expires_at) {
            wrong.push(format!("{}: {why}", vector.name));
        }
        if vector.is_refused() != vector.has_record_errors {
            wrong.push(format!("{}: it has record errors, or none", vector.name));
        }
    }
    none_is_wrong("the rules", &wrong);
}

#[test]
fn the_sink_in_memory_keeps_the_row_of_each_history() {
    let view = MemorySink::new().view();
    none_is_wrong("MemorySink", &run(sinks::play(&view, &vectors())));
}

#[test]
fn the_sink_on_sqlite_keeps_the_row_of_each_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = sinks::Sqlite(folder.path().join("replica.db"));
    none_is_wrong("SqliteSink", &run(sinks::play(&store, &vectors())));
}
