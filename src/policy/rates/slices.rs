//! Limits that gateways share: each works on slices of them, as of budgets (`policy/budget/lease.rs`), and never lets more in than
//! its slice. What was taken of a slice comes back with time, so what is used of it shrinks by itself; only what is not used is given
//! back, so that a minute's worth that was used up at one gateway is not there a second time at another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Bucket, Counted, ONE, State, Throttle, Throttles};
use crate::policy::budget::Payer;

/// Of each limit, what may be taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slices {
    pub(super) requests: u64,
    pub(super) tokens: u64,
    pub(super) at_once: u64,
}

impl Slices {
    fn of(&mut self, counted: Counted) -> &mut u64 {
        match counted {
            Counted::Requests => &mut self.requests,
            Counted::Tokens => &mut self.tokens,
            Counted::AtOnce => &mut self.at_once,
        }
    }
}

/// A limit as its lender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicedLimit {
    pub payer: Payer,
    pub counted: Counted,
    pub limit: u64,
    /// Taken here and not come back yet.
    pub used: u64,
    /// What may be used here.
    pub granted: u64,
}

/// Every throttle that gateways share, as far as this one has them.
#[derive(Debug, Clone, Default)]
pub struct SharedThrottles(Arc<Mutex<BTreeMap<Payer, Arc<Throttle>>>>);

impl SharedThrottles {
    /// From now on its limits are of all gateways together.
    pub fn share(&self, throttle: &Arc<Throttle>) {
        throttle.state().slices.get_or_insert_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(throttle.payer.clone(), Arc::clone(throttle));
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Throttle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl State {
    /// What was taken of a limit and has not come back yet.
    fn used_of(&self, counted: Counted) -> u64 {
        let owed = |bucket: &Bucket| u64::try_from(bucket.owed.div_ceil(ONE)).unwrap_or(u64::MAX);
        match counted {
            Counted::Requests => owed(&self.requests),
            Counted::Tokens => owed(&self.tokens),
            Counted::AtOnce => self.under_way,
        }
    }

    fn limit_of(&self, counted: Counted) -> Option<u64> {
        match counted {
            Counted::Requests => self.rates.requests_per_minute,
            Counted::Tokens => self.rates.tokens_per_minute,
            Counted::AtOnce => self.rates.at_once,
        }
    }
}

impl Throttle {
    /// How each of its limits stands, where gateways share them.
    pub fn sliced(&self, now: Duration) -> Vec<SlicedLimit> {
        let mut state = self.state();
        state.leak(now);
        let Some(mut slices) = state.slices else { return Vec::new() };
        let seen = [Counted::Requests, Counted::Tokens, Counted::AtOnce].into_iter().filter_map(|counted| {
            let (limit, used, granted) = (state.limit_of(counted)?, state.used_of(counted), *slices.of(counted));
            Some(SlicedLimit { payer: self.payer.clone(), counted, limit, used, granted })
        });
        seen.collect()
    }

    /// Keeps no more of a slice than is used, before the rest is given back. Answers what is kept.
    pub fn keep(&self, counted: Counted, now: Duration) -> u64 {
        let mut state = self.state();
        state.leak(now);
        let used = state.used_of(counted);
        let Some(slices) = &mut state.slices else { return 0 };
        let slice = slices.of(counted);
        *slice = (*slice).min(used);
        *slice
    }

    /// A slice was handed out.
    pub fn grant(&self, counted: Counted, slice: u64, now: Duration) {
        let mut state = self.state();
        // What comes back until now does so by the slice of until now.
        state.leak(now);
        if let Some(slices) = &mut state.slices {
            *slices.of(counted) = slice;
        }
    }
}

impl Throttles {
    /// Each throttle, with what it has of which limit.
    pub fn sliced(&self, now: Duration) -> Vec<(Arc<Throttle>, SlicedLimit)> {
        self.0.iter().flat_map(|throttle| throttle.sliced(now).into_iter().map(|limit| (Arc::clone(throttle), limit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rates;
    use crate::units::Tokens;

    const MINUTE: Duration = Duration::from_mins(1);

    fn shared(requests: u64) -> (Arc<Throttle>, Arc<Throttles>) {
        let throttle = Throttle::of(Payer::Gateway);
        throttle.set(Rates { requests_per_minute: Some(requests), at_once: Some(3), ..Rates::default() });
        SharedThrottles::default().share(&throttle);
        let all = Throttles::of([Arc::clone(&throttle)]).unwrap();
        (throttle, all)
    }

    fn pass(limits: &Arc<Throttles>, now: Duration) -> bool {
        limits.pass(Tokens::ZERO, now).is_ok_and(|passage| {
            passage.end(Tokens::ZERO, now);
            true
        })
    }

    #[test]
    fn no_more_is_let_in_than_the_slice_and_what_was_used_is_not_given_back() {
        let (throttle, limits) = shared(60);
        let now = MINUTE;
        assert!(!pass(&limits, now), "nothing was handed out yet");
        throttle.grant(Counted::Requests, 10, now);
        assert!(!pass(&limits, now), "none at once");
        throttle.grant(Counted::AtOnce, 2, now);
        assert_eq!((0..20).filter(|_| pass(&limits, now)).count(), 10);
        let refused = limits.pass(Tokens::ZERO, now).unwrap_err();
        assert_eq!((refused.limit, refused.retry_after), (60, Some(Duration::from_secs(6))));
        assert_eq!(refused.standing.requests.map(|lane| (lane.limit, lane.remaining)), Some((60, 0)));
        assert_eq!(throttle.keep(Counted::Requests, now), 10);
        // Half of it has come back, and that half can be used elsewhere.
        assert_eq!(throttle.keep(Counted::Requests, now + MINUTE / 2), 5);
        let all = throttle.sliced(now + MINUTE / 2);
        let told: Vec<_> = all.iter().map(|limit| (limit.counted, limit.limit, limit.used, limit.granted)).collect();
        assert_eq!(told, [(Counted::Requests, 60, 5, 5), (Counted::AtOnce, 3, 0, 2)]);
        throttle.grant(Counted::Requests, 8, now + MINUTE / 2);
        assert_eq!((0..20).filter(|_| pass(&limits, now + MINUTE / 2)).count(), 3);
    }

    #[test]
    fn requests_under_way_keep_their_places() {
        let (throttle, limits) = shared(600);
        throttle.grant(Counted::Requests, 600, MINUTE);
        throttle.grant(Counted::AtOnce, 2, MINUTE);
        let one = limits.pass(Tokens::ZERO, MINUTE).unwrap();
        assert_eq!(throttle.keep(Counted::AtOnce, MINUTE), 1);
        assert!(limits.pass(Tokens::ZERO, MINUTE).is_err());
        one.end(Tokens::ZERO, MINUTE);
        assert!(pass(&limits, MINUTE));
    }
}
