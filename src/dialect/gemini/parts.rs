//! What is said in a request: the turns of a conversation as `contents`, and what stands before them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::request::untranslatable;
use crate::canonical::conversation::{Call, Json, Medium, Role, SealKind, Source, Thought, ToolResult};
use crate::canonical::{Conversation, Untranslatable, conversation};
use crate::dialect::messages_blocks::{is_text, media_type};

/// What one side says.
#[derive(Debug, Serialize)]
pub(super) struct Content<'c> {
    /// None where it says itself whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'c>>,
}

/// One of these members, and the signature.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'c str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<InlineData<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<FileData<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<FunctionResponse<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'c str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'c> {
    mime_type: &'c str,
    data: &'c str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'c str>,
    file_uri: &'c str,
}

#[derive(Debug, Serialize)]
struct FunctionCall<'c> {
    name: &'c str,
    args: Arguments<'c>,
}

/// An object, whatever the arguments were.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Arguments<'c> {
    Object(&'c RawValue),
    None {},
    /// A text that is no object: cut, or made up by a model. What it was is still to be seen.
    Text {
        arguments: &'c str,
    },
}

#[derive(Debug, Serialize)]
struct FunctionResponse<'c> {
    name: &'c str,
    response: Response,
    /// The how manyth call of the conversation it answers.
    #[serde(skip)]
    place: usize,
}

/// An object, whatever the tool answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Response {
    Object(Json),
    Text { result: String },
    Error { error: String },
}

/// Where Google looks for a file itself; any other link is refused (dialects.md 5.5).
const FILES: [&str; 3] = ["gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/watch?"];

/// The kinds of images that are taken, and one that is often called otherwise (ai.google.dev, "Image understanding", 2026-11).
const IMAGES: [(&str, &str); 6] = [
    ("image/png", "image/png"),
    ("image/jpeg", "image/jpeg"),
    ("image/jpg", "image/jpeg"),
    ("image/webp", "image/webp"),
    ("image/heic", "image/heic"),
    ("image/heif", "image/heif"),
];
const PDF: &str = "application/pdf";
const TEXT: &str = "text/plain";

fn image(told: &str) -> Option<&str> {
    IMAGES.iter().find(|(name, _)| name.eq_ignore_ascii_case(told)).map(|(_, kind)| *kind)
}

/// A PDF, a text, which is read as one whatever is written in it (ai.google.dev, "Document understanding", 2026-11), and what clients
/// have no other word for: a film or a sound as a file.
fn document(told: &str) -> Option<&str> {
    let begins = |kind: &str| told.get(..kind.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(kind));
    match told {
        _ if told.eq_ignore_ascii_case(PDF) => Some(PDF),
        _ if is_text(told) => Some(TEXT),
        _ if begins("video/") || begins("audio/") => Some(told),
        _ => None,
    }
}

/// What stands for the signature of a call that has none: Gemini 3 refuses a tool loop whose calls have lost theirs, and this is
/// documented for calls that another model made (ai.google.dev, "Thought signatures", FAQ; providers.md 3, 2026-11-22).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What stands before the turns, and the turns. A request needs a turn: where there is none, what stands before them is one.
pub(super) fn contents<'c>(
    conversation: &'c Conversation,
    beside: [Option<&'static str>; 2],
) -> Result<(Option<Content<'c>>, Vec<Content<'c>>), Untranslatable> {
    let mut writer = Writer::default();
    for turn in conversation.turns.iter().filter(|turn| turn.role != Role::System) {
        let mut parts = Vec::new();
        for part in &turn.parts {
            writer.part(part, &mut parts)?;
        }
        writer.say(if turn.role == Role::Assistant { MODEL } else { USER }, parts);
    }
    let mut contents = writer.contents;
    contents.iter_mut().for_each(Content::order);
    sign(&mut contents);
    let texts =
        conversation.instructions().filter_map(|part| if let conversation::Part::Text(text) = part { Some(text) } else { None });
    let told = texts.map(|text| text.text.as_str()).chain(beside.into_iter().flatten()).filter(|text| !text.is_empty());
    let system: Vec<Part<'c>> = told.map(Part::text).collect();
    if contents.is_empty() && !system.is_empty() {
        return Ok((None, vec![Content { role: Some(USER), parts: system }]));
    }
    Ok(((!system.is_empty()).then_some(Content { role: None, parts: system }), contents))
}

const USER: &str = "user";
const MODEL: &str = "model";

impl<'c> Part<'c> {
    fn text(text: &'c str) -> Self {
        Self { text: Some(text), ..Self::default() }
    }

