//! What is said in a request: the turns of a conversation as messages of blocks. The two sides take turns, what tools answered
//! stands before what is said beside it, and no text is empty.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;

use super::request::untranslatable;
use crate::canonical::conversation::{
    BEGUN, CacheLifetime, Call, Medium, Part, Role, SealKind, Source, Text, Thought, ToolResult,
};
use crate::canonical::{Conversation, Untranslatable};
use crate::catalog::ConverseFields;
use crate::dialect::Outgoing;
use crate::dialect::messages_blocks::{GO_ON, Input, Marks, fit_id};

/// What stands for the answer of a tool that answered nothing.
const NOTHING: &str = "(nothing)";
/// What stands beside a document without a text, which is refused.
const DOCUMENT: &str = "A document is attached.";
/// What a document without a fit name is called.
const UNNAMED: &str = "document";
/// Names of documents are no longer than this.
const NAME_CHARS: usize = 200;

/// One side's turn.
#[derive(Debug, Serialize)]
pub(super) struct Message<'c> {
    role: &'static str,
    content: Vec<Block<'c>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Block<'c> {
    Text(&'c str),
    Image(Attached<'c>),
    Document(Document<'c>),
    Audio(Attached<'c>),
    ToolUse(ToolUse<'c>),
    ToolResult(Answered<'c>),
    ReasoningContent(Reasoning<'c>),
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
struct Attached<'c> {
    format: &'static str,
    source: MediaSource<'c>,
}

#[derive(Debug, Serialize)]
struct Document<'c> {
    format: &'static str,
    name: String,
    source: MediaSource<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum MediaSource<'c> {
    /// In base64.
    Bytes(&'c str),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'c> {
    #[serde(rename = "toolUseId")]
    id: Cow<'c, str>,
    name: &'c str,
    input: Input<'c>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'c> {
    tool_use_id: Cow<'c, str>,
    content: Vec<Block<'c>>,
    /// Not every model takes it, so what went well is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Reasoning<'c> {
    ReasoningText { text: &'c str, signature: &'c str },
    RedactedContent(&'c str),
}

/// The prompt up to here is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct CachePoint {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

/// The marks of a request, of which a model that caches takes the last four. One that is not known to cache refuses them.
#[derive(Debug)]
pub(super) struct Caches {
    marks: Marks,
    fields: ConverseFields,
}

impl Caches {
    /// Those of tools count where the tools are told.
    pub(super) fn of(conversation: &Conversation, with_tools: bool, fields: ConverseFields) -> Self {
        Self { marks: if with_tools { Marks::of(conversation) } else { Marks::without_tools(conversation) }, fields }
    }

    /// What stands for the next mark, in the order tools, system, messages.
    pub(super) fn point(&mut self, cached: Option<CacheLifetime>) -> Option<CachePoint> {
        let lifetime = self.marks.kept(cached)?;
        let point = |ttl| Some(CachePoint { kind: "default", ttl });
        match (self.fields, lifetime) {
            (ConverseFields::None, _) => None,
            (ConverseFields::Messages, CacheLifetime::Hour) => point(Some("1h")),
            (ConverseFields::Messages | ConverseFields::Nova, _) => point(None),
        }
    }

    /// The same behind a tool, where not every model that caches takes one.
    pub(super) fn point_of_tool(&mut self, cached: Option<CacheLifetime>) -> Option<CachePoint> {
        let point = self.point(cached);
        point.filter(|_| self.fields == ConverseFields::Messages)
    }
}

/// Every turn that says anything.
pub(super) fn messages<'c>(
    conversation: &'c Conversation,
    out: &Outgoing<'_>,
    caches: &mut Caches,
) -> Result<Vec<Message<'c>>, Untranslatable> {
    let mut writer = Writer { caches, names: BTreeSet::new() };
    let mut messages: Vec<Message<'c>> = Vec::new();
    for turn in &conversation.turns {
        let role = match turn.role {
            Role::User => USER,
            Role::Assistant => ASSISTANT,
            // They stand before the first turn here.
            Role::System => continue,
        };
        let mut content = Vec::new();
        for part in &turn.parts {
            writer.part(part, &mut content)?;
        }
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => messages.push(Message { role, content }),
        }
    }
    messages.iter_mut().for_each(Message::order);
    if messages.last().is_some_and(|last| last.role == ASSISTANT) && !out.steering.prefill {
        return Err(untranslatable(BEGUN));
    }
    // Nor may one end in white space.
    if let Some(Message { role: ASSISTANT, content }) = messages.last_mut()
        && let Some(Block::Text(text)) = content.iter_mut().rev().find(|block| !matches!(block, Block::CachePoint(_)))
    {
        *text = text.trim_end();
    }
    if messages.first().is_none_or(|first| first.role != USER) {
        messages.insert(0, Message { role: USER, content: vec![Block::Text(GO_ON)] });
    }
    Ok(messages)
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";

impl Message<'_> {
    /// Tools' answers stand first, each with the mark behind it, and a document has a text beside it.
    fn order(&mut self) {
        let (mut of_result, mut results, mut others) = (false, Vec::new(), Vec::new());
        for block in self.content.drain(..) {
            of_result = match block {
                Block::ToolResult(_) => true,
                Block::CachePoint(_) => of_result,
                _ => false,
            };
            if of_result { results.push(block) } else { others.push(block) }
        }
        let has = |is: fn(&Block<'_>) -> bool| others.iter().any(is);
        let bare = has(|block| matches!(block, Block::Document(_))) && !has(|block| matches!(block, Block::Text(_)));
        if bare {
            others.push(Block::Text(DOCUMENT));
        }
        self.content.append(&mut results);
        self.content.append(&mut others);
    }
}

/// Writes the turns.
struct Writer<'w> {
    caches: &'w mut Caches,
    /// Those of documents so far: no two may have the same.
    names: BTreeSet<String>,
}

impl Writer<'_> {
    fn part<'c>(&mut self, part: &'c Part, out: &mut Vec<Block<'c>>) -> Result<(), Untranslatable> {
        match part {
            Part::Text(Text { text, .. }) | Part::Refusal(text) if text.trim().is_empty() => return Ok(()),
            Part::Text(Text { text, .. }) | Part::Refusal(text) => out.push(Block::Text(text)),
            Part::Image(medium) => out.push(Block::Image(attached("an image", medium, &IMAGES)?)),
            Part::Audio(medium) => out.push(Block::Audio(attached("a sound", medium, &SOUNDS)?)),
            Part::Document(medium) => self.document(medium, out)?,
            Part::Call(Call { id, name, arguments, .. }) => {
                out.push(Block::ToolUse(ToolUse { id: fit_id(id), name, input: Input::of(arguments) }));
            }
            Part::Result(result) => return self.result(result, out),
            Part::Thought(thought) => out.extend(reasoning(thought).map(Block::ReasoningContent)),
        }
        out.extend(self.caches.point(part.cached()).map(Block::CachePoint));
        Ok(())
    }

    /// Within an answer no mark is taken: one stands behind it.
    fn result<'c>(&mut self, result: &'c ToolResult, out: &mut Vec<Block<'c>>) -> Result<(), Untranslatable> {
        let (mut content, mut mark) = (Vec::new(), None);
        for part in &result.parts {
            self.part(part, &mut content)?;
            mark = content.pop_if(|block| matches!(block, Block::CachePoint(_))).or(mark);
        }
        if content.is_empty() {
            content.push(Block::Text(NOTHING));
        }
        let status = result.is_error.then_some("error");
        out.push(Block::ToolResult(Answered { tool_use_id: fit_id(&result.id), content, status }));
        out.extend(self.caches.point(result.cached).map(Block::CachePoint).or(mark));
        Ok(())
    }

    /// A plain text is said as one, behind its title.
    fn document<'c>(&mut self, medium: &'c Medium, out: &mut Vec<Block<'c>>) -> Result<(), Untranslatable> {
        if let Source::Text(text) = &medium.source {
            let lines = medium.name.as_deref().into_iter().chain([text.as_str()]);
            out.extend(lines.filter(|line| !line.trim().is_empty()).map(Block::Text));
            return Ok(());
        }
        let Attached { format, source } = attached("a document", medium, &DOCUMENTS)?;
        out.push(Block::Document(Document { format, name: self.name(medium.name.as_deref()), source }));
        Ok(())
    }

    /// A name that is taken, and that no other document has.
    fn name(&mut self, told: Option<&str>) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-()[]".contains(c);
        let plain: String =
            told.unwrap_or_default().chars().map(|c| if fits(c) { c } else { ' ' }).take(NAME_CHARS - 9).collect();
        let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = if words.is_empty() { UNNAMED.to_owned() } else { words };
        let numbered = (1_u32..).map(|nth| if nth == 1 { name.clone() } else { format!("{name} ({nth})") });
        let free = numbered.take(self.names.len() + 1).find(|name| !self.names.contains(name)).unwrap_or(name.clone());
        self.names.insert(free.clone());
        free
    }
}

/// Media types and what they are called here.
type Formats = [(&'static str, &'static str)];

const IMAGES: [(&str, &str); 5] =
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("image/jpg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")];

const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];

