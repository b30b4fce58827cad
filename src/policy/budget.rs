//! Budgets as bounds. Before anything is sent, what the plan can cost at most is held against the key's budget; when
//! the request ends, the hold becomes what it really cost. Settled plus held never exceeds the limit, however many
//! requests run at once: hold and check are one step under one short lock.
//!
//! Windows are calendar windows in UTC. At start the settled part is read back from the ledger.
//!
//! A key has one budget object for as long as the process lives, also a key that is not bounded: its requests are held and
//! settled all the same and nothing is refused. So a bound that comes, changes or goes while requests are open
//! ([`Budget::bind`]) counts what they hold, and there is never a second object that bounds the same key beside the first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// How much may be spent in which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub limit: Usd,
    pub window: BudgetWindow,
}

/// What the books say that a key spent in the window that contains an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// `None` where they cannot be read: until they can, or the window ends, everything counts as used up.
    pub amount: Option<Usd>,
    /// The instant.
    pub at: Timestamp,
    /// What [`Budget::settled_ever`] said before the books were read: what was settled after it is added.
    pub mark: Usd,
}

/// What one key has spent and holds, and how far it may go.
#[derive(Debug, Default)]
pub struct Budget {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: everything is counted and nothing refused.
    bound: Option<Bound>,
    window_start: Option<Timestamp>,
    settled: Usd,
    held: Usd,
    /// Settled since this object was made, whatever the window.
    ever: Usd,
    /// What was spent in this window could not be read: it counts as used up.
    unread: bool,
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
        let budget = Arc::<Self>::default();
        budget.bind(Some(Bound { limit, window }), Some(Spent { amount: Some(settled), at: now, mark: Usd::ZERO }));
        budget
    }

    /// How far the key may go; `None` for one that is not bounded.
    pub fn bound(&self) -> Option<Bound> {
        self.state().bound
    }

    /// Whether a bound can only be put in force with what the books say: its window is not the one that is counted, or the
    /// books could not be read for it so far.
    pub fn must_be_read_for(&self, bound: Option<Bound>) -> bool {
        let state = self.state();
        bound.is_some_and(|wanted| state.unread || state.bound.is_none_or(|counted| counted.window != wanted.window))
    }

    /// Everything that was ever settled here, to mark a moment by: see [`Spent::mark`].
    pub fn settled_ever(&self) -> Usd {
        self.state().ever
    }

    /// Puts another bound in force. What is held stays held; a limit below what is spent refuses what comes next. `spent`
    /// replaces what was settled so far, and is needed where [`Budget::must_be_read_for`] says so.
    pub fn bind(&self, bound: Option<Bound>, spent: Option<Spent>) {
        let mut state = self.state();
        state.bound = bound;
        if let (Some(bound), Some(spent)) = (bound, spent) {
            state.window_start = bound.window.start(spent.at);
            state.settled = spent.amount.map_or(Usd::MAX, |amount| amount + (state.ever - spent.mark));
            state.unread = spent.amount.is_none();
        }
    }

    /// Sets money aside, or says why not.
    pub fn hold(self: &Arc<Self>, wanted: Usd, now: Timestamp) -> Result<Hold, OverBudget> {
        self.take(wanted, now)?;
        Ok(Hold { budget: Some(Arc::clone(self)), amount: Mutex::new(wanted) })
    }

    fn take(&self, wanted: Usd, now: Timestamp) -> Result<(), OverBudget> {
        let mut state = self.state();
        let Some(Bound { limit, window }) = state.bound else {
            state.held += wanted;
            return Ok(());
        };
        let window_start = window.start(now);
        if window_start > state.window_start {
            // What is held belongs to requests still under way: it stays held, and is settled into the new window.
            state.window_start = window_start;
            state.settled = Usd::ZERO;
            state.unread = false;
        }
        let left = limit - state.settled - state.held;
        if wanted > left {
            return Err(OverBudget { limit, left: left.max(Usd::ZERO), wanted, refills_at: window.refills_at(now) });
        }
        state.held += wanted;
        Ok(())
    }

    /// How the budget stands at a moment; `None` where nothing bounds it.
    pub fn report(&self, now: Timestamp) -> Option<BudgetReport> {
        let state = self.state();
        let Bound { limit, window } = state.bound?;
        let refilled = window.start(now) > state.window_start;
        let counted = if state.unread { limit } else { state.settled };
        let spent = if refilled { Usd::ZERO } else { counted };
        Some(BudgetReport { limit, window, spent, held: state.held, refills_at: window.refills_at(now) })
    }

    /// Settled and held so far, for reports.
    pub fn standing(&self) -> (Usd, Usd) {
        let state = self.state();
        (state.settled, state.held)
    }

    fn release(&self, held: Usd, cost: Usd) {
        let mut state = self.state();
        state.held = state.held - held;
        state.settled += cost;
        state.ever += cost;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Money set aside for one request. Ends once: settled at what the request cost, or released when dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Option<Arc<Budget>>,
    amount: Mutex<Usd>,
}

