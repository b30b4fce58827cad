//! One request in the feed: handles to what was decided, and what became of it.

use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::Snapshot;
use crate::dispatch::AttemptFailure;
use crate::ledger::{Ending, Outcome, RequestOpened, SettledAttempt};
use crate::route::{Candidate, Decision, Kept, Node, Plan};
use crate::units::{BackendId, KeyName, RequestId, Usd};

/// What an entry takes beside its lists and texts: itself, the plan and the opened page.
const FIXED_BYTES: usize = 2048;
/// More attempts than a plan may have (`routing.max_attempts`).
const MOST_ATTEMPTS: usize = 16;

/// A request that was planned: what exists of it anyway.
#[derive(Debug)]
pub struct Planned {
    /// The first line of its page in the books.
    pub opened: Arc<RequestOpened>,
    pub plan: Arc<Plan>,
    /// The table that the plan's indexes belong to.
    pub snapshot: Arc<Snapshot>,
    /// What the decision was made from, where the books do not keep it.
    pub facts: Vec<u8>,
}

/// A request that the gateway itself refused.
#[derive(Debug)]
pub struct Refusal {
    pub id: RequestId,
    pub at: Timestamp,
    pub key: KeyName,
    /// The model that was asked for, where the request could be read.
    pub model: Option<String>,
    /// The reason in one word, as metrics have it.
    pub reason: &'static str,
    /// Where no backend was adequate: how many each rule excluded.
    pub excluded: Vec<(&'static str, usize)>,
}

/// How a planned request ended.
#[derive(Debug)]
pub struct End {
    pub outcome: Outcome,
    /// The status the client got.
    pub status: u16,
    /// From sending to the first meaningful byte.
    pub first_byte: Option<Duration>,
    /// From arrival to end.
    pub took: Duration,
    /// What all attempts cost.
    pub cost: Usd,
    /// What the answer's tokens would have cost at the configured baseline; absent without one, or without an answer.
    pub baseline: Option<Usd>,
    /// Every attempt that was sent.
    pub attempts: Vec<SettledAttempt>,
}

impl End {
    /// The attempt whose answer the client got whole.
    pub fn answered(&self) -> Option<&SettledAttempt> {
        self.attempts.iter().rev().find(|attempt| attempt.ending == Ending::Complete)
    }
}

/// An attempt that did not answer, without a word of what the provider said.
#[derive(Debug)]
pub(super) struct FailedTry {
    pub(super) backend: BackendId,
    pub(super) cause: &'static str,
    pub(super) status: Option<u16>,
}

impl From<&AttemptFailure> for FailedTry {
    fn from(failure: &AttemptFailure) -> Self {
        Self { backend: failure.backend.clone(), cause: failure.cause.word(), status: failure.status }
    }
}

/// What an entry is about.
#[derive(Debug)]
pub(super) enum Subject {
    Planned(Planned),
    Refused(Refusal),
}

/// One request in the feed.
#[derive(Debug)]
pub struct Entry {
    /// 1, 2, 3… since the start.
    pub(super) number: u64,
    pub(super) subject: Subject,
    /// About how much memory it keeps, its table left out.
    pub(super) bytes: usize,
    /// The feed's sequence when it changed last.
    changed: AtomicU64,
    pub(super) failures: OnceLock<Vec<FailedTry>>,
    pub(super) end: OnceLock<Finished>,
}

/// An end, with what it is compared with.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) end: End,
    /// Where no baseline is configured: what the answer's tokens would have cost at the dearest adequate backend.
    pub(super) dearest: Option<Usd>,
}

impl Entry {
    pub(super) fn new(number: u64, subject: Subject, changed: u64) -> Self {
        let bytes = FIXED_BYTES + subject.bytes();
        Self { number, subject, bytes, changed: AtomicU64::new(changed), failures: OnceLock::new(), end: OnceLock::new() }
    }

    pub(super) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn touch(&self, sequence: u64) {
        self.changed.store(sequence, Ordering::Relaxed);
    }

    /// What was decided, where the request came so far.
    pub(super) fn planned(&self) -> Option<&Planned> {
        match &self.subject {
            Subject::Planned(planned) => Some(planned),
            Subject::Refused(_) => None,
        }
    }

    /// The table that it keeps alive.
    pub(super) fn table(&self) -> Option<&Arc<Snapshot>> {
        self.planned().map(|planned| &planned.snapshot)
    }
}

impl Subject {
    /// What its lists and texts take.
    fn bytes(&self) -> usize {
        match self {
            Subject::Planned(planned) => planned.bytes(),
            Subject::Refused(refusal) => refusal.model.as_ref().map_or(0, String::len),
        }
    }
}

impl Planned {
    /// The whole decision, made once more.
    pub(super) fn decision(&self) -> Option<Decision> {
        let facts = if self.facts.is_empty() { &self.opened.facts } else { &self.facts };
        Kept::read(facts, &self.snapshot).ok().map(|kept| kept.decision(&self.snapshot))
    }

    fn bytes(&self) -> usize {
        let Self { opened, plan, snapshot: _, facts } = self;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = opened.facts.capacity()
            + facts.capacity()
            + opened.requested_model.len()
            + text(&opened.client_request_id)
            + text(&opened.session);
        let attempt = size_of::<Node>() + size_of::<SettledAttempt>() + size_of::<FailedTry>();
        plan.candidates.capacity() * size_of::<Candidate>() + plan.candidates.len().min(MOST_ATTEMPTS) * attempt + texts
    }

    /// What these tokens would have cost at the dearest adequate backend.
    pub(super) fn at_the_dearest(&self, answered: &SettledAttempt) -> Option<Usd> {
        let Candidate { backend, quote, .. } = &self.plan.dearest;
        let (_, sheet) = self.snapshot.backend(*backend).prices.point(quote.price)?;
        quote.exchange_rate.convert(sheet.cost(&answered.usage, quote.thinking.of(&answered.usage)).amount)
    }
}
