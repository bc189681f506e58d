//! Texts that only inform: words of the peer or of the host's store, for logs and reports.

use alloc::borrow::ToOwned;
use alloc::string::String;

/// The longest text in bytes that is kept of what only informs: what a peer says of a blob that it cannot read, why it closes,
/// which wrong name it has, why a store failed. What is longer is cut at a character boundary where it enters, so that nobody
/// has to hold it.
pub const TEXT_MAX: usize = 256;

/// The text of these bytes, at most [`TEXT_MAX`] of them. What is not UTF-8 is replaced.
pub(crate) fn short(bytes: &[u8]) -> String {
    // A character that is cut off here begins at or after the place where the text is cut.
    let head = &bytes[..bytes.len().min(TEXT_MAX + 3)];
    let text = String::from_utf8_lossy(head);
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

/// Cuts a text to so many bytes.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_cut_at_a_character(text in "[a\u{e4}\u{20ac}\u{1f980}]{0,300}") {
            let short = short(text.as_bytes());
            prop_assert!(short.len() <= TEXT_MAX && text.starts_with(&short));
            prop_assert!(short == text || short.len() > TEXT_MAX - 4);
            prop_assert_eq!(cut(text, TEXT_MAX), short);
        }

        #[test]
        fn bytes_that_are_no_text_are_cut_too(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(short(&bytes).len() <= TEXT_MAX);
        }
    }
}
