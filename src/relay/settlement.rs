//! Ends one answer's page in the books exactly once, whatever happens to the client meanwhile.
//!
//! [`Settlement::end`] is awaited before the last byte goes out, so that no answer outruns the books. When the client
//! leaves first, dropping the settlement sends the same ending on its way in a task of its own. What a provider did not
//! report is counted off the reactor; a broken stream is never booked at zero in silence.

use std::ops::Add;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::counting::{self, Sample};
use super::desk::Desk;
use super::media::{self, Media};
use super::reports::{self, Compared, Written};
use super::served::Change;
use crate::canonical::Shape;
use crate::catalog::TokenizerFamily;
use crate::dispatch::opening::Frame;
use crate::dispatch::{BackendAttempt, Failure};
use crate::feed::{End, Shown};
use crate::in_place;
use crate::ledger::{AttemptEnd, Ending, LedgerError, OpenAttempt, Outcome, Pace, RequestEnd, SettledAttempt, Tab, Terms};
use crate::meter::RunningCount;
use crate::meter::calibration::Factors;
use crate::meter::tokenizer::Count;
use crate::meter::usage::{Heard, Metered, completed, metered};
use crate::policy::{Budgets, Hold, OverBudget, Passage, Place, ShareHold, Standing as RateStanding};
use crate::tasks::Tasks;
use crate::telemetry::{OpenRequest, Route, Settled};
use crate::units::{BackendId, KeyName, Pieces, Provenance, Thinking, Tokens, Usage, Usd};

/// The status that stands in the books for a client that left: it got none.
const CLIENT_LEFT: u16 = 499;

/// A backend to compare with: what the same tokens would have cost there.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub backend: BackendId,
    pub terms: Terms,
}

/// One request's standing: its page, the money held for it, its place among the requests under way. Dropped before it
/// was closed, it closes itself as abandoned.
pub struct Account {
    desk: Arc<Desk>,
    key: KeyName,
    route: Route,
    arrived: Duration,
    overhead: Duration,
    baseline: Option<Comparison>,
    shown: Shown,
    /// Taken by the closing.
    open: Option<Standing>,
}

/// What an account begins with.
pub struct AccountOpening {
    pub key: KeyName,
    /// The path that the request came by.
    pub route: Route,
    /// When the request arrived, on the monotonic clock.
    pub arrived: Duration,
    pub tab: Arc<Tab>,
    pub hold: Hold,
    pub place: Place,
    /// What it takes of what may be asked in a minute.
    pub passage: Passage,
    /// What the request is compared with.
    pub baseline: Option<Comparison>,
    /// Its place in the feed.
    pub shown: Shown,
}

struct Standing {
    tab: Arc<Tab>,
    hold: Hold,
    /// What its attempts count for their providers' shares, by their numbers on the page.
    shares: Mutex<Vec<(u32, ShareHold)>>,
    place: Place,
    passage: Passage,
    counted: OpenRequest,
}

impl Account {
    /// In a box, as it is handed from step to step.
    pub fn open(desk: Arc<Desk>, opening: AccountOpening) -> Box<Self> {
        let AccountOpening { key, route, arrived, tab, hold, place, passage, baseline, shown } = opening;
        let overhead = desk.clock.monotonic().saturating_sub(arrived);
        desk.metrics.overhead(overhead);
        let counted = desk.metrics.open_request();
        in_place::boxed(|| Self {
            desk,
            key,
            route,
            arrived,
            overhead,
            baseline,
            shown,
            open: Some(Standing { tab, hold, shares: Mutex::default(), place, passage, counted }),
        })
    }

    /// Makes sure that this much is held for the request, or says why not.
    pub fn cover(&self, wanted: Usd, now: Timestamp) -> Result<(), Box<OverBudget>> {
        self.open.as_ref().map_or(Ok(()), |standing| standing.hold.cover(wanted, now))
    }

    /// What is held too little for this much, and of which budgets.
    pub fn lacks(&self, wanted: Usd) -> Option<(Arc<Budgets>, Usd)> {
        self.open.as_ref().and_then(|standing| standing.hold.lacks(wanted))
    }

    /// Counts the attempt of this number, which is about to be sent, for its provider's share until the request ends.
    pub fn share(&self, attempt: u32, share: ShareHold) {
        if let Some(standing) = &self.open {
            let mut shares = standing.shares.lock().unwrap_or_else(PoisonError::into_inner);
            // Most requests are answered by the first who is asked.
            if shares.is_empty() {
                shares.reserve_exact(1);
            }
            shares.push((attempt, share));
        }
    }

