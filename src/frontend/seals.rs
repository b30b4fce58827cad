//! A seal in words of a shape that did not make it, so that it comes back with the conversation to whoever can read it.
//!
//! Chat has `reasoning_details`, a member that `OpenRouter` made and agents send back: an entry names its format. Messages knows
//! only its own signatures, which are base64: a foreign one stands behind its format and a colon, and one that belongs to a call
//! in a `redacted_thinking` block just before it. Responses has `encrypted_content` of a reasoning item, where it is the same: a
//! foreign one stands behind its format, and one that belongs to a call in an item of its own just before it.

use std::borrow::Cow;

use crate::canonical::Shape;
use crate::canonical::conversation::{Seal, SealKind};

const ANTHROPIC: &str = "anthropic-claude-v1";
const GEMINI: &str = "google-gemini-v1";
const OPENAI: &str = "openai-responses-v1";
const BEDROCK: &str = "bedrock-converse-v1";
/// How the value of a member of Messages begins that holds a foreign seal ([`in_block`]).
pub(super) const FOREIGN_IN_BLOCK: [&str; 5] = [
    "\"google-gemini-v1:",
    "\"openai-responses-v1:",
    "\"bedrock-converse-v1:",
    "\"bedrock-redacted-v1:",
    "\"tokenbroker-unsigned-v1:",
];
/// What stands for the seal of a thought that nobody sealed, in blocks and in items: many clients (pydantic-ai 2.68, the AI SDK's
/// providers for Anthropic and `OpenAI`) send back those thoughts alone that have one. A foreign seal, so that it is known to be none
/// of the shape's maker, and an empty one.
pub(super) const NONE: &str = "tokenbroker-unsigned-v1:";
/// The same in conversations that were begun before it had a name of its own.
const NONE_BEFORE: &str = "google-gemini-v1:";
/// How the value of `encrypted_content` begins that holds one ([`in_item`]).
pub(super) const FOREIGN_IN_ITEM: [&str; 6] = [
    "\"anthropic-claude-v1:",
    "\"google-gemini-v1:",
    "\"anthropic-redacted-v1:",
    "\"bedrock-converse-v1:",
    "\"bedrock-redacted-v1:",
    "\"tokenbroker-unsigned-v1:",
];
/// Of a whole thought, where nothing beside it tells it from a signature.
const REDACTED: &str = "anthropic-redacted-v1";
/// The same of Bedrock, also in blocks: there is no other sign of it.
const BEDROCK_REDACTED: &str = "bedrock-redacted-v1";

/// Whether a text stands where there is no seal.
pub(super) fn is_none(text: &[u8]) -> bool {
    [NONE, NONE_BEFORE].iter().any(|none| none.as_bytes() == text)
}

/// The name of its format.
pub(super) const fn format(kind: SealKind) -> &'static str {
    match kind {
        SealKind::AnthropicSignature | SealKind::AnthropicRedacted => ANTHROPIC,
        SealKind::GeminiSignature => GEMINI,
        SealKind::OpenAiEncrypted => OPENAI,
        SealKind::BedrockSignature => BEDROCK,
        SealKind::BedrockRedacted => BEDROCK_REDACTED,
    }
}

/// The kind of a signature beside a thought's text. Without a format it is Anthropic's, as at `OpenRouter`.
pub(super) fn of_signature(format: Option<&str>) -> Option<SealKind> {
    match format.unwrap_or(ANTHROPIC) {
        ANTHROPIC => Some(SealKind::AnthropicSignature),
        GEMINI => Some(SealKind::GeminiSignature),
        OPENAI => Some(SealKind::OpenAiEncrypted),
        BEDROCK => Some(SealKind::BedrockSignature),
        BEDROCK_REDACTED => Some(SealKind::BedrockRedacted),
        _ => None,
    }
}

/// The kind of something encrypted; without a format nobody knows whose it is.
pub(super) fn of_encrypted(format: Option<&str>) -> Option<SealKind> {
    match of_signature(Some(format?))? {
        SealKind::AnthropicSignature => Some(SealKind::AnthropicRedacted),
        other => Some(other),
    }
}

