//! Reading the items of Responses as turns. What the assistant thought, said and called before anybody answered is one turn of it,
//! and what tools answered to that is one of the user; instructions of the system and of developers stand before the first turn or
//! between the turns, as they come. Items of tools that the provider ran, and items that nobody here knows, cannot be said in another shape.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, cannot, link};
use super::tool_names::ToolNames;
use super::top_level::string;
use super::{freeform, lifetime, seals};
use crate::canonical::conversation::{Call, Medium, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Part, Untranslatable};

/// An item of any type: a member that another type has is not looked at.
#[derive(Deserialize)]
pub(super) struct Item<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow)]
    role: Option<Cow<'b, str>>,
    #[serde(borrow)]
    content: Option<Content<WirePart<'b>>>,
    call_id: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'b RawValue>,
    #[serde(borrow)]
    input: Option<&'b RawValue>,
    #[serde(borrow)]
    output: Option<&'b RawValue>,
    #[serde(borrow)]
    summary: Option<Vec<WirePart<'b>>>,
    encrypted_content: Option<String>,
}

#[derive(Deserialize)]
struct WirePart<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    text: Option<String>,
    refusal: Option<String>,
    /// Of chat it is an object.
    #[serde(borrow)]
    image_url: Option<&'b RawValue>,
    detail: Option<String>,
    file_id: Option<String>,
    file_url: Option<String>,
    file_data: Option<String>,
    filename: Option<String>,
    input_audio: Option<InputAudio>,
    #[serde(borrow)]
    prompt_cache_breakpoint: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct InputAudio {
    data: String,
    format: Option<String>,
}

/// The items read so far.
pub(super) struct Turns<'t> {
    /// What the tools' functions are called.
    names: &'t ToolNames,
    pub(super) system: Vec<Part>,
    pub(super) said: Vec<Turn>,
    /// The last turn is one of tools' answers, and may take more.
    answering: bool,
}

impl<'t> Turns<'t> {
    pub(super) fn naming(names: &'t ToolNames) -> Self {
        Self { names, system: Vec::new(), said: Vec::new(), answering: false }
    }

    /// Takes the item at this place.
    pub(super) fn add(&mut self, at: usize, item: Item<'_>) -> Result<(), Untranslatable> {
        let kind = item.kind.clone().unwrap_or(if item.role.is_some() { "message".into() } else { "".into() });
        let lacking = || cannot(format!("`input[{at}]` of type `{kind}` as it is"));
        match &*kind {
            "message" => self.add_message(at, item),
            "reasoning" => {
                self.add_thought(item);
                Ok(())
            }
            "function_call" | "custom_tool_call" => {
                let (Some(id), Some(name)) = (item.call_id, item.name) else { return Err(lacking()) };
                let name = self.names.of(item.namespace.as_deref(), name, kind == "custom_tool_call");
                let arguments = match &*kind {
                    "function_call" => read_text(item.arguments),
                    _ => freeform::arguments(&read_text(item.input)),
                };
                self.add_call(Call { id, name, arguments, seal: None, cached: None });
                Ok(())
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = item.call_id.ok_or_else(lacking)?;
                let said: Option<Content<WirePart<'_>>> = match item.output {
                    Some(raw) => serde_json::from_str(raw.get()).map_err(|_| lacking())?,
                    None => None,
                };
                let parts = read_parts(&format!("input[{at}].output"), said)?;
                self.answer(Part::Result(ToolResult { id, parts, is_error: false, cached: None }));
                Ok(())
            }
            "" => Err(cannot(format!("`input[{at}]` without a type"))),
            _ => Err(cannot(format!("`input[{at}]` of type `{kind}`"))),
        }
    }

    /// Adds a part to what one side says: the assistant goes on with its turn, the user begins another.
    pub(super) fn say(&mut self, role: Role, part: Part) {
        match self.said.last_mut().filter(|turn| role == Role::Assistant && turn.role == role) {
            Some(turn) => turn.parts.push(part),
            None => self.said.push(Turn { role, parts: vec![part] }),
        }
        self.answering = false;
    }

    fn answer(&mut self, result: Part) {
        match self.said.last_mut().filter(|_| self.answering) {
            Some(turn) => turn.parts.push(result),
            None => self.said.push(Turn { role: Role::User, parts: vec![result] }),
        }
        self.answering = true;
    }

    fn add_message(&mut self, at: usize, item: Item<'_>) -> Result<(), Untranslatable> {
        let place = format!("input[{at}].content");
        let parts = read_parts(&place, item.content)?;
        match item.role.as_deref() {
            Some("system" | "developer") => {
                if !parts.iter().all(|part| matches!(part, Part::Text(_))) {
                    return Err(cannot(format!("`{place}` that is not text for the system")));
                }
                if self.said.is_empty() {
                    self.system.extend(parts);
                } else if !parts.is_empty() {
                    self.said.push(Turn { role: Role::System, parts });
                    self.answering = false;
                }
            }
            Some("user") if parts.is_empty() => {}
            Some("user") => {
                self.said.push(Turn { role: Role::User, parts });
                self.answering = false;
            }
            Some("assistant") => self.add_said(parts),
            Some(other) => return Err(cannot(format!("`input[{at}]` with the role `{other}`"))),
            None => return Err(cannot(format!("`input[{at}]` without a role"))),
        }
        Ok(())
    }

    /// Messages of one turn are told apart by a line of their own.
    fn add_said(&mut self, mut parts: Vec<Part>) {
        let last = self.said.last().filter(|turn| turn.role == Role::Assistant).and_then(|turn| turn.parts.last());
        if let (Some(Part::Text(_)), Some(Part::Text(first))) = (last, parts.first_mut()) {
            first.text.insert(0, '\n');
        }
        for part in parts {
            self.say(Role::Assistant, part);
        }
    }

    /// What was thought itself goes before a summary of it.
    fn add_thought(&mut self, item: Item<'_>) {
        let whole = match item.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => joined(parts),
            None => String::new(),
        };
        let text = if whole.is_empty() { joined(item.summary.unwrap_or_default()) } else { whole };
        let seal = item.encrypted_content.and_then(seals::from_item);
        if !text.is_empty() || seal.is_some() {
            self.say(Role::Assistant, Part::Thought(Thought { text, seal }));
        }
    }

    /// A call's seal stands in an item of its own before it.
    fn add_call(&mut self, call: Call) {
        let seal = self.said.last_mut().filter(|turn| turn.role == Role::Assistant).and_then(|turn| take_seal(&mut turn.parts));
        self.say(Role::Assistant, Part::Call(Call { seal, ..call }));
    }
}

