//! `/admin/prices` on the operations listener: what is changed, held back and was changed before, and an administrator's own
//! changes. It asks for an administrator's key (`[admins.NAME]`), which no gateway key is; without any such key configured
//! the paths are off. A page in a browser cannot call them: it has no key.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::parameters::parse;
use super::routes::{Front, answer};
use super::status::wrong_parameter;
use crate::catalog::change::{FigurePlace, PriceChange};
use crate::catalog::feed::Kind;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::price_book::{AdminError, Done, Figure, HeldEntry, Set};
use crate::units::TokenPrice;

/// No wish is larger.
const MOST_BODY: usize = 64 << 10;

/// The paths that change something.
pub(super) const WISHES: [&str; 5] =
    ["/admin/prices/propose", "/admin/prices/approve", "/admin/prices/reject", "/admin/prices/override", "/admin/prices/end"];

type Shared = State<Arc<Front>>;

/// Who asks, or the answer to a stranger.
pub(super) fn admitted(front: &Front, headers: &HeaderMap) -> Result<String, Box<Response>> {
    let Some(admins) = &front.admins else {
        let message = "nothing is administered here: no [admins.NAME] is configured";
        return Err(Box::new(refused(&ClientError::new(404, ErrorKind::InvalidRequest, "admin_off", message))));
    };
    let admission = admins.admit(headers).map_err(|stranger| {
        let message = format!("{stranger}; here an administrator's key is asked for");
        Box::new(refused(&ClientError::new(401, ErrorKind::InvalidRequest, "invalid_api_key", message)))
    })?;
    Ok(admission.key.as_str().to_owned())
}

pub(super) fn refused(error: &ClientError) -> Response {
    answer(StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST), "application/json", error.body())
}

pub(super) fn told(body: &impl Serialize) -> Response {
    // Texts and numbers: nothing in it can fail to become JSON.
    answer(StatusCode::OK, "application/json", Bytes::from(serde_json::to_vec(body).unwrap_or_default()))
}

/// A change as it is told.
#[derive(Serialize)]
struct Told {
    backend: String,
    layer: &'static str,
    by: String,
    source: String,
    taken: Timestamp,
    from: Timestamp,
    until: Option<Timestamp>,
    figures: Vec<Figure>,
}

impl Told {
    fn of(change: &PriceChange) -> Self {
        let PriceChange { backend, layer, by, source, taken, from, until, figures } = change.clone();
        Self { backend, layer: layer.word(), by, source, taken, from, until, figures: Figure::all(&figures) }
    }
}

#[derive(Serialize)]
struct FeedTold {
    name: String,
    good: Option<Timestamp>,
    failed: Option<Timestamp>,
    failure: Option<String>,
    unknown_backends: usize,
}

/// What is laid over the table now or will be, and how the feeds fare.
pub(super) async fn list(State(front): Shared, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct List {
        version: String,
        changes: Vec<Told>,
        feeds: Vec<FeedTold>,
    }
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let now = front.clock.wall();
    let counts = |change: &&PriceChange| change.until.is_none_or(|until| until > now && until > change.from);
    let feed = |(name, fares): (String, crate::price_book::FeedState)| FeedTold {
        name,
        good: fares.good,
        failed: fares.failure.as_ref().map(|(at, _)| *at),
        failure: fares.failure.map(|(_, why)| why),
        unknown_backends: fares.unknown,
    };
    told(&List {
        version: front.pipeline.in_force.load().market.snapshot.version.clone(),
        changes: front.prices.changes().iter().filter(counts).map(Told::of).collect(),
        feeds: front.prices.feeds().into_iter().map(feed).collect(),
    })
}

/// What is held back.
pub(super) async fn quarantine(State(front): Shared, request: Request<Body>) -> Response {
    #[derive(Serialize)]
    struct Quarantine {
        held: Vec<HeldEntry>,
    }
    if let Err(stranger) = admitted(&front, request.headers()) {
        return *stranger;
    }
    match parse(request.uri().query(), &["feed", "backend"]) {
        Ok(given) => {
            let (feed, backend) = (given.get("feed"), given.get("backend"));
            let asked = |entry: &HeldEntry| {
                feed.is_none_or(|feed| entry.subject.feed == feed)
                    && backend.is_none_or(|backend| entry.subject.backend.as_deref() == Some(backend))
            };
            told(&Quarantine { held: front.prices.held().into_iter().filter(asked).collect() })
        }
        Err(wrong) => refused(&wrong_parameter(&wrong).error),
    }
}

/// The audit of a backend, or of all.
pub(super) async fn history(State(front): Shared, request: Request<Body>) -> Response {
    if let Err(stranger) = admitted(&front, request.headers()) {
        return *stranger;
    }
    let backend = match parse(request.uri().query(), &["backend"]) {
        Ok(given) => given.get("backend").map(str::to_owned),
        Err(wrong) => return refused(&wrong_parameter(&wrong).error),
    };
    let book = Arc::clone(&front.prices);
    audited(move || book.audit(backend.as_deref()), failed).await
}

