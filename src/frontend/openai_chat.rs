//! Reading a chat completion request in one borrowed pass over the client's bytes.
//!
//! Members of the top-level object are kept as slices of the body, so that where they stand is known to the splice;
//! only `messages` and `tools` are walked, to profile their text. Unknown members are not looked at. Names that decide
//! money or routing must not stand twice (parsers disagree on which one counts) nor in another case (some parsers do
//! not mind the case, so a second model could be smuggled past the gateway).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::errors::{BadRequest, Position};
use super::json::{TOO_DEEP, nests_deeper, span_in};
use super::messages::{Conversation, Messages, Tools};
use super::needs::ResponseFormat;
use super::wishes;
use crate::canonical::request::Member;
use crate::canonical::{Members, Request, TextProfile, Wishes};
use crate::units::Tokens;

const MAX_MODEL_BYTES: usize = 256;
const MAX_CHOICES: u64 = 128;

/// The top-level members that the gateway acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Name {
    Model,
    Messages,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    N,
    Tools,
    ToolChoice,
    Functions,
    FunctionCall,
    ResponseFormat,
    Logprobs,
    TopLogprobs,
    Modalities,
    ReasoningEffort,
    Reasoning,
    Thinking,
    EnableThinking,
    ChatTemplateKwargs,
    Tokenbroker,
}

/// Each name as a key of the body, in the order of [`Name`].
const NAMES: [(Name, &str); 21] = [
    (Name::Model, "model"),
    (Name::Messages, "messages"),
    (Name::Stream, "stream"),
    (Name::StreamOptions, "stream_options"),
    (Name::MaxTokens, "max_tokens"),
    (Name::MaxCompletionTokens, "max_completion_tokens"),
    (Name::N, "n"),
    (Name::Tools, "tools"),
    (Name::ToolChoice, "tool_choice"),
    (Name::Functions, "functions"),
    (Name::FunctionCall, "function_call"),
    (Name::ResponseFormat, "response_format"),
    (Name::Logprobs, "logprobs"),
    (Name::TopLogprobs, "top_logprobs"),
    (Name::Modalities, "modalities"),
    (Name::ReasoningEffort, "reasoning_effort"),
    (Name::Reasoning, "reasoning"),
    (Name::Thinking, "thinking"),
    (Name::EnableThinking, "enable_thinking"),
    (Name::ChatTemplateKwargs, "chat_template_kwargs"),
    (Name::Tokenbroker, "tokenbroker"),
];

impl Name {
    fn word(self) -> &'static str {
        NAMES[self as usize].1
    }
}

/// What this frontend is called in the books.
pub const WORD: &str = "openai_chat";

/// Reads a request and keeps its bytes.
///
/// # Errors
/// When it is not valid JSON, not an object, nests too deep, or when a member that the gateway acts on is missing,
/// doubled or of a wrong type. What only the provider can judge is let through.
pub fn parse(body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
    let mut wishes = Wishes::default();
    wishes::from_headers(headers, &mut wishes)?;
    let (request, members) = read(&body, wishes)?;
    Ok(Request { body, members, ..request })
}

/// Everything but the bytes themselves.
fn read(body: &[u8], mut wishes: Wishes) -> Result<(Request, Members), BadRequest> {
    let text = std::str::from_utf8(body).map_err(|e| not_utf8(body, e.valid_up_to()))?;
    let top = TopLevel::read(text)?;
    if let Some(value) = top.value(Name::Tokenbroker) {
        wishes::from_body(value, &mut wishes).map_err(|bad| top.place(bad, value))?;
    }
    let members = top.members()?;
    let stream = top.flag(Name::Stream)?.unwrap_or(false);
    let choices = top.whole(Name::N, 1, MAX_CHOICES)?.unwrap_or(1);
    let format = top.response_format()?;
    let request = Request {
        body: Bytes::new(),
        members: Members::default(),
        model: top.model()?.into_owned(),
        stream,
        wants_usage_frame: top.include_usage()? && stream,
        output_bound: top.output_bound()?,
        choices: u32::try_from(choices).unwrap_or(u32::MAX),
        features: top.features(choices, format.as_ref())?,
        reasoning: top.reasoning()?,
        text: top.profile(format.as_ref()),
        messages: top.conversation.messages,
        tools: top.conversation.tools,
        images: top.conversation.images,
        wishes,
    };
    let [messages, tools] = top.arrays;
    Ok((request, Members { developer_roles: top.conversation.developer_roles, messages, tools, ..members }))
}

fn not_utf8(body: &[u8], offset: usize) -> BadRequest {
    let message = "the body is not valid UTF-8".to_owned();
    BadRequest { message, param: None, code: "invalid_json", position: Some(Position::at(body, offset)) }
}

