//! The processes of the other roles.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Serialize;

use crate::Result;
use crate::measurement::Measurement;
use crate::{publisher, receiver};

/// A publisher that runs until this is dropped.
pub(crate) struct Publisher {
    child: Child,
    pub(crate) port: u16,
}

impl Publisher {
    /// Starts one for this file, and waits until it listens.
    pub(crate) fn start(file: &Path) -> Result<Self> {
        let job = publisher::Job {
            file: file.to_owned(),
        };
        let mut child = role(publisher::ROLE, &job)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = &mut child.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        // Dropped from here on, should the number be none.
        let mut publisher = Self { child, port: 0 };
        publisher.port = line
            .trim()
            .parse()
            .map_err(|_| "the publisher did not start")?;
        Ok(publisher)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Takes one measurement in a process of its own.
pub(crate) fn receive(job: &receiver::Job) -> Result<Measurement> {
    measure(&mut role(receiver::ROLE, job)?)
}

/// Runs a program that prints a measurement as JSON.
pub(crate) fn measure(command: &mut Command) -> Result<Measurement> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn role(name: &str, job: &impl Serialize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).arg(serde_json::to_string(job)?);
    Ok(command)
}
