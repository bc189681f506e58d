//! Integers of any size, as JavaScript's bigints need them.
//!
//! Only what a codec and counters need: from and to two's complement bytes, decimal text and numbers, and sums.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// A whole number of any size. Apart from numbers: `5` and `5n` are different values to the peers.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct BigInt {
    /// Never set for zero.
    negative: bool,
    /// The absolute value, lowest 64 bits first, without leading (that is, last) zeros.
    limbs: Vec<u64>,
}

/// Longest absolute value, in bits, that [`BigInt`] reads and writes as decimal text: the conversion takes time
/// quadratic in the length. Longer ones are written in hexadecimal (`-0x1f...`), in linear time.
pub const DECIMAL_BITS_MAX: usize = 1 << 15;

/// Largest power of ten in 64 bits, so that each division yields this many digits.
const CHUNK: u64 = 10_u64.pow(CHUNK_DIGITS as u32);
const CHUNK_DIGITS: usize = 19;
/// Decimal digits in [`DECIMAL_BITS_MAX`] bits.
const DECIMAL_DIGITS_MAX: usize = 9_865;
/// `floor((2^128 - 1) / CHUNK) - 2^64`: division by `CHUNK` becomes multiplication by this.
const CHUNK_RECIPROCAL: u64 = (u128::MAX / CHUNK as u128) as u64;

/// Text that is not a decimal integer, or too long to be read as one (see [`DECIMAL_BITS_MAX`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal integer of at most {DECIMAL_DIGITS_MAX} digits")]
pub struct ParseBigIntError;

impl BigInt {
    /// From the absolute value (lowest 64 bits first) and the sign.
    pub(crate) fn from_limbs(negative: bool, mut limbs: Vec<u64>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self {
            negative: negative && !limbs.is_empty(),
            limbs,
        }
    }

    /// From two's complement, highest byte first (`value-codec.md` section 4, extension `42`). No bytes are zero.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let fill = if negative { 0xff } else { 0 };
        let mut carry = negative;
        let limbs = bytes.rchunks(8).map(|chunk| {
            let mut wide = [fill; 8];
            wide[8 - chunk.len()..].copy_from_slice(chunk);
            let limb = u64::from_be_bytes(wide);
            if !negative {
                return limb;
            }
            let (negated, overflow) = (!limb).overflowing_add(u64::from(carry));
            carry = overflow;
            negated
        });
        let mut limbs: Vec<u64> = limbs.collect();
        if carry {
            // Only a number of zeros could carry out, and zeros are not negative.
            limbs.push(1);
        }
        Self::from_limbs(negative, limbs)
    }

    /// As two's complement, highest byte first, in the fewest groups of 8 bytes (at least one).
    #[must_use]
    pub fn to_be_bytes(&self) -> Vec<u8> {
        let mut limbs = self.limbs.clone();
        if limbs.is_empty() {
            limbs.push(0);
        }
        if self.negative {
            let mut carry = true;
            for limb in &mut limbs {
                let (negated, overflow) = (!*limb).overflowing_add(u64::from(carry));
                *limb = negated;
                carry = overflow;
            }
        }
        let top_is_negative = limbs.last().is_some_and(|limb| limb >> 63 == 1);
        if top_is_negative != self.negative {
            limbs.push(if self.negative { u64::MAX } else { 0 });
        }
        limbs
            .iter()
            .rev()
            .flat_map(|limb| limb.to_be_bytes())
            .collect()
    }

    /// True for numbers below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// The absolute value, lowest 64 bits first, without leading zeros.
    pub(crate) fn limbs(&self) -> &[u64] {
        &self.limbs
    }

    /// Length of the absolute value in bits; 0 for zero.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.limbs.last().map_or(0, |last| {
            self.limbs.len() * 64 - last.leading_zeros() as usize
        })
    }

    fn absolute_u128(&self) -> Option<u128> {
        match *self.limbs {
            [] => Some(0),
            [low] => Some(u128::from(low)),
            [low, high] => Some(u128::from(high) << 64 | u128::from(low)),
            _ => None,
        }
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        let absolute = self.absolute_u128()?;
        if self.negative {
            0_i128.checked_sub_unsigned(absolute)
        } else {
            i128::try_from(absolute).ok()
        }
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_u128(&self) -> Option<u128> {
        self.absolute_u128().filter(|_| !self.negative)
    }

    /// A number that is whole.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        // What is below the normal numbers is no whole number but zero.
        if exponent == 0 {
            return (fraction == 0).then(Self::default);
        }
        if exponent == 0x7ff {
            return None;
        }
        let mantissa = fraction | 1 << 52;
        let shift = exponent - 1075;
        if shift < 0 {
            let is_whole = mantissa.trailing_zeros() as i32 >= -shift;
            return is_whole.then(|| Self::from_limbs(value < 0.0, [mantissa >> -shift].into()));
        }
        let (limbs, rest) = (shift as usize / 64, shift as u32 % 64);
        let wide = u128::from(mantissa) << rest;
        let mut all = alloc::vec![0; limbs];
        all.extend([wide as u64, (wide >> 64) as u64]);
        Some(Self::from_limbs(value < 0.0, all))
    }

    /// The nearest number, of two the even one; infinite if it is too large.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        // Two limbs have more bits than a number; whether anything follows them decides only between two that are equally near.
        let shift = self.limbs.len().saturating_sub(2);
        let (low, high) = self.limbs.split_at(shift);
        let top = high
            .iter()
            .rev()
            .fold(0_u128, |top, limb| top << 64 | u128::from(*limb));
        let is_more = low.iter().any(|limb| *limb != 0);
        // The top limb is not zero, so the lowest bit of two is far below what is kept.
        let mut value = (top | u128::from(is_more)) as f64;
        for _ in 0..shift {
            value *= 18_446_744_073_709_551_616.0;
        }
        if self.negative { -value } else { value }
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            let (long, short) = if self.limbs.len() < other.limbs.len() {
                (&other.limbs, &self.limbs)
            } else {
                (&self.limbs, &other.limbs)
            };
            let mut carry = false;
            let mut limbs: Vec<u64> = long
                .iter()
                .enumerate()
                .map(|(place, limb)| {
                    let (sum, over) = limb.overflowing_add(short.get(place).copied().unwrap_or(0));
                    let (sum, again) = sum.overflowing_add(u64::from(carry));
                    carry = over || again;
                    sum
                })
                .collect();
            limbs.extend(carry.then_some(1));
            return Self::from_limbs(self.negative, limbs);
        }
        let is_larger = self.limbs.len().cmp(&other.limbs.len());
        let is_larger =
            is_larger.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()));
        let (large, small) = if is_larger.is_lt() {
            (other, self)
        } else {
            (self, other)
        };
        let mut borrow = false;
        let limbs = large
            .limbs
            .iter()
            .enumerate()
            .map(|(place, limb)| {
                let taken = small.limbs.get(place).copied().unwrap_or(0);
                let (rest, under) = limb.overflowing_sub(taken);
                let (rest, again) = rest.overflowing_sub(u64::from(borrow));
                borrow = under || again;
                rest
            })
            .collect();
        Self::from_limbs(large.negative, limbs)
    }
}

