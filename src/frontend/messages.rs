//! Reading `messages` and `tools`: no message is built, their texts go into the profile as they pass the reader. The array is
//! read alike in every shape; what a message has is the [`Turn`]'s to know, here that of chat.
//!
//! What a message may contain is the provider's to judge, so unknown members and parts are let through. Refused is only
//! what would make the profile or the needs wrong: a message that is no object, a content of another type.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{EveryText, TOO_DEEP, nests_deeper, raw_value, span_in};
use crate::canonical::request::{Member, ThoughtMember};
use crate::canonical::{IdForms, TextProfile};

/// What was found in the conversation so far.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself")]
pub(super) struct Conversation<'b> {
    body: &'b str,
    /// The member in which the messages stand.
    within: &'static str,
    pub(super) profile: TextProfile,
    pub(super) messages: u32,
    pub(super) tools: u32,
    pub(super) images: u32,
    pub(super) audios: u32,
    pub(super) files: u32,
    /// A document stands elsewhere, so nobody here knows how long it is.
    pub(super) remote: bool,
    /// The last message is the assistant's.
    pub(super) begun: bool,
    /// Each value `"developer"` of a role, quotes included.
    pub(super) developer_roles: Vec<Range<usize>>,
    /// A message of chat has a member that thoughts or their seals stand in, or one of its calls has.
    pub(super) thoughts: bool,
    /// A message has parts or members of which nobody here knows what is in them.
    pub(super) with_parts: bool,
    /// Where messages begin whose role is their first member; of the first ones without a gap.
    begins: Vec<usize>,
    /// Behind the role of each message of the assistant that says nothing of its thoughts.
    pub(super) thoughtless: Vec<usize>,
    /// Members of messages that thoughts stand in.
    pub(super) told_thoughts: Vec<(ThoughtMember, Member)>,
    /// `annotations` of messages of the assistant.
    pub(super) annotations: Vec<Member>,
    /// The assistant called a tool.
    pub(super) has_calls: bool,
    pub(super) call_ids: IdForms,
    /// What is being read, to name it when it is wrong.
    reading: Reading,
    /// Where a refused value begins; the JSON reader has gone past it by the time it is told.
    pub(super) wrong_at: Option<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Reading {
    #[default]
    Nothing,
    Member(&'static str),
    Message(u32, &'static str),
    Tool(u32),
}

impl<'b> Conversation<'b> {
    pub(super) fn of(body: &'b str) -> Self {
        Self::within(body, "messages")
    }

    /// The same for a shape whose messages stand in a member of this name.
    pub(super) fn within(body: &'b str, member: &'static str) -> Self {
        Self { body, within: member, ..Self::default() }
    }

    /// The path of what was being read when the reader stopped.
    pub(super) fn param(&self) -> Option<String> {
        match self.reading {
            Reading::Nothing => None,
            Reading::Member(name) => Some(name.to_owned()),
            Reading::Message(index, member) => Some(format!("{}[{index}]{member}", self.within)),
            Reading::Tool(index) => Some(format!("tools[{index}]")),
        }
    }

    /// The array itself was read to its end: what is wrong now is wrong elsewhere.
    pub(super) fn done(&mut self) {
        self.reading = Reading::Nothing;
    }

    pub(super) fn reading_member(&mut self, name: &'static str) {
        self.reading = Reading::Member(name);
    }

    /// The same, read a member of it.
    pub(super) fn at(&mut self, member: &'static str) -> &mut Self {
        self.reading_message(member);
        self
    }

    /// The message that is next to be counted, or a member of it (`.content`).
    pub(super) fn reading_message(&mut self, member: &'static str) {
        self.reading = Reading::Message(self.messages, member);
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.profile.add(text);
        self.profile.end_text();
    }

    /// Takes the id that a result names its call by, quotes included.
    pub(super) fn note_call_id(&mut self, raw: &str) {
        self.call_ids.note(raw.trim_matches('"'));
    }

    pub(super) fn texts(&mut self) -> EveryText<'_> {
        EveryText { profile: &mut self.profile, sealed: &mut self.thoughts, depth: 0 }
    }

    /// Reads the role of a message, quotes included.
    pub(super) fn role<'de, A: MapAccess<'de>>(&mut self, members: &mut A) -> Result<&'de str, A::Error> {
        let role = members.next_value::<&RawValue>()?.get();
        if role.starts_with('"') {
            self.begun = role == "\"assistant\"";
            self.note_beginning(role);
            return Ok(role);
        }
        self.reading_message(".role");
        self.wrong_at = Some(span_in(self.body, role).start);
        Err(A::Error::custom("a message's `role` must be a string"))
    }

    /// The profile with that of a schema for the answer, which is part of the prompt.
    pub(super) fn profile_with(&self, schema: Option<&RawValue>) -> TextProfile {
        let mut profile = self.profile;
        if let Some(schema) = schema {
            profile.add(schema.get());
            profile.end_text();
        }
        profile
    }

    /// Notes where the message begins that this role was just read of.
    fn note_beginning(&mut self, role: &str) {
        let before = self.body.get(..span_in(self.body, role).start).unwrap_or_default();
        // As most SDKs write it.
        if before.ends_with("{\"role\":") && self.begins.len() == self.messages as usize {
            return self.begins.push(before.len() - 8);
        }
        let key = before.trim_ascii_end().strip_suffix(':').and_then(|before| before.trim_ascii_end().strip_suffix("\"role\""));
        if let Some(object) = key.and_then(|before| before.trim_ascii_end().strip_suffix('{'))
            && self.begins.len() == self.messages as usize
        {
            self.begins.push(object.len());
        }
    }

    /// Where each message begins; nothing where that was not seen of all of them.
    pub(super) fn begins(&mut self) -> Vec<usize> {
        let begins = std::mem::take(&mut self.begins);
        if begins.len() == self.messages as usize { begins } else { Vec::new() }
    }

    /// Reads a thought that is told as a text, and notes where.
    fn thought<'de, A: MapAccess<'de>>(&mut self, member: ThoughtMember, members: &mut A) -> Result<(), A::Error> {
        let value = raw_value(members)?;
        self.note_thought(member, value);
        self.texts().deserialize(&mut serde_json::Deserializer::from_str(value)).map_err(A::Error::custom)
    }

    fn note_thought(&mut self, member: ThoughtMember, value: &str) {
        self.told_thoughts.extend(self.member_of(value).map(|place| (member, place)));
    }

    /// A member by its value: its key stands before that, in quotes of which there are no others in it.
    fn member_of(&self, value: &str) -> Option<Member> {
        let value = span_in(self.body, value);
        let before = self.body.get(..value.start).unwrap_or_default().trim_ascii_end();
        let key =
            before.strip_suffix(':').map(str::trim_ascii_end).and_then(|key| Some(key.strip_suffix('"')?.rfind('"')?..key.len()));
        key.map(|key| Member { key, value })
    }

    fn note_role(&mut self, role: &str) {
        let developer = role == "\"developer\""
            || role.contains('\\') && serde_json::from_str::<String>(role).is_ok_and(|r| r == "developer");
        if developer {
            self.developer_roles.push(span_in(self.body, role));
        }
    }

    pub(super) fn note_part(&mut self, medium: Medium) {
        match medium {
            Medium::Text => {}
            Medium::Image => self.images += 1,
            Medium::Audio => self.audios += 1,
            Medium::File => self.files += 1,
        }
    }
}

