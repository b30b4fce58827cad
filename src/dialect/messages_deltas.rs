//! Reading an answer of Messages as deltas, whole or event by event. Usage and errors are told by the reader of frames.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::walk::few;
use super::{DeltaReader, sse};
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::{Delta, Finish};

/// A message: a whole answer, or what one begins with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message<'b> {
    #[serde(borrow, default)]
    id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "few")]
    content: Option<Vec<Block<'b>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    stop_sequence: Option<Cow<'b, str>>,
}

/// A block, or a delta of one, by the members that say something; `type` is not needed to tell them apart but for the texts of
/// blocks that nobody knows.
#[derive(Debug, Default, Deserialize)]
struct Block<'b> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    signature: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    data: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    input: Option<&'b RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    stop_sequence: Option<Cow<'b, str>>,
}

/// An event of a stream.
#[derive(Debug, Default, Deserialize)]
struct Event<'b> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    message: Option<Message<'b>>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    content_block: Option<Block<'b>>,
    #[serde(borrow, default)]
    delta: Option<Block<'b>>,
}

/// Reads one answer.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    begun: bool,
    /// The answer's id, for calls that have none.
    id: String,
    /// The block of each call, in the order in which they began.
    calls: Vec<u64>,
    /// The slot of the last call while it has no arguments.
    bare: Option<u32>,
    finished: bool,
}

impl Deltas {
    /// Reads a whole answer.
    pub(super) fn message(mut self, message: Message<'_>) -> Vec<Delta> {
        let mut out = Vec::new();
        let Message { content, stop_reason, stop_sequence, .. } = self.begin(message, &mut out);
        for (block, index) in content.unwrap_or_default().into_iter().zip(0..) {
            self.block(block, index, &mut out);
        }
        self.finish(stop_reason.as_deref(), stop_sequence, &mut out);
        out
    }

    fn begin<'b>(&mut self, message: Message<'b>, out: &mut Vec<Delta>) -> Message<'b> {
        if !self.begun {
            self.begun = true;
            let said = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
            let (id, model) = (said(&message.id), said(&message.model));
            self.id = id.clone().unwrap_or_default();
            out.push(Delta::Begin { id, model });
        }
        message
    }

    /// Whatever a block has from its beginning: all of it in a whole answer, mostly nothing in a stream.
    fn block(&mut self, block: Block<'_>, index: u64, out: &mut Vec<Delta>) {
        match block.kind.as_deref() {
            Some("text") => piece(block.text, Delta::Text, out),
            Some("thinking") => {
                piece(block.thinking, Delta::Thought, out);
                seal(block.signature, SealKind::AnthropicSignature, out);
            }
            Some("redacted_thinking") => seal(block.data, SealKind::AnthropicRedacted, out),
            Some("tool_use") => self.call(block, index, out),
            // What a provider's own tools asked and found is of no use to a client that did not offer them.
            _ => {}
        }
    }

    fn call(&mut self, block: Block<'_>, index: u64, out: &mut Vec<Delta>) {
        let slot = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(index);
        let given = block.id.filter(|id| !id.is_empty()).map(Cow::into_owned);
        // Where the answer has no id either, one is made up by whoever writes it.
        let id = given.or_else(|| (!self.id.is_empty()).then(|| format!("call_{}_{slot}", self.id)));
        out.push(Delta::Call { slot, id, name: block.name.unwrap_or_default().into_owned(), seal: None });
        // A stream begins a call with an empty object, and tells its arguments then.
        let input = block
            .input
            .map(RawValue::get)
            .filter(|input| !matches!(input.replace([' ', '\n'], "").as_str(), "{}" | "null" | "\"\""));
        self.bare = input.is_none().then_some(slot);
        out.extend(input.map(|input| Delta::Arguments { slot, piece: input.to_owned() }));
    }

    /// A block has ended: a call without arguments is told to have none, so that what follows need not wait for any.
    fn close(&mut self, index: u64, out: &mut Vec<Delta>) {
        let bare = self.bare.take_if(|slot| self.calls.get(*slot as usize) == Some(&index));
        out.extend(bare.map(|slot| Delta::Arguments { slot, piece: "{}".to_owned() }));
    }

    fn change(&mut self, delta: Block<'_>, index: u64, out: &mut Vec<Delta>) {
        match delta.kind.as_deref() {
            Some("text_delta") => piece(delta.text, Delta::Text, out),
            Some("thinking_delta") => piece(delta.thinking, Delta::Thought, out),
            Some("signature_delta") => seal(delta.signature, SealKind::AnthropicSignature, out),
            Some("input_json_delta") => {
                // Of blocks that began twice at one place the last is meant.
                let slot = self.calls.iter().rposition(|call| *call == index).and_then(|slot| u32::try_from(slot).ok());
                if let Some(slot) = slot {
                    self.bare = self.bare.filter(|bare| *bare != slot || delta.partial_json.as_deref().is_none_or(str::is_empty));
                    piece(delta.partial_json, |piece| Delta::Arguments { slot, piece }, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, reason: Option<&str>, sequence: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        let Some(reason) = reason.filter(|reason| !reason.is_empty() && !self.finished) else { return };
        self.finished = true;
        out.push(Delta::Finish(match reason {
            "max_tokens" | "model_context_window_exceeded" => Finish::Length,
            "tool_use" => Finish::Calls,
            "refusal" => Finish::Filtered,
            "stop_sequence" => Finish::StopSequence(sequence.map(Cow::into_owned)),
            // `end_turn`, `pause_turn` of tools that nobody offered, and words of tomorrow.
            _ => Finish::Stop,
        }));
    }
}

impl DeltaReader for Deltas {
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>) {
        let data = sse::data_of(frame);
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data.trim_ascii()) else { return };
        let index = event.index.unwrap_or(0);
        match event.kind.as_deref() {
            Some("message_start") => {
                // Some sites begin with a message that has something in it already.
                let begun = self.begun;
                let message = self.begin(event.message.unwrap_or_default(), out);
                let content = message.content.filter(|_| !begun).unwrap_or_default();
                content.into_iter().zip(0..).for_each(|(block, index)| self.block(block, index, out));
            }
            Some("content_block_start") => {
                if let Some(block) = event.content_block {
                    self.block(block, index, out);
                }
            }
            Some("content_block_delta") => {
                if let Some(delta) = event.delta {
                    self.change(delta, index, out);
                }
            }
            Some("content_block_stop") => self.close(index, out),
            Some("message_delta") => {
                if let Some(delta) = event.delta {
                    self.finish(delta.stop_reason.as_deref(), delta.stop_sequence, out);
                }
            }
            _ => {}
        }
    }

    /// Nothing is held back.
    fn end(&mut self, _: &mut Vec<Delta>) {}

    fn held(&self) -> usize {
        self.calls.len() * size_of::<u64>()
    }
}

fn piece(text: Option<Cow<'_, str>>, as_delta: impl FnOnce(String) -> Delta, out: &mut Vec<Delta>) {
    out.extend(text.filter(|text| !text.is_empty()).map(|text| as_delta(text.into_owned())));
}

fn seal(value: Option<Cow<'_, str>>, kind: SealKind, out: &mut Vec<Delta>) {
    let sealed = |value: Cow<'_, str>| Delta::Sealed(Seal { kind, value: value.into_owned() });
    out.extend(value.filter(|value| !value.is_empty()).map(sealed));
}

#[cfg(test)]
#[path = "messages_deltas/tests.rs"]
mod tests;
