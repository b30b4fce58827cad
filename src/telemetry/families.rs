//! The families themselves: names, labels, help and buckets. What each means is said where it is recorded, in
//! `metrics.rs`.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// From the arrival of a request to its way out, upstream's time left out: a gateway's own work.
const OVERHEAD_SECONDS: &[f64] = &[0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// What models take: a tenth of a second to minutes.
const UPSTREAM_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// A batch of rows on anything from a fast disk to a stuck one.
const COMMIT_SECONDS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Final cost over quoted cost: one is a perfect quote.
const RATIOS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0];

/// The families, by the names that dashboards know.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) requests: IntCounterVec,
    pub(super) rejections: IntCounterVec,
    pub(super) open: IntGauge,
    pub(super) overhead: Histogram,
    pub(super) attempts: IntCounterVec,
    pub(super) failovers: IntCounterVec,
    pub(super) model_changes: IntCounterVec,
    pub(super) ttft: HistogramVec,
    pub(super) upstream: HistogramVec,
    pub(super) tokens: IntCounterVec,
    pub(super) cost: CounterVec,
    pub(super) baseline: CounterVec,
    pub(super) overage: CounterVec,
    pub(super) cap_cost: CounterVec,
    pub(super) quote_ratio: HistogramVec,
    pub(super) output_ratio: HistogramVec,
    pub(super) answers_learned: IntCounterVec,
    pub(super) cache_expected: IntCounterVec,
    pub(super) settlements: IntCounterVec,
    pub(super) ledger_queue: IntGauge,
    pub(super) ledger_commit: Histogram,
    pub(super) ledger_writable: IntGauge,
    pub(super) fleet_waiting: IntGaugeVec,
    pub(super) fleet_up: IntGaugeVec,
    pub(super) book: IntGaugeVec,
    pub(super) book_date: IntGaugeVec,
    pub(super) calendars: IntGaugeVec,
    pub(super) loaded: IntGauge,
    pub(super) reloads: IntCounterVec,
    pub(super) reload_problems: IntGauge,
    pub(super) quota: IntGaugeVec,
    pub(super) quota_given: IntGaugeVec,
    pub(super) prepaid: GaugeVec,
    pub(super) build: IntGaugeVec,
    pub(super) price_ratio: GaugeVec,
    pub(super) feed_age: IntGaugeVec,
    pub(super) feed_looks: IntCounterVec,
    pub(super) held_back: IntGaugeVec,
    pub(super) held_since: IntGaugeVec,
    pub(super) token_renewals: IntCounterVec,
    pub(super) reported: Reported,
}

/// What is known of providers' reports.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) ratio: GaugeVec,
    pub(super) error: GaugeVec,
    pub(super) drifted: IntGaugeVec,
    pub(super) at_stake: GaugeVec,
}

impl Reported {
    fn register(r: &impl Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ratio: r.decimals(
                "report_ratio",
                "Tokens that a backend reports by those that are estimated, or counted, here.",
                &["backend", "side", "class"],
            )?,
            error: r.decimals(
                "report_ratio_error",
                "Standard error of the ratio of reported tokens.",
                &["backend", "side", "class"],
            )?,
            drifted: r.gauges(
                "reports_drifted",
                "1 while a backend's reports are out of their usual band.",
                &["backend", "side"],
            )?,
            at_stake: r.decimals(
                "reports_at_stake_usd",
                "What reports out of their band cost beyond what was expected, since they began to leave it.",
                &["backend"],
            )?,
        })
    }
}

