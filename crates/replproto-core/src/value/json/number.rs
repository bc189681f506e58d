//! Numbers as text.

use super::{JsonStyle, Out, push_formatted, push_hex};

/// Integers with this absolute value and below are exact.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Appends a number.
pub(crate) fn push_number(out: &mut impl Out, value: f64, style: JsonStyle) {
    let whole = value as i64;
    if value.abs() <= SAFE_INTEGER_MAX && whole as f64 == value && !is_minus_zero(value) {
        push_integer(out, whole);
    } else if style == JsonStyle::Natural && value.is_finite() {
        push_natural(out, value);
    } else {
        out.push_str(r#"{"$f64":""#);
        push_js_number(out, value);
        if !value.is_nan() {
            out.push_str(r#"","bits":""#);
            push_hex(out, &value.to_bits().to_be_bytes());
        }
        out.push_str("\"}");
    }
}

fn is_minus_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

/// Appends an integer.
pub(super) fn push_integer(out: &mut impl Out, value: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Appends a finite number as core prints it for debugging: of its formats the one with exponents and with ".0" for -0 and
/// large integers.
fn push_natural(out: &mut impl Out, value: f64) {
    if (1e-4..1e16).contains(&value.abs()) {
        // The same text, ten times as fast, except where two are equally near.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        if !is_between_two(value, text) {
            return out.push_str(text);
        }
    }
    push_formatted(out, format_args!("{value:?}"));
}

/// No number from 0.0001 on takes more: 17, and three zeros before them. Nearly all take more bits.
const DIGITS_BEHIND_POINT_MAX: i32 = 20;

/// Whether `text`, the number's shortest, is as near to it as another text of the same length. Core then takes the larger
/// of the two, and others the even one.
///
/// The number's exact digits then go on with a single 5. Behind the point it has as many digits as bits.
fn is_between_two(value: f64, text: &str) -> bool {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1075;
    let bits_behind_point = -(exponent + bits.trailing_zeros().min(52) as i32);
    if bits_behind_point > DIGITS_BEHIND_POINT_MAX + 1 {
        return false;
    }
    let digits_behind_point =
        text.len() - 1 - text.bytes().position(|byte| byte == b'.').unwrap_or(0);
    digits_behind_point as i32 + 1 == bits_behind_point
}

/// Appends a number as JavaScript's `String(value)` does, except that -0 keeps its sign.
pub(crate) fn push_js_number(out: &mut impl Out, value: f64) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    // The shortest digits that read back as this number; where two are equally near the even one, as in JavaScript.
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return out.push_str(text.strip_suffix(".0").unwrap_or(text));
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match exponent {
        0..21 => {
            let zeros = (exponent as usize).saturating_sub(rest.len());
            out.push_str(first);
            out.push_str(rest);
            push_zeros(out, zeros);
        }
        -6..0 => {
            out.push_str("0.");
            push_zeros(out, (-exponent - 1) as usize);
            out.push_str(first);
            out.push_str(rest);
        }
        _ => {
            out.push_str(mantissa);
            out.push_str(if exponent < 0 { "e" } else { "e+" });
            push_integer(out, exponent);
        }
    }
}

fn push_zeros(out: &mut impl Out, count: usize) {
    for _ in 0..count {
        out.push('0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn number(value: f64, style: JsonStyle) -> String {
        let mut out = String::new();
        push_number(&mut out, value, style);
        out
    }

    #[test]
    fn numbers_are_as_javascript_prints_them() {
        let cases = [
            (0.0, "0"),
            (5.0, "5"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (123.456, "123.456"),
            (1e20, "100000000000000000000"),
            (18446744073709551616.0, "18446744073709552000"),
            (1e21, "1e+21"),
            (1.25e300, "1.25e+300"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            // Equally near to ...313, which is odd.
            (0.030_534_744_262_695_312, "0.030534744262695312"),
            (f64::INFINITY, "Infinity"),
        ];
        for (value, expected) in cases {
            let mut out = String::new();
            push_js_number(&mut out, value);
            assert_eq!(out, expected);
            if value > 0.0 {
                out.clear();
                push_js_number(&mut out, -value);
                assert_eq!(out.strip_prefix('-'), Some(expected));
            }
        }
    }

    #[test]
    fn styles_differ_in_numbers_only() {
        assert_eq!(
            number(1.5, JsonStyle::Tagged),
            r#"{"$f64":"1.5","bits":"3ff8000000000000"}"#
        );
        assert_eq!(number(1.5, JsonStyle::Natural), "1.5");
        assert_eq!(
            number(-0.0, JsonStyle::Tagged),
            r#"{"$f64":"-0","bits":"8000000000000000"}"#
        );
        assert_eq!(number(-0.0, JsonStyle::Natural), "-0.0");
        for style in [JsonStyle::Tagged, JsonStyle::Natural] {
            assert_eq!(number(-7.0, style), "-7");
            assert_eq!(number(SAFE_INTEGER_MAX, style), "9007199254740991");
            assert_eq!(number(f64::NAN, style), r#"{"$f64":"NaN"}"#);
            assert_eq!(
                number(f64::NEG_INFINITY, style),
                r#"{"$f64":"-Infinity","bits":"fff0000000000000"}"#
            );
        }
    }

    #[test]
    fn natural_numbers_read_back_to_the_same_bits() {
        for value in [1e300, 5e-324, 0.1 + 0.2, 9007199254740993.0, 1e16, -1e-5] {
            let text = number(value, JsonStyle::Natural);
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
        }
    }

    fn reads_back(text: &str, value: f64) -> bool {
        text.parse::<f64>().map(f64::to_bits) == Ok(value.to_bits())
    }

    proptest! {
        #[test]
        fn natural_numbers_are_as_core_prints_them(bits: u64, single: f32, odd: u32, shift in 0..80) {
            let exact = f64::from(odd | 1) / 2_f64.powi(shift);
            let spread = bits as f64 / 2_f64.powi(shift);
            for value in [f64::from_bits(bits), f64::from(single), exact, 1.0 + exact, spread] {
                if value.is_finite() && (value.fract() != 0.0 || value.abs() > SAFE_INTEGER_MAX) {
                    prop_assert_eq!(number(value, JsonStyle::Natural), format!("{value:?}"));
                }
            }
        }

        #[test]
        fn javascript_numbers_are_the_shortest_that_read_back(bits: u64, single: f32) {
            for value in [f64::from_bits(bits), single.into()] {
                if value.is_finite() {
                    let mut text = String::new();
                    push_js_number(&mut text, value);
                    prop_assert!(reads_back(&text, value), "{}", text);
                    let digits = |text: &str| {
                        let mantissa = text.split('e').next().unwrap_or_default();
                        let digits = mantissa.bytes().filter(u8::is_ascii_digit);
                        let digits: std::vec::Vec<u8> = digits.skip_while(|&digit| digit == b'0').collect();
                        digits.iter().rposition(|&digit| digit != b'0')
                    };
                    prop_assert_eq!(digits(&text), digits(&format!("{value:e}")));
                }
            }
        }
    }
}
