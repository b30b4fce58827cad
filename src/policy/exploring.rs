//! The money that may be spent in a day on looking at other backends than the best. What is explored and when is `route`'s;
//! here it is counted: what a request is expected to cost more than the best would have, taken before it is sent.
//!
//! Days are those of UTC. Kept in memory: a restart begins a day anew, with a bound that is small by nature.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::window::BudgetWindow;
use crate::units::Usd;

/// What has been spent today.
#[derive(Debug, Default)]
pub struct Exploring {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    day: Option<Timestamp>,
    spent: Usd,
}

impl Exploring {
    /// What is left of a day's money.
    pub fn left(&self, a_day: Usd, now: Timestamp) -> Usd {
        let spent = self.state(now).spent;
        (a_day - spent).max(Usd::ZERO)
    }

    /// Takes an amount where so much is left; the check and the taking are one step.
    pub fn take(&self, amount: Usd, a_day: Usd, now: Timestamp) -> bool {
        let mut state = self.state(now);
        let fits = state.spent + amount <= a_day;
        if fits {
            state.spent += amount;
        }
        fits
    }

    fn state(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let day = BudgetWindow::Day.utc().start(now);
        if day > state.day {
            *state = State { day, spent: Usd::ZERO };
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_money_and_no_more() {
        let (exploring, a_day) = (Exploring::default(), Usd::from_pico(10));
        let at = |text: &str| text.parse().unwrap();
        let take = |pico, now| exploring.take(Usd::from_pico(pico), a_day, at(now));
        assert!(take(6, "2026-11-22T10:00:00Z"));
        assert!(!take(5, "2026-11-22T10:00:01Z"));
        assert_eq!(exploring.left(a_day, at("2026-11-22T23:59:59Z")).pico(), 4);
        assert!(take(4, "2026-11-22T23:59:59Z") && !take(1, "2026-11-22T23:59:59Z"));
        assert_eq!(exploring.left(a_day, at("2026-11-23T00:00:00Z")), a_day);
        assert_eq!(exploring.left(Usd::ZERO, at("2026-11-23T00:00:00Z")), Usd::ZERO);
    }
}
