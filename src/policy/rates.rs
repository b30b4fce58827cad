//! How often a key, a project, a team or everybody may ask: requests and tokens per minute, requests at once.
//!
//! A minute's worth may come at once and comes back evenly, as a bucket that leaks (GCRA says the same in other words): what is
//! owed shrinks with every nanosecond by the limit's share of it. Everything is whole numbers, so that a limit of 7 a minute
//! lets in the eighth request at the nanosecond at which it is due, and a refusal knows when that is.
//!
//! What a request will read and write is not known before it has: its tokens are taken as estimated when it is let in,
//! and set right when it ends, also to more than a minute's worth. Where nothing is limited nothing is counted: there is no
//! [`Throttles`] then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::slices::Slices;
use super::budget::Payer;
use crate::units::Tokens;

/// One of what is counted, in what is owed: a limit of `n` a minute takes `n` of these off in a nanosecond.
const ONE: u128 = 60_000_000_000;
/// What to wait for where requests have to end.
const SOME_WAIT: Duration = Duration::from_secs(1);

/// What may be asked; nothing that is absent is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    /// Requests under way.
    pub at_once: Option<u64>,
}

impl Rates {
    /// Whether anything is limited.
    pub fn limit_anything(&self) -> bool {
        *self != Self::default()
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Requests,
    Tokens,
    AtOnce,
}

/// How a limit per minute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    pub limit: u64,
    /// What is left at this moment,
    pub remaining: u64,
    /// and how long it takes until all is.
    pub reset: Duration,
}

/// How the tightest limits that apply to a request stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    pub requests: Option<Lane>,
    pub tokens: Option<Lane>,
}

/// A limit is reached. Of several, the one that takes longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMany {
    pub payer: Payer,
    pub counted: Counted,
    pub limit: u64,
    /// How much the request asks for of it.
    pub wanted: u64,
    /// When it would be let in if nobody else asked; `None` where it asks for more than a minute's worth.
    pub retry_after: Option<Duration>,
    pub standing: Standing,
}

impl std::error::Error for TooMany {}

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { payer, limit, wanted, .. } = self;
        match self.counted {
            Counted::Requests => write!(f, "rate limit of {payer}: {limit} requests a minute, and all of them are used"),
            Counted::Tokens if wanted > limit => {
                write!(f, "rate limit of {payer}: {limit} tokens a minute, and this request alone takes about {wanted}")
            }
            Counted::Tokens => {
                let left = self.standing.tokens.map_or(0, |lane| lane.remaining);
                write!(f, "rate limit of {payer}: {limit} tokens a minute, {left} are left and this request takes about {wanted}")
            }
            Counted::AtOnce => write!(f, "rate limit of {payer}: {limit} requests at once, and as many are under way"),
        }
    }
}

/// What was asked against one limit per minute.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    owed: u128,
    /// When that was so, on the monotonic clock.
    at: Duration,
}

impl Bucket {
    /// Brings what is owed up to a moment; one that another thread has passed already changes nothing.
    fn leak(&mut self, limit: u64, now: Duration) {
        let passed = now.saturating_sub(self.at).as_nanos();
        self.owed = self.owed.saturating_sub(passed.saturating_mul(u128::from(limit)));
        self.at = self.at.max(now);
    }

    /// How long until so many more fit.
    fn wait(&self, limit: u64, more: u64) -> Duration {
        let over = (self.owed + u128::from(more) * ONE).saturating_sub(u128::from(limit) * ONE);
        nanos(over.div_ceil(u128::from(limit.max(1))))
    }

    fn lane(&self, limit: u64) -> Lane {
        let left = (u128::from(limit) * ONE).saturating_sub(self.owed) / ONE;
        let reset = nanos(self.owed.div_ceil(u128::from(limit.max(1))));
        Lane { limit, remaining: u64::try_from(left).unwrap_or(u64::MAX), reset }
    }
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

/// What one payer asked lately and has under way; the same object through every reload.
#[derive(Debug)]
pub struct Throttle {
    payer: Payer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rates: Rates,
    requests: Bucket,
    tokens: Bucket,
    under_way: u64,
    /// Where gateways share the limits.
    slices: Option<Slices>,
}

impl State {
    /// What may be taken here: of limits that are shared, the slice.
    fn here(&self) -> Rates {
        let Some(slices) = self.slices else { return self.rates };
        Rates {
            requests_per_minute: self.rates.requests_per_minute.map(|limit| limit.min(slices.requests)),
            tokens_per_minute: self.rates.tokens_per_minute.map(|limit| limit.min(slices.tokens)),
            at_once: self.rates.at_once.map(|limit| limit.min(slices.at_once)),
        }
    }

    fn leak(&mut self, now: Duration) {
        let here = self.here();
        self.requests.leak(here.requests_per_minute.unwrap_or(u64::MAX), now);
        self.tokens.leak(here.tokens_per_minute.unwrap_or(u64::MAX), now);
    }

    /// What does not let a request in, by how long that takes.
    fn refusal(&self, tokens: u64) -> Option<(Counted, u64, u64, Option<Duration>)> {
        let (Rates { requests_per_minute, tokens_per_minute, at_once }, here) = (self.rates, self.here());
        let requests = requests_per_minute.zip(here.requests_per_minute);
        let requests = requests.map(|(limit, here)| (Counted::Requests, limit, 1, Some(self.requests.wait(here, 1))));
        let tokens = tokens_per_minute.zip(here.tokens_per_minute).map(|(limit, here)| {
            let wait = (tokens <= limit).then(|| self.tokens.wait(here, tokens));
            (Counted::Tokens, limit, tokens, wait)
        });
        let full = at_once.zip(here.at_once).filter(|(_, here)| self.under_way >= *here);
        let full = full.map(|(most, _)| (Counted::AtOnce, most, 1, Some(SOME_WAIT)));
        let refusals = [requests, tokens, full].into_iter().flatten();
        refusals.filter(|(.., wait)| *wait != Some(Duration::ZERO)).max_by_key(|(.., wait)| wait.unwrap_or(Duration::MAX))
    }

