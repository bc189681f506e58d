//! Files without a link: the limit of a store of blobs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use replproto_core::wire::Message;

use super::Outcome;
use crate::Result;
use crate::frames::{self, Frames};
use crate::plan::Plan;

/// Writes each blob of the set to a file of its own, chunk by chunk, and makes it durable before it gets its name.
pub(super) fn write(frames: &Frames, plan: Plan, scratch: &Path) -> Result<Outcome> {
    let folder = tempfile::tempdir_in(scratch)?;
    let folder = folder.path();
    let mut chunks = Vec::new();
    for message in frames.messages(plan) {
        if !frames::is_transaction(&message)
            && let Message::BlobChunk { header, body } = Message::decode(&message)?
        {
            chunks.push((header, body));
        }
    }
    let mut open = HashMap::<_, File>::new();
    let start = Instant::now();
    for (header, body) in chunks {
        let unfinished = folder.join(format!("{}.part", header.file));
        let mut file = match open.remove(&header.file) {
            Some(file) => file,
            None => File::create(&unfinished)?,
        };
        file.write_all(&body)?;
        if header.finished {
            file.sync_all()?;
            fs::rename(&unfinished, folder.join(&header.file))?;
            File::open(folder)?.sync_all()?;
        } else {
            open.insert(header.file, file);
        }
    }
    Ok(Outcome::since(start))
}
