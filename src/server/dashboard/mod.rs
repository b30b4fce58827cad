//! The last decisions on the operations listener: a page at `/`, and the feed at `/feed` for the page, for scripts and for
//! `tokenbroker top`.
//!
//! Everything the page needs is in the binary and comes from this listener; its policy for browsers allows nothing else,
//! and no script or style inside the markup. Like the metrics, it asks for no key, and on a loopback address it answers
//! only requests that were meant for one: a name that somebody made point here could otherwise let their page read it.

mod card;
mod html;
mod page;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use self::stream::Shape;
use super::routes::Front;
use crate::catalog::Provider;
use crate::feed::{GatewayView, MOST_ENTRIES, Mark, Overview};
use crate::route::Availability;

/// How many requests the page shows.
const PAGE_ENTRIES: usize = 40;
/// How many readers may follow the feed at once: operators, not users.
const MOST_READERS: usize = 32;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
const ICON: &str = include_str!("icon.svg");

/// What everybody who looks shares.
pub(super) struct Looks {
    front: Arc<Front>,
    on: bool,
    api: SocketAddr,
    operations: SocketAddr,
    started: Timestamp,
    /// The same on the monotonic clock.
    began: Duration,
    readers: Arc<Semaphore>,
}

impl Looks {
    /// At a gateway that has just begun to serve at these addresses; one that is not `on` shows nothing.
    pub(super) fn new(front: &Arc<Front>, on: bool, api: SocketAddr, operations: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            front: Arc::clone(front),
            on,
            api,
            operations,
            started: front.clock.wall(),
            began: front.clock.monotonic(),
            readers: Arc::new(Semaphore::new(MOST_READERS)),
        })
    }

    fn gateway(&self) -> GatewayView {
        let in_force = self.front.pipeline.in_force.load();
        let snapshot = &in_force.market.snapshot;
        let usable = in_force.market.usable();
        let ready = |provider: &&Provider| usable.availability_of(provider) == Availability::Ready;
        let on = snapshot.providers().iter().filter(ready).count();
        let up = self.front.clock.monotonic().saturating_sub(self.began);
        GatewayView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            table: snapshot.version.clone(),
            api: reachable(self.api),
            operations: reachable(self.operations),
            started: self.started.to_string(),
            uptime_seconds: up.as_secs(),
            providers_on: on,
            providers_off: snapshot.providers().len() - on,
            baseline: in_force.settings.baseline.clone(),
            sandbox: snapshot.providers().iter().any(|provider| provider.sandbox.is_some()),
            // Who shows nothing is let in where no key is asked for.
            keyed: in_force.keys.admit(&HeaderMap::new()).is_err(),
        }
    }

    fn overview(&self, mark: Mark, most: usize) -> Overview {
        self.front.pipeline.desk.feed.read(mark).overview(self.gateway(), most)
    }
}

impl Front {
    /// Whether savings are told against a configured baseline.
    fn baseline(&self) -> bool {
        self.pipeline.in_force.load().settings.baseline.is_some()
    }
}

/// Where somebody on this machine reaches a listener.
fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The paths, where they are not switched off.
pub(super) fn routes(looks: Arc<Looks>) -> Router {
    if !looks.on {
        return Router::new();
    }
    Router::new()
        .route("/", get(show))
        .route("/feed", get(feed))
        .route("/assets/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/assets/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/icon.svg", get(|| async { asset("image/svg+xml", ICON) }))
        .layer(from_fn_with_state(Arc::clone(&looks), guard))
        .with_state(looks)
}

/// Refuses what a browser was tricked into sending here, and tells it what the page may do.
async fn guard(State(looks): State<Arc<Looks>>, request: Request, next: Next) -> Response {
    let mut response = if looks.operations.ip().is_loopback() && !meant_for_loopback(request.headers(), request.uri()) {
        let said = "this listener is on a loopback address and is shown under localhost or that address only\n";
        plain(StatusCode::MISDIRECTED_REQUEST, said)
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether the host that was asked for is an address, or a name that nobody can point elsewhere.
fn meant_for_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let Some(authority) = host.as_ref().or(uri.authority()) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

async fn show(State(looks): State<Arc<Looks>>) -> Response {
    let overview = looks.overview(Mark::default(), PAGE_ENTRIES);
    let now = looks.front.clock.wall().to_string();
    answer(StatusCode::OK, "text/html; charset=utf-8", page::document(&overview, &now))
}

/// `/feed` follows; `?once` answers at once; `?since=SEQUENCE` leaves out what has not changed since; `?last=N` takes the
/// newest N; `?as=html` is for the page.
async fn feed(State(looks): State<Arc<Looks>>, uri: Uri) -> Response {
    let query = match Query::read(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(said) => return plain(StatusCode::BAD_REQUEST, said),
    };
    let mark = query.since.map_or_else(Mark::default, Mark::at);
    if query.once {
        let overview = looks.overview(mark, query.last);
        return answer(StatusCode::OK, "application/json", serde_json::to_string(&overview).unwrap_or_default());
    }
    match Arc::clone(&looks.readers).try_acquire_owned() {
        Ok(place) => stream::stream(looks, place, query.shape, mark),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "too many are following the feed; close a page or use /feed?once\n"),
    }
}

/// What may stand behind the question mark.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    once: bool,
    since: Option<u64>,
    last: usize,
    shape: Shape,
}

impl Query {
    fn read(text: &str) -> Result<Self, &'static str> {
        let mut query = Self { once: false, since: None, last: MOST_ENTRIES, shape: Shape::Json };
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match (name, value) {
                ("once", _) => query.once = true,
                ("as", "json") => query.shape = Shape::Json,
                ("as", "html") => query.shape = Shape::Html,
                ("since", number) => query.since = Some(number.parse().map_err(|_| "since is a whole number\n")?),
                ("last", number) => query.last = number.parse().map_err(|_| "last is a whole number\n")?,
                _ => return Err("known are once, since=SEQUENCE, last=N and as=json or as=html\n"),
            }
        }
        Ok(query)
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    answer(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()))
}

fn plain(status: StatusCode, said: &'static str) -> Response {
    answer(status, "text/plain; charset=utf-8", Bytes::from_static(said.as_bytes()))
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_meant_for_loopback() {
        let check = |host: &str, expected| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]);
            assert_eq!(meant_for_loopback(&headers, &Uri::from_static("/")), expected, "{host}");
        };
        for host in ["127.0.0.1:9090", "localhost:1", "LOCALHOST", "broker.localhost:8", "[::1]:9090", "127.0.0.1"] {
            check(host, true);
        }
        for host in ["rebound.example:9090", "127.0.0.1.example", "localhost.example", "", "a b"] {
            check(host, false);
        }
        assert!(!meant_for_loopback(&HeaderMap::new(), &Uri::from_static("/")));
    }

    #[test]
    fn a_question_is_understood_or_refused() {
        let json = Query { once: false, since: None, last: MOST_ENTRIES, shape: Shape::Json };
        assert_eq!(Query::read(""), Ok(json));
        let asked = Query::read("once&since=7&last=3&as=html");
        assert_eq!(asked, Ok(Query { once: true, since: Some(7), last: 3, shape: Shape::Html }));
        for wrong in ["since=x", "last=-1", "as=xml", "twice"] {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_means_all_is_reached_on_loopback() {
        let check = |address: &str, expected: &str| assert_eq!(reachable(address.parse().unwrap()), expected);
        check("0.0.0.0:80", "http://127.0.0.1:80");
        check("[::]:80", "http://[::1]:80");
        check("10.0.0.7:80", "http://10.0.0.7:80");
    }
}
