//! What one decision costs: `cargo bench --bench plan [-- TABLE ...]` prints the time of health and plan together for a
//! short prompt, with the keys of all providers, of three and of one, what keeping its facts takes beside that, and what it
//! takes to look up a price. Nothing is sent; the figures of a shared machine wander, so the best of many rounds stands.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a tool for measuring, not the product"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tokenbroker::catalog::{Purchase, Snapshot};
use tokenbroker::clock::SystemClock;
use tokenbroker::config::{ProviderKeys, Secret};
use tokenbroker::dispatch::health::{Health, HealthSettings};
use tokenbroker::frontend::openai_chat;
use tokenbroker::market::Market;
use tokenbroker::pipeline::appraise::Appraisal;
use tokenbroker::route::facts::{Allowances, Facts, Limits, Settings};
use tokenbroker::route::{self, target};
use tokenbroker::route::{Affinity, Ask, Caps, LearnedOutput};

const ROUNDS: usize = 40;
const A_ROUND: u32 = 500;
const BODY: &str = r#"{"model":"MODEL","messages":[{"role":"user","content":"What is the capital of France, and since when?"}]}"#;

fn main() {
    let tables: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let shipped = [concat!(env!("CARGO_MANIFEST_DIR"), "/providers.toml").to_owned()];
    let tables = if tables.is_empty() { &shipped[..] } else { &tables[..] };
    for path in tables {
        let text = std::fs::read_to_string(path).unwrap();
        let snapshot = Arc::new(Snapshot::parse(path, &text).unwrap());
        println!("{path}: {} backends at {} sites", snapshot.backends().len(), snapshot.providers().len());
        for model in ["auto", "auto:premium", "openai/gpt-4o-mini"] {
            for keys in [usize::MAX, 3, 1] {
                println!("  {model:<20} {}", measured(&snapshot, model, keys));
            }
        }
        println!("  {}", lookups(&snapshot));
    }
}

/// `3 keys, 41 adequate: 4.6 us`.
fn measured(snapshot: &Arc<Snapshot>, model: &str, most_keys: usize) -> String {
    let wanted = ["openai", "deepseek", "groq"];
    let fits = |id: &str| most_keys > wanted.len() || wanted[..most_keys].contains(&id);
    let named = snapshot.providers().iter().filter(|p| fits(&p.id)).filter_map(|p| p.api_key_env.clone());
    let keys: ProviderKeys = named.map(|name| (name, Secret::new("a-key".to_owned()))).collect();
    let health = Health::new(SystemClock::shared(), HealthSettings::default());
    let market = Market::open(Arc::clone(snapshot), &keys, &health).unwrap();
    let request = openai_chat::parse(Bytes::from(BODY.replace("MODEL", model)), &HeaderMap::new()).unwrap();
    let target = target::resolve(model, snapshot, &std::collections::BTreeMap::new()).unwrap();
    let appraisal = Appraisal::of(&request);
    let (limits, settings) = (Limits::default(), Settings::default());
    let (ask, allowances) = (Ask::of(&request), Allowances::default());
    let health_now = market.health(None);
    let facts = Facts {
        ask: &ask,
        snapshot,
        target: &target,
        input: &appraisal.input,
        expected_output: appraisal.output,
        limits: &limits,
        usable: market.usable(),
        health: &health_now,
        learned: &LearnedOutput::default(),
        affinity: &Affinity::default(),
        caps: &Caps::NONE,
        explore: None,
        allowances: &allowances,
        at: Timestamp::now(),
        settings: &settings,
    };
    let decide = || {
        let health = market.health(None);
        route::plan(&Facts { health: &health, ..facts.clone() }).map(|plan| plan.candidates.len()).unwrap_or_default()
    };
    let keep = || facts.keep().len();
    let (plan, kept) = (best(&decide), best(&keep));
    format!("{:>2} keys, {:>3} adequate: {plan:.2} us; facts of {} bytes: {kept:.2} us", keys.len(), decide(), keep())
}

/// What it takes to look up the prices of one backend, over all of them: the sheet of an instant, of this hour and of any
/// hour of the table's past; and all that an attempt of ten minutes may be settled by.
fn lookups(snapshot: &Snapshot) -> String {
    let (now, count) = (Timestamp::now(), snapshot.backends().len());
    let hours: Vec<Timestamp> = (0..4096).filter_map(|n| Timestamp::from_second(1_700_000_000 + n * 20_000).ok()).collect();
    let sheets = |at: &dyn Fn(usize) -> Timestamp| {
        let found = snapshot.backends().iter().enumerate();
        found.filter_map(|(n, backend)| Some(backend.prices.at(at(n))?.sheet_at(at(n)).priced_input().get())).sum::<u64>()
    };
    let until = now + Duration::from_mins(10);
    let pricings = || {
        let found = snapshot.backends().iter().filter_map(|b| b.prices.pricing(Purchase::Usual, now, until));
        found.map(|pricing| pricing.spans().len()).sum()
    };
    let each = |run: &dyn Fn() -> usize| best(&|| run()) * 1000.0 / count as f64;
    let of_now = each(&|| black_box(sheets(&|_| now)) as usize);
    let of_any = each(&|| black_box(sheets(&|n| hours[n * 37 % hours.len()])) as usize);
    format!("price lookup: {of_now:.0} ns now, {of_any:.0} ns at any time; pricing of an attempt: {:.0} ns", each(&pricings))
}

/// Microseconds, in the best of many rounds.
fn best(run: &impl Fn() -> usize) -> f64 {
    let best = (0..ROUNDS).map(|_| round(run)).min().unwrap_or_default();
    best.as_secs_f64() * 1e6 / f64::from(A_ROUND)
}

fn round(decide: &impl Fn() -> usize) -> Duration {
    let began = Instant::now();
    for _ in 0..A_ROUND {
        black_box(decide());
    }
    began.elapsed()
}
