//! Prompts against the templates of their vendors.

use super::super::testing;
use super::*;

fn framed(chat: &str, family: TokenizerFamily) -> Framed {
    Framed::of(&serde_json::from_str(chat).unwrap(), family)
}

const TEMPLATES: [(&str, TokenizerFamily); 8] = [
    ("qwen3", TokenizerFamily::Qwen23),
    ("glm47", TokenizerFamily::Glm47Glm5),
    ("minimax_m3", TokenizerFamily::MinimaxM3),
    ("deepseek_v4", TokenizerFamily::DeepseekV3),
    ("mistral_v3_tekken", TokenizerFamily::MistralTekken),
    ("llama3_1_no_tools", TokenizerFamily::Llama3),
    ("qwen35", TokenizerFamily::Qwen35),
    ("gemma3_no_tools", TokenizerFamily::Gemma3Gemini),
];

/// The acceptance figure: within 1 % of the template's truth at the 99th percentile, where the vocabulary is at hand.
#[test]
fn the_public_requests_are_counted_as_their_templates_have_them() {
    let Some(requests) = testing::shared_text("data/metering/requests.jsonl") else { return };
    let vocabularies = Vocabularies::keeping(1);
    for (template, family) in TEMPLATES {
        let mut errors = testing::Errors::default();
        let mut off = Vec::new();
        for line in requests.lines() {
            let known: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(truth) = known["prompt_tokens"][template].as_u64() else { continue };
            // The line as it stands: in a map its members would be in another order.
            let (told, _) = framed(line, family).count(&vocabularies, family);
            errors.add(truth, told, u64::MAX);
            if told != truth {
                off.push((known["id"].to_string(), truth, told));
            }
        }
        let (median, p99, _) = errors.permille();
        println!("{template}: median {median}, p99 {p99} of 1000; {} not equal {:?}", off.len(), &off[..off.len().min(4)]);
        let most = if vocabularies.counts(family) { 10 } else { 120 };
        assert!(p99 <= most, "{template}: {median} {p99}");
    }
}

/// An agent's conversation: calls, results, reasoning. The numbers are the vendors' own templates' (Jinja, DeepSeek's Python) in
/// the vendors' own tokenizers, for the whole of it and for its first five messages.
#[test]
fn calls_and_results_are_counted_as_templates_have_them() {
    let vocabularies = Vocabularies::keeping(1);
    let whole: serde_json::Value = serde_json::from_str(AGENT).unwrap();
    let later = whole["messages"].as_array().unwrap().len();
    for (family, all, five) in [
        (TokenizerFamily::Qwen23, 290, 263),
        (TokenizerFamily::Glm47Glm5, 261, 243),
        (TokenizerFamily::MinimaxM3, 565, 535),
        (TokenizerFamily::DeepseekV3, 464, 444),
    ] {
        if !vocabularies.counts(family) {
            continue;
        }
        for (messages, expected) in [(later, all), (5, five)] {
            let mut chat: Chat = serde_json::from_str(AGENT).unwrap();
            chat.messages.truncate(messages);
            assert_eq!(
                Framed::of(&chat, family).count(&vocabularies, family),
                (expected, How::Exact),
                "{} {messages}",
                family.word()
            );
        }
    }
}

const AGENT: &str = include_str!("agent.json");

/// Every family has an answer for every shape of message, and it grows with what is said.
#[test]
fn every_family_counts_calls_tools_and_parts() {
    let vocabularies = Vocabularies::default();
    let parts =
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one two"},{"type":"image_url","image_url":{}}]}]}"#;
    for (family, word) in TokenizerFamily::WORDS {
        let count = |chat| framed(chat, family).count(&vocabularies, family).0;
        let short = count(r#"{"messages":[{"role":"user","content":null}]}"#);
        assert!(short < count(parts) && count(parts) < count(AGENT), "{word}");
        let told = framed(AGENT, family).estimate(&vocabularies, family);
        assert!(told.abs_diff(count(AGENT)) * 4 < count(AGENT), "{word}: {told} for {}", count(AGENT));
    }
}
