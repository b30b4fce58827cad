//! What a decision weighs beside prices: how shares stand, how backends fare, whether it may look at another backend than
//! the best; and what is counted once it is made.

use jiff::Timestamp;

use super::{InboundCall, Pipeline, PipelineSettings};
use crate::canonical::Preference;
use crate::dispatch::Answers;
use crate::market::Market;
use crate::policy::{ShareCap, ShareStanding};
use crate::route::{Ask, BackendHealth, Cap, CapCost, Caps, Explore, Limits, Plan};
use crate::units::Usd;

/// How much looking at other backends than the best may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExploreRule {
    /// Of a thousand requests.
    pub permille: u16,
    pub usd_a_day: Usd,
}

impl Pipeline {
    /// How every cap stands.
    pub(super) fn caps(&self, market: &Market, now: Timestamp) -> Caps {
        let standings = self.portfolio.standings(now);
        if standings.is_empty() { Caps::NONE } else { Caps::of(standings.into_iter().map(cap).collect(), &market.snapshot) }
    }

    /// Leave to look at another backend, where the operator gives any and the day has money left.
    pub(super) fn leave_to_explore(&self, call: &InboundCall, settings: &PipelineSettings, now: Timestamp) -> Option<Explore> {
        let ExploreRule { permille, usd_a_day } = settings.explore;
        if permille == 0 {
            return None;
        }
        let random = call.id.as_bytes().last_chunk::<8>().copied().unwrap_or_default();
        Some(Explore { seed: u64::from_le_bytes(random), permille, left: self.exploring.left(usd_a_day, now) })
    }

    /// Takes the money for a plan that explores; `false` where another request has just taken the last of it.
    pub(super) fn may_explore(&self, plan: &Plan, settings: &PipelineSettings) -> bool {
        let take = |more| self.exploring.take(more, settings.explore.usd_a_day, plan.at);
        plan.explored.is_none_or(|explored| take(explored.more))
    }

    /// Tells what the caps cost a request that is about to be sent.
    pub(super) fn tell_cap_cost(&self, plan: &Plan) {
        if let Some(CapCost { cap, more, .. }) = &plan.cap_cost {
            self.desk.metrics.cap_cost(cap.by, &cap.name, *more);
        }
    }
}

fn cap((rule, standing): (ShareCap, ShareStanding)) -> Cap {
    let ShareCap { by, name, percent, of, kind, window_seconds: _, least: _ } = rule;
    let ShareStanding { inside, total, closed, pressure } = standing;
    Cap { by, name, percent, of, kind, inside, total, closed, pressure }
}

/// How backends fare. How long they take to begin is looked up only where a deadline or a preference asks for it.
pub(super) fn health(market: &Market, ask: &Ask, limits: &Limits) -> Vec<BackendHealth> {
    let prefer = ask.prefer.or(limits.prefer).unwrap_or_default();
    let timed = ask.deadline_ms.is_some() || prefer != Preference::Cheapest;
    market.health(ask.manner(), timed.then_some(if ask.stream { Answers::Streamed } else { Answers::Whole }))
}
