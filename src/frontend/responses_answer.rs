//! Writing a whole answer as a response, and what its stream shares with it: the items, the response around them with what it
//! repeats of the request, and usage.
//!
//! The ids of a response and of its items are made from our own id of the request, so that each event of a stream names the same
//! response. The one that tells of a failure names the response that the client has seen begin, which may be the provider's.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::about::About;
use super::chat_answer::call_id;
use super::citations::Flat;
use super::errors::{ClientError, ErrorKind};
use super::seen::Seen;
use super::{freeform, seals};
use crate::canonical::conversation::{Call, Seal, Thought};
use crate::canonical::{Answer, Finish, Part, written};
use crate::units::Usage;

/// How far a response or an item has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    /// That of an answer which has ended so.
    pub(super) fn of(finish: &Finish) -> Self {
        if reason(finish).is_some() { Status::Incomplete } else { Status::Completed }
    }
}

/// Why an answer is not all that the model would have said (dialects.md 5.3).
fn reason(finish: &Finish) -> Option<&'static str> {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls => None,
        Finish::Length => Some("max_output_tokens"),
        Finish::Filtered => Some("content_filter"),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    status: Status,
    background: bool,
    error: Option<WireError<'a>>,
    incomplete_details: Option<IncompleteDetails>,
    model: &'a str,
    output: Vec<Item<'a>>,
    usage: Option<WireUsage>,
    previous_response_id: Option<()>,
    store: bool,
    truncation: &'static str,
    #[serde(flatten)]
    echo: Echo<'a>,
}

#[derive(Debug, Serialize)]
struct WireError<'a> {
    code: &'static str,
    message: &'a str,
    param: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    tokenbroker: Ours<'a>,
}

/// What their words do not tell.
#[derive(Debug, Serialize)]
struct Ours<'a> {
    code: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

/// What was used, as Responses count it: cached input stands inside the input, thinking inside the output.
#[derive(Debug, Serialize)]
struct WireUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl WireUsage {
    fn of(usage: &Usage) -> Self {
        let (input, output) = (usage.input(), usage.output);
        Self {
            input_tokens: input.get(),
            input_tokens_details: InputDetails {
                cached_tokens: usage.cache_read.get(),
                cache_write_tokens: usage.cache_write.get(),
            },
            output_tokens: output.get(),
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning.get() },
            total_tokens: (input + output).get(),
        }
    }
}

/// What the client asked, read again from its request.
#[derive(Debug, Default, Deserialize)]
struct Asked<'b> {
    #[serde(borrow)]
    instructions: Option<&'b RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'b RawValue>,
    #[serde(borrow)]
    metadata: Option<&'b RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'b RawValue>,
    #[serde(borrow)]
    safety_identifier: Option<&'b RawValue>,
    #[serde(borrow)]
    temperature: Option<&'b RawValue>,
    #[serde(borrow)]
    text: Option<&'b RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'b RawValue>,
    #[serde(borrow)]
    tools: Option<&'b RawValue>,
    #[serde(borrow)]
    top_p: Option<&'b RawValue>,
    #[serde(borrow)]
    user: Option<&'b RawValue>,
}

/// The client's own words in the answer. It may write them on many lines, an event has one.
type Words<'a> = Cow<'a, RawValue>;

fn on_one_line(raw: &RawValue) -> Words<'_> {
    // Within a text a line's end is escaped, so each that stands there plainly is between two words of JSON.
    let joined = raw.get().contains(['\n', '\r']).then(|| raw.get().replace(['\n', '\r'], " "));
    joined.and_then(|line| RawValue::from_string(line).ok()).map_or(Cow::Borrowed(raw), Cow::Owned)
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Or<'a, D> {
    Said(Words<'a>),
    Default(D),
}

impl<'a, D> Or<'a, D> {
    fn of(said: Option<&'a RawValue>, default: D) -> Self {
        said.map_or(Or::Default(default), |said| Or::Said(on_one_line(said)))
    }
}

/// What a response repeats of its request.
#[derive(Debug, Serialize)]
struct Echo<'a> {
    instructions: Option<Words<'a>>,
    max_output_tokens: Option<Words<'a>>,
    metadata: Or<'a, NoMembers>,
    parallel_tool_calls: bool,
    prompt_cache_key: Option<Words<'a>>,
    reasoning: Option<Words<'a>>,
    safety_identifier: Option<Words<'a>>,
    temperature: Option<Words<'a>>,
    text: Or<'a, TextConfig>,
    tool_choice: Or<'a, &'static str>,
    tools: Or<'a, [(); 0]>,
    top_p: Option<Words<'a>>,
    user: Option<Words<'a>>,
}

