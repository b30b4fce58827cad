//! For how long a request asks a prompt cache to keep what it marks (`cache_control`), where the bill depends on it.
//!
//! Looked up in the client's bytes when an answer's report says that a cache was written and not for how long, which is
//! rare; nothing of it is read from any other request.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::Part;
use crate::canonical::conversation::{CacheLifetime, Role, Text, Tool, Turn};

/// The key that marks what is to be cached. Inside a text its quotes would be escaped.
const MARK: &[u8] = b"\"cache_control\"";
/// Shorter lives have the price of the short write.
const LONG_MINUTES: u64 = 60;

/// The value of a `cache_control`.
#[derive(Debug, Deserialize)]
pub(super) struct Mark {
    ttl: Option<serde_json::Value>,
}

impl Mark {
    /// For how long.
    pub(super) fn lifetime(&self) -> CacheLifetime {
        if self.is_long() { CacheLifetime::Hour } else { CacheLifetime::Minutes }
    }

    fn is_long(&self) -> bool {
        match &self.ttl {
            None | Some(serde_json::Value::Null) => false,
            Some(serde_json::Value::String(ttl)) => minutes(ttl).is_none_or(|minutes| minutes >= LONG_MINUTES),
            // A bare number is in seconds.
            Some(ttl) => ttl.as_u64().is_none_or(|seconds| seconds >= LONG_MINUTES * 60),
        }
    }
}

/// Of a mark that stands in a member of its own, in whichever shape; `None` where it is none.
pub(super) fn read(raw: Option<&RawValue>) -> Option<CacheLifetime> {
    serde_json::from_str::<Option<Mark>>(raw?.get()).ok().flatten().map(|mark| mark.lifetime())
}

/// A mark of the request as a whole stands for one at the last part that can have one (platform.claude.com, "Prompt caching",
/// "Automatic caching", 2026-11). One that stands there already counts.
pub(super) fn mark_last(lifetime: CacheLifetime, turns: &mut [Turn], system: &mut [Part], tools: &mut [Tool]) {
    let said = turns.iter_mut().rev().filter(|turn| turn.role != Role::System).flat_map(|turn| turn.parts.iter_mut().rev());
    let blank = |part: &Part| matches!(part, Part::Text(Text { text, .. }) if text.trim().is_empty());
    let parts = said.chain(system.iter_mut().rev()).filter(|part| !blank(part));
    let last = parts.filter_map(Part::cached_mut).chain(tools.iter_mut().rev().map(|tool| &mut tool.cached)).next();
    if let Some(cached) = last {
        cached.get_or_insert(lifetime);
    }
}

/// Whether any of the request's marks asks for an hour or more. A mark without a lifetime has the usual one, which is of
/// minutes; one whose lifetime cannot be read is taken as long, which is the dearer side.
pub fn asks_long_cache(body: &[u8]) -> bool {
    memmem::find_iter(body, MARK).any(|at| is_long(&body[at + MARK.len()..]))
}

/// Of the bytes behind a mark's key.
fn is_long(rest: &[u8]) -> bool {
    let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { return false };
    let mark = serde_json::Deserializer::from_slice(value).into_iter::<Mark>().next();
    mark.and_then(Result::ok).is_some_and(|mark| mark.is_long())
}

/// Reads `5m`, `1h` or `300s`, in whole minutes.
fn minutes(ttl: &str) -> Option<u64> {
    let number = |unit: char| ttl.strip_suffix(unit)?.parse::<u64>().ok();
    let hours = number('h').map(|hours| hours.saturating_mul(60));
    hours.or_else(|| number('m')).or_else(|| Some(number('s')? / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(control: &str, expected: bool) {
        let part = format!(r#"{{"type":"text","text":"a","cache_control" : {control}}}"#);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
        assert_eq!(asks_long_cache(body.as_bytes()), expected, "{control}");
    }

    #[test]
    fn an_hour_is_long_and_what_is_not_said_is_not() {
        check(r#"{"type":"ephemeral"}"#, false);
        check(r#"{"type":"ephemeral","ttl":null}"#, false);
        check(r#"{"type":"ephemeral","ttl":"5m"}"#, false);
        check(r#"{"ttl":"300s"}"#, false);
        check(r#"{"ttl":"1h","type":"ephemeral"}"#, true);
        check(r#"{"ttl":"90m"}"#, true);
        check(r#"{"ttl":3600}"#, true);
        check(r#"{"ttl":300}"#, false);
        check("null", false);
        check("7", false);
    }

    #[test]
    fn a_lifetime_that_cannot_be_read_is_long() {
        check(r#"{"ttl":"a while"}"#, true);
        check(r#"{"ttl":-1}"#, true);
        check(r#"{"ttl":[]}"#, true);
    }

    #[test]
    fn the_longest_of_several_counts_and_a_text_that_speaks_of_it_does_not() {
        let mark = |ttl: &str| format!(r#"{{"cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}}}"#);
        let body = |parts: &[String]| format!(r#"{{"tools":[{}],"messages":[]}}"#, parts.join(","));
        assert!(asks_long_cache(body(&[mark("5m"), mark("1h"), mark("5m")]).as_bytes()));
        assert!(!asks_long_cache(body(&[mark("5m"), mark("5m")]).as_bytes()));
        let text = serde_json::to_string(&mark("1h")).unwrap();
        assert!(!asks_long_cache(format!(r#"{{"messages":[{{"content":{text}}}]}}"#).as_bytes()));
        assert!(!asks_long_cache(b"\"cache_control\"") && !asks_long_cache(b"\"cache_control\":{") && !asks_long_cache(b""));
    }
}
