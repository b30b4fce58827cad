//! Caps on the share of all spend, or of all upstream requests, that one provider, one owner or one law gets within a
//! rolling window. They bound what an outage, a price rise or a ban of one of them can do.
//!
//! A share needs something to be a share of. At a cold start it would be all or nothing, so the window is taken to hold at
//! least `least` (dollars, or requests): until that much went through, those inside may have their share of that.
//!
//! **Hard**: whoever is inside is asked only while `inside < percent × max(total, least)`. What is under way inside counts
//! at the most that it can cost, and what is under way elsewhere counts nothing yet; so whatever the open requests turn out
//! to cost and in whichever order they end, a request never leaves the share above its cap by more than what this request
//! costs at most, however many run at once. Check and hold are one step under one lock. What others spent leaves the window
//! too: the share can then rise above the cap with nobody spending, and nobody inside is asked until it is back. A closed
//! cap opens again a fiftieth below its bound, not at it, so that it does not let in one request, shut, and let in the next.
//!
//! **Soft**: nothing is refused; routing makes those inside dearer by the *pressure*, which is how much of the cap is used.
//! It counts what is expected of open requests on both sides. The pressure follows the share with a play of a fiftieth:
//! within it, it stays what it was. Two providers of nearly equal price thus take turns in runs, not request by request.
//!
//! Pure but for its lock: instants and amounts come in, and who is inside is said by whoever knows the table. It is filled
//! from the books at a start; what a cap does to a choice is `route`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::rolling::{Given, LONGEST_SECONDS, Rolling, Tick};
use crate::units::{ShareBy, ShareKind, ShareOf, Usd};

/// Millionths in one.
const ONE: i128 = 1_000_000;
/// How far a share must move before the pressure follows or a closed cap opens, in millionths of the cap.
const PLAY: i128 = 20_000;
/// The pressure is not told beyond this: ten times the cap.
const MOST_PRESSURE: i128 = 10 * ONE;
/// No hold counts for more, so that sums cannot saturate: a thousand million million dollars.
const MOST_HELD: i128 = 1 << 90;

/// One cap, as the operator says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareCap {
    pub by: ShareBy,
    /// The id of the provider, the owner's name or the code of the law, as the table has it.
    pub name: String,
    /// Of all that goes through; 0 to 99.
    pub percent: u8,
    pub of: ShareOf,
    pub kind: ShareKind,
    /// How long the window is.
    pub window_seconds: u32,
    /// The window is taken to hold at least this: 10⁻¹² dollars, or requests.
    pub least: i128,
}

/// How one cap stands at a moment. In 10⁻¹² dollars, or in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareStanding {
    /// What those inside have, open requests included.
    pub inside: i128,
    /// What the share is of: everything in the window, `least` at least.
    pub total: i128,
    /// A hard cap that lets nobody in.
    pub closed: bool,
    /// How much of the cap is used, in millionths, with its play.
    pub pressure: u32,
}

/// A hard cap has no room for one more request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the share of {} {name} is at its cap of {percent} %", by.word())]
pub struct OverShare {
    pub by: ShareBy,
    pub name: String,
    pub percent: u8,
}

/// What was given to whom, and the caps on it.
#[derive(Debug, Default)]
pub struct Portfolio {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The providers by their numbers here.
    providers: Vec<String>,
    /// By the provider's number.
    held: Vec<Held>,
    rolling: Rolling,
    caps: Vec<Standing>,
}

/// What is open at one provider.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    worst: Given,
    expected: Given,
}

/// One cap with its sums.
#[derive(Debug)]
struct Standing {
    cap: ShareCap,
    /// The numbers of the providers inside.
    members: Vec<usize>,
    /// The oldest bucket that counts.
    from: Tick,
    inside: i128,
    total: i128,
    closed: bool,
    pressure: i128,
}

impl Portfolio {
    /// Puts caps in force, each with the providers that are inside. A cap that stays as it was keeps its play.
    pub fn bind(&self, caps: Vec<(ShareCap, Vec<String>)>, now: Timestamp) {
        let state = &mut *self.state();
        let before = std::mem::take(&mut state.caps);
        for (cap, inside) in caps {
            let members = inside.iter().map(|provider| state.number(provider)).collect();
            let known = before.iter().find(|standing| standing.cap == cap);
            let (closed, pressure) = known.map_or((false, 0), |standing| (standing.closed, standing.pressure));
            let from = Tick::of(now).back(i64::from(cap.window_seconds));
            let mut standing = Standing { cap, members, from, inside: 0, total: 0, closed, pressure };
            standing.recount(&state.rolling);
            state.caps.push(standing);
        }
        state.judge(now);
    }

    /// Puts in what the books say was spent at an instant of the past. What is older than any window is left out.
    pub fn refill(&self, provider: &str, spend: Usd, requests: u64, at: Timestamp, now: Timestamp) {
        if Tick::of(at) < Tick::of(now).back(LONGEST_SECONDS) {
            return;
        }
        let state = &mut *self.state();
        let number = state.number(provider);
        state.count(number, Given { spend, requests }, Tick::of(at));
    }

    /// How every cap stands, in the order in which they were bound.
    pub fn standings(&self, now: Timestamp) -> Vec<(ShareCap, ShareStanding)> {
        let state = &mut *self.state();
        if state.caps.is_empty() {
            return Vec::new();
        }
        state.judge(now);
        state.caps.iter().map(|standing| (standing.cap.clone(), standing.shown(&state.held))).collect()
    }

