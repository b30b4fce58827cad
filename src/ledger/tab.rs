//! One request's open page, and the guards of its attempts.
//!
//! Every end happens exactly once. An attempt is ended by its caller, or by dropping the guard; a request by its caller,
//! or by dropping the tab. A drop never blocks and never loses: it queues the end, and ends are never refused.
//!
//! Nothing is written sooner than somebody waits for it, but for the opening of an attempt: so that the wait for the
//! provider hides the write.
//!
//! Order matters to a kill: tell [`OpenAttempt::progress`] of the first frame before awaiting [`Tab::journaled`], and of
//! every frame before it goes to the client. Then what a client saw is never more than the journal plus a margin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::LedgerError;
use super::codec;
use super::entry::{
    AttemptEnd, AttemptOpened, ClosedAttempt, ClosedRequest, Ending, LEAD_TOKENS, Outcome, Purse, RequestEnd, RequestOpened,
    SettledAttempt, clip,
};
use super::health::lock;
use super::journal::{Journal, Meaning, OpenedIn};
use crate::in_place;
use crate::units::{Course, Provenance, RequestId, Tokens, Usage, Usd};

/// A checkpoint is queued after this many output tokens, at half the lead that is allowed, so that it is normally
/// written before the lead is used up and nobody waits;
const CHECKPOINT_TOKENS: u64 = LEAD_TOKENS / 2;

/// or this long after the last one, when the count moved.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);

/// What a client that left is said to have got: the customary status for a closed request.
const CLIENT_LEFT: u16 = 499;

/// A request that has not ended yet, or of which an attempt has not.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    pub opened: Arc<RequestOpened>,
    /// Those that have ended.
    pub attempts: Vec<Arc<ClosedAttempt>>,
    pub open_attempts: usize,
    pub end: Option<RequestEnd>,
}

/// One request's open page. Dropping it unclosed closes it as abandoned.
pub struct Tab {
    page: Arc<Page>,
}

/// What is known of a request while it is open.
pub(super) struct Page {
    id: RequestId,
    opened: Arc<RequestOpened>,
    journal: Arc<Journal>,
    opened_in: OpenedIn,
    began: Duration,
    /// The number of the last record on this page.
    last: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attempts: Vec<Arc<ClosedAttempt>>,
    begun: u32,
    open: usize,
    end: Option<RequestEnd>,
}

impl Tab {
    pub(super) fn open(journal: &Arc<Journal>, opened: RequestOpened) -> Self {
        let page = Arc::new(Page {
            id: opened.id,
            opened: Arc::new(opened),
            journal: Arc::clone(journal),
            opened_in: OpenedIn::default(),
            began: journal.clock.monotonic(),
            last: AtomicU64::new(0),
            state: Mutex::default(),
        });
        let opens = Meaning::Opens(Arc::clone(&page.opened_in), page.id, Arc::downgrade(&page));
        page.push(opens, |out| codec::put_opened(out, &page.opened));
        Self { page }
    }

    /// Opens an attempt, just before it is sent. Not to be called after [`Tab::close`]. In a box, as it is handed from step to step.
    pub fn attempt(&self, opened: AttemptOpened) -> Box<OpenAttempt> {
        let page = Arc::clone(&self.page);
        let number = {
            let mut state = lock(&page.state);
            state.open += 1;
            state.begun += 1;
            state.begun - 1
        };
        page.push(Meaning::Plain, |out| codec::put_attempt_opened(out, page.id, number, &opened));
        let now = page.journal.clock.monotonic();
        in_place::boxed(|| OpenAttempt {
            page,
            number,
            opened: Some(opened),
            purse: None,
            started: now,
            sent: false,
            seen: None,
            safe_output: 0,
            queued: None,
            noted: None,
            checkpoint_at: now,
        })
    }

    /// Returns when everything on this page so far is in the journal: to be awaited before the first byte of an answer.
    pub async fn journaled(&self) -> Result<(), LedgerError> {
        self.page.journal.journaled(self.page.last.load(Ordering::Acquire)).await
    }

    /// Ends the request and returns when that is in the journal. Later calls only wait. On an error the end stays queued
    /// and is written when the disk recovers.
    pub async fn close(&self, end: RequestEnd) -> Result<(), LedgerError> {
        self.end(end);
        self.journaled().await
    }

    /// Ends the request without waiting for the journal. Later calls do nothing.
    pub fn end(&self, end: RequestEnd) {
        self.page.close(|| end);
    }

    /// The first line of the page.
    pub fn opened(&self) -> &Arc<RequestOpened> {
        &self.page.opened
    }

    /// What the attempts that have ended cost.
    pub fn spent(&self) -> Usd {
        lock(&self.page.state).attempts.iter().map(|attempt| attempt.cost.usd).sum()
    }

