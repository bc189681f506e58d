//! JSON text, for values and keys alike.

mod number;
mod out;

use alloc::string::String;

use super::bigint::BigInt;
use super::error::{ValueError, ValueErrorKind};
use super::name;
use super::reader::{BigIntRef, Cursor, Elements, FieldName, Fields, Item, Object, Opened};
use super::scan;
use super::take::{Skip, Take};
use super::text::Text;
use crate::msgpack::Reader;

use number::push_integer;
pub(crate) use number::{push_js_number, push_number};
use out::push_formatted;
pub(crate) use out::{Length, Limited, Out, Pieces, has_room};

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

/// Appends everything as JSON.
pub(crate) struct JsonWriter<'o, O> {
    out: &'o mut O,
    style: JsonStyle,
    /// How much of the start of the next member is left out: the comma, before the first one of its object.
    left_out: usize,
}

impl<'a, O: Out> Take<'a> for JsonWriter<'_, O> {
    type Error = O::Error;
    const READS_TEXT: bool = true;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, name: FieldName<'a>) -> Result<(), O::Error> {
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
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), O::Error> {
        self.out.check()?;
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

impl<'o, O: Out> JsonWriter<'o, O> {
    pub(crate) const fn new(out: &'o mut O, style: JsonStyle) -> Self {
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
    ) -> Result<(), O::Error> {
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

    fn map<'a>(&mut self, cursor: &mut Cursor<'a>, mut elements: Elements) -> Result<(), O::Error> {
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

    fn object<'a>(&mut self, cursor: &mut Cursor<'a>, object: Opened<'a>) -> Result<(), O::Error> {
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

    fn pairs<'a>(&mut self, cursor: &mut Cursor<'a>, object: Opened<'a>) -> Result<(), O::Error> {
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

/// The fields of an object, each as JSON by itself.
pub(crate) struct JsonFields<'o, F> {
    pub(crate) style: JsonStyle,
    pub(crate) give: F,
    pub(crate) is_object: &'o mut bool,
}

impl<'a, F: FnMut(&str, String)> Take<'a> for JsonFields<'_, F> {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        let Item::Object(object) = item else {
            return Skip.item(cursor, item);
        };
        *self.is_object = true;
        let mut field = JsonField {
            fields: self,
            name: String::new(),
        };
        cursor.fields_to(object, &mut field)
    }
}

struct JsonField<'f, 'o, F> {
    fields: &'f mut JsonFields<'o, F>,
    name: String,
}

impl<'a, F: FnMut(&str, String)> Take<'a> for JsonField<'_, '_, F> {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    fn name(&mut self, name: FieldName<'a>) -> Result<(), ValueError> {
        self.name.clear();
        self.name.push_str(name.as_str());
        Ok(())
    }

    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        let mut text = String::new();
        JsonWriter::new(&mut text, self.fields.style).item(cursor, item)?;
        (self.fields.give)(&self.name, text);
        Ok(())
    }
}

/// The elements of an array, with commas between them.
struct Members<'w, 'o, O> {
    writer: &'w mut JsonWriter<'o, O>,
    /// What stands before the next one.
    before: &'static str,
}

impl<'a, O: Out> Take<'a> for Members<'_, '_, O> {
    type Error = O::Error;
    const READS_TEXT: bool = true;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, _name: FieldName<'a>) -> Result<(), O::Error> {
        Ok(())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), O::Error> {
        self.writer.out.push_str(self.before);
        self.before = ",";
        self.writer.item(cursor, item)
    }
}

/// Known before the first name is written for all objects but the maps of the control profile, where it takes a look
/// ahead. That look is charged, since maps inside maps are looked at once per level.
fn has_tag_like_name<'a>(cursor: &mut Cursor<'a>, object: Opened<'a>) -> Result<bool, ValueError> {
    match object.form() {
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

fn push_bigint_ref(out: &mut impl Out, value: BigIntRef<'_>) {
    match value.to_i128() {
        Some(value) => {
            out.push_str(r#"{"$bigint":""#);
            push_integer(out, value);
            out.push_str("\"}");
        }
        None => push_bigint(out, &value.to_bigint()),
    }
}

/// Appends a bigint.
pub(crate) fn push_bigint(out: &mut impl Out, value: &BigInt) {
    push_formatted(out, format_args!(r#"{{"$bigint":"{value}"}}"#));
}

fn push_date(out: &mut impl Out, milliseconds: f64) {
    if milliseconds.is_nan() {
        out.push_str(r#"{"$date":"invalid"}"#);
    } else {
        out.push_str(r#"{"$date":"#);
        push_integer(out, milliseconds as i64);
        out.push('}');
    }
}

/// Appends bytes.
pub(crate) fn push_bytes(out: &mut impl Out, bytes: &[u8]) {
    out.push_str(r#"{"$bytes":""#);
    push_hex(out, bytes);
    out.push_str("\"}");
}

fn push_hex(out: &mut impl Out, bytes: &[u8]) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Appends text in quotes, with U+FFFD for what is not valid UTF-8.
pub(crate) fn push_text(out: &mut impl Out, text: Text<'_>) {
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

fn push_escaped(out: &mut impl Out, text: &str) {
    let mut rest = text;
    while let Some(at) = scan::position(rest.as_bytes(), is_special) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        match special.as_bytes()[0] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => push_formatted(out, format_args!("\\u{control:04x}")),
        }
        rest = &special[1..];
    }
    out.push_str(rest);
}

/// Whether a character must be escaped.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

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
