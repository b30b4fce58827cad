//! What is left of a backend's rate limit, from what its answers tell and from its refusals. A backend near its limit is
//! to look worse before it refuses; how much worse is `route`'s.
//!
//! Between two answers every request that is sent counts one off what was left. Once a limit was to be whole again, what was
//! told of it is forgotten; where no time was told, after a minute, the usual window. Vendors that tell nothing are known by
//! their refusals: after one, nothing is left until the time they asked to wait, and then it comes back over a minute.
//!
//! While nothing is known, which is mostly, looking costs one load. Whole numbers; instants come in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::dialect::limits::{Left, RateLimits};
use crate::route;
use crate::units::Tokens;

/// Millionths in one.
const ONE: u64 = 1_000_000;
/// How long a limit is believed that does not say when it is whole again; and how long one comes back after a refusal.
const WINDOW: Duration = Duration::from_mins(1);

/// What is known of one backend's limits.
#[derive(Debug, Default)]
pub struct Headroom {
    /// Something is known. Set last and read first.
    known: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: Option<Kept>,
    tokens: Option<Kept>,
    /// Nothing is left until here, after a refusal.
    refused_until: Option<Duration>,
}

/// One limit as it was told.
#[derive(Debug, Clone, Copy)]
struct Kept {
    left: u64,
    limit: u64,
    /// Whole again from here on the monotonic clock.
    whole_at: Duration,
}

impl Headroom {
    /// Takes what an answer tells. Returns whether nothing was known before and something is now.
    pub fn told(&self, limits: &RateLimits, now: Duration) -> bool {
        if limits.requests.is_none() && limits.tokens.is_none() {
            return false;
        }
        let mut state = self.state();
        state.requests = kept(limits.requests, state.requests, now);
        state.tokens = kept(limits.tokens, state.tokens, now);
        !self.known.swap(true, Ordering::AcqRel)
    }

    /// The provider refused for its rate limit.
    pub fn refused(&self, retry_after: Option<Duration>, now: Duration) {
        self.state().refused_until = Some(now.saturating_add(retry_after.unwrap_or(Duration::ZERO)));
        self.known.store(true, Ordering::Release);
    }

    /// One more request goes out.
    pub fn sent(&self) {
        if self.known.load(Ordering::Acquire)
            && let Some(requests) = &mut self.state().requests
        {
            requests.left = requests.left.saturating_sub(1);
        }
    }

    /// Everything is forgotten: another key or address has other limits.
    pub fn forget(&self) {
        *self.state() = State::default();
        self.known.store(false, Ordering::Release);
    }

    /// Whether anything was told, or refused, that may still count.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// What is left at a moment.
    pub fn at(&self, now: Duration) -> route::Headroom {
        if !self.is_known() {
            return route::Headroom::default();
        }
        let mut state = self.state();
        state.expire(now);
        if state.requests.is_none() && state.tokens.is_none() && state.refused_until.is_none() {
            self.known.store(false, Ordering::Release);
        }
        let told = [state.requests, state.tokens].into_iter().flatten().map(Kept::share);
        let left = told.chain(state.refused_until.map(|until| come_back(until, now))).min().unwrap_or(ONE);
        route::Headroom { left: u32::try_from(left).unwrap_or(u32::MAX), tokens: state.tokens.map(|kept| Tokens::new(kept.left)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self, now: Duration) {
        self.requests.take_if(|kept| now >= kept.whole_at);
        self.tokens.take_if(|kept| now >= kept.whole_at);
        self.refused_until.take_if(|until| now >= until.saturating_add(WINDOW));
    }
}

impl Kept {
    fn share(self) -> u64 {
        let share = u128::from(self.left) * u128::from(ONE) / u128::from(self.limit.max(1));
        u64::try_from(share).unwrap_or(ONE).min(ONE)
    }
}

/// A limit whose size is not told is as large as the most that was ever left of it, as far as that is remembered.
fn kept(told: Option<Left>, before: Option<Kept>, now: Duration) -> Option<Kept> {
    let Some(Left { left, limit, resets }) = told else { return before };
    let limit = limit.unwrap_or_else(|| before.map_or(left, |before| before.limit.max(left)));
    Some(Kept { left, limit, whole_at: now.saturating_add(resets.unwrap_or(WINDOW)) })
}

/// How much has come back after a refusal.
fn come_back(until: Duration, now: Duration) -> u64 {
    let since = now.saturating_sub(until).min(WINDOW);
    u64::try_from(since.as_millis() * u128::from(ONE) / WINDOW.as_millis()).unwrap_or(ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn limits(requests: (u64, Option<u64>, Option<u64>), tokens: Option<(u64, u64)>) -> RateLimits {
        let (left, limit, resets) = requests;
        let tokens = tokens.map(|(left, limit)| Left { left, limit: Some(limit), resets: None });
        RateLimits { requests: Some(Left { left, limit, resets: resets.map(seconds) }), tokens }
    }

    fn check(headroom: &Headroom, now: u64, left: u32, tokens: Option<u64>) {
        assert_eq!(headroom.at(seconds(now)), route::Headroom { left, tokens: tokens.map(Tokens::new) }, "after {now} s");
    }

    #[test]
    fn the_scarcest_limit_counts_until_it_is_whole_again() {
        let headroom = Headroom::default();
        check(&headroom, 0, 1_000_000, None);
        headroom.told(&limits((400, Some(500), Some(10)), Some((3_000, 30_000))), seconds(0));
        check(&headroom, 5, 100_000, Some(3_000));
        check(&headroom, 59, 100_000, Some(3_000));
        check(&headroom, 60, 1_000_000, None);
        assert!(!headroom.known.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_sent_counts_off_until_the_next_answer_tells() {
        let headroom = Headroom::default();
        headroom.sent();
        headroom.told(&limits((10, Some(100), None), None), seconds(0));
        (0..4).for_each(|_| headroom.sent());
        check(&headroom, 1, 60_000, None);
        (0..40).for_each(|_| headroom.sent());
        check(&headroom, 1, 0, None);
        headroom.told(&limits((90, Some(100), None), None), seconds(2));
        check(&headroom, 2, 900_000, None);
    }

    #[test]
    fn a_limit_of_unknown_size_is_as_large_as_it_was_seen() {
        let headroom = Headroom::default();
        headroom.told(&limits((200, None, None), None), seconds(0));
        check(&headroom, 0, 1_000_000, None);
        headroom.told(&limits((20, None, None), None), seconds(1));
        check(&headroom, 1, 100_000, None);
    }

    #[test]
    fn a_refusal_is_remembered_for_a_minute_after_the_wait_it_asked_for() {
        let headroom = Headroom::default();
        headroom.refused(Some(seconds(20)), seconds(0));
        check(&headroom, 19, 0, None);
        check(&headroom, 50, 500_000, None);
        check(&headroom, 80, 1_000_000, None);
        headroom.refused(None, seconds(100));
        check(&headroom, 115, 250_000, None);
        headroom.forget();
        check(&headroom, 115, 1_000_000, None);
    }
}
