//! Text as it stands in a value.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::hash::{Hash, Hasher};

/// Text inside a value: bytes that are UTF-8 unless the writer had lone surrogates (`value-codec.md` section 3).
///
/// A walk over a whole record checks the texts of the record together, before it shows them; else a text is checked
/// each time it is asked for.
#[derive(Clone, Copy)]
pub struct Text<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Checked(&'a str),
    Unchecked(&'a [u8]),
}

impl<'a> Text<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(Form::Unchecked(bytes))
    }

    #[inline]
    pub(crate) const fn checked(text: &'a str) -> Self {
        Self(Form::Checked(text))
    }

    /// The bytes, unchecked.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        match self.0 {
            Form::Checked(text) => text.as_bytes(),
            Form::Unchecked(bytes) => bytes,
        }
    }

    /// The text, if it is valid UTF-8.
    #[inline]
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        match self.0 {
            Form::Checked(text) => Some(text),
            Form::Unchecked(bytes) => core::str::from_utf8(bytes).ok(),
        }
    }

    /// Whether it is valid UTF-8.
    #[inline]
    pub(crate) fn is_valid(self) -> bool {
        match self.0 {
            Form::Checked(_) => true,
            // Short texts are told to be ASCII in less time than to be UTF-8.
            Form::Unchecked(bytes) => bytes.is_ascii() || core::str::from_utf8(bytes).is_ok(),
        }
    }

    /// The text, with U+FFFD for what is not valid UTF-8. Allocates only in that case.
    #[inline]
    #[must_use]
    pub fn to_str_lossy(self) -> Cow<'a, str> {
        // The check alone is several times faster than the replacing walk.
        match self.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.as_bytes()),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text<'_> {}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}
