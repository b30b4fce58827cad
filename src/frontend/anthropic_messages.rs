//! Reading a request of Anthropic's Messages in one borrowed pass over the client's bytes.
//!
//! `system`, `messages` and `tools` are walked, to profile their text; `top_level.rs` says what becomes of the other members.
//! What a block may contain is the provider's to judge: a request goes as it is to a provider that speaks Messages itself.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::anthropic_errors::THREAD;
use super::blocks::{BlockTurn, System};
use super::errors::{BadRequest, ClientError};
use super::messages::{Conversation, Messages, Tools};
use super::messages_stream::MessagesStream;
use super::models::{ListedModel, Page};
use super::top_level::{Layout, TopLevel, keeping, named, string, utf8};
use super::{About, Frontend, Seen, anthropic_errors, messages_answer, messages_request, seen};
use crate::canonical::conversation::ThinkingWish;
use crate::canonical::event::Understood;
use crate::canonical::schema::may_be_an_object;
use crate::canonical::{
    self, Answer, Feature, Features, Members, Parameter, ReasoningWish, Request, Shape, StreamWriter, ThinkingSaid, ThinkingWord,
    Untranslatable, Wishes,
};
use crate::units::{ImageWish, Pieces, Tokens};

/// The header that names the version of the API, which every client of it sends.
pub static VERSION: HeaderName = HeaderName::from_static("anthropic-version");
static PASSING: [HeaderName; 2] = [HeaderName::from_static("anthropic-version"), HeaderName::from_static("anthropic-beta")];

named! {
    /// The top-level members that the gateway acts on.
    enum Name {
        Model = "model",
        Messages = "messages",
        System = "system",
        MaxTokens = "max_tokens",
        Stream = "stream",
        Tools = "tools",
        ToolChoice = "tool_choice",
        Thinking = "thinking",
        OutputConfig = "output_config",
        // What `output_config.format` was called before.
        OutputFormat = "output_format",
        Speed = "speed",
        Temperature = "temperature",
        TopP = "top_p",
        TopK = "top_k",
        ServiceTier = "service_tier",
        InferenceGeo = "inference_geo",
        Fallbacks = "fallbacks",
        McpServers = "mcp_servers",
        Container = "container",
        ContextManagement = "context_management",
        Thread = "thread",
        Tokenbroker = "tokenbroker",
    }
}

/// What is read of a request beside the members that are kept.
#[derive(Debug)]
struct Anthropic<'b> {
    conversation: Conversation<'b>,
}

impl<'b> Layout<'b> for Anthropic<'b> {
    type Name = Name;

    fn is_walked(name: Name) -> bool {
        matches!(name, Name::Messages | Name::System | Name::Tools)
    }

    fn walk<A: MapAccess<'b>>(&mut self, name: Name, members: &mut A) -> Result<(), A::Error> {
        let conversation = &mut self.conversation;
        match name {
            Name::Messages => members.next_value_seed(Messages::<BlockTurn>::of(conversation)),
            Name::System => members.next_value_seed(System(conversation)),
            _ => members.next_value_seed(Tools(conversation)),
        }
    }

    fn conversation(&self) -> &Conversation<'b> {
        &self.conversation
    }
}

/// The frontend of `POST /v1/messages`.
#[derive(Debug, Clone, Copy)]
pub struct AnthropicMessages;

impl Frontend for AnthropicMessages {
    fn shape(&self) -> Shape {
        Shape::AnthropicMessages
    }