    /// What is said of an image, a document or a sound, whose kinds are told apart by `known`.
    fn medium(what: &str, medium: &'c Medium, known: fn(&'c str) -> Option<&'c str>) -> Result<Option<Self>, Untranslatable> {
        let mime_type = medium.media_type.as_deref();
        match &medium.source {
            Source::Base64(data) => {
                let told = media_type(medium).ok_or_else(|| untranslatable(format!("{what} without its media type")))?;
                let mime_type = known(told).ok_or_else(|| untranslatable(format!("{what} of type `{told}`")))?;
                Ok(Some(Self { inline_data: Some(InlineData { mime_type, data }), ..Self::default() }))
            }
            Source::Url(file_uri) if FILES.iter().any(|place| file_uri.starts_with(place)) => {
                Ok(Some(Self { file_data: Some(FileData { mime_type, file_uri }), ..Self::default() }))
            }
            Source::Url(_) => Err(untranslatable(format!("{what} behind a link"))),
            Source::Text(text) => Ok((!text.is_empty()).then(|| Self::text(text))),
            Source::FileId(_) => Err(untranslatable(format!("{what} that another provider keeps"))),
        }
    }

    /// A thought that this provider sealed; what others thought, and what has lost its seal, is of no use to it.
    fn thought(thought: &'c Thought) -> Option<Self> {
        let seal = thought.seal.as_ref().filter(|seal| seal.kind == SealKind::GeminiSignature)?;
        let (text, thinks) = (Some(thought.text.as_str()), !thought.text.is_empty());
        Some(Self { text, thought: thinks, thought_signature: Some(&seal.value), ..Self::default() })
    }

    fn call(call: &'c Call) -> Self {
        let seal = call.seal.as_ref().filter(|seal| seal.kind == SealKind::GeminiSignature);
        let args = match serde_json::from_str::<&RawValue>(&call.arguments) {
            Ok(object) if object.get().starts_with('{') => Arguments::Object(object),
            _ if call.arguments.trim_ascii().is_empty() => Arguments::None {},
            _ => Arguments::Text { arguments: &call.arguments },
        };
        let function_call = Some(FunctionCall { name: &call.name, args });
        Self { function_call, thought_signature: seal.map(|seal| seal.value.as_str()), ..Self::default() }
    }
}

impl Response {
    fn of(result: &ToolResult) -> Self {
        let text =
            |part: &conversation::Part| if let conversation::Part::Text(text) = part { Some(text.text.clone()) } else { None };
        let text = result.parts.iter().filter_map(text).collect::<Vec<_>>().join("\n");
        if result.is_error {
            return Self::Error { error: text };
        }
        let object = text.trim_ascii_start().starts_with('{').then(|| Json::parse(text.clone())).flatten();
        object.map_or(Self::Text { result: text }, Self::Object)
    }
}

impl Content<'_> {
    /// Tools' answers stand first, in the order of their calls: they are matched by name and order.
    fn order(&mut self) {
        self.parts.sort_by_key(|part| part.function_response.as_ref().map_or(usize::MAX, |response| response.place));
    }

    fn answers_calls(&self) -> bool {
        self.parts.iter().any(|part| part.function_response.is_some())
    }
}

/// The first call of each step of the tool loop that is under way has to be signed (the others come unsigned from the model
/// itself). The loop began where the user last said something that was no answer of a tool.
fn sign(contents: &mut [Content<'_>]) {
    let began = contents.iter().rposition(|content| content.role == Some(USER) && !content.answers_calls());
    for step in contents.iter_mut().skip(began.map_or(0, |at| at + 1)) {
        if let Some(call) = step.parts.iter_mut().find(|part| part.function_call.is_some()) {
            call.thought_signature = call.thought_signature.or(Some(NO_SIGNATURE));
        }
    }
}

/// Writes the turns.
#[derive(Default)]
struct Writer<'c> {
    contents: Vec<Content<'c>>,
    /// Of every call so far by its id: the how manyth it was, and what it called.
    called: HashMap<&'c str, (usize, &'c str)>,
}

impl<'c> Writer<'c> {
    /// Adds a turn: neighbours of one role become one, and one that says nothing is left out.
    fn say(&mut self, role: &'static str, parts: Vec<Part<'c>>) {
        match self.contents.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if last.role == Some(role) => last.parts.extend(parts),
            _ => self.contents.push(Content { role: Some(role), parts }),
        }
    }

    fn part(&mut self, part: &'c conversation::Part, out: &mut Vec<Part<'c>>) -> Result<(), Untranslatable> {
        match part {
            conversation::Part::Text(text) => out.extend((!text.text.is_empty()).then(|| Part::text(&text.text))),
            conversation::Part::Refusal(text) => out.extend((!text.is_empty()).then(|| Part::text(text))),
            conversation::Part::Image(medium) => out.extend(Part::medium("an image", medium, image)?),
            // There is no member for its name, so it is said.
            conversation::Part::Document(medium) => {
                out.extend(medium.name.as_deref().filter(|name| !name.is_empty()).map(Part::text));
                out.extend(Part::medium("a document", medium, document)?);
            }
            conversation::Part::Audio(medium) => out.extend(Part::medium("a sound", medium, Some)?),
            conversation::Part::Thought(thought) => out.extend(Part::thought(thought)),
            conversation::Part::Call(call) => {
                self.called.insert(&call.id, (self.called.len(), &call.name));
                out.push(Part::call(call));
            }
            conversation::Part::Result(result) => self.result(result, out)?,
        }
        Ok(())
    }

    /// A tool's answer names what was called; media in it stand beside it, which every model takes.
    fn result(&mut self, result: &'c ToolResult, out: &mut Vec<Part<'c>>) -> Result<(), Untranslatable> {
        let Some((place, name)) = self.called.get(result.id.as_str()).copied() else {
            return Err(untranslatable("a tool's answer to a call that is not there".to_owned()));
        };
        let function_response = Some(FunctionResponse { name, response: Response::of(result), place });
        out.push(Part { function_response, ..Part::default() });
        for part in &result.parts {
            if !matches!(part, conversation::Part::Text(_)) {
                self.part(part, out)?;
            }
        }
        Ok(())
    }
}
