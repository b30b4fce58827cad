//! Budgets as bounds. Before anything is sent, what the plan can cost at most is held against every budget that the request
//! falls under: its key's, its project's, its team's, and that of the whole gateway, each in as many windows as it has. When
//! the request ends, the hold becomes what it really cost. Settled plus held never exceeds a limit, however many requests
//! run at once: hold and check of all of them are one step, under the locks of all, which are taken in the order of
//! [`Budgets`]. At start the settled part is read back from the ledger.
//!
//! A payer has one budget object for as long as the process lives, also one that is not bounded: its requests are held and
//! settled all the same and nothing is refused. So a bound that comes, changes or goes while requests are open
//! ([`Budget::bind`]) counts what they hold, and there is never a second object that bounds the same payer beside the first.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::window::{BudgetWindow, Window};
use crate::units::{KeyName, Usd};

/// Whose money it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payer {
    Key(KeyName),
    /// The keys that name this project,
    Project(String),
    /// and this team.
    Team(String),
    /// Every key.
    Gateway,
}

impl Payer {
    /// What kind of payer it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Payer::Key(_) => "key",
            Payer::Project(_) => "project",
            Payer::Team(_) => "team",
            Payer::Gateway => "gateway",
        }
    }

    /// What it is called; the whole gateway has no name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Payer::Key(name) => Some(name.as_str()),
            Payer::Project(name) | Payer::Team(name) => Some(name),
            Payer::Gateway => None,
        }
    }
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.kind()),
            None => f.write_str("the gateway"),
        }
    }
}

/// How much may be spent in which window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub limit: Usd,
    pub window: Window,
    /// What may be spent beyond that for a while.
    pub top_up: Option<TopUp>,
}

/// What may be spent beyond a limit until an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopUp {
    pub amount: Usd,
    pub until: Timestamp,
}

impl Bound {
    pub fn new(limit: Usd, window: Window) -> Self {
        Self { limit, window, top_up: None }
    }

    /// What is there beyond the limit.
    pub fn topped_up(&self, now: Timestamp) -> Usd {
        self.top_up.filter(|top_up| now < top_up.until).map_or(Usd::ZERO, |top_up| top_up.amount)
    }

    /// What may be spent, at an instant.
    pub fn limit_at(&self, now: Timestamp) -> Usd {
        self.limit + self.topped_up(now)
    }
}

/// What the books say that a payer spent in the window that contains an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// `None` where they cannot be read: until they can, or the window ends, everything counts as used up.
    pub amount: Option<Usd>,
    /// The instant.
    pub at: Timestamp,
    /// What [`Budget::settled_ever`] said before the books were read: what was settled after it is added.
    pub mark: Usd,
}

/// What one payer has spent and holds, and how far it may go.
#[derive(Debug)]
pub struct Budget {
    payer: Payer,
    state: Mutex<State>,
}

/// Of a bound that gateways share, the slice that this one works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lease {
    granted: Usd,
    /// What the others have spent and hold.
    elsewhere: Usd,
}

#[derive(Debug, Default)]
struct State {
    /// One for each bound; without any, everything is counted and nothing refused.
    windows: Vec<Counted>,
    held: Usd,
    /// Settled since this object was made, whatever the window.
    ever: Usd,
    /// Whether gateways share what bounds it.
    shared: bool,
}

/// A bound, and what was settled in its window.
#[derive(Debug)]
struct Counted {
    bound: Bound,
    /// When the window that is counted ends.
    ends: Option<Timestamp>,
    settled: Usd,
    /// What was spent in this window could not be read: it counts as used up.
    unread: bool,
    /// Where gateways share the bound.
    lease: Option<Lease>,
}

/// How a budget stands in one of its windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetReport {
    pub payer: Payer,
    /// With what tops it up.
    pub limit: Usd,
    /// What that is.
    pub topped_up: Usd,
    pub window: Window,
    /// Settled in the window.
    pub spent: Usd,
    /// Set aside for requests under way.
    pub held: Usd,
    /// When the window ends, if it ever does.
    pub refills_at: Option<Timestamp>,
}

impl BudgetReport {
    /// Neither spent nor held.
    pub fn left(&self) -> Usd {
        (self.limit - self.spent - self.held).max(Usd::ZERO)
    }
}

/// A budget does not bear the request. Of several, the one that refills last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the budget of {payer}, {limit} {window}, has {left} left and this request may cost {wanted}{}", lease::said(*cut_off))]
pub struct OverBudget {
    pub payer: Payer,
    pub limit: Usd,
    pub window: Window,
    /// Neither spent nor held.
    pub left: Usd,
    /// What the request may cost at most.
    pub wanted: Usd,
    /// When the budget refills, if it ever does.
    pub refills_at: Option<Timestamp>,
    /// Whether gateways share it, so that what is left is what is left of this one's slice.
    pub shared: bool,
    /// Whether it is shared and no more of it could be asked for.
    pub cut_off: bool,
}

