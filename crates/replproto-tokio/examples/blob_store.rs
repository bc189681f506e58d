//! A blob store of one's own: the bytes of each blob are kept once, under their SHA-256, however many records and
//! publishers refer to them.
//!
//! ```text
//! cargo run -p replproto-tokio --example blob_store -- ws://127.0.0.1:9933 data replica.db blobs/
//! ```
//!
//! A link hands a blob over in pieces while they arrive, so no blob is ever in memory whole. The cursor waits: a record
//! is confirmed only when `save` has returned for each of its blobs. So `save` has to mean that the blob survives a power cut,
//! and a blob that fails (`Err` of any step) is asked for again on a later link. Nothing is lost by saying no.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use replproto_tokio::{
    BlobInfo, BlobStore, BlobWriter, LinkConfig, RunOptions, Sink, SqliteOptions, SqliteSink, run,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

mod common;

use common::Failure;

const USAGE: &str = "\
Keeps the blobs of a database by their contents, and its records in an SQLite file.

usage: blob_store ADDRESS DATABASE FILE FOLDER

  ADDRESS  of the publisher: ws://HOST[:PORT], or wss://... for TLS
  FILE     for the records; made if it is not there, otherwise it goes on where it was
  FOLDER   for the blobs";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, database, file, folder] = &arguments[..] else {
        return common::misused(USAGE);
    };
    let config = match address.parse() {
        Ok(endpoint) => LinkConfig::new(endpoint, "blob-store-example", database),
        Err(error) => return common::ended(Err(error.into())),
    };
    let kept = keep(
        config,
        Path::new(file),
        Path::new(folder),
        common::interrupted(),
    );
    common::ended(kept.await)
}

/// Keeps records and blobs until `end`.
pub(crate) async fn keep(
    config: LinkConfig,
    file: &Path,
    folder: &Path,
    end: impl Future<Output = ()>,
) -> Result<(), Failure> {
    config.check().await?;
    let blobs = ContentStore::open(folder)?;
    // The names of the link in the file: another link may keep its records there too.
    let names = SqliteOptions::new(config.endpoint.to_string(), config.core.database.as_str());
    let mut sink = SqliteSink::open(file, names).await?;
    let options = RunOptions::default();
    let attended = common::attend(&options, end);
    let end = tokio::select! {
        end = run(config, &mut sink, blobs, options) => end.map_err(common::failed),
        never = attended => match never {},
    };
    sink.close().await;
    eprintln!("{} blobs were saved", end?.stats.blobs_saved);
    Ok(())
}

/// The store: a folder with
///
/// * `content/`: the bytes, each file named for their SHA-256;
/// * `names/`: for each blob that publishers name, a small file that says which content it has;
/// * `unfinished/`: what is being written.
///
/// All are in one file system, since a file is put in its place by renaming it.
#[derive(Clone)]
pub(crate) struct ContentStore {
    root: Arc<Path>,
    /// Tells unfinished files apart: the same blob may come twice at the same time.
    next: Arc<AtomicU64>,
}

impl ContentStore {
    /// Opens a store that nobody else uses.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let unfinished = root.join("unfinished");
        match fs::remove_dir_all(&unfinished) {
            // What a crash has left. No record was confirmed on the strength of it.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        for folder in [&unfinished, &root.join("content"), &root.join("names")] {
            fs::create_dir_all(folder)?;
        }
        flush_folder(root)?;
        Ok(Self {
            root: root.into(),
            next: Arc::default(),
        })
    }

    /// The file with the bytes of a blob, if it is saved. For whoever reads the records, and finds the blob named there.
    #[allow(dead_code)] // This program only keeps them.
    pub(crate) fn find(&self, peer: &str, database: &str, file: &str) -> io::Result<PathBuf> {
        let name: serde_json::Value =
            serde_json::from_slice(&fs::read(self.name(peer, database, file))?)?;
        let digest = name["sha256"]
            .as_str()
            .ok_or(io::ErrorKind::InvalidData)?
            .to_owned();
        Ok(self.content(&digest))
    }

    fn content(&self, digest: &str) -> PathBuf {
        self.root.join("content").join(digest)
    }

    /// Names come from the peer, and could lead out of the folder or be too long for it. Their digest can not.
    fn name(&self, peer: &str, database: &str, file: &str) -> PathBuf {
        // As JSON, so that ("a", "bc") and ("ab", "c") are different.
        let whole = json!([peer, database, file]).to_string();
        self.root.join("names").join(hex(&Sha256::digest(whole)))
    }

    fn create(&self) -> io::Result<Unfinished> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("unfinished").join(number.to_string());
        Ok(Unfinished {
            file: File::create_new(&path)?,
            path,
        })
    }
}

