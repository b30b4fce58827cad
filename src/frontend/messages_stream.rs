//! Writing an answer as the events of Anthropic's Messages, where blocks come one after the other.
//!
//! Pieces of several calls may interleave on their way in. Blocks stand in a queue in the order in which they began; the first
//! one is open and told as it comes, the others wait. It is closed when another waits and nothing more can come for it: a text or a
//! thought then, a call when its arguments are a whole object. At the end all that wait are told.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::about::About;
use super::chat_answer::call_id;
use super::extent::Extent;
use super::messages_answer::{Block, Input, Message, WireUsage, encrypted, stop};
use super::seals;
use crate::canonical::conversation::Seal;
use crate::canonical::{Delta, Finish, StreamWriter};
use crate::units::{Tokens, Usage};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: u32, content_block: &'a Block },
    ContentBlockDelta { index: u32, delta: Piece<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Stop<'a>, usage: WireUsage },
    MessageStop,
}

impl Event<'_> {
    /// What the line before the data says.
    const fn word(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
        }
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"event: ");
        out.put_slice(self.word().as_bytes());
        out.put_slice(b"\ndata: ");
        // Strings, numbers and what was JSON before, into memory: it cannot fail.
        let _ = serde_json::to_writer((&mut *out).writer(), self);
        out.put_slice(b"\n\n");
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Piece<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
}

#[derive(Serialize)]
struct Stop<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
}

/// A block that is open or waits.
#[derive(Debug)]
struct Pending {
    kind: Kind,
    /// What it is told to be when it is opened.
    start: Block,
    opened: bool,
    /// What came for it and was not told yet.
    piece: String,
    /// Something was told of it.
    told: bool,
}

#[derive(Debug)]
enum Kind {
    Text,
    Refusal,
    Thought {
        seal: Option<Seal>,
    },
    /// Nothing but a seal.
    Encrypted,
    Call {
        slot: u32,
        extent: Extent,
    },
}

impl Pending {
    fn new(kind: Kind, start: Block, piece: String) -> Self {
        Self { kind, start, opened: false, piece, told: false }
    }

    fn thought(piece: String, seal: Option<Seal>) -> Self {
        Self::new(Kind::Thought { seal }, Block::Thinking { thinking: String::new(), signature: String::new() }, piece)
    }

    fn sealed(seal: &Seal) -> Self {
        Self::new(Kind::Encrypted, encrypted(seal), String::new())
    }

    /// Nothing more can come for it, given whether others wait behind it.
    fn is_done(&self, others: bool) -> bool {
        match &self.kind {
            Kind::Encrypted | Kind::Thought { seal: Some(_) } => true,
            Kind::Text | Kind::Refusal | Kind::Thought { seal: None } => others,
            Kind::Call { extent, .. } => others && extent.is_whole(),
        }
    }

    fn piece(&self) -> Piece<'_> {
        let piece = self.piece.as_str();
        match self.kind {
            Kind::Text | Kind::Refusal => Piece::Text { text: piece },
            Kind::Thought { .. } | Kind::Encrypted => Piece::Thinking { thinking: piece },
            Kind::Call { .. } => Piece::Input { partial_json: piece },
        }
    }
}

/// What keeps a stream of Messages open.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The writer of one stream.
#[derive(Debug)]
pub(super) struct MessagesStream {
    about: About,
    begun: bool,
    queue: VecDeque<Pending>,
    /// The number of the first block in the queue.
    index: u32,
    calls: usize,
    /// The model declined.
    declined: bool,
    finish: Finish,
    usage: Option<Usage>,
    /// Bytes of what waits, about: added as it comes, taken off as it is told.
    waiting: usize,
}

impl MessagesStream {
    pub(super) fn new(about: About) -> Self {
        let (queue, finish) = (VecDeque::new(), Finish::default());
        Self { about, begun: false, queue, index: 0, calls: 0, declined: false, finish, usage: None, waiting: 0 }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if !self.begun {
            self.begun = true;
            // What is told of the output here is counted again in the sum at the end.
            let usage = Usage { output: Tokens::ZERO, reasoning: Tokens::ZERO, ..self.usage.unwrap_or_default() };
            Event::MessageStart { message: Message::begun(&self.about.id, &self.about.model, &usage) }.write(out);
        }
    }

    fn push_text(&mut self, piece: String, refusal: bool) {
        match self.queue.back_mut() {
            Some(Pending { kind: Kind::Text, piece: more, .. }) if !refusal => more.push_str(&piece),
            Some(Pending { kind: Kind::Refusal, piece: more, .. }) if refusal => more.push_str(&piece),
            _ => {
                let kind = if refusal { Kind::Refusal } else { Kind::Text };
                self.queue.push_back(Pending::new(kind, Block::Text { text: String::new() }, piece));
            }
        }
    }

    fn push_thought(&mut self, piece: String) {
        match self.queue.back_mut() {
            Some(Pending { kind: Kind::Thought { seal: None }, piece: more, .. }) => more.push_str(&piece),
            _ => self.queue.push_back(Pending::thought(piece, None)),
        }
    }

