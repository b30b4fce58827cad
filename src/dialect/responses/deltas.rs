//! Reading an answer as deltas, whole or event by event. A stream tells everything several times: piece by piece, at the end of
//! each part, at the end of its item, and once more with the response that ends it. What was told is remembered by its place, so
//! that each is told once, and a site that leaves one of them out is understood all the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::event::{Content, Event, Item, Kind, Response, Status};
use super::reported_in;
use crate::canonical::conversation::{Seal, SealKind};
use crate::canonical::{Citation, Delta, Finish};
use crate::dialect::usage::Reported;
use crate::dialect::{DeltaReader, citations, sse};

/// So much of an answer's id goes into the ids of its calls: with what stands around it they stay below 40 characters, beyond
/// which `OpenAI` takes none.
const ID_CHARS: usize = 24;

/// What an event was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Part of the answer, or what frames its parts.
    Part,
    /// Part of the answer that has no delta.
    Opaque,
    /// The response has ended, or broken off.
    End(Status),
    /// A ping, or something that nobody knows.
    Nothing,
}

/// A kind of text within an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Voice {
    Text,
    Refusal,
    Summary,
    Reasoning,
    Arguments,
    Sealed,
    Cited,
    Opaque,
}

impl Voice {
    const fn thinks(self) -> bool {
        matches!(self, Voice::Summary | Voice::Reasoning)
    }
}

/// Where a text stands: its item's place in the output, what it is, its place in the item.
type Place = (u64, Voice, u64);

/// Reads one answer.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    begun: bool,
    /// The answer's id, as far as it goes into the ids of calls.
    id: String,
    /// What was told of.
    told: BTreeSet<Place>,
    /// How many characters all texts have that were told, and how many before each that stands there.
    chars: u64,
    begins: BTreeMap<(u64, u64), u64>,
    /// How many sources were told.
    sources: usize,
    /// The slot of each call by the place of its item.
    calls: BTreeMap<u64, u32>,
    /// The item that the last event was about, for one that does not say.
    last: u64,
    /// Where the next item begins, for an event that does not say.
    next: u64,
    reported: Reported,
    /// Generated text that no delta has, of the last event.
    aside: Vec<String>,
}

impl Deltas {
    /// Text that the model generated in what was read last, and that no delta has.
    pub(super) fn aside(&self) -> &[String] {
        &self.aside
    }

    /// What was reported of its use so far.
    pub(super) fn reported(&self) -> &Reported {
        &self.reported
    }

    /// Reads a whole answer.
    pub(super) fn whole(&mut self, response: &Response<'_>, out: &mut Vec<Delta>) {
        self.begin(response, out);
        self.output(response, out);
        self.end_of(response, response.status(), out);
    }

    /// Reads what an event adds.
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Seen {
        self.aside.clear();
        let kind = event.kind();
        let response = event.response.and_then(|raw| serde_json::from_str::<Response<'_>>(raw.get()).ok());
        if let Some(response) = &response {
            self.begin(response, out);
        }
        let begins = kind == "response.output_item.added";
        let at = event.output_index.unwrap_or(if begins { self.next } else { self.last });
        self.last = at;
        if begins {
            self.next = self.next.max(at.saturating_add(1));
        }
        let (content, summary) = (event.content_index.unwrap_or(0), event.summary_index.unwrap_or(0));
        match kind {
            "response.output_text.delta" => self.piece((at, Voice::Text, content), event.delta(), out),
            "response.output_text.done" => self.rest((at, Voice::Text, content), event.whole_text(), out),
            "response.refusal.delta" => self.piece((at, Voice::Refusal, content), event.delta(), out),
            "response.refusal.done" => self.rest((at, Voice::Refusal, content), event.whole_text(), out),
            "response.reasoning_summary_text.delta" => self.piece((at, Voice::Summary, summary), event.delta(), out),
            "response.reasoning_summary_text.done" => self.rest((at, Voice::Summary, summary), event.whole_text(), out),
            "response.reasoning_text.delta" => self.piece((at, Voice::Reasoning, content), event.delta(), out),
            "response.reasoning_text.done" => self.rest((at, Voice::Reasoning, content), event.whole_text(), out),
            "response.output_text.annotation.added" => {
                self.cited((at, content), event.annotation.and_then(citations::one), out);
            }
            "response.function_call_arguments.delta" => self.arguments(at, event.delta(), out),
            "response.function_call_arguments.done" => self.rest_of_arguments(at, event.arguments(), out),
            "response.output_item.added" => return self.added(at, event.item.as_ref(), out),
            "response.output_item.done" => return self.done(at, event.item.as_ref(), out),
            "response.completed" | "response.done" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                return self.ended(kind, response.as_ref(), out);
            }
            other if other.rsplit('.').next() == Some("delta") => return self.unknown(at, other, event.delta()),
            other if other.starts_with("response.") => {}
            _ => return Seen::Nothing,
        }
        Seen::Part
    }

