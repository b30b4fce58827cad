//! Writing a whole answer as a message of Anthropic's, and what its stream shares with it: usage and the reason to stop.

use bytes::Bytes;
use serde::Serialize;

use super::about::About;
use super::chat_answer::call_id;
use super::messages_turns::UNPARSED;
use super::seals;
use crate::canonical::conversation::{Call, Json, Seal, Thought};
use crate::canonical::{Answer, Finish, Part, quoted, written};
use crate::units::Usage;

/// A message; in a stream, one without content yet.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    usage: WireUsage,
}

impl<'a> Message<'a> {
    /// One that has just begun.
    pub(super) fn begun(id: &'a str, model: &'a str, usage: &Usage) -> Self {
        let usage = WireUsage::of(usage);
        Self { id, kind: "message", role: "assistant", model, content: Vec::new(), stop_reason: None, stop_sequence: None, usage }
    }
}

/// A block of content.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        #[serde(serialize_with = "quoted::text")]
        text: String,
    },
    Thinking {
        #[serde(serialize_with = "quoted::text")]
        thinking: String,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Input,
    },
}

/// The arguments of a call: an object as it was written, or none yet.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Input(Json);

impl Input {
    /// The object that a text of arguments is. One that is no object, because it was cut or made up, stands as a text in one
    /// (`{"_raw": "..."}`), and is read back from there.
    pub(super) fn of(arguments: &str) -> Option<Self> {
        let arguments = arguments.trim();
        let object = if arguments.is_empty() { "{}".to_owned() } else { arguments.to_owned() };
        let parsed = Json::parse(object).filter(|json| json.get().starts_with('{'));
        let unparsed =
            || serde_json::to_string(&std::collections::BTreeMap::from([(UNPARSED, arguments)])).ok().and_then(Json::parse);
        parsed.or_else(unparsed).map(Self)
    }
}

/// What was used: `input_tokens` are those that came from no cache and went into none.
#[derive(Debug, Serialize)]
pub(super) struct WireUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: Creation,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Serialize)]
struct Creation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl WireUsage {
    pub(super) fn of(usage: &Usage) -> Self {
        let (short, long) = usage.writes();
        let thinking_tokens = usage.reasoning.get();
        Self {
            input_tokens: usage.fresh_input.get(),
            cache_creation_input_tokens: usage.cache_write.get(),
            cache_read_input_tokens: usage.cache_read.get(),
            cache_creation: Creation { ephemeral_5m_input_tokens: short.get(), ephemeral_1h_input_tokens: long.get() },
            output_tokens: usage.output.get(),
            output_tokens_details: (thinking_tokens > 0).then_some(OutputDetails { thinking_tokens }),
        }
    }
}

/// The reason to stop and the sequence that was come upon. Whether there are calls to answer, and whether the model declined, is read
/// from the content (dialects.md 5.3).
pub(super) fn stop(finish: &Finish, calls: bool, declined: bool) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls if calls => ("tool_use", None),
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls if declined => ("refusal", None),
        Finish::StopSequence(sequence) => ("stop_sequence", sequence.as_deref()),
        Finish::Stop | Finish::Calls => ("end_turn", None),
        Finish::Length => ("max_tokens", None),
        Finish::Filtered => ("refusal", None),
    }
}

/// The body of a whole answer.
pub(super) fn body(answer: &Answer, about: &About) -> Bytes {
    let mut content = Vec::new();
    let mut calls = 0;
    for part in &answer.parts {
        match part {
            Part::Text(text) => push_text(&text.text, &mut content),
            Part::Refusal(text) => push_text(text, &mut content),
            Part::Thought(thought) => push_thought(thought, &mut content),
            Part::Call(call) => {
                push_call(call, call_id(&call.id, about, calls), &mut content);
                calls += 1;
            }
            // No model answers with these.
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Result(_) => {}
        }
    }
    let declined = answer.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let (stop_reason, stop_sequence) = stop(&answer.finish, calls > 0, declined);
    let id = answer.id.as_deref().unwrap_or(&about.id);
    let model = answer.model.as_deref().unwrap_or(&about.model);
    let begun = Message::begun(id, model, &answer.usage.unwrap_or_default());
    let message = Message { content, stop_reason: Some(stop_reason), stop_sequence, ..begun };
    // Strings, numbers and what was JSON before: nothing in it can fail to become JSON.
    written(&message, answer.said_bytes()).unwrap_or_default()
}

fn push_text(text: &str, content: &mut Vec<Block>) {
    if !text.is_empty() {
        content.push(Block::Text { text: text.to_owned() });
    }
}

fn push_thought(thought: &Thought, content: &mut Vec<Block>) {
    let (text, seal) = (thought.text.clone(), thought.seal.as_ref());
    match seal.filter(|seal| seal.kind.is_redacted()) {
        Some(redacted) => {
            content.extend((!text.is_empty()).then(|| Block::Thinking { thinking: text, signature: seals::NONE.to_owned() }));
            content.push(encrypted(redacted));
        }
        None if text.is_empty() && seal.is_none() => {}
        None => content
            .push(Block::Thinking { thinking: text, signature: seal.map_or_else(|| seals::NONE.to_owned(), seals::in_block) }),
    }
}

/// A block that only holds a seal.
pub(super) fn encrypted(seal: &Seal) -> Block {
    Block::RedactedThinking { data: seals::in_block(seal) }
}

fn push_call(call: &Call, id: String, content: &mut Vec<Block>) {
    content.extend(call.seal.as_ref().map(encrypted));
    if let Some(input) = Input::of(&call.arguments) {
        content.push(Block::ToolUse { id, name: call.name.clone(), input });
    }
}

#[cfg(test)]
mod tests;
