//! What the relay must know of an answer as it passes: of a stream's frame, of a whole body, of a provider's error.
//! The bytes themselves pass unchanged.

use std::time::Duration;

use super::schema::Mismatch;
use crate::units::Usage;

/// What one frame of a stream is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameKind {
    /// A comment, a ping, an empty frame: keeps the connection alive, says nothing.
    KeepAlive,
    /// Opens the answer without saying anything yet (a role, an empty delta). A failure may still move on to another attempt.
    Preamble,
    /// Part of the answer.
    Content,
    /// Carries the usage and nothing else; left out when the client did not ask for it.
    UsageOnly,
    /// The provider reports an error inside the stream.
    Error(ProviderError),
    /// The answer ends and does not keep to the schema that it was asked by.
    OffSchema(Mismatch),
    /// The mark after which nothing comes (`[DONE]`).
    Done,
}

/// What a client makes of the frame by which a provider of its own shape tells an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Understood {
    /// An error.
    Error,
    /// A part of the answer: that it failed is a word in it that clients pass by.
    Part,
    /// Nothing that stands in its shape.
    Nothing,
}

/// What one frame of a stream says, as far as the gateway acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameFacts {
    pub kind: FrameKind,
    /// Usage that stood in this frame; a later one replaces it.
    pub usage: Option<Usage>,
    /// That usage says for how long a cache keeps what was written to it.
    pub lifetimes_told: bool,
    /// Bytes of reasoning in it; at least one where there was any, also without a text.
    pub reasoning_bytes: u64,
    /// The frame carried a finish reason: a stream that ends after it was whole.
    pub finished: bool,
    /// A finish reason in it says that the answer was cut for its length.
    pub too_long: bool,
    /// The model that the provider says it serves, in the first frame that says so.
    pub served_model: Option<Box<str>>,
}

impl FrameFacts {
    /// A frame that says nothing but what it is for.
    pub const fn only(kind: FrameKind) -> Self {
        Self {
            kind,
            usage: None,
            lifetimes_told: false,
            reasoning_bytes: 0,
            finished: false,
            too_long: false,
            served_model: None,
        }
    }
}

/// What a whole, unstreamed answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerFacts {
    pub usage: Option<Usage>,
    /// The usage says for how long a cache keeps what was written to it.
    pub lifetimes_told: bool,
    /// Bytes of reasoning in the text; at least one where there was any, also without a text.
    pub reasoning_bytes: u64,
    /// The model that the provider says it served.
    pub served_model: Option<String>,
    /// A choice ended because it was cut for its length.
    pub too_long: bool,
    /// All text of the answer (content, reasoning, tool arguments), to count where usage is missing.
    pub text: String,
}

/// Why a provider refused or failed, in the classes a router needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The request is wrong and would be wrong elsewhere: goes back to the client.
    BadRequest,
    /// This site does not know a member of the request, or not its value: others may.
    Unsupported,
    /// The prompt is too long for this model.
    Context,
    /// The provider's moderation refused it.
    Moderation,
    /// Our key is wrong or lacks a permission.
    Auth,
    /// The account is out of money or quota.
    Billing,
    /// Too many requests or tokens per minute.
    RateLimited,
    /// The provider is overloaded, or answered 5xx.
    Overloaded,
    /// The model or path is not there.
    NotFound,
    /// It ended its answer with a word that says that it failed.
    BrokeOff,
    /// The same, for what its model wrote: a call of a tool that is none.
    ModelErred,
}

impl ErrorClass {
    pub const ALL: [ErrorClass; 11] = [
        ErrorClass::BadRequest,
        ErrorClass::Unsupported,
        ErrorClass::Context,
        ErrorClass::Moderation,
        ErrorClass::Auth,
        ErrorClass::Billing,
        ErrorClass::RateLimited,
        ErrorClass::Overloaded,
        ErrorClass::NotFound,
        ErrorClass::BrokeOff,
        ErrorClass::ModelErred,
    ];

    /// The word in metrics, rows and errors.
    pub const fn word(self) -> &'static str {
        match self {
            ErrorClass::BadRequest => "bad_request",
            ErrorClass::Unsupported => "unsupported",
            ErrorClass::Context => "context_too_long",
            ErrorClass::Moderation => "moderation",
            ErrorClass::Auth => "auth",
            ErrorClass::Billing => "billing",
            ErrorClass::RateLimited => "rate_limited",
            ErrorClass::Overloaded => "overloaded",
            ErrorClass::NotFound => "not_found",
            ErrorClass::BrokeOff => "broke_off",
            ErrorClass::ModelErred => "model_erred",
        }
    }

    /// Whether another provider may well answer the same request, so that all of a plan are to be asked. What a site does not know is asked
    /// of one more ([`is_of_this_site`](Self::is_of_this_site)).
    pub const fn another_may_help(self) -> bool {
        !matches!(self, ErrorClass::BadRequest | ErrorClass::Unsupported | ErrorClass::Moderation)
    }

    /// Whether the request was refused for how it is written: said otherwise, it may be taken.
    pub const fn blames_request(self) -> bool {
        matches!(self, ErrorClass::BadRequest | ErrorClass::Unsupported)
    }

    /// Whether the request was refused for something that others may take as it is.
    pub const fn is_of_this_site(self) -> bool {
        matches!(self, ErrorClass::Unsupported)
    }
}

/// An error as a provider told it, classified by its dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    pub class: ErrorClass,
    /// The HTTP status it came with (200 for an error inside a stream or a body).
    pub status: u16,
    /// The provider's own message, shortened; never contains our key.
    pub message: String,
    /// The provider's own code or type, where it gave one.
    pub code: Option<String>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}