    fn begin(&mut self, response: &Response<'_>, out: &mut Vec<Delta>) {
        let of = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        let (id, model) = (of(&response.id), of(&response.model));
        if self.begun || (id.is_none() && model.is_none()) {
            return;
        }
        self.begun = true;
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        self.id = id.as_deref().unwrap_or_default().chars().filter(fits).take(ID_CHARS).collect();
        out.push(Delta::Begin { id, model });
    }

    /// The next piece of a text.
    fn piece(&mut self, place: Place, piece: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else { return };
        let (item, voice, _) = place;
        // Parts of a thought are paragraphs.
        let parted = voice.thinks()
            && !self.told.contains(&place)
            && self.told.range((item, Voice::Text, 0)..=(item, Voice::Opaque, u64::MAX)).any(|(_, other, _)| other.thinks());
        if parted {
            out.push(Delta::Thought("\n\n".to_owned()));
        }
        if self.told.insert(place) && voice == Voice::Text {
            self.begins.insert((item, place.2), self.chars);
        }
        if voice == Voice::Text {
            self.chars += piece.chars().count() as u64;
        }
        let piece = piece.into_owned();
        out.push(match voice {
            Voice::Refusal => Delta::Refusal(piece),
            Voice::Summary | Voice::Reasoning => Delta::Thought(piece),
            Voice::Text | Voice::Arguments | Voice::Sealed | Voice::Cited | Voice::Opaque => Delta::Text(piece),
        });
    }

    /// The sources that a text names, which says where in its own characters.
    fn cited(&mut self, (item, content): (u64, u64), sources: impl IntoIterator<Item = Citation>, out: &mut Vec<Delta>) {
        let Some(before) = self.begins.get(&(item, content)).copied() else { return };
        for Citation { url, title, start, end } in sources.into_iter().take(Citation::MOST - self.sources) {
            self.sources += 1;
            self.told.insert((item, Voice::Cited, content));
            let (start, end) = (start.saturating_add(before), end.saturating_add(before));
            out.push(Delta::Cited(Citation { url, title, start, end }));
        }
    }

    /// A text that has ended: told where no piece of it was.
    fn rest(&mut self, place: Place, whole: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        if !self.told.contains(&place) {
            self.piece(place, whole, out);
        }
    }

    /// The next piece of the arguments of a call that has begun; of another they are told with its item.
    fn arguments(&mut self, at: u64, piece: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        let Some((slot, piece)) = self.calls.get(&at).copied().zip(piece.filter(|piece| !piece.is_empty())) else { return };
        self.told.insert((at, Voice::Arguments, 0));
        out.push(Delta::Arguments { slot, piece: piece.into_owned() });
    }

    fn rest_of_arguments(&mut self, at: u64, whole: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        if !self.told.contains(&(at, Voice::Arguments, 0)) {
            self.arguments(at, whole, out);
        }
    }

    fn added(&mut self, at: u64, item: Option<&Item<'_>>, out: &mut Vec<Delta>) -> Seen {
        match item.map(Item::kind) {
            Some(Kind::FunctionCall) => {
                if let Some(item) = item.filter(|item| item.name.is_some()) {
                    self.call(at, item, out);
                }
                Seen::Part
            }
            Some(Kind::Other) => {
                self.told.insert((at, Voice::Opaque, u64::MAX));
                self.named(at, item);
                Seen::Opaque
            }
            Some(Kind::Message | Kind::Reasoning) | None => Seen::Part,
        }
    }

    fn done(&mut self, at: u64, item: Option<&Item<'_>>, out: &mut Vec<Delta>) -> Seen {
        item.map_or(Seen::Part, |item| self.item(at, item, out))
    }

