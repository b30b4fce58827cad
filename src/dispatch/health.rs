//! How each backend fares: the one door to its breaker and its places, and the memory of how it did.
//!
//! The dispatcher enters a backend once per attempt and reports once how it went; the router reads plain figures before.
//! The failure share is a mean over the recent past in which an attempt's weight halves every minute: a share per window
//! would jump when the window turns, and a share since start would never forget. It is whole numbers in fixed ticks of a
//! second, so that it depends on what happened when, not on how often somebody looked. Ten imagined good attempts stand
//! before the first real one: a single failure of a fresh backend is no proof.
//!
//! Kept by the backend's id, so a reload of the table forgets nothing about backends that stay. Lives in this process only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::breaker::{Breaker, BreakerSettings, Cooling, Failure, Permit};
use super::concurrency::{MostWaiting, Saturated, Waiting, WaitingGuard};
use crate::clock::SharedClock;
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
    /// Time to the first token, averaged over the last attempts; `None` before the first answer.
    pub first_token: Option<Duration>,
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

    /// The backends of one table, in its order. Made once per table, so that a request looks nothing up by name.
    pub fn roster<'a>(&self, ids: impl IntoIterator<Item = &'a BackendId>) -> Roster {
        Roster { clock: Arc::clone(&self.clock), backends: ids.into_iter().map(|id| self.of(id)).collect() }
    }

    /// Forgets what counts against a backend: it is reached by another address or key now, of which nothing is known yet.
    pub fn trust_again(&self, id: &BackendId) {
        self.of(id).trust_again();
    }

    /// Drops what is known of backends that the table no longer names. Attempts under way keep theirs to their end.
    pub fn keep_only(&self, named: impl Fn(&BackendId) -> bool) {
        self.backends.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| named(id));
    }
}

/// The backends of one table.
pub struct Roster {
    clock: SharedClock,
    backends: Vec<Arc<BackendHealth>>,
}

impl Roster {
    /// What counts against those at these places in the table's order, at one moment; with their places.
    pub fn risks(&self, places: impl Iterator<Item = usize>) -> impl Iterator<Item = (usize, HealthRisk)> {
        let now = self.clock.monotonic();
        places.filter_map(move |place| Some((place, self.backends.get(place)?.risk_at(now))))
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
    /// Failures reported so far, and up to which of them nothing is left to tell. While the two are equal, a request that
    /// looks at all backends need not ask this one's record and breaker.
    failures: AtomicU64,
    forgotten: AtomicU64,
}

impl BackendHealth {
    fn new(id: &BackendId, of: &Health) -> Arc<Self> {
        Arc::new(Self {
            id: id.clone(),
            clock: Arc::clone(&of.clock),
            breaker: Breaker::new(Arc::clone(&of.clock), of.breaker),
            waiting: Waiting::new(&of.most_waiting),
            record: Mutex::default(),
            failures: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        })
    }

    /// Asks to send a request.
    pub fn enter(self: &Arc<Self>) -> Result<BackendAttempt, Refused> {
        let place = self.waiting.enter()?;
        let permit = self.breaker.admit()?;
        Ok(BackendAttempt { health: Arc::clone(self), began: self.clock.monotonic(), place: Some(place), permit })
    }

    fn trust_again(&self) {
        self.breaker.reset();
        self.with_record(self.clock.monotonic(), |record| (record.attempts, record.failed) = (0, 0));
    }

    /// What counts against it now. `now` is the monotonic time, read once for many backends.
    fn risk_at(&self, now: Duration) -> HealthRisk {
        let waiting_full = self.waiting.is_full();
        let failures = self.failures.load(Ordering::Acquire);
        if failures == self.forgotten.load(Ordering::Relaxed) {
            return HealthRisk { waiting_full, ..HealthRisk::default() };
        }
        let (failure_share, left) = self.with_record(now, |record| (record.failure_share(), record.failed));
        if left == 0 && self.breaker.is_closed() {
            self.forgotten.store(failures, Ordering::Relaxed);
        }
        HealthRisk { failure_share, cooling: self.breaker.cooling_at(now), waiting_full }
    }

