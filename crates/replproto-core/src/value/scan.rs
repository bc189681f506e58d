//! Looking for the rare byte in a text.

/// Where the first byte stands that `is_wanted`, which should be rare: whole chunks are looked at with no early way out, which
/// the compiler turns into a few vector instructions.
#[inline]
pub(crate) fn position(text: &[u8], is_wanted: impl Fn(u8) -> bool + Copy) -> Option<usize> {
    let (chunks, rest) = text.as_chunks::<16>();
    let without = chunks.iter().take_while(|chunk| !any(chunk, is_wanted));
    let start = without.count() * 16;
    if start + rest.len() == text.len() && !is_at_end(text, is_wanted) {
        return None;
    }
    let found = text[start..].iter().position(|&byte| is_wanted(byte))?;
    Some(start + found)
}

/// Whether one of the last bytes is wanted, up to sixteen. Looks at some bytes twice rather than at one at a time.
#[inline]
fn is_at_end(text: &[u8], is_wanted: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = text.last_chunk::<16>() {
        any(last, is_wanted)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        any(first, is_wanted) | any(last, is_wanted)
    } else {
        text.iter().any(|&byte| is_wanted(byte))
    }
}

#[inline]
fn any<const N: usize>(chunk: &[u8; N], is_wanted: impl Fn(u8) -> bool) -> bool {
    let found = chunk.iter().map(|&byte| is_wanted(byte));
    found.fold(false, |any, found| any | found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for length in 0..50 {
            let mut text = std::vec![b'x'; length];
            assert_eq!(position(&text, |byte| byte == b'.'), None);
            for at in (0..length).rev() {
                text[at] = b'.';
                assert_eq!(position(&text, |byte| byte == b'.'), Some(at));
            }
        }
    }
}
