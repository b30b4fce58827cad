//! What `usageMetadata` counts, brought into the parts that are billed (dialects.md 5.4): the prompt includes what was read from a
//! cache, what tools of the provider's own brought stands beside it, and thoughts stand beside the answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};

use crate::dialect::usage::Count;
use crate::units::{Tokens, Usage};

/// The counts of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Counts {
    #[serde(deserialize_with = "count")]
    prompt_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    tool_use_prompt_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    cached_content_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    candidates_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    thoughts_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    total_token_count: Option<u64>,
    prompt_tokens_details: Details,
    cache_tokens_details: Details,
    candidates_tokens_details: Details,
}

fn count<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    Count.deserialize(value)
}

/// The parts of a count that have prices of their own, as far as they are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<Vec<Detail<'_>>>")]
struct Details {
    audio: Option<u64>,
    image: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    modality: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "count", default)]
    token_count: Option<u64>,
}

impl From<Option<Vec<Detail<'_>>>> for Details {
    fn from(told: Option<Vec<Detail<'_>>>) -> Self {
        let of = |modality: &str| {
            let fits = |detail: &&Detail<'_>| detail.modality.as_deref() == Some(modality);
            told.iter().flatten().find(fits).and_then(|detail| detail.token_count)
        };
        Self { audio: of("AUDIO"), image: of("IMAGE") }
    }
}

