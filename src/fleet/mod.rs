//! What several gateways share. The books of all of them come together in PostgreSQL (`forwarding`, `reading`); nothing on the
//! path of a request waits for it, and what it has not taken yet is safe in each gateway's own books. Budgets bound all of them
//! together by slices that Redis hands out (`leases`), ahead of need, and so do limits on rates (`rates`). What administrators set
//! while gateways run is the same at all of them (`shelf`).
//!
//! The choice between this and a store that a gateway folds into directly is argued in `docs/adr/0004-fleet-stores.md`.

mod forwarding;
mod hints;
mod leases;
mod postgres;
mod rates;
mod reading;
pub mod redis;
pub mod resp;
mod rhythm;
mod shelf;
mod shelved;

use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use self::forwarding::{ForwardError, Forwarder, Forwarding, Status};
pub use self::hints::Hints;
use self::leases::{LeaseKeeper, Leases};
pub use self::postgres::{Connected, Known, Postgres, PostgresError};
use self::rates::{RateKeeper, RateSlices};
use self::redis::Redis;
use self::shelf::ShelfKeeper;
pub use self::shelf::{Entry, Line, Shelves, Shelving, Step, Unshared};
use crate::clock::SharedClock;
use crate::config::secret::Secret;
use crate::config::stores::{POSTGRES_PASSWORD, REDIS_PASSWORD};
use crate::config::{Config, ProviderKeys};
use crate::ledger::{Ledger, StoreError, UsageLine, UsageQuery, UsageSums};
use crate::policy::{Budgets, Lender, Loan, SharedBounds, Throttles};
use crate::tasks::Tasks;
use crate::units::{Tokens, Usd};
use crate::upstream::UpstreamError;

/// How long what is left to forward may take when the gateway stops; the next start goes on with it.
const LAST_LOTS: Duration = Duration::from_secs(10);

/// How long giving back what was leased may take.
const LAST_LEASES: Duration = Duration::from_secs(3);

