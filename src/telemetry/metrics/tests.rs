//! What a scrape shows of what was told.

use super::*;
use crate::canonical::event::ErrorClass;
use crate::canonical::{Features, SchemaBy};
use crate::catalog::Steering;
use crate::catalog::capability::{KeyHeader, Quirks};
use crate::catalog::{
    Backend as TableBackend, BackendIndex, CacheRules, FxTable, Limits, PriceSchedule, Provider, ProviderIndex, Quality,
    Reasoning, TokenizerFamily,
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
        auth: KeyHeader::default(),
        more_endpoints: Vec::new(),
        placeholders: Vec::new(),
        query: Vec::new(),
        api_key_env: None,
        signing: None,
        owner: "P".into(),
        jurisdiction: "EU".into(),
        region: "EU".into(),
        trains_on_data: None,
        retention: None,
        registered: None,
        price_changes: None,
        cache: CacheRules::default(),
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
        schema_by: SchemaBy::Native,
        reasoning: Reasoning::Never,
        serves: None,
        dimensions: None,
        steering: Steering::UNKNOWN,
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
        let usage = Usage { cache_read: Tokens::new(5), ..Usage::fresh(Tokens::new(10), Tokens::new(3)) };
        let expected = Usage { output: Tokens::new(12), ..usage };
        for end in [AnswerEnd::Whole, AnswerEnd::Bound] {
            metrics.learned(&id, end, &usage, &expected);
        }
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
        "answers_learned_total counter",
        "attempts_total counter",
        "baseline_cost_usd_total counter",
        "build_info gauge",
        "cache_expected_tokens_total counter",
        "config_loaded_timestamp_seconds gauge",
        "cost_usd_total counter",
        "failovers_total counter",
        "ledger_commit_seconds histogram",
        "ledger_queue_records gauge",
        "ledger_writable gauge",
        "open_requests gauge",
        "output_ratio histogram",
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
        "tokenbroker_answers_learned_total{end=\"bound\"} 2",
        "tokenbroker_cache_expected_tokens_total{model=\"m\",provider=\"p\"} 10",
        "tokenbroker_output_ratio_bucket{provider=\"p\",le=\"0.25\"} 1",
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
