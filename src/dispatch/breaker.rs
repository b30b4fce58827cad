//! Leaves a backend alone while it fails, and asks it again with one request at a time.
//!
//! Without it every request to a dead provider waits for its own failure first, and every failure costs a retry of the
//! shared budget. It opens on a run of failures (a provider that is down), on a high share of failures over half a minute
//! (one that is half down), at once when the failure says that the next request must fail too (a wrong key, an empty
//! account, a model that is not there) and nobody was served within that half minute, and at once when the provider names a time to stay away: `Retry-After` is obeyed
//! to the end. After the cooling one request goes through as a probe; what it learns decides for all. Each failed probe in
//! a row doubles the cooling, so that a long outage is not hammered.
//!
//! Per backend, not per provider: limits and outages are mostly per model, and a provider that is down opens each of its
//! backends within a few requests. No timers and no tasks: the state is looked at when somebody asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::canonical::event::ErrorClass;
use crate::clock::SharedClock;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The provider said so.
    Told(ErrorClass),
    /// No connection could be made.
    Connect,
    /// No answer in time, or a silence too long within one.
    Timeout,
    /// The connection or the stream broke off.
    Cut,
    /// The answer could not be understood.
    Malformed,
}

impl Failure {
    /// Whether the failure says something about the backend. A request that is wrong, too long or refused by moderation
    /// would fail at a healthy one as well, and a model that errs answers: it shows that the backend does.
    pub const fn blames_backend(self) -> bool {
        match self {
            Failure::Told(class) => match class {
                ErrorClass::BadRequest
                | ErrorClass::Unsupported
                | ErrorClass::Context
                | ErrorClass::Moderation
                | ErrorClass::ModelErred => false,
                ErrorClass::Auth
                | ErrorClass::Billing
                | ErrorClass::RateLimited
                | ErrorClass::Overloaded
                | ErrorClass::NotFound
                | ErrorClass::BrokeOff => true,
            },
            Failure::Connect | Failure::Timeout | Failure::Cut | Failure::Malformed => true,
        }
    }

    /// Whether the next request must fail in the same way until somebody does something.
    const fn will_last(self) -> bool {
        matches!(self, Failure::Told(ErrorClass::Auth | ErrorClass::Billing | ErrorClass::NotFound))
    }

    /// What the operator has to do before the backend can answer, where that is known.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Failure::Told(ErrorClass::Auth) => {
                Some("the provider refuses the key: set its right key and start again, or mend its key file")
            }
            Failure::Told(ErrorClass::Billing) => Some("the account at the provider has no money or quota left: pay in there"),
            Failure::Told(ErrorClass::NotFound) => {
                Some("the provider does not know the model or the path: mend upstream_model or base_url in the table")
            }
            Failure::Connect => Some("the provider's address does not answer: look at base_url in the table and at the network"),
            Failure::Told(_) | Failure::Timeout | Failure::Cut | Failure::Malformed => None,
        }
    }

    /// The word in metrics and rows.
    pub const fn word(self) -> &'static str {
        match self {
            Failure::Told(class) => class.word(),
            Failure::Connect => "connect",
            Failure::Timeout => "timeout",
            Failure::Cut => "cut",
            Failure::Malformed => "malformed",
        }
    }
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Opens after this many failures without a success between.
    pub failures_in_a_row: u32,
    /// Opens when this share of the attempts in the window failed, in hundredths.
    pub failed_percent: u32,
    /// The share says nothing below this many attempts.
    pub least_attempts: u32,
    /// The window of the share; it slides in halves.
    pub window: Duration,
    /// How long the first cooling lasts; doubled with each failed probe.
    pub cooling: Duration,
    /// The longest cooling by doubling, and the one after a failure that will last.
    pub longest_cooling: Duration,
    /// `Retry-After` beyond this is not believed.
    pub longest_retry_after: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures_in_a_row: 5,
            failed_percent: 50,
            least_attempts: 20,
            window: Duration::from_secs(30),
            cooling: Duration::from_secs(5),
            longest_cooling: Duration::from_mins(1),
            longest_retry_after: Duration::from_mins(10),
        }
    }
}

/// While a probe is out, others are told to come back after this long.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// The backend is left alone for this much longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cooling down for another {} ms", .remaining.as_millis())]
pub struct Cooling {
    pub remaining: Duration,
}