    /// How the tightest limits stood when the request was let in.
    pub fn standing(&self) -> RateStanding {
        self.open.as_ref().map_or_else(RateStanding::default, |open| open.passage.standing())
    }

    /// The request's place in the feed.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Closes the page, settles the hold and tells the metrics; returns when the books have it. Answers what the whole
    /// request cost.
    pub async fn close(
        mut self: Box<Self>,
        outcome: Outcome,
        status: u16,
        first_byte: Option<Duration>,
    ) -> Result<Usd, LedgerError> {
        let Some(standing) = self.open.take() else { return Ok(Usd::ZERO) };
        let (cost, tab) = self.settle(standing, outcome, status, first_byte);
        tab.journaled().await.map(|()| cost)
    }

    /// All but the wait, in one step: a client that leaves while its end is being written must not turn a hold into
    /// nothing spent.
    fn settle(&self, standing: Standing, outcome: Outcome, status: u16, first_byte: Option<Duration>) -> (Usd, Arc<Tab>) {
        let Standing { tab, hold, shares, place, passage, counted } = standing;
        let (now, at) = (self.desk.clock.monotonic(), self.desk.clock.wall());
        let took = now.saturating_sub(self.arrived);
        tab.end(RequestEnd {
            outcome,
            status,
            first_byte_ms: first_byte.map(millis),
            duration_ms: millis(took),
            overhead_us: u64::try_from(self.overhead.as_micros()).unwrap_or(u64::MAX),
        });
        let cost = tab.spent();
        hold.settle(cost, at);
        let attempts = tab.settled_attempts();
        let tokens = |attempt: &SettledAttempt| attempt.usage.input() + attempt.usage.output;
        passage.end(attempts.iter().map(tokens).fold(Tokens::ZERO, Add::add), now);
        settle_shares(shares.into_inner().unwrap_or_else(PoisonError::into_inner), &attempts, at);
        let baseline = self.tell(outcome, &attempts);
        self.shown.end(End { outcome, status, first_byte, took, cost, baseline, attempts });
        drop((place, counted));
        (cost, tab)
    }

    /// Tells the metrics; answers what the answer would have cost at the baseline.
    fn tell(&self, outcome: Outcome, attempts: &[SettledAttempt]) -> Option<Usd> {
        let metrics = &self.desk.metrics;
        for attempt in attempts {
            metrics.settled(&Settled {
                backend: &attempt.backend,
                key: &self.key,
                usage: &attempt.usage,
                provenance: attempt.provenance,
                ending: attempt.ending,
                cost: attempt.cost.usd,
                quoted: attempt.quoted,
                held: attempt.held,
            });
        }
        let answered = attempts.iter().rev().find(|a| a.ending == Ending::Complete);
        metrics.request(self.route, answered.or(attempts.last()).map(|a| &a.backend), outcome);
        let baseline = self.baseline.as_ref()?;
        let answered = answered?;
        let (cost, _) = baseline.terms.cost(&answered.usage, Thinking::Unsaid, answered.course);
        let cost = cost.usd;
        metrics.baseline(&baseline.backend, &self.key, cost);
        Some(cost)
    }
}

/// Turns what attempts held of their providers' shares into what they cost. By number, as a backend may have been asked twice.
fn settle_shares(shares: Vec<(u32, ShareHold)>, attempts: &[SettledAttempt], at: Timestamp) {
    for (number, share) in shares {
        let cost = attempts.iter().find(|attempt| attempt.number == number).map(|attempt| attempt.cost.usd);
        share.settle(cost.unwrap_or(Usd::ZERO), at);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(standing) = self.open.take() {
            self.settle(standing, Outcome::Abandoned, CLIENT_LEFT, None);
        }
    }
}

/// An answer that came whole, as it was booked.
#[derive(Debug, Clone, Copy)]
pub struct WholeAnswer {
    pub usage: Usage,
    pub provenance: Provenance,
    /// A choice was cut for its length.
    pub too_long: bool,
    /// Its backend's reports are out of their usual band: nothing is to be learned from it.
    pub flagged: bool,
    /// When it ended, in seconds since the Unix epoch.
    pub at: u64,
}

/// Told of an answer that came whole.
pub type Learn = Box<dyn FnOnce(&WholeAnswer) + Send + Sync>;

