//! `reasoning_details` of a chat message: the seals of thoughts and calls, which a client sends back with the conversation.
//!
//! An entry is whole: the text stands in it again, because `reasoning_content` joins all thoughts of a message and a signature
//! holds for one of them. An entry with the `id` of a call seals that call.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::seals;
use crate::canonical::conversation::{Call, Seal, SealKind, Thought};

const TEXT: &str = "reasoning.text";
const SUMMARY: &str = "reasoning.summary";
const ENCRYPTED: &str = "reasoning.encrypted";
/// A member that only our entries have, and how its value begins: a provider of chat that makes such entries knows its own.
pub(super) const ORIGIN_KEY: &str = "\"origin\"";
pub(super) const OURS: &[u8] = b"\"tokenbroker\"";
const ORIGIN: &str = "tokenbroker";

/// An entry as it is written.
#[derive(Debug, Serialize)]
pub(super) struct Detail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    format: &'static str,
    index: u32,
    origin: &'static str,
}

impl<'a> Detail<'a> {
    fn new(kind: &'static str, seal: &Seal, index: u32) -> Self {
        let format = seals::format(seal.kind);
        Self { kind, id: None, text: None, summary: None, signature: None, data: None, format, index, origin: ORIGIN }
    }

    /// The entries for a sealed thought; all of them have its index.
    pub(super) fn of_thought(text: &'a str, seal: &'a Seal, index: u32) -> Vec<Self> {
        let told = (!text.is_empty()).then_some(text);
        let encrypted = Detail { data: Some(&seal.value), ..Self::new(ENCRYPTED, seal, index) };
        match seal.kind {
            SealKind::AnthropicSignature | SealKind::BedrockSignature => {
                vec![Detail { text: Some(text), signature: Some(&seal.value), ..Self::new(TEXT, seal, index) }]
            }
            SealKind::OpenAiEncrypted => {
                let summary = told.map(|_| Detail { summary: told, ..Self::new(SUMMARY, seal, index) });
                summary.into_iter().chain([encrypted]).collect()
            }
            SealKind::AnthropicRedacted | SealKind::GeminiSignature | SealKind::BedrockRedacted => {
                let text = told.map(|_| Detail { text: told, ..Self::new(TEXT, seal, index) });
                text.into_iter().chain([encrypted]).collect()
            }
        }
    }

    /// The entry for a sealed call.
    pub(super) fn of_call(call: String, seal: &'a Seal, index: u32) -> Self {
        Detail { id: Some(call), data: Some(&seal.value), ..Self::new(ENCRYPTED, seal, index) }
    }
}

/// An entry as it comes back, or from elsewhere.
#[derive(Debug, Deserialize)]
struct Wire<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    id: Option<Cow<'b, str>>,
    text: Option<String>,
    summary: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    format: Option<Cow<'b, str>>,
    index: Option<u64>,
}

/// A thought, and the index that its entries have.
type Indexed = (Option<u64>, Thought);

/// Reads the thoughts of a message and puts the seals of its calls on them. `told` is what stands in `reasoning_content` or
/// `reasoning`: it is all the text there is where no entry has any. What does not read as entries is none.
pub(super) fn read(details: Option<&str>, told: Option<String>, calls: &mut [Call]) -> Vec<Thought> {
    let entries: Vec<Wire<'_>> = details.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let mut thoughts: Vec<Indexed> = Vec::new();
    for entry in entries {
        add(entry, &mut thoughts, calls);
    }
    let mut thoughts: Vec<Thought> = thoughts.into_iter().map(|(_, thought)| thought).collect();
    let silent = thoughts.iter().all(|thought| thought.text.is_empty());
    if let Some(told) = told.filter(|told| silent && !told.is_empty()) {
        let takes = |seal: &Seal| !seal.kind.is_redacted();
        match thoughts.iter_mut().find(|thought| thought.seal.as_ref().is_some_and(takes)) {
            Some(thought) => thought.text = told,
            None => thoughts.insert(0, Thought { text: told, seal: None }),
        }
    }
    thoughts.retain(|thought| !thought.text.is_empty() || thought.seal.is_some());
    thoughts
}

