//! Members of a request that no other shape has a word for: told by name, so that whoever asked hears what was left out.
//!
//! A member is one of three things where the request is said in another shape. It is read by the shape's own reader, which says
//! or refuses it; it is [harmless](HARMLESS), and left out without a word; or it stands in nobody's list, also that of a site's
//! own, and is told.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
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

/// The members of an object that are neither in `known` nor harmless and that say something, with what else was found unsaid in it,
/// sorted.
pub(super) fn unsaid(body: &[u8], known: &[&str], besides: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = besides.iter().map(|name| (*name).to_owned()).collect();
    // It was read as an object before.
    let _ = serde_json::Deserializer::from_slice(body).deserialize_map(Members { known, found: &mut found });
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    found
}

struct Members<'m> {
    known: &'m [&'m str],
    found: &'m mut Vec<String>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let listed = self.known.contains(&&*name) || HARMLESS.contains(&&*name);
            if listed || !is_name(&name) {
                members.next_value::<IgnoredAny>()?;
            } else if !USUAL.contains(&members.next_value::<&RawValue>()?.get()) {
                self.found.push(name.into_owned());
            }
        }
        Ok(())
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

    fn check(body: &str, expected: &[&str]) {
        assert_eq!(unsaid(body.as_bytes(), &["model", "messages"], &[]), expected, "{body}");
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
