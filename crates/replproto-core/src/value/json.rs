//! JSON text, for values and keys alike.

use alloc::string::String;
use core::fmt::{self, Write};

use super::bigint::BigInt;
use super::error::{ValueError, ValueErrorKind};
use super::name;
use super::reader::{BigIntRef, Cursor, Elements, FieldName, Fields, Item, Object, Take};
use super::text::Text;
use crate::msgpack::Reader;

/// How values that JSON does not have are written.
///
/// | value | form |
/// | --- | --- |
/// | NaN, infinities | `{"$f64":"NaN"}`, `{"$f64":"-Infinity","bits":"fff0000000000000"}` |
/// | bigint | `{"$bigint":"decimal"}` (beyond [`DECIMAL_BITS_MAX`](super::DECIMAL_BITS_MAX): hexadecimal with `0x`) |
/// | undefined | `{"$undefined":true}` |
/// | date | `{"$date":milliseconds}` or `{"$date":"invalid"}` |
/// | bytes | `{"$bytes":"hex"}` |
/// | map | `{"$map":[[key,value],...]}` |
/// | set | `{"$set":[...]}` |
/// | regular expression | `{"$regexp":["source","flags"]}` |
/// | blob | `{"$ext":{"type":11,"hex":"payload"}}` |
/// | symbol (keys only) | `{"$symbol":"description"}` |
/// | object with a field name that starts with `$` | `{"$object":[["name",value],...]}` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonStyle {
    /// Bit by bit: numbers other than integers within 2^53 are `{"$f64":"decimal","bits":"16 hex digits"}`.
    Tagged,
    /// To be queried: every finite number is a JSON number, the shortest that reads back as the same double.
    Natural,
}

/// Integers with this absolute value and below are exact.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Writing to a `String` fails only if the value's own formatting does, which none of these do.
fn push(out: &mut String, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Appends everything as JSON.
pub(crate) struct JsonWriter<'o> {
    out: &'o mut String,
    style: JsonStyle,
    /// How much of the start of the next member is left out: the comma, before the first one of its object.
    left_out: usize,
}

impl<'a> Take<'a> for JsonWriter<'_> {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, name: FieldName<'a>) -> Result<(), ValueError> {
        match name {
            FieldName::Known(name, dictionary) => {
                self.out.push_str(&dictionary.member(name)[self.left_out..]);
            }
            FieldName::Read(name) => {
                self.out.push_str(&","[self.left_out..]);
                push_text(self.out, Text::checked(&name));
                self.out.push(':');
            }
        }
        self.left_out = 0;
        Ok(())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        match item {
            Item::Null => self.out.push_str("null"),
            Item::Undefined => self.out.push_str(r#"{"$undefined":true}"#),
            Item::Bool(true) => self.out.push_str("true"),
            Item::Bool(false) => self.out.push_str("false"),
            Item::Number(value) => push_number(self.out, value, self.style),
            Item::BigInt(value) => push_bigint_ref(self.out, value),
            Item::Text(text) => push_text(self.out, text),
            Item::Bytes(bytes) => push_bytes(self.out, bytes),
            Item::Date(milliseconds) => push_date(self.out, milliseconds),
            Item::Blob(payload) => {
                self.out.push_str(r#"{"$ext":{"type":11,"hex":""#);
                push_hex(self.out, payload);
                self.out.push_str("\"}}");
            }
            Item::Array(elements) => return self.elements(cursor, "[", elements, "]"),
            Item::Set(elements) => return self.elements(cursor, r#"{"$set":["#, elements, "]}"),
            Item::RegExp(elements) => {
                return self.elements(cursor, r#"{"$regexp":["#, elements, "]}");
            }
            Item::Map(elements) => return self.map(cursor, elements),
            Item::Object(object) => return self.object(cursor, object),
        }
        Ok(())
    }
}

impl<'o> JsonWriter<'o> {
    pub(crate) const fn new(out: &'o mut String, style: JsonStyle) -> Self {
        Self {
            out,
            style,
            left_out: 0,
        }
    }

    fn elements<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        opening: &'static str,
        elements: Elements,
        closing: &str,
    ) -> Result<(), ValueError> {
        let mut members = Members {
            writer: self,
            before: opening,
        };
        cursor.elements_to(elements, &mut members)?;
        if members.before == opening {
            self.out.push_str(opening);
        }
        self.out.push_str(closing);
        Ok(())
    }

    fn map<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut elements: Elements,
    ) -> Result<(), ValueError> {
        self.out.push_str(r#"{"$map":["#);
        let mut before = "[";
        while let Some(key) = cursor.next_element(&mut elements)? {
            self.out.push_str(before);
            self.item(cursor, key)?;
            self.out.push(',');
            if let Some(value) = cursor.next_element(&mut elements)? {
                self.item(cursor, value)?;
            }
            self.out.push(']');
            before = ",[";
        }
        self.out.push_str("]}");
        Ok(())
    }

    fn object<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        object: Object<'a>,
    ) -> Result<(), ValueError> {
        if has_tag_like_name(cursor, object)? {
            return self.pairs(cursor, object);
        }
        self.out.push('{');
        self.left_out = 1;
        cursor.fields_to(object, self)?;
        self.left_out = 0;
        self.out.push('}');
        Ok(())
    }

    fn pairs<'a>(&mut self, cursor: &mut Cursor<'a>, object: Object<'a>) -> Result<(), ValueError> {
        let mut fields = cursor.fields(object);
        let mut before = r#"{"$object":[["#;
        while let Some((name, field)) = cursor.next_field(&mut fields)? {
            self.out.push_str(before);
            push_text(self.out, Text::checked(name.as_str()));
            self.out.push(',');
            self.item(cursor, field)?;
            self.out.push(']');
            before = ",[";
        }
        self.out.push_str("]}");
        Ok(())
    }
}