/// A message in the words of one shape.
pub(super) trait Turn {
    /// Reads its members; between them the conversation reads the message as a whole.
    fn read<'de, A: MapAccess<'de>>(conversation: &mut Conversation<'_>, members: A) -> Result<(), A::Error>;
}

/// Reads the value of `messages`.
pub(super) struct Messages<'c, 'b, T>(&'c mut Conversation<'b>, PhantomData<T>);

impl<'c, 'b, T: Turn> Messages<'c, 'b, T> {
    pub(super) fn of(conversation: &'c mut Conversation<'b>) -> Self {
        Self(conversation, PhantomData)
    }
}

impl<'de, T: Turn> DeserializeSeed<'de> for Messages<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.reading = Reading::Member("messages");
        value.deserialize_any(self)
    }
}

impl<'de, T: Turn> Visitor<'de> for Messages<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`messages` to be an array of messages")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.done();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        loop {
            self.0.reading_message("");
            if messages.next_element_seed(Message::<T>(self.0, PhantomData))?.is_none() {
                break;
            }
            self.0.messages += 1;
        }
        self.0.done();
        Ok(())
    }
}

/// Reads the value of `tools` (or of `functions`, its forerunner).
pub(super) struct Tools<'c, 'b>(pub(super) &'c mut Conversation<'b>);

impl<'de> DeserializeSeed<'de> for Tools<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.reading = Reading::Member("tools");
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tools<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`tools` to be an array of tools")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.done();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tools: A) -> Result<(), A::Error> {
        let conversation = self.0;
        conversation.reading = Reading::Tool(conversation.tools);
        while let Some(tool) = tools.next_element::<&RawValue>()? {
            conversation.wrong_at = Some(span_in(conversation.body, tool.get()).start);
            if nests_deeper(tool.get()) {
                return Err(A::Error::custom(TOO_DEEP));
            }
            if !tool.get().starts_with('{') {
                return Err(A::Error::custom("each tool must be an object"));
            }
            conversation.profile.add(tool.get());
            conversation.profile.end_text();
            conversation.wrong_at = None;
            conversation.tools += 1;
            conversation.reading = Reading::Tool(conversation.tools);
        }
        conversation.done();
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum MessageKey {
    Role,
    Content,
    Name,
    ToolCalls,
    ToolCallId,
    FunctionCall,
    ReasoningContent,
    Reasoning,
    ReasoningDetails,
    ExtraContent,
    Refusal,
    Annotations,
    #[serde(other)]
    Other,
}

