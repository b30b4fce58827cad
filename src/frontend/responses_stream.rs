//! Writing an answer as the events of Responses. Items stand in the output in the order in which they begin. Each event names its
//! own, yet one item is told after the other ([`InTurn`]): so does the shape's maker, and clients count on it (`LangChain` takes each
//! change of `output_index` for another call, langchain-openai 1.7.3).
//!
//! An item ends when another begins. What is still open ends with the answer. The event that ends the stream has the whole answer in
//! it.

use std::borrow::Cow;
use std::mem;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::about::About;
use super::citations::Flat;
use super::errors::ClientError;
use super::freeform::{self, Unwrapping};
use super::in_turn::InTurn;
use super::responses_answer::{Content, Item, Response, Span, Status, item, item_id};
use super::seen::Seen;
use crate::canonical::conversation::{Call, Thought};
use crate::canonical::{Answer, Delta, Part, StreamWriter};

/// The number of the event that tells a failure where those before it had none: the largest that they may have.
const LAST: u32 = u32::MAX;

const ARGUMENTS_DELTA: &str = "response.function_call_arguments.delta";
const INPUT_DELTA: &str = "response.custom_tool_call_input.delta";

/// Beside its type and number an event has what its type has.
#[derive(Default, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Item<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation: Option<Flat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
}

impl Event<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"event: ");
        out.put_slice(self.kind.as_bytes());
        out.put_slice(b"\ndata: ");
        // Strings, numbers and what was JSON before, into memory: it cannot fail.
        let _ = serde_json::to_writer((&mut *out).writer(), self);
        out.put_slice(b"\n\n");
    }
}

/// The event that ends a stream which broke off.
pub(super) fn failed(error: &ClientError, about: &About, seen: &Seen) -> Bytes {
    let mut out = BytesMut::new();
    let (response, sequence_number) = (Some(Response::failed(error, about, seen)), seen.next_number().unwrap_or(LAST));
    Event { kind: "response.failed", sequence_number, response, ..Event::default() }.write(&mut out);
    out.freeze()
}

/// Counts events.
#[derive(Debug, Default)]
struct Teller {
    next: u32,
}

impl Teller {
    fn tell(&mut self, event: Event<'_>, out: &mut BytesMut) {
        Event { sequence_number: self.next, ..event }.write(out);
        self.next += 1;
    }
}

/// An item that was begun.
#[derive(Debug)]
struct Begun {
    span: Span,
    id: String,
    is_open: bool,
}

/// A call whose item was begun.
#[derive(Debug)]
struct BegunCall {
    slot: u32,
    item: usize,
    /// Of a custom tool: what it is told of its arguments.
    unwrapping: Option<Unwrapping>,
}

/// About so many bytes an item's id has.
const ITEM_ID: usize = 64;

/// The writer of one stream.
#[derive(Debug)]
pub(super) struct ResponsesStream {
    about: About,
    begun: bool,
    teller: Teller,
    in_turn: InTurn,
    /// All that was told.
    answer: Answer,
    /// In the order of the output.
    items: Vec<Begun>,
    /// In the order of their beginnings.
    calls: Vec<BegunCall>,
    /// Bytes of the texts in the answer.
    kept: usize,
}

impl ResponsesStream {
    pub(super) fn new(about: About) -> Self {
        let (teller, in_turn, answer) = (Teller::default(), InTurn::default(), Answer::default());
        Self { about, begun: false, teller, in_turn, answer, items: Vec::new(), calls: Vec::new(), kept: 0 }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if self.begun {
            return;
        }
        self.begun = true;
        // In one stream it stays the same.
        let model: &str = self.answer.model.get_or_insert_with(|| self.about.model.clone());
        for kind in ["response.created", "response.in_progress"] {
            let response = Some(Response::begun(model, &self.about));
            self.teller.tell(Event { kind, response, ..Event::default() }, out);
        }
    }

