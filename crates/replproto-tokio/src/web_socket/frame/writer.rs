//! Frames as they are sent.

use bytes::{BufMut, BytesMut};
use tungstenite::protocol::frame::FrameHeader;

use super::CONTROL_BYTES_MAX;
use super::header::{FrameKind, HEADER_BYTES_MAX};
use super::mask::apply_mask;

/// Appends a frame. A client gives a mask that nobody can guess (RFC 6455 section 5.3); a server gives none.
pub fn write_frame(
    out: &mut BytesMut,
    kind: FrameKind,
    is_final: bool,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    let header = FrameHeader {
        is_final,
        opcode: kind.opcode(),
        mask,
        ..FrameHeader::default()
    };
    // Writing to memory that grows cannot fail.
    let _ = header.format(payload.len() as u64, &mut (&mut *out).writer());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask, 0);
    }
}

/// The payload of a close frame. A reason that is too long is cut; without a code there is no reason.
pub fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    let Some(code) = code else {
        return Vec::new();
    };
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 section 5.7.
        let mut out = BytesMut::new();
        write_frame(&mut out, FrameKind::Text, true, b"Hello", None);
        assert_eq!(out[..], [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        write_frame(&mut out, FrameKind::Text, true, b"Hello", mask);
        let masked = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(out[..], masked);
        out.clear();
        write_frame(&mut out, FrameKind::Text, false, b"Hel", None);
        write_frame(&mut out, FrameKind::Continuation, true, b"lo", None);
        assert_eq!(out[..], [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = close_payload(Some(1000), &"é".repeat(100));
        assert_eq!(payload.len(), 2 + 122);
        assert!(str::from_utf8(&payload[2..]).is_ok());
        assert!(close_payload(None, "why").is_empty());
    }
}