/// The members found, as slices of the body.
pub(super) struct TopLevel<'b> {
    body: &'b str,
    /// Key and value of each known member, quotes included; the values of `messages`, `tools` and `functions` are
    /// walked instead of kept.
    slots: [Option<(&'b str, &'b str)>; NAMES.len()],
    pub(super) conversation: Conversation<'b>,
    /// Where the arrays stand that are walked: messages, and tools or functions.
    arrays: [Range<usize>; 2],
    /// What is wrong, where it has to be said better than the JSON reader can.
    wrong: Option<BadRequest>,
}

impl<'b> TopLevel<'b> {
    fn read(body: &'b str) -> Result<Self, BadRequest> {
        let mut top = Self {
            body,
            slots: [None; NAMES.len()],
            conversation: Conversation::of(body),
            arrays: Default::default(),
            wrong: None,
        };
        let mut reader = serde_json::Deserializer::from_str(body);
        let outcome = reader.deserialize_map(Walk(&mut top)).and_then(|()| reader.end());
        match outcome {
            Err(error) => Err(top.explain(&error)),
            Ok(()) => Ok(top),
        }
    }

    /// Turns the JSON reader's complaint into ours.
    fn explain(&mut self, error: &serde_json::Error) -> BadRequest {
        let reported = || Position::of_line(self.body.as_bytes(), error.line(), error.column());
        let position = self.conversation.wrong_at.map_or_else(reported, |at| Position::at(self.body.as_bytes(), at));
        if let Some(wrong) = self.wrong.take() {
            return wrong.at(position);
        }
        let full = error.to_string();
        let said = full.rsplit_once(" at line ").map_or(full.as_str(), |(said, _)| said);
        let param = self.conversation.param();
        let (code, message) = match error.classify() {
            Category::Data if said.contains(TOO_DEEP) => ("nesting_too_deep", said.to_owned()),
            Category::Data => ("invalid_type", said.to_owned()),
            _ if said.contains("recursion limit") => ("nesting_too_deep", TOO_DEEP.to_owned()),
            Category::Syntax | Category::Eof | Category::Io => ("invalid_json", format!("the body is not valid JSON: {said}")),
        };
        let param = if code == "invalid_json" { None } else { param };
        BadRequest { message, param, code, position: Some(position) }
    }

    /// The raw value of a member; null counts as absent.
    pub(super) fn value(&self, name: Name) -> Option<&'b str> {
        self.slots[name as usize].map(|(_, value)| value).filter(|value| *value != "null")
    }

    fn place(&self, bad: BadRequest, value: &str) -> BadRequest {
        bad.at(Position::at(self.body.as_bytes(), span_in(self.body, value).start))
    }

    pub(super) fn wrong_type(&self, name: Name, value: &str, accepted: &str) -> BadRequest {
        let word = name.word();
        self.place(BadRequest::new("invalid_type", word, format!("`{word}` must be {accepted}")), value)
    }

    fn model(&self) -> Result<Cow<'b, str>, BadRequest> {
        let missing =
            || BadRequest::new("missing_required_parameter", "model", "`model` must be given: a model's name, or `auto`");
        let raw = self.value(Name::Model).ok_or_else(missing)?;
        let model = string(raw).ok_or_else(|| self.wrong_type(Name::Model, raw, "a string"))?;
        if model.trim().is_empty() || model.len() > MAX_MODEL_BYTES || model.contains(char::is_control) {
            let message = format!("`model` must have 1 to {MAX_MODEL_BYTES} bytes and no control characters");
            return Err(self.place(BadRequest::new("invalid_value", "model", message), raw));
        }
        Ok(model)
    }

    pub(super) fn flag(&self, name: Name) -> Result<Option<bool>, BadRequest> {
        match self.value(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.wrong_type(name, other, "true or false")),
        }
    }

    pub(super) fn whole(&self, name: Name, least: u64, most: u64) -> Result<Option<u64>, BadRequest> {
        let Some(raw) = self.value(name) else {
            return Ok(None);
        };
        let number = raw.parse::<u64>().ok();
        match number.filter(|n| (least..=most).contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_type(name, raw, &format!("a whole number from {least} to {most}"))),
        }
    }

    /// Both members may be given (SDKs that serve old and new servers do): the smaller one binds.
    fn output_bound(&self) -> Result<Option<Tokens>, BadRequest> {
        let most = u64::from(u32::MAX);
        let bounds = [self.whole(Name::MaxTokens, 1, most)?, self.whole(Name::MaxCompletionTokens, 1, most)?];
        Ok(bounds.into_iter().flatten().min().map(Tokens::new))
    }

    fn include_usage(&self) -> Result<bool, BadRequest> {
        #[derive(Deserialize)]
        struct StreamOptions {
            include_usage: Option<bool>,
        }
        let options: Option<StreamOptions> = self.object(Name::StreamOptions, "an object with `include_usage` true or false")?;
        Ok(options.and_then(|o| o.include_usage).unwrap_or(false))
    }

    /// A small object read into a type of its own.
    pub(super) fn object<T: Deserialize<'b>>(&self, name: Name, accepted: &str) -> Result<Option<T>, BadRequest> {
        let Some(raw) = self.value(name) else {
            return Ok(None);
        };
        if !raw.starts_with('{') {
            return Err(self.wrong_type(name, raw, accepted));
        }
        serde_json::from_str(raw).map(Some).map_err(|_| self.wrong_type(name, raw, accepted))
    }

    /// The profile of the prompt; a schema for the answer is part of it.
    fn profile(&self, format: Option<&ResponseFormat<'_>>) -> TextProfile {
        let mut profile = self.conversation.profile;
        if let Some(schema) = format.and_then(|format| format.json_schema) {
            profile.add(schema.get());
            profile.end_text();
        }
        profile
    }

    fn members(&self) -> Result<Members, BadRequest> {
        if self.slots[Name::Messages as usize].is_none() {
            let message = "`messages` must be given: an array of at least one message";
            return Err(BadRequest::new("missing_required_parameter", "messages", message));
        }
        if self.conversation.messages == 0 {
            let message = "`messages` must have at least one message";
            return Err(BadRequest::new("invalid_value", "messages", message));
        }
        Ok(Members {
            model: self.member(Name::Model).map(|m| m.value).unwrap_or_default(),
            wishes: self.member(Name::Tokenbroker),
            stream_options: self.member(Name::StreamOptions),
            max_tokens: self.member(Name::MaxTokens),
            max_completion_tokens: self.member(Name::MaxCompletionTokens),
            ..Members::default()
        })
    }

    /// An array was read that begins behind its key and ends before `end`, where the next key begins: its last bracket is
    /// the last one before that.
    fn walked(&mut self, name: Name, key: &str, end: usize) {
        let start = span_in(self.body, key).end;
        let (Some(opens), Some(closes)) = (self.body[start..end].find('['), self.body[start..end].rfind(']')) else { return };
        let place = usize::from(name != Name::Messages);
        if opens < closes && (name != Name::Functions || self.arrays[place].is_empty()) {
            self.arrays[place] = start + opens..start + closes + 1;
        }
    }

    /// Where a member stands; one that is null stands there all the same.
    fn member(&self, name: Name) -> Option<Member> {
        self.slots[name as usize].map(|(key, value)| Member { key: span_in(self.body, key), value: span_in(self.body, value) })
    }
}