/// The breaker of one backend.
pub struct Breaker {
    clock: SharedClock,
    settings: BreakerSettings,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Counts the changes of phase, so that the outcome of a request from an earlier one is not taken for news.
    epoch: u64,
    /// Failed probes since the breaker was last closed.
    failed_probes: u32,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed(Record),
    Open { until: Duration },
    Probing,
}

/// What happened while closed.
#[derive(Clone, Copy, Default)]
struct Record {
    failures_in_a_row: u32,
    half_began: Duration,
    this_half: Tally,
    last_half: Tally,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    attempts: u32,
    failed: u32,
}

impl Breaker {
    pub fn new(clock: SharedClock, settings: BreakerSettings) -> Arc<Self> {
        let phase = Phase::Closed(Record::since(clock.monotonic()));
        Arc::new(Self { clock, settings, state: Mutex::new(State { phase, epoch: 0, failed_probes: 0 }) })
    }

    /// Asks to send a request. After the cooling the first to ask is the probe, and the only one.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Cooling> {
        let mut state = self.lock();
        match state.phase {
            Phase::Closed(_) => {}
            Phase::Probing => return Err(Cooling { remaining: PROBE_WAIT }),
            Phase::Open { until } => match until.saturating_sub(self.clock.monotonic()) {
                Duration::ZERO => state.enter(Phase::Probing),
                remaining => return Err(Cooling { remaining }),
            },
        }
        Ok(Permit { breaker: Arc::clone(self), epoch: state.epoch, decided: false })
    }

    /// For how much longer requests are refused at `now`; `None` when one would be admitted.
    pub fn cooling_at(&self, now: Duration) -> Option<Duration> {
        match self.lock().phase {
            Phase::Closed(_) => None,
            Phase::Probing => Some(PROBE_WAIT),
            Phase::Open { until } => Some(until.saturating_sub(now)).filter(|left| !left.is_zero()),
        }
    }

    /// Whether requests are let through as ever.
    pub fn is_closed(&self) -> bool {
        matches!(self.lock().phase, Phase::Closed(_))
    }

    /// Leaves the backend alone for a while, on somebody else's word; without effect where it is left alone already. The first
    /// request after that is a probe as ever.
    pub fn leave_alone(&self, time: Duration) -> bool {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let believes = matches!(state.phase, Phase::Closed(_));
        if believes {
            state.enter(Phase::Open { until: now + time });
        }
        believes
    }

    /// Closes it: what failed was something else. Requests that are under way teach nothing any more.
    pub fn reset(&self) {
        let now = self.clock.monotonic();
        self.lock().close(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cooling, where this closed breaker opens by it.
    fn record(&self, epoch: u64, failure: Option<Failure>, retry_after: Option<Duration>) -> Option<Duration> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let current = state.epoch == epoch;
        let settings = &self.settings;
        match (state.phase, failure) {
            (Phase::Closed(mut record), _) if current => {
                record.add(now, settings.window / 2, failure.is_some());
                state.phase = Phase::Closed(record);
                let verdict = failure.and_then(|failure| record.verdict(failure, retry_after, settings));
                if let Some(cooling) = verdict {
                    state.open(now, cooling);
                }
                return verdict;
            }
            (Phase::Probing, None) if current => state.close(now),
            (Phase::Probing, Some(failure)) if current => {
                state.failed_probes = state.failed_probes.saturating_add(1);
                let cooling = settings.after_probe(state.failed_probes, failure, retry_after);
                state.open(now, cooling);
            }
            // Sent before it opened, answered after: only a later time to stay away is news.
            (Phase::Open { until }, Some(_)) => {
                let asked = retry_after.map_or(until, |wait| now + wait.min(settings.longest_retry_after));
                state.phase = Phase::Open { until: until.max(asked) };
            }
            (Phase::Closed(_) | Phase::Open { .. } | Phase::Probing, _) => {}
        }
        None
    }

    /// A probe that learned nothing makes room for the next one.
    fn forget(&self, epoch: u64) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if state.epoch == epoch && matches!(state.phase, Phase::Probing) {
            state.enter(Phase::Open { until: now });
        }
    }

    /// A probe's answer has begun: the breaker closes, and what is left of the answer counts as an ordinary attempt.
    fn answered(&self, epoch: u64) -> u64 {
        let mut state = self.lock();
        if state.epoch == epoch && matches!(state.phase, Phase::Probing) {
            state.close(self.clock.monotonic());
            return state.epoch;
        }
        epoch
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }

    fn open(&mut self, now: Duration, cooling: Duration) {
        self.enter(Phase::Open { until: now.saturating_add(cooling) });
    }

    fn close(&mut self, now: Duration) {
        self.failed_probes = 0;
        self.enter(Phase::Closed(Record::since(now)));
    }
}

