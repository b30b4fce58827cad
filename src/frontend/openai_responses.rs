//! Reading a request of `OpenAI`'s Responses in one borrowed pass over the client's bytes.
//!
//! `instructions`, `input` and `tools` are walked, to profile their text; `top_level.rs` says what becomes of the other members.
//! Where answers are kept, a request that goes on from one is joined with it before it comes here (`stored.rs`); what is left of such
//! references is refused.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::errors::{BadRequest, ClientError};
use super::items::{Found, Input, Instructions};
use super::messages::{Conversation, Tools};
use super::models::{self, ListedModel, Page};
use super::responses_stream::{ResponsesStream, failed};
use super::top_level::{Layout, TopLevel, keeping, named, string, utf8};
use super::{About, Frontend, NAMESPACE, Seen, responses_answer, responses_request, seen};
use crate::canonical::conversation::ThinkingWish;
use crate::canonical::event::Understood;
use crate::canonical::schema::may_be_an_object;
use crate::canonical::{
    self, Answer, Feature, Features, Members, Parameter, ReasoningWish, Request, Shape, StreamWriter, ThinkingSaid, ThinkingWord,
    Untranslatable, Wishes,
};
use crate::units::{ImageWish, Pieces, Tokens};

named! {
    /// The top-level members that the gateway acts on.
    enum Name {
        Model = "model",
        Input = "input",
        Instructions = "instructions",
        MaxOutputTokens = "max_output_tokens",
        Stream = "stream",
        Tools = "tools",
        ToolChoice = "tool_choice",
        Text = "text",
        Reasoning = "reasoning",
        TopLogprobs = "top_logprobs",
        Temperature = "temperature",
        TopP = "top_p",
        Include = "include",
        ServiceTier = "service_tier",
        PreviousResponseId = "previous_response_id",
        Conversation = "conversation",
        Background = "background",
        Prompt = "prompt",
        Store = "store",
        Tokenbroker = "tokenbroker",
    }
}

/// What is read of a request beside the members that are kept.
#[derive(Debug)]
struct Responses<'b> {
    conversation: Conversation<'b>,
    found: Found,
}

impl<'b> Layout<'b> for Responses<'b> {
    type Name = Name;

    fn is_walked(name: Name) -> bool {
        matches!(name, Name::Input | Name::Instructions | Name::Tools)
    }

    fn walk<A: MapAccess<'b>>(&mut self, name: Name, members: &mut A) -> Result<(), A::Error> {
        let Self { conversation, found, .. } = self;
        match name {
            Name::Input => {
                conversation.reading_member("input");
                members.next_value_seed(Input { conversation, found })?;
            }
            Name::Instructions => {
                conversation.reading_member("instructions");
                members.next_value_seed(Instructions(conversation))?;
            }
            _ => members.next_value_seed(Tools(conversation))?,
        }
        self.conversation.done();
        Ok(())
    }

    fn conversation(&self) -> &Conversation<'b> {
        &self.conversation
    }
}

/// The frontend of `POST /v1/responses`.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiResponses;

impl Frontend for OpenAiResponses {
    fn shape(&self) -> Shape {
        Shape::OpenAiResponses
    }

    fn word(&self) -> &'static str {
        "openai_responses"
    }

    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
        keeping(body, headers, read)
    }

    fn conversation(&self, request: &Request) -> Result<canonical::Conversation, Untranslatable> {
        responses_request::conversation(request)
    }

    fn answer_body(&self, answer: &Answer, about: &About) -> Bytes {
        responses_answer::body(answer, about)
    }

    fn stream_writer(&self, about: About) -> Box<dyn StreamWriter> {
        Box::new(ResponsesStream::new(about))
    }

    fn hosts(&self, tool: &str) -> bool {
        !matches!(tool, "function" | "custom" | NAMESPACE)
    }

    fn error_body(&self, error: &ClientError, _: &str) -> Bytes {
        error.body()
    }

    fn error_event(&self, error: &ClientError, about: &About, seen: &Seen) -> Bytes {
        failed(error, about, seen)
    }

    fn sees(&self, seen: &mut Seen, bytes: &Bytes) {
        seen.events_pass(bytes);
    }

    fn understands(&self, frame: &[u8]) -> Understood {
        #[derive(Deserialize)]
        struct Event<'b> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'b, str>,
        }
        let mut events = seen::events::<Event<'_>>(frame);
        let tells = events.any(|event| matches!(&*event.kind, "response.failed" | "response.cancelled" | "error"));
        if tells { Understood::Error } else { Understood::Nothing }
    }

    fn model_list(&self, page: &Page<'_>) -> Bytes {
        models::list_body(page)
    }

    fn model_item(&self, model: &ListedModel) -> Bytes {
        models::item_body(model)
    }
}