/// What the books must know of the attempt that answers.
pub struct AnswerBasis {
    pub backend: BackendId,
    /// The shape of the endpoint that was asked,
    pub endpoint: Shape,
    /// and the id that it was asked for the model by.
    pub asked_model: String,
    pub family: TokenizerFamily,
    /// What went out can say for how long a cache is to keep something, where the client said so.
    pub says_lifetimes: bool,
    /// The estimate of the input, where nothing better turns up.
    pub input_estimate: Tokens,
    /// The prompt, where a report of it can be compared with an estimate.
    pub compared: Option<Compared>,
    /// What was learned of the backend's answers.
    pub factors: Option<Factors>,
    /// The shape of the client's bytes.
    pub asked_in: Shape,
    /// The client's bytes, for an exact count of the prompt; empty where that does not read as it stands.
    pub prompt: Bytes,
    /// From sending to the first meaningful byte.
    pub first_byte: Duration,
    /// When the attempt was sent, on the monotonic clock.
    pub sent: Duration,
    /// Whether it thinks, as far as that was decided before.
    pub thinking: Thinking,
    /// What is to be billed by the piece, where nobody tells it; nothing where the price does not go by it.
    pub pieces: Pieces,
    /// How it is metered where it is images, sound or what was heard.
    pub media: Option<Media>,
    /// Learns from it if it comes whole.
    pub learn: Learn,
}

impl AnswerBasis {
    /// The tokens of an answer so far, estimated as the backend would report them.
    fn written(&self, running: &RunningCount) -> Tokens {
        let estimate = running.expected(self.family);
        self.factors.map_or(estimate, |factors| factors.of(running.profile(), estimate))
    }

    /// Whether a report says what was used. Where no model writes, it has to name what the price goes by: tokens, unless that is
    /// pieces.
    fn is_report(&self, usage: &Usage) -> bool {
        let by_piece = self.pieces.expected > 0;
        self.endpoint.writes() || usage.input() > Tokens::ZERO || (by_piece && usage.pieces > 0)
    }
}

/// The end of one answer, still to come.
pub struct Settlement {
    /// In a box, since it is handed on at every step of its end.
    open: Option<Box<OpenAnswer>>,
}

struct OpenAnswer {
    page: Box<OpenAttempt>,
    account: Box<Account>,
    running: RunningCount,
    turn: BackendAttempt,
    reported: Option<Usage>,
    /// The report says for how long a cache keeps what was written to it.
    lifetimes_told: bool,
    reasoning_bytes: u64,
    served_model: Option<String>,
    too_long: bool,
    /// What the backend's health learns if the answer is cut.
    lesson: Option<Failure>,
    /// Nobody gets what is still to come.
    client_left: bool,
    basis: AnswerBasis,
}

impl Settlement {
    pub fn new(
        page: Box<OpenAttempt>,
        account: Box<Account>,
        running: RunningCount,
        turn: BackendAttempt,
        basis: AnswerBasis,
    ) -> Self {
        let lesson = Some(Failure::Cut);
        Self {
            open: Some(in_place::boxed(|| OpenAnswer {
                page,
                account,
                running,
                turn,
                reported: None,
                lifetimes_told: false,
                reasoning_bytes: 0,
                served_model: None,
                too_long: false,
                lesson,
                client_left: false,
                basis,
            })),
        }
    }

    /// Takes the next piece of the answer's text.
    pub fn add_text(&mut self, piece: &str) {
        if let Some(open) = &mut self.open {
            open.running.add(piece);
        }
    }

    /// Takes what the provider reports, and whether that says for how long a cache keeps what was written to it; a later
    /// report replaces an earlier one.
    pub fn reported(&mut self, usage: Option<Usage>, lifetimes_told: bool) {
        if let (Some(open), Some(usage)) = (&mut self.open, usage)
            && open.basis.is_report(&usage)
        {
            (open.reported, open.lifetimes_told) = (Some(usage), lifetimes_told);
        }
    }

    /// Takes how many bytes of the answer's text were reasoning.
    pub fn heard_reasoning(&mut self, bytes: u64) {
        if let Some(open) = &mut self.open {
            open.reasoning_bytes = open.reasoning_bytes.saturating_add(bytes);
        }
    }

    /// Takes the model that the provider says it serves; what says nothing changes nothing.
    pub fn served_model(&mut self, model: Option<String>) {
        if let (Some(open), Some(model)) = (&mut self.open, model) {
            open.served_model = Some(model);
        }
    }

