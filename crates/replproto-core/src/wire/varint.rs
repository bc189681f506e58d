//! The variable-length integer of batches and entries (`protocol.md` section 4.1).

use alloc::vec::Vec;

/// Reads an integer at the start of `bytes`; gives it and how many bytes it took. `None`: the bytes end inside it.
///
/// Forms that are longer than needed are accepted, since they do occur.
///
/// ```
/// use replproto_core::wire::varint;
///
/// assert_eq!(varint::decode(&[0x81, 0x2c]), Some((300, 2)));
/// assert_eq!(varint::decode(&[0x81]), None);
/// ```
#[inline]
pub fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    Some(match first {
        0..=0x7f => (u32::from(first), 1),
        0x80..=0xbf => (
            u32::from(u16::from_be_bytes(*bytes.first_chunk()?) & 0x7fff),
            2,
        ),
        0xc0..=0xfe => (u32::from_be_bytes(*bytes.first_chunk()?) & 0x3fff_ffff, 4),
        0xff => (u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?), 5),
    })
}

/// Appends an integer in its shortest form.
pub fn encode(value: u32, out: &mut Vec<u8>) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0x3fff => out.extend_from_slice(&(value as u16 | 0x8000).to_be_bytes()),
        0x4000..=0x3eff_ffff => out.extend_from_slice(&(value | 0xc000_0000).to_be_bytes()),
        0x3f00_0000.. => {
            out.push(0xff);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// The longest form in bytes.
pub const MAX_LENGTH: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: [(u32, &[u8]); 10] = [
        (0, &[0x00]),
        (127, &[0x7f]),
        (128, &[0x80, 0x80]),
        (300, &[0x81, 0x2c]),
        (16_383, &[0xbf, 0xff]),
        (16_384, &[0xc0, 0x00, 0x40, 0x00]),
        (1_000_000, &[0xc0, 0x0f, 0x42, 0x40]),
        (0x3eff_ffff, &[0xfe, 0xff, 0xff, 0xff]),
        (0x3f00_0000, &[0xff, 0x3f, 0x00, 0x00, 0x00]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff]),
    ];

    #[test]
    fn the_protocols_table() {
        for (value, bytes) in TABLE {
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(decode(bytes), Some((value, bytes.len())));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(decode(&[0xff, 0, 0, 0, 0]), Some((0, 5)));
        assert_eq!(decode(&[0xc0, 0, 0, 5]), Some((5, 4)));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value: u32, rest: Vec<u8>) {
            let mut out = Vec::new();
            encode(value, &mut out);
            let length = out.len();
            prop_assert!(length <= MAX_LENGTH);
            out.extend(rest);
            prop_assert_eq!(decode(&out), Some((value, length)));
        }
    }
}
