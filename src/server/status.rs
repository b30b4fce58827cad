//! From what went wrong to what the client is told: the one place where an error becomes an HTTP status.
//!
//! SDKs retry 408, 409, 429 and 5xx by themselves. Where another try cannot help, or where we have failed over already,
//! `x-should-retry: false` says so; where it can, `retry-after` says when.

use std::time::Duration;

use http::HeaderValue;
use serde_json::{Value, json};

use super::parameters::WrongParameter;
use super::rates;
use crate::canonical::ProviderError;
use crate::canonical::event::ErrorClass;
use crate::dispatch::{AttemptFailure, Cause, RunFailure, Stopped};
use crate::fleet::ForwardError;
use crate::frontend::errors::{BadRequest, ClientError, ErrorKind};
use crate::ledger::ReadError;
use crate::pipeline::GatewayError;
use crate::policy::{Counted, OverBudget, Standing, TooMany};
use crate::relay::StreamEnd;
use crate::route::PlanError;
use crate::telemetry::Rejection;

/// How long to wait before asking again when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// For how long SDKs wait by themselves.
const SOON: Duration = Duration::from_mins(1);

/// An error as it goes out.
#[derive(Debug)]
pub struct Refusal {
    pub error: ClientError,
    /// When another try may help.
    pub retry_after: Option<Duration>,
    /// Whether an SDK should try again by itself.
    pub should_retry: bool,
    /// The provider's own body, passed on as far as it is in the client's shape.
    pub verbatim: Option<bytes::Bytes>,
    /// The codings that a body may have, where the one it had is not read.
    pub accepts: Option<HeaderValue>,
    /// How the limits stand that it ran into.
    pub standing: Standing,
    /// What it counts as, where the gateway itself refuses.
    pub counts_as: Option<Rejection>,
}

impl Refusal {
    /// An error that another try does not mend.
    pub fn of(error: ClientError) -> Self {
        Self {
            error,
            retry_after: None,
            should_retry: false,
            verbatim: None,
            accepts: None,
            standing: Standing::default(),
            counts_as: None,
        }
    }

    fn retry(error: ClientError, after: Duration) -> Self {
        Self { retry_after: Some(after), should_retry: true, ..Self::of(error) }
    }

    /// What `retry-after` says.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(rates::seconds)
    }

    /// The gateway itself refuses, for this reason.
    #[must_use]
    pub fn because(mut self, rejection: Rejection) -> Self {
        self.counts_as = Some(rejection);
        self
    }
}

/// What a client is told whose question in the path cannot be read.
pub(super) fn wrong_parameter(wrong: &WrongParameter) -> Refusal {
    let WrongParameter { name, expected } = wrong;
    let message = format!("the parameter `{name}` cannot be read; expected {expected}");
    let error = ClientError::new(400, ErrorKind::InvalidRequest, "invalid_parameter", message).about(name);
    Refusal::of(error).because(Rejection::BadRequest)
}

