//! Reading a chat request into a conversation in nobody's words: its top level. The turns are `chat_turns.rs`'s.
//!
//! Asked only for a backend of another shape, and of a request that was read once already: what that reading settled (bound,
//! choices, thinking) is taken from it. A member that nobody else has a word for is refused where the answer would be of another
//! kind without it, else told by its name ([`Unsaid`]).

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat_turns::{Message, Turns};
use super::content::{Content, cannot, unreadable};
use super::lifetime::{self, Mark};
use super::tool_names::ToolNames;
use super::top_level::string;
use super::unsaid::Unsaid;
use super::{freeform, hints};
use crate::canonical::conversation::{AnswerSchema, Effort, Format, Json, Sampling, ThinkingWish, Tool, ToolChoice};
use crate::canonical::unanswered::answered;
use crate::canonical::{Conversation, Feature, ReasoningWish, Request, Untranslatable};
use crate::units::Tokens;

/// What is told of a grammar that nobody enforces.
const GRAMMAR: &str = "tools.custom.format";
/// What is for the template of the model that writes its prompt.
const TEMPLATE_ARGUMENTS: &str = "chat_template_kwargs";
/// Members that are read or refused, here or when the request was first read.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "response_format",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "thinking_budget",
    "enable_thinking",
    TEMPLATE_ARGUMENTS,
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "service_tier",
    "verbosity",
    "tokenbroker",
];

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    messages: Vec<Message<'b>>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'b>>>,
    functions: Option<Vec<Function>>,
    #[serde(borrow)]
    tool_choice: Option<&'b RawValue>,
    #[serde(borrow)]
    function_call: Option<&'b RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'b>>,
    #[serde(borrow)]
    reasoning_effort: Option<Cow<'b, str>>,
    #[serde(borrow)]
    reasoning: Option<Thinking<'b>>,
    #[serde(borrow)]
    thinking: Option<Thinking<'b>>,
    thinking_budget: Option<u64>,
    temperature: Option<Json>,
    top_p: Option<Json>,
    top_k: Option<Json>,
    seed: Option<Json>,
    presence_penalty: Option<Json>,
    frequency_penalty: Option<Json>,
    stop: Option<Content<String>>,
    user: Option<String>,
    safety_identifier: Option<String>,
    #[serde(borrow)]
    prediction: Option<&'b RawValue>,
    #[serde(borrow)]
    web_search_options: Option<&'b RawValue>,
    #[serde(borrow)]
    logit_bias: Option<&'b RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'b RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'b RawValue>,
    #[serde(borrow)]
    verbosity: Option<&'b RawValue>,
    #[serde(borrow)]
    cache_control: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct WireTool<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    function: Option<Function>,
    #[serde(borrow)]
    custom: Option<Custom<'b>>,
    cache_control: Option<Mark>,
}

/// A tool that takes a text as it is.
#[derive(Deserialize)]
struct Custom<'b> {
    name: String,
    description: Option<String>,
    #[serde(borrow)]
    format: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Json>,
    strict: Option<bool>,
    cache_control: Option<Mark>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    function: Option<Named>,
    custom: Option<Named>,
    #[serde(borrow)]
    allowed_tools: Option<Allowed<'b>>,
}

#[derive(Deserialize)]
struct Allowed<'b> {
    #[serde(borrow)]
    mode: Option<Cow<'b, str>>,
    #[serde(borrow)]
    tools: Vec<Choice<'b>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ResponseFormat<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    json_schema: Option<Schema>,
}

#[derive(Deserialize)]
struct Schema {
    name: Option<String>,
    description: Option<String>,
    #[serde(rename = "schema")]
    written: Option<Json>,
    strict: Option<bool>,
}

/// How much to think, beside whether to: the words of several servers.
#[derive(Deserialize)]
pub(super) struct Thinking<'b> {
    #[serde(borrow)]
    effort: Option<Cow<'b, str>>,
    budget_tokens: Option<u64>,
    max_tokens: Option<u64>,
}

