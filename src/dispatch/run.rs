//! Walks a plan until one attempt answers. Each attempt gets a page in the books before it is sent and its own end
//! there; an extra attempt is paid from the retry budget, so that retries cannot make an outage worse.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;

use super::attempt::{Begun, Errand, Patience};
use super::failure::{AttemptFailure, Cause, RunFailure, Stopped};
use super::health::{Answers, BackendAttempt, Refused};
use super::opening::Opening;
use super::retry_budget::RetryBudget;
use super::wording::{self, Letter, Wording, Written};
use crate::canonical::{Request, Shape};
use crate::clock::SharedClock;
use crate::in_place;
use crate::market::Offer;
use crate::meter::{OwnCount, RunningCount};
use crate::route::{Node, PlannedAttempt};
use crate::upstream::Upstream;

/// What a site says of a key, or of a token in its place, that it does not take (any more).
const UNAUTHORIZED: u16 = 401;

/// Where attempts are written down. The dispatcher knows that there are books, not which.
pub trait AttemptBook: Sync {
    /// One attempt's page. Dropping it ends the attempt as abandoned.
    type Page: Send;

    /// Writes an attempt down before anything of it is [`sent`](Self::sent). `None`: it cannot be booked, or the request cannot bear its
    /// cost beside what it has cost already, so it must not be sent. It may take a moment where money has to be asked for.
    fn open(&self, attempt: &PlannedAttempt, offer: &Offer<'_>) -> impl Future<Output = Option<Self::Page>> + Send;

    /// The attempt is on its way: from here on its provider may bill it.
    fn sent(&self, page: &mut Self::Page);

    /// Ends the page of an attempt that did not answer.
    fn fail(&self, page: Self::Page, failure: &AttemptFailure, took: Duration) -> impl Future<Output = ()> + Send;

    /// Ends the page of an attempt that was cancelled because another one's answer was kept.
    fn supersede(&self, page: Self::Page, offer: &Offer<'_>, took: Duration);
}

/// An attempt that answers, with its page still open. In a box wherever it is handed on, as it is large.
pub struct Answered<P> {
    pub planned: PlannedAttempt,
    /// The shape of the endpoint that was asked.
    pub shape: Shape,
    /// What it was asked for: the model's name at its provider.
    pub model: String,
    pub page: P,
    pub opening: Opening,
    /// Parameters that could not be said to the backend, by the client's names.
    pub dropped: Vec<String>,
    /// What has been counted of a stream so far.
    pub running: RunningCount,
    /// The turn at the backend, to report how the answer ended.
    pub turn: BackendAttempt,
    /// When it was sent, on the monotonic clock.
    pub sent: Duration,
    /// From sending to the first meaningful byte.
    pub first_byte: Duration,
    /// The attempts that failed before this one.
    pub failures: Vec<AttemptFailure>,
    /// The backend refused the request as it was sent first, and answers it without the seals of the conversation.
    pub refused_seals: bool,
}

/// Walks plans.
pub struct Dispatcher {
    upstream: Upstream,
    retries: RetryBudget,
    clock: SharedClock,
}

/// One request on its way.
pub struct Journey<'a, B> {
    /// How it is said to each backend.
    pub wording: Wording<'a>,
    /// What was already written to one of them.
    pub written: Mutex<Option<Box<Written>>>,
    pub book: &'a B,
    /// Headers that pass through to the provider.
    pub passing: &'a HeaderMap,
    /// Those of them that any provider is sent, whatever shape it is asked in.
    pub common: &'a HeaderMap,
    /// How long one attempt may take at most.
    pub patience: Patience,
    /// When the whole request must be over, on the monotonic clock.
    pub ends: Duration,
    /// When the client wants its answer to have begun, on the monotonic clock.
    pub deadline: Option<Duration>,
}

/// An attempt that may be made: how, by whose leave, and with what.
type Way<'a> = (wording::Way<'a>, BackendAttempt, Letter);

impl<'a, B> Journey<'a, B> {
    const fn request(&self) -> &'a Request {
        self.wording.request
    }

    /// How a backend is asked, and its leave to. What cannot be said in one way may be in another, and what was written to find that
    /// out goes out.
    fn way(&self, planned: &PlannedAttempt) -> Result<Way<'a>, Option<Box<AttemptFailure>>> {
        let (mut refused, mut asked) = (None, None);
        let found = self.wording.tell(planned, |way| {
            // Who is left alone is left alone, however it could be asked.
            let Some(turn) = way.offer.health.enter().map_err(|refusal| refused = Some(not_tried(&way.offer, &refusal))).ok()
            else {
                return Ok(None);
            };
            asked = asked.or(Some(way.offer));
            let kept = self.written.lock().unwrap_or_else(PoisonError::into_inner).take_if(|written| written.is_to(planned, way));
            let letter = kept.map_or_else(|| way.letter(planned), |written| Ok(written.letter()))?;
            Ok(Some((turn, letter)))
        });
        match found {
            Ok((way, Some((turn, letter)))) => Ok((way, turn, letter)),
            Ok((_, None)) => Err(refused.map(Box::new)),
            Err(why) => Err(asked.zip(why).map(|(offer, why)| {
                Box::new(AttemptFailure::idle(&offer.backend.id, Cause::Untranslatable, why.to_string(), None))
            })),
        }
    }
}

