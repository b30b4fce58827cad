//! Reading configuration, table and keys again while the gateway runs, whole or not at all (promise 5).
//!
//! One task owns it, so that two reloads never cross: it looks at the files now and then, and it is asked by a signal or an
//! operator. What it reads is judged by the same reader as at the start; only when all of it is good is a whole new
//! [`InForce`] put in the place of the old one. A request keeps the one it began with. Budgets, health, what was learned, places
//! and the retry budget are carried over; settings that were built into sockets and books are not changed here, and a
//! reload in which one of them differs is refused whole.
//!
//! Files are looked at, not watched: see [`Looks`]. A file counts as changed once two looks in a row have seen the same
//! that is not what was read, so that one which is being written is left alone until its writer rests.

mod accounts;
mod allotted;
mod changes;
mod shares;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub use self::accounts::Accounts;
use self::accounts::Binding;
use self::allotted::Used;
pub use self::allotted::{Allotted, allowances_of_books};
pub use self::changes::Changes;
use self::changes::{Reached, reached_otherwise};
pub use self::shares::Shares;
use super::assembly;
use super::listener::Stalled;
use super::routes::Front;
use crate::catalog::Snapshot;
use crate::config::secret::same_keys;
use crate::config::{Config, ProviderKeys};
use crate::dispatch::HealthByShape;
use crate::ledger::LedgerError;
use crate::market::Market;
use crate::pipeline::InForce;
use crate::policy::BudgetReport;
use crate::setup::{Looks, Reading, Setup, Sources, Watch};
use crate::telemetry::{Label, LogLevel, Reloaded};
use crate::units::BackendId;
use crate::upstream::Tokens;

/// Asks that may wait: a further one would find what the waiting ones find.
const ASKS: usize = 8;
/// How long nothing is waited for.
const LONG: Duration = Duration::from_hours(1);
/// How often files are read again because they changed under the reading.
const READINGS: usize = 3;

/// What a gateway needs to read its set-up again.
pub struct Reloading {
    pub sources: Sources,
    /// How the files looked when the set-up that the gateway starts on was read.
    pub looks: Looks,
    pub log_level: LogLevel,
}

/// How an attempt to reload ended.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `applied`, `unchanged` or `refused`.
    result: &'static str,
    /// The version of the table in force now.
    version: String,
    /// Every problem of a refused one, as `tokenbroker check` tells them.
    problems: Vec<String>,
    /// What an applied one changed.
    changes: Option<Changes>,
}

impl Report {
    pub fn is_refused(&self) -> bool {
        self.result == Reloaded::Refused.word()
    }

    /// The report as JSON.
    pub fn body(&self) -> Bytes {
        // Texts and numbers: nothing in it can fail to become JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The last attempt, where it was refused.
struct Refused {
    at: Timestamp,
    version: String,
    problems: Vec<String>,
}

/// What somebody wants; answered where he waits.
pub enum Ask {
    /// That the files be read again.
    Files(Option<oneshot::Sender<Report>>),
    /// That virtual keys and limits of budgets be put in force as their books have them.
    Keys(oneshot::Sender<()>),
    /// How every budget stands.
    Budgets(oneshot::Sender<Vec<BudgetReport>>),
}

/// The way to the task that reloads.
#[derive(Clone)]
pub struct Reloads {
    /// `None` for a gateway that was not started from files.
    asks: Option<mpsc::Sender<Ask>>,
    refused: Arc<ArcSwapOption<Refused>>,
    /// The configuration in force, as the task has it.
    config: Arc<ArcSwapOption<Config>>,
}

impl Reloads {
    /// The way, and its end for the task. Where nothing can be reloaded it leads nowhere.
    pub fn new(possible: bool) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS);
        (Self { asks: possible.then_some(asks), refused: Arc::default(), config: Arc::default() }, asked)
    }

    /// The configuration in force; `None` where nothing can be reloaded.
    pub fn config(&self) -> Option<Config> {
        self.config.load().as_ref().map(|config| Config::clone(config))
    }

