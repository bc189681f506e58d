//! Close reasons.

use alloc::string::String;

use crate::text;

/// The longest close reason in bytes that fits a WebSocket close frame (`protocol.md` section 1.3). With a longer one some
/// implementations send no close frame at all.
pub const MAX_REASON: usize = 123;

/// Cuts a reason to [`MAX_REASON`] bytes, at a character boundary.
pub fn truncate_reason(reason: String) -> String {
    text::cut(reason, MAX_REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_a_character_boundary() {
        for length in 0..300 {
            for offset in 0..4 {
                let mut reason = "a".repeat(offset);
                while reason.len() < length {
                    reason.push('\u{1f980}');
                }
                let cut = truncate_reason(reason.clone());
                assert!(cut.len() <= MAX_REASON && reason.starts_with(&cut));
                assert!(reason.len() <= MAX_REASON || cut.len() > MAX_REASON - 4);
            }
        }
    }
}
