//! Reading the messages of Anthropic's Messages as turns. Blocks of tools that the provider ran, and blocks that nobody here knows, cannot be said in another shape.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, cannot};
use super::lifetime::Mark;
use super::seals;
use super::top_level::string;
use crate::canonical::conversation::{Call, Medium, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Part, Untranslatable};

/// Stands for arguments that are no object, which is all that an `input` may be.
pub(super) const UNPARSED: &str = "_raw";

#[derive(Deserialize)]
pub(super) struct Message<'b> {
    #[serde(borrow)]
    role: Option<Cow<'b, str>>,
    #[serde(borrow)]
    content: Option<Content<Block<'b>>>,
}

/// A block of any type: a member that another type has is not looked at.
#[derive(Deserialize)]
pub(super) struct Block<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'b RawValue>,
    tool_use_id: Option<String>,
    #[serde(borrow)]
    content: Option<Content<Block<'b>>>,
    is_error: Option<bool>,
    #[serde(borrow)]
    source: Option<&'b RawValue>,
    title: Option<String>,
    context: Option<String>,
    #[serde(borrow)]
    citations: Option<&'b RawValue>,
    cache_control: Option<Mark>,
}

#[derive(Deserialize)]
struct WireSource<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
    file_id: Option<String>,
    #[serde(borrow)]
    content: Option<Content<Block<'b>>>,
}

/// Reads texts for the system; `place` names them when they are none.
pub(super) fn read_system(place: &str, content: Option<Content<Block<'_>>>) -> Result<Vec<Part>, Untranslatable> {
    let parts = read_content(place, content)?;
    match parts.iter().position(|part| !matches!(part, Part::Text(_))) {
        Some(_) => Err(cannot(format!("`{place}` that is not text"))),
        None => Ok(parts),
    }
}

/// Reads the message at this place.
pub(super) fn read_message(at: usize, message: Message<'_>) -> Result<Turn, Untranslatable> {
    let place = format!("messages[{at}].content");
    let role = match message.role.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => {
            return Ok(Turn { role: Role::System, parts: read_system(&place, message.content)? });
        }
        Some(other) => return Err(cannot(format!("`messages[{at}]` with the role `{other}`"))),
        None => return Err(cannot(format!("`messages[{at}]` without a role"))),
    };
    let parts = read_content(&place, message.content)?;
    // Nobody but Anthropic's own shape has a place for it, and no model writes one.
    if role == Role::User && parts.iter().any(|part| matches!(part, Part::Call(_))) {
        return Err(cannot(format!("a `tool_use` in `{place}`, whose role is `user`")));
    }
    Ok(Turn { role, parts })
}

fn read_content(place: &str, content: Option<Content<Block<'_>>>) -> Result<Vec<Part>, Untranslatable> {
    let blocks = match content {
        None => return Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Content::Text(text)) => return Ok(vec![Part::text(text)]),
        Some(Content::Parts(blocks)) => blocks,
    };
    let mut parts = Vec::new();
    // A call's seal stands in a block of its own before it.
    let mut before: Option<Seal> = None;
    for (nth, block) in blocks.into_iter().enumerate() {
        let encrypted = block.kind.as_deref() == Some("redacted_thinking");
        let mut read = Vec::new();
        read_block(&format!("{place}[{nth}]"), block, &mut read)?;
        match (read.first_mut(), before.take()) {
            (Some(Part::Call(call)), seal) => call.seal = seal,
            (_, seal) => parts.extend(seal.map(alone)),
        }
        match read.pop() {
            Some(Part::Thought(Thought { seal: Some(seal), .. })) if encrypted && !seal.kind.is_redacted() => {
                before = Some(seal);
            }
            last => parts.extend(read.into_iter().chain(last)),
        }
    }
    parts.extend(before.map(alone));
    Ok(parts)
}

fn alone(seal: Seal) -> Part {
    Part::Thought(Thought { text: String::new(), seal: Some(seal) })
}

