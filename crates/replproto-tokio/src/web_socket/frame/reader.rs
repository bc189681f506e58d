//! From bytes to parts of messages.

use super::Role;
use super::error::{FrameError, Violation};
use super::header::{FrameKind, Header};
use super::mask::apply_mask;
use super::utf8::Utf8Check;

/// Whether a message is text or not. There is no third kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// What is refused, by what a header claims and before any of its payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// The longest frame, in bytes of its payload.
    pub frame: u64,
    /// The longest message, in bytes of its payload.
    pub message: u64,
    /// Frames of one message, besides one for each 64 bytes of it. It bounds what empty and tiny frames can cost, and lets a
    /// message of any length come in frames that carry something.
    pub frames: u64,
}

/// A frame that carries this much is not counted.
const FRAME_BYTES: u64 = 64;

impl FrameLimits {
    /// Enough for any sender that has a reason for its small frames.
    const FRAMES: u64 = 1 << 20;

    /// Messages of this many bytes, in frames of any size.
    pub const fn message(bytes: u64) -> Self {
        Self {
            frame: bytes,
            message: bytes,
            frames: Self::FRAMES,
        }
    }
}

/// What the next bytes are: `skip` bytes that are done with, then `length` bytes of payload, unmasked. `skip + length` of
/// the bytes are used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameStep {
    /// Bytes before the payload.
    pub skip: usize,
    /// Bytes of the payload.
    pub length: usize,
    /// What the payload is; `None` if nothing is there to be handed out.
    pub item: Option<FrameItem>,
}

/// Something that was read: all that RFC 6455 has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameItem {
    /// The payload is the next part of a message. Only the first part and the last can be empty. The pieces of a text are UTF-8
    /// together; each alone may begin or end within a character.
    Part {
        /// Of which kind the message is.
        kind: MessageKind,
        /// The message ends with this part.
        last: bool,
    },
    /// The payload is to be sent back in a pong.
    Ping,
    /// A ping was answered.
    Pong,
    /// The peer closes. Nothing that follows is looked at.
    Close {
        /// Its code, if it gave one.
        code: Option<u16>,
        /// Its reason, at most 123 bytes.
        reason: String,
    },
}

/// Reads the frames of one direction. The bytes stay where they are, and any split of them gives the same messages and the
/// same error.
#[derive(Debug)]
pub struct FrameReader {
    role: Role,
    limits: FrameLimits,
    state: State,
    /// The message that has begun and not ended.
    message: Option<Message>,
    /// Bytes used up.
    at: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A header comes next.
    Header,
    /// Within the payload of a frame of [`FrameReader::message`].
    Payload(Payload),
    Closed,
    Failed(FrameError),
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    /// Where the frame began.
    at: u64,
    /// Bytes that have come, and those that have not.
    position: u64,
    remaining: u64,
    mask: Option<[u8; 4]>,
    is_final: bool,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    kind: MessageKind,
    /// Claimed by the headers up to here.
    bytes: u64,
    frames: u64,
    utf8: Utf8Check,
}

impl FrameReader {
    /// A reader of what comes to an end of this role.
    pub const fn new(role: Role, limits: FrameLimits) -> Self {
        Self {
            role,
            limits,
            state: State::Header,
            message: None,
            at: 0,
        }
    }

