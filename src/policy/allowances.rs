//! What of each free quota is used in its window, and what of each prepaid balance is spent. In memory and refilled from the
//! books at the start, as budgets are.
//!
//! Before an attempt is sent, what is expected of it is set aside ([`Allowances::claim`]), so that requests at the same time
//! do not count on the same free tokens; when it ends, its part becomes free for good or is given back ([`Claim::bear`]). What
//! it used beyond what was set aside may still be free where nobody else has set it aside. Draws are counted in the window in
//! which the attempt began, since the books say that of a row too. What was used counts, whether it was free or not: a vendor
//! counts it as well.
//!
//! Only what vendors say is counted. Where one shares a quota with users outside of this gateway, nobody here knows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::catalog::allowance::Window;
use crate::catalog::{Prepaid, ProviderIndex, Quota, QuotaIndex};
use crate::units::{Amount, Draw, Free, FreePart, Grant, Usage};

/// One free quota, for as long as the process lives.
#[derive(Debug, Default)]
pub struct FreeQuota {
    state: Mutex<QuotaState>,
}

#[derive(Debug, Default)]
struct QuotaState {
    /// `None` before it was put in force.
    quota: Option<Arc<Quota>>,
    /// The window that is counted.
    window: Option<Window>,
    used: Draw,
    /// Set aside by attempts under way that began in the window.
    set_aside: Draw,
    /// What was used in this window could not be read: it counts as used up.
    unread: bool,
}

impl QuotaState {
    /// Begins anew where the window is over; answers the one that holds the instant.
    fn turn(&mut self, now: Timestamp) -> Option<Window> {
        if self.window.is_none_or(|window| window.until.is_some_and(|until| until <= now)) {
            self.window = self.quota.as_ref()?.window(now);
            (self.used, self.set_aside, self.unread) = (Draw::default(), Draw::default(), false);
        }
        self.window.filter(|window| window.from <= now)
    }

    fn left(&self) -> Grant {
        match &self.quota {
            Some(quota) if !self.unread => quota.grant.without(self.used.plus(self.set_aside)),
            _ => Grant::NOTHING,
        }
    }
}

impl FreeQuota {
    /// Whether a quota can only be put in force with what the books say was used.
    pub fn must_be_read_for(&self, quota: &Quota) -> bool {
        let state = self.state();
        state.unread || state.quota.as_ref().is_none_or(|counted| !counted.counts_as(quota))
    }

    /// Puts terms in force. `used` replaces what was counted so far and is needed where [`FreeQuota::must_be_read_for`] says
    /// so: what was used since the window began that holds `now`, or `None` where that cannot be read.
    pub fn bind(&self, quota: Arc<Quota>, used: Option<Option<Draw>>, now: Timestamp) {
        let mut state = self.state();
        let window = quota.window(now);
        state.quota = Some(quota);
        if let Some(used) = used {
            (state.window, state.set_aside) = (window, Draw::default());
            (state.used, state.unread) = (used.unwrap_or_default(), used.is_none());
        } else if state.window.map(|counted| counted.from) == window.map(|given| given.from) {
            // It may end at another time now.
            state.window = window;
        }
    }

    /// Ends it: should it be given again, it is counted anew.
    pub fn retire(&self) {
        *self.state() = QuotaState::default();
    }

    /// What is free right now; `None` where the quota is not given at that time.
    pub fn left(&self, now: Timestamp) -> Option<Grant> {
        let mut state = self.state();
        state.turn(now)?;
        Some(state.left())
    }

    fn share(self: &Arc<Self>, expected: &Usage, wanted: bool, now: Timestamp) -> Option<Share> {
        let mut state = self.state();
        let window = state.turn(now)?;
        let set_aside = if wanted { state.left().set_aside(expected) } else { Draw::default() };
        state.set_aside = state.set_aside.plus(set_aside);
        let name = Arc::clone(&state.quota.as_ref()?.name);
        Some(Share { quota: Arc::clone(self), name, begun: window.from, set_aside })
    }

    fn state(&self) -> MutexGuard<'_, QuotaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt's share of a quota, as long as it is under way.
#[derive(Debug)]
struct Share {
    quota: Arc<FreeQuota>,
    name: Arc<str>,
    /// When the window began that the attempt began in.
    begun: Timestamp,
    set_aside: Draw,
}

impl Share {
    /// Gives back what was set aside and takes what is free of a usage.
    fn take(&mut self, usage: &Usage) -> Option<FreePart> {
        let mut state = self.quota.state();
        let set_aside = std::mem::take(&mut self.set_aside);
        if state.window.is_none_or(|window| window.from != self.begun) {
            // Its window is over and counts no more; what was set aside of it is still the attempt's.
            return state.quota.as_ref()?.grant.only(set_aside).bears(usage);
        }
        state.set_aside = state.set_aside.minus(set_aside);
        let part = state.left().bears(usage)?;
        state.used = state.used.plus(Draw::of(usage));
        Some(part)
    }

    /// Counts a usage that was not free.
    fn count(&self, usage: &Usage) {
        let mut state = self.quota.state();
        if state.window.is_some_and(|window| window.from == self.begun) {
            state.used = state.used.plus(Draw::of(usage));
        }
    }