    /// Takes that a choice was cut for its length.
    pub fn too_long(&mut self, too_long: bool) {
        if let Some(open) = &mut self.open {
            open.too_long |= too_long;
        }
    }

    /// Says what the backend's health learns if the answer now ends cut; nothing where the backend is not to blame.
    pub fn cut_teaches(&mut self, lesson: Option<Failure>) {
        if let Some(open) = &mut self.open {
            open.lesson = lesson;
        }
    }

    /// The client is not there any more: however the answer ends, the request is abandoned. Answers where to run what goes on without it.
    pub fn client_left(&mut self) -> Option<Tasks> {
        let open = self.open.as_mut()?;
        open.client_left = true;
        Some(open.account.desk.tasks.clone())
    }

    /// Takes what was told by the frames that were held back until the answer began, should it end before they go out; and checkpoints.
    pub async fn begins(&mut self, held: &[Frame]) -> Result<(), LedgerError> {
        for frame in held {
            self.reported(frame.facts.usage, frame.facts.lifetimes_told);
        }
        self.checkpoint().await
    }

    /// Checkpoints the running count, where it is time to; waits where the journal has fallen too far behind.
    pub async fn checkpoint(&mut self) -> Result<(), LedgerError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let usage = match &open.basis.media {
            Some(media) => media.metered(open.reported).usage,
            None => seen(open.reported, open.basis.input_estimate, open.basis.written(&open.running)),
        };
        let provenance = if open.reported.is_some() { Provenance::Reported } else { Provenance::Estimated };
        match open.page.progress(usage, provenance) {
            Pace::Go => Ok(()),
            Pace::Wait => open.page.caught_up().await,
        }
    }

    /// Settles: the attempt's end and the request's are journaled when this returns. Answers what the request cost.
    pub async fn end(mut self, ending: Ending) -> Result<Usd, LedgerError> {
        match self.open.take() {
            Some(open) => open.end(ending).await,
            None => Ok(Usd::ZERO),
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let tasks = open.account.desk.tasks.clone();
        tasks.spawn("settle an abandoned answer", async move {
            if let Err(error) = open.end(Ending::Abandoned).await {
                tracing::error!(%error, "an abandoned answer is not in the books yet");
            }
        });
    }
}

impl OpenAnswer {
    async fn end(self: Box<Self>, ending: Ending) -> Result<Usd, LedgerError> {
        // What is left stays in its box: should this be dropped midway, the page goes before the account, which then closes what
        // has ended.
        let mut open = self;
        let heard = open.heard();
        report(open.turn, ending, open.lesson);
        let desk = Arc::clone(&open.account.desk);
        let (basis, reported) = (&open.basis, open.reported);
        // Before anything is counted: some vendors price by the instant at which an answer was complete.
        let now = desk.clock.monotonic();
        let took = now.saturating_sub(basis.sent);
        let so_far = basis.written(&open.running);
        let text = *open.running.profile();
        let whole = |usage: &Usage| usage.output >= so_far || (ending == Ending::Complete && usage.output > Tokens::ZERO);
        let measured = match reported {
            _ if basis.media.is_some() => Metered::reported(Usage::default()),
            Some(usage) if whole(&usage) => metered(Some(usage), estimated(basis.input_estimate), estimated(so_far)),
            _ => {
                // Should the client leave while it is counted, the page is booked from this.
                let _ = open.page.progress(seen(reported, basis.input_estimate, so_far), Provenance::Estimated);
                Box::pin(counting::count(&desk, std::mem::take(&mut open.running), reported, basis)).await
            }
        };
        let measured = match (&basis.media, reported) {
            (Some(media), _) => media.metered(reported),
            (None, Some(_)) => {
                with_pieces(Metered { usage: completed(measured.usage, &heard), ..measured }, reported, basis.pieces)
            }
            (None, None) => {
                let usage = Usage { pieces: basis.pieces.expected, ..measured.usage };
                with_pieces(Metered { usage, ..measured }, None, basis.pieces)
            }
        };
        desk.metrics.upstream(&basis.backend, took);
        desk.metrics.attempt(&basis.backend, ending);
        let served_before = open.served_model.as_deref().and_then(|named| served_before(&desk, basis, named));
        let first_byte = basis.first_byte;
        let end = AttemptEnd {
            ending,
            usage: measured.usage,
            provenance: measured.provenance,
            served_model: open.served_model,
            served_before,
            http_status: Some(200),
            cause: None,
            first_byte_ms: Some(millis(first_byte)),
            duration_ms: millis(took),
            free: None,
        };
        let mut sample = None;
        if ending == Ending::Complete {
            let Metered { usage, provenance } = measured;
            let written = Written { text: &text, reasoning_bytes: open.reasoning_bytes };
            let reported = provenance == Provenance::Reported;
            let at = u64::try_from(desk.clock.wall().as_second()).unwrap_or(0);
            let flagged = reported && reports::heard(&desk, &open.basis, &open.page, &written, (&usage, at));
            if reported {
                let running = std::mem::take(&mut open.running);
                sample = Sample::of(&desk, &open.basis, (running, &usage), (open.reasoning_bytes, flagged), now);
            }
            (open.basis.learn)(&WholeAnswer { usage, provenance, too_long: open.too_long, flagged, at });
        }
        // Both ends are queued before either is waited for: one write of the journal carries them.
        open.page.settle(end);
        let outcome = if open.client_left { Outcome::Abandoned } else { outcome_of(ending) };
        let closed = open.account.close(outcome, 200, Some(first_byte)).await;
        if let Some(sample) = sample {
            desk.tasks.spawn("count a sample", sample.count(Arc::clone(&desk)));
        }
        closed
    }
}

