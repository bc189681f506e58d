//! Whether the replica holds exactly what the publisher's log makes.

use std::collections::BTreeMap;
use std::fmt::Display;

use replproto_core::value::EncodeError;
use replproto_tokio::{FileBlobStore, Replica, ReplicaRow, SqliteError};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::data::{self, Plan};
use crate::state::{ExportError, hash_blob, hex};

/// At most this many differences are described.
const DESCRIBED_MAX: usize = 10;

/// What was compared, and what was not as it should be.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Records that were compared, found or not.
    pub(super) records: u64,
    /// Blobs that were hashed, or are missing.
    pub(super) blobs: u64,
    /// How many differences there are.
    pub(super) differences: u64,
    /// The first of them.
    pub(super) described: Vec<String>,
}

impl Verdict {
    fn differs(&mut self, what: impl Display) {
        self.differences += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(what.to_string());
        }
    }
}

/// The replica cannot be compared.
#[derive(Debug, Error)]
pub(super) enum VerifyError {
    #[error(transparent)]
    Replica(#[from] SqliteError),
    #[error(transparent)]
    Blobs(#[from] ExportError),
    #[error(transparent)]
    Value(#[from] EncodeError),
    #[error("the replica has no link to the publisher")]
    NoLink,
}

/// Compares every record and hashes every blob.
pub(super) fn verify(
    plan: Plan,
    replica: &Replica,
    source: &str,
    blobs: &FileBlobStore,
) -> Result<Verdict, VerifyError> {
    let mut verdict = Verdict::default();
    let link = replica
        .link(source, data::DATABASE)?
        .ok_or(VerifyError::NoLink)?;
    let (mut records, mut photos) = (0, 0);
    for table in replica.tables(&link)? {
        replica.rows::<VerifyError>(&table, |row| {
            let expected = if table.name == data::PHOTOS {
                photos += 1;
                expected_photo(plan, &row)?
            } else {
                records += 1;
                expected_record(plan, &row, &table.name)
            };
            let actual = serde_json::from_str(row.record).ok();
            if expected.is_none() || actual != expected {
                verdict.differs(format_args!("{} {}: {}", table.name, row.id, row.record));
            }
            Ok(())
        })?;
    }
    // Ids are unique, and each that was found is one of those expected or was counted as a difference.
    for (what, found, expected) in [
        ("records", records, plan.final_records()),
        ("records with a blob", photos, plan.blobs),
    ] {
        if found != expected {
            verdict.differs(format_args!("{found} {what} instead of {expected}"));
        }
    }
    verdict.records = records + photos;
    verify_blobs(plan, blobs, &mut verdict)?;
    Ok(verdict)
}

fn expected_record(plan: Plan, row: &ReplicaRow<'_>, table: &str) -> Option<serde_json::Value> {
    let id: String = serde_json::from_str(row.id).ok()?;
    let number = data::record_number(&id)?;
    (data::TABLES[data::table(number)] == table).then(|| plan.final_record(number))?
}

fn expected_photo(
    plan: Plan,
    row: &ReplicaRow<'_>,
) -> Result<Option<serde_json::Value>, EncodeError> {
    let Ok(id) = serde_json::from_str::<String>(row.id) else {
        return Ok(None);
    };
    let number = id
        .strip_prefix("photo-")
        .and_then(|number| number.parse().ok());
    match number.filter(|number| *number < plan.blobs && data::photo_id(*number) == id) {
        Some(number) => data::final_photo(number).map(Some),
        None => Ok(None),
    }
}

fn verify_blobs(
    plan: Plan,
    blobs: &FileBlobStore,
    verdict: &mut Verdict,
) -> Result<(), VerifyError> {
    let mut missing: BTreeMap<String, u64> = (0..plan.blobs)
        .map(|blob| (data::blob_file(blob), blob))
        .collect();
    for saved in blobs.list().map_err(ExportError::from)? {
        let saved = saved.map_err(ExportError::from)?;
        let Some(number) = missing.remove(&saved.file) else {
            verdict.differs(format_args!("blob {} is not of the demo", saved.file));
            continue;
        };
        verdict.blobs += 1;
        let content = data::blob_content(number);
        let expected = (content.len() as u64, hex(&Sha256::digest(&content)));
        if hash_blob(&saved)? != expected {
            verdict.differs(format_args!("blob {} has other bytes", saved.file));
        }
    }
    for file in missing.keys() {
        verdict.blobs += 1;
        verdict.differs(format_args!("blob {file} is missing"));
    }
    Ok(())
}
