//! An answer in nobody's words, for a client that does not speak the backend's. A dialect reads the provider's frames (or its whole
//! body) as [`Delta`]s, in order; a frontend writes them in the client's words, as a stream or, collected, as a whole [`Answer`].
//!
//! The meter does not read these: usage, ends and errors are told by the dialect's frame reader whether an answer is translated
//! or not ([`FrameFacts`](super::FrameFacts)).

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};

use super::conversation::{Call, Conversation, Part, Seal, Thought, Untranslatable};
use crate::units::Usage;

/// What a piece of an answer adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// It has begun; what the provider calls it.
    Begin {
        id: Option<String>,
        model: Option<String>,
    },
    Text(String),
    /// The model thinks, before it speaks or between.
    Thought(String),
    /// The thought so far is sealed and ends.
    Sealed(Seal),
    /// The text so far names a page as its source.
    Cited(Citation),
    /// The model declines.
    Refusal(String),
    /// The model calls a tool. Pieces of several calls may interleave: each names its slot, counted from 0 in the order in which
    /// they begin.
    Call {
        slot: u32,
        id: Option<String>,
        name: String,
        seal: Option<Seal>,
    },
    /// The next piece of a call's arguments.
    Arguments {
        slot: u32,
        piece: String,
    },
    /// Why the model stopped. Usage may follow.
    Finish(Finish),
    /// All that is reported so far: replaces what was reported before.
    Usage(Usage),
}

impl Delta {
    /// Bytes of the texts in it.
    pub fn bytes(&self) -> usize {
        match self {
            Delta::Text(piece) | Delta::Thought(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. } => piece.len(),
            Delta::Sealed(seal) => seal.value.len(),
            Delta::Cited(Citation { url, title, .. }) => url.len() + title.len(),
            Delta::Call { id, name, seal, .. } => {
                id.as_ref().map_or(0, String::len) + name.len() + seal.as_ref().map_or(0, |seal| seal.value.len())
            }
            Delta::Begin { .. } | Delta::Finish(_) | Delta::Usage(_) => 0,
        }
    }
}

/// Sees to it that no two calls of one answer have the same id, and that none has an empty one: a call that would is told without
/// an id, and whoever writes it makes one up.
#[derive(Debug, Default)]
pub struct CallIds {
    seen: HashSet<String>,
}

impl CallIds {
    /// The same delta, without an id that is no good.
    #[must_use]
    pub fn apart(&mut self, delta: Delta) -> Delta {
        match delta {
            Delta::Call { slot, id: Some(id), name, seal } => {
                let id = (!id.is_empty() && self.seen.insert(id.clone())).then_some(id);
                Delta::Call { slot, id, name, seal }
            }
            other => other,
        }
    }
}

/// A page that a text names as its source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Citation {
    pub url: String,
    pub title: String,
    /// Where that of which it is the source begins and ends, in characters of all the answer's text.
    pub start: u64,
    pub end: u64,
}

impl Citation {
    /// Of an answer, no more are told: each is looked for among all before it.
    pub const MOST: usize = 256;
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Finish {
    /// It was done; with calls in the answer, to have them answered.
    #[default]
    Stop,
    /// It came upon a stop sequence, where it is told which.
    StopSequence(Option<String>),
    /// A bound was reached.
    Length,
    /// It wants its calls answered.
    Calls,
    /// The provider held it back for what it says.
    Filtered,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub id: Option<String>,
    pub model: Option<String>,
    /// Thoughts, texts, refusals and calls in their order; of calls whose pieces interleave, that of their beginnings.
    pub parts: Vec<Part>,
    /// What its texts name as their sources, each with the place of its text among the parts.
    pub cited: Vec<(usize, Citation)>,
    pub finish: Finish,
    pub usage: Option<Usage>,
}

impl Answer {
    /// Collects what a stream brought, or what a whole body was read as.
    pub fn of(deltas: impl IntoIterator<Item = Delta>) -> Self {
        // Most answers are one text.
        let (mut answer, mut ids) = (Self { parts: Vec::with_capacity(1), ..Self::default() }, CallIds::default());
        deltas.into_iter().for_each(|delta| answer.add(ids.apart(delta)));
        answer
    }

