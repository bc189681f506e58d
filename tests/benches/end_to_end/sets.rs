//! The sets of messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::frames::{Frames, Size};
use crate::node;
use crate::plan::Plan;

/// What the generator is asked for.
struct Recipe {
    name: &'static str,
    full: &'static [&'static str],
    /// `None`: not among those of a quick run.
    quick: Option<&'static [&'static str]>,
}

const RECIPES: [Recipe; 6] = [
    Recipe {
        name: "catchup",
        full: &[],
        quick: Some(&["--catchup-messages=400"]),
    },
    Recipe {
        name: "catchup-1k",
        full: &["--catchup-messages=500"],
        quick: None,
    },
    Recipe {
        name: "small",
        full: &[],
        quick: Some(&["--small-messages=50000"]),
    },
    Recipe {
        name: "big",
        full: &[],
        quick: None,
    },
    Recipe {
        name: "mixed",
        full: &[],
        quick: None,
    },
    Recipe {
        name: "blob",
        full: &["--blob-count=32"],
        quick: Some(&["--blob-count=8"]),
    },
];

/// The set of the small files that stands in for `catchup`.
const STAND_IN: &str = "backlog";

/// A file of messages.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// All of it.
    pub(crate) size: Size,
}

impl Set {
    fn read(name: &str, file: PathBuf) -> Result<Self> {
        let frames = Frames::read(&file)?;
        Ok(Self {
            name: name.into(),
            size: frames.size(Plan::ONCE),
            file,
        })
    }

    /// Enough of the set for about so many records: its beginning, or all of it several times.
    pub(crate) fn plan(&self, records: u64) -> Plan {
        let all = self.size.records.max(1);
        if records < all {
            let per_transaction = (all / self.size.transactions.max(1)).max(1);
            Plan::first(records.div_ceil(per_transaction))
        } else {
            Plan::times(records.div_ceil(all))
        }
    }

    /// The least that makes a process warm.
    pub(crate) fn warm_up(&self) -> Plan {
        if self.has_blobs() {
            // The bytes of its blobs come after the records.
            Plan::ONCE
        } else {
            self.plan(2_000)
        }
    }

    /// Whether it consists of blobs more than of records.
    pub(crate) fn has_blobs(&self) -> bool {
        self.name.starts_with("blob")
    }
}

/// All of them.
pub(crate) struct Sets {
    pub(crate) list: Vec<Set>,
    /// Where they come from.
    pub(crate) source: String,
}

impl Sets {
    pub(crate) fn find(folder: Option<&Path>, quick: bool, cache: &Path) -> Result<Self> {
        if let Some(folder) = folder {
            return Self::read(folder, &RECIPES.map(|recipe| recipe.name));
        }
        match generate(quick, cache) {
            Ok(folder) => Ok(Self {
                source: "generated".into(),
                ..Self::read(&folder, &RECIPES.map(|recipe| recipe.name))?
            }),
            Err(error) => {
                eprintln!(
                    "the sets cannot be generated ({error}): using the small ones of tests/frames"
                );
                let folder = replproto_tests::golden_folder("frames", "REPLPROTO_FRAMES");
                // Those with blobs are too small to time.
                Self::read(&folder, &[STAND_IN, "mixed"])
            }
        }
    }

    fn read(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut list = Vec::new();
        for name in names {
            let file = folder.join(format!("{name}.bin"));
            if file.exists() {
                list.push(Set::read(name, file)?);
            }
        }
        if list.is_empty() {
            return Err(format!("{} has none of {names:?}", folder.display()).into());
        }
        Ok(Self {
            list,
            source: folder.display().to_string(),
        })
    }

    /// The set of ordinary records, for measurements that need one only.
    pub(crate) fn ordinary(&self) -> Option<&Set> {
        let named = |name: &str| self.list.iter().find(|set| set.name == name);
        named("catchup").or_else(|| named(STAND_IN))
    }
}

/// Generates what is not there yet. Gives the folder.
fn generate(quick: bool, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(if quick { "frames-quick" } else { "frames" });
    let mut missing = Vec::new();
    for Recipe {
        name,
        full,
        quick: small,
    } in &RECIPES
    {
        let options = if quick { *small } else { Some(*full) };
        if let Some(options) = options
            && !folder.join(format!("{name}.bin")).exists()
        {
            missing.push((name, options));
        }
    }
    if missing.is_empty() {
        return Ok(folder);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/frames");
    if !source.exists() {
        return Err("../shared/frames is not there".into());
    }
    node::check("node")?;
    node::check("npm")?;
    let generator = cache.join("generator");
    fs::create_dir_all(&generator)?;
    for file in ["package.json", "generate.mjs"] {
        fs::copy(source.join(file), generator.join(file))?;
    }
    eprintln!("generating the sets into {}", folder.display());
    node::npm(
        &generator,
        &["install", "--no-audit", "--no-fund", "--silent"],
    )?;
    fs::create_dir_all(&folder)?;
    for (name, options) in missing {
        // Under their names there are only whole files.
        let unfinished = tempfile::tempdir_in(cache)?;
        let mut command = Command::new("node");
        command.arg(generator.join("generate.mjs"));
        command.arg(format!("--out={}", unfinished.path().display()));
        node::run(command.arg(format!("--set={name}")).args(options))?;
        let file = format!("{name}.bin");
        fs::rename(unfinished.path().join(&file), folder.join(&file))?;
    }
    Ok(folder)
}
