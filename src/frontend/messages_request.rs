//! Reading a request of Messages into a conversation in nobody's words: its top level. The blocks are `messages_turns.rs`'s.
//!
//! Asked only for a backend of another shape, and of a request that was read once already. What Anthropic itself would run or
//! keep (containers, servers of tools, fallbacks) is refused, since no other provider would.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, cannot, unreadable};
use super::lifetime::{self, Mark};
use super::messages_turns::{Block, Message, read_message, read_system};
use super::unsaid::Unsaid;
use crate::canonical::conversation::{
    AnswerSchema, Effort, Format, Hints, Json, Role, Sampling, ThinkingWish, Tool, ToolChoice, Turn,
};
use crate::canonical::strict::keeps_to_strict_rules;
use crate::canonical::unanswered::answered;
use crate::canonical::{Conversation, ReasoningWish, Request, Untranslatable};

/// Members that are read or refused, here or when the request was first read.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "container",
    "mcp_servers",
    "fallbacks",
    "inference_geo",
    "context_management",
    "tokenbroker",
];

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    system: Option<Content<Block<'b>>>,
    #[serde(borrow)]
    messages: Vec<Message<'b>>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'b>>>,
    #[serde(borrow)]
    tool_choice: Option<Choice<'b>>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'b>>,
    #[serde(borrow)]
    output_format: Option<WireFormat<'b>>,
    temperature: Option<Json>,
    top_p: Option<Json>,
    top_k: Option<Json>,
    stop_sequences: Option<Vec<String>>,
    metadata: Option<Metadata>,
    #[serde(borrow)]
    container: Option<&'b RawValue>,
    #[serde(borrow)]
    mcp_servers: Option<&'b RawValue>,
    #[serde(borrow)]
    fallbacks: Option<&'b RawValue>,
    #[serde(borrow)]
    inference_geo: Option<&'b RawValue>,
    #[serde(borrow)]
    context_management: Option<ContextManagement<'b>>,
    #[serde(borrow)]
    cache_control: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct WireTool<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    name: Option<String>,
    description: Option<String>,
    input_schema: Option<Json>,
    strict: Option<bool>,
    cache_control: Option<Mark>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct OutputConfig<'b> {
    #[serde(borrow)]
    effort: Option<Cow<'b, str>>,
    #[serde(borrow)]
    format: Option<WireFormat<'b>>,
}

#[derive(Deserialize)]
struct WireFormat<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    schema: Option<Json>,
}

#[derive(Deserialize)]
struct Metadata {
    user_id: Option<String>,
}

#[derive(Deserialize)]
struct ContextManagement<'b> {
    #[serde(borrow)]
    edits: Option<Vec<Edit<'b>>>,
}

#[derive(Deserialize)]
struct Edit<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
}

/// What the client asks, in nobody's words.
pub(super) fn conversation(request: &Request) -> Result<Conversation, Untranslatable> {
    let (body, unsaid) = Unsaid::beside::<Body<'_>>(&request.body, KNOWN).map_err(|error| unreadable(&error))?;
    body.refuse_what_only_messages_has()?;
    let effort = body.output_config.as_ref().and_then(|config| config.effort.as_deref()).and_then(Effort::from_word);
    let mut system = read_system("system", body.system)?;
    let mut turns = Vec::new();
    for (at, message) in body.messages.into_iter().enumerate() {
        match read_message(at, message)? {
            Turn { role: Role::System, parts } if turns.is_empty() || parts.is_empty() => system.extend(parts),
            turn => turns.push(turn),
        }
    }
    let mut tools = read_tools(body.tools)?;
    if let Some(lifetime) = lifetime::read(body.cache_control) {
        lifetime::mark_last(lifetime, &mut turns, &mut system, &mut tools);
    }
    let parallel_calls = body.tool_choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).map(|disabled| !disabled);
    Ok(Conversation {
        system,
        turns: answered(turns).into(),
        tools,
        own_tools: Vec::new(),
        tool_choice: body.tool_choice.map_or(Ok(ToolChoice::Auto), read_choice)?,
        parallel_calls,
        format: read_format(body.output_config.and_then(|config| config.format).or(body.output_format))?,
        thinking: thinking(request, effort),
        sampling: Sampling {
            temperature: body.temperature,
            top_p: body.top_p,
            top_k: body.top_k,
            stop: body.stop_sequences.into_iter().flatten().filter(|text| !text.is_empty()).collect(),
            ..Sampling::default()
        },
        output_bound: request.output_bound,
        stream: request.stream,
        user: body.metadata.and_then(|metadata| metadata.user_id),
        hints: Hints::default(),
        unsaid: unsaid.and(&[]),
    })
}

