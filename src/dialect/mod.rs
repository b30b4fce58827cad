//! What backends speak: a canonical request becomes their bytes, their bytes become facts that the gateway acts on.
//!
//! A dialect is a pure codec without sockets, and never sees a frontend. A provider is a row of the table: how it
//! deviates from its dialect is a [`Quirks`] value, not a module. Where client and backend speak the same dialect the
//! bytes pass unchanged both ways, so reading means looking, not rebuilding.

mod anthropic;
mod bedrock;
mod blocks;
mod chat_calls;
mod chat_deltas;
mod chat_messages;
mod chat_request;
mod citations;
mod direct;
mod errors;
pub mod eventstream;
mod frame;
mod framing;
mod gemini;
mod hints;
mod left_out;
pub mod limits;
mod markers;
mod media;
mod messages_blocks;
mod messages_deltas;
mod messages_request;
mod openai;
mod reading;
mod responses;
mod retry_after;
mod splice;
pub mod sse;
#[cfg(test)]
mod testing;
mod think_tags;
mod usage;
mod walk;

use bytes::Bytes;
use http::HeaderMap;

use crate::canonical::event::AnswerFacts;
use crate::canonical::{
    Conversation, Delta, FrameFacts, Parameters, ProviderError, ReasoningWish, Request, Shape, Untranslatable,
};
use crate::catalog::Steering;
use crate::catalog::capability::{Quirks, Reasoning};
use crate::units::{Tokens, Usage};

pub use anthropic::AnthropicMessages;
pub use bedrock::BedrockConverse;
pub use direct::OpenAiDirect;
pub use framing::{Cutter, Framing, FramingError};
pub use gemini::GeminiGenerate;
pub use openai::OpenAiChat;
pub use responses::OpenAiResponses;
pub use splice::{loses_template_arguments, loses_thinking};

/// What `include` of Responses asks for thoughts with: encrypted, so that they can be sent back to a provider that stores nothing.
const SEALS_WANTED: &str = "reasoning.encrypted_content";

/// What may differ between the client's request and the one that goes out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'o> {
    /// The id this provider knows the model by.
    pub upstream_model: &'o str,
    pub quirks: Quirks,
    /// The bound on the output to send where the client set none or a larger one; `None` leaves the client's alone.
    pub output_bound: Option<Tokens>,
    /// The most the model writes in one answer: what is sent where a shape demands a bound and nobody set one.
    pub max_output: Tokens,
    /// How the model thinks. One that never does is told nothing about it.
    pub reasoning: Reasoning,
    /// How deep it can be told to think, and whether it takes `temperature` and its like.
    pub steering: Steering,
    /// How long the client's request is, which is about how long it will be in other words; 0 where nobody knows.
    pub client_bytes: usize,
    /// Whether the model itself thought what stands in the texts of the conversation: it may want to see that again.
    pub own_thoughts: bool,
}

impl<'o> Outgoing<'o> {
    /// A request to a model that does not think, without a bound of ours.
    pub const fn to(upstream_model: &'o str, quirks: Quirks) -> Self {
        let (max_output, steering) = (Tokens::new(4_096), Steering::UNKNOWN);
        Self {
            upstream_model,
            quirks,
            output_bound: None,
            max_output,
            reasoning: Reasoning::Never,
            steering,
            client_bytes: 0,
            own_thoughts: false,
        }
    }

    /// Whether the model takes `temperature` and its like beside what the client says about thinking.
    pub fn draws(&self, thinking: ReasoningWish) -> bool {
        let off = thinking == ReasoningWish::Off && self.reasoning == Reasoning::Switchable;
        self.steering.sampling || off && self.steering.sampling_without_thinking
    }
}

/// Why a whole answer with a good status is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyProblem {
    #[error("the provider reports an error in its answer: {}", .error.message)]
    Provider {
        error: ProviderError,
        /// What it reports to have used before it failed.
        usage: Option<Box<Usage>>,
    },
    /// Not what the dialect answers; says what is missing.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

/// What is appended to a provider's base URL.
#[derive(Debug, Clone, Copy)]
pub enum Path {
    /// The same for every request.
    Fixed(&'static str),
    /// By the id that the provider knows the model by, and whether the answer is to be streamed. Made fit for a URL.
    OfModel(fn(model: &str, stream: bool) -> String),
}

/// One provider-side API shape.
pub trait Dialect: Send + Sync {
    /// What is appended to a provider's base URL.
    fn path(&self) -> Path;

    /// Headers that every call has unless the table or the client says otherwise.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// What its streams are made of.
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// How an answer with such a content type (in small letters) is read as it comes; `None` where it is read as a whole.
    fn arrives(&self, media_type: &str, streamed: bool) -> Option<Framing> {
        let framing = self.framing();
        (streamed && media_type.starts_with(framing.media_type())).then_some(framing)
    }

