//! What learning costs a request: `cargo bench --bench learned` prints the time to chain a prompt, to look it up among
//! remembered ones, to remember it, to forecast its answer with many models known, to take one answer in, and to decide with
//! a conversation that may stay. The best of many rounds, since a shared machine's figures wander.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a tool for measuring, not the product"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tokenbroker::canonical::{Chain, Request};
use tokenbroker::catalog::Snapshot;
use tokenbroker::frontend::{openai_chat, prefix};
use tokenbroker::meter::{Answer, Class};
use tokenbroker::pipeline::appraise::Appraisal;
use tokenbroker::pipeline::learning::Learning;
use tokenbroker::route::Target;
use tokenbroker::units::{BackendId, Tokens};

const ROUNDS: usize = 40;
const A_ROUND: u32 = 200;
const NOW: u64 = 1_790_000_000;

fn main() {
    let learning = Learning::new(7);
    for (messages, bytes) in [(1, 200), (1, 4_000), (20, 500), (60, 2_000), (400, 2_000)] {
        prompts(&learning, messages, bytes);
    }
    for models in [0, 5, 30, 150] {
        forecasts(models);
    }
}

/// A conversation of so many messages of so many bytes.
fn conversation(messages: usize, bytes: usize) -> Request {
    let text = "Run `make`, read what it says\\nand mend it. ".repeat(bytes / 43 + 1);
    let message = format!(r#"{{"role":"user","content":"{}"}}"#, &text[..bytes / 44 * 44]);
    let body = format!(r#"{{"model":"auto","messages":[{}]}}"#, vec![message; messages].join(","));
    openai_chat::parse(Bytes::from(body), &HeaderMap::new()).unwrap()
}

fn prompts(learning: &Learning, messages: usize, bytes: usize) {
    let request = conversation(messages, bytes);
    let parse = best(&|| openai_chat::parse(request.body.clone(), &HeaderMap::new()).map(|r| r.messages as usize).unwrap());
    let chain = best(&|| prefix::chain(&request, 7).links.len());
    let made = prefix::chain(&request, 7);
    let look = |chain: &Chain| best(&|| learning.prefixes.look(chain, Duration::from_secs(9)).read.len());
    let unknown = look(&made);
    let backend = BackendId::new("north", "mist");
    let remember = best(&|| {
        learning.prefixes.remember(&made, &backend, 3, Duration::from_secs(5));
        1
    });
    let known = look(&made);
    let per_kb = chain * 1024.0 / f64::from(u32::try_from(request.body.len()).unwrap());
    println!(
        "{messages:>3} messages, {:>6} bytes: parse {parse:.0} ns, chain {chain:.0} ns ({per_kb:.0} ns/KB), look up {unknown:.0} ns \
         unknown, {known:.0} ns known, remember {remember:.0} ns",
        request.body.len()
    );
}

fn forecasts(models: usize) {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/providers.toml");
    let snapshot = Snapshot::parse(table, &std::fs::read_to_string(table).unwrap()).unwrap();
    let (learning, mut request) = (Learning::new(7), conversation(1, 200));
    let class = Class::of(&request);
    let mut names: Vec<&str> = snapshot.backends().iter().map(|backend| backend.model.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let answer =
        |model| Answer { model, thinks: false, output: Tokens::new(300), reasoning: Tokens::ZERO, choices: 1, cut_at: None };
    for (n, name) in names.iter().take(models).enumerate() {
        let output = Tokens::new(100 + 7 * n as u64);
        (0..20).for_each(|_| learning.answered(class, &Answer { output, ..answer(name) }, NOW));
    }
    let appraise = |request: &Request| {
        best(&|| {
            Appraisal::by((request, &Target::Auto(None)), &mut learning.lengths(class), &learning.reports, &snapshot, NOW)
                .learned
                .known()
                .len()
        })
    };
    let plain = best(&|| usize::from(Appraisal::of(&request).output.plain > Tokens::ZERO));
    let unbounded = appraise(&request);
    request.output_bound = Some(Tokens::new(256));
    let bounded = appraise(&request);
    let learn = best(&|| {
        learning.answered(class, &answer(names[0]), NOW);
        1
    });
    println!(
        "{models:>3} models known: appraise {plain:.0} ns without, {unbounded:.0} ns with, {bounded:.0} ns under a bound; take an answer {learn:.0} ns"
    );
}

/// Nanoseconds, in the best of many rounds.
fn best(run: &impl Fn() -> usize) -> f64 {
    let best = (0..ROUNDS).map(|_| round(run)).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(A_ROUND)
}

fn round(run: &impl Fn() -> usize) -> Duration {
    let began = Instant::now();
    for _ in 0..A_ROUND {
        black_box(run());
    }
    began.elapsed()
}