impl Hold {
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
    use std::sync::atomic::{AtomicI64, Ordering};

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
        let unbounded = Arc::<Budget>::default().hold(usd("1"), now).unwrap();
        assert_eq!(unbounded.cover(usd("9"), now), Ok(()));
    }

    #[test]
    fn a_window_refills_and_what_is_held_stays_held() {
        let budget = Budget::new(usd("1"), BudgetWindow::Month, Usd::ZERO, at("2026-11-30T23:59:00Z"));
        let over_midnight = budget.hold(usd("0.8"), at("2026-11-30T23:59:59Z")).unwrap();
        assert!(budget.hold(usd("0.3"), at("2026-12-01T00:00:00Z")).is_err());
        over_midnight.settle(usd("0.1"));
        let december = budget.report(at("2026-12-01T00:00:01Z")).unwrap();
        assert_eq!((december.spent, december.held), (usd("0.1"), Usd::ZERO));
        assert_eq!(budget.report(at("2027-01-01T00:00:00Z")).unwrap().spent, Usd::ZERO, "nobody has asked in this window yet");
        assert!(budget.hold(usd("0.9"), at("2026-12-01T00:00:01Z")).is_ok());
        assert_eq!(BudgetWindow::Total.refills_at(at("2026-11-30T00:00:00Z")), None);
    }

    #[test]
    fn another_limit_counts_what_is_spent_and_held() {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.5"), now);
        let open = budget.hold(usd("0.4"), now).unwrap();
        let limit = |limit: &str| Some(Bound { limit: usd(limit), window: BudgetWindow::Day });
        assert!(!budget.must_be_read_for(limit("0.6")) && !budget.must_be_read_for(None));
        budget.bind(limit("0.6"), None);
        let refused = budget.hold(usd("0.01"), now).unwrap_err();
        assert_eq!((refused.limit, refused.left), (usd("0.6"), Usd::ZERO), "0.9 are spent and held");
        assert!(open.cover(usd("0.41"), now).is_err());
        open.settle(usd("0.05"));
        assert!(budget.hold(usd("0.05"), now).is_ok());
        budget.bind(limit("2"), None);
        assert!(budget.hold(usd("1.45"), now).is_ok());
        assert_eq!(budget.standing(), (usd("0.55"), Usd::ZERO));
    }

    #[test]
    fn another_window_is_counted_from_the_books_and_what_was_settled_since() {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(usd("1"), BudgetWindow::Day, usd("0.25"), now);
        let [first, second, third] = [(); 3].map(|()| budget.hold(usd("0.1"), now).unwrap());
        first.settle(usd("0.1"));
        let month = Some(Bound { limit: usd("9"), window: BudgetWindow::Month });
        assert!(budget.must_be_read_for(month));
        let mark = budget.settled_ever();
        second.settle(usd("0.08"));
        budget.bind(month, Some(Spent { amount: Some(usd("5")), at: now, mark }));
        assert_eq!(budget.standing(), (usd("5.08"), usd("0.1")));
        third.settle(usd("0.02"));
        assert_eq!(budget.hold(usd("4"), now).unwrap_err().left, usd("3.9"));
        assert_eq!(budget.hold(usd("9"), at("2026-12-01T00:00:00Z")).map(|hold| hold.amount()), Ok(usd("9")));
    }

    #[test]
    fn a_window_that_could_not_be_read_is_used_up_until_it_can_be_or_ends() {
        let now = at("2026-11-22T10:00:00Z");
        let bound = Some(Bound { limit: usd("1"), window: BudgetWindow::Day });
        let unread = || {
            let budget = Arc::<Budget>::default();
            budget.bind(bound, Some(Spent { amount: None, at: now, mark: Usd::ZERO }));
            assert_eq!(budget.hold(usd("0.1"), now).unwrap_err().left, Usd::ZERO);
            assert_eq!(budget.report(now).unwrap().spent, usd("1"));
            assert!(budget.must_be_read_for(bound) && !budget.must_be_read_for(None));
            budget
        };
        let read = unread();
        read.bind(bound, Some(Spent { amount: Some(usd("0.25")), at: now, mark: read.settled_ever() }));
        assert_eq!(read.hold(usd("0.8"), now).unwrap_err().left, usd("0.75"));
        let ended = unread();
        assert!(ended.hold(usd("1"), at("2026-11-23T00:00:00Z")).is_ok());
        assert!(!read.must_be_read_for(bound) && !ended.must_be_read_for(bound));
    }

    #[test]
    fn a_key_that_becomes_bounded_counts_its_open_requests() {
        let now = at("2026-11-22T10:00:00Z");
        let budget = Arc::<Budget>::default();
        let open = budget.hold(usd("0.7"), now).unwrap();
        let bound = Some(Bound { limit: usd("1"), window: BudgetWindow::Total });
        assert!(budget.must_be_read_for(bound));
        budget.bind(bound, Some(Spent { amount: Some(usd("0.2")), at: now, mark: budget.settled_ever() }));
        assert_eq!(budget.hold(usd("0.2"), now).unwrap_err().left, usd("0.1"));
        open.settle(usd("0.7"));
        assert_eq!(budget.standing(), (usd("0.9"), Usd::ZERO));
        budget.bind(None, None);
        assert!(budget.hold(usd("50"), now).is_ok() && budget.must_be_read_for(bound));
    }

    /// Promise 2 across reloads: many threads spend from one key while another one raises, lowers, lifts and re-reads its
    /// bound, as reloads do. What is out (held, or settled at its cost) never exceeds the largest limit, and nothing is
    /// lost or counted twice.
    #[test]
    fn a_bound_that_changes_under_load_stays_a_bound() {
        const MOST: i128 = 1_000;
        let now = at("2026-11-22T10:00:00Z");
        let budget = Budget::new(Usd::from_pico(MOST), BudgetWindow::Total, Usd::ZERO, now);
        let (out, booked) = (AtomicI64::new(0), AtomicI64::new(0));
        let spend = |seed: i64| {
            for n in 0..3_000 {
                let (wanted, cost) = (1 + (n * 7 + seed) % 40, (n + seed) % 3 % 2);
                let Ok(hold) = budget.hold(Usd::from_pico(wanted.into()), now) else { continue };
                let now_out = out.fetch_add(wanted, Ordering::SeqCst) + wanted;
                assert!(i128::from(now_out) <= MOST, "{now_out} of {MOST}");
                // First off what is counted here, then off the budget: what it grants next is seen after.
                out.fetch_sub(wanted - cost.min(wanted), Ordering::SeqCst);
                booked.fetch_add(cost.min(wanted), Ordering::SeqCst);
                hold.settle(Usd::from_pico(cost.min(wanted).into()));
            }
        };
        let reload = || {
            for n in 0..2_000 {
                let limit = Usd::from_pico(MOST / (1 + n % 4));
                let bound = Some(Bound { limit, window: BudgetWindow::Total });
                budget.bind(bound, None);
                if n % 3 == 0 {
                    // A reading of the books: what was settled up to the mark.
                    let mark = budget.settled_ever();
                    std::thread::yield_now();
                    budget.bind(bound, Some(Spent { amount: Some(mark), at: now, mark }));
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..6 {
                scope.spawn(move || spend(seed));
            }
            scope.spawn(reload);
        });
        let booked = Usd::from_pico(booked.into_inner().into());
        assert_eq!((budget.standing(), budget.settled_ever()), ((booked, Usd::ZERO), booked));
        assert!(booked > Usd::ZERO);
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