/// The elements of an array, with commas between them.
struct Members<'w, 'o> {
    writer: &'w mut JsonWriter<'o>,
    /// What stands before the next one.
    before: &'static str,
}

impl<'a> Take<'a> for Members<'_, '_> {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, _name: FieldName<'a>) -> Result<(), ValueError> {
        Ok(())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        self.writer.out.push_str(self.before);
        self.before = ",";
        self.writer.item(cursor, item)
    }
}

/// Known before the first name is written for all objects but the maps of the control profile, where it takes a look
/// ahead. That look is charged, since maps inside maps are looked at once per level.
fn has_tag_like_name<'a>(cursor: &mut Cursor<'a>, object: Object<'a>) -> Result<bool, ValueError> {
    match object {
        Object::Shared(shape) => Ok(shape.has_tag_like_name),
        Object::Typed(structure, _) => Ok(structure.shape.has_tag_like_name),
        Object::Inline { names_at, count } => {
            let mut names = Reader::starting_at(cursor.bytes, names_at);
            let mut found = false;
            for _ in 0..count {
                found |= name::is_tag_like(&name::read(&mut names, ValueErrorKind::BadDefinition)?);
            }
            Ok(found)
        }
        Object::Map(_) => {
            let mut ahead = cursor.clone();
            let mut fields: Fields<'a> = ahead.fields(object);
            let mut found = false;
            while let Some((name, field)) = ahead.next_field(&mut fields)? {
                found |= name::is_tag_like(name.as_str());
                ahead.skip(field)?;
            }
            let length = ahead.reader.position() - cursor.reader.position();
            cursor.charge(u32::try_from(length).unwrap_or(u32::MAX))?;
            Ok(found)
        }
    }
}