/// Reads a block, which may be nothing, or two parts.
fn read_block(place: &str, block: Block<'_>, parts: &mut Vec<Part>) -> Result<(), Untranslatable> {
    let kind = block.kind.as_deref().unwrap_or_default();
    let lacking = || cannot(format!("`{place}` of type `{kind}` as it is"));
    let cached = block.cache_control.map(|mark| mark.lifetime());
    if block.citations.is_some_and(|citations| citations.get().contains("true")) {
        return Err(cannot(format!("`{place}.citations`")));
    }
    match kind {
        "text" => {
            let text = block.text.ok_or_else(lacking)?;
            parts.extend((!text.is_empty()).then_some(Part::Text(Text { text, cached })));
        }
        "image" => parts.push(Part::Image(Medium { cached, ..read_medium(place, block.source)?.ok_or_else(lacking)? })),
        "document" => {
            let medium = read_medium(place, block.source)?.ok_or_else(lacking)?;
            parts.extend(block.context.filter(|context| !context.is_empty()).map(Part::text));
            parts.push(Part::Document(Medium { name: block.title, cached, ..medium }));
        }
        "thinking" => {
            let text = block.thinking.ok_or_else(lacking)?;
            let seal = block.signature.and_then(|signature| seals::from_block(signature, SealKind::AnthropicSignature));
            parts.extend((!text.is_empty() || seal.is_some()).then_some(Part::Thought(Thought { text, seal })));
        }
        "redacted_thinking" => {
            parts.extend(block.data.and_then(|data| seals::from_block(data, SealKind::AnthropicRedacted)).map(alone));
        }
        "tool_use" => {
            let (Some(id), Some(name)) = (block.id, block.name) else { return Err(lacking()) };
            parts.push(Part::Call(Call { id, name, arguments: read_input(block.input), seal: None, cached }));
        }
        "tool_result" => {
            let id = block.tool_use_id.ok_or_else(lacking)?;
            let said = read_content(&format!("{place}.content"), block.content)?;
            let fits = |part: &Part| matches!(part, Part::Text(_) | Part::Image(_) | Part::Document(_));
            if !said.iter().all(fits) {
                return Err(cannot(format!("`{place}.content` that is not text, images or documents")));
            }
            parts.push(Part::Result(ToolResult { id, parts: said, is_error: block.is_error.unwrap_or(false), cached }));
        }
        "search_result" => {
            let source = block.source.and_then(|source| string(source.get()));
            let body = joined(&format!("{place}.content"), block.content)?;
            let lines = [block.title, source.map(Cow::into_owned), Some(body)];
            let text = lines.into_iter().flatten().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
            parts.extend((!text.is_empty()).then_some(Part::Text(Text { text, cached })));
        }
        "" => return Err(cannot(format!("`{place}` without a type"))),
        _ => return Err(cannot(format!("`{place}` of type `{kind}`"))),
    }
    Ok(())
}

/// The text of an object of arguments, as it stands, unless it stands for a text that is none.
fn read_input(input: Option<&RawValue>) -> String {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Unparsed {
        #[serde(rename = "_raw")]
        text: String,
    }
    let Some(input) = input.map(RawValue::get) else { return String::new() };
    let unparsed = input.contains(UNPARSED).then(|| serde_json::from_str::<Unparsed>(input).ok()).flatten();
    unparsed.map_or_else(|| input.to_owned(), |unparsed| unparsed.text)
}

/// Reads the source of an image or a document; `None` where it lacks something.
fn read_medium(place: &str, source: Option<&RawValue>) -> Result<Option<Medium>, Untranslatable> {
    let wire = source.and_then(|source| serde_json::from_str::<WireSource<'_>>(source.get()).ok());
    let Some(wire) = wire else { return Ok(None) };
    let plain = || Some("text/plain".to_owned());
    let (source, media_type) = match &*wire.kind {
        "base64" => (wire.data.map(Source::Base64), wire.media_type),
        "url" => (wire.url.map(Source::Url), wire.media_type),
        "file" => (wire.file_id.map(Source::FileId), wire.media_type),
        "text" => (wire.data.map(Source::Text), wire.media_type.or_else(plain)),
        "content" => (Some(Source::Text(joined(&format!("{place}.source.content"), wire.content)?)), plain()),
        _ => (None, None),
    };
    Ok(source.map(|source| Medium { source, media_type, name: None, detail: None, cached: None }))
}

/// The texts of blocks that have nothing else, one a line.
fn joined(place: &str, content: Option<Content<Block<'_>>>) -> Result<String, Untranslatable> {
    let mut lines = Vec::new();
    for part in read_content(place, content)? {
        match part {
            Part::Text(text) => lines.push(text.text),
            _ => return Err(cannot(format!("`{place}` that is not text"))),
        }
    }
    Ok(lines.join("\n"))
}
