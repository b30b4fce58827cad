//! The gateway as a whole: puts the stages together, opens the two listeners, and takes everything down in order.
//!
//! Stopping: new connections are refused, open answers may finish within the grace period, then the books are closed.
//! The operations listener goes last, so that a drain can be watched.

mod begun;
pub mod body;
pub mod compress;
pub mod cors;
pub mod edge;
mod http2;
pub mod listener;
pub mod openapi;
pub mod routes;
pub mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::body::BodyLimits;
use self::compress::Coder;
use self::cors::Cors;
use self::edge::Edge;
use self::listener::{BindError, ConnectionLimits, Listener};
use self::routes::Front;
use crate::catalog::Snapshot;
use crate::clock::SharedClock;
use crate::config::keys::ANONYMOUS;
use crate::config::secret::ProviderKeys;
use crate::config::{Access, BooksSync, Config};
use crate::dispatch::{BreakerSettings, Dispatcher, Health, HealthSettings, Patience, RetryBudget};
use crate::frontend;
use crate::ledger::{self, Books, FileDisk, Ledger, LedgerError, Observer, RecoveryReport, SyncPolicy};
use crate::market::{Market, Unreachable};
use crate::meter::Tokenizer;
use crate::pipeline::{InForce, Pipeline, PipelineSettings};
use crate::policy::{Admission, Budget, KeyRing, Places, Sessions};
use crate::relay::Desk;
use crate::route;
use crate::tasks::Tasks;
use crate::telemetry::{Metrics, MetricsError};
use crate::units::{KeyName, Tokens, Usd};
use crate::upstream::{Upstream, UpstreamError, UpstreamSettings};

/// How long a connection to a provider is kept without use: below the minute after which many servers close theirs.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// How long what remains may take once the listeners have drained: settlements of answers whose clients left.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(10);
/// How long answers to operators may take after the drain.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// The output bound of a key with a budget that names none.
const BUDGETED_OUTPUT: Tokens = Tokens::new(8192);

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
}

/// A running gateway.
pub struct Gateway {
    api: SocketAddr,
    operations: SocketAddr,
    front: Arc<Front>,
    tasks: Tasks,
    /// The operations listener's.
    watch: Tasks,
    grace: Duration,
    /// What the books held of an earlier life that was cut short.
    pub recovery: RecoveryReport,
}

impl Gateway {
    /// Opens the books, binds both listeners and begins to serve.
    pub async fn start(config: Config, snapshot: Snapshot, keys: &ProviderKeys, clock: SharedClock) -> Result<Self, StartError> {
        let limits = ConnectionLimits {
            connections: config.server.max_connections,
            head_bytes: config.server.max_header_bytes,
            head_wait: config.server.header_timeout,
            stalled: config.timeouts.stream_idle,
        };
        let api = Listener::bind("server.listen", config.server.listen, limits).await?;
        let operations = Listener::bind("server.operations_listen", config.server.operations_listen, limits).await?;
        let (api_address, operations_address) =
            (api.address().map_err(StartError::Address)?, operations.address().map_err(StartError::Address)?);
        let tasks = Tasks::on_this_runtime();
        let (front, recovery) = assemble(&config, snapshot, keys, &clock, &tasks)?;
        let cors = Cors::of(&config.server.cors_origins);
        let paths = Edge::around(routes::api(Arc::clone(&front)), Arc::clone(&front), cors);
        api.serve("api", paths, &tasks, config.server.drain);
        let watch = Tasks::on_this_runtime();
        let paths = Edge::around(routes::operations(Arc::clone(&front)), Arc::clone(&front), None);
        operations.serve("operations", paths, &watch, LAST_LOOK);
        let grace = config.server.drain;
        Ok(Self { api: api_address, operations: operations_address, front, tasks, watch, grace, recovery })
    }

    /// Where clients ask.
    pub fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// Where operators look.
    pub fn operations_addr(&self) -> SocketAddr {
        self.operations
    }

    /// Drains, then closes the books.
    pub async fn stop(self) -> Result<(), LedgerError> {
        self.front.draining.store(true, Ordering::Relaxed);
        if !self.tasks.finish(self.grace + LAST_SETTLEMENTS).await {
            tracing::warn!("some work did not end in time; what it used is booked at the next start");
        }
        let closed = self.front.pipeline.ledger.clone().close().await;
        self.watch.finish(LAST_LOOK).await;
        closed
    }
}

