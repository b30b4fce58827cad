//! What a request takes before it is sent: its share of what may be asked in a minute, and money.

use std::time::Duration;

use super::{Admitted, GatewayError, Pipeline};
use crate::policy::{Hold, Passage, TooMany};
use crate::route::Plan;
use crate::units::Tokens;

impl Pipeline {
    /// Refuses a request for which there is no room anyway, before anything is worked out for it.
    pub(super) fn look(&self, admitted: &Admitted) -> Result<(), Box<TooMany>> {
        let Some(throttles) = &admitted.admission.throttles else { return Ok(()) };
        throttles.look(self.clock.monotonic())
    }

    /// Takes a request and the tokens that its first attempt is expected to use from every limit that applies.
    pub(super) fn pass(&self, admitted: &Admitted, plan: &Plan) -> Result<Passage, Box<TooMany>> {
        let Some(throttles) = &admitted.admission.throttles else { return Ok(Passage::free()) };
        let expected = plan.root.attempts().next().map(|attempt| attempt.quote.usage);
        let tokens = expected.map_or(Tokens::ZERO, |usage| usage.input() + usage.output);
        throttles.pass(tokens, self.clock.monotonic())
    }

    /// Sets aside what the plan can cost at most.
    pub(super) fn hold(&self, admitted: &Admitted, plan: &Plan) -> Result<Hold, GatewayError> {
        let now = self.clock.wall();
        admitted.admission.budgets.hold(plan.worst_case(), now).map_err(|over| {
            let refills_in: Option<Duration> = over.refills_at.map(|at| at.duration_since(now).unsigned_abs());
            GatewayError::OverBudget { over, refills_in, status: admitted.settings().over_budget_status }
        })
    }
}
