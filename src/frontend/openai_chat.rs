//! Reading a chat completion request in one borrowed pass over the client's bytes.
//!
//! Of the top-level object only `messages` and `tools` are walked, to profile their text; `top_level.rs` says what becomes
//! of the other members.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::chat_stream::ChatStream;
use super::errors::{BadRequest, ClientError};
use super::messages::{ChatTurn, Conversation, Messages, Tools};
use super::models::{self, ListedModel, Page};
use super::needs::{ResponseFormat, is_forced};
use super::top_level::{Layout, TopLevel, keeping, named, string, utf8};
use super::{About, Frontend, Seen, chat_answer, chat_request, folded, seen};
use crate::canonical::event::Understood;
use crate::canonical::{self, Answer, Members, Parameter, RareMember, Request, Shape, StreamWriter, Untranslatable, Wishes};
use crate::units::{ImageWish, Pieces, Tokens};

const MAX_CHOICES: u64 = 128;

named! {
    /// The top-level members that the gateway acts on.
    pub(super) enum Name {
        Model = "model",
        Messages = "messages",
        Stream = "stream",
        StreamOptions = "stream_options",
        MaxTokens = "max_tokens",
        MaxCompletionTokens = "max_completion_tokens",
        N = "n",
        Tools = "tools",
        ToolChoice = "tool_choice",
        Functions = "functions",
        FunctionCall = "function_call",
        ResponseFormat = "response_format",
        Logprobs = "logprobs",
        TopLogprobs = "top_logprobs",
        Modalities = "modalities",
        ReasoningEffort = "reasoning_effort",
        Reasoning = "reasoning",
        Thinking = "thinking",
        EnableThinking = "enable_thinking",
        ThinkingBudget = "thinking_budget",
        ChatTemplateKwargs = "chat_template_kwargs",
        ServiceTier = "service_tier",
        Seed = "seed",
        Temperature = "temperature",
        TopP = "top_p",
        PresencePenalty = "presence_penalty",
        FrequencyPenalty = "frequency_penalty",
        LogitBias = "logit_bias",
        Prediction = "prediction",
        WebSearchOptions = "web_search_options",
        Tokenbroker = "tokenbroker",
    }
}

/// What is read of a chat request beside the members that are kept.
#[derive(Debug)]
pub(super) struct Chat<'b> {
    pub(super) conversation: Conversation<'b>,
}

impl<'b> Layout<'b> for Chat<'b> {
    type Name = Name;

    fn is_walked(name: Name) -> bool {
        matches!(name, Name::Messages | Name::Tools | Name::Functions)
    }

    fn walk<A: MapAccess<'b>>(&mut self, name: Name, members: &mut A) -> Result<(), A::Error> {
        match name {
            Name::Messages => members.next_value_seed(Messages::<ChatTurn>::of(&mut self.conversation)),
            _ => members.next_value_seed(Tools(&mut self.conversation)),
        }
    }

    fn conversation(&self) -> &Conversation<'b> {
        &self.conversation
    }
}

/// The frontend of `POST /v1/chat/completions`.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

impl Frontend for OpenAiChat {
    fn shape(&self) -> Shape {
        Shape::OpenAiChat
    }

    fn word(&self) -> &'static str {
        "openai_chat"
    }

    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
        parse(body, headers)
    }

    fn conversation(&self, request: &Request) -> Result<canonical::Conversation, Untranslatable> {
        chat_request::conversation(request)
    }

    fn answer_body(&self, answer: &Answer, about: &About) -> Bytes {
        chat_answer::body(answer, about)
    }

    fn stream_writer(&self, about: About) -> Box<dyn StreamWriter> {
        Box::new(ChatStream::new(about))
    }

    fn hosts(&self, tool: &str) -> bool {
        !matches!(tool, "function" | "custom" | "builtin_function")
    }

    fn error_body(&self, error: &ClientError, _: &str) -> Bytes {
        error.body()
    }

    fn error_event(&self, error: &ClientError, _: &About, _: &Seen) -> Bytes {
        error.sse_frame()
    }

    fn understands(&self, frame: &[u8]) -> Understood {
        understood(frame)
    }

    fn model_list(&self, page: &Page<'_>) -> Bytes {
        models::list_body(page)
    }

    fn model_item(&self, model: &ListedModel) -> Bytes {
        models::item_body(model)
    }
}

/// What SDKs of `OpenAI`'s make of a chunk that tells an error: they look for an object `error` in every one.
pub(super) fn understood(frame: &[u8]) -> Understood {
    #[derive(Default, Deserialize)]
    struct Chunk<'b> {
        #[serde(borrow, default)]
        error: Option<&'b RawValue>,
        #[serde(borrow, default)]
        choices: Option<Vec<&'b RawValue>>,
    }
    let chunk = seen::events::<Chunk<'_>>(frame).next().unwrap_or_default();
    if chunk.error.is_some_and(|error| error.get().starts_with('{')) {
        Understood::Error
    } else if chunk.choices.is_some_and(|choices| !choices.is_empty()) {
        Understood::Part
    } else {
        Understood::Nothing
    }
}

/// Reads a request and keeps its bytes.
///
/// # Errors
/// When it is not valid JSON, not an object, nests too deep, or when a member that the gateway acts on is missing,
/// doubled or of a wrong type. What only the provider can judge is let through.
pub fn parse(body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
    keeping(body, headers, read)
}