    fn give_back(&mut self) {
        let mut state = self.quota.state();
        if state.window.is_some_and(|window| window.from == self.begun) {
            state.set_aside = state.set_aside.minus(std::mem::take(&mut self.set_aside));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// One prepaid balance, for as long as the process lives.
#[derive(Debug, Default)]
pub struct Balance {
    state: Mutex<BalanceState>,
}

#[derive(Debug, Default)]
struct BalanceState {
    prepaid: Option<Prepaid>,
    spent_pico: i128,
    /// What was spent could not be read: it counts as used up.
    unread: bool,
}

/// How a balance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceReport {
    pub left: Amount,
    /// Some of it would be left at its end; see [`Prepaid::outlasts`].
    pub outlasts: bool,
}

impl Balance {
    /// Whether a balance can only be put in force with what the books say was spent.
    pub fn must_be_read_for(&self, prepaid: &Prepaid) -> bool {
        let state = self.state();
        let same = |counted: &Prepaid| counted.from == prepaid.from && counted.amount.currency() == prepaid.amount.currency();
        state.unread || !state.prepaid.as_ref().is_some_and(same)
    }

    /// Puts terms in force, or ends them. `spent` replaces what was counted so far; `Some(None)` where it cannot be read.
    pub fn bind(&self, prepaid: Option<Prepaid>, spent: Option<Option<i128>>) {
        let mut state = self.state();
        state.prepaid = prepaid;
        if let Some(spent) = spent {
            (state.spent_pico, state.unread) = (spent.unwrap_or_default(), spent.is_none());
        }
    }

    /// How it stands; `None` where there is none at that time.
    pub fn report(&self, now: Timestamp) -> Option<BalanceReport> {
        let state = self.state();
        let prepaid = state.prepaid.as_ref().filter(|prepaid| prepaid.holds(now))?;
        let left = if state.unread { 0 } else { (prepaid.amount.pico() - state.spent_pico).max(0) };
        let outlasts = prepaid.outlasts(state.spent_pico, now);
        Some(BalanceReport { left: Amount::from_pico(left, prepaid.amount.currency()), outlasts })
    }

    /// The provider charges this for an attempt that began then.
    fn pay(&self, amount: Amount, begun: Timestamp) {
        let mut state = self.state();
        let against = |prepaid: &Prepaid| prepaid.from <= begun && prepaid.amount.currency() == amount.currency();
        if state.prepaid.as_ref().is_some_and(against) {
            state.spent_pico += amount.pico();
        }
    }

    fn state(&self) -> MutexGuard<'_, BalanceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The quotas and balances of one table.
#[derive(Debug, Clone, Default)]
pub struct Allowances {
    /// By the quota's index.
    quotas: Vec<Arc<FreeQuota>>,
    /// By the provider's index; empty where nobody was paid in advance.
    balances: Vec<Option<Arc<Balance>>>,
}

impl Allowances {
    pub fn new(quotas: Vec<Arc<FreeQuota>>, balances: Vec<Option<Arc<Balance>>>) -> Self {
        Self { quotas, balances }
    }

    /// What is free of each quota right now, by its index; nothing where it is not given.
    pub fn left(&self, now: Timestamp) -> Vec<Grant> {
        self.quotas.iter().map(|quota| quota.left(now).unwrap_or(Grant::NOTHING)).collect()
    }

    /// How each balance stands, by the provider's index.
    pub fn balances(&self, now: Timestamp) -> Vec<Option<BalanceReport>> {
        self.balances.iter().map(|balance| balance.as_ref()?.report(now)).collect()
    }

    /// Sets aside what is expected of one attempt: of the first of these quotas that bears any of it. `None` where the backend
    /// has neither a quota nor a balance.
    pub fn claim(&self, quotas: &[QuotaIndex], provider: ProviderIndex, expected: &Usage, now: Timestamp) -> Option<Claim> {
        let balance = self.balances.get(provider.0 as usize).cloned().flatten();
        let mut shares: Vec<Share> = Vec::with_capacity(quotas.len());
        for quota in quotas.iter().filter_map(|QuotaIndex(n)| self.quotas.get(*n as usize)) {
            let wanted = shares.iter().all(|share| share.set_aside == Draw::default());
            shares.extend(quota.share(expected, wanted, now));
        }
        (!shares.is_empty() || balance.is_some()).then_some(Claim { shares, balance, begun: now })
    }
}

/// What one attempt may draw on. Dropped before it was ended, nothing was drawn.
#[derive(Debug)]
pub struct Claim {
    /// In the order in which the quotas are used.
    shares: Vec<Share>,
    balance: Option<Arc<Balance>>,
    begun: Timestamp,
}

impl Claim {
    /// Ends it with what the attempt used: the first quota that bears any of it bears what it can. Where none does, it counts
    /// against all of them: nobody knows against which the vendor counts it.
    pub fn bear(&mut self, usage: &Usage) -> Option<Free> {
        let mut shares = std::mem::take(&mut self.shares);
        let bearing = |share: &mut Share| {
            let part = share.take(usage)?;
            Some(Free { quota: Arc::clone(&share.name), part })
        };
        let free = shares.iter_mut().find_map(bearing);
        if free.is_none() {
            for share in &shares {
                share.count(usage);
            }
        }
        free
    }

    /// The provider charges this.
    pub fn pay(&self, amount: Amount) {
        if let Some(balance) = &self.balance {
            balance.pay(amount, self.begun);
        }
    }
}

#[cfg(test)]
mod tests;
