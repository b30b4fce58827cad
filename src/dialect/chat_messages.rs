//! The turns of a conversation as messages of chat: what tools answered is a message each, right behind the calls, and what
//! stands beside it in the same turn follows.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::chat_request::untranslatable;
use crate::canonical::conversation::{Call, Medium, Part, Role, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Conversation, IdForms, Untranslatable, quoted};
use crate::catalog::capability::Quirks;

/// What ids of calls are made of where they are short (providers.md 5.6, 2026-11-22).
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Message<'c> {
    System {
        #[serde(serialize_with = "quoted::text")]
        content: String,
    },
    User {
        content: Content<'c>,
    },
    Assistant {
        #[serde(serialize_with = "quoted::some_text")]
        content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'c>>,
    },
    Tool {
        tool_call_id: Cow<'c, str>,
        #[serde(serialize_with = "quoted::text")]
        content: String,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'c> {
    Text(#[serde(serialize_with = "quoted::text")] String),
    Parts(Vec<Piece<'c>>),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Piece<'c> {
    Text {
        #[serde(serialize_with = "quoted::text")]
        text: &'c str,
    },
    ImageUrl {
        image_url: Image<'c>,
    },
    InputAudio {
        input_audio: Sound<'c>,
    },
    File {
        file: File<'c>,
    },
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
pub(super) fn messages(conversation: &Conversation, quirks: Quirks) -> Result<Vec<Message<'_>>, Untranslatable> {
    let mut messages = Vec::with_capacity(conversation.turns.len() + 1);
    let system = texts(&conversation.system).collect::<Vec<_>>().join("\n\n");
    if !system.is_empty() {
        messages.push(Message::System { content: system });
    }
    let any_calls = conversation.turns.iter().flat_map(|turn| &turn.parts).any(|part| matches!(part, Part::Call(_)));
    let returned = quirks.reasoning_returned && any_calls;
    for turn in &conversation.turns {
        match turn.role {
            Role::User => user(turn, quirks, &mut messages)?,
            Role::Assistant => messages.extend(assistant(turn, returned, quirks)),
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

fn user<'c>(turn: &'c Turn, quirks: Quirks, messages: &mut Vec<Message<'c>>) -> Result<(), Untranslatable> {
    let mut pieces = Vec::new();
    for part in &turn.parts {
        if let Part::Result(ToolResult { id, parts, is_error: _, cached: _ }) = part {
            let content = texts(parts).collect::<Vec<_>>().join("\n");
            messages.push(Message::Tool { tool_call_id: call_id(id, quirks), content });
            // A tool's message has text alone: what else it answered is shown by the user.
            for part in parts.iter().filter(|part| said(part).is_none()) {
                pieces.extend(piece(part)?);
            }
        }
    }
    for part in turn.parts.iter().filter(|part| !matches!(part, Part::Result(_))) {
        pieces.extend(piece(part)?);
    }
    let plain = pieces.iter().all(|piece| matches!(piece, Piece::Text { .. }));
    let content = match pieces.as_slice() {
        [] => return Ok(()),
        [Piece::Text { text }] => Content::Text((*text).to_owned()),
        _ if plain => {
            let texts = pieces.iter().filter_map(|piece| if let Piece::Text { text } = piece { Some(*text) } else { None });
            Content::Text(texts.collect::<Vec<_>>().join("\n"))
        }
        _ => Content::Parts(pieces),
    };
    messages.push(Message::User { content });
    Ok(())
}

/// What was thought is told to those alone who refuse calls without it, of all turns or none, and there an empty text stands for
/// one that nobody knows (providers.md 3).
fn assistant(turn: &Turn, returned: bool, quirks: Quirks) -> Option<Message<'_>> {
    let tool_calls: Vec<ToolCall<'_>> = turn.parts.iter().filter_map(|part| tool_call(part, quirks)).collect();
    let content: String = texts(&turn.parts).collect();
    if content.is_empty() && tool_calls.is_empty() {
        return None;
    }
    let thought = || {
        let thoughts = turn.parts.iter().filter_map(|part| if let Part::Thought(thought) = part { Some(thought) } else { None });
        thoughts.map(|Thought { text, .. }| text.as_str()).collect::<String>()
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
        return Cow::Borrowed(id);
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

fn piece(part: &Part) -> Result<Option<Piece<'_>>, Untranslatable> {
    Ok(match part {
        Part::Text(_) | Part::Refusal(_) => said(part).map(|text| Piece::Text { text }),
        Part::Image(medium) => Some(Piece::ImageUrl { image_url: image(medium)? }),
        Part::Audio(medium) => Some(Piece::InputAudio { input_audio: sound(medium)? }),
        Part::Document(medium) => Some(document(medium)?),
        // A user calls nothing and thinks nothing that a client could know.
        Part::Call(_) | Part::Result(_) | Part::Thought(_) => None,
    })
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

fn document(medium: &Medium) -> Result<Piece<'_>, Untranslatable> {
    match &medium.source {
        Source::Text(text) => Ok(Piece::Text { text }),
        Source::Base64(data) => {
            let filename = medium.name.as_deref().unwrap_or("document.pdf");
            Ok(Piece::File { file: File { filename, file_data: data_url(medium, "application/pdf", data) } })
        }
        Source::Url(_) => Err(untranslatable("a document behind a link")),
        Source::FileId(_) => Err(untranslatable("a document that another provider keeps")),
    }
}

fn data_url(medium: &Medium, usual: &str, data: &str) -> String {
    format!("data:{};base64,{data}", medium.media_type.as_deref().unwrap_or(usual))
}