#[derive(Debug, Serialize)]
struct NoMembers {}

#[derive(Debug, Serialize)]
struct TextConfig {
    format: Format,
}

#[derive(Debug, Serialize)]
struct Format {
    #[serde(rename = "type")]
    kind: &'static str,
}

impl<'a> Echo<'a> {
    fn of(request: &'a [u8]) -> Self {
        // It was read before; what cannot be read is not repeated.
        let asked: Asked<'a> = serde_json::from_slice(request).unwrap_or_default();
        let said = |raw: Option<&'a RawValue>| raw.map(on_one_line);
        Self {
            instructions: said(asked.instructions),
            max_output_tokens: said(asked.max_output_tokens),
            metadata: Or::of(asked.metadata, NoMembers {}),
            parallel_tool_calls: asked.parallel_tool_calls.unwrap_or(true),
            prompt_cache_key: said(asked.prompt_cache_key),
            reasoning: said(asked.reasoning),
            safety_identifier: said(asked.safety_identifier),
            temperature: said(asked.temperature),
            text: Or::of(asked.text, TextConfig { format: Format { kind: "text" } }),
            tool_choice: Or::of(asked.tool_choice, "auto"),
            tools: Or::of(asked.tools, []),
            top_p: said(asked.top_p),
            user: said(asked.user),
        }
    }
}

/// A piece of the output.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Reasoning {
        id: String,
        summary: Vec<Content<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
    Message {
        id: String,
        status: Status,
        role: &'static str,
        content: Vec<Content<'a>>,
    },
    FunctionCall {
        id: String,
        call_id: String,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        arguments: &'a str,
        status: Status,
    },
    CustomToolCall {
        id: String,
        call_id: String,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        input: String,
        status: Status,
    },
}

/// A part of an item.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content<'a> {
    SummaryText { text: &'a str },
    OutputText { text: &'a str, annotations: Vec<Flat<'a>>, logprobs: [(); 0] },
    Refusal { refusal: &'a str },
}

impl<'a> Content<'a> {
    /// The part of a message that the part at this place of an answer is; `None` for one that stands in no message.
    pub(super) fn of(answer: &'a Answer, at: usize) -> Option<Self> {
        match answer.parts.get(at)? {
            Part::Text(text) => Some(Content::OutputText { text: &text.text, annotations: Flat::all(answer, at), logprobs: [] }),
            Part::Refusal(refusal) => Some(Content::Refusal { refusal }),
            Part::Thought(_) | Part::Call(_) | Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Result(_) => None,
        }
    }

    pub(super) const fn text(text: &'a str) -> Self {
        Content::OutputText { text, annotations: Vec::new(), logprobs: [] }
    }
}

/// Which parts of an answer an item is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    Thought(usize),
    /// Texts and refusals that follow each other.
    Message(Range<usize>),
    /// The seal of the call that follows.
    SealOf(usize),
    /// The call at this place, the how manieth it is.
    Call(usize, usize),
}

/// Where each item's parts stand, in order.
fn spans(parts: &[Part]) -> Vec<Span> {
    let (mut spans, mut calls) = (Vec::new(), 0);
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Text(_) | Part::Refusal(_) => match spans.last_mut() {
                Some(Span::Message(range)) => range.end = at + 1,
                _ => spans.push(Span::Message(at..at + 1)),
            },
            Part::Thought(_) => spans.push(Span::Thought(at)),
            Part::Call(call) => {
                spans.extend(call.seal.as_ref().map(|_| Span::SealOf(at)));
                spans.push(Span::Call(at, calls));
                calls += 1;
            }
            // No model answers with these.
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Result(_) => {}
        }
    }
    spans
}

/// The id of the item at this place of the output.
pub(super) fn item_id(span: &Span, index: usize, parts: &[Part], about: &About) -> String {
    let begin = match span {
        Span::Thought(_) | Span::SealOf(_) => "rs",
        Span::Message(_) => "msg",
        Span::Call(at, _) => match parts.get(*at) {
            Some(Part::Call(call)) if about.is_custom(&call.name) => "ctc",
            _ => "fc",
        },
    };
    format!("{begin}_{}_{index}", about.id)
}