fn add(entry: Wire<'_>, thoughts: &mut Vec<Indexed>, calls: &mut [Call]) {
    let format = entry.format.as_deref();
    let open = thoughts.last_mut().filter(|(index, thought)| thought.seal.is_none() && *index == entry.index && index.is_some());
    match &*entry.kind {
        TEXT | SUMMARY => {
            let text = entry.text.or(entry.summary).unwrap_or_default();
            let signature = entry.signature.filter(|signature| !signature.is_empty());
            let seal = signature.and_then(|value| Some(Seal { kind: seals::of_signature(format)?, value }));
            match open {
                // Another gateway's entry may come in pieces.
                Some((_, thought)) => {
                    thought.text.push_str(&text);
                    thought.seal = seal;
                }
                None => thoughts.push((entry.index, Thought { text, seal })),
            }
        }
        ENCRYPTED => {
            let Some(seal) = entry.data.and_then(|value| Some(Seal { kind: seals::of_encrypted(format)?, value })) else {
                return;
            };
            let call = entry.id.and_then(|id| calls.iter_mut().find(|call| call.id == *id));
            match (call, open) {
                (Some(call), _) => call.seal = Some(seal),
                (None, Some((_, thought))) => thought.seal = Some(seal),
                (None, None) => thoughts.push((entry.index, Thought { text: String::new(), seal: Some(seal) })),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(kind: SealKind, text: &str) -> Thought {
        Thought { text: text.into(), seal: Some(Seal { kind, value: "s1".into() }) }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let thoughts = [
            sealed(SealKind::AnthropicSignature, "one"),
            sealed(SealKind::AnthropicRedacted, ""),
            sealed(SealKind::AnthropicSignature, ""),
            sealed(SealKind::GeminiSignature, "two"),
            sealed(SealKind::GeminiSignature, ""),
            sealed(SealKind::OpenAiEncrypted, "three"),
            sealed(SealKind::OpenAiEncrypted, ""),
            sealed(SealKind::BedrockSignature, "four"),
            sealed(SealKind::BedrockRedacted, ""),
        ];
        let mut call = Call { id: "c".into(), name: "f".into(), arguments: String::new(), seal: None, cached: None };
        let seal = Seal { kind: SealKind::GeminiSignature, value: "s2".into() };
        let indexed = thoughts.iter().zip(0..);
        let mut entries: Vec<Detail<'_>> = indexed
            .flat_map(|(thought, index)| Detail::of_thought(&thought.text, thought.seal.as_ref().unwrap(), index))
            .collect();
        entries.push(Detail::of_call("c".into(), &seal, 7));
        let json = serde_json::to_string(&entries).unwrap();
        let read = read(Some(&json), Some("onetwothree".into()), std::slice::from_mut(&mut call));
        assert_eq!(read, thoughts);
        assert_eq!(call.seal, Some(seal));
    }

    fn check(details: &str, told: Option<&str>, expected: &[Thought]) {
        assert_eq!(read(Some(details), told.map(str::to_owned), &mut []), expected, "{details}");
    }

    #[test]
    fn a_text_that_stands_elsewhere_goes_to_the_seal_that_has_none() {
        let plain = |text: &str| Thought { text: text.into(), seal: None };
        check("[]", Some("hm"), &[plain("hm")]);
        check("[]", None, &[]);
        check("7", Some("hm"), &[plain("hm")]);
        let signature = r#"[{"type":"reasoning.text","signature":"s1"}]"#;
        check(signature, Some("hm"), &[sealed(SealKind::AnthropicSignature, "hm")]);
        let redacted = r#"[{"type":"reasoning.encrypted","data":"s1","format":"anthropic-claude-v1"}]"#;
        check(redacted, Some("hm"), &[plain("hm"), sealed(SealKind::AnthropicRedacted, "")]);
    }

    #[test]
    fn entries_of_other_gateways_are_read_where_they_say_what_they_are() {
        let pieces = r#"[{"type":"reasoning.text","text":"a","index":0,"format":"anthropic-claude-v1"},
            {"type":"reasoning.text","text":"b","signature":"s1","index":0,"format":"anthropic-claude-v1"}]"#;
        check(pieces, None, &[sealed(SealKind::AnthropicSignature, "ab")]);
        let unknown = r#"[{"type":"reasoning.encrypted","data":"s1"},{"type":"reasoning.new"},
            {"type":"reasoning.text","text":"a","signature":"s1","format":"unknown"}]"#;
        check(unknown, None, &[Thought { text: "a".into(), seal: None }]);
    }
}
