//! What is known of providers' reports, for operators: as metrics, and `/admin/reports` on the operations listener, by an
//! administrator's key: who reports how many tokens of what is estimated here, who has left the usual band and what that costs;
//! and to take for usual what a provider reports now.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request};
use serde::{Deserialize, Serialize};

use super::admin::{Asked, Reasoned, admitted, asked, refused, told};
use super::routes::Front;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::meter::calibration::{Ratio, Side, View, Watch};
use crate::telemetry::Reports;
use crate::units::BackendId;

/// The path that changes something.
pub(super) const ACCEPT: &str = "/admin/reports/accept";
/// The class that a ratio of counts is told under: they are not told apart by what the text is made of.
const COUNTED: &str = "counted";

type Shared = State<Arc<Front>>;

/// Tells the metrics. What is known changes with each answer, and a scrape is rare: nothing is told as it happens.
pub(super) fn tell(front: &Front) {
    let views = front.pipeline.learning.reports.view();
    front.metrics.reports(views.iter().map(as_metrics));
}

fn as_metrics(view: &View) -> Reports<'_> {
    let ratio = |ratio: &Ratio| (ratio.side.word(), class(ratio), ratio.ratio, ratio.error);
    let mut drifts: Vec<&'static str> = view.drifts.iter().map(|drift| drift.side.word()).collect();
    drifts.dedup();
    Reports { backend: &view.backend, ratios: view.ratios.iter().map(ratio).collect(), drifts, stake: view.at_stake }
}

fn class(ratio: &Ratio) -> &'static str {
    ratio.class.map_or(COUNTED, |class| class.word())
}

#[derive(Serialize)]
struct Told {
    backend: String,
    /// What its reports out of the band cost beyond what was expected, in dollars; below zero where they cost less.
    at_stake_usd: String,
    drifts: Vec<ToldDrift>,
    sides: Vec<ToldSide>,
}

#[derive(Serialize)]
struct ToldDrift {
    side: &'static str,
    /// `estimated` or `counted`: what its reports were compared with.
    against: &'static str,
    /// `above` or `below`.
    way: &'static str,
    /// What was reported lately over what was usual.
    ratio: f64,
}

#[derive(Serialize)]
struct ToldSide {
    side: &'static str,
    /// How many reports taught.
    reports: u32,
    /// Tokens that it reports beside those of the text: lines of its own, marks.
    beside_tokens: f64,
    ratios: Vec<ToldRatio>,
}

#[derive(Serialize)]
struct ToldRatio {
    class: &'static str,
    ratio: f64,
    error: f64,
}

impl Told {
    fn of(view: &View) -> Self {
        let side = |side: Side| ToldSide {
            side: side.word(),
            reports: view.reports[side as usize],
            beside_tokens: rounded(view.beside[side as usize]),
            ratios: view.ratios.iter().filter(|ratio| ratio.side == side).map(ToldRatio::of).collect(),
        };
        Self {
            backend: view.backend.to_string(),
            at_stake_usd: view.at_stake.to_exact(),
            drifts: view.drifts.iter().map(ToldDrift::of).collect(),
            sides: Side::ALL.map(side).into(),
        }
    }
}

impl ToldDrift {
    fn of(drift: &Watch) -> Self {
        let against = if drift.counted { COUNTED } else { "estimated" };
        Self { side: drift.side.word(), against, way: drift.way.word(), ratio: rounded(drift.lately) }
    }
}

impl ToldRatio {
    fn of(ratio: &Ratio) -> Self {
        Self { class: class(ratio), ratio: rounded(ratio.ratio), error: rounded(ratio.error) }
    }
}

/// To a thousandth.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// Everything that is known of reports, those who left their band first.
pub(super) async fn list(State(front): Shared, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct List {
        backends: Vec<Told>,
    }
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let mut backends: Vec<Told> = front.pipeline.learning.reports.view().iter().map(Told::of).collect();
    backends.sort_by_key(|told| told.drifts.is_empty());
    told(&List { backends })
}

/// What an administrator asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    backend: String,
    why: String,
}

impl Reasoned for Wish {
    fn why(&self) -> &str {
        &self.why
    }
}

/// Takes for usual what a backend reports from now on: what was learned of it is forgotten.
pub(super) async fn accept(State(front): Shared, request: Request<Body>) -> Response {
    #[derive(Serialize)]
    struct Done {
        result: &'static str,
        backend: String,
    }
    let Asked { admin, wish: Wish { backend, why }, .. } = match asked(&front, request).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let known = backend.split_once('/').map(|(provider, model)| BackendId::new(provider, model));
    if !known.is_some_and(|id| front.pipeline.learning.reports.forget(&id)) {
        let message = format!("nothing is known of reports of {backend:?}; GET /admin/reports lists who is");
        return refused(&ClientError::new(422, ErrorKind::InvalidRequest, "reports_not_changed", message));
    }
    front.pipeline.learning.noted();
    tracing::info!(admin, backend, why, "what a provider reports from now on is taken for usual");
    told(&Done { result: "accepted", backend })
}
