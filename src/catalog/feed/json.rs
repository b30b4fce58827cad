//! JSON read in slices: a list of a hundred megabytes of texts is walked entry by entry as borrowed raw text, and only one
//! entry at a time becomes a [`Value`]. `serde_json` skips raw values without recursion, so depth costs nothing until a
//! value is built, and that has a bound.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(super) use crate::document::Plain as Value;

/// More entries than this in one list are no price list (the longest known has seven thousand).
pub(super) const MOST_ENTRIES: usize = 50_000;
/// A longer entry is refused unread; the longest known has twenty kilobytes.
const LONGEST_ENTRY: usize = 256 * 1024;
/// How deep an entry may nest.
const DEEPEST: u8 = 16;

/// The members of an object, unread.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

/// The items of a list, unread.
pub(super) struct Items<'a>(pub(super) Vec<&'a RawValue>);

/// A name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            if members.len() == MOST_ENTRIES {
                return Err(A::Error::custom(format!("more than {MOST_ENTRIES} members")));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MOST_ENTRIES {
                return Err(A::Error::custom(format!("more than {MOST_ENTRIES} items")));
            }
            items.push(item);
        }
        Ok(Items(items))
    }
}

impl<'a> Members<'a> {
    /// The last member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Reads a piece as an object or a list. Says in a few words what it is instead.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// An entry as a value.
pub(super) fn value(raw: &RawValue) -> Result<Value<'_>, String> {
    if raw.get().len() > LONGEST_ENTRY {
        return Err(format!("this is {} bytes long; read are at most {LONGEST_ENTRY}", raw.get().len()));
    }
    build(raw, 0)
}

fn build(raw: &RawValue, depth: u8) -> Result<Value<'_>, String> {
    if depth > DEEPEST {
        return Err(format!("this nests deeper than {DEEPEST}"));
    }
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let members = read::<Members>(text)?.0.into_iter();
            Value::Table(members.map(|(name, inner)| Ok((name, build(inner, depth + 1)?))).collect::<Result<_, String>>()?)
        }
        Some(b'[') => {
            let items = read::<Items>(text)?.0.into_iter();
            Value::List(items.map(|inner| build(inner, depth + 1)).collect::<Result<_, String>>()?)
        }
        Some(b'"') => Value::Text(read::<Name>(text)?.0),
        Some(b't') => Value::Truth(true),
        Some(b'f') => Value::Truth(false),
        Some(b'n') | None => Value::Nothing,
        Some(_) => Value::Number(Cow::Borrowed(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<Value<'_>, String> {
        value(serde_json::from_str::<&RawValue>(text).map_err(|e| e.to_string())?)
    }

    #[test]
    fn numbers_keep_their_text_and_the_last_of_two_members_counts() {
        let read = whole(r#"{"a": 1.50e-07, "b\n": [true, null, "x"], "a": 2.0}"#).unwrap();
        assert_eq!(read.get("a").and_then(Value::number), Some("2.0"));
        let list = read.get("b\n").unwrap().items();
        assert_eq!(list, [Value::Truth(true), Value::Nothing, Value::Text("x".into())]);
        assert_eq!(whole(r#"{"a": null}"#).unwrap().get("a"), None);
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(whole(&deep(17)).is_ok());
        assert!(whole(&deep(18)).unwrap_err().contains("deeper"));
        assert!(whole(&deep(100_000)).unwrap_err().contains("deeper"));
        assert!(whole(&format!("\"{}\"", "x".repeat(LONGEST_ENTRY))).unwrap_err().contains("bytes long"));
        let many = format!("[{}1]", "1,".repeat(MOST_ENTRIES));
        assert!(read::<Items>(&many).is_err_and(|e| e.contains("more than 50000 items")));
    }
}
