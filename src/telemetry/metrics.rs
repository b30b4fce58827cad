//! Every metric of the gateway, registered once.
//!
//! Label values come from closed lists ([`Label`]), from the table ([`Metrics::know`]) and from the configured key
//! names; whatever else is asked for counts as `unknown`, so that a client cannot create a series. A backend's series
//! appear with its first request (a table of sixty backends would otherwise fill every scrape with zeros) and are kept
//! at hand from then on: recording one request costs well under two microseconds. A backend that leaves the table
//! keeps its series until restart, since a counter that vanishes would look like a reset.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashSet};
use jiff::Timestamp;
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use super::families::{Families, Reported};
use super::labels::{AnswerEnd, FeedLook, Label, Rejection, Reloaded, Renewal, Route};
use super::process::Process;
use crate::catalog::Snapshot;
use crate::dispatch::Cause;
use crate::units::{Amount, BackendId, Counted, Grant, KeyName, Provenance, ShareBy, TokenPrice, Tokens, Usage, Usd};

/// What an unlisted backend, model or key is called.
const UNKNOWN: &str = "unknown";
/// What the backend of a request is called that never reached one.
const NO_BACKEND: &str = "none";
const NO_LABELS: &[&str] = &[];

/// A metric could not be set up; its name or its labels clash with another's.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be set up: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Option<Process>,
    keys: ArcSwap<HashSet<KeyName>>,
    backends: ArcSwap<HashMap<BackendId, Arc<Backend>>>,
    unknown: Arc<Backend>,
    /// The price book named last, so that its series ends when another one begins.
    book: Mutex<String>,
    families: Families,
}

/// How one attempt was settled, as far as metrics tell.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a, E> {
    pub backend: &'a BackendId,
    pub key: &'a KeyName,
    pub usage: &'a Usage,
    pub provenance: Provenance,
    /// How the attempt ended, in the ledger's words.
    pub ending: E,
    pub cost: Usd,
    /// What the attempt was expected to cost.
    pub quoted: Usd,
    /// What was held for it: more than this cannot be spent, so a cost above it is an overage.
    pub held: Usd,
}

/// What is known of one backend's reports, in words of closed lists.
#[derive(Debug)]
pub struct Reports<'r> {
    pub backend: &'r BackendId,
    /// Side, class of text, ratio and its standard error.
    pub ratios: Vec<(&'static str, &'static str, f64, f64)>,
    /// The sides that are out of their band.
    pub drifts: Vec<&'static str>,
    /// What they cost beyond what was expected.
    pub stake: Usd,
}

impl Metrics {
    /// Registers everything. `keys` are the names that the configuration gives (that of an open gateway's clients
    /// included).
    pub fn new(keys: impl IntoIterator<Item = KeyName>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        families.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // From the start, so that the first of each is seen as a rise.
        for result in Reloaded::ALL {
            families.reloads.with_label_values(&[result.word()]).inc_by(0);
        }
        Ok(Self {
            process: Process::register(&registry)?,
            registry,
            keys: ArcSwap::from_pointee(keys.into_iter().collect()),
            backends: ArcSwap::default(),
            unknown: Arc::new(Backend::new(UNKNOWN, UNKNOWN, UNKNOWN)),
            book: Mutex::default(),
            families,
        })
    }

    /// Makes a table's backends known and names its version. Call it before the table is put in force.
    pub fn know(&self, snapshot: &Snapshot) {
        let mut known = HashMap::clone(&self.backends.load());
        for backend in snapshot.backends() {
            let provider = &snapshot.provider_of(backend).id;
            let entry = known.entry(backend.id.clone());
            entry.or_insert_with(|| Arc::new(Backend::new(backend.id.as_str(), provider, &backend.model)));
        }
        self.backends.store(Arc::new(known));
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if *book != snapshot.version {
            // Absent where this is the first book: nothing to remove then.
            let _ = self.families.book.remove_label_values(&[book.as_str()]);
            self.families.book.with_label_values(&[snapshot.version.as_str()]).set(1);
            book.clone_from(&snapshot.version);
        }
        match snapshot.dated() {
            Some(date) => self.families.book_date.with_label_values(NO_LABELS).set(date.as_second()),
            // Absent where the book before had no date either.
            None => drop(self.families.book_date.remove_label_values(NO_LABELS)),
        }
        self.families.calendars.reset();
        for calendar in &snapshot.calendars {
            let until = calendar.known_until().map(|until| (calendar.name.as_str(), until.as_second()));
            if let Some((name, until)) = until {
                self.families.calendars.with_label_values(&[name]).set(until);
            }
        }
    }