impl Dispatcher {
    pub fn new(upstream: Upstream, retries: RetryBudget, clock: SharedClock) -> Self {
        Self { upstream, retries, clock }
    }

    /// What pays for extra attempts.
    pub fn retries(&self) -> &RetryBudget {
        &self.retries
    }

    /// Walks the plan until an attempt answers.
    pub async fn run<B: AttemptBook>(&self, plan: &Node, journey: &Journey<'_, B>) -> Result<Box<Answered<B::Page>>, RunFailure> {
        self.retries.deposit();
        let mut failures = Vec::new();
        let mut sent = false;
        match self.walk(plan, journey, &mut failures, &mut sent, Standing::default()).await {
            Ok(mut answered) => {
                answered.failures = failures;
                Ok(answered)
            }
            Err(stopped) => {
                let run = RunFailure { failures, stopped };
                // Nobody was left to whom it could be said otherwise, or could be asked.
                let refused = run.decisive().is_some_and(|last| !last.cause.another_may_help());
                let stopped = if refused { Stopped::Refused } else { stopped };
                Err(RunFailure { stopped, ..run })
            }
        }
    }

    async fn walk<B: AttemptBook>(
        &self,
        node: &Node,
        journey: &Journey<'_, B>,
        failures: &mut Vec<AttemptFailure>,
        sent: &mut bool,
        standing: Standing<'_>,
    ) -> Result<Box<Answered<B::Page>>, Stopped> {
        match node {
            Node::Attempt(_) => self.step(node, journey, failures, sent, standing).await,
            Node::Sequence(nodes) => {
                for (number, node) in nodes.iter().enumerate() {
                    let standing = Standing { others_behind: standing.others_behind || number + 1 < nodes.len(), ..standing };
                    match self.step(node, journey, failures, sent, standing).await {
                        Err(Stopped::Exhausted) => {}
                        ended => return ended,
                    }
                }
                Err(Stopped::Exhausted)
            }
            Node::Race(nodes) => self.race(nodes, journey, failures, sent, standing).await,
        }
    }

