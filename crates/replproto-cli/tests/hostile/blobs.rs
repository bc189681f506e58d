//! Blobs: transfers that never end, lie, or come again, and records that wait for them.

use std::fs::{self, File};

use replproto_core::wire::message::ChunkHeader;
use rusqlite::Connection;

use crate::case::{Case, ends, endures, survives};
use crate::publisher::LAST;
use crate::wire::{
    BINARY, BLOBS, Entry, TIME, array_head, batch, chunk, extension, failed_blob, field, frame, put,
};

/// A value that refers to this file.
fn reference(file: &str) -> Vec<u8> {
    let mut payload = b"\x93\xde\x00\x00\x00\xd9".to_vec();
    payload.push(file.len() as u8);
    payload.extend_from_slice(file.as_bytes());
    extension(0x0b, &payload)
}

/// A record with these blobs.
fn put_blobs(key: &str, files: impl IntoIterator<Item = String>, sequence: f64) -> Vec<u8> {
    let files: Vec<Vec<u8>> = files.into_iter().map(|file| reference(&file)).collect();
    let mut list = array_head(files.len() as u32);
    list.extend(files.concat());
    let value = field(&list);
    let entry = Entry {
        action: crate::wire::PUT | BLOBS,
        ..Entry::put(key.as_bytes(), &value)
    };
    batch(&[entry.bytes()], Some(sequence))
}

fn header(file: impl Into<String>) -> ChunkHeader {
    ChunkHeader {
        file: file.into(),
        ..ChunkHeader::default()
    }
}

/// All of a blob in one chunk.
fn whole(file: impl Into<String>, body: &[u8]) -> Vec<u8> {
    let finished = true;
    chunk(
        ChunkHeader {
            finished,
            ..header(file)
        },
        body,
    )
}

#[test]
fn long_error_texts_for_ever_new_blobs() {
    let why = "x".repeat((4 << 20) - 200);
    survives(|link| {
        for number in 0..40 {
            link.send(&failed_blob(&format!("{number:x}"), &why));
        }
    });
}

#[test]
fn a_name_of_a_blob_is_no_line_of_the_log() {
    let end = survives(|link| {
        let gone = ChunkHeader {
            finished: true,
            error: Some("no such file".into()),
            error_status: Some(404),
            ..header("1\nERROR all is lost")
        };
        link.send(&chunk(gone, b""));
    });
    assert!(end.log.contains("a blob is gone"), "{}", end.log);
    let is_forged = end.log.lines().any(|line| line.starts_with("ERROR"));
    assert!(!is_forged, "{}", end.log);
}

#[test]
fn long_error_texts_while_another_program_has_the_lock() {
    let case = Case::start();
    let link = case.link();
    let why = "x".repeat((4 << 20) - 200);
    link.send(&put(b"k1", b"\x40\xa1x", TIME));
    assert!(link.is_confirmed(TIME));
    let other = Connection::open(case.program.file()).expect("the replica");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let flood = || {
        for number in 0..60 {
            link.send(&failed_blob(&format!("{number:x}"), &why));
        }
    };
    link.send_while_stalled(flood, || other.execute_batch("ROLLBACK").expect("an end"));
    case.end_with_last(&link, 0);
}

/// One byte of a blob, then its failure.
fn open_and_fail(count: usize) -> Vec<u8> {
    let pair = |number| {
        let file = format!("{number:x}");
        let opens = frame(BINARY, &chunk(header(&*file), b"z"));
        let fails = frame(BINARY, &failed_blob(&file, "x"));
        [opens, fails].concat()
    };
    (0..count).flat_map(pair).collect()
}

#[test]
fn blobs_that_begin_and_fail() {
    survives(|link| link.raw(&open_and_fail(20_000)));
}

#[test]
fn blobs_that_begin_and_fail_while_their_folder_hangs() {
    let case = Case::start();
    let link = case.link();
    // What opens a file waits for whoever has locked the folder.
    let lock = case
        .program
        .file()
        .with_extension("sqlite.blobs")
        .join("%tmp/lock");
    fs::remove_file(&lock).expect("a lock");
    let held = File::create(&lock).expect("another lock");
    held.lock().expect("nobody has it");
    let pairs = open_and_fail(20_000);
    link.send_while_stalled(|| link.raw(&pairs), || held.unlock().expect("an end"));
    case.end_with_last(&link, 0);
}

