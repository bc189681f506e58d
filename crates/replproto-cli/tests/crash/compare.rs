//! Whether the replica is what the source is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::deaths::unfinished;
use crate::publisher::{DATABASE, NODE};
use crate::reader::{ALL, Reader};
use crate::source::{self, PHOTOS, TABLES};
use crate::world::Shared;

/// Fails unless the replica has every record of the source with its blob, and nothing else.
pub(crate) fn compare(shared: &Shared, reader: &mut Reader) {
    for (table, name) in TABLES.into_iter().enumerate() {
        let read = reader.read(table, &ALL).expect("a readable replica");
        let (_, rows) = read.expect("a replica");
        let rows = rows.into_iter().map(|row| {
            let record = serde_json::from_str(&row.record).expect("JSON");
            (row.number, (row.version, record))
        });
        let found: BTreeMap<u64, (f64, Json)> = rows.collect();
        let expected: BTreeMap<u64, (f64, Json)> = shared.with(|world| {
            let rows = world.source.rows(table, 0);
            let rows = rows.map(|(id, state)| {
                let version = source::version(state.last);
                (id.1, (version, source::record(id, state)))
            });
            rows.collect()
        });
        let numbers = |rows: &BTreeMap<u64, _>| rows.keys().copied().collect::<Vec<_>>();
        assert_eq!(numbers(&found), numbers(&expected), "{name}");
        for (number, expected) in &expected {
            assert_eq!(&found[number], expected, "{name} {number}");
        }
    }
    compare_blobs(shared);
    assert_eq!(unfinished(shared), 0, "what a crash left is cleared up");
}

fn compare_blobs(shared: &Shared) {
    let (needed, sent) = shared.with(|world| {
        let photos = world.source.rows(PHOTOS, 0);
        let files = photos.map(|(id, state)| source::blob_file(id, state.put()));
        (files.collect::<Vec<_>>(), world.sent_blobs.clone())
    });
    for file in needed {
        assert!(shared.blob_path(&file).exists(), "{file} is missing");
    }
    for path in files(&shared.blobs.join(NODE).join(DATABASE)) {
        let file = path.file_name().and_then(|name| name.to_str());
        let file = file.expect("a name");
        assert!(sent.contains(file), "{file} was never sent");
        let content = fs::read(&path).expect("a blob");
        assert!(content == source::blob_content(file), "{file} is damaged");
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
