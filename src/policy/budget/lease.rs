//! Budgets that gateways share. Each gateway works on a slice of every window that was handed out to it before: what it settles and
//! holds never exceeds its slice, and all slices together never exceed the limit, so the limit holds for all of them however many
//! requests run anywhere and whoever cannot be reached. The slices come from a [`Lender`] beside the path of requests; here is
//! only what it sees of a budget and how it changes a slice.
//!
//! Amounts of slices are whole millionths of a dollar: what is used is rounded up, a limit down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Budget, Budgets, Counted, Lease, Payer};
use crate::policy::rates::Throttles;
use crate::policy::rates::slices::SharedThrottles;
use crate::policy::window::Window;
use crate::units::{KeyName, Tokens, Usd};

const PICO_PER_MICRO: i128 = 1_000_000;

/// Where slices come from.
pub trait Lender: Send + Sync {
    /// Asks for so much more of every budget that does not bear it now.
    fn lend<'l>(&'l self, budgets: &'l Arc<Budgets>, wanted: Usd) -> BoxFuture<'l, Loan>;

    /// Asks for so much more of every limit that does not let a request of so many tokens in now. Answers whether to try again.
    fn let_in<'l>(&'l self, throttles: &'l Arc<Throttles>, tokens: Tokens) -> BoxFuture<'l, bool>;

    /// Whether slices of budgets can be had now.
    fn is_up(&self) -> bool;
}

/// What became of asking for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loan {
    /// There is more now, if nobody else was faster: try again.
    Granted,
    /// There is no more.
    Nothing,
    /// It was not said in time, so that nobody knows how much there is.
    Unheard,
}

/// What is said beside a refusal while no more of a shared budget can be asked for.
pub(super) fn said(cut_off: bool) -> &'static str {
    if cut_off { " (of its slice here: the store that gateways share budgets by cannot be asked for more now)" } else { "" }
}

/// Whose spending a budget counts: these keys; `None` is every key.
pub type Whose = Option<Arc<BTreeSet<KeyName>>>;

/// Every budget that gateways share, as far as this one has them, with whose spending each counts.
#[derive(Debug, Clone, Default)]
pub struct SharedBudgets(Arc<Mutex<BTreeMap<Payer, SharedBudget>>>);

/// A budget, and whose spending it counts.
pub type SharedBudget = (Arc<Budget>, Whose);

impl SharedBudgets {
    /// From now on a budget bounds all gateways together: what is handed out to this one, it may use.
    pub fn share(&self, budget: &Arc<Budget>, whose: Whose) {
        let mut state = budget.state();
        state.shared = true;
        for counted in &mut state.windows {
            counted.lease.get_or_insert_default();
        }
        drop(state);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(budget.payer.clone(), (Arc::clone(budget), whose));
    }

    /// All of them.
    pub fn all(&self) -> Vec<SharedBudget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Everything that bounds all gateways together.
#[derive(Debug, Clone, Default)]
pub struct SharedBounds {
    pub budgets: SharedBudgets,
    pub throttles: SharedThrottles,
}

/// A window of a budget as its lender sees it, in millionths of a dollar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    pub payer: Payer,
    pub window: Window,
    /// When the window began; `None` for the one that never ends.
    pub starts: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    pub limit: i64,
    /// Settled and held here.
    pub used: i64,
    /// What may be used here.
    pub granted: i64,
}

impl Budget {
    /// Whether what was spent in one of its windows could not be read, so that nobody can say what is used of it.
    pub fn is_unread(&self) -> bool {
        self.state().windows.iter().any(|counted| counted.unread)
    }

    /// How it stands in each window that is shared and known.
    pub fn leased(&self, now: Timestamp) -> Vec<Leased> {
        let mut state = self.state();
        let held = state.held;
        state.windows.iter_mut().for_each(|counted| counted.turn(now));
        let known = state.windows.iter().filter(|counted| !counted.unread);
        known.filter_map(|counted| self.seen(counted, held, now)).collect()
    }

    /// Keeps no more of a slice than is used and so much on top, before the rest is given back. Answers how it stands then;
    /// `None` where the window has turned.
    pub fn keep(&self, of: &Leased, spare: i64, now: Timestamp) -> Option<Leased> {
        let mut state = self.state();
        let held = state.held;
        let counted = state.windows.iter_mut().find(|counted| counted.is_of(of))?;
        counted.turn(now);
        if !counted.is_of(of) {
            return None;
        }
        let keeps = up(counted.settled + held).saturating_add(spare);
        if let Some(lease) = &mut counted.lease {
            lease.granted = lease.granted.min(micros(keeps));
        }
        let counted = state.windows.iter().find(|counted| counted.is_of(of))?;
        self.seen(counted, held, now)
    }