    fn word(&self) -> &'static str {
        "anthropic_messages"
    }

    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
        let request = keeping(body, headers, |body, wishes| read(body, wishes, stands_alone))?;
        if request.output_bound.is_none() {
            let message = "`max_tokens` must be given: the most tokens that the answer may have";
            return Err(BadRequest::new("missing_required_parameter", "max_tokens", message));
        }
        Ok(request)
    }

    fn conversation(&self, request: &Request) -> Result<canonical::Conversation, Untranslatable> {
        messages_request::conversation(request)
    }

    fn answer_body(&self, answer: &Answer, about: &About) -> Bytes {
        messages_answer::body(answer, about)
    }

    fn stream_writer(&self, about: About) -> Box<dyn StreamWriter> {
        Box::new(MessagesStream::new(about))
    }

    fn passing(&self) -> &'static [HeaderName] {
        &PASSING
    }

    /// Tools that the client runs itself are sent by their name and its version.
    fn hosts(&self, tool: &str) -> bool {
        let by_client = ["bash_", "text_editor_", "computer_", "memory_"];
        tool != "custom" && !by_client.iter().any(|begin| tool.starts_with(begin))
    }

    fn passed_on(&self, body: &Bytes, _: &ClientError) -> Option<Bytes> {
        anthropic_errors::is_error(body).then(|| body.clone())
    }

    fn error_body(&self, error: &ClientError, id: &str) -> Bytes {
        anthropic_errors::body(error, Some(id))
    }

    fn error_event(&self, error: &ClientError, _: &About, _: &Seen) -> Bytes {
        anthropic_errors::event(error)
    }

    /// SDKs go by the event's name.
    fn understands(&self, frame: &[u8]) -> Understood {
        let named = seen::lines(frame).any(|line| line.strip_prefix(b"event:").is_some_and(|name| name.trim_ascii() == b"error"));
        let is_error = || seen::lines(frame).filter_map(seen::data).any(anthropic_errors::is_error);
        if named && is_error() { Understood::Error } else { Understood::Nothing }
    }

    fn has_pages(&self) -> bool {
        true
    }

    fn model_list(&self, page: &Page<'_>) -> Bytes {
        anthropic_errors::list_body(page)
    }

    fn model_item(&self, model: &ListedModel) -> Bytes {
        anthropic_errors::item_body(model)
    }

    fn id_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("request-id"))
    }
}

/// Reads a request whose tokens are to be counted: the same but for `max_tokens`, which need not be there.
///
/// # Errors
/// When it is not valid JSON, not an object, nests too deep, or when a member that the gateway acts on is missing,
/// doubled or of a wrong type.
pub fn parse_prompt(body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
    keeping(body, headers, |body, wishes| read(body, wishes, |_| Ok(())))
}

type Top<'b> = TopLevel<'b, Anthropic<'b>>;

/// Everything but the bytes themselves, if they pass this check.
fn read(body: &[u8], mut wishes: Wishes, check: impl FnOnce(&Top<'_>) -> Result<(), BadRequest>) -> Result<Request, BadRequest> {
    let text = utf8(body)?;
    let mut top = TopLevel::read(text, Anthropic { conversation: Conversation::of(text) })?;
    top.take_wishes(Name::Tokenbroker, &mut wishes)?;
    check(&top)?;
    let members = top.members()?;
    let schema = top.schema()?;
    let thinking = top.thinking()?;
    let conversation = &top.layout.conversation;
    let mut request = Request {
        shape: Shape::AnthropicMessages,
        body: Bytes::new(),
        members: Members::default(),
        model: top.model()?.into_owned(),
        stream: top.flag(Name::Stream)?.unwrap_or(false),
        // Usage stands in frames that say other things too, so none is left out.
        wants_usage_frame: true,
        output_bound: top.whole(Name::MaxTokens, 1, u64::from(u32::MAX))?.map(Tokens::new),
        choices: 1,
        features: top.features(schema.is_some())?,
        reasoning: reasoning(thinking.as_ref()),
        token_input: Tokens::ZERO,
        dimensions: None,
        pieces: Pieces::default(),
        image: ImageWish::default(),
        thinking_budget: thinking.and_then(|thinking| thinking.budget_tokens).map(Tokens::new),
        no_object: schema.is_some_and(|schema| !may_be_an_object(schema.get())),
        may_hold_thoughts: conversation.with_parts,
        unpriced: top.unpriced(),
        text: conversation.profile_with(schema),
        messages: conversation.messages,
        tools: conversation.tools,
        images: conversation.images,
        wishes,
    };
    let plain = !conversation.with_parts;
    // A turn in which the provider's own tools are at work is not begun by the client: it is sent back to be gone on with.
    let pauses = || memchr::memmem::find(body, b"\"server_tool_use\"").is_some();
    let (call_ids, begun) = (top.layout.conversation.call_ids, top.layout.conversation.begun && !pauses());
    let begins = top.layout.conversation.begins();
    let wish = ThinkingWish { wish: request.reasoning, budget: request.thinking_budget, ..ThinkingWish::default() };
    let said = top.value(Name::Thinking).and_then(|_| top.member(Name::Thinking));
    let thinking =
        said.map(|member| Box::new(ThinkingSaid { wish, members: vec![(ThinkingWord::Thinking, member)], template: None }));
    request.members = Members { plain, begun, call_ids, thinking, begins, ..members };
    Ok(request)
}

/// Refuses a thread, of whose later requests each has but the newest messages: the whole conversation would be lost. Its first
/// request is refused too, for what comes after it. Clients know the error and send all from then on ([`THREAD`]).
fn stands_alone(top: &Top<'_>) -> Result<(), BadRequest> {
    let Some(value) = top.value(Name::Thread) else { return Ok(()) };
    let message = "`thread` needs the messages before to be stored, and this gateway stores none; \
                   send the whole conversation in `messages`";
    Err(top.place(BadRequest::new("unsupported_parameter", THREAD, message), value))
}

/// What the answer must look like.
#[derive(Deserialize)]
struct Format<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    #[serde(borrow)]
    schema: Option<&'b RawValue>,
}

