//! What is tried where the budgets do not bear a request as it was asked: the same with a shorter bound on its answer, which the
//! provider is told so that it ends the answer itself; then something cheaper, where its key (or a level above) says so. Each is
//! planned within what is left and held as any request is, so that no budget is exceeded by it.
//!
//! Only what is asked first counts for that: a fallback that costs more neither shortens the answer nor is held for. One that fits into
//! what is left is asked if the budgets still bear it when its turn comes. Else the fallbacks of one request would hold what a crowd could be served with.

use std::fmt;

use super::{Admitted, GatewayError, InboundCall, Pipeline, Told};
use crate::policy::least_left;
use crate::route::{self, Plan};
use crate::units::{Tokens, Usd};

/// A bound leaves so many times what is expected of the answer: a mean alone would cut every third.
const ROOM: u64 = 2;

/// What the budgets made of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lesser {
    /// The bound on each choice.
    shortened: Option<Tokens>,
    /// What serves in the place of what was asked for.
    degraded: Option<String>,
    /// It was planned within what is left of the budgets.
    within: bool,
}

impl Lesser {
    /// Whether it is less than what was asked for, which the client is told.
    pub(super) fn is_any(&self) -> bool {
        self.shortened.is_some() || self.degraded.is_some()
    }

    /// What is held before the plan begins.
    pub(super) fn to_hold(&self, plan: &Plan) -> Usd {
        if self.within { plan.first_case() } else { plan.worst_case() }
    }
}

impl fmt::Display for Lesser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degraded = self.degraded.as_ref().map(|to| format!("degraded={to}"));
        let shortened = self.shortened.map(|bound| format!("output_bound={bound}"));
        f.write_str(&degraded.into_iter().chain(shortened).collect::<Vec<_>>().join(", "))
    }
}

/// How far a request has come that may have to be made less of.
pub(super) enum Course {
    /// It is served by something cheaper from the start, for its budget is nearly empty.
    Ahead(Box<Admitted>),
    AsAsked,
    Shortened(Box<Admitted>, GatewayError),
    Degraded(Box<Admitted>, GatewayError),
}

impl Course {
    /// What is asked now.
    pub(super) fn of<'a>(&'a self, asked: &'a Admitted) -> &'a Admitted {
        match self {
            Course::AsAsked => asked,
            Course::Ahead(lesser) | Course::Shortened(lesser, _) | Course::Degraded(lesser, _) => lesser,
        }
    }

    /// Whether an error may be mended by another way: of a request as it was asked only that its budget does not bear it.
    pub(super) fn goes_on_after(&self, error: &GatewayError) -> bool {
        match (self, error) {
            (_, GatewayError::OverBudget { .. }) => true,
            (Course::AsAsked, _) => false,
            (_, error) => matches!(
                error,
                GatewayError::NoPlan { .. }
                    | GatewayError::NotServed(_)
                    | GatewayError::NotAllowed(_)
                    | GatewayError::Untranslatable(_)
                    | GatewayError::BadRequest(_)
            ),
        }
    }
}

impl Pipeline {
    /// Where a request begins.
    pub(super) fn course(&self, call: &InboundCall, asked: &Admitted) -> Course {
        let admission = &asked.admission;
        if admission.brown_out.below_percent.is_none() || asked.request.wishes.dry_run {
            return Course::AsAsked;
        }
        let near = admission.brown_out.is_near(&admission.budgets.report(self.clock.wall()));
        let ahead = near.then(|| self.degraded(call, asked)).flatten();
        ahead.map_or(Course::AsAsked, |lesser| Course::Ahead(Box::new(lesser)))
    }

    /// What is tried next, or what the client is told: why what it asked for is not borne.
    pub(super) fn lessen(
        &self,
        call: &InboundCall,
        asked: &Admitted,
        before: Course,
        error: GatewayError,
    ) -> Result<Course, GatewayError> {
        let over = match before {
            // Nothing cheaper serves it, and something is left.
            Course::Ahead(_) => return Ok(Course::AsAsked),
            Course::AsAsked => {
                let may = asked.admission.brown_out.shortens(asked.client_bound.is_some());
                if let Some(lesser) = may.then(|| self.shortened(call, asked.clone())).flatten() {
                    return Ok(Course::Shortened(Box::new(lesser), error));
                }
                error
            }
            Course::Shortened(_, over) => over,
            Course::Degraded(_, over) => return Err(over),
        };
        match self.degraded(call, asked) {
            Some(lesser) => Ok(Course::Degraded(Box::new(lesser), over)),
            None => Err(over),
        }
    }

    /// The request with the longest bound on its answer that what is left bears, where that leaves the answer room.
    fn shortened(&self, call: &InboundCall, mut lesser: Admitted) -> Option<Admitted> {
        let most = lesser.request.output_bound?;
        self.cap(&mut lesser)?;
        lesser.request.output_bound = None;
        let told = Told::of(call, &lesser.request);
        let (longest, expected) = self.with_facts(call, &lesser, |facts, trace| {
            let makers = self.makers(&lesser, &trace);
            // By the one that will be asked: what is explored or can be said decides that too.
            let (_, said) = self.said(facts, lesser.settings(), &lesser.wording(&told, &makers));
            let plan = said.planned.ok()?;
            let choices = u64::from(lesser.request.choices.max(1));
            let first = plan.root.attempts().next()?.quote;
            Some((first.output_bound, first.usage.output.get().div_ceil(choices)))
        })?;
        let bound = longest.min(most);
        let room = Tokens::new(expected.saturating_mul(ROOM)).min(most);
        let thinks_less = lesser.request.thinking_budget.is_none_or(|thinking| thinking < bound);
        if bound < room || !thinks_less {
            return None;
        }
        lesser.request.output_bound = Some(bound);
        lesser.lesser.shortened = Some(bound).filter(|bound| *bound < most);
        Some(lesser)
    }

    /// What serves in the place of what was asked for, at no quality that was wished.
    fn degraded(&self, call: &InboundCall, asked: &Admitted) -> Option<Admitted> {
        let to = asked.admission.brown_out.degrades_to()?;
        // Nothing stands for a model that is asked for something else than a conversation.
        if asked.request.shape.direct().is_some() {
            return None;
        }
        let mut lesser = asked.clone();
        let in_force = &lesser.in_force;
        lesser.target = route::resolve(to, &in_force.market.snapshot, &in_force.settings.aliases).ok()?;
        lesser.request.wishes.quality = None;
        lesser.lesser.degraded = Some(to.to_owned());
        if lesser.request.output_bound.is_some() {
            return self.shortened(call, lesser);
        }
        self.cap(&mut lesser)?;
        Some(lesser)
    }

    /// Bounds what a request may cost by what is left of every budget.
    fn cap(&self, lesser: &mut Admitted) -> Option<Usd> {
        let left = least_left(&lesser.admission.budgets.report(self.clock.wall()))?;
        let most = lesser.request.wishes.max_cost.map_or(left, |most| most.min(left));
        lesser.request.wishes.max_cost = Some(most);
        lesser.lesser.within = true;
        Some(most)
    }
}