    /// Ends what another item ends, and begins that.
    fn add(&mut self, span: Span, out: &mut BytesMut) {
        if let Some((last, _)) = self.last() {
            self.close(last, Status::Completed, out);
        }
        let index = self.items.len();
        let id = item_id(&span, index, &self.answer.parts, &self.about);
        let item = match &span {
            Span::Message(_) => {
                Some(Item::Message { id: id.clone(), status: Status::InProgress, role: "assistant", content: Vec::new() })
            }
            Span::Thought(_) => Some(Item::Reasoning { id: id.clone(), summary: Vec::new(), encrypted_content: None }),
            Span::SealOf(_) => item(&span, index, &self.answer, Status::Completed, &self.about),
            Span::Call(..) => {
                let begun = item(&span, index, &self.answer, Status::InProgress, &self.about);
                begun.map(|item| match item {
                    Item::FunctionCall { id, call_id, name, namespace, status, .. } => {
                        Item::FunctionCall { id, call_id, name, namespace, arguments: "", status }
                    }
                    Item::CustomToolCall { id, call_id, name, namespace, status, .. } => {
                        Item::CustomToolCall { id, call_id, name, namespace, input: String::new(), status }
                    }
                    other @ (Item::Reasoning { .. } | Item::Message { .. }) => other,
                })
            }
        };
        let kind = "response.output_item.added";
        self.teller.tell(Event { kind, output_index: Some(index), item, ..Event::default() }, out);
        self.items.push(Begun { span, id, is_open: true });
    }

    /// The last item, if it is open.
    fn last(&self) -> Option<(usize, &Begun)> {
        self.items.last().filter(|item| item.is_open).map(|item| (self.items.len() - 1, item))
    }

    /// Tells the next piece of a text or of a refusal.
    fn say(&mut self, piece: String, refusal: bool, out: &mut BytesMut) {
        let at = self.answer.parts.len();
        let goes_on = match self.answer.parts.last() {
            Some(Part::Text(_)) => !refusal,
            Some(Part::Refusal(_)) => refusal,
            _ => false,
        };
        match self.last() {
            Some((_, Begun { span: Span::Message(_), .. })) if goes_on => {}
            Some((index, Begun { span: Span::Message(range), .. })) => {
                let range = range.start..at + 1;
                self.close_part(index, out);
                self.items[index].span = Span::Message(range);
                self.open_part(index, refusal, out);
            }
            _ => {
                self.add(Span::Message(at..at + 1), out);
                self.open_part(self.items.len() - 1, refusal, out);
            }
        }
        let index = self.items.len() - 1;
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        let logprobs = (!refusal).then_some([]);
        let event = Event { kind, content_index: self.part_of(index), delta: Some(&piece), logprobs, ..self.about_item(index) };
        self.teller.tell(event, out);
        self.answer.add(if refusal { Delta::Refusal(piece) } else { Delta::Text(piece) });
    }

    /// Tells a source of the text that is being told. One of a text that has ended is told with the whole answer.
    fn cite(&mut self, cited: Delta, out: &mut BytesMut) {
        let told = self.answer.cited.len();
        self.answer.add(cited);
        if self.answer.cited.len() == told {
            return;
        }
        let (Some(at), Some((index, Begun { span: Span::Message(_), .. }))) =
            (self.answer.parts.len().checked_sub(1), self.last())
        else {
            return;
        };
        let mut annotations = Flat::all(&self.answer, at);
        let Some(annotation) = annotations.pop() else { return };
        let kind = "response.output_text.annotation.added";
        let (content_index, annotation_index) = (self.part_of(index), Some(annotations.len()));
        let event = Event { kind, content_index, annotation_index, annotation: Some(annotation), ..self.about_item(index) };
        self.teller.tell(event, out);
    }

    fn about_item<'e>(&self, index: usize) -> Event<'e> {
        Event { item_id: Some(self.items[index].id.clone()), output_index: Some(index), ..Event::default() }
    }

    /// The place of the last part in a message.
    fn part_of(&self, index: usize) -> Option<usize> {
        match &self.items[index].span {
            Span::Message(range) => Some(range.len() - 1),
            Span::Thought(_) | Span::SealOf(_) | Span::Call(..) => None,
        }
    }

    fn open_part(&mut self, index: usize, refusal: bool, out: &mut BytesMut) {
        let part = Some(if refusal { Content::Refusal { refusal: "" } } else { Content::text("") });
        let kind = "response.content_part.added";
        let event = Event { kind, content_index: self.part_of(index), part, ..self.about_item(index) };
        self.teller.tell(event, out);
    }

