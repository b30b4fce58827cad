//! Writing a conversation as a request for chat completions (dialects.md 1 and 5).

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Outgoing;
use super::chat_messages::{self, Message};
use super::hints::Told;
use crate::canonical::conversation::{
    AnswerSchema, BEGUN, Effort, Format, Json, Part, Role, ThinkingWish, Tool, ToolChoice, Turn,
};
use crate::canonical::request::ReasoningWish;
use crate::canonical::{Conversation, Shape, Untranslatable, written};
use crate::catalog::Reasoning;
use crate::catalog::capability::{OutputBoundField, StreamUsage, ThinkingEffort, ThinkingSwitch};
use crate::units::Tokens;

/// More texts than these cannot end an answer (dialects.md 1.1).
const MOST_STOPS: usize = 4;
/// A schema for a tool that takes nothing: some sites refuse one without any.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;
/// A schema must have a name here.
const SOME_NAME: &str = "answer";

/// The body that goes out.
pub(super) fn body(conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
    let sampling = &conversation.sampling;
    let in_place = |turn: &&Turn| turn.role != Role::System || out.quirks.instructions_anywhere;
    let last = conversation.turns.iter().rfind(in_place);
    if last.is_some_and(|last| last.role == Role::Assistant && !last.parts.iter().any(is_call)) {
        return Err(untranslatable(BEGUN));
    }
    if sampling.stop.len() > MOST_STOPS {
        return Err(untranslatable(format!("more than {MOST_STOPS} stop sequences")));
    }
    let bound = [conversation.output_bound, out.output_bound].into_iter().flatten().min().map(Tokens::get);
    let (max_tokens, max_completion_tokens) = match out.quirks.output_bound {
        OutputBoundField::MaxCompletionTokens => (None, bound),
        OutputBoundField::MaxTokens | OutputBoundField::Either => (bound, None),
    };
    let no_parameters: Box<RawValue> = serde_json::from_str(NO_PARAMETERS).map_err(|e| untranslatable(e.to_string()))?;
    let tools = &conversation.tools;
    let drawn = |json| raw(json).filter(|_| out.draws(conversation.thinking.wish));
    let asks = conversation.stream && out.quirks.stream_usage == StreamUsage::OnRequest;
    let messages = chat_messages::messages(conversation, out)?;
    if messages.is_empty() {
        return Err(untranslatable(SILENCE));
    }
    let body = Body {
        model: out.upstream_model,
        messages,
        tools: (!tools.is_empty()).then(|| tools.iter().map(|tool| Declared::of(tool, &no_parameters)).collect()),
        tool_choice: if tools.is_empty() { None } else { Choice::of(&conversation.tool_choice, out) },
        parallel_tool_calls: conversation.parallel_calls.filter(|_| !tools.is_empty()),
        response_format: ResponseFormat::of(&conversation.format),
        temperature: drawn(sampling.temperature.as_ref()),
        top_p: drawn(sampling.top_p.as_ref()),
        seed: raw(sampling.seed.as_ref()).filter(|_| !out.quirks.random_seed),
        random_seed: raw(sampling.seed.as_ref()).filter(|_| out.quirks.random_seed),
        presence_penalty: drawn(sampling.presence_penalty.as_ref()),
        frequency_penalty: drawn(sampling.frequency_penalty.as_ref()),
        stop: (!sampling.stop.is_empty()).then_some(&sampling.stop),
        max_tokens,
        max_completion_tokens,
        stream: conversation.stream,
        stream_options: asks.then_some(StreamOptions { include_usage: true }),
        thinking: Switches::of(conversation.thinking, out),
        hints: Told::of(&conversation.hints, out),
        // Longer ones are refused.
        user: conversation.user.as_deref().filter(|user| user.len() <= 64),
    };
    // Strings and checked JSON can be written; that they can is not seen in the types.
    written(&body, out.client_bytes).map_err(|error| untranslatable(format!("the request ({error})")))
}

/// No API takes that, and nothing is made up for it.
pub(super) const SILENCE: &str = "a conversation in which nobody says anything";

pub(super) fn untranslatable(what: impl Into<String>) -> Untranslatable {
    Untranslatable { what: what.into(), shape: Shape::OpenAiChat.word() }
}

fn is_call(part: &Part) -> bool {
    matches!(part, Part::Call(_))
}

fn raw(json: Option<&Json>) -> Option<&RawValue> {
    json.map(Json::raw).filter(|raw| raw.get() != "null")
}

#[derive(Debug, Serialize)]
struct Body<'c> {
    model: &'c str,
    messages: Vec<Message<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Declared<'c>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'c Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    thinking: Switches,
    #[serde(flatten)]
    hints: Told<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'c str>,
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "function", rename_all = "snake_case")]
enum Declared<'c> {
    Function(Function<'c>),
}

#[derive(Debug, Serialize)]
struct Function<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    parameters: &'c RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'c> Declared<'c> {
    fn of(tool: &'c Tool, no_parameters: &'c RawValue) -> Self {
        let Tool { name, description, parameters, strict, cached: _ } = tool;
        let parameters = parameters.as_ref().map(Json::raw).filter(|schema| !matches!(schema.get(), "null" | "{}"));
        let (description, parameters) = (description.as_deref(), parameters.unwrap_or(no_parameters));
        Self::Function(Function { name, description, parameters, strict: *strict })
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Choice<'c> {
    Word(&'static str),
    One {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Named<'c>,
    },
}

#[derive(Debug, Serialize)]
struct Named<'c> {
    name: &'c str,
}

