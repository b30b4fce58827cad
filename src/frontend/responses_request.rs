//! Reading a request of Responses into a conversation in nobody's words: its top level. The items are `responses_items.rs`'s, the
//! tools `responses_tools.rs`'s.
//!
//! A member that nobody else has a word for is refused where the answer would be of another kind without it, else told by its
//! name ([`unsaid`]). Which summaries of thoughts are wanted is neither: thoughts come as summaries in any case.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, cannot, unreadable};
use super::hints;
use super::responses_items::{Item, Turns};
use super::responses_tools::{Tools, WireTool};
use super::unsaid::Unsaid;
use crate::canonical::conversation::{AnswerSchema, Effort, Format, Json, Role, Sampling, ThinkingWish};
use crate::canonical::unanswered::answered;
use crate::canonical::{Conversation, Feature, Part, ReasoningWish, Request, Untranslatable};

/// Members that are read or refused, here or when the request was first read.
const KNOWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "temperature",
    "top_p",
    "top_logprobs",
    "previous_response_id",
    "background",
    "truncation",
    "conversation",
    "prompt",
    "max_tool_calls",
    "context_management",
    "moderation",
    "service_tier",
    "tokenbroker",
];

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    input: Content<Item<'b>>,
    instructions: Option<String>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'b>>>,
    #[serde(borrow)]
    tool_choice: Option<&'b RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    reasoning: Option<Reasoning<'b>>,
    #[serde(borrow)]
    text: Option<TextConfig<'b>>,
    temperature: Option<Json>,
    top_p: Option<Json>,
    user: Option<String>,
    safety_identifier: Option<String>,
    #[serde(borrow)]
    truncation: Option<Cow<'b, str>>,
    #[serde(borrow)]
    prompt: Option<&'b RawValue>,
    #[serde(borrow)]
    max_tool_calls: Option<&'b RawValue>,
    #[serde(borrow)]
    context_management: Option<&'b RawValue>,
    #[serde(borrow)]
    moderation: Option<&'b RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'b RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Reasoning<'b> {
    #[serde(borrow)]
    effort: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
struct TextConfig<'b> {
    #[serde(borrow)]
    format: Option<WireFormat<'b>>,
    #[serde(borrow)]
    verbosity: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct WireFormat<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    name: Option<String>,
    description: Option<String>,
    schema: Option<Json>,
    strict: Option<bool>,
}

/// What the client asks, in nobody's words.
pub(super) fn conversation(request: &Request) -> Result<Conversation, Untranslatable> {
    let (body, unsaid) = Unsaid::beside::<Body<'_>>(&request.body, KNOWN).map_err(|error| unreadable(&error))?;
    body.refuse_what_only_responses_have(request)?;
    let tools = Tools::read(body.tools, body.tool_choice)?;
    let mut turns = Turns::naming(&tools.names);
    turns.system.extend(body.instructions.filter(|text| !text.is_empty()).map(Part::text));
    match body.input {
        Content::Text(text) => turns.say(Role::User, Part::text(text)),
        Content::Parts(items) => {
            for (at, item) in items.into_iter().enumerate() {
                turns.add(at, item)?;
            }
        }
    }
    let verbosity = body.text.as_ref().and_then(|text| text.verbosity);
    let (system, said) = (turns.system, turns.said);
    Ok(Conversation {
        system,
        turns: answered(said).into(),
        tools: tools.offered,
        own_tools: tools.names.own,
        tool_choice: tools.choice,
        parallel_calls: body.parallel_tool_calls,
        format: body.text.and_then(|text| text.format).map_or(Ok(Format::Text), read_format)?,
        thinking: thinking(request.reasoning, body.reasoning),
        sampling: Sampling { temperature: body.temperature, top_p: body.top_p, ..Sampling::default() },
        output_bound: request.output_bound,
        stream: request.stream,
        user: body.safety_identifier.or(body.user),
        hints: hints::read(body.prompt_cache_key, body.service_tier, verbosity),
        unsaid: unsaid.and(&tools.unsaid),
    })
}

impl Body<'_> {
    fn refuse_what_only_responses_have(&self, request: &Request) -> Result<(), Untranslatable> {
        let says = |value: Option<&RawValue>| value.is_some_and(|value| !matches!(value.get(), "[]" | "{}"));
        let wanted = [
            (self.truncation.as_deref().is_some_and(|word| word != "disabled"), "`truncation` other than `disabled`"),
            (self.prompt.is_some(), "`prompt`"),
            (self.max_tool_calls.is_some(), "`max_tool_calls`"),
            (says(self.context_management), "`context_management`"),
            (self.moderation.is_some(), "`moderation`"),
            (request.features.contains(Feature::Logprobs), "`top_logprobs`"),
        ];
        wanted.into_iter().find(|(is, _)| *is).map_or(Ok(()), |(_, what)| Err(cannot(what)))
    }
}

fn thinking(wish: ReasoningWish, reasoning: Option<Reasoning<'_>>) -> ThinkingWish {
    let effort = reasoning.and_then(|reasoning| reasoning.effort).and_then(|word| Effort::from_word(&word));
    ThinkingWish { wish, effort, ..ThinkingWish::default() }
}

fn read_format(format: WireFormat<'_>) -> Result<Format, Untranslatable> {
    let WireFormat { kind, name, description, schema, strict } = format;
    match (&*kind, schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::JsonObject),
        ("json_schema", Some(schema)) => {
            Ok(Format::JsonSchema(AnswerSchema { name: name.unwrap_or_default(), description, schema, strict }))
        }
        ("json_schema", None) => Err(cannot("`text.format` without a schema")),
        (kind, _) => Err(cannot(format!("`text.format` of type `{kind}`"))),
    }
}

#[cfg(test)]
mod tests;
