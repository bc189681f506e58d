//! The MessagePack tokens that commands and record values share.
//!
//! [`Reader`] walks a byte slice and never allocates: text and bytes come back as slices of the input, and counts
//! are only numbers that the caller must not trust as a size. What a token means (is `0x40` an integer or a record?)
//! is decided by whoever reads it: commands use the control profile, values the table profile (`value-codec.md`
//! sections 1 and 2).

use rmp::Marker;

/// One MessagePack token. Containers come without their content, which follows in the input.
///
/// The tag takes a whole word so that tokens are moved in whole words; moving odd pieces makes the processor wait.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    /// `00`..`7f`: a small integer, or in the table profile from `40` on a reference to a record structure.
    Small(u8),
    /// Every other number, as a JavaScript reader sees it: one double.
    Number(f64),
    /// `cf`: always a bigint to the peers, even when small.
    Unsigned64(u64),
    /// `d3`: always a bigint to the peers, even when small.
    Signed64(i64),
    /// Text, not yet checked to be UTF-8.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Array(u32),
    Map(u32),
    /// Includes `undefined` (type 0) and, in the table profile, record definitions (type 0x72).
    Extension {
        kind: i8,
        payload: &'a [u8],
    },
}

/// Why no token could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// The input ends inside the token.
    End,
    /// `c1` stands for nothing in this protocol.
    Reserved,
}

/// A cursor over MessagePack bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// `at <= bytes.len()` always holds.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A reader that starts at `at`, or at the end if `at` lies beyond it.
    pub(crate) fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    /// Bytes read so far.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Bytes not yet read.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte, not consumed.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], TokenError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(TokenError::End)?;
        self.at += count;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.first_chunk::<N>().ok_or(TokenError::End)?;
        self.at += N;
        Ok(*taken)
    }

    /// The next token. After an error the position is unspecified but still inside the input.
    ///
    /// Always inlined: to hand a token back in memory takes longer than to read it.
    #[inline(always)]
    pub(crate) fn token(&mut self) -> Result<Token<'a>, TokenError> {
        let [first] = self.array()?;
        Ok(match Marker::from_u8(first) {
            Marker::FixPos(value) => Token::Small(value),
            Marker::FixNeg(value) => Token::Number(f64::from(value)),
            Marker::FixStr(count) => Token::Text(self.take(usize::from(count))?),
            Marker::FixArray(count) => Token::Array(u32::from(count)),
            Marker::FixMap(count) => Token::Map(u32::from(count)),
            Marker::Null => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::U8 => Token::Number(f64::from(u8::from_be_bytes(self.array()?))),
            Marker::U16 => Token::Number(f64::from(u16::from_be_bytes(self.array()?))),
            Marker::U32 => Token::Number(f64::from(u32::from_be_bytes(self.array()?))),
            Marker::U64 => Token::Unsigned64(u64::from_be_bytes(self.array()?)),
            Marker::I8 => Token::Number(f64::from(i8::from_be_bytes(self.array()?))),
            Marker::I16 => Token::Number(f64::from(i16::from_be_bytes(self.array()?))),
            Marker::I32 => Token::Number(f64::from(i32::from_be_bytes(self.array()?))),
            Marker::I64 => Token::Signed64(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Token::Number(f64::from(f32::from_be_bytes(self.array()?))),
            Marker::F64 => Token::Number(f64::from_be_bytes(self.array()?)),
            Marker::Str8 => Token::Text(self.counted::<1>()?),
            Marker::Str16 => Token::Text(self.counted::<2>()?),
            Marker::Str32 => Token::Text(self.counted::<4>()?),
            Marker::Bin8 => Token::Bytes(self.counted::<1>()?),
            Marker::Bin16 => Token::Bytes(self.counted::<2>()?),
            Marker::Bin32 => Token::Bytes(self.counted::<4>()?),
            Marker::Array16 => Token::Array(self.count::<2>()?),
            Marker::Array32 => Token::Array(self.count::<4>()?),
            Marker::Map16 => Token::Map(self.count::<2>()?),
            Marker::Map32 => Token::Map(self.count::<4>()?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => {
                let count = self.count::<1>()?;
                self.extension(count)?
            }
            Marker::Ext16 => {
                let count = self.count::<2>()?;
                self.extension(count)?
            }
            Marker::Ext32 => {
                let count = self.count::<4>()?;
                self.extension(count)?
            }
            Marker::Reserved => return Err(TokenError::Reserved),
        })
    }

    fn count<const N: usize>(&mut self) -> Result<u32, TokenError> {
        let mut wide = [0; 4];
        wide[4 - N..].copy_from_slice(&self.array::<N>()?);
        Ok(u32::from_be_bytes(wide))
    }

    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], TokenError> {
        let count = self.count::<N>()?;
        self.take(count as usize)
    }

    fn extension(&mut self, count: u32) -> Result<Token<'a>, TokenError> {
        let [kind] = self.array()?;
        Ok(Token::Extension {
            kind: i8::from_be_bytes([kind]),
            payload: self.take(count as usize)?,
        })
    }
}
