use std::fs;

use super::folder::LOCK;
use super::*;

fn folder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("replproto-blobs-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn blob(file: &str) -> BlobInfo {
    BlobInfo {
        peer: "node-A".into(),
        database: "data".into(),
        file: file.into(),
        size: None,
    }
}

async fn save(store: &FileBlobStore, file: &str, pieces: &[usize]) -> Vec<u8> {
    let mut writer = store.open(blob(file)).await.unwrap();
    let mut all = Vec::new();
    for (index, length) in pieces.iter().enumerate() {
        let piece = vec![index as u8; *length];
        all.extend_from_slice(&piece);
        writer.write(piece.into()).await.unwrap();
    }
    writer.save().await.unwrap();
    all
}

fn unfinished(root: &Path) -> usize {
    fs::read_dir(root.join(UNFINISHED))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name() != LOCK)
        .count()
}

#[tokio::test]
async fn small_and_large_pieces_come_out_in_order() {
    let root = folder("pieces");
    let store = FileBlobStore::open_dir(&root).await.unwrap();
    for (file, pieces) in [
        ("none", vec![]),
        ("empty", vec![0]),
        ("small", vec![1, 2, 3]),
        ("large", vec![100_000, 10, 0, 16_384, 1, 16_384]),
        ("flushed", vec![FLUSHED_BYTES / 2; 5]),
    ] {
        let all = save(&store, file, &pieces).await;
        let path = store.path("node-A", "data", file);
        assert_eq!(fs::read(path).unwrap(), all, "{file}");
    }
    assert_eq!(unfinished(&root), 0);
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn the_list_has_what_is_saved_and_nothing_else() {
    let root = folder("list");
    let store = FileBlobStore::open_dir(&root).await.unwrap();
    let names = ["1a2b", "../../etc/passwd", "A", "a", "", "."];
    for name in names {
        save(&store, name, &[3]).await;
    }
    fs::write(root.join("README"), "not ours").unwrap();
    fs::create_dir(root.join("%zz")).unwrap();
    let mut writer = store.open(blob("unfinished")).await.unwrap();
    writer.write(vec![0; 50_000].into()).await.unwrap();

    let mut listed: Vec<_> = store.list().unwrap().map(|blob| blob.unwrap()).collect();
    listed.sort();
    let mut expected = names;
    expected.sort_unstable();
    assert_eq!(
        listed
            .iter()
            .map(|blob| blob.file.as_str())
            .collect::<Vec<_>>(),
        expected
    );
    for blob in &listed {
        assert_eq!(
            (blob.peer.as_str(), blob.database.as_str()),
            ("node-A", "data")
        );
        assert_eq!(blob.path, store.path("node-A", "data", &blob.file));
        assert!(blob.path.starts_with(&root));
    }
    writer.abort().await;
    assert_eq!(unfinished(&root), 0);
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn nothing_can_be_seen_before_the_save() {
    let root = folder("atomic");
    let store = FileBlobStore::open_dir(&root).await.unwrap();
    save(&store, "x", &[1]).await;
    let mut writer = store.open(blob("x")).await.unwrap();
    writer.write(vec![7; 70_000].into()).await.unwrap();
    let path = store.path("node-A", "data", "x");
    assert_eq!(fs::read(&path).unwrap().len(), 1);
    writer.save().await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![7; 70_000]);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn dropping_a_writer_removes_its_file() {
    let root = folder("drop");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let outlives_the_runtime = runtime.block_on(async {
        let store = FileBlobStore::open_dir(&root).await.unwrap();
        drop(store.open(blob("x")).await.unwrap());
        store.open(blob("y")).await.unwrap()
    });
    // Waits for the work off the thread.
    drop(runtime);
    assert_eq!(unfinished(&root), 1);
    drop(outlives_the_runtime);
    assert_eq!(unfinished(&root), 0);
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_unless_somebody_else_is_there() {
    let root = folder("leftovers");
    let first = FileBlobStore::open_dir(&root).await.unwrap();
    let leftover = root.join(UNFINISHED).join("1-1.part");
    let of_somebody_else = root.join(UNFINISHED).join("notes.txt");
    fs::write(&leftover, "half").unwrap();
    fs::write(&of_somebody_else, "keep").unwrap();

    let second = FileBlobStore::open_dir(&root).await.unwrap();
    assert!(leftover.exists(), "it may be one of the first store");
    drop((first, second));
    let third = FileBlobStore::open_dir(&root).await.unwrap();
    assert!(!leftover.exists());
    assert!(of_somebody_else.exists());
    save(&third, "x", &[1]).await;
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn an_error_says_what_and_where() {
    let root = folder("error");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("node"), "a file where a folder should be").unwrap();
    let store = FileBlobStore::open_dir(&root).await.unwrap();
    let mut writer = store
        .open(BlobInfo {
            peer: "node".into(),
            ..blob("x")
        })
        .await
        .unwrap();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    let error = writer.save().await.unwrap_err();
    assert!(error.path.starts_with(&root));
    assert_eq!(error.action, "create");
    assert_eq!(unfinished(&root), 0);
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn an_emptied_folder_is_used_again_and_one_that_is_gone_is_not_made_up_for() {
    let root = folder("emptied");
    let store = FileBlobStore::open_dir(&root).await.unwrap();
    fs::remove_dir_all(root.join(UNFINISHED)).unwrap();
    save(&store, "x", &[1]).await;
    fs::remove_dir_all(&root).unwrap();
    let error = store.open(blob("y")).await.unwrap_err();
    assert!(error.path.starts_with(&root), "{error}");
    assert!(
        error.to_string().contains("check that the folder"),
        "{error}"
    );
    assert!(!root.exists());
    // Whoever has lost it puts it back.
    fs::create_dir(&root).unwrap();
    save(&store, "y", &[2]).await;
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_in_use_as_the_first_one_was() {
    let root = folder("relocked");
    let first = FileBlobStore::open_dir(&root).await.unwrap();
    fs::remove_dir_all(root.join(UNFINISHED)).unwrap();
    let mut writer = first.open(blob("x")).await.unwrap();
    let second = FileBlobStore::open_dir(&root).await.unwrap();
    assert_eq!(unfinished(&root), 1, "it is of the first store");
    // The lock file alone may go too.
    fs::remove_file(root.join(UNFINISHED).join(LOCK)).unwrap();
    let other = first.open(blob("y")).await.unwrap();
    let third = FileBlobStore::open_dir(&root).await.unwrap();
    assert_eq!(unfinished(&root), 2, "they are of the first store");
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    writer.save().await.unwrap();
    other.abort().await;
    drop((first, second, third));
    fs::remove_dir_all(root).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_kept_on_the_disk_below_one_that_is_gone() {
    let root = folder("unmounted");
    let mut store = FileBlobStore::open_dir(&root).await.unwrap();
    let mut writer = store.open(blob("x")).await.unwrap();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    drop(writer);
    let is_unused = |store: &FileBlobStore| Arc::strong_count(&store.shared) == 1;
    while !is_unused(&store) {
        tokio::task::yield_now().await;
    }
    // As it is when the disk of the store is not mounted any more: there is a folder, of another file system.
    Arc::get_mut(&mut store.shared).unwrap().folders.device += 1;
    let error = store.open(blob("x")).await.unwrap_err();
    assert_eq!(error.path, root);
    assert!(error.error.to_string().contains("mount"), "{error:?}");
    assert_eq!(unfinished(&root), 0);
    fs::remove_dir_all(root).unwrap();
}