    /// Tells the end of the last part of a message.
    fn close_part(&mut self, index: usize, out: &mut BytesMut) {
        let Span::Message(range) = &self.items[index].span else { return };
        let Some(part) = self.answer.parts.get(range.end - 1) else { return };
        let content_index = self.part_of(index);
        let about = || Event { content_index, ..self.about_item(index) };
        let whole = match part {
            Part::Refusal(refusal) => Event { kind: "response.refusal.done", refusal: Some(refusal), ..about() },
            Part::Text(text) => {
                Event { kind: "response.output_text.done", text: Some(&text.text), logprobs: Some([]), ..about() }
            }
            _ => return,
        };
        let done = Event { kind: "response.content_part.done", part: Content::of(&self.answer, range.end - 1), ..about() };
        self.teller.tell(whole, out);
        self.teller.tell(done, out);
    }

    fn think(&mut self, piece: String, out: &mut BytesMut) {
        if !matches!(self.last(), Some((_, Begun { span: Span::Thought(_), .. }))) {
            self.add(Span::Thought(self.answer.parts.len()), out);
            let (kind, part) = ("response.reasoning_summary_part.added", Some(Content::SummaryText { text: "" }));
            let event = Event { kind, summary_index: Some(0), part, ..self.about_item(self.items.len() - 1) };
            self.teller.tell(event, out);
        }
        let kind = "response.reasoning_summary_text.delta";
        let event = Event { kind, summary_index: Some(0), delta: Some(&piece), ..self.about_item(self.items.len() - 1) };
        self.teller.tell(event, out);
        self.answer.add(Delta::Thought(piece));
    }

    /// A seal ends its thought.
    fn seal(&mut self, sealed: Delta, out: &mut BytesMut) {
        if !matches!(self.last(), Some((_, Begun { span: Span::Thought(_), .. }))) {
            self.add(Span::Thought(self.answer.parts.len()), out);
        }
        self.answer.add(sealed);
        self.close(self.items.len() - 1, Status::Completed, out);
    }

    fn call(&mut self, slot: u32, call: Delta, sealed: bool, out: &mut BytesMut) {
        let at = self.answer.parts.len();
        let custom = matches!(&call, Delta::Call { name, .. } if self.about.is_custom(name));
        self.answer.add(call);
        if sealed {
            self.add(Span::SealOf(at), out);
        }
        self.add(Span::Call(at, self.calls.len()), out);
        self.calls.push(BegunCall { slot, item: self.items.len() - 1, unwrapping: custom.then(Unwrapping::default) });
    }

    /// What comes for a call that was whole and has ended is lost: it would be no arguments.
    fn arguments(&mut self, slot: u32, piece: &str, out: &mut BytesMut) {
        let Some(nth) = self.calls.iter().position(|call| call.slot == slot) else { return };
        let BegunCall { item: index, unwrapping, .. } = &mut self.calls[nth];
        let index = *index;
        if !self.items[index].is_open {
            return;
        }
        let (kind, told) = match unwrapping {
            Some(unwrapping) => (INPUT_DELTA, Cow::Owned(unwrapping.push(piece))),
            None => (ARGUMENTS_DELTA, Cow::Borrowed(piece)),
        };
        if !told.is_empty() {
            let event = Event { kind, delta: Some(&told), ..self.about_item(index) };
            self.teller.tell(event, out);
        }
        // An answer finds its calls by their order.
        let slot = u32::try_from(nth).unwrap_or(u32::MAX);
        self.answer.add(Delta::Arguments { slot, piece: piece.to_owned() });
    }

    /// Tells the end of an item.
    fn close(&mut self, index: usize, status: Status, out: &mut BytesMut) {
        match &self.items[index].span {
            Span::Message(_) => self.close_part(index, out),
            Span::Thought(at) => self.close_summary(index, *at, out),
            Span::Call(at, nth) => match self.calls.get_mut(*nth).and_then(|call| call.unwrapping.take()) {
                Some(unwrapping) => self.close_input(index, *at, unwrapping, out),
                None => self.close_arguments(index, *at, out),
            },
            Span::SealOf(_) => {}
        }
        self.items[index].is_open = false;
        let item = item(&self.items[index].span, index, &self.answer, status, &self.about);
        let kind = "response.output_item.done";
        self.teller.tell(Event { kind, output_index: Some(index), item, ..Event::default() }, out);
    }

    fn close_summary(&mut self, index: usize, at: usize, out: &mut BytesMut) {
        let Some(Part::Thought(Thought { text, .. })) = self.answer.parts.get(at) else { return };
        if text.is_empty() {
            return;
        }
        let about = || Event { summary_index: Some(0), ..self.about_item(index) };
        let whole = Event { kind: "response.reasoning_summary_text.done", text: Some(text), ..about() };
        let part = Some(Content::SummaryText { text });
        let done = Event { kind: "response.reasoning_summary_part.done", part, ..about() };
        self.teller.tell(whole, out);
        self.teller.tell(done, out);
    }

