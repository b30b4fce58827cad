//! Borrowed JSON: where a piece stands in the body, how deep it nests, and the text in a value of any shape.
//!
//! `serde_json` skips a value it need not build without recursion, so it would let any depth through; what parses it
//! behind us may recurse and die. [`nests_deeper`] closes that gap for pieces that are passed on unread.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::canonical::TextProfile;

/// How deep a value inside a request may nest.
pub(super) const MAX_DEPTH: usize = 100;

/// What the JSON reader is told when a value nests too deep.
pub(super) const TOO_DEEP: &str = "the request nests too deep";

/// Where a slice of `body` stands in it.
pub(super) fn span_in(body: &str, piece: &str) -> Range<usize> {
    let start = piece.as_ptr().addr() - body.as_ptr().addr();
    start..start + piece.len()
}

/// Whether a valid JSON value nests deeper than [`MAX_DEPTH`].
pub(super) fn nests_deeper(value: &str) -> bool {
    // Few openers cannot nest deep; counting them is many times faster than walking the value.
    memchr::memchr2_iter(b'{', b'[', value.as_bytes()).count() > MAX_DEPTH && depth(value.as_bytes()) > MAX_DEPTH
}

/// The text of the next member's value, unread but for its depth.
pub(super) fn raw_value<'de, A: MapAccess<'de>>(members: &mut A) -> Result<&'de str, A::Error> {
    let value = members.next_value::<&RawValue>()?.get();
    if nests_deeper(value) { Err(A::Error::custom(TOO_DEEP)) } else { Ok(value) }
}

fn depth(value: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in value {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Implements the seed of a visitor that is handed whatever comes.
macro_rules! by_visiting {
    ($($seed:ident),*) => {$(
        impl<'de> DeserializeSeed<'de> for $seed<'_, '_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
                value.deserialize_any(self)
            }
        }
    )*};
}

pub(super) use by_visiting;

/// Profiles every text in a value of any shape, except under the keys that name rather than say something.
pub(super) struct EveryText<'p> {
    pub(super) profile: &'p mut TextProfile,
    /// A member was there that seals stand in, which is no text.
    pub(super) sealed: &'p mut bool,
    pub(super) depth: usize,
}

impl EveryText<'_> {
    fn inner(&mut self) -> EveryText<'_> {
        EveryText { profile: self.profile, sealed: self.sealed, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for EveryText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom(TOO_DEEP));
        }
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EveryText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.profile.add(text);
        self.profile.end_text();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(kind) = members.next_key_seed(KindOfMember)? {
            match kind {
                Member::Text => members.next_value_seed(self.inner())?,
                Member::Name => drop(raw_value(&mut members)?),
                Member::Seal => {
                    raw_value(&mut members)?;
                    *self.sealed = true;
                }
            }
        }
        Ok(())
    }
}

/// What a member's value is.
enum Member {
    Text,
    /// An identifier, not text that a model reads at length.
    Name,
    Seal,
}

/// Reads a key.
struct KindOfMember;

impl<'de> DeserializeSeed<'de> for KindOfMember {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Member, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for KindOfMember {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Member, E> {
        Ok(match key {
            "id" | "type" | "index" => Member::Name,
            "extra_content" => Member::Seal,
            _ => Member::Text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[{{\"[["}]}"#), 3);
        assert_eq!(depth(br#""\\""#), 0);
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(!nests_deeper(&deep(MAX_DEPTH)));
        assert!(nests_deeper(&deep(MAX_DEPTH + 1)));
        assert!(!nests_deeper(&format!("[{}]", vec!["{}"; 1000].join(","))), "many, but not deep");
    }

    #[test]
    fn every_text_but_names_is_profiled() {
        let mut profile = TextProfile::default();
        let json = r#"[{"id":"call_1","extra_content":{"google":{"thought_signature":"c2ln"}},"function":{"name":"look","arguments":"{\"a\":1}"}},[null,1,-1,0.5,true]]"#;
        let mut reader = serde_json::Deserializer::from_str(json);
        let mut sealed = false;
        EveryText { profile: &mut profile, sealed: &mut sealed, depth: 0 }.deserialize(&mut reader).unwrap();
        assert!(sealed);
        assert_eq!(profile.bytes(), ("look".len() + r#"{"a":1}"#.len()) as u64);
    }
}
