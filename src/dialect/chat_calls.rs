//! The calls of a chat stream, whose pieces say more or less clearly whose they are (dialects.md 6, items 17 to 19): indexes that
//! are missing, equal or growing, ids that are missing or repeated, names in pieces, arguments as text or as an object.
//!
//! A piece belongs to the call with its id; without one, to the call at its index, else to the last. A new id begins a new call,
//! and so does a name once the call it would belong to is whole, unless that call's own name is only repeated with its id.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::canonical::Delta;
use crate::canonical::conversation::{Seal, SealKind};

/// So much of an answer's id goes into the ids of its calls: with what stands around it they stay below 40 characters, beyond
/// which OpenAI takes none.
const ID_CHARS: usize = 24;

/// An element of `tool_calls`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Piece<'b> {
    #[serde(borrow, default)]
    index: Option<&'b RawValue>,
    #[serde(borrow, default)]
    id: Option<&'b RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'b>>,
    #[serde(borrow, default)]
    extra_content: Option<&'b RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Function<'b> {
    #[serde(borrow, default)]
    name: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'b RawValue>,
}

impl<'b> Piece<'b> {
    /// Of the one function that could be called before there were tools.
    pub(super) fn legacy(function: Function<'b>) -> Self {
        Self { function: Some(function), ..Self::default() }
    }

    fn index(&self) -> Option<u64> {
        self.index?.get().parse().ok()
    }

    /// As text, also where it is a number.
    fn id(&self) -> Cow<'b, str> {
        match self.id.map(RawValue::get) {
            Some(text) if text.starts_with('"') => serde_json::from_str(text).unwrap_or_default(),
            Some(number) if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Cow::Borrowed(number),
            _ => Cow::default(),
        }
    }

    fn name(&self) -> &str {
        self.function.as_ref().and_then(|function| function.name.as_deref()).unwrap_or_default()
    }

    /// As text, whatever it came as.
    fn arguments(&self) -> Cow<'b, str> {
        let Some(raw) = self.function.as_ref().and_then(|function| function.arguments) else { return Cow::default() };
        match raw.get() {
            "null" => Cow::default(),
            text if text.starts_with('"') => serde_json::from_str(text).unwrap_or_default(),
            object => Cow::Borrowed(object),
        }
    }

    /// Where Google's chat endpoint tells a call's signature (providers.md 3).
    fn seal(&self) -> Option<Seal> {
        #[derive(Deserialize)]
        struct Extra {
            google: Google,
        }
        #[derive(Deserialize)]
        struct Google {
            thought_signature: String,
        }
        let extra: Extra = serde_json::from_str(self.extra_content?.get()).ok()?;
        Some(Seal { kind: SealKind::GeminiSignature, value: extra.google.thought_signature })
    }
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    answer: String,
    all: Vec<Call>,
    /// How many were told: those before the first that was not.
    told: usize,
    /// By the id of a call, what was told of it before it began.
    seals: BTreeMap<String, Seal>,
    /// Bytes of all this, about.
    held: usize,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    /// As the provider gave it.
    id: String,
    name: String,
    arguments: String,
    seal: Option<Seal>,
}

impl Call {
    /// Whether nothing of it is missing.
    fn is_whole(&self) -> bool {
        !self.arguments.trim().is_empty() && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }

    /// Whether a piece with its id is the beginning of another call all the same: it has another name, or arguments at another index,
    /// and to this one nothing can be added.
    fn is_followed_by(&self, piece: &Piece<'_>) -> bool {
        let again = || piece.index().is_some_and(|index| self.index != Some(index)) && !piece.arguments().trim().is_empty();
        !piece.name().is_empty() && (piece.name() != self.name || again()) && self.is_whole()
    }

    /// Takes a piece of its name, which may come repeated.
    fn called(&mut self, name: &str) {
        if !self.name.ends_with(name) {
            self.name.push_str(name);
        }
    }
}

impl Calls {
    /// The answer's id, for calls that have none.
    pub(super) fn are_of(&mut self, answer: &str) {
        self.answer = answer.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(ID_CHARS).collect();
    }

