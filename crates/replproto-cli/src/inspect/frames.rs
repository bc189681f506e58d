//! Files of messages: for each a length of 32 bits, little-endian, and its bytes.

use std::io::{self, Read};

use bytes::Bytes;

use super::InspectError;

/// At most this much is set aside because of a length that a file merely claims.
const CLAIMED_BYTES_MAX: usize = 1 << 20;

/// Reads the messages of a file one by one.
pub(super) struct Frames<R> {
    reader: R,
    message_max: u64,
    /// Where the next message starts in the file.
    offset: u64,
    /// Messages read.
    count: u64,
}

/// A message and its place in the file.
pub(super) struct Frame {
    pub(super) place: Place,
    pub(super) bytes: Bytes,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which message, from 0.
    pub(super) message: u64,
    /// Where its length stands in the file, in bytes.
    pub(super) offset: u64,
}

impl<R: Read> Frames<R> {
    pub(super) const fn new(reader: R, message_max: u64) -> Self {
        Self {
            reader,
            message_max,
            offset: 0,
            count: 0,
        }
    }

    /// The next message; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, InspectError> {
        let place = Place {
            message: self.count,
            offset: self.offset,
        };
        let mut header = Vec::with_capacity(4);
        self.read(4, &mut header)?;
        let length = match *header.as_slice() {
            [] => return Ok(None),
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            _ => return Err(InspectError::truncated(place, "the length of a message")),
        };
        if length > self.message_max {
            return Err(InspectError::TooLong {
                message: place.message,
                offset: place.offset,
                length,
                limit: self.message_max,
            });
        }
        let mut bytes = Vec::with_capacity((length as usize).min(CLAIMED_BYTES_MAX));
        self.read(length, &mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(InspectError::truncated(place, "a message"));
        }
        self.offset += 4 + length;
        self.count += 1;
        Ok(Some(Frame {
            place,
            bytes: bytes.into(),
        }))
    }

    fn read(&mut self, length: u64, into: &mut Vec<u8>) -> io::Result<usize> {
        self.reader.by_ref().take(length).read_to_end(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(file: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, InspectError> {
        let mut frames = Frames::new(file, 100);
        let mut read = Vec::new();
        while let Some(frame) = frames.next()? {
            assert_eq!(frame.place.message, read.len() as u64);
            read.push((frame.place.offset, frame.bytes.to_vec()));
        }
        Ok(read)
    }

    #[test]
    fn messages_come_with_their_places() {
        let file = b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c";
        let expected = vec![(0, b"ab".to_vec()), (6, vec![]), (10, b"c".to_vec())];
        assert_eq!(read_all(file).unwrap(), expected);
        assert_eq!(read_all(b"").unwrap(), []);
    }

    #[test]
    fn what_is_cut_off_is_told_with_its_place() {
        let error = read_all(b"\x01\0\0\0a\x05\0").unwrap_err();
        assert_eq!(
            error.to_string(),
            "message 1, at byte 5 of the file: the file ends inside the length of a message"
        );
        let error = read_all(b"\x05\0\0\0abcd").unwrap_err();
        assert_eq!(
            error.to_string(),
            "message 0, at byte 0 of the file: the file ends inside a message"
        );
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        let error = read_all(b"\xff\xff\xff\xffabcd").unwrap_err();
        assert!(
            matches!(
                error,
                InspectError::TooLong {
                    length: 0xffff_ffff,
                    ..
                }
            ),
            "{error}"
        );
    }
}
