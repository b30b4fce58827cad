//! How each backend fares: the one door to its breaker and its places, and the memory of how it did.
//!
//! The dispatcher enters a backend once for each attempt, of which one request may make two there (the second without the
//! seals that were refused), and reports once how each went; the router reads plain figures before: the failure share, what
//! is left of rate limits ([`headroom`](super::headroom)), how long answers take to begin ([`waits`](super::waits)).
//! The failure share is a mean over the recent past in which an attempt's weight halves every minute: a share per window
//! would jump when the window turns, and a share since start would never forget. It is whole numbers in fixed ticks of a
//! second, so that it depends on what happened when, not on how often somebody looked. Ten imagined good attempts stand
//! before the first real one: a single failure of a fresh backend is no proof.
//!
//! Kept by the backend's id, so a reload of the table forgets nothing about backends that stay. Lives in this process only.

mod by_shape;
mod marks;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

pub use self::by_shape::HealthByShape;
use self::marks::{Marked, Marks};
use super::breaker::{Breaker, BreakerSettings, Cooling, Failure, Permit};
use super::concurrency::{MostWaiting, Saturated, Waiting, WaitingGuard};
use super::headroom::Headroom;
use super::waits::Waits;
use crate::canonical::event::ErrorClass;
use crate::clock::SharedClock;
use crate::dialect::limits::RateLimits;
use crate::route;
use crate::units::BackendId;

/// Settings of every backend's breaker and places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    pub breaker: BreakerSettings,
    /// Requests that may wait on one backend without a byte of an answer.
    pub most_waiting: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { breaker: BreakerSettings::default(), most_waiting: 256 }
    }
}

/// What the router reads of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthView {
    /// Share of recent attempts that failed, in millionths.
    pub failure_share: u32,
    /// Time to the first token of a stream, lately; `None` before the first answer.
    pub wait: Option<route::Wait>,
    /// It is left alone for this much longer.
    pub cooling: Option<Duration>,
    /// As many requests wait on it as may.
    pub waiting_full: bool,
}

/// What counts against a backend: what every request reads of every backend, so that it costs next to nothing where
/// nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthRisk {
    /// Share of recent attempts that failed, in millionths.
    pub failure_share: u32,
    /// What is left of its rate limit.
    pub headroom: route::Headroom,
    /// How long its answers take to begin, where that was asked for.
    pub wait: Option<route::Wait>,
    /// It is left alone for this much longer.
    pub cooling: Option<Duration>,
    /// As many requests wait on it as may.
    pub waiting_full: bool,
}

/// Why a backend is not asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Cooling(#[from] Cooling),
    #[error(transparent)]
    Saturated(#[from] Saturated),
}

/// The health of all backends.
pub struct Health {
    clock: SharedClock,
    breaker: BreakerSettings,
    most_waiting: MostWaiting,
    backends: RwLock<HashMap<BackendId, Arc<BackendHealth>>>,
}

impl Health {
    pub fn new(clock: SharedClock, settings: HealthSettings) -> Self {
        let most_waiting = MostWaiting::new(settings.most_waiting.into());
        Self { clock, breaker: settings.breaker, most_waiting, backends: RwLock::default() }
    }

