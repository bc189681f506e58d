//! Masking (RFC 6455 section 5.3).

/// Masks or unmasks bytes in place. `position` is where in the payload they begin.
pub(super) fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], position: u64) {
    mask.rotate_left((position % 4) as usize);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_plain_definition_at_every_position() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for position in 0..9 {
            for length in 0..40 {
                let bytes: Vec<u8> = (0..length).collect();
                let plain = bytes.iter().enumerate();
                let expected: Vec<u8> = plain
                    .map(|(i, byte)| byte ^ mask[(position as usize + i) % 4])
                    .collect();
                let mut masked = bytes.clone();
                apply_mask(&mut masked, mask, position);
                assert_eq!(masked, expected);
            }
        }
    }
}
