//! The program from outside: what it prints, what it writes, and how it ends.

#[cfg(unix)]
mod disk;
mod logs;
mod metrics;
#[cfg(unix)]
mod outputs;
mod secrets;
#[cfg(unix)]
mod signals;
mod support;
mod tls;

use std::path::Path;

use replproto_core::key::Key;
use replproto_core::value::{Profile, Value};
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{ChunkHeader, TableStructure};
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, TableDefinition, WallTime};
use serde_json::Value as Json;
use support::{Publisher, code, replproto, run, stderr, stdout};

/// A file of messages: each after its length.
fn write_messages(path: &Path, messages: &[Vec<u8>]) {
    let mut file = Vec::new();
    for message in messages {
        file.extend((message.len() as u32).to_le_bytes());
        file.extend(message);
    }
    std::fs::write(path, file).expect("a file that can be written");
}

/// The table of the messages that are looked at.
fn structure() -> Message {
    Message::TableStructure(TableStructure {
        definition: TableDefinition {
            table: "Dog".into(),
            ..TableDefinition::default()
        },
        table: 5,
        ..TableStructure::default()
    })
}

fn sample_messages() -> Vec<Vec<u8>> {
    let nodes = Message::NodeMap {
        ids: vec![("node-a".into(), 0), ("node-b".into(), 1)],
        subscribed: Vec::new(),
    };
    let structure = structure();
    let value = Value::Object(vec![
        ("name".into(), Value::Text("Rex \"1\"".into())),
        ("weight".into(), Value::Number(12.5)),
    ]);
    let mut batch = BatchBuilder::new(WallTime(1_747_252_561_000.0));
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL,
        node: 1,
        table: 5,
        key: &Key::Text("k1".into()).encode().unwrap(),
        version: 1_747_252_561_000.25,
        expires_at: Some(1_747_252_562_000.0),
        user: &Key::Text("admin".into()).encode().unwrap(),
        value: &value.encode(Profile::Table).unwrap(),
        ..NewEntry::default()
    });
    batch.entry(&NewEntry {
        kind: 2,
        table: 5,
        key: &Key::Number(2.0).encode().unwrap(),
        version: 1_747_252_561_000.25,
        ..NewEntry::default()
    });
    let chunk = |finished, body: &'static [u8]| Message::BlobChunk {
        header: ChunkHeader {
            file: "1a".into(),
            size: Some(5),
            finished,
            ..ChunkHeader::default()
        },
        body: body.into(),
    };
    vec![
        nodes.encode(),
        structure.encode(),
        chunk(false, b"abc").encode(),
        batch.finish(Some(Sequence(1_747_252_561_003.5))),
        chunk(true, b"de").encode(),
    ]
}

#[test]
fn inspect_shows_every_command_as_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.bin");
    write_messages(&path, &sample_messages());
    let output = run(&["inspect", "--json", path.to_str().unwrap()]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"event":"table","table":"Dog","schemaDefined":false,"attributes":[]}"#,
            r#"{"event":"blob_open","blob":0,"file":"1a","size":5}"#,
            r#"{"event":"blob_chunk","blob":0,"file":"1a","bytes":3,"last":false}"#,
            r#"{"event":"record","table":"Dog","id":"k1","type":"put","version":1747252561000.25,"origin":"node-b","user":"admin","expiresAt":1747252562000,"value":{"name":"Rex \"1\"","weight":{"$f64":"12.5","bits":"4029000000000000"}}}"#,
            r#"{"event":"record","table":"Dog","id":2,"type":"delete","version":1747252561000.25,"origin":"node-a"}"#,
            r#"{"event":"end_transaction","sequence":1747252561003.5}"#,
            r#"{"event":"blob_chunk","blob":0,"file":"1a","bytes":2,"last":true}"#,
        ]
    );
}

