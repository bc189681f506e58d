//! What can be wrong with bytes from the wire.

use thiserror::Error;

use crate::value::ValueError;

/// What is wrong with bytes from the wire.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is empty.
    #[error("the message is empty")]
    EmptyMessage,
    /// The first byte is neither that of a command nor that of a batch (`protocol.md` section 2).
    #[error("first byte {0:#04x} starts neither a command nor a batch")]
    FirstByte(u8),
    /// A batch has nothing after its header.
    #[error("the batch has no entries")]
    EmptyBatch,
    /// The bytes end inside an item.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// A length inside an entry reaches past the entry.
    #[error("the length of {0} reaches past its entry")]
    Overrun(&'static str),
    /// The first byte of an entry is impossible (`protocol.md` section 5.4).
    #[error("an entry cannot start with {0:#04x}")]
    EntryStart(u8),
    /// A number that must be finite is not.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    /// A command is not a MessagePack array that starts with a code.
    #[error("a command must be an array that starts with a code")]
    NotACommand,
    /// Bytes are left after the array.
    #[error("bytes are left after the command")]
    TrailingBytes,
    /// A byte or a nesting that MessagePack commands do not have.
    #[error("this is not MessagePack")]
    NotMessagePack,
    /// An element of a command is missing or has the wrong type.
    #[error("{command} has no valid {field}")]
    Field {
        /// Which command.
        command: &'static str,
        /// Which of its elements.
        field: &'static str,
    },
    /// What the command says takes far more memory than its bytes, and more than is allowed.
    #[error("the command unfolds to more than is allowed")]
    Unfolds,
    /// A table's structures cannot be read.
    #[error("the structures cannot be read: {0}")]
    Structures(ValueError),
}