/// What the client is told.
pub fn refusal(error: &GatewayError) -> Refusal {
    let said = error.to_string();
    match error {
        GatewayError::NotAdmitted(_) => {
            let error = ClientError::new(401, ErrorKind::Authentication, "invalid_api_key", said);
            Refusal::of(error).because(Rejection::NotAdmitted)
        }
        GatewayError::BadRequest(bad) => Refusal::of(bad_request(bad)).because(Rejection::BadRequest),
        GatewayError::UnknownModel(unknown) => {
            let near: Vec<&str> = unknown.near.iter().map(String::as_str).collect();
            Refusal::of(ClientError::model_not_found(&unknown.name, &near)).because(Rejection::UnknownModel)
        }
        GatewayError::Untranslatable(_) => {
            let error = ClientError::new(400, ErrorKind::InvalidRequest, "untranslatable", said);
            Refusal::of(error).because(Rejection::NoneAdequate)
        }
        GatewayError::NotServed(_) => {
            let error = ClientError::new(400, ErrorKind::InvalidRequest, "no_adequate_backend", said).about("model");
            Refusal::of(error).because(Rejection::NoneAdequate)
        }
        GatewayError::NotAllowed(_) => {
            let error = ClientError::new(403, ErrorKind::Permission, "model_not_allowed", said).about("model");
            Refusal::of(error).because(Rejection::NoneAdequate)
        }
        GatewayError::NoPlan { error, .. } => no_plan(error).because(Rejection::NoneAdequate),
        GatewayError::OverBudget { over, refills_in, status } => {
            over_budget(over, *refills_in, *status).because(Rejection::OverBudget)
        }
        GatewayError::TooMany(many) => too_many(many).because(Rejection::RateLimited),
        GatewayError::Unwritable(books) => {
            let error = ClientError::new(503, ErrorKind::Server, "books_unwritable", said);
            Refusal::retry(error, books.retry_after).because(Rejection::BooksUnwritable)
        }
        GatewayError::Books(_) => {
            let error = ClientError::new(503, ErrorKind::Server, "books_unwritable", said);
            Refusal::retry(error, RETRY_AFTER).because(Rejection::BooksUnwritable)
        }
        GatewayError::Full(_) => {
            let error = ClientError::new(503, ErrorKind::Server, "overloaded", said);
            Refusal::retry(error, RETRY_AFTER).because(Rejection::Overloaded)
        }
        GatewayError::Failed(failure) => failed(failure),
    }
}

/// What a client is told when the books do not answer.
pub fn unread(error: &ReadError) -> Refusal {
    tracing::warn!(%error, "the books could not be read");
    let (message, counts_as) = match error {
        ReadError::Slow => (error.to_string(), Rejection::Overloaded),
        ReadError::Behind(_) => (error.to_string(), Rejection::BooksUnwritable),
        // What is wrong with a file is for the operator's log.
        ReadError::Store(_) => ("the books cannot be read".to_owned(), Rejection::BooksUnwritable),
    };
    Refusal::retry(ClientError::new(503, ErrorKind::Server, "books_unavailable", message), RETRY_AFTER).because(counts_as)
}

/// The books that gateways share cannot be read.
pub fn unshared(error: &ForwardError) -> Refusal {
    tracing::warn!(%error, "the books of all gateways could not be read");
    let message = "the books of all gateways cannot be read now".to_owned();
    let refusal = Refusal::retry(ClientError::new(503, ErrorKind::Server, "books_unavailable", message), RETRY_AFTER);
    refusal.because(Rejection::BooksUnwritable)
}

/// The status that a client gets for a run without an answer.
pub fn failure_status(failure: &RunFailure) -> u16 {
    failed(failure).error.status
}

fn bad_request(bad: &BadRequest) -> ClientError {
    let place = bad.position.map(|at| format!(" (line {}, column {})", at.line, at.column)).unwrap_or_default();
    let error = ClientError::new(400, ErrorKind::InvalidRequest, bad.code, format!("{}{place}", bad.message));
    let error = match &bad.param {
        Some(param) => error.about(param),
        None => error,
    };
    match bad.position {
        Some(at) => error.with("position", json!({"line": at.line, "column": at.column, "offset": at.offset})),
        None => error,
    }
}

/// A request that fits nowhere is the client's to change; one that only has to wait says for how long.
fn no_plan(none: &PlanError) -> Refusal {
    let said = format!("{none}; the wish dry_run explains each");
    if none.is_passing() {
        let error = ClientError::new(503, ErrorKind::Server, "no_backend_available", said);
        return Refusal::retry(error, none.retry_after().unwrap_or(RETRY_AFTER));
    }
    let too_long = |word: &str| matches!(word, "context_too_small" | "input_unpriced");
    let all_too_long = !none.rejected().is_empty() && none.rejected().iter().all(|(_, unfit)| too_long(unfit.word()));
    let code = if all_too_long { TOO_LONG } else { "no_adequate_backend" };
    Refusal::of(ClientError::new(400, ErrorKind::InvalidRequest, code, said))
}

