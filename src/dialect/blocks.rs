//! Walking one answer of Messages, or one frame of its streams: what in it is text, usage, an ending or an error, without
//! building it.
//!
//! A whole answer is a message; frames wrap a message, a block or a delta in a member that says which. One walk reads all of
//! them by the names of members, so it does not depend on their order. It is lenient and strict about nothing: the bytes
//! pass as they are. An error is only noticed here; [`super::errors`] reads it again at leisure.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::anthropic::Kind;
use super::usage::{ReadUsage, Reported};
use super::walk::{KeyAs, says_nothing, takes_anything};

/// What a stop reason says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// There is none.
    Unsaid,
    Ended,
    /// The answer was cut for its length.
    TooLong,
}

/// What was found.
pub(super) struct Reading<'t> {
    text: &'t mut dyn FnMut(&str),
    /// What the frame is.
    pub(super) kind: Kind,
    /// Something was said: a text, a thought, a tool's name or arguments, or what stands for one of them.
    pub(super) said: bool,
    /// A member that errors have is there.
    pub(super) suspect: bool,
    /// There is an array of blocks, as whole answers have one.
    pub(super) has_content: bool,
    /// What a stop reason says of the answer's end.
    pub(super) stop: Stop,
    /// Bytes of thinking here; at least one where there was any, also without a text.
    pub(super) reasoning_bytes: u64,
    /// The model that the provider names.
    pub(super) model: Option<String>,
    pub(super) usage: Reported,
}

impl<'t> Reading<'t> {
    /// Walks one JSON text; whatever the model generated goes to `text`.
    pub(super) fn of(json: &[u8], text: &'t mut dyn FnMut(&str)) -> (Self, Result<(), serde_json::Error>) {
        let mut reading = Self {
            text,
            kind: Kind::default(),
            said: false,
            suspect: false,
            has_content: false,
            stop: Stop::Unsaid,
            reasoning_bytes: 0,
            model: None,
            usage: Reported::default(),
        };
        // Checking all bytes at once is many times faster than each string by itself, which is what a reader of bytes does.
        let outcome = match std::str::from_utf8(json) {
            Ok(text) => reading.walk(serde_json::Deserializer::from_str(text)),
            Err(_) => reading.walk(serde_json::Deserializer::from_slice(json)),
        };
        (reading, outcome)
    }

    fn walk<'j>(&mut self, mut json: serde_json::Deserializer<impl serde_json::de::Read<'j>>) -> Result<(), serde_json::Error> {
        Message(self).deserialize(&mut json).and_then(|()| json.end())
    }

    fn stopped(&mut self, reason: &str) {
        match reason {
            "null" | "\"\"" => {}
            "\"max_tokens\"" | "\"model_context_window_exceeded\"" => self.stop = Stop::TooLong,
            _ => self.stop = Stop::Ended,
        }
    }
}

/// A message, or a frame around a message, a block or a delta.
struct Message<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Message);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Type,
    Message,
    Block,
    Content,
    Usage,
    Model,
    StopReason,
    Error,
    Status,
    /// A member that bodies without an `error` object describe an error with.
    BareError,
    Other,
}

impl Member {
    fn of(key: &str) -> Self {
        match key {
            "type" => Self::Type,
            "message" => Self::Message,
            "content_block" | "delta" => Self::Block,
            "content" => Self::Content,
            "usage" => Self::Usage,
            "model" => Self::Model,
            "stop_reason" => Self::StopReason,
            "error" => Self::Error,
            "base_resp" => Self::Status,
            "code" | "error_code" | "error_msg" | "detail" => Self::BareError,
            _ => Self::Other,
        }
    }
}

impl<'de> Visitor<'de> for Message<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut bare_error = false;
        while let Some(key) = members.next_key_seed(KeyAs(Member::of))? {
            match key {
                Member::Type => {
                    let word = members.next_value::<&RawValue>()?.get();
                    // A message within a frame has a type too, which says nothing of the frame.
                    reading.kind = if reading.kind == Kind::Other { Kind::of(word) } else { reading.kind };
                    bare_error |= word == "\"error\"";
                }
                Member::Message => members.next_value_seed(Message(reading))?,
                Member::Block => members.next_value_seed(Block(reading))?,
                Member::Content => members.next_value_seed(Blocks(reading))?,
                Member::Usage => members.next_value_seed(ReadUsage(&mut reading.usage))?,
                Member::StopReason => reading.stopped(members.next_value::<&RawValue>()?.get()),
                Member::Model => {
                    reading.model = serde_json::from_str(members.next_value::<&RawValue>()?.get()).ok();
                }
                Member::Error => {
                    let error = members.next_value::<&RawValue>()?.get();
                    reading.suspect |= !matches!(error, "null" | "\"\"" | "{}" | "false");
                }
                // Zero is well, which is looked at when the error is read.
                Member::Status => {
                    members.next_value::<IgnoredAny>()?;
                    reading.suspect = true;
                }
                Member::BareError => {
                    members.next_value::<IgnoredAny>()?;
                    bare_error = true;
                }
                Member::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        reading.suspect |= bare_error && !reading.has_content && !reading.said;
        Ok(())
    }
}

struct Blocks<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Blocks);

impl<'de> Visitor<'de> for Blocks<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<(), A::Error> {
        self.0.has_content = true;
        while blocks.next_element_seed(Block(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What the model generated, as text.
    Text,
    Thinking,
    /// A thought that cannot be read: an encrypted one, or the signature of one.
    Sealed,
    /// The arguments of a tool, as an object.
    Input,
    /// Part of the answer, but not its text: what a server's own tool found.
    Opaque,
    StopReason,
    Other,
}

impl Part {
    fn of(key: &str) -> Self {
        match key {
            "text" | "partial_json" | "name" => Self::Text,
            "thinking" => Self::Thinking,
            "signature" | "data" => Self::Sealed,
            "input" => Self::Input,
            "content" | "citation" => Self::Opaque,
            "stop_reason" => Self::StopReason,
            _ => Self::Other,
        }
    }
}

/// A block, or the delta of one or of the message.
struct Block<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Block);

impl<'de> Visitor<'de> for Block<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let reading = self.0;
        while let Some(key) = members.next_key_seed(KeyAs(Part::of))? {
            match key {
                Part::Text => members.next_value_seed(Text { reading, thinks: false })?,
                Part::Thinking => members.next_value_seed(Text { reading, thinks: true })?,
                Part::StopReason => reading.stopped(members.next_value::<&RawValue>()?.get()),
                Part::Input | Part::Opaque | Part::Sealed => {
                    let value = members.next_value::<&RawValue>()?.get();
                    let empty = matches!(value, "null" | "\"\"" | "{}" | "[]");
                    reading.said |= !empty;
                    reading.reasoning_bytes += u64::from(key == Part::Sealed && !empty);
                    if key == Part::Input && !empty {
                        (reading.text)(value);
                    }
                }
                Part::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Text<'r, 't> {
    reading: &'r mut Reading<'t>,
    thinks: bool,
}

takes_anything!(Text);

impl<'de> Visitor<'de> for Text<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(array);

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !text.is_empty() {
            self.reading.said = true;
            self.reading.reasoning_bytes += if self.thinks { text.len() as u64 } else { 0 };
            (self.reading.text)(text);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
