//! The first line of a request's page in the books.

use super::{Admitted, InboundCall};
use crate::catalog::Purchase;
use crate::ledger::{Baseline, Marks, RequestOpened, Terms};
use crate::policy::Groups;
use crate::relay::Comparison;
use crate::route::Plan;
use crate::units::Usd;

/// What is written of a request before anything is sent, and what its baseline is compared by.
pub(super) fn opening(
    call: &InboundCall,
    admitted: &Admitted,
    plan: &Plan,
    facts: Vec<u8>,
) -> (RequestOpened, Option<Comparison>) {
    let Admitted { admission, request, .. } = admitted;
    let market = admitted.market();
    let quote = plan.chosen().map(|chosen| chosen.quote);
    let usage = quote.map(|quote| quote.usage).unwrap_or_default();
    let comparison = comparison(admitted, plan);
    let entry = RequestOpened {
        id: call.id,
        client_request_id: call.headers.get("x-request-id").and_then(|v| v.to_str().ok()).map(str::to_owned),
        key: admission.key.clone(),
        frontend: call.frontend.word().into(),
        requested_model: request.model.clone(),
        stream: request.stream,
        session: request.wishes.session.clone(),
        arrived_at: plan.at,
        book_version: market.snapshot.version.clone(),
        input_estimate: usage.input(),
        expected_output: usage.output,
        quoted: quote.map_or(Usd::ZERO, |quote| quote.expected),
        runner_up: plan.candidates.get(1).map(|next| next.quote.expected),
        facts,
        marks: marks(admitted),
        baseline: comparison.as_ref().map(|c| Baseline { model: c.backend.to_string(), terms: c.terms.clone() }),
    };
    (entry, comparison)
}

/// What it is summed up under.
fn marks(admitted: &Admitted) -> Marks {
    let Admitted { admission, request, .. } = admitted;
    let Groups { team, project, tags } = &*admission.groups;
    let mut tags: Vec<String> = tags.iter().chain(&request.wishes.tags).cloned().collect();
    tags.sort_unstable();
    tags.dedup();
    let group = |name: &Option<String>| Some(name.clone().unwrap_or_default());
    Marks { team: group(team), project: group(project), tags }
}

/// The baseline's prices at the instant of the plan, if one is configured and priced, and could have been asked this.
fn comparison(admitted: &Admitted, plan: &Plan) -> Option<Comparison> {
    let snapshot = &admitted.market().snapshot;
    let backend = snapshot.backend_named(admitted.settings().baseline.as_deref()?)?;
    snapshot.endpoint_for(backend, admitted.request.manner())?;
    let until = plan.at.checked_add(admitted.settings().routing.longest).ok()?;
    let pricing = backend.prices.pricing(Purchase::Usual(admitted.request.image), plan.at, until)?;
    let (rate, date) = snapshot.fx.dated(pricing.currency(), plan.at)?;
    Some(Comparison { backend: backend.id.clone(), terms: Terms::new(pricing, rate, date.to_string())? })
}
