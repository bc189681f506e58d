//! What the conformance tests share.

use std::path::{Path, PathBuf};

pub mod tagged;

/// The folder with the golden data of this name: `tests/NAME`, or the one that the environment variable names. A
/// relative one is looked for at the root of the repository, and then where the test runs (which is `tests`).
pub fn golden_folder(name: &str, variable: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(folder) = std::env::var_os(variable) else {
        return package.join(name);
    };
    let at_root = package.join("..").join(&folder);
    if at_root.exists() {
        at_root
    } else {
        folder.into()
    }
}
