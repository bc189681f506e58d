//! Targets of JSON: into memory, as far as there is room for it, into pieces, or nowhere, only to be measured.

use alloc::string::String;
use core::fmt;

use crate::value::ValueError;

/// Takes JSON.
pub(crate) trait Out {
    /// The reason to take no more.
    type Error: From<ValueError>;

    /// Takes the next text.
    fn push_str(&mut self, text: &str);

    /// Takes the next character.
    #[inline]
    fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }

    /// Whether more is wanted. Asked before each item, and at the end.
    #[inline]
    fn check(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Formats something.
pub(super) fn push_formatted(out: &mut impl Out, text: fmt::Arguments<'_>) {
    struct Formatter<'o, O>(&'o mut O);

    impl<O: Out> fmt::Write for Formatter<'_, O> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            Ok(())
        }
    }

    // Fails only if the value's own formatting does, which none of these do.
    let _ = fmt::Write::write_fmt(&mut Formatter(out), text);
}

impl Out for String {
    type Error = ValueError;

    #[inline]
    fn push_str(&mut self, text: &str) {
        self.push_str(text);
    }

    #[inline]
    fn push(&mut self, character: char) {
        self.push(character);
    }
}

/// The end of an [`Out`] of a certain size.
pub(crate) enum Stop {
    Value(ValueError),
    /// It has no more room.
    Full,
}

impl From<ValueError> for Stop {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// Whether all of it found room.
pub(crate) fn has_room(written: Result<(), Stop>) -> Result<bool, ValueError> {
    match written {
        Ok(()) => Ok(true),
        Err(Stop::Full) => Ok(false),
        Err(Stop::Value(error)) => Err(error),
    }
}

/// Only measures.
pub(crate) struct Length {
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
}

impl Out for Length {
    type Error = Stop;

    #[inline]
    fn push_str(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    #[inline]
    fn push(&mut self, character: char) {
        self.bytes += character.len_utf8() as u64;
    }

    #[inline]
    fn check(&mut self) -> Result<(), Stop> {
        if self.bytes > self.limit {
            return Err(Stop::Full);
        }
        Ok(())
    }
}

/// A text that may grow up to this length, and by one item more.
pub(crate) struct Limited<'o> {
    pub(crate) out: &'o mut String,
    pub(crate) length_max: usize,
}

impl Out for Limited<'_> {
    type Error = Stop;

    #[inline]
    fn push_str(&mut self, text: &str) {
        self.out.push_str(text);
    }

    #[inline]
    fn push(&mut self, character: char) {
        self.out.push(character);
    }

    #[inline]
    fn check(&mut self) -> Result<(), Stop> {
        if self.out.len() > self.length_max {
            return Err(Stop::Full);
        }
        Ok(())
    }
}

/// The size of a piece, in bytes.
const PIECE: usize = 16 << 10;

/// Gives it away in pieces.
pub(crate) struct Pieces<F, E> {
    piece: String,
    give: F,
    /// What the first piece that was not taken ended with. Nothing is given after it.
    error: Option<E>,
}

impl<F: FnMut(&str) -> Result<(), E>, E> Pieces<F, E> {
    pub(crate) fn new(give: F) -> Self {
        Self {
            piece: String::with_capacity(PIECE),
            give,
            error: None,
        }
    }

    fn give(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = (self.give)(text).err();
        }
    }

    fn flush(&mut self) {
        let piece = core::mem::take(&mut self.piece);
        self.give(&piece);
        self.piece = piece;
        self.piece.clear();
    }

    /// Gives the last piece away.
    pub(crate) fn finish(mut self) -> Result<(), E> {
        self.flush();
        self.error.map_or(Ok(()), Err)
    }
}

impl<F: FnMut(&str) -> Result<(), E>, E: From<ValueError>> Out for Pieces<F, E> {
    type Error = E;

    fn push_str(&mut self, text: &str) {
        if self.piece.len() + text.len() > PIECE {
            self.flush();
        }
        if text.len() > PIECE {
            self.give(text);
        } else {
            self.piece.push_str(text);
        }
    }

    fn check(&mut self) -> Result<(), E> {
        self.error.take().map_or(Ok(()), Err)
    }
}
