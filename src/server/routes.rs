//! The paths of both listeners: HTTP in, a call of the pipeline, HTTP out. No routing decision is made here.

use std::collections::BTreeMap;
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, RETRY_AFTER, TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};
use http_body_util::StreamBody;
use hyper::body::{Body as _, Frame};
use jiff::Timestamp;

use super::admin;
use super::body::{self, Accepts, BodyLimits};
use super::compress::Coder;
use super::decisions::{self, PastTables};
use super::discard::discard;
use super::ids::Ids;
use super::models;
use super::openapi;
use super::rates;
use super::reload::Reloads;
use super::reports;
use super::shared;
use super::status::{Refusal, refusal};
use super::stored;
use super::usage;
use super::{admin_budgets, admin_keys};
use crate::clock::SharedClock;
use crate::fleet::Fleet;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::frontend::{self, FrontendRef};
use crate::key_book::{BudgetBook, KeyBook};
use crate::ledger::Outcome;
use crate::pipeline::{InboundCall, Pipeline, Receipt, Reply};
use crate::policy::KeyRing;
use crate::price_book::PriceBook;
use crate::relay::Pump;
use crate::route::Decision;
use crate::telemetry::{Metrics, Rejection, Route};
use crate::units::{Grant, RequestId};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-tokenbroker-request-id");
const BACKEND: HeaderName = HeaderName::from_static("x-tokenbroker-backend");
const COST: HeaderName = HeaderName::from_static("x-tokenbroker-cost-usd");
const DECISION: HeaderName = HeaderName::from_static("x-tokenbroker-decision");
/// How tokens were counted.
const COUNT: HeaderName = HeaderName::from_static("x-tokenbroker-count");
const DROPPED: HeaderName = HeaderName::from_static("x-tokenbroker-dropped");
const BUDGET: HeaderName = HeaderName::from_static("x-tokenbroker-budget");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Lines of headers that a request may have: what hyper reads of HTTP/1.1.
const MOST_HEADERS: usize = 100;

/// Paths of the OpenAI API that this gateway does not serve: a client is told so, rather than "not found".
const NOT_SERVED: [&str; 9] = [
    "/v1/moderations",
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/audio/translations",
    "/v1/files",
    "/v1/batches",
    "/v1/fine_tuning/jobs",
    "/v1/assistants",
    "/v1/messages/batches",
];

/// The same behind the id of a response.
const NOT_SERVED_OF_A_RESPONSE: [&str; 2] = ["cancel", "input_items"];

/// What the handlers share.
pub struct Front {
    pub pipeline: Pipeline,
    pub metrics: Arc<Metrics>,
    pub clock: SharedClock,
    pub max_head: usize,
    pub coder: Coder,
    pub ids: Ids,
    pub reloads: Reloads,
    /// Set when the drain begins.
    pub draining: AtomicBool,
    /// To explain decisions that were made by a table which is in force no more.
    pub past_tables: PastTables,
    pub prices: Arc<PriceBook>,
    pub key_book: Arc<KeyBook>,
    pub budget_book: Arc<BudgetBook>,
    /// Who may change prices and make keys; `None`: nobody, and the paths are off.
    pub admins: Option<KeyRing>,
    /// What is shared with other gateways.
    pub fleet: Option<Fleet>,
}

type Shared = State<Arc<Front>>;

/// The API listener's paths, but for those by which a model is asked ([`Route::ANSWERED`]).
pub fn api(front: Arc<Front>) -> Router {
    Router::new()
        .route("/v1/responses/{id}", get(stored::retrieve).delete(stored::delete))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/route", post(decide))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/usage", get(usage::own))
        .route("/v1/decisions/{id}", get(decisions::own))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(front)
}

/// What the API listener serves.
const SERVED: &str = "served are POST /v1/chat/completions, POST /v1/responses, GET /v1/responses/{id}, DELETE /v1/responses/{id}, POST /v1/messages, \
    POST /v1/messages/count_tokens, POST /v1/embeddings, POST /v1/completions, POST /v1/rerank, POST /v1/images/generations, \
    POST /v1/audio/speech, POST /v1/audio/transcriptions, GET /v1/models, POST /v1/route, GET /v1/usage and GET /v1/decisions/{id}";
