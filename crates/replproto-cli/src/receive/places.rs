//! The output places. One that cannot be written to is refused before anything is done.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::ReceiveArgs;
use crate::exit::Failure;

/// The output places.
pub(super) struct Places {
    pub(super) file: PathBuf,
    pub(super) blobs: PathBuf,
    /// Removed when this is dropped.
    _temporary: Option<TempDir>,
}

impl Places {
    pub(super) fn choose(args: &ReceiveArgs) -> Result<Self, Failure> {
        check_apart(&[
            ("--into", &args.into),
            ("--export-state", &args.export_state),
            ("--record", &args.record),
        ])?;
        if let Some(path) = &args.export_state {
            check_output(path).map_err(|error| Failure::at(path, error))?;
            // It takes the place of what is there only when it is complete, so it is written beside that.
            NamedTempFile::new_in(folder_of(path))
                .map_err(|error| Failure::at(path, io::Error::from(error.kind())))?;
        }
        if let Some(path) = &args.record {
            check_output(path).map_err(|error| Failure::at(path, error))?;
        }
        let (file, temporary) = match (&args.into, &args.export_state) {
            (Some(file), _) => (file.clone(), None),
            (None, Some(_)) => {
                let folder = TempDir::with_prefix("replproto-").map_err(Failure::of)?;
                (folder.path().join("replica.sqlite"), Some(folder))
            }
            (None, None) => {
                let why =
                    "one of --into and --export-state is needed: there is no place for the records";
                return Err(Failure::Usage(why.into()));
            }
        };
        let blobs = args.blobs.clone().unwrap_or_else(|| {
            let mut name = file.clone().into_os_string();
            name.push(".blobs");
            name.into()
        });
        Ok(Self {
            file,
            blobs,
            _temporary: temporary,
        })
    }
}

/// One would be written over the other.
fn check_apart(files: &[(&str, &Option<PathBuf>)]) -> Result<(), Failure> {
    let given = files
        .iter()
        .filter_map(|(option, path)| Some((option, real(path.as_ref()?))));
    let given: Vec<_> = given.collect();
    for (index, (option, path)) in given.iter().enumerate() {
        if let Some((other, _)) = given[..index].iter().find(|(_, other)| other == path) {
            return Err(Failure::Usage(format!(
                "{other} and {option} name the same file"
            )));
        }
    }
    Ok(())
}

/// The file as it is called without symbolic links, whether it is there or not.
fn real(path: &Path) -> PathBuf {
    let folder = folder_of(path);
    let name = path.file_name().map_or_else(OsString::new, Into::into);
    fs::canonicalize(path)
        .or_else(|_| Ok::<_, io::Error>(fs::canonicalize(folder)?.join(name)))
        .unwrap_or_else(|_| path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The folder is there, and what is in its place is a file or nothing.
fn check_output(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        // To open a pipe would be to wait for a reader.
        Ok(_) => Err(io::Error::other("this is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
