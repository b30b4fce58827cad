//! Reading `system` and `messages` of Anthropic's Messages: no block is built, their texts go into the profile as they pass
//! the reader. Unknown blocks and members are let through unread, as what they mean is the provider's to know.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{MAX_DEPTH, TOO_DEEP, by_visiting, raw_value};
use super::messages::{Conversation, Medium, Turn};
use super::top_level::string;

by_visiting!(Content, Block);

/// Reads the value of `system`.
pub(super) struct System<'c, 'b>(pub(super) &'c mut Conversation<'b>);

impl<'de> DeserializeSeed<'de> for System<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.reading_member("system");
        value.deserialize_any(Content { conversation: self.0, depth: 0 })?;
        self.0.done();
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TurnKey {
    Role,
    Content,
    #[serde(other)]
    Other,
}

/// A message of Messages.
pub(super) struct BlockTurn;

impl Turn for BlockTurn {
    fn read<'de, A: MapAccess<'de>>(conversation: &mut Conversation<'_>, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<TurnKey>()? {
            match key {
                TurnKey::Role => drop(conversation.role(&mut members)?),
                TurnKey::Content => {
                    members.next_value_seed(Content { conversation: conversation.at(".content"), depth: 0 })?;
                }
                TurnKey::Other => {
                    conversation.with_parts = true;
                    raw_value(&mut members)?;
                }
            }
            conversation.reading_message("");
        }
        Ok(())
    }
}

/// A text, or blocks; a tool's result and a document hold the same within a block.
struct Content<'c, 'b> {
    conversation: &'c mut Conversation<'b>,
    /// How deep it lies: an array and an object for each block around it.
    depth: usize,
}

impl Content<'_, '_> {
    fn fits<E: Error>(&self) -> Result<(), E> {
        if self.depth > MAX_DEPTH { Err(E::custom(TOO_DEEP)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Content<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of blocks")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.conversation.add_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<(), A::Error> {
        self.fits()?;
        self.conversation.with_parts = true;
        while blocks.next_element_seed(Block { conversation: self.conversation, depth: self.depth })?.is_some() {}
        Ok(())
    }

    /// Results of servers' own tools are one object.
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.fits()?;
        self.conversation.with_parts = true;
        Block { conversation: self.conversation, depth: self.depth }.visit_map(members)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum BlockKey {
    Type,
    Input,
    Content,
    /// Of an image or a document.
    Source,
    /// What names, marks or signs, and no model reads.
    #[serde(alias = "cache_control", alias = "citations", alias = "signature", alias = "is_error")]
    Id,
    ToolUseId,
    /// Whatever else a block has, such as what a program printed, is read by the model for all that is known.
    #[serde(other)]
    Other,
}

struct Block<'c, 'b> {
    conversation: &'c mut Conversation<'b>,
    depth: usize,
}

impl<'de> Visitor<'de> for Block<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each block to be an object")
    }

    /// Members may come in any order, so what a block is, is settled at its end.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { conversation, depth } = self;
        let (mut medium, mut source) = (Medium::Text, None);
        while let Some(key) = members.next_key::<BlockKey>()? {
            match key {
                BlockKey::Type => {
                    medium = match string(raw_value(&mut members)?).as_deref() {
                        Some("image") => Medium::Image,
                        Some("document") => Medium::File,
                        _ => Medium::Text,
                    };
                }
                // A model reads it as JSON.
                BlockKey::Input => conversation.add_text(raw_value(&mut members)?),
                BlockKey::Content => members.next_value_seed(Content { conversation, depth: depth + 2 })?,
                BlockKey::Source => source = Some(raw_value(&mut members)?),
                BlockKey::Id => drop(raw_value(&mut members)?),
                BlockKey::ToolUseId => conversation.note_call_id(raw_value(&mut members)?),
                BlockKey::Other => members.next_value_seed(conversation.texts())?,
            }
        }
        if let (Medium::File, Some(source)) = (medium, source) {
            medium = read_document(source, conversation, depth);
        }
        conversation.note_part(medium);
        Ok(())
    }
}

/// A document may be a text, or blocks, or encoded; one that stands elsewhere is of a length that nobody here knows. What is a text or blocks is
/// no file: every model reads it.
fn read_document(source: &str, conversation: &mut Conversation<'_>, depth: usize) -> Medium {
    #[derive(Deserialize)]
    struct Source<'b> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'b, str>,
        #[serde(borrow)]
        data: Option<&'b RawValue>,
        #[serde(borrow)]
        content: Option<&'b RawValue>,
    }
    let parsed = serde_json::from_str::<Source<'_>>(source).ok();
    let kind = parsed.as_ref().map(|source| &*source.kind);
    // What is no text is the provider's to refuse.
    let _ = match (kind, &parsed) {
        (Some("text"), Some(Source { data: Some(data), .. })) => {
            conversation.texts().deserialize(&mut serde_json::Deserializer::from_str(data.get()))
        }
        (Some("content"), Some(Source { content: Some(content), .. })) => {
            Content { conversation, depth: depth + 2 }.deserialize(&mut serde_json::Deserializer::from_str(content.get()))
        }
        (Some("base64"), _) => Ok(()),
        (Some("url" | "file"), _) => {
            conversation.remote = true;
            Ok(())
        }
        // One that cannot be read may be any of them.
        _ => {
            conversation.remote = true;
            conversation.add_text(source);
            Ok(())
        }
    };
    conversation.wrong_at = None;
    if matches!(kind, Some("text" | "content")) { Medium::Text } else { Medium::File }
}