    /// The attempts that have ended, in the order they ended.
    pub fn settled_attempts(&self) -> Vec<SettledAttempt> {
        lock(&self.page.state).attempts.iter().map(|attempt| attempt.settled()).collect()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.page.close(|| RequestEnd {
            outcome: Outcome::Abandoned,
            status: CLIENT_LEFT,
            first_byte_ms: None,
            duration_ms: millis(self.page.journal.clock.monotonic().saturating_sub(self.page.began)),
            overhead_us: 0,
        });
    }
}

impl Page {
    fn push(&self, meaning: Meaning, encode: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let number = self.journal.push(meaning, encode);
        self.last.fetch_max(number, Ordering::AcqRel);
        number
    }

    fn close(&self, end: impl FnOnce() -> RequestEnd) {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        let end = end();
        state.end = Some(end);
        let closing = Meaning::closing(self.finished(&state), &self.opened_in);
        self.push(closing, |out| codec::put_closed(out, self.id, &end));
    }

    fn settle(
        &self,
        number: u32,
        opened: AttemptOpened,
        purse: Option<Box<dyn Purse>>,
        mut end: AttemptEnd,
    ) -> (SettledAttempt, u64) {
        let mut purse = purse;
        if let Some(purse) = &mut purse {
            end.free = purse.bear(&end.usage);
        }
        for text in [&mut end.cause, &mut end.served_model, &mut end.served_before].into_iter().flatten() {
            clip(text, 256);
        }
        let attempt = Arc::new(ClosedAttempt::settle(number, opened, end));
        if let Some(purse) = &mut purse {
            purse.pay(attempt.cost.amount);
        }
        let mut state = lock(&self.state);
        state.attempts.push(Arc::clone(&attempt));
        state.open -= 1;
        let closing = Meaning::closing(self.finished(&state), &self.opened_in);
        let written = self.push(closing, |out| codec::put_attempt_ended(out, self.id, number, &attempt.end));
        (attempt.settled(), written)
    }

    /// The request as it stands.
    pub(super) fn glance(&self) -> OpenRequest {
        let state = lock(&self.state);
        let attempts = state.attempts.clone();
        OpenRequest { opened: Arc::clone(&self.opened), attempts, open_attempts: state.open, end: state.end }
    }

    /// The whole request, once it and all its attempts have ended.
    fn finished(&self, state: &State) -> Option<ClosedRequest> {
        let end = state.end.filter(|_| state.open == 0)?;
        Some(ClosedRequest { opened: Arc::clone(&self.opened), end, attempts: state.attempts.clone() })
    }
}

/// Whether a stream may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a stream that does not wait may get further ahead of the books than the margin covers"]
pub enum Pace {
    /// The frame may go to the client now.
    Go,
    /// Await [`OpenAttempt::caught_up`] first.
    Wait,
}

/// A guard that ends one attempt exactly once. Dropping it books it as abandoned, from what was seen of its answer.
pub struct OpenAttempt {
    page: Arc<Page>,
    number: u32,
    /// Taken when the attempt ends.
    opened: Option<AttemptOpened>,
    /// Taken with it.
    purse: Option<Box<dyn Purse>>,
    started: Duration,
    sent: bool,
    /// The running count, once an answer has begun.
    seen: Option<(Usage, Provenance)>,
    /// The output of the last checkpoint that is in the journal.
    safe_output: u64,
    /// A checkpoint that is queued: its record's number and its output.
    queued: Option<(u64, u64)>,
    /// The usage and the time of the last checkpoint.
    noted: Option<Usage>,
    checkpoint_at: Duration,
}

impl OpenAttempt {
    /// 0, 1, 2… in the order the attempts of this request began.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Notes what bears the attempt beside the money held for it.
    pub fn borne_by(&mut self, purse: Box<dyn Purse>) {
        self.purse = Some(purse);
    }

    /// Notes that the request is on its way to the provider: from here on a drop books an estimate, not nothing.
    pub const fn sent(&mut self) {
        self.sent = true;
    }

    /// Notes the running count of the answer, including a frame that is not sent yet, and queues a checkpoint when one
    /// is due: always at the first call, then every so many tokens or milliseconds. Never blocks.
    pub fn progress(&mut self, usage: Usage, provenance: Provenance) -> Pace {
        self.seen = Some((usage, provenance));
        self.learn_what_is_safe();
        let output = usage.output.get();
        let now = self.page.journal.clock.monotonic();
        let moved = self.noted.is_some_and(|noted| noted != usage);
        let due = self.noted.is_none()
            || output >= self.safe_output.saturating_add(CHECKPOINT_TOKENS)
            || (moved && now.saturating_sub(self.checkpoint_at) >= CHECKPOINT_EVERY);
        if due && self.queued.is_none() {
            self.checkpoint(now);
        }
        if output > self.safe_output.saturating_add(LEAD_TOKENS) { Pace::Wait } else { Pace::Go }
    }

