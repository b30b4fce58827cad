//! What backends speak: a canonical request becomes their bytes, their bytes become facts that the gateway acts on.
//!
//! A dialect is a pure codec without sockets, and never sees a frontend. A provider is a row of the table: how it
//! deviates from its dialect is a [`Quirks`] value, not a module. Where client and backend speak the same dialect the
//! bytes pass unchanged both ways, so reading means looking, not rebuilding.

mod anthropic;
mod blocks;
mod errors;
mod frame;
pub mod limits;
mod markers;
mod openai;
mod reading;
mod retry_after;
mod splice;
pub mod sse;
mod usage;
mod walk;

use bytes::Bytes;
use http::HeaderMap;

use crate::canonical::event::AnswerFacts;
use crate::canonical::{FrameFacts, ProviderError, Request, Shape};
use crate::catalog::capability::Quirks;
use crate::units::{Tokens, Usage};

pub use anthropic::AnthropicMessages;
pub use openai::OpenAiChat;

/// What may differ between the client's request and the one that goes out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'o> {
    /// The id this provider knows the model by.
    pub upstream_model: &'o str,
    pub quirks: Quirks,
    /// The bound on the output to send where the client set none or a larger one; `None` leaves the client's alone.
    pub output_bound: Option<Tokens>,
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

/// One provider-side API shape.
pub trait Dialect: Send + Sync {
    /// What is appended to a provider's base URL.
    fn path(&self) -> &'static str;

    /// Headers that every call has unless the table or the client says otherwise.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The bytes that go out for a request of this dialect's shape.
    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes;

    /// Reads a whole, unstreamed answer that came with a good status.
    ///
    /// # Errors
    /// When the body is an error in disguise, or no answer at all.
    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem>;

    /// Classifies an answer with a bad status.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError;

    /// A reader for the frames of one stream, in their order.
    fn frame_reader(&self, quirks: Quirks) -> Box<dyn FrameReader>;
}

/// Reads the frames of one stream.
pub trait FrameReader: Send {
    /// Says what one whole frame (an SSE event block, as [`sse::Framer`] cuts them) is for. All text in it that the
    /// model generated (content, reasoning, tool names and arguments) goes to `text`, piece by piece. What is no JSON is
    /// told as a keep-alive: it may be a ping of a shape of its own, and its bytes pass anyway.
    fn read(&mut self, frame: &[u8], text: &mut dyn FnMut(&str)) -> FrameFacts;
}

/// The dialect of a shape; `None` for one that only clients speak.
pub fn of(shape: Shape) -> Option<&'static dyn Dialect> {
    match shape {
        Shape::OpenAiChat => Some(&OpenAiChat),
        Shape::AnthropicMessages => Some(&AnthropicMessages),
        Shape::OpenAiResponses => None,
    }
}
