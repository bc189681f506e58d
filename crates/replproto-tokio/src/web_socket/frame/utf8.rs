//! UTF-8 that comes in pieces.

use std::str;

/// Checks a text piece by piece, and refuses it at the first byte that no text can have there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of a character whose rest has not come.
    begun: [u8; 4],
    /// How many bytes that is; 0 <= length <= 3 between pieces.
    length: usize,
}

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8Check {
    pub(super) fn piece(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.begun[self.length] = *first;
            self.length += 1;
            match str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        match str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.length = begun.len();
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// The text ends here.
    pub(super) const fn end(&self) -> Result<(), NotUtf8> {
        if self.length == 0 {
            Ok(())
        } else {
            Err(NotUtf8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes are accepted, byte by byte, and whether the text may end there.
    fn accepted(bytes: &[u8]) -> (usize, bool) {
        let mut check = Utf8Check::default();
        let refused = bytes.iter().position(|byte| check.piece(&[*byte]).is_err());
        match refused {
            Some(at) => (at, false),
            None => (bytes.len(), check.end().is_ok()),
        }
    }

    #[test]
    fn refuses_at_the_first_wrong_byte() {
        // Above U+10FFFF, a surrogate, an overlong form, a stray continuation, a byte that never occurs.
        for (text, at) in [
            (&b"ab\xf4\x90\x80\x80"[..], 3),
            (b"\xed\xa0\x80", 1),
            (b"\xe0\x80\x80", 1),
            (b"\x80", 0),
            (b"\xce\xba\xff", 2),
        ] {
            assert_eq!(accepted(text), (at, false), "{text:x?}");
        }
        assert_eq!(accepted(b"\xce\xba\xe1\xbd"), (4, false));
        assert_eq!(accepted("κόσμε 𐍈".as_bytes()), (15, true));
    }

    proptest! {
        #[test]
        fn pieces_are_valid_together_or_not_at_all(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                prop::collection::vec(prop_oneof![Just(0xe2), Just(0x82), Just(0xac), any::<u8>()], 0..20),
            ],
            cuts in prop::collection::vec(1..5usize, 1..5),
        ) {
            let mut check = Utf8Check::default();
            let mut rest = &bytes[..];
            let mut is_valid = true;
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                is_valid = is_valid && check.piece(piece).is_ok();
                rest = more;
            }
            is_valid = is_valid && check.end().is_ok();
            prop_assert_eq!(is_valid, str::from_utf8(&bytes).is_ok());
        }
    }
}