    /// Plain figures. `now` is the monotonic time.
    fn view_at(&self, now: Duration) -> HealthView {
        let (failure_share, first_token) = self.with_record(now, |record| (record.failure_share(), record.first_token));
        HealthView { failure_share, first_token, cooling: self.breaker.cooling_at(now), waiting_full: self.waiting.is_full() }
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
    pub fn answered(&mut self) {
        if self.place.take().is_none() {
            return;
        }
        let now = self.health.clock.monotonic();
        self.permit.answered();
        self.health.with_record(now, |record| record.add_first_token(now.saturating_sub(self.began)));
    }

    /// The answer came to its proper end.
    pub fn succeeded(self) {
        self.health.with_record(self.health.clock.monotonic(), |record| record.add(false));
        self.permit.succeeded();
    }

    /// It failed, before or within the answer. A failure that is the request's own fault counts as an answer.
    pub fn failed(self, failure: Failure, retry_after: Option<Duration>) {
        self.health.with_record(self.health.clock.monotonic(), |record| record.add(failure.blames_backend()));
        // A wrong key or an empty account is for the operator to mend, and clients are only told that nobody answers.
        if let Some(cooling) = self.permit.failed(failure, retry_after) {
            let (backend, cause, seconds) = (&self.health.id, failure.word(), cooling.as_secs());
            let remedy = failure.remedy();
            tracing::warn!(%backend, cause, seconds, remedy, "the backend fails and is left alone for a while");
        }
        // Last: whoever sees the count sees what it counts.
        self.health.failures.fetch_add(1, Ordering::Release);
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
    first_token: Option<Duration>,
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

    /// Each new time counts an eighth, as round trips do in TCP: a dozen attempts settle it, one outlier does not move it far.
    fn add_first_token(&mut self, took: Duration) {
        self.first_token = Some(self.first_token.map_or(took, |mean| (mean * 7 + took) / 8));
    }

    /// In millionths.
    fn failure_share(&self) -> u32 {
        let share = u128::from(self.failed) * 1_000_000 / u128::from(self.attempts.saturating_add(PRIOR));
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// What is left of one after so many ticks, in 2⁻³², by repeated squaring.
fn left_after(ticks: u64) -> u64 {
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
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::canonical::event::ErrorClass;
    use crate::clock::ManualClock;

    const BAD_REQUEST: Failure = Failure::Told(ErrorClass::BadRequest);

    fn health(most_waiting: u32) -> (Arc<ManualClock>, Health, BackendId) {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let shared: SharedClock = clock.clone();
        let settings = HealthSettings { most_waiting, ..HealthSettings::default() };
        (clock, Health::new(shared, settings), BackendId::new("north", "small"))
    }

    fn risks(roster: &Roster) -> impl Iterator<Item = HealthRisk> {
        roster.risks(0..roster.backends.len()).map(|(_, risk)| risk)
    }

    #[test]
    fn the_failure_share_rises_and_is_forgotten() {
        let (clock, health, id) = health(8);
        assert_eq!(health.view(&id), HealthView::default());
        health.enter(&id).unwrap().failed(Failure::Timeout, None);
        assert_eq!(health.view(&id).failure_share, 90_909, "one of one with ten imagined good ones");
        health.enter(&id).unwrap().succeeded();
        health.enter(&id).unwrap().failed(BAD_REQUEST, None);
        assert_eq!(health.view(&id).failure_share, 76_923, "one of three");
        clock.advance(Duration::from_mins(1));
        let halved = health.view(&id).failure_share;
        assert!(halved.abs_diff(43_478) <= 1, "half of one in ten and three halves: {halved}");
        clock.advance(Duration::from_hours(2));
        assert_eq!(health.view(&id).failure_share, 0);
    }

    #[test]
    fn the_decay_does_not_depend_on_how_often_one_looks() {
        let share_after = |looks: u64| {
            let (clock, health, id) = health(8);
            health.enter(&id).unwrap().failed(Failure::Cut, None);
            for _ in 0..looks {
                clock.advance(Duration::from_mins(2) / u32::try_from(looks).unwrap());
                health.view(&id);
            }
            health.view(&id).failure_share
        };
        assert!(share_after(1).abs_diff(share_after(480)) <= 2);
        assert!(share_after(1).abs_diff(24_390) <= 2, "a quarter of one in ten and a quarter");
    }

    #[test]
    fn a_place_is_held_until_the_first_byte() {
        let (clock, health, id) = health(1);
        let mut attempt = health.enter(&id).unwrap();
        assert!(matches!(health.enter(&id), Err(Refused::Saturated(Saturated { most: 1 }))));
        assert!(health.view(&id).waiting_full);
        clock.advance(Duration::from_millis(800));
        attempt.answered();
        assert_eq!(health.view(&id).first_token, Some(Duration::from_millis(800)));
        let mut second = health.enter(&id).unwrap();
        clock.advance(Duration::from_millis(1600));
        attempt.answered();
        second.answered();
        assert_eq!(health.view(&id).first_token, Some(Duration::from_millis(900)), "an eighth of 1600, seven of 800");
        attempt.succeeded();
        second.succeeded();
    }

    #[test]
    fn an_attempt_that_is_dropped_gives_back_everything_and_teaches_nothing() {
        let (clock, health, id) = health(1);
        drop(health.enter(&id).unwrap());
        assert_eq!(health.view(&id), HealthView::default());
        for _ in 0..5 {
            health.enter(&id).unwrap().failed(Failure::Connect, None);
        }
        assert!(matches!(health.enter(&id), Err(Refused::Cooling(_))));
        assert!(!health.view(&id).waiting_full, "a refusal keeps no place");
        assert_eq!(health.view(&id).cooling, Some(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(5));
        drop(health.enter(&id).unwrap());
        health.enter(&id).unwrap().succeeded();
        assert_eq!(health.view(&id).cooling, None);
    }

    #[test]
    fn a_cut_stream_counts_once_and_against_the_backend() {
        let (_, health, id) = health(4);
        for _ in 0..5 {
            let mut attempt = health.enter(&id).unwrap();
            attempt.answered();
            attempt.failed(Failure::Cut, None);
        }
        assert!(health.view(&id).cooling.is_some());
        assert_eq!(health.view(&id).failure_share, 333_333, "five of fifteen");
    }

    #[test]
    fn backends_are_kept_by_id_and_dropped_when_unnamed() {
        let (_, health, id) = health(4);
        let other = BackendId::new("south", "small");
        health.enter(&id).unwrap().failed(Failure::Timeout, None);
        health.enter(&other).unwrap().failed(Failure::Timeout, None);
        assert!(Arc::ptr_eq(&health.of(&id), &health.of(&BackendId::new("north", "small"))));
        health.keep_only(|named| *named == id);
        assert!(health.view(&id).failure_share > 0);
        assert_eq!(health.view(&other).failure_share, 0);
    }

    #[test]
    fn a_backend_that_is_reached_otherwise_begins_anew() {
        let (clock, health, id) = health(4);
        let before = health.enter(&id).unwrap();
        health.enter(&id).unwrap().failed(Failure::Told(ErrorClass::Auth), None);
        assert_eq!(health.view(&id).cooling, Some(Duration::from_mins(1)));
        health.trust_again(&id);
        assert_eq!(health.view(&id), HealthView::default());
        before.failed(Failure::Told(ErrorClass::Auth), None);
        assert_eq!(health.view(&id).cooling, None, "it was sent with the old key");
        clock.advance(Duration::from_secs(1));
        health.enter(&id).unwrap().failed(Failure::Told(ErrorClass::Auth), None);
        assert!(health.view(&id).cooling.is_some(), "the new key is no better");
    }

    #[test]
    fn a_roster_sees_what_happens_after_it_was_made() {
        let (_, health, id) = health(4);
        let other = BackendId::new("south", "small");
        let roster = health.roster([&other, &id]);
        health.enter(&id).unwrap().failed(Failure::Timeout, None);
        let shares = || risks(&roster).map(|risk| risk.failure_share).collect::<Vec<_>>();
        assert_eq!(shares(), [0, health.view(&id).failure_share]);
        roster.get(0).unwrap().enter().unwrap().failed(Failure::Timeout, None);
        assert_eq!(shares(), [health.view(&other).failure_share, health.view(&id).failure_share]);
        assert!(health.view(&other).failure_share > 0 && roster.get(2).is_none());
    }

    /// What nobody failed at, or everybody has forgotten, is answered without a look at the record: as the record would.
    #[test]
    fn the_short_way_says_what_the_long_one_says() {
        let (clock, health, id) = health(1);
        let roster = health.roster([&id]);
        let check = |what: &str| {
            let HealthView { failure_share, cooling, waiting_full, .. } = health.view(&id);
            let long = HealthRisk { failure_share, cooling, waiting_full };
            assert_eq!(risks(&roster).collect::<Vec<_>>(), [long], "{what}");
            assert_eq!(risks(&roster).collect::<Vec<_>>(), [long], "{what}, again");
        };
        check("nothing has happened");
        let waits = health.enter(&id).unwrap();
        check("one waits");
        waits.failed(Failure::Told(ErrorClass::RateLimited), Some(Duration::from_secs(90)));
        check("told to stay away");
        clock.advance(Duration::from_secs(91));
        check("may be asked again");
        let probe = health.enter(&id).unwrap();
        check("being probed");
        probe.succeeded();
        check("back");
        clock.advance(Duration::from_hours(3));
        check("all is forgotten");
        health.enter(&id).unwrap().failed(Failure::Timeout, None);
        check("and failed again");
        assert!(risks(&roster).all(|risk| risk.failure_share > 0));
    }

    #[test]
    fn sixty_ticks_leave_a_half() {
        assert_eq!(left_after(0), 1 << 32);
        assert!(left_after(60).abs_diff(1 << 31) < 100);
        assert!(left_after(FORGOTTEN_AFTER) < 100);
        assert_eq!(left_after(u64::MAX), 0);
    }
}