    /// Makes the names of gateway keys known, beside those that are. A key that leaves the configuration keeps its series,
    /// as a backend does.
    pub fn know_keys(&self, names: impl IntoIterator<Item = KeyName>) {
        let mut known = HashSet::clone(&self.keys.load());
        known.extend(names);
        self.keys.store(Arc::new(known));
    }

    /// What is in force from this moment on was loaded at `at`.
    pub fn loaded(&self, at: Timestamp) {
        self.families.loaded.set(at.as_second());
    }

    /// An attempt to reload ended and found so many problems.
    pub fn reloaded(&self, result: Reloaded, problems: usize) {
        self.families.reloads.with_label_values(&[result.word()]).inc();
        self.families.reload_problems.set(i64::try_from(problems).unwrap_or(i64::MAX));
    }

    /// Makes the configured price feeds known, so that the first look of each is seen as a rise.
    pub fn know_feeds<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            for look in FeedLook::ALL {
                self.families.feed_looks.with_label_values(&[name, look.word()]).inc_by(0);
            }
        }
    }

    /// A price feed was looked at; `name` is one of the configured ones.
    pub fn feed_looked_at(&self, name: &str, look: FeedLook) {
        self.families.feed_looks.with_label_values(&[name, look.word()]).inc();
    }

    /// A token was to be had anew; `provider` is one of the table's.
    pub fn token_renewed(&self, provider: &str, outcome: Renewal) {
        self.families.token_renewals.with_label_values(&[provider, outcome.word()]).inc();
    }

    /// How old the last good copies of price feeds are, in seconds.
    pub fn feed_ages<'n>(&self, ages: impl IntoIterator<Item = (&'n str, i64)>) {
        for (name, age) in ages {
            self.families.feed_age.with_label_values(&[name]).set(age);
        }
    }

    /// How many proposals are held back, by who proposed them.
    pub fn held_back<'n>(&self, counts: impl IntoIterator<Item = (&'n str, i64)>) {
        self.families.held_back.reset();
        for (by, count) in counts {
            self.families.held_back.with_label_values(&[by]).set(count);
        }
    }

    /// Since when the oldest proposal for a backend of the table is held back, by who proposed it, in seconds since 1970.
    pub fn held_since<'n>(&self, oldest: impl IntoIterator<Item = (&'n str, i64)>) {
        self.families.held_since.reset();
        for (by, since) in oldest {
            self.families.held_since.with_label_values(&[by]).set(since);
        }
    }

    /// Prices that are others than the table's: backend, figure, the table's and the one in force.
    #[expect(clippy::cast_precision_loss, reason = "a ratio on a dashboard")]
    pub fn price_ratios<'n>(&self, moved: impl IntoIterator<Item = (&'n str, &'n str, TokenPrice, TokenPrice)>) {
        self.families.price_ratio.reset();
        for (backend, figure, before, after) in moved.into_iter().filter(|(_, _, before, _)| *before > TokenPrice::FREE) {
            let ratio = after.pico() as f64 / before.pico() as f64;
            self.families.price_ratio.with_label_values(&[backend, figure]).set(ratio);
        }
    }

    /// A client's request ended. `backend`: the one that answered, if any was asked.
    pub fn request(&self, route: Route, backend: Option<&BackendId>, outcome: impl Label) {
        let backend = backend.map(|id| self.backend(id));
        let name = backend.as_ref().map_or(NO_BACKEND, |backend| backend.id.as_str());
        self.families.requests.with_label_values(&[route.word(), name, outcome.word()]).inc();
    }

    /// The gateway itself refused a request.
    pub fn rejected(&self, reason: Rejection) {
        self.families.rejections.with_label_values(&[reason.word()]).inc();
    }

    /// A request is under way until the returned guard is dropped.
    pub fn open_request(&self) -> OpenRequest {
        self.families.open.inc();
        OpenRequest(self.families.open.clone())
    }

    /// What the gateway's own work on a request took, upstream's time left out.
    pub fn overhead(&self, took: Duration) {
        self.families.overhead.observe(took.as_secs_f64());
    }

    /// An attempt at a backend ended, in whatever closed list of results the caller has.
    pub fn attempt(&self, backend: &BackendId, result: impl Label) {
        let backend = self.backend(backend);
        self.families.attempts.with_label_values(&[backend.id.as_str(), result.word()]).inc();
    }

    /// The gateway moved on to the next attempt.
    pub fn failover(&self, cause: Cause) {
        self.families.failovers.with_label_values(&[cause.word()]).inc();
    }

    /// An answer named another model than its backend had named before.
    pub fn model_changed(&self, backend: &BackendId) {
        self.families.model_changes.with_label_values(&[self.backend(backend).id.as_str()]).inc();
    }

    /// From sending a request upstream to the first meaningful byte of its answer.
    pub fn first_token(&self, backend: &BackendId, after: Duration) {
        let backend = self.backend(backend);
        backend.ttft.child(&self.families.ttft, &[&backend.id]).observe(after.as_secs_f64());
    }

    /// From sending a request upstream to the last byte of its answer.
    pub fn upstream(&self, backend: &BackendId, took: Duration) {
        let backend = self.backend(backend);
        backend.upstream.child(&self.families.upstream, &[&backend.id]).observe(took.as_secs_f64());
    }

    /// An attempt was booked: its tokens, its cost and how far the quote was off.
    pub fn settled<E: Label>(&self, settled: &Settled<'_, E>) {
        let families = &self.families;
        let backend = self.backend(settled.backend);
        for (kind, count) in kinds(settled.usage) {
            let child = backend.tokens[kind as usize].child(&families.tokens, &[kind.word(), &backend.provider, &backend.model]);
            child.inc_by(count.get());
        }
        let cost = settled.cost.to_metric();
        // A counter takes no refunds; a cost is never below zero.
        let labels = [backend.provider.as_str(), &backend.model, self.key(settled.key)];
        families.cost.with_label_values(&labels).inc_by(cost.max(0.0));
        if settled.quoted > Usd::ZERO {
            let ratio = backend.quote_ratio.child(&families.quote_ratio, &[&backend.provider]);
            ratio.observe(cost / settled.quoted.to_metric());
        }
        if settled.cost > settled.held {
            let over = (settled.cost - settled.held).to_metric();
            families.overage.with_label_values(&[backend.id.as_str()]).inc_by(over);
        }
        families.settlements.with_label_values(&[settled.provenance.word(), settled.ending.word()]).inc();
    }

    /// An answer taught how long answers are, and what its prompt's cache gave back.
    pub fn learned(&self, backend: &BackendId, end: AnswerEnd, usage: &Usage, expected: &Usage) {
        let (families, backend) = (&self.families, self.backend(backend));
        families.answers_learned.with_label_values(&[end.word()]).inc();
        if expected.output > Tokens::ZERO && end == AnswerEnd::Whole {
            let millionths = u128::from(usage.output.get()) * 1_000_000 / u128::from(expected.output.get());
            let ratio = backend.output_ratio.child(&families.output_ratio, &[&backend.provider]);
            ratio.observe(f64::from(u32::try_from(millionths).unwrap_or(u32::MAX)) / 1e6);
        }
        if expected.cache_read > Tokens::ZERO {
            let labels = [backend.provider.as_str(), &backend.model];
            families.cache_expected.with_label_values(&labels).inc_by(expected.cache_read.get());
        }
    }

    /// A cap on a share stood against a choice that was expected to cost this much less. Names are the operator's.
    pub fn cap_cost(&self, by: ShareBy, name: &str, more: Usd) {
        // One that costs less is chosen for its risk: a counter takes no refunds, and the decision tells it.
        self.families.cap_cost.with_label_values(&[by.word(), name]).inc_by(more.to_metric().max(0.0));
    }

    /// What a request would have cost at the configured baseline, whose model is `model`.
    pub fn baseline(&self, backend: &BackendId, key: &KeyName, cost: Usd) {
        let backend = self.backend(backend);
        let labels = [backend.model.as_str(), self.key(key)];
        self.families.baseline.with_label_values(&labels).inc_by(cost.to_metric().max(0.0));
    }

    /// How many records wait to be journaled or folded into the store.
    pub fn ledger_queue(&self, records: usize) {
        self.families.ledger_queue.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// A batch of records reached the store after so long.
    pub fn ledger_commit(&self, took: Duration) {
        self.families.ledger_commit.observe(took.as_secs_f64());
    }

    /// Whether the books can be written.
    pub fn ledger_writable(&self, writable: bool) {
        self.families.ledger_writable.set(i64::from(writable));
    }

    /// How many requests wait to be forwarded to the books of all gateways, and whether these can be reached.
    pub fn forwarding(&self, waiting: u64, up: bool) {
        self.families.fleet_waiting.with_label_values(NO_LABELS).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.families.fleet_up.with_label_values(&["postgres"]).set(i64::from(up));
    }

    /// Whether slices of shared budgets can be had.
    pub fn lending(&self, up: bool) {
        self.families.fleet_up.with_label_values(&["redis"]).set(i64::from(up));
    }

    /// What is left of each free quota, with the backend and the quota's name, and what it gives in a window where it is given
    /// now; in the place of what was said before.
    pub fn quotas<'q>(&self, quotas: impl Iterator<Item = (&'q BackendId, &'q str, Grant, Option<Grant>)>) {
        let (left, given) = (&self.families.quota, &self.families.quota_given);
        left.reset();
        given.reset();
        for (backend, quota, grant, of) in quotas {
            for (family, grant) in [(left, Some(grant)), (given, of)] {
                let counted = Counted::ALL.into_iter().filter_map(|counted| Some((counted, grant?.of(counted)?)));
                for (counted, count) in counted {
                    let labels = [backend.as_str(), quota, counted.word()];
                    family.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
        }
    }

    /// What is left of each provider's prepaid balance, in the place of what was said before.
    pub fn prepaid<'p>(&self, left: impl Iterator<Item = (&'p str, Amount)>) {
        self.families.prepaid.reset();
        for (provider, amount) in left {
            // As the figure that it is: the currency is the provider's.
            let figure = Usd::from_pico(amount.pico()).to_metric();
            self.families.prepaid.with_label_values(&[provider]).set(figure);
        }
    }

    /// What is known of backends' reports, in the place of what was said before.
    pub fn reports<'r>(&self, reports: impl Iterator<Item = Reports<'r>>) {
        let Reported { ratio: known, error: errors, drifted, at_stake } = &self.families.reported;
        known.reset();
        errors.reset();
        drifted.reset();
        at_stake.reset();
        for Reports { backend, ratios, drifts, stake } in reports {
            for (side, class, ratio, error) in ratios {
                known.with_label_values(&[backend.as_str(), side, class]).set(ratio);
                errors.with_label_values(&[backend.as_str(), side, class]).set(error);
            }
            for side in &drifts {
                drifted.with_label_values(&[backend.as_str(), side]).set(1);
            }
            if !drifts.is_empty() {
                at_stake.with_label_values(&[backend.as_str()]).set(stake.to_metric());
            }
        }
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Result<String, MetricsError> {
        if let Some(process) = &self.process {
            process.update();
        }
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    fn backend(&self, id: &BackendId) -> Arc<Backend> {
        self.backends.load().get(id).unwrap_or(&self.unknown).clone()
    }

    fn key<'k>(&self, key: &'k KeyName) -> &'k str {
        if self.keys.load().contains(key) { key.as_str() } else { UNKNOWN }
    }
}

