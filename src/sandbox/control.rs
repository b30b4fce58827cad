//! The control listener: what was served, and which faults to play.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /served` | every request served, as JSON lines, oldest first |
//! | `GET /served/{id}/body` | the exact bytes of one of the latest requests |
//! | `GET /faults` | the orders in force |
//! | `POST /faults` | adds an order: `{"provider", "fault", …parameters, "count"}` |
//! | `DELETE /faults` | lifts every order |
//! | `POST /reset` | forgets what was served and lifts every order |

use std::sync::Arc;

use http::Method;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::json;

use super::Shared;
use super::fault::FaultOrder;
use super::provider::{json_response, labelled};
use super::refusal::Refusal;
use super::script::ScriptBody;

/// The largest order that is read.
const LARGEST_ORDER: usize = 64 << 10;

/// Answers one request at the control listener.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<ScriptBody> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/served") => labelled(200, "application/jsonl", ScriptBody::plain(served(&shared))),
        (&Method::GET, "/faults") => {
            let orders: Vec<_> = shared.faults.all().iter().map(FaultOrder::json).collect();
            json_response(200, json!(orders).to_string())
        }
        (&Method::POST, "/faults") => order(&shared, request).await,
        (&Method::DELETE, "/faults") => {
            shared.faults.lift_all();
            json_response(200, "{}".into())
        }
        (&Method::POST, "/reset") => {
            shared.log.reset();
            shared.faults.lift_all();
            json_response(200, "{}".into())
        }
        (&Method::GET, path) => body(&shared, path),
        _ => unknown(),
    }
}

fn served(shared: &Shared) -> String {
    let line = |row| serde_json::to_string(row).map(|line| line + "\n").unwrap_or_default();
    shared.log.rows().iter().map(line).collect()
}

async fn order(shared: &Shared, request: Request<Incoming>) -> Response<ScriptBody> {
    let Ok(body) = Limited::new(request.into_body(), LARGEST_ORDER).collect().await else {
        return refused(413, "the order is too large");
    };
    match FaultOrder::read(&body.to_bytes()) {
        Ok(order) if shared.knows(&order.provider) => {
            let told = order.json().to_string();
            shared.faults.order(order);
            json_response(200, told)
        }
        Ok(order) => refused(404, &format!("there is no provider {:?}", order.provider)),
        Err(wrong) => refused(400, &wrong),
    }
}

fn body(shared: &Shared, path: &str) -> Response<ScriptBody> {
    let id = path.strip_prefix("/served/").and_then(|rest| rest.strip_suffix("/body")).and_then(|id| id.parse().ok());
    match id.and_then(|id| shared.log.body(id)) {
        Some(bytes) => labelled(200, "application/json", ScriptBody::plain(bytes)),
        None => unknown(),
    }
}

fn unknown() -> Response<ScriptBody> {
    refused(404, "no such path at the control listener")
}

fn refused(status: u16, message: &str) -> Response<ScriptBody> {
    json_response(status, Refusal::new(status, "invalid_request_error", "", message).body())
}
