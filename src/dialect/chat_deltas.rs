//! Reading an answer of chat as deltas, whole or chunk by chunk (dialects.md 6, items 11 to 19). Only the first choice is read:
//! who asks for several is served by those who speak its own shape. Usage and errors are told by the reader of frames.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat_calls::{Calls, Piece};
use super::think_tags::ThinkTags;
use super::walk::few;
use super::{DeltaReader, citations, sse};
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::{Citation, Delta, Finish};
use crate::catalog::capability::Quirks;

/// A chunk, or a whole answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk<'b> {
    #[serde(borrow, default)]
    id: Option<&'b RawValue>,
    #[serde(borrow, default)]
    model: Option<&'b RawValue>,
    #[serde(borrow, default, deserialize_with = "few")]
    choices: Option<Vec<Choice<'b>>>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice<'b> {
    #[serde(borrow, default)]
    index: Option<&'b RawValue>,
    #[serde(borrow, default)]
    delta: Option<Said<'b>>,
    #[serde(borrow, default)]
    message: Option<Said<'b>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'b RawValue>,
    /// The stop sequence that vLLM came upon; a number where it was a token.
    #[serde(borrow, default)]
    stop_reason: Option<&'b RawValue>,
}

/// What is new, member by member, each of which may be of any type.
#[derive(Debug, Default, Deserialize)]
struct Said<'b> {
    #[serde(borrow, default)]
    content: Option<&'b RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'b RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'b RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'b RawValue>,
    #[serde(borrow, default)]
    reasoning_details: Option<&'b RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'b RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'b RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'b RawValue>,
}

/// An entry of `reasoning_details`, as OpenRouter tells them and our own chat frontend does.
#[derive(Debug, Default, Deserialize)]
struct Detail<'b> {
    #[serde(borrow, default)]
    format: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    summary: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    signature: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    data: Option<Cow<'b, str>>,
}

/// A part of a content that is an array: a text, or what Mistral thinks.
#[derive(Debug, Default, Deserialize)]
struct ContentPart<'b> {
    #[serde(borrow, default)]
    text: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    thinking: Option<&'b RawValue>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'b, str>>,
}

/// Reads one answer.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    begun: bool,
    calls: Calls,
    tags: ThinkTags,
    /// The sources of the answer, of which the first so many were told: the others wait for a text to stand behind.
    cited: Vec<Citation>,
    told: usize,
    /// A text was told.
    spoken: bool,
    finish: Option<Finish>,
    /// It is all there at once, and no thought is told apart from the text.
    may_begin_thinking: bool,
}

impl Deltas {
    /// Of a stream from a site as the quirks say.
    pub(super) fn of(quirks: Quirks) -> Self {
        let tags = if quirks.unopened_thoughts { ThinkTags::unopened() } else { ThinkTags::default() };
        Self { tags, ..Self::default() }
    }

    /// Reads a whole answer.
    pub(super) fn whole(mut self, answer: Chunk<'_>) -> Vec<Delta> {
        let mut out = Vec::new();
        self.may_begin_thinking = true;
        self.chunk(answer, &mut out);
        self.end(&mut out);
        out
    }

    fn chunk(&mut self, chunk: Chunk<'_>, out: &mut Vec<Delta>) {
        let mut choices = chunk.choices.unwrap_or_default();
        let (id, model) = (text(chunk.id), text(chunk.model));
        if !self.begun && !choices.is_empty() {
            self.begun = true;
            let said = |text: Option<Cow<'_, str>>| text.filter(|text| !text.is_empty()).map(Cow::into_owned);
            let id = said(id);
            self.calls.are_of(id.as_deref().unwrap_or_default());
            out.push(Delta::Begin { id, model: said(model) });
        }
        let is_first = |choice: &Choice<'_>| choice.index.is_none_or(|index| matches!(index.get(), "0" | "null"));
        let Some(first) = choices.iter().position(is_first) else { return };
        let Choice { delta, message, finish_reason, stop_reason, .. } = choices.swap_remove(first);
        for said in [delta, message].into_iter().flatten() {
            self.said(&said, out);
        }
        if let Some(finish) = text(finish_reason).and_then(|reason| finish_of(&reason)) {
            let sequence = text(stop_reason).filter(|word| finish_of(word) == Some(Finish::Stop) && !is_word(word));
            // Content may still follow.
            self.finish = Some(match sequence {
                Some(sequence) if finish == Finish::Stop => Finish::StopSequence(Some(sequence.into_owned())),
                _ => finish,
            });
        }
    }

