//! Reading `system` and `messages` of Anthropic's Messages: no block is built, their texts go into the profile as they pass
//! the reader. Unknown blocks and members are let through unread, as what they mean is the provider's to know.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{MAX_DEPTH, TOO_DEEP, raw_value, span_in};
use super::messages::{Conversation, Medium};

/// Implements the seed of a visitor that is handed whatever comes.
macro_rules! by_visiting {
    ($($seed:ident),*) => {$(
        impl<'de> DeserializeSeed<'de> for $seed<'_, '_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
                value.deserialize_any(self)
            }
        }
    )*};
}

by_visiting!(Turn, Content, Block);

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

/// Reads the value of `messages`.
pub(super) struct Turns<'c, 'b>(pub(super) &'c mut Conversation<'b>);

impl<'de> DeserializeSeed<'de> for Turns<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        self.0.reading_member("messages");
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Turns<'_, '_> {
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
            if messages.next_element_seed(Turn(self.0))?.is_none() {
                break;
            }
            self.0.messages += 1;
        }
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

struct Turn<'c, 'b>(&'c mut Conversation<'b>);

impl<'de> Visitor<'de> for Turn<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each message to be an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let conversation = self.0;
        while let Some(key) = members.next_key::<TurnKey>()? {
            match key {
                TurnKey::Role => {
                    let role = members.next_value::<&RawValue>()?.get();
                    if !role.starts_with('"') {
                        conversation.reading_message(".role");
                        conversation.wrong_at = Some(span_in(conversation.body(), role).start);
                        return Err(A::Error::custom("a message's `role` must be a string"));
                    }
                }
                TurnKey::Content => {
                    conversation.reading_message(".content");
                    members.next_value_seed(Content { conversation, depth: 0 })?;
                }
                TurnKey::Other => drop(raw_value(&mut members)?),
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
        while blocks.next_element_seed(Block { conversation: self.conversation, depth: self.depth })?.is_some() {}
        Ok(())
    }

    /// Results of servers' own tools are one object.
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.fits()?;
        Block { conversation: self.conversation, depth: self.depth }.visit_map(members)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum BlockKey {
    Type,
    /// Texts that the model reads.
    Text,
    Thinking,
    Name,
    Title,
    Context,
    Input,
    Content,
    /// Of an image or a document.
    Source,
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
                    medium = match raw_value(&mut members)? {
                        "\"image\"" => Medium::Image,
                        "\"document\"" => Medium::File,
                        _ => Medium::Text,
                    };
                }
                BlockKey::Text | BlockKey::Thinking | BlockKey::Name | BlockKey::Title | BlockKey::Context => {
                    members.next_value_seed(conversation.texts())?;
                }
                // A model reads it as JSON.
                BlockKey::Input => conversation.add_text(raw_value(&mut members)?),
                BlockKey::Content => members.next_value_seed(Content { conversation, depth: depth + 2 })?,
                BlockKey::Source => source = Some(raw_value(&mut members)?),
                BlockKey::Other => drop(raw_value(&mut members)?),
            }
        }
        conversation.note_part(medium);
        if let (Medium::File, Some(source)) = (medium, source) {
            read_document(source, conversation);
        }
        Ok(())
    }
}

/// A document may be a text, or blocks; of any other nothing can be read here.
fn read_document(source: &str, conversation: &mut Conversation<'_>) {
    #[derive(Deserialize)]
    struct Source<'b> {
        #[serde(borrow, rename = "type")]
        kind: &'b RawValue,
        #[serde(borrow)]
        data: Option<&'b RawValue>,
        #[serde(borrow)]
        content: Option<&'b RawValue>,
    }
    let Ok(source) = serde_json::from_str::<Source<'_>>(source) else { return };
    let read = match source.kind.get() {
        "\"text\"" => source.data,
        "\"content\"" => source.content,
        _ => None,
    };
    if let Some(read) = read {
        // What is no text is the provider's to refuse.
        let _ = conversation.texts().deserialize(&mut serde_json::Deserializer::from_str(read.get()));
    }
}