impl BlobStore for ContentStore {
    type Error = io::Error;
    type Writer = ContentWriter;

    /// The size in `blob` is only what the peer says: nothing is reserved because of it.
    async fn open(&self, blob: BlobInfo) -> Result<ContentWriter, io::Error> {
        let store = self.clone();
        let part = off_thread(move || store.create()).await?;
        Ok(ContentWriter {
            store: self.clone(),
            blob,
            part: Some((part, Sha256::new())),
        })
    }
}

/// Takes the bytes of one blob.
pub(crate) struct ContentWriter {
    store: ContentStore,
    blob: BlobInfo,
    /// `None` while a write is under way, and after one failed or was given up: only `abort` is left then. Dropping it
    /// removes the file, so nothing remains of a writer that is dropped.
    part: Option<(Unfinished, Sha256)>,
}

impl ContentWriter {
    fn take_part(&mut self) -> io::Result<(Unfinished, Sha256)> {
        let broken = || io::Error::other("an earlier write failed or was given up");
        self.part.take().ok_or_else(broken)
    }
}

impl BlobWriter for ContentWriter {
    type Error = io::Error;

    /// When it returns, the bytes are with the system and no longer in our memory: this is what holds up the link
    /// while the disk is slow.
    async fn write(&mut self, bytes: Bytes) -> Result<(), io::Error> {
        let (mut part, mut digest) = self.take_part()?;
        let written = off_thread(move || {
            digest.update(&bytes);
            part.file.write_all(&bytes)?;
            Ok((part, digest))
        });
        self.part = Some(written.await?);
        Ok(())
    }

    async fn save(mut self) -> Result<(), io::Error> {
        let (part, digest) = self.take_part()?;
        let digest = hex(&digest.finalize());
        let Self { store, blob, .. } = self;
        off_thread(move || {
            // The content first, durably: a name must never be there without it. If the same content is there already,
            // this puts the same bytes in its place.
            part.rename_to(&store.content(&digest))?;
            let BlobInfo {
                peer,
                database,
                file,
                ..
            } = &blob;
            let (peer, database, file) = (peer.as_str(), database.as_str(), file.as_str());
            let mut name = store.create()?;
            let text = json!({"peer": peer, "database": database, "file": file, "sha256": digest});
            name.file.write_all(text.to_string().as_bytes())?;
            name.rename_to(&store.name(peer, database, file))
        })
        .await
    }

    async fn abort(mut self) {
        let part = self.part.take();
        // It cannot fail: what cannot be removed now is removed when the store is opened again.
        let dropped = off_thread(move || {
            drop(part);
            Ok(())
        });
        let _ = dropped.await;
    }
}

/// A file that is removed when it is dropped.
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Unfinished {
    /// Puts the file in its place, durably. The order matters: a rename may reach the disk before the bytes do.
    fn rename_to(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        match target.parent() {
            Some(folder) => flush_folder(folder),
            None => Ok(()),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it has been renamed, there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the names in a folder durable. Only Unix can, and only there it is needed.
fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Files block the thread that works on them. A future that is dropped leaves its work to end by itself, and what is left of
/// it (an unfinished file) is dropped there.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