/// Everything but the bytes themselves.
fn read(body: &[u8], mut wishes: Wishes) -> Result<Request, BadRequest> {
    let text = utf8(body)?;
    let conversation = Conversation::within(text, "input");
    let top = TopLevel::read(text, Responses { conversation, found: Found::default() })?;
    top.take_wishes(Name::Tokenbroker, &mut wishes)?;
    top.stands_alone()?;
    let reasoning = top.reasoning()?;
    let members = Members { thinking: top.thinking(reasoning), ..top.members()? };
    let format = top.format()?;
    let conversation = &top.layout.conversation;
    Ok(Request {
        shape: Shape::OpenAiResponses,
        body: Bytes::new(),
        members,
        model: top.model()?.into_owned(),
        stream: top.flag(Name::Stream)?.unwrap_or(false),
        // Usage stands in the event that ends the answer, so none is left out.
        wants_usage_frame: true,
        output_bound: top.whole(Name::MaxOutputTokens, 1, u64::from(u32::MAX))?.map(Tokens::new),
        choices: 1,
        features: top.features(format.as_ref())?,
        reasoning,
        token_input: Tokens::ZERO,
        dimensions: None,
        pieces: Pieces::default(),
        image: ImageWish::default(),
        thinking_budget: None,
        no_object: format.as_ref().is_some_and(Format::is_of_no_object),
        may_hold_thoughts: true,
        unpriced: top.unpriced(),
        text: conversation.profile_with(format.and_then(|format| format.schema)),
        messages: conversation.messages,
        tools: conversation.tools,
        images: conversation.images,
        wishes,
    })
}

/// What the answer must look like.
#[derive(Deserialize)]
struct Format<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    #[serde(borrow)]
    schema: Option<&'b RawValue>,
}

impl Format<'_> {
    fn is_of_no_object(&self) -> bool {
        self.kind == "json_schema" && !self.schema.is_some_and(|schema| may_be_an_object(schema.get()))
    }
}