/// Puts the stages together.
fn assemble(
    config: &Config,
    snapshot: Snapshot,
    keys: &ProviderKeys,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Result<(Arc<Front>, RecoveryReport), StartError> {
    let key_names = config.keys.iter().map(|key| key.name.clone()).chain([KeyName::new(ANONYMOUS)]);
    let metrics = Arc::new(Metrics::new(key_names)?);
    metrics.know(&snapshot);
    let observer = Arc::new(LedgerMetrics(Arc::clone(&metrics)));
    let (ledger, recovery) = Ledger::open_with(books(config), Arc::clone(clock), Arc::new(FileDisk), observer)?;
    let health = Health::new(Arc::clone(clock), health(config));
    let market = Market::open(Arc::new(snapshot), keys, &health)?;
    let (proxy, trust) = (config.upstream.proxy.clone(), config.upstream.trust.clone());
    let upstream = Upstream::new(UpstreamSettings { connect: config.timeouts.connect, pool_idle: POOL_IDLE, proxy, trust })?;
    let retries = RetryBudget::new(Arc::clone(clock), config.retries.share_percent, config.retries.floor_per_second);
    let patience =
        Patience { first_frame: config.timeouts.first_byte, idle: config.timeouts.stream_idle, whole: config.timeouts.total };
    let desk = Desk {
        tokenizer: Tokenizer::new(),
        metrics: Arc::clone(&metrics),
        tasks: tasks.clone(),
        clock: Arc::clone(clock),
        prompt_text: frontend::prompt_text,
    };
    let pipeline = Pipeline {
        in_force: ArcSwap::from_pointee(InForce { keys: key_ring(config, clock), market, settings: settings(config) }),
        places: Places::new(config.limits.max_concurrent_requests as usize),
        sessions: Sessions::default(),
        dispatcher: Dispatcher::new(upstream, retries, patience, Arc::clone(clock)),
        ledger,
        desk: Arc::new(desk),
        clock: Arc::clone(clock),
    };
    let front = Front {
        pipeline,
        metrics,
        clock: Arc::clone(clock),
        body: BodyLimits { most: config.server.max_body_bytes, wait: config.server.body_timeout },
        max_head: config.server.max_header_bytes,
        coder: Coder::default(),
        draining: AtomicBool::new(false),
    };
    Ok((Arc::new(front), recovery))
}

fn books(config: &Config) -> ledger::Settings {
    let sync = match config.books.sync {
        BooksSync::Second => SyncPolicy::Second,
        BooksSync::Always => SyncPolicy::Always,
    };
    ledger::Settings { sync, ..ledger::Settings::new(&config.books.directory) }
}

fn health(config: &Config) -> HealthSettings {
    HealthSettings { breaker: BreakerSettings::default(), most_waiting: config.limits.max_waiting_per_backend }
}

fn settings(config: &Config) -> PipelineSettings {
    PipelineSettings {
        aliases: config.routing.aliases.clone(),
        routing: routing_settings(config),
        baseline: config.routing.baseline.clone(),
        budgeted_output: BUDGETED_OUTPUT,
        total: config.timeouts.total,
        end_event: status::end_event,
        failure_status: status::failure_status,
    }
}

/// How backends are chosen, in routing's words.
pub fn routing_settings(config: &Config) -> route::Settings {
    route::Settings {
        risk_weight_percent: config.routing.risk_weight_percent,
        default_quality: config.routing.default_quality,
        max_attempts: config.routing.max_attempts as usize,
    }
}

/// The keys of the configuration; what a budget has spent in its window is read back from the books.
fn key_ring(config: &Config, clock: &SharedClock) -> KeyRing {
    if config.access() == Access::Open {
        return KeyRing::open_to_all(ANONYMOUS);
    }
    let now = clock.wall();
    let admission = |key: &crate::config::GatewayKey| {
        let budget =
            key.budget.map(|(limit, window)| Budget::new(limit, window, spent(config, &key.name, window.start(now)), now));
        Admission { key: key.name.clone(), limits: Arc::new(key.limits.clone()), budget }
    };
    KeyRing::new(config.keys.iter().map(|key| (key.sha256, admission(key))))
}

/// What a key has spent since an instant, according to the books.
fn spent(config: &Config, key: &KeyName, since: Option<jiff::Timestamp>) -> Usd {
    let since = since.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let days = Books::open(&config.books.directory).and_then(|books| books.spend_by_key_and_day(since));
    match days {
        Ok(days) => days.iter().filter(|day| day.key == *key).map(|day| day.cost).sum(),
        Err(error) => {
            // Nothing spent would be generous; the whole budget is the safe side, and the log says why.
            tracing::error!(%error, key = key.as_str(), "what this key has spent cannot be read: its budget counts as used up");
            Usd::MAX
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