    /// From now on so many may wait on each backend. Who waits already stays.
    pub fn let_wait(&self, most: u32) {
        self.most_waiting.store(most, Ordering::Relaxed);
        // With fewer places more of them may be full.
        self.backends.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|backend| backend.marked.set());
    }

    /// One backend's health, made when it is first asked for. Callers that ask often keep it: it stays the same for the
    /// life of the process.
    pub fn of(&self, id: &BackendId) -> Arc<BackendHealth> {
        let known = self.backends.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| {
            let mut backends = self.backends.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(backends.entry(id.clone()).or_insert_with(|| BackendHealth::new(id, self)))
        })
    }

    /// Asks to send a request to a backend. Report on what it returns how it went.
    pub fn enter(&self, id: &BackendId) -> Result<BackendAttempt, Refused> {
        self.of(id).enter()
    }

    /// Plain figures of one backend, now.
    pub fn view(&self, id: &BackendId) -> HealthView {
        self.of(id).view_at(self.clock.monotonic())
    }

    /// The backends of one table, in its order, and the places of those that can be asked. Made once per table, so that a
    /// request looks nothing up by name.
    fn roster(&self, backends: impl Iterator<Item = Arc<BackendHealth>>, asked: &[usize]) -> Roster {
        let backends: Vec<_> = backends.collect();
        let marks = Marks::new(backends.len());
        for place in asked {
            backends[*place].marked.by(&marks, *place);
        }
        Roster { clock: Arc::clone(&self.clock), backends, asked: asked.to_vec(), marks }
    }

    /// Forgets what counts against a backend: it is reached by another address or key now, of which nothing is known yet.
    pub fn trust_again(&self, id: &BackendId) {
        self.of(id).trust_again();
    }

    /// The backends that are left alone because of what was found here, and for how much longer.
    fn cooling(&self) -> Vec<(BackendId, Duration)> {
        let now = self.clock.monotonic();
        let backends = self.backends.read().unwrap_or_else(PoisonError::into_inner);
        backends.values().filter_map(|backend| Some((backend.id.clone(), backend.found_cooling(now)?))).collect()
    }

    /// Leaves a backend alone for a while on somebody else's word; nothing of one that is not known.
    fn leave_alone(&self, id: &BackendId, time: Duration) {
        if let Some(backend) = self.backends.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            backend.leave_alone(time);
        }
    }

    /// Drops what is known of backends that the table no longer names. Attempts under way keep theirs to their end.
    pub fn keep_only(&self, named: impl Fn(&BackendId) -> bool) {
        self.backends.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| named(id));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Which kind of answer is waited for: the two take their own time to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    Streamed,
    Whole,
}

/// The backends of one table.
pub struct Roster {
    clock: SharedClock,
    backends: Vec<Arc<BackendHealth>>,
    /// The places of those that can be asked.
    asked: Vec<usize>,
    /// Which of them may not be well.
    marks: Arc<Marks>,
}

impl Roster {
    /// What counts against those that can be asked, at one moment; with their places in the table's order, and only where
    /// anything does. `waits` asks how long they take to begin as well, which is told of each.
    pub fn risks(&self, waits: Option<Answers>) -> Vec<(usize, HealthRisk)> {
        if waits.is_some() {
            return self.risks_of(self.asked.iter().copied(), waits);
        }
        let mut unwell = self.marks.places().filter(|place| !self.is_well(*place)).peekable();
        if unwell.peek().is_none() { Vec::new() } else { self.risks_of(unwell, None) }
    }

    fn risks_of(&self, places: impl Iterator<Item = usize>, waits: Option<Answers>) -> Vec<(usize, HealthRisk)> {
        let now = self.clock.monotonic();
        places.map(|place| (place, self.backends[place].risk_at(now, waits))).collect()
    }

    /// Whether nothing counts against a marked one any more; its mark is taken then.
    fn is_well(&self, place: usize) -> bool {
        let backend = &self.backends[place];
        if !backend.is_well() {
            return false;
        }
        self.marks.clear(place);
        let still = backend.is_well();
        if !still {
            self.marks.set(place);
        }
        still
    }

    /// The backend at a place in the table's order.
    pub fn get(&self, place: usize) -> Option<&Arc<BackendHealth>> {
        self.backends.get(place)
    }
}

/// The health of one backend.
pub struct BackendHealth {
    id: BackendId,
    clock: SharedClock,
    breaker: Arc<Breaker>,
    waiting: Arc<Waiting>,
    record: Mutex<Record>,
    headroom: Headroom,
    streamed: Waits,
    whole: Waits,
    marked: Marked,
    /// Failures reported so far, and up to which of them nothing is left to tell. While the two are equal, a request that
    /// looks at all backends need not ask this one's record and breaker.
    failures: AtomicU64,
    forgotten: AtomicU64,
    /// Until when it is left alone on somebody else's word, in monotonic nanoseconds.
    hinted_until: AtomicU64,
}

