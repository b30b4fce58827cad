//! Tokens of a whole request, for every tokenizer family at once: its text, the framing that chat templates put around
//! it, and what is not text.
//!
//! The router compares backends of a dozen families, so one [`Estimate`] holds them all; it costs a few hundred
//! nanoseconds and touches no byte of the body. The framing is one rule, linear in messages and tools, with figures per
//! family (`coefficients.rs`); a vendor may add hidden text, so the upper bound counts the framing twice.
//!
//! What is not text is guessed on purpose coarsely, because its cost depends on pixels and seconds that lie inside
//! encoded attachments: [`IMAGE`] per image, and for audio and files a share of the body's bytes outside the text. The
//! provider's report settles; these figures only have to keep a request from looking free.

use super::coefficients;
use super::estimate;
use crate::canonical::{Feature, Request};
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;

/// Tokens to expect of an image: vendors bill a picture of about a megapixel at 250 to 1,600 tokens.
pub const IMAGE: Tokens = Tokens::new(1000);
/// The upper bound of an image: the largest of the usual detail settings.
pub const IMAGE_UPPER: Tokens = Tokens::new(3000);
/// Bytes of an encoded attachment (audio, document) to a token that is expected of it.
const ATTACHMENT_BYTES_PER_TOKEN: u64 = 32;
/// The same for the upper bound.
const ATTACHMENT_BYTES_PER_TOKEN_UPPER: u64 = 8;

/// Tokens that a model puts around each input of what is no conversation (a mark before it, one behind), as an upper bound; some
/// put none.
const MARKS_PER_INPUT: u64 = 2;

const FAMILIES: usize = TokenizerFamily::WORDS.len();

/// How many input tokens a request has in each tokenizer family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    expected: [Tokens; FAMILIES],
    upper: [Tokens; FAMILIES],
    ceiling: Tokens,
}

impl Estimate {
    /// Estimates a request from its profile and its counts.
    pub fn of(request: &Request) -> Self {
        let (media, media_upper) = media(request);
        let mut estimate = Self { expected: [media; FAMILIES], upper: [media_upper; FAMILIES], ceiling: Tokens::ZERO };
        let mut framing_most = Tokens::ZERO;
        for (family, _) in TokenizerFamily::WORDS {
            let (framing, framing_upper) = framing(request, family);
            let text = estimate::expected(&request.text, family);
            estimate.expected[family as usize] += text + framing;
            estimate.upper[family as usize] += estimate::widened(&request.text, family, text) + framing_upper;
            framing_most = framing_most.max(framing_upper);
        }
        estimate.upper[TokenizerFamily::Unknown as usize] = estimate.upper.into_iter().max().unwrap_or_default();
        estimate.ceiling = estimate::ceiling(&request.text) + framing_most + media_upper;
        estimate
    }

    /// What [`Self::expected`] tells of one family, without the others.
    pub fn expected_in(request: &Request, family: TokenizerFamily) -> Tokens {
        let (media, framing) = (media(request).0, framing(request, family).0);
        media + framing + estimate::expected(&request.text, family)
    }

    /// The tokens to expect: what a quote uses where nothing was learned.
    pub fn expected(&self, family: TokenizerFamily) -> Tokens {
        self.expected[family as usize]
    }

    /// A bound that holds for at least 99.5 % of measured texts: for context checks and ordinary holds.
    pub fn upper(&self, family: TokenizerFamily) -> Tokens {
        self.upper[family as usize]
    }

    /// A bound that no text exceeds in any family (one token a byte). Framing and attachments stand in it with their
    /// upper figures, which vendors can exceed.
    pub fn ceiling(&self) -> Tokens {
        self.ceiling
    }
}

/// Tokens that the family's chat template adds (per request, per message, and for tools): expected, and as an upper bound.
fn framing(request: &Request, family: TokenizerFamily) -> (Tokens, Tokens) {
    if request.shape.direct().is_some() {
        // An input without a text is not free either.
        let nothing = request.text.bytes() == 0 && request.token_input == Tokens::ZERO;
        let inputs = u64::from(request.messages);
        return (Tokens::new(if nothing { inputs } else { 0 }), Tokens::new(inputs * MARKS_PER_INPUT));
    }
    let rule = coefficients::of(family).framing;
    let tools = u64::from(request.tools);
    let for_tools = if tools > 0 { rule.tools + rule.per_tool * tools } else { 0 };
    let framing = Tokens::new(rule.base + rule.per_message * u64::from(request.messages) + for_tools);
    (framing, framing + framing)
}

