//! `/admin/keys` on the operations listener: virtual keys, made, rotated, let expire and revoked by an administrator's key
//! (`[admins.NAME]`), as prices are changed. What is done is in force when the answer comes. The text of a key is in the answer that
//! makes it and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::admin::{Asked, Reasoned, admitted, asked, audited, refused, told, wrong};
use super::routes::Front;
use super::shared::{KEYS, everywhere, not_shared};
use crate::config::names::unknown_names;
use crate::fleet::Unshared;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::key_book::{KeyStep, NotDone, StoreError, VirtualKey, Wanted, to_toml};
use crate::setup::known;

/// How long the text before goes on where nobody says.
const GRACE: Duration = Duration::from_hours(24);
/// No rotation is longer.
const MOST_GRACE: u64 = 90 * 24 * 3_600;

/// The paths that change something.
pub(super) const WISHES: [&str; 4] = ["/admin/keys/new", "/admin/keys/rotate", "/admin/keys/expire", "/admin/keys/revoke"];

type Shared = State<Arc<Front>>;

/// A key as it is told.
#[derive(Serialize)]
struct Told {
    name: String,
    /// `valid`, `expired`, `revoked` or `shadowed` (by one of the configuration).
    state: &'static str,
    /// The lines that would stand in `[keys.NAME]`.
    settings: Vec<String>,
    created: Timestamp,
    created_by: String,
    expires: Option<Timestamp>,
    revoked: Option<Timestamp>,
    /// Until when the text before the last rotation lets in.
    before_until: Option<Timestamp>,
    /// Why it lets nobody in although it is valid: the configuration does not bear its settings.
    problems: Vec<String>,
}

/// Every virtual key there is and was.
pub(super) async fn list(State(front): Shared, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct List {
        keys: Vec<Told>,
    }
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let Some(config) = front.reloads.config() else { return no_reload() };
    let now = front.clock.wall();
    let (_, wrong) = front.key_book.read(&config, now);
    let one = |key: VirtualKey| {
        let problems = wrong.iter().filter(|(name, _)| *name == key.name).flat_map(|(_, problems)| problems);
        Told {
            state: key.stand(&config, now).word(),
            settings: key.settings.lines().map(str::to_owned).collect(),
            before_until: key.before.filter(|before| before.until > now).map(|before| before.until),
            problems: problems.map(ToString::to_string).collect(),
            name: key.name,
            created: key.created,
            created_by: key.created_by,
            expires: key.expires,
            revoked: key.revoked,
        }
    };
    told(&List { keys: front.key_book.keys().into_iter().map(one).collect() })
}

/// Every step that was taken.
pub(super) async fn history(State(front): Shared, headers: HeaderMap) -> Response {
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let book = Arc::clone(&front.key_book);
    audited(move || book.audit(), failed).await
}

/// What an administrator asks for. Which members count depends on the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: String,
    /// Those of `[keys.NAME]`, as an object or as the lines that would stand there.
    settings: Option<Box<RawValue>>,
    expires: Option<Timestamp>,
    at: Option<Timestamp>,
    grace_seconds: Option<u64>,
    /// Why: it stands in the audit.
    why: String,
}

impl Reasoned for Wish {
    fn why(&self) -> &str {
        &self.why
    }
}

