//! `/v1/responses/{id}`: an answer that is kept, for the key that asked for it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::routes::{Front, Marks};
use super::status::{Refusal, refusal};
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::pipeline::{Stored, StoredSettings};
use crate::telemetry::{Rejection, Route};
use crate::units::KeyName;

/// The answer as it was told.
pub(super) async fn retrieve(front: State<Arc<Front>>, id: Path<String>, headers: HeaderMap) -> Response {
    of_kept(&front, &id, &headers, |stored, key, settings| stored.body(key, &id, settings, front.clock.monotonic()))
}

/// Forgets it.
pub(super) async fn delete(front: State<Arc<Front>>, id: Path<String>, headers: HeaderMap) -> Response {
    of_kept(&front, &id, &headers, |stored, key, settings| {
        let told = || Bytes::from(json!({ "id": *id, "object": "response", "deleted": true }).to_string());
        stored.forget(key, &id, settings, front.clock.monotonic()).then(told)
    })
}

fn of_kept(
    front: &Front,
    id: &str,
    headers: &HeaderMap,
    told: impl FnOnce(&Stored, &KeyName, StoredSettings) -> Option<Bytes>,
) -> Response {
    let marks = Marks::of(front, Route::Response, headers);
    let in_force = front.pipeline.in_force.load();
    let admission = match in_force.keys.admit(headers) {
        Ok(admission) => admission,
        Err(stranger) => return marks.refuse(&refusal(&stranger.into())),
    };
    let settings = in_force.settings.stored;
    if let Some(body) = told(&front.pipeline.stored, &admission.key, settings) {
        return marks.own(body);
    }
    let why = if settings.most_bytes == 0 {
        "this gateway keeps none (limits.stored_responses_mib)"
    } else {
        "it was never, for this key, is too old, had to make room, or another gateway gave it"
    };
    let message = format!("response `{id}` is not kept: {why}; send the whole conversation in `input`");
    let error = ClientError::new(404, ErrorKind::InvalidRequest, "response_not_found", message);
    marks.refuse(&Refusal::of(error).because(Rejection::UnknownPath))
}
