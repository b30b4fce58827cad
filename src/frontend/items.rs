//! Reading `instructions` and `input` of Responses: no item is built, their texts go into the profile as they pass the reader.
//! Unknown items and members are let through, as what they mean is not known here.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::json::{by_visiting, raw_value};
use super::messages::{Conversation, Medium};
use super::top_level::string;

by_visiting!(Instructions, Input, Item, Content, Part);

/// Reads the value of `instructions`.
pub(super) struct Instructions<'c, 'b>(pub(super) &'c mut Conversation<'b>);

impl Visitor<'_> for Instructions<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`instructions` to be a string")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.add_text(text);
        Ok(())
    }
}

/// What else was found in `input`.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// It is a text, not items.
    pub(super) is_text: bool,
    /// The first item that stands for one of an answer before, which would have to be stored here.
    pub(super) reference: Option<u32>,
}

/// Reads the value of `input`.
pub(super) struct Input<'c, 'b> {
    pub(super) conversation: &'c mut Conversation<'b>,
    pub(super) found: &'c mut Found,
}

impl<'de> Visitor<'de> for Input<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`input` to be a string or an array of items")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.is_text = true;
        if !text.is_empty() {
            self.conversation.messages = 1;
            self.conversation.add_text(text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { conversation, found } = self;
        loop {
            conversation.reading_message("");
            if items.next_element_seed(Item { conversation, found })?.is_none() {
                break;
            }
            conversation.messages += 1;
        }
        conversation.done();
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ItemKey {
    Type,
    Role,
    #[serde(alias = "output")]
    Content,
    /// What names, marks or seals, and no model reads as it stands.
    #[serde(alias = "status", alias = "phase", alias = "encrypted_content", alias = "namespace")]
    Id,
    CallId,
    /// Arguments, summaries, and whatever else an item has, is read by the model for all that is known.
    #[serde(other)]
    Other,
}

struct Item<'c, 'b> {
    conversation: &'c mut Conversation<'b>,
    found: &'c mut Found,
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each item to be an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { conversation, found } = self;
        while let Some(key) = members.next_key::<ItemKey>()? {
            match key {
                ItemKey::Type => {
                    if string(raw_value(&mut members)?).as_deref() == Some("item_reference") {
                        found.reference.get_or_insert(conversation.messages);
                    }
                }
                ItemKey::Role => drop(conversation.role(&mut members)?),
                ItemKey::Content => members.next_value_seed(Content(conversation.at(".content")))?,
                ItemKey::Id => drop(raw_value(&mut members)?),
                ItemKey::CallId => conversation.note_call_id(raw_value(&mut members)?),
                ItemKey::Other => members.next_value_seed(conversation.texts())?,
            }
            conversation.reading_message("");
        }
        Ok(())
    }
}

/// A text, or parts; of hosted tools' items also an object.
struct Content<'c, 'b>(&'c mut Conversation<'b>);

impl<'de> Visitor<'de> for Content<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of parts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.add_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        while parts.next_element_seed(Part(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        Part(self.0).visit_map(members)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum PartKey {
    Type,
    #[serde(alias = "file_data", alias = "input_audio", alias = "detail", alias = "filename")]
    ImageUrl,
    #[serde(alias = "file_url")]
    FileId,
    #[serde(other)]
    Other,
}

struct Part<'c, 'b>(&'c mut Conversation<'b>);

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each content part to be an object")
    }

    /// Members may come in any order, so what a part is, is settled at its end. A file that stands elsewhere is of a length that
    /// nobody here knows.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (mut medium, mut elsewhere) = (Medium::Text, false);
        while let Some(key) = members.next_key::<PartKey>()? {
            match key {
                PartKey::Type => {
                    medium = match string(raw_value(&mut members)?).as_deref() {
                        Some("input_image" | "computer_screenshot") => Medium::Image,
                        Some("input_audio") => Medium::Audio,
                        Some("input_file") => Medium::File,
                        _ => Medium::Text,
                    };
                }
                PartKey::ImageUrl => drop(raw_value(&mut members)?),
                PartKey::FileId => elsewhere |= raw_value(&mut members)? != "null",
                PartKey::Other => members.next_value_seed(self.0.texts())?,
            }
        }
        self.0.note_part(medium);
        self.0.remote |= elsewhere && medium == Medium::File;
        Ok(())
    }
}
