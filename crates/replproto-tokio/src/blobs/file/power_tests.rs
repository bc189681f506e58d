//! What a store leaves on the disk when the power fails, or when any of its steps does.
//!
//! The disk is a model that follows the store's real steps: of a file it keeps what was synced, of a folder the names that
//! were synced. After each step a disk may hold that and no more, or all names at once and still no more bytes; in both a
//! blob must be there whole or not at all, and one that was said to be saved must be there.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, MutexGuard};

use super::disk::{Observer, Step};
use super::*;

/// What the steps so far have done. Files are numbered, folders are known by their path.
#[derive(Clone, Debug, Default)]
struct Model {
    files: Vec<ModelFile>,
    /// Names as they are, and as they are durable.
    names: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    steps: Vec<String>,
    /// The steps with these numbers fail.
    failing: Vec<usize>,
    begun: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(usize),
    Folder,
}

#[derive(Clone, Debug, Default)]
struct ModelFile {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kept {
    /// Only names that were synced.
    SyncedNames,
    /// All names: the disk was quick with those.
    AllNames,
}

impl Model {
    /// `None`: its name is removed already.
    fn file(&mut self, path: &Path) -> Option<&mut ModelFile> {
        match self.names.get(path)? {
            Entry::File(number) => self.files.get_mut(*number),
            Entry::Folder => panic!("{} is a folder", path.display()),
        }
    }

    fn apply(&mut self, step: Step<'_>) {
        match step {
            Step::Create(path) => {
                self.names
                    .insert(path.to_owned(), Entry::File(self.files.len()));
                self.files.push(ModelFile::default());
            }
            Step::Write(path, bytes) => {
                let file = self.file(path).expect("it was created");
                file.bytes.extend_from_slice(bytes);
            }
            Step::SyncFile(path) => {
                if let Some(file) = self.file(path) {
                    file.synced = file.bytes.len();
                }
            }
            Step::Rename(from, to) => {
                let entry = self.names.remove(from).expect("it was created");
                self.names.insert(to.to_owned(), entry);
            }
            Step::CreateFolder(path) => {
                self.names.insert(path.to_owned(), Entry::Folder);
            }
            Step::SyncFolder(folder) => {
                let is_in = |path: &Path| path.parent() == Some(folder);
                self.durable.retain(|path, _| !is_in(path));
                let names = self.names.iter().filter(|(path, _)| is_in(path));
                let names = names.map(|(path, entry)| (path.clone(), *entry));
                self.durable.extend(names);
            }
            Step::Remove(path) => {
                self.names.remove(path);
            }
        }
    }

    /// The files that are there after the power has failed: those that a durable folder leads to.
    fn left(&self, root: &Path, kept: Kept) -> BTreeMap<PathBuf, Vec<u8>> {
        let names = match kept {
            Kept::SyncedNames => &self.durable,
            Kept::AllNames => &self.names,
        };
        let is_reached = |path: &Path| {
            let above = path
                .ancestors()
                .skip(1)
                .take_while(|folder| *folder != root);
            let mut above = above.map(|folder| names.get(folder));
            above.all(|entry| entry == Some(&Entry::Folder))
        };
        let files = names.iter().filter_map(|(path, entry)| match entry {
            Entry::File(number) if is_reached(path) => {
                let file = &self.files[*number];
                Some((path.clone(), file.bytes[..file.synced].to_vec()))
            }
            _ => None,
        });
        files.collect()
    }
}

/// What a step is, without the parts of paths that differ from run to run.
fn name(step: Step<'_>) -> String {
    let (verb, path) = match step {
        Step::Create(path) => ("create", path),
        Step::Write(path, _) => ("write", path),
        Step::SyncFile(path) => ("sync file", path),
        Step::Rename(_, to) => ("rename to", to),
        Step::CreateFolder(path) => ("create folder", path),
        Step::SyncFolder(path) => ("sync folder", path),
        Step::Remove(path) => ("remove", path),
    };
    let is_unfinished = path.extension().is_some_and(|it| it == "part");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = if is_unfinished { "part" } else { &name };
    format!("{verb} {name}")
}

#[derive(Debug, Default)]
struct Power(Mutex<Model>);

impl Power {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }
}

impl Observer for Power {
    fn before(&self, step: Step<'_>) -> io::Result<()> {
        let mut model = self.model();
        let number = model.begun;
        model.begun += 1;
        if model.failing.contains(&number) {
            return Err(io::Error::other(format!(
                "{} fails, for the test",
                name(step)
            )));
        }
        Ok(())
    }

    fn after(&self, step: Step<'_>) {
        let mut model = self.model();
        model.apply(step);
        let name = name(step);
        // How much is written at a time is the store's own affair.
        if !name.starts_with("write") || model.steps.last() != Some(&name) {
            model.steps.push(name);
        }
    }
}

