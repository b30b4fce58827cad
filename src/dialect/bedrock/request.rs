//! Writing a conversation as a request for Converse.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::blocks::{self, CachePoint, Caches, Message};
use super::is_own;
use crate::canonical::conversation::{AnswerSchema, Effort, Format, Json, Part, ThinkingWish, Tool, ToolChoice};
use crate::canonical::request::ReasoningWish;
use crate::canonical::{Conversation, Shape, Untranslatable, written};
use crate::catalog::ConverseFields;
use crate::catalog::capability::Reasoning;
use crate::dialect::Outgoing;
use crate::dialect::messages_request::{
    JSON_ONLY, Schema, Thinking, answer_schema, calls, effort, max_tokens, number, within_one,
};

/// There is no member for it, so it is said.
const ONE_CALL: &str = "Call at most one tool at a time.";
/// Where the models of Messages tell which stop sequence they came upon: it is told where it is asked for (AWS, "Converse", API
/// reference, 2026-11).
const STOP_SEQUENCE: &str = "/stop_sequence";
/// Neither for this, where tools have to be declared because some were called before.
const NO_CALLS: &str = "Do not call any tool: answer in words.";

/// The body that goes out.
pub(super) fn body(conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
    let mut caches = Caches::of(conversation, ToolConfig::is_told(conversation), out.steering.converse);
    // Marks count in this order.
    let tool_config = ToolConfig::of(conversation, &mut caches);
    let system = system(conversation, tool_config.is_some(), &mut caches);
    let messages = blocks::messages(conversation, out, &mut caches)?;
    let thinks = thinks(conversation, out);
    let fields = Fields::of(conversation, out);
    let schema = answer_schema(conversation);
    let stops = !conversation.sampling.stop.is_empty();
    let body = Body {
        messages,
        system,
        inference_config: InferenceConfig::of(conversation, out),
        tool_config,
        additional_model_request_fields: fields.says_something().then_some(fields),
        additional_model_response_field_paths: (stops && out.steering.converse == ConverseFields::Messages)
            .then_some([STOP_SEQUENCE]),
        output_config: OutputConfig::of(conversation, schema.as_deref(), out, thinks),
    };
    // Strings and checked JSON can be written; that they can is not seen in the types.
    written(&body, out.client_bytes).map_err(|error| untranslatable(format!("the request ({error})")))
}

pub(super) fn untranslatable(what: impl Into<String>) -> Untranslatable {
    Untranslatable { what: what.into(), shape: Shape::BedrockConverse.word() }
}

/// Whether thinking is asked for in what goes out.
pub(in crate::dialect) fn thinks(conversation: &Conversation, out: &Outgoing<'_>) -> bool {
    match out.steering.converse {
        ConverseFields::None => false,
        ConverseFields::Messages => Thinking::told(conversation, out, is_own).as_ref().is_some_and(Thinking::is_on),
        ConverseFields::Nova => ReasoningConfig::of(conversation.thinking, out).is_some_and(|told| told.kind == ENABLED),
    }
}

/// Whether a model that can do without thinking can be told to.
pub(in crate::dialect) fn tells_off(out: &Outgoing<'_>) -> bool {
    out.reasoning == Reasoning::Switchable && out.steering.converse != ConverseFields::None
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'c> {
    messages: Vec<Message<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<System<'c>>,
    inference_config: InferenceConfig<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_request_fields: Option<Fields<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_response_field_paths: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'c>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum System<'c> {
    Text(&'c str),
    CachePoint(CachePoint),
}

fn system<'c>(conversation: &'c Conversation, declared: bool, caches: &mut Caches) -> Vec<System<'c>> {
    let mut system = Vec::new();
    for part in conversation.instructions() {
        if let Part::Text(text) = part
            && !text.text.trim().is_empty()
        {
            system.push(System::Text(&text.text));
            system.extend(caches.point(text.cached).map(System::CachePoint));
        }
    }
    let called = declared && may_call(conversation);
    let said = [
        (conversation.format == Format::JsonObject, JSON_ONLY),
        (called && conversation.parallel_calls == Some(false), ONE_CALL),
        (declared && !called, NO_CALLS),
    ];
    system.extend(said.into_iter().filter(|(is, _)| *is).map(|(_, text)| System::Text(text)));
    system
}

/// Whether the answer may call tools.
fn may_call(conversation: &Conversation) -> bool {
    !conversation.tools.is_empty() && conversation.tool_choice != ToolChoice::None
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig<'c> {
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'c str>,
}

impl<'c> InferenceConfig<'c> {
    fn of(conversation: &'c Conversation, out: &Outgoing<'_>) -> Self {
        let sampling = &conversation.sampling;
        let drawn = |json| if is_drawn(conversation, out) { number(json) } else { None };
        // Of the two ways to draw, those models take one.
        let one_way = out.steering.converse == ConverseFields::Messages && sampling.temperature.is_some();
        Self {
            max_tokens: max_tokens(conversation, out),
            temperature: drawn(sampling.temperature.as_ref()).map(within_one),
            top_p: drawn(sampling.top_p.as_ref()).filter(|_| !one_way),
            stop_sequences: sampling.stop.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect(),
        }
    }
}

