//! The eight inputs, and sequences of them in words.

use std::fmt;
use std::str::FromStr;

/// One of the inputs that sequences are made of. See [the module](super) for what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next transaction arrives: a record that refers to a blob, and its end.
    Message,
    /// A chunk arrives that is not the last of its blob.
    Chunk,
    /// The last chunk of a blob arrives.
    FinalChunk,
    /// The application takes events, and the store writes what it has.
    Consumed,
    /// A transaction or a checkpoint becomes durable.
    Committed,
    /// The store fails to save a blob.
    BlobFailed,
    /// Time passes until the next deadline.
    Tick,
    /// The link ends.
    Close,
}

impl Step {
    /// All of them, in the order in which sequences are counted.
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::Chunk,
        Self::FinalChunk,
        Self::Consumed,
        Self::Committed,
        Self::BlobFailed,
        Self::Tick,
        Self::Close,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Chunk => "chunk",
            Self::FinalChunk => "final-chunk",
            Self::Consumed => "consumed",
            Self::Committed => "committed",
            Self::BlobFailed => "blob-failed",
            Self::Tick => "tick",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|step| step.as_str() == word);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            format!("{word:?} is none of {words}")
        })
    }
}

/// How many sequences of this length there are.
pub(super) const fn count(length: u32) -> u64 {
    (Step::ALL.len() as u64).pow(length)
}

/// Writes down the sequence with this index: the inputs are its digits, the first being the most significant.
pub(super) fn write_sequence(mut index: u64, sequence: &mut [Step]) {
    let base = Step::ALL.len() as u64;
    for step in sequence.iter_mut().rev() {
        *step = Step::ALL[(index % base) as usize];
        index /= base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_counted_like_numbers() {
        let mut sequence = [Step::Close; 3];
        write_sequence(0, &mut sequence);
        assert_eq!(sequence, [Step::Message; 3]);
        write_sequence(1 + 8, &mut sequence);
        assert_eq!(sequence, [Step::Message, Step::Chunk, Step::Chunk]);
        write_sequence(count(3) - 1, &mut sequence);
        assert_eq!(sequence, [Step::Close; 3]);
    }

    #[test]
    fn words_are_read_back() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        assert!("final".parse::<Step>().is_err());
    }
}