impl<'c> Choice<'c> {
    fn of(choice: &'c ToolChoice, out: &Outgoing<'_>) -> Option<Self> {
        match choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Self::Word("none")),
            ToolChoice::Required => Some(Self::Word(if out.quirks.required_is_any { "any" } else { "required" })),
            ToolChoice::Named(name) => Some(Self::One { kind: "function", function: Named { name } }),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'c> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'c> },
}

#[derive(Debug, Serialize)]
struct NamedSchema<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    schema: &'c RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'c> ResponseFormat<'c> {
    fn of(format: &'c Format) -> Option<Self> {
        match format {
            Format::Text => None,
            Format::JsonObject => Some(Self::JsonObject),
            Format::JsonSchema(AnswerSchema { name, description, schema, strict }) => {
                let name = if name.is_empty() { SOME_NAME } else { name };
                let (description, schema) = (description.as_deref(), schema.raw());
                Some(Self::JsonSchema { json_schema: NamedSchema { name, description, schema, strict: *strict } })
            }
        }
    }
}

/// Whether a model is told to think and not how deep, though that is said.
pub(super) fn loses_depth(thinking: ThinkingWish, out: &Outgoing<'_>) -> bool {
    let Switches { thinking: kind, chat_template_kwargs: arguments, reasoning_effort, .. } = Switches::of(thinking, out);
    let said = thinking.effort.is_some() || thinking.budget.is_some();
    said && thinking.wish != ReasoningWish::Off && (kind.is_some() || arguments.is_some()) && reasoning_effort.is_none()
}

/// How the site is told about thinking, as members of an object; empty where it is not told.
pub(super) fn thinking_members(thinking: ThinkingWish, out: &Outgoing<'_>) -> String {
    members(&Switches::of(thinking, out))
}

/// The same where the client has arguments for the template that stay: the members beside those, and what is added to those.
pub(super) fn thinking_beside_template(thinking: ThinkingWish, out: &Outgoing<'_>) -> (String, String) {
    let mut told = Switches::of(thinking, out);
    let added = told.chat_template_kwargs.take();
    (members(&told), added.as_ref().map(members).unwrap_or_default())
}

fn members(object: &impl Serialize) -> String {
    let told = serde_json::to_string(object).unwrap_or_default();
    told.strip_prefix('{').and_then(|told| told.strip_suffix('}')).unwrap_or_default().to_owned()
}

/// How the site is told about thinking: in one of these, none of which says anything where nothing was said.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Switches {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Depth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<TemplateArguments>,
}

/// Whether to think, by the two names that templates have for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct TemplateArguments {
    enable_thinking: bool,
    thinking: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Depth {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
}

impl Switches {
    fn of(thinking: ThinkingWish, out: &Outgoing<'_>) -> Self {
        let ThinkingWish { wish, effort, budget, off_by_default } = thinking;
        let on = thinking.is_said() && wish != ReasoningWish::Off;
        let off = wish == ReasoningWish::Off || off_by_default && out.quirks.thinking_switch.switches_off();
        let told = match out.reasoning {
            Reasoning::Never => false,
            Reasoning::Switchable => on || off,
            // It refuses to be switched off.
            Reasoning::Always => on,
        };
        if !told {
            return Self::default();
        }
        let (steering, by_words) = (&out.steering, out.steering.by_words());
        // Where it is not known which words a model takes, those that all sites know which know any.
        let fitting = |effort: Effort| steering.word(effort).unwrap_or(effort.clamp(Effort::Low, Effort::High));
        let word = effort.or(budget.map(Effort::of_budget)).filter(|_| on).map(|effort| fitting(effort).word());
        let tokens =
            budget.or(effort.map(Effort::budget)).filter(|_| on && !by_words).map(|tokens| steering.tokens(tokens).get());
        match out.quirks.thinking_switch {
            ThinkingSwitch::ReasoningEffort => Self { reasoning_effort: if on { word } else { Some("none") }, ..Self::default() },
            ThinkingSwitch::Thinking => {
                let kind = match (on, out.quirks.adaptive_thinking) {
                    (false, _) => "disabled",
                    (true, false) => "enabled",
                    (true, true) => "adaptive",
                };
                let effort = word.filter(|_| !steering.efforts.is_empty());
                match (effort, out.quirks.thinking_effort) {
                    (Some(_), ThinkingEffort::Instead) => Self { reasoning_effort: effort, ..Self::default() },
                    (Some(_), ThinkingEffort::Beside) => {
                        Self { thinking: Some(Kind { kind }), reasoning_effort: effort, ..Self::default() }
                    }
                    (None, _) | (Some(_), ThinkingEffort::Never) => Self { thinking: Some(Kind { kind }), ..Self::default() },
                }
            }
            ThinkingSwitch::EnableThinking => {
                let reasoning_effort = word.filter(|_| by_words);
                Self { enable_thinking: Some(on), thinking_budget: tokens, reasoning_effort, ..Self::default() }
            }
            ThinkingSwitch::Reasoning => {
                let depth = match (tokens.filter(|_| budget.is_some()), word) {
                    (Some(tokens), _) => Depth { max_tokens: Some(tokens), ..Depth::default() },
                    (None, Some(word)) => Depth { effort: Some(word), ..Depth::default() },
                    (None, None) => Depth { enabled: Some(on), ..Depth::default() },
                };
                Self { reasoning: Some(depth), ..Self::default() }
            }
            ThinkingSwitch::TemplateArguments => {
                let arguments = TemplateArguments { enable_thinking: on, thinking: on };
                let reasoning_effort = word.filter(|_| by_words);
                Self { chat_template_kwargs: Some(arguments), reasoning_effort, ..Self::default() }
            }
            ThinkingSwitch::None => Self::default(),
        }
    }
}

#[cfg(test)]
#[path = "chat_request/tests.rs"]
mod tests;