/// A 402 is not tried again by SDKs. Where the operator prefers 429, they try again by themselves if the budget refills soon.
fn over_budget(over: &OverBudget, refills_in: Option<Duration>, status: u16) -> Refusal {
    let error = ClientError::new(status, ErrorKind::InsufficientQuota, "insufficient_quota", over.to_string());
    let error = error
        .with("budget_of", over.payer.kind())
        .with("window", over.window.every.word())
        .with("limit_usd", over.limit.to_exact())
        .with("left_usd", over.left.to_exact())
        .with("wanted_usd", over.wanted.to_exact());
    let error = match over.payer.name() {
        Some(name) => error.with("budget_name", name),
        None => error,
    };
    let error = match over.refills_at {
        Some(at) => error.with("refills_at", at.to_string()),
        None => error,
    };
    match refills_in.filter(|_| status == 429) {
        Some(after) => Refusal { retry_after: Some(after), should_retry: after <= SOON, ..Refusal::of(error) },
        None => Refusal::of(error),
    }
}

/// SDKs try again by themselves, after the wait; where that would not help they are told so.
fn too_many(many: &TooMany) -> Refusal {
    let error = ClientError::new(429, ErrorKind::RateLimit, "rate_limit_exceeded", many.to_string());
    let counted = match many.counted {
        Counted::Requests => "requests",
        Counted::Tokens => "tokens",
        Counted::AtOnce => "concurrent_requests",
    };
    let error = error.with("limit_of", many.payer.kind()).with("counted", counted).with("limit", many.limit);
    let error = match many.payer.name() {
        Some(name) => error.with("limit_name", name),
        None => error,
    };
    let refusal = match many.retry_after {
        Some(after) => Refusal::retry(error, after),
        None => Refusal::of(error),
    };
    Refusal { standing: many.standing, ..refusal }
}

/// The request can be said to nobody.
const UNTRANSLATABLE: &str = "untranslatable";
/// The request was refused for how it is written, here or wherever it goes: to the client that is one.
const BAD_REQUEST: &str = "bad_request";
/// The conversation is longer than anybody takes.
const TOO_LONG: &str = "context_length_exceeded";

/// After failover: what each attempt died of. When the request itself was refused, the provider's own words pass, in the
/// client's shape.
fn failed(run: &RunFailure) -> Refusal {
    let attempts: Vec<Value> = run.failures.iter().map(attempt).collect();
    if let (Stopped::Refused, Some(last)) = (run.stopped, run.decisive()) {
        return refused(last, attempts);
    }
    let (status, code) = verdict(run);
    let message = match run.decisive() {
        Some(unsaid) if code == UNTRANSLATABLE => format!("{}, and nobody else is left to ask", unsaid.message),
        // In the provider's own words: agents know them, and make their conversation shorter.
        Some(longest) if code == TOO_LONG => longest.message.clone(),
        Some(only) if run.failures.len() == 1 => format!("no provider answered; {}: {}", only.backend, only.message),
        Some(last) => {
            format!("no provider answered; the last of {} attempts, {}: {}", run.failures.len(), last.backend, last.message)
        }
        None if run.stopped == Stopped::OutOfTime => "no attempt was made: the request's time was over".to_owned(),
        None => "no attempt was made: retries have used up their share of the traffic".to_owned(),
    };
    let kind = if status == 400 { ErrorKind::InvalidRequest } else { ErrorKind::Server };
    let error = ClientError::new(status, kind, code, message).with("attempts", attempts);
    let wait = run.failures.iter().filter_map(|f| f.retry_after).min();
    Refusal { retry_after: (status == 503).then(|| wait.unwrap_or(RETRY_AFTER)), ..Refusal::of(error) }
}

