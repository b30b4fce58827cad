//! The turns of a conversation as messages of blocks: the two sides take turns, what tools answered stands before what is said
//! beside it, and nothing is empty (dialects.md 3 and 5.1).

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::value::RawValue;

use super::Outgoing;
use super::chat_messages::FAILED;
use super::messages_request::untranslatable;
use crate::canonical::conversation::{
    BEGUN, CacheLifetime, Call, Medium, Part, Role, Seal, SealKind, Source, Text, Thought, ToolResult,
};
use crate::canonical::{Conversation, IdForms, Untranslatable, quoted};

/// More of a request cannot be marked.
const MOST_MARKS: usize = 4;
/// The user speaks first, also where a client cut its history so that nobody does.
pub(super) const GO_ON: &str = "Go on.";
/// Ids of calls are no longer than this.
const ID_CHARS: usize = IdForms::MOST_CHARS;

/// One side's turn.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Message<'c> {
    role: &'static str,
    content: Vec<Block<'c>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'c> {
    Text {
        #[serde(serialize_with = "quoted::text")]
        text: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: MediaSource<'c>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: MediaSource<'c>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'c str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: Cow<'c, str>,
        name: &'c str,
        input: Input<'c>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: Cow<'c, str>,
        content: Vec<Block<'c>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        #[serde(serialize_with = "quoted::text")]
        thinking: &'c str,
        signature: &'c str,
    },
    RedactedThinking {
        data: &'c str,
    },
}

impl<'c> Block<'c> {
    pub(super) fn text(text: &'c str, cache_control: Option<CacheControl>) -> Self {
        Block::Text { text, cache_control }
    }

    const fn is_result(&self) -> bool {
        matches!(self, Block::ToolResult { .. })
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum MediaSource<'c> {
    Base64 {
        media_type: &'c str,
        #[serde(serialize_with = "quoted::text")]
        data: &'c str,
    },
    Url {
        url: &'c str,
    },
    Text {
        media_type: &'static str,
        #[serde(serialize_with = "quoted::text")]
        data: Cow<'c, str>,
    },
}

/// The arguments of a call: an object.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Input<'c> {
    AsItIs(&'c RawValue),
    /// What is no object stands in one, as the frontends read it back.
    Raw {
        #[serde(rename = "_raw")]
        raw: &'c str,
    },
    Nothing {},
}

impl PartialEq for Input<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Input<'_> {}

impl<'c> Input<'c> {
    pub(super) fn of(arguments: &'c str) -> Self {
        let arguments = arguments.trim();
        match serde_json::from_str::<&RawValue>(arguments) {
            _ if arguments.is_empty() => Input::Nothing {},
            Ok(object) if arguments.starts_with('{') => Input::AsItIs(object),
            Ok(_) | Err(_) => Input::Raw { raw: arguments },
        }
    }

    fn text(&self) -> &str {
        match self {
            Input::AsItIs(object) => object.get(),
            Input::Raw { raw } => raw,
            Input::Nothing {} => "",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

/// The marks of a request, of which the last few are kept: they reach furthest.
#[derive(Debug)]
pub(super) struct Marks {
    left_out: usize,
}

impl Marks {
    pub(super) fn of(conversation: &Conversation) -> Self {
        let tools = conversation.tools.iter().filter(|tool| tool.cached.is_some()).count();
        Self { left_out: (Self::of_parts(conversation) + tools).saturating_sub(MOST_MARKS) }
    }

    /// The same where no tools are told.
    pub(super) fn without_tools(conversation: &Conversation) -> Self {
        Self { left_out: Self::of_parts(conversation).saturating_sub(MOST_MARKS) }
    }

    fn of_parts(conversation: &Conversation) -> usize {
        conversation.turns.iter().map(|turn| marked(&turn.parts)).sum::<usize>() + marked(&conversation.system)
    }

    /// Whether the next mark, in the order tools, system, messages, is kept, and for how long.
    pub(super) fn kept(&mut self, cached: Option<CacheLifetime>) -> Option<CacheLifetime> {
        let lifetime = cached?;
        if let Some(left) = self.left_out.checked_sub(1) {
            self.left_out = left;
            return None;
        }
        Some(lifetime)
    }

    /// The next mark.
    pub(super) fn next(&mut self, cached: Option<CacheLifetime>) -> Option<CacheControl> {
        let ttl = match self.kept(cached)? {
            CacheLifetime::Minutes => None,
            CacheLifetime::Hour => Some("1h"),
        };
        Some(CacheControl { kind: "ephemeral", ttl })
    }
}

/// How many marks the blocks of these parts ask for: an empty text makes no block.
fn marked(parts: &[Part]) -> usize {
    let marks = |part: &Part| {
        let within = if let Part::Result(result) = part { marked(&result.parts) } else { 0 };
        let empty = matches!(part, Part::Text(text) if text.text.trim().is_empty());
        within + usize::from(part.cached().is_some() && !empty)
    };
    parts.iter().map(marks).sum()
}

/// Every turn that says anything.
pub(super) fn messages<'c>(
    conversation: &'c Conversation,
    out: &Outgoing<'_>,
    marks: &mut Marks,
) -> Result<Vec<Message<'c>>, Untranslatable> {
    let mut messages: Vec<Message<'c>> = Vec::new();
    for turn in &conversation.turns {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            // They stand before the first turn here.
            Role::System => continue,
        };
        let mut content = Vec::new();
        for part in &turn.parts {
            content.extend(block(part, out.quirks.unsigned_thoughts, marks)?);
        }
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => messages.push(Message { role, content }),
        }
    }
    for message in &mut messages {
        // Stable: each kind keeps its order.
        message.content.sort_by_key(|block| !block.is_result());
    }
    let begun = messages.last().is_some_and(|last| last.role == "assistant");
    if begun && !out.steering.prefill {
        return Err(untranslatable(BEGUN));
    }
    // Nor may one end in white space.
    if let Some(Message { role: "assistant", content }) = messages.last_mut()
        && let Some(Block::Text { text, .. }) = content.last_mut()
    {
        *text = text.trim_end();
    }
    if messages.first().is_none_or(|first| first.role != "user") {
        messages.insert(0, Message { role: "user", content: vec![Block::text(GO_ON, None)] });
    }
    Ok(messages)
}

