//! How many upstream requests may be made beyond the first of each client request.
//!
//! A limit per request ("at most three attempts") multiplies load exactly when providers are least able to bear it: with
//! every first attempt failing, three attempts are three times the traffic. A budget over all requests cannot: each client
//! request deposits a share of one extra request, each extra one (failover, hedge) withdraws a whole one, so
//! in an outage the upstream sees at most that share more. The racers of a plan are not extra in this sense: their client
//! asks for them in good times as well, so that an outage makes no more of them. A floor per second lets a quiet gateway, which has deposited
//! nothing, still fail over; the reserve is bounded, so that a busy hour does not save up a storm.
//!
//! Not here: which failures are worth another attempt, and which backend gets it. That is the plan's and the error's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

/// One extra request, in the unit of the bucket: thousandths, so that a share of it is a whole number.
const WHOLE: u64 = 1000;

/// The floor saves up for this long at most.
const FLOOR_SECONDS: u64 = 10;

/// Deposits save up at most this many extra requests: a second's worth at a thousand requests a second and 20 %.
const RESERVE: u64 = 200 * WHOLE;

/// The budget of the whole gateway.
pub struct RetryBudget {
    clock: SharedClock,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    /// Thousandths of an extra request that one client request deposits.
    deposit: u64,
    floor_per_second: u64,
    /// Thousandths of an extra request.
    balance: u64,
    /// Up to when the floor was paid in.
    floor_paid: Duration,
}

impl RetryBudget {
    /// `share_percent` extra requests per hundred client requests, and `floor_per_second` in any case. Starts with what the
    /// floor can save up.
    pub fn new(clock: SharedClock, share_percent: u32, floor_per_second: u32) -> Self {
        let floor_per_second = u64::from(floor_per_second);
        let mut bucket = Bucket { deposit: share_of(share_percent), floor_per_second, balance: 0, floor_paid: clock.monotonic() };
        bucket.balance = bucket.floor_reserve();
        Self { clock, bucket: Mutex::new(bucket) }
    }

    /// Other rates from now on. What is saved up stays, within what the new ones may save.
    pub fn adjust(&self, share_percent: u32, floor_per_second: u32) {
        let mut bucket = self.up_to_date();
        (bucket.deposit, bucket.floor_per_second) = (share_of(share_percent), u64::from(floor_per_second));
        bucket.balance = bucket.balance.min(bucket.most());
    }

    /// A client request has come: pays in its share.
    pub fn deposit(&self) {
        let mut bucket = self.up_to_date();
        bucket.balance = bucket.balance.saturating_add(bucket.deposit).min(bucket.most());
    }

    /// Takes one extra request out; `false` when there is none, and then it must not be made.
    pub fn try_spend(&self) -> bool {
        let mut bucket = self.up_to_date();
        let enough = bucket.balance >= WHOLE;
        if enough {
            bucket.balance -= WHOLE;
        }
        enough
    }

    /// Gives back one that was taken and not made.
    pub fn give_back(&self) {
        let mut bucket = self.up_to_date();
        bucket.balance = bucket.balance.saturating_add(WHOLE).min(bucket.most());
    }

    /// Whole extra requests that could be made now.
    pub fn available(&self) -> u64 {
        self.up_to_date().balance / WHOLE
    }

    /// The bucket with the floor paid in. The floor fills only its own small reserve, not the one of deposits.
    fn up_to_date(&self) -> MutexGuard<'_, Bucket> {
        let now = self.clock.monotonic();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // One per second is a thousandth per millisecond. Parts of a millisecond wait for the next time.
        let millis = u64::try_from(now.saturating_sub(bucket.floor_paid).as_millis()).unwrap_or(u64::MAX);
        bucket.floor_paid = bucket.floor_paid.saturating_add(Duration::from_millis(millis));
        let paid = bucket.balance.saturating_add(millis.saturating_mul(bucket.floor_per_second));
        bucket.balance = bucket.balance.max(paid.min(bucket.floor_reserve()));
        bucket
    }
}

