//! Writing a conversation as a request for `generateContent` (dialects.md 4 and 5).

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::parts::{self, Content};
use crate::canonical::conversation::{Effort, Format, Json, Part, Source, ThinkingWish, Tool, ToolChoice};
use crate::canonical::request::ReasoningWish;
use crate::canonical::{Conversation, Shape, Untranslatable, written};
use crate::catalog::Steering;
use crate::catalog::capability::{Reasoning, ThinkingDepth};
use crate::dialect::Outgoing;
use crate::dialect::messages_request::JSON_ONLY;
use crate::units::Tokens;

/// More texts than these cannot end an answer (dialects.md 5.5).
const MOST_STOPS: usize = 5;

/// The numbers of tokens that every model takes which thinks by a number, for one of which no bounds are known: 2.5 Pro from 128
/// to 32,768, Flash to 24,576, Flash-Lite from 512 to 24,576 (ai.google.dev, "Gemini thinking", 2026-11).
const BUDGETS: (Tokens, Tokens) = (Tokens::new(512), Tokens::new(24_576));

/// The model thinks as much as it sees fit.
const DYNAMIC: i64 = -1;

/// There is no member for it, so it is said (dialects.md 5.2).
const ONE_CALL: &str = "Call at most one function at a time.";

/// The body that goes out.
pub(super) fn body(conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
    let calls = !conversation.tools.is_empty() && conversation.tool_choice != ToolChoice::None;
    let one_call = (calls && conversation.parallel_calls == Some(false)).then_some(ONE_CALL);
    let in_words = conversation.format == Format::JsonObject && !takes_form(conversation, out);
    let said = [one_call, in_words.then_some(JSON_ONLY)];
    let (system_instruction, contents) = parts::contents(conversation, said)?;
    let declared = (!conversation.tools.is_empty()).then(|| Declared::of(&conversation.tools));
    let body = Body {
        system_instruction,
        contents,
        tool_config: declared.as_ref().and_then(|_| ToolConfig::of(&conversation.tool_choice)),
        tools: declared.map(|declared| [declared]),
        generation_config: GenerationConfig::of(conversation, out)?,
    };
    // Strings and checked JSON can be written; that they can is not seen in the types.
    written(&body, out.client_bytes).map_err(|error| untranslatable(format!("the request ({error})")))
}

/// Whether the form of the answer can be told by its member.
fn takes_form(conversation: &Conversation, out: &Outgoing<'_>) -> bool {
    conversation.tools.is_empty() || out.steering.form_beside_tools
}

pub(super) fn untranslatable(what: String) -> Untranslatable {
    Untranslatable { what, shape: Shape::GeminiGenerate.word() }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'c>>,
    contents: Vec<Content<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Declared<'c>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'c>>,
    #[serde(skip_serializing_if = "GenerationConfig::says_nothing")]
    generation_config: GenerationConfig<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Declared<'c> {
    function_declarations: Vec<Declaration<'c>>,
}

/// `parametersJsonSchema` takes nearly all of JSON Schema, `parameters` only some.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'c RawValue>,
}

impl<'c> Declared<'c> {
    fn of(tools: &'c [Tool]) -> Self {
        let declaration = |tool: &'c Tool| Declaration {
            name: &tool.name,
            description: tool.description.as_deref(),
            // One that takes nothing has none: an empty one is no object's.
            parameters_json_schema: tool
                .parameters
                .as_ref()
                .map(Json::raw)
                .filter(|schema| !matches!(schema.get(), "null" | "{}")),
        };
        Self { function_declarations: tools.iter().map(declaration).collect() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'c> {
    function_calling_config: CallingConfig<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'c> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'c str; 1]>,
}

