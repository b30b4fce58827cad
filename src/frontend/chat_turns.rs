//! Reading the messages of chat as turns. Instructions of the system and of developers stand before the first turn or between the
//! turns, as they come; what tools answered to one turn becomes one turn of the user.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::{Content, cannot, link};
use super::lifetime::{self, Mark};
use super::tool_names::ToolNames;
use super::top_level::string;
use super::{extra_content, folded, freeform, reasoning_details};
use crate::canonical::conversation::{CacheLifetime, Call, Medium, Role, Source, Text, Thought, ToolResult, Turn};
use crate::canonical::{Part, Untranslatable};

#[derive(Deserialize)]
pub(super) struct Message<'b> {
    #[serde(borrow)]
    role: Option<Cow<'b, str>>,
    #[serde(borrow)]
    content: Option<Content<WirePart<'b>>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'b>>>,
    #[serde(borrow)]
    function_call: Option<Function<'b>>,
    tool_call_id: Option<String>,
    /// Of a function that answers.
    #[serde(borrow)]
    name: Option<Cow<'b, str>>,
    #[serde(borrow)]
    refusal: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'b RawValue>,
    #[serde(borrow)]
    reasoning_details: Option<&'b RawValue>,
    #[serde(borrow)]
    audio: Option<&'b RawValue>,
    #[serde(borrow)]
    extra_content: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct WirePart<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    text: Option<String>,
    refusal: Option<String>,
    /// A thought among the content, as a text or as parts.
    #[serde(borrow)]
    thinking: Option<Content<Said<'b>>>,
    #[serde(borrow)]
    image_url: Option<&'b RawValue>,
    input_audio: Option<InputAudio>,
    file: Option<File>,
    cache_control: Option<Mark>,
    #[serde(borrow)]
    prompt_cache_breakpoint: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Said<'b> {
    #[serde(borrow)]
    text: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct InputAudio {
    data: String,
    format: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "file_id")]
    id: Option<String>,
    #[serde(rename = "file_data")]
    data: Option<String>,
    #[serde(rename = "filename")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct WireCall<'b> {
    id: Option<String>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    #[serde(borrow)]
    function: Option<Function<'b>>,
    #[serde(borrow)]
    custom: Option<Custom<'b>>,
    #[serde(borrow)]
    extra_content: Option<&'b RawValue>,
}

/// A call of a tool that takes a text as it is.
#[derive(Deserialize)]
struct Custom<'b> {
    name: String,
    #[serde(borrow)]
    input: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Function<'b> {
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'b RawValue>,
}

/// The messages read so far.
pub(super) struct Turns<'t> {
    /// What the tools' functions are called.
    names: &'t ToolNames,
    pub(super) system: Vec<Part>,
    pub(super) said: Vec<Turn>,
    /// Calls without an answer yet: id and name.
    unanswered: Vec<(String, String)>,
    /// The last turn is one of tools' answers, and may take more.
    answering: bool,
}

impl<'t> Turns<'t> {
    pub(super) fn naming(names: &'t ToolNames) -> Self {
        Self { names, system: Vec::new(), said: Vec::new(), unanswered: Vec::new(), answering: false }
    }

    /// Takes the message at this place.
    pub(super) fn add(&mut self, at: usize, message: Message<'_>) -> Result<(), Untranslatable> {
        match message.role.as_deref() {
            Some("system" | "developer") => self.add_instructions(at, message.content),
            Some("user") => {
                let parts = read_parts(at, message.content)?;
                self.push(Role::User, parts);
                Ok(())
            }
            Some("assistant") => self.add_assistant(at, message),
            Some("tool" | "function") => self.add_result(at, message),
            Some(other) => Err(cannot(format!("`messages[{at}]` with the role `{other}`"))),
            None => Err(cannot(format!("`messages[{at}]` without a role"))),
        }
    }

    fn push(&mut self, role: Role, parts: Vec<Part>) {
        self.answering = false;
        self.said.push(Turn { role, parts });
    }

