//! Writing a conversation as a request for Messages (dialects.md 3 and 5).

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Outgoing;
use super::messages_blocks::{self, Block, CacheControl, Marks, Message};
use crate::canonical::closed::{Closed, closed};
use crate::canonical::conversation::{Effort, Format, Json, Part, Seal, ThinkingWish, Tool, ToolChoice};
use crate::canonical::request::ReasoningWish;
use crate::canonical::{Conversation, Shape, Untranslatable, written};
use crate::catalog::Reasoning;
use crate::units::Tokens;

/// Less than this cannot be thought with (dialects.md 5.5).
const LEAST_BUDGET: u64 = 1_024;
/// What thinking leaves of the bound for the answer itself.
const ROOM_TO_ANSWER: u64 = 1_024;
/// Where nobody said how much to think.
const USUAL_BUDGET: Tokens = Tokens::new(8_192);
/// There is no member for it, so it is said.
pub(super) const JSON_ONLY: &str = "Answer with one JSON object and nothing else.";
/// A schema for a tool that takes nothing.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// The body that goes out.
pub(super) fn body(conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
    let max_tokens = max_tokens(conversation, out);
    let thinking = Thinking::told(conversation, out, messages_blocks::is_ours);
    let thinks = thinks(conversation, out);
    let mut marks = Marks::of(conversation);
    let tools = tools(conversation, &mut marks);
    let system = system(conversation, &mut marks);
    let choice = tools.as_ref().and_then(|_| Choice::of(conversation));
    let schema = answer_schema(conversation);
    let sampling = &conversation.sampling;
    let drawn = |json| if thinks || !out.draws(conversation.thinking.wish) { None } else { number(json) };
    let stop: Vec<&str> = sampling.stop.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    let body = Body {
        model: out.upstream_model,
        max_tokens,
        system,
        messages: messages_blocks::messages(conversation, out, &mut marks)?,
        tools,
        tool_choice: choice,
        temperature: drawn(sampling.temperature.as_ref()).map(within_one),
        // Both together are refused by the newer models (providers.md 5.2).
        top_p: drawn(sampling.top_p.as_ref()).filter(|_| sampling.temperature.is_none()),
        top_k: drawn(sampling.top_k.as_ref()),
        stop_sequences: (!stop.is_empty()).then_some(stop),
        stream: conversation.stream,
        thinking,
        output_config: OutputConfig::of(schema.as_deref().map(Json::raw), effort(conversation.thinking, out).filter(|_| thinks)),
        metadata: conversation.user.as_deref().filter(|user| may_be_named(user)).map(|user_id| Metadata { user_id }),
    };
    // Strings and checked JSON can be written; that they can is not seen in the types.
    written(&body, out.client_bytes).map_err(|error| untranslatable(format!("the request ({error})")))
}

/// The schema of the answer, as models are held to it here; one that cannot be told so is left to the endpoint to judge.
pub(super) fn answer_schema(conversation: &Conversation) -> Option<Cow<'_, Json>> {
    let Format::JsonSchema(wanted) = &conversation.format else { return None };
    Some(match closed(wanted.schema.get()) {
        Closed::Told(told) => Cow::Owned(told),
        Closed::AsItIs | Closed::No => Cow::Borrowed(&wanted.schema),
    })
}

pub(super) fn max_tokens(conversation: &Conversation, out: &Outgoing<'_>) -> u64 {
    let bounds = [conversation.output_bound, out.output_bound];
    bounds.into_iter().flatten().min().unwrap_or(out.max_output).get().max(1)
}

/// Whether thinking is asked for in what goes out.
pub(super) fn thinks(conversation: &Conversation, out: &Outgoing<'_>) -> bool {
    Thinking::told(conversation, out, messages_blocks::is_ours).as_ref().is_some_and(Thinking::is_on)
}

pub(super) fn untranslatable(what: impl Into<String>) -> Untranslatable {
    Untranslatable { what: what.into(), shape: Shape::AnthropicMessages.word() }
}