fn take_seal(parts: &mut Vec<Part>) -> Option<Seal> {
    let of_call = |part: &mut Part| match part {
        Part::Thought(Thought { text, seal: Some(seal) }) => text.is_empty() && seal.kind == SealKind::GeminiSignature,
        _ => false,
    };
    match parts.pop_if(of_call)? {
        Part::Thought(thought) => thought.seal,
        _ => None,
    }
}

/// Parts of a thought are paragraphs.
fn joined(parts: Vec<WirePart<'_>>) -> String {
    let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text).filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

/// What a call was given. Some clients send arguments as the object that they are.
fn read_text(raw: Option<&RawValue>) -> String {
    raw.map(|raw| string(raw.get()).map_or_else(|| raw.get().to_owned(), Cow::into_owned)).unwrap_or_default()
}

/// Empty texts say nothing and are left out.
fn read_parts(place: &str, content: Option<Content<WirePart<'_>>>) -> Result<Vec<Part>, Untranslatable> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(parts)) => {
            let read = |(nth, part)| read_part(part).map_err(|what| cannot(format!("`{place}[{nth}]`{what}"))).transpose();
            parts.into_iter().enumerate().filter_map(read).collect()
        }
    }
}

/// Reads a part, or says what it is that cannot be read. `None` where it is empty.
fn read_part(part: WirePart<'_>) -> Result<Option<Part>, String> {
    let kind = part.kind.as_deref().unwrap_or(if part.text.is_some() { "text" } else { "" });
    let lacking = || format!(" of type `{kind}` as it is");
    let cached = lifetime::read(part.prompt_cache_breakpoint);
    match kind {
        "input_text" | "output_text" | "text" => {
            let text = part.text.ok_or_else(lacking)?;
            Ok((!text.is_empty()).then_some(Part::Text(Text { text, cached })))
        }
        "refusal" => {
            Ok(Some(Part::Refusal(part.refusal.ok_or_else(lacking)?)).filter(|part| *part != Part::Refusal(String::new())))
        }
        "input_image" => {
            let url = part.image_url.and_then(|url| string(url.get())).map(Cow::into_owned);
            let (source, media_type) = match (url, part.file_id) {
                (Some(url), _) => link(url).ok_or_else(lacking)?,
                (None, Some(id)) => (Source::FileId(id), None),
                (None, None) => return Err(lacking()),
            };
            Ok(Some(Part::Image(Medium { source, media_type, name: None, detail: part.detail, cached })))
        }
        "input_file" => {
            let (source, media_type) = match (part.file_data, part.file_url, part.file_id) {
                (Some(data), _, _) if data.contains(':') => link(data).ok_or_else(lacking)?,
                // Without a prefix it is what the usual file is.
                (Some(data), _, _) => (Source::Base64(data), Some("application/pdf".to_owned())),
                (None, Some(url), _) => (Source::Url(url), None),
                (None, None, Some(id)) => (Source::FileId(id), None),
                (None, None, None) => return Err(lacking()),
            };
            Ok(Some(Part::Document(Medium { source, media_type, name: part.filename, detail: None, cached })))
        }
        "input_audio" => {
            let audio = part.input_audio.ok_or_else(lacking)?;
            let media_type = audio.format.map(|format| format!("audio/{format}"));
            let source = Source::Base64(audio.data);
            Ok(Some(Part::Audio(Medium { source, media_type, name: None, detail: None, cached: None })))
        }
        "" => Err(" without a type".to_owned()),
        _ => Err(format!(" of type `{kind}`")),
    }
}
