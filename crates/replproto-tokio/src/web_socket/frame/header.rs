//! Headers of frames, as far as they can be judged alone.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::error::Violation;
use super::{CONTROL_BYTES_MAX, Role};

/// No header is longer, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// What a frame carries: all that RFC 6455 section 5.2 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// More of the message before it.
    Continuation,
    /// The beginning of a text message.
    Text,
    /// The beginning of a binary message.
    Binary,
    /// The end of the WebSocket.
    Close,
    /// A question whether the other end is there.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl FrameKind {
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    pub(super) const fn opcode(self) -> OpCode {
        match self {
            Self::Continuation => OpCode::Data(Data::Continue),
            Self::Text => OpCode::Data(Data::Text),
            Self::Binary => OpCode::Data(Data::Binary),
            Self::Close => OpCode::Control(Control::Close),
            Self::Ping => OpCode::Control(Control::Ping),
            Self::Pong => OpCode::Control(Control::Pong),
        }
    }

    const fn of(opcode: OpCode) -> Result<Self, Violation> {
        Ok(match opcode {
            OpCode::Data(Data::Continue) => Self::Continuation,
            OpCode::Data(Data::Text) => Self::Text,
            OpCode::Data(Data::Binary) => Self::Binary,
            OpCode::Control(Control::Close) => Self::Close,
            OpCode::Control(Control::Ping) => Self::Ping,
            OpCode::Control(Control::Pong) => Self::Pong,
            OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
                return Err(Violation::ReservedOpcode(code));
            }
        })
    }
}

/// A header that is right by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Bytes of the header itself.
    pub(super) size: usize,
    /// Bytes of the payload, as claimed.
    pub(super) length: u64,
    pub(super) kind: FrameKind,
    pub(super) is_final: bool,
    pub(super) mask: Option<[u8; 4]>,
}

impl Header {
    /// The header at the beginning of these bytes, which came to an end of this role; `None` if it is not complete.
    pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        let mut cursor = Cursor::new(&bytes[..bytes.len().min(HEADER_BYTES_MAX)]);
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            // The opcode is all that is refused there.
            Err(_) => return Err(Violation::ReservedOpcode(bytes[0] & 0x0f)),
        };
        let size = cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBit);
        }
        let kind = FrameKind::of(header.opcode)?;
        match (role, header.mask) {
            (Role::Client, Some(_)) => return Err(Violation::Masked),
            (Role::Server, None) => return Err(Violation::NotMasked),
            _ => {}
        }
        if size != header.len(length) || length > i64::MAX as u64 {
            return Err(Violation::LengthEncoding(length));
        }
        if kind.is_control() {
            if !header.is_final {
                return Err(Violation::FragmentedControl);
            }
            if length > CONTROL_BYTES_MAX as u64 {
                return Err(Violation::LongControl(length));
            }
        }
        Ok(Some(Self {
            size,
            length,
            kind,
            is_final: header.is_final,
            mask: header.mask,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], role: Role) -> Violation {
        Header::parse(bytes, role).expect_err("accepted")
    }

    #[test]
    fn refuses_what_no_header_may_have() {
        use Role::{Client, Server};
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(refused(&[0x82 | bit, 0], Client), Violation::ReservedBit);
        }
        for code in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            let expected = Violation::ReservedOpcode(code);
            assert_eq!(refused(&[0x80 | code, 0], Client), expected);
        }
        assert_eq!(refused(&[0x82, 0], Server), Violation::NotMasked);
        let masked = [0x82, 0x80, 1, 2, 3, 4];
        assert_eq!(refused(&masked, Client), Violation::Masked);
        assert_eq!(refused(&[0x09, 0], Client), Violation::FragmentedControl);
        let long = [0x89, 126, 0, 126];
        assert_eq!(refused(&long, Client), Violation::LongControl(126));
    }

    #[test]
    fn a_length_has_one_encoding() {
        let header = |bytes: &[u8]| Header::parse(bytes, Role::Client);
        let length = |bytes: &[u8]| header(bytes).unwrap().unwrap().length;
        assert_eq!(length(&[0x82, 125]), 125);
        assert_eq!(length(&[0x82, 126, 0, 126]), 126);
        assert_eq!(length(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), 0x10000);
        for (bytes, claimed) in [
            (&[0x82, 126, 0, 125][..], 125),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 0xffff),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
        ] {
            let refused = header(bytes).unwrap_err();
            assert_eq!(refused, Violation::LengthEncoding(claimed));
        }
    }

    #[test]
    fn an_incomplete_header_is_none() {
        let whole = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for length in 0..whole.len() {
            let parsed = Header::parse(&whole[..length], Role::Server).unwrap();
            assert!(parsed.is_none(), "{length}");
        }
        let header = Header::parse(&whole, Role::Server).unwrap().unwrap();
        assert_eq!(header.size, HEADER_BYTES_MAX);
        assert_eq!(header.mask, Some([1, 2, 3, 4]));
    }
}