/// Everything but the bytes themselves.
fn read(body: &[u8], mut wishes: Wishes) -> Result<Request, BadRequest> {
    let text = utf8(body)?;
    let top = TopLevel::read(text, Chat { conversation: Conversation::of(text) })?;
    top.take_wishes(Name::Tokenbroker, &mut wishes)?;
    let members = top.members()?;
    let stream = top.flag(Name::Stream)?.unwrap_or(false);
    let choices = top.whole(Name::N, 1, MAX_CHOICES)?.unwrap_or(1);
    let format = top.response_format()?;
    let reasoning = top.reasoning()?;
    let thinking = top.thinking(reasoning);
    let conversation = &top.layout.conversation;
    let mut request = Request {
        shape: Shape::OpenAiChat,
        body: Bytes::new(),
        members: Members::default(),
        model: top.model()?.into_owned(),
        stream,
        wants_usage_frame: top.include_usage(Name::StreamOptions)? && stream,
        output_bound: top.output_bound()?,
        choices: u32::try_from(choices).unwrap_or(u32::MAX),
        features: top.features(choices, format.as_ref())?,
        reasoning,
        text: conversation.profile_with(format.as_ref().and_then(|format| format.json_schema)),
        no_object: format.as_ref().is_some_and(ResponseFormat::is_of_no_object),
        may_hold_thoughts: conversation.thoughts,
        unpriced: top.unpriced(),
        token_input: Tokens::ZERO,
        dimensions: None,
        pieces: Pieces::default(),
        image: ImageWish::default(),
        thinking_budget: None,
        messages: conversation.messages,
        tools: conversation.tools,
        images: conversation.images,
        wishes,
    };
    let mut conversation = top.layout.conversation;
    let begins = conversation.begins();
    let Conversation {
        developer_roles, begun, has_calls, with_parts, mut thoughtless, told_thoughts, annotations, call_ids, ..
    } = conversation;
    if !has_calls {
        thoughtless.clear();
    }
    let (thoughts, folded) = (told_thoughts, folded::texts(text, members.messages.clone()));
    request.members = Members {
        developer_roles,
        begun,
        thoughtless,
        thoughts,
        annotations,
        folded,
        begins,
        call_ids,
        thinking,
        plain: !with_parts,
        ..members
    };
    Ok(request)
}

impl<'b> TopLevel<'b, Chat<'b>> {
    /// Both members may be given (SDKs that serve old and new servers do): the smaller one binds.
    fn output_bound(&self) -> Result<Option<Tokens>, BadRequest> {
        let most = u64::from(u32::MAX);
        let bounds = [self.whole(Name::MaxTokens, 1, most)?, self.whole(Name::MaxCompletionTokens, 1, most)?];
        Ok(bounds.into_iter().flatten().min().map(Tokens::new))
    }

    /// What changes the price in a way that nobody here knows: another tier than the usual, unless it is the cheaper one.
    fn unpriced(&self) -> Option<&'static str> {
        let tier = self
            .value(Name::ServiceTier)
            .is_some_and(|tier| !matches!(string(tier).as_deref(), Some("auto" | "default" | "flex")));
        let searches = self.value(Name::WebSearchOptions).is_some();
        let elsewhere = self.layout.conversation.remote;
        let all = [(tier, "service_tier"), (searches, "web_search_options"), (elsewhere, "messages")];
        all.into_iter().find(|(is, _)| *is).map(|(_, member)| member)
    }

    fn members(&self) -> Result<Members, BadRequest> {
        self.needs_messages(Name::Messages, self.layout.conversation.messages)?;
        let tools = self.span(Name::Tools);
        Ok(Members {
            model: self.member(Name::Model).map(|m| m.value).unwrap_or_default(),
            wishes: self.member(Name::Tokenbroker),
            stream_options: self.member(Name::StreamOptions),
            max_tokens: self.member(Name::MaxTokens),
            max_completion_tokens: self.member(Name::MaxCompletionTokens),
            seed: self.member(Name::Seed),
            drawn: self.drawn(&[
                (Name::Temperature, Parameter::Temperature),
                (Name::TopP, Parameter::TopP),
                (Name::PresencePenalty, Parameter::PresencePenalty),
                (Name::FrequencyPenalty, Parameter::FrequencyPenalty),
            ]),
            forced_word: self
                .value(Name::ToolChoice)
                .filter(|word| is_forced(word))
                .map(|_| self.span(Name::ToolChoice))
                .unwrap_or_default(),
            messages: self.span(Name::Messages),
            own_tools: self.has_own_tools(),
            rare: [
                (Name::LogitBias, RareMember::LogitBias),
                (Name::Prediction, RareMember::Prediction),
                (Name::WebSearchOptions, RareMember::WebSearchOptions),
            ]
            .into_iter()
            .filter(|(name, _)| self.value(*name).is_some_and(|value| value != "{}" || *name == Name::WebSearchOptions))
            .map(|(_, member)| member)
            .collect(),
            // Tools go before their forerunner.
            tools: if tools.is_empty() { self.span(Name::Functions) } else { tools },
            ..Members::default()
        })
    }
}
