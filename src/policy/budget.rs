//! Budgets as bounds. Before anything is sent, what the plan can cost at most is held against the key's budget; when
//! the request ends, the hold becomes what it really cost. Settled plus held never exceeds the limit, however many
//! requests run at once: hold and check are one step under one short lock.
//!
//! Windows are calendar windows in UTC. At start the settled part is read back from the ledger.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::units::Usd;

/// How long a budget lasts before it refills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetWindow {
    Day,
    Month,
    /// Never refills.
    Total,
}

impl BudgetWindow {
    pub const WORDS: [(BudgetWindow, &'static str); 3] =
        [(BudgetWindow::Day, "day"), (BudgetWindow::Month, "month"), (BudgetWindow::Total, "total")];

    /// When the window that contains `now` began; `None` for one that never began.
    pub fn start(self, now: Timestamp) -> Option<Timestamp> {
        let zoned = now.to_zoned(TimeZone::UTC);
        let start = match self {
            BudgetWindow::Day => zoned.start_of_day(),
            BudgetWindow::Month => zoned.first_of_month().and_then(|day| day.start_of_day()),
            BudgetWindow::Total => return None,
        };
        start.ok().map(|start| start.timestamp())
    }

    /// When the window that contains `now` ends and the budget refills.
    pub fn refills_at(self, now: Timestamp) -> Option<Timestamp> {
        let start = self.start(now)?.to_zoned(TimeZone::UTC);
        let next = match self {
            BudgetWindow::Day => start.checked_add(1.day()),
            BudgetWindow::Month => start.checked_add(1.month()),
            BudgetWindow::Total => return None,
        };
        next.ok().map(|next| next.timestamp())
    }
}

/// A bound on what one key may spend in a window.
#[derive(Debug)]
pub struct Budget {
    limit: Usd,
    window: BudgetWindow,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    window_start: Option<Timestamp>,
    settled: Usd,
    held: Usd,
}

/// How a budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetReport {
    pub limit: Usd,
    pub window: BudgetWindow,
    /// Settled in the window.
    pub spent: Usd,
    /// Set aside for requests under way.
    pub held: Usd,
    /// When the window ends, if it ever does.
    pub refills_at: Option<Timestamp>,
}

/// The budget does not bear the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the budget of {limit} has {left} left and this request may cost {wanted}")]
pub struct OverBudget {
    pub limit: Usd,
    /// Neither spent nor held.
    pub left: Usd,
    /// What the request may cost at most.
    pub wanted: Usd,
    /// When the budget refills, if it ever does.
    pub refills_at: Option<Timestamp>,
}

impl Budget {
    /// A budget of which `settled` is spent in the window that contains `now`.
    pub fn new(limit: Usd, window: BudgetWindow, settled: Usd, now: Timestamp) -> Arc<Self> {
        let state = State { window_start: window.start(now), settled, held: Usd::ZERO };
        Arc::new(Self { limit, window, state: Mutex::new(state) })
    }

    /// Sets money aside, or says why not.
    pub fn hold(self: &Arc<Self>, wanted: Usd, now: Timestamp) -> Result<Hold, OverBudget> {
        self.take(wanted, now)?;
        Ok(Hold { budget: Some(Arc::clone(self)), amount: Mutex::new(wanted) })
    }

    fn take(&self, wanted: Usd, now: Timestamp) -> Result<(), OverBudget> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let window_start = self.window.start(now);
        if window_start > state.window_start {
            // What is held belongs to requests still under way: it stays held, and is settled into the new window.
            state.window_start = window_start;
            state.settled = Usd::ZERO;
        }
        let left = self.limit - state.settled - state.held;
        if wanted > left {
            return Err(OverBudget {
                limit: self.limit,
                left: left.max(Usd::ZERO),
                wanted,
                refills_at: self.window.refills_at(now),
            });
        }
        state.held += wanted;
        Ok(())
    }

    /// How the budget stands at a moment.
    pub fn report(&self, now: Timestamp) -> BudgetReport {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = self.window.start(now) > state.window_start;
        BudgetReport {
            limit: self.limit,
            window: self.window,
            spent: if refilled { Usd::ZERO } else { state.settled },
            held: state.held,
            refills_at: self.window.refills_at(now),
        }
    }

    /// Settled and held so far, for reports.
    pub fn standing(&self) -> (Usd, Usd) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.settled, state.held)
    }

    fn release(&self, held: Usd, cost: Usd) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = state.held - held;
        state.settled += cost;
    }
}

