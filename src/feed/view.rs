//! The feed in words and money: what is sent as JSON, and what page and terminal draw. Made when somebody reads.
//!
//! Amounts are decimal strings with every digit that counts: a JSON number would be read as a float. Whatever a client or
//! an operator named passes [`plain`] and is cut to [`MOST_TEXT`] characters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::{End, Entry, FailedTry, Planned, Refusal, Subject};
use super::ring::{BackendSums, Changes, Totals, Yardstick};
use super::words::plain;
use crate::ledger::{Ending, Outcome, SettledAttempt};
use crate::route::Candidate;
use crate::units::{BackendId, Usd};

/// How many candidates are shown from the best on; the dearest and the one that answered come beside them.
const MOST_CANDIDATES: usize = 4;
/// How much of a name is shown, in characters.
const MOST_TEXT: usize = 120;

/// Dollars as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Money(pub Usd);

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.0.to_exact()
    }
}

impl TryFrom<String> for Money {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix('-') {
            Some(size) => Usd::parse(size).map(|size| Self(Usd::ZERO - size)),
            None => Usd::parse(&text).map(Self),
        }
    }
}

/// Everything that can be seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    pub gateway: GatewayView,
    /// Since the start.
    pub totals: TotalsView,
    /// Since the start, the one that most was spent on first.
    pub backends: Vec<BackendView>,
    /// The newest first.
    pub entries: Vec<EntryView>,
    /// To be asked for what comes after this: `?since=`.
    pub sequence: u64,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// The program's version.
    pub version: String,
    /// The state of the price and capability table in force.
    pub table: String,
    /// `http://address:port` of the API.
    pub api: String,
    /// The same of the operations listener.
    pub operations: String,
    /// When it began to serve (RFC 3339, UTC).
    pub started: String,
    pub uptime_seconds: u64,
    /// Providers that can be asked.
    pub providers_on: usize,
    /// Providers of the table that cannot: without a key, or switched off.
    pub providers_off: usize,
    /// The backend that savings are told against, where one is configured.
    pub baseline: Option<String>,
    /// The providers are pretend ones.
    pub sandbox: bool,
    /// Clients need a gateway key.
    pub keyed: bool,
}

/// Sums since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsView {
    pub requests: u64,
    pub open: u64,
    pub answered: u64,
    pub refused: u64,
    pub failovers: u64,
    pub spent_usd: Money,
    /// Against the configured baseline; zero where there is none.
    pub baseline: YardstickView,
    /// Against the dearest adequate backend, for requests without a baseline.
    pub dearest: YardstickView,
}

/// A comparison over answered requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct YardstickView {
    /// What the same tokens would have cost there.
    pub elsewhere_usd: Money,
    /// What these requests did cost.
    pub spent_usd: Money,
    pub saved_usd: Money,
}

/// One backend's sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    pub backend: String,
    pub answered: u64,
    pub failed: u64,
    pub spent_usd: Money,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way.
    Open,
    Answered,
    /// No attempt was answered.
    Failed,
    /// The answer broke off.
    Cut,
    /// The client left.
    Abandoned,
    /// The gateway itself said no.
    Refused,
    /// The gateway ended before the request.
    Lost,
}

impl State {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            State::Open => "under way",
            State::Answered => "answered",
            State::Failed => "failed",
            State::Cut => "cut",
            State::Abandoned => "client left",
            State::Refused => "refused",
            State::Lost => "lost",
        }
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => State::Answered,
            Outcome::Failed => State::Failed,
            Outcome::Cut => State::Cut,
            Outcome::Abandoned => State::Abandoned,
            Outcome::Refused => State::Refused,
            Outcome::Lost => State::Lost,
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// 1, 2, 3… since the start.
    pub number: u64,
    pub request_id: String,
    /// The client's own id for it.
    pub client_request_id: Option<String>,
    /// When it arrived (RFC 3339, UTC).
    pub at: String,
    /// The name of the key that asked.
    pub key: String,
    /// The model that was asked for.
    pub model: Option<String>,
    pub stream: bool,
    pub state: State,
    /// Why the gateway refused, in one word.
    pub refusal: Option<String>,
    /// Which backends were excluded, by rule, the most frequent first.
    pub excluded: Vec<CountView>,
    pub plan: Option<PlanView>,
    /// Attempts that did not answer, in their order.
    pub tries: Vec<TryView>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// What all attempts cost, once it has ended.
    pub cost_usd: Option<Money>,
    /// What the same tokens would have cost at the baseline, or at the dearest adequate backend where none is set.
    pub elsewhere_usd: Option<Money>,
    pub saved_usd: Option<Money>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Where the token counts come from: `reported`, `counted` or `estimated`.
    pub provenance: Option<String>,
    pub first_byte_ms: Option<u64>,
    pub duration_ms: Option<u64>,
    /// The status the client got.
    pub status: Option<u16>,
}