/// What it answers to a path it does not have, after the path.
const BASE_URL_HINT: &str = "an OpenAI SDK's base_url must end in /v1, an Anthropic SDK's must not";
/// The same for the operations listener.
const OPERATIONS_HINT: &str = "here are the page at /, /feed, /usage, /decisions/{id}, /metrics, /healthz and /readyz, and POST /reload; \
     the API is on the other listener";
/// What the API listener answers to those who look for metrics.
const METRICS_HINT: &str = "metrics are on the operations listener (server.operations_listen)";

/// The operations listener's paths.
pub fn operations(front: Arc<Front>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/usage", get(usage::all))
        .route("/decisions/{id}", get(decisions::any))
        .route("/reload", post(reload))
        .route("/admin/prices", get(admin::list))
        .route("/admin/prices/quarantine", get(admin::quarantine))
        .route("/admin/prices/history", get(admin::history))
        .route("/admin/prices/propose", post(admin::wish))
        .route("/admin/prices/approve", post(admin::wish))
        .route("/admin/prices/reject", post(admin::wish))
        .route("/admin/prices/override", post(admin::wish))
        .route("/admin/prices/end", post(admin::wish))
        .route("/admin/reports", get(reports::list))
        .route("/admin/reports/accept", post(reports::accept))
        .route("/admin/keys", get(admin_keys::list))
        .route("/admin/keys/history", get(admin_keys::history))
        .route("/admin/keys/new", post(admin_keys::wish))
        .route("/admin/keys/rotate", post(admin_keys::wish))
        .route("/admin/keys/expire", post(admin_keys::wish))
        .route("/admin/keys/revoke", post(admin_keys::wish))
        .route("/admin/budgets", get(admin_budgets::list))
        .route("/admin/budgets/history", get(admin_budgets::history))
        .route("/admin/budgets/set", post(admin_budgets::wish))
        .route("/admin/budgets/lift", post(admin_budgets::wish))
        .route("/admin/budgets/clear", post(admin_budgets::wish))
        .route("/admin/budgets/top-up", post(admin_budgets::wish))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_for_operators))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found_for_operators)
        .with_state(front)
}

/// What asks a model.
pub(super) async fn answered(front: &Front, request: &mut Request<Body>) -> Response {
    let mut marks = Marks::of(front, Route::of(request.uri().path()), request.headers());
    // Every HTTP/2 client can read trailers; of HTTP/1.1 some cannot, so those have to say it.
    marks.trailers = request.version() == Version::HTTP_2 || takes_trailers(request.headers());
    let call = match receive(front, request, &marks).await {
        Ok(call) => call,
        Err(refusal) => return marks.refuse(&refusal),
    };
    match front.pipeline.answer(call).await {
        Ok(Reply::Whole { receipt, body }) => marks.whole(receipt, body),
        Ok(Reply::Stream { receipt, pump }) => marks.stream(receipt, pump),
        Ok(Reply::Decision(decision)) => marks.decision(&decision),
        Err(error) => marks.refuse(&refusal(&error)),
    }
}

/// A count of ours: nobody is asked.
async fn count_tokens(State(front): Shared, mut request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::CountTokens, request.headers());
    let counted = match receive(&front, &mut request, &marks).await {
        Ok(call) => front.pipeline.count(&call).await.map_err(|error| refusal(&error)),
        Err(refusal) => Err(refusal),
    };
    match counted {
        Ok((tokens, how)) => {
            let mut response = marks.own(format!("{{\"input_tokens\":{tokens}}}").into());
            response.headers_mut().insert(COUNT, HeaderValue::from_static(how.word()));
            response
        }
        Err(refusal) => marks.refuse(&refusal),
    }
}