    /// A slice was handed out, and the others have spent and hold so much. Nothing where the window has turned.
    pub fn grant(&self, of: &Leased, granted: i64, elsewhere: i64) {
        let mut state = self.state();
        if let Some(counted) = state.windows.iter_mut().find(|counted| counted.is_of(of)) {
            counted.lease = Some(Lease { granted: micros(granted), elsewhere: micros(elsewhere) });
        }
    }

    fn seen(&self, counted: &Counted, held: Usd, now: Timestamp) -> Option<Leased> {
        let (lease, window) = (counted.lease?, &counted.bound.window);
        Some(Leased {
            payer: self.payer.clone(),
            window: window.clone(),
            starts: window.start(now),
            ends: counted.ends,
            limit: down(counted.bound.limit_at(now)),
            used: up(counted.settled + held),
            granted: down(lease.granted),
        })
    }
}

impl Budgets {
    /// How each stands that is shared.
    pub fn leased(&self, now: Timestamp) -> Vec<(Arc<Budget>, Leased)> {
        self.each().flat_map(|budget| budget.leased(now).into_iter().map(|leased| (Arc::clone(budget), leased))).collect()
    }
}

impl Counted {
    fn is_of(&self, leased: &Leased) -> bool {
        self.bound.window == leased.window && self.ends == leased.ends && !self.unread
    }
}

fn micros(micros: i64) -> Usd {
    Usd::from_pico(i128::from(micros) * PICO_PER_MICRO)
}

/// Millionths, never less than the amount.
pub fn up(amount: Usd) -> i64 {
    let micros = amount.pico().div_euclid(PICO_PER_MICRO) + i128::from(amount.pico().rem_euclid(PICO_PER_MICRO) > 0);
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// Millionths, never more than the amount.
fn down(amount: Usd) -> i64 {
    i64::try_from(amount.pico().div_euclid(PICO_PER_MICRO)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Bound, BudgetWindow, Spent};

    fn now() -> Timestamp {
        "2026-11-29T23:00:00Z".parse().unwrap()
    }

    fn usd(text: &str) -> Usd {
        Usd::parse(text).unwrap()
    }

    fn shared(limit: &str, settled: &str) -> Arc<Budget> {
        let budget = Budget::of(Payer::Gateway);
        SharedBudgets::default().share(&budget, None);
        let spent = Spent { amount: Some(usd(settled)), at: now(), mark: Usd::ZERO };
        budget.bind([(Bound::new(usd(limit), BudgetWindow::Day.utc()), Some(spent))]);
        budget
    }

    fn one(budget: &Budget, now: Timestamp) -> Leased {
        budget.leased(now).swap_remove(0)
    }

    #[test]
    fn nothing_is_borne_beyond_the_slice_and_nothing_is_given_back_that_is_used() {
        let budget = shared("1", "0.1000001");
        let budgets = budget.alone();
        assert!(budgets.hold(Usd::from_pico(1), now()).is_err(), "nothing was handed out yet");
        let leased = one(&budget, now());
        assert_eq!((leased.limit, leased.used, leased.granted), (1_000_000, 100_001, 0));
        budget.grant(&leased, 300_000, 250_000);
        let hold = budgets.hold(usd("0.15"), now()).unwrap();
        let refused = budgets.hold(usd("0.05"), now()).unwrap_err();
        assert!(refused.shared && refused.left == usd("0.0499999") && refused.limit == usd("1"));
        assert_eq!(budget.report(now())[0].spent, usd("0.3500001"), "with what is spent elsewhere");
        let kept = budget.keep(&leased, 10_000, now()).unwrap();
        assert_eq!((kept.used, kept.granted), (250_001, 260_001));
        assert!(budgets.hold(usd("0.02"), now()).is_err());
        // Keeping never adds anything.
        assert_eq!(budget.keep(&leased, 900_000, now()).unwrap().granted, 260_001);
        hold.settle(usd("0.01"), now());
        assert_eq!(one(&budget, now()).used, 110_001);
    }

    #[test]
    fn a_slice_is_of_one_window() {
        let budget = shared("1", "0");
        let leased = one(&budget, now());
        budget.grant(&leased, 500_000, 0);
        let tomorrow = "2026-11-30T00:00:01Z".parse().unwrap();
        assert_eq!(budget.keep(&leased, 0, tomorrow), None);
        assert_eq!((one(&budget, tomorrow).granted, one(&budget, tomorrow).starts), (0, "2026-11-30T00:00:00Z".parse().ok()));
        budget.grant(&leased, 500_000, 0);
        assert_eq!(one(&budget, tomorrow).granted, 0, "it came too late");
    }
}
