//! What the tests of this module share: requests, texts of our own with their counts, and the public metering set where
//! it is present.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::canonical::Request;

/// Texts of our own with their counts in `o200k` and `cl100k` (by tiktoken-rs 0.12.1, uncut).
pub(super) const OWN_TEXTS: [(&str, u64, u64); 5] = [
    (
        "The gateway reads each request once, asks what it needs, and sends it to the cheapest backend that can serve it \
         well. When a provider fails before its first byte, the next one is asked; the client never notices.",
        45,
        45,
    ),
    (
        "网关只读一次请求，判断它需要什么，然后把它交给能够胜任的最便宜的后端。如果某个供应商在返回第一个字节之前出错，\
         就换下一个；客户端不会察觉。价格变化很快，所以每次都要按当时的价格重新计算。",
        67,
        97,
    ),
    (
        "fn quote(tokens: u64, pico_per_token: i128) -> i128 {\n    let total = i128::from(tokens) * pico_per_token;\n    \
         assert!(total >= 0, \"prices are never negative\");\n    total\n}\n",
        51,
        53,
    ),
    (
        r#"{"id":"req-20413","backend":"north/small","usage":{"input":1834,"output":212},"cost_usd":"0.000731","tried":["south/tiny"]}"#,
        42,
        39,
    ),
    ("Größere Änderungen müssen geprüft werden; später übernimmt das Büro die Rückfragen und schließt die Akte.", 23, 32),
];

/// A request with one text in so many messages.
pub(super) fn request(text: &str, messages: u32) -> Request {
    Request { messages, ..Request::saying(text) }
}

/// The lines of a file in the folder `shared` beside the project (or where `TOKENBROKER_SHARED` says), each as JSON.
pub(super) fn shared_lines(path: &str) -> Option<Vec<serde_json::Value>> {
    let text = shared_text(path)?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The text of such a file.
pub(super) fn shared_text(path: &str) -> Option<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("TOKENBROKER_SHARED").map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(path)) else {
        println!("skipped: not present (shared/{path})");
        return None;
    };
    Some(text)
}

/// Characters of an alphabet in no order, the same for the same seed.
pub(super) fn random(seed: u64, bytes: usize, alphabet: &str) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = seed;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(letters[(state >> 33) as usize % letters.len()]);
    }
    text
}

pub(super) const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Texts that cost a tokenizer more than others, each of about so many bytes.
pub(super) fn hostile(bytes: usize, seed: u64) -> Vec<(&'static str, String)> {
    vec![
        ("spaces", " ".repeat(bytes)),
        ("newlines", "\n".repeat(bytes)),
        ("one letter", "a".repeat(bytes)),
        ("capitals", "A".repeat(bytes)),
        ("emoji", "😀".repeat(bytes / 4)),
        ("many emoji", random(seed + 7, bytes, "😀😁😂🚀🎉💡🔥🙏👍🌍")),
        ("punctuation", "!".repeat(bytes)),
        ("combining marks", "\u{301}".repeat(bytes / 2)),
        ("one Han character", "好".repeat(bytes / 3)),
        ("Han without a stop", random(seed + 3, bytes, "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")),
        ("spaces and newlines", " \n".repeat(bytes / 2)),
        ("spaces before a letter", format!("{}a", " ".repeat(bytes))),
        ("apostrophes", "'s".repeat(bytes / 2)),
        ("no whitespace", random(seed + 5, bytes, LOWER)),
        ("base64", random(seed + 6, bytes, BASE64)),
        ("digits", random(seed + 4, bytes, "0123456789")),
        ("one digit", "7".repeat(bytes)),
    ]
}

/// Whether a mebibyte of one of the [`hostile`] texts takes at most forty times what 64 KiB of it take. What is counted must be
/// some tokens, and no more than a byte each.
#[expect(clippy::disallowed_methods, reason = "it measures")]
pub(super) fn takes_time_in_proportion(which: usize, count: impl Fn(&str) -> u64) -> bool {
    // Other texts each time: what counts may remember words.
    let took = |bytes, seed| {
        let (name, text) = hostile(bytes, seed).swap_remove(which);
        let start = Instant::now();
        let tokens = count(&text);
        assert!(tokens > 0 && tokens <= text.len() as u64, "{name}: {tokens}");
        start.elapsed()
    };
    // Below a millisecond, what is measured is the clock and the scheduler; of a busy machine, the best of a few.
    let mut measured = (10..15).map(|seed| (took(1 << 16, seed).max(Duration::from_micros(500)), took(1 << 20, seed + 10)));
    measured.any(|(short, long)| long <= 40 * short)
}

/// Relative errors of an estimate against the truth.
#[derive(Default)]
pub(super) struct Errors {
    permille: Vec<u64>,
    exceeded: u64,
}

impl Errors {
    pub(super) fn add(&mut self, truth: u64, expected: u64, upper: u64) {
        self.permille.push(truth.abs_diff(expected) * 1000 / truth);
        self.exceeded += u64::from(truth > upper);
    }

    /// Median and 99th percentile of the error in thousandths, and how many of a thousand exceeded the upper bound
    /// (rounded up).
    pub(super) fn permille(&mut self) -> (u64, u64, u64) {
        self.permille.sort_unstable();
        let count = self.permille.len();
        (self.permille[count / 2], self.permille[count * 99 / 100], (self.exceeded * 1000).div_ceil(count as u64))
    }
}
