//! What `usage` counts, brought into the parts that are billed: what was read from a cache and written to one stands beside the
//! input (providers.md 2, 2026-11-22), and thinking within the output, where nobody tells it apart.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};

use crate::dialect::usage::Count;
use crate::units::{Tokens, Usage};

/// The stop reason where a guardrail stepped in.
pub(super) const GUARDRAIL: &str = "guardrail_intervened";

/// The counts of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Counts {
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_write_input_tokens: Option<u64>,
    cache_details: Written,
}

fn count<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    Count.deserialize(value)
}

/// What was written to a cache, by how long it is kept, as far as that is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<Vec<Detail<'_>>>")]
struct Written {
    told: bool,
    short: u64,
    long: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    ttl: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "count", default)]
    input_tokens: Option<u64>,
}

impl From<Option<Vec<Detail<'_>>>> for Written {
    fn from(details: Option<Vec<Detail<'_>>>) -> Self {
        let mut written = Self::default();
        for detail in details.into_iter().flatten() {
            let tokens = detail.input_tokens.unwrap_or(0);
            written.told = true;
            if detail.ttl.as_deref() == Some("5m") { written.short += tokens } else { written.long += tokens }
        }
        written
    }
}

impl Counts {
    /// The parts that are billed; `None` where nothing is counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let known = |count: Option<u64>| count.unwrap_or(0);
        let cache_write = self.cache_write_input_tokens.unwrap_or(self.cache_details.short + self.cache_details.long);
        let (fresh_input, cache_read) = (known(self.input_tokens), known(self.cache_read_input_tokens));
        let output = known(self.output_tokens);
        (fresh_input + cache_read + cache_write + output > 0).then(|| Usage {
            fresh_input: Tokens::new(fresh_input),
            cache_read: Tokens::new(cache_read),
            cache_write: Tokens::new(cache_write),
            cache_write_long: Tokens::new(self.cache_details.long.min(cache_write)),
            output: Tokens::new(output),
            ..Usage::default()
        })
    }

    /// The same where a guardrail stepped in: nothing counted is all that there was, as the model was not asked (AWS, "How Amazon
    /// Bedrock Guardrails works", 2026-11).
    pub(super) fn usage_after(&self, reason: &str) -> Option<Usage> {
        let unasked = reason == GUARDRAIL && (self.input_tokens, self.output_tokens) == (Some(0), Some(0));
        self.usage().or_else(|| unasked.then(Usage::default))
    }

    /// Whether it says for how long what was written to a cache is kept.
    pub(super) const fn tells_lifetimes(&self) -> bool {
        self.cache_details.told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Counts {
        serde_json::from_str(json).unwrap()
    }

    /// `[fresh, read, write, write for long, output]`, and whether lifetimes are told.
    fn check(json: &str, expected: Option<[u64; 5]>, told: bool) {
        let counts = read(json);
        let parts = |u: Usage| [u.fresh_input, u.cache_read, u.cache_write, u.cache_write_long, u.output].map(Tokens::get);
        assert_eq!((counts.usage().map(parts), counts.tells_lifetimes()), (expected, told), "{json}");
    }

    #[test]
    fn what_a_cache_gave_and_took_stands_beside_the_input() {
        check(r#"{"inputTokens":9,"outputTokens":4,"totalTokens":13}"#, Some([9, 0, 0, 0, 4]), false);
        check(
            r#"{"inputTokens":9,"outputTokens":4,"totalTokens":33,"cacheReadInputTokens":12,"cacheWriteInputTokens":8}"#,
            Some([9, 12, 8, 0, 4]),
            false,
        );
        let details = r#"[{"ttl":"1h","inputTokens":5},{"ttl":"5m","inputTokens":3}]"#;
        check(&format!(r#"{{"inputTokens":1,"cacheWriteInputTokens":8,"cacheDetails":{details}}}"#), Some([1, 0, 8, 5, 0]), true);
        check(&format!(r#"{{"cacheDetails":{details}}}"#), Some([0, 0, 8, 5, 0]), true);
        // Nonsense is clamped, and what is no count is none.
        check(&format!(r#"{{"cacheWriteInputTokens":2,"cacheDetails":{details}}}"#), Some([0, 0, 2, 2, 0]), true);
        check(
            r#"{"inputTokens":"3","outputTokens":-1,"cacheReadInputTokens":null,"cacheDetails":[]}"#,
            Some([3, 0, 0, 0, 0]),
            false,
        );
        check(r#"{"inputTokens":0,"outputTokens":0}"#, None, false);
        check("{}", None, false);
    }

    /// Found by a reviewer: zeros were no report, and the whole prompt was booked by our own estimate.
    #[test]
    fn what_a_guardrail_blocked_was_not_used() {
        let used = |json: &str, reason: &str| read(json).usage_after(reason).map(|usage| usage.fresh_input.get());
        assert_eq!(used(r#"{"inputTokens":0,"outputTokens":0,"totalTokens":0}"#, GUARDRAIL), Some(0));
        assert_eq!(used(r#"{"inputTokens":9,"outputTokens":0}"#, GUARDRAIL), Some(9), "it stepped in behind the model");
        assert_eq!(used(r#"{"inputTokens":0,"outputTokens":0}"#, "end_turn"), None);
        assert_eq!(used("{}", GUARDRAIL), None);
    }

    proptest! {
        #[test]
        fn the_parts_never_exceed_the_whole(input in any::<u64>(), output in any::<u64>(), cached in any::<u64>(), written in any::<u64>(), long in any::<u64>()) {
            let counts = read(&format!(
                r#"{{"inputTokens":{input},"outputTokens":{output},"cacheReadInputTokens":{cached},"cacheWriteInputTokens":{written},
                "cacheDetails":[{{"ttl":"1h","inputTokens":{long}}}]}}"#
            ));
            if let Some(usage) = counts.usage() {
                prop_assert!(usage.cache_write_long <= usage.cache_write && usage.reasoning <= usage.output);
            }
        }
    }
}
