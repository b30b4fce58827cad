//! The events of a stream: what kind a message is stands in its headers, what it says is its payload, in JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::failure;
use super::usage::Counts;
use crate::canonical::ProviderError;
use crate::dialect::eventstream::Message;

/// What a message of a stream is.
pub(super) enum Event<'a> {
    MessageStart,
    BlockStart(Part<'a>),
    BlockDelta(Part<'a>),
    BlockStop,
    MessageStop(Part<'a>),
    /// Usage, and what else there is to tell of the whole answer.
    Metadata(Part<'a>),
    Failed(ProviderError),
    /// Of a kind that nobody knows, or that cannot be read.
    Unknown,
}

impl<'a> Event<'a> {
    /// Reads a message as [`Decoder`](crate::dialect::eventstream::Decoder) cuts them.
    pub(super) fn of(frame: &'a [u8]) -> Self {
        let Some(message) = Message::of(frame) else { return Event::Unknown };
        match message.header(":message-type") {
            Some("event") => Self::named(message.header(":event-type").unwrap_or_default(), message.payload),
            Some("exception") => {
                Event::Failed(failure::of_exception(message.header(":exception-type").unwrap_or_default(), message.payload))
            }
            Some("error") => {
                let header = |name| message.header(name).unwrap_or_default();
                Event::Failed(failure::named(header(":error-code"), Some(header(":error-message"))))
            }
            _ => Event::Unknown,
        }
    }

    fn named(kind: &str, payload: &'a [u8]) -> Self {
        let part = || serde_json::from_slice::<Part<'a>>(payload).ok();
        let read = match kind {
            "messageStart" => Some(Event::MessageStart),
            "contentBlockStart" => part().map(Event::BlockStart),
            "contentBlockDelta" => part().map(Event::BlockDelta),
            "contentBlockStop" => Some(Event::BlockStop),
            "messageStop" => part().map(Event::MessageStop),
            "metadata" => part().map(Event::Metadata),
            _ => None,
        };
        read.unwrap_or(Event::Unknown)
    }
}

/// The payload of an event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    /// Of the block that it is of.
    #[serde(default)]
    pub(super) content_block_index: Option<u32>,
    #[serde(borrow)]
    start: Option<Start<'a>>,
    #[serde(borrow)]
    pub(super) delta: Option<Piece<'a>>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<Cow<'a, str>>,
    pub(super) usage: Option<Counts>,
    #[serde(borrow, rename = "additionalModelResponseFields")]
    pub(super) fields: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    /// The call that begins here, and is to be answered by the client.
    pub(super) fn call(self) -> Option<CallStart<'a>> {
        self.start?.tool_use.filter(|call| call.kind.is_none())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    tool_use: Option<CallStart<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallStart<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    /// Of a tool that the provider runs itself.
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

/// What a block goes on with: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_use: Option<Arguments<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Thought<'a>>,
    /// An image, or what a tool of the provider's brought.
    image: Option<IgnoredAny>,
    tool_result: Option<IgnoredAny>,
}

impl Piece<'_> {
    /// The next piece of a call's arguments.
    pub(super) fn arguments(&self) -> Option<&str> {
        self.tool_use.as_ref().and_then(|call| call.input.as_deref())
    }

    /// Part of the answer, but not its text.
    pub(super) fn is_opaque(&self) -> bool {
        self.image.is_some() || self.tool_result.is_some()
    }
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    input: Option<Cow<'a, str>>,
}

/// A piece of a thought, of its signature, or of what it is encrypted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Thought<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) redacted_content: Option<Cow<'a, str>>,
}