/// What the client asks, in nobody's words.
pub(super) fn conversation(request: &Request) -> Result<Conversation, Untranslatable> {
    let (body, unsaid) = Unsaid::beside::<Body<'_>>(&request.body, KNOWN).map_err(|error| unreadable(&error))?;
    body.refuse_what_only_chat_has(request)?;
    let thinking = body.thinking(request.reasoning);
    let mut tools = read_tools(body.tools, body.functions)?;
    // Whether to think is said; templates of other sites take nothing else.
    let template = request.members.thinking.as_ref().and_then(|said| said.template.as_ref());
    tools.unsaid.extend(template.filter(|template| template.more).map(|_| TEMPLATE_ARGUMENTS));
    let tool_choice = match (body.tool_choice, body.function_call) {
        (Some(choice), _) => read_choice("tool_choice", choice, &tools.names, &mut tools.offered)?,
        (None, Some(call)) => read_choice("function_call", call, &tools.names, &mut tools.offered)?,
        (None, None) => ToolChoice::Auto,
    };
    let mut turns = Turns::naming(&tools.names);
    for (at, message) in body.messages.into_iter().enumerate() {
        turns.add(at, message)?;
    }
    let (mut system, mut said) = (turns.system, turns.said);
    if let Some(lifetime) = lifetime::read(body.cache_control) {
        lifetime::mark_last(lifetime, &mut said, &mut system, &mut tools.offered);
    }
    Ok(Conversation {
        system,
        turns: answered(said).into(),
        tools: tools.offered,
        own_tools: tools.names.own,
        tool_choice,
        parallel_calls: body.parallel_tool_calls,
        format: body.response_format.map_or(Ok(Format::Text), read_format)?,
        thinking,
        sampling: Sampling {
            temperature: body.temperature,
            top_p: body.top_p,
            top_k: body.top_k,
            seed: body.seed,
            presence_penalty: body.presence_penalty,
            frequency_penalty: body.frequency_penalty,
            stop: read_stop(body.stop),
        },
        output_bound: request.output_bound,
        stream: request.stream,
        user: body.safety_identifier.or(body.user),
        hints: hints::read(body.prompt_cache_key, body.service_tier, body.verbosity),
        unsaid: unsaid.and(&tools.unsaid),
    })
}

impl Body<'_> {
    fn refuse_what_only_chat_has(&self, request: &Request) -> Result<(), Untranslatable> {
        let says = |value: Option<&RawValue>| value.is_some_and(|value| !matches!(value.get(), "{}" | "false"));
        let wanted = [
            (request.choices > 1, "`n` above 1"),
            (request.features.contains(Feature::Logprobs), "`logprobs`"),
            (request.features.contains(Feature::AudioOutput), "`modalities` with audio"),
            (self.prediction.is_some(), "`prediction`"),
            (self.web_search_options.is_some(), "`web_search_options`"),
            // Its keys are tokens of one model's vocabulary.
            (says(self.logit_bias), "`logit_bias`"),
        ];
        wanted.into_iter().find(|(is, _)| *is).map_or(Ok(()), |(_, what)| Err(cannot(what)))
    }

    fn thinking(&self, wish: ReasoningWish) -> ThinkingWish {
        let objects = [self.thinking.as_ref(), self.reasoning.as_ref()];
        thinking_wish(wish, self.reasoning_effort.as_deref(), objects, self.thinking_budget)
    }
}

