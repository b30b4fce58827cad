//! Pages that a text names as its sources, in the words of chat and of Responses (`url_citation`). Messages has none: its citations are of
//! documents that the client sent, or hold a seal of the provider's own search.

use serde::Serialize;

use crate::canonical::{Answer, Citation};

const KIND: &str = "url_citation";

/// An annotation of a chat message.
#[derive(Debug, Serialize)]
pub(super) struct Nested<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url_citation: Page<'a>,
}

/// An annotation of a text of Responses.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Flat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    page: Page<'a>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Page<'a> {
    url: &'a str,
    title: &'a str,
    start_index: u64,
    end_index: u64,
}

impl<'a> Page<'a> {
    /// In the characters of a text that has so many before it.
    fn of(citation: &'a Citation, before: u64) -> Self {
        let Citation { url, title, start, end } = citation;
        Self { url, title, start_index: start.saturating_sub(before), end_index: end.saturating_sub(before) }
    }
}

impl<'a> Nested<'a> {
    /// All texts of an answer are one content.
    pub(super) fn of(citation: &'a Citation) -> Self {
        Self { kind: KIND, url_citation: Page::of(citation, 0) }
    }
}

impl<'a> Flat<'a> {
    /// What the text at a place of an answer's parts names.
    pub(super) fn all(answer: &'a Answer, at: usize) -> Vec<Self> {
        let cited = || answer.cited.iter().filter(|(part, _)| *part == at);
        let before = if cited().next().is_some() { answer.chars_before(at) } else { 0 };
        cited().map(|(_, citation)| Self { kind: KIND, page: Page::of(citation, before) }).collect()
    }
}
