//! `extra_content` of a chat message and of its calls: where Google's own endpoint for chat tells the signatures of Gemini's thoughts,
//! and looks for them in the next request (`extra_content.google.thought_signature`; discuss.ai.google.dev, "OpenAI API compatibility
//! broken due to `thought_signature`", 2025-11; providers.md 3, 2026-11-22). Clients made for it send this back and drop what they do
//! not know, so it is told beside `reasoning_details`.
//!
//! A message has one place for it: of several seals it tells the last, and all of them stand in `reasoning_details`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical::conversation::{Seal, SealKind, Thought};

/// How the key of a signature is written.
pub(super) const SIGNATURE_KEY: &str = "\"thought_signature\"";

/// As it is written.
#[derive(Debug, Serialize)]
pub(super) struct Extra<'a> {
    google: Google<'a>,
}

#[derive(Debug, Serialize)]
struct Google<'a> {
    thought_signature: &'a str,
}

impl<'a> Extra<'a> {
    /// What tells a seal, if it is Gemini's.
    pub(super) fn of(seal: Option<&'a Seal>) -> Option<Self> {
        let seal = seal.filter(|seal| seal.kind == SealKind::GeminiSignature)?;
        Some(Self { google: Google { thought_signature: &seal.value } })
    }
}

/// The seal that is told so.
pub(super) fn read(raw: Option<&RawValue>) -> Option<Seal> {
    #[derive(Deserialize)]
    struct Wire {
        google: Option<WireGoogle>,
    }
    #[derive(Deserialize)]
    struct WireGoogle {
        thought_signature: Option<String>,
    }
    let wire: Wire = serde_json::from_str(raw?.get()).ok()?;
    let value = wire.google?.thought_signature.filter(|value| !value.is_empty())?;
    Some(Seal { kind: SealKind::GeminiSignature, value })
}

/// Puts the seal of a message on its thoughts, where nothing else told it.
pub(super) fn seal(thoughts: &mut Vec<Thought>, seal: Option<Seal>) {
    let is_told = |thought: &Thought| thought.seal.as_ref().is_some_and(|seal| seal.kind == SealKind::GeminiSignature);
    let Some(seal) = seal.filter(|_| !thoughts.iter().any(is_told)) else { return };
    match thoughts.iter_mut().find(|thought| thought.seal.is_none()) {
        Some(thought) => thought.seal = Some(seal),
        None => thoughts.push(Thought { text: String::new(), seal: Some(seal) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geminis_seals_alone_are_told_and_come_back() {
        let of = |kind| Seal { kind, value: "c2ln".into() };
        let seal = of(SealKind::GeminiSignature);
        let told = serde_json::to_string(&Extra::of(Some(&seal))).unwrap();
        assert_eq!(told, r#"{"google":{"thought_signature":"c2ln"}}"#);
        assert_eq!(read(serde_json::from_str(&told).ok()), Some(seal));
        for other in [SealKind::AnthropicSignature, SealKind::AnthropicRedacted, SealKind::OpenAiEncrypted] {
            assert!(Extra::of(Some(&of(other))).is_none(), "{other:?}");
        }
        for none in [r#"{"google":{"thought_signature":""}}"#, r#"{"google":{}}"#, r#"{"other":1}"#, "7", r#"{"google":"x"}"#] {
            assert_eq!(read(serde_json::from_str(none).ok()), None, "{none}");
        }
    }
}