async fn decide(State(front): Shared, mut request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::Route, request.headers());
    let decided = match receive(&front, &mut request, &marks).await {
        Ok(call) => front.pipeline.decide(&call).map_err(|error| refusal(&error)),
        Err(refusal) => Err(refusal),
    };
    match decided {
        Ok(decision) => marks.decision(&decision),
        Err(refusal) => marks.refuse(&refusal),
    }
}

/// For anybody: what an operator would have to mend is told on the operations listener only.
async fn ready(State(front): Shared) -> Response {
    readiness(&front, front.reloads.readiness())
}

async fn ready_for_operators(State(front): Shared) -> Response {
    readiness(&front, front.reloads.readiness_in_full() + &front.prices.troubles() + &shared::troubles(&front))
}

fn readiness(front: &Front, ready: String) -> Response {
    let problem = if front.draining.load(Ordering::Relaxed) {
        Some("draining: the gateway is stopping".to_owned())
    } else {
        front.pipeline.ledger.writable().err().map(|unwritable| unwritable.to_string())
    };
    match problem {
        None => answer(StatusCode::OK, "text/plain; charset=utf-8", ready.into()),
        Some(problem) => answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", format!("{problem}\n").into()),
    }
}

/// Reads configuration and table again, and answers when that has ended.
async fn reload(State(front): Shared, headers: HeaderMap) -> Response {
    if is_of_a_browser(&headers) {
        let message = "a page in a browser may not ask for a reload; use curl, SIGHUP or reload.watch";
        let error = ClientError::new(403, ErrorKind::InvalidRequest, "browser_refused", message);
        return answer(StatusCode::FORBIDDEN, "application/json", error.body());
    }
    let Some(report) = front.reloads.ask().await else {
        let message = "nothing to reload: the gateway is stopping, or was not started from files";
        let error = ClientError::new(503, ErrorKind::Server, "no_reload", message);
        return answer(StatusCode::SERVICE_UNAVAILABLE, "application/json", error.body());
    };
    let status = if report.is_refused() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    answer(status, "application/json", report.body())
}

/// Whether a page sent this. Any page can send a POST without a body to an address of the machine that its reader sits at,
/// and by a name that it has resolve there it is even of the same origin. Browsers add these headers, which no page can
/// leave out; no page of ours asks for a reload.
fn is_of_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

async fn metrics(State(front): Shared) -> Response {
    let books = front.pipeline.ledger.gauges();
    front.metrics.ledger_queue(usize::try_from(books.backlog).unwrap_or(usize::MAX));
    front.metrics.ledger_writable(books.writable);
    shared::tell(&front);
    tell_allowances(&front);
    tell_prices(&front);
    reports::tell(&front);
    match front.metrics.render() {
        Ok(text) => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into()),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string().into()),
    }
}

/// What is free and what is paid already, as it stands now.
fn tell_allowances(front: &Front) {
    let in_force = front.pipeline.in_force.load();
    let (table, now) = (&in_force.market.snapshot, front.clock.wall());
    let (free, balances) = (in_force.allowances.left(now), in_force.allowances.balances(now));
    let quotas = table.backends().iter().flat_map(|backend| table.quotas_of(backend).map(move |quota| (backend, quota)));
    // Of a quota that is not given now, nothing is left of what it counts.
    let left = quotas.filter_map(|(backend, quota)| {
        let left = free.get(quota.index.0 as usize)?;
        let left = Grant::by(|counted| quota.grant.of(counted).and(left.of(counted)));
        Some((&backend.id, &*quota.name, left, quota.window(now).map(|_| quota.grant)))
    });
    front.metrics.quotas(left);
    let prepaid = table.providers().iter().zip(&balances);
    front.metrics.prepaid(prepaid.filter_map(|(provider, balance)| Some((provider.id.as_str(), (*balance)?.left))));
}

