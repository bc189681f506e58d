//! Where and on what a report was made.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine and the code.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    system: String,
    /// The commit, with a `+` if files have been changed since.
    commit: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let processor = line("/proc/cpuinfo", "model name").unwrap_or_default();
        let kilobytes = line("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kilobytes = kilobytes.trim_end_matches("kB").trim().parse::<u64>();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kilobytes.unwrap_or_default() * 1024,
            system: format!("{} {}", std::env::consts::OS, release.trim()),
            commit: commit().unwrap_or_else(|| "unknown".into()),
        }
    }

    pub(crate) fn line(&self) -> String {
        let Self {
            processor,
            cores,
            memory_bytes,
            system,
            commit,
        } = self;
        let gibibytes = memory_bytes >> 30;
        format!("{cores} cores ({processor}), {gibibytes} GiB, {system}; commit {commit}")
    }
}

/// The rest of the first line that begins with this, after the colon.
fn line(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
        let output = command.args(arguments).output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let mark = if changes.is_empty() { "" } else { "+" };
    Some(format!("{}{mark}", String::from_utf8(commit).ok()?.trim()))
}