impl BackendHealth {
    fn new(id: &BackendId, of: &Health) -> Arc<Self> {
        Arc::new(Self {
            id: id.clone(),
            clock: Arc::clone(&of.clock),
            breaker: Breaker::new(Arc::clone(&of.clock), of.breaker),
            waiting: Waiting::new(&of.most_waiting),
            record: Mutex::default(),
            headroom: Headroom::default(),
            streamed: Waits::default(),
            whole: Waits::default(),
            marked: Marked::default(),
            failures: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            hinted_until: AtomicU64::new(0),
        })
    }

    /// Asks to send a request.
    pub fn enter(self: &Arc<Self>) -> Result<BackendAttempt, Refused> {
        let place = self.waiting.enter()?;
        if self.waiting.is_full() {
            self.marked.set();
        }
        let permit = self.breaker.admit()?;
        self.headroom.sent();
        Ok(BackendAttempt { health: Arc::clone(self), began: self.clock.monotonic(), place: Some(place), permit })
    }

    fn trust_again(&self) {
        self.breaker.reset();
        self.headroom.forget();
        self.with_record(self.clock.monotonic(), |record| (record.attempts, record.failed) = (0, 0));
    }

    /// Leaves it alone for a while because somebody else does.
    fn leave_alone(&self, time: Duration) {
        let until = self.clock.monotonic() + time;
        if self.breaker.leave_alone(time) {
            self.hinted_until.store(nanos(until), Ordering::Relaxed);
            self.failures.fetch_add(1, Ordering::Release);
            self.marked.set();
        }
    }

    /// For how much longer it is left alone because of what was found here.
    fn found_cooling(&self, now: Duration) -> Option<Duration> {
        self.breaker.cooling_at(now).filter(|_| nanos(now) >= self.hinted_until.load(Ordering::Relaxed))
    }

    /// Whether nothing is known that may count against it.
    fn is_well(&self) -> bool {
        let blameless = self.failures.load(Ordering::Acquire) == self.forgotten.load(Ordering::Relaxed);
        blameless && !self.headroom.is_known() && !self.waiting.is_full()
    }

    /// What counts against it now. `now` is the monotonic time, read once for many backends.
    fn risk_at(&self, now: Duration, waits: Option<Answers>) -> HealthRisk {
        let (waiting_full, headroom) = (self.waiting.is_full(), self.headroom.at(now));
        let wait = waits.and_then(|answers| self.waits(answers).shown());
        let well = HealthRisk { failure_share: 0, headroom, wait, cooling: None, waiting_full };
        let failures = self.failures.load(Ordering::Acquire);
        if failures == self.forgotten.load(Ordering::Relaxed) {
            return well;
        }
        let (failure_share, left) = self.with_record(now, |record| (record.failure_share(), record.failed));
        if left == 0 && self.breaker.is_closed() {
            self.forgotten.store(failures, Ordering::Relaxed);
        }
        HealthRisk { failure_share, cooling: self.breaker.cooling_at(now), ..well }
    }

    /// Plain figures. `now` is the monotonic time.
    fn view_at(&self, now: Duration) -> HealthView {
        let (failure_share, wait) = (self.with_record(now, |record| record.failure_share()), self.streamed.shown());
        HealthView { failure_share, wait, cooling: self.breaker.cooling_at(now), waiting_full: self.waiting.is_full() }
    }

    /// Takes what an answer tells of its provider's rate limits.
    pub fn told(&self, limits: &RateLimits) {
        if *limits != RateLimits::default() && self.headroom.told(limits, self.clock.monotonic()) {
            self.marked.set();
        }
    }

    fn waits(&self, answers: Answers) -> &Waits {
        match answers {
            Answers::Streamed => &self.streamed,
            Answers::Whole => &self.whole,
        }
    }

    fn with_record<T>(&self, now: Duration, then: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.decay(now);
        then(&mut record)
    }
}

