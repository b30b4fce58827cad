//! Reading the frames of one chat stream.

use super::reading::{LAST_BIT, Reading};
use super::{FrameReader, errors, sse};
use crate::canonical::event::ErrorClass;
use crate::canonical::{FrameFacts, FrameKind, ProviderError};
use crate::catalog::capability::Quirks;

/// What has to be remembered between the frames: which choices there are, which have ended, and whether
/// the model was named: it is read once.
pub(super) struct ChatFrames {
    quirks: Quirks,
    seen: u128,
    ended: u128,
    /// Endings of choices that share the last bit.
    ended_beyond: u32,
    /// How many choices were asked for.
    choices: u32,
    named: bool,
}

impl ChatFrames {
    pub(super) fn new(quirks: Quirks, choices: u32) -> Self {
        Self { quirks, seen: 0, ended: 0, ended_beyond: 0, choices, named: false }
    }

    fn facts(&mut self, data: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let (reading, outcome) = Reading::of(data, !self.named, text);
        if outcome.is_err() {
            return FrameFacts::only(if reading.said { FrameKind::Content } else { FrameKind::KeepAlive });
        }
        let error = if reading.suspect { errors::in_good_status(data) } else { None };
        if let Some(error) = error.or_else(|| reading.broke.map(broken)) {
            return FrameFacts {
                usage: reading.usage(self.quirks),
                lifetimes_told: reading.lifetimes_told(self.quirks),
                ..FrameFacts::only(FrameKind::Error(error))
            };
        }
        self.seen |= reading.seen;
        self.ended |= reading.ended;
        self.ended_beyond = self.ended_beyond.saturating_add(reading.ended_beyond);
        let served_model = named(&mut self.named, reading.model.as_deref());
        let usage = reading.usage(self.quirks);
        let kind = match (reading.choices, usage) {
            _ if reading.said || reading.ended != 0 => FrameKind::Content,
            (None | Some(0), Some(_)) => FrameKind::UsageOnly,
            (Some(_), _) => FrameKind::Preamble,
            (None, None) => FrameKind::KeepAlive,
        };
        let finished = reading.ended != 0 && self.all_ended();
        let (lifetimes_told, reasoning_bytes) = (reading.lifetimes_told(self.quirks), reading.reasoning_bytes);
        FrameFacts { kind, usage, lifetimes_told, reasoning_bytes, finished, too_long: reading.too_long != 0, served_model }
    }
}

impl ChatFrames {
    /// Every choice that began has ended, and so many as were asked for: others may not have begun when the stream broke.
    fn all_ended(&self) -> bool {
        let own_bit = (self.ended & !LAST_BIT).count_ones();
        self.ended == self.seen && own_bit.saturating_add(self.ended_beyond) >= self.choices
    }
}

impl FrameReader for ChatFrames {
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts {
        let data = sse::data_of(frame);
        match data.trim_ascii() {
            b"" => FrameFacts::only(FrameKind::KeepAlive),
            b"[DONE]" => FrameFacts::only(FrameKind::Done),
            json => self.facts(json, text),
        }
    }
}

/// The model's name as far as it was not told before; an empty one is none.
pub(super) fn named(before: &mut bool, model: Option<&str>) -> Option<Box<str>> {
    let model = model.filter(|model| !*before && !model.is_empty())?;
    *before = true;
    Some(model.into())
}

/// Endings that are an error of the model and none of its provider: a call or an answer that cannot be read, a call of what is no tool,
/// too many of them, a picture that was not made, and thoughts that it misses ("`FinishReason`", ai.google.dev, 2026-11; "`StopReason`"
/// of Bedrock's API reference, 2026-11).
const ERRED: [&str; 8] = [
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
    "NO_IMAGE",
    "TOO_MANY_TOOL_CALLS",
    "UNEXPECTED_TOOL_CALL",
    "malformed_model_output",
    "malformed_tool_use",
];
/// The one ending that says "later" (dialects.md 5.3: `DeepSeek`).
const LATER: &str = "insufficient_system_resource";

/// The error that a finish reason stands for.
pub(super) fn broken(reason: &str) -> ProviderError {
    let class = match reason {
        LATER => ErrorClass::Overloaded,
        _ if ERRED.contains(&reason) => ErrorClass::ModelErred,
        _ => ErrorClass::BrokeOff,
    };
    ProviderError {
        class,
        status: 200,
        message: format!("the provider ended the answer with `{reason}`"),
        code: Some(reason.to_owned()),
        retry_after: None,
    }
}
