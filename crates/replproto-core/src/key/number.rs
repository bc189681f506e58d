//! Numbers and bigints in keys (`value-codec.md` sections 8.1 and 8.2).
//!
//! The bits of the double are moved by half a byte, so that the first nibble tells positive from negative and the bytes
//! sort like the numbers. A bigint is the double below it, and what is missing as more bits.

use alloc::vec::Vec;

use super::error::KeyErrorKind;
use crate::value::BigInt;

/// Bytes of a number that is not cut short.
pub(super) const WIDTH: usize = 9;
const SIGN: u64 = 1 << 63;
const FRACTION_BITS: u32 = 52;
/// Exponent bits of infinity and NaN.
const EXPONENT_MAX: u64 = 0x7ff;
/// Added to the exponent of a double whose 53 bits are taken as an integer.
const BIAS: i32 = 1075;
/// The bits after the double: half a byte first, then groups of this many.
const GROUP_BITS: usize = 7;
/// More groups than the smallest bit of any bigint needs.
const GROUPS_MAX: usize = 160;

/// A number that stood in a key.
pub(super) enum Number {
    Double(f64),
    Big(BigInt),
}

/// Reads the number in `bytes`, which holds `WIDTH` bytes and then all bytes from `80` on that follow.
pub(super) fn read(bytes: &[u8; WIDTH], groups: &[u8]) -> Result<Number, KeyErrorKind> {
    let [sign, .., last] = *bytes;
    let bits = bytes
        .iter()
        .skip(1)
        .take(7)
        .fold(u64::from(sign & 0x0f), |bits, byte| {
            bits << 8 | u64::from(*byte)
        });
    let bits = bits << 4 | u64::from(last >> 4);
    let (is_negative, bits) = match sign >> 4 {
        0 => (true, bits ^ !SIGN),
        _ => (false, bits),
    };
    let nibble = last & 0x0f;
    if !is_negative && bits & SIGN != 0 {
        // Only -0 is written with its sign in place.
        return if bits == SIGN && nibble == 0 && groups.is_empty() {
            Ok(Number::Double(-0.0))
        } else {
            Err(KeyErrorKind::BadNumber)
        };
    }
    match (groups, nibble) {
        ([], 0) => Ok(Number::Double(f64::from_bits(bits))),
        ([], _) => Err(KeyErrorKind::BadNumber),
        _ => read_big(is_negative, bits & !SIGN, nibble, groups)
            .map(Number::Big)
            .ok_or(KeyErrorKind::BadNumber),
    }
}

fn read_big(is_negative: bool, bits: u64, nibble: u8, groups: &[u8]) -> Option<BigInt> {
    let exponent = bits >> FRACTION_BITS;
    if exponent == 0 || exponent == EXPONENT_MAX || groups.len() > GROUPS_MAX {
        return None;
    }
    let mantissa = bits & ((1 << FRACTION_BITS) - 1) | 1 << FRACTION_BITS;
    // All bits as one whole number, and what is added to the double apart.
    let mut whole = Vec::from([mantissa]);
    let mut added = Vec::from([0]);
    shift_in(&mut whole, 4, 0);
    shift_in(&mut added, 4, u64::from(nibble));
    for group in groups {
        shift_in(&mut whole, GROUP_BITS as u32, 0);
        shift_in(&mut added, GROUP_BITS as u32, u64::from(group & 0x7f));
    }
    if is_negative {
        subtract(&mut whole, &added);
    } else {
        for (limb, added) in whole.iter_mut().zip(&added) {
            // The bits of the double end where these begin.
            *limb |= added;
        }
    }
    let scale = exponent as i32 - BIAS - 4 - (GROUP_BITS * groups.len()) as i32;
    for _ in 0..scale {
        shift_in(&mut whole, 1, 0);
    }
    for _ in scale..0 {
        if whole.first().is_none_or(|low| low & 1 != 0) {
            return None;
        }
        halve(&mut whole);
    }
    Some(BigInt::from_limbs(is_negative, whole))
}

/// Moves all bits up by `count` (below 64) and puts `low` in their place.
fn shift_in(limbs: &mut Vec<u64>, count: u32, low: u64) {
    let mut carry = low;
    for limb in limbs.iter_mut() {
        let next = *limb >> (64 - count);
        *limb = *limb << count | carry;
        carry = next;
    }
    if carry != 0 {
        limbs.push(carry);
    }
}