impl OverBudget {
    /// Whether it is waited for longer than another.
    fn outlasts(&self, other: Option<&Self>) -> bool {
        // None is never.
        let ends = |over: &Self| over.refills_at.unwrap_or(Timestamp::MAX);
        other.is_none_or(|other| ends(self) > ends(other))
    }
}

impl Counted {
    fn new(bound: Bound, spent: Spent, ever: Usd, shared: bool) -> Self {
        let settled = spent.amount.map_or(Usd::MAX, |amount| amount + (ever - spent.mark));
        let (ends, lease) = (bound.window.refills_at(spent.at), shared.then(Lease::default));
        Self { ends, settled, unread: spent.amount.is_none(), bound, lease }
    }

    /// What may be settled and held here together, of a limit.
    fn cap(&self, limit: Usd) -> Usd {
        self.lease.map_or(limit, |lease| lease.granted.min(limit))
    }

    /// What is held belongs to requests still under way: it stays held, and is settled into the new window.
    fn turn(&mut self, now: Timestamp) {
        if self.has_ended(now) {
            (self.settled, self.unread) = (Usd::ZERO, false);
            self.lease = self.lease.map(|_| Lease::default());
            self.ends = self.bound.window.refills_at(now);
        }
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }
}

impl State {
    fn bear(&mut self, payer: &Payer, wanted: Usd, now: Timestamp) -> Result<(), Box<OverBudget>> {
        let mut short: Option<Box<OverBudget>> = None;
        for counted in &mut self.windows {
            counted.turn(now);
            let limit = counted.bound.limit_at(now);
            // What costs nothing is borne by a budget that is empty, or was made smaller than what is spent.
            let left = (counted.cap(limit) - counted.settled - self.held).max(Usd::ZERO);
            if wanted > left {
                let (payer, window) = (payer.clone(), counted.bound.window.clone());
                let (refills_at, shared) = (counted.ends, counted.lease.is_some());
                let over = Box::new(OverBudget { payer, limit, window, left, wanted, refills_at, shared, cut_off: false });
                if over.outlasts(short.as_deref()) {
                    short = Some(over);
                }
            }
        }
        short.map_or(Ok(()), Err)
    }

    /// What was held, free again.
    fn release(&mut self, held: Usd) {
        self.held = self.held - held;
    }

    /// The cost counts in the window in which it is known.
    fn settle(&mut self, cost: Usd, now: Timestamp) {
        for counted in &mut self.windows {
            counted.turn(now);
            counted.settled += cost;
        }
        self.ever += cost;
    }
}

impl Budget {
    /// The budget of a payer that nothing bounds yet.
    pub fn of(payer: Payer) -> Arc<Self> {
        Arc::new(Self { payer, state: Mutex::default() })
    }

    /// A key's budget of which `settled` is spent in the window (UTC) that contains `now`.
    pub fn new(limit: Usd, window: BudgetWindow, settled: Usd, now: Timestamp) -> Arc<Self> {
        let budget = Self::of(Payer::Key(KeyName::new("key")));
        let spent = Spent { amount: Some(settled), at: now, mark: Usd::ZERO };
        budget.bind([(Bound::new(limit, window.utc()), Some(spent))]);
        budget
    }

    /// Where no other budget is to be kept beside it.
    pub fn alone(self: &Arc<Self>) -> Arc<Budgets> {
        Budgets::of([Arc::clone(self)])
    }

    /// Whether a bound can only be put in force with what the books say: its window is not counted, or the books could not
    /// be read for it so far.
    pub fn must_be_read_for(&self, window: &Window) -> bool {
        self.state().windows.iter().find(|counted| counted.bound.window == *window).is_none_or(|counted| counted.unread)
    }

    /// Everything that was ever settled here, to mark a moment by: see [`Spent::mark`].
    pub fn settled_ever(&self) -> Usd {
        self.state().ever
    }