    /// A call without arguments has an empty object of them.
    fn close_arguments(&mut self, index: usize, at: usize, out: &mut BytesMut) {
        let Some(Part::Call(Call { name, arguments, .. })) = self.answer.parts.get(at) else { return };
        let (name, told) = (self.about.own_tool(name).map_or(name, |own| &own.name), !arguments.is_empty());
        let (name, arguments) = (Some(name.as_str()), if told { arguments } else { "{}" });
        let delta = Event { kind: ARGUMENTS_DELTA, delta: Some(arguments), ..self.about_item(index) };
        let kind = "response.function_call_arguments.done";
        let done = Event { kind, name, arguments: Some(arguments), ..self.about_item(index) };
        if !told {
            self.teller.tell(delta, out);
        }
        self.teller.tell(done, out);
    }

    /// What was held back of a custom tool's text is told before its end.
    fn close_input(&mut self, index: usize, at: usize, mut unwrapping: Unwrapping, out: &mut BytesMut) {
        let Some(Part::Call(Call { arguments, .. })) = self.answer.parts.get(at) else { return };
        let (rest, input) = (unwrapping.end(), freeform::input(arguments));
        let delta = Event { kind: INPUT_DELTA, delta: Some(&rest), ..self.about_item(index) };
        let kind = "response.custom_tool_call_input.done";
        let done = Event { kind, input: Some(&input), ..self.about_item(index) };
        if !rest.is_empty() {
            self.teller.tell(delta, out);
        }
        self.teller.tell(done, out);
    }
}

impl StreamWriter for ResponsesStream {
    fn write(&mut self, delta: Delta, out: &mut BytesMut) {
        self.kept += delta.bytes();
        let mut in_turn = mem::take(&mut self.in_turn);
        in_turn.take(delta, &mut |delta| self.tell(delta, out));
        self.in_turn = in_turn;
    }

    fn end(&mut self, out: &mut BytesMut) {
        mem::take(&mut self.in_turn).end(&mut |delta| self.tell(delta, out));
        self.begin(out);
        let ended = Status::of(&self.answer.finish);
        if let Some((last, _)) = self.last() {
            self.close(last, ended, out);
        }
        let kind = if ended == Status::Completed { "response.completed" } else { "response.incomplete" };
        let response = Some(Response::ended(&self.answer, &self.about));
        self.teller.tell(Event { kind, response, ..Event::default() }, out);
    }

    /// All of it: the last event repeats it.
    fn held(&self) -> usize {
        let unwrapped: usize = self.calls.iter().filter_map(|call| call.unwrapping.as_ref()).map(Unwrapping::held).sum();
        unwrapped + self.kept + self.answer.parts.len() * size_of::<Part>() + self.items.len() * (size_of::<Begun>() + ITEM_ID)
    }
}

impl ResponsesStream {
    /// Tells the next delta of an answer whose parts come one after the other.
    fn tell(&mut self, delta: Delta, out: &mut BytesMut) {
        match &delta {
            Delta::Finish(_) | Delta::Usage(_) => return self.answer.add(delta),
            Delta::Begin { .. } => {
                self.answer.add(delta);
                return self.begin(out);
            }
            // What says nothing begins no item and ends none.
            Delta::Text(piece) | Delta::Thought(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. }
                if piece.is_empty() =>
            {
                return;
            }
            Delta::Text(_)
            | Delta::Thought(_)
            | Delta::Refusal(_)
            | Delta::Arguments { .. }
            | Delta::Sealed(_)
            | Delta::Cited(_)
            | Delta::Call { .. } => self.begin(out),
        }
        match delta {
            Delta::Text(piece) => self.say(piece, false, out),
            Delta::Refusal(piece) => self.say(piece, true, out),
            Delta::Thought(piece) => self.think(piece, out),
            Delta::Sealed(_) => self.seal(delta, out),
            Delta::Cited(_) => self.cite(delta, out),
            Delta::Call { slot, ref seal, .. } => {
                let sealed = seal.is_some();
                self.call(slot, delta, sealed, out);
            }
            Delta::Arguments { slot, piece } => self.arguments(slot, &piece, out),
            Delta::Begin { .. } | Delta::Finish(_) | Delta::Usage(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
