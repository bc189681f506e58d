//! The lines of a recording.

use replproto_core::{Config, Epoch, Input, Instant, Start};
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
                start: begin.start,
                config: Box::new(begin.config),
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
    start: Start,
    config: Config,
}

#[cfg(test)]
mod tests {
    use replproto_core::{Cursor, Sequence};

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
        let read =
            |text: &str| serde_json::from_value::<Start>(serde_json::json!({ "resume": text }));
        assert_eq!(read(&text).ok(), Some(Start::Resume(cursor)));
        assert!(read(&text[1..]).is_err());
        assert!(read("0g").is_err());
    }
}