    fn standing(&self) -> Standing {
        let here = self.here();
        let lane = |bucket: &Bucket, limit: Option<u64>, here: Option<u64>| {
            limit.zip(here).map(|(limit, here)| Lane { limit, ..bucket.lane(here) })
        };
        Standing {
            requests: lane(&self.requests, self.rates.requests_per_minute, here.requests_per_minute),
            tokens: lane(&self.tokens, self.rates.tokens_per_minute, here.tokens_per_minute),
        }
    }
}

impl Throttle {
    /// Of a payer whom nothing limits yet.
    pub fn of(payer: Payer) -> Arc<Self> {
        Arc::new(Self { payer, state: Mutex::default() })
    }

    /// Limits what comes next; what was asked so far counts.
    pub fn set(&self, rates: Rates) {
        self.state().rates = rates;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits that a key's requests fall under. Locks are taken in the order of the payers, by everybody.
#[derive(Debug)]
pub struct Throttles(Vec<Arc<Throttle>>);

/// A request that was let in, until it ends: it is under way, and its tokens are taken. One that is dropped before was never sent,
/// and took nothing.
#[derive(Debug)]
pub struct Passage {
    through: Option<Arc<Throttles>>,
    taken: u64,
    standing: Standing,
}

impl Throttles {
    /// These, in any order; `None` where there are none.
    pub fn of(throttles: impl IntoIterator<Item = Arc<Throttle>>) -> Option<Arc<Self>> {
        let mut all: Vec<Arc<Throttle>> = throttles.into_iter().collect();
        all.sort_by(|a, b| a.payer.cmp(&b.payer));
        (!all.is_empty()).then(|| Arc::new(Self(all)))
    }

    /// Whether a request that takes nothing of the tokens would be let in: asked before anything is worked out for it.
    pub fn look(&self, now: Duration) -> Result<(), Box<TooMany>> {
        self.refused(&self.lock(now), 0)
    }

    /// Lets a request in by every limit, or takes nothing of any.
    pub fn pass(self: &Arc<Self>, tokens: Tokens, now: Duration) -> Result<Passage, Box<TooMany>> {
        let taken = tokens.get();
        let mut states = self.lock(now);
        self.refused(&states, taken)?;
        for state in &mut states {
            state.requests.owed += ONE;
            state.tokens.owed += u128::from(taken) * ONE;
            state.under_way += 1;
        }
        Ok(Passage { through: Some(Arc::clone(self)), taken, standing: standing(&states) })
    }

    fn refused(&self, states: &[MutexGuard<'_, State>], tokens: u64) -> Result<(), Box<TooMany>> {
        let refusals = self.0.iter().zip(states.iter()).filter_map(|(throttle, state)| {
            let (counted, limit, wanted, retry_after) = state.refusal(tokens)?;
            Some((&throttle.payer, counted, limit, wanted, retry_after))
        });
        let longest = refusals.max_by_key(|(.., wait)| wait.unwrap_or(Duration::MAX));
        let Some((payer, counted, limit, wanted, retry_after)) = longest else { return Ok(()) };
        let (payer, standing) = (payer.clone(), standing(states));
        Err(Box::new(TooMany { payer, counted, limit, wanted, retry_after, standing }))
    }

    /// In their order, as they are at a moment.
    fn lock(&self, now: Duration) -> Vec<MutexGuard<'_, State>> {
        let mut states = Vec::with_capacity(self.0.len());
        for throttle in &self.0 {
            let mut state = throttle.state();
            state.leak(now);
            states.push(state);
        }
        states
    }
}

/// Of each kind the one with the least left.
fn standing(states: &[MutexGuard<'_, State>]) -> Standing {
    let tightest = |lane: fn(&Standing) -> Option<Lane>| {
        let lanes = states.iter().filter_map(|state| lane(&state.standing()));
        lanes.min_by_key(|lane| (lane.remaining, lane.limit))
    };
    Standing { requests: tightest(|standing| standing.requests), tokens: tightest(|standing| standing.tokens) }
}

impl Passage {
    /// Of a request that nothing limits.
    pub fn free() -> Self {
        Self { through: None, taken: 0, standing: Standing::default() }
    }

    /// How the tightest limits stood when it was let in.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The request has ended, and took so many tokens.
    pub fn end(mut self, tokens: Tokens, now: Duration) {
        if let Some(through) = self.through.take() {
            let (used, taken) = (u128::from(tokens.get()) * ONE, u128::from(self.taken) * ONE);
            for state in &mut through.lock(now) {
                state.under_way -= 1;
                state.tokens.owed = (state.tokens.owed + used).saturating_sub(taken);
            }
        }
    }
}

impl Drop for Passage {
    /// Something else stood against it, so it counts for nothing.
    fn drop(&mut self) {
        if let Some(through) = self.through.take() {
            let taken = u128::from(self.taken) * ONE;
            for throttle in &through.0 {
                let mut state = throttle.state();
                state.under_way -= 1;
                state.requests.owed = state.requests.owed.saturating_sub(ONE);
                state.tokens.owed = state.tokens.owed.saturating_sub(taken);
            }
        }
    }
}

pub mod slices;
#[cfg(test)]
mod tests;