impl From<u128> for BigInt {
    fn from(value: u128) -> Self {
        Self::from_limbs(false, [value as u64, (value >> 64) as u64].into())
    }
}

impl From<i128> for BigInt {
    fn from(value: i128) -> Self {
        let mut converted = Self::from(value.unsigned_abs());
        converted.negative = value < 0;
        converted
    }
}

impl From<u64> for BigInt {
    fn from(value: u64) -> Self {
        Self::from(u128::from(value))
    }
}

impl From<i64> for BigInt {
    fn from(value: i64) -> Self {
        Self::from(i128::from(value))
    }
}

/// Decimal, or hexadecimal with `0x` beyond [`DECIMAL_BITS_MAX`].
impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        if let Some(absolute) = self.absolute_u128() {
            return write!(f, "{absolute}");
        }
        if self.bits() > DECIMAL_BITS_MAX {
            f.write_str("0x")?;
            return write_groups(f, &self.limbs, |f, limb, first| {
                if first {
                    write!(f, "{limb:x}")
                } else {
                    write!(f, "{limb:016x}")
                }
            });
        }
        let mut rest = self.limbs.clone();
        let mut chunks = Vec::with_capacity(rest.len() + rest.len() / 64 + 1);
        while !rest.is_empty() {
            chunks.push(divide_by_chunk(&mut rest));
            while rest.last() == Some(&0) {
                rest.pop();
            }
        }
        write_groups(f, &chunks, |f, chunk, first| {
            if first {
                write!(f, "{chunk}")
            } else {
                write!(f, "{chunk:0CHUNK_DIGITS$}")
            }
        })
    }
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}n")
    }
}

impl FromStr for BigInt {
    type Err = ParseBigIntError;

    fn from_str(text: &str) -> Result<Self, ParseBigIntError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let digits = digits.as_bytes();
        if digits.is_empty()
            || digits.len() > DECIMAL_DIGITS_MAX
            || !digits.iter().all(u8::is_ascii_digit)
        {
            return Err(ParseBigIntError);
        }
        let mut limbs: Vec<u64> = Vec::new();
        let (head, tail) = digits.split_at(digits.len() % CHUNK_DIGITS);
        for chunk in core::iter::once(head).chain(tail.chunks(CHUNK_DIGITS)) {
            let value = chunk
                .iter()
                .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
            let mut carry = value;
            for limb in &mut limbs {
                let product = u128::from(*limb) * u128::from(CHUNK) + u128::from(carry);
                *limb = product as u64;
                carry = (product >> 64) as u64;
            }
            if carry != 0 {
                limbs.push(carry);
            }
        }
        Ok(Self::from_limbs(negative, limbs))
    }
}