impl<'c> ToolConfig<'c> {
    fn of(choice: &'c ToolChoice) -> Option<Self> {
        let (mode, only) = match choice {
            ToolChoice::Auto => return None,
            ToolChoice::None => ("NONE", None),
            ToolChoice::Required => ("ANY", None),
            ToolChoice::Named(name) => ("ANY", Some([name.as_str()])),
        };
        Some(Self { function_calling_config: CallingConfig { mode, allowed_function_names: only } })
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<&'c [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    /// Of all images and documents alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_resolution: Option<&'static str>,
}

/// Whether all that is to be seen may be looked at from afar, which cannot be said of some of it.
pub(in crate::dialect) fn sees_from_afar(conversation: &Conversation) -> bool {
    let shown = |part: &Part| match part {
        Part::Image(medium) => Some(medium.detail.as_deref() == Some("low")),
        Part::Document(medium) => (!matches!(medium.source, Source::Text(_))).then_some(false),
        _ => None,
    };
    let within = |part: &Part| match part {
        Part::Result(result) => result.parts.iter().filter_map(shown).collect(),
        other => shown(other).into_iter().collect::<Vec<bool>>(),
    };
    let all: Vec<bool> = conversation.turns.iter().flat_map(|turn| &turn.parts).flat_map(within).collect();
    !all.is_empty() && all.into_iter().all(|low| low)
}

impl<'c> GenerationConfig<'c> {
    fn of(conversation: &'c Conversation, out: &Outgoing<'_>) -> Result<Self, Untranslatable> {
        let sampling = &conversation.sampling;
        if sampling.stop.len() > MOST_STOPS {
            return Err(untranslatable(format!("more than {MOST_STOPS} stop sequences")));
        }
        let json = conversation.format != Format::Text && takes_form(conversation, out);
        let schema = if let Format::JsonSchema(schema) = &conversation.format { Some(schema.schema.raw()) } else { None };
        Ok(Self {
            temperature: number(sampling.temperature.as_ref()),
            top_p: number(sampling.top_p.as_ref()),
            top_k: number(sampling.top_k.as_ref()),
            max_output_tokens: [conversation.output_bound, out.output_bound].into_iter().flatten().min().map(Tokens::get),
            stop_sequences: Some(sampling.stop.as_slice()).filter(|stop| !stop.is_empty()),
            // A seed beyond 32 bits is refused, and no seed means the same at two providers.
            seed: number(sampling.seed.as_ref()).and_then(|seed| seed.get().parse().ok()),
            presence_penalty: number(sampling.presence_penalty.as_ref()),
            frequency_penalty: number(sampling.frequency_penalty.as_ref()),
            response_mime_type: json.then_some("application/json"),
            response_json_schema: schema,
            thinking_config: ThinkingConfig::of(conversation.thinking, out),
            media_resolution: sees_from_afar(conversation).then_some("MEDIA_RESOLUTION_LOW"),
        })
    }

    fn says_nothing(&self) -> bool {
        let Self { temperature, top_p, top_k, max_output_tokens, stop_sequences, seed, .. } = self;
        let Self { presence_penalty, frequency_penalty, response_mime_type, thinking_config, media_resolution, .. } = self;
        let numbers = [temperature, top_p, top_k, presence_penalty, frequency_penalty];
        numbers.into_iter().all(Option::is_none)
            && max_output_tokens.is_none()
            && stop_sequences.is_none()
            && seed.is_none()
            && response_mime_type.is_none()
            && thinking_config.is_none()
            && media_resolution.is_none()
    }
}

fn number(json: Option<&Json>) -> Option<&RawValue> {
    json.map(Json::raw).filter(|raw| raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// Either a number of tokens or a level: both together are refused.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_thoughts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
}

impl ThinkingConfig {
    /// Nothing where nothing was said. A model that never thinks refuses to be told how, and one that always does to be switched
    /// off.
    fn of(thinking: ThinkingWish, out: &Outgoing<'_>) -> Option<Self> {
        let depth = match &out.steering {
            Steering { budget: Some(_), .. } => ThinkingDepth::Tokens,
            known if known.by_words() => ThinkingDepth::Level,
            _ => out.quirks.thinking_depth,
        };
        let off = thinking.wish == ReasoningWish::Off || thinking.off_by_default && depth == ThinkingDepth::Tokens;
        match out.reasoning {
            Reasoning::Switchable if off => return Some(Self { thinking_budget: Some(0), ..Self::default() }),
            Reasoning::Switchable | Reasoning::Always if thinking.is_said() && !off => {}
            Reasoning::Never | Reasoning::Switchable | Reasoning::Always => return None,
        }
        let budget = thinking.budget.or(thinking.effort.map(Effort::budget));
        let thinks = Self { include_thoughts: true, ..Self::default() };
        Some(match depth {
            ThinkingDepth::Tokens => {
                Self { thinking_budget: Some(budget.map_or(DYNAMIC, |budget| fitted(budget, &out.steering))), ..thinks }
            }
            ThinkingDepth::Level => {
                let effort = thinking.effort.or(thinking.budget.map(Effort::of_budget));
                let known = |effort| out.steering.word(effort).unwrap_or(effort);
                Self { thinking_level: effort.map(known).map(level), ..thinks }
            }
        })
    }
}

fn fitted(budget: Tokens, steering: &Steering) -> i64 {
    let (least, most) = BUDGETS;
    let fitted = if steering.budget.is_some() { steering.tokens(budget) } else { budget.clamp(least, most) };
    i64::try_from(fitted.get()).unwrap_or(DYNAMIC)
}

const fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}

#[cfg(test)]
mod tests;