    fn add_instructions(&mut self, at: usize, content: Option<Content<WirePart<'_>>>) -> Result<(), Untranslatable> {
        let mut parts = read_parts(at, content)?;
        if !parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err(cannot(format!("`messages[{at}].content` that is not text for the system")));
        }
        if self.said.is_empty() {
            self.system.append(&mut parts);
        } else if !parts.is_empty() {
            self.push(Role::System, parts);
        }
        Ok(())
    }

    fn add_assistant(&mut self, at: usize, message: Message<'_>) -> Result<(), Untranslatable> {
        if message.audio.is_some() {
            return Err(cannot(format!("`messages[{at}].audio`")));
        }
        let mut calls = Vec::new();
        for (nth, call) in message.tool_calls.into_iter().flatten().enumerate() {
            calls.push(read_call(at, nth, call, self.names)?);
        }
        // The forerunner's calls have no id.
        if let Some(Function { name: Some(name), arguments }) = message.function_call {
            calls.push(Call {
                id: made_up(at, calls.len()),
                name,
                arguments: read_arguments(arguments),
                seal: None,
                cached: None,
            });
        }
        let told = text_of(message.reasoning_content).or_else(|| text_of(message.reasoning));
        let mut thoughts = reasoning_details::read(message.reasoning_details.map(RawValue::get), told, &mut calls);
        extra_content::seal(&mut thoughts, extra_content::read(message.extra_content));
        let mut parts: Vec<Part> = thoughts.into_iter().map(Part::Thought).collect();
        let mut said = read_parts(at, message.content)?;
        if let Some(Part::Text(first)) = said.first_mut() {
            without_folded_thought(&mut first.text);
        }
        parts.extend(said);
        parts.extend(text_of(message.refusal).map(Part::Refusal));
        self.unanswered = calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect();
        parts.extend(calls.into_iter().map(Part::Call));
        self.push(Role::Assistant, parts);
        Ok(())
    }

    fn add_result(&mut self, at: usize, message: Message<'_>) -> Result<(), Untranslatable> {
        let id = self.answered(message.tool_call_id, message.name.as_deref());
        let id = id.ok_or_else(|| cannot(format!("`messages[{at}]`, which answers no call")))?;
        let result = Part::Result(ToolResult { id, parts: read_parts(at, message.content)?, is_error: false, cached: None });
        match self.said.last_mut().filter(|_| self.answering) {
            Some(turn) => turn.parts.push(result),
            None => self.push(Role::User, vec![result]),
        }
        self.answering = true;
        Ok(())
    }

    /// The call that an answer is for: that with its id, else the first one without an answer, of the function's name if it has
    /// one.
    fn answered(&mut self, id: Option<String>, name: Option<&str>) -> Option<String> {
        let id = id.filter(|id| !id.is_empty());
        let place = match (&id, name) {
            (Some(id), _) => self.unanswered.iter().position(|call| call.0 == *id),
            (None, Some(name)) => self.unanswered.iter().position(|call| call.1 == name),
            (None, None) => (!self.unanswered.is_empty()).then_some(0),
        };
        let call = place.map(|place| self.unanswered.remove(place).0);
        id.or(call)
    }
}

/// Takes away a thought that some provider told at the beginning of the text.
fn without_folded_thought(text: &mut String) {
    if let Some(said) = folded::said_behind(text).map(str::to_owned) {
        *text = said;
    }
}

fn made_up(at: usize, nth: usize) -> String {
    format!("call_{at}_{nth}")
}

fn text_of(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| string(raw.get())).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

