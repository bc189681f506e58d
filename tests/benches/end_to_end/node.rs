//! Node with the published JavaScript packages: it stands in for the decoder and the receive loop of the protocol's home
//! implementation, which cannot be run here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::link_setup::{DATABASE, RECEIVER};
use crate::measurement::Measurement;
use crate::plan::Plan;
use crate::process;

/// The programs, and the packages that they are written for.
const FILES: [&str; 4] = ["package.json", "package-lock.json", "main.mjs", "link.mjs"];

/// A folder with the program and its packages.
pub(crate) struct Node {
    folder: PathBuf,
}

impl Node {
    /// Installs the packages under `cache`, once.
    ///
    /// # Errors
    /// Why there can be no measurements with Node.
    pub(crate) fn prepare(cache: &Path) -> Result<Self> {
        check("node")?;
        check("npm")?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node");
        let folder = cache.join("node");
        fs::create_dir_all(&folder)?;
        let lock = |folder: &Path| fs::read(folder.join("package-lock.json")).ok();
        let is_installed = lock(&source) == lock(&folder) && folder.join("node_modules").exists();
        for file in FILES {
            fs::copy(source.join(file), folder.join(file))?;
        }
        if !is_installed {
            npm(&folder, &["ci", "--no-audit", "--no-fund", "--silent"])?;
        }
        Ok(Self { folder })
    }

    /// Decodes the messages of a file, from memory.
    pub(crate) fn decode(&self, file: &Path, messages: u64, repeat: u64) -> Result<Measurement> {
        let mut command = self.program("decode");
        command.arg(file);
        process::measure(command.args([messages, repeat].map(|number| number.to_string())))
    }

    /// Receives what a publisher sends, and decodes it.
    pub(crate) fn receive(&self, port: u16, plan: Plan) -> Result<Measurement> {
        let mut command = self.program("receive");
        let url = format!("ws://127.0.0.1:{port}{plan}");
        process::measure(command.args([&url, RECEIVER, DATABASE]))
    }

    fn program(&self, mode: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join("main.mjs")).arg(mode);
        command
    }
}

/// Whether there is such a program.
pub(crate) fn check(program: &str) -> Result<()> {
    run(Command::new(program).arg("--version"))
}

pub(crate) fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new("npm").current_dir(folder).args(arguments))
}

/// Runs a program to its end and shows its output only if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", complaint.trim()).into())
}
