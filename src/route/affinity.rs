//! Prompts that are still warm, and conversations that had better stay where they are.
//!
//! A provider that has read a prompt's beginning lately bills it at its cache price. What of a prompt is likely warm at a
//! backend is what it has read of it before, if that is enough to be cached at all, times the chance that it is still
//! there, times how much of such beginnings that backend in truth gave back. It is treated as what it is, a lower price
//! at one backend; so a backend that has not read the prompt is charged with the cold beginning that a move to it brings.
//!
//! For one request that would be all. But a conversation that moves pays the cold beginning once and its new prices on
//! every turn after: [`settle`] compares this turn and those still expected, and a conversation stays unless another
//! backend is cheaper over all of them. Without a warm backend there is nothing to stay for, and the cheapest is asked; but
//! for a conversation that holds what only its last backend can read.
//!
//! What was read where is said by whoever keeps it; nothing is remembered here, and no clock is asked.

use std::time::Duration;

use super::plan::Candidate;
use crate::catalog::{BackendIndex, CacheRules};
use crate::units::{Tokens, Usage, Usd};

/// Millionths in one.
const ONE: u64 = 1_000_000;

/// Everything a decision knows of caches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affinity {
    /// Backends that have read the prompt's beginning, by their index.
    pub warm: Vec<Warm>,
    /// How much of the prompt the client marked to be cached, in millionths of its tokens.
    pub marked: u32,
    /// The conversation that this request goes on with.
    pub session: Option<Session>,
}

/// A backend that has read the prompt's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    pub backend: BackendIndex,
    /// What it has read of it, in its own tokens.
    pub known: Tokens,
    /// What of that it will likely read from its cache.
    pub likely: Tokens,
}

/// A conversation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who answered last.
    pub home: BackendIndex,
    /// It holds what only its home can read (signatures of thoughts, encrypted thoughts), so it stays there as long as that can
    /// answer, whatever it costs.
    pub sealed: bool,
    /// This turn's number.
    pub turn: u32,
    /// Turns still expected after this one, in millionths.
    pub remaining: u64,
    /// How much backends give back of what they have read, in millionths, where it was learned.
    pub rates: Vec<(BackendIndex, u32)>,
    /// The same where it was not.
    pub rate: u32,
}

/// Where a conversation goes on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub home: BackendIndex,
    /// What its home alone can read keeps it there.
    pub sealed: bool,
    pub turn: u32,
    /// In millionths.
    pub remaining: u64,
    /// This turn and those still expected at home, weighed as scores are; `None` where home cannot answer this one.
    pub at_home: Option<Usd>,
    /// The best elsewhere, and the same sum there; `None` where there is nobody else.
    pub elsewhere: Option<(BackendIndex, Usd)>,
}

impl Stay {
    /// Whether the conversation stays.
    pub fn stays(&self) -> bool {
        self.at_home.is_some_and(|home| self.sealed || self.elsewhere.is_none_or(|(_, other)| home <= other))
    }
}

impl Warm {
    /// What is warm of a prompt of `input` tokens, `share` millionths of which the backend has read so long ago.
    /// `rate`: how much of such beginnings it gives back, in millionths.
    pub fn of(backend: BackendIndex, input: Tokens, share: u32, age: Duration, rules: CacheRules, rate: u32) -> Option<Self> {
        let known = part(input, u64::from(share).min(ONE));
        let likely = part(part(known, alive(age, rules)), u64::from(rate).min(ONE));
        (known >= rules.minimum && likely > Tokens::ZERO).then_some(Self { backend, known, likely })
    }
}

/// The chance that what was read so long ago is still cached, in millionths: certain for the first half of the lifetime,
/// even at its end, and none from one and a half of it on. Lifetimes are told roughly, and some sites empty early.
pub fn alive(age: Duration, rules: CacheRules) -> u64 {
    let (age, lifetime) = (age.as_millis(), u128::from(rules.lifetime_seconds) * 1_000);
    let left = (lifetime + lifetime / 2).saturating_sub(age);
    let chance = (left * u128::from(ONE)).checked_div(lifetime).unwrap_or(0);
    u64::try_from(chance).unwrap_or(ONE).min(ONE)
}

