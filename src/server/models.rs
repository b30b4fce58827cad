//! `/v1/models` and `/v1/models/{id}`: the names that can be asked for now. OpenAI's list has no pages; clients of Anthropic's turn
//! them by `limit`, `after_id` and `before_id`, and get all names on one where they ask for none.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Request};

use super::parameters::{Given, WrongParameter, parse_known};
use super::routes::{Front, Marks};
use super::status::{refusal, wrong_parameter};
use crate::frontend::models::{ListedModel, Page};
use crate::pipeline::GatewayError;
use crate::telemetry::Route;

/// So many names a page may have (Anthropic's API reference, "List Models", 2026-11).
const MOST: usize = 1000;

pub(super) async fn list(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::Models, request.headers());
    let models = match listed(&front, request.headers()) {
        Ok(models) => models,
        Err(error) => return marks.refuse(&refusal(&error)),
    };
    if !marks.frontend.has_pages() {
        return marks.own(marks.frontend.model_list(&Page::whole(&models)));
    }
    // SDKs add parameters of their own (`beta`).
    let page = parse_known(request.uri().query(), &["limit", "after_id", "before_id"]).and_then(|given| page(&models, &given));
    match page {
        Ok(page) => marks.own(marks.frontend.model_list(&page)),
        Err(wrong) => marks.refuse(&wrong_parameter(&wrong)),
    }
}

pub(super) async fn one(State(front): State<Arc<Front>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let marks = Marks::of(&front, Route::Model, &headers);
    let models = match listed(&front, &headers) {
        Ok(models) => models,
        Err(error) => return marks.refuse(&refusal(&error)),
    };
    match models.iter().find(|model| model.id == id) {
        Some(model) => marks.own(marks.frontend.model_item(model)),
        None => marks.refuse(&refusal(&GatewayError::UnknownModel(front.pipeline.unknown(&id)))),
    }
}

fn listed(front: &Front, headers: &HeaderMap) -> Result<Vec<ListedModel>, GatewayError> {
    let admission = front.pipeline.in_force.load().keys.admit(headers)?;
    Ok(front.pipeline.models(&admission))
}

/// The page that is asked for: those behind a name, or the last ones before it.
fn page<'m>(models: &'m [ListedModel], given: &Given) -> Result<Page<'m>, WrongParameter> {
    let limit = match given.get("limit") {
        None => models.len(),
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| WrongParameter::new("limit", format!("a whole number from 1 to {MOST}")))?,
    };
    let place = |name: &str| {
        let Some(id) = given.get(name) else { return Ok(None) };
        let place = models.iter().position(|model| model.id == id);
        place.map(Some).ok_or_else(|| WrongParameter::new(name, "the id of a model on the list"))
    };
    let (models, has_more) = match (place("after_id")?, place("before_id")?) {
        (Some(_), Some(_)) => return Err(WrongParameter::new("before_id", "no `after_id` beside it")),
        (_, Some(before)) => (&models[before.saturating_sub(limit)..before], before > limit),
        (after, None) => {
            let rest = &models[after.map_or(0, |after| after + 1)..];
            (&rest[..limit.min(rest.len())], rest.len() > limit)
        }
    };
    Ok(Page { models, has_more })
}