impl<'b> Top<'b> {
    fn members(&self) -> Result<Members, BadRequest> {
        self.needs_messages(Name::Messages, self.layout.conversation.messages)?;
        Ok(Members {
            model: self.member(Name::Model).map(|m| m.value).unwrap_or_default(),
            wishes: self.member(Name::Tokenbroker),
            max_tokens: self.member(Name::MaxTokens),
            drawn: self.drawn(&[
                (Name::Temperature, Parameter::Temperature),
                (Name::TopP, Parameter::TopP),
                (Name::TopK, Parameter::TopK),
            ]),
            messages: self.span(Name::Messages),
            system: self.span(Name::System),
            tools: self.span(Name::Tools),
            ..Members::default()
        })
    }

    /// The schema that the answer must satisfy.
    fn schema(&self) -> Result<Option<&'b RawValue>, BadRequest> {
        #[derive(Deserialize)]
        struct Config<'b> {
            #[serde(borrow)]
            format: Option<Format<'b>>,
        }
        let accepted = "an object with a `format` that has a `type`";
        let config: Option<Config<'b>> = self.object(Name::OutputConfig, accepted)?;
        let older: Option<Format<'b>> = self.object(Name::OutputFormat, "an object with a `type`")?;
        let format = config.and_then(|config| config.format).or(older);
        Ok(format.filter(|format| format.kind == "json_schema").and_then(|format| format.schema))
    }

    fn features(&self, schema: bool) -> Result<Features, BadRequest> {
        let conversation = &self.layout.conversation;
        let wanted = [
            (Feature::Tools, conversation.tools > 0),
            (Feature::ForcedTool, self.forces_tool()?),
            (Feature::JsonSchema, schema),
            (Feature::ImageInput, conversation.images > 0),
            (Feature::FileInput, conversation.files > 0),
        ];
        Ok(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(feature, _)| feature).collect())
    }

    fn forces_tool(&self) -> Result<bool, BadRequest> {
        let choice: Option<Kind<'b>> = self.object(Name::ToolChoice, "an object with a `type`")?;
        Ok(choice.is_some_and(|choice| matches!(&*choice.kind, "any" | "tool")))
    }

    fn thinking(&self) -> Result<Option<Thinking<'b>>, BadRequest> {
        self.object(Name::Thinking, "an object with a `type`, and `budget_tokens` as a whole number where there are any")
    }

    /// What changes the price, or makes the prompt longer, in a way that nobody here knows (`dialects.md` section 3,
    /// 2026-11-22): other prices for haste and place, hops and tools of the provider's own, documents that stand elsewhere.
    fn unpriced(&self) -> Option<&'static str> {
        let other = |name, usual: &[&str]| {
            self.value(name).is_some_and(|value| !string(value).is_some_and(|word| usual.contains(&&*word)))
        };
        let any = |name| self.value(name).is_some_and(|value| !matches!(value, "[]" | "{}"));
        let compacts = self.value(Name::ContextManagement).is_some_and(|edits| edits.contains("compact") || edits.contains('\\'));
        let all = [
            (other(Name::Speed, &["standard"]), "speed"),
            (other(Name::ServiceTier, &["auto", "standard_only"]), "service_tier"),
            (other(Name::InferenceGeo, &["global"]), "inference_geo"),
            (any(Name::Fallbacks), "fallbacks"),
            (any(Name::McpServers), "mcp_servers"),
            (any(Name::Container), "container"),
            (compacts, "context_management"),
            (self.layout.conversation.remote, "messages"),
        ];
        all.into_iter().find(|(is, _)| *is).map(|(_, member)| member)
    }
}

/// How to think.
#[derive(Deserialize)]
struct Thinking<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    budget_tokens: Option<u64>,
}

fn reasoning(thinking: Option<&Thinking<'_>>) -> ReasoningWish {
    match thinking.map(|thinking| &*thinking.kind) {
        None => ReasoningWish::Unsaid,
        Some("disabled") => ReasoningWish::Off,
        Some(_) => ReasoningWish::On,
    }
}

/// A choice by its type.
#[derive(Deserialize)]
struct Kind<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
}