    /// Whether some backends answer as a whole where a stream was asked for, and are right to.
    fn may_come_whole(&self) -> bool {
        false
    }

    /// What a whole answer says, of a content type (in small letters) that may decide how it is read.
    fn read_typed(&self, body: &[u8], _media_type: &str, quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        self.read_answer(body, quirks)
    }

    /// The bytes that go out for a request of this dialect's shape.
    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes;

    /// The bytes that go out for a request in another shape.
    ///
    /// # Errors
    /// When something in it cannot be said here and the answer without it would be of another kind.
    fn write(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Result<Bytes, Untranslatable> {
        let _ = (conversation, out);
        Err(Untranslatable { what: "a request in another shape".to_owned(), shape: "this dialect" })
    }

    /// What [`write`](Self::write) leaves out of a conversation's parameters.
    fn leaves_out(&self, conversation: &Conversation, out: &Outgoing<'_>) -> Parameters {
        let _ = (conversation, out);
        Parameters::NONE
    }

    /// Reads a whole, unstreamed answer that came with a good status.
    ///
    /// # Errors
    /// When the body is an error in disguise, or no answer at all.
    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem>;

    /// Reads the content of a whole answer that [`read_answer`](Self::read_answer) found to be one, for a client of another
    /// shape. Its usage is read without regard to the provider's quirks: what `read_answer` tells of it counts.
    ///
    /// # Errors
    /// When the body is no answer.
    fn read_deltas(&self, body: &[u8]) -> Result<Vec<Delta>, BodyProblem> {
        let _ = body;
        Err(BodyProblem::Malformed("it is not read for another shape".to_owned()))
    }

    /// A reader for the content of one stream, for a client of another shape. Its usage is read without regard to the
    /// provider's quirks: what the [`frame_reader`](Self::frame_reader) tells of the same frame counts.
    fn delta_reader(&self) -> Box<dyn DeltaReader> {
        Box::new(NoDeltas)
    }

    /// The same for a site that deviates in how it tells thoughts.
    fn delta_reader_at(&self, quirks: Quirks) -> Box<dyn DeltaReader> {
        let _ = quirks;
        self.delta_reader()
    }

    /// Classifies an answer with a bad status.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError;

    /// A reader for the frames of one stream, in their order. It has ended once so many choices have.
    fn frame_reader(&self, quirks: Quirks, choices: u32) -> Box<dyn FrameReader>;
}

/// Reads the frames of one stream.
pub trait FrameReader: Send {
    /// Says what one whole frame (an event block or a message, as the dialect's [`Cutter`] cuts them) is for. All text in it that the
    /// model generated (content, reasoning, tool names and arguments) goes to `text`, piece by piece. What is no JSON is
    /// told as a keep-alive: it may be a ping of a shape of its own, and its bytes pass anyway.
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts;

    /// The stream has ended: what is read from now on is its last frame.
    fn closes(&mut self) {}
}

/// Reads the content of one stream, for a client of another shape.
pub trait DeltaReader: Send {
    /// Reads one whole frame (an event block or a message, as the dialect's [`Cutter`] cuts them) and appends what it adds to the
    /// answer. A frame that cannot be read adds nothing; errors are told by the [`FrameReader`].
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>);

    /// The stream has ended as it should: appends what was held back.
    fn end(&mut self, out: &mut Vec<Delta>);

    /// About how many bytes of the stream it keeps: what it was not sure of yet, or looks at again.
    fn held(&self) -> usize;
}

struct NoDeltas;

impl DeltaReader for NoDeltas {
    fn read(&mut self, _: &[u8], _: &mut Vec<Delta>) {}

    fn end(&mut self, _: &mut Vec<Delta>) {}

    fn held(&self) -> usize {
        0
    }
}

/// One for each shape that is no conversation.
static DIRECT: [OpenAiDirect; OpenAiDirect::ALL.len()] = OpenAiDirect::ALL;

/// The dialect of a shape.
pub fn of(shape: Shape) -> &'static dyn Dialect {
    match shape {
        Shape::OpenAiChat => &OpenAiChat,
        Shape::AnthropicMessages => &AnthropicMessages,
        Shape::OpenAiResponses => &OpenAiResponses,
        Shape::GeminiGenerate => &GeminiGenerate,
        Shape::OpenAiEmbeddings => &DIRECT[0],
        Shape::BedrockConverse => &BedrockConverse,
        Shape::OpenAiCompletions => &DIRECT[1],
        Shape::Rerank => &DIRECT[2],
        Shape::OpenAiImages => &DIRECT[3],
        Shape::OpenAiSpeech => &DIRECT[4],
        Shape::OpenAiTranscriptions => &DIRECT[5],
    }
}