/// A message of chat.
pub(super) struct ChatTurn;

impl Turn for ChatTurn {
    fn read<'de, A: MapAccess<'de>>(conversation: &mut Conversation<'_>, mut members: A) -> Result<(), A::Error> {
        let (mut said_by_assistant, mut thought, mut annotations) = (None, false, Vec::new());
        while let Some(key) = members.next_key::<MessageKey>()? {
            match key {
                MessageKey::Role => {
                    let role = conversation.role(&mut members)?;
                    conversation.note_role(role);
                    said_by_assistant = (role == "\"assistant\"").then(|| span_in(conversation.body, role).end);
                }
                MessageKey::Content => members.next_value_seed(Content(conversation.at(".content")))?,
                MessageKey::ToolCalls => {
                    conversation.has_calls = true;
                    members.next_value_seed(conversation.at(".tool_calls").texts())?;
                }
                MessageKey::FunctionCall => members.next_value_seed(conversation.at(".function_call").texts())?,
                MessageKey::Name | MessageKey::Refusal => members.next_value_seed(conversation.texts())?,
                MessageKey::ReasoningContent => {
                    thought = true;
                    conversation.thought(ThoughtMember::ReasoningContent, &mut members)?;
                }
                MessageKey::Reasoning => conversation.thought(ThoughtMember::Reasoning, &mut members)?,
                MessageKey::ReasoningDetails => {
                    let value = raw_value(&mut members)?;
                    conversation.note_thought(ThoughtMember::ReasoningDetails, value);
                    (conversation.thoughts, conversation.with_parts) = (true, true);
                }
                MessageKey::ExtraContent => {
                    raw_value(&mut members)?;
                    (conversation.thoughts, conversation.with_parts) = (true, true);
                }
                MessageKey::Annotations => {
                    conversation.with_parts = true;
                    annotations.extend(conversation.member_of(raw_value(&mut members)?));
                }
                MessageKey::ToolCallId => conversation.note_call_id(raw_value(&mut members)?),
                MessageKey::Other => {
                    conversation.with_parts = true;
                    raw_value(&mut members)?;
                }
            }
            conversation.reading_message("");
        }
        conversation.annotations.extend(annotations.into_iter().filter(|_| said_by_assistant.is_some()));
        conversation.thoughtless.extend(said_by_assistant.filter(|_| !thought));
        Ok(())
    }
}

struct Message<'c, 'b, T>(&'c mut Conversation<'b>, PhantomData<T>);

impl<'de, T: Turn> DeserializeSeed<'de> for Message<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T: Turn> Visitor<'de> for Message<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each message to be an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        T::read(self.0, members)
    }
}

struct Content<'c, 'b>(&'c mut Conversation<'b>);

impl<'de> DeserializeSeed<'de> for Content<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`content` to be a string, an array of parts or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.profile.add(text);
        self.0.profile.end_text();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        self.0.with_parts = true;
        while parts.next_element_seed(Part(self.0))?.is_some() {}
        Ok(())
    }
}

/// What a content part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Medium {
    #[default]
    Text,
    Image,
    Audio,
    File,
}

impl Medium {
    /// By the part's `type`, quotes included.
    fn of_type(word: &str) -> Medium {
        match word {
            "\"image_url\"" | "\"input_image\"" | "\"image\"" => Medium::Image,
            "\"input_audio\"" | "\"audio_url\"" => Medium::Audio,
            "\"file\"" | "\"input_file\"" | "\"file_url\"" => Medium::File,
            _ => Medium::Text,
        }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum PartKey {
    Type,
    Text,
    Refusal,
    Thinking,
    ImageUrl,
    InputAudio,
    File,
    #[serde(other)]
    Other,
}

struct Part<'c, 'b>(&'c mut Conversation<'b>);

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each content part to be an object")
    }

    /// Parts may come in any order of members, so what carries the medium counts as much as what names it.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (mut named, mut carried) = (Medium::Text, Medium::Text);
        while let Some(key) = members.next_key::<PartKey>()? {
            match key {
                PartKey::Type => named = Medium::of_type(raw_value(&mut members)?),
                PartKey::Text | PartKey::Refusal | PartKey::Thinking => members.next_value_seed(self.0.texts())?,
                PartKey::ImageUrl | PartKey::InputAudio | PartKey::File | PartKey::Other => {
                    let value = raw_value(&mut members)?;
                    let is_here = value.contains("\"file_data\"");
                    carried = match key {
                        PartKey::ImageUrl => Medium::Image,
                        PartKey::InputAudio => Medium::Audio,
                        PartKey::File => {
                            self.0.remote |= !is_here;
                            Medium::File
                        }
                        _ => carried,
                    };
                }
            }
        }
        self.0.note_part(if named == Medium::Text { carried } else { named });
        Ok(())
    }
}
