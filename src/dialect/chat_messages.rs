//! The turns of a conversation as messages of chat: what tools answered is a message each, right behind the calls, and what
//! else was said before the assistant's next turn follows.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::Outgoing;
use super::chat_request::untranslatable;
use super::hints::Breakpoint;
use super::messages_blocks::{cut_id, plain_text};
use crate::canonical::conversation::{Call, Medium, Part, Role, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Conversation, IdForms, Untranslatable, quoted};
use crate::catalog::capability::Quirks;

/// What ids of calls are made of where they are short (providers.md 5.6, 2026-11-22).
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// There is no member for it, so it is said.
pub(super) const FAILED: &str = "Error: the tool failed.";

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Message<'c> {
    System {
        content: Content<'c>,
    },
    User {
        content: Content<'c>,
    },
    Assistant {
        #[serde(serialize_with = "quoted::some_text")]
        content: Option<Cow<'c, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'c>>,
    },
    Tool {
        tool_call_id: Cow<'c, str>,
        content: Content<'c>,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'c> {
    Text(#[serde(serialize_with = "quoted::text")] Cow<'c, str>),
    Parts(Vec<Piece<'c>>),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Piece<'c> {
    Text {
        #[serde(serialize_with = "quoted::text")]
        text: Cow<'c, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    ImageUrl {
        image_url: Image<'c>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    InputAudio {
        input_audio: Sound<'c>,
    },
    File {
        file: File<'c>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
}

impl<'c> Piece<'c> {
    fn text(text: impl Into<Cow<'c, str>>) -> Self {
        Self::Text { text: text.into(), prompt_cache_breakpoint: None }
    }

    /// The text of one that is nothing else.
    fn plain(&self) -> Option<&str> {
        match self {
            Self::Text { text, prompt_cache_breakpoint: None } => Some(text),
            _ => None,
        }
    }

    fn mark(&mut self, mark: Option<Breakpoint>) {
        match self {
            Self::Text { prompt_cache_breakpoint, .. }
            | Self::ImageUrl { prompt_cache_breakpoint, .. }
            | Self::File { prompt_cache_breakpoint, .. } => *prompt_cache_breakpoint = prompt_cache_breakpoint.or(mark),
            Self::InputAudio { .. } => {}
        }
    }
}

impl<'c> Content<'c> {
    /// Plain texts are one, as most sites take it.
    fn of(mut pieces: Vec<Piece<'c>>, between: &str) -> Option<Self> {
        let Some(texts) = pieces.iter().map(Piece::plain).collect::<Option<Vec<&str>>>() else {
            return Some(Self::Parts(pieces));
        };
        if texts.len() > 1 {
            return Some(Self::Text(texts.join(between).into()));
        }
        pieces.pop().and_then(|only| if let Piece::Text { text, .. } = only { Some(Self::Text(text)) } else { None })
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Image<'c> {
    #[serde(serialize_with = "quoted::text")]
    url: Cow<'c, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'c str>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sound<'c> {
    #[serde(serialize_with = "quoted::text")]
    data: &'c str,
    format: &'c str,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct File<'c> {
    filename: &'c str,
    #[serde(serialize_with = "quoted::text")]
    file_data: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ToolCall<'c> {
    id: Cow<'c, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'c>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Function<'c> {
    name: &'c str,
    #[serde(serialize_with = "quoted::text")]
    arguments: &'c str,
}

/// Every turn that says anything.
pub(super) fn messages<'c>(conversation: &'c Conversation, out: &Outgoing<'_>) -> Result<Vec<Message<'c>>, Untranslatable> {
    let (in_place, quirks) = (out.quirks.instructions_anywhere, out.quirks);
    let mut messages = Vec::with_capacity(conversation.turns.len() + 1);
    let first: Vec<&Part> = if in_place { conversation.system.iter().collect() } else { conversation.instructions().collect() };
    messages.extend(system(first.into_iter(), out)?);
    let any_calls = conversation.turns.iter().flat_map(|turn| &turn.parts).any(|part| matches!(part, Part::Call(_)));
    let returned = quirks.reasoning_returned && any_calls;
    let speaks = |turn: &Turn| turn.role == Role::Assistant;
    for said in conversation.turns.chunk_by(|turn, next| !speaks(turn) && !speaks(next)) {
        for part in said.iter().flat_map(|turn| &turn.parts) {
            messages.extend(answered(part, out)?);
        }
        for turn in said {
            match turn.role {
                Role::Assistant => messages.extend(assistant(turn, returned, quirks)),
                Role::User => messages.extend(user(turn, out)?),
                Role::System if in_place => messages.extend(system(turn.parts.iter(), out)?),
                Role::System => {}
            }
        }
    }
    Ok(messages)
}

fn texts(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(said)
}

fn said(part: &Part) -> Option<&str> {
    match part {
        Part::Text(Text { text, .. }) | Part::Refusal(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::Call(_) | Part::Result(_) | Part::Thought(_) => None,
    }
}

fn system<'c>(parts: impl Iterator<Item = &'c Part>, out: &Outgoing<'_>) -> Result<Option<Message<'c>>, Untranslatable> {
    let mut pieces = Vec::new();
    for part in parts.filter(|part| matches!(part, Part::Text(_))) {
        piece(part, out, &mut pieces)?;
    }
    Ok(Content::of(pieces, "\n\n").map(|content| Message::System { content }))
}

/// A tool's message has text alone: what else it answered is shown by the user.
fn answered<'c>(part: &'c Part, out: &Outgoing<'_>) -> Result<Option<Message<'c>>, Untranslatable> {
    let Part::Result(ToolResult { id, parts, is_error, cached }) = part else { return Ok(None) };
    let mut pieces: Vec<Piece<'c>> = is_error.then_some(Piece::text(FAILED)).into_iter().collect();
    for part in parts.iter().filter(|part| said(part).is_some()) {
        piece(part, out, &mut pieces)?;
    }
    if let Some(last) = pieces.last_mut() {
        last.mark(Breakpoint::of(*cached, out));
    }
    let content = Content::of(pieces, "\n").unwrap_or(Content::Text(Cow::Borrowed("")));
    Ok(Some(Message::Tool { tool_call_id: call_id(id, out.quirks), content }))
}

fn user<'c>(turn: &'c Turn, out: &Outgoing<'_>) -> Result<Option<Message<'c>>, Untranslatable> {
    let mut pieces = Vec::new();
    let answered = turn.parts.iter().flat_map(|part| if let Part::Result(result) = part { result.parts.as_slice() } else { &[] });
    for part in answered.filter(|part| said(part).is_none()) {
        piece(part, out, &mut pieces)?;
    }
    for part in turn.parts.iter().filter(|part| !matches!(part, Part::Result(_))) {
        piece(part, out, &mut pieces)?;
    }
    Ok(Content::of(pieces, "\n").map(|content| Message::User { content }))
}

/// What was thought is told to those alone who refuse calls without it, of all turns or none, and there an empty text stands for
/// one that nobody knows (providers.md 3).
fn assistant(turn: &Turn, returned: bool, quirks: Quirks) -> Option<Message<'_>> {
    let tool_calls: Vec<ToolCall<'_>> = turn.parts.iter().filter_map(|part| tool_call(part, quirks)).collect();
    let mut said = texts(&turn.parts);
    let first = Cow::Borrowed(said.next().unwrap_or_default());
    let content = said.fold(first, |all, text| all + text);
    if content.is_empty() && tool_calls.is_empty() {
        return None;
    }
    let thought = || {
        let text = |part: &'_ Part| if let Part::Thought(Thought { text, .. }) = part { Some(text.clone()) } else { None };
        let thoughts = turn.parts.iter().filter_map(text).filter(|text| !text.is_empty());
        thoughts.collect::<Vec<String>>().join("\n\n")
    };
    let reasoning_content = returned.then(thought);
    Some(Message::Assistant { content: Some(content).filter(|text| !text.is_empty()), reasoning_content, tool_calls })
}

fn tool_call(part: &Part, quirks: Quirks) -> Option<ToolCall<'_>> {
    let Part::Call(Call { id, name, arguments, seal: _, cached: _ }) = part else { return None };
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    Some(ToolCall { id: call_id(id, quirks), kind: "function", function: Function { name, arguments } })
}

/// An id that the site takes: as it is where it fits, else the same one for the same id, and another for another.
fn call_id(id: &str, quirks: Quirks) -> Cow<'_, str> {
    let mut ids = IdForms::default();
    ids.note(id);
    if !ids.long || !quirks.short_call_ids {
        return quirks.call_id_chars.map_or(Cow::Borrowed(id), |most| cut_id(id, most.into()));
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let mut left = hasher.finish();
    let mut digit = || {
        let digit = DIGITS[usize::try_from(left % DIGITS.len() as u64).unwrap_or_default()];
        left /= DIGITS.len() as u64;
        char::from(digit)
    };
    Cow::Owned((0..IdForms::SHORT_CHARS).map(|_| digit()).collect())
}

fn piece<'c>(part: &'c Part, out: &Outgoing<'_>, pieces: &mut Vec<Piece<'c>>) -> Result<(), Untranslatable> {
    let before = pieces.len();
    match part {
        Part::Text(_) | Part::Refusal(_) => pieces.extend(said(part).map(Piece::text)),
        Part::Image(medium) => pieces.push(Piece::ImageUrl { image_url: image(medium)?, prompt_cache_breakpoint: None }),
        Part::Audio(medium) => pieces.push(Piece::InputAudio { input_audio: sound(medium)? }),
        Part::Document(medium) => document(medium, pieces)?,
        // A user calls nothing and thinks nothing that a client could know.
        Part::Call(_) | Part::Result(_) | Part::Thought(_) => {}
    }
    if let Some(last) = pieces[before..].last_mut() {
        last.mark(Breakpoint::of(part.cached(), out));
    }
    Ok(())
}

fn image(medium: &Medium) -> Result<Image<'_>, Untranslatable> {
    let url = match &medium.source {
        Source::Base64(data) => Cow::Owned(data_url(medium, "image/png", data)),
        Source::Url(url) => Cow::Borrowed(url.as_str()),
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable("an image that another provider keeps")),
    };
    Ok(Image { url, detail: medium.detail.as_deref() })
}

fn sound(medium: &Medium) -> Result<Sound<'_>, Untranslatable> {
    let Source::Base64(data) = &medium.source else { return Err(untranslatable("sound that is not in the request")) };
    let format = match medium.media_type.as_deref() {
        Some("audio/mpeg") => "mp3",
        Some(kind) => kind.strip_prefix("audio/").unwrap_or(kind).trim_start_matches("x-"),
        None => "wav",
    };
    Ok(Sound { data, format })
}

/// A plain text is said as one, behind its title.
fn document<'c>(medium: &'c Medium, pieces: &mut Vec<Piece<'c>>) -> Result<(), Untranslatable> {
    if let Some(text) = plain_text(medium) {
        pieces.extend(medium.name.as_deref().filter(|name| !name.is_empty()).map(Piece::text));
        pieces.push(Piece::text(text));
        return Ok(());
    }
    match &medium.source {
        Source::Base64(data) => {
            let filename = medium.name.as_deref().unwrap_or("document.pdf");
            let file = File { filename, file_data: data_url(medium, "application/pdf", data) };
            pieces.push(Piece::File { file, prompt_cache_breakpoint: None });
        }
        Source::Url(_) => return Err(untranslatable("a document behind a link")),
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable("a document that another provider keeps")),
    }
    Ok(())
}

fn data_url(medium: &Medium, usual: &str, data: &str) -> String {
    format!("data:{};base64,{data}", medium.media_type.as_deref().unwrap_or(usual))
}