fn write_groups(
    f: &mut fmt::Formatter<'_>,
    groups: &[u64],
    mut write: impl FnMut(&mut fmt::Formatter<'_>, u64, bool) -> fmt::Result,
) -> fmt::Result {
    let mut first = true;
    for &group in groups.iter().rev() {
        write(f, group, first)?;
        first = false;
    }
    Ok(())
}

/// Divides in place by [`CHUNK`] and returns the remainder.
///
/// A 128-bit division costs some ten times a multiplication, and a megabyte of bigints takes millions of them; hence
/// division by an invariant integer (Möller and Granlund, "Improved division by invariant integers", algorithm 4).
fn divide_by_chunk(limbs: &mut [u64]) -> u64 {
    let mut remainder = 0_u64;
    for limb in limbs.iter_mut().rev() {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        let estimate =
            (u128::from(CHUNK_RECIPROCAL) * u128::from(remainder)).wrapping_add(dividend);
        let mut quotient = ((estimate >> 64) as u64).wrapping_add(1);
        remainder = limb.wrapping_sub(quotient.wrapping_mul(CHUNK));
        if remainder > estimate as u64 {
            quotient = quotient.wrapping_sub(1);
            remainder = remainder.wrapping_add(CHUNK);
        }
        if remainder >= CHUNK {
            quotient = quotient.wrapping_add(1);
            remainder -= CHUNK;
        }
        *limb = quotient;
    }
    remainder
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn two_powers_at_the_edges_of_two_complement() {
        let minus_two_to_63 = BigInt::from(i64::MIN);
        assert_eq!(minus_two_to_63.to_be_bytes(), i64::MIN.to_be_bytes());
        let two_to_63 = BigInt::from(1_u64 << 63);
        assert_eq!(two_to_63.to_be_bytes().len(), 16);
        assert_eq!(BigInt::default().to_be_bytes(), [0; 8]);
        assert_eq!(BigInt::from_be_bytes(&[0xff]), BigInt::from(-1_i64));
        assert_eq!(
            BigInt::from_be_bytes(&[0x80, 0, 0]),
            BigInt::from(-8_388_608_i64)
        );
    }

    #[test]
    fn machine_integers_fit_up_to_their_limits() {
        for value in [0, 1, -1, i128::MAX, i128::MIN] {
            assert_eq!(BigInt::from(value).to_i128(), Some(value));
        }
        assert_eq!(BigInt::from(u128::MAX).to_i128(), None);
        assert_eq!(BigInt::from(u128::MAX).to_u128(), Some(u128::MAX));
        assert_eq!(BigInt::from(-1_i64).to_u128(), None);
    }

    #[test]
    fn decimal_gives_way_to_hexadecimal_at_the_limit() {
        let mut limbs = vec![u64::MAX; DECIMAL_BITS_MAX / 64];
        let decimal = BigInt::from_limbs(false, limbs.clone()).to_string();
        assert_eq!(decimal.len(), DECIMAL_DIGITS_MAX);
        assert_eq!(
            decimal.parse(),
            Ok(BigInt::from_limbs(false, limbs.clone()))
        );
        limbs.fill(0);
        limbs.push(1);
        let longer = BigInt::from_limbs(true, limbs).to_string();
        assert!(longer.starts_with("-0x10000"));
        assert_eq!(longer.len(), 3 + DECIMAL_BITS_MAX / 4 + 1);
    }

    #[test]
    fn only_decimal_integers_are_parsed() {
        for text in ["", "-", "+1", "1.0", "0x10", "1n", " 1"] {
            assert_eq!(text.parse::<BigInt>(), Err(ParseBigIntError), "{text:?}");
        }
        assert_eq!("-0".parse(), Ok(BigInt::default()));
        assert_eq!("007".parse(), Ok(BigInt::from(7_u64)));
    }

    proptest! {
        #[test]
        fn bytes_and_text_round_trip(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let value = BigInt::from_be_bytes(&bytes);
            prop_assert_eq!(&BigInt::from_be_bytes(&value.to_be_bytes()), &value);
            prop_assert_eq!(&value.to_string().parse::<BigInt>().unwrap(), &value);
        }

        #[test]
        fn agrees_with_machine_integers(value: i128) {
            prop_assert_eq!(BigInt::from(value).to_string(), value.to_string());
            prop_assert_eq!(BigInt::from_be_bytes(&value.to_be_bytes()), BigInt::from(value));
        }
    }
}
