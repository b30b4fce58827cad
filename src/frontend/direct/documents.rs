//! Documents to be put in order, and how many searches that comes to.
//!
//! A search is a query with up to a hundred documents; a document of more than 500 tokens, the query among them, counts once for
//! each part that it is cut into (cohere.com/pricing and docs.cohere.com, stored copies). Nobody here has the vendor's tokenizer:
//! what is expected takes four bytes for a token, and what a hold covers takes each byte for one, which no tokenizer exceeds.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::json::{TOO_DEEP, nests_deeper};
use super::Billed;
use crate::units::Pieces;

/// What is accepted.
pub(super) const ACCEPTED: &str = "an array of strings or objects, of at most 10000";
/// As many as any vendor takes at once (docs.cohere.com/docs/reranking-best-practices, stored copy).
const MOST_DOCUMENTS: usize = 10_000;

const DOCUMENTS_PER_SEARCH: u64 = 100;
const TOKENS_PER_PART: u64 = 500;
/// A query leaves a document no less room than this in a part.
const LEAST_ROOM: u64 = 50;
/// Bytes to a token that is expected.
const BYTES_PER_TOKEN: u64 = 4;

/// What a query against documents of such lengths in bytes is billed for.
pub(super) fn searches(query: u64, documents: &[u32]) -> Pieces {
    let searches = |bytes_per_token: u64| {
        let room = TOKENS_PER_PART.saturating_sub(query.div_ceil(bytes_per_token)).max(LEAST_ROOM);
        let parts = |bytes: &u32| u64::from(*bytes).div_ceil(bytes_per_token).div_ceil(room).max(1);
        documents.iter().map(parts).sum::<u64>().div_ceil(DOCUMENTS_PER_SEARCH)
    };
    Pieces { expected: searches(BYTES_PER_TOKEN), most: searches(1) }
}

/// Reads the value of `documents`.
pub(super) struct Documents<'c, 'b>(pub(super) &'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Documents<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Documents<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be {ACCEPTED}", self.0.direct.input)
    }

    /// Null counts as absent.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut documents: A) -> Result<(), A::Error> {
        loop {
            self.0.texts.reading_message("");
            let before = self.0.texts.profile.bytes();
            if documents.next_element_seed(Document(self.0))?.is_none() {
                return Ok(());
            }
            if self.0.documents.len() == MOST_DOCUMENTS {
                return Err(A::Error::custom(format!("`{}` must be {ACCEPTED}", self.0.direct.input)));
            }
            let bytes = self.0.texts.profile.bytes() - before;
            self.0.documents.push(u32::try_from(bytes).unwrap_or(u32::MAX));
            self.0.texts.messages += 1;
        }
    }
}

/// Reads one of them: a text, or an object, which counts as it is written: which of its members are read is the provider's to say.
struct Document<'c, 'b>(&'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let raw = <&RawValue>::deserialize(value)?.get();
        let texts = &mut self.0.texts;
        match raw.as_bytes().first() {
            Some(b'"') => texts.add_text(&serde_json::from_str::<Cow<'_, str>>(raw).map_err(D::Error::custom)?),
            Some(b'{') if nests_deeper(raw) => return Err(D::Error::custom(TOO_DEEP)),
            Some(b'{') => texts.add_text(raw),
            _ => return Err(D::Error::custom(format!("`{}` must be {ACCEPTED}", self.0.direct.input))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_documents_are_a_search_and_long_ones_count_by_their_parts() {
        let check = |query: u64, documents: &[u32], expected: u64, most: u64| {
            assert_eq!(searches(query, documents), Pieces { expected, most }, "{query} {}", documents.len());
        };
        check(20, &[40; 1], 1, 1);
        check(20, &[40; 100], 1, 1);
        check(20, &[40; 101], 2, 2);
        check(20, &[0; 3], 1, 1);
        // 480 bytes of room at most, 495 tokens expected.
        check(20, &[480; 100], 1, 1);
        check(20, &[481; 100], 1, 2);
        check(20, &[1_980; 100], 1, 5);
        check(20, &[1_981; 100], 2, 5);
        // A query that fills a part leaves the least room.
        check(4_000, &[200; 100], 1, 4);
    }

    proptest! {
        #[test]
        fn what_is_held_covers_what_is_expected_and_more_text_is_never_less(
            query in 0_u64..5_000, documents in prop::collection::vec(0_u32..9_000, 1..300), longer in 0_u32..900,
        ) {
            let pieces = searches(query, &documents);
            prop_assert!(pieces.expected >= 1 && pieces.expected <= pieces.most);
            let more: Vec<u32> = documents.iter().map(|bytes| bytes + longer).collect();
            let grown = searches(query + u64::from(longer), &more);
            prop_assert!(grown.expected >= pieces.expected && grown.most >= pieces.most);
        }
    }
}
