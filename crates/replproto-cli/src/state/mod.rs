//! The state file: what a follower holds, in a form that another follower's can be compared with.
//!
//! ```json
//! {
//!   "tables": {"Dog": {"\"id-1\"": {"name": "Rex"}}},
//!   "blobs":  {"1a2b": {"size": 20000, "sha256": "hex"}},
//!   "events": {"count": 1568, "hash": "hex", "checkpoints": ["16 hex digits"]},
//!   "counts": {"skipped": 0, "blob_failures": 0}
//! }
//! ```

mod tagged;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use replproto_tokio::{BlobFileError, FileBlobStore, Replica, ReplicaLink, SavedBlob, SqliteError};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

/// After so many events the hash up to there is noted.
const EVENTS_PER_CHECKPOINT: u64 = 1000;

/// How many hexadecimal digits of it are noted.
const CHECKPOINT_DIGITS: usize = 16;

/// The state cannot be exported.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Replica(#[from] SqliteError),
    #[error(transparent)]
    Blobs(#[from] BlobFileError),
    #[error("{path}: {error}")]
    Blob { path: String, error: io::Error },
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes the state of one link to `path`, whole or not at all. Only one record is in memory at a time.
///
/// A link that has never stored anything has an empty state.
pub(crate) fn export(
    path: &Path,
    replica: &Replica,
    source: &str,
    database: &str,
    blobs: &FileBlobStore,
) -> Result<(), ExportError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut out = BufWriter::new(NamedTempFile::new_in(folder)?);
    let link = replica.link(source, database)?;
    write_state(&mut out, replica, link.as_ref(), blobs)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn write_state(
    out: &mut impl Write,
    replica: &Replica,
    link: Option<&ReplicaLink>,
    blobs: &FileBlobStore,
) -> Result<(), ExportError> {
    out.write_all(b"{\"tables\":{")?;
    if let Some(link) = link {
        write_tables(out, replica, link)?;
    }
    out.write_all(b"},\n\"blobs\":{")?;
    if let Some(link) = link {
        write_blobs(out, link, blobs)?;
    }
    out.write_all(b"},\n\"events\":")?;
    write_events(out, replica, link)?;
    let (skipped, gone) = match link {
        Some(link) => (link.skipped, replica.blobs_gone(link)?.len()),
        None => (0, 0),
    };
    writeln!(
        out,
        ",\n\"counts\":{{\"skipped\":{skipped},\"blob_failures\":{gone}}}}}"
    )?;
    Ok(())
}

fn write_tables(
    out: &mut impl Write,
    replica: &Replica,
    link: &ReplicaLink,
) -> Result<(), ExportError> {
    let mut member = String::new();
    for (index, table) in replica.tables(link)?.iter().enumerate() {
        let before = if index > 0 { ",\n" } else { "\n" };
        write!(out, "{before}{}:{{", quoted(&table.name))?;
        let mut before = "\n";
        replica.rows::<ExportError>(table, |row| {
            member.clear();
            member.push_str(before);
            before = ",\n";
            member.push_str(&quoted(row.id));
            member.push(':');
            tagged::push_tagged(row.record, &mut member);
            out.write_all(member.as_bytes())?;
            Ok(())
        })?;
        out.write_all(b"}")?;
    }
    Ok(())
}

fn write_blobs(
    out: &mut impl Write,
    link: &ReplicaLink,
    blobs: &FileBlobStore,
) -> Result<(), ExportError> {
    let mut before = "\n";
    for blob in blobs.list()? {
        let blob = blob?;
        if Some(&blob.peer) != link.peer.as_ref() || blob.database != link.database {
            continue;
        }
        let (size, hash) = hash_blob(&blob)?;
        let file = quoted(&blob.file);
        write!(
            out,
            "{before}{file}:{{\"size\":{size},\"sha256\":\"{hash}\"}}"
        )?;
        before = ",\n";
    }
    Ok(())
}

/// The size of a saved blob and its SHA-256 in hexadecimal.
pub(crate) fn hash_blob(blob: &SavedBlob) -> Result<(u64, String), ExportError> {
    let failed = |error| ExportError::Blob {
        path: blob.path.display().to_string(),
        error,
    };
    let mut file = BufReader::new(File::open(&blob.path).map_err(failed)?);
    let mut hash = Sha256::new();
    let size = io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(failed)?;
    Ok((size, hex(&hash.finalize())))
}

struct HashWriter<'h>(&'h mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_events(
    out: &mut impl Write,
    replica: &Replica,
    link: Option<&ReplicaLink>,
) -> Result<(), ExportError> {
    let mut hash = Sha256::new();
    let mut count = 0;
    let mut checkpoints = Vec::new();
    if let Some(link) = link {
        replica.event_lines::<ExportError>(link, |line| {
            hash.update(line);
            hash.update(b"\n");
            count += 1;
            if count % EVENTS_PER_CHECKPOINT == 0 {
                let mut digits = hex(&hash.clone().finalize());
                digits.truncate(CHECKPOINT_DIGITS);
                checkpoints.push(digits);
            }
            Ok(())
        })?;
    }
    let events = serde_json::json!({
        "count": count,
        "hash": hex(&hash.finalize()),
        "checkpoints": checkpoints,
    });
    write!(out, "{events}")?;
    Ok(())
}

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