impl Bucket {
    fn floor_reserve(&self) -> u64 {
        self.floor_per_second * FLOOR_SECONDS * WHOLE
    }

    fn most(&self) -> u64 {
        RESERVE.max(self.floor_reserve())
    }
}

/// A share in percent as thousandths of a whole request.
fn share_of(percent: u32) -> u64 {
    u64::from(percent) * WHOLE / 100
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    fn budget(share_percent: u32, floor_per_second: u32) -> (Arc<ManualClock>, RetryBudget) {
        let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let shared: SharedClock = clock.clone();
        (clock, RetryBudget::new(shared, share_percent, floor_per_second))
    }

    #[test]
    fn other_rates_count_at_once_and_keep_what_is_saved_up() {
        let (clock, budget) = budget(100, 0);
        (0..5).for_each(|_| budget.deposit());
        budget.adjust(50, 2);
        assert_eq!(budget.available(), 5);
        (0..4).for_each(|_| budget.deposit());
        assert_eq!(spend_all(&budget), 7);
        clock.advance(Duration::from_secs(3));
        assert_eq!(spend_all(&budget), 6);
        budget.adjust(0, 0);
        clock.advance(Duration::from_mins(1));
        assert_eq!(spend_all(&budget), 0);
    }

    #[test]
    fn one_that_was_not_made_is_given_back_and_no_more_is_saved_up_by_it() {
        let (_clock, budget) = budget(100, 0);
        (0..3).for_each(|_| budget.deposit());
        assert!(budget.try_spend());
        budget.give_back();
        assert_eq!(budget.available(), 3);
        (0..1_000).for_each(|_| budget.deposit());
        let most = budget.available();
        budget.give_back();
        assert_eq!(budget.available(), most);
    }

    fn spend_all(budget: &RetryBudget) -> u64 {
        std::iter::from_fn(|| budget.try_spend().then_some(())).count() as u64
    }

    #[test]
    fn a_share_of_the_requests_may_be_repeated() {
        let (_, budget) = budget(20, 0);
        assert!(!budget.try_spend());
        for _ in 0..50 {
            budget.deposit();
        }
        assert_eq!(budget.available(), 10);
        assert_eq!(spend_all(&budget), 10);
    }

    #[test]
    fn a_quiet_gateway_can_fail_over() {
        let (clock, budget) = budget(20, 3);
        assert_eq!(spend_all(&budget), 30, "starts full");
        clock.advance(Duration::from_millis(1001));
        assert_eq!(spend_all(&budget), 3);
        clock.advance(Duration::from_hours(1));
        assert_eq!(spend_all(&budget), 30, "an hour of silence saves up ten seconds");
    }

    #[test]
    fn parts_of_a_millisecond_are_not_lost() {
        let (clock, budget) = budget(0, 1);
        spend_all(&budget);
        for _ in 0..4000 {
            clock.advance(Duration::from_micros(250));
            budget.deposit();
        }
        assert_eq!(spend_all(&budget), 1);
    }

    #[test]
    fn a_busy_hour_saves_up_no_storm() {
        let (_, budget) = budget(20, 0);
        for _ in 0..1_000_000 {
            budget.deposit();
        }
        assert_eq!(spend_all(&budget), 200);
    }

    proptest! {
        /// In whatever order requests come and fail: extra requests never exceed share plus floor plus the first reserve.
        #[test]
        fn an_outage_is_never_made_worse(steps in proptest::collection::vec((0_u64..400, 0_u8..4), 1..200)) {
            let (clock, budget) = budget(20, 3);
            let (mut requests, mut extra, mut millis) = (0_u64, 0_u64, 0_u64);
            for (wait, attempts) in steps {
                clock.advance(Duration::from_millis(wait));
                millis += wait;
                budget.deposit();
                requests += 1;
                extra += (0..attempts).filter(|_| budget.try_spend()).count() as u64;
                prop_assert!(extra * 1000 <= 30_000 + requests * 200 + millis * 3);
            }
        }
    }
}
