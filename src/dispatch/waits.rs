//! How long a backend takes until its answer begins: a mean and a spread that forget.
//!
//! Both are sums in which an attempt's weight halves every five minutes, with one imagined attempt of an unknown backend
//! before the first: one slow answer of a fresh backend is no proof. The time between two attempts counts, not how often
//! somebody looks; a backend that nobody asks keeps its last figures. Streams and whole answers are kept apart, since the
//! latter begin when they end. Reading is one load. Whole numbers in milliseconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::health::left_after;
use crate::route::Wait;
use crate::route::risk::UNKNOWN;

/// Seconds in a tick; sixty ticks leave a half.
const TICK_SECONDS: u64 = 5;
/// One attempt's weight.
const ATTEMPT: u64 = 1 << 32;

/// The waits of one backend for one kind of answer.
#[derive(Debug, Default)]
pub struct Waits {
    sums: Mutex<Sums>,
    /// Mean and spread as they were after the last attempt; zero before the first.
    shown: AtomicU64,
}

#[derive(Debug, Default)]
struct Sums {
    tick: u64,
    weight: u64,
    /// Milliseconds times weight.
    waits: u128,
    /// Distances from the mean, likewise.
    distances: u128,
}

impl Waits {
    /// Takes the wait of one attempt.
    pub fn add(&self, took: Duration, now: Duration) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = sums.add(took, now);
        let packed = u64::from(wait.mean_ms.max(1)) << 32 | u64::from(wait.spread_ms);
        self.shown.store(packed, Ordering::Relaxed);
    }

    /// Mean and spread; `None` before the first attempt.
    pub fn shown(&self) -> Option<Wait> {
        let packed = self.shown.load(Ordering::Relaxed);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (packed != 0).then(|| Wait { mean_ms: half(packed >> 32), spread_ms: half(packed) })
    }
}

impl Sums {
    fn add(&mut self, took: Duration, now: Duration) -> Wait {
        let ticks = (now.as_secs() / TICK_SECONDS).saturating_sub(self.tick);
        self.tick += ticks;
        let left = left_after(ticks);
        let scaled = |sum: u128| ((sum >> 16) * u128::from(left)) >> 16;
        (self.weight, self.waits, self.distances) =
            (u64::try_from(scaled(u128::from(self.weight))).unwrap_or(0), scaled(self.waits), scaled(self.distances));
        let took = took.as_millis().min(u128::from(u32::MAX));
        self.weight = self.weight.saturating_add(ATTEMPT);
        self.waits = self.waits.saturating_add(took * u128::from(ATTEMPT));
        let mean = self.mean();
        self.distances = self.distances.saturating_add(took.abs_diff(mean) * u128::from(ATTEMPT));
        let small = |ms: u128| u32::try_from(ms).unwrap_or(u32::MAX);
        Wait { mean_ms: small(mean), spread_ms: small(self.with_prior(self.distances, UNKNOWN.spread_ms)) }
    }

    fn mean(&self) -> u128 {
        self.with_prior(self.waits, UNKNOWN.mean_ms)
    }

    fn with_prior(&self, sum: u128, prior: u32) -> u128 {
        (sum + u128::from(prior) * u128::from(ATTEMPT)) / u128::from(self.weight.saturating_add(ATTEMPT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits in milliseconds at seconds, and what is then shown.
    fn check(waits: &[(u64, u64)], mean: std::ops::RangeInclusive<u32>, spread: std::ops::RangeInclusive<u32>) {
        let all = Waits::default();
        assert_eq!(all.shown(), None);
        for (second, ms) in waits {
            all.add(Duration::from_millis(*ms), Duration::from_secs(*second));
        }
        let shown = all.shown().unwrap();
        assert!(mean.contains(&shown.mean_ms) && spread.contains(&shown.spread_ms), "{shown:?}");
    }

    #[test]
    fn one_attempt_is_no_proof_and_many_are() {
        check(&[(0, 500)], 1000..=1000, 750..=750);
        let many: Vec<_> = (0..100).map(|n| (n, 500)).collect();
        check(&many, 500..=530, 0..=80);
        let unsteady: Vec<_> = (0..200).map(|n| (n, if n % 2 == 0 { 200 } else { 1800 })).collect();
        check(&unsteady, 950..=1050, 750..=850);
    }

    #[test]
    fn what_is_long_ago_counts_little() {
        let slow_then_quick: Vec<_> = (0..50).map(|n| (n, 5000)).chain((3600..3610).map(|n| (n, 300))).collect();
        check(&slow_then_quick, 300..=450, 0..=400);
        let at_once: Vec<_> = (0..50).map(|n| (n, 5000)).chain((50..60).map(|n| (n, 300))).collect();
        check(&at_once, 4000..=4400, 0..=2500);
    }

    #[test]
    fn extremes_are_numbers() {
        let all = Waits::default();
        for _ in 0..1000 {
            all.add(Duration::MAX, Duration::MAX);
        }
        assert!(all.shown().unwrap().mean_ms > 4_000_000_000);
        all.add(Duration::ZERO, Duration::ZERO);
    }
}