/// The text of a raw JSON string.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// Walks the members of the top-level object.
struct Walk<'t, 'b>(&'t mut TopLevel<'b>);

impl<'b> Walk<'_, 'b> {
    /// What a key stands for; `None` for a member that only passes.
    fn name(&mut self, key: &'b str) -> Result<Option<Name>, BadRequest> {
        let word = string(key).unwrap_or_default();
        if let Some((name, _)) = NAMES.into_iter().find(|(_, known)| *known == word) {
            return match self.0.slots[name as usize] {
                None => Ok(Some(name)),
                Some(_) => Err(self.refuse(key, "duplicate_parameter", &word, "stands twice")),
            };
        }
        if NAMES.iter().any(|(_, known)| known.eq_ignore_ascii_case(&word)) {
            return Err(self.refuse(key, "unknown_parameter", &word, "must be written in lower case"));
        }
        Ok(None)
    }

    fn refuse(&self, key: &str, code: &'static str, word: &str, what: &str) -> BadRequest {
        self.0.place(BadRequest::new(code, word, format!("`{word}` {what}")), key)
    }

    fn read<A: MapAccess<'b>>(&mut self, name: Option<Name>, key: &'b str, members: &mut A) -> Result<(), A::Error> {
        let conversation = &mut self.0.conversation;
        let value = match name {
            Some(Name::Messages) => members.next_value_seed(Messages(conversation)).map(|()| "")?,
            Some(Name::Tools | Name::Functions) => members.next_value_seed(Tools(conversation)).map(|()| "")?,
            _ => members.next_value::<&RawValue>()?.get(),
        };
        if nests_deeper(value) {
            self.0.wrong = Some(self.refuse(value, "nesting_too_deep", &string(key).unwrap_or_default(), "nests too deep"));
            return Err(A::Error::custom(TOO_DEEP));
        }
        if let Some(name) = name {
            self.0.slots[name as usize] = Some((key, value));
        }
        Ok(())
    }
}

impl<'b> Visitor<'b> for Walk<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body to be a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut walked = None;
        while let Some(key) = members.next_key::<&RawValue>()? {
            if let Some((name, array)) = walked.take() {
                self.0.walked(name, array, span_in(self.0.body, key.get()).start);
            }
            match self.name(key.get()) {
                Ok(name) => {
                    self.read(name, key.get(), &mut members)?;
                    let is_walked = |name: &Name| matches!(name, Name::Messages | Name::Tools | Name::Functions);
                    walked = name.filter(is_walked).map(|name| (name, key.get()));
                }
                Err(wrong) => {
                    self.0.wrong = Some(wrong);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        if let Some((name, array)) = walked {
            self.0.walked(name, array, self.0.body.len());
        }
        Ok(())
    }
}
