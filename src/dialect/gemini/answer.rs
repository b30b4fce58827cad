//! What stands in an answer of `generateContent`, which each frame of a stream is too: a whole message with what is new in it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::usage::Counts;
use crate::canonical::Finish;

/// An answer, or a frame of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    pub(super) usage_metadata: Option<Counts>,
    #[serde(borrow)]
    pub(super) model_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) response_id: Option<Cow<'a, str>>,
    error: Option<IgnoredAny>,
}

impl<'a> Message<'a> {
    /// Takes what the model said and why it stopped. Only one answer is ever asked for.
    pub(super) fn into_first(self) -> (Vec<Part<'a>>, Option<Cow<'a, str>>) {
        let first = self.candidates.and_then(|candidates| candidates.into_iter().find(|one| one.index.unwrap_or(0) == 0));
        first.map_or((Vec::new(), None), |first| {
            (first.content.and_then(|content| content.parts).unwrap_or_default(), first.finish_reason)
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    index: Option<u32>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Cow<'a, str>>,
}

/// A piece of what the model said.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    /// The text is a thought.
    pub(super) thought: Option<bool>,
    /// The thought behind this part or before it, encrypted. It may stand at a part without a text.
    #[serde(borrow)]
    pub(super) thought_signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) function_call: Option<FunctionCall<'a>>,
    /// An image or a sound.
    inline_data: Option<IgnoredAny>,
    /// What the provider's own tool ran, and what came out.
    executable_code: Option<IgnoredAny>,
    code_execution_result: Option<IgnoredAny>,
}

impl Part<'_> {
    pub(super) fn is_thought(&self) -> bool {
        self.thought == Some(true)
    }

    fn is_opaque(&self) -> bool {
        self.inline_data.is_some() || self.executable_code.is_some() || self.code_execution_result.is_some()
    }
}

/// A call of a tool, which always comes whole.
#[derive(Deserialize)]
pub(super) struct FunctionCall<'a> {
    /// Newer models give one.
    #[serde(borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    /// An object; absent where there are none.
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
}

/// What a finish reason says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Ended(Finish),
    /// The answer failed, and is none.
    Broke,
}

/// Endings by what the model or the provider held back (dialects.md 5.3, and later additions of the same kind).
const FILTERED: [&str; 10] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
];

/// Endings that are failures: a call that cannot be read, or no reason at all.
const BROKEN: [&str; 8] = [
    "MALFORMED_FUNCTION_CALL",
    "OTHER",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "NO_IMAGE",
    "IMAGE_OTHER",
];

/// What a finish reason says; nothing where there is none yet.
pub(super) fn end_of(reason: &str) -> Option<End> {
    match reason {
        "" | "FINISH_REASON_UNSPECIFIED" => None,
        "MAX_TOKENS" => Some(End::Ended(Finish::Length)),
        filtered if FILTERED.contains(&filtered) => Some(End::Ended(Finish::Filtered)),
        broken if BROKEN.contains(&broken) => Some(End::Broke),
        _ => Some(End::Ended(Finish::Stop)),
    }
}

/// What the gateway acts on in a message.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// How many answers there are.
    pub(super) candidates: usize,
    /// Something was said: a text, a thought, a call, or what stands for one of them.
    pub(super) said: bool,
    /// Why the model stopped.
    pub(super) end: Option<Finish>,
    /// The finish reason that means failure.
    pub(super) broke: Option<String>,
    /// Why the prompt was not answered.
    pub(super) blocked: Option<String>,
    /// There is an error.
    pub(super) failed: bool,
    /// There is something that answers have.
    pub(super) known: bool,
    /// Bytes of thinking; at least one where there was any, also without a text.
    pub(super) reasoning_bytes: u64,
}

impl Reading {
    /// Reads a message; whatever the model generated goes to `text`.
    pub(super) fn of(message: &Message<'_>, text: &mut dyn FnMut(&str)) -> Self {
        let candidates = message.candidates.as_deref().unwrap_or_default();
        let blocked = message.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason.as_deref());
        let mut reading = Self {
            candidates: candidates.len(),
            blocked: blocked.filter(|reason| !matches!(*reason, "" | "BLOCK_REASON_UNSPECIFIED")).map(str::to_owned),
            failed: message.error.is_some(),
            known: message.candidates.is_some() || message.usage_metadata.is_some() || message.response_id.is_some(),
            ..Self::default()
        };
        for candidate in candidates {
            let parts = candidate.content.as_ref().and_then(|content| content.parts.as_deref());
            parts.unwrap_or_default().iter().for_each(|part| reading.part(part, text));
            let reason = candidate.finish_reason.as_deref().unwrap_or_default();
            match end_of(reason) {
                Some(End::Ended(finish)) => reading.end = Some(finish),
                Some(End::Broke) => reading.broke = Some(reason.to_owned()),
                None => {}
            }
        }
        reading
    }

    pub(super) fn too_long(&self) -> bool {
        self.end == Some(Finish::Length)
    }

    fn part(&mut self, part: &Part<'_>, text: &mut dyn FnMut(&str)) {
        let sealed = part.thought_signature.as_deref().is_some_and(|seal| !seal.is_empty());
        self.said |= sealed || part.is_opaque() || part.function_call.is_some();
        self.reasoning_bytes += u64::from(sealed);
        if let Some(said) = part.text.as_deref().filter(|said| !said.is_empty()) {
            self.said = true;
            self.reasoning_bytes += if part.is_thought() { said.len() as u64 } else { 0 };
            text(said);
        }
        if let Some(call) = &part.function_call {
            call.name.iter().for_each(|name| text(name));
            call.args.iter().for_each(|args| text(args.get()));
        }
    }
}
