//! What a peer can do wrong with frames.

use thiserror::Error;

/// The peer broke the WebSocket protocol, or a limit. Nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{violation} (in the frame at byte {at})")]
pub struct FrameError {
    /// Where the frame begins, in bytes since the upgrade.
    pub at: u64,
    /// What is wrong with it.
    pub violation: Violation,
}

/// What is wrong with a frame. The sections are those of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed on (section 5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// The opcode has no meaning (section 5.2).
    #[error("the opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A server masked its frame (section 5.1).
    #[error("a server masked its frame")]
    Masked,
    /// A client did not mask its frame (section 5.1).
    #[error("a client did not mask its frame")]
    NotMasked,
    /// The length is not in its shortest form, or above 2^63 - 1 (section 5.2).
    #[error("the length {0} is not encoded as it must be")]
    LengthEncoding(u64),
    /// A control frame is longer than 125 bytes (section 5.5).
    #[error("a control frame has {0} bytes")]
    LongControl(u64),
    /// A control frame is fragmented (section 5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A continuation without a message that it could continue (section 5.4).
    #[error("there is no message to continue")]
    NothingToContinue,
    /// A message began before the one before it had ended (section 5.4).
    #[error("a message began within another")]
    Interleaved,
    /// A close frame has one byte (section 5.5.1).
    #[error("half a close code")]
    HalfCloseCode,
    /// A close frame has a code that may not be sent (section 7.4).
    #[error("the close code {0} may not be sent")]
    CloseCode(u16),
    /// A text message is not UTF-8 (section 8.1).
    #[error("a text is not UTF-8")]
    TextEncoding,
    /// The reason of a close frame is not UTF-8 (section 5.5.1).
    #[error("the reason of a close is not UTF-8")]
    ReasonEncoding,
    /// A frame is longer than [`FrameLimits::frame`](super::FrameLimits::frame).
    #[error("a frame has {actual} bytes, more than {limit}")]
    LongFrame {
        /// The limit in bytes.
        limit: u64,
        /// What the frame claims, in bytes.
        actual: u64,
    },
    /// A message is longer than [`FrameLimits::message`](super::FrameLimits::message).
    #[error("a message has at least {actual} bytes, more than {limit}")]
    LongMessage {
        /// The limit in bytes.
        limit: u64,
        /// What its frames claim together, up to this one, in bytes.
        actual: u64,
    },
    /// A message has more frames, up to this one, than [`FrameLimits::frames`](super::FrameLimits::frames) allows for its
    /// bytes.
    #[error("a message has at least {0} frames, too many for its bytes")]
    ManyFrames(u64),
}

impl Violation {
    /// The code of the close frame that tells the peer (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TextEncoding | Self::ReasonEncoding => 1007,
            Self::LongFrame { .. } | Self::LongMessage { .. } | Self::ManyFrames(_) => 1009,
            _ => 1002,
        }
    }
}
