//! Walking one answer or one chunk: what in it is text, usage, an ending or an error, without building it.
//!
//! Chunk and answer differ by one word (`delta`, `message`), so one walk reads both. It is lenient where vendors differ
//! (content as a string or as parts, reasoning under three names, usage in three places) and strict about nothing: the
//! bytes pass as they are. An error is only noticed here; [`super::errors`] reads it again at leisure.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::usage::{ReadUsage, Reported};
use super::walk::{KeyAs, says_nothing, takes_anything};
use crate::canonical::{Direct, Yields};
use crate::catalog::capability::Quirks;
use crate::units::Usage;

/// What was found.
pub(super) struct Reading<'t> {
    text: &'t mut dyn FnMut(&str),
    /// Generated text was found, or audio.
    pub(super) said: bool,
    /// A member that errors have is there.
    pub(super) suspect: bool,
    /// How many choices the array has; `None` without one.
    pub(super) choices: Option<u32>,
    /// Lists it has that answers have which are no conversation's, as bits by the first row that has such a list.
    lists: u32,
    /// Indexes of the choices that were here, as bits.
    pub(super) seen: u128,
    /// Indexes of the choices that ended here, as bits.
    pub(super) ended: u128,
    /// How many of those that share the last bit ended here.
    pub(super) ended_beyond: u32,
    /// Indexes of the choices that were cut for their length here, as bits.
    pub(super) too_long: u128,
    /// A finish reason that means failure.
    pub(super) broke: Option<&'static str>,
    /// Bytes of reasoning here; at least one where there was any, also without a text.
    pub(super) reasoning_bytes: u64,
    /// The model that the provider names.
    pub(super) model: Option<String>,
    wants_model: bool,
    usage: Reported,
    usage_of_choice: Reported,
    usage_of_vendor: Reported,
}

/// The bit that all choices from the 128th on share: one of several prompts may have more.
pub(super) const LAST_BIT: u128 = 1 << 127;

/// Endings that are failures of the provider, not of the answer.
const BROKEN: [&str; 4] = ["error", "insufficient_system_resource", "network_error", "abort"];

impl<'t> Reading<'t> {
    /// Walks one JSON text; whatever the model generated goes to `text`.
    pub(super) fn of(json: &[u8], wants_model: bool, text: &'t mut dyn FnMut(&str)) -> (Self, Result<(), serde_json::Error>) {
        let mut reading = Self {
            text,
            said: false,
            suspect: false,
            choices: None,
            lists: 0,
            seen: 0,
            ended: 0,
            ended_beyond: 0,
            too_long: 0,
            broke: None,
            reasoning_bytes: 0,
            model: None,
            wants_model,
            usage: Reported::default(),
            usage_of_choice: Reported::default(),
            usage_of_vendor: Reported::default(),
        };
        // Checking all bytes at once is many times faster than each string by itself, which is what a reader of bytes does.
        let outcome = match std::str::from_utf8(json) {
            Ok(text) => reading.walk(serde_json::Deserializer::from_str(text)),
            Err(_) => reading.walk(serde_json::Deserializer::from_slice(json)),
        };
        (reading, outcome)
    }

    fn walk<'j>(&mut self, mut json: serde_json::Deserializer<impl serde_json::de::Read<'j>>) -> Result<(), serde_json::Error> {
        Top(self).deserialize(&mut json).and_then(|()| json.end())
    }

    /// The usage, wherever it stood.
    pub(super) fn usage(&self, quirks: Quirks) -> Option<Usage> {
        self.reported(quirks).map(|(usage, _)| usage)
    }

    /// The usage says for how long a cache keeps what was written to it.
    pub(super) fn lifetimes_told(&self, quirks: Quirks) -> bool {
        self.reported(quirks).is_some_and(|(_, reported)| reported.tells_lifetimes())
    }

    fn reported(&self, quirks: Quirks) -> Option<(Usage, &Reported)> {
        let all = [&self.usage, &self.usage_of_choice, &self.usage_of_vendor];
        all.into_iter().find_map(|reported| Some((reported.usage(quirks)?, reported)))
    }

    /// The usage of an answer that has no tokens of its own, wherever it stood.
    pub(super) fn usage_of_input(&self, quirks: Quirks) -> Option<Usage> {
        let all = [&self.usage, &self.usage_of_choice, &self.usage_of_vendor];
        let tokens = all.into_iter().find_map(|reported| reported.of_input().usage(quirks));
        let pieces = all.into_iter().filter_map(Reported::pieces).max().unwrap_or(0);
        if pieces == 0 { tokens } else { Some(Usage { pieces, ..tokens.unwrap_or_default() }) }
    }

    /// Whether it has the list that an answer has to have.
    pub(super) fn has_list(&self, name: &str) -> bool {
        place_of(name).is_some_and(|place| self.lists & 1 << place != 0)
    }

    fn texts(&mut self) -> Texts<'_> {
        Texts { text: self.text, said: &mut self.said }
    }

    /// Reasoning under two names in one delta is the same text twice: only the first one counts.
    fn reasoning<'de, A: MapAccess<'de>>(&mut self, heard: &mut bool, members: &mut A) -> Result<(), A::Error> {
        if *heard {
            return members.next_value::<IgnoredAny>().map(drop);
        }
        let mut bytes = 0;
        let mut counted = |piece: &str| {
            bytes += piece.len() as u64;
            (self.text)(piece);
        };
        members.next_value_seed(Texts { text: &mut counted, said: heard })?;
        self.said |= *heard;
        self.reasoning_bytes += bytes.max(u64::from(*heard));
        Ok(())
    }
}

