//! Writing a conversation as a request for Responses (dialects.md 2 and 5). Nothing is stored at the provider, so thoughts are asked
//! for encrypted, to be sent back, where the site can do that.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::chat_request::SILENCE;
use super::items::{self, Item};
use crate::canonical::conversation::{AnswerSchema, Effort, Format, Json, ThinkingWish, Tool, ToolChoice};
use crate::canonical::request::ReasoningWish;
use crate::canonical::{Conversation, Shape, Untranslatable, written};
use crate::catalog::Reasoning;
use crate::dialect::hints::Told;
use crate::dialect::{Outgoing, SEALS_WANTED};
use crate::units::Tokens;

/// A schema for a tool that takes nothing.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;
/// A schema must have a name here.
const SOME_NAME: &str = "answer";
/// Longer names of users are refused.
const USER_CHARS: usize = 64;

/// The body that goes out.
pub(super) fn body(conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
    let sampling = &conversation.sampling;
    if !sampling.stop.is_empty() {
        return Err(untranslatable("a stop sequence"));
    }
    let no_parameters: Box<RawValue> = serde_json::from_str(NO_PARAMETERS).map_err(|e| untranslatable(e.to_string()))?;
    let (instructions, input) = items::of(conversation, out)?;
    if input.is_empty() {
        return Err(untranslatable(SILENCE));
    }
    let bounds = [conversation.output_bound, out.output_bound];
    let tools = &conversation.tools;
    let seals = out.quirks.encrypted_reasoning && out.reasoning != Reasoning::Never;
    let drawn = |json| raw(json).filter(|_| out.draws(conversation.thinking.wish));
    let Told { prompt_cache_key, service_tier, verbosity } = Told::of(&conversation.hints, out);
    let body = Body {
        model: out.upstream_model,
        instructions,
        input,
        tools: (!tools.is_empty()).then(|| tools.iter().map(|tool| Declared::of(tool, &no_parameters)).collect()),
        tool_choice: if tools.is_empty() { None } else { Choice::of(&conversation.tool_choice) },
        parallel_tool_calls: conversation.parallel_calls.filter(|_| !tools.is_empty()),
        text: TextConfig::of(&conversation.format, verbosity),
        reasoning: effort(conversation.thinking, out).map(|effort| Depth { effort }),
        temperature: drawn(sampling.temperature.as_ref()),
        top_p: drawn(sampling.top_p.as_ref()),
        max_output_tokens: bounds.into_iter().flatten().min().map(Tokens::get),
        stream: conversation.stream,
        store: false,
        include: seals.then_some([SEALS_WANTED]),
        user: conversation.user.as_deref().filter(|user| user.chars().count() <= USER_CHARS),
        prompt_cache_key,
        service_tier,
    };
    // Strings and checked JSON can be written; that they can is not seen in the types.
    written(&body, out.client_bytes).map_err(|error| untranslatable(format!("the request ({error})")))
}

pub(super) fn untranslatable(what: impl Into<String>) -> Untranslatable {
    Untranslatable { what: what.into(), shape: Shape::OpenAiResponses.word() }
}

fn raw(json: Option<&Json>) -> Option<&RawValue> {
    json.map(Json::raw).filter(|raw| raw.get() != "null")
}

#[derive(Debug, Serialize)]
struct Body<'c> {
    model: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: Vec<Item<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Declared<'c>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextConfig<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Depth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'c str>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Declared<'c> {
    Function {
        name: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'c str>,
        parameters: &'c RawValue,
        strict: bool,
    },
}

impl<'c> Declared<'c> {
    /// Where nothing is said a schema would be strict here, and in the other shapes it is not.
    fn of(tool: &'c Tool, no_parameters: &'c RawValue) -> Self {
        let Tool { name, description, parameters, strict, cached: _ } = tool;
        let parameters = parameters.as_ref().map(Json::raw).filter(|schema| !matches!(schema.get(), "null" | "{}"));
        let (description, parameters) = (description.as_deref(), parameters.unwrap_or(no_parameters));
        Self::Function { name, description, parameters, strict: strict.unwrap_or(false) }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Choice<'c> {
    Word(&'static str),
    One {
        #[serde(rename = "type")]
        kind: &'static str,
        name: &'c str,
    },
}

impl<'c> Choice<'c> {
    fn of(choice: &'c ToolChoice) -> Option<Self> {
        match choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Self::Word("none")),
            ToolChoice::Required => Some(Self::Word("required")),
            ToolChoice::Named(name) => Some(Self::One { kind: "function", name }),
        }
    }
}

#[derive(Debug, Serialize)]
struct TextConfig<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<AnswerFormat<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'c str>,
}

impl<'c> TextConfig<'c> {
    fn of(format: &'c Format, verbosity: Option<&'c str>) -> Option<Self> {
        let format = AnswerFormat::of(format);
        (format.is_some() || verbosity.is_some()).then_some(Self { format, verbosity })
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AnswerFormat<'c> {
    JsonObject,
    JsonSchema {
        name: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'c str>,
        schema: &'c RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

impl<'c> AnswerFormat<'c> {
    fn of(format: &'c Format) -> Option<Self> {
        match format {
            Format::Text => None,
            Format::JsonObject => Some(Self::JsonObject),
            Format::JsonSchema(AnswerSchema { name, description, schema, strict }) => Some(Self::JsonSchema {
                name: if name.is_empty() { SOME_NAME } else { name },
                description: description.as_deref(),
                schema: schema.raw(),
                strict: *strict,
            }),
        }
    }
}

#[derive(Debug, Serialize)]
struct Depth {
    effort: &'static str,
}

/// How hard to think, in words that all sites know which know any; nothing where nothing was said. Some models think only when they
/// are told how hard, so a wish alone is told as the middle. A summary is not asked for: `OpenAI` refuses it to accounts that are
/// not verified.
fn effort(thinking: ThinkingWish, out: &Outgoing<'_>) -> Option<&'static str> {
    let ThinkingWish { wish, effort, budget, off_by_default } = thinking;
    if out.reasoning == Reasoning::Never {
        return None;
    }
    if wish == ReasoningWish::Off || off_by_default && out.reasoning == Reasoning::Switchable {
        return Some("none");
    }
    let asked = (wish == ReasoningWish::On).then_some(Effort::Medium);
    let fitting = |effort: Effort| out.steering.word(effort).unwrap_or(effort.clamp(Effort::Low, Effort::High));
    effort.or(budget.map(Effort::of_budget)).or(asked).map(|effort| fitting(effort).word())
}

#[cfg(test)]
mod tests;