#[test]
fn empty_blobs_without_end() {
    survives(|link| {
        for number in 0..20_000 {
            link.send(&whole(format!("{number:x}"), b""));
        }
    });
}

#[test]
fn blobs_that_are_opened_and_left() {
    ends("too_large", |link| {
        for number in 0..100_000 {
            link.send(&chunk(header(format!("{number:x}")), b"z"));
        }
    });
}

#[test]
fn blobs_that_claim_more_than_they_have() {
    survives(|link| {
        for number in 0..20_000 {
            let lie = ChunkHeader {
                size: Some(1 << 40),
                finished: true,
                ..header(format!("{number:x}"))
            };
            link.send(&chunk(lie, b"zz"));
        }
    });
}

#[test]
fn a_blob_that_has_more_than_it_claims() {
    survives(|link| {
        let small = ChunkHeader {
            size: Some(1),
            ..header("a")
        };
        link.send(&chunk(small, b"z"));
        let body = vec![b'z'; 1 << 20];
        for _ in 0..100 {
            link.send(&chunk(header("a"), &body));
        }
    });
}

#[test]
fn chunks_without_bytes() {
    survives(|link| {
        link.flood(&frame(BINARY, &chunk(header("a"), b"")), 100_000);
        link.send(&whole("a", b"z"));
    });
}

#[test]
fn chunks_of_a_blob_that_is_over() {
    survives(|link| {
        link.send(&whole("a", b"z"));
        link.flood(&frame(BINARY, &whole("a", b"z")), 20_000);
        link.send(&failed_blob("b", "no"));
        link.flood(&frame(BINARY, &chunk(header("b"), b"z")), 20_000);
    });
}

#[test]
fn transfers_under_one_number() {
    survives(|link| {
        for number in 0..2000 {
            let same = ChunkHeader {
                transfer: Some(1),
                finished: number % 2 == 1,
                ..header(format!("{:x}", number / 2))
            };
            link.send(&chunk(same, b"z"));
        }
    });
}

#[test]
fn references_without_blobs() {
    ends("too_large", |link| {
        for number in 0..100_000 {
            let files = [format!("{number:x}")];
            link.send(&put_blobs("k1", files, TIME + f64::from(number)));
        }
    });
}

#[test]
fn one_record_with_more_blobs_than_a_link_may_wait_for() {
    let files = (0..70_000).map(|number| format!("{number:x}"));
    let message = put_blobs("k1", files, TIME + 1.0);
    let case = Case::start();
    let link = case.link();
    link.send(&message);
    case.end_after("too_large");
}

#[test]
fn one_record_that_names_one_blob_again_and_again() {
    survives(|link| {
        let files = (0..10_000).map(|_| "a".to_owned());
        link.send(&put_blobs("k1", files, TIME + 1.0));
        link.send(&whole("a", b"z"));
    });
}

#[test]
fn files_with_names_that_lead_elsewhere() {
    let long = "f".repeat(100);
    let names = [
        ".",
        "..",
        "../../../up",
        "/etc/up",
        "a/b",
        "a\\b",
        "%tmp/lock",
        "%tmp",
        "CON",
        "nul\0",
        "\u{202e}",
        "a\nb",
        &long,
    ];
    let end = survives(|link| {
        for name in names {
            link.send(&whole(name, b"z"));
            link.send(&put_blobs("k1", [name.to_owned()], TIME + 1.0));
        }
    });
    let folder = end.folder();
    let beside: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("one").file_name())
        .collect();
    for name in beside {
        let name = name.to_string_lossy().into_owned();
        assert!(
            name.starts_with("r.sqlite") || name == "log" || name == "output",
            "{name}"
        );
    }
}

#[test]
fn file_names_without_end() {
    endures([
        whole("f".repeat(1 << 20), b"z"),
        failed_blob(&"f".repeat(1 << 20), "no"),
    ]);
}

#[test]
fn large_blobs_at_once() {
    let case = Case::start();
    let link = case.link();
    let body = vec![b'z'; 1 << 20];
    for _ in 0..4 {
        for blob in 0..16 {
            link.send(&chunk(header(format!("{blob:x}")), &body));
        }
    }
    for blob in 0..16 {
        link.send(&whole(format!("{blob:x}"), b""));
    }
    link.send_last();
    assert!(link.is_confirmed(LAST));
    case.end_within(0);
}
