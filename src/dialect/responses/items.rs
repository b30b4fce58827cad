//! The turns of a conversation as items of Responses: each side's texts and media are messages, a call is an item, what a tool
//! answered is one, and so is a thought, which stands before what it led to.

use std::borrow::Cow;

use serde::Serialize;

use super::request::untranslatable;
use crate::canonical::conversation::{Call, Medium, Part, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Conversation, Untranslatable};

/// Where an image's detail is not told.
const SOME_DETAIL: &str = "auto";

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'c> {
    Message {
        role: &'static str,
        content: Content<'c>,
    },
    /// Without the id that it had: it would be looked up where nothing is stored.
    Reasoning {
        summary: Vec<Summary<'c>>,
        encrypted_content: &'c str,
    },
    FunctionCall {
        call_id: &'c str,
        name: &'c str,
        arguments: &'c str,
    },
    FunctionCallOutput {
        call_id: &'c str,
        output: Content<'c>,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'c> {
    Text(Cow<'c, str>),
    Parts(Vec<Piece<'c>>),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Summary<'c> {
    SummaryText { text: &'c str },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub(super) enum Piece<'c> {
    #[serde(rename = "input_text")]
    Text { text: &'c str },
    #[serde(rename = "input_image")]
    Image { image_url: Cow<'c, str>, detail: &'c str },
    #[serde(rename = "input_file")]
    File {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'c str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'c str>,
    },
}

/// The instructions, and an item for whatever was said.
pub(super) fn of(conversation: &Conversation) -> Result<(Option<String>, Vec<Item<'_>>), Untranslatable> {
    if conversation.turns.last().is_some_and(|last| last.role == Role::Assistant && !last.parts.iter().any(is_call)) {
        return Err(untranslatable("an answer that is begun already"));
    }
    let mut items = Vec::with_capacity(conversation.turns.len());
    for turn in &conversation.turns {
        match turn.role {
            Role::User => user(turn, &mut items)?,
            Role::Assistant => assistant(turn, &mut items),
        }
    }
    let system = conversation.system.iter().filter_map(said).collect::<Vec<_>>().join("\n\n");
    let instructions = Some(system).filter(|text| !text.is_empty());
    if !items.is_empty() {
        return Ok((instructions, items));
    }
    // There must be an item.
    let said = instructions.map(|text| Item::Message { role: "system", content: Content::Text(text.into()) });
    Ok((None, said.into_iter().collect()))
}

fn is_call(part: &Part) -> bool {
    matches!(part, Part::Call(_))
}

fn said(part: &Part) -> Option<&str> {
    match part {
        Part::Text(Text { text, .. }) | Part::Refusal(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Call(_) | Part::Result(_) | Part::Thought(_) => None,
    }
}

/// What tools answered stands before what is said beside it.
fn user<'c>(turn: &'c Turn, items: &mut Vec<Item<'c>>) -> Result<(), Untranslatable> {
    let (results, others): (Vec<&Part>, Vec<&Part>) = turn.parts.iter().partition(|part| matches!(part, Part::Result(_)));
    for result in results {
        if let Part::Result(ToolResult { id, parts, is_error: _, cached: _ }) = result {
            let output = content(parts.iter())?.unwrap_or(Content::Text(Cow::Borrowed("")));
            items.push(Item::FunctionCallOutput { call_id: id, output });
        }
    }
    items.extend(content(others.into_iter())?.map(|content| Item::Message { role: "user", content }));
    Ok(())
}

/// Texts alone are one, as most sites take it.
fn content<'c>(parts: impl Iterator<Item = &'c Part>) -> Result<Option<Content<'c>>, Untranslatable> {
    let pieces: Vec<Piece<'c>> = parts.map(piece).filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let texts = pieces.iter().map(|piece| if let Piece::Text { text } = piece { Some(*text) } else { None });
    Ok(match texts.collect::<Option<Vec<&str>>>().as_deref() {
        Some([]) => None,
        Some(&[text]) => Some(Content::Text(Cow::Borrowed(text))),
        Some(texts) => Some(Content::Text(texts.join("\n").into())),
        None => Some(Content::Parts(pieces)),
    })
}

/// A thought that led to nothing is refused, and one without a seal is looked up where nothing is stored: neither is sent.
fn assistant<'c>(turn: &'c Turn, items: &mut Vec<Item<'c>>) {
    let mut thoughts = Vec::new();
    for part in &turn.parts {
        let item = match part {
            Part::Thought(thought) => {
                thoughts.extend(reasoning(thought));
                continue;
            }
            Part::Call(Call { id, name, arguments, seal: _, cached: _ }) => {
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                Some(Item::FunctionCall { call_id: id, name, arguments })
            }
            // As a plain text: what a model said is told so by sites that know no other form of it.
            other => said(other).map(|text| Item::Message { role: "assistant", content: Content::Text(Cow::Borrowed(text)) }),
        };
        if let Some(item) = item {
            items.append(&mut thoughts);
            items.push(item);
        }
    }
}

fn reasoning(thought: &Thought) -> Option<Item<'_>> {
    let Thought { text, seal: Some(Seal { kind: SealKind::OpenAiEncrypted, value }) } = thought else { return None };
    let summary = if text.is_empty() { Vec::new() } else { vec![Summary::SummaryText { text }] };
    Some(Item::Reasoning { summary, encrypted_content: value })
}

fn piece(part: &Part) -> Result<Option<Piece<'_>>, Untranslatable> {
    Ok(match part {
        Part::Text(_) | Part::Refusal(_) => said(part).map(|text| Piece::Text { text }),
        Part::Image(medium) => Some(image(medium)?),
        Part::Document(medium) => Some(document(medium)?),
        Part::Audio(_) => return Err(untranslatable("sound")),
        // A user calls nothing and thinks nothing that a client could know.
        Part::Call(_) | Part::Result(_) | Part::Thought(_) => None,
    })
}

fn image(medium: &Medium) -> Result<Piece<'_>, Untranslatable> {
    let image_url = match &medium.source {
        Source::Base64(data) => Cow::Owned(data_url(medium, "image/png", data)),
        Source::Url(url) => Cow::Borrowed(url.as_str()),
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable("an image that another provider keeps")),
    };
    Ok(Piece::Image { image_url, detail: medium.detail.as_deref().unwrap_or(SOME_DETAIL) })
}

fn document(medium: &Medium) -> Result<Piece<'_>, Untranslatable> {
    match &medium.source {
        Source::Text(text) => Ok(Piece::Text { text }),
        Source::Base64(data) => {
            let filename = Some(medium.name.as_deref().unwrap_or("document.pdf"));
            let file_data = Some(data_url(medium, "application/pdf", data));
            Ok(Piece::File { filename, file_data, file_url: None })
        }
        // A name beside a link is refused.
        Source::Url(url) => Ok(Piece::File { filename: None, file_data: None, file_url: Some(url) }),
        Source::FileId(_) => Err(untranslatable("a document that another provider keeps")),
    }
}

fn data_url(medium: &Medium, usual: &str, data: &str) -> String {
    format!("data:{};base64,{data}", medium.media_type.as_deref().unwrap_or(usual))
}
