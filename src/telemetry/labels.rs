//! The closed lists that label values come from. Other modules' enums join by implementing [`Label`].

use crate::canonical::Shape;
use crate::dispatch::Cause;
use crate::ledger::{Ending, Outcome};
use crate::units::Provenance;

/// A value of a closed list, with the word that stands in metrics.
pub trait Label: Copy {
    fn word(self) -> &'static str;
}

impl Label for Provenance {
    fn word(self) -> &'static str {
        Provenance::word(self)
    }
}

impl Label for Cause {
    fn word(self) -> &'static str {
        Cause::word(self)
    }
}

impl Label for Ending {
    fn word(self) -> &'static str {
        Ending::word(self)
    }
}

impl Label for Outcome {
    fn word(self) -> &'static str {
        Outcome::word(self)
    }
}

/// What a client asked for, by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    ChatCompletions,
    Responses,
    /// One of them, by its id.
    Response,
    Messages,
    CountTokens,
    Embeddings,
    Completions,
    Rerank,
    Images,
    Speech,
    Transcriptions,
    Models,
    Model,
    Route,
    Usage,
    Decision,
    Healthz,
    Readyz,
    Metrics,
    /// Every key's usage, on the operations listener.
    AllUsage,
    /// Any key's decision, on the operations listener.
    AnyDecision,
    Reload,
    /// Any path that the gateway does not serve.
    Other,
}

impl Route {
    /// The shape of what is asked for there; `None` where clients of every shape ask alike.
    pub const fn shape(self) -> Option<Shape> {
        match self {
            Route::ChatCompletions => Some(Shape::OpenAiChat),
            Route::Responses | Route::Response => Some(Shape::OpenAiResponses),
            Route::Messages | Route::CountTokens => Some(Shape::AnthropicMessages),
            Route::Embeddings => Some(Shape::OpenAiEmbeddings),
            Route::Completions => Some(Shape::OpenAiCompletions),
            Route::Rerank => Some(Shape::Rerank),
            Route::Images => Some(Shape::OpenAiImages),
            Route::Speech => Some(Shape::OpenAiSpeech),
            Route::Transcriptions => Some(Shape::OpenAiTranscriptions),
            _ => None,
        }
    }

    /// Those by which a model is asked.
    pub const ANSWERED: [Route; 9] = [
        Route::ChatCompletions,
        Route::Responses,
        Route::Messages,
        Route::Embeddings,
        Route::Completions,
        Route::Rerank,
        Route::Images,
        Route::Speech,
        Route::Transcriptions,
    ];

    /// Whether a model is asked there.
    pub fn is_answered(self) -> bool {
        Self::ANSWERED.contains(&self)
    }

    /// The route of a request's path.
    pub fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Route::ChatCompletions,
            "/v1/responses" => Route::Responses,
            "/v1/messages" => Route::Messages,
            "/v1/messages/count_tokens" => Route::CountTokens,
            "/v1/embeddings" => Route::Embeddings,
            "/v1/completions" => Route::Completions,
            "/v1/rerank" => Route::Rerank,
            "/v1/images/generations" => Route::Images,
            "/v1/audio/speech" => Route::Speech,
            "/v1/audio/transcriptions" => Route::Transcriptions,
            "/v1/models" => Route::Models,
            "/v1/route" => Route::Route,
            "/v1/usage" => Route::Usage,
            "/healthz" => Route::Healthz,
            "/readyz" => Route::Readyz,
            "/metrics" => Route::Metrics,
            "/usage" => Route::AllUsage,
            "/reload" => Route::Reload,
            _ if path.starts_with("/v1/responses/") => Route::Response,
            _ if path.starts_with("/v1/models/") => Route::Model,
            _ if path.starts_with("/v1/decisions/") => Route::Decision,
            _ if path.starts_with("/decisions/") => Route::AnyDecision,
            _ => Route::Other,
        }
    }
}

impl Label for Route {
    fn word(self) -> &'static str {
        match self {
            Route::ChatCompletions => "/v1/chat/completions",
            Route::Responses => "/v1/responses",
            Route::Response => "/v1/responses/{id}",
            Route::Messages => "/v1/messages",
            Route::CountTokens => "/v1/messages/count_tokens",
            Route::Embeddings => "/v1/embeddings",
            Route::Completions => "/v1/completions",
            Route::Rerank => "/v1/rerank",
            Route::Images => "/v1/images/generations",
            Route::Speech => "/v1/audio/speech",
            Route::Transcriptions => "/v1/audio/transcriptions",
            Route::Models => "/v1/models",
            Route::Model => "/v1/models/{id}",
            Route::Route => "/v1/route",
            Route::Usage => "/v1/usage",
            Route::Decision => "/v1/decisions/{id}",
            Route::Healthz => "/healthz",
            Route::Readyz => "/readyz",
            Route::Metrics => "/metrics",
            Route::AllUsage => "/usage",
            Route::AnyDecision => "/decisions/{id}",
            Route::Reload => "/reload",
            Route::Other => "other",
        }
    }
}