    /// The calls in it.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None })
    }

    /// How many bytes were said in it.
    pub fn said_bytes(&self) -> usize {
        let said = |part: &Part| match part {
            Part::Text(text) => text.text.len(),
            Part::Refusal(text) => text.len(),
            Part::Thought(thought) => thought.text.len() + thought.seal.as_ref().map_or(0, |seal| seal.value.len()),
            Part::Call(call) => call.name.len() + call.arguments.len(),
            // No model answers with these.
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Result(_) => 0,
        };
        self.parts.iter().map(said).sum()
    }

    /// How many characters the texts before a part have.
    pub fn chars_before(&self, part: usize) -> u64 {
        let texts =
            self.parts.iter().take(part).filter_map(|part| if let Part::Text(text) = part { Some(&text.text) } else { None });
        texts.map(|text| text.chars().count() as u64).sum()
    }

    /// Takes the next piece.
    pub fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Begin { id, model } => {
                self.id = self.id.take().or(id);
                self.model = self.model.take().or(model);
            }
            // What says nothing begins no part and parts no other.
            Delta::Text(piece) | Delta::Refusal(piece) | Delta::Thought(piece) if piece.is_empty() => {}
            Delta::Text(piece) => match self.parts.last_mut() {
                Some(Part::Text(text)) => text.text.push_str(&piece),
                _ => self.parts.push(Part::text(piece)),
            },
            Delta::Refusal(piece) => match self.parts.last_mut() {
                Some(Part::Refusal(text)) => text.push_str(&piece),
                _ => self.parts.push(Part::Refusal(piece)),
            },
            Delta::Thought(piece) => match self.parts.last_mut() {
                Some(Part::Thought(Thought { text, seal: None })) => text.push_str(&piece),
                _ => self.parts.push(Part::Thought(Thought { text: piece, seal: None })),
            },
            Delta::Sealed(seal) => match self.parts.last_mut() {
                Some(Part::Thought(thought @ Thought { seal: None, .. })) => thought.seal = Some(seal),
                _ => self.parts.push(Part::Thought(Thought { text: String::new(), seal: Some(seal) })),
            },
            Delta::Cited(_) if self.cited.len() >= Citation::MOST => {}
            Delta::Cited(citation) => {
                let text = self.parts.iter().rposition(|part| matches!(part, Part::Text(_)));
                self.cited.extend(text.map(|text| (text, citation)));
            }
            Delta::Call { slot: _, id, name, seal } => {
                let id = id.unwrap_or_default();
                self.parts.push(Part::Call(Call { id, name, arguments: String::new(), seal, cached: None }));
            }
            Delta::Arguments { slot, piece } => {
                let mut calls =
                    self.parts.iter_mut().filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None });
                if let Some(call) = calls.nth(slot as usize) {
                    call.arguments.push_str(&piece);
                }
            }
            Delta::Finish(finish) => self.finish = finish,
            Delta::Usage(usage) => self.usage = Some(usage),
        }
    }
}

/// Writes a stream's deltas as frames in a client's words.
pub trait StreamWriter: Send {
    /// Writes what the client is to see of a piece, if anything: some shapes hold things back until the end is known.
    fn write(&mut self, delta: Delta, out: &mut BytesMut);

    /// Writes what keeps a silent connection open and says nothing: a comment, in every shape that has no event for it.
    fn keep_alive(&self, out: &mut BytesMut) {
        out.extend_from_slice(b": keep-alive\n\n");
    }

    /// The answer has ended as it should: writes whatever ends the client's stream. Asked once, after the last piece.
    fn end(&mut self, out: &mut BytesMut);

    /// About how many bytes of the answer it keeps: what waits for its turn, or is told again at the end.
    fn held(&self) -> usize;
}

