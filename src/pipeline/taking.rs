//! What a request takes before it is sent: its share of what may be asked in a minute, and money.

use std::time::Duration;

use super::{Admitted, GatewayError, Pipeline};
use crate::policy::{Hold, Loan, Passage, TooMany};
use crate::route::Plan;
use crate::units::Tokens;

/// How often more is asked for: others may take what was lent.
pub(super) const LOANS: usize = 4;

impl Pipeline {
    /// Refuses a request for which there is no room anyway, before anything is worked out for it.
    pub(super) fn look(&self, admitted: &Admitted) -> Result<(), Box<TooMany>> {
        // Where gateways share limits there may be more than this one has.
        let Some(throttles) = admitted.admission.throttles.as_ref().filter(|_| self.lender.is_none()) else { return Ok(()) };
        throttles.look(self.clock.monotonic())
    }

    /// Takes a request and the tokens that its first attempt is expected to use from every limit that applies.
    pub(super) async fn pass(&self, admitted: &Admitted, plan: &Plan) -> Result<Passage, Box<TooMany>> {
        let Some(throttles) = &admitted.admission.throttles else { return Ok(Passage::free()) };
        let expected = plan.root.attempts().next().map(|attempt| attempt.quote.usage);
        let tokens = expected.map_or(Tokens::ZERO, |usage| usage.input() + usage.output);
        let mut passed = throttles.pass(tokens, self.clock.monotonic());
        if let Some(lender) = &self.lender {
            for _ in 0..LOANS {
                if passed.is_ok() || !lender.let_in(throttles, tokens).await {
                    break;
                }
                passed = throttles.pass(tokens, self.clock.monotonic());
            }
        }
        passed
    }

    /// Sets aside what the plan can cost at most (where the budgets bear no more, what its first attempt can). Where gateways share a budget and this one's slice does not bear it, more is
    /// asked for, which is the only wait and a short one.
    pub(super) async fn hold(&self, admitted: &Admitted, plan: &Plan) -> Result<Hold, GatewayError> {
        let (budgets, wanted) = (&admitted.admission.budgets, admitted.lesser.to_hold(plan));
        let mut held = budgets.hold(wanted, self.clock.wall());
        let mut loan = Loan::Granted;
        if let Some(lender) = &self.lender {
            for _ in 0..LOANS {
                if !held.as_ref().is_err_and(|over| over.shared) {
                    break;
                }
                loan = lender.lend(budgets, wanted).await;
                if loan != Loan::Granted {
                    break;
                }
                held = budgets.hold(wanted, self.clock.wall());
            }
        }
        let cut_off = loan == Loan::Unheard || self.lender.as_ref().is_some_and(|lender| !lender.is_up());
        held.map_err(|mut over| {
            let now = self.clock.wall();
            let refills_in: Option<Duration> = over.refills_at.map(|at| at.duration_since(now).unsigned_abs());
            over.cut_off = over.shared && cut_off;
            GatewayError::OverBudget { over, refills_in, status: admitted.settings().over_budget_status }
        })
    }
}