    /// Counts a request that is about to be sent, or says which hard cap has no room for it.
    pub fn hold(self: &Arc<Self>, provider: &str, worst: Usd, expected: Usd, now: Timestamp) -> Result<ShareHold, OverShare> {
        let state = &mut *self.state();
        let provider = state.number(provider);
        state.judge(now);
        let full = |standing: &&Standing| standing.closed && standing.members.contains(&provider);
        if let Some(ShareCap { by, name, percent, .. }) = state.caps.iter().find(full).map(|standing| &standing.cap) {
            return Err(OverShare { by: *by, name: name.clone(), percent: *percent });
        }
        let one = |spend: Usd| Given { spend: spend.min(Usd::from_pico(MOST_HELD)), requests: 1 };
        let held = Held { worst: one(worst), expected: one(expected) };
        state.held[provider].change(held, 1);
        Ok(ShareHold { portfolio: Arc::clone(self), provider, held, open: true })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self, provider: &str) -> usize {
        self.providers.iter().position(|known| known == provider).unwrap_or_else(|| {
            self.providers.push(provider.to_owned());
            self.held.push(Held::default());
            self.providers.len() - 1
        })
    }

    fn count(&mut self, provider: usize, given: Given, at: Tick) {
        let at = self.rolling.add(provider, given, at);
        for standing in self.caps.iter_mut().filter(|standing| at >= standing.from) {
            standing.count(provider, given, 1);
        }
    }

    /// Lets the windows roll to a moment, and judges every cap by what is then in them.
    fn judge(&mut self, now: Timestamp) {
        let now = self.rolling.newest().map_or(Tick::of(now), |newest| newest.max(Tick::of(now)));
        for standing in &mut self.caps {
            standing.roll(now, &self.rolling);
            standing.judge(&self.held);
        }
        self.rolling.forget_before(now.back(LONGEST_SECONDS));
    }
}

impl Held {
    fn change(&mut self, by: Held, sign: i128) {
        let change = |sum: &mut Given, by: Given| {
            sum.spend = Usd::from_pico(sum.spend.pico() + sign * by.spend.pico());
            sum.requests = if sign > 0 { sum.requests + by.requests } else { sum.requests.saturating_sub(by.requests) };
        };
        change(&mut self.worst, by.worst);
        change(&mut self.expected, by.expected);
    }
}

impl Standing {
    fn count(&mut self, provider: usize, given: Given, sign: i128) {
        let amount = sign * given.of(self.cap.of);
        self.total += amount;
        if self.members.contains(&provider) {
            self.inside += amount;
        }
    }

    fn recount(&mut self, rolling: &Rolling) {
        (self.inside, self.total) = (0, 0);
        for (provider, given) in rolling.since(self.from) {
            self.count(provider, given, 1);
        }
    }

    fn roll(&mut self, now: Tick, rolling: &Rolling) {
        let from = now.back(i64::from(self.cap.window_seconds));
        if from > self.from {
            for (provider, given) in rolling.between(self.from, from) {
                self.count(provider, given, -1);
            }
            self.from = from;
        }
    }

    /// What those inside have and what it is a share of. A hard cap counts the worst of what is open inside and nothing of
    /// what is open elsewhere; a soft one what is expected of both.
    fn counted(&self, held: &[Held]) -> (i128, i128) {
        let of = self.cap.of;
        let members = self.members.iter().filter_map(|member| held.get(*member));
        let (inside, total) = match self.cap.kind {
            ShareKind::Hard => {
                let open: i128 = members.map(|held| held.worst.of(of)).sum();
                (self.inside + open, self.total + open)
            }
            ShareKind::Soft => {
                let open: i128 = members.map(|held| held.expected.of(of)).sum();
                let all: i128 = held.iter().map(|held| held.expected.of(of)).sum();
                (self.inside + open, self.total + all)
            }
        };
        (inside, total.max(self.cap.least))
    }

    fn judge(&mut self, held: &[Held]) {
        let (inside, total) = self.counted(held);
        let bound = i128::from(self.cap.percent) * total;
        let used = (inside * 100 * ONE).checked_div(bound).unwrap_or(MOST_PRESSURE).clamp(0, MOST_PRESSURE);
        if (used - self.pressure).abs() >= PLAY {
            self.pressure = used;
        }
        let opens_below = if self.closed { ONE - PLAY } else { ONE };
        self.closed = self.cap.kind == ShareKind::Hard && used >= opens_below;
    }

    fn shown(&self, held: &[Held]) -> ShareStanding {
        let (inside, total) = self.counted(held);
        let pressure = u32::try_from(self.pressure).unwrap_or(u32::MAX);
        ShareStanding { inside, total, closed: self.closed, pressure }
    }
}

/// One upstream request that is under way. Ends once: with what it cost, or with nothing when dropped.
#[derive(Debug)]
#[must_use = "a request that is dropped counts no more"]
pub struct ShareHold {
    portfolio: Arc<Portfolio>,
    provider: usize,
    held: Held,
    open: bool,
}

impl ShareHold {
    /// The request ended and cost this much. One that was sent counts as a request, whatever it cost.
    pub fn settle(mut self, cost: Usd, now: Timestamp) {
        self.open = false;
        let state = &mut *self.portfolio.state();
        state.held[self.provider].change(self.held, -1);
        // Should the clock have gone back, it counts into the newest bucket.
        let at = state.rolling.newest().map_or(Tick::of(now), |newest| newest.max(Tick::of(now)));
        state.count(self.provider, Given { spend: cost, requests: 1 }, at);
    }
}

impl Drop for ShareHold {
    fn drop(&mut self) {
        if self.open {
            self.portfolio.state().held[self.provider].change(self.held, -1);
        }
    }
}

#[cfg(test)]
mod tests;