impl Families {
    pub(super) fn register(r: &impl Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: r.counters("requests_total", "Client requests that ended.", &["route", "backend", "outcome"])?,
            rejections: r.counters("rejections_total", "Client requests that the gateway itself refused.", &["reason"])?,
            open: r.gauge("open_requests", "Client requests under way.")?,
            overhead: r.histogram("overhead_seconds", "The gateway's own time per request.", OVERHEAD_SECONDS)?,
            attempts: r.counters("attempts_total", "Upstream requests that ended.", &["backend", "result"])?,
            failovers: r.counters("failovers_total", "Moves to the next attempt of a plan.", &["cause"])?,
            model_changes: r.counters(
                "served_model_changes_total",
                "Answers that name another model than their backend had named before.",
                &["backend"],
            )?,
            ttft: r.histograms("ttft_seconds", "Upstream time to the first token.", &["backend"], UPSTREAM_SECONDS)?,
            upstream: r.histograms("upstream_seconds", "Upstream time to the last byte.", &["backend"], UPSTREAM_SECONDS)?,
            tokens: r.counters("tokens_total", "Tokens booked, as they are billed.", &["kind", "provider", "model"])?,
            cost: r.amounts("cost_usd_total", "Cost booked, in US dollars.", &["provider", "model", "key"])?,
            baseline: r.amounts(
                "baseline_cost_usd_total",
                "Cost of the same tokens at the baseline model.",
                &["model", "key"],
            )?,
            overage: r.amounts("overage_usd_total", "Cost beyond what was held: promised never to happen.", &["backend"])?,
            cap_cost: r.amounts(
                "portfolio_cap_cost_usd_total",
                "Expected cost of choices beyond what would have been chosen without caps.",
                &["by", "name"],
            )?,
            quote_ratio: r.histograms("quote_ratio", "Final cost over quoted cost.", &["provider"], RATIOS)?,
            output_ratio: r.histograms("output_ratio", "Output tokens over those that were expected.", &["provider"], RATIOS)?,
            answers_learned: r.counters("answers_learned_total", "Whole answers that taught how long answers are.", &["end"])?,
            cache_expected: r.counters(
                "cache_expected_tokens_total",
                "Input tokens that were expected from a prompt cache.",
                &["provider", "model"],
            )?,
            settlements: r.counters("settlements_total", "Attempts booked.", &["provenance", "ending"])?,
            ledger_queue: r.gauge("ledger_queue_records", "Records that wait for the store.")?,
            ledger_commit: r.histogram("ledger_commit_seconds", "Time to commit a batch of records.", COMMIT_SECONDS)?,
            ledger_writable: r.gauge("ledger_writable", "1 while the books can be written.")?,
            fleet_waiting: r.gauges("fleet_waiting_requests", "Requests that wait to be forwarded to PostgreSQL.", &[])?,
            fleet_up: r.gauges("fleet_store_up", "1 while a store that gateways share can be used.", &["store"])?,
            book: r.gauges("price_book_info", "The price book in force.", &["version"])?,
            book_date: r.gauges(
                "price_book_timestamp_seconds",
                "The date of the price book in force; absent where its version names none.",
                &[],
            )?,
            calendars: r.gauges(
                "calendar_known_until_timestamp_seconds",
                "When the published holidays of a calendar of the price book end; the dearer hours are charged after it.",
                &["calendar"],
            )?,
            loaded: r.gauge("config_loaded_timestamp_seconds", "When what is in force was loaded.")?,
            reloads: r.counters("reloads_total", "Attempts to reload configuration and table.", &["result"])?,
            reload_problems: r.gauge("reload_problems", "Problems that the last attempt to reload found.")?,
            quota: r.gauges("quota_remaining", "What is left of a free quota in its window.", &["backend", "quota", "kind"])?,
            quota_given: r.gauges(
                "quota_granted",
                "What a free quota gives in each of its windows; absent while it is not given.",
                &["backend", "quota", "kind"],
            )?,
            prepaid: r.decimals(
                "prepaid_remaining",
                "What is left of a prepaid balance, in the provider's currency.",
                &["provider"],
            )?,
            build: r.gauges("build_info", "The gateway's version.", &["version"])?,
            price_ratio: r.decimals(
                "price_change_ratio",
                "A price in force by the table's, where a feed or an administrator changed it.",
                &["backend", "figure"],
            )?,
            token_renewals: r.counters(
                "provider_token_renewals_total",
                "Tokens that were to be made or fetched with a provider's key.",
                &["provider", "result"],
            )?,
            reported: Reported::register(r)?,
            feed_age: r.gauges("price_feed_age_seconds", "How old the last good copy of a price feed is.", &["feed"])?,
            feed_looks: r.counters("price_feed_looks_total", "Looks at a price feed.", &["feed", "result"])?,
            held_back: r.gauges("price_quarantined", "Proposals of prices that are held back.", &["feed"])?,
            held_since: r.gauges(
                "price_quarantined_since_timestamp_seconds",
                "Since when the oldest proposal for a backend of the table is held back.",
                &["feed"],
            )?,
        })
    }
}

/// Registering under the gateway's prefix.
pub(super) trait Register {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C>;

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(options(name, help), labels))
    }

    fn amounts(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        self.keep(CounterVec::new(options(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.keep(IntGauge::with_opts(options(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(options(name, help), labels))
    }

    fn decimals(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.keep(GaugeVec::new(options(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.keep(Histogram::with_opts(HistogramOpts::from(options(name, help)).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        self.keep(HistogramVec::new(options, labels))
    }
}

impl Register for Registry {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C> {
        let made = made?;
        self.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("tokenbroker")
}

#[cfg(test)]
mod tests {
    use super::super::process::Process;
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../docs/metrics.md");

    /// A row of the page: name, type and labels.
    type Row = (String, String, Vec<String>);

    /// Keeps what is registered by its description, since a family without a sample shows no labels.
    #[derive(Default)]
    struct Recorder(RefCell<BTreeSet<Row>>);

    impl Register for Recorder {
        fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C> {
            let made = made?;
            let kind = format!("{:?}", made.collect()[0].get_field_type()).to_lowercase();
            for described in made.desc() {
                let row = (described.fq_name.clone(), kind.clone(), described.variable_labels.clone());
                self.0.borrow_mut().insert(row);
            }
            Ok(made)
        }
    }

    /// What stands in backticks in a cell.
    fn quoted(cell: &str) -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn documented() -> BTreeSet<Row> {
        let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 4 && cells[3].len() > 10, "{row}");
            (quoted(cells[0]).remove(0), cells[1].to_owned(), quoted(cells[2]))
        })
        .collect()
    }

    #[test]
    fn the_page_of_metrics_has_every_family_with_its_type_and_labels_and_no_other() {
        let recorder = Recorder::default();
        Families::register(&recorder).unwrap();
        let mut families = recorder.0.into_inner();
        let registry = Registry::new();
        Process::register(&registry).unwrap();
        for family in registry.gather() {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            families.insert((family.name().to_owned(), kind, Vec::new()));
        }
        let documented = documented();
        let missing: Vec<_> = families.difference(&documented).collect();
        let made_up: Vec<_> = documented.difference(&families).collect();
        assert!(missing.is_empty() && made_up.is_empty(), "not on the page: {missing:#?}\nonly on the page: {made_up:#?}");
    }
}
