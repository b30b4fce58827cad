//! What one decision costs: `cargo bench --bench plan [-- TABLE ...]` prints the time of health and plan together for a
//! short prompt, with the keys of all providers, of three and of one, what its explanation takes and what keeping its facts
//! does beside that; the same for a table of eight times the rows; and what it takes to look up a price. Nothing is sent;
//! the figures of a shared machine wander, so the best of many rounds stands. Instructions do not wander:
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='plan::planned'` before the binary counts them, with
//! `--once` for one plan of the table with all keys and `--once-eightfold` for one of the larger table. A binary that was built with
//! `CARGO_PROFILE_BENCH_STRIP=none` has the name.

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
use tokenbroker::canonical::{Manner, Shape};
use tokenbroker::catalog::{Backend, Provider, ProviderIndex, Purchase, Snapshot};
use tokenbroker::clock::SystemClock;
use tokenbroker::config::{ProviderKeys, Secret};
use tokenbroker::dispatch::health::{HealthByShape, HealthSettings};
use tokenbroker::frontend::openai_chat;
use tokenbroker::market::Market;
use tokenbroker::pipeline::appraise::Appraisal;
use tokenbroker::route::facts::{Allowances, Facts, Limits, Settings};
use tokenbroker::route::{self, target};
use tokenbroker::route::{Affinity, Ask, Board, Caps, LearnedOutput};
use tokenbroker::units::BackendId;
use tokenbroker::upstream::Tokens;

const ROUNDS: usize = 40;
const A_ROUND: u32 = 500;
/// To count instructions: of the table, and of one of eight times the rows.
const ONCE: [&str; 2] = ["--once", "--once-eightfold"];
const BODY: &str = r#"{"model":"MODEL","messages":[{"role":"user","content":"What is the capital of France, and since when?"}]}"#;

fn main() {
    let tables: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let shipped = [concat!(env!("CARGO_MANIFEST_DIR"), "/providers.toml").to_owned()];
    let tables = if tables.is_empty() { &shipped[..] } else { &tables[..] };
    for path in tables {
        let text = std::fs::read_to_string(path).unwrap();
        let snapshot = Arc::new(Snapshot::parse(path, &text).unwrap());
        if let Some(rows) = ONCE.iter().position(|once| std::env::args().any(|argument| argument == *once)) {
            let snapshot = if rows == 0 { snapshot } else { Arc::new(eightfold(&snapshot)) };
            println!("{}; {}", measured(&snapshot, "auto", usize::MAX), lookups(&snapshot));
            continue;
        }
        for snapshot in [Arc::clone(&snapshot), Arc::new(eightfold(&snapshot))] {
            println!("{path}: {} backends at {} sites", snapshot.backends().len(), snapshot.providers().len());
            for model in ["auto", "auto:premium", "openai/gpt-4o-mini"] {
                for keys in [usize::MAX, 3, 1] {
                    println!("  {model:<20} {}", measured(&snapshot, model, keys));
                }
            }
        }
        println!("  {}", lookups(&snapshot));
    }
}

/// A table of eight times the rows: each provider seven times more under other names.
fn eightfold(snapshot: &Snapshot) -> Snapshot {
    let count = snapshot.providers().len();
    let copies = |n: usize| snapshot.providers().iter().map(move |p| Provider { id: copied(&p.id, n), ..p.clone() });
    let rows = |n: usize| {
        snapshot.backends().iter().map(move |b| Backend {
            id: BackendId::new(&copied(&snapshot.provider_of(b).id, n), &b.upstream_model),
            provider: ProviderIndex(u32::try_from(b.provider.0 as usize + n * count).unwrap()),
            ..b.clone()
        })
    };
    let (providers, backends) = ((0..8).flat_map(copies).collect(), (0..8).flat_map(rows).collect());
    let mut eightfold = Snapshot::new(snapshot.version.clone(), providers, backends, snapshot.fx.clone());
    (eightfold.calendars, eightfold.quotas) = (snapshot.calendars.clone(), snapshot.quotas.clone());
    eightfold
}

fn copied(id: &str, n: usize) -> String {
    if n == 0 { id.to_owned() } else { format!("{id}-{n}") }
}

/// `3 keys, 41 adequate: 4.6 us`.
fn measured(snapshot: &Arc<Snapshot>, model: &str, most_keys: usize) -> String {
    let wanted = ["openai", "deepseek", "groq"];
    let fits = |id: &str| most_keys > wanted.len() || wanted[..most_keys].contains(&id);
    let named = snapshot.providers().iter().filter(|p| fits(&p.id)).flat_map(Provider::variables);
    let keys: ProviderKeys = named.map(|name| (name.to_owned(), Secret::new("a-key".to_owned()))).collect();
    let health = HealthByShape::new(&SystemClock::shared(), HealthSettings::default());
    let market =
        Market::open(Arc::clone(snapshot), &keys, &std::collections::BTreeMap::new(), &Tokens::default(), &health).unwrap();
    let request = openai_chat::parse(Bytes::from(BODY.replace("MODEL", model)), &HeaderMap::new()).unwrap();
    let target = target::resolve(model, snapshot, &std::collections::BTreeMap::new()).unwrap();
    let appraisal = Appraisal::of(&request);
    let (limits, settings) = (Limits::default(), Settings::default());
    let (ask, allowances) = (Ask::of(&request), Allowances::default());
    let (health_now, at) = (market.health(Manner::plain(Shape::OpenAiChat), None), Timestamp::now());
    let facts = Facts {
        ask: &ask,
        snapshot,
        board: &Board::of(snapshot, at),
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
        at,
        settings: &settings,
    };
    let decide = || planned(&market, &facts);
    let explain = || route::explained(&facts).map(|whole| whole.plan.candidates.len()).unwrap_or_default();
    let (ask_health, keep) = (|| market.health(Manner::plain(Shape::OpenAiChat), None).len(), || facts.keep().len());
    let [plan, health, explained, kept] = [best(&decide), best(&ask_health), best(&explain), best(&keep)];
    format!(
        "{:>3} keys, {:>4} adequate: {plan:.2} us, {health:.2} of them for health; explained {explained:.1} us; \
         facts of {} bytes {kept:.2} us",
        keys.len(),
        route::plan(&facts).map(|plan| plan.adequate).unwrap_or_default(),
        keep()
    )
}

/// Health and plan. By itself, so that its instructions can be counted.
#[inline(never)]
fn planned(market: &Market, facts: &Facts<'_>) -> usize {
    let health = market.health(Manner::plain(Shape::OpenAiChat), None);
    route::plan(&Facts { health: &health, ..facts.clone() }).map(|plan| plan.adequate).unwrap_or_default()
}

/// What it takes to look up the prices of one backend, over all of them: the sheet of an instant, of this hour and of any
/// hour of the table's past; and all that an attempt of ten minutes may be settled by.
fn lookups(snapshot: &Snapshot) -> String {
    let (now, count) = (Timestamp::now(), snapshot.backends().len());
    let hours: Vec<Timestamp> = (0..4096).filter_map(|n| Timestamp::from_second(1_700_000_000 + n * 20_000).ok()).collect();
    let sheets = |at: &dyn Fn(usize) -> Timestamp| {
        let found = snapshot.backends().iter().enumerate();
        found.filter_map(|(n, backend)| looked_up(backend, at(n))).sum::<u64>()
    };
    let until = now + Duration::from_mins(10);
    let pricings = || {
        let found = snapshot.backends().iter().filter_map(|b| b.prices.pricing(Purchase::default(), now, until));
        found.map(|pricing| pricing.spans().len()).sum()
    };
    let each = |run: &dyn Fn() -> usize| best(&|| run()) * 1000.0 / count as f64;
    let of_now = each(&|| black_box(sheets(&|_| now)) as usize);
    let of_any = each(&|| black_box(sheets(&|n| hours[n * 37 % hours.len()])) as usize);
    format!("price lookup: {of_now:.0} ns now, {of_any:.0} ns at any time; pricing of an attempt: {:.0} ns", each(&pricings))
}

/// One price, by itself so that its instructions can be counted.
#[inline(never)]
fn looked_up(backend: &Backend, at: Timestamp) -> Option<u64> {
    Some(backend.prices.at(at)?.sheet_at(at).priced_input().get())
}

/// Microseconds, in the best of many rounds; of a single run with `--once`, to count its instructions.
fn best(run: &impl Fn() -> usize) -> f64 {
    if std::env::args().any(|argument| ONCE.contains(&argument.as_str())) {
        black_box(run());
        return 0.0;
    }
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