impl OpenAnswer {
    /// What a report may leave unsaid.
    fn heard(&self) -> Heard {
        let Self { running, basis, reported, lifetimes_told, reasoning_bytes, .. } = self;
        // Where it was decided before, that decides how it is billed.
        let undecided = basis.thinking == Thinking::Unsaid;
        let written = reported.is_some_and(|usage| usage.cache_write > Tokens::ZERO);
        Heard {
            text_bytes: running.profile().bytes(),
            reasoning_bytes: if undecided { *reasoning_bytes } else { 0 },
            // The request is looked through only where it matters.
            long_writes: written && !lifetimes_told && basis.says_lifetimes && (self.account.desk.asks_long_cache)(&basis.prompt),
            pieces: basis.pieces.expected,
        }
    }
}

/// What the backend had named before, where this answer names another model: told in the log and the metrics.
fn served_before(desk: &Desk, basis: &AnswerBasis, named: &str) -> Option<String> {
    let (backend, asked) = (&basis.backend, &basis.asked_model);
    let Change { before, is_new } = desk.served.named(backend, basis.endpoint, asked, named)?;
    desk.metrics.model_changed(backend);
    if is_new {
        tracing::warn!(%backend, asked, before, named, "a provider serves another model under the same name");
    } else {
        tracing::info!(%backend, asked, before, named, "a provider serves a model again that it had changed");
    }
    Some(before)
}

/// What an answer has used so far. A report that came within a stream may be of its beginning only, so the output is never
/// less than what was counted.
pub(super) fn seen(reported: Option<Usage>, input_estimate: Tokens, counted: Tokens) -> Usage {
    match reported {
        Some(usage) => Usage { output: usage.output.max(counted), ..usage },
        None => Usage::fresh(input_estimate, counted),
    }
}

/// With where a usage comes from whose pieces may be ours: counted where they were known beforehand, else estimated.
fn with_pieces(metered: Metered, reported: Option<Usage>, pieces: Pieces) -> Metered {
    if pieces.expected == 0 || reported.is_some_and(|usage| usage.pieces > 0) {
        return metered;
    }
    Metered { provenance: metered.provenance.max(media::ours(pieces)), ..metered }
}

/// Tells the backend's health how its answer ended; a client that left teaches nothing about the backend.
fn report(turn: BackendAttempt, ending: Ending, lesson: Option<Failure>) {
    match (ending, lesson) {
        (Ending::Complete, _) => turn.succeeded(),
        (Ending::Cut | Ending::Failed | Ending::TimedOut, Some(lesson)) => turn.failed(lesson, None),
        (Ending::Cut | Ending::Failed | Ending::TimedOut, None) | (Ending::Abandoned | Ending::Superseded | Ending::Lost, _) => {
            drop(turn);
        }
    }
}

pub(super) fn estimated(tokens: Tokens) -> Count {
    Count { tokens, provenance: Provenance::Estimated }
}

fn outcome_of(ending: Ending) -> Outcome {
    match ending {
        Ending::Complete => Outcome::Answered,
        Ending::Cut => Outcome::Cut,
        Ending::Abandoned | Ending::Superseded => Outcome::Abandoned,
        Ending::Failed | Ending::TimedOut => Outcome::Failed,
        Ending::Lost => Outcome::Lost,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