/// Every step of a book that was taken, whatever its rows are. They are read from the disk, and so off the reactor.
pub(super) async fn audited<R: Serialize + Send + 'static, E: Display + Send + 'static>(
    read: impl FnOnce() -> Result<Vec<R>, E> + Send + 'static,
    failed: fn(&str) -> Response,
) -> Response {
    #[derive(Serialize)]
    struct History<R> {
        rows: Vec<R>,
    }
    match spawn_blocking(read).await {
        Ok(Ok(rows)) => told(&History { rows }),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> Response {
    refused(&ClientError::new(500, ErrorKind::Server, "price_book_failed", why.to_owned()))
}

/// What an administrator asks for. Which members count depends on the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    backend: String,
    /// By kind (`input`), per million tokens, as numbers or texts.
    #[serde(default)]
    figures: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    cell: u32,
    #[serde(default)]
    batch: bool,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    #[serde(default)]
    id: String,
    /// Why: it stands in the audit.
    why: String,
}

impl Wish {
    fn set(self) -> Result<Set, String> {
        let figure = |(name, value): (&String, &RawValue)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == name);
            let kind =
                kind.ok_or_else(|| format!("{name:?} is no figure; accepted: {}", Kind::ALL.map(Kind::word).join(", ")))?;
            let text = value.get().trim_matches('"');
            let price = TokenPrice::per_million(text)
                .map_err(|accepted| format!("{name}: {text:.40} is no price; accepted: {accepted}"))?;
            Ok((FigurePlace { cell: self.cell, batch: self.batch, kind }, price))
        };
        let figures = self.figures.iter().map(|(name, value)| (name, &**value)).map(figure).collect::<Result<_, String>>()?;
        Ok(Set { backend: self.backend, figures, from: self.from, until: self.until, why: self.why })
    }
}

/// What an administrator may ask for on some path.
pub(super) trait Reasoned: DeserializeOwned {
    /// Why: it stands in the audit.
    fn why(&self) -> &str;
}

impl Reasoned for Wish {
    fn why(&self) -> &str {
        &self.why
    }
}

/// What an administrator asks for.
pub(super) struct Asked<W> {
    pub(super) admin: String,
    pub(super) path: String,
    pub(super) wish: W,
}

/// Reads who asks, and for what; or the answer that it is not to be done.
pub(super) async fn asked<W: Reasoned>(front: &Front, request: Request<Body>) -> Result<Asked<W>, Box<Response>> {
    let admin = admitted(front, request.headers())?;
    let path = request.uri().path().to_owned();
    let Ok(body) = to_bytes(request.into_body(), MOST_BODY).await else {
        return Err(Box::new(wrong(format!("the body cannot be read, or is larger than {MOST_BODY} bytes"))));
    };
    let wish: W = serde_json::from_slice(&body).map_err(|error| Box::new(wrong(format!("the body is no wish: {error}"))))?;
    let why = wish.why();
    if why.trim().is_empty() || why.len() > 1_000 || why.contains(char::is_control) {
        return Err(Box::new(wrong("why: a reason of one line is asked for, at most 1000 bytes".to_owned())));
    }
    Ok(Asked { admin, path, wish })
}

/// A wish that cannot be understood.
pub(super) fn wrong(message: String) -> Response {
    refused(&ClientError::new(400, ErrorKind::InvalidRequest, "invalid_value", message))
}

/// One of [`WISHES`].
pub(super) async fn wish(State(front): Shared, request: Request<Body>) -> Response {
    let Asked { admin, path, wish } = match asked::<Wish>(&front, request).await {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let worker = Arc::clone(&front);
    match spawn_blocking(move || done(&worker, &admin, &path, wish)).await {
        Ok(Ok(done)) => put_in_force(&front, done).await,
        Ok(Err(Wrong::Wish(message))) => wrong(message),
        Ok(Err(Wrong::Book(AdminError::Book(error)))) => failed(&error.to_string()),
        Ok(Err(Wrong::Book(error))) => {
            refused(&ClientError::new(422, ErrorKind::InvalidRequest, "price_not_changed", error.to_string()))
        }
        Err(error) => failed(&error.to_string()),
    }
}

enum Wrong {
    Wish(String),
    Book(AdminError),
}

impl From<AdminError> for Wrong {
    fn from(error: AdminError) -> Self {
        Wrong::Book(error)
    }
}

/// `None`: something was taken back.
fn done(front: &Front, admin: &str, path: &str, wish: Wish) -> Result<Option<Done>, Wrong> {
    let table = Arc::clone(&front.pipeline.in_force.load().market.snapshot);
    let (book, now) = (&front.prices, front.clock.wall());
    let outcome = match path {
        "/admin/prices/approve" => Some(book.approve(admin, &wish.id, &wish.why, &table, now)?),
        "/admin/prices/reject" => Some(book.reject(admin, &wish.id, &wish.why, now)?),
        "/admin/prices/end" => {
            book.end(admin, &wish.backend, &wish.why, now)?;
            None
        }
        "/admin/prices/override" => {
            if wish.until.is_none() {
                return Err(Wrong::Wish("until: an override ends; say when, as an instant with its offset".to_owned()));
            }
            Some(book.set(admin, wish.set().map_err(Wrong::Wish)?, &table, now)?)
        }
        _ => Some(book.propose(admin, wish.set().map_err(Wrong::Wish)?, &table, now)?),
    };
    tracing::info!(admin, path, "an administrator's wish on prices was done");
    Ok(outcome)
}

/// Puts it in force, and tells.
async fn put_in_force(front: &Front, done: Option<Done>) -> Response {
    #[derive(Serialize)]
    struct Answer {
        /// `changed`, `held`, `rejected`, `unchanged` or `ended`.
        result: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        change: Option<Told>,
        #[serde(skip_serializing_if = "Option::is_none")]
        held: Option<HeldEntry>,
        /// Whether the table in force holds it.
        in_force: bool,
    }
    let (result, change, held) = match done {
        Some(Done::Changed(change)) => ("changed", Some(Told::of(&change)), None),
        Some(Done::Held(entry)) => ("held", None, Some(entry)),
        Some(Done::Rejected(entry)) => ("rejected", None, Some(entry)),
        Some(Done::Unchanged) => ("unchanged", None, None),
        None => ("ended", None, None),
    };
    let reload = matches!(result, "changed" | "ended");
    let in_force = reload && front.reloads.ask().await.is_some_and(|report| !report.is_refused());
    told(&Answer { result, change, held, in_force })
}
