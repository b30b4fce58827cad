//! What counting costs: time by byte, an estimate of 32 KiB, a stream, and the memory of vocabularies. Run it alone:
//! `cargo bench --bench meter`. It reads the public metering set beside the project and stops where that is not there.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::disallowed_methods, reason = "a bench prints what it measures")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use tokenbroker::canonical::TextProfile;
use tokenbroker::catalog::TokenizerFamily;
use tokenbroker::meter::exact::{Stream, Vocabularies};
use tokenbroker::meter::{calibrated, sampled};

const ESTIMATED: usize = 32 * 1024;

fn main() {
    let Some(texts) = texts() else {
        println!("skipped: not present (shared/data/metering/texts.jsonl)");
        return;
    };
    let bytes: usize = texts.iter().map(String::len).sum();
    let long = long_texts(&texts);
    println!("{} texts of {bytes} bytes; {} of {ESTIMATED} bytes", texts.len(), long.len());
    let before = resident();
    let kept = Vocabularies::keeping(TokenizerFamily::WORDS.len());
    println!("memory without a vocabulary: {before} KiB");
    for (family, word) in TokenizerFamily::WORDS {
        let (had, start) = (resident(), Instant::now());
        let Some(counter) = kept.counter(family) else {
            let took = time(|| {
                for text in &texts {
                    black_box(calibrated::count(&kept, text, &TextProfile::of(text), family));
                }
            });
            println!("{word:16} calibrated {:5.1} ns/byte{}", by_byte(took, bytes), estimated(&kept, &long, family));
            continue;
        };
        let loaded = start.elapsed();
        let grown = resident().saturating_sub(had);
        let exact = time(|| texts.iter().for_each(|text| _ = black_box(counter.count(text))));
        let streamed = time(|| {
            for text in &texts {
                let mut stream = Stream::new(std::sync::Arc::clone(&counter));
                pieces(text).for_each(|piece| stream.add(piece));
                black_box(stream.tokens());
            }
        });
        println!(
            "{word:16} loads in {:3} ms, {grown:6} KiB more; counted {:5.1} ns/byte, streamed {:5.1} ns/byte{}",
            loaded.as_millis(),
            by_byte(exact, bytes),
            by_byte(streamed, bytes),
            estimated(&kept, &long, family)
        );
    }
    println!("memory with all of them: {} KiB", resident());
}

/// How long an estimate takes: the median and the slowest twentieth.
fn estimated(kept: &Vocabularies, long: &[String], family: TokenizerFamily) -> String {
    let mut took: Vec<Duration> = long.iter().map(|text| time(|| _ = black_box(sampled::estimate(kept, text, family)))).collect();
    took.sort_unstable();
    let at = |permille: usize| took[(took.len() - 1) * permille / 1000];
    format!("; estimate of 32 KiB: median {:.1?}, p95 {:.1?}", at(500), at(950))
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn by_byte(took: Duration, bytes: usize) -> f64 {
    took.as_nanos() as f64 / bytes as f64
}

/// A text as a stream brings it: a few bytes at a time.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(5));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn texts() -> Option<Vec<String>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("TOKENBROKER_SHARED").map_or_else(beside, Into::into);
    let lines = std::fs::read_to_string(folder.join("data/metering/texts.jsonl")).ok()?;
    let text = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("the set is JSON lines");
        line["text"].as_str().expect("each has a text").to_owned()
    };
    Some(lines.lines().map(text).collect())
}

/// The set's texts one after the other, in pieces of 32 KiB.
fn long_texts(texts: &[String]) -> Vec<String> {
    let mut long = vec![String::new()];
    for text in texts {
        if long.last().is_some_and(|last| last.len() >= ESTIMATED) {
            long.push(String::new());
        }
        if let Some(last) = long.last_mut() {
            last.push_str(text);
        }
    }
    for text in &mut long {
        text.truncate(text.floor_char_boundary(ESTIMATED));
    }
    long.retain(|text| text.len() + 4 > ESTIMATED);
    long
}

/// What this process has in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