/// One of [`WISHES`].
pub(super) async fn wish(State(front): Shared, request: Request<Body>) -> Response {
    let Asked { admin, path, wish } = match asked::<Wish>(&front, request).await {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    if wish.grace_seconds.is_some_and(|grace| grace > MOST_GRACE) {
        return wrong(format!("grace_seconds: at most {MOST_GRACE}"));
    }
    let settings = match wish.settings.as_deref().map_or(Ok(String::new()), to_toml) {
        Ok(settings) => settings,
        Err(message) => return wrong(message),
    };
    if front.reloads.config().is_none() {
        return no_reload();
    }
    let order = Arc::new(Order { front: Arc::clone(&front), admin, path, wish, settings });
    match order.taken().await {
        Ok(Ok(done)) => put_in_force(&front, done).await,
        Ok(Err(NotDone::Store(error))) => failed(&error.to_string()),
        Ok(Err(error)) => refused(&ClientError::new(422, ErrorKind::InvalidRequest, "key_not_changed", error.to_string())),
        Err(why) => not_shared(&why),
    }
}

#[derive(Serialize)]
struct Done {
    /// `created`, `rotated`, `expires` or `revoked`.
    result: &'static str,
    name: String,
    /// The key itself: it is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    in_force: bool,
    /// Whether every gateway of a fleet hears of it at once; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
}

/// What is to be done.
struct Order {
    front: Arc<Front>,
    admin: String,
    path: String,
    wish: Wish,
    settings: String,
}

impl Order {
    fn result(&self) -> &'static str {
        match self.path.as_str() {
            "/admin/keys/rotate" => "rotated",
            "/admin/keys/expire" => "expires",
            "/admin/keys/revoke" => "revoked",
            _ => "created",
        }
    }

    /// Takes or plans the step, as it is asked for now.
    fn step<T>(&self, with: impl FnOnce(&KeyStep<'_>, Wanted<'_>) -> Result<T, NotDone>) -> Result<T, NotDone> {
        let Self { front, wish, settings, .. } = self;
        let wanted = Wanted { by: &self.admin, why: &wish.why, now: front.clock.wall() };
        match self.result() {
            "rotated" => with(&KeyStep::Rotate { grace: wish.grace_seconds.map_or(GRACE, Duration::from_secs) }, wanted),
            "expires" => with(&KeyStep::Expire { at: wish.at.unwrap_or(wanted.now) }, wanted),
            "revoked" => with(&KeyStep::Revoke, wanted),
            _ => {
                let config = front.reloads.config().unwrap_or_default();
                let table = &front.pipeline.in_force.load().market.snapshot;
                let text = format!("[keys.key]\n{settings}");
                let unknown = unknown_names(Some(("settings", &text)), &std::collections::BTreeMap::new(), &known(table));
                if !unknown.is_empty() {
                    return Err(NotDone::Settings(unknown));
                }
                with(&KeyStep::Create { settings, expires: wish.expires, config: &config }, wanted)
            }
        }
    }

    fn done(&self, key: Option<String>) -> Done {
        let (Self { admin, wish, .. }, result) = (self, self.result());
        tracing::info!(admin, name = wish.name, result, "an administrator's wish on keys was done");
        Done { result, name: wish.name.clone(), key, in_force: true, shared: None }
    }

    /// At all gateways of a fleet, or at the only one.
    async fn taken(self: &Arc<Self>) -> Result<Result<Done, NotDone>, Unshared> {
        let Some(fleet) = &self.front.fleet else { return Ok(self.taken_here().await) };
        // What shuts somebody out waits for nobody. Of a key that is not known here yet the others may know.
        if self.result() == "revoked"
            && let Ok(done) = self.taken_here().await
        {
            let in_force = self.front.reloads.ask_keys().await.is_some();
            fleet.shelving().offer();
            let shared = fleet.shelving().agree().await.is_ok();
            return Ok(Ok(Done { in_force, shared: Some(shared), ..done }));
        }
        let order = Arc::clone(self);
        let plan = move || order.step(|step, wanted| order.front.key_book.plan(&order.wish.name, step, wanted));
        match everywhere(fleet, KEYS, plan).await {
            Ok(taken) => Ok(taken.map(|(key, here)| Done { in_force: here, shared: Some(true), ..self.done(key) })),
            Err(why) => Err(why),
        }
    }

    async fn taken_here(self: &Arc<Self>) -> Result<Done, NotDone> {
        let order = Arc::clone(self);
        let taken = move || order.step(|step, wanted| order.front.key_book.step(&order.wish.name, step, wanted));
        Ok(self.done(spawn_blocking(taken).await.unwrap_or_else(|error| Err(StoreError::of_worker(&error).into()))?))
    }
}

async fn put_in_force(front: &Front, done: Done) -> Response {
    let in_force = done.in_force && front.reloads.ask_keys().await.is_some();
    told(&Done { in_force, ..done })
}

pub(super) fn no_reload() -> Response {
    let message = "this gateway was not started from files, so its keys and budgets cannot be changed";
    refused(&ClientError::new(503, ErrorKind::Server, "no_reload", message))
}

pub(super) fn failed(why: &str) -> Response {
    refused(&ClientError::new(500, ErrorKind::Server, "key_book_failed", why.to_owned()))
}