    /// In a box: the tree is walked by recursion, and what waits for an attempt stays small.
    fn step<'a, B: AttemptBook>(
        &'a self,
        node: &'a Node,
        journey: &'a Journey<'_, B>,
        failures: &'a mut Vec<AttemptFailure>,
        sent: &'a mut bool,
        standing: Standing<'a>,
    ) -> BoxFuture<'a, Result<Box<Answered<B::Page>>, Stopped>> {
        match node {
            Node::Attempt(planned) => in_place::pinned(|| self.attempt(planned, journey, failures, sent, standing)),
            _ => in_place::pinned(|| self.walk(node, journey, failures, sent, standing)),
        }
    }

    /// Asks all at once and keeps the first answer; dropping the others cancels them and closes their pages.
    async fn race<B: AttemptBook>(
        &self,
        nodes: &[Node],
        journey: &Journey<'_, B>,
        failures: &mut Vec<AttemptFailure>,
        sent: &mut bool,
        standing: Standing<'_>,
    ) -> Result<Box<Answered<B::Page>>, Stopped> {
        let race = &Race::default();
        let standing = Standing { race: Some(race), ..standing };
        let mut runners: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| async move {
                let (mut failures, mut sent) = (Vec::new(), false);
                let ended = self.step(node, journey, &mut failures, &mut sent, standing).await;
                (ended, failures, sent)
            })
            .collect();
        let mut refused = None;
        while let Some((ended, failed, was_sent)) = runners.next().await {
            failures.extend(failed);
            *sent |= was_sent;
            match ended {
                Ok(answered) => {
                    race.won.store(true, Ordering::Relaxed);
                    return Ok(answered);
                }
                Err(Stopped::Exhausted) => {}
                Err(stopped) => refused = Some(stopped),
            }
        }
        Err(refused.unwrap_or(Stopped::Exhausted))
    }

    /// Asks one backend; once more without the seals of the conversation where it refuses the request with them. Who made them is
    /// remembered by this process only, and not for ever, so they may be another's; and the client would send them again and again.
    async fn attempt<B: AttemptBook>(
        &self,
        planned: &PlannedAttempt,
        journey: &Journey<'_, B>,
        failures: &mut Vec<AttemptFailure>,
        sent: &mut bool,
        mut standing: Standing<'_>,
    ) -> Result<Box<Answered<B::Page>>, Stopped> {
        if self.time_for(journey, standing).is_none() {
            return Err(Stopped::OutOfTime);
        }
        let mut way = match journey.way(planned) {
            Ok(way) => way,
            // A plan names reachable backends only.
            Err(why) => {
                failures.extend(why.map(|failure| *failure));
                return Err(Stopped::Exhausted);
            }
        };
        // What a provider refuses of our words it may take, or another, in the client's own.
        let ours = !way.0.in_clients_words();
        let mut refused_before = None;
        loop {
            let (asked, told) = (way.0, way.2.body.clone());
            let failure = match self.ask(planned, way, journey, sent, standing).await {
                Ok(answered) => return Ok(answered),
                // It was refused all the same where it cannot be asked once more, whatever it lacks for that.
                Err(Unanswered::NotAsked(stopped)) => return Err(refused_before.unwrap_or(stopped)),
                Err(Unanswered::Failed(failure)) => *failure,
            };
            let refused = failure.cause.blames_request();
            let is_of_site = failure.cause.is_of_this_site();
            // Once: retries are everybody's, and such a request comes again and again.
            let before = |other: &AttemptFailure| other.backend != failure.backend && other.cause.is_of_this_site();
            let is_elsewhere = is_of_site && !failures.iter().any(before);
            let moves_on = failure.cause.another_may_help() || (ours && refused) || is_elsewhere;
            let stopped = if moves_on { Stopped::Exhausted } else { Stopped::Refused };
            failures.push(failure);
            let again = if refused && !standing.again { unsealed(planned, &asked, &told) } else { None };
            // What was written anew may lack what it does not know, as well.
            standing.blames_seals = !is_of_site;
            way = again.ok_or(stopped)?;
            standing.again = true;
            refused_before = Some(stopped);
        }
    }

    async fn ask<B: AttemptBook>(
        &self,
        planned: &PlannedAttempt,
        (way, mut turn, letter): Way<'_>,
        journey: &Journey<'_, B>,
        sent: &mut bool,
        standing: Standing<'_>,
    ) -> Result<Box<Answered<B::Page>>, Unanswered> {
        let race = standing.race;
        let offer = way.offer;
        // Only what is sent is paid for: a backend that is left alone costs no retry.
        let is_extra = *sent && (race.is_none() || standing.again);
        if is_extra && !self.retries.try_spend() {
            return Err(Unanswered::NotAsked(Stopped::RetryBudget));
        }
        // What cannot be booked or paid is not sent.
        let page = journey.book.open(planned, &offer).await;
        // Money may have had to be waited for.
        let time = self.time_for(journey, standing);
        let (Some(page), Some(time)) = (page, time) else {
            if is_extra {
                self.retries.give_back();
            }
            return Err(Unanswered::NotAsked(if time.is_some() { Stopped::Exhausted } else { Stopped::OutOfTime }));
        };
        *sent = true;
        let at = self.clock.wall();
        let errand = Errand {
            upstream: &self.upstream,
            offer,
            request: journey.request(),
            translation: journey.wording.translation,
            common: journey.common,
            passing: journey.passing,
            patience: time.patience,
            count: OwnCount::new(planned.quote.usage.input(), offer.backend.tokenizer),
            at,
        };
        let mut running = RunningCount::new();
        let sent_at = self.clock.monotonic();
        let mut asked = Asked { book: journey.book, page: Some(page), offer, race, clock: &self.clock, sent: sent_at };
        let mut left = false;
        let leaves = || {
            left = true;
            asked.leaves();
        };
        let outcome = errand.run(letter, leaves, &mut |piece| running.add(piece)).await;
        let took = self.clock.monotonic().saturating_sub(sent_at);
        let answers = if journey.request().stream { Answers::Streamed } else { Answers::Whole };
        let Some(page) = asked.ended() else { return Err(Unanswered::NotAsked(Stopped::Exhausted)) };
        match outcome {
            Ok(Begun { opening, dropped }) => {
                turn.answered(answers);
                Ok(in_place::boxed(|| Answered {
                    planned: *planned,
                    shape: offer.shape,
                    model: offer.model.to_owned(),
                    page,
                    opening,
                    dropped,
                    running,
                    turn,
                    sent: sent_at,
                    first_byte: took,
                    failures: Vec::new(),
                    refused_seals: standing.again && standing.blames_seals,
                }))
            }
            Err(failure) => {
                // Too little time of the client's own making is no fault of the backend: one client in a hurry must not
                // close it to everybody.
                let token_late = !left && took >= errand.limit();
                let hurried = time.clients && (failure.cause == Cause::Timeout || token_late);
                if failure.cause == Cause::Timeout {
                    turn.waited(answers);
                }
                // A token that was taken back is no key that somebody has to mend.
                let mends = failure.status == Some(UNAUTHORIZED) && offer.endpoint.refused(at, self.clock.wall());
                if let Some(lesson) = failure.cause.lesson().filter(|_| !hurried && !mends) {
                    turn.failed(lesson, failure.retry_after);
                }
                journey.book.fail(page, &failure, took).await;
                Err(Unanswered::Failed(Box::new(failure)))
            }
        }
    }

    /// How long an attempt that begins now may take; `None` once there is no time left. An attempt with others behind it
    /// gets half of what is left of the request's time: one that hangs must leave them some.
    fn time_for<B>(&self, journey: &Journey<'_, B>, standing: Standing<'_>) -> Option<Time> {
        let now = self.clock.monotonic();
        let until = |end: Duration| {
            let left = end.checked_sub(now).filter(|left| !left.is_zero())?;
            Some(if standing.others_behind { left / 2 } else { left })
        };
        let most = journey.patience;
        let whole = until(journey.ends)?.min(most.whole);
        let first_frame = most.first_frame.min(whole);
        let longest = if journey.request().stream { first_frame } else { whole };
        let wanted = match journey.deadline {
            Some(deadline) => until(deadline)?,
            None => Duration::MAX,
        };
        let patience = Patience { first_frame: first_frame.min(wanted), whole: whole.min(wanted), ..most };
        Some(Time { patience, clients: wanted < longest })
    }
}

