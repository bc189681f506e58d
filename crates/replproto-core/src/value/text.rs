//! Text as it stands in a value.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// Text inside a value: bytes that are UTF-8 unless the writer had lone surrogates (`value-codec.md` section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes, unchecked.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, if it is valid UTF-8.
    #[inline]
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.0).ok()
    }

    /// The text, with U+FFFD for what is not valid UTF-8. Allocates only in that case.
    #[must_use]
    pub fn to_str_lossy(self) -> Cow<'a, str> {
        // The check alone is several times faster than the replacing walk.
        match self.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.0),
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}