/// What the price book holds, as metrics. Its changes are few, and a scrape is rare: nothing has to be told as it happens.
fn tell_prices(front: &Front) {
    let (now, feeds) = (front.clock.wall(), front.prices.feeds());
    let age = |good: Timestamp| now.duration_since(good).as_secs();
    front.metrics.feed_ages(feeds.iter().filter_map(|(name, fares)| Some((name.as_str(), age(fares.good?)))));
    let mut counts: BTreeMap<String, i64> = feeds.keys().map(|name| (name.clone(), 0)).collect();
    let mut oldest: BTreeMap<String, i64> = BTreeMap::new();
    for held in front.prices.held() {
        // What is for no backend of the table may wait for ever: long lists know more models than anybody's table.
        if held.subject.backend.is_some() {
            let since = oldest.entry(held.subject.feed.clone()).or_insert(i64::MAX);
            *since = held.since.as_second().min(*since);
        }
        *counts.entry(held.subject.feed).or_default() += 1;
    }
    front.metrics.held_back(counts.iter().map(|(by, count)| (by.as_str(), *count)));
    front.metrics.held_since(oldest.iter().map(|(by, since)| (by.as_str(), *since)));
    let moved: Vec<_> = front.prices.moved().into_iter().map(|moved| (moved.place.to_string(), moved)).collect();
    let told = moved.iter().map(|(figure, moved)| (moved.backend.as_str(), figure.as_str(), moved.before, moved.after));
    front.metrics.price_ratios(told);
}

async fn not_found(State(front): Shared, request: Request<Body>) -> Response {
    let path = request.uri().path();
    if Route::of(path).is_answered() {
        return method_not_allowed(State(front), request).await;
    }
    let error = if is_known_elsewhere(path) {
        let message = format!("{path} is not served by this gateway; {SERVED}");
        ClientError::new(501, ErrorKind::InvalidRequest, "not_implemented", message)
    } else if path == "/metrics" {
        no_such_path(path, METRICS_HINT)
    } else {
        no_such_path(path, &format!("{BASE_URL_HINT}; {SERVED}"))
    };
    refuse_path(&front, &request, error)
}

fn is_known_elsewhere(path: &str) -> bool {
    let within = |known: &&str| path.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let of_response = path.strip_prefix("/v1/responses/").and_then(|rest| rest.split_once('/'));
    NOT_SERVED.iter().any(within) || of_response.is_some_and(|(_, of)| NOT_SERVED_OF_A_RESPONSE.contains(&of))
}

async fn not_found_for_operators(State(front): Shared, request: Request<Body>) -> Response {
    refuse_path(&front, &request, no_such_path(request.uri().path(), OPERATIONS_HINT))
}

fn no_such_path(path: &str, hint: &str) -> ClientError {
    ClientError::new(404, ErrorKind::InvalidRequest, "path_not_found", format!("no such path: {path}; {hint}"))
}

fn refuse_path(front: &Front, request: &Request<Body>, error: ClientError) -> Response {
    let marks = Marks::of(front, Route::of(request.uri().path()), request.headers());
    marks.refuse(&Refusal::of(error).because(Rejection::UnknownPath))
}