/// Where in the plan an attempt stands.
#[derive(Clone, Copy, Default)]
struct Standing<'a> {
    /// Others run beside it.
    race: Option<&'a Race>,
    /// Others come after it, should it fail.
    others_behind: bool,
    /// Its backend has refused the request once.
    again: bool,
    /// And did not say that it was for something else than the seals in it.
    blames_seals: bool,
}

/// Why an attempt has no answer.
enum Unanswered {
    NotAsked(Stopped),
    Failed(Box<AttemptFailure>),
}

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
struct Time {
    patience: Patience,
    /// It is the client's deadline that cuts it short.
    clients: bool,
}

/// What the racers of one race share.
#[derive(Default)]
struct Race {
    /// One of them answered: the others are cancelled for it.
    won: AtomicBool,
}

/// An attempt that waits for its provider. Dropped while it waits, it lost a race, or the client left.
struct Asked<'a, B: AttemptBook> {
    book: &'a B,
    /// Taken when the wait is over.
    page: Option<B::Page>,
    offer: Offer<'a>,
    race: Option<&'a Race>,
    clock: &'a SharedClock,
    sent: Duration,
}

impl<B: AttemptBook> Asked<'_, B> {
    /// The request is on its way.
    fn leaves(&mut self) {
        if let Some(page) = &mut self.page {
            self.book.sent(page);
        }
    }

    /// The wait is over: hands the page back.
    fn ended(mut self) -> Option<B::Page> {
        self.page.take()
    }
}

impl<B: AttemptBook> Drop for Asked<'_, B> {
    fn drop(&mut self) {
        let lost = self.race.is_some_and(|race| race.won.load(Ordering::Relaxed));
        // Any other page is left to its own drop, which ends it as abandoned.
        if let Some(page) = self.page.take_if(|_| lost) {
            self.book.supersede(page, &self.offer, self.clock.monotonic().saturating_sub(self.sent));
        }
    }
}

/// How a backend is asked again that refused what it was told, without the seals in it; `None` where that says the same.
fn unsealed<'a>(planned: &PlannedAttempt, way: &wording::Way<'a>, told: &Bytes) -> Option<Way<'a>> {
    let way = way.unsealed()?;
    let letter = way.letter(planned).ok().filter(|letter| letter.body != *told)?;
    let turn = way.offer.health.enter().ok()?;
    Some((way, turn, letter))
}

fn not_tried(offer: &Offer<'_>, refused: &Refused) -> AttemptFailure {
    let (cause, retry_after) = match refused {
        Refused::Cooling(cooling) => (Cause::Cooling, Some(cooling.remaining)),
        Refused::Saturated(_) => (Cause::Saturated, None),
    };
    AttemptFailure::idle(&offer.backend.id, cause, refused.to_string(), retry_after)
}