    fn push_seal(&mut self, seal: Seal) {
        match self.queue.back_mut() {
            _ if seal.kind.is_redacted() => self.queue.push_back(Pending::sealed(&seal)),
            Some(Pending { kind: Kind::Thought { seal: open @ None }, .. }) => *open = Some(seal),
            _ => self.queue.push_back(Pending::thought(String::new(), Some(seal))),
        }
    }

    fn push_call(&mut self, slot: u32, id: &str, name: String, seal: Option<&Seal>) {
        let id = call_id(id, &self.about, self.calls);
        self.calls += 1;
        self.queue.extend(seal.map(Pending::sealed));
        if let Some(input) = Input::of("") {
            let start = Block::ToolUse { id, name, input };
            self.queue.push_back(Pending::new(Kind::Call { slot, extent: Extent::default() }, start, String::new()));
        }
    }

    /// What comes for a call that was whole and is closed is lost: it would be no arguments.
    fn push_arguments(&mut self, to: u32, arguments: &str) {
        for pending in &mut self.queue {
            if let Kind::Call { slot, extent } = &mut pending.kind
                && *slot == to
            {
                extent.take(arguments);
                pending.piece.push_str(arguments);
                return;
            }
        }
    }

    /// Tells what can be told; at the end, all of it.
    fn drain(&mut self, end: bool, out: &mut BytesMut) {
        let mut waiting = self.queue.len();
        while let Some(first) = self.queue.front_mut() {
            waiting -= 1;
            let index = self.index;
            if !first.opened {
                first.opened = true;
                Event::ContentBlockStart { index, content_block: &first.start }.write(out);
            }
            if !first.piece.is_empty() {
                Event::ContentBlockDelta { index, delta: first.piece() }.write(out);
                self.waiting = self.waiting.saturating_sub(first.piece.len());
                first.piece.clear();
                first.told = true;
            }
            if !end && !first.is_done(waiting > 0) {
                return;
            }
            close(first, index, out);
            self.queue.pop_front();
            if self.queue.is_empty() {
                self.waiting = 0;
            }
            self.index += 1;
        }
    }
}

/// Tells the end of a block: of a thought its seal, of a call without arguments that it has none.
fn close(done: &Pending, index: u32, out: &mut BytesMut) {
    let last = match &done.kind {
        Kind::Thought { seal } => {
            Some(Piece::Signature { signature: seal.as_ref().map_or_else(|| seals::NONE.to_owned(), seals::in_block) })
        }
        Kind::Call { .. } if !done.told => Some(Piece::Input { partial_json: "{}" }),
        Kind::Text | Kind::Refusal | Kind::Encrypted | Kind::Call { .. } => None,
    };
    if let Some(delta) = last {
        Event::ContentBlockDelta { index, delta }.write(out);
    }
    Event::ContentBlockStop { index }.write(out);
}

impl StreamWriter for MessagesStream {
    fn write(&mut self, delta: Delta, out: &mut BytesMut) {
        let bytes = delta.bytes();
        match delta {
            Delta::Finish(finish) => return self.finish = finish,
            Delta::Usage(usage) => return self.usage = Some(usage),
            // There is no word for a source here.
            Delta::Cited(_) => return,
            Delta::Begin { id, model } if !self.begun => {
                self.about.id = id.unwrap_or_else(|| std::mem::take(&mut self.about.id));
                self.about.model = model.unwrap_or_else(|| std::mem::take(&mut self.about.model));
            }
            Delta::Begin { .. } => {}
            // What says nothing opens no block and closes none.
            Delta::Text(piece) | Delta::Thought(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. }
                if piece.is_empty() =>
            {
                return;
            }
            Delta::Text(piece) => self.push_text(piece, false),
            Delta::Refusal(piece) => {
                self.declined = true;
                self.push_text(piece, true);
            }
            Delta::Thought(piece) => self.push_thought(piece),
            Delta::Sealed(seal) => self.push_seal(seal),
            Delta::Call { slot, id, name, seal } => self.push_call(slot, &id.unwrap_or_default(), name, seal.as_ref()),
            Delta::Arguments { slot, piece } => self.push_arguments(slot, &piece),
        }
        self.waiting += bytes;
        self.begin(out);
        self.drain(false, out);
    }

    /// As Anthropic's API does, and as it does not before the message has begun ("Streaming messages", platform.claude.com, 2026-11).
    fn keep_alive(&self, out: &mut BytesMut) {
        let silence: &[u8] = if self.begun { PING } else { b": keep-alive\n\n" };
        out.extend_from_slice(silence);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        self.drain(true, out);
        let (stop_reason, stop_sequence) = stop(&self.finish, self.calls > 0, self.declined);
        let usage = WireUsage::of(&self.usage.unwrap_or_default());
        Event::MessageDelta { delta: Stop { stop_reason, stop_sequence }, usage }.write(out);
        Event::MessageStop.write(out);
    }

    fn held(&self) -> usize {
        self.waiting + self.queue.len() * size_of::<Pending>()
    }
}

#[cfg(test)]
mod tests;