/// Why the stores of a fleet cannot be used at all. That one is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(transparent)]
    Tls(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lines and their total.
pub type UsageTold = (Vec<UsageLine>, UsageSums);

/// What all gateways used and spent, for somebody beside them.
pub async fn read_usage(
    config: &Config,
    passwords: &ProviderKeys,
    query: &UsageQuery,
) -> Result<Result<UsageTold, ForwardError>, FleetError> {
    let Some(address) = &config.fleet.postgres else { return Ok(Ok(UsageTold::default())) };
    let password = passwords.get(POSTGRES_PASSWORD);
    let postgres = Postgres::at(address, password, &config.upstream.trust, &Tasks::on_this_runtime())?;
    Ok(usage_of(&postgres, query).await)
}

async fn usage_of(postgres: &Postgres, query: &UsageQuery) -> Result<UsageTold, ForwardError> {
    let books = postgres.connect().await?;
    let lines = books.usage(query).await?;
    let total = books.usage_total(query, &lines).await?;
    Ok((lines, total))
}

/// What this gateway shares with others.
pub struct Fleet {
    tasks: Tasks,
    postgres: Postgres,
    forwarding: Forwarding,
    stopping: CancellationToken,
    leases: Option<Shared>,
    shelving: Shelving,
    /// Until it is begun.
    shelf: Mutex<Option<Box<ShelfKeeper>>>,
}

/// Budgets and limits that are shared.
struct Shared {
    bounds: SharedBounds,
    lending: Arc<Lending>,
    tasks: Tasks,
    /// Until it is begun.
    keeping: Mutex<Option<(LeaseKeeper, RateKeeper)>>,
    /// Whether everything that was leased was given back.
    returned: Arc<AtomicBool>,
}

/// Where slices come from.
struct Lending {
    leases: Leases,
    rates: RateSlices,
}

impl Lender for Lending {
    fn lend<'l>(&'l self, budgets: &'l Arc<Budgets>, wanted: Usd) -> BoxFuture<'l, Loan> {
        Box::pin(self.leases.lend(budgets, wanted))
    }

    fn let_in<'l>(&'l self, throttles: &'l Arc<Throttles>, tokens: Tokens) -> BoxFuture<'l, bool> {
        Box::pin(self.rates.ask(throttles, tokens.get()))
    }

    fn is_up(&self) -> bool {
        self.leases.is_up()
    }
}

impl Fleet {
    /// Begins to share what the configuration says; `None` where that is nothing.
    pub fn start(
        config: &Config,
        passwords: &ProviderKeys,
        ledger: &Ledger,
        clock: &SharedClock,
    ) -> Result<Option<Self>, FleetError> {
        let Some(address) = &config.fleet.postgres else { return Ok(None) };
        let tasks = Tasks::on_this_runtime();
        let password: Option<&Secret> = passwords.get(POSTGRES_PASSWORD);
        let postgres = Postgres::at(address, password, &config.upstream.trust, &tasks)?;
        let redis = config.fleet.redis.as_ref();
        let (forwarder, forwarding) = Forwarder::new(ledger, postgres.clone(), redis.is_some(), config.fleet.most_waiting)?;
        // Without leases there is nothing to give back.
        let (stopping, returned) = (CancellationToken::new(), Arc::new(AtomicBool::new(redis.is_none())));
        let leases = match redis {
            None => None,
            Some(address) => {
                let redis = Redis::at(address, passwords.get(REDIS_PASSWORD), &config.upstream.trust)?;
                let (bounds, tasks) = (SharedBounds::default(), Tasks::on_this_runtime());
                let gateway = forwarder.gateway().to_owned();
                let (rate_keeper, rates) =
                    RateKeeper::new(redis.clone(), gateway.clone(), bounds.throttles.clone(), Arc::clone(clock));
                let whoami = (gateway, Arc::clone(&forwarding.status));
                let (keeper, leases) =
                    LeaseKeeper::new((redis, postgres.clone()), whoami, bounds.budgets.clone(), Arc::clone(clock));
                let (keeping, returned) = (Mutex::new(Some((keeper, rate_keeper))), Arc::clone(&returned));
                Some(Shared { bounds, lending: Arc::new(Lending { leases, rates }), tasks, keeping, returned })
            }
        };
        tasks.spawn("forward the books", forwarder.run(stopping.clone(), returned));
        let (keeper, shelving) = ShelfKeeper::new(postgres.clone());
        Ok(Some(Self { tasks, postgres, forwarding, stopping, leases, shelving, shelf: Mutex::new(Some(Box::new(keeper))) }))
    }

    /// Begins to keep the books of administrators alike at all gateways.
    pub fn begin_to_share(&self, shelves: Arc<dyn Shelves>) {
        if let Some(keeper) = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.tasks.spawn("share keys and limits", keeper.run(shelves, self.stopping.clone()));
        }
    }

    /// The way to what administrators set at all gateways.
    pub fn shelving(&self) -> &Shelving {
        &self.shelving
    }

    /// Begins to lease budgets: not before what this gateway spent is read from its books, for that is the first thing said.
    /// Of backends, gateways tell each other what `hints` know.
    pub fn begin_to_lease(&self, hints: Arc<dyn Hints>) {
        let Some(shared) = &self.leases else { return };
        if let Some((keeper, rates)) = shared.keeping.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let run = keeper.run(hints, shared.tasks.stopping().clone(), Arc::clone(&shared.returned));
            shared.tasks.spawn("lease budgets", run);
            shared.tasks.spawn("share rate limits", rates.run(shared.tasks.stopping().clone()));
        }
    }

    /// The budgets and limits that gateways share, where they do.
    pub fn bounds(&self) -> Option<SharedBounds> {
        self.leases.as_ref().map(|shared| shared.bounds.clone())
    }

    /// Where more of them comes from.
    pub fn lender(&self) -> Option<Arc<dyn Lender>> {
        self.leases.as_ref().map(|shared| Arc::clone(&shared.lending) as Arc<dyn Lender>)
    }

    /// Whether slices of budgets can be had; `None` where budgets are not shared.
    pub fn lends(&self) -> Option<bool> {
        self.leases.as_ref().map(|shared| shared.lending.is_up())
    }

    /// How forwarding stands.
    pub fn status(&self) -> &Status {
        &self.forwarding.status
    }

    /// What all gateways used and spent, and in all. Everything that ended at this one before the question is in the answer.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageTold, ForwardError> {
        self.forwarding.flush().await?;
        usage_of(&self.postgres, query).await
    }

    /// What is to be known of a gateway that is ready all the same; a line each.
    pub fn troubles(&self) -> String {
        let status = self.status();
        let waiting = status.waiting();
        let told = |wrong| format!("the books are not forwarded ({waiting} requests wait): {wrong}\n");
        let mut troubles = status.wrong().map(told).unwrap_or_default();
        if self.lends() == Some(false) {
            troubles.push_str("budgets cannot be shared: this gateway works on the slices that it has\n");
        }
        if let Some(wrong) = self.shelving.wrong() {
            // Writing to a String cannot fail.
            let _ = writeln!(troubles, "virtual keys and limits of budgets are not shared: {wrong}");
        }
        troubles
    }

    /// Gives back what was leased and forwards what is left, for a while, once the books of this gateway are closed.
    pub async fn finish(&self) {
        if let Some(shared) = &self.leases {
            shared.tasks.finish(LAST_LEASES).await;
        }
        self.stopping.cancel();
        if !self.tasks.finish(LAST_LOTS).await {
            tracing::warn!("not everything was forwarded to PostgreSQL; the next start goes on with it");
        }
    }
}
