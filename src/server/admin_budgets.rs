//! `/admin/budgets` on the operations listener: how every budget stands, and limits of keys, projects, teams and the gateway that an
//! administrator sets, lifts, tops up or gives back to the configuration. A limit is in force when the answer comes; what is held
//! then stays held, so one that is lowered binds the next request. What was set counts before the configuration's.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use super::admin::{Asked, Reasoned, admitted, asked, audited, refused, told, wrong};
use super::admin_keys::{failed, no_reload};
use super::routes::Front;
use super::shared::{BUDGETS, everywhere, not_shared};
use crate::fleet::Unshared;
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::key_book::{BudgetNotDone, BudgetStep, StoreError, Wanted};
use crate::policy::{BudgetReport, BudgetWindow, Payer};
use crate::units::{KeyName, Usd};

/// The paths that change something.
pub(super) const WISHES: [&str; 4] =
    ["/admin/budgets/set", "/admin/budgets/lift", "/admin/budgets/clear", "/admin/budgets/top-up"];

type Shared = State<Arc<Front>>;

/// A budget as it is told.
#[derive(Serialize)]
struct Told {
    /// `key`, `project`, `team` or `gateway`.
    of: &'static str,
    /// Null for the gateway.
    name: Option<String>,
    window: &'static str,
    /// By whose clocks it begins and ends.
    zone: Option<String>,
    /// With what it is topped up by.
    limit_usd: String,
    topped_up_usd: String,
    settled_usd: String,
    held_usd: String,
    left_usd: String,
    /// Null where it never does.
    refills_at: Option<Timestamp>,
    /// The administrator who set the limit; null where it is the configuration's.
    set_by: Option<String>,
}

/// How every budget stands.
pub(super) async fn list(State(front): Shared, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct List {
        budgets: Vec<Told>,
    }
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let Some(reports) = front.reloads.budgets().await else { return no_reload() };
    let one = |report: BudgetReport| Told {
        of: report.payer.kind(),
        name: report.payer.name().map(str::to_owned),
        window: report.window.every.word(),
        zone: report.window.zone.iana_name().map(str::to_owned),
        limit_usd: report.limit.to_exact(),
        topped_up_usd: report.topped_up.to_exact(),
        settled_usd: report.spent.to_exact(),
        held_usd: report.held.to_exact(),
        left_usd: report.left().to_exact(),
        refills_at: report.refills_at,
        set_by: front.budget_book.set_by(&report.payer, report.window.every),
    };
    told(&List { budgets: reports.into_iter().map(one).collect() })
}

/// Every step that was taken.
pub(super) async fn history(State(front): Shared, headers: HeaderMap) -> Response {
    if let Err(stranger) = admitted(&front, &headers) {
        return *stranger;
    }
    let book = Arc::clone(&front.budget_book);
    audited(move || book.audit(), failed).await
}

/// What an administrator asks for. Which members count depends on the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    of: String,
    name: Option<String>,
    window: String,
    /// Dollars, as a number or a text: the limit, or what it is topped up by.
    usd: Option<Box<RawValue>>,
    zone: Option<String>,
    why: String,
}

impl Reasoned for Wish {
    fn why(&self) -> &str {
        &self.why
    }
}

impl Wish {
    fn payer(&self) -> Result<Payer, String> {
        match (self.of.as_str(), self.name.clone()) {
            ("key", Some(name)) => Ok(Payer::Key(KeyName::new(&name))),
            ("project", Some(name)) => Ok(Payer::Project(name)),
            ("team", Some(name)) => Ok(Payer::Team(name)),
            ("gateway", None) => Ok(Payer::Gateway),
            _ => Err("of, name: accepted are key, project or team with a name, or gateway without one".to_owned()),
        }
    }

    fn window(&self) -> Result<BudgetWindow, String> {
        let found = BudgetWindow::WORDS.into_iter().find(|(_, word)| *word == self.window);
        let words = || BudgetWindow::WORDS.map(|(_, word)| word).join(", ");
        found.map(|(window, _)| window).ok_or_else(|| format!("window: accepted are {}", words()))
    }

    fn amount(&self) -> Result<Usd, String> {
        let text = self.usd.as_deref().map_or("", RawValue::get).trim_matches('"');
        let amount = Usd::parse(text).ok().filter(|amount| *amount > Usd::ZERO);
        amount.ok_or_else(|| "usd: dollars above zero are asked for, as a plain decimal such as 2.50".to_owned())
    }
}