impl Record {
    fn since(now: Duration) -> Self {
        Self { half_began: now, ..Self::default() }
    }

    fn add(&mut self, now: Duration, half: Duration, failed: bool) {
        let elapsed = now.saturating_sub(self.half_began);
        if elapsed >= half {
            let adjacent = elapsed < half * 2;
            self.last_half = if adjacent { self.this_half } else { Tally::default() };
            self.this_half = Tally::default();
            self.half_began = now;
        }
        self.this_half.attempts += 1;
        self.this_half.failed += u32::from(failed);
        self.failures_in_a_row = if failed { self.failures_in_a_row + 1 } else { 0 };
    }

    /// How long to cool after this failure, if it is the one that opens.
    fn verdict(&self, failure: Failure, retry_after: Option<Duration>, settings: &BreakerSettings) -> Option<Duration> {
        let asked = retry_after.map(|wait| wait.min(settings.longest_retry_after)).filter(|wait| !wait.is_zero());
        let trips = self.failures_in_a_row >= settings.failures_in_a_row || self.share_is_too_high(settings);
        // Whoever has just served somebody is not closed to everybody: then it may be this one request, and one client's
        // request must not take a backend away from the others.
        let lasts = failure.will_last() && !self.has_served();
        let own = match (lasts, trips) {
            (true, _) => Some(settings.longest_cooling),
            (false, true) => Some(settings.cooling),
            (false, false) => None,
        };
        own.max(asked)
    }

    /// Whether an attempt within the window succeeded.
    fn has_served(&self) -> bool {
        [self.this_half, self.last_half].iter().any(|half| half.attempts > half.failed)
    }

    fn share_is_too_high(&self, settings: &BreakerSettings) -> bool {
        let attempts = self.this_half.attempts + self.last_half.attempts;
        let failed = self.this_half.failed + self.last_half.failed;
        attempts >= settings.least_attempts && u64::from(failed) * 100 >= u64::from(attempts) * u64::from(settings.failed_percent)
    }
}

impl BreakerSettings {
    fn after_probe(&self, failed_probes: u32, failure: Failure, retry_after: Option<Duration>) -> Duration {
        let doubled = self.cooling.saturating_mul(2_u32.saturating_pow(failed_probes)).min(self.longest_cooling);
        let own = if failure.will_last() { self.longest_cooling } else { doubled };
        own.max(retry_after.unwrap_or_default().min(self.longest_retry_after))
    }
}

/// The right to send one request. Say how it went; a permit that is dropped undecided (the client left, a race was lost)
/// counts for nothing, and if it was the probe the next request may probe.
#[must_use = "a permit that is dropped says that nothing was learned"]
pub struct Permit {
    breaker: Arc<Breaker>,
    epoch: u64,
    decided: bool,
}

impl Permit {
    /// The answer has begun. Ends a probe: a long answer must not keep the backend closed to others.
    pub fn answered(&mut self) {
        self.epoch = self.breaker.answered(self.epoch);
    }

    pub fn succeeded(mut self) {
        self.decided = true;
        self.breaker.record(self.epoch, None, None);
    }

    /// The attempt failed; `retry_after` is how long the provider asked to stay away. Returns for how long the backend is
    /// left alone now, where it was not left alone before.
    pub fn failed(mut self, failure: Failure, retry_after: Option<Duration>) -> Option<Duration> {
        self.decided = true;
        let blamed = Some(failure).filter(|failure| failure.blames_backend());
        self.breaker.record(self.epoch, blamed, retry_after)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.decided {
            self.breaker.forget(self.epoch);
        }
    }
}

#[cfg(test)]
mod tests;