#[derive(Debug, Serialize)]
struct Body<'c> {
    model: &'c str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<System<'c>>,
    messages: Vec<Message<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Declared<'c>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<Vec<&'c str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'c>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum System<'c> {
    Text(String),
    Blocks(Vec<Block<'c>>),
}

/// One text, or blocks where something of it is marked.
fn system<'c>(conversation: &'c Conversation, marks: &mut Marks) -> Option<System<'c>> {
    let texts = || conversation.instructions().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
    let said = (conversation.format == Format::JsonObject).then_some(JSON_ONLY);
    if texts().any(|text| text.cached.is_some()) {
        let blocks =
            texts().filter(|text| !text.text.trim().is_empty()).map(|text| Block::text(&text.text, marks.next(text.cached)));
        return Some(System::Blocks(blocks.chain(said.map(|text| Block::text(text, None))).collect()));
    }
    let all: Vec<&str> = texts().map(|text| text.text.as_str()).chain(said).filter(|text| !text.trim().is_empty()).collect();
    (!all.is_empty()).then(|| System::Text(all.join("\n\n")))
}

#[derive(Debug, Serialize)]
struct Declared<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    input_schema: Schema<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Schema<'c> {
    AsItIs(&'c RawValue),
    Completed(serde_json::Value),
}

impl<'c> Schema<'c> {
    /// An object at the top, as is demanded.
    pub(super) fn of(parameters: Option<&'c Json>) -> Self {
        let nothing = || Self::Completed(serde_json::from_str(NO_PARAMETERS).unwrap_or_default());
        let Some(parameters) = parameters else { return nothing() };
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(parameters.get()) {
            Ok(schema) if schema.get("type").is_some_and(|kind| kind == "object") => Self::AsItIs(parameters.raw()),
            Ok(mut schema) => {
                schema.insert("type".to_owned(), "object".into());
                Self::Completed(schema.into())
            }
            Err(_) => nothing(),
        }
    }
}

/// The tools, or those that were called where there are none any more: calls without tools are refused.
fn tools<'c>(conversation: &'c Conversation, marks: &mut Marks) -> Option<Vec<Declared<'c>>> {
    if conversation.tools.is_empty() {
        let named: BTreeSet<&str> = calls(conversation).collect();
        let declared = |name| Declared { name, description: None, input_schema: Schema::of(None), cache_control: None };
        return (!named.is_empty()).then(|| named.into_iter().map(declared).collect());
    }
    let declared = |tool: &'c Tool| Declared {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: Schema::of(tool.parameters.as_ref()),
        cache_control: marks.next(tool.cached),
    };
    Some(conversation.tools.iter().map(declared).collect())
}