/// Whether the model is told how to draw: some never take it, and those of Messages not while they think.
fn is_drawn(conversation: &Conversation, out: &Outgoing<'_>) -> bool {
    out.draws(conversation.thinking.wish) && !(out.steering.converse == ConverseFields::Messages && thinks(conversation, out))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'c> {
    tools: Vec<Declared<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'c>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Declared<'c> {
    ToolSpec(ToolSpec<'c>),
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolSpec<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    input_schema: InputSchema<'c>,
}

#[derive(Debug, Serialize)]
struct InputSchema<'c> {
    json: Schema<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'c> {
    Any {},
    Tool { name: &'c str },
}

impl<'c> ToolConfig<'c> {
    fn is_told(conversation: &Conversation) -> bool {
        may_call(conversation) || calls(conversation).next().is_some()
    }

    /// The tools; where none are to be called, only if some were: a conversation with calls in it is refused without tools, and there
    /// is no word for calling none.
    fn of(conversation: &'c Conversation, caches: &mut Caches) -> Option<Self> {
        if !Self::is_told(conversation) {
            return None;
        }
        let called: BTreeSet<&str> = calls(conversation).collect();
        let mut tools = Vec::new();
        for tool in &conversation.tools {
            tools.push(Declared::ToolSpec(ToolSpec::of(tool)));
            tools.extend(caches.point_of_tool(tool.cached).map(Declared::CachePoint));
        }
        if tools.is_empty() {
            tools.extend(called.into_iter().map(|name| Declared::ToolSpec(ToolSpec::bare(name))));
        }
        let tool_choice = match &conversation.tool_choice {
            ToolChoice::Required if may_call(conversation) => Some(Choice::Any {}),
            ToolChoice::Named(name) if may_call(conversation) => Some(Choice::Tool { name }),
            ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_) => None,
        };
        Some(Self { tools, tool_choice })
    }
}

impl<'c> ToolSpec<'c> {
    fn of(tool: &'c Tool) -> Self {
        Self {
            name: &tool.name,
            description: tool.description.as_deref().filter(|text| !text.trim().is_empty()),
            input_schema: InputSchema { json: Schema::of(tool.parameters.as_ref()) },
        }
    }

    fn bare(name: &'c str) -> Self {
        Self { name, description: None, input_schema: InputSchema { json: Schema::of(None) } }
    }
}

/// What goes to the model as it is.
#[derive(Debug, Default, Serialize)]
struct Fields<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'c RawValue>,
    #[serde(rename = "reasoningConfig", skip_serializing_if = "Option::is_none")]
    reasoning_config: Option<ReasoningConfig>,
    #[serde(rename = "inferenceConfig", skip_serializing_if = "Option::is_none")]
    inference_config: Option<NovaConfig<'c>>,
}

impl<'c> Fields<'c> {
    fn of(conversation: &'c Conversation, out: &Outgoing<'_>) -> Self {
        let top_k = number(conversation.sampling.top_k.as_ref()).filter(|_| is_drawn(conversation, out));
        match out.steering.converse {
            ConverseFields::None => Self::default(),
            ConverseFields::Messages => Self { thinking: Thinking::told(conversation, out, is_own), top_k, ..Self::default() },
            ConverseFields::Nova => Self {
                reasoning_config: ReasoningConfig::of(conversation.thinking, out),
                inference_config: top_k.map(|top_k| NovaConfig { top_k }),
                ..Self::default()
            },
        }
    }

    const fn says_something(&self) -> bool {
        let Self { thinking, top_k, reasoning_config, inference_config } = self;
        thinking.is_some() || top_k.is_some() || reasoning_config.is_some() || inference_config.is_some()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaConfig<'c> {
    top_k: &'c RawValue,
}

const ENABLED: &str = "enabled";

/// How Nova is told to think (AWS, "Extended thinking", user guide of Nova 2, 2026-11).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningConfig {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_reasoning_effort: Option<&'static str>,
}

impl ReasoningConfig {
    /// Nothing where nothing was said.
    fn of(thinking: ThinkingWish, out: &Outgoing<'_>) -> Option<Self> {
        if out.reasoning == Reasoning::Never || !thinking.is_said() {
            return None;
        }
        if thinking.wish == ReasoningWish::Off {
            return tells_off(out).then_some(Self { kind: "disabled", max_reasoning_effort: None });
        }
        let said = thinking.effort.or(thinking.budget.map(Effort::of_budget)).unwrap_or(Effort::Medium);
        // The word `high` is refused beside `maxTokens`, which bounds what an answer may cost.
        let word = match said {
            Effort::Minimal | Effort::Low => "low",
            Effort::Medium | Effort::High | Effort::XHigh | Effort::Max => "medium",
        };
        Some(Self { kind: ENABLED, max_reasoning_effort: Some(word) })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<TextFormat<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
}

impl<'c> OutputConfig<'c> {
    fn of(conversation: &'c Conversation, schema: Option<&'c Json>, out: &Outgoing<'_>, thinks: bool) -> Option<Self> {
        let text_format = match (&conversation.format, schema) {
            (Format::JsonSchema(asked), Some(schema)) => Some(TextFormat::of(asked, schema)),
            _ => None,
        };
        let told = thinks && out.steering.converse == ConverseFields::Messages;
        let effort = effort(conversation.thinking, out).filter(|_| told);
        (text_format.is_some() || effort.is_some()).then_some(Self { text_format, effort })
    }
}

#[derive(Debug, Serialize)]
struct TextFormat<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    structure: Structure<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Structure<'c> {
    JsonSchema {
        /// As a text.
        schema: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'c str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'c str>,
    },
}

impl<'c> TextFormat<'c> {
    fn of(asked: &'c AnswerSchema, schema: &'c Json) -> Self {
        let said = |text: &'c str| (!text.is_empty()).then_some(text);
        let (schema, name) = (schema.get(), said(&asked.name));
        let description = asked.description.as_deref().and_then(said);
        Self { kind: "json_schema", structure: Structure::JsonSchema { schema, name, description } }
    }
}

#[cfg(test)]
mod tests;
