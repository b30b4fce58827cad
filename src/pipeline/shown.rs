//! What the pipeline tells the feed: handles to a plan, and the gateway's own refusals in a word.

use std::sync::Arc;

use super::{Admitted, GatewayError, InboundCall, Pipeline};
use crate::feed::{Planned, Refusal};
use crate::ledger::Tab;
use crate::route::adequate::tally;
use crate::route::{Plan, PlanError};
use crate::telemetry::{Label, Rejection};

/// A planned request, by what exists of it anyway.
pub(super) fn planned(tab: &Tab, plan: &Arc<Plan>, admitted: &Admitted, facts: Vec<u8>) -> Planned {
    let snapshot = Arc::clone(&admitted.market().snapshot);
    Planned { opened: Arc::clone(tab.opened()), plan: Arc::clone(plan), snapshot, facts }
}

impl Pipeline {
    /// Shows that the gateway itself refused. A stranger is not shown: whoever has no key must not fill the feed.
    pub(super) fn show_refusal(&self, call: &InboundCall, model: Option<&str>, error: &GatewayError) {
        let Some(reason) = reason(error) else { return };
        let Ok(admission) = self.in_force.load().keys.admit(&call.headers) else { return };
        let named = match error {
            GatewayError::UnknownModel(unknown) => Some(unknown.name.as_str()),
            _ => model,
        };
        self.desk.feed.refuse(|| Refusal {
            id: call.id,
            at: self.clock.wall(),
            key: admission.key,
            model: named.map(shortened),
            reason: reason.word(),
            excluded: match error {
                GatewayError::NoPlan { error: PlanError::NoneAdequate { rejected }, .. } => tally(rejected),
                _ => Vec::new(),
            },
        });
    }
}

/// A client may name a model at any length.
fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(256)].to_owned()
}

/// Why the gateway itself refused; `None` for a request that has its entry from the time it was planned.
fn reason(error: &GatewayError) -> Option<Rejection> {
    match error {
        GatewayError::BadRequest(_) => Some(Rejection::BadRequest),
        GatewayError::UnknownModel(_) => Some(Rejection::UnknownModel),
        GatewayError::Untranslatable(_)
        | GatewayError::NotServed(_)
        | GatewayError::NotAllowed(_)
        | GatewayError::NoPlan { .. } => Some(Rejection::NoneAdequate),
        GatewayError::OverBudget { .. } => Some(Rejection::OverBudget),
        GatewayError::TooMany(_) => Some(Rejection::RateLimited),
        GatewayError::Full(_) => Some(Rejection::Overloaded),
        GatewayError::Unwritable(_) => Some(Rejection::BooksUnwritable),
        GatewayError::NotAdmitted(_) | GatewayError::Failed(_) | GatewayError::Books(_) => None,
    }
}
