//! Why an attempt did not answer, and what follows from it: may another backend help, may it have been billed, was it
//! the backend's fault.

use std::time::Duration;

use bytes::Bytes;

use super::breaker::Failure;
use crate::canonical::event::ErrorClass;
use crate::meter::usage::Metered;
use crate::units::BackendId;

/// What ended an attempt before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Its breaker is open: nothing was sent.
    Cooling,
    /// Too many requests already wait on it: nothing was sent.
    Saturated,
    /// The request cannot be said in its words: nothing was sent.
    Untranslatable,
    /// No connection could be made.
    Connect,
    /// It did not begin to answer in time.
    Timeout,
    /// The connection broke before the answer began.
    Broken,
    /// It answered something that is no answer.
    Malformed,
    /// It answered, and not by the schema that it was asked by.
    OffSchema,
    /// The provider said no.
    Provider(ErrorClass),
}

impl Cause {
    /// Every cause, for metrics that must not grow.
    pub const ALL: [Cause; 19] = [
        Cause::Cooling,
        Cause::Saturated,
        Cause::Untranslatable,
        Cause::Connect,
        Cause::Timeout,
        Cause::Broken,
        Cause::Malformed,
        Cause::OffSchema,
        Cause::Provider(ErrorClass::BadRequest),
        Cause::Provider(ErrorClass::Unsupported),
        Cause::Provider(ErrorClass::Context),
        Cause::Provider(ErrorClass::Moderation),
        Cause::Provider(ErrorClass::Auth),
        Cause::Provider(ErrorClass::Billing),
        Cause::Provider(ErrorClass::RateLimited),
        Cause::Provider(ErrorClass::Overloaded),
        Cause::Provider(ErrorClass::NotFound),
        Cause::Provider(ErrorClass::BrokeOff),
        Cause::Provider(ErrorClass::ModelErred),
    ];

    /// The word in metrics, rows and errors.
    pub const fn word(self) -> &'static str {
        match self {
            Cause::Cooling => "cooling_down",
            Cause::Saturated => "saturated",
            Cause::Untranslatable => "untranslatable",
            Cause::Connect => "connect",
            Cause::Timeout => "timeout",
            Cause::Broken => "broken",
            Cause::Malformed => "malformed",
            Cause::OffSchema => "schema_mismatch",
            Cause::Provider(class) => class.word(),
        }
    }

    /// Whether the next attempt may well succeed.
    pub const fn another_may_help(self) -> bool {
        match self {
            Cause::Provider(class) => class.another_may_help(),
            _ => true,
        }
    }

    /// Whether the request was refused for how it is written.
    pub const fn blames_request(self) -> bool {
        matches!(self, Cause::Provider(class) if class.blames_request())
    }

    /// Whether the request was refused for something that others may take.
    pub const fn is_of_this_site(self) -> bool {
        matches!(self, Cause::Provider(class) if class.is_of_this_site())
    }

    /// Whether the provider may bill it although no answer came: it had the request and may have worked on it.
    const fn may_be_billed(self) -> bool {
        matches!(self, Cause::Timeout | Cause::Broken | Cause::Malformed | Cause::OffSchema)
    }

    /// What the backend's health learns from it; nothing where nothing was tried.
    pub const fn lesson(self) -> Option<Failure> {
        match self {
            // A model that errs is no site that fails.
            Cause::Cooling | Cause::Saturated | Cause::Untranslatable | Cause::OffSchema => None,
            Cause::Connect => Some(Failure::Connect),
            Cause::Timeout => Some(Failure::Timeout),
            Cause::Broken => Some(Failure::Cut),
            Cause::Malformed => Some(Failure::Malformed),
            Cause::Provider(class) => Some(Failure::Told(class)),
        }
    }
}

/// One attempt that did not answer.
#[derive(Debug, Clone)]
pub struct AttemptFailure {
    pub backend: BackendId,
    pub cause: Cause,
    /// The provider's status, where one came.
    pub status: Option<u16>,
    /// What happened, in words; without our key.
    pub message: String,
    pub retry_after: Option<Duration>,
    /// What was used all the same and is billed, where that is known: by the provider's report, or by our count of what came.
    pub used: Option<Metered>,
    /// The provider's own error body, where it is fit to be passed on.
    pub body: Option<Bytes>,
}

/// Why no further attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every attempt of the plan was made.
    Exhausted,
    /// The request itself was refused: it would be elsewhere too.
    Refused,
    /// Retries have used up their share of the traffic.
    RetryBudget,
    /// The time that the request may take, or that its client gave it, is over.
    OutOfTime,
}

impl AttemptFailure {
    /// An attempt of which nothing was sent.
    pub fn idle(backend: &BackendId, cause: Cause, message: String, retry_after: Option<Duration>) -> Self {
        Self { backend: backend.clone(), cause, status: None, message, retry_after, used: None, body: None }
    }

    /// Whether the provider may bill the attempt although no answer came: it had the request and may have worked on it.
    /// 504 and 524 are a proxy's word that it gave up waiting for a model that goes on.
    pub const fn may_be_billed(&self) -> bool {
        self.cause.may_be_billed() || matches!(self.status, Some(504 | 524))
    }
}

/// A plan that was walked without an answer.
#[derive(Debug, Clone)]
pub struct RunFailure {
    pub failures: Vec<AttemptFailure>,
    pub stopped: Stopped,
}

impl RunFailure {
    /// Whether everybody who was to be asked could not be told the request.
    pub fn told_nobody(&self) -> bool {
        !self.failures.is_empty() && self.failures.iter().all(|failure| failure.cause == Cause::Untranslatable)
    }

    /// The failures of those who could be told the request; all where nobody could.
    pub fn telling(&self) -> impl Iterator<Item = &AttemptFailure> {
        let could = |failure: &&AttemptFailure| failure.cause != Cause::Untranslatable;
        let any = self.failures.iter().any(|failure| could(&failure));
        self.failures.iter().filter(move |failure| !any || could(failure))
    }

    /// What the client is told: the refusal that ended the run, else the last of them. Of a race others may fail after that one.
    pub fn decisive(&self) -> Option<&AttemptFailure> {
        let refusals = self.telling().filter(|failure| self.stopped == Stopped::Refused && !failure.cause.another_may_help());
        refusals.last().or_else(|| self.telling().last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a storm: the client was told 400 and the cause of the one that failed last.
    #[test]
    fn of_a_race_the_refusal_is_told_and_not_what_failed_after_it() {
        let failed = |cause| AttemptFailure::idle(&BackendId::new("east", "jade"), cause, String::new(), None);
        let refusal = Cause::Provider(ErrorClass::BadRequest);
        let failures: Vec<AttemptFailure> = [Cause::Timeout, refusal, Cause::Broken].map(failed).into();
        let check = |stopped, expected| {
            let run = RunFailure { failures: failures.clone(), stopped };
            assert_eq!(run.decisive().map(|failure| failure.cause), Some(expected), "{stopped:?}");
        };
        check(Stopped::Refused, refusal);
        check(Stopped::Exhausted, Cause::Broken);
    }
}
