//! The turns of a conversation as items of Responses: each side's texts and media are messages, a call is an item, what a tool
//! answered is one, and so is a thought, which stands before what it led to.

use std::borrow::Cow;

use serde::Serialize;

use super::request::untranslatable;
use crate::canonical::conversation::{BEGUN, Call, Medium, Part, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Conversation, IdForms, Untranslatable};
use crate::dialect::Outgoing;
use crate::dialect::chat_messages::FAILED;
use crate::dialect::hints::Breakpoint;
use crate::dialect::messages_blocks::{cut_id, plain_text};

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
        call_id: Cow<'c, str>,
        name: &'c str,
        arguments: &'c str,
    },
    FunctionCallOutput {
        call_id: Cow<'c, str>,
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
    Text {
        text: Cow<'c, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    #[serde(rename = "input_image")]
    Image {
        image_url: Cow<'c, str>,
        detail: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    #[serde(rename = "input_file")]
    File {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'c str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'c str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
}

impl<'c> Piece<'c> {
    fn text(text: impl Into<Cow<'c, str>>) -> Self {
        Self::Text { text: text.into(), prompt_cache_breakpoint: None }
    }

    /// The text of one that is nothing else.
    fn plain(&self) -> Option<&Cow<'c, str>> {
        if let Self::Text { text, prompt_cache_breakpoint: None } = self { Some(text) } else { None }
    }

    fn mark(&mut self, mark: Option<Breakpoint>) {
        let (Self::Text { prompt_cache_breakpoint: own, .. }
        | Self::Image { prompt_cache_breakpoint: own, .. }
        | Self::File { prompt_cache_breakpoint: own, .. }) = self;
        *own = own.or(mark);
    }
}

impl<'c> Content<'c> {
    /// Plain texts are one, as most sites take it.
    fn of(pieces: Vec<Piece<'c>>, between: &str) -> Option<Self> {
        Some(match pieces.iter().map(Piece::plain).collect::<Option<Vec<_>>>().as_deref() {
            Some([]) => return None,
            Some(&[text]) => Self::Text(text.clone()),
            Some(texts) => Self::Text(texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(between).into()),
            None => Self::Parts(pieces),
        })
    }
}

/// The instructions, and an item for whatever was said. Instructions with a mark of the cache are an item as well: the member is a
/// text.
pub(super) fn of<'c>(
    conversation: &'c Conversation,
    out: &Outgoing<'_>,
) -> Result<(Option<String>, Vec<Item<'c>>), Untranslatable> {
    let in_place = out.quirks.instructions_anywhere;
    let last = conversation.turns.iter().rfind(|turn| turn.role != Role::System || in_place);
    if last.is_some_and(|last| last.role == Role::Assistant && !last.parts.iter().any(is_call)) {
        return Err(untranslatable(BEGUN));
    }
    let mut items = Vec::with_capacity(conversation.turns.len());
    for turn in &conversation.turns {
        match turn.role {
            Role::User => user(turn, out, &mut items)?,
            Role::Assistant => assistant(turn, &mut items),
            Role::System if in_place => items.extend(system(turn.parts.iter(), out)?.map(instructing)),
            Role::System => {}
        }
    }
    let first: Vec<&Part> = if in_place { conversation.system.iter().collect() } else { conversation.instructions().collect() };
    match system(first.into_iter(), out)? {
        Some(Content::Text(text)) if !items.is_empty() => Ok((Some(text.into_owned()), items)),
        // There must be an item.
        told => {
            items.splice(0..0, told.map(instructing));
            Ok((None, items))
        }
    }
}

fn instructing(content: Content<'_>) -> Item<'_> {
    Item::Message { role: "system", content }
}

fn system<'c>(parts: impl Iterator<Item = &'c Part>, out: &Outgoing<'_>) -> Result<Option<Content<'c>>, Untranslatable> {
    Ok(Content::of(pieces(parts.filter(|part| matches!(part, Part::Text(_))), out)?, "\n\n"))
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
fn user<'c>(turn: &'c Turn, out: &Outgoing<'_>, items: &mut Vec<Item<'c>>) -> Result<(), Untranslatable> {
    let (results, others): (Vec<&Part>, Vec<&Part>) = turn.parts.iter().partition(|part| matches!(part, Part::Result(_)));
    for result in results {
        if let Part::Result(ToolResult { id, parts, is_error, cached }) = result {
            let mut said: Vec<Piece<'c>> = is_error.then_some(Piece::text(FAILED)).into_iter().collect();
            said.append(&mut pieces(parts.iter(), out)?);
            if let Some(last) = said.last_mut() {
                last.mark(Breakpoint::of(*cached, out));
            }
            let output = Content::of(said, "\n").unwrap_or(Content::Text(Cow::Borrowed("")));
            items.push(Item::FunctionCallOutput { call_id: cut_id(id, IdForms::MOST_CHARS), output });
        }
    }
    let content = Content::of(pieces(others.into_iter(), out)?, "\n");
    items.extend(content.map(|content| Item::Message { role: "user", content }));
    Ok(())
}

fn pieces<'c>(parts: impl Iterator<Item = &'c Part>, out: &Outgoing<'_>) -> Result<Vec<Piece<'c>>, Untranslatable> {
    let mut pieces = Vec::new();
    for part in parts {
        piece(part, out, &mut pieces)?;
    }
    Ok(pieces)
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
                Some(Item::FunctionCall { call_id: cut_id(id, IdForms::MOST_CHARS), name, arguments })
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

fn piece<'c>(part: &'c Part, out: &Outgoing<'_>, pieces: &mut Vec<Piece<'c>>) -> Result<(), Untranslatable> {
    let before = pieces.len();
    match part {
        Part::Text(_) | Part::Refusal(_) => pieces.extend(said(part).map(Piece::text)),
        Part::Image(medium) => pieces.push(image(medium)?),
        Part::Document(medium) => document(medium, pieces)?,
        Part::Audio(_) => return Err(untranslatable("sound")),
        // A user calls nothing and thinks nothing that a client could know.
        Part::Call(_) | Part::Result(_) | Part::Thought(_) => {}
    }
    if let Some(last) = pieces[before..].last_mut() {
        last.mark(Breakpoint::of(part.cached(), out));
    }
    Ok(())
}

fn image(medium: &Medium) -> Result<Piece<'_>, Untranslatable> {
    let image_url = match &medium.source {
        Source::Base64(data) => Cow::Owned(data_url(medium, "image/png", data)),
        Source::Url(url) => Cow::Borrowed(url.as_str()),
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable("an image that another provider keeps")),
    };
    let detail = medium.detail.as_deref().unwrap_or(SOME_DETAIL);
    Ok(Piece::Image { image_url, detail, prompt_cache_breakpoint: None })
}

/// A plain text is said as one, behind its title; the title of a link stands before it, as a name beside a link is refused.
fn document<'c>(medium: &'c Medium, pieces: &mut Vec<Piece<'c>>) -> Result<(), Untranslatable> {
    let title = medium.name.as_deref().filter(|name| !name.is_empty());
    let file = |filename, file_data, file_url| Piece::File { filename, file_data, file_url, prompt_cache_breakpoint: None };
    if let Some(text) = plain_text(medium) {
        pieces.extend(title.map(Piece::text));
        pieces.push(Piece::text(text));
        return Ok(());
    }
    match &medium.source {
        Source::Base64(data) => {
            let filename = Some(title.unwrap_or("document.pdf"));
            pieces.push(file(filename, Some(data_url(medium, "application/pdf", data)), None));
        }
        Source::Url(url) => {
            pieces.extend(title.map(Piece::text));
            pieces.push(file(None, None, Some(url)));
        }
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable("a document that another provider keeps")),
    }
    Ok(())
}

fn data_url(medium: &Medium, usual: &str, data: &str) -> String {
    format!("data:{};base64,{data}", medium.media_type.as_deref().unwrap_or(usual))
}