/// How many backends a rule excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountView {
    pub rule: String,
    pub count: usize,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The state of the table.
    pub table: String,
    /// How many backends were adequate.
    pub adequate: usize,
    /// How many were considered.
    pub considered: usize,
    /// The best ones, the one that answered and the dearest, in the order of their rank.
    pub candidates: Vec<CandidateView>,
}

/// An adequate backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    pub backend: String,
    /// 1 is the best.
    pub rank: usize,
    pub expected_usd: Money,
    /// It has the highest expected cost of all.
    pub dearest: bool,
}

/// An attempt that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryView {
    pub backend: String,
    /// What went wrong, in one word.
    pub cause: String,
    /// The provider's HTTP status, where it had one.
    pub status: Option<u16>,
    pub cost_usd: Money,
}

impl Changes {
    /// Everything that is here, in words, at most `most` entries.
    pub fn overview(&self, gateway: GatewayView, most: usize) -> Overview {
        Overview {
            gateway,
            totals: TotalsView::from(self.totals),
            backends: self.backends(),
            entries: self.entries.iter().rev().take(most).map(|entry| EntryView::of(entry)).collect(),
            sequence: self.mark.sequence(),
        }
    }

    /// The backends' sums, the one that most was spent on first.
    pub fn backends(&self) -> Vec<BackendView> {
        let mut sums: Vec<&(BackendId, BackendSums)> = self.backends.iter().collect();
        sums.sort_by_key(|(_, sums)| (std::cmp::Reverse(sums.spent), std::cmp::Reverse(sums.answered)));
        let view = |(id, sums): &(BackendId, BackendSums)| BackendView {
            backend: short(id.as_str()),
            answered: sums.answered,
            failed: sums.failed,
            spent_usd: Money(sums.spent),
        };
        sums.into_iter().map(view).collect()
    }
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> Self {
        let Totals { requests, open, answered, refused, failovers, spent, baseline, dearest } = totals;
        let (baseline, dearest) = (baseline.into(), dearest.into());
        Self { requests, open, answered, refused, failovers, spent_usd: Money(spent), baseline, dearest }
    }
}

impl From<Yardstick> for YardstickView {
    fn from(yardstick: Yardstick) -> Self {
        let Yardstick { elsewhere, spent } = yardstick;
        Self { elsewhere_usd: Money(elsewhere), spent_usd: Money(spent), saved_usd: Money(yardstick.saved()) }
    }
}

impl TryView {
    /// It lost a race to another attempt, rather than failing.
    pub fn outrun(&self) -> bool {
        self.cause == Ending::Superseded.word()
    }
}

impl EntryView {
    /// One entry in words.
    pub fn of(entry: &Entry) -> Self {
        match &entry.subject {
            Subject::Planned(planned) => Self::planned(entry, planned),
            Subject::Refused(refusal) => Self::refused(entry.number, refusal),
        }
    }

    fn planned(entry: &Entry, planned: &Planned) -> Self {
        let opened = &planned.opened;
        let finished = entry.end.get();
        let end = finished.map(|finished| &finished.end);
        let answered = end.and_then(End::answered);
        let last = answered.or(end.and_then(|end| end.attempts.last()));
        let elsewhere = finished.and_then(|finished| finished.end.baseline.or(finished.dearest));
        let cost = end.map(|end| end.cost);
        Self {
            number: entry.number,
            request_id: opened.id.to_string(),
            client_request_id: opened.client_request_id.as_deref().map(short),
            at: opened.arrived_at.to_string(),
            key: short(opened.key.as_str()),
            model: Some(short(&opened.requested_model)),
            stream: opened.stream,
            state: end.map_or(State::Open, |end| end.outcome.into()),
            refusal: None,
            excluded: counts(&planned.plan.rejected.tally()),
            plan: Some(PlanView::of(planned, answered.map(|attempt| &attempt.backend))),
            tries: tries(entry.failures.get().map_or(&[], Vec::as_slice), end),
            answered_by: answered.map(|attempt| short(attempt.backend.as_str())),
            cost_usd: cost.map(Money),
            elsewhere_usd: elsewhere.map(Money),
            saved_usd: elsewhere.zip(cost).map(|(elsewhere, cost)| Money(elsewhere - cost)),
            input_tokens: last.map(|attempt| attempt.usage.input().get()),
            output_tokens: last.map(|attempt| attempt.usage.output.get()),
            provenance: last.map(|attempt| attempt.provenance.word().to_owned()),
            first_byte_ms: end.and_then(|end| end.first_byte).map(millis),
            duration_ms: end.map(|end| millis(end.took)),
            status: end.map(|end| end.status),
        }
    }