    /// Asks, and waits for nothing.
    pub fn notify(&self) {
        // Full: those who wait already will find what this one would.
        if let Some(asks) = &self.asks {
            let _ = asks.try_send(Ask::Files(None));
        }
    }

    /// Asks, and waits for the end. `None`: nothing can be reloaded, or the gateway is stopping.
    pub async fn ask(&self) -> Option<Report> {
        let (told, report) = oneshot::channel();
        self.asks.as_ref()?.send(Ask::Files(Some(told))).await.ok()?;
        report.await.ok()
    }

    /// Puts virtual keys and limits of budgets in force, whatever the files say meanwhile; returns when they are. `None`: nothing can be
    /// reloaded, or the gateway is stopping.
    pub async fn ask_keys(&self) -> Option<()> {
        let (told, done) = oneshot::channel();
        self.asks.as_ref()?.send(Ask::Keys(told)).await.ok()?;
        done.await.ok()
    }

    /// How every budget stands that is bounded. `None`: nothing can be reloaded, or the gateway is stopping.
    pub async fn budgets(&self) -> Option<Vec<BudgetReport>> {
        let (told, reports) = oneshot::channel();
        self.asks.as_ref()?.send(Ask::Budgets(told)).await.ok()?;
        reports.await.ok()
    }

    /// What a probe is told of a gateway that is ready. Problems name files and settings, so a stranger is told only that
    /// there are some.
    pub fn readiness(&self) -> String {
        let refused = self.refused.load().is_some();
        let more = if refused { "the last reload was refused: /readyz of the operations listener says why\n" } else { "" };
        format!("ready\n{more}")
    }

    /// The same for operators: with why the gateway runs on what it should not run on any more.
    pub fn readiness_in_full(&self) -> String {
        let mut said = "ready\n".to_owned();
        if let Some(refused) = &*self.refused.load() {
            // Writing to a String cannot fail.
            let _ = writeln!(said, "reload refused at {}, still on {}:", refused.at, refused.version);
            refused.problems.iter().for_each(|problem| said.extend([problem, "\n"]));
        }
        said
    }
}

/// The set-up in force, as far as the next one is compared with it; the table is in the market.
pub struct Running {
    pub config: Config,
    pub provider_keys: ProviderKeys,
}

/// The parts of the gateway that a reload reaches.
pub struct Parts {
    pub front: Arc<Front>,
    pub health: Arc<HealthByShape>,
    pub tokens: Arc<Tokens>,
    pub accounts: Accounts,
    pub allotted: Allotted,
    pub shares: Shares,
    pub stalled: Stalled,
}

/// The task.
pub struct Reloader {
    sources: Arc<Sources>,
    log_level: LogLevel,
    running: Arc<Running>,
    parts: Parts,
    watch: Watch,
}

/// A set-up that could be in force.
struct Candidate {
    running: Running,
    market: Market,
    changes: Changes,
    /// Backends of whose health nothing is known any more.
    reached_otherwise: Vec<BackendId>,
}

/// What the files say.
enum Found {
    Problems(Vec<String>),
    /// They change under the reading.
    Restless,
    /// What is in force.
    Same,
    Another(Box<Candidate>),
}

impl Reloader {
    pub fn new(from: Reloading, running: Running, parts: Parts) -> Self {
        let Reloading { sources, looks, log_level } = from;
        let (sources, running) = (Arc::new(sources), Arc::new(running));
        let mut watch = Watch::since(looks);
        let in_effect = parts.front.books_over(&running.config);
        if parts.accounts.wait_for_the_books(&in_effect) || parts.allotted.waits_for_the_books() {
            watch.distrust();
        }
        parts.front.reloads.config.store(Some(Arc::new(running.config.clone())));
        Self { sources, log_level, running, parts, watch }
    }

    /// Reloads when the files change or somebody asks, until the gateway stops. A reload that is waiting for files or books
    /// then has put nothing in force yet, and is left.
    pub async fn run(self, asks: mpsc::Receiver<Ask>, stopping: CancellationToken) {
        // A set-up on its way into force is large.
        stopping.run_until_cancelled(Box::pin(self.serve(asks))).await;
    }