fn halve(limbs: &mut [u64]) {
    let mut carry = 0;
    for limb in limbs.iter_mut().rev() {
        let next = *limb << 63;
        *limb = *limb >> 1 | carry;
        carry = next;
    }
}

/// Subtracts a smaller number in place.
fn subtract(limbs: &mut [u64], smaller: &[u64]) {
    let mut borrow = false;
    for (at, limb) in limbs.iter_mut().enumerate() {
        let (left, first) = limb.overflowing_sub(smaller.get(at).copied().unwrap_or(0));
        let (left, second) = left.overflowing_sub(u64::from(borrow));
        *limb = left;
        borrow = first || second;
    }
}

/// Appends a number. Alone it is cut where only zeros follow; in an array it never is.
pub(super) fn write(out: &mut Vec<u8>, value: f64, in_array: bool) {
    let bits = if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    };
    let width = if value < 0.0 || in_array || bits & 0xf != 0 {
        WIDTH
    } else if bits & 0xf_ffff != 0 {
        8
    } else if bits & 0xf_ffff_ffff != 0 {
        6
    } else {
        4
    };
    out.extend(&double(bits, value < 0.0)[..width]);
}

fn double(bits: u64, is_negative: bool) -> [u8; WIDTH] {
    let (sign, bits) = if is_negative {
        (0x00, bits ^ !SIGN)
    } else {
        (0x10, bits)
    };
    let mut bytes = [0; WIDTH];
    bytes[0] = sign | (bits >> 60) as u8;
    bytes[1..].copy_from_slice(&(bits << 4).to_be_bytes());
    bytes
}

/// Appends a bigint, as a number if a double holds it; false, and nothing appended, if it is beyond all doubles.
pub(super) fn write_big(out: &mut Vec<u8>, value: &BigInt, in_array: bool) -> bool {
    let is_negative = value.is_negative();
    let length = value.bits();
    if length == 0 {
        write(out, 0.0, in_array);
        return true;
    }
    // The 53 bits of the double at or below the value, of which the first is the value's first.
    let below = length.saturating_sub(FRACTION_BITS as usize + 1);
    let complement = value.to_be_bytes();
    let sign_bit = u8::from(is_negative);
    let bit = |at: usize| {
        let byte = complement.iter().rev().nth(at / 8);
        byte.map_or(sign_bit, |byte| byte >> (at % 8) & 1)
    };
    let is_exact = (0..below).all(|at| bit(at) == 0);
    let mut mantissa = absolute_bits(value, below);
    let mut exponent = below as i32 + BIAS;
    if is_negative && !is_exact {
        mantissa += 1;
    }
    // A value of fewer bits, or one that was rounded up to the next power of two.
    while mantissa >> FRACTION_BITS == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if mantissa >> (FRACTION_BITS + 1) != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    if exponent as u64 >= EXPONENT_MAX {
        return false;
    }
    let fraction = mantissa & ((1 << FRACTION_BITS) - 1);
    let sign = if is_negative { SIGN } else { 0 };
    let bits = sign | (exponent as u64) << FRACTION_BITS | fraction;
    if is_exact {
        write(out, f64::from_bits(bits), in_array);
        return true;
    }
    // The bits below the double's last, from two's complement: they add to it, also when it is negative.
    let mut next = (exponent - BIAS) as usize;
    let mut take = |count: usize| {
        (0..count).fold(0, |taken, _| {
            let bit = next.checked_sub(1).map_or(0, |at| {
                next = at;
                bit(at)
            });
            taken << 1 | bit
        })
    };
    let last_set = (0..below).find(|&at| bit(at) == 1).unwrap_or(0);
    let mut left = (exponent - BIAS) as usize - last_set;
    let mut bytes = double(bits, is_negative);
    bytes[WIDTH - 1] |= take(4);
    out.extend(bytes);
    left = left.saturating_sub(4);
    loop {
        out.push(0x80 | take(GROUP_BITS));
        left = left.saturating_sub(GROUP_BITS);
        if left == 0 {
            return true;
        }
    }
}

/// The absolute value without its lowest `below` bits, of which at most 53 are left.
fn absolute_bits(value: &BigInt, below: usize) -> u64 {
    let limb = |at: usize| value.limbs().get(at).copied().unwrap_or(0);
    let (at, shift) = (below / 64, below % 64);
    let wide = u128::from(limb(at + 1)) << 64 | u128::from(limb(at));
    (wide >> shift) as u64
}