/// Counts a request as under way until it is dropped.
#[derive(Debug)]
pub struct OpenRequest(IntGauge);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How vendors bill tokens, as a label. Hidden reasoning is part of the output and not counted again.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Input,
    CacheRead,
    CacheWrite,
    Output,
}

impl Label for Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::CacheRead => "cache_read",
            Kind::CacheWrite => "cache_write",
            Kind::Output => "output",
        }
    }
}

/// The kinds of which a usage has any.
fn kinds(usage: &Usage) -> impl Iterator<Item = (Kind, Tokens)> {
    let all = [
        (Kind::Input, usage.fresh_input),
        (Kind::CacheRead, usage.cache_read),
        (Kind::CacheWrite, usage.cache_write),
        (Kind::Output, usage.output),
    ];
    all.into_iter().filter(|(_, count)| *count > Tokens::ZERO)
}

/// One backend's label values, and its series once they have been used.
#[derive(Debug)]
struct Backend {
    id: String,
    provider: String,
    model: String,
    ttft: Lazy<Histogram>,
    upstream: Lazy<Histogram>,
    quote_ratio: Lazy<Histogram>,
    output_ratio: Lazy<Histogram>,
    /// By [`Kind`].
    tokens: [Lazy<IntCounter>; 4],
}

impl Backend {
    fn new(id: &str, provider: &str, model: &str) -> Self {
        Self {
            id: id.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            ttft: Lazy::default(),
            upstream: Lazy::default(),
            quote_ratio: Lazy::default(),
            output_ratio: Lazy::default(),
            tokens: Default::default(),
        }
    }
}

/// A series that begins with its first use and is found without a look-up from then on.
#[derive(Debug)]
struct Lazy<M>(OnceLock<M>);

impl<M> Default for Lazy<M> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<M: prometheus::core::Metric> Lazy<M> {
    fn child<B: MetricVecBuilder<M = M>>(&self, family: &MetricVec<B>, labels: &[&str]) -> &M {
        self.0.get_or_init(|| family.with_label_values(labels))
    }
}

#[cfg(test)]
mod tests;
