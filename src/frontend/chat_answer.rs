//! Writing a whole answer as a chat completion, and what its stream shares with it: usage and the reason to stop.

use bytes::Bytes;
use serde::Serialize;

use super::about::About;
use super::citations::Nested;
use super::extra_content::Extra;
use super::freeform;
use super::reasoning_details::Detail;
use crate::canonical::conversation::Call;
use crate::canonical::{Answer, Finish, Part, quoted, written};
use crate::units::{Tokens, Usage};

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    #[serde(serialize_with = "quoted::some_text")]
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty", serialize_with = "quoted::text")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Detail<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Nested<'a>>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Custom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra<'a>>,
}

#[derive(Serialize)]
struct Custom<'a> {
    name: &'a str,
    #[serde(serialize_with = "quoted::text")]
    input: String,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(serialize_with = "quoted::text")]
    arguments: &'a str,
}

/// What was used, as chat counts it: cached input stands inside the prompt, thinking inside the completion.
#[derive(Debug, Serialize)]
pub(super) struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the API's names")]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    /// Of what was read afresh: how much of a cached beginning was sound or images is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
}

impl WireUsage {
    pub(super) fn of(usage: &Usage) -> Self {
        let (prompt, completion) = (usage.input(), usage.output);
        // Most prompts and answers are text alone, and tell nothing else.
        let some = |tokens: Tokens| (tokens > Tokens::ZERO).then_some(tokens.get());
        Self {
            prompt_tokens: prompt.get(),
            completion_tokens: completion.get(),
            total_tokens: (prompt + completion).get(),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cache_read.get(),
                cache_write_tokens: usage.cache_write.get(),
                audio_tokens: some(usage.audio_input),
                image_tokens: some(usage.image_input),
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning.get(),
                audio_tokens: some(usage.audio_output),
            },
        }
    }
}

/// Whether there are calls to answer is read from the content: providers say `stop` with calls in the answer, and agents then
/// stop. What was cut or held back is no call to answer (dialects.md 5.3).
pub(super) fn finish_reason(finish: &Finish, calls: bool) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls if calls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls => "stop",
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
    }
}

/// So much of our id goes into the id of a call, all of it without its dashes: beyond 40 characters OpenAI takes none.
const ID_CHARS: usize = 32;

/// The id of a call; one that has none gets one that no other call has, of this answer or of another.
pub(super) fn call_id(id: &str, about: &About, nth: usize) -> String {
    if !id.is_empty() {
        return id.to_owned();
    }
    let ours: String = about.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(ID_CHARS).collect();
    format!("call_{ours}_{nth}")
}

/// Thoughts of one answer are one text, as a model's own are that are parted by nothing but time: with a blank line between.
pub(super) const BETWEEN_THOUGHTS: &str = "\n\n";

/// The body of a whole answer.
pub(super) fn body(answer: &Answer, about: &About) -> Bytes {
    let calls: Vec<WireCall<'_>> = answer.calls().enumerate().map(|(nth, call)| write_call(call, about, nth)).collect();
    let choice = Choice {
        index: 0,
        logprobs: None,
        finish_reason: finish_reason(&answer.finish, !calls.is_empty()),
        message: message(answer, calls, about),
    };
    let body = Body {
        id: answer.id.as_deref().unwrap_or(&about.id),
        object: "chat.completion",
        created: about.created,
        model: answer.model.as_deref().unwrap_or(&about.model),
        choices: [choice],
        usage: answer.usage.as_ref().map(WireUsage::of),
    };
    // Strings and numbers: nothing in it can fail to become JSON.
    written(&body, answer.said_bytes()).unwrap_or_default()
}

/// `content` is null where there is something else instead.
fn message<'a>(answer: &'a Answer, tool_calls: Vec<WireCall<'a>>, about: &About) -> Message<'a> {
    let (mut content, mut refusal, mut reasoning_content) = (String::new(), String::new(), String::new());
    let (mut reasoning_details, mut index, mut nth, mut extra_content) = (Vec::new(), 0, 0, None);
    for part in &answer.parts {
        match part {
            Part::Text(text) => content.push_str(&text.text),
            Part::Refusal(text) => refusal.push_str(text),
            Part::Thought(thought) => {
                if !reasoning_content.is_empty() && !thought.text.is_empty() {
                    reasoning_content.push_str(BETWEEN_THOUGHTS);
                }
                reasoning_content.push_str(&thought.text);
                if let Some(seal) = &thought.seal {
                    reasoning_details.extend(Detail::of_thought(&thought.text, seal, index));
                    index += 1;
                    extra_content = Extra::of(Some(seal)).or(extra_content);
                }
            }
            Part::Call(call) => {
                if let Some(seal) = &call.seal {
                    reasoning_details.push(Detail::of_call(call_id(&call.id, about, nth), seal, index));
                    index += 1;
                }
                nth += 1;
            }
            // No model answers with these.
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Result(_) => {}
        }
    }
    let instead = !tool_calls.is_empty() || !refusal.is_empty();
    Message {
        role: "assistant",
        content: (!content.is_empty() || !instead).then_some(content),
        refusal: (!refusal.is_empty()).then_some(refusal),
        reasoning_content,
        reasoning_details,
        tool_calls,
        extra_content,
        annotations: answer.cited.iter().map(|(_, citation)| Nested::of(citation)).collect(),
    }
}

fn write_call<'a>(call: &'a Call, about: &'a About, nth: usize) -> WireCall<'a> {
    let (id, extra_content) = (call_id(&call.id, about, nth), Extra::of(call.seal.as_ref()));
    if let Some(own) = about.own_tool(&call.name).filter(|own| own.custom) {
        let custom = Some(Custom { name: &own.name, input: freeform::input(&call.arguments) });
        return WireCall { id, kind: "custom", function: None, custom, extra_content };
    }
    let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
    let function = Some(Function { name: &call.name, arguments });
    WireCall { id, kind: "function", function, custom: None, extra_content }
}

#[cfg(test)]
mod tests;