    async fn serve(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            let settings = self.running.config.reload;
            let mut looks = interval(settings.interval);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while self.running.config.reload == settings {
                tokio::select! {
                    asked = asks.recv() => {
                        self.answer(asked).await;
                    }
                    () = sleep(self.until_a_key_ends()) => self.take_keys().await,
                    _ = looks.tick(), if settings.watch => {
                        if self.has_changed().await {
                            self.reload(false).await;
                        }
                    }
                }
            }
        }
    }

    async fn answer(&mut self, asked: Option<Ask>) {
        // Whoever asked may have left.
        match asked {
            Some(Ask::Keys(told)) => {
                self.take_keys().await;
                let _ = told.send(());
            }
            Some(Ask::Budgets(told)) => {
                let _ = told.send(self.parts.accounts.reports(self.parts.front.clock.wall()));
            }
            Some(Ask::Files(Some(told))) => {
                let report = self.reload(true).await;
                let _ = told.send(report);
            }
            Some(Ask::Files(None)) | None => {
                self.reload(true).await;
            }
        }
    }

    fn until_a_key_ends(&self) -> Duration {
        let Parts { front, .. } = &self.parts;
        let now = front.clock.wall();
        let end = front.key_book.next_end(now);
        end.map_or(LONG, |end| end.duration_since(now).unsigned_abs().min(LONG))
    }

    /// Puts the keys in force that the configuration and the key book have, with everything else as it is. A key that is revoked does
    /// not wait for books that cannot be read.
    async fn take_keys(&mut self) {
        let in_effect = self.parts.front.books_over(&self.running.config);
        let Parts { front, accounts, .. } = &mut self.parts;
        let bindings = accounts.prepare(&in_effect, &front.pipeline.ledger).await.unwrap_or_else(|error| {
            tracing::error!(error, "what new keys have spent cannot be read: it counts as used up until a reload can read it");
            self.watch.distrust();
            accounts.unread(&in_effect)
        });
        front.metrics.know_keys(in_effect.keys.iter().map(|key| key.name.clone()));
        accounts.bind(bindings);
        let before = front.pipeline.in_force.load_full();
        let (market, allowances) = (Arc::clone(&before.market), Arc::clone(&before.allowances));
        let (ring, settings) = (accounts.ring(&in_effect), assembly::settings(&in_effect));
        front.pipeline.in_force.store(Arc::new(InForce { keys: ring, market, allowances, settings }));
    }

    async fn has_changed(&mut self) -> bool {
        let read = self.watch.read().clone();
        // A look that failed altogether is as good as none: the next one follows.
        spawn_blocking(move || read.again()).await.is_ok_and(|now| self.watch.look(now))
    }

    /// `asked`: somebody wants to know how it ends.
    async fn reload(&mut self, asked: bool) -> Report {
        let found = self.find().await;
        let found = match found {
            Found::Another(candidate) => self.apply(*candidate).await,
            Found::Same => self.catch_up().await,
            Found::Problems(problems) => Err(problems),
            Found::Restless => {
                self.watch.distrust();
                Err(vec!["the files change while they are read; they are read again when they rest".to_owned()])
            }
        };
        let version = self.parts.front.pipeline.in_force.load().market.snapshot.version.clone();
        let (result, problems, changes) = match found {
            Ok(Some(changes)) => (Reloaded::Applied, Vec::new(), Some(changes)),
            Ok(None) => (Reloaded::Unchanged, Vec::new(), None),
            Err(problems) => (Reloaded::Refused, problems, None),
        };
        let report = Report { result: result.word(), version, problems, changes };
        self.tell(result, &report, asked);
        report
    }

    /// Nothing has changed; but what the books could not say at the start, they may say now.
    async fn catch_up(&mut self) -> Result<Option<Changes>, Vec<String>> {
        let running = Arc::clone(&self.running);
        if self.parts.accounts.wait_for_the_books(&self.parts.front.books_over(&running.config)) {
            let bindings = self.prepare(&running.config).await?;
            self.parts.accounts.bind(bindings);
        }
        if self.parts.allotted.waits_for_the_books() {
            let table = Arc::clone(&self.parts.front.pipeline.in_force.load().market.snapshot);
            let used = self.used(&table, &running.config).await?;
            self.parts.allotted.bind(&table, used);
        }
        Ok(None)
    }

    async fn prepare(&mut self, config: &Config) -> Result<Vec<Binding>, Vec<String>> {
        let Parts { front, accounts, .. } = &self.parts;
        accounts.prepare(&front.books_over(config), &front.pipeline.ledger).await.map_err(|error| {
            self.watch.distrust();
            vec![format!("what the keys have spent cannot be read: {error}")]
        })
    }

    /// Reads what is used of the quotas and balances of a table that are not counted yet.
    async fn used(&mut self, table: &Snapshot, config: &Config) -> Result<Used, Vec<String>> {
        let Parts { front, allotted, .. } = &self.parts;
        allotted.read(table, &front.pipeline.ledger, config.timeouts.total).await.map_err(|error| {
            self.watch.distrust();
            vec![format!("what is used of free quotas and prepaid balances cannot be read: {error}")]
        })
    }

    /// Reads and judges, off the reactor.
    async fn find(&mut self) -> Found {
        let (sources, running) = (Arc::clone(&self.sources), Arc::clone(&self.running));
        let (in_force, health) = (self.parts.front.pipeline.in_force.load_full(), Arc::clone(&self.parts.health));
        let tokens = Arc::clone(&self.parts.tokens);
        let (prices, now) = (Arc::clone(&self.parts.front.prices), self.parts.front.clock.wall());
        let judged = spawn_blocking(move || {
            let (reading, rests) = read(&sources, &running.config);
            let found = match reading.setup {
                _ if !rests => Found::Restless,
                Ok(setup) => {
                    let snapshot = prices.over(setup.snapshot, now);
                    judge(Setup { snapshot, ..setup }, &running, &in_force, (&health, &tokens))
                }
                Err(problems) => Found::Problems(problems.iter().map(ToString::to_string).collect()),
            };
            (found, reading.looks)
        });
        match judged.await {
            Ok((found, looks)) => {
                self.watch = Watch::since(looks);
                found
            }
            Err(error) => Found::Problems(vec![format!("the files cannot be judged: {error}")]),
        }
    }

    /// Puts a candidate in force. What can fail comes first; from the first change on nothing does.
    async fn apply(&mut self, candidate: Candidate) -> Result<Option<Changes>, Vec<String>> {
        let Candidate { running, market, changes, reached_otherwise } = candidate;
        let bindings = self.prepare(&running.config).await?;
        let used = self.used(&market.snapshot, &running.config).await?;
        let in_effect = self.parts.front.books_over(&running.config);
        let Parts { front, health, accounts, allotted, shares, stalled, .. } = &mut self.parts;
        let (ledger, table) = (front.pipeline.ledger.clone(), Arc::clone(&market.snapshot));
        let kept = spawn_blocking(move || ledger.keep_table(&table.version, &table.text)).await;
        if let Some(problem) = not_kept(kept) {
            self.watch.distrust();
            return Err(vec![problem]);
        }
        let config = &running.config;
        front.metrics.know(&market.snapshot);
        front.metrics.know_keys(in_effect.keys.iter().map(|key| key.name.clone()));
        accounts.bind(bindings);
        shares.bind(config, &market.snapshot, &front.pipeline.ledger).await;
        health.let_wait(config.limits.max_waiting_per_backend);
        front.pipeline.dispatcher.retries().adjust(config.retries.share_percent, config.retries.floor_per_second);
        stalled.set(config.timeouts.stream_idle);
        self.log_level.set(config.log.level);
        let snapshot = Arc::clone(&market.snapshot);
        let allowances = allotted.bind(&snapshot, used);
        let next = InForce {
            keys: accounts.ring(&in_effect),
            market: Arc::new(market),
            allowances: Arc::new(allowances),
            settings: assembly::settings(config),
        };
        let before = front.pipeline.in_force.swap(Arc::new(next));
        front.metrics.loaded(front.clock.wall());
        for id in &reached_otherwise {
            health.trust_again(id);
            front.pipeline.learning.prefixes.forget(id);
            front.pipeline.learning.refused_seals.forget(id);
        }
        health.keep_only(|id| snapshot.backend_named(id.as_str()).is_some());
        front.reloads.config.store(Some(Arc::new(running.config.clone())));
        let running = std::mem::replace(&mut self.running, Arc::new(running));
        // A large table takes its time to be freed.
        spawn_blocking(move || drop((before, running)));
        Ok(Some(changes))
    }

    /// Tells everybody how it ended; the log only what it does not say already, where a refused one was tried again by itself.
    fn tell(&self, result: Reloaded, report: &Report, asked: bool) {
        let front = &self.parts.front;
        let Report { version, problems, changes, .. } = report;
        front.metrics.reloaded(result, problems.len());
        let told = !asked && front.reloads.refused.load().as_ref().is_some_and(|before| before.problems == *problems);
        let refused = (result == Reloaded::Refused).then(|| {
            let (version, problems) = (version.clone(), problems.clone());
            Arc::new(Refused { at: front.clock.wall(), version, problems })
        });
        front.reloads.refused.store(refused);
        for problem in problems.iter().filter(|_| !told) {
            tracing::warn!(problem, version, "reload refused: what was in force stays");
        }
        match changes {
            Some(Changes { version_before, backends_added, backends_removed, prices_changed, keys_added, keys_removed }) => {
                tracing::info!(
                    version,
                    version_before,
                    backends_added,
                    backends_removed,
                    prices_changed,
                    ?keys_added,
                    ?keys_removed,
                    "reloaded"
                );
            }
            None if problems.is_empty() => tracing::info!(version, "reload: nothing has changed"),
            None => {}
        }
    }
}