async fn method_not_allowed(State(front): Shared, request: Request<Body>) -> Response {
    let marks = Marks::of(&front, Route::of(request.uri().path()), request.headers());
    let path = request.uri().path();
    let posted = Route::of(path).is_answered()
        || matches!(path, "/v1/messages/count_tokens" | "/v1/route" | "/reload")
        || admin::WISHES.contains(&path)
        || path == reports::ACCEPT
        || admin_keys::WISHES.contains(&path)
        || admin_budgets::WISHES.contains(&path);
    let allowed = match Route::of(path) {
        Route::Response => "GET, DELETE",
        _ if posted => "POST",
        _ => "GET",
    };
    let message = format!("{} is not allowed on {path}; use {allowed}", request.method());
    let mut response = marks.refuse(
        &Refusal::of(ClientError::new(405, ErrorKind::InvalidRequest, "method_not_allowed", message))
            .because(Rejection::UnknownPath),
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Reads a request whose key is known, within its limits.
async fn receive(front: &Front, request: &mut Request<Body>, marks: &Marks<'_>) -> Result<InboundCall, Refusal> {
    let Marks { id, route, frontend, .. } = *marks;
    let arrived = front.clock.monotonic();
    let (headers, mut body) = (take(request.headers_mut()), take(request.body_mut()));
    let accepts = if route == Route::Transcriptions { Accepts::Form } else { Accepts::Json };
    let read = read(front, accepts, &headers, &mut body).await;
    if read.is_err() && !body.is_end_stream() {
        discard(&front.pipeline.desk.tasks, body);
    }
    read.map(|body| InboundCall { id, route, frontend, headers, body, arrived })
}

/// The body, or why this request gets no further.
async fn read(front: &Front, accepts: Accepts, headers: &HeaderMap, body: &mut Body) -> Result<Bytes, Refusal> {
    // Before a byte of the body is read: a stranger's megabytes must not be held for it.
    let limits = {
        let in_force = front.pipeline.in_force.load();
        in_force.keys.admit(headers).map_err(|stranger| refusal(&stranger.into()))?;
        let most = match accepts {
            Accepts::Json => in_force.settings.most_body,
            Accepts::Form => in_force.settings.most_upload,
        };
        BodyLimits { accepts, most, wait: in_force.settings.body_wait }
    };
    body::read(headers, body, limits, &front.coder).await
}

/// The refusal of a request whose head is larger than it may be, in bytes or in lines.
pub(super) fn head_too_large<B>(front: &Front, request: &Request<B>) -> Option<Response> {
    let (headers, uri) = (request.headers(), request.uri());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let message = if headers.len() > MOST_HEADERS {
        format!("there are more than {MOST_HEADERS} headers")
    } else if target + head_bytes(headers) > front.max_head {
        format!("the head is larger than {} bytes (server.max_header_bytes)", front.max_head)
    } else {
        return None;
    };
    let error = ClientError::new(431, ErrorKind::InvalidRequest, "headers_too_large", message);
    let marks = Marks::of(front, Route::of(uri.path()), headers);
    Some(marks.refuse(&Refusal::of(error).because(Rejection::TooLarge)))
}

/// About what the headers took on the wire.
fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// `TE` is a list, and may come in several lines.
fn takes_trailers(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(TE).iter().filter_map(|te| te.to_str().ok()).flat_map(|te| te.split(','));
    listed.map(str::trim).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

fn decision_body(decision: &Decision) -> Bytes {
    // Texts and numbers: nothing in it can fail to become JSON.
    serde_json::to_vec(decision).unwrap_or_default().into()
}

/// What every answer to one request carries.
pub(super) struct Marks<'f> {
    front: &'f Front,
    route: Route,
    /// Whose words the answer is in.
    pub(super) frontend: FrontendRef,
    id: RequestId,
    client_id: Option<HeaderValue>,
    trailers: bool,
}

impl<'f> Marks<'f> {
    pub(super) fn of(front: &'f Front, route: Route, headers: &HeaderMap) -> Self {
        let frontend = frontend::of(route.shape(), route == Route::Route, headers);
        let client_id = headers.get(CLIENT_REQUEST_ID).cloned();
        Self { front, route, frontend, id: front.ids.next(&front.clock), client_id, trailers: false }
    }

    fn whole(&self, receipt: Receipt, body: Bytes) -> Response {
        let mut response = answer(StatusCode::OK, "application/json", body);
        if let Some(kind) = &receipt.media_type {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        self.mark(&mut response);
        mark_receipt(&mut response, receipt);
        response
    }

    /// The pump stays in its box: it is handed on at every chunk.
    fn stream(&self, receipt: Receipt, pump: Box<Pump>) -> Response {
        let (trailers, silent) = (self.trailers, receipt.media_type.is_some());
        let frames = unfold(Some(Leaving(Some(pump))), move |leaving| async move {
            let mut leaving = leaving?;
            let pump = leaving.0.as_mut()?;
            match pump.next().await {
                Some(bytes) => Some((Ok(Frame::data(bytes)), Some(leaving))),
                // Nothing in the answer itself could tell that it was cut.
                None if silent && pump.was_cut() => Some((Err(io::Error::other("the answer was cut")), None)),
                None if trailers => Some((Ok(Frame::trailers(cost_trailer(pump))), None)),
                None => None,
            }
        });
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        let headers = response.headers_mut();
        let events = || HeaderValue::from_static("text/event-stream; charset=utf-8");
        headers.insert(CONTENT_TYPE, receipt.media_type.clone().unwrap_or_else(events));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(BUFFERING, HeaderValue::from_static("no"));
        if trailers {
            headers.insert(TRAILER, HeaderValue::from_static("x-tokenbroker-cost-usd"));
        }
        self.mark(&mut response);
        mark_receipt(&mut response, receipt);
        response
    }

    fn json(&self, status: StatusCode, body: Bytes) -> Response {
        let mut response = answer(status, "application/json", body);
        self.mark(&mut response);
        response
    }

    /// An answer that the gateway gives by itself.
    pub(super) fn own(&self, body: Bytes) -> Response {
        self.front.metrics.request(self.route, None, Outcome::Answered);
        self.json(StatusCode::OK, body)
    }

    /// A decision, with the headers that an answer made by it would carry.
    fn decision(&self, decision: &Decision) -> Response {
        let mut response = self.own(decision_body(decision));
        let chosen = decision.chosen.as_ref().map(|chosen| chosen.backend.clone());
        for (name, value) in [(BACKEND, chosen), (DECISION, Some(decision.reason.clone()))] {
            insert(&mut response, name, value);
        }
        response
    }

    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        if let Some(rejection) = refusal.counts_as {
            self.front.metrics.rejected(rejection);
            self.front.metrics.request(self.route, None, Outcome::Refused);
        }
        let status = StatusCode::from_u16(refusal.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = refusal
            .verbatim
            .as_ref()
            .and_then(|body| self.frontend.passed_on(body, &refusal.error))
            .unwrap_or_else(|| self.frontend.error_body(&refusal.error, &self.id.to_string()));
        let mut response = self.json(status, body);
        let headers = response.headers_mut();
        if let Some(seconds) = refusal.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(codings) = &refusal.accepts {
            headers.insert(ACCEPT_ENCODING, codings.clone());
        }
        rates::mark(headers, &refusal.standing);
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if refusal.should_retry { "true" } else { "false" }));
        response
    }

    fn mark(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            if let Some(theirs) = self.frontend.id_header() {
                headers.insert(theirs, id.clone());
            }
            headers.insert(CLIENT_REQUEST_ID, self.client_id.clone().unwrap_or_else(|| id.clone()));
            headers.insert(REQUEST_ID, id);
        }
    }
}

fn mark_receipt(response: &mut Response, receipt: Receipt) {
    let cost = receipt.cost.map(crate::units::Usd::to_exact);
    let dropped = (!receipt.dropped.is_empty()).then(|| receipt.dropped.join(", "));
    let backend = Some(receipt.backend.to_string());
    let marks =
        [(BACKEND, backend), (DECISION, Some(receipt.decision)), (COST, cost), (DROPPED, dropped), (BUDGET, receipt.budget)];
    for (name, value) in marks {
        insert(response, name, value);
    }
    rates::mark(response.headers_mut(), &receipt.standing);
}

/// Sets a header, where there is something to say that a header can carry.
fn insert(response: &mut Response, name: HeaderName, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
}

/// An answer on its way to a client that may leave at any time: dropped, it says so.
struct Leaving(Option<Box<Pump>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(pump) = self.0.take() {
            pump.left();
        }
    }
}

fn cost_trailer(pump: &Pump) -> HeaderMap {
    let cost = pump.cost().and_then(|cost| HeaderValue::try_from(cost.to_exact()).ok());
    cost.map(|cost| (COST, cost)).into_iter().collect()
}

pub(super) fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