/// Money set aside for one request. Ends once: settled at what the request cost, or released when dropped.
#[derive(Debug, Default)]
pub struct Hold {
    budget: Option<Arc<Budget>>,
    amount: Mutex<Usd>,
}

impl Hold {
    /// The hold of a key without a budget.
    pub fn none() -> Self {
        Self::default()
    }

    pub fn amount(&self) -> Usd {
        *self.amount.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the hold at least this large, or says why not. A request that moves on from an attempt which may be billed
    /// needs money for both.
    pub fn cover(&self, wanted: Usd, now: Timestamp) -> Result<(), OverBudget> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let mut amount = self.amount.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > *amount {
            budget.take(wanted - *amount, now)?;
            *amount = wanted;
        }
        Ok(())
    }

    /// Turns the hold into what the request cost.
    pub fn settle(mut self, cost: Usd) {
        if let Some(budget) = self.budget.take() {
            budget.release(self.amount(), cost);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.release(self.amount(), Usd::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(text: &str) -> Usd {
        Usd::parse(text).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_hold_is_settled_or_released() {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
        let first = budget.hold(usd("0.4"), now).unwrap();
        let refused = budget.hold(usd("0.2"), now).unwrap_err();
        assert_eq!((refused.left, refused.refills_at), (usd("0.1"), Some(at("2026-11-23T00:00:00Z"))));
        first.settle(usd("0.1"));
        drop(budget.hold(usd("0.3"), now).unwrap());
        assert_eq!(budget.standing(), (usd("0.6"), Usd::ZERO));
    }

    #[test]
    fn a_hold_grows_within_the_budget_and_never_shrinks() {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
        let hold = budget.hold(usd("0.2"), now).unwrap();
        assert_eq!(hold.cover(usd("0.4"), now), Ok(()));
        assert_eq!(hold.cover(usd("0.1"), now), Ok(()));
        assert_eq!(hold.cover(usd("0.6"), now).unwrap_err().left, usd("0.1"));
        assert_eq!(budget.standing(), (usd("0.5"), usd("0.4")));
        hold.settle(usd("0.3"));
        assert_eq!(budget.standing(), (usd("0.8"), Usd::ZERO));
        assert_eq!(Hold::none().cover(usd("9"), now), Ok(()));
    }

    #[test]
    fn a_window_refills_and_what_is_held_stays_held() {
        let budget = Budget::new(usd("1"), BudgetWindow::Month, Usd::ZERO, at("2026-11-30T23:59:00Z"));
        let over_midnight = budget.hold(usd("0.8"), at("2026-11-30T23:59:59Z")).unwrap();
        assert!(budget.hold(usd("0.3"), at("2026-12-01T00:00:00Z")).is_err());
        over_midnight.settle(usd("0.1"));
        let november = budget.report(at("2026-12-01T00:00:01Z"));
        assert_eq!((november.spent, november.held), (usd("0.1"), Usd::ZERO));
        assert_eq!(budget.report(at("2027-01-01T00:00:00Z")).spent, Usd::ZERO, "nobody has asked in this window yet");
        assert!(budget.hold(usd("0.9"), at("2026-12-01T00:00:01Z")).is_ok());
        assert_eq!(BudgetWindow::Total.refills_at(at("2026-11-30T00:00:00Z")), None);
    }

    proptest! {
        #[test]
        fn settled_plus_held_never_exceeds_the_limit(steps in proptest::collection::vec((0_i128..50, 0_i128..50, any::<bool>()), 1..60)) {
            let now = at("2026-11-22T10:00:00Z");
            let budget = Budget::new(Usd::from_pico(100), BudgetWindow::Total, Usd::ZERO, now);
            let mut open = Vec::new();
            for (wanted, cost, end) in steps {
                if let Ok(hold) = budget.hold(Usd::from_pico(wanted), now) {
                    open.push((hold, cost.min(wanted)));
                }
                if end && !open.is_empty() {
                    let (hold, cost) = open.swap_remove(0);
                    hold.settle(Usd::from_pico(cost));
                }
                let (settled, held) = budget.standing();
                prop_assert!(settled + held <= Usd::from_pico(100));
            }
            drop(open);
            prop_assert_eq!(budget.standing().1, Usd::ZERO);
        }
    }
}
