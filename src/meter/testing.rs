//! What the tests of this module share: requests, texts of our own with their counts, and the public metering set where
//! it is present.

use std::path::PathBuf;

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