fn refused(failure: &AttemptFailure, attempts: Vec<Value>) -> Refusal {
    let status = failure.status.filter(|s| (400..500).contains(s)).unwrap_or(400);
    let code = match failure.cause {
        Cause::Provider(class) if class.blames_request() => BAD_REQUEST,
        cause => cause.word(),
    };
    let error = ClientError::new(status, ErrorKind::InvalidRequest, code, failure.message.clone()).with("attempts", attempts);
    Refusal { verbatim: failure.body.clone(), ..Refusal::of(error) }
}

fn attempt(failure: &AttemptFailure) -> Value {
    json!({
        "backend": failure.backend.as_str(),
        "cause": failure.cause.word(),
        "status": failure.status,
        "message": failure.message,
    })
}

/// Status and code: 400 when the request can be said to nobody, else by those to whom it can: 400 when it is too long for all of
/// them, 504 when all timed out, 503 when all say "later", 502 otherwise.
fn verdict(run: &RunFailure) -> (u16, &'static str) {
    let later = |f: &AttemptFailure| {
        matches!(f.cause, Cause::Cooling | Cause::Saturated | Cause::Provider(ErrorClass::RateLimited | ErrorClass::Overloaded))
    };
    let all = |cause: Cause| !run.failures.is_empty() && run.telling().all(|f| f.cause == cause);
    if run.stopped == Stopped::OutOfTime || all(Cause::Timeout) {
        (504, "upstream_timeout")
    } else if all(Cause::Untranslatable) {
        (400, UNTRANSLATABLE)
    } else if all(Cause::Provider(ErrorClass::Context)) {
        (400, TOO_LONG)
    } else if run.telling().all(later) {
        (503, "upstream_unavailable")
    } else {
        (502, "upstream_error")
    }
}

/// What a provider broke an answer off with, told as it is where nobody else is left to ask. Its cause stands beside it, as that of
/// each attempt does there. A limit of the provider's is no overload; its words go by the status, which is not sent any more.
fn told(error: &ProviderError) -> ClientError {
    let (status, kind, code) = match error.class {
        ErrorClass::BadRequest | ErrorClass::Unsupported => (400, ErrorKind::InvalidRequest, BAD_REQUEST),
        ErrorClass::Moderation => (400, ErrorKind::InvalidRequest, error.class.word()),
        ErrorClass::Context => (400, ErrorKind::InvalidRequest, TOO_LONG),
        ErrorClass::RateLimited => (429, ErrorKind::RateLimit, "upstream_unavailable"),
        ErrorClass::Overloaded => (503, ErrorKind::Server, "upstream_unavailable"),
        // What is wrong between the gateway and its provider is nothing that the client could mend.
        ErrorClass::Auth | ErrorClass::Billing | ErrorClass::NotFound | ErrorClass::BrokeOff | ErrorClass::ModelErred => {
            (502, ErrorKind::Server, "upstream_error")
        }
    };
    let message = format!("the provider broke the answer off: {}", error.message);
    ClientError::new(status, kind, code, message).with("cause", error.class.word())
}

/// The error that ends a stream which broke off.
pub fn stream_error(end: &StreamEnd<'_>) -> ClientError {
    let (code, message) = match end {
        StreamEnd::Truncated => {
            ("upstream_truncated", "the provider closed the stream before the answer was complete".to_owned())
        }
        StreamEnd::Broken(error) => ("upstream_broken", format!("the stream from the provider broke off: {error}")),
        StreamEnd::OutOfTime => ("timeout", "the request has taken as long as one may (timeouts.total_ms)".to_owned()),
        StreamEnd::Books(error) => ("books_unwritable", format!("the answer cannot be booked, so it ends here: {error}")),
        StreamEnd::Withheld => ("upstream_error", "the provider sent something that cannot be passed on".to_owned()),
        StreamEnd::OffSchema(off) => ("schema_mismatch", format!("the answer does not keep to its schema: {off}")),
        StreamEnd::Told(error) => return told(error),
    };
    ClientError::new(502, ErrorKind::Server, code, message)
}
