//! Reading an answer as deltas, whole or message by message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::answer::{Block, End, Reasoning, ToolUse, Whole, end_of, sequence_in};
use super::event::{CallStart, Event, Part, Piece};
use super::usage::Counts;
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::{Delta, Finish};
use crate::dialect::DeltaReader;

/// Reads one answer.
#[derive(Default)]
pub(super) struct Deltas {
    /// How many calls there were.
    calls: u32,
    /// The slots of calls by the blocks that they are.
    slots: BTreeMap<u32, u32>,
    /// The slot of the call that is told, while it has no arguments.
    bare: Option<u32>,
    /// Of the thought that is told: its seal so far, which may come in pieces.
    signature: String,
    redacted: String,
}

impl Deltas {
    /// Reads a whole answer.
    pub(super) fn whole(&mut self, whole: Whole<'_>, out: &mut Vec<Delta>) {
        out.extend(whole.usage.as_ref().and_then(Counts::usage).map(Delta::Usage));
        let (finish, sequence) = (end_of(whole.stop_reason.as_deref().unwrap_or_default()), sequence_in(whole.fields));
        for block in whole.into_blocks() {
            self.block(block, out);
        }
        finished(finish, sequence, out);
    }

    fn block(&mut self, block: Block<'_>, out: &mut Vec<Delta>) {
        let texts = block.citations_content.and_then(|cited| cited.content).into_iter().flatten().filter_map(|cited| cited.text);
        out.extend(block.text.into_iter().chain(texts).filter_map(text).map(Delta::Text));
        if let Some(Reasoning { reasoning_text, redacted_content }) = block.reasoning_content {
            if let Some(told) = reasoning_text {
                out.extend(told.text.and_then(text).map(Delta::Thought));
                self.signature.extend(told.signature);
            }
            self.redacted.extend(redacted_content);
            self.seal(out);
        }
        if let Some(call) = block.tool_use.filter(|call| call.kind.is_none()) {
            self.call(&call, out);
        }
    }

    fn call(&mut self, call: &ToolUse<'_>, out: &mut Vec<Delta>) {
        let slot = self.begin(call.id.as_deref(), call.name.as_deref(), out);
        out.extend(call.arguments().map(|arguments| Delta::Arguments { slot, piece: arguments.to_owned() }));
    }

    fn begin(&mut self, id: Option<&str>, name: Option<&str>, out: &mut Vec<Delta>) -> u32 {
        let slot = self.calls;
        self.calls = self.calls.saturating_add(1);
        let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
        out.push(Delta::Call { slot, id, name: name.unwrap_or_default().to_owned(), seal: None });
        slot
    }

    fn start(&mut self, part: Part<'_>, out: &mut Vec<Delta>) {
        let block = part.content_block_index;
        let Some(CallStart { tool_use_id, name, .. }) = part.call() else { return };
        let slot = self.begin(tool_use_id.as_deref(), name.as_deref(), out);
        self.slots.extend(block.map(|block| (block, slot)));
        self.bare = Some(slot);
    }

    fn piece(&mut self, block: Option<u32>, piece: Piece<'_>, out: &mut Vec<Delta>) {
        let slot = block.and_then(|block| self.slots.get(&block)).copied();
        if let (Some(slot), Some(arguments)) = (slot, piece.arguments().filter(|arguments| !arguments.is_empty())) {
            self.bare = self.bare.filter(|bare| *bare != slot);
            out.push(Delta::Arguments { slot, piece: arguments.to_owned() });
        }
        out.extend(piece.text.and_then(text).map(Delta::Text));
        if let Some(thought) = piece.reasoning_content {
            out.extend(thought.text.and_then(text).map(Delta::Thought));
            self.signature.extend(thought.signature);
            self.redacted.extend(thought.redacted_content);
        }
    }

    /// The thought that was told ends.
    fn seal(&mut self, out: &mut Vec<Delta>) {
        for (kind, held) in [(SealKind::BedrockSignature, &mut self.signature), (SealKind::BedrockRedacted, &mut self.redacted)] {
            let value = std::mem::take(held);
            out.extend((!value.is_empty()).then_some(Delta::Sealed(Seal { kind, value })));
        }
    }
}

fn text(text: Cow<'_, str>) -> Option<String> {
    (!text.is_empty()).then(|| text.into_owned())
}

fn finished(end: Option<End>, sequence: Option<String>, out: &mut Vec<Delta>) {
    match end {
        Some(End::Ended(Finish::StopSequence(_))) => out.push(Delta::Finish(Finish::StopSequence(sequence))),
        Some(End::Ended(finish)) => out.push(Delta::Finish(finish)),
        Some(End::Broke) | None => {}
    }
}

impl DeltaReader for Deltas {
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>) {
        match Event::of(frame) {
            Event::BlockStart(part) => {
                self.seal(out);
                self.start(part, out);
            }
            Event::BlockDelta(Part { content_block_index, delta, .. }) => {
                if let Some(piece) = delta {
                    self.piece(content_block_index, piece, out);
                }
            }
            Event::BlockStop => {
                self.seal(out);
                // A call without arguments is told to have none, so that what follows need not wait for any.
                out.extend(self.bare.take().map(|slot| Delta::Arguments { slot, piece: "{}".to_owned() }));
            }
            Event::MessageStop(part) => {
                self.seal(out);
                finished(end_of(part.stop_reason.as_deref().unwrap_or_default()), sequence_in(part.fields), out);
            }
            Event::Metadata(part) => out.extend(part.usage.as_ref().and_then(Counts::usage).map(Delta::Usage)),
            Event::MessageStart | Event::Failed(_) | Event::Unknown => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Delta>) {
        self.seal(out);
    }

    fn held(&self) -> usize {
        self.signature.len() + self.redacted.len()
    }
}
