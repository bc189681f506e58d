//! From the JSON that a replica holds to tagged JSON.

use replproto_core::key::Key;
use replproto_core::value::JsonStyle;

/// Appends `natural`, in the form of [`JsonStyle::Natural`], in that of [`JsonStyle::Tagged`].
///
/// The two differ in numbers only: those that are no integers within 2^53 get their tag here. What is inside a text is no
/// number, and neither are the integers inside the tags of other kinds.
pub(super) fn push_tagged(natural: &str, out: &mut String) {
    let mut rest = natural;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let (plain, token) = rest.split_at(at);
        out.push_str(plain);
        let length = if token.starts_with('"') {
            let length = text_length(token);
            out.push_str(&token[..length]);
            length
        } else {
            let length = token
                .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                .unwrap_or(token.len());
            match token[..length].parse() {
                Ok(number) => Key::Number(number).write_json(out, JsonStyle::Tagged),
                // Somebody else has written it: it stays as it is.
                Err(_) => out.push_str(&token[..length]),
            }
            length
        };
        rest = &token[length..];
    }
    out.push_str(rest);
}

/// The length of the JSON text at the start of `token`, with both its quotes.
fn text_length(token: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in token.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    token.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use replproto_core::value::{Dictionary, Profile, RawValue, Value};

    fn tagged(natural: &str) -> String {
        let mut out = String::new();
        push_tagged(natural, &mut out);
        out
    }

    #[test]
    fn only_numbers_that_are_not_safe_integers_change() {
        assert_eq!(tagged("5"), "5");
        assert_eq!(tagged("-9007199254740991"), "-9007199254740991");
        assert_eq!(
            tagged(r#"{"a":1.5,"b":[-0.0,1e21]}"#),
            r#"{"a":{"$f64":"1.5","bits":"3ff8000000000000"},"b":[{"$f64":"-0","bits":"8000000000000000"},{"$f64":"1e+21","bits":"444b1ae4d6e2ef50"}]}"#
        );
        assert_eq!(
            tagged("9007199254740992.0"),
            r#"{"$f64":"9007199254740992","bits":"4340000000000000"}"#
        );
    }

    #[test]
    fn texts_stay_whatever_is_in_them() {
        for text in [
            r#""1.5""#,
            r#""a\"1.5\\""#,
            r#"{"1.5":"-2.5e3","\\\"":true,"é✓":null}"#,
            r#"{"$date":1747252561000}"#,
            r#"{"$ext":{"type":11,"hex":"9301"}}"#,
            r#"{"$f64":"-Infinity","bits":"fff0000000000000"}"#,
        ] {
            assert_eq!(tagged(text), text);
        }
    }

    #[test]
    fn it_is_what_the_core_writes() {
        let numbers = [
            0.1,
            -0.0,
            1e300,
            5e-324,
            4e9,
            9_007_199_254_740_993.0,
            -1.0,
            f64::NAN,
        ];
        let value = Value::Object(vec![
            (
                "numbers".into(),
                Value::Array(numbers.map(Value::Number).into()),
            ),
            (
                "map".into(),
                Value::Map(vec![(Value::Number(2.5), Value::Text("\"2.5".into()))]),
            ),
            ("$odd".into(), Value::Date(1.0)),
        ]);
        let bytes = value.encode(Profile::Table).unwrap();
        let dictionary = Dictionary::empty();
        let value = RawValue::new(&bytes, &dictionary);
        let (mut natural, mut expected) = (String::new(), String::new());
        value.write_json(&mut natural, JsonStyle::Natural).unwrap();
        value.write_json(&mut expected, JsonStyle::Tagged).unwrap();
        assert_eq!(tagged(&natural), expected);
    }
}