    /// Puts these bounds in force in the place of all before them. What is held stays held; a limit below what is spent refuses what
    /// comes next. What the books say replaces what was settled so far, and is needed where [`Budget::must_be_read_for`]
    /// says so: without it such a window counts as used up.
    pub fn bind(&self, bounds: impl IntoIterator<Item = (Bound, Option<Spent>)>) {
        // Before the lock: what makes them may look at this budget.
        let bounds: Vec<(Bound, Option<Spent>)> = bounds.into_iter().collect();
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.windows);
        let (ever, shared) = (state.ever, state.shared);
        state.windows.extend(bounds.into_iter().map(|(bound, spent)| {
            let known = before.iter().position(|counted| counted.bound.window == bound.window);
            match (spent, known) {
                (Some(spent), _) => Counted::new(bound, spent, ever, shared),
                (None, Some(known)) => Counted { bound, ..before.swap_remove(known) },
                (None, None) => {
                    Counted { bound, ends: None, settled: Usd::MAX, unread: true, lease: shared.then(Lease::default) }
                }
            }
        }));
    }

    /// How the budget stands at a moment, in each of its windows.
    pub fn report(&self, now: Timestamp) -> Vec<BudgetReport> {
        let state = self.state();
        let report = |counted: &Counted| {
            let Counted { bound, settled, unread, lease, .. } = counted;
            let (limit, window) = (bound.limit_at(now), bound.window.clone());
            let counts = if *unread { limit } else { *settled + lease.unwrap_or_default().elsewhere };
            let spent = if counted.has_ended(now) { Usd::ZERO } else { counts };
            let (payer, refills_at, topped_up) = (self.payer.clone(), window.refills_at(now), bound.topped_up(now));
            BudgetReport { payer, limit, topped_up, window, spent, held: state.held, refills_at }
        };
        state.windows.iter().map(report).collect()
    }

    /// Settled in the first window and held so far, for reports.
    pub fn standing(&self) -> (Usd, Usd) {
        let state = self.state();
        (state.windows.first().map_or(state.ever, |counted| counted.settled), state.held)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The budgets that a key's requests fall under.
#[derive(Debug, Clone)]
pub struct Budgets {
    /// From the narrowest on, each level at most once: the order in which their locks are taken, by everybody.
    levels: [Option<Arc<Budget>>; LEVELS],
}

/// Key, project, team, gateway.
const LEVELS: usize = 4;

impl Budgets {
    /// These, in any order.
    pub fn of(budgets: impl IntoIterator<Item = Arc<Budget>>) -> Arc<Self> {
        let mut levels = [const { None }; LEVELS];
        for budget in budgets {
            let level = match budget.payer {
                Payer::Key(_) => 0,
                Payer::Project(_) => 1,
                Payer::Team(_) => 2,
                Payer::Gateway => 3,
            };
            levels[level] = Some(budget);
        }
        Arc::new(Self { levels })
    }

    /// Sets money aside in all of them, or in none and says why not.
    pub fn hold(self: &Arc<Self>, wanted: Usd, now: Timestamp) -> Result<Hold, Box<OverBudget>> {
        self.take(wanted, now)?;
        Ok(Hold { budgets: Some(Arc::clone(self)), amount: Mutex::new(wanted) })
    }

    /// How each stands at a moment, from the narrowest on.
    pub fn report(&self, now: Timestamp) -> Vec<BudgetReport> {
        self.each().flat_map(|budget| budget.report(now)).collect()
    }

    fn each(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.levels.iter().flatten()
    }

    fn take(&self, wanted: Usd, now: Timestamp) -> Result<(), Box<OverBudget>> {
        let mut states = self.lock();
        let mut short: Option<Box<OverBudget>> = None;
        for (budget, state) in self.levels.iter().zip(&mut states) {
            let (Some(budget), Some(state)) = (budget, state) else { continue };
            if let Err(over) = state.bear(&budget.payer, wanted, now)
                && over.outlasts(short.as_deref())
            {
                short = Some(over);
            }
        }
        if let Some(over) = short {
            return Err(over);
        }
        states.iter_mut().flatten().for_each(|state| state.held += wanted);
        Ok(())
    }

    fn release(&self, held: Usd, settled: Option<(Usd, Timestamp)>) {
        for state in self.lock().iter_mut().flatten() {
            state.release(held);
            if let Some((cost, now)) = settled {
                state.settle(cost, now);
            }
        }
    }

    fn lock(&self) -> [Option<MutexGuard<'_, State>>; LEVELS] {
        self.levels.each_ref().map(|budget| budget.as_ref().map(|budget| budget.state()))
    }
}

/// Money set aside for one request. Ends once: settled at what the request cost, or released when dropped.
#[derive(Debug)]
pub struct Hold {
    budgets: Option<Arc<Budgets>>,
    amount: Mutex<Usd>,
}

impl Hold {
    pub fn amount(&self) -> Usd {
        *self.amount.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the hold at least this large, or says why not. A request that moves on from an attempt which may be billed
    /// needs money for both.
    pub fn cover(&self, wanted: Usd, now: Timestamp) -> Result<(), Box<OverBudget>> {
        let Some(budgets) = &self.budgets else { return Ok(()) };
        let mut amount = self.amount.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted > *amount {
            budgets.take(wanted - *amount, now)?;
            *amount = wanted;
        }
        Ok(())
    }

    /// What the hold lacks to be this large, and of which budgets.
    pub fn lacks(&self, wanted: Usd) -> Option<(Arc<Budgets>, Usd)> {
        let lacking = wanted - self.amount();
        self.budgets.as_ref().filter(|_| lacking > Usd::ZERO).map(|budgets| (Arc::clone(budgets), lacking))
    }

    /// Turns the hold into what the request cost.
    pub fn settle(mut self, cost: Usd, now: Timestamp) {
        if let Some(budgets) = self.budgets.take() {
            budgets.release(self.amount(), Some((cost, now)));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(budgets) = self.budgets.take() {
            budgets.release(self.amount(), None);
        }
    }
}

pub mod lease;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
