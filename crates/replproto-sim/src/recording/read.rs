//! The lines of a recording.

use std::time::Duration;

use replproto_core::config::{
    Config, FlowControl, Level, Limits, Marks, Mode, TableFilter, Timeouts,
};
use replproto_core::{Cursor, Epoch, Input, Instant, Sequence, Start};
use serde::Deserialize;

/// A line.
pub(super) enum Line {
    /// A link begins.
    Begin {
        epoch: Epoch,
        start: Start,
        config: Box<Config>,
    },
    /// The link is told something.
    Input { at: Instant, input: Input },
}

pub(super) fn line(text: &str) -> Result<Line, String> {
    let raw: RawLine = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(match raw {
        RawLine::Begin(begin) => {
            if begin.replproto != 1 {
                return Err(format!("the format is {}, not 1", begin.replproto));
            }
            Line::Begin {
                epoch: begin.epoch,
                start: begin.start.read()?,
                config: Box::new(begin.config.read()),
            }
        }
        RawLine::Input { at, input } => Line::Input { at, input },
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawLine {
    Input { at: Instant, input: Input },
    Begin(Box<RawBegin>),
}

#[derive(Deserialize)]
struct RawBegin {
    replproto: u64,
    epoch: Epoch,
    start: RawStart,
    config: RawConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawStart {
    Copy,
    At(Sequence),
    /// The bytes of the cursor, as hexadecimal text.
    Resume(String),
}

impl RawStart {
    fn read(self) -> Result<Start, String> {
        Ok(match self {
            Self::Copy => Start::Copy,
            Self::At(sequence) => Start::At(sequence),
            Self::Resume(text) => {
                let bytes = bytes(&text).ok_or("the cursor is not hexadecimal text")?;
                let cursor = Cursor::from_bytes(&bytes).map_err(|error| error.to_string())?;
                Start::Resume(cursor)
            }
        })
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        })
        .collect()
}

#[derive(Deserialize)]
struct RawConfig {
    node_name: String,
    peer_name: Option<String>,
    database: String,
    mode: RawMode,
    tables: RawTables,
    excluded_origins: Vec<String>,
    limits: RawLimits,
    flow: RawFlow,
    timeouts: RawTimeouts,
}

#[derive(Deserialize)]
enum RawMode {
    A,
    B,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawTables {
    All,
    Only(Vec<String>),
    Except(Vec<String>),
}

#[derive(Deserialize)]
struct RawLimits {
    message: u64,
    record: usize,
    command: usize,
    context: usize,
    open_blobs: usize,
    blob_references: usize,
    finished_blobs: usize,
    blob_tries: u32,
}

#[derive(Deserialize)]
struct RawFlow {
    inbound: RawMarks,
    consumer: RawMarks,
    commits: RawMarks,
    blobs: RawMarks,
}

#[derive(Deserialize)]
struct RawMarks {
    high: RawLevel,
    low: RawLevel,
}

#[derive(Deserialize)]
struct RawLevel {
    items: u64,
    bytes: u64,
}

/// In microseconds.
#[derive(Deserialize)]
struct RawTimeouts {
    ping_interval: u64,
    ping_timeout: u64,
    copy_timeout: u64,
    setup: u64,
    blob: u64,
    blob_gap: u64,
    pause_stall: u64,
    not_ready: u64,
    confirm_delay: u64,
}

impl RawConfig {
    fn read(self) -> Config {
        let RawLimits {
            message,
            record,
            command,
            context,
            open_blobs,
            blob_references,
            finished_blobs,
            blob_tries,
        } = self.limits;
        let micros = Duration::from_micros;
        Config {
            node_name: self.node_name,
            peer_name: self.peer_name,
            database: self.database,
            mode: match self.mode {
                RawMode::A => Mode::A,
                RawMode::B => Mode::B,
            },
            tables: match self.tables {
                RawTables::All => TableFilter::All,
                RawTables::Only(names) => TableFilter::Only(names),
                RawTables::Except(names) => TableFilter::Except(names),
            },
            excluded_origins: self.excluded_origins,
            limits: Limits {
                message,
                record,
                command,
                context,
                open_blobs,
                blob_references,
                finished_blobs,
                blob_tries,
            },
            flow: FlowControl {
                inbound: self.flow.inbound.read(),
                consumer: self.flow.consumer.read(),
                commits: self.flow.commits.read(),
                blobs: self.flow.blobs.read(),
            },
            timeouts: Timeouts {
                ping_interval: micros(self.timeouts.ping_interval),
                ping_timeout: micros(self.timeouts.ping_timeout),
                copy_timeout: micros(self.timeouts.copy_timeout),
                setup: micros(self.timeouts.setup),
                blob: micros(self.timeouts.blob),
                blob_gap: micros(self.timeouts.blob_gap),
                pause_stall: micros(self.timeouts.pause_stall),
                not_ready: micros(self.timeouts.not_ready),
                confirm_delay: micros(self.timeouts.confirm_delay),
            },
        }
    }
}

impl RawMarks {
    const fn read(self) -> Marks {
        Marks::new(self.high.read(), self.low.read())
    }
}

impl RawLevel {
    const fn read(self) -> Level {
        Level {
            items: self.items,
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"at":1,"input":"Nonsense"}"#,
            r#"{"replproto":1,"epoch":1}"#,
        ] {
            assert!(line(text).is_err(), "{text}");
        }
        assert!(matches!(
            line(r#"{"at":7,"input":"Tick"}"#),
            Ok(Line::Input { .. })
        ));
    }

    #[test]
    fn a_cursor_is_read_from_its_text() {
        let cursor = Cursor::at(Sequence(7.5));
        let text: String = cursor
            .to_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let start = RawStart::Resume(text.clone()).read();
        assert_eq!(start, Ok(Start::Resume(cursor)));
        assert!(RawStart::Resume(text[1..].into()).read().is_err());
        assert!(RawStart::Resume("0g".into()).read().is_err());
    }
}