impl Counts {
    /// The parts that are billed; `None` where nothing is counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let known = |count: Option<u64>| count.unwrap_or(0);
        let input = known(self.prompt_token_count) + known(self.tool_use_prompt_token_count);
        let thoughts = known(self.thoughts_token_count);
        let output = match self.candidates_token_count {
            Some(said) => said + thoughts,
            None if self.prompt_token_count.is_some() => known(self.total_token_count).saturating_sub(input).max(thoughts),
            None => thoughts,
        };
        let cache_read = known(self.cached_content_token_count).min(input);
        let fresh_input = input - cache_read;
        let fresh =
            |all: Option<u64>, cached: Option<u64>| Tokens::new(known(all).saturating_sub(known(cached)).min(fresh_input));
        (input > 0 || output > 0).then(|| Usage {
            fresh_input: Tokens::new(fresh_input),
            cache_read: Tokens::new(cache_read),
            output: Tokens::new(output),
            reasoning: Tokens::new(thoughts),
            image_input: fresh(self.prompt_tokens_details.image, self.cache_tokens_details.image),
            audio_input: fresh(self.prompt_tokens_details.audio, self.cache_tokens_details.audio),
            audio_output: Tokens::new(known(self.candidates_tokens_details.audio).min(output)),
            ..Usage::default()
        })
    }

    /// Takes the counts of a later message of one answer: they are of all so far, and a message may leave some out.
    pub(super) fn update(&mut self, later: &Counts) {
        let pairs = [
            (&mut self.prompt_token_count, later.prompt_token_count),
            (&mut self.tool_use_prompt_token_count, later.tool_use_prompt_token_count),
            (&mut self.cached_content_token_count, later.cached_content_token_count),
            (&mut self.candidates_token_count, later.candidates_token_count),
            (&mut self.thoughts_token_count, later.thoughts_token_count),
            (&mut self.total_token_count, later.total_token_count),
            (&mut self.prompt_tokens_details.audio, later.prompt_tokens_details.audio),
            (&mut self.prompt_tokens_details.image, later.prompt_tokens_details.image),
            (&mut self.cache_tokens_details.audio, later.cache_tokens_details.audio),
            (&mut self.cache_tokens_details.image, later.cache_tokens_details.image),
            (&mut self.candidates_tokens_details.audio, later.candidates_tokens_details.audio),
        ];
        for (known, told) in pairs {
            *known = told.filter(|count| *count > 0).or(*known).or(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> Counts {
        serde_json::from_str(json).unwrap()
    }

    /// `[fresh, read, output, reasoning]`.
    fn parts(counts: &Counts) -> Option<[u64; 4]> {
        counts.usage().map(|u| [u.fresh_input, u.cache_read, u.output, u.reasoning].map(Tokens::get))
    }

    #[test]
    fn thoughts_and_what_tools_brought_stand_beside_and_the_cache_within() {
        for (json, expected) in [
            (r#"{"promptTokenCount":9,"candidatesTokenCount":4,"totalTokenCount":13}"#, Some([9, 0, 4, 0])),
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":4,"thoughtsTokenCount":6,"totalTokenCount":19}"#,
                Some([9, 0, 10, 6]),
            ),
            (r#"{"promptTokenCount":9,"cachedContentTokenCount":5,"candidatesTokenCount":1}"#, Some([4, 5, 1, 0])),
            (
                r#"{"promptTokenCount":9,"toolUsePromptTokenCount":3,"cachedContentTokenCount":5,"candidatesTokenCount":1}"#,
                Some([7, 5, 1, 0]),
            ),
            // Before anything was said, and where it was not counted by itself.
            (r#"{"promptTokenCount":9,"totalTokenCount":9}"#, Some([9, 0, 0, 0])),
            (r#"{"promptTokenCount":9,"thoughtsTokenCount":6,"totalTokenCount":15}"#, Some([9, 0, 6, 6])),
            (r#"{"promptTokenCount":9,"thoughtsTokenCount":6}"#, Some([9, 0, 6, 6])),
            (r#"{"promptTokenCount":9,"totalTokenCount":19}"#, Some([9, 0, 10, 0])),
            // Nonsense is clamped, and what is no count is none.
            (r#"{"promptTokenCount":3,"cachedContentTokenCount":5,"candidatesTokenCount":"1"}"#, Some([0, 3, 1, 0])),
            (r#"{"promptTokenCount":null,"candidatesTokenCount":-4,"totalTokenCount":[]}"#, None),
            (r#"{"promptTokenCount":0,"totalTokenCount":0}"#, None),
            (r#"{"totalTokenCount":7}"#, None),
            ("{}", None),
        ] {
            assert_eq!(parts(&read(json)), expected, "{json}");
        }
    }

    #[test]
    fn sound_and_images_are_told_apart_from_what_was_cached_of_them() {
        let usage = read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":20,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":30},{"modality":"AUDIO","tokenCount":50},{"modality":"IMAGE","tokenCount":20}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":40}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":15}]}"#,
        );
        let usage = usage.usage().unwrap();
        assert_eq!([usage.audio_input, usage.image_input, usage.audio_output].map(Tokens::get), [10, 20, 15]);
    }

    #[test]
    fn a_later_message_replaces_what_it_tells() {
        let mut so_far = read(r#"{"promptTokenCount":9,"cachedContentTokenCount":5,"totalTokenCount":9}"#);
        so_far.update(&read(r#"{"promptTokenCount":9,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":14}"#));
        so_far.update(&read(r#"{"promptTokenCount":8,"candidatesTokenCount":7,"totalTokenCount":18}"#));
        assert_eq!(parts(&so_far), Some([3, 5, 10, 3]));
    }

    proptest! {
        #[test]
        fn the_parts_never_exceed_the_whole(prompt in any::<u64>(), tools in any::<u64>(), cached in any::<u64>(), said in prop::option::of(any::<u64>()), thoughts in any::<u64>(), total in any::<u64>(), audio in any::<u64>()) {
            let said = said.map_or("null".to_owned(), |count| count.to_string());
            let counts = read(&format!(
                r#"{{"promptTokenCount":{prompt},"toolUsePromptTokenCount":{tools},"cachedContentTokenCount":{cached},"candidatesTokenCount":{said},
                "thoughtsTokenCount":{thoughts},"totalTokenCount":{total},"promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{audio}}}]}}"#
            ));
            if let Some(usage) = counts.usage() {
                prop_assert!(usage.reasoning <= usage.output && usage.audio_input <= usage.fresh_input);
                let billed = counts.prompt_token_count.unwrap_or(0) + counts.tool_use_prompt_token_count.unwrap_or(0);
                prop_assert_eq!(usage.input().get(), billed);
            }
        }
    }
}