/// `wish` is what all that is said comes to; a budget of nothing says that there is to be none.
pub(super) fn thinking_wish(
    wish: ReasoningWish,
    effort: Option<&str>,
    objects: [Option<&Thinking<'_>>; 2],
    budget: Option<u64>,
) -> ThinkingWish {
    let objects = || objects.into_iter().flatten();
    let nested = objects().find_map(|thinking| thinking.budget_tokens.or(thinking.max_tokens));
    let budget = budget.or(nested).map(Tokens::new);
    if wish == ReasoningWish::Off || budget == Some(Tokens::ZERO) {
        return ThinkingWish { wish: ReasoningWish::Off, ..ThinkingWish::default() };
    }
    let words = effort.into_iter().chain(objects().filter_map(|thinking| thinking.effort.as_deref()));
    let effort = words.into_iter().find_map(Effort::from_word);
    ThinkingWish { wish, effort, budget, off_by_default: false }
}

/// What may be called.
#[derive(Default)]
struct Tools {
    offered: Vec<Tool>,
    names: ToolNames,
    /// What could not be said of them, by name.
    unsaid: Vec<&'static str>,
}

/// Tools go before their forerunner.
fn read_tools(tools: Option<Vec<WireTool<'_>>>, functions: Option<Vec<Function>>) -> Result<Tools, Untranslatable> {
    let mut read = Tools::default();
    let Some(tools) = tools else {
        read.offered.extend(functions.into_iter().flatten().map(|function| tool(function, None)));
        return Ok(read);
    };
    let functions = tools.iter().filter(|wire| wire.kind.as_deref() != Some("custom"));
    let functions = functions.filter_map(|wire| wire.function.as_ref().map(|function| function.name.clone()));
    read.names = ToolNames::beside(functions);
    for (at, wire) in tools.into_iter().enumerate() {
        match (wire.kind.as_deref(), wire.function, wire.custom) {
            (None | Some("function"), Some(function), _) => {
                let name = read.names.add(&format!("tools[{at}].function"), None, function.name, false)?;
                read.offered.push(tool(Function { name, ..function }, wire.cache_control));
            }
            (Some("custom"), _, Some(Custom { name, description, format })) => {
                let grammar = freeform::grammar(format).map_err(|what| cannot(format!("`tools[{at}].custom.format`{what}")))?;
                read.unsaid.extend(grammar.as_ref().map(|_| GRAMMAR));
                let cached = wire.cache_control.map(|mark| mark.lifetime());
                let name = read.names.add(&format!("tools[{at}].custom"), None, name, true)?;
                read.offered.push(Tool { cached, ..freeform::function(name, description, grammar.as_ref()) });
            }
            (Some(kind), _, _) => return Err(cannot(format!("`tools[{at}]` of type `{kind}`"))),
            (None, _, _) => return Err(cannot(format!("`tools[{at}]` without a type"))),
        }
    }
    Ok(read)
}

fn tool(function: Function, mark: Option<Mark>) -> Tool {
    let Function { name, description, parameters, strict, cache_control } = function;
    let cached = mark.or(cache_control).map(|mark| mark.lifetime());
    Tool { name, description, parameters, strict, cached }
}

/// Reads `tool_choice`, or the forerunner in which a function is named without a type. Where only some tools are allowed, the others
/// are not offered.
fn read_choice(
    member: &str,
    raw: &RawValue,
    tool_names: &ToolNames,
    tools: &mut Vec<Tool>,
) -> Result<ToolChoice, Untranslatable> {
    #[derive(Deserialize)]
    struct Forerunner {
        name: String,
    }
    let of_word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(cannot(format!("`{member}` with the value `{word}`"))),
    };
    if let Some(word) = string(raw.get()) {
        return of_word(&word);
    }
    if member == "function_call" {
        let named: Forerunner = serde_json::from_str(raw.get()).map_err(|_| cannot("`function_call` without a name"))?;
        return Ok(ToolChoice::Named(named.name));
    }
    let choice: Choice<'_> = serde_json::from_str(raw.get()).map_err(|_| cannot(format!("`{member}` that is no choice")))?;
    let named = match choice.kind.as_deref() {
        Some("custom") => choice.custom,
        _ => choice.function,
    };
    match (choice.kind.as_deref(), named, choice.allowed_tools) {
        (kind @ (None | Some("function" | "custom")), Some(named), _) => {
            Ok(ToolChoice::Named(tool_names.of(None, named.name, kind == Some("custom"))))
        }
        (Some("allowed_tools"), _, Some(allowed)) => {
            let function = |Choice { function, custom, .. }: Choice<'_>| match (function, custom) {
                (Some(named), _) => Some(tool_names.of(None, named.name, false)),
                (None, custom) => custom.map(|named| tool_names.of(None, named.name, true)),
            };
            let few: HashSet<String> = allowed.tools.into_iter().filter_map(function).collect();
            tools.retain(|tool| few.contains(&tool.name));
            of_word(allowed.mode.as_deref().unwrap_or("auto"))
        }
        (Some(word @ ("auto" | "none" | "required" | "any")), _, _) => of_word(word),
        (kind, _, _) => Err(cannot(format!("`{member}` of type `{}`", kind.unwrap_or_default()))),
    }
}

fn read_format(format: ResponseFormat<'_>) -> Result<Format, Untranslatable> {
    match (&*format.kind, format.json_schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::JsonObject),
        ("json_schema", Some(Schema { name, description, written: Some(schema), strict })) => {
            Ok(Format::JsonSchema(AnswerSchema { name: name.unwrap_or_default(), description, schema, strict }))
        }
        ("json_schema", _) => Err(cannot("`response_format` without a schema")),
        (kind, _) => Err(cannot(format!("`response_format` of type `{kind}`"))),
    }
}

fn read_stop(stop: Option<Content<String>>) -> Vec<String> {
    let all = match stop {
        None => Vec::new(),
        Some(Content::Text(one)) => vec![one],
        Some(Content::Parts(many)) => many,
    };
    all.into_iter().filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests;