const SOUNDS: [(&str, &str); 9] = [
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/flac", "flac"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "opus"),
    ("audio/aac", "aac"),
    ("audio/webm", "webm"),
];

fn attached<'c>(what: &str, medium: &'c Medium, formats: &Formats) -> Result<Attached<'c>, Untranslatable> {
    let source = match &medium.source {
        Source::Base64(data) => MediaSource::Bytes(data),
        // Not an object of S3 either: it would be read with the operator's rights, whoever asks.
        Source::Url(_) => return Err(untranslatable(format!("{what} behind a link"))),
        Source::Text(_) | Source::FileId(_) => return Err(untranslatable(format!("{what} that another provider keeps"))),
    };
    let media_type = medium.media_type.as_deref().map(|told| told.split(';').next().unwrap_or(told).trim());
    let Some(media_type) = media_type else { return Err(untranslatable(format!("{what} without its media type"))) };
    let format = formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(media_type));
    let (_, format) = format.ok_or_else(|| untranslatable(format!("{what} of type `{media_type}`")))?;
    Ok(Attached { format, source })
}

/// What is not sealed here is of no use to the model, or would be refused.
fn reasoning(thought: &Thought) -> Option<Reasoning<'_>> {
    let seal = thought.seal.as_ref()?;
    match seal.kind {
        SealKind::BedrockSignature => Some(Reasoning::ReasoningText { text: &thought.text, signature: &seal.value }),
        SealKind::BedrockRedacted => Some(Reasoning::RedactedContent(&seal.value)),
        SealKind::AnthropicSignature | SealKind::AnthropicRedacted | SealKind::GeminiSignature | SealKind::OpenAiEncrypted => {
            None
        }
    }
}
