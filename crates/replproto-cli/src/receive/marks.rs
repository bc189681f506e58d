//! Flow-control marks on the command line: `HIGH` or `HIGH:LOW`, in items or in bytes.

use std::str::FromStr;

use thiserror::Error;

/// Above `high` there is a pause; at or below `low` it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) high: u64,
    pub(super) low: u64,
}

/// What is wrong with a pair of marks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum PairError {
    #[error("{0:?} is not a number (units are KiB, MiB and GiB)")]
    Number(String),
    #[error("the low mark {low} lies above the high mark {high}")]
    Inverted { high: u64, low: u64 },
    #[error("the high mark must be above zero")]
    Zero,
}

impl FromStr for Pair {
    type Err = PairError;

    /// Without a low mark it is half of the high one.
    fn from_str(text: &str) -> Result<Self, PairError> {
        let (high, low) = match text.split_once(':') {
            Some((high, low)) => (amount(high)?, Some(amount(low)?)),
            None => (amount(text)?, None),
        };
        let low = low.unwrap_or(high / 2);
        if high == 0 {
            return Err(PairError::Zero);
        }
        if low > high {
            return Err(PairError::Inverted { high, low });
        }
        Ok(Self { high, low })
    }
}

/// A number of bytes or of items.
pub(super) fn amount(text: &str) -> Result<u64, PairError> {
    let text = text.trim();
    let wrong = || PairError::Number(text.to_owned());
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_marks() {
        let pair = |high, low| Ok(Pair { high, low });
        assert_eq!("100".parse(), pair(100, 50));
        assert_eq!("100:0".parse(), pair(100, 0));
        assert_eq!("4MiB:512KiB".parse(), pair(4 << 20, 512 << 10));
        assert_eq!("1 GiB".parse(), pair(1 << 30, 1 << 29));
    }

    #[test]
    fn wrong_pairs_are_refused() {
        let wrong = |text: &str| text.parse::<Pair>().unwrap_err();
        assert_eq!(wrong("0"), PairError::Zero);
        assert_eq!(wrong("5:6"), PairError::Inverted { high: 5, low: 6 });
        for text in ["", "x", "-1", "5:", "1.5MiB", "5MB", "20000000000GiB"] {
            assert!(matches!(wrong(text), PairError::Number(_)), "{text}");
        }
    }
}
