//! Writing an answer as a stream of chat completion chunks. The reason to stop is held until the end, because calls may follow it,
//! and because it is the calls that decide it.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::about::About;
use super::chat_answer::{BETWEEN_THOUGHTS, WireUsage, call_id, finish_reason};
use super::citations::Nested;
use super::extra_content::Extra;
use super::freeform::Unwrapping;
use super::reasoning_details::Detail;
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::{Delta, Finish, StreamWriter};
use crate::units::Usage;

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    /// Null until the last chunk where the client wants to know, absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Report>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    /// Null.
    NotYet,
    Used(WireUsage),
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Piece<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Piece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Detail<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Nested<'a>>,
}

#[derive(Serialize)]
struct CallPiece<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionPiece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<CustomPiece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra<'a>>,
}

#[derive(Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct CustomPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    input: &'a str,
}

/// The writer of one stream.
#[derive(Debug)]
pub(super) struct ChatStream {
    about: About,
    begun: bool,
    /// The thought that has no seal yet, to be told again beside it.
    thought: String,
    /// The text of a thought was told.
    thought_before: bool,
    /// Entries of `reasoning_details` so far.
    details: u32,
    calls: Vec<Begun>,
    /// The last seal of a thought: told again at the end, since clients join what comes in pieces.
    seal: Option<Seal>,
    finish: Finish,
    usage: Option<Usage>,
}

/// A call that was told.
#[derive(Debug)]
struct Begun {
    slot: u32,
    has_arguments: bool,
    /// Of a custom tool: what it is told of its arguments.
    unwrapping: Option<Unwrapping>,
}

impl ChatStream {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            begun: false,
            thought: String::new(),
            thought_before: false,
            details: 0,
            calls: Vec::new(),
            seal: None,
            finish: Finish::default(),
            usage: None,
        }
    }

    /// Takes over what the provider calls the answer, unless something was told already: in one stream it stays the same.
    fn named(&mut self, id: Option<String>, model: Option<String>, out: &mut BytesMut) {
        if !self.begun {
            self.about.id = id.unwrap_or_else(|| std::mem::take(&mut self.about.id));
            self.about.model = model.unwrap_or_else(|| std::mem::take(&mut self.about.model));
        }
        self.begin(out);
    }

    /// The first chunk says who speaks.
    fn begin(&mut self, out: &mut BytesMut) {
        if !self.begun {
            self.begun = true;
            self.piece(Piece { role: Some("assistant"), content: Some(""), ..Piece::default() }, out);
        }
    }

    fn tell(&mut self, delta: Piece<'_>, out: &mut BytesMut) {
        self.begin(out);
        self.piece(delta, out);
    }

    fn piece(&self, delta: Piece<'_>, out: &mut BytesMut) {
        self.chunk(&[Choice { index: 0, delta, logprobs: None, finish_reason: None }], None, out);
    }

    fn chunk(&self, choices: &[Choice<'_>], usage: Option<WireUsage>, out: &mut BytesMut) {
        let About { id, model, created, wants_usage, .. } = &self.about;
        let usage = wants_usage.then(|| usage.map_or(Report::NotYet, Report::Used));
        let chunk = Chunk { id, object: "chat.completion.chunk", created: *created, model, choices, usage };
        out.put_slice(b"data: ");
        // Strings and numbers into memory: it cannot fail.
        let _ = serde_json::to_writer((&mut *out).writer(), &chunk);
        out.put_slice(b"\n\n");
    }

    fn call(&mut self, slot: u32, id: &str, name: &str, seal: Option<&Seal>, out: &mut BytesMut) {
        self.begin(out);
        self.thought.clear();
        let index = self.calls.len();
        let id = call_id(id, &self.about, index);
        let own = self.about.own_tool(name).filter(|own| own.custom);
        let custom = own.map(|own| CustomPiece { name: Some(&own.name), input: "" });
        let function = custom.is_none().then_some(FunctionPiece { name: Some(name), arguments: "" });
        let unwrapping = custom.as_ref().map(|_| Unwrapping::default());
        self.calls.push(Begun { slot, has_arguments: false, unwrapping });
        let kind = Some(if custom.is_some() { "custom" } else { "function" });
        let call = CallPiece { index, id: Some(&id), kind, function, custom, extra_content: Extra::of(seal) };
        let details: Vec<Detail<'_>> = seal.map(|seal| Detail::of_call(id.clone(), seal, self.details)).into_iter().collect();
        self.details += u32::from(!details.is_empty());
        self.piece(Piece { tool_calls: Some([call]), reasoning_details: details, ..Piece::default() }, out);
    }

    fn arguments(&mut self, slot: u32, arguments: &str, out: &mut BytesMut) {
        let Some(index) = self.calls.iter().position(|call| call.slot == slot) else { return };
        let call = &mut self.calls[index];
        call.has_arguments = true;
        match &mut call.unwrapping {
            Some(unwrapping) => {
                let input = unwrapping.push(arguments);
                self.more_input(index, &input, out);
            }
            None => self.more_arguments(index, arguments, out),
        }
    }

    fn more_arguments(&self, index: usize, arguments: &str, out: &mut BytesMut) {
        self.more_of(index, Some(FunctionPiece { name: None, arguments }), None, out);
    }

    /// Of a custom tool's text.
    fn more_input(&self, index: usize, input: &str, out: &mut BytesMut) {
        if !input.is_empty() {
            self.more_of(index, None, Some(CustomPiece { name: None, input }), out);
        }
    }

    fn more_of(&self, index: usize, function: Option<FunctionPiece<'_>>, custom: Option<CustomPiece<'_>>, out: &mut BytesMut) {
        let call = CallPiece { index, id: None, kind: None, function, custom, extra_content: None };
        self.piece(Piece { tool_calls: Some([call]), ..Piece::default() }, out);
    }

    fn sealed(&mut self, seal: Seal, out: &mut BytesMut) {
        self.begin(out);
        let thought = std::mem::take(&mut self.thought);
        let reasoning_details = Detail::of_thought(&thought, &seal, self.details);
        self.piece(Piece { reasoning_details, ..Piece::default() }, out);
        self.details += 1;
        if seal.kind == SealKind::GeminiSignature {
            self.seal = Some(seal);
        }
    }
}

