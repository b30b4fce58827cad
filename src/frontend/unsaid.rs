//! Members of a request that no other shape has a word for: told by name, so that whoever asked hears what was left out.
//!
//! A member is one of three things where the request is said in another shape. It is read by the shape's own reader, which says
//! or refuses it; it is [harmless](HARMLESS), and left out without a word; or it stands in nobody's list, also that of a site's
//! own, and is told.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members without which the answer is the same: whom the provider is to blame, what it is to store and how it is to be found
/// again, what its cache goes by, and how a stream is to be told, which is told so here. What concerns a cache is said where there
/// are words for it; blocks have `cache_control` too, and parts `prompt_cache_breakpoint`. `include` asks for thoughts to be sealed, which they are, and for logprobs, which are refused.
pub const HARMLESS: [&str; 11] = [
    "user",
    "safety_identifier",
    "metadata",
    "client_metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_breakpoint",
    "cache_control",
    "stream_options",
    "include",
];

/// Names are told up to this many, and of this many bytes.
const MOST: usize = 16;
const MOST_BYTES: usize = 64;

/// Words that say what counts where nothing is said.
const USUAL: [&str; 4] = ["null", "\"auto\"", "\"default\"", "\"standard_only\""];

/// Names of members that say something and are in nobody's list.
#[derive(Debug, Default)]
pub(super) struct Unsaid(Vec<String>);

impl Unsaid {
    /// Reads a body by a shape's own reader, and tells what it has besides `known`.
    ///
    /// # Errors
    /// What the reader complains of.
    pub(super) fn beside<'b, B: Deserialize<'b>>(body: &'b [u8], known: &[&str]) -> Result<(B, Self), serde_json::Error> {
        // It was read as text before; to check all of it at once is many times faster than each string by itself.
        let body = std::str::from_utf8(body).map_err(serde_json::Error::custom)?;
        let mut unsaid = Self::default();
        let mut reader = serde_json::Deserializer::from_str(body);
        let read = B::deserialize(Listening { inner: &mut reader, known, found: &mut unsaid.0 })?;
        reader.end()?;
        Ok((read, unsaid))
    }

    /// All of them with what else was found unsaid, sorted.
    pub(super) fn and(self, besides: &[&str]) -> Vec<String> {
        let mut found = self.0;
        found.extend(besides.iter().map(|name| (*name).to_owned()));
        found.sort_unstable();
        found.dedup();
        found.truncate(MOST);
        found
    }
}

/// Hears the members of an object while another reads them: as a reader, as its visitor, and as the members that it visits.
struct Listening<'l, I> {
    inner: I,
    known: &'l [&'l str],
    found: &'l mut Vec<String>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Listening<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, known, found } = self;
        inner.deserialize_map(Listening { inner: visitor, known, found })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Listening<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let Self { inner, known, found } = self;
        inner.visit_map(Members { heard: Listening { inner: members, known, found }, unknown: None })
    }
}

struct Members<'l, 'de, A> {
    heard: Listening<'l, A>,
    /// The name of the member whose value is read next, where it is in nobody's list.
    unknown: Option<Cow<'de, str>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

        let Some(Name(name)) = self.heard.inner.next_key()? else { return Ok(None) };
        let listed = self.heard.known.contains(&&*name) || HARMLESS.contains(&&*name);
        self.unknown = (!listed && is_name(&name)).then(|| name.clone());
        seed.deserialize(CowStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let Some(name) = self.unknown.take() else { return self.heard.inner.next_value_seed(seed) };
        let value: &'de RawValue = self.heard.inner.next_value()?;
        if !USUAL.contains(&value.get()) {
            self.heard.found.push(name.into_owned());
        }
        seed.deserialize(value).map_err(A::Error::custom)
    }
}

/// What may stand in a header, and be called a parameter.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MOST_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shape's own reader knows.
    #[derive(Deserialize)]
    struct Body {
        model: Option<String>,
    }

    fn unsaid(body: &[u8], known: &[&str], besides: &[&str]) -> Vec<String> {
        Unsaid::beside::<Body>(body, known).unwrap().1.and(besides)
    }

    fn check(body: &str, expected: &[&str]) {
        assert_eq!(unsaid(body.as_bytes(), &["model", "messages"], &[]), expected, "{body}");
    }

    #[test]
    fn the_reader_reads_as_it_does_alone() {
        let read = |body: &str| Unsaid::beside::<Body>(body.as_bytes(), &[]).map(|(body, unsaid)| (body.model, unsaid.and(&[])));
        let named = (Some("m".to_owned()), vec!["model".to_owned(), "x".to_owned()]);
        assert_eq!(read(r#"{"x":[1,{"model":2}],"model":"m"}"#).unwrap(), named);
        let complaint = |body: &str| read(body).unwrap_err().to_string();
        for wrong in [r#"{"model":3}"#, "{} {}", r#"{"x":}"#, r#"{"model":"m""#] {
            let alone = serde_json::from_str::<Body>(wrong).err().unwrap().to_string();
            assert_eq!(complaint(wrong).split(" at line ").next(), alone.split(" at line ").next(), "{wrong}");
        }
        assert!(complaint("[null]").starts_with("invalid type: sequence"));
    }

    #[test]
    fn what_is_in_no_list_is_told_by_name() {
        check(r#"{"model":"m","messages":[]}"#, &[]);
        check(r#"{"model":"m","verbosity":"low","min_p":0.1,"a\u0062":{"x":1}}"#, &["ab", "min_p", "verbosity"]);
        check(r#"{"service_tier":"flex"}"#, &["service_tier"]);
        assert_eq!(unsaid(br#"{"a":1,"c":1}"#, &[], &["b", "b"]), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_harmless_or_says_nothing_is_not_told() {
        for name in HARMLESS {
            check(&format!(r#"{{"model":"m",{name:?}:{{"a":"b"}}}}"#), &[]);
        }
        check(r#"{"service_tier":"auto","verbosity":null}"#, &[]);
    }

    #[test]
    fn what_could_not_stand_in_a_header_is_not_told_and_the_list_ends() {
        check(r#"{"a b":1,"":1,"é":1,"x\r\ny":1}"#, &[]);
        check(&format!(r#"{{"{}":1}}"#, "x".repeat(65)), &[]);
        let many: Vec<String> = (0..40).map(|number| format!("\"n{number}\":1")).collect();
        assert_eq!(unsaid(format!("{{{}}}", many.join(",")).as_bytes(), &[], &[]).len(), MOST);
    }
}
