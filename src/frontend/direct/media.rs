//! One text, of which images are made or which is spoken, and what else of such requests decides about their price.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

use super::super::errors::BadRequest;
use super::super::top_level::{TopLevel, string};
use super::{Billed, Name};
use crate::canonical::TextProfile;
use crate::units::{ImageWish, Quality, Wanted};

/// What is accepted.
pub(super) const ACCEPTED: &str = "a string";
/// As many as are shown before an image is done (OpenAI's reference of `POST /images/generations`, stored copy).
pub(super) const MOST_PARTIAL_IMAGES: u64 = 3;

/// Reads a member that is one text.
pub(super) struct Text<'c, 'b>(pub(super) &'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Text<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl Visitor<'_> for Text<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be {ACCEPTED}", self.0.direct.input)
    }

    /// Null counts as absent.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.texts.add_text(text);
        self.0.texts.messages = 1;
        self.0.characters = text.chars().count() as u64;
        Ok(())
    }
}

impl<'b> TopLevel<'b, Billed<'b>> {
    /// How a text is to be spoken is read by the model as well.
    pub(super) fn add_instructions(&mut self) -> Result<(), BadRequest> {
        let Some(raw) = self.value(Name::Instructions) else { return Ok(()) };
        let told = string(raw).ok_or_else(|| self.wrong_type(Name::Instructions, raw, ACCEPTED))?;
        self.layout.texts.profile.merge(&TextProfile::of(&told));
        Ok(())
    }

    /// Which images are wished.
    pub(super) fn image(&self) -> Result<ImageWish, BadRequest> {
        Ok(ImageWish {
            size: self.wanted(Name::Size, |word| word.parse().ok())?,
            quality: self.wanted(Name::Quality, Quality::named)?,
        })
    }

    fn wanted<T>(&self, name: Name, read: impl FnOnce(&str) -> Option<T>) -> Result<Wanted<T>, BadRequest> {
        let Some(raw) = self.value(name) else { return Ok(Wanted::Unsaid) };
        let word = string(raw).ok_or_else(|| self.wrong_type(name, raw, ACCEPTED))?;
        Ok(if word == "auto" { Wanted::Auto } else { read(&word).map_or(Wanted::Other, Wanted::This) })
    }

    /// Of several images in one stream nobody could tell which of them a report is of.
    pub(super) fn check_images(&self, stream: bool) -> Result<(), BadRequest> {
        let many =
            self.whole(Name::N, 1, super::MOST_CHOICES)?.filter(|n| *n > 1 && stream && self.layout.direct.piece.is_some());
        many.map_or(Ok(()), |n| {
            let message = format!(
                "`n` is {n}: images that come as a stream can be metered one at a time only, so ask for one, or without `stream`"
            );
            Err(BadRequest::new("invalid_value", "n", message))
        })
    }
}
