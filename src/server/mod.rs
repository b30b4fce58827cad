//! The gateway as a whole: puts the stages together, opens the two listeners, and takes everything down in order.
//!
//! Stopping: new connections are refused, open answers may finish within the grace period, then the books are closed.
//! The operations listener goes last, so that a drain can be watched.

mod admin;
mod admin_budgets;
mod admin_keys;
mod assembly;
mod begun;
pub mod body;
pub mod compress;
pub mod cors;
mod dashboard;
mod decisions;
mod discard;
pub mod edge;
mod feeds;
mod http2;
mod ids;
mod in_effect;
mod learned;
pub mod listener;
mod models;
pub mod openapi;
mod parameters;
mod rates;
pub mod reload;
mod reports;
pub mod routes;
mod shared;
pub mod status;
mod stored;
mod tokens;
mod usage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

pub use self::assembly::{alias_wishes, routing_settings};
use self::compress::Coder;
use self::cors::Cors;
use self::dashboard::Looks;
use self::decisions::PastTables;
use self::edge::Edge;
use self::ids::Ids;
use self::in_effect::in_effect;
use self::learned::LearnedFile;
pub use self::learned::take_up_learned;
use self::listener::{BindError, ConnectionLimits, Listener, Stalled};
pub use self::reload::allowances_of_books;
use self::reload::{Accounts, Allotted, Parts, Reloader, Reloading, Reloads, Running, Shares};
use self::routes::Front;
use self::tokens::TokenKeeper;
pub use self::usage::body_of as usage_body;
use crate::canonical::Shape;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::keys::ANONYMOUS;
use crate::dispatch::{Dispatcher, HealthByShape, RetryBudget};
use crate::feed::Feed;
use crate::fleet::{Fleet, FleetError, Hints};
use crate::frontend;
use crate::key_book::{self, BudgetBook, KeyBook};
use crate::ledger::{FileDisk, Ledger, LedgerError, Observer, RecoveryReport};
use crate::market::{Market, Unreachable};
use crate::meter::Tokenizer;
use crate::meter::exact::Vocabularies;
use crate::pipeline::learning::Learning;
use crate::pipeline::{InForce, Pipeline};
use crate::policy::{Admission, Exploring, KeyRing, Places};
use crate::price_book::PriceBook;
use crate::price_book::store::StoreError;
use crate::relay::{Desk, Sampler};
use crate::setup::Setup;
use crate::tasks::Tasks;
use crate::telemetry::{Metrics, MetricsError};
use crate::units::{BackendId, KeyName};
use crate::upstream::{Tokens, Upstream, UpstreamError, UpstreamSettings};