/// One of [`WISHES`].
pub(super) async fn wish(State(front): Shared, request: Request<Body>) -> Response {
    let Asked { admin, path, wish } = match asked::<Wish>(&front, request).await {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    if front.reloads.config().is_none() {
        return no_reload();
    }
    let order = match Order::of(&front, admin, &path, wish) {
        Ok(order) => Arc::new(order),
        Err(message) => return wrong(message),
    };
    match order.taken().await {
        Ok(Ok(done)) => put_in_force(&front, done).await,
        Ok(Err(BudgetNotDone::Store(error))) => failed(&error.to_string()),
        Ok(Err(error)) => refused(&ClientError::new(422, ErrorKind::InvalidRequest, "budget_not_changed", error.to_string())),
        Err(why) => not_shared(&why),
    }
}

#[derive(Serialize)]
struct Done {
    /// `set`, `lifted`, `cleared` or `topped_up`.
    result: &'static str,
    of: String,
    name: Option<String>,
    window: String,
    /// Until when a top-up is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    in_force: bool,
}

/// What becomes of a limit.
#[derive(Clone, Copy)]
enum Change {
    Set(Usd),
    Lift,
    TopUp(Usd),
    Clear,
}

/// What is to be done.
struct Order {
    front: Arc<Front>,
    admin: String,
    payer: Payer,
    window: BudgetWindow,
    change: Change,
    wish: Wish,
}

impl Order {
    fn of(front: &Arc<Front>, admin: String, path: &str, wish: Wish) -> Result<Self, String> {
        let (payer, window) = (wish.payer()?, wish.window()?);
        let change = match path {
            "/admin/budgets/lift" => Change::Lift,
            "/admin/budgets/clear" => Change::Clear,
            "/admin/budgets/top-up" => Change::TopUp(wish.amount()?),
            _ => Change::Set(wish.amount()?),
        };
        Ok(Self { front: Arc::clone(front), admin, payer, window, change, wish })
    }

    /// Takes or plans the step, as it is asked for now.
    fn step<T>(
        &self,
        with: impl FnOnce((&Payer, BudgetWindow), &BudgetStep<'_>, Wanted<'_>) -> Result<T, BudgetNotDone>,
    ) -> Result<T, BudgetNotDone> {
        let Self { front, admin, wish, .. } = self;
        let wanted = Wanted { by: admin, why: &wish.why, now: front.clock.wall() };
        // With the virtual keys, and without what is set already: a limit is set of whoever is there.
        let config = &front.keys_over(front.reloads.config().unwrap_or_default());
        let step = match self.change {
            Change::Set(limit) => BudgetStep::Set { limit, zone: wish.zone.as_deref(), config },
            Change::Lift => BudgetStep::Lift { config },
            Change::TopUp(amount) => BudgetStep::TopUp { amount, config },
            Change::Clear => BudgetStep::Clear,
        };
        with((&self.payer, self.window), &step, wanted)
    }

    fn done(&self, until: Option<Timestamp>) -> Done {
        let Self { admin, payer, wish, .. } = self;
        let result = match self.change {
            Change::Set(_) => "set",
            Change::Lift => "lifted",
            Change::TopUp(_) => "topped_up",
            Change::Clear => "cleared",
        };
        tracing::info!(admin, %payer, window = wish.window, result, "an administrator's wish on budgets was done");
        let (of, name, window) = (wish.of.clone(), wish.name.clone(), wish.window.clone());
        Done { result, of, name, window, until, in_force: true }
    }

    /// At all gateways of a fleet, or at the only one.
    async fn taken(self: &Arc<Self>) -> Result<Result<Done, BudgetNotDone>, Unshared> {
        let order = Arc::clone(self);
        let Some(fleet) = &self.front.fleet else {
            let taken = move || order.step(|of, step, wanted| order.front.budget_book.step(of, step, wanted));
            let until = spawn_blocking(taken).await.unwrap_or_else(|error| Err(StoreError::of_worker(&error).into()));
            return Ok(until.map(|until| self.done(until)));
        };
        let plan = move || order.step(|of, step, wanted| order.front.budget_book.plan(of, step, wanted));
        let taken = everywhere(fleet, BUDGETS, plan).await?;
        Ok(taken.map(|(until, here)| Done { in_force: here, ..self.done(until) }))
    }
}

async fn put_in_force(front: &Front, done: Done) -> Response {
    let in_force = done.in_force && front.reloads.ask_keys().await.is_some();
    told(&Done { in_force, ..done })
}
