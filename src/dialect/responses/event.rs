//! What stands in an answer of Responses and in the events of its streams (dialects.md 2). Members that decide nothing are not
//! looked at, so that a new one breaks nothing.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::canonical::Finish;

/// An event of a stream, of any type: each has its own members.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event<'b> {
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Option<Cow<'b, str>>,
    /// Read on where the type says that it is a response.
    #[serde(borrow, default)]
    pub(super) response: Option<&'b RawValue>,
    #[serde(default)]
    pub(super) output_index: Option<u64>,
    #[serde(default)]
    pub(super) content_index: Option<u64>,
    #[serde(default)]
    pub(super) summary_index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) item: Option<Item<'b>>,
    #[serde(borrow, default)]
    delta: Option<&'b RawValue>,
    #[serde(borrow, default)]
    text: Option<&'b RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'b RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'b RawValue>,
    #[serde(borrow, default)]
    pub(super) annotation: Option<&'b RawValue>,
}

impl<'b> Event<'b> {
    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    /// What is new of a text, if the delta is one.
    pub(super) fn delta(&self) -> Option<Cow<'b, str>> {
        string(self.delta)
    }

    /// All of a text that has ended.
    pub(super) fn whole_text(&self) -> Option<Cow<'b, str>> {
        string(self.text.or(self.refusal))
    }

    /// All arguments of a call.
    pub(super) fn arguments(&self) -> Option<Cow<'b, str>> {
        arguments(self.arguments)
    }
}

/// A response: a whole answer, or what an event tells of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Response<'b> {
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) model: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    #[serde(borrow, default)]
    incomplete_details: Option<IncompleteDetails<'b>>,
    /// Read on only where it is needed: the event that ends a stream repeats all of it.
    #[serde(borrow, default)]
    output: Option<&'b RawValue>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'b RawValue>,
}

#[derive(Debug, Deserialize)]
struct IncompleteDetails<'b> {
    #[serde(borrow, default)]
    reason: Option<Cow<'b, str>>,
}

/// How far a response has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    /// It is still being written, or waits to be.
    Unfinished,
    Ended(Finish),
    /// It is none; the word says which way.
    Broke(&'static str),
}

impl Response<'_> {
    /// Where none is told, it is whole.
    pub(super) fn status(&self) -> Status {
        match self.status.as_deref() {
            Some("in_progress" | "queued") => Status::Unfinished,
            Some("failed") => Status::Broke("failed"),
            Some("cancelled") => Status::Broke("cancelled"),
            Some("incomplete") => Status::Ended(self.cut()),
            Some(_) | None => Status::Ended(Finish::Stop),
        }
    }

    /// The items, where they are such.
    pub(super) fn items(&self) -> Option<Vec<Item<'_>>> {
        serde_json::from_str(self.output?.get()).ok()
    }

    /// Why an incomplete one is that: for its length where nobody says.
    pub(super) fn cut(&self) -> Finish {
        let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        if reason == Some("content_filter") { Finish::Filtered } else { Finish::Length }
    }
}

/// A piece of the output, of any type.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Item<'b> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) call_id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'b RawValue>,
    /// Of a call whose input is no object.
    #[serde(borrow, default)]
    input: Option<&'b RawValue>,
    #[serde(borrow, default)]
    content: Option<&'b RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'b RawValue>,
    /// The thought itself, which only its provider can read.
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'b, str>>,
}

/// What an item is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    FunctionCall,
    /// Part of the answer that no other shape has a word for: what the provider's own tools did, calls without a schema.
    Other,
}

impl<'b> Item<'b> {
    pub(super) fn kind(&self) -> Kind {
        match self.kind.as_deref() {
            Some("message") => Kind::Message,
            Some("reasoning") => Kind::Reasoning,
            Some("function_call") => Kind::FunctionCall,
            Some(_) | None => Kind::Other,
        }
    }

    pub(super) fn arguments(&self) -> Option<Cow<'b, str>> {
        arguments(self.arguments)
    }

    pub(super) fn input(&self) -> Option<Cow<'b, str>> {
        string(self.input)
    }

    pub(super) fn content(&self) -> Vec<Content<'b>> {
        list(self.content)
    }

    pub(super) fn summary(&self) -> Vec<Content<'b>> {
        list(self.summary)
    }

    /// What proves its thought.
    pub(super) fn seal(&self) -> Option<&str> {
        self.encrypted_content.as_deref().filter(|seal| !seal.is_empty())
    }
}

/// A part of an item.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Content<'b> {
    #[serde(borrow, default)]
    pub(super) text: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    pub(super) annotations: Option<&'b RawValue>,
}

/// What is no array of parts has none.
fn list(raw: Option<&RawValue>) -> Vec<Content<'_>> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn string(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let raw = raw?.get();
    // Without an escape it is what stands between its quotes.
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(raw).ok().map(Cow::Owned),
        None => None,
    }
}

/// Arguments are a text; some sites send them as the object that they are.
fn arguments(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    string(raw).or_else(|| raw.map(RawValue::get).filter(|raw| raw.starts_with('{')).map(Cow::Borrowed))
}