impl StreamWriter for ChatStream {
    fn write(&mut self, delta: Delta, out: &mut BytesMut) {
        match delta {
            Delta::Finish(finish) => self.finish = finish,
            Delta::Usage(usage) => self.usage = Some(usage),
            Delta::Begin { id, model } => self.named(id, model, out),
            Delta::Text(piece) | Delta::Thought(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. }
                if piece.is_empty() => {}
            Delta::Text(piece) => {
                self.thought.clear();
                self.tell(Piece { content: Some(&piece), ..Piece::default() }, out);
            }
            Delta::Cited(citation) => {
                self.tell(Piece { annotations: vec![Nested::of(&citation)], ..Piece::default() }, out);
            }
            Delta::Refusal(piece) => {
                self.thought.clear();
                self.tell(Piece { refusal: Some(&piece), ..Piece::default() }, out);
            }
            Delta::Thought(piece) => {
                let another = self.thought.is_empty() && self.thought_before;
                self.thought.push_str(&piece);
                self.thought_before = true;
                let told = if another { format!("{BETWEEN_THOUGHTS}{piece}") } else { piece };
                self.tell(Piece { reasoning_content: Some(&told), ..Piece::default() }, out);
            }
            Delta::Sealed(seal) => self.sealed(seal, out),
            Delta::Call { slot, id, name, seal } => self.call(slot, &id.unwrap_or_default(), &name, seal.as_ref(), out),
            Delta::Arguments { slot, piece } => self.arguments(slot, &piece, out),
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        for index in 0..self.calls.len() {
            match self.calls[index].unwrapping.as_mut().map(Unwrapping::end) {
                Some(rest) => self.more_input(index, &rest, out),
                None if self.calls[index].has_arguments => {}
                None => self.more_arguments(index, "{}", out),
            }
        }
        let finish_reason = Some(finish_reason(&self.finish, !self.calls.is_empty()));
        let delta = Piece { extra_content: Extra::of(self.seal.as_ref()), ..Piece::default() };
        self.chunk(&[Choice { index: 0, delta, logprobs: None, finish_reason }], None, out);
        if let Some(usage) = self.usage.as_ref().filter(|_| self.about.wants_usage) {
            self.chunk(&[], Some(WireUsage::of(usage)), out);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn held(&self) -> usize {
        let unwrapped: usize = self.calls.iter().filter_map(|call| call.unwrapping.as_ref()).map(Unwrapping::held).sum();
        unwrapped
            + self.thought.len()
            + self.calls.len() * size_of::<Begun>()
            + self.seal.as_ref().map_or(0, |seal| seal.value.len())
    }
}

#[cfg(test)]
mod tests;
