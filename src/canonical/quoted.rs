//! Long texts as JSON. The writer of `serde_json` looks at one byte after the other for what must be escaped; here many are looked
//! at together, and what holds nothing of it is copied. For a prompt in other words than the client's that is a tenth of all work.
//!
//! For `#[serde(serialize_with)]`, at members that hold what people and models say.

use serde::{Serialize as _, Serializer};
use serde_json::value::RawValue;

/// A shorter text is written as any other.
const LONG: usize = 64;
/// Bytes that are looked at together.
const PIECE: usize = 32;

/// Writes a text.
pub fn text<T: AsRef<str> + ?Sized, S: Serializer>(text: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let text = text.as_ref();
    if text.len() < LONG {
        return serializer.serialize_str(text);
    }
    match serde_json::from_str::<&RawValue>(&quoted(text)) {
        Ok(quoted) => quoted.serialize(serializer),
        Err(_) => serializer.serialize_str(text),
    }
}

/// Writes a text that may be absent.
pub fn some_text<T: AsRef<str>, S: Serializer>(said: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match said {
        Some(said) => text(said, serializer),
        None => serializer.serialize_none(),
    }
}

/// A text in quotes, with what JSON wants escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + text.len() / 16 + 2);
    quoted.push('"');
    let mut rest = text;
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest.as_bytes()));
        quoted.push_str(plain);
        let Some(special) = behind.chars().next() else { break };
        push_escaped(&mut quoted, special);
        // It is ASCII.
        rest = &behind[1..];
    }
    quoted.push('"');
    quoted
}

/// How many bytes come before one that must be escaped.
fn plain_bytes(bytes: &[u8]) -> usize {
    let special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    let pieces = bytes.chunks_exact(PIECE);
    let plain = PIECE * pieces.take_while(|piece| !piece.iter().fold(false, |any, byte| any | special(byte))).count();
    plain + bytes[plain..].iter().position(special).unwrap_or(bytes.len() - plain)
}

fn push_escaped(quoted: &mut String, special: char) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let short = match special {
        '"' | '\\' => special,
        '\n' => 'n',
        '\t' => 't',
        '\r' => 'r',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        _ => {
            let code = special as usize;
            quoted.push_str("\\u00");
            quoted.extend([DIGITS[code >> 4 & 15], DIGITS[code & 15]]);
            return;
        }
    };
    quoted.extend(['\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Said<'t> {
        #[serde(serialize_with = "super::text")]
        text: &'t str,
        #[serde(serialize_with = "some_text")]
        more: Option<String>,
        #[serde(serialize_with = "some_text")]
        nothing: Option<String>,
    }

    proptest! {
        /// Byte for byte what any other text is written as.
        #[test]
        fn a_long_text_is_written_as_any_other(text in "([a-z ]{0,70}|[\\x00-\\x7f]{0,9}|\\PC{0,9}){0,12}") {
            let said = Said { text: &text, more: Some(text.clone()), nothing: None };
            let plain = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(quoted(&text), plain.clone());
            let expected = format!("{{\"text\":{plain},\"more\":{plain},\"nothing\":null}}");
            prop_assert_eq!(serde_json::to_string(&said).unwrap(), expected);
        }
    }
}