struct World {
    root: PathBuf,
    power: Arc<Power>,
    store: FileBlobStore,
}

impl World {
    /// A new store in a folder that is there already.
    fn new(test: &str) -> Self {
        let name = format!("replproto-power-{}-{test}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        let power = Arc::new(Power::default());
        let disk = Disk {
            observer: Some(power.clone()),
        };
        let store = FileBlobStore::open_on(disk, root.clone()).unwrap();
        power.model().steps.clear();
        power.model().begun = 0;
        Self { root, power, store }
    }

    async fn save(&self, file: &str, bytes: &[u8]) -> Result<(), BlobFileError> {
        let info = BlobInfo {
            peer: "node-a".into(),
            database: "data".into(),
            file: file.into(),
            size: None,
        };
        let mut writer = self.store.open(info).await?;
        for piece in bytes.chunks(FLUSHED_BYTES / 2 + 1) {
            if let Err(error) = writer.write(Bytes::copy_from_slice(piece)).await {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.save().await
    }

    /// Whether the blob is left; if it is, then whole.
    fn is_left(&self, file: &str, bytes: &[u8], kept: Kept) -> bool {
        let path = self.store.path("node-a", "data", file);
        let left = self.power.model().left(&self.root, kept);
        let Some(found) = left.get(&path) else {
            return false;
        };
        let steps = self.power.model().steps.clone();
        assert!(
            found == bytes,
            "{} of {} bytes after {steps:?}",
            found.len(),
            bytes.len()
        );
        true
    }

    fn check(&self, file: &str, bytes: &[u8], is_saved: bool) {
        for kept in [Kept::SyncedNames, Kept::AllNames] {
            let is_left = self.is_left(file, bytes, kept);
            let steps = self.power.model().steps.clone();
            assert!(
                is_left || !is_saved,
                "saved, and not there with {kept:?} after {steps:?}"
            );
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Small, and so large that the disk is told to begin before all is here.
fn sizes() -> [Vec<u8>; 3] {
    [0, 100, 2 * FLUSHED_BYTES + 100].map(|size| (0..size).map(|at| at as u8).collect())
}

#[tokio::test]
async fn a_blob_is_synced_then_renamed_then_its_folder_is_synced() {
    let world = World::new("order");
    world.save("1a", &[7; 100]).await.unwrap();
    world.power.model().steps.clear();
    world.save("1a", &[7; 100]).await.unwrap();
    let path = world.store.path("node-a", "data", "1a");
    let folder = path
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_string_lossy();
    assert_eq!(
        world.power.model().steps,
        [
            "create part",
            "write part",
            "sync file part",
            "rename to 1a",
            &format!("sync folder {folder}")
        ]
    );
}

#[tokio::test]
async fn a_blob_is_whole_or_not_there_after_each_step_and_there_once_saved() {
    for (index, bytes) in sizes().iter().enumerate() {
        // As many steps as it takes, and after each of them the power fails.
        for steps in 0.. {
            let world = World::new(&format!("off-{index}-{steps}"));
            world.power.model().failing = (steps..steps + 1000).collect();
            let is_saved = world.save("1a", bytes).await.is_ok();
            world.check("1a", bytes, is_saved);
            if is_saved {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_fails_the_blob_and_the_next_try_saves_it() {
    for (index, bytes) in sizes().iter().enumerate() {
        for failing in 0.. {
            let world = World::new(&format!("fails-{index}-{failing}"));
            world.power.model().failing = vec![failing];
            let is_saved = world.save("1a", bytes).await.is_ok();
            world.check("1a", bytes, is_saved);
            let has_failed = world.power.model().begun > failing;
            assert_eq!(
                is_saved,
                !has_failed,
                "step {failing} of {:?}",
                world.power.model().steps
            );
            world.power.model().failing.clear();
            world.save("1a", bytes).await.unwrap();
            world.check("1a", bytes, true);
            if !has_failed {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_writer_that_was_given_up_is_not_at_work_any_more() {
    let world = World::new("given-up");
    let info = BlobInfo {
        peer: "node-a".into(),
        database: "data".into(),
        file: "1a".into(),
        size: None,
    };
    for _ in 0..20 {
        let mut writer = world.store.open(info.clone()).await.unwrap();
        // Polled once: the write is under way, and nobody waits for it.
        let write = writer.write(vec![7; 3 * COLLECTED_BYTES].into());
        let _ = futures_util::FutureExt::now_or_never(write);
        writer.abort().await;
        let steps = world.power.model().steps.clone();
        assert_eq!(
            steps.last().map(String::as_str),
            Some("remove part"),
            "{steps:?}"
        );
    }
}