/// One attempt at one backend. Dropped without a report (the client left, a race was lost) it gives back its place and
/// teaches nothing.
#[must_use = "an attempt that is dropped gives back its place and teaches nothing"]
pub struct BackendAttempt {
    health: Arc<BackendHealth>,
    began: Duration,
    place: Option<WaitingGuard>,
    permit: Permit,
}

impl BackendAttempt {
    /// The first meaningful byte is here: the wait is over. Further calls change nothing.
    pub fn answered(&mut self, answers: Answers) {
        if self.place.take().is_some() {
            self.permit.answered();
            self.waited(answers);
        }
    }

    /// The wait so far is a lesson, whether it ended with an answer or with the patience of whoever waited.
    pub fn waited(&self, answers: Answers) {
        let now = self.health.clock.monotonic();
        self.health.waits(answers).add(now.saturating_sub(self.began), now);
    }

    /// The answer came to its proper end.
    pub fn succeeded(self) {
        self.health.with_record(self.health.clock.monotonic(), |record| record.add(false));
        self.permit.succeeded();
    }

    /// It failed, before or within the answer. A failure that is the request's own fault counts as an answer.
    pub fn failed(self, failure: Failure, retry_after: Option<Duration>) {
        let now = self.health.clock.monotonic();
        self.health.with_record(now, |record| record.add(failure.blames_backend()));
        if failure == Failure::Told(ErrorClass::RateLimited) {
            self.health.headroom.refused(retry_after, now);
        }
        // A wrong key or an empty account is for the operator to mend, and clients are only told that nobody answers.
        if let Some(cooling) = self.permit.failed(failure, retry_after) {
            let (backend, cause, seconds) = (&self.health.id, failure.word(), cooling.as_secs());
            let remedy = failure.remedy();
            tracing::warn!(%backend, cause, seconds, remedy, "the backend fails and is left alone for a while");
        }
        // Last: whoever sees the count sees what it counts.
        self.health.failures.fetch_add(1, Ordering::Release);
        self.health.marked.set();
    }
}

/// One attempt, in the unit of the decaying counts: so fine that rounding down each tick does not show in millionths.
const ATTEMPT: u64 = 1 << 32;
/// What is left of a count after one tick of a second, in 2⁻³²: the sixtieth root of a half.
const LEFT_PER_TICK: u64 = 4_245_635_389;
/// Imagined good attempts before the first real one.
const PRIOR: u64 = 10 * ATTEMPT;
/// After this many ticks nothing is left of any count that fits.
const FORGOTTEN_AFTER: u64 = 4000;

/// Decaying counts of one backend.
#[derive(Default)]
struct Record {
    tick: u64,
    attempts: u64,
    failed: u64,
}

impl Record {
    fn decay(&mut self, now: Duration) {
        let ticks = now.as_secs().saturating_sub(self.tick);
        if ticks == 0 {
            return;
        }
        self.tick += ticks;
        let left = left_after(ticks);
        self.attempts = scale(self.attempts, left);
        self.failed = scale(self.failed, left);
    }

    fn add(&mut self, failed: bool) {
        self.attempts = self.attempts.saturating_add(ATTEMPT);
        self.failed = self.failed.saturating_add(if failed { ATTEMPT } else { 0 });
    }

    /// In millionths.
    fn failure_share(&self) -> u32 {
        let share = u128::from(self.failed) * 1_000_000 / u128::from(self.attempts.saturating_add(PRIOR));
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// What is left of one after so many ticks, in 2⁻³², by repeated squaring.
pub(super) fn left_after(ticks: u64) -> u64 {
    if ticks > FORGOTTEN_AFTER {
        return 0;
    }
    let (mut left, mut power, mut remaining) = (1_u64 << 32, LEFT_PER_TICK, ticks);
    while remaining > 0 {
        if remaining & 1 == 1 {
            left = scale(left, power);
        }
        power = scale(power, power);
        remaining >>= 1;
    }
    left
}

fn scale(count: u64, by: u64) -> u64 {
    u64::try_from((u128::from(count) * u128::from(by)) >> 32).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