/// The client's side of an answer in other words than its own: who asks a backend of another shape is given one.
pub trait Translation: Send + Sync {
    /// What the client asked, in nobody's words; for a provider that made the seals in it, or for one that did not.
    ///
    /// # Errors
    /// When the request has something that only its own shape can say.
    fn conversation(&self, sealed: bool) -> Result<&Conversation, Untranslatable>;

    /// The same for a provider that made some of its seals: with those alone that are `kept`, of which each is told as the client wrote it.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    fn conversation_with(&self, kept: &dyn Fn(&[u8]) -> bool) -> Result<Conversation, Untranslatable>;

    /// The body of a whole answer. `model` is what the answer says has served it where the provider does not say.
    fn whole(&self, answer: &Answer, model: &str) -> Bytes;

    /// A writer for a stream.
    fn stream(&self, model: &str) -> Box<dyn StreamWriter>;
}

#[cfg(test)]
mod tests {
    use super::super::conversation::SealKind;
    use super::*;

    #[test]
    fn an_id_that_two_calls_have_is_the_firsts() {
        let call = |slot, id: Option<&str>| Delta::Call { slot, id: id.map(str::to_owned), name: "f".into(), seal: None };
        let answer = Answer::of([call(0, Some("a")), call(1, Some("a")), call(2, Some("")), call(3, None), call(4, Some("b"))]);
        assert_eq!(answer.calls().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["a", "", "", "", "b"]);
    }

    #[test]
    fn a_source_is_that_of_the_text_before_it() {
        let source = |url: &str| Citation { url: url.into(), ..Citation::default() };
        let (text, cited) = (|text: &str| Delta::Text(text.into()), |url| Delta::Cited(source(url)));
        let thought = || Delta::Thought("hm".into());
        let answer =
            Answer::of([cited("no text"), text("Ö"), text("n"), cited("a"), thought(), cited("b"), text("e"), cited("c")]);
        assert_eq!(answer.cited, [(0, source("a")), (0, source("b")), (2, source("c"))]);
        assert_eq!([0, 1, 2, 3].map(|part| answer.chars_before(part)), [0, 2, 2, 3]);
        let many = (0..Citation::MOST + 9).map(|nth| Delta::Cited(source(&nth.to_string())));
        assert_eq!(Answer::of([text("a")].into_iter().chain(many)).cited.len(), Citation::MOST);
    }

    #[test]
    fn pieces_add_up_to_the_answer_and_interleaved_calls_keep_their_own() {
        let call = |slot, name: &str| Delta::Call { slot, id: Some(format!("call_{slot}")), name: name.into(), seal: None };
        let arguments = |slot, piece: &str| Delta::Arguments { slot, piece: piece.into() };
        let seal = Seal { kind: SealKind::AnthropicSignature, value: "sig".into() };
        let answer = Answer::of([
            Delta::Begin { id: Some("a".into()), model: None },
            Delta::Begin { id: Some("b".into()), model: Some("m".into()) },
            Delta::Thought("h".into()),
            Delta::Thought("m".into()),
            Delta::Sealed(seal.clone()),
            Delta::Text("On".into()),
            Delta::Thought(String::new()),
            Delta::Text("e".into()),
            call(0, "weather"),
            call(1, "time"),
            arguments(1, "{\"in\":"),
            arguments(0, "{}"),
            arguments(1, "1}"),
            Delta::Finish(Finish::Calls),
            Delta::Usage(Usage::default()),
        ]);
        let called = |slot, name: &str, arguments: &str| {
            Part::Call(Call {
                id: format!("call_{slot}"),
                name: name.into(),
                arguments: arguments.into(),
                seal: None,
                cached: None,
            })
        };
        let thought = Part::Thought(Thought { text: "hm".into(), seal: Some(seal) });
        assert_eq!(answer.parts, [thought, Part::text("One"), called(0, "weather", "{}"), called(1, "time", "{\"in\":1}")]);
        assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("a"), Some("m")));
        assert_eq!((answer.finish, answer.usage), (Finish::Calls, Some(Usage::default())));
    }
}
