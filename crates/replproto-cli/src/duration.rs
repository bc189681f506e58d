//! Durations on the command line.

use std::time::Duration;

use thiserror::Error;

/// What is wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum DurationError {
    #[error("{0:?} does not begin with a number")]
    NoNumber(String),
    #[error("{0:?} is not a unit of time (ms, s, m or h)")]
    Unit(String),
    #[error("{0:?} is longer than this program can wait")]
    TooLong(String),
}

/// Longer than any wait makes sense, and short enough to be added to any clock: about a hundred years.
const MILLISECONDS_MAX: f64 = 3.2e12;

/// Reads a duration: milliseconds when there is no unit, else with a unit, as in `1500ms`, `2s`, `1.5m` or `1h`.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| DurationError::NoNumber(text.to_owned()))?;
    let milliseconds = match unit.trim_start() {
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        unit => return Err(DurationError::Unit(unit.to_owned())),
    };
    let total = number * milliseconds;
    if total > MILLISECONDS_MAX {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    Ok(Duration::from_micros((total * 1000.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_unless_a_unit_says_otherwise() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1500", 1500),
            ("1500ms", 1500),
            ("2s", 2000),
            ("1.5s", 1500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            (" 20 s", 20_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(parse("0.5ms"), Ok(Duration::from_micros(500)));
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        assert_eq!(parse(""), Err(DurationError::NoNumber(String::new())));
        assert_eq!(parse("s"), Err(DurationError::NoNumber("s".into())));
        assert_eq!(parse("-1"), Err(DurationError::NoNumber("-1".into())));
        assert_eq!(parse("1.2.3"), Err(DurationError::NoNumber("1.2.3".into())));
        assert_eq!(parse("3 days"), Err(DurationError::Unit("days".into())));
        assert_eq!(parse("1S"), Err(DurationError::Unit("S".into())));
        let endless = "9".repeat(400);
        assert_eq!(parse(&endless), Err(DurationError::TooLong(endless)));
    }
}