#[test]
fn inspect_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.bin");
    let messages = sample_messages();
    write_messages(&path, &messages);
    let path = path.to_str().unwrap();
    let output = run(&["inspect", "--stats", "--json", path]);
    let counts: Json = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(counts["records"], 2);
    assert_eq!(counts["fields"], 2);
    assert_eq!(counts["blob_bytes"], 5);
    assert_eq!(
        counts["bytes"],
        messages.iter().map(Vec::len).sum::<usize>()
    );
    assert!(counts["peak_retained_bytes"].as_u64() > Some(0));
    assert!(counts["records_per_second"].as_f64() > Some(0.0));
    for options in [&["inspect", "--stats", path][..], &["inspect", path]] {
        let output = run(options);
        assert_eq!(code(&output), Some(0));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn inspect_passes_over_a_record_that_is_nested_too_deeply() {
    let structure = structure();
    let nodes = Message::NodeMap {
        ids: vec![("node-a".into(), 0)],
        subscribed: Vec::new(),
    };
    let mut batch = BatchBuilder::new(WallTime(1_747_252_561_000.0));
    let openings: [&[u8]; 5] = [
        b"\x91",
        b"\x81",
        b"\xd4\x73\x00\x91",
        b"\xd4\x73\x00",
        b"\xd4\x78\x00",
    ];
    for opening in openings {
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL.with(Flags::BLOBS),
            table: 5,
            key: b"deep",
            version: 2.0,
            value: &opening.repeat(1_000_000),
            ..NewEntry::default()
        });
    }
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL,
        table: 5,
        key: b"good",
        version: 3.0,
        value: b"\x05",
        ..NewEntry::default()
    });
    let messages = [
        nodes.encode(),
        structure.encode(),
        batch.finish(Some(Sequence(4.0))),
    ];
    let mut file = Vec::new();
    for message in &messages {
        file.extend((message.len() as u32).to_le_bytes());
        file.extend(message);
    }
    // The smallest stack that a thread is likely to have.
    let inspect = move || {
        let mut lines = replproto_cli::inspect::JsonLines::new(Vec::new());
        let stats = replproto_cli::inspect::inspect(&*file, &mut lines).expect("a readable file");
        (stats, String::from_utf8(lines.into_inner()).expect("UTF-8"))
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let (stats, lines) = thread.spawn(inspect).unwrap().join().unwrap();
    assert_eq!(stats.skipped_undecodable, openings.len() as u64);
    assert_eq!(
        lines.matches(r#""event":"record_skipped""#).count(),
        openings.len()
    );
    assert!(lines.contains(r#""id":"good","type":"put""#), "{lines}");
}

#[test]
fn inspect_tells_where_a_file_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.bin");
    let mut messages = sample_messages();
    messages[3].truncate(30);
    write_messages(&path, &messages);
    let output = run(&["inspect", "--json", path.to_str().unwrap()]);
    assert_eq!(code(&output), Some(1));
    let offset: usize = messages[..3].iter().map(|message| 4 + message.len()).sum();
    let place = format!("message 3, at byte {offset} of the file: malformed message 3, at byte 8");
    assert!(stderr(&output).contains(&place), "{}", stderr(&output));
    let last = stdout(&output)
        .lines()
        .last()
        .expect("lines before the damage");
    assert!(
        last.starts_with(r#"{"event":"close","reason":"malformed message 3"#),
        "{last}"
    );
    assert_eq!(code(&run(&["inspect", "no such file"])), Some(1));
}

#[test]
fn options_that_make_no_sense_are_mistakes_of_usage() {
    let url = "ws://127.0.0.1:1";
    let folder = tempfile::tempdir().expect("a folder");
    for (options, why) in [
        (&["receive"][..], "Usage"),
        (
            &["receive", "http://a", "--database", "data", "--into", "x"],
            "wss://",
        ),
        (&["receive", url, "--database", "data"], "--into"),
        (
            &[
                "receive",
                url,
                "--database",
                "data",
                "--into",
                "x",
                "--authorization",
                "a",
                "--authorization-file",
                "b",
            ],
            "cannot be combined",
        ),
        (
            &[
                "receive",
                url,
                "--database",
                "data",
                "--into",
                "x",
                "--deadline",
                "2 days",
            ],
            "unit",
        ),
        (
            &["receive", url, "--database", "", "--into", "x"],
            "database",
        ),
    ] {
        let output = replproto(options).current_dir(folder.path()).output();
        let output = output.expect("the program starts");
        assert_eq!(code(&output), Some(2), "{options:?}");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn the_deadline_has_an_exit_code_of_its_own_and_still_exports() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let state_text = state.to_str().unwrap();
    let output = run(&[
        "receive",
        "ws://127.0.0.1:1",
        "--database",
        "data",
        "--export-state",
        state_text,
        "--deadline",
        "300ms",
        "--reconnect-delay",
        "50",
        "--authorization",
        "Basic canary",
    ]);
    assert_eq!(code(&output), Some(3), "{}", stderr(&output));
    assert!(!stderr(&output).contains("canary"));
    let state: Json = serde_json::from_slice(&std::fs::read(state).unwrap()).expect("JSON");
    assert_eq!(state["tables"], serde_json::json!({}));
    assert_eq!(state["events"]["count"], 0);
}

#[test]
fn receive_follows_and_goes_on_where_it_was() {
    let publisher = Publisher::start(2500, 9);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, state, record) = (path("r.sqlite"), path("state.json"), path("inputs.jsonl"));
    let receive = |more: &[&str]| {
        let mut options = vec![
            "receive",
            &publisher.url,
            "--database",
            "demo",
            "--into",
            &file,
            "--start",
            "1",
            "--until-idle",
            "300ms",
            "--deadline",
            "60s",
        ];
        options.extend(more);
        let output = run(&options);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        output
    };
    let first = receive(&["--export-state", &state, "--record", &record]);
    assert!(stdout(&first).contains("records"), "{}", stdout(&first));
    let exported: Json = serde_json::from_slice(&std::fs::read(&state).unwrap()).expect("JSON");
    let tables = exported["tables"].as_object().expect("tables");
    assert_eq!(
        tables.keys().collect::<Vec<_>>(),
        ["Device", "Photo", "Reading"]
    );
    let photo = &tables["Photo"]["\"photo-000000\""];
    assert_eq!(photo["id"], "photo-000000");
    assert_eq!(
        tables["Reading"]["\"rec-00000000\""]["temperature"]["$f64"],
        "-19.875"
    );
    assert_eq!(
        exported["blobs"].as_object().map(|blobs| blobs.len()),
        Some(9)
    );
    assert_eq!(exported["blobs"]["1000"]["size"], 8192);
    assert_eq!(exported["events"]["count"], 2509);
    assert_eq!(
        exported["events"]["checkpoints"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(
        exported["counts"],
        serde_json::json!({"skipped": 0, "blob_failures": 0})
    );
    assert!(std::fs::metadata(&record).unwrap().len() > 100_000);

    let second = receive(&[]);
    let line = stdout(&second)
        .lines()
        .find(|line| line.contains("records"));
    assert!(line.is_some_and(|line| line.contains(" 0 in ")), "{line:?}");
}

#[test]
fn the_demo_ends_with_a_verified_replica() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let output = run(&[
        "demo",
        "--records",
        "3000",
        "--blobs",
        "30",
        "--keep",
        keep.to_str().unwrap(),
    ]);
    let text = stdout(&output);
    assert_eq!(code(&output), Some(0), "{text}{}", stderr(&output));
    let has = |name: &str, what: &str| {
        text.lines()
            .any(|line| line.trim_start().starts_with(name) && line.contains(what))
    };
    assert!(has("differences", "none"), "{text}");
    assert!(has("compared", "30 blobs"), "{text}");
    assert!(has("reconnects", "1"), "{text}");
    assert!(has("blobs", "4 failed and come again"), "{text}");
    assert!(keep.join("replica.sqlite").exists());
    let output = run(&["demo", "--keep", keep.to_str().unwrap()]);
    assert_eq!(
        code(&output),
        Some(2),
        "a folder that is not empty is refused"
    );
}