/// How an attempt to reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reloaded {
    /// What the files say is in force now.
    Applied,
    /// The files have a problem: what was in force stays.
    Refused,
    /// The files say what is in force already.
    Unchanged,
}

impl Reloaded {
    /// Every value.
    pub const ALL: [Reloaded; 3] = [Reloaded::Applied, Reloaded::Refused, Reloaded::Unchanged];
}

impl Label for Reloaded {
    fn word(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Refused => "refused",
            Reloaded::Unchanged => "unchanged",
        }
    }
}

/// How a whole answer ended that taught how long answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerEnd {
    /// It said all it had to say.
    Whole,
    /// It was cut at the bound that was set.
    Bound,
}

impl Label for AnswerEnd {
    fn word(self) -> &'static str {
        match self {
            AnswerEnd::Whole => "whole",
            AnswerEnd::Bound => "bound",
        }
    }
}

/// What a look at a price feed came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedLook {
    /// It changed a price or a rate.
    Changed,
    /// It was read, or is the same as before, and changed nothing.
    Unchanged,
    /// It could not be fetched or read.
    Failed,
}

impl FeedLook {
    /// Every value.
    pub const ALL: [FeedLook; 3] = [FeedLook::Changed, FeedLook::Unchanged, FeedLook::Failed];
}

impl Label for FeedLook {
    fn word(self) -> &'static str {
        match self {
            FeedLook::Changed => "changed",
            FeedLook::Unchanged => "unchanged",
            FeedLook::Failed => "failed",
        }
    }
}

/// How it ended to have the next token of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// It was made or fetched.
    Renewed,
    /// It was not; the last one is sent until it ends.
    Failed,
}

impl Label for Renewal {
    fn word(self) -> &'static str {
        match self {
            Renewal::Renewed => "renewed",
            Renewal::Failed => "failed",
        }
    }
}

/// Why the gateway itself refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The request cannot be read (400).
    BadRequest,
    /// No key, or an unknown one (401).
    NotAdmitted,
    /// The model is not known (404).
    UnknownModel,
    /// The path is not known, or not with this method (404, 405, 501).
    UnknownPath,
    /// The body is too large (413).
    TooLarge,
    /// The body is of another type than JSON (415).
    MediaType,
    /// The client was too slow to send its request (408).
    TooSlow,
    /// A budget does not bear it (402 or 429).
    OverBudget,
    /// More than may be asked in a minute, or at once (429).
    RateLimited,
    /// No backend is adequate.
    NoneAdequate,
    /// Too many requests are under way (503).
    Overloaded,
    /// The gateway is stopping (503).
    Draining,
    /// The books cannot be written (503).
    BooksUnwritable,
}

impl Label for Rejection {
    fn word(self) -> &'static str {
        match self {
            Rejection::BadRequest => "bad_request",
            Rejection::NotAdmitted => "not_admitted",
            Rejection::UnknownModel => "unknown_model",
            Rejection::UnknownPath => "unknown_path",
            Rejection::TooLarge => "too_large",
            Rejection::MediaType => "media_type",
            Rejection::TooSlow => "too_slow",
            Rejection::OverBudget => "over_budget",
            Rejection::RateLimited => "rate_limited",
            Rejection::NoneAdequate => "none_adequate",
            Rejection::Overloaded => "overloaded",
            Rejection::Draining => "draining",
            Rejection::BooksUnwritable => "books_unwritable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_client_made_up_is_one_label() {
        for path in ["/v1/models/a", "/v1/models/b/c"] {
            assert_eq!(Route::of(path).word(), "/v1/models/{id}");
        }
        for path in ["/", "/v1/chat/completions/", "/x\"}\n"] {
            assert_eq!(Route::of(path).word(), "other");
        }
        for path in
            ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/route", "/healthz", "/readyz", "/metrics", "/reload"]
        {
            assert_eq!(Route::of(path).word(), path);
        }
    }
}
