//! What can be wrong with a record value.

#[cfg(feature = "serde")]
use alloc::boxed::Box;

use crate::msgpack::TokenError;

/// A record value, or a part of one, that cannot be read: what is wrong, and where.
///
/// The bytes are at fault, never the reader: a value that fails once fails always (with the same dictionary). The host
/// should report and count the record and go on with the next one (`protocol.md` section 15, ruling 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (byte {offset} of the value)")]
pub struct ValueError {
    /// What is wrong.
    pub kind: ValueErrorKind,
    /// Where, in bytes from the start of the value (or of the list, while a dictionary is read).
    pub offset: usize,
}

impl ValueError {
    pub(crate) const fn new(kind: ValueErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// The error of a token that began at `offset`.
    pub(crate) const fn token(error: TokenError, offset: usize) -> Self {
        let kind = match error {
            TokenError::End => ValueErrorKind::UnexpectedEnd,
            TokenError::Reserved => ValueErrorKind::ReservedByte(0xc1),
        };
        Self::new(kind, offset)
    }

    /// The same error, for bytes that began `base` bytes into a larger input.
    #[must_use]
    pub(crate) fn shifted(mut self, base: usize) -> Self {
        self.offset += base;
        self
    }
}

/// The ways in which a value can be wrong. New ways may be told apart later, so a `match` needs a last arm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueErrorKind {
    /// The bytes end inside a token, or a count promises more elements than bytes are left.
    #[error("the value ends too early")]
    UnexpectedEnd,
    /// The value is complete, but bytes follow it.
    #[error("bytes are left over after the value")]
    TrailingBytes,
    /// The typed structure with this id is not in the dictionary, or has a slot of a type unknown to this version.
    #[error("typed structure {0} is not in the dictionary")]
    UnknownStructure(u32),
    /// The record structure with this index is neither in the dictionary nor defined earlier in the value.
    #[error("record structure {0} is not in the dictionary")]
    UnknownRecord(u16),
    /// A first byte that stands for nothing: `c1`, or `3c`..`3f` at the start of a document.
    #[error("byte {0:#04x} stands for nothing here")]
    ReservedByte(u8),
    /// An extension type that the protocol does not have.
    #[error("extension type {0:#04x} is unknown")]
    UnknownExtension(u8),
    /// A payload that its extension type does not allow.
    #[error("the payload of extension {0:#04x} is malformed")]
    BadExtension(u8),
    /// A record definition whose id or key list is malformed (`value-codec.md` section 5).
    #[error("malformed record definition")]
    BadDefinition,
    /// A reference slot that points backwards or past the end of its document (`value-codec.md` section 7.4).
    #[error("a reference covers bytes {start}..{end} of a section of {length} bytes")]
    BadReference {
        /// Where the referenced bytes start in the reference section.
        start: u32,
        /// Where they end: the start of the next reference, or the end of the section.
        end: u32,
        /// Length of the reference section.
        length: u32,
    },
    /// A slot holds a constant other than null, undefined, false and true.
    #[error("slot constant {0:#04x} is unknown")]
    BadConstant(u8),
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) containers inside each other.
    #[error("nested too deeply")]
    TooDeep,
    /// A few bytes that unfold to far more fields than any real value has, see
    /// [`WORK_PER_BYTE`](super::WORK_PER_BYTE).
    #[error("the value unfolds to too many fields for its size")]
    TooMuchWork,
    /// A list of the dictionary is not what `value-codec.md` section 6 describes.
    #[error("malformed dictionary")]
    BadDictionary,
    /// The target of a `deserialize` call refused the value; the text is the target's.
    #[cfg(feature = "serde")]
    #[error("{0}")]
    Refused(Box<str>),
}
