//! What can be wrong with a key.

/// A key that cannot be read or written: what is wrong, and where.
///
/// While reading it is the bytes that are at fault: report and count the record. While writing it is the key: it has no
/// bytes that would read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (byte {offset} of the key)")]
pub struct KeyError {
    /// What is wrong.
    pub kind: KeyErrorKind,
    /// Where, in bytes from the start of the key.
    pub offset: usize,
}

impl KeyError {
    pub(crate) const fn new(kind: KeyErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}

/// The ways in which a key can be wrong. New ways may be told apart later, so a `match` needs a last arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// No bytes: the sender wrote no key (for example because it was too long, `protocol.md` section 5).
    #[error("the key is empty")]
    Empty,
    /// The bytes end where an element must follow, or inside a number of an array.
    #[error("the key ends too early")]
    UnexpectedEnd,
    /// A byte that starts no element.
    #[error("byte {0:#04x} starts no key")]
    BadFirstByte(u8),
    /// A byte where an element is complete and only a separator may follow.
    #[error("byte {0:#04x} stands in place of a separator")]
    BadSeparator(u8),
    /// Bytes in the range of numbers that no number is written as.
    #[error("not a number")]
    BadNumber,
    /// A key that is not text where only text has a meaning, such as a user name.
    #[error("not a text")]
    NotText,
    /// Writing: longer than [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX).
    #[error("longer than the protocol allows")]
    TooLong,
    /// Writing: the format has no bytes for it that would read back.
    #[error("cannot be written as a key")]
    Unwritable,
}
