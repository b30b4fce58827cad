//! A whole answer of Converse, and why an answer ends.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Counts;
use crate::canonical::Finish;

/// An answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<Cow<'a, str>>,
    pub(super) usage: Option<Counts>,
    #[serde(borrow, rename = "additionalModelResponseFields")]
    pub(super) fields: Option<&'a RawValue>,
}

/// The stop sequence among what a model tells in its own words, where it is asked for that.
pub(super) fn sequence_in(fields: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Fields {
        stop_sequence: Option<String>,
    }
    serde_json::from_str::<Fields>(fields?.get()).ok()?.stop_sequence.filter(|sequence| !sequence.is_empty())
}

impl<'a> Whole<'a> {
    /// Whether it says something, or says that it says nothing.
    pub(super) fn is_answer(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.message.is_some())
    }

    fn blocks(&self) -> &[Block<'a>] {
        let message = self.output.as_ref().and_then(|output| output.message.as_ref());
        message.and_then(|message| message.content.as_deref()).unwrap_or_default()
    }

    pub(super) fn into_blocks(self) -> Vec<Block<'a>> {
        self.output.and_then(|output| output.message?.content).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
}

/// A piece of what the model said: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Reasoning<'a>>,
    /// A text with what it is taken from.
    #[serde(borrow)]
    pub(super) citations_content: Option<Cited<'a>>,
}

/// A call of a tool, which comes whole here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    /// Of a tool that the provider runs itself.
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
}

impl ToolUse<'_> {
    /// The arguments' text; nothing where there are none.
    pub(super) fn arguments(&self) -> Option<&str> {
        self.input.map(RawValue::get).filter(|input| *input != "null")
    }
}

/// What is told of a thought, in one of two ways.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasoning<'a> {
    #[serde(borrow)]
    pub(super) reasoning_text: Option<ReasoningText<'a>>,
    /// The thought itself, encrypted.
    #[serde(borrow)]
    pub(super) redacted_content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct ReasoningText<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) signature: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct Cited<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Vec<CitedText<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct CitedText<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
}

/// What a stop reason says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Ended(Finish),
    /// The answer failed, and is none.
    Broke,
}

/// What a stop reason says; nothing where there is none.
pub(super) fn end_of(reason: &str) -> Option<End> {
    Some(match reason {
        "" => return None,
        "max_tokens" | "model_context_window_exceeded" => End::Ended(Finish::Length),
        "tool_use" => End::Ended(Finish::Calls),
        "stop_sequence" => End::Ended(Finish::StopSequence(None)),
        "guardrail_intervened" | "content_filtered" => End::Ended(Finish::Filtered),
        "malformed_model_output" | "malformed_tool_use" => End::Broke,
        _ => End::Ended(Finish::Stop),
    })
}

/// What the gateway acts on in a whole answer.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The stop reason that means failure.
    pub(super) broke: Option<String>,
    pub(super) too_long: bool,
    /// Bytes of thinking; at least one where there was any, also without a text.
    pub(super) reasoning_bytes: u64,
}

impl Reading {
    /// Reads an answer; whatever the model generated goes to `text`.
    pub(super) fn of(whole: &Whole<'_>, text: &mut dyn FnMut(&str)) -> Self {
        let mut reading = Self::default();
        whole.blocks().iter().for_each(|block| reading.block(block, text));
        let reason = whole.stop_reason.as_deref().unwrap_or_default();
        match end_of(reason) {
            Some(End::Ended(finish)) => reading.too_long = finish == Finish::Length,
            Some(End::Broke) => reading.broke = Some(reason.to_owned()),
            None => {}
        }
        reading
    }

    fn block(&mut self, block: &Block<'_>, text: &mut dyn FnMut(&str)) {
        block.text.iter().for_each(|said| text(said));
        let cited = block.citations_content.iter().flat_map(|cited| cited.content.iter().flatten());
        cited.filter_map(|cited| cited.text.as_deref()).for_each(&mut *text);
        if let Some(call) = &block.tool_use {
            call.name.iter().for_each(|name| text(name));
            call.arguments().into_iter().for_each(&mut *text);
        }
        if let Some(reasoning) = &block.reasoning_content {
            let thought = reasoning.reasoning_text.as_ref();
            let said = thought.and_then(|thought| thought.text.as_deref()).unwrap_or_default();
            let seals = [thought.and_then(|thought| thought.signature.as_ref()), reasoning.redacted_content.as_ref()];
            let sealed = seals.into_iter().flatten().any(|seal| !seal.is_empty());
            self.reasoning_bytes += (said.len() as u64).max(u64::from(sealed));
            text(said);
        }
    }
}
