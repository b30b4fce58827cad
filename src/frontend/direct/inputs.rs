//! Texts or tokens, one or many: what `input` of embeddings and `prompt` of completions may be. No text is kept: each goes into
//! the profile as it passes the reader.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::Billed;

/// What is accepted.
pub(super) const ACCEPTED: &str = "a string, an array of strings, an array of tokens (whole numbers), or an array of such arrays";

/// Reads the value of the member that is billed.
pub(super) struct Inputs<'c, 'b>(pub(super) &'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Inputs<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_, '_> {
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
        Ok(())
    }

    /// The first element says what all of them are.
    fn visit_seq<A: SeqAccess<'de>>(self, mut inputs: A) -> Result<(), A::Error> {
        let mut all = None;
        loop {
            self.0.texts.reading_message("");
            let Some(kind) = inputs.next_element_seed(Input(self.0))? else { break };
            if *all.get_or_insert(kind) != kind {
                let input = self.0.direct.input;
                return Err(A::Error::custom(format!("all of `{input}` must be alike: it must be {ACCEPTED}")));
            }
            self.0.texts.messages += 1;
        }
        if all == Some(Kind::Token) {
            self.0.texts.messages = 1;
        }
        Ok(())
    }
}

/// What an element of `input` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Token,
    Tokens,
}

/// Reads one element of `input`.
struct Input<'c, 'b>(&'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Input<'_, '_> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Kind, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Input<'_, '_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be {ACCEPTED}", self.0.direct.input)
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        self.0.texts.add_text(text);
        Ok(Kind::Text)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        self.0.tokens += 1;
        Ok(Kind::Token)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Kind, A::Error> {
        while tokens.next_element::<u64>()?.is_some() {
            self.0.tokens += 1;
        }
        Ok(Kind::Tokens)
    }
}