/// Here there is no thinking unless it is asked for (dialects.md 3, 2026-11-22).
fn thinking(request: &Request, effort: Option<Effort>) -> ThinkingWish {
    match request.reasoning {
        ReasoningWish::Off => ThinkingWish { wish: ReasoningWish::Off, ..ThinkingWish::default() },
        wish => {
            let said = ThinkingWish { wish, effort, budget: request.thinking_budget, off_by_default: false };
            ThinkingWish { off_by_default: !said.is_said(), ..said }
        }
    }
}

impl Body<'_> {
    fn refuse_what_only_messages_has(&self) -> Result<(), Untranslatable> {
        let says = |value: Option<&RawValue>, nothing: &[&str]| value.is_some_and(|value| !nothing.contains(&value.get()));
        // Thoughts are of no use to another provider; what else is cleared or condensed would have to be done here.
        let edits = self.context_management.as_ref().and_then(|management| management.edits.as_ref()).into_iter().flatten();
        let edited = edits.into_iter().any(|edit| !edit.kind.starts_with("clear_thinking"));
        let all = [
            (says(self.container, &["{}", "\"\""]), "`container`"),
            (says(self.mcp_servers, &["[]"]), "`mcp_servers`"),
            (says(self.fallbacks, &["[]"]), "`fallbacks`"),
            (says(self.inference_geo, &["\"global\""]), "`inference_geo`"),
            (edited, "`context_management`"),
        ];
        all.into_iter().find(|(is, _)| *is).map_or(Ok(()), |(_, what)| Err(cannot(what)))
    }
}

/// Tools without a type are the client's own; all others have a schema that only Anthropic's models know, or are run there.
fn read_tools(tools: Option<Vec<WireTool<'_>>>) -> Result<Vec<Tool>, Untranslatable> {
    let read = |(at, wire): (usize, WireTool<'_>)| match (wire.kind.as_deref(), wire.name) {
        (None | Some("custom"), Some(name)) => Ok(Tool {
            name,
            description: wire.description,
            parameters: wire.input_schema,
            strict: wire.strict,
            cached: wire.cache_control.map(|mark| mark.lifetime()),
        }),
        (None | Some("custom"), None) => Err(cannot(format!("`tools[{at}]` without a name"))),
        (Some(kind), _) => Err(cannot(format!("`tools[{at}]` of type `{kind}`"))),
    };
    tools.into_iter().flatten().enumerate().map(read).collect()
}

fn read_choice(choice: Choice<'_>) -> Result<ToolChoice, Untranslatable> {
    match (&*choice.kind, choice.name) {
        ("auto", _) => Ok(ToolChoice::Auto),
        ("none", _) => Ok(ToolChoice::None),
        ("any", _) => Ok(ToolChoice::Required),
        ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
        (kind, _) => Err(cannot(format!("`tool_choice` of type `{kind}` as it is"))),
    }
}

/// A schema has no name here, and the answer keeps to it always: elsewhere that is asked for where the schema is one of which it can.
fn read_format(format: Option<WireFormat<'_>>) -> Result<Format, Untranslatable> {
    let Some(format) = format else { return Ok(Format::Text) };
    match (&*format.kind, format.schema) {
        ("text", _) => Ok(Format::Text),
        ("json_schema", Some(schema)) => {
            let strict = keeps_to_strict_rules(schema.get()).then_some(true);
            Ok(Format::JsonSchema(AnswerSchema { name: String::new(), description: None, schema, strict }))
        }
        (kind, _) => Err(cannot(format!("`output_config.format` of type `{kind}` as it is"))),
    }
}

#[cfg(test)]
mod tests;
