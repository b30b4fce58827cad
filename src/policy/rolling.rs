//! What was spent where in the recent past, in buckets of five minutes: the memory behind the caps of a portfolio.
//!
//! A window rolls by whole buckets: a bucket counts until all of it has left, so a window is as long as it says and up to
//! five minutes longer, never shorter. Buckets hold sums, not requests, and only for those who got something: a month of
//! traffic over five providers takes about two megabytes, however many requests it was.
//!
//! Instants are of the wall clock, because rows of the books are put in at a start. A clock that goes back is answered by
//! counting into the newest bucket. Whole numbers only; it knows neither caps nor who belongs together.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::units::{ShareOf, Usd};

/// How long a bucket is.
const BUCKET_SECONDS: i64 = 300;
/// The longest window, and what is remembered: 31 days.
pub const LONGEST_SECONDS: i64 = 31 * 86_400;

/// What went to one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Given {
    pub spend: Usd,
    pub requests: u64,
}

impl Given {
    /// The figure that a cap counts: 10⁻¹² dollars, or requests.
    pub fn of(self, what: ShareOf) -> i128 {
        match what {
            ShareOf::Spend => self.spend.pico(),
            ShareOf::Requests => i128::from(self.requests),
        }
    }

    fn add(&mut self, more: Given) {
        self.spend += more.spend;
        self.requests = self.requests.saturating_add(more.requests);
    }
}

/// The number of the bucket that an instant falls into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(i64);

impl Tick {
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(BUCKET_SECONDS))
    }

    /// The oldest bucket of a window of so many seconds whose newest one this is.
    #[must_use]
    pub fn back(self, seconds: i64) -> Self {
        Self(self.0 - seconds.div_euclid(BUCKET_SECONDS) - i64::from(seconds % BUCKET_SECONDS != 0))
    }
}

#[derive(Debug)]
struct Bucket {
    tick: Tick,
    /// By the provider's number.
    given: Vec<(usize, Given)>,
}

/// The buckets, oldest first, without empty ones.
#[derive(Debug, Default)]
pub struct Rolling {
    buckets: VecDeque<Bucket>,
}

impl Rolling {
    /// Puts something into the bucket of an instant. Answers which one it was.
    pub fn add(&mut self, provider: usize, given: Given, at: Tick) -> Tick {
        let place = self.buckets.partition_point(|bucket| bucket.tick < at);
        if self.buckets.get(place).is_none_or(|bucket| bucket.tick != at) {
            self.buckets.insert(place, Bucket { tick: at, given: Vec::new() });
        }
        let sums = &mut self.buckets[place].given;
        match sums.iter_mut().find(|(known, _)| *known == provider) {
            Some((_, sum)) => sum.add(given),
            None => sums.push((provider, given)),
        }
        at
    }

    /// The newest bucket that holds anything.
    pub fn newest(&self) -> Option<Tick> {
        self.buckets.back().map(|bucket| bucket.tick)
    }

    /// What lies in the buckets from one to just before another.
    pub fn between(&self, from: Tick, to: Tick) -> impl Iterator<Item = (usize, Given)> {
        let first = self.buckets.partition_point(|bucket| bucket.tick < from);
        let inside = self.buckets.range(first..).take_while(move |bucket| bucket.tick < to);
        inside.flat_map(|bucket| bucket.given.iter().copied())
    }

    /// What lies in the buckets from one on.
    pub fn since(&self, from: Tick) -> impl Iterator<Item = (usize, Given)> {
        self.between(from, Tick(i64::MAX))
    }

    /// Drops what no window can reach any more.
    pub fn forget_before(&mut self, tick: Tick) {
        let gone = self.buckets.partition_point(|bucket| bucket.tick < tick);
        self.buckets.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Tick {
        Tick::of(Timestamp::from_second(seconds).unwrap())
    }

    fn given(pico: i128) -> Given {
        Given { spend: Usd::from_pico(pico), requests: 1 }
    }

    fn sum(rolling: &Rolling, from: Tick) -> (i128, i128) {
        let all: Vec<Given> = rolling.since(from).map(|(_, given)| given).collect();
        let of = |what| all.iter().map(|given| given.of(what)).sum();
        (of(ShareOf::Spend), of(ShareOf::Requests))
    }

    #[test]
    fn a_bucket_counts_until_all_of_it_has_left() {
        let mut rolling = Rolling::default();
        rolling.add(0, given(5), at(10));
        rolling.add(1, given(7), at(299));
        rolling.add(0, given(11), at(300));
        let window = |now| sum(&rolling, at(now).back(3600));
        assert_eq!(window(3_899), (23, 3), "an hour and the rest of the bucket");
        assert_eq!(window(3_900), (11, 1));
        assert_eq!(window(4_200), (0, 0));
    }

    #[test]
    fn rows_of_the_past_go_where_they_belong() {
        let mut rolling = Rolling::default();
        for (second, pico) in [(6000, 1), (0, 2), (3000, 4), (0, 8)] {
            rolling.add(0, given(pico), at(second));
        }
        assert_eq!(rolling.newest(), Some(at(6000)));
        assert_eq!(sum(&rolling, at(0)), (15, 4));
        assert_eq!(rolling.between(at(0), at(3000)).map(|(_, given)| given.spend.pico()).sum::<i128>(), 10);
        rolling.forget_before(at(3000));
        assert_eq!(sum(&rolling, at(0)), (5, 2));
    }

    #[test]
    fn a_window_is_never_shorter_than_it_says() {
        assert_eq!(at(0).back(300), at(-300));
        assert_eq!(at(0).back(301), at(-600));
        assert_eq!(at(299).back(1), at(-1));
    }
}