fn read_call(at: usize, nth: usize, call: WireCall<'_>, names: &ToolNames) -> Result<Call, Untranslatable> {
    let what = || format!("`messages[{at}].tool_calls[{nth}]`");
    let (name, arguments) = match (call.kind.as_deref(), call.function, call.custom) {
        (None | Some("function" | ""), Some(Function { name: Some(name), arguments }), _) => (name, read_arguments(arguments)),
        (None | Some("function" | ""), _, _) => return Err(cannot(format!("{} without a function", what()))),
        (Some("custom"), _, Some(Custom { name, input })) => {
            (names.of(None, name, true), freeform::arguments(&read_arguments(input)))
        }
        (Some(kind), _, _) => return Err(cannot(format!("{} of type `{kind}`", what()))),
    };
    let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| made_up(at, nth));
    Ok(Call { id, name, arguments, seal: extra_content::read(call.extra_content), cached: None })
}

/// Some clients send the arguments as the object that they are.
fn read_arguments(raw: Option<&RawValue>) -> String {
    raw.map(|raw| string(raw.get()).map_or_else(|| raw.get().to_owned(), Cow::into_owned)).unwrap_or_default()
}

/// Empty texts say nothing and are left out.
fn read_parts(at: usize, content: Option<Content<WirePart<'_>>>) -> Result<Vec<Part>, Untranslatable> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(parts)) => {
            let read = |(nth, part)| {
                read_part(part).map_err(|what| cannot(format!("`messages[{at}].content[{nth}]`{what}"))).transpose()
            };
            parts.into_iter().enumerate().filter_map(read).collect()
        }
    }
}

/// Reads a part, or says what it is that cannot be read. `None` where it is empty.
fn read_part(part: WirePart<'_>) -> Result<Option<Part>, String> {
    let kind = part.kind.as_deref().unwrap_or(if part.text.is_some() { "text" } else { "" });
    let lacking = || format!(" of type `{kind}` as it is");
    let marked = part.cache_control.map(|mark| mark.lifetime());
    let cached = marked.or_else(|| lifetime::read(part.prompt_cache_breakpoint));
    match kind {
        "text" => {
            let text = part.text.ok_or_else(lacking)?;
            Ok((!text.is_empty()).then_some(Part::Text(Text { text, cached })))
        }
        "refusal" => Ok(Some(Part::Refusal(part.refusal.ok_or_else(lacking)?))),
        "thinking" => {
            let text = match part.thinking.ok_or_else(lacking)? {
                Content::Text(text) => text,
                Content::Parts(said) => said.iter().filter_map(|said| said.text.as_deref()).collect(),
            };
            Ok((!text.is_empty()).then_some(Part::Thought(Thought { text, seal: None })))
        }
        "image_url" => part.image_url.and_then(|image| read_image(image, cached)).map(Some).ok_or_else(lacking),
        "input_audio" => {
            let audio = part.input_audio.ok_or_else(lacking)?;
            let media_type = audio.format.map(|format| format!("audio/{format}"));
            let source = Source::Base64(audio.data);
            Ok(Some(Part::Audio(Medium { source, media_type, name: None, detail: None, cached })))
        }
        "file" => part.file.and_then(|file| read_file(file, cached)).map(Some).ok_or_else(lacking),
        "" => Err(" without a type".to_owned()),
        _ => Err(format!(" of type `{kind}`")),
    }
}

/// Some clients send the link alone.
fn read_image(raw: &RawValue, cached: Option<CacheLifetime>) -> Option<Part> {
    let (url, detail) = match string(raw.get()) {
        Some(url) => (url.into_owned(), None),
        None => serde_json::from_str::<ImageUrl>(raw.get()).ok().map(|image| (image.url, image.detail))?,
    };
    let (source, media_type) = link(url)?;
    Some(Part::Image(Medium { source, media_type, name: None, detail, cached }))
}

fn read_file(file: File, cached: Option<CacheLifetime>) -> Option<Part> {
    let (source, media_type) = match (file.data, file.id) {
        (Some(data), _) if data.contains(':') => link(data)?,
        // Without a prefix it is what the usual file is.
        (Some(data), _) => (Source::Base64(data), Some("application/pdf".to_owned())),
        (None, Some(id)) => (Source::FileId(id), None),
        (None, None) => return None,
    };
    Some(Part::Document(Medium { source, media_type, name: file.name, detail: None, cached }))
}
