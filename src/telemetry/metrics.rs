//! Every metric of the gateway, registered once.
//!
//! Label values come from closed lists ([`Label`]), from the table ([`Metrics::know`]) and from the configured key
//! names; whatever else is asked for counts as `unknown`, so that a client cannot create a series. A backend's series
//! appear with its first request (a table of sixty backends would otherwise fill every scrape with zeros) and are kept
//! at hand from then on: recording one request costs well under two microseconds. A backend that leaves the table
//! keeps its series until restart, since a counter that vanishes would look like a reset.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use super::families::Families;
use super::labels::{Label, Rejection, Reloaded, Route};
use super::process::Process;
use crate::catalog::Snapshot;
use crate::dispatch::Cause;
use crate::units::{Amount, BackendId, Counted, Grant, KeyName, Provenance, Tokens, Usage, Usd};

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

    /// What is left of each free quota, with the backend and the quota's name, in the place of what was said before.
    pub fn quotas<'q>(&self, left: impl Iterator<Item = (&'q BackendId, &'q str, Grant)>) {
        let family = &self.families.quota;
        family.reset();
        for (backend, quota, grant) in left {
            let counted = Counted::ALL.into_iter().filter_map(|counted| Some((counted, grant.of(counted)?)));
            for (counted, count) in counted {
                let labels = [backend.as_str(), quota, counted.word()];
                family.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
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
mod tests {
    use super::*;
    use crate::canonical::Features;
    use crate::canonical::event::ErrorClass;
    use crate::catalog::capability::Quirks;
    use crate::catalog::{
        Backend as TableBackend, BackendIndex, FxTable, Limits, PriceSchedule, Provider, ProviderIndex, Quality, Reasoning,
        TokenizerFamily,
    };
    use crate::ledger::{Ending, Outcome};
    use crate::units::Currency;

    fn table(version: &str) -> Snapshot {
        let provider = Provider {
            index: ProviderIndex(0),
            id: "p".into(),
            name: "P".into(),
            base_url: "https://p.example".into(),
            dialect: "openai-chat".into(),
            api_key_env: None,
            owner: "P".into(),
            jurisdiction: "EU".into(),
            region: "EU".into(),
            trains_on_data: None,
            currency: Currency::Eur,
            prepaid: None,
            quirks: Quirks::default(),
            extra_headers: Vec::new(),
            disabled: None,
            sandbox: None,
        };
        let limits = Limits { context: Tokens::new(8), max_output: Tokens::new(4), priced_input: None };
        let backend = TableBackend {
            index: BackendIndex(0),
            id: BackendId::new("p", "m-2026"),
            provider: ProviderIndex(0),
            model: "m".into(),
            upstream_model: "m-2026".into(),
            aliases: Vec::new(),
            limits,
            features: Features::NONE,
            reasoning: Reasoning::Never,
            languages: ["*".to_owned()].into(),
            tokenizer: TokenizerFamily::Unknown,
            quality: Quality::default(),
            prices: PriceSchedule::default(),
            quotas: Vec::new(),
            free: true,
            disabled: None,
        };
        Snapshot::new(version.into(), vec![provider], vec![backend], FxTable::default())
    }

    fn metrics() -> Metrics {
        let metrics = Metrics::new([KeyName::new("web")]).unwrap();
        metrics.know(&table("2026-11-22+aa"));
        metrics
    }

    fn settle(metrics: &Metrics, backend: &BackendId, key: &str, cost: &str) {
        let usage = Usage { cache_read: Tokens::new(5), ..Usage::fresh(Tokens::new(10), Tokens::new(3)) };
        let (quoted, held) = (Usd::parse("0.5").unwrap(), Usd::parse("0.75").unwrap());
        let (key, cost) = (&KeyName::new(key), Usd::parse(cost).unwrap());
        let provenance = Provenance::Reported;
        metrics.settled(&Settled { backend, key, usage: &usage, provenance, ending: Ending::Complete, cost, quoted, held });
    }

    /// Uses every family once, with known and unknown names.
    fn use_everything(metrics: &Metrics) {
        for id in [BackendId::new("p", "m-2026"), BackendId::new("made", "up")] {
            metrics.request(Route::ChatCompletions, Some(&id), Outcome::Answered);
            metrics.attempt(&id, Cause::Provider(ErrorClass::RateLimited));
            metrics.first_token(&id, Duration::from_millis(300));
            metrics.upstream(&id, Duration::from_secs(2));
            settle(metrics, &id, "web", "0.25");
            settle(metrics, &id, "made-up", "1");
            metrics.baseline(&id, &KeyName::new("web"), Usd::parse("2").unwrap());
        }
        metrics.request(Route::Other, None, Outcome::Refused);
        metrics.rejected(Rejection::UnknownModel);
        metrics.failover(Cause::Timeout);
        metrics.overhead(Duration::from_micros(80));
        metrics.ledger_queue(7);
        metrics.ledger_commit(Duration::from_millis(2));
        metrics.ledger_writable(true);
    }

    #[test]
    fn the_families_have_the_names_and_types_that_dashboards_know() {
        let metrics = metrics();
        use_everything(&metrics);
        let text = metrics.render().unwrap();
        let ours = |line: &&str| line.starts_with("# TYPE tokenbroker_");
        let found: Vec<&str> = text.lines().filter(ours).map(|line| line.trim_start_matches("# TYPE tokenbroker_")).collect();
        let expected = [
            "attempts_total counter",
            "baseline_cost_usd_total counter",
            "build_info gauge",
            "config_loaded_timestamp_seconds gauge",
            "cost_usd_total counter",
            "failovers_total counter",
            "ledger_commit_seconds histogram",
            "ledger_queue_records gauge",
            "ledger_writable gauge",
            "open_requests gauge",
            "overage_usd_total counter",
            "overhead_seconds histogram",
            "price_book_info gauge",
            "price_book_timestamp_seconds gauge",
            "quote_ratio histogram",
            "rejections_total counter",
            "reload_problems gauge",
            "reloads_total counter",
            "requests_total counter",
            "settlements_total counter",
            "tokens_total counter",
            "ttft_seconds histogram",
            "upstream_seconds histogram",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_recorded_is_rendered_and_made_up_names_share_one_series() {
        let metrics = metrics();
        use_everything(&metrics);
        let text = metrics.render().unwrap();
        for line in [
            "tokenbroker_attempts_total{backend=\"p/m-2026\",result=\"rate_limited\"} 1",
            "tokenbroker_attempts_total{backend=\"unknown\",result=\"rate_limited\"} 1",
            "tokenbroker_baseline_cost_usd_total{key=\"web\",model=\"m\"} 2",
            "tokenbroker_cost_usd_total{key=\"web\",model=\"m\",provider=\"p\"} 0.25",
            "tokenbroker_cost_usd_total{key=\"unknown\",model=\"unknown\",provider=\"unknown\"} 1",
            "tokenbroker_failovers_total{cause=\"timeout\"} 1",
            "tokenbroker_ledger_queue_records 7",
            "tokenbroker_overage_usd_total{backend=\"p/m-2026\"} 0.25",
            "tokenbroker_quote_ratio_bucket{provider=\"p\",le=\"0.5\"} 1",
            "tokenbroker_rejections_total{reason=\"unknown_model\"} 1",
            "tokenbroker_requests_total{backend=\"none\",outcome=\"refused\",route=\"other\"} 1",
            "tokenbroker_settlements_total{ending=\"complete\",provenance=\"reported\"} 4",
            "tokenbroker_tokens_total{kind=\"cache_read\",model=\"m\",provider=\"p\"} 10",
            "tokenbroker_tokens_total{kind=\"output\",model=\"m\",provider=\"p\"} 6",
            "tokenbroker_ttft_seconds_count{backend=\"p/m-2026\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("made") && !text.contains("cache_write"), "{text}");
    }

    #[test]
    fn a_new_table_ends_the_series_of_the_old_one_and_keeps_its_backends() {
        let metrics = metrics();
        settle(&metrics, &BackendId::new("p", "m-2026"), "web", "0.25");
        let empty = Snapshot::new("2026-11-23+bb".into(), Vec::new(), Vec::new(), FxTable::default());
        metrics.know(&empty);
        settle(&metrics, &BackendId::new("p", "m-2026"), "web", "0.25");
        let text = metrics.render().unwrap();
        assert!(text.contains("price_book_info{version=\"2026-11-23+bb\"} 1"));
        assert!(!text.contains("2026-11-22+aa"));
        assert!(text.contains("tokenbroker_price_book_timestamp_seconds 1795392000\n"), "{text}");
        metrics.know(&Snapshot::new("lab+cc".into(), Vec::new(), Vec::new(), FxTable::default()));
        assert!(!metrics.render().unwrap().contains("price_book_timestamp_seconds "), "a version without a date");
        assert!(text.contains("cost_usd_total{key=\"web\",model=\"m\",provider=\"p\"} 0.5"));
    }

    #[test]
    fn a_reload_is_told_and_its_keys_have_series_of_their_own() {
        let metrics = metrics();
        metrics.reloaded(Reloaded::Refused, 3);
        metrics.know_keys([KeyName::new("batch")]);
        for key in ["web", "batch", "made-up"] {
            settle(&metrics, &BackendId::new("p", "m-2026"), key, "0.25");
        }
        let text = metrics.render().unwrap();
        for line in [
            "tokenbroker_reloads_total{result=\"refused\"} 1",
            "tokenbroker_reloads_total{result=\"applied\"} 0",
            "tokenbroker_reload_problems 3",
            "tokenbroker_cost_usd_total{key=\"web\",model=\"m\",provider=\"p\"} 0.25",
            "tokenbroker_cost_usd_total{key=\"batch\",model=\"m\",provider=\"p\"} 0.25",
            "tokenbroker_cost_usd_total{key=\"unknown\",model=\"m\",provider=\"p\"} 0.25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn an_open_request_is_counted_until_it_is_dropped() {
        let metrics = metrics();
        let open = metrics.open_request();
        assert!(metrics.render().unwrap().contains("tokenbroker_open_requests 1"));
        drop(open);
        assert!(metrics.render().unwrap().contains("tokenbroker_open_requests 0"));
    }

    #[test]
    fn help_and_names_follow_the_conventions_of_prometheus() {
        let metrics = metrics();
        use_everything(&metrics);
        let text = metrics.render().unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
            let units_are_base = !name.ends_with("_ms") && !name.contains("millis") && !name.contains("kilobytes");
            assert!(units_are_base && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        }
    }
}
