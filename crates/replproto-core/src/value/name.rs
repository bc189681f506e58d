//! Field names: text in practice, and what JavaScript makes of anything else.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use super::bigint::BigInt;
use super::error::{ValueError, ValueErrorKind};
use super::json;
use super::text::Text;
use crate::msgpack::{Reader, Token};

/// Longest bigint that can be a name. Its text is made anew at each use, in quadratic time.
const BIGINT_BYTES_MAX: usize = 64;

/// Reads one name. Allocates only for names that are not valid text. What cannot be a name is the error `malformed`.
pub(crate) fn read<'a>(
    reader: &mut Reader<'a>,
    malformed: ValueErrorKind,
) -> Result<Cow<'a, str>, ValueError> {
    let at = reader.position();
    match reader.token() {
        Ok(Token::Text(bytes)) => Ok(safe(Text::new(bytes).to_str_lossy())),
        Ok(other) => text_form(other)
            .map(Cow::Owned)
            .ok_or_else(|| ValueError::new(malformed, at)),
        Err(error) => Err(ValueError::token(error, at)),
    }
}

/// Whether an object with this name needs its pair form in JSON, to be told from a tagged value.
pub(crate) fn is_tag_like(name: &str) -> bool {
    name.starts_with('$') || name == "__proto__"
}

/// A name that would reach into JavaScript's object model is renamed, as the peers do (`value-codec.md` section 2).
fn safe(name: Cow<'_, str>) -> Cow<'_, str> {
    if name == "__proto__" {
        Cow::Borrowed("__proto_")
    } else {
        name
    }
}

/// The text form of a name that is not text (`value-codec.md` section 5).
fn text_form(token: Token<'_>) -> Option<String> {
    Some(match token {
        Token::Nil => "null".to_string(),
        Token::Extension { kind: 0, .. } => "undefined".to_string(),
        Token::Bool(value) => value.to_string(),
        Token::Small(value) => value.to_string(),
        Token::Number(value) => {
            let mut text = String::new();
            json::push_js_number(&mut text, value);
            text
        }
        Token::Unsigned64(value) => value.to_string(),
        Token::Signed64(value) => value.to_string(),
        Token::Extension {
            kind: 0x42,
            payload,
        } if (1..=BIGINT_BYTES_MAX).contains(&payload.len()) => {
            BigInt::from_be_bytes(payload).to_string()
        }
        _ => return None,
    })
}