/// Whether thinking may be on: the last turn that called tools begins with a thought that its maker sealed, or none did. Some take one
/// that nobody sealed.
pub(super) fn may_think(conversation: &Conversation, takes_unsigned: bool, is_own: impl Fn(&Seal) -> bool) -> bool {
    let is_call = |part: &Part| matches!(part, Part::Call(_));
    let last = conversation.turns.iter().rev().find(|turn| turn.role == Role::Assistant);
    let calls = last.filter(|turn| turn.parts.iter().any(is_call));
    calls.is_none_or(|turn| {
        let taken =
            |thought: &Thought| thought.seal.as_ref().is_some_and(&is_own) || takes_unsigned && !thought.text.trim().is_empty();
        turn.parts.iter().any(|part| matches!(part, Part::Thought(thought) if taken(thought)))
    })
}

pub(super) fn is_ours(seal: &Seal) -> bool {
    matches!(seal.kind, SealKind::AnthropicSignature | SealKind::AnthropicRedacted)
}

fn block<'c>(part: &'c Part, takes_unsigned: bool, marks: &mut Marks) -> Result<Option<Block<'c>>, Untranslatable> {
    Ok(match part {
        // White space alone is refused like nothing.
        Part::Text(Text { text, .. }) | Part::Refusal(text) if text.trim().is_empty() => None,
        Part::Text(Text { text, cached }) => Some(Block::text(text, marks.next(*cached))),
        Part::Refusal(text) => Some(Block::text(text, None)),
        Part::Image(medium) => {
            let source = image(medium)?;
            Some(Block::Image { source, cache_control: marks.next(medium.cached) })
        }
        Part::Document(medium) => {
            let source = document(medium)?;
            Some(Block::Document { source, title: medium.name.as_deref(), cache_control: marks.next(medium.cached) })
        }
        Part::Audio(_) => return Err(untranslatable("sound")),
        Part::Call(Call { id, name, arguments, seal: _, cached }) => {
            Some(Block::ToolUse { id: fit_id(id), name, input: Input::of(arguments), cache_control: marks.next(*cached) })
        }
        Part::Result(ToolResult { id, parts, is_error, cached }) => {
            let said = parts.iter().map(|part| block(part, takes_unsigned, marks)).filter_map(Result::transpose);
            let mut content: Vec<Block<'c>> = said.collect::<Result<_, _>>()?;
            // An error that says nothing is refused.
            content.extend((*is_error && content.is_empty()).then(|| Block::text(FAILED, None)));
            let (tool_use_id, cache_control) = (fit_id(id), marks.next(*cached));
            Some(Block::ToolResult { tool_use_id, content, is_error: *is_error, cache_control })
        }
        Part::Thought(thought) => thought_of(thought, takes_unsigned),
    })
}

/// What is not sealed here would be refused, but by who does not sign all thoughts: there it is told as one of those.
fn thought_of(thought: &Thought, takes_unsigned: bool) -> Option<Block<'_>> {
    let Thought { text, seal } = thought;
    let unsigned = || (takes_unsigned && !text.trim().is_empty()).then_some(Block::Thinking { thinking: text, signature: "" });
    let Some(seal) = seal else { return unsigned() };
    match seal.kind {
        SealKind::AnthropicSignature => Some(Block::Thinking { thinking: text, signature: &seal.value }),
        SealKind::AnthropicRedacted => Some(Block::RedactedThinking { data: &seal.value }),
        SealKind::GeminiSignature | SealKind::OpenAiEncrypted | SealKind::BedrockSignature | SealKind::BedrockRedacted => {
            unsigned()
        }
    }
}