    /// Looks at the bytes that come next, and unmasks those that are payload. `None`: it takes more bytes to go on, which
    /// are to follow the ones that are here; at most 130 are left over in this way.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit. Every later call gives the same error.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<Option<FrameStep>, FrameError> {
        let (skip, payload) = match self.state {
            State::Header => match self.header(bytes)? {
                Found::Nothing => return Ok(None),
                Found::Control(step) => return Ok(Some(step)),
                Found::Payload(size, payload) => (size, payload),
            },
            State::Payload(_) if bytes.is_empty() => return Ok(None),
            State::Payload(payload) => (0, payload),
            State::Closed => return Ok(None),
            State::Failed(error) => return Err(error),
        };
        self.payload(skip, payload, &mut bytes[skip..]).map(Some)
    }

    fn header(&mut self, bytes: &mut [u8]) -> Result<Found, FrameError> {
        let at = self.at;
        let parsed = Header::parse(bytes, self.role).map_err(|why| self.fail(at, why))?;
        let Some(header) = parsed else {
            return Ok(Found::Nothing);
        };
        if header.kind.is_control() {
            let length = header.length as usize;
            let Some(payload) = bytes.get_mut(header.size..header.size + length) else {
                return Ok(Found::Nothing);
            };
            if let Some(mask) = header.mask {
                apply_mask(payload, mask, 0);
            }
            let item = match header.kind {
                FrameKind::Ping => FrameItem::Ping,
                FrameKind::Pong => FrameItem::Pong,
                _ => {
                    let close = close(payload).map_err(|why| self.fail(at, why))?;
                    self.state = State::Closed;
                    close
                }
            };
            self.at += (header.size + length) as u64;
            return Ok(Found::Control(FrameStep {
                skip: header.size,
                length,
                item: Some(item),
            }));
        }
        let message = self.admit(&header).map_err(|why| self.fail(at, why))?;
        self.message = Some(message);
        let payload = Payload {
            at,
            position: 0,
            remaining: header.length,
            mask: header.mask,
            is_final: header.is_final,
        };
        Ok(Found::Payload(header.size, payload))
    }

    /// The message that this data frame belongs to, with what the frame claims.
    fn admit(&self, header: &Header) -> Result<Message, Violation> {
        let kind = match header.kind {
            FrameKind::Text => MessageKind::Text,
            FrameKind::Binary => MessageKind::Binary,
            _ => self.message.ok_or(Violation::NothingToContinue)?.kind,
        };
        let mut message = match self.message {
            Some(message) if header.kind == FrameKind::Continuation => message,
            Some(_) => return Err(Violation::Interleaved),
            None => Message {
                kind,
                bytes: 0,
                frames: 0,
                utf8: Utf8Check::default(),
            },
        };
        message.bytes = message.bytes.saturating_add(header.length);
        message.frames += 1;
        let FrameLimits {
            frame,
            message: limit,
            frames,
        } = self.limits;
        if message.bytes > limit {
            return Err(Violation::LongMessage {
                limit,
                actual: message.bytes,
            });
        }
        if header.length > frame {
            return Err(Violation::LongFrame {
                limit: frame,
                actual: header.length,
            });
        }
        if message.frames > frames.saturating_add(message.bytes / FRAME_BYTES) {
            return Err(Violation::ManyFrames(message.frames));
        }
        Ok(message)
    }

    fn payload(
        &mut self,
        skip: usize,
        mut payload: Payload,
        bytes: &mut [u8],
    ) -> Result<FrameStep, FrameError> {
        let length = usize::try_from(payload.remaining)
            .map_or(bytes.len(), |remaining| remaining.min(bytes.len()));
        let bytes = &mut bytes[..length];
        if let Some(mask) = payload.mask {
            apply_mask(bytes, mask, payload.position);
        }
        payload.position += length as u64;
        payload.remaining -= length as u64;
        let last = payload.remaining == 0 && payload.is_final;
        let item = match &mut self.message {
            Some(message) => {
                if message.kind == MessageKind::Text {
                    let checked = message.utf8.piece(bytes);
                    let ended = if last { message.utf8.end() } else { Ok(()) };
                    if checked.and(ended).is_err() {
                        return Err(self.fail(payload.at, Violation::TextEncoding));
                    }
                }
                // That a message has begun is worth telling, before its first byte.
                let is_first = skip > 0 && message.frames == 1;
                (is_first || length > 0 || last).then_some(FrameItem::Part {
                    kind: message.kind,
                    last,
                })
            }
            None => None,
        };
        if last {
            self.message = None;
        }
        self.state = if payload.remaining == 0 {
            State::Header
        } else {
            State::Payload(payload)
        };
        self.at += (skip + length) as u64;
        Ok(FrameStep { skip, length, item })
    }

    const fn fail(&mut self, at: u64, violation: Violation) -> FrameError {
        let error = FrameError { at, violation };
        self.state = State::Failed(error);
        error
    }
}

/// What lies where a header may begin.
enum Found {
    Nothing,
    Control(FrameStep),
    /// The size of the header, and the payload after it.
    Payload(usize, Payload),
}

/// RFC 6455 sections 5.5.1 and 7.4.
fn close(payload: &[u8]) -> Result<FrameItem, Violation> {
    let (code, reason) = match payload {
        [] => (None, ""),
        [_] => return Err(Violation::HalfCloseCode),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::CloseCode(code));
            }
            let reason = str::from_utf8(reason).map_err(|_| Violation::ReasonEncoding)?;
            (Some(code), reason)
        }
    };
    Ok(FrameItem::Close {
        code,
        reason: reason.to_owned(),
    })
}