    fn refused(number: u64, refusal: &Refusal) -> Self {
        Self {
            number,
            request_id: refusal.id.to_string(),
            client_request_id: None,
            at: refusal.at.to_string(),
            key: short(refusal.key.as_str()),
            model: refusal.model.as_deref().map(short),
            stream: false,
            state: State::Refused,
            refusal: Some(refusal.reason.to_owned()),
            excluded: counts(&refusal.excluded),
            plan: None,
            tries: Vec::new(),
            answered_by: None,
            cost_usd: None,
            elsewhere_usd: None,
            saved_usd: None,
            input_tokens: None,
            output_tokens: None,
            provenance: None,
            first_byte_ms: None,
            duration_ms: None,
            status: None,
        }
    }

    /// An attempt failed before another one answered.
    pub fn moved_on(&self) -> bool {
        self.state == State::Answered && self.tries.iter().any(|tried| !tried.outrun())
    }

    /// The best candidate that is not the one that answers.
    pub fn runner_up(&self) -> Option<&CandidateView> {
        let plan = self.plan.as_ref()?;
        let winner = self.winner()?;
        plan.candidates.iter().find(|candidate| candidate.backend != winner)
    }

    /// Who answered, or, as long as nobody has, who is asked first.
    pub fn winner(&self) -> Option<&str> {
        let first = || self.plan.as_ref()?.candidates.first().map(|first| first.backend.as_str());
        self.answered_by.as_deref().or_else(first)
    }
}

impl PlanView {
    fn of(planned: &Planned, answered: Option<&BackendId>) -> Self {
        let Planned { plan, snapshot, .. } = planned;
        let id = |candidate: &Candidate| &snapshot.backend(candidate.backend).id;
        let several = plan.adequate > 1;
        let view = |(rank, candidate): (usize, &Candidate)| CandidateView {
            backend: short(id(candidate).as_str()),
            rank,
            expected_usd: Money(candidate.quote.expected),
            dearest: several && candidate.backend == plan.dearest.backend,
        };
        let shown = |(rank, candidate): &(usize, &Candidate)| {
            *rank <= MOST_CANDIDATES || candidate.backend == plan.dearest.backend || answered == Some(id(candidate))
        };
        // The dearest stands behind all others, though risks may have placed it elsewhere: nobody looked for its true place.
        let mut candidates: Vec<CandidateView> = (1..).zip(&plan.candidates).filter(shown).map(view).collect();
        if plan.candidates.iter().all(|candidate| candidate.backend != plan.dearest.backend) {
            candidates.push(view((plan.adequate, &plan.dearest)));
        }
        Self {
            table: planned.opened.book_version.clone(),
            adequate: plan.adequate,
            considered: plan.adequate + plan.rejected.count(),
            candidates,
        }
    }
}

/// What did not answer: attempts that were sent, with what each cost, and those that were not even tried.
fn tries(failures: &[FailedTry], end: Option<&End>) -> Vec<TryView> {
    let attempts: &[SettledAttempt] = end.map_or(&[], |end| &end.attempts);
    let mut others: Vec<&SettledAttempt> = attempts.iter().filter(|attempt| attempt.ending != Ending::Complete).collect();
    let failed = failures.iter().map(|failure| {
        // A backend may have been asked twice, one attempt after the other: each failure takes the first that is left.
        let place = others.iter().position(|attempt| attempt.backend == failure.backend);
        TryView {
            backend: short(failure.backend.as_str()),
            cause: failure.cause.to_owned(),
            status: failure.status,
            cost_usd: Money(place.map_or(Usd::ZERO, |place| others.remove(place).cost.usd)),
        }
    });
    let mut tries: Vec<TryView> = failed.collect();
    tries.extend(others.into_iter().map(|attempt| TryView {
        backend: short(attempt.backend.as_str()),
        cause: attempt.ending.word().to_owned(),
        status: None,
        cost_usd: Money(attempt.cost.usd),
    }));
    tries
}

fn counts(tally: &[(&'static str, usize)]) -> Vec<CountView> {
    tally.iter().map(|(rule, count)| CountView { rule: (*rule).to_owned(), count: *count }).collect()
}

fn short(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