impl<'b> TopLevel<'b, Responses<'b>> {
    /// Refuses what needs an answer before this one.
    fn stands_alone(&self) -> Result<(), BadRequest> {
        let refused = |param: &str, what: &str| {
            let message = format!("{what}; send the whole conversation in `input`");
            BadRequest::new("unsupported_parameter", param, message)
        };
        let wanted = [
            (
                Name::PreviousResponseId,
                "previous_response_id",
                "`previous_response_id` needs the answer before to be kept (limits.stored_responses_mib), and an `input` that goes on from it",
            ),
            (
                Name::Conversation,
                "conversation",
                "`conversation` needs the answers before to be stored, and this gateway stores none",
            ),
        ];
        for (name, param, what) in wanted {
            if let Some(value) = self.value(name) {
                return Err(self.place(refused(param, what), value));
            }
        }
        let background = self.flag(Name::Background)? == Some(true);
        if let Some(value) = self.value(Name::Background).filter(|_| background) {
            let message = "`background` needs its answer to be stored, and this gateway stores none; wait for it, or stream it";
            return Err(self.place(BadRequest::new("unsupported_parameter", "background", message), value));
        }
        match self.layout.found.reference {
            Some(at) => Err(refused(
                &format!("input[{at}]"),
                "an `item_reference` needs the item to be stored, and this gateway stores none",
            )),
            None => Ok(()),
        }
    }

    fn members(&self) -> Result<Members, BadRequest> {
        let Responses { conversation, found } = &self.layout;
        if !self.has(Name::Input) {
            let message = "`input` must be given: a text, or an array of at least one item";
            return Err(BadRequest::new("missing_required_parameter", "input", message));
        }
        if conversation.messages == 0 {
            return Err(BadRequest::new("invalid_value", "input", "`input` must have a text or at least one item"));
        }
        // A text has no turns that a later request could begin with.
        let items = if found.is_text { 0..0 } else { self.span(Name::Input) };
        Ok(Members {
            model: self.member(Name::Model).map(|m| m.value).unwrap_or_default(),
            wishes: self.member(Name::Tokenbroker),
            max_output_tokens: self.member(Name::MaxOutputTokens),
            drawn: self.drawn(&[(Name::Temperature, Parameter::Temperature), (Name::TopP, Parameter::TopP)]),
            store: self.member(Name::Store),
            include: self.member(Name::Include),
            messages: items,
            system: self.span(Name::Instructions),
            tools: self.span(Name::Tools),
            call_ids: conversation.call_ids,
            ..Members::default()
        })
    }

    fn format(&self) -> Result<Option<Format<'b>>, BadRequest> {
        #[derive(Deserialize)]
        struct Text<'b> {
            #[serde(borrow)]
            format: Option<Format<'b>>,
        }
        let text: Option<Text<'b>> = self.object(Name::Text, "an object with a `format` that has a `type`")?;
        Ok(text.and_then(|text| text.format))
    }

    fn features(&self, format: Option<&Format<'_>>) -> Result<Features, BadRequest> {
        let conversation = &self.layout.conversation;
        let is = |kind: &str| format.is_some_and(|format| format.kind == kind);
        let wanted = [
            (Feature::Tools, conversation.tools > 0),
            (Feature::ForcedTool, self.forces_tool()?),
            (Feature::JsonSchema, is("json_schema")),
            (Feature::JsonObject, is("json_object")),
            (Feature::Logprobs, self.wants_logprobs()?),
            (Feature::ImageInput, conversation.images > 0),
            (Feature::AudioInput, conversation.audios > 0),
            (Feature::FileInput, conversation.files > 0),
        ];
        Ok(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(feature, _)| feature).collect())
    }

    fn forces_tool(&self) -> Result<bool, BadRequest> {
        #[derive(Deserialize)]
        struct Choice<'b> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'b, str>,
            #[serde(borrow)]
            mode: Option<Cow<'b, str>>,
        }
        match self.value(Name::ToolChoice) {
            None => Ok(false),
            Some(word) if word.starts_with('"') => Ok(word == "\"required\""),
            Some(_) => {
                let choice: Option<Choice<'_>> = self.object(Name::ToolChoice, "a string or an object with a `type`")?;
                let forces = |choice: Choice<'_>| match &*choice.kind {
                    "allowed_tools" => choice.mode.as_deref() == Some("required"),
                    _ => true,
                };
                Ok(choice.is_some_and(forces))
            }
        }
    }

    fn wants_logprobs(&self) -> Result<bool, BadRequest> {
        let top = self.whole(Name::TopLogprobs, 0, 1000)?.unwrap_or(0);
        Ok(top > 0 || self.value(Name::Include).is_some_and(|include| include.contains("output_text.logprobs")))
    }

    fn thinking(&self, wish: ReasoningWish) -> Option<Box<ThinkingSaid>> {
        let member = self.value(Name::Reasoning).and_then(|_| self.member(Name::Reasoning))?;
        let wish = ThinkingWish { wish, ..ThinkingWish::default() };
        Some(Box::new(ThinkingSaid { wish, members: vec![(ThinkingWord::Reasoning, member)], template: None }))
    }

    fn reasoning(&self) -> Result<ReasoningWish, BadRequest> {
        #[derive(Deserialize)]
        struct Reasoning<'b> {
            #[serde(borrow)]
            effort: Option<Cow<'b, str>>,
        }
        let reasoning: Option<Reasoning<'_>> = self.object(Name::Reasoning, "an object with an `effort` that is a string")?;
        Ok(match reasoning.and_then(|reasoning| reasoning.effort).as_deref() {
            None => ReasoningWish::Unsaid,
            Some("none") => ReasoningWish::Off,
            Some(_) => ReasoningWish::On,
        })
    }

    /// What changes the price, or makes the prompt longer, in a way that nobody here knows.
    fn unpriced(&self) -> Option<&'static str> {
        let usual = |tier| matches!(string(tier).as_deref(), Some("auto" | "default" | "flex"));
        let tier = self.value(Name::ServiceTier).is_some_and(|tier| !usual(tier));
        let remote = self.layout.conversation.remote;
        // A prompt that the provider keeps is of a length that nobody here knows.
        let prompt = self.value(Name::Prompt).is_some();
        [(tier, "service_tier"), (remote, "input"), (prompt, "prompt")].into_iter().find(|(is, _)| *is).map(|(_, member)| member)
    }
}

#[cfg(test)]
mod tests;