    /// Returns when the running count is in the journal.
    pub async fn caught_up(&mut self) -> Result<(), LedgerError> {
        let Some((usage, _)) = self.seen else {
            return Ok(());
        };
        let covered = self.queued.is_some_and(|(_, output)| output >= usage.output.get());
        if !covered && self.safe_output < usage.output.get() {
            self.checkpoint(self.page.journal.clock.monotonic());
        }
        if let Some((record, _)) = self.queued {
            self.page.journal.journaled(record).await?;
            self.learn_what_is_safe();
        }
        Ok(())
    }

    /// Ends the attempt and returns when that is in the journal. On an error the end stays queued, is written when the
    /// disk recovers, and stands in [`Tab::settled_attempts`].
    pub async fn end(mut self: Box<Self>, end: AttemptEnd) -> Result<SettledAttempt, LedgerError> {
        let Some(opened) = self.opened.take() else {
            return Err(LedgerError::Closed);
        };
        let (settled, written) = self.page.settle(self.number, opened, self.purse.take(), end);
        self.page.journal.journaled(written).await?;
        Ok(settled)
    }

    /// Ends the attempt without waiting for the journal: for whoever awaits [`Tab::close`] next, which covers it, or goes
    /// on to another attempt.
    pub fn settle(mut self: Box<Self>, end: AttemptEnd) -> Option<SettledAttempt> {
        let opened = self.opened.take()?;
        Some(self.page.settle(self.number, opened, self.purse.take(), end).0)
    }

    /// What the attempt is to be booked at when nothing of an answer was seen: what was to be expected of one that was sent, since
    /// it may be billed, else nothing.
    pub fn unanswered(&self) -> (Usage, Provenance) {
        match self.opened.as_ref().filter(|_| self.sent) {
            Some(opened) => (unanswered(opened), Provenance::Estimated),
            None => (Usage::default(), Provenance::Counted),
        }
    }

    /// What a usage costs by the attempt's terms, were it complete as soon as it began and nothing of it free: to compare
    /// one with another. Nothing once it has ended.
    pub fn would_cost(&self, usage: &Usage) -> Usd {
        let cost = |opened: &AttemptOpened| opened.terms.cost(usage, opened.thinking, Course::at(opened.started_at)).0.usd;
        self.opened.as_ref().map_or(Usd::ZERO, cost)
    }

    fn checkpoint(&mut self, now: Duration) {
        if let Some((usage, provenance)) = self.seen {
            let (id, number) = (self.page.id, self.number);
            let record = self.page.push(Meaning::Plain, |out| {
                codec::put_checkpoint(out, id, number, usage, provenance);
            });
            self.queued = Some((record, usage.output.get()));
            self.noted = Some(usage);
            self.checkpoint_at = now;
        }
    }

    fn learn_what_is_safe(&mut self) {
        if let Some((record, output)) = self.queued
            && self.page.journal.is_journaled(record)
        {
            self.safe_output = output;
            self.queued = None;
        }
    }

    /// What a dropped attempt is booked with: the running count; where no answer had begun, what was to be expected;
    /// nothing where nothing was sent.
    fn abandoned(&self, opened: &AttemptOpened) -> (Usage, Provenance) {
        match self.seen {
            Some((seen, provenance)) => {
                // What is counted by the piece is told by a report alone.
                let seen = Usage { pieces: seen.pieces.max(opened.pieces.expected), ..seen };
                let input = if seen.input() > Tokens::ZERO { seen.fresh_input } else { opened.input_estimate };
                (Usage { fresh_input: input, ..seen }, provenance)
            }
            None if self.sent => (unanswered(opened), Provenance::Estimated),
            None => (Usage::default(), Provenance::Counted),
        }
    }
}

impl Drop for OpenAttempt {
    fn drop(&mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        let (usage, provenance) = self.abandoned(&opened);
        let duration = self.page.journal.clock.monotonic().saturating_sub(self.started);
        let cause = (self.seen.is_none() && !self.sent).then(|| "not sent".to_owned());
        let end = AttemptEnd {
            ending: Ending::Abandoned,
            usage,
            provenance,
            served_model: None,
            served_before: None,
            http_status: None,
            cause,
            first_byte_ms: None,
            duration_ms: millis(duration),
            free: None,
        };
        self.page.settle(self.number, opened, self.purse.take(), end);
    }
}

/// What a request that was sent, and of whose answer nothing was seen, is expected to be billed.
pub(super) fn unanswered(opened: &AttemptOpened) -> Usage {
    let pieces = opened.pieces.expected;
    Usage { pieces, ..Usage::fresh(opened.input_estimate, opened.expected_output.min(opened.output_bound)) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
