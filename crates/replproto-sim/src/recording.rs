//! Recordings of links, made by `replproto receive --record FILE` or of a world that broke a rule, fed to the core again.
//! Unlike a trace, which names a world, a recording outlives every change of the simulator.
//!
//! A recording is lines of JSON. A link begins with `{"replproto": 1, "epoch": .., "start": .., "config": ..}`; each line
//! after it is `{"at": .., "input": ..}`, with microseconds since the link began.

mod read;
mod write;

use std::fmt;

use replproto_core::{BlobTries, Command, Event, Input, Instant, Receiver};

use crate::model::{Model, Trust};
use crate::oracles::Violation;
use read::Line;
pub(crate) use write::Recorder;

/// What a recording has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Links that were dialled.
    pub links: u64,
    /// Inputs that they took.
    pub inputs: u64,
    /// Records that came out.
    pub records: u64,
}

/// Why a recording is not replayed to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The line cannot be read.
    Unreadable {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A rule of the core is broken.
    Broken {
        /// The line of the last input, from 1.
        line: usize,
        /// The rule.
        violation: Violation,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { line, why } => write!(f, "line {line}: {why}"),
            Self::Broken { line, violation } => write!(f, "{violation}, after line {line}"),
        }
    }
}

impl std::error::Error for Failure {}

struct Link {
    receiver: Receiver,
    model: Model,
}

/// Feeds each input at its time to a link of the recorded configuration, checks the rules of the core, and shows what comes
/// out: one line for each command.
///
/// # Errors
/// The first line that cannot be read, or after which a rule is broken.
pub fn replay(text: &str, mut show: impl FnMut(fmt::Arguments<'_>)) -> Result<Replayed, Failure> {
    let mut done = Replayed::default();
    let mut link: Option<Link> = None;
    let mut tries = BlobTries::default();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let unreadable = |why: String| Failure::Unreadable { line, why };
        match read::line(text).map_err(unreadable)? {
            Line::Begin {
                epoch,
                start,
                config,
            } => {
                if let Some(last) = &link {
                    tries = last.receiver.blob_tries().clone();
                }
                show(format_args!("link {}: {start:?}", epoch.0));
                let model = Model::new((*config).clone(), &start, Trust::Unknown, Instant::ZERO);
                let receiver = Receiver::new(*config, start, epoch, Instant::ZERO)
                    .map_err(|error| unreadable(error.to_string()))?
                    .with_blob_tries(tries.clone());
                link = Some(Link { receiver, model });
                done.links += 1;
            }
            Line::Input { at, input } => {
                let link = link
                    .as_mut()
                    .ok_or_else(|| unreadable("an input before the first link".into()))?;
                done.inputs += 1;
                link.take(at, input, &mut done, &mut show)
                    .map_err(|violation| Failure::Broken { line, violation })?;
            }
        }
    }
    Ok(done)
}

impl Link {
    fn take(
        &mut self,
        at: Instant,
        input: Input,
        done: &mut Replayed,
        show: &mut impl FnMut(fmt::Arguments<'_>),
    ) -> Result<(), Violation> {
        let told = input.clone();
        match self.receiver.handle(at, input) {
            Ok(()) => self.model.told(&told, at),
            // The host's mistake, which has changed nothing; the link went on.
            Err(misuse) => show(format_args!("{} refused: {misuse}", at.as_micros())),
        }
        self.model.check(&self.receiver)?;
        while let Some(command) = self.receiver.poll_command() {
            self.model.observe(&command)?;
            self.model.check(&self.receiver)?;
            if let Command::Event(event @ Event::Records(_)) = &command {
                done.records += event.count();
            }
            show(format_args!("{} {}", at.as_micros(), Shown(&command)));
        }
        // A receiver that asks to be called again at once has not come to rest.
        if self.receiver.poll_timeout().is_some_and(|due| due <= at) {
            return Ok(());
        }
        self.model.check_at_rest(&self.receiver)
    }
}

/// A command without the contents of messages, records and blobs.
struct Shown<'a>(&'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Command::Transmit(bytes) => write!(f, "Transmit of {} bytes", bytes.len()),
            Command::BlobChunk { blob, bytes, last } => {
                write!(
                    f,
                    "BlobChunk of {blob}, {} bytes, last: {last}",
                    bytes.len()
                )
            }
            Command::Event(Event::Records(records)) => {
                f.write_str("Records")?;
                let mut separator = " of ";
                for record in records {
                    let (table, version) = (record.table().name(), record.version());
                    write!(
                        f,
                        "{separator}{table}, version {version}, {:?}",
                        record.kind()
                    )?;
                    separator = "; ";
                }
                Ok(())
            }
            Command::Event(event) => write!(f, "{event:?}"),
            command => write!(f, "{command:?}"),
        }
    }
}