    /// What a call's provider wants to see again with it.
    pub(super) fn seal(&mut self, id: String, seal: Seal) {
        self.held += size_of::<Call>() + id.len() + seal.value.len();
        match self.all.iter_mut().skip(self.told).find(|call| call.id == id) {
            Some(call) => call.seal = Some(seal),
            None => drop(self.seals.insert(id, seal)),
        }
    }

    /// Takes a piece.
    pub(super) fn take(&mut self, piece: &Piece<'_>, out: &mut Vec<Delta>) {
        let place = self.place_of(piece);
        let Some(place) = place.or_else(|| self.begin(piece)) else { return };
        let told = place < self.told;
        let arguments = piece.arguments();
        let seal = piece.seal().filter(|_| !told);
        let value = seal.as_ref().map_or(0, |seal| seal.value.len());
        self.held += arguments.len() + value + if told { 0 } else { piece.id().len() + piece.name().len() };
        let call = &mut self.all[place];
        if !told {
            call.called(piece.name());
            if call.id.is_empty() {
                call.id = piece.id().into_owned();
            }
            call.seal = seal.or(call.seal.take());
        }
        if !arguments.is_empty() {
            self.tell_through(place, out);
            self.all[place].arguments.push_str(&arguments);
            out.push(Delta::Arguments { slot: slot(place), piece: arguments.into_owned() });
        }
    }

    /// The call that a piece goes on with.
    fn place_of(&self, piece: &Piece<'_>) -> Option<usize> {
        let (index, id, name) = (piece.index(), piece.id(), piece.name());
        let last = self.all.len().checked_sub(1);
        let at_index = index.and_then(|index| self.all.iter().rposition(|call| call.index == Some(index)));
        if !id.is_empty() {
            let same = self.all.iter().rposition(|call| call.id == id);
            // An id that comes behind the beginning of its call.
            let nameless = |place: &usize| self.all[*place].id.is_empty() && !self.all[*place].is_whole() && name.is_empty();
            return match same {
                Some(place) if self.all[place].is_followed_by(piece) => None,
                Some(place) => Some(place),
                None => at_index.filter(nameless),
            };
        }
        if name.is_empty() {
            return at_index.or(last);
        }
        // A name that is repeated or comes in pieces, unless it is that of the next call.
        let goes_on = |place: &usize| !self.all[*place].is_whole();
        match index {
            Some(_) => at_index.filter(goes_on),
            None => last.filter(|place| self.all[*place].arguments.is_empty() && self.all[*place].name == name),
        }
    }

    /// A new call; arguments alone begin none.
    fn begin(&mut self, piece: &Piece<'_>) -> Option<usize> {
        if piece.id().is_empty() && piece.name().is_empty() {
            return None;
        }
        self.held += size_of::<Call>();
        self.all.push(Call { index: piece.index(), id: piece.id().into_owned(), ..Call::default() });
        self.all.len().checked_sub(1)
    }

    /// Tells the beginnings of all calls up to one: they are counted in their order.
    fn tell_through(&mut self, place: usize, out: &mut Vec<Delta>) {
        while self.told <= place {
            let call = &mut self.all[self.told];
            let seal = call.seal.take().or_else(|| self.seals.remove(&call.id));
            // Where the answer has no id either, one is made up by whoever writes it.
            let made = || (!self.answer.is_empty()).then(|| format!("call_{}_{}", self.answer, self.told));
            let id = if call.id.is_empty() { made() } else { Some(call.id.clone()) };
            out.push(Delta::Call { slot: slot(self.told), id, name: call.name.clone(), seal });
            self.told += 1;
        }
    }

    /// Bytes that are kept of the calls, about.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// The answer has ended: tells calls without arguments.
    pub(super) fn end(&mut self, out: &mut Vec<Delta>) {
        if let Some(last) = self.all.len().checked_sub(1) {
            self.tell_through(last, out);
        }
    }
}

fn slot(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