/// So many millionths of some tokens.
fn part(tokens: Tokens, millionths: u64) -> Tokens {
    let part = u128::from(tokens.get()) * u128::from(millionths) / u128::from(ONE);
    Tokens::new(u64::try_from(part).unwrap_or(u64::MAX))
}

impl Affinity {
    /// What a backend will likely read of a prompt from its cache.
    pub fn warm_at(&self, backend: BackendIndex) -> Option<&Warm> {
        self.warm.iter().find(|warm| warm.backend == backend)
    }

    /// A prompt's tokens by how they will likely be billed. Writes are expected where the client marks what to cache and
    /// the backend charges for them; else what is written costs what is read.
    pub fn usage(&self, backend: BackendIndex, input: Tokens, writes_cost: bool) -> Usage {
        let cache_read = self.warm_at(backend).map_or(Tokens::ZERO, |warm| warm.likely.min(input));
        let marked = part(input, u64::from(self.marked).min(ONE));
        let cache_write = if writes_cost { marked.saturating_sub(cache_read) } else { Tokens::ZERO };
        let fresh_input = input.saturating_sub(cache_read).saturating_sub(cache_write);
        Usage { fresh_input, cache_read, cache_write, ..Usage::default() }
    }

    /// The conversation, where it has something to stay for.
    pub fn staying(&self) -> Option<&Session> {
        self.session.as_ref().filter(|session| session.sealed || self.warm_at(session.home).is_some())
    }
}

impl Session {
    /// The same request as a later turn at a backend that has read all of it the turn before.
    pub fn later(&self, backend: BackendIndex, now: &Usage, rules: CacheRules) -> Usage {
        let learned = self.rates.iter().find(|(index, _)| *index == backend);
        let rate = learned.map_or(self.rate, |(_, rate)| *rate);
        let input = now.input();
        let cache_read = if input >= rules.minimum { part(input, u64::from(rate).min(ONE)) } else { Tokens::ZERO };
        let none = Tokens::ZERO;
        Usage { fresh_input: input.saturating_sub(cache_read), cache_read, cache_write: none, cache_write_long: none, ..*now }
    }
}

/// What this turn and those still expected cost at a candidate, whose later turns cost `later` each: they are weighed as its
/// score weighs this one.
pub(super) fn over_all(candidate: &Candidate, session: &Session, later: Usd) -> Usd {
    candidate.score.weighed + times(weighed_like(candidate, later), session.remaining)
}

/// Who is cheapest over this turn and those still expected, by its place among the candidates. `later` is what a candidate's
/// later turns cost each.
pub(super) fn settle(candidates: &[Candidate], session: &Session, later: impl Fn(&Candidate) -> Usd) -> (Stay, Option<usize>) {
    let sums: Vec<Usd> = candidates.iter().map(|candidate| over_all(candidate, session, later(candidate))).collect();
    let best = |home: bool| {
        let its_kind = |place: &usize| (candidates[*place].backend == session.home) == home;
        (0..candidates.len()).filter(its_kind).min_by_key(|place| sums[*place])
    };
    let (home, other) = (best(true), best(false));
    let stay = Stay {
        home: session.home,
        sealed: session.sealed,
        turn: session.turn,
        remaining: session.remaining,
        at_home: home.map(|place| sums[place]),
        elsewhere: other.map(|place| (candidates[place].backend, sums[place])),
    };
    (stay, if stay.stays() { home } else { other })
}

/// A cost with the same surcharge for risk that the candidate's score has. What a free quota bears of this turn counts as if
/// it cost its price: nobody knows that there will be any of it left.
fn weighed_like(candidate: &Candidate, cost: Usd) -> Usd {
    let free = candidate.quote.free.map_or(0, |free| free.spared.pico());
    let (expected, weighed) = (candidate.quote.expected.pico() + free, candidate.score.weighed.pico() + free);
    let scaled = cost.pico().checked_mul(weighed).and_then(|product| product.checked_div(expected));
    scaled.map_or(cost, Usd::from_pico)
}

/// So many millionths of a cost; the most there is where that is too much.
pub(super) fn times(cost: Usd, millionths: u64) -> Usd {
    let product = cost.pico().checked_mul(i128::from(millionths));
    product.map_or(Usd::MAX, |product| Usd::from_pico(product / i128::from(ONE)))
}

#[cfg(test)]
#[path = "affinity/tests.rs"]
mod tests;