pub(super) fn calls(conversation: &Conversation) -> impl Iterator<Item = &str> {
    let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
    parts.filter_map(|part| if let Part::Call(call) = part { Some(call.name.as_str()) } else { None })
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Choice<'c> {
    Auto {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    Any {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    Tool {
        name: &'c str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    None,
}

impl<'c> Choice<'c> {
    fn of(conversation: &'c Conversation) -> Option<Self> {
        let disable_parallel_tool_use = conversation.parallel_calls == Some(false);
        if conversation.tools.is_empty() {
            return Some(Self::None);
        }
        match &conversation.tool_choice {
            ToolChoice::Auto => disable_parallel_tool_use.then_some(Self::Auto { disable_parallel_tool_use }),
            ToolChoice::None => Some(Self::None),
            ToolChoice::Required => Some(Self::Any { disable_parallel_tool_use }),
            ToolChoice::Named(name) => Some(Self::Tool { name, disable_parallel_tool_use }),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Thinking {
    Enabled {
        budget_tokens: u64,
    },
    /// As deep as the model sees fit.
    Adaptive,
    Disabled,
}

impl Thinking {
    /// What this model is told, by whose seals it knows its own thoughts.
    pub(super) fn told(conversation: &Conversation, out: &Outgoing<'_>, is_own: fn(&Seal) -> bool) -> Option<Self> {
        Self::of(conversation, out, is_own).filter(|thinking| match out.reasoning {
            Reasoning::Never => false,
            Reasoning::Switchable => true,
            // It refuses to be switched off.
            Reasoning::Always => thinking.is_on(),
        })
    }

    /// Nothing where nothing was said. Thinking is switched off where it would be refused: with a forced tool, and where the turn
    /// whose calls are being answered does not begin with its own sealed thought (providers.md 3).
    fn of(conversation: &Conversation, out: &Outgoing<'_>, is_own: fn(&Seal) -> bool) -> Option<Self> {
        let ThinkingWish { wish, effort, budget, off_by_default: _ } = conversation.thinking;
        let wanted = match wish {
            ReasoningWish::Off => return Some(Self::Disabled),
            ReasoningWish::On => true,
            ReasoningWish::Unsaid => effort.is_some() || budget.is_some(),
        };
        if !wanted {
            return None;
        }
        let forced = matches!(conversation.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        if forced || !messages_blocks::may_think(conversation, out.quirks.unsigned_thoughts, is_own) {
            return Some(Self::Disabled);
        }
        // Of the two ways that some models know, the one that the client chose.
        let by_words = out.steering.budget.is_none() || budget.is_none() && !out.steering.efforts.is_empty();
        if out.quirks.adaptive_thinking && by_words {
            return Some(Self::Adaptive);
        }
        let asked = out.steering.tokens(budget.or(effort.map(Effort::budget)).unwrap_or(USUAL_BUDGET)).get();
        let budget_tokens = asked.max(LEAST_BUDGET).min(max_tokens(conversation, out).saturating_sub(ROOM_TO_ANSWER));
        (budget_tokens >= LEAST_BUDGET).then_some(Self::Enabled { budget_tokens })
    }

    pub(super) const fn is_on(&self) -> bool {
        matches!(self, Self::Enabled { .. } | Self::Adaptive)
    }
}

/// The word for how hard to think, of a model that takes words; what was said as a number is put in words only where there is no
/// number to tell.
pub(super) fn effort(thinking: ThinkingWish, out: &Outgoing<'_>) -> Option<&'static str> {
    let ThinkingWish { effort, budget, .. } = thinking;
    let said = effort.or_else(|| budget.filter(|_| out.steering.by_words()).map(Effort::of_budget))?;
    out.steering.word(said).map(Effort::word)
}

#[derive(Debug, Serialize)]
struct OutputConfig<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<AnswerFormat<'c>>,
}

impl<'c> OutputConfig<'c> {
    fn of(schema: Option<&'c RawValue>, effort: Option<&'static str>) -> Option<Self> {
        let format = schema.map(|schema| AnswerFormat { kind: "json_schema", schema });
        (format.is_some() || effort.is_some()).then_some(Self { effort, format })
    }
}

#[derive(Debug, Serialize)]
struct AnswerFormat<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'c RawValue,
}

#[derive(Debug, Serialize)]
struct Metadata<'c> {
    user_id: &'c str,
}

/// An address of mail is refused, and what is longer than this.
fn may_be_named(user: &str) -> bool {
    user.len() <= 256 && !user.contains('@')
}

pub(super) fn number(json: Option<&Json>) -> Option<&RawValue> {
    json.map(Json::raw).filter(|raw| raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// Here temperatures end at 1.
pub(super) fn within_one(temperature: &RawValue) -> &RawValue {
    let above = temperature.get().parse::<f64>().is_ok_and(|degrees| degrees > 1.0);
    let one = if above { serde_json::from_str(ONE).ok() } else { None };
    one.unwrap_or(temperature)
}

const ONE: &str = "1";

#[cfg(test)]
#[path = "messages_request/tests.rs"]
mod tests;