/// Tokens of what is not text: expected, and as an upper bound. What came as tokens is counted already.
fn media(request: &Request) -> (Tokens, Tokens) {
    let images = u64::from(request.images);
    let attached = request.features.contains(Feature::AudioInput) || request.features.contains(Feature::FileInput);
    let outside_text = (request.body.len() as u64).saturating_sub(request.text.bytes());
    let bytes = if attached { outside_text } else { 0 };
    (
        request.token_input + Tokens::new(images * IMAGE.get() + bytes / ATTACHMENT_BYTES_PER_TOKEN),
        request.token_input + Tokens::new(images * IMAGE_UPPER.get() + bytes / ATTACHMENT_BYTES_PER_TOKEN_UPPER),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Errors, request};
    use super::*;
    use crate::canonical::{Features, Shape, TextProfile};
    use serde_json::Value;

    #[test]
    fn families_are_indexed_in_their_order() {
        for (at, (family, _)) in TokenizerFamily::WORDS.into_iter().enumerate() {
            assert_eq!(family as usize, at);
        }
    }

    #[test]
    fn messages_tools_and_images_add_to_the_text() {
        let check = |messages, tools, images, more: u64| {
            let plain = Estimate::of(&request("hello there", 1)).expected(TokenizerFamily::O200k);
            let mut bigger = request("hello there", messages);
            (bigger.tools, bigger.images) = (tools, images);
            assert_eq!(Estimate::of(&bigger).expected(TokenizerFamily::O200k).get(), plain.get() + more);
        };
        check(1, 0, 0, 0);
        check(3, 0, 0, 8);
        check(1, 2, 0, 12 + 16);
        check(1, 0, 2, 2000);
    }

    #[test]
    fn what_is_no_conversation_has_no_framing_and_tokens_are_counted_as_they_came() {
        let check = |text: &str, tokens, inputs, expected: u64, upper: u64| {
            let mut asked = request(text, inputs);
            (asked.shape, asked.token_input) = (Shape::OpenAiEmbeddings, Tokens::new(tokens));
            let estimate = Estimate::of(&asked);
            let of = |family| (estimate.expected(family).get(), estimate.upper(family).get());
            assert_eq!(of(TokenizerFamily::Cl100k), (expected, upper), "{text:?} {tokens} {inputs}");
            assert!(estimate.ceiling() >= estimate.upper(TokenizerFamily::Unknown));
        };
        check("", 700, 1, 700, 702);
        check("", 700, 9, 700, 718);
        check("", 0, 2, 2, 4);
        let text = TextProfile::of("hello there");
        let (expected, upper) =
            (estimate::expected(&text, TokenizerFamily::Cl100k), estimate::upper(&text, TokenizerFamily::Cl100k));
        check("hello there", 0, 1, expected.get(), upper.get() + 2);
    }

    #[test]
    fn one_family_is_told_as_among_all() {
        let mut asked = request("What is in it? 里面有什么？", 3);
        (asked.tools, asked.images) = (2, 1);
        for (family, word) in TokenizerFamily::WORDS {
            assert_eq!(Estimate::expected_in(&asked, family), Estimate::of(&asked).expected(family), "{word}");
        }
    }

    #[test]
    fn a_file_is_counted_by_its_bytes_outside_the_text() {
        let mut with_file = request("read it", 1);
        with_file.body = vec![b'x'; 32_007].into();
        with_file.features = Features::NONE.with(Feature::FileInput);
        let without = Estimate::of(&request("read it", 1)).expected(TokenizerFamily::O200k);
        assert_eq!(Estimate::of(&with_file).expected(TokenizerFamily::O200k).get(), without.get() + 1000);
    }

    #[test]
    fn a_vendor_without_a_public_tokenizer_is_bounded_by_the_dearest_family() {
        let estimate = Estimate::of(&request("今天天气很好，我们去公园散步吧。", 1));
        for (family, word) in TokenizerFamily::WORDS {
            assert!(estimate.upper(TokenizerFamily::Unknown) >= estimate.upper(family), "{word}");
            assert!(estimate.upper(family) >= estimate.expected(family), "{word}");
            assert!(estimate.ceiling() >= estimate.upper(family), "{word}");
        }
    }

    const TEMPLATES: [(&str, TokenizerFamily); 8] = [
        ("qwen3", TokenizerFamily::Qwen23),
        ("qwen35", TokenizerFamily::Qwen35),
        ("glm47", TokenizerFamily::Glm47Glm5),
        ("minimax_m3", TokenizerFamily::MinimaxM3),
        ("deepseek_v4", TokenizerFamily::DeepseekV3),
        ("mistral_v3_tekken", TokenizerFamily::MistralTekken),
        ("llama3_1_no_tools", TokenizerFamily::Llama3),
        ("gemma3_no_tools", TokenizerFamily::Gemma3Gemini),
    ];

    fn from_shared(line: &Value) -> Request {
        let messages = line["messages"].as_array().unwrap();
        let mut canonical = request("", u32::try_from(messages.len()).unwrap());
        let mut add = |text: &str| {
            canonical.text.add(text);
            canonical.text.end_text();
        };
        for message in messages {
            add(message["content"].as_str().unwrap());
        }
        if let Some(tools) = line["tools"].as_array() {
            add(&line["tools"].to_string());
            canonical.tools = u32::try_from(tools.len()).unwrap();
        }
        canonical
    }

    /// On 149 public chat requests against eight chat templates; the limits are what was measured with slack.
    #[test]
    fn the_public_requests_are_estimated_as_measured() {
        let Some(lines) = testing::shared_lines("data/metering/requests.jsonl") else { return };
        for (template, family) in TEMPLATES {
            let mut errors = Errors::default();
            for line in lines.iter().filter(|line| line["prompt_tokens"][template].is_u64()) {
                let truth = line["prompt_tokens"][template].as_u64().unwrap();
                let estimate = Estimate::of(&from_shared(line));
                errors.add(truth, estimate.expected(family).get(), estimate.upper(family).get());
            }
            let (median, p99, exceeded) = errors.permille();
            println!("{template}: median {median}, p99 {p99}, above the upper bound {exceeded} of 1000");
            assert!(median <= 40 && p99 <= 180 && exceeded == 0, "{template}: {median} {p99} {exceeded}");
        }
    }

    #[test]
    fn texts_of_one_request_share_one_bias() {
        let mut split = request("", 2);
        split.text = TextProfile::of("one two");
        split.text.merge(&TextProfile::of("three four"));
        let whole = request("one two three four", 2);
        let apart = |family| Estimate::of(&split).expected(family).get().abs_diff(Estimate::of(&whole).expected(family).get());
        assert!(TokenizerFamily::WORDS.into_iter().all(|(family, _)| apart(family) <= 1));
    }
}