/// What stands for it in the `signature` or `data` of a block.
pub(super) fn in_block(seal: &Seal) -> String {
    match seal.kind {
        SealKind::AnthropicSignature | SealKind::AnthropicRedacted => seal.value.clone(),
        SealKind::GeminiSignature | SealKind::OpenAiEncrypted | SealKind::BedrockSignature | SealKind::BedrockRedacted => {
            format!("{}:{}", format(seal.kind), seal.value)
        }
    }
}

/// What stands for it in the words of clients of a shape.
pub fn written(shape: Shape, seal: &Seal) -> Cow<'_, str> {
    match shape {
        Shape::AnthropicMessages => in_block(seal).into(),
        Shape::OpenAiResponses => in_item(seal).into(),
        // Its kind stands beside it.
        _ => Cow::Borrowed(&seal.value),
    }
}

/// Reads what stands in a block, which is of the shape's `own` kind unless it says otherwise.
pub(super) fn from_block(text: String, own: SealKind) -> Option<Seal> {
    if is_none(text.as_bytes()) {
        return None;
    }
    let foreign = text.split_once(':').and_then(|(format, value)| {
        let kind = of_signature(Some(format)).filter(|kind| *kind != SealKind::AnthropicSignature)?;
        Some(Seal { kind, value: value.to_owned() })
    });
    foreign.or_else(|| (!text.is_empty()).then_some(Seal { kind: own, value: text }))
}

/// What stands for it in the `encrypted_content` of a reasoning item.
pub(super) fn in_item(seal: &Seal) -> String {
    match seal.kind {
        SealKind::OpenAiEncrypted => seal.value.clone(),
        SealKind::AnthropicRedacted => format!("{REDACTED}:{}", seal.value),
        SealKind::AnthropicSignature | SealKind::GeminiSignature | SealKind::BedrockSignature | SealKind::BedrockRedacted => {
            format!("{}:{}", format(seal.kind), seal.value)
        }
    }
}

/// Reads what stands in a reasoning item, which is `OpenAI`'s unless it says otherwise.
pub(super) fn from_item(text: String) -> Option<Seal> {
    if is_none(text.as_bytes()) {
        return None;
    }
    let foreign = text.split_once(':').and_then(|(format, value)| {
        let kind = if format == REDACTED { Some(SealKind::AnthropicRedacted) } else { of_signature(Some(format)) };
        Some(Seal { kind: kind?, value: value.to_owned() })
    });
    foreign.or_else(|| (!text.is_empty()).then_some(Seal { kind: SealKind::OpenAiEncrypted, value: text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_from_a_block_as_it_went() {
        for kind in crate::frontend::testing::KINDS {
            let seal = Seal { kind, value: "b64+/=:".into() };
            assert_eq!(from_block(in_block(&seal), kind), Some(seal.clone()));
            let without_colon = Seal { kind, value: "gAAAb64+/=".into() };
            assert_eq!(from_item(in_item(&without_colon)), Some(without_colon));
            let own = SealKind::AnthropicSignature;
            let foreign = !matches!(kind, SealKind::AnthropicSignature | SealKind::AnthropicRedacted);
            assert_eq!(from_block(in_block(&seal), own).unwrap().kind, if foreign { kind } else { own });
        }
        for none in ["", NONE, NONE_BEFORE] {
            assert_eq!((from_block(none.to_owned(), SealKind::AnthropicSignature), from_item(none.to_owned())), (None, None));
        }
        assert_eq!(
            from_block("anthropic-claude-v1:x".into(), SealKind::AnthropicRedacted).unwrap().kind,
            SealKind::AnthropicRedacted
        );
    }

    #[test]
    fn formats_lead_back_to_their_kinds() {
        for kind in [
            SealKind::AnthropicSignature,
            SealKind::GeminiSignature,
            SealKind::OpenAiEncrypted,
            SealKind::BedrockSignature,
            SealKind::BedrockRedacted,
        ] {
            assert_eq!(of_signature(Some(format(kind))), Some(kind));
        }
        assert_eq!(of_encrypted(Some(ANTHROPIC)), Some(SealKind::AnthropicRedacted));
        assert_eq!(of_encrypted(Some(GEMINI)), Some(SealKind::GeminiSignature));
        assert_eq!((of_signature(None), of_encrypted(None)), (Some(SealKind::AnthropicSignature), None));
        assert_eq!((of_signature(Some("unknown")), of_encrypted(Some("xai-responses-v1"))), (None, None));
    }
}