/// Appends a number.
pub(crate) fn push_number(out: &mut String, value: f64, style: JsonStyle) {
    let whole = value as i64;
    if value.abs() <= SAFE_INTEGER_MAX && whole as f64 == value && !is_minus_zero(value) {
        push(out, format_args!("{whole}"));
    } else if style == JsonStyle::Natural && value.is_finite() {
        // Of the two formats of core, the one with exponents and with ".0" for -0 and large integers.
        push(out, format_args!("{value:?}"));
    } else {
        out.push_str(r#"{"$f64":""#);
        push_js_number(out, value);
        if value.is_nan() {
            out.push_str("\"}");
        } else {
            push(
                out,
                format_args!(r#"","bits":"{:016x}"}}"#, value.to_bits()),
            );
        }
    }
}

fn is_minus_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

/// Appends a number as JavaScript's `String(value)` does, except that -0 keeps its sign.
pub(crate) fn push_js_number(out: &mut String, value: f64) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    let scientific = shortest(value.abs());
    let scientific = scientific.as_str();
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match exponent {
        0..21 => {
            let before_point = exponent as usize;
            out.push_str(first);
            out.push_str(&rest[..rest.len().min(before_point)]);
            out.extend(core::iter::repeat_n(
                '0',
                before_point.saturating_sub(rest.len()),
            ));
            if rest.len() > before_point {
                out.push('.');
                out.push_str(&rest[before_point..]);
            }
        }
        -6..0 => {
            out.push_str("0.");
            out.extend(core::iter::repeat_n('0', (-exponent - 1) as usize));
            out.push_str(first);
            out.push_str(rest);
        }
        _ => {
            out.push_str(mantissa);
            push(out, format_args!("e{exponent:+}"));
        }
    }
}

/// The shortest digits that read back as this number, as `d.ddde-xx`. Where two are equally near JavaScript takes the
/// even one, core the larger one; to print the same number of digits exactly gives the even one.
fn shortest(value: f64) -> ShortText {
    let mut nearest = ShortText::default();
    let _ = write!(nearest, "{value:e}");
    let mantissa = nearest.as_str().split('e').next().unwrap_or_default();
    let digits_after_point = mantissa.len().saturating_sub(2);
    let mut even = ShortText::default();
    let _ = write!(even, "{value:.digits_after_point$e}");
    if even.as_str().parse() == Ok(value) {
        even
    } else {
        nearest
    }
}

/// Room for any double in scientific form: 17 digits, a point and `e-324`.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 24],
    length: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn push_bigint_ref(out: &mut String, value: BigIntRef<'_>) {
    match value.to_i128() {
        Some(value) => push(out, format_args!(r#"{{"$bigint":"{value}"}}"#)),
        None => push_bigint(out, &value.to_bigint()),
    }
}

/// Appends a bigint.
pub(crate) fn push_bigint(out: &mut String, value: &BigInt) {
    push(out, format_args!(r#"{{"$bigint":"{value}"}}"#));
}

fn push_date(out: &mut String, milliseconds: f64) {
    if milliseconds.is_nan() {
        out.push_str(r#"{"$date":"invalid"}"#);
    } else {
        let milliseconds = milliseconds as i64;
        push(out, format_args!(r#"{{"$date":{milliseconds}}}"#));
    }
}

/// Appends bytes.
pub(crate) fn push_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str(r#"{"$bytes":""#);
    push_hex(out, bytes);
    out.push_str("\"}");
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Appends text in quotes, with U+FFFD for what is not valid UTF-8.
pub(crate) fn push_text(out: &mut String, text: Text<'_>) {
    out.push('"');
    if let Some(text) = text.as_str() {
        push_escaped(out, text);
    } else {
        for chunk in text.as_bytes().utf8_chunks() {
            push_escaped(out, chunk.valid());
            if !chunk.invalid().is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = first_special(rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        match special.as_bytes()[0] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => push(out, format_args!("\\u{control:04x}")),
        }
        rest = &special[1..];
    }
    out.push_str(rest);
}

/// Where the first character stands that must be escaped. Such characters are rare, so whole chunks are looked at with no
/// early way out, which the compiler turns into a few vector instructions.
fn first_special(text: &[u8]) -> Option<usize> {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let chunks = text.chunks_exact(16).take_while(|chunk| {
        !chunk
            .iter()
            .fold(false, |found, &byte| found | is_special(byte))
    });
    let start = chunks.count() * 16;
    let found = text[start..].iter().position(|&byte| is_special(byte))?;
    Some(start + found)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn text_is_escaped_and_never_invalid() {
        let mut out = String::new();
        push_text(&mut out, Text::new(b"a\"\\\n\r\t\x00\x1f\x7f/"));
        assert_eq!(out, "\"a\\\"\\\\\\n\\r\\t\\u0000\\u001f\u{7f}/\"");
        out.clear();
        push_text(&mut out, Text::new(b"a\xed\xa0\x80\"b\xff"));
        assert!(out.starts_with("\"a\u{fffd}") && out.ends_with("\\\"b\u{fffd}\""));
    }
}