/// The kinds of images that are taken, and one that is often called otherwise (platform.claude.com, "Vision", 2026-11).
const IMAGES: [(&str, &str); 5] = [
    ("image/png", "image/png"),
    ("image/jpeg", "image/jpeg"),
    ("image/jpg", "image/jpeg"),
    ("image/gif", "image/gif"),
    ("image/webp", "image/webp"),
];
const PDF: &str = "application/pdf";

fn image(medium: &Medium) -> Result<MediaSource<'_>, Untranslatable> {
    match &medium.source {
        Source::Base64(data) => {
            let told = media_type(medium).unwrap_or(IMAGES[0].0);
            let known = IMAGES.iter().find(|(name, _)| name.eq_ignore_ascii_case(told));
            let (_, media_type) = known.ok_or_else(|| untranslatable(format!("an image of type `{told}`")))?;
            Ok(MediaSource::Base64 { media_type, data })
        }
        Source::Url(url) => Ok(MediaSource::Url { url }),
        Source::Text(data) => Ok(MediaSource::Text { media_type: "text/plain", data: Cow::Borrowed(data) }),
        Source::FileId(_) => Err(untranslatable("an image that another provider keeps")),
    }
}

/// A PDF, or a text; of other kinds none is taken (platform.claude.com, "PDF support", 2026-11).
fn document(medium: &Medium) -> Result<MediaSource<'_>, Untranslatable> {
    match &medium.source {
        Source::Base64(data) => {
            let told = media_type(medium).unwrap_or(PDF);
            if told.eq_ignore_ascii_case(PDF) {
                return Ok(MediaSource::Base64 { media_type: PDF, data });
            }
            let text = plain_text(medium).ok_or_else(|| untranslatable(format!("a document of type `{told}`")))?;
            Ok(MediaSource::Text { media_type: "text/plain", data: text })
        }
        Source::Url(url) => Ok(MediaSource::Url { url }),
        Source::Text(data) => Ok(MediaSource::Text { media_type: "text/plain", data: Cow::Borrowed(data) }),
        Source::FileId(_) => Err(untranslatable("a document that another provider keeps")),
    }
}

/// Without its parameters.
pub(super) fn media_type(medium: &Medium) -> Option<&str> {
    medium.media_type.as_deref().map(|told| told.split(';').next().unwrap_or(told).trim())
}

/// Whether a kind is one of texts.
pub(super) fn is_text(media_type: &str) -> bool {
    media_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
}

/// The text that a document is, however it is sent; `None` where it is another kind.
pub(super) fn plain_text(medium: &Medium) -> Option<Cow<'_, str>> {
    match &medium.source {
        Source::Text(text) => Some(Cow::Borrowed(text)),
        Source::Base64(data) if media_type(medium).is_some_and(is_text) => text_in_base64(data).map(Cow::Owned),
        Source::Base64(_) | Source::Url(_) | Source::FileId(_) => None,
    }
}

/// The text that is written in base64; `None` where it is not, or is no text.
fn text_in_base64(data: &str) -> Option<String> {
    let digits = data.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let (mut bytes, mut bits, mut filled) = (Vec::with_capacity(data.len() / 4 * 3), 0_u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        (bits, filled) = (bits << 6 | u32::from(value), filled + 6);
        if filled >= 8 {
            filled -= 8;
            bytes.push(u8::try_from(bits >> filled & 0xff).ok()?);
            bits &= (1 << filled) - 1;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty())
}

const fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// An id that is taken, `^[a-zA-Z0-9_-]+$`: as it is where it fits, else the same one for the same id, and another for another.
pub(super) fn fit_id(id: &str) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= ID_CHARS && id.chars().all(plain) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(hashed(id, ID_CHARS))
    }
}

/// The same where only its length matters.
pub(super) fn cut_id(id: &str, most: usize) -> Cow<'_, str> {
    if id.len() <= most { Cow::Borrowed(id) } else { Cow::Owned(hashed(id, most)) }
}

/// An id with its own beginning, of at most so many characters.
fn hashed(id: &str, most: usize) -> String {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let said: String = id.chars().map(|c| if plain(c) { c } else { '_' }).take(most - 17).collect();
    format!("{said}_{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_read_from_base64() {
        for (data, text) in
            [("SGk=", Some("Hi")), ("SGkh", Some("Hi!")), ("w7\nw=", Some("ü")), ("/w==", None), ("S*k=", None), ("", None)]
        {
            assert_eq!(text_in_base64(data).as_deref(), text, "{data}");
        }
    }

    proptest! {
        #[test]
        fn ids_fit_and_stay_apart(one in ".{0,80}", other in "[a-z.:]{0,8}") {
            let fit = |id: &str| {
                let fit = fit_id(id).into_owned();
                assert!(!fit.is_empty() && fit.len() <= ID_CHARS && fit.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
                fit
            };
            let cut = cut_id(&one, 40);
            prop_assert!(cut.len() <= 40 && (one.len() > 40 || cut == one.as_str()), "{}", cut);
            prop_assert_eq!(fit(&one), fit(&one));
            prop_assert_eq!(fit(&one) == fit(&other), one == other);
        }
    }
}