    fn said(&mut self, said: &Said<'_>, out: &mut Vec<Delta>) {
        let before = out.len();
        let thoughts =
            [said.reasoning_content, said.reasoning].into_iter().find_map(|member| text(member).filter(|t| !t.is_empty()));
        self.may_begin_thinking &= thoughts.is_none();
        let details = said.reasoning_details.map(|raw| serde_json::from_str::<Vec<Detail<'_>>>(raw.get()).unwrap_or_default());
        self.details(details.unwrap_or_default(), thoughts, out);
        self.content(said.content, out);
        if let Some(refusal) = text(said.refusal).filter(|refusal| !refusal.is_empty()) {
            out.push(Delta::Refusal(refusal.into_owned()));
        }
        for citation in citations::all(said.annotations) {
            // Some tell all of them with each piece.
            if self.cited.len() < Citation::MOST && !self.cited.contains(&citation) {
                self.cited.push(citation);
            }
        }
        self.cite(before, out);
        let calls = said.tool_calls.map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default());
        // One that cannot be read does not hide the others.
        let calls = calls.unwrap_or_default().into_iter().filter_map(|raw| serde_json::from_str::<Piece<'_>>(raw.get()).ok());
        let legacy = said.function_call.and_then(|raw| serde_json::from_str(raw.get()).ok()).map(Piece::legacy);
        for piece in calls.chain(legacy) {
            // What was held back of a text stands before the call.
            let before = out.len();
            self.tags.end(out);
            self.cite(before, out);
            self.calls.take(&piece, out);
        }
    }

    /// Tells the sources that wait where there is a text, of which this may be the first.
    fn cite(&mut self, before: usize, out: &mut Vec<Delta>) {
        self.spoken |= out[before..].iter().any(|delta| matches!(delta, Delta::Text(_)));
        if self.spoken && !self.tags.thinks() {
            self.cite_all(out);
        }
    }

    fn cite_all(&mut self, out: &mut Vec<Delta>) {
        out.extend(self.cited[self.told..].iter().cloned().map(Delta::Cited));
        self.told = self.cited.len();
    }

    /// The thought's text is mostly told twice: beside its details and in them.
    fn details(&mut self, details: Vec<Detail<'_>>, thoughts: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        let told = thoughts.is_some();
        out.extend(thoughts.map(|text| Delta::Thought(text.into_owned())));
        for detail in details {
            let kind = detail.format.as_deref().and_then(|format| seal_kind(format, detail.signature.is_some()));
            if let Some(text) = detail.text.or(detail.summary).filter(|text| !told && !text.is_empty()) {
                out.push(Delta::Thought(text.into_owned()));
            }
            let value = detail.signature.or(detail.data).filter(|value| !value.is_empty());
            let Some((kind, value)) = kind.zip(value) else { continue };
            let seal = Seal { kind, value: value.into_owned() };
            match detail.id.filter(|_| kind == SealKind::GeminiSignature) {
                Some(id) => self.calls.seal(id.into_owned(), seal),
                None => out.push(Delta::Sealed(seal)),
            }
        }
    }

    fn content(&mut self, content: Option<&RawValue>, out: &mut Vec<Delta>) {
        let Some(content) = content else { return };
        if let Some(text) = text(Some(content)) {
            return if self.may_begin_thinking { self.tags.take_whole(&text, out) } else { self.tags.take(&text, out) };
        }
        for part in serde_json::from_str::<Vec<ContentPart<'_>>>(content.get()).unwrap_or_default() {
            let thoughts = part.thinking.map(|raw| {
                let parts = serde_json::from_str::<Vec<ContentPart<'_>>>(raw.get()).unwrap_or_default();
                parts.into_iter().filter_map(|part| part.text.map(Cow::into_owned)).collect::<String>()
            });
            let full = |text: Option<String>| text.filter(|text| !text.is_empty());
            out.extend(full(thoughts).map(Delta::Thought));
            out.extend(full(part.text.map(Cow::into_owned)).map(Delta::Text));
            out.extend(full(part.refusal.map(Cow::into_owned)).map(Delta::Refusal));
        }
    }
}

impl DeltaReader for Deltas {
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>) {
        let data = sse::data_of(frame);
        if let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data.trim_ascii()) {
            self.chunk(chunk, out);
        }
    }

    fn end(&mut self, out: &mut Vec<Delta>) {
        self.tags.end(out);
        self.cite_all(out);
        self.calls.end(out);
        out.extend(self.finish.take().map(Delta::Finish));
    }

    fn held(&self) -> usize {
        let cited: usize = self.cited.iter().map(|source| size_of::<Citation>() + source.url.len() + source.title.len()).sum();
        self.tags.held() + self.calls.held() + cited
    }
}

/// A string; anything else is none.
fn text(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'b>(#[serde(borrow)] Cow<'b, str>);
    raw.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok()).map(|Text(text)| text)
}

/// Words of a failure end no answer: the reader of frames tells it.
fn finish_of(reason: &str) -> Option<Finish> {
    match reason {
        "length" | "max_tokens" | "model_length" | "model_context_window_exceeded" => Some(Finish::Length),
        "tool_calls" | "function_call" | "tool_use" => Some(Finish::Calls),
        "content_filter" | "sensitive" | "guardrail_intervened" => Some(Finish::Filtered),
        "" | "null" | "error" | "network_error" | "insufficient_system_resource" => None,
        _ => Some(Finish::Stop),
    }
}

/// What is told of an end in words, and is no stop sequence.
fn is_word(reason: &str) -> bool {
    matches!(reason, "" | "stop" | "end_turn" | "eos" | "eos_token" | "stop_sequence" | "completed")
}

/// Whose words a detail's seal is in, by its format. Of Claude's a signature proves a text, and anything else is the thought itself.
fn seal_kind(format: &str, signed: bool) -> Option<SealKind> {
    match format {
        "anthropic-claude-v1" if signed => Some(SealKind::AnthropicSignature),
        "anthropic-claude-v1" => Some(SealKind::AnthropicRedacted),
        "google-gemini-v1" => Some(SealKind::GeminiSignature),
        "openai-responses-v1" => Some(SealKind::OpenAiEncrypted),
        "bedrock-converse-v1" => Some(SealKind::BedrockSignature),
        "bedrock-redacted-v1" => Some(SealKind::BedrockRedacted),
        _ => None,
    }
}

#[cfg(test)]
#[path = "chat_deltas/tests.rs"]
mod tests;