    /// An item that has ended: tells what of it was not told.
    fn item(&mut self, at: u64, item: &Item<'_>, out: &mut Vec<Delta>) -> Seen {
        match item.kind() {
            Kind::Message => {
                for (part, nth) in item.content().into_iter().zip(0..) {
                    let Content { text, refusal, annotations } = part;
                    self.rest((at, Voice::Text, nth), text, out);
                    if !self.told.contains(&(at, Voice::Cited, nth)) {
                        self.cited((at, nth), citations::all(annotations), out);
                    }
                    self.rest((at, Voice::Refusal, nth), refusal, out);
                }
            }
            Kind::Reasoning => {
                for (voice, parts) in [(Voice::Summary, item.summary()), (Voice::Reasoning, item.content())] {
                    for (part, nth) in parts.into_iter().zip(0..) {
                        self.rest((at, voice, nth), part.text, out);
                    }
                }
                // What an item begins with may be another than what it ends with, so only this counts.
                if let Some(value) = item.seal().filter(|_| self.told.insert((at, Voice::Sealed, 0))) {
                    out.push(Delta::Sealed(Seal { kind: SealKind::OpenAiEncrypted, value: value.to_owned() }));
                }
            }
            Kind::FunctionCall => {
                self.call(at, item, out);
                self.rest_of_arguments(at, item.arguments(), out);
            }
            Kind::Other => {
                self.named(at, Some(item));
                if self.told.insert((at, Voice::Opaque, 0)) {
                    self.aside.extend(item.input().map(Cow::into_owned));
                }
                return Seen::Opaque;
            }
        }
        Seen::Part
    }

    /// The name of a call that nobody here knows, once.
    fn named(&mut self, at: u64, item: Option<&Item<'_>>) {
        let name = item.and_then(|item| item.name.as_deref()).filter(|name| !name.is_empty());
        self.aside.extend(name.filter(|_| self.told.insert((at, Voice::Opaque, u64::MAX - 1))).map(str::to_owned));
    }

    fn call(&mut self, at: u64, item: &Item<'_>, out: &mut Vec<Delta>) {
        if self.calls.contains_key(&at) {
            return;
        }
        let slot = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.insert(at, slot);
        let given = |id: &Option<Cow<'_, str>>| id.as_deref().filter(|id| !id.is_empty()).map(str::to_owned);
        let name = item.name.as_deref().unwrap_or_default().to_owned();
        let id = given(&item.call_id).or_else(|| given(&item.id)).unwrap_or_else(|| self.made_id(slot, &name));
        out.push(Delta::Call { slot, id: Some(id), name, seal: None });
    }

    /// An id for a call that has none, the same however the answer was read.
    fn made_id(&self, slot: u32, name: &str) -> String {
        if !self.id.is_empty() {
            return format!("call_{}_{slot}", self.id);
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        format!("call_{:016x}_{slot}", hasher.finish())
    }

    /// What the model generated for something that nobody here knows; sound is no text.
    fn unknown(&mut self, at: u64, kind: &str, piece: Option<Cow<'_, str>>) -> Seen {
        self.told.insert((at, Voice::Opaque, 0));
        if kind != "response.audio.delta" {
            self.aside.extend(piece.map(Cow::into_owned));
        }
        if kind.starts_with("response.") { Seen::Opaque } else { Seen::Nothing }
    }

    fn ended(&mut self, kind: &str, response: Option<&Response<'_>>, out: &mut Vec<Delta>) -> Seen {
        let nothing = Response::default();
        let response = response.unwrap_or(&nothing);
        // The event's name says more than what a site puts into it.
        let status = match kind {
            "response.failed" => Status::Broke("failed"),
            "response.cancelled" => Status::Broke("cancelled"),
            "response.incomplete" => Status::Ended(response.cut()),
            _ => Status::Ended(Finish::Stop),
        };
        // Its places need not be those of the events: it is read where they told nothing.
        if self.told.is_empty() && self.calls.is_empty() {
            self.output(response, out);
        }
        self.end_of(response, status.clone(), out);
        Seen::End(status)
    }

    fn output(&mut self, response: &Response<'_>, out: &mut Vec<Delta>) {
        for (item, at) in response.items().unwrap_or_default().iter().zip(0..) {
            self.item(at, item, out);
        }
    }

    fn end_of(&mut self, response: &Response<'_>, status: Status, out: &mut Vec<Delta>) {
        out.extend(reported_in(response.usage, &mut self.reported).map(Delta::Usage));
        match status {
            Status::Ended(finish) => out.push(Delta::Finish(finish)),
            Status::Unfinished | Status::Broke(_) => {}
        }
    }
}

impl DeltaReader for Deltas {
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>) {
        if let Ok(event) = serde_json::from_slice::<Event<'_>>(sse::data_of(frame).trim_ascii()) {
            self.event(&event, out);
        }
    }

    /// Nothing is held back.
    fn end(&mut self, _: &mut Vec<Delta>) {}

    fn held(&self) -> usize {
        self.told.len() * size_of::<Place>()
            + self.calls.len() * size_of::<(u64, u32)>()
            + self.begins.len() * size_of::<[u64; 3]>()
    }
}

#[cfg(test)]
mod tests;