/// Why a table cannot be put in force: what is decided by it could not be explained.
fn not_kept(kept: Result<Result<(), LedgerError>, JoinError>) -> Option<String> {
    let why = match kept {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Some(format!("the table cannot be kept beside the books, so that its decisions could not be explained: {why}"))
}

/// Reads until the files rest under the reading, a few times at most; also answers whether they do. Two files that are
/// swapped together are thus read together.
fn read(sources: &Sources, running: &Config) -> (Reading, bool) {
    let mut reading = sources.read(Some(running));
    for _ in 1..READINGS {
        if reading.looks.again() == reading.looks {
            break;
        }
        reading = sources.read(Some(running));
    }
    let rests = reading.looks.again() == reading.looks;
    (reading, rests)
}

fn judge(setup: Setup, running: &Running, in_force: &InForce, (health, tokens): (&HealthByShape, &Tokens)) -> Found {
    if let Some(idle) = setup.idle() {
        let table = setup.config.providers_file.display();
        return Found::Problems(vec![format!("{table}: {idle}; accepted: the key of at least one that the table has")]);
    }
    let Setup { config, snapshot, provider_keys, .. } = setup;
    let before = &*in_force.market.snapshot;
    if config == running.config && same_keys(&provider_keys, &running.provider_keys) && snapshot == *before {
        return Found::Same;
    }
    let was = Reached { keys: &running.provider_keys, deployments: &running.config.deployments, table: before };
    let is = Reached { keys: &provider_keys, deployments: &config.deployments, table: &snapshot };
    let reached_otherwise = reached_otherwise(&was, &is);
    let changes = Changes::between((&running.config, before), (&config, &snapshot));
    match Market::open(Arc::new(snapshot), &provider_keys, &config.deployments, tokens, health) {
        Ok(market) => {
            let running = Running { config, provider_keys };
            Found::Another(Box::new(Candidate { running, market, changes, reached_otherwise }))
        }
        Err(unreachable) => Found::Problems(vec![unreachable.to_string()]),
    }
}