/// The item at this place of the output.
pub(super) fn item<'a>(span: &Span, index: usize, answer: &'a Answer, status: Status, about: &'a About) -> Option<Item<'a>> {
    let parts = &answer.parts[..];
    let id = item_id(span, index, parts, about);
    let sealed = |seal: &Option<Seal>| Some(seal.as_ref().map_or_else(|| seals::NONE.to_owned(), seals::in_item));
    Some(match (span, parts) {
        (Span::Message(range), _) => {
            let content = range.clone().filter_map(|at| Content::of(answer, at)).collect();
            Item::Message { id, status, role: "assistant", content }
        }
        (Span::Thought(at) | Span::SealOf(at) | Span::Call(at, _), _) => match (span, parts.get(*at)?) {
            (Span::Thought(_), Part::Thought(Thought { text, seal })) => {
                let summary = if text.is_empty() { Vec::new() } else { vec![Content::SummaryText { text }] };
                Item::Reasoning { id, summary, encrypted_content: sealed(seal) }
            }
            (Span::SealOf(_), Part::Call(Call { seal, .. })) => {
                Item::Reasoning { id, summary: Vec::new(), encrypted_content: sealed(seal) }
            }
            (Span::Call(_, nth), Part::Call(call)) => {
                let (call_id, own) = (call_id(&call.id, about, *nth), about.own_tool(&call.name));
                let name = own.map_or(call.name.as_str(), |own| &own.name);
                let namespace = own.and_then(|own| own.namespace.as_deref());
                if own.is_some_and(|own| own.custom) {
                    let input = freeform::input(&call.arguments);
                    Item::CustomToolCall { id, call_id, name, namespace, input, status }
                } else {
                    let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
                    Item::FunctionCall { id, call_id, name, namespace, arguments, status }
                }
            }
            _ => return None,
        },
    })
}

/// All items of an answer. Where it was cut, it is the last one that is incomplete.
fn items<'a>(answer: &'a Answer, about: &'a About) -> Vec<Item<'a>> {
    let (spans, ended) = (spans(&answer.parts), Status::of(&answer.finish));
    let last = spans.len().saturating_sub(1);
    let status = |index| if index == last { ended } else { Status::Completed };
    let all = spans.iter().enumerate();
    all.filter_map(|(index, span)| item(span, index, answer, status(index), about)).collect()
}

impl<'a> Response<'a> {
    /// One that has begun.
    pub(super) fn begun(model: &'a str, about: &'a About) -> Self {
        Self {
            id: format!("resp_{}", about.id),
            object: "response",
            created_at: about.created,
            status: Status::InProgress,
            background: false,
            error: None,
            incomplete_details: None,
            model,
            output: Vec::new(),
            usage: None,
            previous_response_id: None,
            store: false,
            truncation: "disabled",
            echo: Echo::of(&about.asked),
        }
    }

    /// One that has ended as it should.
    pub(super) fn ended(answer: &'a Answer, about: &'a About) -> Self {
        Self {
            status: Status::of(&answer.finish),
            incomplete_details: reason(&answer.finish).map(|reason| IncompleteDetails { reason }),
            output: items(answer, about),
            usage: answer.usage.as_ref().map(WireUsage::of),
            ..Self::begun(answer.model.as_deref().unwrap_or(&about.model), about)
        }
    }

    /// One that has broken off.
    pub(super) fn failed(error: &'a ClientError, about: &'a About, seen: &Seen) -> Self {
        let told = WireError {
            code: code(error),
            message: &error.message,
            param: error.param.as_deref(),
            kind: error.kind.word(),
            tokenbroker: Ours { code: error.code.as_deref(), extra: &error.extra },
        };
        let begun = Self::begun(&about.model, about);
        let id = seen.id().map_or_else(|| begun.id.clone(), str::to_owned);
        Self { id, status: Status::Failed, error: Some(told), ..begun }
    }
}

/// The code of a response that failed, of those that OpenAI's API has (`ResponseErrorCode`, and the one that it tells of a
/// conversation which is too long, for agents look for it). Agents ask again by themselves where it is the server's or a limit.
fn code(error: &ClientError) -> &'static str {
    const TOO_LONG: &str = "context_length_exceeded";
    match error.kind {
        ErrorKind::RateLimit => "rate_limit_exceeded",
        ErrorKind::InvalidRequest if error.code.as_deref() == Some(TOO_LONG) => TOO_LONG,
        ErrorKind::InvalidRequest => "invalid_prompt",
        ErrorKind::Authentication | ErrorKind::Permission | ErrorKind::InsufficientQuota | ErrorKind::Server => "server_error",
    }
}

/// The body of a whole answer.
pub(super) fn body(answer: &Answer, about: &About) -> Bytes {
    // Strings, numbers and what was JSON before: nothing in it can fail to become JSON.
    written(&Response::ended(answer, about), answer.said_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