/// The top level: an object, or an array around one (some sites wrap their errors so).
struct Top<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Top);

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Top(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut bare_error = false;
        while let Some(key) = members.next_key_seed(KeyAs(TopMember::of))? {
            match key {
                TopMember::Choices => members.next_value_seed(Choices(reading))?,
                TopMember::Usage => members.next_value_seed(ReadUsage(&mut reading.usage))?,
                TopMember::List(place) => {
                    reading.lists |= u32::from(members.next_value::<&RawValue>()?.get().starts_with('[')) << place;
                }
                TopMember::Model if reading.wants_model => {
                    reading.model = serde_json::from_str(members.next_value::<&RawValue>()?.get()).ok();
                }
                TopMember::Error => {
                    let error = members.next_value::<&RawValue>()?.get();
                    reading.suspect |= !matches!(error, "null" | "\"\"" | "{}" | "false");
                }
                TopMember::Status => {
                    let status = members.next_value::<&RawValue>()?.get();
                    reading.suspect |= !serde_json::from_str::<Status>(status).is_ok_and(|s| s.status_code == 0);
                }
                TopMember::BareError => {
                    members.next_value::<IgnoredAny>()?;
                    bare_error = true;
                }
                TopMember::Vendor => members.next_value_seed(Vendor(reading))?,
                TopMember::Meta => members.next_value_seed(Meta(reading))?,
                TopMember::Model | TopMember::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        reading.suspect |= bare_error && reading.choices.is_none();
        Ok(())
    }
}

/// The state that one vendor adds to every body; zero is well.
#[derive(Deserialize)]
struct Status {
    status_code: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopMember {
    Choices,
    /// The list of an answer that is no conversation's, by the first row that has it.
    List(u8),
    Usage,
    Model,
    Error,
    Status,
    /// A member that bodies without an `error` object describe an error with.
    BareError,
    /// A vendor's own member, in which usage may stand.
    Vendor,
    /// What was billed, and the tokens beside it.
    Meta,
    Other,
}

/// The first row whose answers have this list.
fn place_of(list: &str) -> Option<u8> {
    (0_u8..)
        .zip(Direct::ALL)
        .find(|(_, direct)| matches!(direct.answer, Yields::List(name) if name == list))
        .map(|(place, _)| place)
}

impl TopMember {
    fn of(key: &str) -> Self {
        match key {
            "choices" => Self::Choices,
            "usage" => Self::Usage,
            "model" => Self::Model,
            "error" => Self::Error,
            "base_resp" => Self::Status,
            "meta" => Self::Meta,
            "code" | "message" | "error_code" | "error_msg" | "Response" | "detail" => Self::BareError,
            vendor if vendor.starts_with("x_") => Self::Vendor,
            other => place_of(other).map_or(Self::Other, Self::List),
        }
    }
}

/// The vendor's own member of a chunk: usage may stand in it, or an error.
struct Vendor<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Vendor);

impl<'de> Visitor<'de> for Vendor<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key_seed(KeyAs(TopMember::of))? {
            match key {
                TopMember::Usage => members.next_value_seed(ReadUsage(&mut self.0.usage_of_vendor))?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What ranking reports: what is billed goes before the tokens that were read.
struct Meta<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Meta);

impl<'de> Visitor<'de> for Meta<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<MetaKey>()? {
            match key {
                MetaKey::BilledUnits => members.next_value_seed(ReadUsage(&mut self.0.usage_of_choice))?,
                MetaKey::Tokens => members.next_value_seed(ReadUsage(&mut self.0.usage_of_vendor))?,
                MetaKey::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum MetaKey {
    BilledUnits,
    Tokens,
    #[serde(other)]
    Other,
}

struct Choices<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Choices);

impl<'de> Visitor<'de> for Choices<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);

    fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<(), A::Error> {
        let mut count = 0;
        while choices.next_element_seed(Choice { reading: self.0, index: count })?.is_some() {
            count += 1;
        }
        self.0.choices = Some(count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceKey {
    Index,
    Delta,
    Message,
    Text,
    FinishReason,
    Usage,
    #[serde(other)]
    Other,
}

struct Choice<'r, 't> {
    reading: &'r mut Reading<'t>,
    /// Its place in the array: its index, unless it names another.
    index: u32,
}

takes_anything!(Choice);

impl<'de> Visitor<'de> for Choice<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (reading, mut index, mut ended, mut too_long) = (self.reading, self.index, false, false);
        while let Some(key) = members.next_key::<ChoiceKey>()? {
            match key {
                ChoiceKey::Index => index = members.next_value::<&RawValue>()?.get().parse().unwrap_or(index),
                ChoiceKey::Delta | ChoiceKey::Message => members.next_value_seed(Delta(reading))?,
                ChoiceKey::Text => members.next_value_seed(reading.texts())?,
                ChoiceKey::Usage => members.next_value_seed(ReadUsage(&mut reading.usage_of_choice))?,
                ChoiceKey::FinishReason => {
                    let reason = members.next_value::<&RawValue>()?.get().trim_matches('"');
                    ended = !matches!(reason, "null" | "");
                    too_long = matches!(reason, "length" | "max_tokens" | "model_length" | "model_context_window_exceeded");
                    reading.broke = reading.broke.or(BROKEN.into_iter().find(|broken| *broken == reason));
                }
                ChoiceKey::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        let bit = 1_u128 << index.min(LAST_BIT.trailing_zeros());
        reading.ended_beyond += u32::from(ended && bit == LAST_BIT);
        reading.seen |= bit;
        reading.ended |= if ended { bit } else { 0 };
        reading.too_long |= if too_long { bit } else { 0 };
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum DeltaKey {
    Content,
    Refusal,
    ToolCalls,
    FunctionCall,
    Audio,
    ReasoningContent,
    Reasoning,
    ReasoningDetails,
    #[serde(other)]
    Other,
}

struct Delta<'r, 't>(&'r mut Reading<'t>);

takes_anything!(Delta);

impl<'de> Visitor<'de> for Delta<'_, '_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut heard_reasoning = false;
        while let Some(key) = members.next_key::<DeltaKey>()? {
            match key {
                DeltaKey::Content | DeltaKey::Refusal | DeltaKey::ToolCalls | DeltaKey::FunctionCall | DeltaKey::Audio => {
                    members.next_value_seed(self.0.texts())?;
                }
                DeltaKey::ReasoningContent | DeltaKey::Reasoning | DeltaKey::ReasoningDetails => {
                    self.0.reasoning(&mut heard_reasoning, &mut members)?;
                }
                DeltaKey::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Hands on every text in a value of any shape, but for what only names or signs something.
struct Texts<'r> {
    text: &'r mut dyn FnMut(&str),
    said: &'r mut bool,
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TextKey {
    Id,
    Type,
    Index,
    Format,
    Signature,
    ExpiresAt,
    /// Audio or an encrypted thought: part of the answer, but not its text.
    Data,
    Arguments,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();
    says_nothing!();

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !text.is_empty() {
            *self.said = true;
            (self.text)(text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Texts { text: self.text, said: self.said })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<TextKey>()? {
            match key {
                TextKey::Other => members.next_value_seed(Texts { text: self.text, said: self.said })?,
                TextKey::Data => {
                    members.next_value::<IgnoredAny>()?;
                    *self.said = true;
                }
                TextKey::Arguments => members.next_value_seed(Arguments(Texts { text: self.text, said: self.said }))?,
                TextKey::Id | TextKey::Type | TextKey::Index | TextKey::Format | TextKey::Signature | TextKey::ExpiresAt => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Arguments of a call: a text, or at some sites the object that it would say, all of which was generated.
struct Arguments<'r>(Texts<'r>);

impl<'de> DeserializeSeed<'de> for Arguments<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Arguments<'_> {
    type Value = ();
    says_nothing!();

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.visit_str(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.0.visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        let object = serde_json::Value::deserialize(MapAccessDeserializer::new(members))?;
        self.0.visit_str(&object.to_string())
    }
}