/// How long a connection to a provider is kept without use: below the minute after which many servers close theirs.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// How long what remains may take once the listeners have drained: settlements of answers whose clients left.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(10);
/// How long answers to operators may take after the drain.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the address of a listener cannot be read: {0}")]
    Address(std::io::Error),
    #[error("the books cannot be opened (books.directory, --data-dir)")]
    Books(#[from] LedgerError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("the system gives no random bytes: {0}")]
    Randomness(getrandom::Error),
    #[error("the price book cannot be opened")]
    Prices(#[from] StoreError),
    #[error("the key book cannot be opened")]
    Keys(#[from] key_book::StoreError),
    #[error("what gateways share cannot be used (fleet)")]
    Fleet(#[from] FleetError),
}

/// A running gateway.
pub struct Gateway {
    api: SocketAddr,
    operations: SocketAddr,
    front: Arc<Front>,
    learned: LearnedFile,
    tasks: Tasks,
    /// The operations listener's.
    watch: Tasks,
    grace: Duration,
    /// What the books held of an earlier life that was cut short.
    pub recovery: RecoveryReport,
}

impl Gateway {
    /// Opens the books, binds both listeners and begins to serve. With `reloading`, what the set-up was read from is read
    /// again when it changes or somebody asks.
    pub async fn start(setup: Setup, reloading: Option<Reloading>, clock: SharedClock) -> Result<Self, StartError> {
        let server = setup.config.server.clone();
        let stalled = Stalled::after(setup.config.timeouts.stream_idle);
        let limits = ConnectionLimits {
            connections: server.max_connections,
            head_bytes: server.max_header_bytes,
            head_wait: server.header_timeout,
            stalled: stalled.clone(),
        };
        let api = Listener::bind("server.listen", server.listen, limits.clone()).await?;
        let operations = Listener::bind("server.operations_listen", server.operations_listen, limits).await?;
        let (api_address, operations_address) =
            (api.address().map_err(StartError::Address)?, operations.address().map_err(StartError::Address)?);
        let tasks = Tasks::on_this_runtime();
        let learned = LearnedFile::in_folder(&setup.config.books.directory);
        let (front, recovery) = assemble(setup, reloading, &clock, &tasks, (stalled, &learned)).await?;
        let cors = Cors::of(&server.cors_origins);
        let paths = Edge::of_clients(routes::api(Arc::clone(&front)), Arc::clone(&front), cors);
        api.serve("api", paths, &tasks, server.drain);
        let watch = Tasks::on_this_runtime();
        let looks = Looks::new(&front, server.dashboard, api_address, operations_address);
        let paths = routes::operations(Arc::clone(&front)).merge(dashboard::routes(looks));
        let paths = Edge::of_operators(paths, Arc::clone(&front));
        operations.serve("operations", paths, &watch, LAST_LOOK);
        let grace = server.drain;
        Ok(Self { api: api_address, operations: operations_address, front, learned, tasks, watch, grace, recovery })
    }

    /// Where clients ask.
    pub fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// Where operators look.
    pub fn operations_addr(&self) -> SocketAddr {
        self.operations
    }

    /// Asks for a reload, and waits for nothing. Without effect where the gateway was not started from files.
    pub fn reload(&self) {
        self.front.reloads.notify();
    }

    /// Drains, then closes the books.
    pub async fn stop(self) -> Result<(), LedgerError> {
        self.front.draining.store(true, Ordering::Relaxed);
        if !self.tasks.finish(self.grace + LAST_SETTLEMENTS).await {
            tracing::warn!("some work did not end in time; what it used is booked at the next start");
        }
        self.learned.write_aside(&self.front.pipeline.learning).await;
        let closed = self.front.pipeline.ledger.clone().close().await;
        if let Some(fleet) = &self.front.fleet {
            fleet.finish().await;
        }
        self.watch.finish(LAST_LOOK).await;
        closed
    }
}

/// Puts the stages together, and begins to look after the files that they were read from.
async fn assemble(
    setup: Setup,
    reloading: Option<Reloading>,
    clock: &SharedClock,
    tasks: &Tasks,
    (stalled, learned): (Stalled, &LearnedFile),
) -> Result<(Arc<Front>, RecoveryReport), StartError> {
    let Setup { config, snapshot, provider_keys, .. } = setup;
    let metrics = Arc::new(Metrics::new([KeyName::new(ANONYMOUS)])?);
    metrics.loaded(clock.wall());
    let observer = Arc::new(LedgerMetrics(Arc::clone(&metrics)));
    let (ledger, recovery) = Ledger::open_with(assembly::books(&config), Arc::clone(clock), Arc::new(FileDisk), observer)?;
    // After the books, which know better what is wrong with a data directory.
    let prices = Arc::new(PriceBook::open(&config.books.directory, &config.feeds)?);
    let key_book = Arc::new(KeyBook::open(&config.books.directory)?);
    let budget_book = Arc::new(BudgetBook::open(&config.books.directory)?);
    // Apart, so that what waits for the books stays small.
    let in_effect = Box::new(in_effect((&key_book, &budget_book), &config, clock.wall()));
    metrics.know_keys(in_effect.keys.iter().map(|key| key.name.clone()));
    let snapshot = prices.over(snapshot, clock.wall());
    metrics.know(&snapshot);
    metrics.know_feeds(config.feeds.iter().map(|feed| feed.name.as_str()));
    ledger.keep_table(&snapshot.version, &snapshot.text)?;
    let fleet = Fleet::start(&config, &provider_keys, &ledger, clock)?;
    let health = Arc::new(HealthByShape::new(clock, assembly::health(&config)));
    let tokens = Arc::new(Tokens::default());
    let market = Market::open(Arc::new(snapshot), &provider_keys, &config.deployments, &tokens, &health)?;
    let (proxy, trust) = (config.upstream.proxy.clone(), config.upstream.trust.clone());
    let upstream = Upstream::new(UpstreamSettings { connect: config.timeouts.connect, pool_idle: POOL_IDLE, proxy, trust })?;
    let keeper = TokenKeeper {
        tokens: Arc::clone(&tokens),
        upstream: upstream.clone(),
        clock: Arc::clone(clock),
        metrics: Arc::clone(&metrics),
    };
    tasks.spawn("keep tokens", keeper.keep(tasks.stopping().clone()));
    let follows = upstream.clone();
    let retries = RetryBudget::new(Arc::clone(clock), config.retries.share_percent, config.retries.floor_per_second);
    let of_all = fleet.as_ref().and_then(Fleet::bounds);
    let accounts = Accounts::at_start(&in_effect, (&ledger, of_all), Arc::clone(clock)).await;
    if let Some(fleet) = &fleet {
        fleet.begin_to_lease(Arc::new(HealthHints(Arc::clone(&health))));
    }
    let learning = Arc::new(Learning::new(getrandom::u64().map_err(StartError::Randomness)?));
    learned.restore(&learning);
    tasks.spawn("keep what was learned", learned.clone().keep(Arc::clone(&learning), tasks.stopping().clone()));
    let mut shares = Shares::new(&config, Arc::clone(clock));
    shares.bind(&config, &market.snapshot, &ledger).await;
    let desk = Desk {
        tokenizer: Tokenizer::with(Vocabularies::default().with_files(config.tokenizers.clone())),
        metrics: Arc::clone(&metrics),
        // What the books do not keep is explained from here.
        feed: Feed::new(config.server.dashboard || !ledger.keeps_all_facts()),
        served: Arc::clone(&learning.served),
        reports: Arc::clone(&learning.reports),
        tasks: tasks.clone(),
        clock: Arc::clone(clock),
        sampler: Sampler::new(config.books.counted_per_minute, clock.monotonic()),
        conversation: frontend::conversation,
        prompt_text: frontend::prompt_text,
        asks_long_cache: frontend::asks_long_cache,
    };
    let (allotted, allowances) = Allotted::at_start(&config, &market.snapshot, &ledger, Arc::clone(clock)).await;
    let in_force = InForce {
        keys: accounts.ring(&in_effect),
        market: Arc::new(market),
        allowances: Arc::new(allowances),
        settings: assembly::settings(&config),
    };
    let pipeline = Pipeline {
        in_force: ArcSwap::from_pointee(in_force),
        places: Places::default(),
        learning: Arc::clone(&learning),
        portfolio: Arc::clone(&shares.portfolio),
        exploring: Exploring::default(),
        dispatcher: Dispatcher::new(upstream, retries, Arc::clone(clock)),
        lender: fleet.as_ref().and_then(Fleet::lender),
        stored: Arc::default(),
        ledger,
        desk: Arc::new(desk),
        clock: Arc::clone(clock),
    };
    let (reloads, asks) = Reloads::new(reloading.is_some());
    let front = Arc::new(Front {
        pipeline,
        metrics,
        clock: Arc::clone(clock),
        max_head: config.server.max_header_bytes,
        coder: Coder::default(),
        ids: Ids::default(),
        reloads,
        draining: AtomicBool::new(false),
        past_tables: PastTables::default(),
        prices,
        key_book,
        budget_book,
        admins: admins(&config),
        fleet,
    });
    feeds::follow(&front, &config.feeds, &follows, tasks);
    if let Some(from) = reloading {
        let parts = Parts { front: Arc::clone(&front), health, tokens, accounts, allotted, shares, stalled };
        let reloader = Reloader::new(from, Running { config, provider_keys }, parts);
        let stopping = tasks.stopping().clone();
        tasks.spawn("reload", reloader.run(asks, stopping));
        shared::begin(&front).await;
    }
    Ok((front, recovery))
}

/// Who may change prices, where anybody may.
fn admins(config: &Config) -> Option<KeyRing> {
    let keys = config.admins.iter().map(|admin| (admin.sha256, Admission::unbounded(admin.name.clone())));
    (!config.admins.is_empty()).then(|| KeyRing::new(keys))
}

/// Backends by shape and id, as gateways tell each other of them.
struct HealthHints(Arc<HealthByShape>);

impl Hints for HealthHints {
    fn cooling(&self) -> Vec<(String, Duration)> {
        self.0.cooling().into_iter().map(|(shape, id, time)| (format!("{}|{id}", shape.word()), time)).collect()
    }

    fn heard(&self, name: &str, time: Duration) {
        let known = name.split_once('|').and_then(|(word, id)| {
            let (provider, model) = id.split_once('/')?;
            Some((Shape::ALL.into_iter().find(|shape| shape.word() == word)?, BackendId::new(provider, model)))
        });
        if let Some((shape, id)) = known {
            self.0.leave_alone(shape, &id, time);
        }
    }
}

/// The books' timings as metrics.
struct LedgerMetrics(Arc<Metrics>);

impl Observer for LedgerMetrics {
    fn journaled(&self, _records: usize, waited: Duration) {
        self.0.ledger_commit(waited);
    }
}
